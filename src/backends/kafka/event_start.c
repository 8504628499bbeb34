/* event_start.c - what is asked of the brokers before events are read or sent. */
#include "backends/kafka/create.h"
#include "backends/kafka/dead.h"
#include "backends/kafka/event.h"
#include "backends/kafka/topics.h"

#include "base/alloc.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { LOOK_MS = 5000 };

ferry__feed_plan *ferry__feed_plan_new(const ferry__kafka_feed *s, const ferry__event_wish *wish, bool seek)
{
    ferry__feed_plan *p = ferry__zalloc(sizeof *p);
    if (!p)
        return NULL;
    p->broadcast = s->broadcast;
    p->seek = seek;
    snprintf(p->topic, sizeof p->topic, "%s", s->topic);
    if (ferry__event_wish_set(&p->wish, wish->from, wish->time_ms, wish->position))
        return p;
    ferry__feed_plan_free(p);
    return NULL;
}

void ferry__feed_plan_free(ferry__feed_plan *p)
{
    if (!p)
        return;
    ferry__free(p->wish.position);
    ferry__free(p->start);
    ferry__free(p->end);
    ferry__free(p);
}

ferry_status ferry__feed_create(ferry__kafka *k, const ferry__feed_plan *plan, const char *box, char *why)
{
    char dead[288];
    bool made;
    snprintf(dead, sizeof dead, "%.270s.dead", box);
    ferry_status status =
        plan->broadcast ? ferry__kafka_create_dead(k, dead, why) : ferry__kafka_create_service(k, box, true, why);
    return status == FERRY_OK ? ferry__kafka_create_domain(k, (ferry__kafka_keep){0}, plan->topic, &made, why) : status;
}

rd_kafka_topic_t *ferry__feed_topic(rd_kafka_t *rk, const char *topic)
{
    char text[128];
    rd_kafka_topic_conf_t *conf = rd_kafka_default_topic_conf_dup(rk);
    rd_kafka_topic_conf_set(conf, "auto.offset.reset", "error", text, sizeof text);
    return rd_kafka_topic_new(rk, topic, conf);
}

/* ---- where it starts ---- */

/* "0:17,1:4": partitions that it does not name are younger than it. */
static bool read_position(const char *text, const int64_t *low, int64_t *start, int count)
{
    memcpy(start, low, (size_t)count * sizeof *start);
    while (text && *text >= '0' && *text <= '9') {
        char *end;
        long partition = strtol(text, &end, 10);
        if (*end != ':' || end[1] < '0' || end[1] > '9')
            return false;
        int64_t offset = strtoll(end + 1, &end, 10);
        if (partition < count)
            start[partition] = offset;
        if (*end == '\0')
            return true;
        text = *end == ',' ? end + 1 : NULL;
    }
    return false;
}

static void judge_position(ferry__feed_plan *p, const int64_t *low)
{
    if (!read_position(p->wish.position, low, p->start, p->count)) {
        p->status = FERRY_INVALID;
        ferry__why(p->why, "'%.60s' is no position of events in Kafka", p->wish.position ? p->wish.position : "");
        return;
    }
    for (int i = 0; i < p->count && p->status == FERRY_OK; i++)
        if (p->start[i] < low[i] || p->start[i] > p->end[i]) {
            p->status = FERRY_NOT_FOUND;
            ferry__why(p->why,
                       "%s, partition %d: the position %" PRId64 " is gone, events are kept from %" PRId64
                       " to %" PRId64,
                       p->topic, i, p->start[i], low[i], p->end[i]);
        }
}

static rd_kafka_resp_err_t choose(rd_kafka_t *rk, ferry__feed_plan *p, const int64_t *low)
{
    size_t size = (size_t)p->count * sizeof *low;
    memcpy(p->start, p->wish.from == FERRY_FROM_EARLIEST ? low : p->end, size);
    if (p->wish.from == FERRY_FROM_POSITION)
        judge_position(p, low);
    if (p->wish.from != FERRY_FROM_TIME)
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    rd_kafka_resp_err_t err =
        ferry__domains_offsets(rk, p->topic, p->count, p->wish.time_ms > 0 ? p->wish.time_ms : 0, p->start);
    for (int i = 0; i < p->count; i++)
        if (p->start[i] < 0)
            p->start[i] = p->end[i];
    return err;
}

