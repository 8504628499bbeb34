/* run.c - a request on its worker: checks, guards, handler; then its end: answer and settlement, in this order and in one batch. */
#include "ends/run.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/random.h"
#include "data/route.h"
#include "data/value.h"
#include "ends/dead.h"
#include "ends/request.h"
#include "ends/serve.h"
#include "ends/subscription.h"

#include <string.h>

enum {
    AHEAD_NS = 2000000, /* how much work we hold ahead: two milliseconds of it */
    WINDOW_MAX = 512,
    NO_MEMORY_MS = 1000, /* before a post is tried again whose dead letter could not be made */
    BACKOFF_MAX_MS = 3600000
};

_Thread_local const ferry *ferry__inside;
_Thread_local const ferry_request *ferry__running;

static bool is_call(const ferry_request *req)
{
    return req->frame->kind == FERRY__CALL;
}

/* ---- before the handler ---- */

static void refuse(ferry_request *req, ferry_status status, ferry_outcome outcome, const char *message)
{
    req->outcome = outcome;
    ferry__request_error(req, status, ferry_status_name(status), message);
}

static void refuse_route(ferry_request *req)
{
    char text[FERRY_WHY_SIZE];
    const char *route = ferry_request_route(req);
    if (req->refusal == FERRY_VERB_NOT_ALLOWED)
        ferry__why(text, "'%s' does not take that verb", route);
    else
        ferry__why(text, "'%.*s' has no route '%s'", (int)ferry__route_service(route), route, route);
    refuse(req, req->refusal, FERRY_OUTCOME_NOT_EXECUTED, text);
}

static bool worn_out(ferry_request *req)
{
    if (is_call(req) || (int)req->frame->attempt < req->handler->attempts)
        return false;
    refuse(req, FERRY_FAILED, FERRY_OUTCOME_UNKNOWN, "its server ended during every attempt");
    return true;
}

static bool decode(ferry_request *req)
{
    char why[FERRY_WHY_SIZE] = "";
    ferry__frame *f = req->frame;
    const char *type = ferry__frame_text(f, f->content_type);
    ferry_status status = FERRY_OK;
    if (*type && strcmp(type, "application/msgpack") != 0)
        req->data = ferry_bytes(ferry__frame_body(f), f->body.length); /* somebody else's format passes unread */
    else
        status = ferry__value_decode(ferry__frame_body(f), f->body.length, &req->data, why);
    if (status != FERRY_OK)
        refuse(req, status, FERRY_OUTCOME_NOT_EXECUTED, why);
    return status == FERRY_OK;
}

static bool admitted(ferry_request *req)
{
    const char *route = ferry_request_route(req);
    for (ferry__guard *g = atomic_load(&req->f->router.guards); g; g = atomic_load(&g->next))
        if ((strcmp(g->route, route) == 0 || ferry__route_match(g->route, route)) && !g->run(req, g->arg))
            return false;
    return true;
}

/* May it run although it may have run before? A post or patch only if its handler can tell by the key. */
static bool repeatable(const ferry_request *req)
{
    return !is_call(req) || !(req->frame->verb & (FERRY_POST | FERRY_PATCH)) || req->frame->idempotency_key.at;
}

/* True: the handler may run. */
static bool ready(ferry_request *req)
{
    if (req->frame->maybe && !repeatable(req)) {
        refuse(req, FERRY_MAYBE_EXECUTED, FERRY_OUTCOME_UNKNOWN,
               "a server had this call and died: it may have run, so it is not run again");
        return false;
    }
    if (!req->handler) {
        refuse_route(req);
        return false;
    }
    return !worn_out(req) && decode(req);
}

bool ferry__run_ready(ferry_request *req)
{
    return ready(req);
}

static void finish(ferry_request *req);

static void timed(ferry *f, int64_t took_us) /* with the lock held */
{
    uint64_t ns = took_us > 0 ? (uint64_t)took_us * 1000 : 200;
    size_t least = f->workers; /* long handlers: what they cannot begin is better off with another server */
    f->handler_ns = f->handler_ns ? (f->handler_ns * 7 + ns) / 8 : ns;
    size_t window = f->workers * AHEAD_NS / (f->handler_ns ? f->handler_ns : 1);
    f->window = window < least ? least : window > WINDOW_MAX ? WINDOW_MAX : window;
}

