#include "backends/wrap.h"

#include "base/alloc.h"

typedef struct ferry__refusal {
    struct ferry__refusal *next;
    ferry__frame *frame;
} refusal;

/* ---- Upcalls -------------------------------------------------------------------------------------------------------- */

static ferry__up *outer_of(ferry__up *up)
{
    return ((ferry__wrap *)(void *)up)->outer;
}

static void pass_frame(ferry__up *up, ferry__source *source, ferry__frame *frame)
{
    outer_of(up)->frame(outer_of(up), source, frame);
}

static void pass_outcome(ferry__up *up, ferry__frame *frame, ferry__fate fate, ferry_status status, const char *why)
{
    outer_of(up)->outcome(outer_of(up), frame, fate, status, why);
}

static void pass_settled(ferry__up *up, size_t how_many, ferry_status status, const char *why)
{
    outer_of(up)->settled(outer_of(up), how_many, status, why);
}

static void pass_withdrawn(ferry__up *up, ferry__frame *frame, bool yes)
{
    outer_of(up)->withdrawn(outer_of(up), frame, yes);
}

static void pass_probed(ferry__up *up, ferry__target *target, ferry__presence presence)
{
    outer_of(up)->probed(outer_of(up), target, presence);
}

static void pass_state(ferry__up *up, ferry__state state, ferry_status why, const char *text)
{
    outer_of(up)->state(outer_of(up), state, why, text);
}

static void pass_answered(ferry__up *up, ferry__admin *admin)
{
    outer_of(up)->answered(outer_of(up), admin);
}

static void pass_ready(ferry__up *up, ferry__source *source)
{
    outer_of(up)->ready(outer_of(up), source);
}

static void pass_caught_up(ferry__up *up, ferry__source *source)
{
    outer_of(up)->caught_up(outer_of(up), source);
}

static void pass_broken(ferry__up *up, ferry__source *source, ferry_status status, const char *why)
{
    outer_of(up)->broken(outer_of(up), source, status, why);
}

#define OR(mine, pass) ((mine) ? (mine) : (pass))

ferry_status ferry__wrap_open(ferry__wrap *w, const ferry__up *upcalls, ferry__up *outer, const ferry__config *config,
                              const ferry__url *url, char *why)
{
    w->outer = outer;
    w->up = (ferry__up){
        .frame = OR(upcalls->frame, pass_frame),
        .outcome = OR(upcalls->outcome, pass_outcome),
        .settled = OR(upcalls->settled, pass_settled),
        .withdrawn = OR(upcalls->withdrawn, pass_withdrawn),
        .probed = OR(upcalls->probed, pass_probed),
        .state = OR(upcalls->state, pass_state),
        .answered = OR(upcalls->answered, pass_answered),
        .ready = OR(upcalls->ready, pass_ready),
        .caught_up = OR(upcalls->caught_up, pass_caught_up),
        .broken = OR(upcalls->broken, pass_broken),
        .log = outer->log,
        .bits = outer->bits,
    };
    if (!config->inner) {
        ferry__why(why, "a decorator needs a transport behind it, e.g. trace+mem:name");
        return FERRY_INVALID;
    }
    w->inner = config->inner;
    w->self = config->inner_self;
    ferry_status status = w->inner->open(w->self, &w->up, config->inner_config, url, why);
    outer->bits = w->up.bits;
    return status;
}

/* ---- Slots ---------------------------------------------------------------------------------------------------------- */

static void forget(ferry__wrap *w)
{
    for (refusal *r = w->refusals, *next; r; r = next) {
        next = r->next;
        ferry__frame_unref(r->frame);
        ferry__free(r);
    }
    w->refusals = NULL;
}

/* `inner` is NULL when our own open failed before it came to the wrapped one's. */
void ferry__wrap_close(void *self)
{
    ferry__wrap *w = self;
    if (w->inner)
        w->inner->close(w->self);
    forget(w);
}

void ferry__wrap_abandon(void *self)
{
    ferry__wrap *w = self;
    if (w->inner)
        w->inner->abandon(w->self);
    forget(w);
}

ferry_status ferry__wrap_listen(void *self, ferry__source *source)
{
    ferry__wrap *w = self;
    return w->inner->listen(w->self, source);
}

void ferry__wrap_unlisten(void *self, ferry__source *source)
{
    ferry__wrap *w = self;
    w->inner->unlisten(w->self, source);
}

