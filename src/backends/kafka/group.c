#include "backends/kafka/group.h"

#include "backends/kafka/event.h"
#include "backends/kafka/wire.h"
#include "base/alloc.h"
#include "base/clock.h"

#include <stdio.h>
#include <string.h>

enum { EVENTS = 2000 /* in one turn */ };
enum {
    WAITING_MAX = 2000,
    WAITING_LOW = 1000 /* frames of a partition that wait here before it is paused, and goes on */
};

ferry__kafka_group *ferry__group_new(ferry__kafka *k, const char *service)
{
    static const char *const lanes[] = {"calls", "posts", "retry"};
    bool box = strchr(service, '/') != NULL;
    ferry__kafka_group *g = ferry__zalloc(sizeof *g);
    if (!g)
        return NULL;
    g->k = k;
    g->commit_at_ms = INT64_MAX;
    g->box = box;
    ferry__kafka_name(k, service, NULL, g->name, sizeof g->name);
    for (int i = box ? FERRY__GROUP_POSTS : FERRY__GROUP_CALLS; i < FERRY__GROUP_EVENTS; i++)
        snprintf(g->topics[i], sizeof g->topics[i], "%s.%s", g->name, lanes[i]);
    pthread_mutex_init(&g->phase.door, NULL);
    ferry__list_init(&g->parts);
    ferry__frames *all[] = {&g->ready[0],   &g->ready[1],    &g->ready[2], &g->later,
                            &g->claims_new, &g->claims_sent, &g->given};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ferry__frames_init(all[i]);
    ferry__list_init(&g->node);
    return g;
}

void ferry__group_free(ferry__kafka_group *g)
{
    ferry__frames *all[] = {&g->ready[0],   &g->ready[1],    &g->ready[2], &g->later,
                            &g->claims_new, &g->claims_sent, &g->given};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ferry__frames_drop(all[i]);
    for (ferry__node *n; (n = ferry__list_shift(&g->parts));) {
        ferry__kafka_part *p = FERRY__OF(n, ferry__kafka_part, node);
        ferry__part_done(p);
        ferry__free(p);
    }
    if (g->revoking)
        rd_kafka_topic_partition_list_destroy(g->revoking);
    ferry__list_remove(&g->node);
    pthread_mutex_destroy(&g->phase.door);
    ferry__free(g);
}

ferry__kafka_part *ferry__group_part(ferry__kafka_group *g, int topic, int32_t partition, bool make)
{
    for (ferry__node *n = g->parts.next; n != &g->parts; n = n->next) {
        ferry__kafka_part *p = FERRY__OF(n, ferry__kafka_part, node);
        if (p->topic == topic && p->partition == partition)
            return p;
    }
    ferry__kafka_part *p = make ? ferry__zalloc(sizeof *p) : NULL;
    if (!p)
        return NULL;
    p->group = g;
    p->topic = topic;
    p->partition = partition;
    ferry__list_append(&g->parts, &p->node);
    return p;
}

static ferry__kafka_part *part_of(const ferry__frame *f)
{
    return (ferry__kafka_part *)(uintptr_t)f->tag[0];
}

/* ---- frames that wait ---- */

/* Of a frame that is not handed up after all: the core waits for one. Whose credit it was is not known: rather one too much than a
 * place lost for ever. */
static void give_credit_back(ferry__kafka_intake *in)
{
    if (in->claimed == 0) {
        in->beyond--;
        return;
    }
    in->claimed--;
    in->credit++;
}

static void drop_from(ferry__frames *list, const ferry__kafka_part *p, ferry__kafka_group *g, bool claimed)
{
    ferry__frames all;
    ferry__frames_init(&all);
    ferry__frames_join(&all, list);
    for (ferry__frame *f; (f = ferry__frames_take(&all));) {
        if (part_of(f) != p) {
            ferry__frames_add(list, f);
            continue;
        }
        if (claimed) {
            give_credit_back(f->owner);
            part_of(f)->claims--;
            ferry__part_set(part_of(f), ferry__part_offset(f->tag[1]), FERRY__PART_NEW);
            g->posts_held -= ferry__group_posts(p->topic);
            g->calls_up -= p->topic == FERRY__GROUP_CALLS && g->calls_up > 0;
        }
        ferry__frame_unref(f);
    }
}

void ferry__group_drop(ferry__kafka_group *g, const ferry__kafka_part *p)
{
    drop_from(&g->ready[ferry__group_lane(p->topic)], p, g, false);
    drop_from(&g->later, p, g, false);
    drop_from(&g->given, p, g, false);
    drop_from(&g->claims_new, p, g, true);
    drop_from(&g->claims_sent, p, g, true);
    ((ferry__kafka_part *)(uintptr_t)p)->waiting = 0;
}

