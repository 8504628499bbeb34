/* order.c - how many handlers run at once, and in which order. */
#include "kit.h"

#include <pthread.h>

enum { CALLS = 200, KEYS = 8 };

/* Each call carries [key, number]; numbers of a key must come in order, and never two of a key at once. */
typedef struct watched {
    atomic_int inside, most, last[KEYS], busy[KEYS], wrong, total;
} watched;

static void enter(watched *w, int key, int number)
{
    int now = atomic_fetch_add(&w->inside, 1) + 1, most = atomic_load(&w->most);
    while (now > most && !atomic_compare_exchange_weak(&w->most, &most, now))
        continue;
    if (atomic_fetch_add(&w->busy[key], 1) != 0 || atomic_exchange(&w->last[key], number) != number - 1)
        atomic_fetch_add(&w->wrong, 1);
}

static void watched_work(ferry_request *req, void *arg)
{
    watched *w = arg;
    const ferry_value *data = ferry_request_data(req);
    int key = (int)ferry_as_int(ferry_at(data, 0), 0), number = (int)ferry_as_int(ferry_at(data, 1), 0);
    enter(w, key, number);
    if (number % 10 == key)
        test_pause(INT64_MAX); /* let another worker overtake, if it may */
    atomic_fetch_sub(&w->busy[key], 1);
    atomic_fetch_sub(&w->inside, 1);
    atomic_fetch_add(&w->total, 1);
}

static void send_all(ferry *c, bool with_key)
{
    ferry_future *f[CALLS];
    for (int i = 0; i < CALLS; i++) {
        int key = with_key ? i % KEYS : 0, number = with_key ? i / KEYS + 1 : i + 1;
        f[i] = ferry_async(c, FERRY_POST, "work.do", ferry_list(key, number),
                           FERRY_CALL(.key = with_key ? test_text("key%d", key) : NULL, .timeout_ms = KIT_SOON_MS));
    }
    for (int i = 0; i < CALLS; i++)
        KIT_OK(ferry_await(f[i]));
}

