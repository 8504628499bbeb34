/* event_move.c - a subscription that is sent elsewhere, and one whose place is gone. */
#include "backends/kafka/event.h"
#include "backends/kafka/dead.h"
#include "backends/kafka/topics.h"

#include "base/alloc.h"

#include <inttypes.h>

enum { LOOK_MS = 5000 };

/* ---- reading from another place ---- */

/* rd_kafka_seek does nothing for a partition whose offset was gone; to be given up and taken again works for all. */
static void reassign(ferry__kafka_group *g, const ferry__kafka_part *p, int64_t offset)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, g->topics[p->topic], p->partition)->offset = offset;
    rd_kafka_error_t *error = rd_kafka_incremental_unassign(g->rk, list);
    if (error)
        rd_kafka_error_destroy(error);
    error = rd_kafka_incremental_assign(g->rk, list);
    if (error)
        rd_kafka_error_destroy(error);
    rd_kafka_topic_partition_list_destroy(list);
}

void ferry__feed_restart(ferry__kafka_group *g, ferry__kafka_part *p, int64_t offset)
{
    if (!g->feed->broadcast) {
        reassign(g, p, offset);
        ferry__feed_turn(g, p);
    } else
        rd_kafka_consume_start_queue(g->handles[p->topic], p->partition, offset, g->feed->tap.queue);
}

/* ---- seek ---- */

void ferry__feed_note_seek(ferry__kafka_feed *s, const ferry__wish *to)
{
    s->seek_noted = ferry__event_wish_set(&s->noted, (int)to->from, to->time_ms, to->position);
}

void ferry__feed_pass_seek(ferry__kafka_feed *s)
{
    if (!s->seek_noted)
        return;
    ferry__free(s->passed.position);
    s->passed = s->noted;
    s->noted.position = NULL;
    s->seek_noted = false;
    s->seek_passed = true;
}

typedef struct move {
    ferry__kafka_job job;
    ferry__kafka_group *group;
    ferry__feed_plan *plan;
    ferry_status status;
    char why[FERRY_WHY_SIZE];
} move;

static void run_move(ferry__kafka *k, ferry__kafka_job *job)
{
    move *m = (move *)(void *)job;
    m->status = ferry__feed_resolve(k, NULL, m->plan, m->why);
}

static void move_all(ferry__kafka_group *g)
{
    ferry__kafka_feed *s = g->feed;
    for (ferry__node *n = g->parts.next; n != &g->parts; n = n->next) {
        ferry__kafka_part *p = FERRY__OF(n, ferry__kafka_part, node);
        if (p->topic != FERRY__GROUP_EVENTS || !p->owned || p->leaving || p->partition >= s->count)
            continue;
        ferry__group_drop(g, p);
        ferry__part_reset(p, s->start[p->partition]);
        ferry__feed_restart(g, p, s->start[p->partition]);
    }
    g->urgent = true;
}

static void moved(ferry__kafka *k, ferry__kafka_job *job, bool ran)
{
    move *m = (move *)(void *)job;
    ferry__kafka_group *g = m->group;
    ferry__kafka_feed *s = g->feed;
    (void)k;
    s->asking = false;
    bool good = ran && m->status == FERRY_OK && g->rk;
    bool now = good && ferry__feed_attached(g);
    if (now)
        ferry__feed_take_plan(s, m->plan);
    if (now && !s->broken)
        move_all(g);
    else if (!now && !s->seek_passed) /* no answer, or partitions are moving: again */
        s->seek_passed =
            ferry__event_wish_set(&s->passed, m->plan->wish.from, m->plan->wish.time_ms, m->plan->wish.position);
    ferry__feed_plan_free(m->plan);
    ferry__free(m);
}

void ferry__feed_serve_seek(ferry__kafka_group *g)
{
    ferry__kafka_feed *s = g->feed;
    if (!s->seek_passed || g->k->state != FERRY__UP || g->k->closing)
        return;
    move *m = ferry__zalloc(sizeof *m);
    ferry__feed_plan *plan = m ? ferry__feed_plan_new(s, &s->passed, true) : NULL;
    if (!plan) {
        ferry__free(m);
        return;
    }
    *m = (move){.job = {.run = run_move, .done = moved}, .group = g, .plan = plan};
    s->seek_passed = false;
    s->asking = true;
    ferry__kafka_job_add(g->k, &m->job);
}

/* ---- offsets that are gone ---- */

typedef struct look {
    ferry__kafka_job job;
    ferry__kafka_group *group;
    ferry__kafka_part *part;
    unsigned epoch;
    int count;
    int64_t *low, *high, *purged;
    bool good;
} look;

static void run_look(ferry__kafka *k, ferry__kafka_job *job)
{
    look *l = (look *)(void *)job;
    ferry__kafka_feed *s = l->group->feed; /* its names are constant */
    char why[FERRY_WHY_SIZE], purge[288];
    rd_kafka_t *rk = ferry__dead_client(k, why);
    ferry__domains_purged_name(k, s->domain, purge, sizeof purge);
    l->good = rk && !ferry__domains_offsets(rk, s->topic, l->count, -2, l->low) &&
              !ferry__domains_offsets(rk, s->topic, l->count, -1, l->high) &&
              !ferry__domains_committed(k, purge, s->topic, l->count, l->purged);
}

/* From `low` on it may go, if nothing but what an administrator purged lies between. */
static void judge(ferry__kafka_group *g, ferry__kafka_part *p, int64_t low, int64_t high, int64_t purged)
{
    ferry__kafka_feed *s = g->feed;
    if (p->read >= low && p->read <= high) {
        ferry__feed_restart(g, p, p->read);
        return;
    }
    if (p->read < low && low <= purged) {
        ferry__part_skip(p, low);
        ferry__feed_restart(g, p, low);
        return;
    }
    s->broken = s->tell_broken = true;
    s->status = FERRY_NOT_FOUND;
    ferry__why(s->why,
               "%s, partition %d: the position %" PRId64 " is gone, events are kept from %" PRId64 " to %" PRId64,
               s->domain, (int)p->partition, p->read, low, high);
}

static void looked(ferry__kafka *k, ferry__kafka_job *job, bool ran)
{
    look *l = (look *)(void *)job;
    ferry__kafka_part *p = l->part;
    ferry__kafka_group *g = l->group;
    p->looking = false;
    if (g->rk && p->owned && !p->leaving && p->epoch == l->epoch && !k->closing) {
        if (ran && l->good)
            judge(g, p, l->low[p->partition], l->high[p->partition], l->purged[p->partition]);
        else
            ferry__feed_restart(g, p, p->read); /* it hears of it again */
    }
    ferry__free(l->low);
    ferry__free(l);
}

void ferry__feed_gone(ferry__kafka_group *g, ferry__kafka_part *p)
{
    size_t count = (size_t)(p->partition + 1 > g->feed->count ? p->partition + 1 : g->feed->count);
    look *l = p->looking ? NULL : ferry__zalloc(sizeof *l);
    int64_t *room = l ? ferry__zalloc(3 * count * sizeof *room) : NULL;
    if (!room) {
        ferry__free(l);
        return;
    }
    *l = (look){.job = {.run = run_look, .done = looked}, .group = g, .part = p, .epoch = p->epoch};
    l->count = (int)count;
    l->low = room;
    l->high = room + count;
    l->purged = room + 2 * count;
    p->looking = true;
    ferry__kafka_job_add(g->k, &l->job);
}
