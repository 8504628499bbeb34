/* amqp_kill_test.c - a RabbitMQ that is killed and comes back, under a load and at rest. */
#include "amqp_kit.h"

enum { AWAY_MS = 3000, BACK_MS = 2000 };

static bool never(void *arg)
{
    (void)arg;
    return false;
}

static int lines(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

/* What the broker holds for us: connections, and queues with what it keeps in them. */
static int connections(void)
{
    return lines(amqp_ctl("list_connections pid --no-table-headers"));
}

static int queues(void)
{
    return lines(amqp_ctl("list_queues -p ferry name --no-table-headers"));
}

static void kill_and_start(void)
{
    amqp_broker("kill amqp");
    test_wait_for(never, NULL, AWAY_MS);
    amqp_broker("start amqp"); /* ends once it answers the first words of a connection: it is back */
}

TEST_WITH(killed_under_load, .limit_ms = 900000)
{
    int times = test_long() ? 20 : 2;
    amqp_load *l = &amqp_the_load;
    const char *address = amqp_start();
    ferry *s = amqp_serve(address), *c = amqp_ready(address);
    CHECK_SOON(amqp_get(c, 2000) == FERRY_OK, AMQP_SOON_MS);
    int had_connections = connections(), had_queues = queues(), had_descriptors = amqp_descriptors();
    amqp_begin_load(c);
    for (int i = 0; i < times; i++) {
        int ok = atomic_load(&l->ok), posted = atomic_load(&l->posted);
        CHECK_SOON(atomic_load(&l->ok) > ok + 100 && atomic_load(&l->posted) > posted + 10, AMQP_SOON_MS);
        kill_and_start();
        ok = atomic_load(&l->ok);
        int64_t back_ms = test_now_ms();
        CHECK_SOON(atomic_load(&l->ok) > ok, BACK_MS);
        test_note("kill %d: serving again after %lld ms", i, (long long)(test_now_ms() - back_ms));
    }
    amqp_end_load();
    CHECK_INT(amqp_descriptors(), had_descriptors);
    CHECK_SOON(connections() == had_connections, AMQP_SOON_MS);
    CHECK_SOON(queues() == had_queues, AMQP_SOON_MS);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    CHECK_SOON(connections() == 0, AMQP_SOON_MS);
    amqp_stop();
}

static void restarted_at_rest(const char *how)
{
    const char *address = amqp_start();
    ferry *s = amqp_serve(address), *c = amqp_ready(address);
    CHECK_SOON(amqp_get(c, 2000) == FERRY_OK, AMQP_SOON_MS);
    int had = amqp_descriptors();
    amqp_broker(how);
    ferry_status status = amqp_get(c, 200);
    CHECK(status == FERRY_UNAVAILABLE || status == FERRY_TIMEOUT);
    amqp_broker("start amqp");
    CHECK_STATUS(amqp_get(c, test_ms(BACK_MS)), FERRY_OK); /* one call, sent while it was not back yet */
    CHECK_INT(amqp_descriptors(), had);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    amqp_stop();
}

TEST_WITH(restarted_at_rest_in_order, .limit_ms = 120000)
{
    restarted_at_rest("stop amqp");
}

TEST_WITH(restarted_at_rest_by_kill, .limit_ms = 120000)
{
    restarted_at_rest("kill amqp");
}
