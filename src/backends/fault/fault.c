/* fault.c - "fault+mem:name?drop=3&dup=5": misbehaves on purpose, so that tests meet what networks and brokers do.
 *
 * fault.h has the picture of a frame on its way out; act.c makes it. Here: the settings, outages, and the way back.
 *
 *     UP --- a send strikes ---> striking --- the next pump has told what came before ---> DOWN or BLOCKED --- outage_until ---> UP
 *
 * From the strike on, sends are refused; the frame that took the link down is unknown. Once it is down, what was under way ends
 * unknown too, and what arrives waits for the end. While it is blocked, all but sends goes on. Answers and acknowledgements pass
 * in both. */
#include "backends/fault/fault.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/random.h"

#include <string.h>
#include <time.h>

enum { MOST = 1000000, DAY = 86400000 };

static const ferry__setting settings[] = {
    {"drop", FERRY__NUMBER, "0", 0, MOST, NULL, "every n-th frame sent is reported accepted and gone"},
    {"refuse", FERRY__NUMBER, "0", 0, MOST, NULL, "every n-th frame sent is refused, OVERLOADED"},
    {"lose", FERRY__NUMBER, "0", 0, MOST, NULL, "every n-th frame is sent, and its outcome is lost: unknown"},
    {"vanish", FERRY__NUMBER, "0", 0, MOST, NULL, "every n-th frame is not sent, and its outcome is lost: unknown"},
    {"dup", FERRY__NUMBER, "0", 0, MOST, NULL, "every n-th frame is sent twice, with one id"},
    {"corrupt", FERRY__NUMBER, "0", 0, MOST, NULL, "every n-th frame is sent with a broken body"},
    {"reorder", FERRY__NUMBER, "0", 0, MOST, NULL, "every n-th frame leaves after the next one, or 20 ms later"},
    {"delay_each", FERRY__NUMBER, "1", 1, MOST, NULL, "every n-th frame is one that `delay` delays"},
    {"drop_reply", FERRY__NUMBER, "0", 0, MOST, NULL, "every n-th reply is gone"},
    {"dup_reply", FERRY__NUMBER, "0", 0, MOST, NULL, "every n-th reply is sent twice"},
    {"corrupt_reply", FERRY__NUMBER, "0", 0, MOST, NULL, "every n-th reply is sent with a broken body"},
    {"delay_reply_each", FERRY__NUMBER, "1", 1, MOST, NULL, "every n-th reply is one that `delay_reply` delays"},
    {"lose_settle", FERRY__NUMBER, "0", 0, MOST, NULL,
     "every n-th acknowledgement is lost, once: the frame comes again as one that may have been started"},
    {"lose_probe", FERRY__NUMBER, "0", 0, MOST, NULL, "every n-th question whether anyone is alive gets no answer"},
    {"down", FERRY__NUMBER, "0", 0, MOST, NULL, "every n-th frame sent takes the link down, for `outage`"},
    {"block", FERRY__NUMBER, "0", 0, MOST, NULL, "every n-th frame sent makes the broker take nothing, for `outage`"},
    {"delay", FERRY__MS, "0", 0, DAY, NULL, "how long frames sent are held back"},
    {"delay_reply", FERRY__MS, "0", 0, DAY, NULL, "how long replies are held back"},
    {"outage", FERRY__MS, "200ms", 1, DAY, NULL, "how long `down` and `block` last"},
    {"stall", FERRY__MS, "0", 0, DAY, NULL,
     "the thread that drives the transport blocks that long in every turn, as a slow disk does"},
    {"seed", FERRY__NUMBER, "0", 0, 0, NULL,
     "not 0: at random, once in n times on average; the same seed, the same course"},
    {.name = NULL},
};

/* ---- Outages -------------------------------------------------------------------------------------------------------- */

static bool is_down(const ferry__fault *f)
{
    return f->outage == FERRY__DOWN && !f->striking;
}

static void strike_out(ferry__fault *f)
{
    bool down = ferry__fault_strikes(f, FERRY__TAKE_DOWN), block = ferry__fault_strikes(f, FERRY__BLOCK);
    if (!down && !block)
        return;
    f->outage = down ? FERRY__DOWN : FERRY__BLOCKED;
    f->outage_until = ferry__now_ms() + f->outage_ms;
    f->striking = true;
}