static void put_first(ferry__frames *list, ferry__frame *f)
{
    f->next = list->first;
    if (!list->first)
        list->last = &f->next;
    list->first = f;
    list->count++;
}

void ferry__group_put_back(ferry__kafka_group *g, ferry__frame *f)
{
    ferry__kafka_part *p = part_of(f);
    ferry__part_set(p, ferry__part_offset(f->tag[1]), FERRY__PART_NEW);
    g->posts_held -= ferry__group_posts(p->topic);
    g->calls_up -= p->topic == FERRY__GROUP_CALLS && g->calls_up > 0;
    p->waiting++;
    put_first(&g->ready[ferry__group_lane(p->topic)], f);
}

/* ---- arrival ---- */

static void pause(ferry__kafka_group *g, ferry__kafka_part *p, bool paused)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, g->topics[p->topic], p->partition);
    if (paused)
        rd_kafka_pause_partitions(g->rk, list);
    else
        rd_kafka_resume_partitions(g->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
    p->paused = paused;
}

static void insert_later(ferry__kafka_group *g, ferry__frame *f)
{
    ferry__frame **at = &g->later.first;
    while (*at && (*at)->deadline_ms <= f->deadline_ms)
        at = &(*at)->next;
    f->next = *at;
    if (!*at)
        g->later.last = &f->next;
    *at = f;
    g->later.count++;
}

static bool repeated(ferry__kafka_group *g, const ferry__kafka_part *p, int64_t offset, const ferry__frame *f)
{
    ferry__kafka *k = g->k;
    uint64_t place = (uint64_t)offset | (uint64_t)p->partition << 44 | (uint64_t)p->topic << 60;
    if (!k->known)
        k->known = ferry__known_new(k->config->done_count, k->config->done_ms);
    return k->known && !ferry__known_take(k->known, &f->id, place, k->now_ms);
}

/* No memory for a message: all of its partition that waits is read again. */
static void start_over(ferry__kafka_group *g, ferry__kafka_part *p)
{
    ferry__group_drop(g, p);
    p->read = p->base;
    if (p->topic == FERRY__GROUP_EVENTS)
        ferry__feed_restart(g, p, p->base);
    else
        rd_kafka_seek(g->handles[p->topic], p->partition, p->base, 0);
}

/* librdkafka goes back by itself only when the place where it reads is not in the log. Then the log ends before that place, unless it
 * grew past it in the meantime. */
static bool another_log(ferry__kafka_group *g, const ferry__kafka_part *p, int64_t offset)
{
    int64_t low, high;
    return offset < p->read &&
           rd_kafka_get_watermark_offsets(g->rk, g->topics[p->topic], p->partition, &low, &high) == 0 && high >= 0 &&
           high < p->read;
}

static void restart(ferry__kafka_group *g, ferry__kafka_part *p, int64_t offset)
{
    ferry__log_print(
        g->k->up->log, LOG_WARNING,
        "kafka: %s, partition %d ends before offset %lld, which was read: taken for a new one from offset %lld on",
        g->topics[p->topic], (int)p->partition, (long long)p->read, (long long)offset);
    ferry__group_drop(g, p);
    if (ferry__group_posts(p->topic))
        g->posts_held -= p->up;
    ferry__part_restart(p, offset);
}

