/* pending.h - one message of ours that has not ended: a call that waits for its answer, a post or event that waits to be accepted.
 *
 *            start                 send                outcome ACCEPTED
 *     (new) ------> HELD -----------------> SENT -----------------> TAKEN
 *                    |  ^   REFUSED as UNAVAILABLE,  |                |
 *                    |  +--- LOST and repeatable ----+                |
 *                    |                               |  reply, or a post was accepted
 *                    +------- deadline, cancel, refusal, no service --+--------> ENDED
 *
 * Invariants, under the link's lock:
 * 1. It ends once: `end` is the only edge to ENDED and calls `ended` at once.
 * 2. `outcome` says what is known: NOT_SENT while `tried` is false; once tried, UNKNOWN unless something proves more.
 * 3. Not ENDED = in the table under its serial, with a timer set, and in exactly one list of its peer: held or flying.
 * 4. frame->owner points here exactly while it has not ended; a transport may keep the frame longer. */
#ifndef FERRY_LINK_PENDING_H
#define FERRY_LINK_PENDING_H

#include "base/list.h"
#include "link/wheel.h"
#include "wire/frame.h"

struct ferry__link;
struct ferry__peer;

typedef enum ferry__stage { FERRY__HELD, FERRY__SENT, FERRY__TAKEN, FERRY__ENDED } ferry__stage;

typedef struct ferry__pending {
    ferry__timer           timer; /* the deadline; before it the next attempt; after it the end of a withdrawal */
    ferry__node            place; /* in its peer's held or flying */
    struct ferry__pending *chain; /* in the table */
    struct ferry__peer    *peer;
    ferry__frame          *frame; /* counted; NULL once ended */
    ferry__frame          *reply; /* counted; NULL: status and why say it all */
    char                  *why;   /* a text of our own, or NULL */
    void (*ended)(struct ferry__link *l, struct ferry__pending *p);
    int64_t     started_ms; /* may be set before the start */
    uint8_t     stage;     /* ferry__stage */
    uint8_t     status;    /* ferry_status, once ended */
    uint8_t     outcome;   /* ferry_outcome, once ended */
    bool        tried;     /* a transport had it at least once */
    bool        alone;     /* nobody waits: the background has to see to it */
    bool        leaving;   /* a withdrawal is under way */
    bool        lost;      /* an attempt before this one may have run */
    bool        resting;   /* lost, and not to be sent again before its timer */
    uint8_t     repeats;
} ferry__pending;

typedef struct ferry__table {
    ferry__pending **buckets;
    size_t           size, count; /* size: a power of two */
} ferry__table;

bool            ferry__table_init(ferry__table *t);
void            ferry__table_done(ferry__table *t);
void            ferry__table_add(ferry__table *t, ferry__pending *p);
ferry__pending *ferry__table_find(const ferry__table *t, uint64_t serial); /* calls only */
void            ferry__table_remove(ferry__table *t, ferry__pending *p);

/* All with the lock held. start takes frame; on failure `ended` was called before it returns. */
void ferry__pending_start(struct ferry__link *l, ferry__pending *p, ferry__frame *frame);
void ferry__pending_cancel(struct ferry__link *l, ferry__pending *p, ferry_status status, const char *why);
void ferry__pending_end(struct ferry__link *l, ferry__pending *p, ferry_status status, ferry_outcome outcome,
                        const char *why);
void ferry__pending_send(struct ferry__link *l, ferry__pending *p); /* hands a held one to the transport */

/* The transport's news. */
void ferry__pending_outcome(struct ferry__link *l, ferry__frame *f, unsigned fate, ferry_status status,
                            const char *why);
void ferry__pending_withdrawn(struct ferry__link *l, ferry__frame *f, bool yes);
void ferry__pending_reply(struct ferry__link *l, ferry__frame *reply); /* takes */
void ferry__pending_link_down(struct ferry__link *l);
void ferry__pending_try_held(struct ferry__link *l); /* the state of the link changed */

#endif