static bool refused_by_outage(ferry__fault *f, ferry__frame *frame)
{
    if (f->outage == FERRY__UP)
        return false;
    return ferry__fault_just_report(f, frame, FERRY__REFUSED,
                                    f->outage == FERRY__DOWN ? FERRY_UNAVAILABLE : FERRY_OVERLOADED);
}

static void begin_outage(ferry__fault *f)
{
    bool down = f->outage == FERRY__DOWN;
    f->striking = false;
    f->wrap.outer->state(f->wrap.outer, f->outage, down ? FERRY_UNAVAILABLE : FERRY_OVERLOADED,
                         down ? "fault: the link is down for a while" : "fault: the broker takes nothing for a while");
}

static void end_outage(ferry__fault *f)
{
    ferry__up *outer = f->wrap.outer;
    f->outage = FERRY__UP;
    outer->state(outer, f->state, f->state_why, f->state_text);
    for (ferry__frame *frame; (frame = ferry__frames_take(&f->arrived));)
        outer->frame(outer, frame->from, frame);
}

/* ---- Upcalls -------------------------------------------------------------------------------------------------------- */

static ferry__id *unsettled(ferry__fault *f, const ferry__id *id)
{
    size_t known = f->unsettled_at < FERRY__UNSETTLED ? f->unsettled_at : FERRY__UNSETTLED;
    for (size_t i = 0; i < known; i++)
        if (memcmp(&f->unsettled[i], id, sizeof *id) == 0)
            return &f->unsettled[i];
    return NULL;
}

static void on_frame(ferry__up *up, ferry__source *source, ferry__frame *frame)
{
    ferry__fault *f = (ferry__fault *)(void *)up;
    frame->maybe = frame->maybe || unsettled(f, &frame->id);
    if (is_down(f)) {
        frame->from = source;
        ferry__frames_add(&f->arrived, frame);
    } else {
        f->wrap.outer->frame(f->wrap.outer, source, frame);
    }
}

static void on_outcome(ferry__up *up, ferry__frame *frame, ferry__fate fate, ferry_status status, const char *why)
{
    ferry__fault *f = (ferry__fault *)(void *)up;
    ferry__copy *c = ferry__fault_find_copy(f, frame);
    ferry__frame *of = c ? c->of : frame;
    if (is_down(f) && fate == FERRY__ACCEPTED) {
        fate = FERRY__LOST;
        status = FERRY_UNAVAILABLE;
        why = "fault: the link went down before the answer";
    }
    if (of)
        f->wrap.outer->outcome(f->wrap.outer, of, fate, status, why);
    if (c)
        ferry__fault_drop_copy(c);
}

static void on_settled(ferry__up *up, size_t how_many, ferry_status status, const char *why)
{
    ferry__fault *f = (ferry__fault *)(void *)up;
    size_t unheard = f->unheard < how_many ? f->unheard : how_many;
    f->unheard -= unheard;
    if (how_many > unheard)
        f->wrap.outer->settled(f->wrap.outer, how_many - unheard, status, why);
}

static void on_withdrawn(ferry__up *up, ferry__frame *frame, bool yes)
{
    ferry__fault *f = (ferry__fault *)(void *)up;
    ferry__copy *c = ferry__fault_find_copy(f, frame);
    if (!c || c->of)
        f->wrap.outer->withdrawn(f->wrap.outer, c ? c->of : frame, yes);
}

static void on_probed(ferry__up *up, ferry__target *target, ferry__presence presence)
{
    ferry__fault *f = (ferry__fault *)(void *)up;
    if (!ferry__fault_strikes(f, FERRY__LOSE_PROBE))
        f->wrap.outer->probed(f->wrap.outer, target, presence);
}

static void on_state(ferry__up *up, ferry__state state, ferry_status why, const char *text)
{
    ferry__fault *f = (ferry__fault *)(void *)up;
    f->state = state;
    f->state_why = why;
    ferry__why(f->state_text, "%s", text ? text : "");
    if (f->outage == FERRY__UP || f->striking)
        f->wrap.outer->state(f->wrap.outer, state, why, text);
}

static const ferry__up upcalls = {.frame = on_frame,
                                  .outcome = on_outcome,
                                  .settled = on_settled,
                                  .withdrawn = on_withdrawn,
                                  .probed = on_probed,
                                  .state = on_state};

