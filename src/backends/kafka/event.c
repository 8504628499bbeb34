/* event.c - a subscription at work: its queue, when it is ready, caught up, broken. */
#include "backends/kafka/event.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <stdio.h>
#include <string.h>

enum {
    EVENTS = 2000, /* taken in one turn */
    TURN_MS = 10,
    LATE_MS = 250,
    LATE = 500,     /* uncommitted ones */
    AHEAD = 256,    /* taken beyond the credit */
    EMPTY_MS = 2000 /* a member without a partition waits so long for one before it is caught up */
};

bool ferry__event_wish_set(ferry__event_wish *to, int from, int64_t time_ms, const char *position)
{
    ferry__free(to->position);
    *to = (ferry__event_wish){from, time_ms, position ? ferry__strdup(position) : NULL};
    return !position || to->position;
}

ferry__kafka_feed *ferry__feed_new(ferry__kafka *k, const ferry__source *source)
{
    const ferry__wish *w = source->wish;
    ferry__kafka_feed *s = ferry__zalloc(sizeof *s);
    if (!s)
        return NULL;
    s->broadcast = !w->group;
    s->turn_at_ms = INT64_MAX;
    snprintf(s->domain, sizeof s->domain, "%s", source->name);
    ferry__kafka_name(k, source->name, "events", s->topic, sizeof s->topic);
    if (ferry__event_wish_set(&s->wish, (int)w->from, w->time_ms, w->position))
        return s;
    ferry__free(s);
    return NULL;
}

void ferry__feed_free(ferry__kafka_feed *s)
{
    if (!s)
        return;
    ferry__free(s->wish.position);
    ferry__free(s->noted.position);
    ferry__free(s->passed.position);
    ferry__free(s->start);
    ferry__free(s->end);
    ferry__free(s);
}

void ferry__feed_join(ferry__kafka_group *g, ferry__kafka_feed *s)
{
    s->group = g;
    g->feed = s;
    snprintf(g->topics[FERRY__GROUP_EVENTS], sizeof g->topics[0], "%s", s->topic);
}

/* ---- beginning and end ---- */

int64_t ferry__feed_start_of(const ferry__kafka_feed *s, int32_t partition)
{
    return s && partition < s->count ? s->start[partition] : -1; /* younger than our look: from its first one */
}

void ferry__feed_take_plan(ferry__kafka_feed *s, ferry__feed_plan *plan)
{
    ferry__free(s->start);
    ferry__free(s->end);
    s->start = plan->start;
    s->end = plan->end;
    s->count = plan->count;
    plan->start = plan->end = NULL;
    s->empty_ms = 0;
    s->ready = s->caught_up = s->tell_ready = s->tell_caught_up = false;
    s->broken = s->tell_broken = plan->status != FERRY_OK;
    s->status = plan->status;
    ferry__why(s->why, "%s", plan->why);
}

/* A broadcast has every partition that there was. */
static void start_alone(ferry__kafka_group *g)
{
    ferry__kafka_feed *s = g->feed;
    g->handles[FERRY__GROUP_EVENTS] = ferry__feed_topic(g->rk, s->topic);
    ferry__kafka_tap_open(g->k, &g->tap, rd_kafka_queue_get_main(g->rk), true);
    for (int32_t i = 0; i < s->count && g->handles[FERRY__GROUP_EVENTS]; i++) {
        ferry__kafka_part *p = ferry__group_part(g, FERRY__GROUP_EVENTS, i, true);
        if (!p || !ferry__part_reset(p, s->start[i]))
            continue; /* no memory: it is never caught up */
        p->owned = true;
        if (!s->broken)
            ferry__feed_restart(g, p, s->start[i]);
    }
    s->started = true;
}

void ferry__feed_prepared(ferry__kafka_group *g, ferry__feed_plan *plan)
{
    ferry__kafka_feed *s = g->feed;
    ferry__feed_take_plan(s, plan);
    ferry__kafka_tap_open(g->k, &s->tap, rd_kafka_queue_new(g->rk), true);
    if (s->broadcast)
        start_alone(g);
}

void ferry__feed_stop(ferry__kafka_group *g)
{
    for (ferry__node *n = g->parts.next; n != &g->parts; n = n->next) {
        ferry__kafka_part *p = FERRY__OF(n, ferry__kafka_part, node);
        if (p->owned && g->handles[p->topic])
            rd_kafka_consume_stop(g->handles[p->topic], p->partition);
        p->owned = false;
    }
}

void ferry__feed_drop_queue(ferry__kafka_feed *s)
{
    for (rd_kafka_event_t *event; s->tap.queue && (event = rd_kafka_queue_poll(s->tap.queue, 0)) != NULL;)
        rd_kafka_event_destroy(event);
    ferry__kafka_tap_close(&s->tap);
}

/* ---- events ---- */

/* librdkafka leaves a queue that was forwarded once alone when the partition starts, and ends that when it stops, some time after we
 * said so. So it is done again until something comes, and the end of the partition does come. */
static void forward(ferry__kafka_group *g, int32_t partition)
{
    rd_kafka_queue_t *from = rd_kafka_queue_get_partition(g->rk, g->feed->topic, partition);
    if (!from)
        return;
    rd_kafka_queue_forward(from, g->feed->tap.queue);
    rd_kafka_queue_destroy(from);
}

void ferry__feed_turn(ferry__kafka_group *g, ferry__kafka_part *p)
{
    p->turned = g->feed->broadcast || !g->feed->tap.queue;
    if (p->turned)
        return;
    forward(g, p->partition);
    g->feed->turn_at_ms = g->k->now_ms + TURN_MS;
}