/* The caller is gone or late: nobody would read the answer. */
static bool pointless(const ferry_request *req)
{
    return is_call(req) && (atomic_load(&req->cancelled) || req->frame->deadline_ms <= req->begun_ms);
}

void ferry__run_request(ferry__job *job)
{
    ferry_request *req = (ferry_request *)(void *)job;
    ferry *f = req->f;
    bool deferred = false, sample = req->sampled;
    const ferry *before = ferry__inside;
    if (pointless(req)) {
        req->skipped = true;
        finish(req);
        return;
    }
    req->deferral = &deferred;
    int64_t start_us = sample ? ferry__now_us() : 0;
    ferry__inside = f;
    ferry__running = req;
    bool ran = ready(req) && admitted(req);
    if (ran)
        req->handler->run(req, req->handler->arg);
    ferry__inside = before;
    ferry__running = NULL;
    int64_t took_us = sample ? ferry__now_us() - start_us : 0;
    if (deferred)
        ferry__link_lock(&f->link); /* a worker holds the handle, so f is there even if req is not */
    else
        finish(req);
    if (sample && ran) /* a refusal says nothing about handlers */
        timed(f, took_us);
}

/* ---- deferring ---- */

ferry_request *ferry_defer(ferry_request *req)
{
    if (!req || req->state == FERRY__DEFERRED)
        return req;
    ferry *f = req->f;
    ferry__link_lock(&f->link);
    req->state = FERRY__DEFERRED;
    f->deferred++;
    f->stuck = false;
    f->link.jobs.running--;
    req->service->held[req->lane]--; /* it takes no room from those that want a worker */
    ferry__link_unlock(&f->link);
    if (req->deferral)
        *req->deferral = true;
    req->deferral = NULL;
    return req;
}

void ferry_done(ferry_request *req)
{
    if (req && req->state == FERRY__DEFERRED)
        ferry__serve_finish(req);
}

/* ---- the end ---- */

typedef enum verdict { SETTLE, RETRY, BURY } verdict;

static int backoff(const ferry_request *req)
{
    const ferry__handler *h = req->handler;
    double ms = h ? h->backoff_ms : 1000, factor = h ? h->factor : FERRY__FACTOR;
    for (uint32_t i = 0; i < req->frame->attempt && ms < BACKOFF_MAX_MS; i++)
        ms *= factor;
    if (ms > BACKOFF_MAX_MS)
        ms = BACKOFF_MAX_MS;
    double chance = ms * (h ? h->jitter : FERRY__JITTER); /* so that failures do not march in step */
    return (int)(ms - chance / 2 + ferry__random_below((uint32_t)chance + 1));
}

static verdict judge(const ferry_request *req, int *delay_ms)
{
    bool failed = req->verdict != FERRY_OK;
    if (is_call(req) || (!failed && !req->rejected && req->retry_ms < 0))
        return SETTLE;
    bool hopeless = req->rejected || !req->handler || req->verdict == FERRY_BAD_DATA || req->verdict == FERRY_TOO_BIG;
    if (hopeless || (int)req->frame->attempt + 1 >= req->handler->attempts)
        return BURY;
    *delay_ms = req->retry_ms >= 0 ? req->retry_ms : backoff(req);
    return RETRY;
}

/* Closing, it goes back to the broker instead, which brings it again. */
static bool may_rest(const ferry *f, const ferry_request *req)
{
    return !f->draining && !f->closed && req->service->listening;
}

/* An event that is tried again within this process: as it came, but for the attempt. */
static void rest(ferry *f, ferry_request *req, int delay_ms)
{
    f->link.counts.posts_retried++;
    req->frame->attempt++;
    if (req->state == FERRY__RUNNING) {
        f->link.jobs.running--;
        req->service->held[req->lane]--;
        f->deferred++; /* it takes no room from those that want a worker */
        f->stuck = false;
    }
    while (!ferry__list_empty(&req->nested))
        ferry__list_remove(req->nested.next);
    ferry__request_reset(req);
    ferry__subscription_rest(req, delay_ms);
}

