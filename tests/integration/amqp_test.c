/* amqp_test.c - what a real RabbitMQ does when it is frozen, full, or tampered with. Each case has a broker of its own. */
#include "amqp_kit.h"

#include <signal.h>

TEST_WITH(frozen_broker_ends_calls_by_their_deadline, .limit_ms = 120000)
{
    const char *address = amqp_start();
    ferry *s = amqp_serve(address), *c = amqp_ready(address);
    CHECK_SOON(amqp_get(c, 2000) == FERRY_OK, AMQP_SOON_MS);
    amqp_broker("freeze amqp");
    int64_t before = test_now_ms();
    ferry_status status = amqp_get(c, 300);
    int64_t took = test_now_ms() - before;
    amqp_broker("thaw amqp");
    CHECK_STATUS(status, FERRY_TIMEOUT);
    CHECK(took >= 299 && took <= 300 + test_ms(AMQP_LATE_MS));
    CHECK_SOON(amqp_get(c, 2000) == FERRY_OK, AMQP_SOON_MS);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    amqp_stop();
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
    const char *address = amqp_start();
    amqp_more = test_text("queue=classic&heartbeat=%dms", test_ms(1000));
    ferry *s = amqp_ready(address), *c = amqp_ready(address), *idle = amqp_ready(address);
    CHECK_STATUS(ferry_handle(s, "calc.slow", slow, s, NULL), FERRY_OK);
    CHECK_STATUS(ferry_serve(s), FERRY_OK);
    CHECK_SOON(amqp_get(c, 1000) == FERRY_NOT_FOUND, AMQP_SOON_MS);
    ferry_reply *r = ferry_post(c, "calc.slow", NULL, FERRY_CALL(.timeout_ms = test_ms(AMQP_SOON_MS)));
    CHECK_INT(ferry_as_int(ferry_data(r), 0), 7);
    ferry_reply_free(r);
    CHECK_INT(disconnects(s) + disconnects(c) + disconnects(idle), 0);
    CHECK_STATUS(ferry_close(idle), FERRY_OK);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    amqp_stop();
}

/* What was in the queue is lost with it, and its callers hear by their deadline that nobody knows. */
TEST_WITH(queue_deleted_under_load_comes_back, .limit_ms = 120000)
{
    const char *address = amqp_start();
    ferry *s = amqp_serve(address), *c = amqp_ready(address);
    CHECK_SOON(amqp_get(c, 2000) == FERRY_OK, AMQP_SOON_MS);
    amqp_begin_load(c);
    for (int deletions = 0; deletions < 4; deletions++) {
        int ok = atomic_load(&amqp_the_load.ok);
        CHECK_SOON(atomic_load(&amqp_the_load.ok) > ok + 100, AMQP_SOON_MS);
        amqp_ctl(test_text("-p ferry delete_queue ferry.calc.%s", deletions % 2 ? "up" : "calls"));
        ok = atomic_load(&amqp_the_load.ok);
        CHECK_SOON(atomic_load(&amqp_the_load.ok) > ok, 4000);
    }
    amqp_end_load();
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    amqp_stop();
}

/* While the broker is blocked nobody waits for it, and nothing is queued for it. */
TEST_WITH(broker_without_memory_is_overloaded_at_once, .limit_ms = 120000)
{
    const char *address = amqp_start();
    ferry *s = amqp_serve(address), *c = amqp_ready(address);
    CHECK_SOON(amqp_get(c, 2000) == FERRY_OK, AMQP_SOON_MS);
    amqp_ctl("set_vm_memory_high_watermark 0.00001");
    CHECK_SOON(amqp_get(c, 200) == FERRY_OVERLOADED, AMQP_SOON_MS);
    int64_t before = test_now_ms();
    ferry_reply *r = ferry_post(c, "calc.echo", ferry_int(1), FERRY_CALL(.timeout_ms = 5000));
    CHECK_STATUS(ferry_reply_status(r), FERRY_OVERLOADED);
    CHECK_OUTCOME(ferry_reply_outcome(r), FERRY_OUTCOME_NOT_SENT);
    ferry_reply_free(r);
    CHECK_STATUS(ferry_post_no_wait(c, "calc.note", ferry_int(1), FERRY_CALL(.confirm = FERRY_CONFIRMED)),
                 FERRY_OVERLOADED);
    CHECK(test_now_ms() - before < test_ms(AMQP_LATE_MS));
    amqp_ctl("set_vm_memory_high_watermark 0.6");
    CHECK_SOON(amqp_get(c, 2000) == FERRY_OK, AMQP_SOON_MS);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    amqp_stop();
}

static ferry_status note(ferry *c, int n)
{
    return ferry_post_no_wait(c, "calc.note", ferry_int(n), FERRY_CALL(.confirm = FERRY_CONFIRMED, .timeout_ms = 5000));
}

