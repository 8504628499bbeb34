/* serve.h - receiving: from a frame that arrived to the settlement of its request. */
#ifndef FERRY_ENDS_SERVE_H
#define FERRY_ENDS_SERVE_H

#include "ends/handle.h"

/* The sources of a name. */
enum {
    FERRY__FIRST,    /* calls; of a subscription: its events */
    FERRY__SECOND,   /* posts */
    FERRY__CANCELLED /* cancellations */
};

/* One name we serve, or subscribed to: its sources, and how many frames of the first two we hold. */
typedef struct ferry__service {
    struct ferry__service     *next;
    struct ferry_subscription *subscription; /* NULL: a service */
    ferry__source              sources[3];
    size_t                     count;    /* of them */
    size_t                     asked[2]; /* credit given and not used */
    size_t                     held[2];  /* received, neither finished nor deferred */
    size_t                     requests; /* received and not finished */
    bool                       listening;
    char                       name[]; /* of a subscription: its box, "domain/group" */
} ferry__service;

extern const ferry__hooks ferry__serve_hooks;

void ferry__serve_init(ferry *f);

/* With the lock held. */
ferry_status ferry__serve_begin(ferry *f);                          /* listens for all that is handled */
void         ferry__serve_undo(ferry *f);                           /* serving could not begin */
ferry_status ferry__serve_name(ferry *f, const char *route, size_t length); /* one more service: the first bytes of a route */
ferry__service *ferry__serve_new(ferry *f, const char *name, size_t length); /* without sources; NULL: out of memory */
ferry_status ferry__serve_listen(ferry *f, ferry__service *s);
void         ferry__serve_unlisten(ferry *f, ferry__service *s);            /* and hands back what was not begun */
void         ferry__serve_rewind(ferry *f, ferry__service *s);              /* hands back what was not begun */
void         ferry__serve_pause(ferry *f, ferry__service *s);               /* takes credit back */
void         ferry__serve_hand_back(ferry *f, ferry_request *req);         /* it waits nowhere any more; the caller frees it */
void         ferry__serve_drain(ferry *f);                          /* nothing new; hands back what was not begun */
bool         ferry__serves(const ferry *f, const char *name);
bool         ferry__serve_quiet(const ferry *f);                    /* nothing runs, is deferred or unsettled */
void         ferry__serve_done(ferry *f);                           /* frees */

/* A request's handler has ended, or it was deferred and is done: answer, settle, free. Without the lock. */
void ferry__serve_finish(ferry_request *req);

#endif