static void count(ferry *f, const ferry_request *req, verdict v)
{
    ferry__counters *c = &f->link.counts;
    if (req->skipped)
        *(atomic_load(&req->cancelled) ? &c->requests_cancelled : &c->requests_expired) += 1;
    else if (req->verdict == FERRY_MAYBE_EXECUTED)
        c->requests_maybe_executed++;
    else {
        c->requests_handled++;
        c->requests_failed += req->verdict != FERRY_OK;
    }
    c->posts_retried += v == RETRY;
    c->posts_dead += v == BURY;
}

static void settle(ferry *f, ferry_request *req, verdict v, int delay_ms, const ferry__buf *record)
{
    ferry__link *l = &f->link;
    l->settling++;
    if (v == RETRY && ferry__subscription_rests(req))
        l->backend->hand_back(l->self, req->frame);
    else if (v == RETRY) {
        req->frame->attempt++;
        l->backend->retry(l->self, req->frame, delay_ms);
    } else if (v == BURY) {
        req->frame->attempt++;
        l->backend->bury(l->self, req->frame, req->service->name, record->data, record->length);
    } else
        l->backend->settle(l->self, req->frame);
}

/* With the lock held. Whatever the transport does with them, req and its frame stay ours until the end. */
static void hand_down(ferry *f, ferry_request *req, ferry__frame *reply, verdict v, int delay_ms,
                      const ferry__buf *record)
{
    if (f->closed) { /* it outstayed close: nobody is there to take the answer */
        ferry__frame_unref(reply);
        ferry__frame_unref(req->frame);
        return;
    }
    if (reply)
        f->link.backend->send(f->link.self, NULL, reply);
    settle(f, req, v, delay_ms, record);
}

static void leave(ferry *f, ferry_request *req)
{
    ferry__link *l = &f->link;
    bool deferred = req->state == FERRY__DEFERRED;
    if (deferred)
        f->deferred--;
    else {
        l->jobs.running--;
        f->stuck = false;
        req->service->held[req->lane]--;
    }
    req->service->requests--;
    ferry__list_remove(&req->active);
    while (!ferry__list_empty(&req->nested)) /* calls within it that nobody awaited yet */
        ferry__list_remove(req->nested.next);
    ferry__jobs_free_key(&l->jobs, &req->job);
    if (!f->closed)
        ferry__link_noted(l, !deferred && !l->looped);
    if (l->jobs.ready > 0 && deferred)
        ferry__jobs_wake(l, 0);
    if (f->draining)
        ferry__link_poke_watchers(l);
}

/* Takes the lock and keeps it. */
static void finish(ferry_request *req)
{
    ferry *f = req->f;
    int delay_ms = 0;
    ferry__buf record = FERRY__BUF(f->max_message * 2 + 65536);
    verdict v = judge(req, &delay_ms);
    ferry__frame *reply = is_call(req) && !req->skipped ? ferry__request_reply(req) : NULL;
    if (v == BURY && !ferry__dead_record(req, &record)) {
        v = RETRY;
        delay_ms = NO_MEMORY_MS;
    }
    ferry__link_lock(&f->link);
    if (v == RETRY && ferry__subscription_rests(req) && may_rest(f, req)) {
        rest(f, req, delay_ms);
        ferry__buf_done(&record);
        return;
    }
    count(f, req, v);
    hand_down(f, req, reply, v, delay_ms, &record);
    leave(f, req);
    ferry__buf_done(&record);
    ferry__request_free(req); /* not the last to hold f: the worker does, or ferry_done's caller below */
}

void ferry__serve_finish(ferry_request *req)
{
    ferry *f = ferry__handle_ref(req->f);
    finish(req);
    ferry__link_unlock(&f->link);
    ferry__handle_unref(f);
}