/* A queue with a limit that rejects: the broker says so, and nobody tries again behind the program's back. */
TEST_WITH(full_queue_is_overloaded, .limit_ms = 120000)
{
    const char *address = amqp_start();
    ferry *s = amqp_serve(address), *c = amqp_ready(address);
    CHECK_SOON(amqp_get(c, 2000) == FERRY_OK, AMQP_SOON_MS);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    amqp_ctl("set_policy -p ferry full '^ferry[.]calc[.]posts$' '{\"max-length\":3,\"overflow\":\"reject-publish\"}'");
    ferry_status status = FERRY_OK;
    int taken = 0;
    for (; taken < 100 && (status = note(c, taken)) == FERRY_OK; taken++) {
    }
    CHECK_STATUS(status, FERRY_OVERLOADED);
    CHECK(taken >= 3);
    s = amqp_serve(address);
    for (int n = 0; n < taken; n++)
        CHECK_SOON(atomic_load(&amqp_the_load.noted[n]) == 1, AMQP_SOON_MS);
    CHECK_SOON(note(c, taken + 1) == FERRY_OK, AMQP_SOON_MS);
    CHECK_SOON(atomic_load(&amqp_the_load.noted[taken + 1]) == 1, AMQP_SOON_MS);
    CHECK_INT(atomic_load(&amqp_the_load.noted[taken]), 0); /* the rejected one */
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    amqp_stop();
}

TEST_WITH(who_may_not_is_denied, .limit_ms = 120000)
{
    const char *address = amqp_start();
    ferry *f = amqp_open("amqp://ferry:wrong@%s/ferry", address);
    CHECK_STATUS(ferry_wait_ready(f, test_ms(AMQP_SOON_MS)), FERRY_DENIED);
    ferry_close(f);
    f = amqp_open("amqp://ferry:secret@%s/elsewhere", address); /* a virtual host that is not there */
    CHECK_STATUS(ferry_wait_ready(f, test_ms(AMQP_SOON_MS)), FERRY_DENIED);
    ferry_close(f);
    f = amqp_open("amqp://nobody:secret@%s/ferry", address); /* may log in, and nothing else */
    CHECK_STATUS(ferry_wait_ready(f, test_ms(AMQP_SOON_MS)), FERRY_DENIED);
    ferry_close(f);
    amqp_ctl("add_user reader secret");
    amqp_ctl("set_permissions -p ferry reader '^ferry[.]' '^ferry[.]' '.*'"); /* no writing to the default exchange */
    f = amqp_open("amqp://reader:secret@%s/ferry", address);
    CHECK_STATUS(ferry_wait_ready(f, AMQP_SOON_MS), FERRY_OK);
    CHECK_STATUS(note(f, 1), FERRY_DENIED);
    ferry_close(f);
    amqp_stop();
}

TEST_CHILD(amqp_client)
{
    ferry *c = amqp_ready(arg);
    test_ready();
    ferry_reply_free(ferry_post(c, "calc.hold", NULL, FERRY_CALL(.timeout_ms = AMQP_SOON_MS)));
}

typedef struct gate {
    atomic_bool entered, open;
} gate;

static bool is_open(void *arg)
{
    return atomic_load(&((gate *)arg)->open);
}

static void hold(ferry_request *req, void *arg)
{
    atomic_store(&((gate *)arg)->entered, true);
    CHECK(test_wait_for(is_open, arg, AMQP_SOON_MS));
    ferry_respond(req, ferry_int(1));
}

TEST_WITH(nothing_is_left_on_the_broker, .limit_ms = 120000)
{
    gate g = {0};
    const char *address = amqp_start(), *list = "list_queues -p ferry name";
    ferry *s = amqp_ready(address);
    CHECK_STATUS(ferry_handle(s, "calc.hold", hold, &g, NULL), FERRY_OK);
    amqp_serve_on(s);
    pid_t client = test_spawn(amqp_client, address);
    CHECK_SOON(atomic_load(&g.entered), AMQP_SOON_MS);
    CHECK_HAS(amqp_ctl(list), ".replies.");
    CHECK_INT(test_kill(client, SIGKILL), 128 + SIGKILL);
    CHECK_SOON(
        test_sh(
            "test 2 = $(%s/tools/brokers --dir '%s/set' ctl amqp -q list_connections pid --no-table-headers | wc -l)",
            test_root(), test_dir())
                .code == 0,
        AMQP_SOON_MS);
    atomic_store(&g.open, true); /* its answer goes nowhere, and hurts nobody */
    ferry *c = amqp_ready(address);
    CHECK_SOON(amqp_get(c, 2000) == FERRY_OK, AMQP_SOON_MS);
    CHECK_INT(disconnects(s), 0);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    const char *left = amqp_ctl(list);
    CHECK(!strstr(left, ".replies.") && !strstr(left, ".controls.") && !strstr(left, "calc.calls"));
    CHECK_HAS(left, "ferry.calc.posts");
    CHECK(!strstr(amqp_ctl("list_connections pid"), "<"));
    amqp_stop();
}
