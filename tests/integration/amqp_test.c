/* amqp_test.c - what a real RabbitMQ does when it is killed, frozen, full, or tampered with. Each case has a broker of its own. */
#include "test.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { SOON_MS = 20000, LATE_MS = 50 };

static const char *user = "ferry:secret", *more = "queue=classic&tier=10ms&partitions=2&backoff_max=500ms&heartbeat=2s";

static void broker(const char *arguments)
{
    test_output o = test_sh("%s/tools/brokers --dir '%s/set' %s", test_root(), test_dir(), arguments);
    if (o.code != 0)
        FAIL("brokers %s: %s%s", arguments, o.out, o.err);
}

static void stop_broker(void)
{
    broker("stop amqp");
}

/* "127.0.0.1:PORT", of a broker that was started for this case; skips it where there is none. */
static const char *start_broker(void)
{
    ferry *f = ferry_open("amqp://localhost/?connect=100ms", NULL);
    ferry_status status = ferry_wait_ready(f, 0);
    ferry_close(f);
    if (status == FERRY_INVALID)
        SKIP("amqp was left out of this build");
    if (test_sh("command -v rabbitmq-server || test -d /usr/lib/rabbitmq").code != 0)
        SKIP("no rabbitmq-server here");
    broker("start amqp");
    /* it takes connections before, but deletes no queue until it is up for itself */
    CHECK_SOON(test_sh("grep -q 'startup complete' '%s/set/amqp/log'", test_dir()).code == 0, SOON_MS);
    char *out = (char *)(uintptr_t)test_sh("%s/tools/brokers --dir '%s/set' env amqp", test_root(), test_dir()).out;
    char *address = strstr(out, "FERRY_TEST_AMQP=");
    CHECK_NOT_NULL(address);
    address += strlen("FERRY_TEST_AMQP=");
    address[strcspn(address, " \n")] = '\0';
    return address;
}

static ferry *open_at(const char *address)
{
    ferry *f = ferry_open(test_text("amqp://%s@%s/ferry?%s", user, address, more), NULL);
    CHECK_NOT_NULL(f);
    return f;
}

static ferry *ready_at(const char *address)
{
    ferry *f = open_at(address);
    CHECK_STATUS(ferry_wait_ready(f, test_ms(SOON_MS)), FERRY_OK);
    return f;
}

static void echo(ferry_request *req, void *arg)
{
    (void)arg;
    ferry_respond(req, ferry_value_copy(ferry_request_data(req)));
}

enum { POSTS_MOST = 200000 };
static atomic_uchar handled[POSTS_MOST];

static void note(ferry_request *req, void *arg)
{
    (void)arg;
    int64_t n = ferry_as_int(ferry_request_data(req), -1);
    if (n >= 0 && n < POSTS_MOST)
        atomic_store(&handled[n], 1);
}

static ferry *serve_at(const char *address)
{
    ferry *s = ready_at(address);
    CHECK_STATUS(ferry_handle(s, "calc.echo", echo, NULL, NULL), FERRY_OK);
    CHECK_STATUS(ferry_handle(s, "calc.note", note, NULL, NULL), FERRY_OK);
    CHECK_STATUS(ferry_serve(s), FERRY_OK);
    return s;
}

static ferry_status get(ferry *c, int timeout_ms)
{
    ferry_reply *r = ferry_get(c, "calc.echo", ferry_int(1), FERRY_CALL(.timeout_ms = timeout_ms));
    ferry_status status = ferry_reply_status(r);
    ferry_reply_free(r);
    return status;
}

/* ---- Load ----------------------------------------------------------------------------------------------------------- */

typedef struct load {
    ferry      *c;
    pthread_t   callers[8], poster;
    atomic_bool over;
    atomic_int  late, wrong, ok, failed, posted;
    unsigned char confirmed[POSTS_MOST];
} load;

