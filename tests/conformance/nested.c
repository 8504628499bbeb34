/* nested.c - calls made by handlers, and answers that come later. */
#include "kit.h"

#include <pthread.h>

/* ---- within --------------------------------------------------------------------------------------------------------- */

/* What the back saw; the front passes its request on. */
typedef struct inherited {
    ferry      *f;
    atomic_int  front_left, back_left;
    char        front_correlation[128], back_correlation[128], trace[128];
    int         timeout_ms;
} inherited;

static void tell_inherited(ferry_request *req, void *arg)
{
    inherited *i = arg;
    const char *trace = ferry_as_string(ferry_find(ferry_request_headers(req), "traceparent"), "");
    atomic_store(&i->back_left, ferry_request_remaining_ms(req));
    strncpy(i->back_correlation, ferry_request_correlation(req), sizeof i->back_correlation - 1);
    strncpy(i->trace, trace, sizeof i->trace - 1);
}

static void pass_on(ferry_request *req, void *arg)
{
    inherited *i = arg;
    atomic_store(&i->front_left, ferry_request_remaining_ms(req));
    strncpy(i->front_correlation, ferry_request_correlation(req), sizeof i->front_correlation - 1);
    KIT_OK(ferry_put(i->f, "back.tell", NULL, FERRY_CALL(.within = req, .timeout_ms = i->timeout_ms)));
}

static void pass_a_call(inherited *i, ferry *c, const ferry_call_options *options)
{
    ferry *b = kit_serve("back.tell", tell_inherited, i), *f = kit_serve("front.pass", pass_on, i);
    i->f = c;
    KIT_OK(ferry_get(c, "front.pass", NULL, options));
    kit_close(f);
    kit_close(b);
}

CONFORMANCE(within_inherits_the_deadline)
{
    inherited i = {0};
    ferry *c = kit_open(NULL);
    pass_a_call(&i, c, FERRY_CALL(.timeout_ms = 9000));
    CHECK(i.front_left > 0 && i.front_left <= 9000);
    CHECK(i.back_left > 0 && i.back_left <= i.front_left);
    kit_close(c);
}

CONFORMANCE(within_may_be_shorter)
{
    inherited i = {.timeout_ms = 5000};
    ferry *c = kit_open(NULL);
    pass_a_call(&i, c, FERRY_CALL(.timeout_ms = 9000));
    CHECK(i.back_left > 0 && i.back_left <= 5000);
    kit_close(c);
}

CONFORMANCE(within_is_never_longer)
{
    inherited i = {.timeout_ms = 60000};
    ferry *c = kit_open(NULL);
    pass_a_call(&i, c, FERRY_CALL(.timeout_ms = 9000));
    CHECK(i.back_left > 0 && i.back_left <= 9000);
    kit_close(c);
}

