/* closing.c - how handles end, and what outlives them. */
#include "kit.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Calls under way ------------------------------------------------------------------------------------------------ */

static void open_and_close(void *arg)
{
    (void)arg;
    kit_close(kit_open(NULL));
    kit_close(ferry_open(test_url(), NULL)); /* perhaps not even connected yet */
}

CONFORMANCE(close_of_an_idle_handle_is_quick)
{
    kit_takes(0, 1000, open_and_close, NULL);
}

typedef struct caller {
    ferry *f;
    atomic_bool returned;
} caller;

static void *call_slow(void *arg)
{
    caller *c = arg;
    ferry_reply *r = ferry_post(c->f, "slow.echo", NULL, NULL);
    atomic_store(&c->returned, true);
    return r;
}

static void close_it(void *f)
{
    kit_close(f);
}

CONFORMANCE(close_ends_the_calls_of_other_threads)
{
    kit_gate gate = {0};
    pthread_t thread;
    void *reply;
    ferry *s = kit_serve("slow.echo", kit_gated, &gate);
    caller c = {.f = kit_open(FERRY_OPTIONS(.close_ms = 500))};
    CHECK_INT(pthread_create(&thread, NULL, call_slow, &c), 0);
    CHECK_SOON(atomic_load(&gate.entered) == 1, KIT_SOON_MS);
    int64_t before = test_now_ms();
    close_it(c.f);
    CHECK(test_now_ms() - before < test_ms(2500)); /* within its grace */
    pthread_join(thread, &reply);
    KIT_ENDS(reply, FERRY_CANCELLED, FERRY_OUTCOME_UNKNOWN);
    atomic_store(&gate.open, true);
    kit_close(s);
}

CONFORMANCE(futures_outlive_their_handle)
{
    kit_gate gate = {0};
    ferry *s = kit_serve("slow.echo", kit_gated, &gate), *c = kit_open(FERRY_OPTIONS(.close_ms = 300));
    ferry_future *f[3];
    for (int i = 0; i < 3; i++)
        f[i] = ferry_async(c, FERRY_POST, "slow.echo", NULL, NULL);
    CHECK_SOON(atomic_load(&gate.entered) == 1, KIT_SOON_MS);
    kit_close(c);
    CHECK(ferry_await_any(f, 3, KIT_SOON_MS) < 3);
    ferry_cancel(f[1]);
    for (int i = 0; i < 3; i++) {
        ferry_reply *r = ferry_await(f[i]);
        KIT_ENDS(r, FERRY_CANCELLED, ferry_reply_outcome(r));
    }
    atomic_store(&gate.open, true);
    kit_close(s);
}

CONFORMANCE(answers_outlive_their_handle)
{
    ferry *s = kit_serve("calc.echo", kit_echo, NULL), *c = kit_open(NULL);
    ferry_future *ready = ferry_async(c, FERRY_GET, "calc.echo", ferry_text("still here"), NULL);
    ferry_reply *r = ferry_get(c, "calc.echo", ferry_text("me too"), NULL);
    CHECK_INT(ferry_await_any(&ready, 1, KIT_SOON_MS), 0);
    kit_close(c);
    kit_close(s);
    CHECK_STR(ferry_as_string(ferry_data(r), NULL), "me too");
    KIT_OK(r);
    r = ferry_await(ready);
    CHECK_STR(ferry_as_string(ferry_data(r), NULL), "still here");
    KIT_OK(r);
}

CONFORMANCE(close_sends_what_is_queued)
{
    enum { POSTS = 300 };
    atomic_int count = 0;
    ferry *s = kit_serve("work.count", kit_count, &count), *c = kit_open(NULL);
    for (int i = 0; i < POSTS; i++)
        CHECK_STATUS(ferry_post_no_wait(c, "work.count", ferry_int(i), NULL), FERRY_OK);
    kit_close(c);
    CHECK_SOON(atomic_load(&count) == POSTS, KIT_SOON_MS);
    kit_close(s);
}

/* ---- Handlers under way --------------------------------------------------------------------------------------------- */

typedef struct closing {
    ferry *f;
    ferry_status status;
} closing;

static void *close_server(void *arg)
{
    closing *c = arg;
    c->status = ferry_close(c->f);
    return NULL;
}

