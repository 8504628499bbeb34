/* trim.c - posts that are done with leave the log: its retention is for ever, since nobody may lose one that waits.
 *
 * What stands before the committed offset of a partition is deleted, in lots, so that it costs nothing. It is asked for on the client of
 * calls: the connection of one that fetches answers nothing else while a fetch waits. The answer is not waited for: the next lot says
 * it again. */
#include "backends/kafka/group.h"

enum { PACE_MS = 1000 };

static bool due(const ferry__kafka_part *p, size_t lot)
{
    return p->owned && ferry__group_posts(p->topic) && p->safe - p->trimmed >= (int64_t)lot;
}

static rd_kafka_topic_partition_list_t *collect(ferry__kafka_group *g)
{
    rd_kafka_topic_partition_list_t *list = NULL;
    for (ferry__node *n = g->parts.next; n != &g->parts; n = n->next) {
        ferry__kafka_part *p = FERRY__OF(n, ferry__kafka_part, node);
        if (!due(p, g->k->set.trim))
            continue;
        list = list ? list : rd_kafka_topic_partition_list_new(8);
        rd_kafka_topic_partition_list_add(list, g->topics[p->topic], p->partition)->offset = p->safe;
        p->trimmed = p->safe;
    }
    return list;
}

void ferry__trim_serve(ferry__kafka_group *g)
{
    if (g->k->set.trim == 0 || g->k->state != FERRY__UP || g->k->now_ms < g->trim_at_ms)
        return;
    g->trim_at_ms = g->k->now_ms + PACE_MS;
    rd_kafka_topic_partition_list_t *list = collect(g);
    if (!list)
        return;
    rd_kafka_DeleteRecords_t *what = rd_kafka_DeleteRecords_new(list);
    rd_kafka_DeleteRecords(g->k->calls, &what, 1, NULL, g->k->admin_tap.queue);
    rd_kafka_DeleteRecords_destroy(what);
    rd_kafka_topic_partition_list_destroy(list);
}
