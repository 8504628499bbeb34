/* serve.c - sources, credits and arrival. What happens to a request on its worker is in run.c. */
#include "ends/serve.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/random.h"
#include "ends/admin.h"
#include "ends/events.h"
#include "ends/request.h"
#include "ends/run.h"

#include <string.h>

enum {
    CANCELS = FERRY__CANCELS_KEPT,
    POSTS = 1,
    SAMPLE = 16,      /* one handler in so many is timed */
    LONG_MS = 4,      /* a handler that runs so long is long: just under the background's look at busy workers */
    NO_MEMORY_MS = 50 /* before a frame is taken again that there was no memory for */
};

/* ---- sources ---- */

/* All of its sources or none: a service that is seen and not received for would keep its callers waiting. */
static ferry_status listen_to(ferry *f, ferry__service *s)
{
    ferry__link *l = &f->link;
    ferry__source *sources[] = {&s->calls, &s->posts, &s->controls};
    size_t want = l->bits & FERRY__CANCELS ? 3 : 2, n = 0;
    ferry_status status = FERRY_OK;
    for (; n < want && status == FERRY_OK; n += status == FERRY_OK)
        status = l->backend->listen(l->self, sources[n]);
    s->listening = status == FERRY_OK;
    while (!s->listening && n > 0)
        l->backend->unlisten(l->self, sources[--n]);
    ferry__link_noted(l, false);
    return status;
}

static ferry__service *make_service(ferry *f, const char *name, size_t length)
{
    ferry__service *s = ferry__zalloc(sizeof *s + length + 1);
    if (!s)
        return NULL;
    memcpy(s->name, name, length);
    s->calls = (ferry__source){.lane = FERRY__CALLS, .name = s->name, .owner = s};
    s->posts = (ferry__source){.lane = FERRY__POSTS, .name = s->name, .owner = s};
    s->controls = (ferry__source){.lane = FERRY__CONTROLS, .name = s->name, .owner = s};
    s->next = f->services;
    f->services = s;
    return s;
}

ferry_status ferry__serve_name(ferry *f, const char *name, size_t length)
{
    ferry__service *s = f->services;
    while (s && (strncmp(s->name, name, length) != 0 || s->name[length]))
        s = s->next;
    if (!s)
        s = make_service(f, name, length);
    if (!s)
        return FERRY_NO_MEMORY;
    return f->serving && !s->listening && !f->draining ? listen_to(f, s) : FERRY_OK;
}

ferry_status ferry__serve_begin(ferry *f)
{
    ferry_status status = FERRY_OK;
    f->serving = true;
    for (ferry__service *s = f->services; s && status == FERRY_OK; s = s->next)
        if (!s->listening)
            status = listen_to(f, s);
    if (status != FERRY_OK)
        ferry__serve_undo(f);
    return status;
}

void ferry__serve_undo(ferry *f)
{
    ferry__link *l = &f->link;
    for (ferry__service *s = f->services; s; s = s->next) {
        if (!s->listening)
            continue;
        l->backend->unlisten(l->self, &s->calls);
        l->backend->unlisten(l->self, &s->posts);
        if (l->bits & FERRY__CANCELS)
            l->backend->unlisten(l->self, &s->controls);
        s->listening = false;
        s->asked[0] = s->asked[POSTS] = 0;
    }
    f->serving = false;
    ferry__link_noted(l, false);
}

void ferry__serve_done(ferry *f)
{
    for (ferry__service *s = f->services, *next; s; s = next) {
        next = s->next;
        ferry__free(s);
    }
    f->services = NULL;
}

/* ---- credits: how much we hold at most ---- */

static void give(ferry__link *l, ferry__source *source, size_t *asked, size_t held, size_t window)
{
    size_t have = *asked + held, room = have < window ? window - have : 0;
    if (room == 0 || (room * 4 < window && have > 0))
        return; /* in lots: a credit for each frame would be a command for each frame */
    l->backend->credit(l->self, source, (int)room);
    *asked += room;
    l->dirty = true;
}

/* ---- arrival, with the lock held ---- */

static bool same_id(const ferry__id *a, const ferry__id *b)
{
    return a->serial == b->serial && memcmp(a->client, b->client, sizeof a->client) == 0;
}

static ferry_request *find_request(ferry *f, const ferry__id *id)
{
    for (ferry__node *n = f->requests.next; n != &f->requests; n = n->next) {
        ferry_request *req = FERRY__OF(n, ferry_request, active);
        if (same_id(&req->frame->id, id))
            return req;
    }
    return NULL;
}

