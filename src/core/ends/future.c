#include "ends/future.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/thread.h"
#include "data/route.h"
#include "ends/drop.h"
#include "ends/reply.h"
#include "ends/request.h"
#include "ends/serve.h"

#include <string.h>

enum { LATE_MS = 45 }; /* a caller whose driver is stuck ends its own call so long after the deadline */

/* ---- ending ---- */

static void run_callback(ferry__callback *c)
{
    ferry_future *u = FERRY__OF(c, ferry_future, callback);
    ferry_reply_fn *run = u->on_reply;
    void *arg = u->arg;
    run(ferry__future_collect(u), arg);
}

/* With the lock held, from wherever the end was found out. */
static void ended(ferry__link *l, ferry__pending *p)
{
    ferry_future *u = (ferry_future *)(void *)p;
    u->ended = true;
    ferry__list_remove(&u->nested);
    if (u->on_reply) {
        u->callback.run = run_callback;
        ferry__callbacks_add(u->f, &u->callback);
    } else if (u->posted)
        ferry__drop_ended(u);
    else {
        u->counted = true;
        l->uncollected++;
        if (u->waiter)
            ferry__waiter_poke(l, u->waiter);
    }
}

/* One that never came into the table. */
static uint64_t end_early(ferry_future *u, ferry_status status, const char *why)
{
    ferry__pending *p = &u->pending;
    ferry__link *l = &u->f->link;
    p->stage = FERRY__ENDED;
    p->status = (uint8_t)status;
    p->outcome = FERRY_OUTCOME_NOT_SENT;
    p->why = ferry__strdup(why);
    if (u->f->forks != ferry__fork_count()) { /* the lock may have been held when the process was copied */
        u->ended = true;
        return 0;
    }
    ferry__link_lock(l);
    uint64_t ticket = ++l->serial;
    ended(l, p);
    ferry__link_unlock(l);
    return ticket;
}

ferry_future *ferry__future_new(ferry *f)
{
    ferry_future *u = ferry__zalloc(sizeof *u);
    if (!u)
        return NULL;
    u->f = ferry__handle_ref(f);
    u->pending.ended = ended;
    ferry__list_init(&u->nested);
    ferry__list_init(&u->callback.node);
    return u;
}

void ferry__future_free(ferry_future *u)
{
    ferry *f = u->f;
    ferry__frame_unref(u->pending.frame);
    ferry__frame_unref(u->pending.reply);
    ferry__free(u->pending.why);
    ferry__free(u);
    ferry__handle_unref(f);
}

/* ---- starting ---- */

static ferry__lane lane_of(ferry__kind kind)
{
    return kind == FERRY__CALL ? FERRY__CALLS : kind == FERRY__POST ? FERRY__POSTS : FERRY__EVENTS;
}

static ferry_status peer_named(ferry *f, ferry__lane lane, const char *name, size_t length, ferry__peer **peer,
                               char *why)
{
    ferry_status status = ferry__handle_usable(f, why);
    if (status != FERRY_OK)
        return status;
    *peer = ferry__peer_get(&f->link, lane, name, length);
    if (!*peer)
        ferry__why(why, "out of memory");
    return *peer ? FERRY_OK : FERRY_NO_MEMORY;
}

static ferry_status peer_of(ferry *f, const ferry__orders *o, ferry__peer **peer, char *why)
{
    size_t length = ferry__route_service(o->route);
    const char *name = ferry__names_real(f->names, o->route, &length);
    return peer_named(f, lane_of(o->kind), name, length, peer, why);
}

/* The only worker waits for itself, unless another server of that name is quick: it ends by the deadline, and this says why. */
static void warn_of_itself(const ferry *f, const ferry__peer *peer)
{
    if (ferry__inside == f && f->workers == 1 && ferry__serves(f, peer->name))
        ferry__log_print(&f->link.log, LOG_WARNING,
                         "a handler of the only worker calls '%s', which the same handle serves: give it more workers",
                         peer->name);
}

/* With the lock held. Afterwards a posted one may be gone. */
static uint64_t launch(ferry_future *u, const ferry__orders *o, ferry__peer *peer, ferry__frame *frame, bool stays)
{
    ferry__link *l = &u->f->link;
    uint64_t ticket = frame->id.serial = ++l->serial;
    u->pending.peer = peer;
    u->pending.started_ms = o->now_ms;
    u->pending.alone = u->posted || u->on_reply;
    if (o->within && o->kind == FERRY__CALL)
        ferry__request_nest(o->within, u);
    if (o->kind == FERRY__CALL)
        warn_of_itself(u->f, peer);
    ferry__pending_start(l, &u->pending, frame);
    ferry__link_noted(l, stays);
    return ticket;
}

