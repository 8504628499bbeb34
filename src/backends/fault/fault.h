/* fault.h - the state of a fault decorator, and what happens to the frames that it is given to send.
 *
 *     send --- meets no fault ----------------------------> the wrapped transport's send
 *      |  `--- delayed, reordered --> held --- due, in flush ---^
 *      |---- lost, doubled, damaged: a copy goes instead or beside; `copies` says whose outcome it has
 *      `---- dropped, refused, vanished: no more than news
 *
 * Invariants
 * 1. A frame meets one fault at most: the first of the table that strikes. Each fault counts the frames it might have struck.
 * 2. Each CALL, POST and EVENT gets one outcome, from the wrapped transport or as news. Upcalls are made in pump only.
 * 3. The frame that was sent is never changed: the core may send it again.
 * 4. Without memory for a fault none happens: the frame passes. */
#ifndef FERRY_BACKENDS_FAULT_H
#define FERRY_BACKENDS_FAULT_H

#include "backends/wrap.h"
#include "base/list.h"

/* In the order in which they are tried, and that of the settings: frames sent, replies sent, the rest. */
typedef enum ferry__fault_kind {
    FERRY__DROP,
    FERRY__REFUSE,
    FERRY__LOSE,
    FERRY__VANISH,
    FERRY__DUP,
    FERRY__CORRUPT,
    FERRY__REORDER,
    FERRY__DELAY,
    FERRY__DROP_REPLY,
    FERRY__DUP_REPLY,
    FERRY__CORRUPT_REPLY,
    FERRY__DELAY_REPLY,
    FERRY__LOSE_SETTLE,
    FERRY__LOSE_PROBE,
    FERRY__TAKE_DOWN,
    FERRY__BLOCK,
    FERRY__FAULTS
} ferry__fault_kind;

/* A frame that leaves later. */
typedef struct ferry__held {
    ferry__node node; /* first */
    ferry__target *target;
    ferry__frame *frame;
    int64_t due_ms;
    bool after_next; /* or as soon as another frame was sent */
} ferry__held;

static inline ferry__held *ferry__held_of(ferry__node *n)
{
    return FERRY__OF(n, ferry__held, node);
}

/* Something to report in the next pump. */
typedef struct ferry__news {
    ferry__node node;    /* first */
    ferry__frame *frame; /* NULL: an acknowledgement */
    ferry__fate fate;
    ferry_status status;
    bool withdrawn; /* and it was withdrawn */
} ferry__news;

static inline ferry__news *ferry__news_of(ferry__node *n)
{
    return FERRY__OF(n, ferry__news, node);
}

/* A copy that the wrapped transport was given. */
typedef struct ferry__copy {
    ferry__node node;   /* first */
    ferry__frame *sent; /* by address only */
    ferry__frame *of;   /* whose outcome it is; NULL: nobody's */
} ferry__copy;

static inline ferry__copy *ferry__copy_of(ferry__node *n)
{
    return FERRY__OF(n, ferry__copy, node);
}

enum { FERRY__UNSETTLED = 64 };

typedef struct ferry__fault {
    ferry__wrap wrap; /* first */
    struct {
        int64_t every, seen;
    } counts[FERRY__FAULTS];
    uint64_t seed;
    int64_t delay_ms, delay_reply_ms, outage_ms, stall_ms;
    ferry__list held, news, copies;
    bool opened, stalled;

    /* Whose acknowledgement was lost: they come again, and the next one counts. */
    ferry__id unsettled[FERRY__UNSETTLED];
    size_t unsettled_at;
    size_t unheard; /* acknowledgements of the wrapped transport that are not the core's business */

    ferry__state outage; /* UP: none */
    bool striking;       /* it begins with the next pump */
    int64_t outage_until;
    ferry__frames arrived; /* while down: for later */
    ferry__state state;    /* the wrapped transport's, as it last said */
    ferry_status state_why;
    char state_text[FERRY_WHY_SIZE];
} ferry__fault;

void ferry__fault_init(ferry__fault *f);
void ferry__fault_done(ferry__fault *f);

bool ferry__fault_strikes(ferry__fault *f, ferry__fault_kind kind); /* counts */
bool ferry__fault_has_outcome(const ferry__frame *frame);
/* Something happens to the frame, or it is sent as it is. Takes it. */
void ferry__fault_send(ferry__fault *f, ferry__target *target, ferry__frame *frame);

/* Sends it, and its outcome is lost. Takes it. */
void ferry__fault_lose(ferry__fault *f, ferry__target *target, ferry__frame *frame);

/* Notes for the next pump: frame NULL = an acknowledgement. NULL: no memory. */
ferry__news *ferry__fault_report(ferry__fault *f, ferry__frame *frame, ferry__fate fate, ferry_status status);
/* The same in place of sending it; takes it, unless it answers false. */
bool ferry__fault_just_report(ferry__fault *f, ferry__frame *frame, ferry__fate fate, ferry_status status);

void ferry__fault_release(ferry__fault *f, ferry__held *held); /* sends it now */
ferry__frame *ferry__fault_unhold(ferry__held *held);          /* frees the note, answers its frame */
ferry__copy *ferry__fault_find_copy(ferry__fault *f, const ferry__frame *sent);
void ferry__fault_drop_copy(ferry__copy *copy);

#endif
