/* futures.c - calls that are collected later, by a future or a callback, and calls that are given up. */
#include "kit.h"

#include <pthread.h>

/* ---- Futures -------------------------------------------------------------------------------------------------------- */

CONFORMANCE(async_then_await)
{
    ferry *s = kit_serve("calc.echo", kit_echo, NULL), *c = kit_open(NULL);
    ferry_future *f = ferry_async(c, FERRY_PATCH, "calc.echo", ferry_int(3), NULL);
    CHECK_NOT_NULL(f);
    KIT_INT(ferry_await(f), 3);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(many_at_once_awaited_in_any_order)
{
    enum { CALLS = 1000 };
    ferry_future *f[CALLS];
    ferry *s = kit_serve("calc.echo", kit_echo, NULL), *c = kit_open(NULL);
    for (int i = 0; i < CALLS; i++)
        f[i] = ferry_async(c, FERRY_GET, "calc.echo", ferry_int(i), NULL);
    for (int i = 0; i < CALLS; i++) {
        int at = (i * 7 + 500) % CALLS;
        KIT_INT(ferry_await(f[at]), at);
    }
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(async_of_what_cannot_be)
{
    ferry *c = kit_open(NULL);
    KIT_ENDS(ferry_await(ferry_async(c, (ferry_verb)0, "calc.echo", NULL, NULL)), FERRY_INVALID,
             FERRY_OUTCOME_NOT_SENT);
    KIT_ENDS(ferry_await(ferry_async(c, (ferry_verb)(FERRY_GET | FERRY_PUT), "calc.echo", NULL, NULL)), FERRY_INVALID,
             FERRY_OUTCOME_NOT_SENT);
    KIT_UNDONE(ferry_await(ferry_async(c, FERRY_GET, "nobody.home", NULL, NULL)), FERRY_NO_SERVICE);
    kit_close(c);
}

CONFORMANCE(await_any_finds_the_ready_one)
{
    kit_gate gate = {0};
    ferry *s = kit_serve("calc.echo", kit_echo, NULL), *slow = kit_serve("slow.echo", kit_gated, &gate),
          *c = kit_open(NULL);
    ferry_future *f[3] = {ferry_async(c, FERRY_GET, "slow.echo", ferry_int(0), NULL), NULL,
                          ferry_async(c, FERRY_GET, "calc.echo", ferry_int(2), NULL)};
    CHECK_INT(ferry_await_any(f, 3, KIT_SOON_MS), 2);
    KIT_INT(ferry_await(f[2]), 2);
    f[2] = NULL;
    CHECK_INT(ferry_await_any(f, 3, 50), 3); /* the slow one is not ready */
    CHECK_INT(ferry_await_any(f, 3, 0), 3);
    atomic_store(&gate.open, true);
    CHECK_INT(ferry_await_any(f, 3, KIT_SOON_MS), 0);
    KIT_INT(ferry_await(f[0]), 0);
    f[0] = NULL;
    CHECK_INT(ferry_await_any(f, 3, KIT_SOON_MS), 3); /* all NULL: at once */
    CHECK_INT(ferry_await_any(NULL, 0, KIT_SOON_MS), 0);
    kit_close(c);
    kit_close(slow);
    kit_close(s);
}

typedef struct bundle {
    ferry        *f;
    ferry_future *made[50];
    int           first;
} bundle;

static void *await_bundle(void *arg)
{
    bundle *b = arg;
    for (int i = 0; i < 50; i++)
        KIT_INT(ferry_await(b->made[i]), b->first + i);
    return NULL;
}

CONFORMANCE(await_from_other_threads)
{
    enum { THREADS = 6 };
    pthread_t threads[THREADS];
    bundle b[THREADS];
    ferry *s = kit_serve("calc.echo", kit_echo, NULL), *c = kit_open(NULL);
    for (int t = 0; t < THREADS; t++) {
        b[t] = (bundle){.f = c, .first = t * 100};
        for (int i = 0; i < 50; i++)
            b[t].made[i] = ferry_async(c, FERRY_PUT, "calc.echo", ferry_int(b[t].first + i), NULL);
    }
    for (int t = 0; t < THREADS; t++)
        CHECK_INT(pthread_create(&threads[t], NULL, await_bundle, &b[t]), 0);
    for (int t = 0; t < THREADS; t++)
        pthread_join(threads[t], NULL);
    kit_close(c);
    kit_close(s);
}

/* ---- Cancel --------------------------------------------------------------------------------------------------------- */

static void cancel_running(void *arg)
{
    ferry *c = arg;
    ferry_future *f = ferry_async(c, FERRY_POST, "slow.echo", NULL, NULL);
    ferry_cancel(f);
    ferry_reply *r = ferry_await(f);
    ferry_outcome o = ferry_reply_outcome(r);
    CHECK(o != FERRY_OUTCOME_EXECUTED);
    KIT_ENDS(r, FERRY_CANCELLED, o);
}

CONFORMANCE(cancel_ends_the_wait_at_once)
{
    kit_gate gate = {0};
    ferry *s = kit_serve("slow.echo", kit_gated, &gate), *c = kit_open(NULL);
    kit_takes(0, KIT_LATE_MS, cancel_running, c);
    atomic_store(&gate.open, true);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(cancel_of_a_running_handler_is_unknown)
{
    kit_gate gate = {0};
    ferry *s = kit_serve("slow.echo", kit_gated, &gate), *c = kit_open(NULL);
    ferry_future *f = ferry_async(c, FERRY_POST, "slow.echo", NULL, NULL);
    CHECK_SOON(atomic_load(&gate.entered) == 1, KIT_SOON_MS);
    ferry_cancel(f);
    ferry_cancel(f);
    KIT_ENDS(ferry_await(f), FERRY_CANCELLED, FERRY_OUTCOME_UNKNOWN);
    atomic_store(&gate.open, true);
    kit_close(c);
    kit_close(s);
}

static void *await_one(void *future)
{
    return ferry_await(future);
}

CONFORMANCE(cancel_beside_an_await)
{
    kit_gate gate = {0};
    pthread_t waiter;
    void *reply;
    ferry *s = kit_serve("slow.echo", kit_gated, &gate), *c = kit_open(NULL);
    ferry_future *f = ferry_async(c, FERRY_GET, "slow.echo", NULL, NULL);
    CHECK_INT(pthread_create(&waiter, NULL, await_one, f), 0);
    CHECK_SOON(atomic_load(&gate.entered) == 1, KIT_SOON_MS);
    ferry_cancel(f);
    pthread_join(waiter, &reply);
    KIT_ENDS(reply, FERRY_CANCELLED, FERRY_OUTCOME_UNKNOWN);
    atomic_store(&gate.open, true);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(cancel_after_the_answer_changes_nothing)
{
    ferry *s = kit_serve("calc.echo", kit_echo, NULL), *c = kit_open(NULL);
    ferry_future *f = ferry_async(c, FERRY_GET, "calc.echo", ferry_int(4), NULL);
    CHECK_INT(ferry_await_any(&f, 1, KIT_SOON_MS), 0);
    ferry_cancel(f);
    KIT_INT(ferry_await(f), 4);
    kit_close(c);
    kit_close(s);
}

typedef struct watcher {
    atomic_int  entered;
    atomic_bool cancelled;
} watcher;

static void until_cancelled(ferry_request *req, void *arg)
{
    watcher *s = arg;
    CHECK(!ferry_request_cancelled(req));
    atomic_fetch_add(&s->entered, 1);
    CHECK_SOON(ferry_request_cancelled(req), KIT_SOON_MS);
    atomic_store(&s->cancelled, true);
}

CONFORMANCE_WITH(cancel_is_seen_by_the_server, .needs = "cancels")
{
    watcher seen = {0};
    ferry *s = kit_serve("slow.wait", until_cancelled, &seen), *c = kit_open(NULL);
    ferry_future *f = ferry_async(c, FERRY_POST, "slow.wait", NULL, NULL);
    CHECK_SOON(atomic_load(&seen.entered) == 1, KIT_SOON_MS);
    ferry_cancel(f);
    KIT_ENDS(ferry_await(f), FERRY_CANCELLED, FERRY_OUTCOME_UNKNOWN);
    CHECK_SOON(atomic_load(&seen.cancelled), KIT_SOON_MS);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE_WITH(cancel_takes_back_what_is_unread, .needs = "withdraws")
{
    kit_gate gate = {0};
    ferry *s = kit_serve("slow.echo", kit_gated, &gate), *c = kit_open(NULL);
    ferry_future *busy = ferry_async(c, FERRY_GET, "slow.echo", ferry_int(1), NULL);
    CHECK_SOON(atomic_load(&gate.entered) == 1, KIT_SOON_MS);
    ferry_future *unread = ferry_async(c, FERRY_POST, "slow.echo", ferry_int(2), NULL);
    ferry_cancel(unread);
    ferry_reply *r = ferry_await(unread);
    KIT_ENDS(r, FERRY_CANCELLED, ferry_reply_outcome(r));
    CHECK_INT(ferry_await_any(&busy, 1, 50), 1); /* time to reach the other side */
    atomic_store(&gate.open, true);
    KIT_INT(ferry_await(busy), 1);
    KIT_INT(ferry_get(c, "slow.echo", ferry_int(3), NULL), 3); /* sent later, so what was cancelled would have run by now */
    CHECK_INT(atomic_load(&gate.entered), 2);
    kit_close(c);
    kit_close(s);
}

/* ---- Callbacks ------------------------------------------------------------------------------------------------------ */

typedef struct collected {
    atomic_int times;
    ferry_status status;
    ferry_outcome outcome;
    int64_t number;
    pthread_t thread;
} collected;

static void collect(ferry_reply *reply, void *arg)
{
    collected *c = arg;
    c->status = ferry_reply_status(reply);
    c->outcome = ferry_reply_outcome(reply);
    c->number = ferry_as_int(ferry_data(reply), -1);
    c->thread = pthread_self();
    ferry_reply_free(reply);
    atomic_fetch_add(&c->times, 1);
}

#define CALLED(c, want)                                       \
    do {                                                      \
        CHECK_SOON(atomic_load(&(c).times) > 0, KIT_SOON_MS); \
        CHECK_STATUS((c).status, want);                       \
    } while (0)

CONFORMANCE(callback_once_for_every_ending)
{
    kit_gate gate = {0};
    collected ok = {0}, failed = {0}, nobody = {0}, late = {0}, cancelled = {0}, closed = {0}, bad = {0};
    ferry *s = kit_serve("calc.echo", kit_echo, NULL), *slow = kit_serve("slow.echo", kit_gated, &gate);
    ferry *c = kit_open(FERRY_OPTIONS(.close_ms = 300));
    CHECK(ferry_async_with(c, FERRY_GET, "calc.echo", ferry_int(1), NULL, collect, &ok) != 0);
    CHECK(ferry_async_with(c, FERRY_GET, "calc.nope", NULL, NULL, collect, &failed) != 0);
    CHECK(ferry_async_with(c, FERRY_GET, "nobody.home", NULL, NULL, collect, &nobody) != 0);
    CHECK(ferry_async_with(c, FERRY_GET, "not a route", NULL, NULL, collect, &bad) != 0);
    CHECK(ferry_async_with(c, FERRY_POST, "slow.echo", NULL, FERRY_CALL(.timeout_ms = 100), collect, &late) != 0);
    uint64_t ticket = ferry_async_with(c, FERRY_GET, "slow.echo", NULL, NULL, collect, &cancelled);
    CHECK(ferry_async_with(c, FERRY_GET, "slow.echo", NULL, NULL, collect, &closed) != 0);
    CALLED(ok, FERRY_OK);
    CHECK_INT(ok.number, 1);
    CALLED(failed, FERRY_NOT_FOUND);
    CALLED(nobody, FERRY_NO_SERVICE);
    CALLED(bad, FERRY_INVALID);
    CALLED(late, FERRY_TIMEOUT);
    CHECK(ferry_cancel_async(c, ticket));
    CALLED(cancelled, FERRY_CANCELLED);
    CHECK_INT(atomic_load(&closed.times), 0);
    kit_close(c);
    CALLED(closed, FERRY_CANCELLED);
    atomic_store(&gate.open, true);
    const collected *all[] = {&ok, &failed, &nobody, &late, &cancelled, &closed, &bad};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        CHECK_INT(atomic_load(&all[i]->times), 1);
    kit_close(slow);
    kit_close(s);
}

CONFORMANCE(callback_never_inside_the_callers_own_call)
{
    collected one = {0}, two = {0};
    ferry *s = kit_serve("calc.echo", kit_echo, NULL), *c = kit_open(NULL);
    ferry_async_with(c, FERRY_GET, "calc.echo", NULL, NULL, collect, &one);
    ferry_async_with(c, FERRY_GET, "not a route", NULL, NULL, collect, &two);
    for (int i = 0; i < 100; i++)
        KIT_OK(ferry_get(c, "calc.echo", NULL, NULL)); /* whoever waits reads for others, and still calls no callback */
    CALLED(one, FERRY_OK);
    CALLED(two, FERRY_INVALID);
    CHECK(!pthread_equal(one.thread, pthread_self()));
    CHECK(!pthread_equal(two.thread, pthread_self()));
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(tickets)
{
    kit_gate gate = {0};
    collected ended = {0}, running = {0};
    ferry *s = kit_serve("slow.echo", kit_gated, &gate), *c = kit_open(NULL);
    uint64_t first = ferry_async_with(c, FERRY_GET, "nobody.home", NULL, NULL, collect, &ended);
    CALLED(ended, FERRY_NO_SERVICE);
    uint64_t second = ferry_async_with(c, FERRY_GET, "slow.echo", NULL, NULL, collect, &running);
    CHECK(first != 0 && second != 0 && first != second);
    CHECK(!ferry_cancel_async(c, first)); /* ended */
    CHECK(!ferry_cancel_async(c, first + second + 12345));
    CHECK(!ferry_cancel_async(c, 0));
    CHECK(ferry_cancel_async(c, second));
    CHECK(!ferry_cancel_async(c, second));
    CALLED(running, FERRY_CANCELLED);
    atomic_store(&gate.open, true);
    kit_close(c);
    kit_close(s);
    CHECK_INT(atomic_load(&ended.times) + atomic_load(&running.times), 2);
}

static void busy(ferry_reply *reply, void *arg)
{
    kit_gate *gate = arg;
    ferry_reply_free(reply);
    atomic_fetch_add(&gate->entered, 1);
    CHECK_SOON(atomic_load(&gate->open), KIT_SOON_MS);
}

CONFORMANCE(slow_callback_delays_no_handler_and_no_call)
{
    kit_gate gate = {0};
    ferry *f = kit_serve("calc.echo", kit_echo, NULL), *c = kit_open(NULL);
    ferry_async_with(f, FERRY_GET, "calc.echo", NULL, NULL, busy, &gate);
    CHECK_SOON(atomic_load(&gate.entered) == 1, KIT_SOON_MS);
    KIT_INT(ferry_get(c, "calc.echo", ferry_int(1), FERRY_CALL(.timeout_ms = KIT_SOON_MS / 2)), 1); /* f serves */
    KIT_INT(ferry_get(f, "calc.echo", ferry_int(2), FERRY_CALL(.timeout_ms = KIT_SOON_MS / 2)), 2); /* f calls */
    atomic_store(&gate.open, true);
    kit_close(c);
    kit_close(f);
}

typedef struct chain {
    ferry     *f;
    atomic_int length;
} chain;

static void next_link(ferry_reply *reply, void *arg)
{
    chain *c = arg;
    KIT_OK(reply);
    if (atomic_fetch_add(&c->length, 1) + 1 < 10) {
        KIT_OK(ferry_get(c->f, "calc.echo", NULL, NULL));
        CHECK(ferry_async_with(c->f, FERRY_GET, "calc.echo", NULL, NULL, next_link, c) != 0);
    }
}

CONFORMANCE(callback_may_call)
{
    ferry *s = kit_serve("calc.echo", kit_echo, NULL), *f = kit_open(NULL);
    chain c = {.f = f};
    ferry_async_with(f, FERRY_GET, "calc.echo", NULL, NULL, next_link, &c);
    CHECK_SOON(atomic_load(&c.length) == 10, KIT_SOON_MS);
    kit_close(f);
    kit_close(s);
}