static ferry_status make_frame(ferry *f, ferry__orders *o, ferry__frame **frame, char *why)
{
    ferry_status status = ferry__handle_refusal(f, why);
    if (status == FERRY_OK)
        return ferry__frame_build(f, o, frame, why);
    ferry_value_free(o->data);
    o->data = NULL;
    return status;
}

uint64_t ferry__future_start(ferry_future *u, ferry__orders *o, bool stays)
{
    char why[FERRY_WHY_SIZE] = "";
    ferry__frame *frame = NULL;
    ferry__peer *peer = NULL;
    ferry *f = u->f;
    uint64_t ticket = 0;
    ferry_status status = make_frame(f, o, &frame, why);
    if (status != FERRY_OK)
        return end_early(u, status, why);
    ferry__link_lock(&f->link);
    status = peer_of(f, o, &peer, why);
    if (status == FERRY_OK)
        ticket = launch(u, o, peer, frame, stays);
    ferry__link_unlock(&f->link);
    if (status == FERRY_OK)
        return ticket;
    ferry__frame_unref(frame);
    return end_early(u, status, why);
}

uint64_t ferry__future_refuse(ferry_future *u, ferry__orders *o, ferry_status status, const char *why)
{
    ferry_value_free(o->data);
    o->data = NULL;
    return end_early(u, status, why);
}

static ferry_status room_for(const ferry__link *l, char *why)
{
    if (l->table.count < l->max_pending && l->state != FERRY__BLOCKED)
        return FERRY_OK;
    ferry__why(why, "%s", l->state == FERRY__BLOCKED ? l->state_why : "max_pending messages are under way");
    return FERRY_OVERLOADED;
}

ferry_status ferry__future_post(ferry_future *u, ferry__orders *o, char *why)
{
    ferry__frame *frame = NULL;
    ferry__peer *peer = NULL;
    ferry *f = u->f;
    u->posted = true;
    ferry_status status = make_frame(f, o, &frame, why);
    if (status == FERRY_OK) {
        ferry__link_lock(&f->link);
        status = peer_of(f, o, &peer, why);
        if (status == FERRY_OK)
            status = room_for(&f->link, why);
        if (status == FERRY_OK)
            launch(u, o, peer, frame, false);
        ferry__link_unlock(&f->link);
    }
    if (status == FERRY_OK)
        return FERRY_OK;
    ferry__frame_unref(frame);
    ferry__future_free(u);
    return status;
}

/* ---- collecting ---- */

void ferry__future_wait(ferry_future *u)
{
    ferry__link *l = &u->f->link;
    ferry__waiter w;
    ferry__waiter_init(&w);
    while (!u->ended) {
        int64_t late = u->pending.frame->deadline_ms + LATE_MS;
        u->waiter = &w;
        ferry__link_wait(l, &w, late);
        u->waiter = NULL;
        if (!u->ended && ferry__now_ms() >= late)
            ferry__pending_end(l, &u->pending, FERRY_TIMEOUT,
                               u->pending.tried ? FERRY_OUTCOME_UNKNOWN : FERRY_OUTCOME_NOT_SENT,
                               "no answer before the deadline");
    }
}

ferry_reply *ferry__future_collect(ferry_future *u)
{
    ferry__pending *p = &u->pending;
    ferry__frame *answer = p->reply;
    p->reply = NULL;
    ferry_reply *r = answer ? ferry__reply_read(answer)
                            : ferry__reply_local((ferry_status)p->status, (ferry_outcome)p->outcome, p->why);
    ferry__future_free(u);
    return r;
}

/* In a forked child: what was under way belongs to the parent, whose threads are not here. */
static ferry_reply *await_forked(ferry_future *u)
{
    if (u->ended)
        return ferry__future_collect(u);
    return ferry__reply_local(FERRY_INVALID, FERRY_OUTCOME_UNKNOWN,
                              "the call was made before fork(): await it in the parent");
}

ferry_reply *ferry_await(ferry_future *u)
{
    if (!u)
        return NULL;
    ferry__link *l = &u->f->link;
    if (u->f->forks != ferry__fork_count())
        return await_forked(u);
    ferry__link_lock(l);
    ferry__future_wait(u);
    if (u->counted)
        l->uncollected--;
    ferry__link_leave(l);
    ferry__link_unlock(l);
    return ferry__future_collect(u);
}

