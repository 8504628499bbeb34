/* member.c - joining a service's group, partitions that come and go, and leaving it. */
#include "backends/kafka/group.h"
#include "backends/kafka/create.h"
#include "backends/kafka/event.h"
#include "base/alloc.h"
#include "base/clock.h"

#include <string.h>

enum { FIRST_MS = 2500, LAST_MS = 2000 };
enum { PREPARE_AGAIN_MS = 200, COMMITTED_MS = 5000, METADATA_MS = 2000 };

/* ---- preparing: topics, and a consumer that is connected ---- */

typedef struct prepare {
    ferry__kafka_job job;
    ferry__kafka_group *group;
    rd_kafka_t *rk;
    rd_kafka_conf_t *conf;
    ferry__feed_plan *plan; /* of a subscription */
    char why[FERRY_WHY_SIZE];
    ferry_status status;
} prepare;

static void run_prepare(ferry__kafka *k, ferry__kafka_job *job)
{
    prepare *p = (prepare *)(void *)job;
    p->status = p->plan ? ferry__feed_create(k, p->plan, p->group->name, p->why)
                        : ferry__kafka_create_service(k, p->group->name, false, p->why);
    if (p->status != FERRY_OK)
        return;
    p->rk = rd_kafka_new(RD_KAFKA_CONSUMER, p->conf, p->why, sizeof p->why);
    if (!p->rk) {
        p->status = FERRY_INTERNAL;
        return;
    }
    p->conf = NULL;
    ferry__kafka_token(k, p->rk);
    const struct rd_kafka_metadata *metadata;
    /* Connected: it joins at once. */
    if (rd_kafka_metadata(p->rk, 0, NULL, &metadata, METADATA_MS) == RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_metadata_destroy(metadata);
    if (p->plan)
        p->status = ferry__feed_resolve(k, p->rk, p->plan, p->why);
}

static void destroy_now(rd_kafka_t *rk)
{
    rd_kafka_destroy_flags(rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

static void subscribe(ferry__kafka_group *g)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(FERRY__GROUP_TOPICS);
    for (int t = 0; t < FERRY__GROUP_TOPICS; t++) {
        if (!g->topics[t][0])
            continue;
        g->handles[t] = t == FERRY__GROUP_EVENTS ? ferry__feed_topic(g->rk, g->topics[t])
                                                 : rd_kafka_topic_new(g->rk, g->topics[t], NULL);
        rd_kafka_topic_partition_list_add(list, g->topics[t], RD_KAFKA_PARTITION_UA);
    }
    rd_kafka_poll_set_consumer(g->rk);
    ferry__kafka_tap_open(g->k, &g->tap, rd_kafka_queue_get_consumer(g->rk), true);
    rd_kafka_subscribe(g->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
}

static void prepared(ferry__kafka *k, ferry__kafka_job *job, bool ran)
{
    prepare *p = (prepare *)(void *)job;
    ferry__kafka_group *g = p->group;
    g->preparing = false;
    if (p->conf)
        rd_kafka_conf_destroy(p->conf);
    bool good = p->rk && (!p->plan || p->status == FERRY_OK);
    if (g->state == FERRY__GROUP_PREPARING && good && !k->closing) {
        g->rk = p->rk;
        g->state = FERRY__GROUP_MEMBER;
        if (g->feed)
            ferry__feed_prepared(g, p->plan);
        if (!ferry__feed_alone(g))
            subscribe(g);
    } else if (p->rk)
        destroy_now(p->rk);
    if (g->state == FERRY__GROUP_PREPARING) {
        g->prepare_at_ms = k->now_ms + PREPARE_AGAIN_MS;
        if (ran && !k->closing)
            ferry__log_print(k->up->log, LOG_WARNING, "kafka: cannot serve '%s' yet: %s", g->name, p->why);
    }
    ferry__feed_plan_free(p->plan);
    ferry__free(p);
}

void ferry__member_prepare(ferry__kafka_group *g)
{
    char why[FERRY_WHY_SIZE];
    prepare *p = ferry__zalloc(sizeof *p);
    g->prepare_at_ms = g->k->now_ms + PREPARE_AGAIN_MS;
    ferry__kafka_role role = !g->feed               ? FERRY__KAFKA_MEMBER
                             : ferry__feed_alone(g) ? FERRY__KAFKA_LISTENER
                                                    : FERRY__KAFKA_SUBSCRIBER;
    ferry__feed_plan *plan = p && g->feed ? ferry__feed_plan_new(g->feed, &g->feed->wish, false) : NULL;
    rd_kafka_conf_t *conf =
        p && (plan || !g->feed) ? ferry__kafka_conf(&g->k->set, g->k->config, role, g->name, NULL, why) : NULL;
    if (!conf) {
        ferry__feed_plan_free(plan);
        ferry__free(p);
        return;
    }
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_FETCH | RD_KAFKA_EVENT_OFFSET_COMMIT | RD_KAFKA_EVENT_ERROR |
                                       RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH);
    rd_kafka_conf_set_opaque(conf, g);
    if (!ferry__feed_alone(g))
        ferry__phase_watch(g, conf);
    *p = (prepare){.job = {.run = run_prepare, .done = prepared}, .group = g, .conf = conf, .plan = plan};
    g->preparing = true;
    ferry__kafka_job_add(g->k, &p->job);
}

/* ---- topics that were deleted under us ---- */

typedef struct remake {
    ferry__kafka_job    job;
    ferry__kafka_group *group;
    ferry_status        status;
    char                why[FERRY_WHY_SIZE];
} remake;

static void run_remake(ferry__kafka *k, ferry__kafka_job *job)
{
    remake *r = (remake *)(void *)job;
    r->status = ferry__kafka_create_service(k, r->group->name, r->group->box, r->why);
}

static void remade(ferry__kafka *k, ferry__kafka_job *job, bool ran)
{
    remake *r = (remake *)(void *)job;
    r->group->remaking = false;
    if (ran && r->status != FERRY_OK)
        ferry__log_print(k->up->log, LOG_WARNING, "kafka: %s: %s", r->group->name, r->why);
    ferry__free(r);
}

void ferry__member_topic_gone(ferry__kafka_group *g)
{
    remake *r = g->remaking || g->state != FERRY__GROUP_MEMBER ? NULL : ferry__zalloc(sizeof *r);
    if (!r)
        return;
    *r = (remake){.job = {.run = run_remake, .done = remade}, .group = g};
    g->remaking = true;
    ferry__log_print(g->k->up->log, LOG_WARNING, "kafka: a topic of %s is gone: it is made anew", g->name);
    ferry__kafka_job_add(g->k, &r->job);
}

/* ---- partitions that come ---- */

typedef struct assign {
    ferry__kafka_job job;
    ferry__kafka_group *group;
    rd_kafka_t *rk;
    rd_kafka_topic_partition_list_t *parts;
    rd_kafka_resp_err_t err;
} assign;

static bool cooperative(rd_kafka_t *rk)
{
    const char *protocol = rd_kafka_rebalance_protocol(rk);
    return protocol && strcmp(protocol, "COOPERATIVE") == 0;
}

static void take_over(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *parts)
{
    rd_kafka_error_t *error = NULL;
    if (cooperative(rk))
        error = rd_kafka_incremental_assign(rk, parts);
    else
        rd_kafka_assign(rk, parts);
    if (error)
        rd_kafka_error_destroy(error);
}

static void release(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *parts)
{
    rd_kafka_error_t *error = NULL;
    if (cooperative(rk))
        error = rd_kafka_incremental_unassign(rk, parts);
    else
        rd_kafka_assign(rk, NULL);
    if (error)
        rd_kafka_error_destroy(error);
}

static int topic_of(const ferry__kafka_group *g, const char *name)
{
    for (int t = 0; t < FERRY__GROUP_TOPICS; t++)
        if (g->topics[t][0] && strcmp(g->topics[t], name) == 0)
            return t;
    return -1;
}

static uint64_t who(const ferry__kafka *k)
{
    uint64_t who = 0;
    memcpy(&who, k->config->client, sizeof who);
    return who | 1;
}

static void run_assign(ferry__kafka *k, ferry__kafka_job *job)
{
    assign *a = (assign *)(void *)job;
    do
        a->err = rd_kafka_committed(a->rk, a->parts, COMMITTED_MS);
    while (a->err && !atomic_load(&k->jobs.quit));
}

static void take_part(ferry__kafka_group *g, rd_kafka_topic_partition_t *at)
{
    bool kept = false;
    int topic = topic_of(g, at->topic);
    ferry__kafka_part *p = topic >= 0 ? ferry__group_part(g, topic, at->partition, true) : NULL;
    char *metadata = at->metadata ? ferry__strndup(at->metadata, at->metadata_size) : NULL;
    size_t up = p ? p->up : 0;
    bool anew = topic == FERRY__GROUP_EVENTS && at->offset < 0;
    if (anew)
        at->offset = ferry__feed_start_of(g->feed, at->partition);
    if (p && ferry__part_take(p, at->offset, metadata, who(g->k), &kept)) {
        p->owned = true;
        p->leaving = p->paused = false;
        if (topic == FERRY__GROUP_EVENTS)
            ferry__feed_turn(g, p);
        p->dirty = anew && !g->feed->broken;
        if (!kept && ferry__group_posts(topic))
            g->posts_held -= up; /* those of another epoch settle elsewhere */
        at->offset = at->offset < 0 && !kept ? RD_KAFKA_OFFSET_BEGINNING : p->base;
    }
    ferry__free(metadata);
}

static void assigned(ferry__kafka *k, ferry__kafka_job *job, bool ran)
{
    assign *a = (assign *)(void *)job;
    ferry__kafka_group *g = a->group;
    g->assigning = false;
    ferry__log_print(k->up->log, LOG_INFO, "kafka: %s: %d partitions come", g->name, a->parts->cnt);
    for (int i = 0; ran && !a->err && i < a->parts->cnt; i++)
        take_part(g, &a->parts->elems[i]);
    if (g->rk == a->rk && g->rk)
        take_over(g->rk, a->parts);
    rd_kafka_topic_partition_list_destroy(a->parts);
    ferry__free(a);
}

static void begin_assign(ferry__kafka_group *g, const rd_kafka_topic_partition_list_t *parts)
{
    assign *a = parts->cnt > 0 && g->state == FERRY__GROUP_MEMBER ? ferry__zalloc(sizeof *a) : NULL;
    if (!a) { /* one that leaves reads nothing of what it is given */
        rd_kafka_topic_partition_list_t *none = rd_kafka_topic_partition_list_new(1);
        take_over(g->rk, none);
        rd_kafka_topic_partition_list_destroy(none);
        return;
    }
    *a = (assign){.job = {.run = run_assign, .done = assigned},
                  .group = g,
                  .rk = g->rk,
                  .parts = rd_kafka_topic_partition_list_copy(parts)};
    g->assigning = true;
    ferry__kafka_job_add(g->k, &a->job);
}

/* ---- partitions that go ---- */

static void for_revoked(ferry__kafka_group *g, bool gone)
{
    for (int i = 0; i < g->revoking->cnt; i++) {
        int topic = topic_of(g, g->revoking->elems[i].topic);
        ferry__kafka_part *p = topic < 0 ? NULL : ferry__group_part(g, topic, g->revoking->elems[i].partition, false);
        if (!p)
            continue;
        p->leaving = !gone;
        p->owned = p->owned && !gone;
        ferry__group_drop(g, p);
    }
}

static void let_go(ferry__kafka_group *g)
{
    if (g->feed)
        g->feed->unacked = g->feed->sent = 0;
    for_revoked(g, true);
    ferry__phase_revoked(g);
    release(g->rk, g->revoking);
    rd_kafka_topic_partition_list_destroy(g->revoking);
    g->revoking = NULL;
    g->last_commit = g->last_failed = false;
}

static void begin_revoke(ferry__kafka_group *g, const rd_kafka_topic_partition_list_t *parts)
{
    char *member = rd_kafka_memberid(g->rk);
    snprintf(g->member, sizeof g->member, "%s", member ? member : "");
    if (member)
        rd_kafka_mem_free(g->rk, member);
    if (g->revoking)
        rd_kafka_topic_partition_list_destroy(g->revoking);
    g->revoking = rd_kafka_topic_partition_list_copy(parts);
    g->revoke_by_ms = g->k->now_ms + g->k->set.move_ms;
    g->last_commit = false;
    bool lost = rd_kafka_assignment_lost(g->rk) != 0;

    ferry__log_print(g->k->up->log, lost ? LOG_WARNING : LOG_INFO, "kafka: %s: %d partitions %s", g->name, parts->cnt,
                     lost ? "are lost: what is in handlers may run twice" : "go to others");
    if (lost || g->state >= FERRY__GROUP_CLOSING)
        let_go(g);
    else
        for_revoked(g, false);
}

void ferry__member_rebalance(ferry__kafka_group *g, rd_kafka_event_t *event)
{
    rd_kafka_topic_partition_list_t *parts = rd_kafka_event_topic_partition_list(event);
    rd_kafka_resp_err_t err = rd_kafka_event_error(event);
    g->assigned = true;
    if (err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
        begin_assign(g, parts);
    else if (err == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS)
        begin_revoke(g, parts);
    else
        rd_kafka_assign(g->rk, NULL);
}

static bool posts_up(const ferry__kafka_group *g, bool leaving_only)
{
    for (ferry__node *n = g->parts.next; n != &g->parts; n = n->next) {
        const ferry__kafka_part *p = FERRY__OF(n, ferry__kafka_part, node);
        if (p->owned && (p->leaving || !leaving_only) && p->topic != FERRY__GROUP_CALLS && p->up > 0)
            return true;
    }
    return false;
}

/* A commit may be refused while the group is being put together anew: it is tried again for a while. */
static bool again(ferry__kafka_group *g)
{
    if (!g->last_failed)
        return false;
    if (g->last_by_ms == 0)
        g->last_by_ms = g->k->now_ms + LAST_MS;
    if (g->k->now_ms >= g->last_by_ms)
        return false;
    if (g->k->now_ms >= g->not_before_ms)
        ferry__commit_last(g);
    return true;
}

static void serve_revoke(ferry__kafka_group *g)
{
    if (!ferry__commit_may(g))
        return;
    if (g->last_commit) {
        if (!again(g))
            let_go(g);
        return;
    }
    if (posts_up(g, true) && g->k->now_ms < g->revoke_by_ms && !g->k->closing)
        return;
    g->last_by_ms = 0;
    if (!ferry__commit_last(g) && !g->last_failed)
        let_go(g);
}

/* ---- leaving ---- */

static void drop_all(ferry__kafka_group *g)
{
    for (ferry__node *n = g->parts.next; n != &g->parts; n = n->next)
        ferry__group_drop(g, FERRY__OF(n, ferry__kafka_part, node));
}

static size_t unsettled(const ferry__kafka_group *g)
{
    size_t sum = 0;
    for (ferry__node *n = g->parts.next; n != &g->parts; n = n->next)
        sum += FERRY__OF(n, ferry__kafka_part, node)->up;
    return sum;
}

/* While handlers run we stay a member, so that nobody takes the service for dead, and leave the partitions to others: those of calls
 * at once, those of posts when their last handler ended. The topic of dead letters is a subscription that costs nothing. */
static void resubscribe(ferry__kafka_group *g)
{
    char dead[288];
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(FERRY__GROUP_TOPICS);
    snprintf(dead, sizeof dead, "%s.dead", g->name);
    rd_kafka_topic_partition_list_add(list, dead, RD_KAFKA_PARTITION_UA);
    g->holds_posts = posts_up(g, false);
    for (int t = FERRY__GROUP_POSTS; g->holds_posts && t < FERRY__GROUP_TOPICS; t++)
        if (g->topics[t][0])
            rd_kafka_topic_partition_list_add(list, g->topics[t], RD_KAFKA_PARTITION_UA);
    rd_kafka_subscribe(g->rk, list);
    rd_kafka_topic_partition_list_destroy(list);
}

static void pause_all(ferry__kafka_group *g)
{
    rd_kafka_topic_partition_list_t *list = NULL;
    if (rd_kafka_assignment(g->rk, &list) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        rd_kafka_pause_partitions(g->rk, list);
        rd_kafka_topic_partition_list_destroy(list);
    }
}

static void begin_leave(ferry__kafka_group *g)
{
    g->state = FERRY__GROUP_LEAVING;
    g->leave_by_ms = g->k->now_ms + FIRST_MS;
    g->last_commit = g->last_commit && g->revoking;
    drop_all(g);
    ferry__ahead_withdraw(g);
    if (unsettled(g) == 0 || g->k->closing || ferry__feed_alone(g))
        return;
    pause_all(g);
    resubscribe(g);
}

static void begin_close(ferry__kafka_group *g)
{
    g->state = FERRY__GROUP_CLOSING;
    ferry__commit_give_up(g);
    if (ferry__feed_alone(g)) {
        ferry__feed_stop(g);
        ferry__member_destroy(g);
        return;
    }
    rd_kafka_error_t *error = rd_kafka_consumer_close_queue(g->rk, g->tap.queue);
    if (error)
        rd_kafka_error_destroy(error);
}

/* librdkafka before 2.3 falls over an assertion when a consumer is closed between its join and its first assignment. */
static bool too_young(const ferry__kafka_group *g)
{
    return !g->assigned && rd_kafka_version() < 0x02030000 && g->k->now_ms < g->leave_by_ms;
}

static void serve_leave(ferry__kafka_group *g)
{
    if (ferry__feed_alone(g)) {
        if (unsettled(g) == 0 || g->k->closing)
            begin_close(g);
        return;
    }
    if (!ferry__commit_may(g) || g->assigning || too_young(g))
        return;
    if (g->last_commit) {
        if (!again(g))
            begin_close(g);
        return;
    }
    if (unsettled(g) > 0 && !g->k->closing) {
        if (g->holds_posts && !posts_up(g, false))
            resubscribe(g);
        return;
    }
    g->last_by_ms = 0;
    if (!ferry__commit_last(g) && !g->last_failed)
        begin_close(g);
}

typedef struct destroy {
    ferry__kafka_job job;
    ferry__kafka_group *group;
    rd_kafka_t *rk;
} destroy;

static void run_destroy(ferry__kafka *k, ferry__kafka_job *job)
{
    (void)k;
    destroy_now(((destroy *)(void *)job)->rk);
}

static void destroyed(ferry__kafka *k, ferry__kafka_job *job, bool ran)
{
    destroy *d = (destroy *)(void *)job;
    if (!ran)
        run_destroy(k, job);
    d->group->state = FERRY__GROUP_GONE;
    d->group->destroying = false;
    ferry__free(d);
}

void ferry__member_destroy(ferry__kafka_group *g)
{
    destroy *d = ferry__zalloc(sizeof *d);
    rd_kafka_t *rk = g->rk;
    for (int t = 0; t < FERRY__GROUP_TOPICS; t++)
        if (g->handles[t])
            rd_kafka_topic_destroy(g->handles[t]);
    memset(g->handles, 0, sizeof g->handles);
    ferry__group_drop_queue(g);
    g->rk = NULL;
    if (!d) {
        destroy_now(rk);
        g->state = FERRY__GROUP_GONE;
        return;
    }
    *d = (destroy){.job = {.run = run_destroy, .done = destroyed}, .group = g, .rk = rk};
    g->destroying = true;
    ferry__kafka_job_add(g->k, &d->job);
}

/* A subscription is what its events are: posts alone wait for them, and end with them. */
static bool unwanted(const ferry__kafka_group *g)
{
    if (g->box && g->state != FERRY__GROUP_PREPARING)
        return !g->intakes[2];
    return !g->intakes[0] && !g->intakes[1] && !g->intakes[2];
}

void ferry__member_serve(ferry__kafka_group *g)
{
    if (unwanted(g) && g->state == FERRY__GROUP_PREPARING && !g->preparing)
        g->state = FERRY__GROUP_GONE;
    else if (unwanted(g) && g->state == FERRY__GROUP_MEMBER)
        begin_leave(g);
    else if (g->box && !g->intakes[2] && g->state == FERRY__GROUP_PREPARING)
        return;
    else if (g->state == FERRY__GROUP_PREPARING && !g->preparing && g->k->now_ms >= g->prepare_at_ms &&
             g->k->state == FERRY__UP)
        ferry__member_prepare(g);
    if (g->revoking && (g->state == FERRY__GROUP_MEMBER || g->state == FERRY__GROUP_LEAVING))
        serve_revoke(g);
    else if (g->state == FERRY__GROUP_LEAVING)
        serve_leave(g);
    else if (g->state == FERRY__GROUP_CLOSING && g->rk && rd_kafka_consumer_closed(g->rk))
        ferry__member_destroy(g);
}
