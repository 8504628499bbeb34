/* kafka_log_test.c - what happens to a Kafka log that nobody told the server of: topics deleted, records gone, handlers that are stuck. */
#include "test.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SOON_MS = 20000 };

static const char *at(const char *variable)
{
    const char *value = getenv(variable);
    if (!value || !*value)
        SKIP("no %s: tools/with-brokers DIR kafka -- … starts one", variable);
    return value;
}

static const char *space(void)
{
    return test_text("log%d", (int)getpid());
}

static const char *url(const char *query)
{
    return test_text("kafka://%s?ns=%s&partitions=2&replies=2&session=2s&heartbeat=300ms&posts_ahead=1%s",
                     at("FERRY_TEST_KAFKA"), space(), query);
}

static void admin(const char *command)
{
    test_output o = test_sh("%s/tools/brokers --dir %s ctl kafka %s", test_root(), at("FERRY_TEST_BROKERS"), command);
    if (o.code != 0)
        FAIL("%s: %s", command, o.err);
}

/* ---- A server ------------------------------------------------------------------------------------------------------- */

typedef struct seen {
    atomic_int calls, posts;
    atomic_int hold_ms;
} seen;

static void work(ferry_request *req, void *arg)
{
    seen *s = arg;
    if (ferry_request_remaining_ms(req) < 0)
        atomic_fetch_add(&s->posts, 1);
    else
        atomic_fetch_add(&s->calls, 1);
    for (int64_t end = test_now_ms() + atomic_load(&s->hold_ms); test_now_ms() < end;)
        test_pause(10);
    ferry_respond(req, ferry_value_copy(ferry_request_data(req)));
}

static ferry_status ask(ferry *f, ferry_verb verb, int timeout_ms)
{
    ferry_reply *r = verb == FERRY_GET ? ferry_get(f, "log.work", ferry_int(7), FERRY_CALL(.timeout_ms = timeout_ms))
                                       : ferry_post(f, "log.work", ferry_int(7), FERRY_CALL(.timeout_ms = timeout_ms));
    ferry_status s = ferry_reply_status(r);
    CHECK(s != FERRY_OK || ferry_as_int(ferry_data(r), 0) == 7);
    CHECK((s == FERRY_OK) == (ferry_reply_outcome(r) == FERRY_OUTCOME_EXECUTED));
    ferry_reply_free(r);
    return s;
}

static ferry *serve(seen *s, const char *query)
{
    ferry *f = ferry_open(url(query), NULL);
    CHECK_STATUS(ferry_handle(f, "log.work", work, s, NULL), FERRY_OK);
    CHECK_STATUS(ferry_serve(f), FERRY_OK);
    return f;
}

static ferry *client(void)
{
    ferry *f = ferry_open(url(""), NULL);
    CHECK_SOON(ask(f, FERRY_GET, 1500) == FERRY_OK, SOON_MS);
    return f;
}

static void post(ferry *f, int count)
{
    for (int i = 0; i < count; i++)
        CHECK_STATUS(ferry_post_no_wait(f, "log.work", ferry_int(i), FERRY_CALL(.key = test_text("k%d", i % 8))),
                     FERRY_OK);
    CHECK_STATUS(ferry_flush(f, test_ms(SOON_MS)), FERRY_OK);
}

/* ---- Cases ---------------------------------------------------------------------------------------------------------- */

TEST_WITH(deleted_topics_are_made_anew, .limit_ms = 180000)
{
    seen s = {0};
    ferry *server = serve(&s, ""), *c = client();
    post(c, 40);
    CHECK_SOON(atomic_load(&s.posts) == 40, SOON_MS);
    admin(test_text("TopicCommand --delete --topic '%s.log.(calls|posts)'", space()));
    CHECK_SOON(ask(c, FERRY_GET, 1500) == FERRY_OK, SOON_MS);
    CHECK_SOON(ask(c, FERRY_POST, 1500) == FERRY_OK, SOON_MS);
    post(c, 20); /* offsets below those that were done with */
    CHECK_SOON(atomic_load(&s.posts) >= 60, SOON_MS);
    CHECK_INT(atomic_load(&s.posts), 60);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_STATUS(ferry_close(server), FERRY_OK);
}