CONFORMANCE(one_worker_one_at_a_time_in_order)
{
    watched w = {0};
    ferry *s = kit_serve("work.do", watched_work, &w), *c = kit_open(NULL);
    send_all(c, false);
    CHECK(atomic_load(&w.wrong) == 0 || test_can("spreads")); /* what has no key is spread over partitions */
    CHECK_INT(atomic_load(&w.most), 1);
    CHECK_INT(atomic_load(&w.total), CALLS);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(workers_in_order_for_each_key)
{
    watched w = {0};
    ferry *s = kit_serve_with(FERRY_OPTIONS(.workers = 4), "work.do", watched_work, &w, NULL), *c = kit_open(NULL);
    send_all(c, true);
    CHECK_INT(atomic_load(&w.wrong), 0);
    CHECK_INT(atomic_load(&w.total), CALLS);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(workers_side_by_side)
{
    enum { WORKERS = 4 };
    kit_gate gate = {0};
    ferry_future *f[WORKERS + 1];
    ferry *s = kit_serve_with(FERRY_OPTIONS(.workers = WORKERS), "slow.echo", kit_gated, &gate, NULL),
          *c = kit_open(NULL);
    for (int i = 0; i <= WORKERS; i++)
        f[i] = ferry_async(c, FERRY_POST, "slow.echo", ferry_int(i), NULL);
    CHECK_SOON(atomic_load(&gate.entered) == WORKERS, KIT_SOON_MS);
    CHECK_INT(ferry_await_any(f, WORKERS + 1, 50), WORKERS + 1);
    CHECK_INT(atomic_load(&gate.entered), WORKERS); /* no more than that at once */
    atomic_store(&gate.open, true);
    for (int i = 0; i <= WORKERS; i++)
        KIT_INT(ferry_await(f[i]), i);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(equal_keys_wait_other_keys_do_not)
{
    kit_gate gate = {0};
    ferry *s = kit_open(FERRY_OPTIONS(.workers = 4)), *c = kit_open(NULL);
    CHECK_STATUS(ferry_handle(s, "slow.echo", kit_gated, &gate, NULL), FERRY_OK);
    CHECK_STATUS(ferry_handle(s, "slow.quick", kit_echo, NULL, NULL), FERRY_OK);
    kit_start(s, "slow");
    ferry_future *first = ferry_async(c, FERRY_POST, "slow.echo", ferry_int(1), FERRY_CALL(.key = "a"));
    CHECK_SOON(atomic_load(&gate.entered) == 1, KIT_SOON_MS);
    ferry_future *second = ferry_async(c, FERRY_POST, "slow.quick", ferry_int(2), FERRY_CALL(.key = "a"));
    KIT_INT(ferry_post(c, "slow.quick", ferry_int(3), FERRY_CALL(.key = "b")), 3);
    KIT_INT(ferry_post(c, "slow.quick", ferry_int(4), NULL), 4);
    CHECK_INT(ferry_await_any(&second, 1, 50), 1);
    atomic_store(&gate.open, true);
    KIT_INT(ferry_await(first), 1);
    KIT_INT(ferry_await(second), 2);
    kit_close(c);
    kit_close(s);
}

/* ---- A handler that is long ------------------------------------------------------------------------------------------ */

/* The first call stays as long as its gate is closed; meanwhile a server may give back what it holds behind it. */
typedef struct long_first {
    kit_gate gate;
    watched w;
} long_first;

static void long_first_work(ferry_request *req, void *arg)
{
    long_first *l = arg;
    const ferry_value *data = ferry_request_data(req);
    int key = (int)ferry_as_int(ferry_at(data, 0), 0), number = (int)ferry_as_int(ferry_at(data, 1), 0);
    enter(&l->w, key, number);
    if (number == 1)
        kit_gated(req, &l->gate);
    atomic_fetch_sub(&l->w.busy[key], 1);
    atomic_fetch_sub(&l->w.inside, 1);
    atomic_fetch_add(&l->w.total, 1);
}

static void send_numbered(ferry *c, ferry_future **f, int from, int to)
{
    for (int i = from; i < to; i++)
        f[i] = ferry_async(c, FERRY_POST, "work.do", ferry_list(0, i + 1), FERRY_CALL(.timeout_ms = KIT_SOON_MS));
}

/* So many short ones first that the server holds several ahead; then a long one, more behind it than a server ever holds, and still more
 * once it is known as long. */
CONFORMANCE(a_long_handler_changes_no_order)
{
    enum { SHORT = 200, MANY = 700, MORE = 50 };
    long_first l = {0};
    ferry_future *f[MANY + MORE];
    ferry *s = kit_open(NULL), *c = kit_open(NULL);
    CHECK_STATUS(ferry_handle(s, "work.short", kit_echo, NULL, NULL), FERRY_OK);
    CHECK_STATUS(ferry_handle(s, "work.do", long_first_work, &l, NULL), FERRY_OK);
    kit_start(s, "work");
    for (int i = 0; i < SHORT; i++)
        KIT_INT(ferry_post(c, "work.short", ferry_int(i), NULL), i);
    send_numbered(c, f, 0, MANY);
    size_t first = ferry_await_any(f, MANY, 150); /* time to be seen as long */
    CHECK(first == MANY || test_can("spreads"));  /* the long one need not be the first where calls are spread */
    send_numbered(c, f, MANY, MANY + MORE);
    first = ferry_await_any(f, MANY + MORE, 50);
    CHECK(first == MANY + MORE || test_can("spreads"));
    atomic_store(&l.gate.open, true);
    for (int i = 0; i < MANY + MORE; i++)
        KIT_OK(ferry_await(f[i]));
    CHECK(atomic_load(&l.w.wrong) == 0 || test_can("spreads"));
    CHECK_INT(atomic_load(&l.w.total), MANY + MORE);
    kit_close(c);
    kit_close(s);
}

/* A server holds a few requests ahead, so with one call or two a second server may stay idle; with many it may not. */
CONFORMANCE(two_servers_share_the_work)
{
    enum { MANY = 100 };
    kit_gate one = {0}, two = {0};
    ferry_future *f[MANY];
    ferry *a = kit_serve("slow.echo", kit_gated, &one), *b = kit_serve("slow.echo", kit_gated, &two),
          *c = kit_open(NULL);
    for (int i = 0; i < MANY; i++)
        f[i] = ferry_async(c, FERRY_GET, "slow.echo", ferry_int(i), NULL);
    CHECK_SOON(atomic_load(&one.entered) == 1 && atomic_load(&two.entered) == 1, KIT_SOON_MS);
    atomic_store(&one.open, true);
    atomic_store(&two.open, true);
    for (int i = 0; i < MANY; i++)
        KIT_INT(ferry_await(f[i]), i);
    CHECK_INT(atomic_load(&one.entered) + atomic_load(&two.entered), MANY);
    kit_close(c);
    kit_close(b);
    kit_close(a);
}

/* ---- Calls and posts ------------------------------------------------------------------------------------------------- */

typedef struct sequence {
    kit_gate gate;
    atomic_int posts, posts_before_the_call;
} sequence;

static void gated_first(ferry_request *req, void *arg)
{
    kit_gated(req, &((sequence *)arg)->gate);
}

static void post_or_call(ferry_request *req, void *arg)
{
    sequence *s = arg;
    if (ferry_request_remaining_ms(req) < 0)
        atomic_fetch_add(&s->posts, 1);
    else
        atomic_store(&s->posts_before_the_call, atomic_load(&s->posts));
}

CONFORMANCE(calls_go_before_posts)
{
    enum { POSTS = 100 };
    sequence q = {0};
    ferry *s = kit_open(NULL), *c = kit_open(NULL);
    CHECK_STATUS(ferry_handle(s, "work.gate", gated_first, &q, NULL), FERRY_OK);
    CHECK_STATUS(ferry_handle(s, "work.do", post_or_call, &q, NULL), FERRY_OK);
    kit_start(s, "work");
    ferry_future *first = ferry_async(c, FERRY_POST, "work.gate", NULL, NULL);
    CHECK_SOON(atomic_load(&q.gate.entered) == 1, KIT_SOON_MS);
    for (int i = 0; i < POSTS; i++)
        CHECK_STATUS(ferry_post_no_wait(c, "work.do", NULL, NULL), FERRY_OK);
    CHECK_STATUS(ferry_flush(c, KIT_SOON_MS), FERRY_OK);
    ferry_future *call = ferry_async(c, FERRY_GET, "work.do", NULL, NULL);
    CHECK_INT(ferry_await_any(&call, 1, 100), 1); /* time to arrive */
    atomic_store(&q.gate.open, true);
    KIT_OK(ferry_await(first));
    KIT_OK(ferry_await(call));
    CHECK_SOON(atomic_load(&q.posts) == POSTS, KIT_SOON_MS);
    CHECK(atomic_load(&q.posts_before_the_call) < POSTS / 4); /* whoever waits is served first */
    kit_close(c);
    kit_close(s);
}

/* ---- Posts across servers ------------------------------------------------------------------------------------------- */

static void send_posts(ferry *c, int each)
{
    for (int i = 0; i < each * KEYS; i++)
        CHECK_STATUS(ferry_post_no_wait(c, "work.do", ferry_list(i % KEYS, i / KEYS + 1),
                                        FERRY_CALL(.key = test_text("key%d", i % KEYS))),
                     FERRY_OK);
}

CONFORMANCE(posts_in_order_for_each_key_across_servers)
{
    enum { EACH = 25 };
    watched w = {0};
    ferry *a = kit_serve_with(FERRY_OPTIONS(.workers = 2), "work.do", watched_work, &w, NULL);
    ferry *b = kit_serve_with(FERRY_OPTIONS(.workers = 2), "work.do", watched_work, &w, NULL), *c = kit_open(NULL);
    send_posts(c, EACH);
    CHECK_SOON(atomic_load(&w.total) == EACH * KEYS, KIT_SOON_MS);
    CHECK_INT(atomic_load(&w.wrong), 0);
    kit_close(c);
    kit_close(b);
    kit_close(a);
}