CONFORMANCE(close_answers_what_runs)
{
    kit_gate gate = {0};
    pthread_t thread;
    ferry *c = kit_open(NULL);
    closing end = {.f = kit_serve("slow.echo", kit_gated, &gate)};
    ferry_future *f = ferry_async(c, FERRY_POST, "slow.echo", ferry_int(9), NULL);
    CHECK_SOON(atomic_load(&gate.entered) == 1, KIT_SOON_MS);
    CHECK_INT(pthread_create(&thread, NULL, close_server, &end), 0);
    CHECK_INT(ferry_await_any(&f, 1, 100), 1);
    atomic_store(&gate.open, true);
    KIT_INT(ferry_await(f), 9);
    pthread_join(thread, NULL);
    CHECK_STATUS(end.status, FERRY_OK);
    kit_close(c);
}

CONFORMANCE(close_hands_back_what_it_did_not_start)
{
    enum { CALLS = 8 };
    kit_gate first = {0}, second = {.open = true};
    pthread_t thread;
    ferry_future *f[CALLS];
    ferry *c = kit_open(NULL);
    closing end = {.f = kit_serve("slow.echo", kit_gated, &first)};
    for (int i = 0; i < CALLS; i++)
        f[i] = ferry_async(c, FERRY_POST, "slow.echo", ferry_int(i), FERRY_CALL(.timeout_ms = KIT_SOON_MS));
    CHECK_SOON(atomic_load(&first.entered) == 1, KIT_SOON_MS);
    ferry *next = kit_open(NULL);
    CHECK_STATUS(ferry_handle(next, "slow.echo", kit_gated, &second, NULL), FERRY_OK);
    CHECK_STATUS(ferry_serve(next), FERRY_OK);
    CHECK_INT(pthread_create(&thread, NULL, close_server, &end), 0);
    for (int i = 1; i < CALLS; i++)
        KIT_INT(ferry_await(f[i]), i); /* a post handed back is fresh, not one that may have run */
    atomic_store(&first.open, true);
    KIT_INT(ferry_await(f[0]), 0);
    pthread_join(thread, NULL);
    CHECK_STATUS(end.status, FERRY_OK);
    CHECK_INT(atomic_load(&first.entered), 1);
    CHECK_INT(atomic_load(&second.entered), CALLS - 1);
    kit_close(c);
    kit_close(next);
}

CONFORMANCE(handler_that_outstays_the_grace)
{
    kit_gate gate = {0};
    ferry *c = kit_open(FERRY_OPTIONS(.close_ms = 100));
    ferry *s = kit_serve_with(FERRY_OPTIONS(.close_ms = 200), "slow.echo", kit_gated, &gate, NULL);
    ferry_future *f = ferry_async(c, FERRY_POST, "slow.echo", ferry_int(1), FERRY_CALL(.timeout_ms = 2000));
    CHECK_SOON(atomic_load(&gate.entered) == 1, KIT_SOON_MS);
    int64_t before = test_now_ms();
    CHECK_STATUS(ferry_close(s), FERRY_TIMEOUT);
    int took = (int)(test_now_ms() - before);
    CHECK(took >= 195 && took < test_ms(1500));
    ferry_reply *r = ferry_await(f);
    CHECK(ferry_has_errors(r));
    CHECK_OUTCOME(ferry_reply_outcome(r), FERRY_OUTCOME_UNKNOWN);
    ferry_reply_free(r);
    atomic_store(&gate.open, true); /* its memory is still there */
    CHECK_SOON(atomic_load(&gate.left) == 1, KIT_SOON_MS);
    kit_close(c);
}

static void defer_it(ferry_request *req, void *arg)
{
    _Atomic(ferry_request *) *kept = arg;
    atomic_store(kept, ferry_defer(req));
}

CONFORMANCE(deferred_request_outlives_its_handle)
{
    _Atomic(ferry_request *) kept = NULL;
    ferry *c = kit_open(FERRY_OPTIONS(.close_ms = 100));
    ferry *s = kit_serve_with(FERRY_OPTIONS(.close_ms = 200), "slow.defer", defer_it, &kept, NULL);
    ferry_future *f = ferry_async(c, FERRY_POST, "slow.defer", ferry_int(1), FERRY_CALL(.timeout_ms = 1500));
    CHECK_SOON(atomic_load(&kept) != NULL, KIT_SOON_MS);
    CHECK_STATUS(ferry_close(s), FERRY_TIMEOUT);
    CHECK_STR(ferry_request_route(atomic_load(&kept)), "slow.defer");
    CHECK_STATUS(ferry_respond(atomic_load(&kept), ferry_int(2)), FERRY_CLOSED);
    ferry_done(atomic_load(&kept));
    ferry_reply *r = ferry_await(f);
    CHECK(ferry_has_errors(r));
    ferry_reply_free(r);
    kit_close(c);
}