CONFORMANCE(within_inherits_correlation_and_trace)
{
    inherited i = {0};
    ferry *c = kit_open(NULL);
    ferry_value *headers = ferry_map("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    pass_a_call(&i, c, FERRY_CALL(.correlation = "order-17", .headers = headers));
    ferry_value_free(headers);
    CHECK_STR(i.front_correlation, "order-17");
    CHECK_STR(i.back_correlation, "order-17");
    CHECK_HAS(i.trace, "0af7651916cd43dd8448eb211c80319c");
    kit_close(c);
}

typedef struct passing {
    ferry        *f;
    kit_gate      gate;
    atomic_int    ended;
    ferry_status  status;
} passing;

static void pass_and_wait(ferry_request *req, void *arg)
{
    passing *p = arg;
    ferry_reply *r = ferry_post(p->f, "back.slow", NULL, FERRY_CALL(.within = req));
    p->status = ferry_reply_status(r);
    ferry_fail_as(req, r);
    ferry_reply_free(r);
    atomic_fetch_add(&p->ended, 1);
}

CONFORMANCE_WITH(within_inherits_cancel, .needs = "cancels")
{
    passing p = {0};
    ferry *c = kit_open(NULL), *b = kit_serve("back.slow", kit_gated, &p.gate),
          *f = kit_serve("front.pass", pass_and_wait, &p);
    p.f = f;
    ferry_future *outer = ferry_async(c, FERRY_POST, "front.pass", NULL, NULL);
    CHECK_SOON(atomic_load(&p.gate.entered) == 1, KIT_SOON_MS);
    ferry_cancel(outer);
    KIT_ENDS(ferry_await(outer), FERRY_CANCELLED, FERRY_OUTCOME_UNKNOWN);
    CHECK_SOON(atomic_load(&p.ended) == 1, KIT_SOON_MS);
    CHECK_STATUS(p.status, FERRY_CANCELLED);
    atomic_store(&p.gate.open, true);
    kit_close(f);
    kit_close(b);
    kit_close(c);
}

CONFORMANCE(nested_call_ends_by_the_outer_deadline)
{
    passing p = {0};
    ferry *c = kit_open(NULL), *b = kit_serve("back.slow", kit_gated, &p.gate),
          *f = kit_serve("front.pass", pass_and_wait, &p);
    p.f = f;
    ferry_reply *r = ferry_post(c, "front.pass", NULL, FERRY_CALL(.timeout_ms = 300));
    CHECK_STATUS(ferry_reply_status(r), FERRY_TIMEOUT);
    ferry_reply_free(r);
    CHECK_SOON(atomic_load(&p.ended) == 1, 1000);
    CHECK_STATUS(p.status, FERRY_TIMEOUT);
    atomic_store(&p.gate.open, true);
    kit_close(f);
    kit_close(b);
    kit_close(c);
}

static void call_own_service(ferry_request *req, void *arg)
{
    (void)arg;
    ferry_reply *r = ferry_get(ferry_request_handle(req), "calc.echo", ferry_int(6), FERRY_CALL(.within = req));
    if (ferry_has_errors(r))
        ferry_fail_as(req, r);
    else
        ferry_respond(req, ferry_value_copy(ferry_data(r)));
    ferry_reply_free(r);
}

static ferry *self_caller(int workers)
{
    ferry *s = kit_open(FERRY_OPTIONS(.workers = workers));
    CHECK_STATUS(ferry_handle(s, "calc.echo", kit_echo, NULL, NULL), FERRY_OK);
    CHECK_STATUS(ferry_handle(s, "calc.self", call_own_service, NULL, NULL), FERRY_OK);
    kit_start(s, "calc");
    return s;
}

static void nest_on_the_only_worker(void *c)
{
    ferry_reply *r = ferry_get(c, "calc.self", NULL, FERRY_CALL(.timeout_ms = 300));
    CHECK(ferry_has_errors(r));
    ferry_reply_free(r);
}

CONFORMANCE(nested_call_on_the_only_worker_hangs_nobody)
{
    ferry *s = self_caller(1), *c = kit_open(NULL);
    kit_takes(0, 300 + KIT_LATE_MS, nest_on_the_only_worker, c);
    KIT_INT(ferry_get(c, "calc.echo", ferry_int(1), NULL), 1); /* and the worker is back */
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(nested_call_to_itself_with_workers)
{
    ferry *s = self_caller(2), *c = kit_open(NULL);
    KIT_INT(ferry_get(c, "calc.self", NULL, NULL), 6);
    kit_close(c);
    kit_close(s);
}

/* ---- Deferred answers ----------------------------------------------------------------------------------------------- */

typedef struct parked {
    atomic_int      count;
    ferry_request  *waiting[8];
} parked;

static void park(ferry_request *req, void *arg)
{
    parked *p = arg;
    ferry_request *d = ferry_defer(req);
    CHECK_NOT_NULL(d);
    p->waiting[atomic_load(&p->count)] = d;
    atomic_fetch_add(&p->count, 1);
}

static void *answer_parked(void *arg)
{
    parked *p = arg;
    for (int i = 0; i < atomic_load(&p->count); i++) {
        ferry_request *d = p->waiting[i];
        CHECK_STR(ferry_request_route(d), "later.park"); /* borrowed until done */
        CHECK_STATUS(ferry_respond(d, ferry_value_copy(ferry_request_data(d))), FERRY_OK);
        ferry_done(d);
    }
    return NULL;
}

static ferry *parking_server(parked *p, int workers)
{
    ferry *s = kit_open(FERRY_OPTIONS(.workers = workers));
    CHECK_STATUS(ferry_handle(s, "later.park", park, p, NULL), FERRY_OK);
    CHECK_STATUS(ferry_handle(s, "later.echo", kit_echo, NULL, NULL), FERRY_OK);
    kit_start(s, "later");
    return s;
}

static void answer_from_a_thread(parked *p)
{
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, answer_parked, p), 0);
    pthread_join(thread, NULL);
}

CONFORMANCE(deferred_answer_from_another_thread)
{
    parked p = {0};
    ferry *s = parking_server(&p, 1), *c = kit_open(NULL);
    ferry_future *f[2] = {ferry_async(c, FERRY_GET, "later.park", ferry_int(1), NULL),
                          ferry_async(c, FERRY_POST, "later.park", ferry_int(2), NULL)};
    CHECK_SOON(atomic_load(&p.count) == 2, KIT_SOON_MS); /* the only worker came back at once */
    KIT_INT(ferry_get(c, "later.echo", ferry_int(3), NULL), 3);
    CHECK_INT(ferry_await_any(f, 2, 20), 2);
    answer_from_a_thread(&p);
    KIT_INT(ferry_await(f[0]), 1);
    KIT_INT(ferry_await(f[1]), 2);
    kit_close(c);
    kit_close(s);
}

enum { MANY = 100 };

typedef struct crowd {
    atomic_int     count;
    ferry_request *waiting[MANY];
} crowd;

static void join_the_crowd(ferry_request *req, void *arg)
{
    crowd *c = arg;
    int n = atomic_load(&c->count);
    for (int i = 0; n < 3 && i < 10; i++)
        test_pause(INT64_MAX); /* the first ones are long, too */
    c->waiting[n] = ferry_defer(req);
    atomic_fetch_add(&c->count, 1);
}

