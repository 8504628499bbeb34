/* wrap.h - what every decorator does unless it has something to add: pass on.
 *
 *     core ---- slots ----> decorator ---- slots ----> wrapped transport
 *     core <--- upcalls --- decorator <--- upcalls --- wrapped transport
 *
 * A decorator's state begins with a ferry__wrap; its table names the functions below for the slots that it leaves alone, and
 * ferry__wrap_open is told the upcalls that it wants to see. The bits of a decorator are those of the innermost transport: the core
 * reads them there. */
#ifndef FERRY_BACKENDS_WRAP_H
#define FERRY_BACKENDS_WRAP_H

#include "link/backend.h"

extern const ferry__backend ferry__trace_backend, ferry__fault_backend;

typedef struct ferry__wrap {
    ferry__up             up;    /* what the wrapped one calls: first, its address is the wrap's */
    ferry__up            *outer; /* what we call */
    const ferry__backend *inner;
    void                 *self;  /* the wrapped one's */
    ferry__admin         *unanswered; /* questions that the wrapped one cannot take; answered by the next pump */
    struct ferry__refusal *refusals;  /* the same for withdrawals */
} ferry__wrap;

/* Opens the wrapped one. A NULL among the upcalls passes on; they get the wrap as `up`. */
ferry_status ferry__wrap_open(ferry__wrap *w, const ferry__up *upcalls, ferry__up *outer, const ferry__config *config,
                              const ferry__url *url, char *why);

/* The slots; self is a ferry__wrap. */
void         ferry__wrap_close(void *self);
void         ferry__wrap_abandon(void *self);
ferry_status ferry__wrap_listen(void *self, ferry__source *source);
void         ferry__wrap_unlisten(void *self, ferry__source *source);
void         ferry__wrap_credit(void *self, ferry__source *source, int frames);
void         ferry__wrap_send(void *self, ferry__target *target, ferry__frame *frame);
void         ferry__wrap_flush(void *self);
void         ferry__wrap_settle(void *self, ferry__frame *frame);
void         ferry__wrap_retry(void *self, ferry__frame *frame, int delay_ms);
void         ferry__wrap_bury(void *self, ferry__frame *frame, const char *box, const void *record, size_t length);
void         ferry__wrap_hand_back(void *self, ferry__frame *frame);
void         ferry__wrap_wait(void *self, int ms);
void         ferry__wrap_wake(void *self);
void         ferry__wrap_step(void *self);
void         ferry__wrap_pump(void *self);
void         ferry__wrap_probe(void *self, ferry__target *target);
int          ferry__wrap_next_ms(void *self, int64_t now_ms);
int          ferry__wrap_fd(void *self);

/* The abilities. Where the wrapped one has not got one: no withdrawal, UNSUPPORTED for a question, nothing for a hint. */
void ferry__wrap_withdraw(void *self, ferry__target *target, ferry__frame *frame);
void ferry__wrap_begin(void *self, ferry__frame *frame);
void ferry__wrap_touch(void *self, ferry__frame *frame);
void ferry__wrap_seek(void *self, ferry__source *source, const ferry__wish *to);
void ferry__wrap_admin(void *self, ferry__admin *admin);

#endif