/* What nobody had handled when its time was over is gone; the committed offset is then before the log's first record. */
TEST_WITH(records_gone_before_they_were_read_are_passed_over, .limit_ms = 180000)
{
    seen s = {0};
    ferry *server = serve(&s, ""), *c = client();
    post(c, 10);
    CHECK_SOON(atomic_load(&s.posts) == 10, SOON_MS);
    CHECK_STATUS(ferry_close(server), FERRY_OK);
    post(c, 30);
    CHECK_INT(
        test_sh("printf '{\"version\":1,\"partitions\":[{\"topic\":\"%s.log.posts\",\"partition\":0,\"offset\":-1},"
                "{\"topic\":\"%s.log.posts\",\"partition\":1,\"offset\":-1}]}' > %s/gone.json",
                space(), space(), test_dir())
            .code,
        0);
    admin(test_text("DeleteRecordsCommand --offset-json-file %s/gone.json", test_dir()));
    post(c, 5);
    server = serve(&s, "");
    CHECK_SOON(atomic_load(&s.posts) >= 15, SOON_MS);
    CHECK_SOON(ask(c, FERRY_GET, 1500) == FERRY_OK, SOON_MS);
    CHECK_INT(atomic_load(&s.posts), 15);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_STATUS(ferry_close(server), FERRY_OK);
}

/* Lines of topic:partition:offset; the sum of the offsets. */
static long first_offsets(void)
{
    test_output o = test_sh("%s/tools/brokers --dir %s ctl kafka GetOffsetShell --topic %s.log.posts --time earliest",
                            test_root(), at("FERRY_TEST_BROKERS"), space());
    long sum = 0;
    for (const char *line = strstr(o.out, ".log.posts:"); line; line = strstr(line + 1, ".log.posts:"))
        sum += strtol(line + strlen(".log.posts:0:"), NULL, 10);
    return sum;
}

TEST_WITH(posts_that_are_done_with_leave_the_log, .limit_ms = 180000)
{
    seen s = {0};
    ferry *server = serve(&s, "&trim=5"), *c = client();
    post(c, 40);
    CHECK_SOON(atomic_load(&s.posts) == 40, SOON_MS);
    CHECK_SOON(ask(c, FERRY_GET, 1500) == FERRY_OK && first_offsets() >= 30, 60000);
    CHECK(first_offsets() <= 40);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_STATUS(ferry_close(server), FERRY_OK);
}

/* A handler that runs longer than Kafka lets a consumer be silent: the membership is not its thread's business. */
TEST_WITH(a_stuck_handler_keeps_its_partitions, .limit_ms = 120000)
{
    seen slow = {.hold_ms = 0}, other = {0};
    ferry *server = serve(&slow, "&kafka.max.poll.interval.ms=2500&kafka.session.timeout.ms=2000"), *c = client();
    int before = atomic_load(&slow.calls);
    atomic_store(&slow.hold_ms, 5000);
    ferry_future *stuck = ferry_async(c, FERRY_POST, "log.work", ferry_int(7), FERRY_CALL(.timeout_ms = 15000));
    CHECK_SOON(atomic_load(&slow.calls) == before + 1, SOON_MS);
    ferry *second = serve(&other, "&kafka.max.poll.interval.ms=2500&kafka.session.timeout.ms=2000");
    ferry_reply *r = ferry_await(stuck);
    CHECK_STATUS(ferry_reply_status(r), FERRY_OK);
    ferry_reply_free(r);
    atomic_store(&slow.hold_ms, 0);
    CHECK_INT(atomic_load(&slow.calls), before + 1);
    CHECK_INT(atomic_load(&other.posts) + atomic_load(&other.calls), 0);
    CHECK_STATUS(ferry_close(second), FERRY_OK);
    CHECK_SOON(ask(c, FERRY_POST, 3000) == FERRY_OK, SOON_MS);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_STATUS(ferry_close(server), FERRY_OK);
}