static void send_crowd(ferry *c, ferry_future **f)
{
    for (int i = 0; i < MANY; i++)
        f[i] = ferry_async(c, FERRY_POST, "later.crowd", ferry_int(i), FERRY_CALL(.timeout_ms = KIT_SOON_MS * 2));
}

static void answer_one(ferry_request *d)
{
    ferry_respond(d, ferry_value_copy(ferry_request_data(d)));
    ferry_done(d);
}

CONFORMANCE(many_deferred_at_once)
{
    crowd waiting = {0};
    ferry_future *f[MANY];
    ferry *s = kit_serve("later.crowd", join_the_crowd, &waiting), *c = kit_open(NULL);
    send_crowd(c, f);
    CHECK_SOON(atomic_load(&waiting.count) == MANY, KIT_SOON_MS); /* with one worker: each gives it back */
    for (int i = MANY; i-- > 0;)
        answer_one(waiting.waiting[i]);
    for (int i = 0; i < MANY; i++)
        KIT_INT(ferry_await(f[i]), i);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(deferred_are_bounded_by_max_pending)
{
    enum { MOST = 10 };
    crowd waiting = {0};
    ferry_future *f[MANY];
    ferry *s = kit_serve_with(FERRY_OPTIONS(.max_pending = MOST), "later.crowd", join_the_crowd, &waiting, NULL);
    ferry *c = kit_open(NULL);
    send_crowd(c, f);
    CHECK_SOON(atomic_load(&waiting.count) >= MOST, KIT_SOON_MS);
    CHECK_INT(ferry_await_any(f, MANY, 100), MANY);
    CHECK(atomic_load(&waiting.count) < MANY); /* the others wait on the broker */
    for (int i = 0; i < MANY; i++) {
        CHECK_SOON(atomic_load(&waiting.count) > i, KIT_SOON_MS);
        answer_one(waiting.waiting[i]);
    }
    for (int i = 0; i < MANY; i++)
        KIT_INT(ferry_await(f[i]), i);
    kit_close(c);
    kit_close(s);
}

static void *fail_parked(void *arg)
{
    parked *p = arg;
    ferry_fail(p->waiting[0], "Late", "after all");
    ferry_done(p->waiting[0]);
    ferry_done(p->waiting[1]); /* no answer: nil */
    return NULL;
}

CONFORMANCE(deferred_failure_and_silence)
{
    parked p = {0};
    pthread_t thread;
    ferry *s = parking_server(&p, 1), *c = kit_open(NULL);
    ferry_future *first = ferry_async(c, FERRY_GET, "later.park", NULL, NULL);
    CHECK_SOON(atomic_load(&p.count) == 1, KIT_SOON_MS);
    ferry_future *second = ferry_async(c, FERRY_GET, "later.park", NULL, NULL);
    CHECK_SOON(atomic_load(&p.count) == 2, KIT_SOON_MS);
    CHECK_INT(pthread_create(&thread, NULL, fail_parked, &p), 0);
    pthread_join(thread, NULL);
    KIT_ENDS(ferry_await(first), FERRY_FAILED, FERRY_OUTCOME_EXECUTED);
    KIT_OK(ferry_await(second));
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(deferred_keeps_its_place_in_its_key)
{
    parked p = {0};
    ferry *s = parking_server(&p, 4), *c = kit_open(NULL);
    ferry_future *first = ferry_async(c, FERRY_POST, "later.park", ferry_int(1), FERRY_CALL(.key = "k"));
    CHECK_SOON(atomic_load(&p.count) == 1, KIT_SOON_MS);
    ferry_future *second = ferry_async(c, FERRY_POST, "later.echo", ferry_int(2), FERRY_CALL(.key = "k"));
    KIT_INT(ferry_post(c, "later.echo", ferry_int(3), FERRY_CALL(.key = "other")), 3);
    CHECK_INT(ferry_await_any(&second, 1, 50), 1);
    answer_from_a_thread(&p);
    KIT_INT(ferry_await(first), 1);
    KIT_INT(ferry_await(second), 2);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(deferred_post_is_settled_when_done)
{
    parked p = {0};
    ferry *s = parking_server(&p, 1), *c = kit_open(NULL);
    CHECK_STATUS(ferry_post_no_wait(c, "later.park", ferry_int(1), FERRY_CALL(.confirm = FERRY_CONFIRMED)), FERRY_OK);
    CHECK_SOON(atomic_load(&p.count) == 1, KIT_SOON_MS);
    answer_from_a_thread(&p);
    kit_close(s);
    p.count = 0;
    s = parking_server(&p, 1);
    KIT_INT(ferry_get(c, "later.echo", ferry_int(3), NULL), 3);
    CHECK_INT(atomic_load(&p.count), 0); /* done is done */
    kit_close(c);
    kit_close(s);
}
