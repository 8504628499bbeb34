/* settle.c - how received frames end: handled, handed back, to be retried, dead. */
#include "backends/kafka/event.h"
#include "backends/kafka/group.h"
#include "base/alloc.h"
#include "base/clock.h"

#include <string.h>

static ferry__kafka_part *part_of(const ferry__frame *f)
{
    return (ferry__kafka_part *)(uintptr_t)f->tag[0];
}

static void not_ours(ferry__kafka *k, ferry__kafka_part *p, int64_t offset)
{
    if (p->topic == FERRY__GROUP_EVENTS) { /* of before a seek, or it comes again to whoever has the partition now */
        *(p->owned ? &k->settled_now : &k->lost_now) += 1;
        return;
    }
    bool back = p->owned && strcmp(ferry__part_giver(p, offset), p->group->member) == 0 && p->group->member[0];
    if (!back) { /* another server has the partition */
        ferry__kafka_send_mark(k, p, offset);
        return;
    }
    ferry__given_mark(p->group, p, offset);
    k->settled_now++;
}

/* The commit under way says that we still have it, and it is the last before the partition goes: its next owner waits for our mark. */
static bool given_away(const ferry__kafka_part *p)
{
    return p->leaving && p->group->last_commit && p->topic != FERRY__GROUP_EVENTS;
}

void ferry__kafka_done(ferry__kafka *k, ferry__kafka_part *p, uint64_t place)
{
    ferry__kafka_group *g = p->group;
    int64_t offset = ferry__part_offset(place);
    bool ours = ferry__part_current(p, place) && ferry__part_state(p, offset) == FERRY__PART_UP;
    if (ours)
        ferry__part_set(p, offset, FERRY__PART_DONE);
    if (!ours || !p->owned || given_away(p)) {
        g->posts_held -= ours && ferry__group_posts(p->topic);
        not_ours(k, p, offset);
        return;
    }
    if (ferry__group_posts(p->topic)) {
        g->settled_new++;
        g->urgent = true;
        return;
    }
    g->dones++;
    if (g->feed)
        g->feed->unacked++;
    k->settled_now++;
}

static void hand_back(ferry__kafka *k, ferry__frame *f)
{
    ferry__kafka_part *p = part_of(f);
    int64_t offset = ferry__part_offset(f->tag[1]);
    k->settled_now++;
    if (p->topic == FERRY__GROUP_CALLS && !(p->owned && !p->leaving && p->group->state == FERRY__GROUP_MEMBER))
        p->group->calls_up -= p->group->calls_up > 0;
    if (!ferry__part_current(p, f->tag[1]) || ferry__part_state(p, offset) != FERRY__PART_UP) {
        ferry__frame_unref(f);
        return;
    }
    if (p->owned && !p->leaving && p->group->state == FERRY__GROUP_MEMBER) {
        ferry__group_put_back(p->group, f);
        return;
    }
    p->group->posts_held -= ferry__group_posts(p->topic);
    ferry__part_set(p, offset, FERRY__PART_NEW);
    ferry__frame_unref(f);
}

void ferry__kafka_settle_all(ferry__kafka *k)
{
    for (ferry__frame *f; (f = ferry__frames_take(&k->passed.settled));) {
        if (f->kind == FERRY__CALL)
            ferry__ahead_handled(part_of(f)->group);
        ferry__kafka_done(k, part_of(f), f->tag[1]);
        ferry__frame_unref(f);
    }
    /* The core gives back the last first: each goes in front. */
    for (ferry__frame *f; (f = ferry__frames_take(&k->passed.returned));)
        hand_back(k, f);
}
