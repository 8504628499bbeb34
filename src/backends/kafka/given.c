/* given.c - messages that stayed in a handler of a partition's last owner.
 *
 * That server appends a mark to the partition when it is done, and it is a member of the group until then. So: a mark = done; no longer
 * a member, at two looks in a row, since a last mark may still be under way = it died, and nobody knows how far it was. */
#include "backends/kafka/group.h"
#include "base/alloc.h"

#include <string.h>

enum { LOOK_MS = 500, ASK_MS = 3600000 /* as in probe.c */ };

static ferry__kafka_part *part_of(const ferry__frame *f)
{
    return (ferry__kafka_part *)(uintptr_t)f->tag[0];
}

static void remove_from(ferry__frames *list, const ferry__kafka_part *p, int64_t offset, size_t *waiting)
{
    ferry__frames all;
    ferry__frames_init(&all);
    ferry__frames_join(&all, list);
    for (ferry__frame *f; (f = ferry__frames_take(&all));) {
        if (part_of(f) != p || ferry__part_offset(f->tag[1]) != offset) {
            ferry__frames_add(list, f);
            continue;
        }
        if (waiting)
            --*waiting;
        ferry__frame_unref(f);
    }
}

void ferry__given_mark(ferry__kafka_group *g, ferry__kafka_part *p, int64_t offset)
{
    int state = ferry__part_state(p, offset);
    if (state != FERRY__PART_GIVEN && state != FERRY__PART_MAYBE)
        return;
    remove_from(&g->given, p, offset, NULL);
    if (state == FERRY__PART_MAYBE) {
        remove_from(&g->ready[ferry__group_lane(p->topic)], p, offset, &p->waiting);
        remove_from(&g->later, p, offset, &p->waiting);
    }
    ferry__part_set(p, offset, FERRY__PART_DONE);
    g->dones++;
}

void ferry__given_serve(ferry__kafka_group *g)
{
    const char *names[] = {g->name};
    if (g->asking || !g->rk || g->k->now_ms < g->watch_at_ms || g->state != FERRY__GROUP_MEMBER)
        return;
    rd_kafka_AdminOptions_t *o = rd_kafka_AdminOptions_new(g->rk, RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS);
    g->watch_at_ms = g->k->now_ms + LOOK_MS;
    if (!o)
        return;
    rd_kafka_AdminOptions_set_request_timeout(o, ASK_MS, NULL, 0);
    g->asking = true;
    rd_kafka_DescribeConsumerGroups(g->rk, names, 1, o, g->tap.queue);
    rd_kafka_AdminOptions_destroy(o);
}

static bool is_member(const rd_kafka_ConsumerGroupDescription_t *group, const char *id)
{
    size_t count = rd_kafka_ConsumerGroupDescription_member_count(group);
    for (size_t i = 0; i < count; i++)
        if (strcmp(rd_kafka_MemberDescription_consumer_id(rd_kafka_ConsumerGroupDescription_member(group, i)), id) == 0)
            return true;
    return false;
}

static void judge(ferry__kafka_group *g, const rd_kafka_ConsumerGroupDescription_t *group)
{
    ferry__frames all;
    ferry__frames_init(&all);
    ferry__frames_join(&all, &g->given);
    for (ferry__frame *f; (f = ferry__frames_take(&all));) {
        ferry__kafka_part *p = part_of(f);
        int64_t offset = ferry__part_offset(f->tag[1]);
        bool alive = is_member(group, ferry__part_giver(p, offset)), missed = f->owner != NULL;
        f->owner = alive ? NULL : g;
        if (alive || !missed) {
            ferry__frames_add(&g->given, f);
            continue;
        }
        ferry__part_set(p, offset, FERRY__PART_MAYBE);
        f->owner = NULL;
        f->maybe = true;
        f->attempt += ferry__group_posts(p->topic);
        f->deadline_ms = ferry__group_posts(p->topic) ? 0 : f->deadline_ms;
        ferry__group_ready(g, f);
    }
}

void ferry__given_members(ferry__kafka_group *g, rd_kafka_event_t *event)
{
    size_t n = 0;
    const rd_kafka_DescribeConsumerGroups_result_t *r = rd_kafka_event_DescribeConsumerGroups_result(event);
    const rd_kafka_ConsumerGroupDescription_t **groups =
        r && !rd_kafka_event_error(event) ? rd_kafka_DescribeConsumerGroups_result_groups(r, &n) : NULL;
    g->asking = false;
    g->watch_at_ms = g->k->now_ms + LOOK_MS;
    if (n == 1 && !rd_kafka_ConsumerGroupDescription_error(groups[0]))
        judge(g, groups[0]);
}
