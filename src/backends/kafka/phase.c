/* phase.c - when a member may commit, and close.
 *
 * A commit that librdkafka sends behind a JoinGroup waits for it at the broker, is answered ILLEGAL_GENERATION, and librdkafka before
 * 2.10 then drops all partitions as lost: what is in handlers runs twice. One that is closed before a join that is due, and joins are a
 * second apart, sends no LeaveGroup: its partitions lie idle until its session is over. So nothing of the two while a join may come:
 *
 *   busy      librdkafka's state of the member is none of three in which it does not join. No function tells that state; the debug log
 *             does, at each change and on librdkafka's main thread, which makes it.
 *   revoked   after partitions were given away it joins again, only later if commits are under way, and until then says "steady".
 *   heard_ms  a heartbeat (or metadata) was answered, on a thread of its own; the main thread, to which that answer goes, may begin to
 *             join for it. What we pass on before goes to the main thread before. After, we wait until it has seen all that it had.
 *
 * All three are set under the door, and a commit is passed on under it. */
#include "backends/kafka/group.h"
#include "base/clock.h"

#include <string.h>

enum { HANDED_ON_MS = 2 /* an answer is with the main thread by then */, METADATA = 3, HEARTBEAT = 12 /* requests */ };

static void on_log(const rd_kafka_t *rk, int level, const char *what, const char *text)
{
    ferry__kafka_group *g = rd_kafka_opaque(rk);
    (void)level;
    if (strcmp(what, "CGRPJOINSTATE") != 0)
        return;
    bool quiet =
        strstr(text, "-> steady") || strstr(text, "-> wait-assign-call") || strstr(text, "-> wait-unassign-call");
    pthread_mutex_lock(&g->phase.door);
    g->phase.busy = !quiet;
    g->phase.revoked = g->phase.revoked && !strstr(text, "-> wait-join");
    pthread_mutex_unlock(&g->phase.door);
    ferry__kafka_backend.wake(g->k);
}

static rd_kafka_resp_err_t on_response(rd_kafka_t *rk, int fd, const char *broker, int32_t id, int16_t request,
                                       int16_t version, int32_t serial, size_t size, int64_t took,
                                       rd_kafka_resp_err_t err, void *group)
{
    ferry__kafka_group *g = group;
    (void)rk, (void)fd, (void)broker, (void)id, (void)version, (void)serial, (void)size, (void)took, (void)err;
    if (request != HEARTBEAT && request != METADATA)
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    pthread_mutex_lock(&g->phase.door);
    g->phase.heard_ms = ferry__now_ms();
    pthread_mutex_unlock(&g->phase.door);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t on_new(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *group, char *why, size_t room)
{
    (void)conf, (void)why, (void)room;
    return rd_kafka_interceptor_add_on_response_received(rk, "ferry", on_response, group);
}

void ferry__phase_watch(ferry__kafka_group *g, rd_kafka_conf_t *conf)
{
    rd_kafka_conf_set_opaque(conf, g);
    rd_kafka_conf_set_log_cb(conf, on_log);
    rd_kafka_conf_interceptor_add_on_new(conf, "ferry", on_new, g);
}

static int64_t heard_ms(ferry__kafka_group *g)
{
    pthread_mutex_lock(&g->phase.door);
    int64_t heard = g->phase.heard_ms;
    pthread_mutex_unlock(&g->phase.door);
    return heard;
}

/* The question is answered by the main thread, behind all that it had been sent. */
static void catch_up(ferry__kafka_group *g, int64_t heard)
{
    (void)rd_kafka_rebalance_protocol(g->rk);
    pthread_mutex_lock(&g->phase.door);
    if (g->phase.heard_ms == heard)
        g->phase.heard_ms = 0;
    pthread_mutex_unlock(&g->phase.door);
}

static bool may(const ferry__kafka_group *g)
{
    return !g->phase.busy && !g->phase.revoked && g->phase.heard_ms == 0;
}

void ferry__phase_serve(ferry__kafka_group *g)
{
    int64_t heard = g->rk ? heard_ms(g) : 0;
    if (heard && g->k->now_ms >= heard + HANDED_ON_MS)
        catch_up(g, heard);
}

bool ferry__phase_quiet(ferry__kafka_group *g)
{
    pthread_mutex_lock(&g->phase.door);
    bool quiet = may(g);
    pthread_mutex_unlock(&g->phase.door);
    return quiet;
}

rd_kafka_resp_err_t ferry__phase_commit(ferry__kafka_group *g, const rd_kafka_topic_partition_list_t *list)
{
    pthread_mutex_lock(&g->phase.door);
    rd_kafka_resp_err_t err =
        may(g) ? rd_kafka_commit_queue(g->rk, list, g->tap.queue, NULL, NULL) : FERRY__PHASE_NOT_NOW;
    pthread_mutex_unlock(&g->phase.door);
    return err;
}

void ferry__phase_revoked(ferry__kafka_group *g)
{
    pthread_mutex_lock(&g->phase.door);
    g->phase.revoked = true;
    pthread_mutex_unlock(&g->phase.door);
}

int64_t ferry__phase_next_ms(ferry__kafka_group *g)
{
    int64_t heard = heard_ms(g);
    return heard ? heard + HANDED_ON_MS : INT64_MAX;
}
