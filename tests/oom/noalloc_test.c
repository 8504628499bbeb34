/* noalloc_test.c - in steady state a call takes no memory from malloc: what the counter in base/alloc.h says, it still says after
 * thousands of calls more. How many blocks the caches of all threads come to hold is settled by chance within some rounds, so the first of
 * them are the warm-up. Where blocks are not recycled (under ASan) there is nothing to prove. */
#include "test.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <unistd.h>

enum { ROUNDS = 40, CALLS = 10000, FEWER = 600 /* where a disk is waited for */, IN_FLIGHT = 16 };

static void echo(ferry_request *req, void *arg)
{
    (void)arg;
    ferry_respond(req, ferry_value_copy(ferry_request_data(req)));
}

static void one(ferry *c)
{
    ferry_reply *r = ferry_get(c, "calc.echo", ferry_map("x", 1, "text", "some text of an ordinary length"), NULL);
    CHECK_STATUS(ferry_reply_status(r), FERRY_OK);
    ferry_reply_free(r);
}

static void some(ferry *c)
{
    ferry_future *f[IN_FLIGHT];
    for (int i = 0; i < IN_FLIGHT; i++)
        f[i] = ferry_async(c, FERRY_GET, "calc.echo", ferry_int(i), NULL);
    for (int i = 0; i < IN_FLIGHT; i++) {
        ferry_reply *r = ferry_await(f[i]);
        CHECK_STATUS(ferry_reply_status(r), FERRY_OK);
        ferry_reply_free(r);
    }
}

static bool recycles(void)
{
    void *block = ferry__alloc(64);
    ferry__free(block);
    uint64_t before = ferry__alloc_mallocs();
    ferry__free(ferry__alloc(64));
    return ferry__alloc_mallocs() == before;
}

/* Half of them one by one, half with some in flight; how often memory was taken. */
static uint64_t many(ferry *c, int calls)
{
    uint64_t before = ferry__alloc_mallocs();
    for (int i = 0; i < calls / 2; i++)
        one(c);
    for (int i = 0; i < calls / 2 / IN_FLIGHT; i++)
        some(c);
    return ferry__alloc_mallocs() - before;
}

static void calls_take_no_memory(const char *url, int calls)
{
    if (!recycles())
        SKIP("blocks are not recycled in this build");
    ferry *s = ferry_open(url, NULL), *c = ferry_open(url, NULL);
    CHECK_STATUS(ferry_handle(s, "calc.echo", echo, NULL, NULL), FERRY_OK);
    CHECK_STATUS(ferry_serve(s), FERRY_OK);
    CHECK_STATUS(ferry_wait_ready(c, 10000), FERRY_OK);
    for (ferry_status status = FERRY_NO_SERVICE; status == FERRY_NO_SERVICE;) { /* until the server is seen */
        ferry_reply *r = ferry_get(c, "calc.echo", NULL, NULL);
        status = ferry_reply_status(r);
        ferry_reply_free(r);
    }
    uint64_t taken = 1;
    for (int round = 0; round < ROUNDS && taken > 0; round++)
        taken = many(c, calls);
    CHECK_UINT(taken, 0);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
}

TEST_WITH(mem_calls_in_steady_state, .limit_ms = 60000)
{
    calls_take_no_memory("mem:noalloc", CALLS);
}

#ifdef FERRY_WITH_REDIS
static void redis_calls_take_no_memory(const char *query)
{
    const char *at = getenv("FERRY_TEST_REDIS");
    if (!at)
        SKIP("no FERRY_TEST_REDIS: tools/brokers starts one");
    calls_take_no_memory(test_text("redis://%s/?ns=noalloc-%d%s", at, (int)getpid(), query), FEWER);
}

TEST_WITH(redis_calls_in_steady_state, .limit_ms = 120000)
{
    redis_calls_take_no_memory("");
}

TEST_WITH(redis_calls_answered_by_publish, .limit_ms = 120000)
{
    redis_calls_take_no_memory("&reply=pubsub");
}
#endif

TEST_WITH(file_calls_in_steady_state, .limit_ms = 60000)
{
    calls_take_no_memory(test_text("file:%s/noalloc.db", test_dir()), CALLS);
}

#ifdef FERRY_WITH_AMQP
TEST_WITH(amqp_calls_in_steady_state, .limit_ms = 300000)
{
    if (!getenv("FERRY_TEST_AMQP"))
        SKIP("no RabbitMQ here: see tools/brokers");
    calls_take_no_memory(
        test_text("amqp://ferry:secret@%s/ferry?ns=noalloc-%d", getenv("FERRY_TEST_AMQP"), (int)getpid()), CALLS);
}
#endif
