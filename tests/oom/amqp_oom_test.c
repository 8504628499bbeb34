/* amqp_oom_test.c - memory runs out, once, at every place in turn, on a real RabbitMQ. A link that ran short falls and comes back, so a
 * call may take longer, or end as it does when a link falls; nothing crashes, hangs or leaks, and no call ends without a reason. */
#ifdef FERRY_WITH_AMQP
#include "test.h"

#include <stdlib.h>
#include <unistd.h>

enum { MOST_MS = 8000, CALL_MS = 2000 };

static void echo(ferry_request *req, void *arg)
{
    (void)arg;
    ferry_respond(req, ferry_value_copy(ferry_request_data(req)));
}

static void fail(ferry_request *req, void *arg)
{
    (void)arg;
    ferry_fail(req, "Odd", "always");
}

/* A link that fell takes with it what was under way, and who was served. */
static bool follows_from_short_memory(ferry_status s)
{
    return s == FERRY_NO_MEMORY || s == FERRY_UNAVAILABLE || s == FERRY_NO_SERVICE || s == FERRY_NOT_FOUND ||
           s == FERRY_MAYBE_EXECUTED || s == FERRY_TIMEOUT;
}

static void check_status(const char *what, ferry_status s)
{
    if (s != FERRY_OK && !(test_alloc_failed() && follows_from_short_memory(s)))
        FAIL("%s ended with %s", what, ferry_status_name(s));
}

static void check_reply(const char *what, ferry_reply *r)
{
    ferry_status s = ferry_reply_status(r);
    CHECK((ferry_error_count(r) > 0) == (s != FERRY_OK));
    check_status(what, s);
    ferry_reply_free(r);
}

static ferry_status seen(ferry *c)
{
    ferry_reply *r = ferry_get(c, "oom.echo", ferry_int(1), FERRY_CALL(.timeout_ms = CALL_MS));
    ferry_status s = ferry_reply_status(r);
    ferry_reply_free(r);
    return s;
}

static void call(ferry *c)
{
    ferry_value *headers = ferry_map("lang", "fr");
    check_reply("get",
                ferry_get(c, "oom.echo", ferry_map("x", 1), FERRY_CALL(.headers = headers, .timeout_ms = CALL_MS)));
    check_reply("post", ferry_post(c, "oom.echo", ferry_text("a text"), FERRY_CALL(.timeout_ms = CALL_MS)));
    check_status("confirmed",
                 ferry_post_no_wait(c, "oom.echo", ferry_int(1),
                                    FERRY_CALL(.confirm = FERRY_CONFIRMED, .headers = headers, .timeout_ms = CALL_MS)));
    check_status("keyed",
                 ferry_post_no_wait(c, "oom.echo", ferry_int(1), FERRY_CALL(.key = "k", .timeout_ms = CALL_MS)));
    check_status("dead", ferry_put_no_wait(c, "oom.fail", ferry_int(1), FERRY_CALL(.timeout_ms = CALL_MS)));
    check_status("flush", ferry_flush(c, CALL_MS));
    check_reply("dead.list", ferry_admin(c, "dead.list", ferry_map("service", "oom"), NULL));
    check_reply("dead.purge", ferry_admin(c, "dead.purge", ferry_map("service", "oom", "all", FERRY_TRUE), NULL));
    ferry_value_free(headers);
}

static void scenario(void *arg)
{
    int64_t before = test_now_ms();
    ferry *s = ferry_open(arg, FERRY_OPTIONS(.close_ms = 3000));
    ferry *c = ferry_open(arg, FERRY_OPTIONS(.timeout_ms = CALL_MS, .close_ms = 3000));
    ferry_handle(s, "oom.echo", echo, NULL, NULL);
    ferry_handle(s, "oom.fail", fail, NULL, FERRY_HANDLE(.attempts = 1));
    ferry_status status = ferry_serve(s);
    check_status("serve", status);
    if (status == FERRY_OK) {
        for (int64_t end_ms = test_now_ms() + CALL_MS; seen(c) != FERRY_OK && test_now_ms() < end_ms;) {
        }
        call(c);
    }
    check_status("close", ferry_close(c));
    check_status("close", ferry_close(s));
    CHECK(test_now_ms() - before < test_ms(MOST_MS));
}

TEST_WITH(amqp_every_allocation_fails_once, .limit_ms = 900000)
{
    if (!getenv("FERRY_TEST_AMQP"))
        SKIP("no RabbitMQ here: see tools/brokers");
    char *url =
        (char *)(uintptr_t)test_text("amqp://ferry:secret@%s/ferry?ns=oom-%d&queue=classic&partitions=2&backoff=5ms",
                                     getenv("FERRY_TEST_AMQP"), (int)getpid());
    test_every_alloc_fails(scenario, url);
}
#endif