/* A cancellation may come before its call, or while that is on its way back to the queue: it is kept for a while. */
static bool was_cancelled(const ferry *f, const ferry__id *id)
{
    for (size_t i = 0; i < CANCELS && i < f->cancels_count; i++)
        if (same_id(&f->cancels[i], id))
            return true;
    return false;
}

/* The caller gave up. A running handler is told and its own calls end; one that did not begin is skipped when its turn comes. */
static void cancelled(ferry *f, const ferry__frame *control)
{
    ferry_request *req = find_request(f, &control->id);
    if (!req) {
        f->cancels[f->cancels_count++ % CANCELS] = control->id;
        return;
    }
    atomic_store(&req->cancelled, true);
    for (ferry__node *n = req->nested.next, *next; n != &req->nested; n = next) {
        next = n->next;
        ferry_future *u = FERRY__OF(n, ferry_future, nested);
        ferry__pending_cancel(&f->link, &u->pending, FERRY_CANCELLED, "the request this call is part of was cancelled");
    }
}

static uint64_t job_key(const ferry__frame *frame)
{
    if (!frame->key.at)
        return 0;
    uint64_t hash = ferry__hash(ferry__frame_text(frame, frame->key), frame->key.length) + frame->kind;
    return hash ? hash : 1;
}

static bool enqueue(ferry *f, ferry__service *s, ferry__frame *frame)
{
    ferry_request *req = ferry__request_new(f, frame);
    if (!req)
        return false;
    req->service = s;
    req->job.run = ferry__run_request;
    req->job.key = f->workers > 1 ? job_key(frame) : 0;
    req->job.urgent = frame->kind == FERRY__CALL;
    atomic_init(&req->cancelled, req->job.urgent && f->cancels_count > 0 && was_cancelled(f, &frame->id));
    req->handler = ferry__router_find(&f->router, ferry_request_route(req), (ferry_verb)frame->verb, &req->refusal);
    ferry__list_append(&f->requests, &req->active);
    ferry__jobs_add(&f->link, &req->job);
    return true;
}

static bool may_hold_up(const ferry *f);
static void look_for_long(ferry *f);

/* The reference that came with the frame is the settlement's. */
static void arrived(ferry__link *l, ferry__source *source, ferry__frame *frame)
{
    ferry *f = ferry__handle_of(l);
    ferry__service *s = source ? source->owner : NULL;
    if (frame->kind == FERRY__CONTROL)
        cancelled(f, frame);
    if (frame->kind == FERRY__CONTROL || !s) {
        ferry__frame_unref(frame);
        return;
    }
    size_t lane = source->lane == FERRY__POSTS;
    l->counts.requests_received++;
    if (s->asked[lane] > 0)
        s->asked[lane]--;
    if (!f->draining && enqueue(f, s, frame)) {
        s->held[lane]++;
        if (l->jobs.running >= f->workers && may_hold_up(f) && !ferry__node_linked(&f->long_look.node))
            look_for_long(f); /* it came while a handler ran that may be long */
        return;
    }
    l->settling++;
    l->dirty = true;
    if (f->draining)
        l->backend->hand_back(l->self, frame);
    else
        l->backend->retry(l->self, frame, NO_MEMORY_MS);
}

/* ---- giving back ---- */

static void hand_back(ferry *f, ferry_request *req)
{
    ferry__link *l = &f->link;
    ferry__list_remove(&req->active);
    req->service->held[req->frame->kind == FERRY__POST]--;
    l->counts.requests_handed_back++;
    l->settling++;
    l->backend->hand_back(l->self, req->frame); /* the settlement's reference */
}

/* Backwards: what is handed back goes in front. */
static void hand_back_queued(ferry *f)
{
    for (ferry__node *n = f->requests.prev, *next; n != &f->requests; n = next) {
        ferry_request *req = FERRY__OF(n, ferry_request, active);
        next = n->prev;
        if (req->state != FERRY__QUEUED ||
            atomic_load(&req->cancelled)) /* cancelled ones are skipped here: elsewhere they would run */
            continue;
        if (!ferry__jobs_remove(&f->link.jobs, &req->job))
            continue;
        hand_back(f, req);
        ferry__request_free(req);
    }
}