/* ---- Slots ---------------------------------------------------------------------------------------------------------- */

static void read_settings(ferry__fault *f, const ferry__url *url)
{
    for (ferry__fault_kind k = 0; k < FERRY__FAULTS; k++)
        f->counts[k].every = ferry__url_number(url, settings, settings[k].name);
    f->delay_ms = ferry__url_number(url, settings, "delay");
    f->delay_reply_ms = ferry__url_number(url, settings, "delay_reply");
    f->outage_ms = ferry__url_number(url, settings, "outage");
    f->stall_ms = ferry__url_number(url, settings, "stall");
    int64_t seed = ferry__url_number(url, settings, "seed");
    f->seed = seed ? ferry__hash(&seed, sizeof seed) | 1 : 0;
    if (f->delay_ms == 0)
        f->counts[FERRY__DELAY].every = 0;
    if (f->delay_reply_ms == 0)
        f->counts[FERRY__DELAY_REPLY].every = 0;
}

static ferry_status fault_open(void *self, ferry__up *up, const ferry__config *config, const ferry__url *url, char *why)
{
    ferry__fault *f = self;
    ferry__fault_init(f);
    f->state = FERRY__DOWN;
    f->state_why = FERRY_UNAVAILABLE;
    f->outage = FERRY__UP;
    read_settings(f, url);
    return ferry__wrap_open(&f->wrap, &upcalls, up, config, url, why);
}

static void fault_close(void *self)
{
    ferry__wrap_close(self);
    ferry__fault_done(self);
}

static void fault_abandon(void *self)
{
    ferry__wrap_abandon(self);
    ferry__fault_done(self);
}

/* What waited for the end of an outage goes back as fresh: the core never saw it. */
static void fault_unlisten(void *self, ferry__source *source)
{
    ferry__fault *f = self;
    ferry__frames all;
    ferry__frames_init(&all);
    ferry__frames_join(&all, &f->arrived);
    for (ferry__frame *frame; (frame = ferry__frames_take(&all));) {
        if (frame->from != source) {
            ferry__frames_add(&f->arrived, frame);
        } else {
            f->unheard++;
            ferry__wrap_hand_back(f, frame);
        }
    }
    ferry__wrap_unlisten(self, source);
}

/* What has no outcome and no caller, a cancel, is nothing to test. */
static void fault_send(void *self, ferry__target *target, ferry__frame *frame)
{
    ferry__fault *f = self;
    if (target && !ferry__fault_has_outcome(frame)) {
        ferry__wrap_send(self, target, frame);
        return;
    }
    if (target && refused_by_outage(f, frame))
        return;
    if (target)
        strike_out(f);
    if (target && f->outage == FERRY__DOWN)
        ferry__fault_lose(f, target, frame);
    else
        ferry__fault_send(f, target, frame);
}

static void fault_flush(void *self)
{
    ferry__fault *f = self;
    int64_t now = ferry__now_ms();
    for (ferry__node *n = f->held.next, *next; n != &f->held && f->outage != FERRY__DOWN; n = next) {
        next = n->next;
        if (ferry__held_of(n)->due_ms <= now)
            ferry__fault_release(f, ferry__held_of(n));
    }
    ferry__wrap_flush(self);
}

/* Each is lost once: its second one counts, or a server could never be done. */
static void fault_settle(void *self, ferry__frame *frame)
{
    ferry__fault *f = self;
    ferry__id *second = unsettled(f, &frame->id);
    if (second)
        memset(second, 0, sizeof *second);
    if (second || !ferry__fault_strikes(f, FERRY__LOSE_SETTLE) ||
        !ferry__fault_report(f, NULL, FERRY__LOST, FERRY_UNAVAILABLE)) {
        ferry__wrap_settle(self, frame);
        return;
    }
    f->unsettled[f->unsettled_at++ % FERRY__UNSETTLED] = frame->id;
    f->unheard++;
    ferry__wrap_hand_back(self, frame);
}

static void stall(ferry__fault *f)
{
    struct timespec t = {f->stall_ms / 1000, (long)(f->stall_ms % 1000) * 1000000};
    if (f->stall_ms)
        nanosleep(&t, NULL);
}

static void fault_step(void *self)
{
    ferry__fault *f = self;
    stall(f);
    f->stalled = true;
    ferry__wrap_step(self);
}

