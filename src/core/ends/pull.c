/* pull.c - events taken one by one by the program. A received one is a deferred request from the start: ferry_done ends it. */
#include "base/clock.h"
#include "ends/run.h"
#include "ends/subscription.h"

#include <string.h>

static ferry_request *find(ferry_subscription *s, const char *correlation)
{
    for (ferry__node *n = s->store.next; n != &s->store; n = n->next) {
        ferry_request *req = FERRY__OF(n, ferry_request, job.node);
        if (!correlation || strcmp(ferry_request_correlation(req), correlation) == 0)
            return req;
    }
    return NULL;
}

/* All that came were for others: room for more, as long as there is any. */
static void widen(ferry_subscription *s)
{
    size_t most = s->f->link.max_pending;
    if (s->stored < s->store_max || s->store_max >= most)
        return;
    s->store_max = s->store_max * 2 < most ? s->store_max * 2 : most;
    s->f->link.dirty = true;
}

static ferry_request *take(ferry_subscription *s, const char *correlation)
{
    ferry_request *req = find(s, correlation);
    if (!req)
        return NULL;
    ferry__subscription_unstore(s, req);
    req->service->held[req->lane]--;
    req->state = FERRY__DEFERRED;
    req->begun_ms = s->f->link.now_ms;
    s->f->deferred++;
    if (s->f->link.more && s->f->link.more->begin)
        s->f->link.more->begin(s->f->link.self, req->frame);
    if (s->store_max > FERRY__STORE && s->stored < FERRY__STORE)
        s->store_max = FERRY__STORE;
    return req;
}

static ferry_request *wait_for(ferry_subscription *s, const char *correlation, int64_t until_ms)
{
    ferry__link *l = &s->f->link;
    ferry_request *req;
    ferry__waiter w;
    ferry__waiter_init(&w);
    ferry__list_append(&s->receivers, &w.place);
    ferry__link_turn(l, &w); /* also without time to wait: what is there already shall come */
    for (bool late = false; !(req = take(s, correlation)) && !late && !s->ended && s->status == FERRY_OK &&
                            !s->f->closed && !atomic_load(&s->f->stopping);
         late = ferry__now_ms() >= until_ms) {
        if (correlation)
            widen(s);
        w.poked = false;
        ferry__link_wait(l, &w, until_ms);
    }
    ferry__list_remove(&w.place);
    ferry__link_leave(l);
    return req;
}

static ferry_request *receive(ferry_subscription *s, const char *correlation, int timeout_ms)
{
    if (!s || ferry__handle_refusal(s->f, NULL) != FERRY_OK || s->handler->run)
        return NULL;
    ferry *f = ferry__handle_ref(s->f);
    int64_t until_ms = timeout_ms < 0 ? INT64_MAX : ferry__now_ms() + timeout_ms;
    ferry_request *req;
    for (;;) {
        ferry__link_lock(&f->link);
        s->service->requests++; /* it stays, though somebody may unsubscribe */
        req = wait_for(s, correlation, until_ms);
        s->service->requests--;
        ferry__link_unlock(&f->link);
        if (!req || ferry__run_ready(req))
            break;
        ferry__serve_finish(req); /* undecodable, or tried too often: a dead letter; the next one */
    }
    ferry__handle_unref(f);
    return req;
}

ferry_request *ferry_receive(ferry_subscription *s, int timeout_ms)
{
    return receive(s, NULL, timeout_ms);
}

ferry_request *ferry_receive_for(ferry_subscription *s, const char *correlation, int timeout_ms)
{
    return correlation ? receive(s, correlation, timeout_ms) : NULL;
}

/* Its subscription is over, so it goes to another member; else it is the first in store again. */
static void put_back(ferry *f, ferry_request *req)
{
    ferry__link *l = &f->link;
    f->deferred--;
    while (!ferry__list_empty(&req->nested))
        ferry__list_remove(req->nested.next);
    if (!f->closed && !f->draining && req->service->listening) {
        ferry__request_reset(req);
        req->service->held[req->lane]++;
        req->state = FERRY__QUEUED;
        ferry__subscription_restore(req->service->subscription, req);
        return;
    }
    if (f->closed)
        ferry__frame_unref(req->frame);
    else
        ferry__serve_hand_back(f, req);
    ferry__link_noted(l, false);
    if (f->draining)
        ferry__link_poke_watchers(l);
    ferry__request_free(req);
}

void ferry_put_back(ferry_request *req)
{
    const ferry_subscription *s = req ? req->service->subscription : NULL;
    if (!s || s->handler->run || req->state != FERRY__DEFERRED)
        return;
    ferry *f = ferry__handle_ref(req->f);
    ferry__link_lock(&f->link);
    put_back(f, req);
    ferry__link_unlock(&f->link);
    ferry__handle_unref(f);
}
