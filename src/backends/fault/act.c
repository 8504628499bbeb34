/* act.c - what a frame meets on its way out. */
#include "backends/fault/fault.h"

#include "base/alloc.h"
#include "base/clock.h"

enum { REORDER_MS = 20 };

void ferry__fault_init(ferry__fault *f)
{
    ferry__list_init(&f->held);
    ferry__list_init(&f->news);
    ferry__list_init(&f->copies);
    ferry__frames_init(&f->arrived);
    f->opened = true;
}

void ferry__fault_done(ferry__fault *f)
{
    if (!f->opened)
        return;
    for (ferry__node *n; (n = ferry__list_shift(&f->held));)
        ferry__frame_unref(ferry__fault_unhold(ferry__held_of(n)));
    for (ferry__node *n; (n = ferry__list_shift(&f->news)); ferry__free(n))
        ferry__frame_unref(ferry__news_of(n)->frame);
    for (ferry__node *n; (n = ferry__list_shift(&f->copies));)
        ferry__fault_drop_copy(ferry__copy_of(n));
    ferry__frames_drop(&f->arrived);
}

/* ---- Does it strike? ------------------------------------------------------------------------------------------------ */

static uint64_t next_random(uint64_t *seed) /* xorshift64, George Marsaglia, 2003 */
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

bool ferry__fault_strikes(ferry__fault *f, ferry__fault_kind k)
{
    int64_t every = f->counts[k].every;
    if (every == 0)
        return false;
    if (f->seed)
        return next_random(&f->seed) % (uint64_t)every == 0;
    return ++f->counts[k].seen % every == 0;
}

/* The first of them that strikes; all of them count. */
static ferry__fault_kind meet(ferry__fault *f, ferry__fault_kind from, ferry__fault_kind to)
{
    ferry__fault_kind met = FERRY__FAULTS;
    for (ferry__fault_kind k = to; k-- > from;)
        if (ferry__fault_strikes(f, k))
            met = k;
    return met;
}

/* ---- Notes for later ------------------------------------------------------------------------------------------------ */

bool ferry__fault_has_outcome(const ferry__frame *frame)
{
    return frame->kind == FERRY__CALL || frame->kind == FERRY__POST || frame->kind == FERRY__EVENT;
}

ferry__news *ferry__fault_report(ferry__fault *f, ferry__frame *frame, ferry__fate fate, ferry_status status)
{
    ferry__news *n = ferry__alloc(sizeof *n);
    if (!n)
        return NULL;
    *n = (ferry__news){.frame = frame ? ferry__frame_ref(frame) : NULL, .fate = fate, .status = status};
    ferry__list_append(&f->news, &n->node);
    return n;
}

static bool hold(ferry__fault *f, ferry__target *target, ferry__frame *frame, int64_t ms, bool after_next)
{
    ferry__held *h = ferry__alloc(sizeof *h);
    if (!h)
        return false;
    *h = (ferry__held){.target = target, .frame = frame, .due_ms = ferry__now_ms() + ms, .after_next = after_next};
    ferry__list_append(&f->held, &h->node);
    return true;
}

ferry__frame *ferry__fault_unhold(ferry__held *h)
{
    ferry__frame *frame = h->frame;
    ferry__list_remove(&h->node);
    ferry__free(h);
    return frame;
}

void ferry__fault_release(ferry__fault *f, ferry__held *h)
{
    ferry__target *target = h->target;
    ferry__wrap_send(f, target, ferry__fault_unhold(h));
}

static void release_followers(ferry__fault *f)
{
    for (ferry__node *n = f->held.next, *next; n != &f->held; n = next) {
        next = n->next;
        if (ferry__held_of(n)->after_next)
            ferry__fault_release(f, ferry__held_of(n));
    }
}

/* ---- Copies --------------------------------------------------------------------------------------------------------- */

static bool note_copy(ferry__fault *f, ferry__frame *sent, ferry__frame *of)
{
    ferry__copy *c = ferry__fault_has_outcome(sent) ? ferry__alloc(sizeof *c) : NULL;
    if (!c)
        return !ferry__fault_has_outcome(sent);
    *c = (ferry__copy){.sent = sent, .of = of ? ferry__frame_ref(of) : NULL};
    ferry__list_append(&f->copies, &c->node);
    return true;
}

/* A frame of the core's has an owner, a copy has none: most need no search. */
ferry__copy *ferry__fault_find_copy(ferry__fault *f, const ferry__frame *sent)
{
    for (ferry__node *n = f->copies.next; n != &f->copies && !sent->owner; n = n->next)
        if (ferry__copy_of(n)->sent == sent)
            return ferry__copy_of(n);
    return NULL;
}

void ferry__fault_drop_copy(ferry__copy *c)
{
    ferry__list_remove(&c->node);
    ferry__frame_unref(c->of);
    ferry__free(c);
}