/* The core calls step only where the innermost transport has one. */
static void fault_wait(void *self, int ms)
{
    ferry__fault *f = self;
    if (!f->stalled)
        stall(f);
    f->stalled = false;
    ferry__wrap_wait(self, ms);
}

static void tell(ferry__fault *f, const ferry__news *n)
{
    static const char *const why[] = {"", "fault: refused on purpose", "fault: lost on purpose"};
    ferry__up *outer = f->wrap.outer;
    if (n->withdrawn)
        outer->withdrawn(outer, n->frame, true);
    if (n->frame)
        outer->outcome(outer, n->frame, n->fate, n->status, why[n->fate]);
    else
        outer->settled(outer, 1, n->status, why[n->fate]);
}

static void tell_news(ferry__fault *f)
{
    ferry__list now;
    ferry__list_init(&now);
    ferry__list_join(&now, &f->news);
    for (ferry__node *n; (n = ferry__list_shift(&now)); ferry__free(n)) {
        tell(f, ferry__news_of(n));
        ferry__frame_unref(ferry__news_of(n)->frame);
    }
}

static void fault_pump(void *self)
{
    ferry__fault *f = self;
    ferry__wrap_pump(self);
    if (f->striking)
        begin_outage(f);
    tell_news(f);
    if (f->outage != FERRY__UP && ferry__now_ms() >= f->outage_until)
        end_outage(f);
}

static int sooner(int ms, int64_t at_ms, int64_t now_ms)
{
    int64_t left = at_ms > now_ms ? at_ms - now_ms : 0;
    return ms < 0 || left < ms ? (int)left : ms;
}

static int fault_next_ms(void *self, int64_t now_ms)
{
    ferry__fault *f = self;
    int ms = ferry__wrap_next_ms(self, now_ms);
    if (!ferry__list_empty(&f->news) || f->striking)
        return 0;
    if (f->outage != FERRY__UP)
        ms = sooner(ms, f->outage_until, now_ms);
    for (ferry__node *n = f->held.next; n != &f->held && f->outage != FERRY__DOWN; n = n->next)
        ms = sooner(ms, ferry__held_of(n)->due_ms, now_ms);
    return ms;
}

/* One that is still here is withdrawn for sure. */
static void fault_withdraw(void *self, ferry__target *target, ferry__frame *frame)
{
    ferry__fault *f = self;
    for (ferry__node *n = f->held.next; n != &f->held; n = n->next) {
        ferry__news *told =
            ferry__held_of(n)->frame == frame ? ferry__fault_report(f, frame, FERRY__REFUSED, FERRY_CANCELLED) : NULL;
        if (told) {
            told->withdrawn = true;
            ferry__frame_unref(ferry__fault_unhold(ferry__held_of(n)));
            return;
        }
    }
    for (ferry__node *n = f->copies.next; n != &f->copies; n = n->next)
        if (ferry__copy_of(n)->of == frame)
            frame = ferry__copy_of(n)->sent;
    ferry__wrap_withdraw(self, target, frame);
}

static const ferry__abilities abilities = {.withdraw = fault_withdraw,
                                           .begin = ferry__wrap_begin,
                                           .touch = ferry__wrap_touch,
                                           .seek = ferry__wrap_seek,
                                           .admin = ferry__wrap_admin};

const ferry__backend ferry__fault_backend = {
    .scheme = "fault",
    .about = "drops, doubles, delays and breaks on purpose what passes to the transport behind it",
    .state_size = sizeof(ferry__fault),
    .settings = settings,
    .more = &abilities,
    .open = fault_open,
    .close = fault_close,
    .abandon = fault_abandon,
    .listen = ferry__wrap_listen,
    .unlisten = fault_unlisten,
    .credit = ferry__wrap_credit,
    .send = fault_send,
    .flush = fault_flush,
    .settle = fault_settle,
    .retry = ferry__wrap_retry,
    .bury = ferry__wrap_bury,
    .hand_back = ferry__wrap_hand_back,
    .wait = fault_wait,
    .wake = ferry__wrap_wake,
    .step = fault_step,
    .pump = fault_pump,
    .probe = ferry__wrap_probe,
    .next_ms = fault_next_ms,
    .fd = ferry__wrap_fd,
};
