/* probe.c - who is alive, and does the topic exist: asked of the brokers, answered through the queue.
 *
 *     DescribeConsumerGroups(NS.SERVICE): members? --> ALIVE, and the topic exists
 *                                         none --> DescribeConfigs(NS.SERVICE.calls): there? --> GONE, else NEVER
 *
 * Frames that wait for their topic and the core's questions share one question. */
#include "backends/kafka/event.h"
#include "base/alloc.h"

#include <string.h>

/* A question to a group's coordinator that ends by its time while that coordinator is looked for ends the process, by an assertion of
 * librdkafka (2.0.2 to 2.8 at least). So it has all the time, and is asked again beside the one
 * that waits; whichever answer comes is true. */
enum { ASK_MS = 3000, ASK_GROUP_MS = 3600000, OPEN_MAX = 4 };

typedef struct presence {
    ferry__node node;
    ferry__target *target;
    ferry__presence is;
} presence;

ferry__kafka_target *ferry__kafka_target_of(ferry__kafka *k, ferry__target *target)
{
    if (target->data)
        return target->data;
    ferry__kafka_target *t = ferry__zalloc(sizeof *t);
    if (!t)
        return NULL;
    t->target = target;
    ferry__frames_init(&t->held);
    ferry__kafka_name(k, target->name, NULL, t->group_name, sizeof t->group_name);
    snprintf(t->topic_name, sizeof t->topic_name, "%s.%s", t->group_name,
             target->lane == FERRY__POSTS    ? "posts"
             : target->lane == FERRY__EVENTS ? "events"
                                             : "calls");
    ferry__list_append(&k->targets, &t->node);
    target->data = t;
    return t;
}

static rd_kafka_AdminOptions_t *options(ferry__kafka *k, rd_kafka_admin_op_t op, ferry__kafka_target *t)
{
    rd_kafka_AdminOptions_t *o = rd_kafka_AdminOptions_new(k->calls, op);
    if (!o)
        return NULL;
    rd_kafka_AdminOptions_set_request_timeout(o, op == RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS ? ASK_GROUP_MS : ASK_MS,
                                              NULL, 0);
    rd_kafka_AdminOptions_set_opaque(o, t);
    k->asking++;
    t->open++;
    t->asked_ms = k->now_ms;
    if (!t->listed) {
        t->next_asked = k->questions;
        k->questions = t;
        t->listed = true;
    }
    return o;
}

static void ask_members(ferry__kafka *k, ferry__kafka_target *t)
{
    const char *names[] = {t->group_name};
    rd_kafka_AdminOptions_t *o = options(k, RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, t);
    if (!o)
        return;
    t->asked = true;
    rd_kafka_DescribeConsumerGroups(k->calls, names, 1, o, k->admin_tap.queue);
    rd_kafka_AdminOptions_destroy(o);
}

static void ask_topic(ferry__kafka *k, ferry__kafka_target *t)
{
    rd_kafka_ConfigResource_t *topic = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, t->topic_name);
    rd_kafka_AdminOptions_t *o = topic ? options(k, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, t) : NULL;
    if (o) {
        t->asked = true;
        rd_kafka_DescribeConfigs(k->calls, &topic, 1, o, k->admin_tap.queue);
        rd_kafka_AdminOptions_destroy(o);
    }
    if (topic)
        rd_kafka_ConfigResource_destroy(topic);
}

void ferry__kafka_probe(ferry__kafka *k, ferry__kafka_target *t)
{
    if (t->asked)
        return;
    if (t->target->lane == FERRY__EVENTS) {
        ferry__event_target(k, t);
        return;
    }
    if (t->probed)
        ask_members(k, t);
    else
        ask_topic(k, t);
}

int64_t ferry__kafka_probe_next_ms(const ferry__kafka *k)
{
    return k->asking && k->state == FERRY__UP ? k->now_ms + ASK_MS / 3 : INT64_MAX;
}

void ferry__kafka_probe_again(ferry__kafka *k)
{
    for (ferry__kafka_target **at = &k->questions, *t; (t = *at) != NULL;) {
        if (t->open == 0) {
            *at = t->next_asked;
            t->listed = false;
            continue;
        }
        at = &t->next_asked;
        if (!t->asked || t->open >= OPEN_MAX || k->now_ms - t->asked_ms < ASK_MS || k->state != FERRY__UP)
            continue;
        t->asked = false;
        ferry__kafka_probe(k, t);
    }
}

static void tell(ferry__kafka *k, ferry__kafka_target *t, ferry__presence is)
{
    presence *p = t->probed ? ferry__alloc(sizeof *p) : NULL;
    if (!p)
        return;
    t->probed = false;
    *p = (presence){.target = t->target, .is = is};
    ferry__list_append(&k->presences, &p->node);
}

void ferry__kafka_tell_presences(ferry__kafka *k)
{
    for (ferry__node *n; (n = ferry__list_shift(&k->presences));) {
        presence *p = FERRY__OF(n, presence, node);
        if (!k->closing)
            k->up->probed(k->up, p->target, p->is);
        ferry__free(p);
    }
}

static void again(ferry__kafka *k, ferry__kafka_target *t)
{
    if (!k->closing && k->state == FERRY__UP)
        ferry__kafka_probe(k, t);
}

static void members_known(ferry__kafka *k, ferry__kafka_target *t, rd_kafka_event_t *event)
{
    size_t n = 0;
    const rd_kafka_DescribeConsumerGroups_result_t *r = rd_kafka_event_DescribeConsumerGroups_result(event);
    const rd_kafka_ConsumerGroupDescription_t **groups =
        r ? rd_kafka_DescribeConsumerGroups_result_groups(r, &n) : NULL;
    if (n != 1 || rd_kafka_ConsumerGroupDescription_error(groups[0])) {
        again(k, t);
        return;
    }
    if (rd_kafka_ConsumerGroupDescription_member_count(groups[0]) == 0) {
        ask_topic(k, t);
        return;
    }
    tell(k, t, FERRY__ALIVE);
    ferry__kafka_target_found(k, t, true);
}

static void topic_known(ferry__kafka *k, ferry__kafka_target *t, rd_kafka_event_t *event)
{
    size_t n = 0;
    const rd_kafka_DescribeConfigs_result_t *r = rd_kafka_event_DescribeConfigs_result(event);
    const rd_kafka_ConfigResource_t **all = r ? rd_kafka_DescribeConfigs_result_resources(r, &n) : NULL;
    rd_kafka_resp_err_t err = n == 1 ? rd_kafka_ConfigResource_error(all[0]) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    bool absent = err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    if (err && !absent) {
        again(k, t);
        return;
    }
    tell(k, t, absent ? FERRY__NEVER : FERRY__GONE);
    if (absent)
        t->topic = NULL;
    ferry__kafka_target_found(k, t, !absent);
}

void ferry__kafka_probe_event(ferry__kafka *k, rd_kafka_event_t *event)
{
    ferry__kafka_target *t = rd_kafka_event_opaque(event);
    k->asking--;
    t->open--;
    t->asked = false;
    if (rd_kafka_event_error(event))
        again(k, t);
    else if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DESCRIBECONSUMERGROUPS_RESULT)
        members_known(k, t, event);
    else
        topic_known(k, t, event);
}
