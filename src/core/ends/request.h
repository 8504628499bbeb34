/* request.h - one received message, from its arrival to its settlement.
 *
 *     arrived --> QUEUED --> RUNNING --------------> finished: the answer is sent, then the frame settled
 *                   |           \--> DEFERRED ---------^  (ferry_done)
 *                   +--> handed back (drain), or dropped (cancelled, expired)
 *                   ^------- RESTING <-- a failed event that is tried again here
 *
 * It belongs to one thread at a time: the link's lock while queued, the worker while running, whoever holds it while deferred.
 * Only `cancelled`, `active` and `nested` are touched from outside, under the lock or as an atomic. */
#ifndef FERRY_ENDS_REQUEST_H
#define FERRY_ENDS_REQUEST_H

#include "ends/future.h"
#include "ends/handle.h"

typedef enum ferry__request_state {
    FERRY__QUEUED,
    FERRY__RUNNING,
    FERRY__DEFERRED,
    FERRY__RESTING
} ferry__request_state;

struct ferry_request {
    ferry__job            job; /* first */
    ferry                *f;   /* counted */
    ferry__frame         *frame;
    struct ferry__service *service;
    const ferry__handler *handler;
    ferry_status          refusal; /* why it has no handler: NOT_FOUND, VERB_NOT_ALLOWED */
    ferry__request_state  state;
    uint8_t               lane; /* which of its service's sources it came by */
    bool                  sampled; /* its handler is timed */
    bool                  skipped; /* expired or cancelled before its handler began */
    int64_t               begun_ms;
    ferry__timer          rest; /* until it is tried again */
    bool                 *deferral; /* the worker's: set when its handler defers, after which it must not look here */
    atomic_bool           cancelled;
    ferry__node           active; /* in f->requests */
    ferry__list           nested; /* calls made within it */
    ferry_value          *data, *headers;
    bool                  read_headers;
    char                  id[FERRY__ID_TEXT];

    /* what the handler said */
    bool         responded, rejected;
    ferry_status verdict; /* code of the first error; OK: none */
    ferry_outcome outcome;
    ferry_value *answer, *answer_headers, *errors;
    int          retry_ms; /* -1: by the rule */
    char        *why;      /* of a rejection */
    int          hops;     /* noted in the audit trail */
};

ferry_request *ferry__request_new(ferry *f, ferry__frame *frame); /* takes a reference of its own */
void           ferry__request_free(ferry_request *req);
void           ferry__request_reset(ferry_request *req); /* forgets what its handler said */
void           ferry__request_nest(const ferry_request *req, ferry_future *u); /* with the lock held */
/* One more error. OK, or NO_MEMORY. */
ferry_status   ferry__request_error(ferry_request *req, ferry_status code, const char *type, const char *message);
/* The answer as a frame; NULL: out of memory. */
ferry__frame  *ferry__request_reply(ferry_request *req);

#endif