static void take_credit_back(ferry *f)
{
    ferry__link *l = &f->link;
    for (ferry__service *s = f->services; s; s = s->next)
        for (size_t lane = 0; lane < 2 && s->listening; lane++) {
            l->backend->credit(l->self, lane == POSTS ? &s->posts : &s->calls, -(int)s->asked[lane]);
            s->asked[lane] = 0;
        }
}

/* Handlers were short, so we hold some messages ahead, and now one is long: another server may be free for them. */
static void hand_back_behind_long(ferry *f)
{
    ferry__link *l = &f->link;
    if (l->jobs.running < f->workers)
        return;
    for (ferry__node *n = f->requests.next; n != &f->requests; n = n->next) {
        ferry_request *req = FERRY__OF(n, ferry_request, active);
        if (req->state == FERRY__RUNNING && l->now_ms - req->begun_ms < LONG_MS)
            return;
    }
    f->window = f->workers;
    f->handler_ns = (uint64_t)LONG_MS * 1000000;
    f->stuck = true;
    take_credit_back(f);
    hand_back_queued(f);
    l->dirty = true;
}

static bool may_hold_up(const ferry *f)
{
    return !f->stuck && f->link.jobs.ready + f->link.jobs.blocked > 0 && !f->draining;
}

static void look_for_long(ferry *f)
{
    ferry__link *l = &f->link;
    ferry__timer_set(&l->wheel, &f->long_look, l->now_ms + LONG_MS + 1);
    if (l->driver && l->sleeping)
        l->backend->wake(l->self);
}

static void on_long_look(ferry__timer *t)
{
    ferry *f = FERRY__OF(t, ferry, long_look);
    if (may_hold_up(f))
        hand_back_behind_long(f);
    if (may_hold_up(f))
        ferry__timer_set(&f->link.wheel, t, f->link.now_ms + LONG_MS + 1);
}

void ferry__serve_init(ferry *f)
{
    ferry__timer_init(&f->long_look, on_long_look);
}

void ferry__serve_drain(ferry *f)
{
    ferry__link *l = &f->link;
    f->draining = true;
    for (ferry__service *s = f->services; s && !f->closed; s = s->next)
        if (s->listening) {
            l->backend->unlisten(l->self, &s->calls);
            l->backend->unlisten(l->self, &s->posts);
            s->listening = false;
        }
    hand_back_queued(f);
    ferry__link_noted(l, false);
    ferry__link_poke_watchers(l);
}

static void turned(ferry__link *l)
{
    ferry *f = ferry__handle_of(l);
    if (atomic_load_explicit(&f->stopping, memory_order_relaxed) && !f->draining)
        ferry__serve_drain(f);
    if (f->draining && !f->quiet && ferry__serve_quiet(f)) {
        f->quiet = true; /* told once: who waits for it must not be kept from sleeping */
        ferry__link_poke_watchers(l);
    }
    bool room = !f->draining && !f->stuck && f->deferred < l->max_pending;
    for (ferry__service *s = f->services; s && room; s = s->next) {
        if (!s->listening)
            continue;
        give(l, &s->calls, &s->asked[0], s->held[0], f->window);
        give(l, &s->posts, &s->asked[POSTS], s->held[POSTS], f->window);
    }
}

bool ferry__serves(const ferry *f, const char *name)
{
    const ferry__service *s = f->services;
    while (s && strcmp(s->name, name) != 0)
        s = s->next;
    return s && s->listening;
}

bool ferry__serve_quiet(const ferry *f)
{
    return ferry__list_empty(&f->requests) && f->link.settling == 0 && !f->link.dirty;
}

static void begins(ferry__link *l, ferry__job *job)
{
    ferry_request *req = (ferry_request *)(void *)job;
    req->state = FERRY__RUNNING;
    req->begun_ms = l->now_ms;
    ferry *f = ferry__handle_of(l);
    req->sampled = f->handler_ns == 0 || req->frame->id.serial % SAMPLE == 0;
    if (may_hold_up(f) && !ferry__node_linked(&f->long_look.node))
        look_for_long(f);
    if (l->more && l->more->begin)
        l->more->begin(l->self, req->frame);
}

static void left(ferry__link *l)
{
    ferry__handle_unref(ferry__handle_of(l));
}

const ferry__hooks ferry__serve_hooks = {arrived,
                                         ferry__admin_answered,
                                         turned,
                                         begins,
                                         left,
                                         ferry__events_ready,
                                         ferry__events_caught_up,
                                         ferry__events_broken};