/* Of partitions where the group has no offset: what is chosen becomes it, unless another member was faster. */
static rd_kafka_resp_err_t pin(rd_kafka_t *rk, ferry__feed_plan *p)
{
    rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(p->count), *new;
    for (int i = 0; i < p->count; i++)
        rd_kafka_topic_partition_list_add(all, p->topic, i);
    rd_kafka_resp_err_t err = rd_kafka_committed(rk, all, LOOK_MS);
    new = rd_kafka_topic_partition_list_new(p->count);
    for (int i = 0; i < p->count && !err; i++)
        if (all->elems[i].offset < 0)
            rd_kafka_topic_partition_list_add(new, p->topic, i)->offset = p->start[i];
    rd_kafka_topic_partition_list_destroy(all);
    bool goes_on = new->cnt < p->count;
    if (!err && !goes_on && p->status == FERRY_OK)
        rd_kafka_commit(rk, new, 0); /* refused where the group has members: they chose before */
    rd_kafka_topic_partition_list_destroy(new);
    if (!goes_on || err)
        return err;
    p->status = FERRY_OK; /* what it was to start from does not matter */
    p->why[0] = '\0';
    for (int i = 0; i < p->count; i++)
        p->start[i] = -1; /* partitions without an offset are younger than the group */
    return err;
}

static ferry_status resolve(rd_kafka_t *asking, rd_kafka_t *rk, ferry__feed_plan *p, char *why)
{
    size_t count = (size_t)p->count;
    int64_t *low = ferry__alloc(count * sizeof *low);
    p->start = ferry__alloc(count * sizeof *low);
    p->end = ferry__alloc(count * sizeof *low);
    rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE;
    if (low && p->start && p->end) {
        err = ferry__domains_offsets(asking, p->topic, p->count, -2, low);
        err = err ? err : ferry__domains_offsets(asking, p->topic, p->count, -1, p->end);
        err = err ? err : choose(asking, p, low);
        if (!err && !p->broadcast && !p->seek)
            err = pin(rk, p);
    }
    if (err)
        ferry__why(why, "%s: %s", p->topic, rd_kafka_err2str(err));
    ferry__free(low);
    return ferry__kafka_status(err);
}

ferry_status ferry__feed_resolve(ferry__kafka *k, rd_kafka_t *rk, ferry__feed_plan *p, char *why)
{
    rd_kafka_t *asking = ferry__dead_client(k, why);
    p->count = asking ? ferry__kafka_partitions(k->calls, p->topic, LOOK_MS) : 0;
    p->status = FERRY_OK;
    if (p->count > 0)
        return resolve(asking, rk, p, why);
    if (asking)
        ferry__why(why, "%s: no answer from the brokers", p->topic);
    return FERRY_UNAVAILABLE;
}

/* ---- events that are sent ---- */

typedef struct make {
    ferry__kafka_job job;
    ferry__kafka_target *target;
    rd_kafka_t *producer;
    ferry_status status;
    char why[FERRY_WHY_SIZE];
} make;

static void run_make(ferry__kafka *k, ferry__kafka_job *job)
{
    make *m = (make *)(void *)job;
    bool made;
    int there = ferry__kafka_partitions(m->producer, m->target->topic_name, LOOK_MS);
    if (there > 0)
        return;
    m->status = ferry__kafka_create_domain(k, (ferry__kafka_keep){0}, m->target->topic_name, &made, m->why);
    if (m->status == FERRY_OK && ferry__kafka_partitions(m->producer, m->target->topic_name, LOOK_MS) <= 0)
        m->status = FERRY_UNAVAILABLE; /* it has not heard of it yet */
}

static void made_it(ferry__kafka *k, ferry__kafka_job *job, bool ran)
{
    make *m = (make *)(void *)job;
    ferry__kafka_target *t = m->target;
    t->asked = false;
    if (ran && m->status == FERRY_OK)
        ferry__kafka_target_found(k, t, true);
    else if (ran && m->status != FERRY_UNAVAILABLE) {
        ferry__log_print(k->up->log, LOG_WARNING, "kafka: %s", m->why);
        for (ferry__frame *f; (f = ferry__frames_take(&t->held));)
            ferry__kafka_refuse(k, f, FERRY__REFUSED, m->status);
    } else if (!k->closing && k->state == FERRY__UP)
        ferry__event_target(k, t);
    ferry__free(m);
}

void ferry__event_target(ferry__kafka *k, ferry__kafka_target *t)
{
    rd_kafka_t *producer = ferry__kafka_posts(k);
    make *m = t->asked || !producer ? NULL : ferry__zalloc(sizeof *m);
    if (!m)
        return;
    *m = (make){.job = {.run = run_make, .done = made_it}, .target = t, .producer = producer};
    t->asked = true;
    ferry__kafka_job_add(k, &m->job);
}