void ferry__wrap_credit(void *self, ferry__source *source, int frames)
{
    ferry__wrap *w = self;
    w->inner->credit(w->self, source, frames);
}

void ferry__wrap_send(void *self, ferry__target *target, ferry__frame *frame)
{
    ferry__wrap *w = self;
    w->inner->send(w->self, target, frame);
}

void ferry__wrap_flush(void *self)
{
    ferry__wrap *w = self;
    w->inner->flush(w->self);
}

void ferry__wrap_settle(void *self, ferry__frame *frame)
{
    ferry__wrap *w = self;
    w->inner->settle(w->self, frame);
}

void ferry__wrap_retry(void *self, ferry__frame *frame, int delay_ms)
{
    ferry__wrap *w = self;
    w->inner->retry(w->self, frame, delay_ms);
}

void ferry__wrap_bury(void *self, ferry__frame *frame, const char *box, const void *record, size_t length)
{
    ferry__wrap *w = self;
    w->inner->bury(w->self, frame, box, record, length);
}

void ferry__wrap_hand_back(void *self, ferry__frame *frame)
{
    ferry__wrap *w = self;
    w->inner->hand_back(w->self, frame);
}

void ferry__wrap_wait(void *self, int ms)
{
    ferry__wrap *w = self;
    w->inner->wait(w->self, ms);
}

void ferry__wrap_wake(void *self)
{
    ferry__wrap *w = self;
    w->inner->wake(w->self);
}

void ferry__wrap_step(void *self)
{
    ferry__wrap *w = self;
    if (w->inner->step)
        w->inner->step(w->self);
}

static void refuse_withdrawals(ferry__wrap *w)
{
    for (refusal *r; (r = w->refusals);) {
        w->refusals = r->next;
        w->up.withdrawn(&w->up, r->frame, false);
        ferry__frame_unref(r->frame);
        ferry__free(r);
    }
}

static void refuse_questions(ferry__wrap *w)
{
    for (ferry__admin *a; (a = w->unanswered);) {
        w->unanswered = a->next;
        a->next = NULL;
        a->status = FERRY_UNSUPPORTED;
        ferry__why(a->why, "%s has no administration", w->inner->scheme);
        w->up.answered(&w->up, a);
    }
}

void ferry__wrap_pump(void *self)
{
    ferry__wrap *w = self;
    refuse_withdrawals(w);
    refuse_questions(w);
    w->inner->pump(w->self);
}

void ferry__wrap_probe(void *self, ferry__target *target)
{
    ferry__wrap *w = self;
    w->inner->probe(w->self, target);
}

int ferry__wrap_next_ms(void *self, int64_t now_ms)
{
    ferry__wrap *w = self;
    return w->refusals || w->unanswered ? 0 : w->inner->next_ms(w->self, now_ms);
}

int ferry__wrap_fd(void *self)
{
    ferry__wrap *w = self;
    return w->inner->fd(w->self);
}

/* ---- Abilities ------------------------------------------------------------------------------------------------------ */

/* No memory for the refusal: none comes, and the core's own timer ends the wait for it. */
void ferry__wrap_withdraw(void *self, ferry__target *target, ferry__frame *frame)
{
    ferry__wrap *w = self;
    if (w->inner->more && w->inner->more->withdraw) {
        w->inner->more->withdraw(w->self, target, frame);
        return;
    }
    refusal *r = ferry__alloc(sizeof *r);
    if (!r)
        return;
    *r = (refusal){w->refusals, ferry__frame_ref(frame)};
    w->refusals = r;
}

void ferry__wrap_begin(void *self, ferry__frame *frame)
{
    ferry__wrap *w = self;
    if (w->inner->more && w->inner->more->begin)
        w->inner->more->begin(w->self, frame);
}

void ferry__wrap_touch(void *self, ferry__frame *frame)
{
    ferry__wrap *w = self;
    if (w->inner->more && w->inner->more->touch)
        w->inner->more->touch(w->self, frame);
}

void ferry__wrap_seek(void *self, ferry__source *source, const ferry__wish *to)
{
    ferry__wrap *w = self;
    if (w->inner->more && w->inner->more->seek)
        w->inner->more->seek(w->self, source, to);
}

void ferry__wrap_admin(void *self, ferry__admin *admin)
{
    ferry__wrap *w = self;
    if (w->inner->more && w->inner->more->admin) {
        w->inner->more->admin(w->self, admin);
        return;
    }
    admin->next = w->unanswered;
    w->unanswered = admin;
}