/* Eight calls at once a thread. A post that ends UNAVAILABLE or TIMEOUT says UNKNOWN or NOT_SENT, never EXECUTED. */
static void *call_on(void *arg)
{
    enum { AT_ONCE = 8, MS = 1500 };
    load *l = arg;
    while (!atomic_load(&l->over)) {
        ferry_future *f[AT_ONCE];
        int64_t end_ms = test_now_ms() + MS;
        for (int i = 0; i < AT_ONCE; i++)
            f[i] = ferry_async(l->c, i % 2 ? FERRY_POST : FERRY_GET, "calc.echo", ferry_int(i),
                               FERRY_CALL(.timeout_ms = MS));
        for (int i = 0; i < AT_ONCE; i++) {
            ferry_reply *r = ferry_await(f[i]);
            bool ok = ferry_reply_status(r) == FERRY_OK;
            atomic_fetch_add(ok ? &l->ok : &l->failed, 1);
            atomic_fetch_add(&l->wrong, ok != (ferry_reply_outcome(r) == FERRY_OUTCOME_EXECUTED));
            atomic_fetch_add(&l->wrong, ok && ferry_as_int(ferry_data(r), -1) != i);
            ferry_reply_free(r);
        }
        atomic_fetch_add(&l->late, test_now_ms() > end_ms + test_ms(LATE_MS) * 4);
    }
    return NULL;
}

static void *post_on(void *arg)
{
    load *l = arg;
    for (int n = 0; n < POSTS_MOST && !atomic_load(&l->over); n++) {
        ferry_status s = ferry_post_no_wait(l->c, "calc.note", ferry_int(n),
                                            FERRY_CALL(.confirm = FERRY_CONFIRMED, .timeout_ms = SOON_MS));
        l->confirmed[n] = s == FERRY_OK;
        atomic_store(&l->posted, n + 1);
    }
    return NULL;
}

static void begin_load(load *l, ferry *c)
{
    l->c = c;
    for (size_t i = 0; i < sizeof l->callers / sizeof *l->callers; i++)
        CHECK_INT(pthread_create(&l->callers[i], NULL, call_on, l), 0);
    CHECK_INT(pthread_create(&l->poster, NULL, post_on, l), 0);
}

static bool all_handled(const load *l)
{
    for (int n = 0; n < atomic_load(&l->posted); n++)
        if (l->confirmed[n] && !atomic_load(&handled[n]))
            return false;
    return true;
}

static void end_load(load *l)
{
    atomic_store(&l->over, true);
    for (size_t i = 0; i < sizeof l->callers / sizeof *l->callers; i++)
        pthread_join(l->callers[i], NULL);
    pthread_join(l->poster, NULL);
}

/* ---- Cases ---------------------------------------------------------------------------------------------------------- */

TEST_WITH(broker_killed_under_load, .limit_ms = 600000)
{
    static load l;
    int times = test_long() ? 20 : 2;
    const char *address = start_broker();
    ferry *s = serve_at(address), *c = ready_at(address);
    CHECK_SOON(get(c, 2000) == FERRY_OK, SOON_MS);
    begin_load(&l, c);
    for (int i = 0; i < times; i++) {
        int before = atomic_load(&l.ok);
        CHECK_SOON(atomic_load(&l.ok) > before + 100, SOON_MS);
        broker("kill amqp");
        broker("start amqp");
        before = atomic_load(&l.ok);
        CHECK_SOON(atomic_load(&l.ok) > before, 4000);
    }
    end_load(&l);
    CHECK_INT(atomic_load(&l.wrong), 0);
    CHECK_INT(atomic_load(&l.late), 0);
    CHECK_SOON(all_handled(&l), SOON_MS);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    stop_broker();
}

TEST_WITH(frozen_broker_ends_calls_by_their_deadline, .limit_ms = 120000)
{
    const char *address = start_broker();
    ferry *s = serve_at(address), *c = ready_at(address);
    CHECK_SOON(get(c, 2000) == FERRY_OK, SOON_MS);
    broker("freeze amqp");
    int64_t before = test_now_ms();
    ferry_status status = get(c, 300);
    int64_t took = test_now_ms() - before;
    broker("thaw amqp");
    CHECK_STATUS(status, FERRY_TIMEOUT);
    CHECK(took >= 299 && took <= 300 + test_ms(LATE_MS));
    CHECK_SOON(get(c, 2000) == FERRY_OK, SOON_MS);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    stop_broker();
}

static int64_t disconnects(ferry *f)
{
    ferry_value *stats = ferry_stats(f);
    int64_t n = ferry_as_int(ferry_find(stats, "disconnects"), -1);
    ferry_value_free(stats);
    return n;
}

static bool fell(void *f)
{
    return disconnects(f) != 0;
}

