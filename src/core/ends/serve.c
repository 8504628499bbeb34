/* serve.c - sources, credits and arrival. What happens to a request on its worker is in run.c. */
#include "ends/serve.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/random.h"
#include "ends/admin.h"
#include "ends/request.h"
#include "ends/run.h"
#include "ends/subscription.h"

#include <string.h>

enum {
    CANCELS = FERRY__CANCELS_KEPT,
    SAMPLE = 16,      /* one handler in so many is timed */
    LONG_MS = 4,      /* a handler that runs so long is long: just under the background's look at busy workers */
    LEAVING_MS = 5000,
    NO_MEMORY_MS = 50 /* before a frame is taken again that there was no memory for */
};

/* ---- sources ---- */

/* All of its sources or none: a service that is seen and not received for would keep its callers waiting. */
ferry_status ferry__serve_listen(ferry *f, ferry__service *s)
{
    ferry__link *l = &f->link;
    size_t n = 0;
    ferry_status status = FERRY_OK;
    for (; n < s->count && status == FERRY_OK; n += status == FERRY_OK)
        status = l->backend->listen(l->self, &s->sources[n]);
    s->listening = status == FERRY_OK;
    l->subscribing += s->listening && s->subscription;
    while (!s->listening && n > 0)
        l->backend->unlisten(l->self, &s->sources[--n]);
    ferry__link_noted(l, false);
    return status;
}

ferry__service *ferry__serve_new(ferry *f, const char *name, size_t length)
{
    ferry__service *s = ferry__zalloc(sizeof *s + length + 1);
    if (!s)
        return NULL;
    memcpy(s->name, name, length);
    s->next = f->services;
    f->services = s;
    return s;
}

static ferry__service *make_service(ferry *f, const char *name, size_t length)
{
    static const ferry__lane lanes[] = {FERRY__CALLS, FERRY__POSTS, FERRY__CONTROLS};
    ferry__service *s = ferry__serve_new(f, name, length);
    for (size_t i = 0; s && i < sizeof lanes / sizeof *lanes; i++)
        s->sources[i] = (ferry__source){.lane = lanes[i], .name = s->name, .owner = s};
    if (s)
        s->count = f->link.bits & FERRY__CANCELS ? 3 : 2;
    return s;
}

ferry_status ferry__serve_name(ferry *f, const char *route, size_t length)
{
    const char *name = ferry__names_real(f->names, route, &length);
    ferry__service *s = f->services;
    while (s && (strncmp(s->name, name, length) != 0 || s->name[length]))
        s = s->next;
    if (!s)
        s = make_service(f, name, length);
    if (!s)
        return FERRY_NO_MEMORY;
    return f->serving && !s->listening && !f->draining ? ferry__serve_listen(f, s) : FERRY_OK;
}

ferry_status ferry__serve_begin(ferry *f)
{
    ferry_status status = FERRY_OK;
    f->serving = true;
    for (ferry__service *s = f->services; s && status == FERRY_OK; s = s->next)
        if (!s->listening && !(s->subscription && s->subscription->ended))
            status = ferry__serve_listen(f, s);
    if (status != FERRY_OK)
        ferry__serve_undo(f);
    return status;
}

static void quit_listening(ferry *f, ferry__service *s)
{
    ferry_subscription *sub = s->subscription;
    if (s->listening && sub && !sub->ready && f->link.subscribing > 0)
        f->link.subscribing--;
    s->listening = false;
}

static void stop_listening(ferry *f, ferry__service *s)
{
    for (size_t i = 0; i < s->count && s->listening; i++)
        f->link.backend->unlisten(f->link.self, &s->sources[i]);
    quit_listening(f, s);
    s->asked[FERRY__FIRST] = s->asked[FERRY__SECOND] = 0;
}

void ferry__serve_undo(ferry *f)
{
    for (ferry__service *s = f->services; s; s = s->next)
        stop_listening(f, s);
    f->serving = false;
    ferry__link_noted(&f->link, false);
}

static void free_service(ferry__service *s)
{
    if (s->subscription)
        ferry__subscription_free(s->subscription);
    ferry__free(s);
}