/* Sends `made` in the place of, or beside, the frame whose outcome it is. Takes made, which may be NULL. */
static bool send_copy(ferry__fault *f, ferry__target *target, ferry__frame *made, ferry__frame *of)
{
    if (!made || !note_copy(f, made, of)) {
        ferry__frame_unref(made);
        return false;
    }
    ferry__wrap_send(f, target, made);
    return true;
}

/* With storage of its own, and 0xc1 where the body begins: the one byte that no msgpack value begins with. */
static ferry__frame *broken_copy(const ferry__frame *frame)
{
    ferry_status status;
    size_t length = ferry__frame_packed(frame);
    void *packed = ferry__alloc(length);
    if (!packed)
        return NULL;
    ferry__frame_pack(frame, packed);
    ferry__frame *made = ferry__frame_unpack(packed, length, &status);
    ferry__free(packed);
    if (made && made->body.length)
        *(unsigned char *)ferry__frame_body(made) = 0xc1;
    return made;
}

/* ---- Faults: true = it has taken the frame, false = the frame goes on --------------------------------------------------- */

bool ferry__fault_just_report(ferry__fault *f, ferry__frame *frame, ferry__fate fate, ferry_status status)
{
    if (ferry__fault_has_outcome(frame) && !ferry__fault_report(f, frame, fate, status))
        return false;
    ferry__frame_unref(frame);
    return true;
}

static bool do_drop(ferry__fault *f, ferry__target *target, ferry__frame *frame)
{
    (void)target;
    return ferry__fault_just_report(f, frame, FERRY__ACCEPTED, FERRY_OK);
}

static bool do_refuse(ferry__fault *f, ferry__target *target, ferry__frame *frame)
{
    (void)target;
    return ferry__fault_just_report(f, frame, FERRY__REFUSED, FERRY_OVERLOADED);
}

static bool do_vanish(ferry__fault *f, ferry__target *target, ferry__frame *frame)
{
    (void)target;
    return ferry__fault_just_report(f, frame, FERRY__LOST, FERRY_UNAVAILABLE);
}

static bool do_lose(ferry__fault *f, ferry__target *target, ferry__frame *frame)
{
    ferry__news *n = ferry__fault_report(f, frame, FERRY__LOST, FERRY_UNAVAILABLE);
    if (!n)
        return false;
    if (send_copy(f, target, ferry__frame_clone(frame), NULL)) {
        ferry__frame_unref(frame);
        return true;
    }
    ferry__list_remove(&n->node);
    ferry__frame_unref(n->frame);
    ferry__free(n);
    return false;
}

static bool do_dup(ferry__fault *f, ferry__target *target, ferry__frame *frame)
{
    send_copy(f, target, ferry__frame_clone(frame), NULL);
    return false;
}

static bool do_corrupt(ferry__fault *f, ferry__target *target, ferry__frame *frame)
{
    if (!send_copy(f, target, broken_copy(frame), frame))
        return false;
    ferry__frame_unref(frame);
    return true;
}

static bool do_reorder(ferry__fault *f, ferry__target *target, ferry__frame *frame)
{
    return hold(f, target, frame, REORDER_MS, true);
}

static bool do_delay(ferry__fault *f, ferry__target *target, ferry__frame *frame)
{
    return hold(f, target, frame, target ? f->delay_ms : f->delay_reply_ms, false);
}

static bool (*const acts[])(ferry__fault *, ferry__target *, ferry__frame *) = {
    [FERRY__DROP] = do_drop,
    [FERRY__REFUSE] = do_refuse,
    [FERRY__LOSE] = do_lose,
    [FERRY__VANISH] = do_vanish,
    [FERRY__DUP] = do_dup,
    [FERRY__CORRUPT] = do_corrupt,
    [FERRY__REORDER] = do_reorder,
    [FERRY__DELAY] = do_delay,
    [FERRY__DROP_REPLY] = do_drop,
    [FERRY__DUP_REPLY] = do_dup,
    [FERRY__CORRUPT_REPLY] = do_corrupt,
    [FERRY__DELAY_REPLY] = do_delay,
};

void ferry__fault_send(ferry__fault *f, ferry__target *target, ferry__frame *frame)
{
    ferry__fault_kind met =
        target ? meet(f, FERRY__DROP, FERRY__DROP_REPLY) : meet(f, FERRY__DROP_REPLY, FERRY__LOSE_SETTLE);
    if (met != FERRY__FAULTS && acts[met](f, target, frame))
        return;
    ferry__wrap_send(f, target, frame);
    if (target)
        release_followers(f);
}

void ferry__fault_lose(ferry__fault *f, ferry__target *target, ferry__frame *frame)
{
    if (!do_lose(f, target, frame))
        ferry__wrap_send(f, target, frame);
}
