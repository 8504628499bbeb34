/* subscribe.c - an endpoint's sources of events: their beginning, what they are handed, how it ends, and the news about them. */
#include "backends/mem/mem.h"
#include "base/alloc.h"
#include "base/clock.h"

#include <string.h>

/* ---- beginning and end; the hub's lock held ---- */

static bool note_goals(mem__intake *in)
{
    const mem__topic *t = in->group->topic;
    if (!in->goals)
        in->goals = ferry__alloc(t->parts * sizeof *in->goals);
    for (size_t i = 0; in->goals && i < t->parts; i++)
        in->goals[i] = t->tracks[i].end;
    return in->goals != NULL;
}

static void begin_news(mem__intake *in, ferry_status status)
{
    in->status = status;
    in->news = true;
    in->caught_up = in->told_lost = false;
}

ferry_status mem__events_listen(mem__endpoint *e, mem__intake *in)
{
    const ferry__wish *w = in->source->wish;
    mem__topic *t = mem__topic_get(e->hub, e->config, in->source->name, true);
    if (!t)
        return FERRY_NO_MEMORY;
    ferry_status status;
    in->group = mem__group_join(t, w, &status, in->why);
    if (!in->group || !note_goals(in) || status == FERRY_NO_MEMORY) {
        mem__events_unlisten(in);
        return FERRY_NO_MEMORY;
    }
    begin_news(in, status);
    mem__queue *retries = w->group ? mem__hub_queue(e->hub, FERRY__POSTS, w->box, t->parts, true) : NULL;
    if (retries)
        retries->served = true; /* they wait there, whoever listens */
    return FERRY_OK;
}

void mem__events_unlisten(mem__intake *in)
{
    if (in->group)
        mem__group_leave(in->group);
    in->group = NULL;
    ferry__free(in->goals);
    in->goals = NULL;
}

void mem__events_seek(mem__endpoint *e, mem__intake *in, const ferry__wish *to)
{
    pthread_mutex_lock(&e->hub->lock);
    begin_news(in, mem__group_place(in->group, to, in->why));
    note_goals(in);
    mem__events_ring(e->hub, in->group->topic, NULL);
    pthread_mutex_unlock(&e->hub->lock);
    mem__ring(e);
}

void mem__events_ring(mem__hub *h, const mem__topic *t, const mem__endpoint *but)
{
    for (size_t i = 0; i < 64; i++)
        for (mem__endpoint *e = h->endpoints[i]; e; e = e->next)
            for (ferry__node *n = e->intakes.next; n != &e->intakes && e != but; n = n->next) {
                const mem__intake *in = FERRY__OF(n, mem__intake, node);
                if (in->group && in->group->topic == t) {
                    mem__ring(e);
                    break;
                }
            }
}

/* ---- handing out ---- */

void mem__events_pull(mem__endpoint *e, mem__intake *in, ferry__frames *got)
{
    while (in->credit > 0 && in->status == FERRY_OK) {
        mem__mark *m = mem__group_pull(in->group, e);
        ferry__frame *f = m ? mem__mark_frame(m) : NULL;
        if (m && !f)
            mem__mark_back(m); /* when there is memory again */
        e->starved = e->starved || (m && !f);
        if (!f)
            return;
        f->from = in->source;
        ferry__frames_add(got, f);
        in->credit--;
    }
}

/* ---- ending; the hub's lock held ---- */

static bool put_off(mem__endpoint *e, mem__mark *m, ferry__frame *f)
{
    const ferry__wish *w = f->from->wish;
    mem__queue *q = mem__hub_queue(e->hub, FERRY__POSTS, w->box, m->group->topic->parts, true);
    mem__parcel *p = q ? ferry__zalloc(sizeof *p) : NULL;
    ferry__frame *copy = p ? ferry__frame_clone(f) : NULL;
    if (!copy) {
        ferry__free(p);
        return false;
    }
    ferry__list_init(&p->node);
    copy->tag[0] = copy->tag[1] = 0;
    copy->maybe = false;
    p->frame = copy;
    p->queue = q;
    mem__queue_push_later(q, p, m->due_ms);
    mem__ring_listeners(e->hub, q, NULL);
    return true;
}

void mem__events_settled(mem__endpoint *e, ferry__frame *f, unsigned how)
{
    mem__mark *m = (mem__mark *)(uintptr_t)f->tag[0];
    const mem__topic *t = m->group->topic;
    bool shared = m->part > 0 || how == MEM__BACK;
    if (how == MEM__BACK || (how == MEM__RETRY && !put_off(e, m, f))) {
        m->attempt = f->attempt;
        mem__mark_back(m);
    } else
        mem__mark_done(m);
    if (shared)
        mem__events_ring(e->hub, t, e); /* the part may be free for another */
}

/* An endpoint closes: what it had comes again elsewhere. */
void mem__events_give_back(mem__endpoint *e)
{
    for (mem__topic *t = e->hub->topics; t; t = t->next) {
        for (mem__group *g = t->groups, *next; g; g = next) {
            next = g->next;
            mem__group_drop(g, e);
        }
        mem__events_ring(e->hub, t, e);
    }
}

/* ---- news ---- */

static void tell_lost(mem__endpoint *e, mem__intake *in)
{
    const mem__group *g = in->group;
    char why[FERRY_WHY_SIZE];
    in->told_lost = true;
    ferry__why(why, "%llu events of '%s' were trimmed away before they were read: seek, and let it keep more",
               (unsigned long long)(g->lost_to - g->lost_from), g->topic->name);
    e->up->broken(e->up, in->source, FERRY_NOT_FOUND, why);
}

void mem__events_news(mem__endpoint *e, mem__intake *in)
{
    if (in->news) {
        in->news = false;
        if (in->status == FERRY_OK)
            e->up->ready(e->up, in->source);
        else
            e->up->broken(e->up, in->source, in->status, in->why);
    }
    if (in->status != FERRY_OK || !in->group)
        return;
    pthread_mutex_lock(&e->hub->lock);
    bool lost = in->group->lost && !in->told_lost, there = !in->caught_up && mem__group_caught_up(in->group, in->goals);
    pthread_mutex_unlock(&e->hub->lock);
    if (lost)
        tell_lost(e, in);
    if (there && !lost) {
        in->caught_up = true;
        e->up->caught_up(e->up, in->source);
    }
}
