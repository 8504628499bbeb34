/* commit.c - what of a service's partitions is told to the broker, and what waits for its answer. */
#include "backends/kafka/event.h"
#include "backends/kafka/group.h"
#include "base/alloc.h"
#include "base/clock.h"

#include <string.h>

enum {
    COMPANY = 64,
    LAZY_MS = 100, /* handled calls wait for so many others, and so long at most */
    EVENTS = 1000,
    EVENTS_MS = 10, /* the same for events: so many are handled twice when we are killed */
    AGAIN_MS = 50   /* after a commit that failed: partitions may be moving */
};

static void add(rd_kafka_topic_partition_list_t *list, ferry__kafka_group *g, ferry__kafka_part *p)
{
    char *metadata = ferry__alloc(FERRY__PART_META);
    if (!metadata)
        return; /* it stays dirty, for the next commit */
    rd_kafka_topic_partition_t *at = rd_kafka_topic_partition_list_add(list, g->topics[p->topic], p->partition);
    bool gives = p->leaving && g->member[0] && p->topic != FERRY__GROUP_EVENTS; /* an event that is up comes again */
    const char *giver = gives ? g->member : NULL;
    if (giver)
        p->own.to = p->known.to = 0; /* the next owner is told of none */
    ferry__part_print(p, giver, metadata);
    at->offset = p->base;
    at->metadata = metadata;
    at->metadata_size = strlen(metadata);
    p->sent = p->own;
    p->sent_base = p->base;
    p->dirty = false;
    p->sending = true;
}

/* librdkafka copied what it needs; the texts are from our memory, not its. */
static void drop(rd_kafka_topic_partition_list_t *list)
{
    for (int i = 0; i < list->cnt; i++) {
        ferry__free(list->elems[i].metadata);
        list->elems[i].metadata = NULL;
        list->elems[i].metadata_size = 0;
    }
    rd_kafka_topic_partition_list_destroy(list);
}

static rd_kafka_topic_partition_list_t *collect(ferry__kafka_group *g, bool all)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
    for (ferry__node *n = g->parts.next; n != &g->parts; n = n->next) {
        ferry__kafka_part *p = FERRY__OF(n, ferry__kafka_part, node);
        bool last = all && p->leaving && (p->top > p->base || p->own.to > 0 || p->known.to > 0);
        if (p->owned && p->size && (p->dirty || last))
            add(list, g, p);
    }
    if (list->cnt > 0)
        return list;
    rd_kafka_topic_partition_list_destroy(list);
    return NULL;
}

/* True: an answer will come. */
static bool send_commit(ferry__kafka_group *g, bool all)
{
    rd_kafka_topic_partition_list_t *list = collect(g, all);
    g->dones = 0;
    if (g->feed)
        g->feed->sent = g->feed->unacked;
    g->commit_at_ms = INT64_MAX;
    g->urgent = false;
    ferry__frames_join(&g->claims_sent, &g->claims_new);
    g->settled_sent += g->settled_new;
    g->settled_new = 0;
    if (list) {
        rd_kafka_resp_err_t err = ferry__phase_commit(g, list);
        drop(list);
        g->committing = err == RD_KAFKA_RESP_ERR_NO_ERROR;
        if (err)
            ferry__commit_event(g, err);
    } else
        ferry__commit_event(g, RD_KAFKA_RESP_ERR_NO_ERROR);
    return g->committing;
}

static void hand_over(ferry__kafka_group *g, ferry__frames *list)
{
    ferry__frame *f = ferry__frames_take(list);
    ferry__kafka_intake *in = f->owner;
    *(in->beyond > 0 ? &in->beyond : &in->claimed) -= 1; /* the oldest first */
    ((ferry__kafka_part *)(uintptr_t)f->tag[0])->claims--;
    ferry__frames_add(&g->k->arrived, f);
}

/* The claims that the broker knows go to the handlers, and what only stood behind them. */
static void claimed(ferry__kafka_group *g)
{
    while (g->claims_sent.first)
        hand_over(g, &g->claims_sent);
    while (g->claims_new.first && !ferry__group_must_wait(g->claims_new.first))
        hand_over(g, &g->claims_new);
}

static void failed(ferry__kafka_group *g, rd_kafka_resp_err_t err)
{
    ferry__frames_join(&g->claims_sent, &g->claims_new);
    ferry__frames_join(&g->claims_new, &g->claims_sent);
    for (ferry__node *n = g->parts.next; n != &g->parts; n = n->next) {
        ferry__kafka_part *p = FERRY__OF(n, ferry__kafka_part, node);
        p->dirty = p->dirty || p->sending;
    }
    g->settled_new += g->settled_sent;
    g->settled_sent = 0;
    g->not_before_ms = g->k->now_ms + (err == FERRY__PHASE_NOT_NOW ? 0 : AGAIN_MS);
    g->commit_at_ms = g->not_before_ms;
}

void ferry__commit_event(ferry__kafka_group *g, rd_kafka_resp_err_t err)
{
    g->committing = false;
    for (ferry__node *n = g->parts.next; !err && n != &g->parts; n = n->next) {
        ferry__kafka_part *p = FERRY__OF(n, ferry__kafka_part, node);
        if (!p->sending)
            continue;
        p->known = p->sent;
        p->safe = p->sent_base;
    }
    if (err) {
        if (err != FERRY__PHASE_NOT_NOW)
            ferry__log_print(g->k->up->log, LOG_NOTICE, "kafka: %s: commit: %s", g->name, rd_kafka_err2str(err));
        failed(g, err);
        g->urgent = true;
        g->last_failed = g->last_commit;
    } else {
        claimed(g);
        if (g->feed) {
            g->feed->unacked -= g->feed->sent;
            g->feed->sent = 0;
            g->feed->acked_ms = g->k->now_ms;
        }
        g->posts_held -= g->settled_sent;
        g->k->settled_now += g->settled_sent;
        g->settled_sent = 0;
    }
    for (ferry__node *n = g->parts.next; n != &g->parts; n = n->next)
        FERRY__OF(n, ferry__kafka_part, node)->sending = false;
}

bool ferry__commit_may(ferry__kafka_group *g)
{
    return !g->committing && ferry__phase_quiet(g);
}

void ferry__commit_serve(ferry__kafka_group *g)
{
    if (!g->rk || ferry__feed_alone(g) || !ferry__commit_may(g) || g->state < FERRY__GROUP_MEMBER ||
        g->state >= FERRY__GROUP_CLOSING || g->last_commit)
        return;
    if (g->dones > 0 && g->commit_at_ms == INT64_MAX)
        g->commit_at_ms = g->k->now_ms + (g->feed ? EVENTS_MS : LAZY_MS);
    bool due = g->urgent || g->dones >= (g->feed ? EVENTS : COMPANY) || g->commit_at_ms <= g->k->now_ms;
    if (due && g->not_before_ms <= g->k->now_ms)
        send_commit(g, false);
}

bool ferry__commit_last(ferry__kafka_group *g)
{
    g->last_commit = true;
    g->last_failed = false;
    return send_commit(g, true);
}

void ferry__commit_give_up(ferry__kafka_group *g)
{
    g->k->lost_now += g->settled_new;
    g->posts_held -= g->settled_new;
    g->settled_new = 0;
}