static void take(ferry__kafka_group *g, ferry__kafka_part *p, const rd_kafka_message_t *m)
{
    bool maybe;
    unsigned attempts;
    if (!p->owned || p->leaving)
        return;
    if (another_log(g, p, m->offset))
        restart(g, p, m->offset);
    int64_t due_ms = 0, mark = ferry__wire_mark(m),
            time_ms = p->topic == FERRY__GROUP_CALLS ? ferry__wire_time(m) : INT64_MAX;
    bool ours = ferry__part_see(p, m->offset, time_ms, &maybe, &attempts);
    bool given = ferry__part_state(p, m->offset) == FERRY__PART_GIVEN;
    if (mark >= 0)
        ferry__given_mark(g, p, mark);
    if (!ours && !given)
        return;
    ferry_status why;
    ferry__frame *f = ferry__wire_request(m, p->topic == FERRY__GROUP_CALLS, g->k->now_ms, &due_ms, &why);
    if (f && p->topic == FERRY__GROUP_EVENTS) {
        f->kind = FERRY__EVENT;
        f->verb = 0;
    }
    if (!f && why == FERRY_NO_MEMORY)
        start_over(g, p);
    else if (!f) { /* done with, or it would come for ever */
        ferry__part_set(p, m->offset, FERRY__PART_DONE);
        if (mark < 0)
            ferry__log_print(g->k->up->log, LOG_WARNING,
                             "kafka: %s, partition %d, offset %lld is no message of ferry's: skipped",
                             g->topics[p->topic], (int)m->partition, (long long)m->offset);
    }
    if (!f)
        return;
    f->tag[0] = (uint64_t)(uintptr_t)p;
    f->tag[1] = ferry__part_place(p, m->offset);
    if (given) {
        ferry__frames_add(&g->given, f);
        return;
    }
    if (ferry__group_posts(p->topic) && repeated(g, p, m->offset, f)) {
        ferry__part_set(p, m->offset, FERRY__PART_DONE);
        g->urgent = true;
        ferry__frame_unref(f);
        return;
    }
    f->maybe = maybe;
    f->attempt += attempts;
    p->waiting++;
    f->deadline_ms = p->topic == FERRY__GROUP_RETRY ? due_ms : f->deadline_ms;
    if (p->topic == FERRY__GROUP_RETRY)
        insert_later(g, f);
    else
        ferry__frames_add(&g->ready[ferry__group_lane(p->topic)], f);
    if (p->topic != FERRY__GROUP_EVENTS && !p->paused && (p->waiting >= WAITING_MAX || ferry__part_full(p)))
        pause(g, p, true);
}

static void message(ferry__kafka_group *g, const rd_kafka_message_t *m)
{
    for (int t = 0; t < FERRY__GROUP_TOPICS; t++)
        if (g->handles[t] && g->handles[t] == m->rkt) {
            ferry__kafka_part *p = t == FERRY__GROUP_EVENTS ? ferry__feed_part(g, m->partition)
                                                            : ferry__group_part(g, t, m->partition, false);
            if (p)
                take(g, p, m);
            return;
        }
}

void ferry__group_event(ferry__kafka_group *g, rd_kafka_event_t *event)
{
    switch (rd_kafka_event_type(event)) {
    case RD_KAFKA_EVENT_FETCH:
        for (const rd_kafka_message_t *m; (m = rd_kafka_event_message_next(event)) != NULL;)
            if (m->err)
                ferry__log_print(g->k->up->log, LOG_NOTICE, "kafka: %s: %s", g->name, rd_kafka_message_errstr(m));
            else
                message(g, m);
        break;
    case RD_KAFKA_EVENT_OFFSET_COMMIT:
        ferry__commit_event(g, rd_kafka_event_error(event));
        break;
    case RD_KAFKA_EVENT_DESCRIBECONSUMERGROUPS_RESULT:
        ferry__given_members(g, event);
        break;
    case RD_KAFKA_EVENT_REBALANCE:
        ferry__member_rebalance(g, event);
        break;
    case RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH:
        ferry__kafka_token(g->k, g->rk);
        break;
    case RD_KAFKA_EVENT_ERROR:
        if (g->feed && ferry__feed_error(g, event))
            break;
        if (ferry__kafka_no_topic(rd_kafka_event_error(event)))
            ferry__member_topic_gone(g);
        else
            ferry__kafka_trouble(g->k, event);
        break;
    default:
        break;
    }
    rd_kafka_event_destroy(event);
}

bool ferry__group_poll(ferry__kafka_group *g)
{
    for (int n = 0; n < EVENTS; n++) {
        rd_kafka_event_t *event = ferry__kafka_tap_next(&g->tap);
        if (!event)
            return g->feed && ferry__feed_poll(g);
        ferry__group_event(g, event);
    }
    return true;
}

void ferry__group_drop_queue(ferry__kafka_group *g)
{
    for (rd_kafka_event_t *event; g->tap.queue && (event = rd_kafka_queue_poll(g->tap.queue, 0)) != NULL;)
        rd_kafka_event_destroy(event);
    ferry__kafka_tap_close(&g->tap);
    if (g->feed)
        ferry__feed_drop_queue(g->feed);
}

void ferry__group_ready(ferry__kafka_group *g, ferry__frame *f)
{
    ferry__kafka_part *p = part_of(f);
    p->waiting++;
    ferry__frames_add(&g->ready[ferry__group_lane(p->topic)], f);
}

/* ---- to the handlers ---- */

/* A call that may run only once must be known as claimed before its handler starts; so must a post, for its attempts. Events are
 * too many for that. */
static bool needs_claim(const ferry__frame *f)
{
    if (part_of(f)->topic == FERRY__GROUP_EVENTS)
        return false;
    return f->kind != FERRY__CALL || ((f->verb & (FERRY_POST | FERRY_PATCH)) && !f->idempotency_key.at);
}