static ferry_status confirm_one(ferry_future *u, ferry__orders *o, char *why)
{
    ferry__future_start(u, o, true);
    ferry_reply *r = ferry_await(u);
    ferry_status status = ferry_reply_status(r);
    if (status != FERRY_OK)
        ferry__why(why, "%s", ferry_error_at(r, 0)->message);
    ferry_reply_free(r);
    return status;
}

ferry_status ferry__future_hand_over(ferry *f, ferry__orders *o, ferry_confirm confirm, ferry_status status, char *why)
{
    ferry_future *u = f && status == FERRY_OK ? ferry__future_new(f) : NULL;
    if (u)
        return confirm == FERRY_CONFIRMED ? confirm_one(u, o, why) : ferry__future_post(u, o, why);
    ferry_value_free(o->data);
    o->data = NULL;
    ferry__why(why, "%s", *why ? why : "out of memory");
    return status == FERRY_OK ? FERRY_NO_MEMORY : status;
}

static size_t find_ended(ferry_future *const *futures, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (futures[i] && futures[i]->ended)
            return i;
    return n;
}

static void set_waiter(ferry_future *const *futures, size_t n, ferry__waiter *w)
{
    for (size_t i = 0; i < n; i++)
        if (futures[i])
            futures[i]->waiter = w;
}

/* Futures of one handle, or of several: then the first one's link is driven and the others are looked at now and then. */
static size_t await_any(ferry_future *const *futures, size_t n, ferry *f, bool same, int64_t until_ms)
{
    ferry__waiter w;
    ferry__waiter_init(&w);
    size_t i;
    ferry__link_lock(&f->link);
    if (same)
        set_waiter(futures, n, &w);
    for (bool late = false; (i = find_ended(futures, n)) == n && !late; late = ferry__now_ms() >= until_ms) {
        int64_t slice = same ? until_ms : ferry__now_ms() + 1;
        w.poked = false;
        ferry__link_wait(&f->link, &w, slice < until_ms ? slice : until_ms); /* one turn even without time to wait */
    }
    if (same)
        set_waiter(futures, n, NULL);
    ferry__link_leave(&f->link);
    ferry__link_unlock(&f->link);
    return i;
}

size_t ferry_await_any(ferry_future *const *futures, size_t n, int timeout_ms)
{
    ferry *f = NULL;
    bool same = true;
    for (size_t i = 0; i < n; i++) {
        if (!futures[i])
            continue;
        same = same && (!f || f == futures[i]->f);
        f = futures[i]->f;
    }
    if (!f)
        return n;
    return await_any(futures, n, f, same, timeout_ms < 0 ? INT64_MAX : ferry__now_ms() + timeout_ms);
}

void ferry_cancel(ferry_future *u)
{
    if (!u || u->f->forks != ferry__fork_count())
        return;
    ferry__link_lock(&u->f->link);
    ferry__pending_cancel(&u->f->link, &u->pending, FERRY_CANCELLED, "cancelled by the caller");
    ferry__link_unlock(&u->f->link);
}

bool ferry_cancel_async(ferry *f, uint64_t ticket)
{
    if (!f || ferry__handle_refusal(f, NULL) != FERRY_OK)
        return false;
    ferry__link_lock(&f->link);
    ferry__pending *p = f->closed ? NULL : ferry__table_find(&f->link.table, ticket);
    if (p)
        ferry__pending_cancel(&f->link, p, FERRY_CANCELLED, "cancelled by the caller");
    ferry__link_unlock(&f->link);
    return p != NULL;
}

ferry_status ferry__future_resend(ferry *f, const char *to, ferry__frame *frame, int64_t until_ms, char *why)
{
    ferry__peer *peer = NULL;
    ferry_future *u = ferry__future_new(f);
    ferry__link *l = &f->link;
    ferry_status status = u ? FERRY_OK : FERRY_NO_MEMORY;
    if (u) {
        frame->deadline_ms = until_ms;
        if (frame->key.at)
            frame->partition = ferry__part_for(f, ferry__frame_text(frame, frame->key));
        ferry__link_lock(l);
        status = peer_named(f, FERRY__POSTS, to, strlen(to), &peer, why);
        if (status == FERRY_OK) {
            u->pending.peer = peer;
            ferry__pending_start(l, &u->pending, frame);
            ferry__link_noted(l, true);
        }
        ferry__link_unlock(l);
    }
    if (status != FERRY_OK) {
        ferry__frame_unref(frame);
        if (u)
            ferry__future_free(u);
        return status;
    }
    ferry_reply *r = ferry_await(u);
    status = ferry_reply_status(r);
    ferry__why(why, "%s", status == FERRY_OK ? "" : ferry_error_at(r, 0)->message);
    ferry_reply_free(r);
    return status;
}