void ferry__serve_done(ferry *f)
{
    for (ferry__service *s = f->services, *next; s; s = next) {
        next = s->next;
        free_service(s);
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

static ferry_request *receive(ferry *f, ferry__service *s, size_t lane, ferry__frame *frame)
{
    ferry_request *req = ferry__request_new(f, frame);
    if (!req)
        return NULL;
    req->service = s;
    req->lane = (uint8_t)lane;
    req->job.run = ferry__run_request;
    ferry__list_append(&f->requests, &req->active);
    s->requests++;
    s->held[lane]++;
    return req;
}

static bool enqueue_event(ferry *f, ferry__service *s, size_t lane, ferry__frame *frame)
{
    ferry_subscription *sub = s->subscription;
    ferry_request *req = receive(f, s, lane, frame);
    if (!req)
        return false;
    f->link.counts.events_received++;
    req->handler = sub->handler;
    if (!sub->handler->run) {
        ferry__subscription_store(sub, req);
        return true;
    }
    req->job.key = f->workers > 1 || sub->block_key ? job_key(frame) : 0;
    ferry__jobs_add(&f->link, &req->job);
    return true;
}

static bool enqueue(ferry *f, ferry__service *s, size_t lane, ferry__frame *frame)
{
    if (s->subscription)
        return enqueue_event(f, s, lane, frame);
    ferry_request *req = receive(f, s, lane, frame);
    if (!req)
        return false;
    f->link.counts.requests_received++;
    req->job.key = f->workers > 1 ? job_key(frame) : 0;
    req->job.urgent = frame->kind == FERRY__CALL;
    atomic_init(&req->cancelled, req->job.urgent && f->cancels_count > 0 && was_cancelled(f, &frame->id));
    req->handler = ferry__router_find(&f->router, ferry_request_route(req), (ferry_verb)frame->verb, &req->refusal);
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
    size_t lane = (size_t)(source - s->sources);
    if (s->asked[lane] > 0)
        s->asked[lane]--;
    if (s->subscription && !ferry__subscription_wants(s->subscription, frame)) {
        l->settling++;
        l->dirty = true;
        l->backend->settle(l->self, frame);
        return;
    }
    if (!f->draining && s->listening && enqueue(f, s, lane, frame)) {
        if (l->jobs.running >= f->workers && may_hold_up(f) && !ferry__node_linked(&f->long_look.node))
            look_for_long(f); /* it came while a handler ran that may be long */
        return;
    }
    l->settling++;
    l->dirty = true;
    if (f->draining || s->subscription) /* the retries of events are a lane further on */
        l->backend->hand_back(l->self, frame);
    else
        l->backend->retry(l->self, frame, NO_MEMORY_MS);
}

/* ---- giving back ---- */

void ferry__serve_hand_back(ferry *f, ferry_request *req)
{
    ferry__link *l = &f->link;
    ferry__list_remove(&req->active);
    req->service->requests--;
    l->counts.requests_handed_back++;
    l->settling++;
    l->backend->hand_back(l->self, req->frame); /* the settlement's reference */
}

/* Out of wherever it waits to begin. */
static bool take_out(ferry *f, ferry_request *req)
{
    if (req->state == FERRY__RESTING)
        return ferry__subscription_unrest(req);
    if (req->state != FERRY__QUEUED || atomic_load(&req->cancelled)) /* cancelled ones are skipped here: elsewhere they would run */
        return false;
    bool out = req->service->subscription && ferry__subscription_unstore(req->service->subscription, req);
    if (!out && !ferry__jobs_remove(&f->link.jobs, &req->job))
        return false;
    req->service->held[req->lane]--;
    return true;
}

/* What was not begun, of one name or of all. Backwards: what is handed back goes in front. */
static void hand_back_queued(ferry *f, const ferry__service *only)
{
    for (ferry__node *n = f->requests.prev, *next; n != &f->requests; n = next) {
        ferry_request *req = FERRY__OF(n, ferry_request, active);
        next = n->prev;
        if ((only && req->service != only) || !take_out(f, req))
            continue;
        ferry__serve_hand_back(f, req);
        ferry__request_free(req);
    }
}

/* Another server may be free for calls and posts; events stay, since their parts belong to us. */
static void hand_back_calls(ferry *f)
{
    for (ferry__service *s = f->services; s; s = s->next)
        if (!s->subscription)
            hand_back_queued(f, s);
}

void ferry__serve_pause(ferry *f, ferry__service *s)
{
    for (size_t lane = 0; lane < 2 && lane < s->count && s->listening; lane++) {
        f->link.backend->credit(f->link.self, &s->sources[lane], -(int)s->asked[lane]);
        s->asked[lane] = 0;
    }
}

static void take_credit_back(ferry *f)
{
    for (ferry__service *s = f->services; s; s = s->next)
        if (!s->subscription)
            ferry__serve_pause(f, s);
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
    hand_back_calls(f);
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

/* The controls stay: a call that runs on may still be cancelled. */
static void stop_receiving(ferry *f, ferry__service *s)
{
    for (size_t i = 0; i < s->count && i < 2 && s->listening; i++)
        f->link.backend->unlisten(f->link.self, &s->sources[i]);
    quit_listening(f, s);
}

void ferry__serve_unlisten(ferry *f, ferry__service *s)
{
    f->link.leaving_ms = ferry__now_ms() + LEAVING_MS; /* its parts shall be free for others, though nobody comes in here again */
    stop_receiving(f, s);
    hand_back_queued(f, s);
    ferry__link_noted(&f->link, false);
}

void ferry__serve_rewind(ferry *f, ferry__service *s)
{
    hand_back_queued(f, s);
}

void ferry__serve_drain(ferry *f)
{
    ferry__link *l = &f->link;
    f->draining = true;
    for (ferry__service *s = f->services; s && !f->closed; s = s->next)
        stop_receiving(f, s);
    hand_back_queued(f, NULL);
    ferry__link_noted(l, false);
    ferry__link_poke_watchers(l);
}

static void give_all(ferry *f)
{
    ferry__link *l = &f->link;
    bool room = f->deferred < l->max_pending;
    for (ferry__service *s = f->services; s && room; s = s->next) {
        ferry_subscription *sub = s->subscription;
        bool pulled = sub && !sub->handler->run;
        if (!s->listening || (sub && sub->paused) || (f->stuck && !sub))
            continue;
        size_t window = pulled ? sub->store_max : f->window;
        for (size_t lane = 0; lane < 2 && lane < s->count; lane++)
            give(l, &s->sources[lane], &s->asked[lane], s->held[lane], window);
    }
}

/* A subscription that was ended, and that neither we nor the transport have anything of any more. */
static void free_ended(ferry *f)
{
    for (ferry__service **at = &f->services, *s; (s = *at);) {
        if (!s->subscription || !s->subscription->ended || s->listening || s->requests > 0 || f->link.settling > 0) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        f->ended--;
        free_service(s);
    }
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
    if (f->ended > 0)
        free_ended(f);
    if (!f->draining)
        give_all(f);
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

const ferry__hooks ferry__serve_hooks = {
    .arrived = arrived,
    .answered = ferry__admin_answered,
    .turned = turned,
    .begins = begins,
    .left = left,
    .ready = ferry__subscription_ready,
    .caught_up = ferry__subscription_caught_up,
    .broken = ferry__subscription_broken,
};
