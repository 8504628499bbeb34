/* future.h - a call under way, from the caller's side. Also a no-wait post, whose future nobody sees.
 *
 * Guarded by the link's lock until it has ended; from then on it belongs to who collects it. */
#ifndef FERRY_ENDS_FUTURE_H
#define FERRY_ENDS_FUTURE_H

#include "ends/handle.h"

struct ferry_future {
    ferry__pending  pending; /* first */
    ferry          *f;       /* counted */
    ferry__waiter  *waiter;  /* who awaits it now */
    bool            ended, counted; /* counted: among the link's uncollected */
    bool            posted;  /* a no-wait post that nobody waits for */
    ferry_reply_fn *on_reply;
    void           *arg;
    ferry__callback callback;
    ferry__node     nested;  /* among the calls of a request being served */
};

/* Everything that may be said about one message, whatever function it came by. */
typedef struct ferry__orders {
    ferry__kind          kind;
    ferry_verb           verb;
    const char          *route;
    ferry_value         *data; /* taken */
    int                  timeout_ms;
    const char          *key, *idempotency_key, *correlation;
    const ferry_value   *headers;
    const ferry_request *within;
    int64_t              now_ms; /* set when the frame is made */
} ferry__orders;

uint32_t ferry__part_for(const ferry *f, const char *key); /* 1 … : the part of a lane for that key */
/* Makes the frame; takes o->data. */
ferry_status ferry__frame_build(ferry *f, ferry__orders *o, ferry__frame **made, char *why);

ferry_future *ferry__future_new(ferry *f);
void          ferry__future_free(ferry_future *u); /* without the lock, ended */
/* Sends; takes o->data. Whatever goes wrong ends the future. `stays`: the caller awaits it next. Answers its ticket. */
uint64_t      ferry__future_start(ferry_future *u, ferry__orders *o, bool stays);
uint64_t      ferry__future_refuse(ferry_future *u, ferry__orders *o, ferry_status status, const char *why);
/* Sends one that nobody waits for; not OK: nothing was sent, and the future is gone. */
ferry_status  ferry__future_post(ferry_future *u, ferry__orders *o, char *why);
/* Sends what nobody waits to be answered, a post or an event: until it is queued, or until the broker has it. Takes o->data; `status`
 * is what the options are like: not OK, and it is answered. */
ferry_status  ferry__future_hand_over(ferry *f, ferry__orders *o, ferry_confirm confirm, ferry_status status, char *why);
/* A ready frame with its own id, as a confirmed post to that name; takes it. Without the lock. */
ferry_status  ferry__future_resend(ferry *f, const char *to, ferry__frame *frame, int64_t until_ms, char *why);
/* With the lock held. */
void          ferry__future_wait(ferry_future *u);
ferry_reply  *ferry__future_collect(ferry_future *u); /* ended; takes it; without the lock */

#endif