bool ferry__group_must_wait(const ferry__frame *f)
{
    const ferry__kafka_part *p = part_of(f);
    return needs_claim(f) &&
           !(f->kind == FERRY__CALL && ferry__part_claimed(p, ferry__part_offset(f->tag[1]), f->time_ms));
}

static void hand_up(ferry__kafka_group *g, int lane)
{
    ferry__kafka_intake *in = g->intakes[lane];
    if (lane == 2 && g->feed && (g->feed->broken || ferry__feed_late(g)))
        return;
    int64_t span = lane == 2 ? FERRY__PART_EVENTS : FERRY__PART_SPAN;
    while (in && in->credit > 0 && g->ready[lane].first && (lane != 1 || g->posts_held < g->k->set.posts_ahead)) {
        ferry__kafka_part *p = part_of(g->ready[lane].first);
        int64_t offset = ferry__part_offset(g->ready[lane].first->tag[1]);
        if (offset - p->base >= span)
            return;
        ferry__frame *f = ferry__frames_take(&g->ready[lane]);
        in->credit--;
        p->waiting--;
        g->posts_held += lane == 1;
        ferry__part_set(p, offset, FERRY__PART_UP);
        f->owner = in;
        if (lane == 0)
            ferry__ahead_handed(g);
        p->claiming = p->claiming || (lane == 0 && needs_claim(f));
        bool claim = ferry__group_must_wait(f);
        g->urgent = g->urgent || claim;
        if (claim || p->claims > 0) { /* none overtakes another of its partition */
            ferry__frames_add(&g->claims_new, f);
            p->claims++;
            in->claimed++;
        } else
            ferry__frames_add(&g->k->arrived, f);
    }
}

static void release_due(ferry__kafka_group *g, int64_t wall_ms)
{
    while (g->later.first && g->later.first->deadline_ms <= wall_ms) {
        ferry__frame *f = ferry__frames_take(&g->later);
        f->deadline_ms = 0;
        ferry__frames_add(&g->ready[1], f);
    }
}

static void resume_low(ferry__kafka_group *g)
{
    for (ferry__node *n = g->parts.next; n != &g->parts; n = n->next) {
        ferry__kafka_part *p = FERRY__OF(n, ferry__kafka_part, node);
        if (p->paused && p->owned && !p->leaving && p->waiting <= WAITING_LOW &&
            p->top - p->base < FERRY__PART_SPAN / 2)
            pause(g, p, false);
    }
}

void ferry__group_join(ferry__kafka_group *g, ferry__kafka_intake *in)
{
    in->group = g;
    g->intakes[ferry__lane_at(in->lane)] = in;
    if (in->feed)
        ferry__feed_join(g, in->feed);
}

void ferry__group_serve(ferry__kafka_group *g)
{
    ferry__phase_serve(g);
    if (g->state == FERRY__GROUP_MEMBER) {
        if (g->later.first)
            release_due(g, ferry__wall_ms());
        for (int lane = 0; lane < FERRY__GROUP_LANES; lane++)
            hand_up(g, lane);
        resume_low(g);
    }
    if (g->feed)
        ferry__feed_serve(g);
    ferry__ahead_serve(g);
    if (g->given.first)
        ferry__given_serve(g);
    ferry__member_serve(g);
    ferry__commit_serve(g);
    ferry__trim_serve(g);
}

int64_t ferry__group_next_ms(ferry__kafka_group *g)
{
    int64_t at = g->committing ? INT64_MAX : ferry__phase_next_ms(g);
    at = ferry__commit_may(g) && g->commit_at_ms < at ? g->commit_at_ms : at;
    if (g->later.first && g->state == FERRY__GROUP_MEMBER) {
        int64_t due = g->k->now_ms + (g->later.first->deadline_ms - ferry__wall_ms());
        at = due < at ? due : at;
    }
    int64_t ahead = ferry__ahead_next_ms(g);
    at = ahead < at ? ahead : at;
    if (g->given.first && !g->asking && g->watch_at_ms < at)
        at = g->watch_at_ms;
    if (g->revoking && !g->last_commit && g->revoke_by_ms < at)
        at = g->revoke_by_ms;
    if (g->feed && ferry__feed_next_ms(g) < at)
        at = ferry__feed_next_ms(g);
    if (g->last_failed && g->not_before_ms < at)
        at = g->not_before_ms;
    if (g->state == FERRY__GROUP_PREPARING && !g->preparing && g->prepare_at_ms < at)
        at = g->prepare_at_ms;
    return at;
}