CONFORMANCE(close_waits_for_a_deferred_answer)
{
    _Atomic(ferry_request *) kept = NULL;
    pthread_t thread;
    ferry *c = kit_open(NULL);
    closing end = {.f = kit_serve("slow.defer", defer_it, &kept)};
    ferry_future *f = ferry_async(c, FERRY_POST, "slow.defer", ferry_int(1), NULL);
    CHECK_SOON(atomic_load(&kept) != NULL, KIT_SOON_MS);
    CHECK_INT(pthread_create(&thread, NULL, close_server, &end), 0);
    CHECK_INT(ferry_await_any(&f, 1, 50), 1);
    CHECK_STATUS(ferry_respond(atomic_load(&kept), ferry_int(2)), FERRY_OK);
    ferry_done(atomic_load(&kept));
    KIT_INT(ferry_await(f), 2);
    pthread_join(thread, NULL);
    CHECK_STATUS(end.status, FERRY_OK);
    kit_close(c);
}

/* ---- From inside ---------------------------------------------------------------------------------------------------- */

static void close_inside(ferry_request *req, void *arg)
{
    (void)arg;
    ferry_respond(req, ferry_int(ferry_close(ferry_request_handle(req))));
}

CONFORMANCE(close_from_inside_a_handler)
{
    ferry *s = kit_serve("calc.close", close_inside, NULL), *c = kit_open(NULL);
    KIT_INT(ferry_get(c, "calc.close", NULL, NULL), FERRY_INVALID);
    KIT_INT(ferry_get(c, "calc.close", NULL, NULL), FERRY_INVALID); /* and it is still there */
    kit_close(c);
    kit_close(s);
}

static void close_in_callback(ferry_reply *reply, void *arg)
{
    caller *c = arg;
    ferry_reply_free(reply);
    CHECK_STATUS(ferry_close(c->f), FERRY_INVALID);
    atomic_store(&c->returned, true);
}

CONFORMANCE(close_from_inside_a_callback)
{
    caller c = {.f = kit_serve("calc.echo", kit_echo, NULL)};
    ferry_async_with(c.f, FERRY_GET, "calc.echo", NULL, NULL, close_in_callback, &c);
    CHECK_SOON(atomic_load(&c.returned), KIT_SOON_MS);
    KIT_OK(ferry_get(c.f, "calc.echo", NULL, NULL));
    kit_close(c.f);
}

/* ---- Stop ----------------------------------------------------------------------------------------------------------- */

/* Calls without a key keep no order: which one stays with the first server is not known. */
static void await_all_but_one(ferry_future **f, int n)
{
    for (int left = n; left > 1; left--) {
        int i = (int)ferry_await_any(f, (size_t)n, test_ms(KIT_SOON_MS));
        CHECK(i < n);
        KIT_INT(ferry_await(f[i]), i);
        f[i] = NULL;
    }
}

/* The other one holds nothing ahead while its handler is long; what comes meanwhile is for it, and finds it. */
CONFORMANCE(close_takes_nothing_from_a_busy_server)
{
    enum { SHORT = 100, SOME = 20 };
    kit_gate gate = {0};
    ferry_future *f[SOME];
    ferry *a = kit_open(NULL), *c = kit_open(NULL);
    CHECK_STATUS(ferry_handle(a, "calc.short", kit_echo, NULL, NULL), FERRY_OK);
    CHECK_STATUS(ferry_handle(a, "calc.long", kit_gated, &gate, NULL), FERRY_OK);
    kit_start(a, "calc");
    for (int i = 0; i < SHORT; i++)
        KIT_INT(ferry_post(c, "calc.short", ferry_int(i), NULL), i);
    for (int i = 0; i < SOME; i++)
        f[i] = ferry_async(c, FERRY_POST, "calc.long", ferry_int(i), FERRY_CALL(.timeout_ms = KIT_SOON_MS));
    CHECK_INT(ferry_await_any(f, SOME, 150), SOME); /* time to be seen as long */
    ferry *b = kit_serve("calc.long", kit_echo, NULL);
    await_all_but_one(f, SOME); /* the second server takes them over */
    kit_close(b);
    for (int i = 0; i < SOME; i++)
        if (!f[i])
            f[i] = ferry_async(c, FERRY_POST, "calc.long", ferry_int(i), FERRY_CALL(.timeout_ms = KIT_SOON_MS));
    CHECK_INT(ferry_await_any(f, SOME, 150), SOME);
    atomic_store(&gate.open, true);
    for (int i = 0; i < SOME; i++)
        KIT_INT(ferry_await(f[i]), i);
    kit_close(c);
    kit_close(a);
}

