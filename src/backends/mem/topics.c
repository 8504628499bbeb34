/* topics.c - questions about domains and their readers; the hub's lock held. */
#include "backends/mem/mem.h"

#include <string.h>

static ferry_value *groups_of(const mem__topic *t)
{
    ferry_value *list = ferry_new_list();
    for (const mem__group *g = t->groups; g; g = g->next)
        if (g->name)
            ferry_list_put(list, mem__group_describe(g));
    return list;
}

static ferry_value *describe(const mem__topic *t, bool whole)
{
    ferry_value *v = ferry_new_map();
    int64_t events = 0;
    for (size_t i = 0; i < t->parts; i++)
        events += (int64_t)(t->tracks[i].end - t->tracks[i].first);
    ferry_map_put(v, "name", ferry_text(t->name));
    ferry_map_put(v, "partitions", ferry_int((int64_t)t->parts - 1));
    ferry_map_put(v, "events", ferry_int(events));
    ferry_map_put(v, "keep_ms", ferry_int(t->keep_ms));
    ferry_map_put(v, "keep_bytes", ferry_int(t->keep_bytes));
    if (whole)
        ferry_map_put(v, "groups", groups_of(t));
    return v;
}

static void list(const mem__hub *h, ferry__admin *a)
{
    a->answer = ferry_new_list();
    for (const mem__topic *t = h->topics; t; t = t->next)
        if (!t->hidden)
            ferry_list_put(a->answer, describe(t, false));
}

static void create(mem__endpoint *e, ferry__admin *a)
{
    mem__topic *t = mem__topic_get(e->hub, e->config, a->name, false);
    a->count = !t || t->hidden;
    if (!t) {
        ferry__config c = *e->config;
        c.partitions = a->partitions ? a->partitions : c.partitions;
        c.keep_ms = a->keep_ms ? a->keep_ms : c.keep_ms;
        c.keep_bytes = a->keep_bytes ? a->keep_bytes : c.keep_bytes;
        t = mem__topic_get(e->hub, &c, a->name, true);
    }
    if (t)
        t->hidden = false;
    a->status = t ? FERRY_OK : FERRY_NO_MEMORY;
}

/* Groups without members go with it; those with members find a new log under the old name. */
static void remove_topic(mem__topic *t, ferry__admin *a)
{
    mem__topic_purge(t);
    for (mem__group *g = t->groups, *next; g; g = next) {
        next = g->next;
        mem__group_remove(g);
    }
    t->hidden = true;
    a->count = 1;
}

static void lag(mem__topic *t, ferry__admin *a)
{
    mem__intake *in = a->source ? a->source->data : NULL;
    if (!in && !a->group) {
        a->answer = groups_of(t);
        return;
    }
    const mem__group *g = in ? in->group : mem__group_get(t, a->group);
    if (!g) {
        a->status = FERRY_NOT_FOUND;
        ferry__why(a->why, "'%s' has no group '%s'", a->name, a->group ? a->group : "");
        return;
    }
    a->answer = ferry_new_list();
    ferry_list_put(a->answer, mem__group_describe(g));
}

static void ask_topic(mem__topic *t, ferry__admin *a)
{
    a->status = FERRY_OK;
    if (a->ask == FERRY__TOPIC_DESCRIBE)
        a->answer = describe(t, true);
    else if (a->ask == FERRY__TOPIC_PURGE)
        a->count = mem__topic_purge(t);
    else if (a->ask == FERRY__TOPIC_DELETE)
        remove_topic(t, a);
    else
        lag(t, a);
}

void mem__topics_admin(mem__endpoint *e, ferry__admin *a)
{
    a->status = FERRY_OK;
    if (a->ask == FERRY__TOPIC_LIST) {
        list(e->hub, a);
        return;
    }
    if (a->ask == FERRY__TOPIC_CREATE) {
        create(e, a);
        return;
    }
    mem__topic *t = mem__topic_get(e->hub, e->config, a->name, false);
    if (t && !t->hidden) {
        ask_topic(t, a);
        return;
    }
    a->status = FERRY_NOT_FOUND;
    ferry__why(a->why, "no event was ever published in '%s' here", a->name);
}
