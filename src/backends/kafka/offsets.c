/* offsets.c - offsets of a topic's partitions, asked for and set from outside. */
#include "backends/kafka/topics.h"
#include "base/clock.h"

#include <stdio.h>

enum { ASK_MS = 5000, STEP_MS = 100 };

rd_kafka_AdminOptions_t *ferry__domains_options(ferry__kafka *k, rd_kafka_admin_op_t op)
{
    rd_kafka_AdminOptions_t *o = rd_kafka_AdminOptions_new(k->calls, op);
    if (o)
        rd_kafka_AdminOptions_set_request_timeout(o, ASK_MS, NULL, 0);
    return o;
}

rd_kafka_event_t *ferry__domains_await(ferry__kafka *k, rd_kafka_queue_t *queue)
{
    rd_kafka_event_t *event = NULL;
    int64_t end = ferry__now_ms() + ASK_MS + 1000;
    while (!event && !atomic_load(&k->jobs.quit) && ferry__now_ms() < end)
        event = rd_kafka_queue_poll(queue, STEP_MS);
    return event;
}

void ferry__domains_purged_name(const ferry__kafka *k, const char *domain, char *to, size_t size)
{
    snprintf(to, size, "%s.%s.@purged", k->config->ns, domain);
}

static rd_kafka_topic_partition_list_t *list_of(const char *topic, int count, const int64_t *offsets, int64_t all)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(count);
    for (int i = 0; i < count; i++)
        rd_kafka_topic_partition_list_add(list, topic, i)->offset = offsets ? offsets[i] : all;
    return list;
}

static void copy(const rd_kafka_topic_partition_list_t *list, int count, int64_t *to)
{
    for (int i = 0; i < count; i++)
        to[i] = -1;
    for (int i = 0; list && i < list->cnt; i++)
        if (list->elems[i].partition < count && list->elems[i].offset >= 0)
            to[list->elems[i].partition] = list->elems[i].offset;
}

static rd_kafka_resp_err_t first_error(const rd_kafka_topic_partition_list_t *list)
{
    for (int i = 0; list && i < list->cnt; i++)
        if (list->elems[i].err)
            return list->elems[i].err;
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* The protocol takes -1 and -2 as times, the end and the beginning: one request for all partitions of a broker. */
rd_kafka_resp_err_t ferry__domains_offsets(rd_kafka_t *rk, const char *topic, int count, int64_t timestamp, int64_t *to)
{
    rd_kafka_topic_partition_list_t *list = list_of(topic, count, NULL, timestamp);
    rd_kafka_resp_err_t err = rd_kafka_offsets_for_times(rk, list, ASK_MS);
    err = err ? err : first_error(list);
    if (!err)
        copy(list, count, to);
    rd_kafka_topic_partition_list_destroy(list);
    return err;
}

static rd_kafka_resp_err_t judge(rd_kafka_event_t *event, const rd_kafka_group_result_t **groups, size_t n, int count,
                                 int64_t *to)
{
    if (!event)
        return RD_KAFKA_RESP_ERR__TIMED_OUT;
    rd_kafka_resp_err_t err = rd_kafka_event_error(event);
    if (err || n != 1)
        return err ? err : RD_KAFKA_RESP_ERR__FAIL;
    if (rd_kafka_group_result_error(groups[0]))
        return rd_kafka_error_code(rd_kafka_group_result_error(groups[0]));
    const rd_kafka_topic_partition_list_t *list = rd_kafka_group_result_partitions(groups[0]);
    if (to)
        copy(list, count, to);
    return first_error(list);
}

rd_kafka_resp_err_t ferry__domains_committed(ferry__kafka *k, const char *group, const char *topic, int count,
                                             int64_t *to)
{
    size_t n = 0;
    rd_kafka_topic_partition_list_t *list = list_of(topic, count, NULL, RD_KAFKA_OFFSET_INVALID);
    rd_kafka_ListConsumerGroupOffsets_t *ask = rd_kafka_ListConsumerGroupOffsets_new(group, list);
    rd_kafka_AdminOptions_t *options = ferry__domains_options(k, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(k->calls);
    rd_kafka_ListConsumerGroupOffsets(k->calls, &ask, 1, options, queue);
    rd_kafka_event_t *event = ferry__domains_await(k, queue);
    const rd_kafka_ListConsumerGroupOffsets_result_t *r =
        event ? rd_kafka_event_ListConsumerGroupOffsets_result(event) : NULL;
    const rd_kafka_group_result_t **groups = r ? rd_kafka_ListConsumerGroupOffsets_result_groups(r, &n) : NULL;
    rd_kafka_resp_err_t err = judge(event, groups, n, count, to);
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_ListConsumerGroupOffsets_destroy(ask);
    rd_kafka_topic_partition_list_destroy(list);
    return err;
}

rd_kafka_resp_err_t ferry__domains_commit(ferry__kafka *k, const char *group, const char *topic, int count,
                                          const int64_t *to)
{
    size_t n = 0;
    rd_kafka_topic_partition_list_t *list = list_of(topic, count, to, 0);
    rd_kafka_AlterConsumerGroupOffsets_t *ask = rd_kafka_AlterConsumerGroupOffsets_new(group, list);
    rd_kafka_AdminOptions_t *options = ferry__domains_options(k, RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(k->calls);
    rd_kafka_AlterConsumerGroupOffsets(k->calls, &ask, 1, options, queue);
    rd_kafka_event_t *event = ferry__domains_await(k, queue);
    const rd_kafka_AlterConsumerGroupOffsets_result_t *r =
        event ? rd_kafka_event_AlterConsumerGroupOffsets_result(event) : NULL;
    const rd_kafka_group_result_t **groups = r ? rd_kafka_AlterConsumerGroupOffsets_result_groups(r, &n) : NULL;
    rd_kafka_resp_err_t err = judge(event, groups, n, count, NULL);
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_AlterConsumerGroupOffsets_destroy(ask);
    rd_kafka_topic_partition_list_destroy(list);
    return err;
}

rd_kafka_resp_err_t ferry__domains_trim(ferry__kafka *k, const char *topic, int count, const int64_t *to)
{
    rd_kafka_topic_partition_list_t *list = list_of(topic, count, to, 0);
    rd_kafka_DeleteRecords_t *ask = rd_kafka_DeleteRecords_new(list);
    rd_kafka_AdminOptions_t *options = ferry__domains_options(k, RD_KAFKA_ADMIN_OP_DELETERECORDS);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(k->calls);
    rd_kafka_DeleteRecords(k->calls, &ask, 1, options, queue);
    rd_kafka_event_t *event = ferry__domains_await(k, queue);
    rd_kafka_resp_err_t err = event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    const rd_kafka_DeleteRecords_result_t *r = err ? NULL : rd_kafka_event_DeleteRecords_result(event);
    if (r)
        err = first_error(rd_kafka_DeleteRecords_result_offsets(r));
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_DeleteRecords_destroy(ask);
    rd_kafka_topic_partition_list_destroy(list);
    return err;
}