static void slow(ferry_request *req, void *arg)
{
    CHECK(!test_wait_for(fell, arg, 5000)); /* longer than the broker waits for a sign of life */
    ferry_respond(req, ferry_int(7));
}

/* Nobody is inside the one, the only worker of the other is in a long handler: both beat. */
TEST_WITH(heartbeats_whatever_happens, .limit_ms = 120000)
{
    const char *address = start_broker();
    more = "queue=classic&heartbeat=1s";
    ferry *s = ready_at(address), *c = ready_at(address), *idle = ready_at(address);
    CHECK_STATUS(ferry_handle(s, "calc.slow", slow, s, NULL), FERRY_OK);
    CHECK_STATUS(ferry_serve(s), FERRY_OK);
    CHECK_SOON(get(c, 1000) == FERRY_NOT_FOUND, SOON_MS);
    ferry_reply *r = ferry_post(c, "calc.slow", NULL, FERRY_CALL(.timeout_ms = SOON_MS));
    CHECK_INT(ferry_as_int(ferry_data(r), 0), 7);
    ferry_reply_free(r);
    CHECK_INT(disconnects(s) + disconnects(c) + disconnects(idle), 0);
    CHECK_STATUS(ferry_close(idle), FERRY_OK);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    stop_broker();
}

TEST_WITH(queue_deleted_under_load_comes_back, .limit_ms = 120000)
{
    const char *address = start_broker();
    ferry *s = serve_at(address), *c = ready_at(address);
    CHECK_SOON(get(c, 2000) == FERRY_OK, SOON_MS);
    broker("ctl amqp -q -p ferry delete_queue ferry.calc.calls");
    CHECK_SOON(get(c, 1000) == FERRY_OK, SOON_MS);
    broker("ctl amqp -q -p ferry delete_queue ferry.calc.up");
    CHECK_SOON(get(c, 1000) == FERRY_OK, SOON_MS);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    stop_broker();
}

TEST_WITH(broker_without_memory_is_overloaded_at_once, .limit_ms = 120000)
{
    const char *address = start_broker();
    ferry *s = serve_at(address), *c = ready_at(address);
    CHECK_SOON(get(c, 2000) == FERRY_OK, SOON_MS);
    broker("ctl amqp -q set_vm_memory_high_watermark 0.00001");
    CHECK_SOON(get(c, 200) == FERRY_OVERLOADED, SOON_MS);
    broker("ctl amqp -q set_vm_memory_high_watermark 0.6");
    CHECK_SOON(get(c, 2000) == FERRY_OK, SOON_MS);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    stop_broker();
}

TEST_WITH(who_may_not_is_denied, .limit_ms = 120000)
{
    const char *address = start_broker();
    user = "ferry:wrong";
    ferry *f = open_at(address);
    CHECK_STATUS(ferry_wait_ready(f, 3000), FERRY_DENIED);
    ferry_close(f);
    broker("ctl amqp -q add_user reader secret");
    broker("ctl amqp -q set_permissions -p ferry reader '^ferry[.]' '^ferry[.]' '.*'"); /* no writing to the default exchange */
    user = "reader:secret";
    f = ready_at(address);
    CHECK_STATUS(
        ferry_post_no_wait(f, "calc.note", ferry_int(1), FERRY_CALL(.confirm = FERRY_CONFIRMED, .timeout_ms = 2000)),
        FERRY_DENIED);
    ferry_close(f);
    stop_broker();
}

TEST_WITH(nothing_is_left_on_the_broker, .limit_ms = 120000)
{
    const char *address = start_broker();
    ferry *s = serve_at(address), *c = ready_at(address);
    CHECK_SOON(get(c, 2000) == FERRY_OK, SOON_MS);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    test_output o =
        test_sh("%s/tools/brokers --dir '%s/set' ctl amqp -q list_queues -p ferry name", test_root(), test_dir());
    CHECK(!strstr(o.out, ".replies.") && !strstr(o.out, ".controls.") && !strstr(o.out, "calc.calls"));
    CHECK_HAS(o.out, "ferry.calc.posts");
    o = test_sh("%s/tools/brokers --dir '%s/set' ctl amqp -q list_connections pid", test_root(), test_dir());
    CHECK(!strstr(o.out, "<"));
    stop_broker();
}
