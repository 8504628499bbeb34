/* loop.c - handles driven by a foreign event loop: poll(2), ferry_fd, ferry_next_ms, ferry_process, and nothing else. */
#include "kit.h"

#include <poll.h>
#include <pthread.h>

enum { MOST = 3 };

typedef struct loop {
    ferry *handles[MOST];
    size_t n;
    int    turns;
} loop;

static void turn(loop *l, int most_ms)
{
    struct pollfd fds[MOST];
    for (size_t i = 0; i < l->n; i++) {
        int ms = ferry_next_ms(l->handles[i]);
        most_ms = ms >= 0 && ms < most_ms ? ms : most_ms;
        fds[i] = (struct pollfd){.fd = ferry_fd(l->handles[i]), .events = POLLIN};
        CHECK(fds[i].fd >= 0);
    }
    poll(fds, l->n, most_ms);
    for (size_t i = 0; i < l->n; i++) {
        ferry_status s = ferry_process(l->handles[i]);
        CHECK(s == FERRY_OK || s == FERRY_CLOSED);
    }
    l->turns++;
}

#define LOOP_UNTIL(l, cond)                                                     \
    do {                                                                        \
        for (int64_t end_ = test_now_ms() + test_ms(KIT_SOON_MS); !(cond);) {   \
            turn((l), 1000);                                                    \
            if (test_now_ms() > end_)                                           \
                FAIL("the loop turned %d times, and still not: %s", (l)->turns, #cond); \
        }                                                                       \
    } while (0)

static void end(loop *l)
{
    for (size_t i = 0; i < l->n; i++) {
        ferry_stop(l->handles[i]);
        for (int64_t limit = test_now_ms() + test_ms(KIT_SOON_MS); ferry_process(l->handles[i]) != FERRY_CLOSED;) {
            CHECK(test_now_ms() < limit);
            turn(l, 10);
        }
        int64_t before = test_now_ms();
        kit_close(l->handles[i]);
        CHECK(test_now_ms() - before < test_ms(300)); /* instant */
        l->handles[i] = l->handles[--l->n];
        i--;
    }
}

static ferry *looped(loop *l, ferry *f)
{
    CHECK_NOT_NULL(f);
    CHECK(ferry_fd(f) >= 0);
    l->handles[l->n++] = f;
    return f;
}

typedef struct here {
    pthread_t  thread;
    atomic_int times, elsewhere;
    int64_t    sum;
} here;

static void answer_here(ferry_request *req, void *arg)
{
    here *h = arg;
    atomic_fetch_add(&h->elsewhere, !pthread_equal(pthread_self(), h->thread));
    atomic_fetch_add(&h->times, 1);
    kit_echo(req, NULL);
}

static void collect_here(ferry_reply *reply, void *arg)
{
    here *h = arg;
    atomic_fetch_add(&h->elsewhere, !pthread_equal(pthread_self(), h->thread));
    h->sum += ferry_as_int(ferry_data(reply), 0);
    KIT_OK(reply);
    atomic_fetch_add(&h->times, 1);
}

static ferry *looped_server(loop *l, here *h)
{
    ferry *s = looped(l, ferry_open(test_url(), NULL));
    CHECK_STATUS(ferry_handle(s, "calc.echo", answer_here, h, NULL), FERRY_OK);
    return s;
}

/* A looped server is seen by others only once its loop turned. */
static void until_served(loop *l, ferry *c, const char *route)
{
    for (int64_t end_ms = test_now_ms() + test_ms(KIT_SOON_MS);; CHECK(test_now_ms() < end_ms)) {
        ferry_future *f = ferry_async(c, FERRY_GET, route, ferry_int(0), NULL);
        turn(l, 0);
        LOOP_UNTIL(l, ferry_await_any(&f, 1, 0) == 0);
        ferry_reply *r = ferry_await(f);
        ferry_status s = ferry_reply_status(r);
        ferry_reply_free(r);
        if (s == FERRY_OK)
            return;
        CHECK_STATUS(s, FERRY_NO_SERVICE);
    }
}

CONFORMANCE(client_and_server_in_one_loop)
{
    enum { CALLS = 100 };
    loop l = {0};
    here served = {.thread = pthread_self()}, called = {.thread = pthread_self()};
    looped_server(&l, &served);
    ferry *c = looped(&l, ferry_open(test_url(), NULL));
    until_served(&l, c, "calc.echo");
    for (int i = 1; i <= CALLS; i++)
        CHECK(ferry_async_with(c, FERRY_GET, "calc.echo", ferry_int(i), NULL, collect_here, &called) != 0);
    CHECK_INT(atomic_load(&called.times), 0); /* never inside the caller's own call */
    LOOP_UNTIL(&l, atomic_load(&called.times) == CALLS);
    CHECK_INT(called.sum, CALLS * (CALLS + 1) / 2);
    CHECK_INT(atomic_load(&served.elsewhere) + atomic_load(&called.elsewhere), 0); /* no thread of the library ran user code */
    end(&l);
}

CONFORMANCE(loop_answers_strangers)
{
    loop l = {0};
    here served = {.thread = pthread_self()};
    looped_server(&l, &served);
    ferry *stranger = kit_open(NULL);
    until_served(&l, stranger, "calc.echo");
    ferry_future *f = ferry_async(stranger, FERRY_POST, "calc.echo", ferry_int(8), NULL);
    LOOP_UNTIL(&l, ferry_await_any(&f, 1, 0) == 0);
    KIT_INT(ferry_await(f), 8);
    CHECK_INT(atomic_load(&served.elsewhere), 0);
    end(&l);
    kit_close(stranger);
}

static void timed_out(ferry_reply *reply, void *arg)
{
    KIT_ENDS(reply, FERRY_TIMEOUT, FERRY_OUTCOME_UNKNOWN);
    atomic_fetch_add((atomic_int *)arg, 1);
}

typedef struct deadline {
    loop      *l;
    ferry     *c;
    atomic_int times;
} deadline;

static void loop_to_the_deadline(void *arg)
{
    deadline *d = arg;
    atomic_store(&d->times, 0);
    CHECK(ferry_async_with(d->c, FERRY_POST, "slow.echo", NULL, FERRY_CALL(.timeout_ms = 200), timed_out, &d->times) !=
          0);
    LOOP_UNTIL(d->l, atomic_load(&d->times) == 1);
}

CONFORMANCE(loop_keeps_deadlines)
{
    loop l = {0};
    kit_gate gate = {0};
    ferry *s = kit_serve("slow.echo", kit_gated, &gate);
    deadline d = {.l = &l, .c = looped(&l, ferry_open(test_url(), NULL))};
    kit_takes(200, 200 + KIT_LATE_MS, loop_to_the_deadline, &d);
    end(&l);
    atomic_store(&gate.open, true);
    kit_close(s);
}

CONFORMANCE(loop_sleeps_while_there_is_nothing)
{
    loop l = {0};
    here served = {.thread = pthread_self()};
    looped_server(&l, &served);
    ferry *c = looped(&l, ferry_open(test_url(), NULL));
    until_served(&l, c, "calc.echo");
    l.turns = 0;
    for (int64_t until = test_now_ms() + 500; test_now_ms() < until;)
        turn(&l, 100);
    if (l.turns > 60)
        FAIL("%d turns in half a second of nothing", l.turns);
    end(&l);
}

static void fail_once(ferry_request *req, void *arg)
{
    here *h = arg;
    atomic_fetch_add(&h->elsewhere, !pthread_equal(pthread_self(), h->thread));
    if (atomic_fetch_add(&h->times, 1) == 0)
        ferry_fail(req, "Broken", "once");
}

CONFORMANCE(loop_handles_posts_and_retries)
{
    loop l = {0};
    here posts = {.thread = pthread_self()}, calls = {.thread = pthread_self()};
    ferry *f = looped_server(&l, &calls);
    CHECK_STATUS(ferry_handle(f, "calc.work", fail_once, &posts, FERRY_HANDLE(.backoff_ms = 30)), FERRY_OK);
    until_served(&l, f, "calc.echo");
    CHECK_STATUS(ferry_post_no_wait(f, "calc.work", NULL, NULL), FERRY_OK);
    LOOP_UNTIL(&l, atomic_load(&posts.times) == 2);
    CHECK_INT(atomic_load(&posts.elsewhere), 0);
    end(&l);
}

typedef struct blocking {
    ferry     *f;
    atomic_int inside, wrong, done;
} blocking;

static void call_in_here(ferry_request *req, void *arg)
{
    blocking *b = arg;
    atomic_fetch_add(&b->wrong, atomic_fetch_add(&b->inside, 1) != 0);
    ferry_reply *r = ferry_get(b->f, "back.echo", ferry_value_copy(ferry_request_data(req)), FERRY_CALL(.within = req));
    ferry_respond(req, ferry_value_copy(ferry_data(r)));
    KIT_OK(r);
    atomic_fetch_sub(&b->inside, 1);
    atomic_fetch_add(&b->done, 1);
}

CONFORMANCE(blocking_call_in_the_loop_runs_no_other_user_code)
{
    enum { CALLS = 10 };
    loop l = {0};
    blocking b = {0};
    ferry_future *f[CALLS];
    ferry *back = kit_serve("back.echo", kit_echo, NULL), *c = kit_open(NULL);
    b.f = looped(&l, ferry_open(test_url(), FERRY_OPTIONS(.workers = 4)));
    CHECK_STATUS(ferry_handle(b.f, "front.call", call_in_here, &b, NULL), FERRY_OK);
    until_served(&l, c, "front.call");
    for (int i = 0; i < CALLS; i++)
        f[i] = ferry_async(c, FERRY_GET, "front.call", ferry_int(i), NULL);
    for (int i = 0; i < CALLS; i++) {
        LOOP_UNTIL(&l, ferry_await_any(&f[i], 1, 0) == 0);
        KIT_INT(ferry_await(f[i]), i);
    }
    CHECK_INT(atomic_load(&b.wrong), 0);
    end(&l);
    kit_close(c);
    kit_close(back);
}