static void turn_all(ferry__kafka_group *g)
{
    g->feed->turn_at_ms = INT64_MAX;
    for (ferry__node *n = g->parts.next; n != &g->parts; n = n->next) {
        ferry__kafka_part *p = FERRY__OF(n, ferry__kafka_part, node);
        if (p->topic == FERRY__GROUP_EVENTS && p->owned && !p->turned)
            ferry__feed_turn(g, p);
    }
}

ferry__kafka_part *ferry__feed_part(ferry__kafka_group *g, int32_t partition)
{
    ferry__kafka_feed *s = g->feed;
    if (!s->last || s->last->partition != partition)
        s->last = ferry__group_part(g, FERRY__GROUP_EVENTS, partition, false);
    if (s->last)
        s->last->turned = true;
    return s->broken ? NULL : s->last;
}

/* Only when the consumer's own queue is empty. */
bool ferry__feed_poll(ferry__kafka_group *g)
{
    const ferry__kafka_intake *in = g->intakes[2];
    int64_t room = in && !g->feed->broken ? (int64_t)in->credit + AHEAD - (int64_t)g->ready[2].count : 0;
    int n = 0;
    for (; n < EVENTS && n < room; n++) {
        rd_kafka_event_t *event = ferry__kafka_tap_next(&g->feed->tap);
        if (!event)
            return false;
        ferry__group_event(g, event);
    }
    return n == EVENTS;
}

bool ferry__feed_error(ferry__kafka_group *g, rd_kafka_event_t *event)
{
    rd_kafka_resp_err_t err = rd_kafka_event_error(event);
    if (err != RD_KAFKA_RESP_ERR__PARTITION_EOF && err != RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET)
        return false;
    rd_kafka_topic_partition_t *at = rd_kafka_event_topic_partition(event);
    bool ours = at && strcmp(at->topic, g->feed->topic) == 0;
    ferry__kafka_part *p = ours ? ferry__feed_part(g, at->partition) : NULL;
    if (p && p->owned && !p->leaving && err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
        ferry__part_skip(p, at->offset);
    else if (p && p->owned && !p->leaving)
        ferry__feed_gone(g, p);
    if (at)
        rd_kafka_topic_partition_destroy(at);
    return err == RD_KAFKA_RESP_ERR__PARTITION_EOF || ours;
}

bool ferry__feed_late(ferry__kafka_group *g)
{
    ferry__kafka_feed *s = g->feed;
    if (s->unacked == 0)
        s->acked_ms = g->k->now_ms;
    return !s->broadcast && s->unacked >= LATE && g->k->now_ms - s->acked_ms >= LATE_MS;
}

/* ---- ready, caught up ---- */

bool ferry__feed_attached(const ferry__kafka_group *g)
{
    if (g->state != FERRY__GROUP_MEMBER)
        return false;
    return g->feed->broadcast ? g->feed->started : g->assigned && !g->assigning && !g->revoking;
}

static bool past_end(ferry__kafka_group *g)
{
    ferry__kafka_feed *s = g->feed;
    size_t ours = 0;
    for (ferry__node *n = g->parts.next; n != &g->parts; n = n->next) {
        const ferry__kafka_part *p = FERRY__OF(n, ferry__kafka_part, node);
        if (p->topic != FERRY__GROUP_EVENTS || !p->owned)
            continue;
        ours++;
        if (p->partition < s->count && p->base < s->end[p->partition])
            return false;
    }
    if (ours == 0 && s->empty_ms == 0)
        s->empty_ms = g->k->now_ms;
    else if (ours > 0)
        s->empty_ms = 0;
    return ours > 0 || g->k->now_ms - s->empty_ms >= EMPTY_MS;
}

void ferry__feed_serve(ferry__kafka_group *g)
{
    ferry__kafka_feed *s = g->feed;
    if (g->k->now_ms >= s->turn_at_ms && g->rk && g->state == FERRY__GROUP_MEMBER)
        turn_all(g);
    if (s->asking || !ferry__feed_attached(g))
        return;
    ferry__feed_serve_seek(g);
    if (s->asking || s->broken)
        return;
    if (!s->ready || (s->ups != g->k->ups && g->k->state == FERRY__UP)) {
        s->ready = s->tell_ready = true;
        s->ups = g->k->ups;
    }
    if (!s->caught_up && past_end(g))
        s->caught_up = s->tell_caught_up = true;
}

int64_t ferry__feed_next_ms(const ferry__kafka_group *g)
{
    const ferry__kafka_feed *s = g->feed;
    int64_t at = s->empty_ms && !s->caught_up && !s->broken ? s->empty_ms + EMPTY_MS : INT64_MAX;
    return s->turn_at_ms < at && g->state == FERRY__GROUP_MEMBER ? s->turn_at_ms : at;
}

static bool take(bool *news)
{
    bool is = *news;
    *news = false;
    return is;
}

void ferry__feed_tell(ferry__kafka *k)
{
    for (ferry__node *n = k->intakes.next, *next; n != &k->intakes; n = next) {
        ferry__kafka_intake *in = FERRY__OF(n, ferry__kafka_intake, node);
        ferry__kafka_feed *s = in->feed;
        next = n->next;
        if (s && in->source && take(&s->tell_broken))
            k->up->broken(k->up, in->source, s->status, s->why);
        if (s && in->source && take(&s->tell_ready))
            k->up->ready(k->up, in->source);
        if (s && in->source && take(&s->tell_caught_up))
            k->up->caught_up(k->up, in->source);
    }
}