CONFORMANCE(stop_takes_nothing_new)
{
    ferry *s = kit_serve("calc.echo", kit_echo, NULL), *c = kit_open(NULL);
    KIT_OK(ferry_get(c, "calc.echo", NULL, NULL));
    ferry_stop(c);
    KIT_ENDS(ferry_get(c, "calc.echo", NULL, NULL), FERRY_CLOSED, FERRY_OUTCOME_NOT_SENT);
    CHECK_STATUS(ferry_post_no_wait(c, "calc.echo", NULL, NULL), FERRY_CLOSED);
    KIT_ENDS(ferry_await(ferry_async(c, FERRY_GET, "calc.echo", NULL, NULL)), FERRY_CLOSED, FERRY_OUTCOME_NOT_SENT);
    ferry_stop(c);
    kit_close(c);
    ferry_stop(s);
    kit_await_gone("calc");
    kit_close(s);
}

static void *call_until_stopped(void *arg)
{
    caller *c = arg;
    ferry_status s = FERRY_OK;
    while (s == FERRY_OK) {
        ferry_reply *r = ferry_put(c->f, "calc.echo", ferry_int(1), NULL);
        s = ferry_reply_status(r);
        ferry_reply_free(r);
    }
    CHECK_STATUS(s, FERRY_CLOSED);
    return NULL;
}

CONFORMANCE(stop_while_others_call)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    ferry *s = kit_serve("calc.echo", kit_echo, NULL);
    caller c = {.f = kit_open(NULL)};
    for (int i = 0; i < THREADS; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, call_until_stopped, &c), 0);
    CHECK_SOON(kit_stat(c.f, "calls_ok") > 200, KIT_SOON_MS);
    ferry_stop(c.f);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    kit_close(c.f);
    kit_close(s);
}

CONFORMANCE(stop_lets_handlers_finish)
{
    kit_gate gate = {0};
    ferry *s = kit_serve("slow.echo", kit_gated, &gate), *c = kit_open(NULL);
    ferry_future *f = ferry_async(c, FERRY_POST, "slow.echo", ferry_int(4), NULL);
    CHECK_SOON(atomic_load(&gate.entered) == 1, KIT_SOON_MS);
    ferry_stop(s);
    atomic_store(&gate.open, true);
    KIT_INT(ferry_await(f), 4);
    kit_close(s);
    kit_close(c);
}

/* ---- Fork ----------------------------------------------------------------------------------------------------------- */

static void in_the_child(ferry *f, ferry_future *unfinished)
{
    bool good = true;
    ferry_reply *r = ferry_get(f, "calc.echo", ferry_int(1), NULL);
    good = good && ferry_reply_status(r) == FERRY_INVALID && ferry_reply_outcome(r) == FERRY_OUTCOME_NOT_SENT;
    ferry_reply_free(r);
    good = good && ferry_post_no_wait(f, "calc.echo", ferry_int(1), NULL) == FERRY_INVALID;
    good = good && ferry_serve(f) == FERRY_INVALID;
    (void)unfinished; /* it belongs to the parent: a child may only close */
    good = good && ferry_close(f) == FERRY_OK;
    _exit(good ? 0 : 1);
}

CONFORMANCE(forked_child_may_only_close)
{
    kit_gate gate = {0};
    ferry *s = kit_serve("slow.echo", kit_gated, &gate), *c = kit_serve("calc.echo", kit_echo, NULL);
    KIT_INT(ferry_get(c, "calc.echo", ferry_int(1), NULL), 1);
    ferry_future *f = ferry_async(c, FERRY_POST, "slow.echo", ferry_int(5), NULL);
    CHECK_SOON(atomic_load(&gate.entered) == 1, KIT_SOON_MS);
    for (int i = 0; i < 3; i++) {
        pid_t child = fork();
        if (child == 0)
            in_the_child(c, f);
        CHECK_INT(test_wait(child, KIT_SOON_MS), 0);
    }
    atomic_store(&gate.open, true);
    KIT_INT(ferry_await(f), 5); /* the parent notices nothing */
    KIT_INT(ferry_get(c, "calc.echo", ferry_int(2), NULL), 2);
    kit_close(c);
    kit_close(s);
}
