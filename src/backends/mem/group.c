/* group.c - who reads a domain, and how far he is. */
#include "backends/mem/events.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

static mem__group *make_group(mem__topic *t, const char *name)
{
    mem__group *g = ferry__zalloc(sizeof *g);
    if (!g)
        return NULL;
    g->topic = t;
    g->name = name ? ferry__strdup(name) : NULL;
    g->places = ferry__zalloc(t->parts * sizeof *g->places);
    if (!g->places || (name && !g->name)) {
        ferry__free(g->places);
        ferry__free(g->name);
        ferry__free(g);
        return NULL;
    }
    for (size_t i = 0; i < t->parts; i++) {
        ferry__list_init(&g->places[i].again);
        ferry__list_init(&g->places[i].out);
    }
    g->next = t->groups;
    t->groups = g;
    return g;
}

mem__group *mem__group_get(mem__topic *t, const char *name)
{
    mem__group *g = t->groups;
    while (g && !(g->name && strcmp(g->name, name) == 0))
        g = g->next;
    return g;
}

/* ---- where it stands ---- */

static uint64_t since(const mem__track *k, int64_t time_ms)
{
    uint64_t low = k->first, high = k->end;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (k->ring[middle & (k->size - 1)].time_ms < time_ms)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* "12.0.7": an offset a part. */
static bool parse(const char *text, size_t parts, uint64_t *to)
{
    for (size_t i = 0; i < parts; i++) {
        char *end;
        if (*text < '0' || *text > '9')
            return false;
        to[i] = strtoull(text, &end, 10);
        if (*end != (i + 1 < parts ? '.' : '\0'))
            return false;
        text = end + 1;
    }
    return true;
}

static ferry_status by_text(const mem__group *g, const char *text, uint64_t *to, char *why)
{
    if (!parse(text, g->topic->parts, to)) {
        ferry__why(why, "'%.60s' is no position of '%s'", text, g->topic->name);
        return FERRY_INVALID;
    }
    for (size_t i = 0; i < g->topic->parts; i++) {
        const mem__track *k = &g->topic->tracks[i];
        if (to[i] > k->end) {
            ferry__why(why, "'%.60s' lies behind the end of '%s'", text, g->topic->name);
            return FERRY_INVALID;
        }
        if (to[i] < k->first) {
            ferry__why(why, "events behind position '%.60s' of '%s' were trimmed away: start at the earliest", text,
                       g->topic->name);
            return FERRY_NOT_FOUND;
        }
    }
    return FERRY_OK;
}

static uint64_t start(const mem__track *k, const ferry__wish *w)
{
    switch (w->from) {
    case FERRY_FROM_EARLIEST:
        return k->first;
    case FERRY_FROM_TIME:
        return since(k, w->time_ms);
    case FERRY_FROM_NEW:
    case FERRY_FROM_POSITION:
        break;
    }
    return k->end;
}

static void forget_again(mem__place *p)
{
    for (ferry__node *n; (n = ferry__list_shift(&p->again));)
        ferry__free(FERRY__OF(n, mem__mark, node));
}

ferry_status mem__group_place(mem__group *g, const ferry__wish *w, char *why)
{
    size_t parts = g->topic->parts;
    uint64_t *to = ferry__alloc(parts * sizeof *to);
    ferry_status status = !to ? FERRY_NO_MEMORY : FERRY_OK;
    for (size_t i = 0; to && i < parts; i++)
        to[i] = start(&g->topic->tracks[i], w);
    if (to && w->from == FERRY_FROM_POSITION)
        status = by_text(g, w->position, to, why);
    for (size_t i = 0; i < parts && status == FERRY_OK; i++) {
        forget_again(&g->places[i]);
        g->places[i].next = to[i];
    }
    if (status == FERRY_OK)
        g->lost = false;
    ferry__free(to);
    return status;
}

mem__group *mem__group_join(mem__topic *t, const ferry__wish *w, ferry_status *status, char *why)
{
    mem__group *g = w->group ? mem__group_get(t, w->group) : NULL;
    bool made = !g;
    if (!g)
        g = make_group(t, w->group);
    *status = !g ? FERRY_NO_MEMORY : made ? mem__group_place(g, w, why) : FERRY_OK;
    if (g)
        g->members++;
    return g;
}

static bool idle(const mem__group *g)
{
    for (size_t i = 0; i < g->topic->parts; i++)
        if (g->places[i].outs > 0)
            return false;
    return true;
}

void mem__group_remove(mem__group *g)
{
    if (g->members > 0 || !idle(g))
        return;
    for (mem__group **at = &g->topic->groups; *at; at = &(*at)->next)
        if (*at == g) {
            *at = g->next;
            break;
        }
    for (size_t i = 0; i < g->topic->parts; i++)
        forget_again(&g->places[i]);
    ferry__free(g->places);
    ferry__free(g->name);
    ferry__free(g);
}

static void maybe_free(mem__group *g)
{
    if (!g->name)
        mem__group_remove(g);
}

void mem__group_leave(mem__group *g)
{
    g->members--;
    maybe_free(g);
}

/* ---- handing out ---- */

static void put_by_offset(ferry__list *list, mem__mark *m)
{
    ferry__node *n = list->prev;
    while (n != list && FERRY__OF(n, mem__mark, node)->offset > m->offset)
        n = n->prev;
    ferry__list_prepend(n, &m->node); /* right behind n */
}

static void lose(mem__group *g, uint64_t from, uint64_t to)
{
    g->lost = true;
    g->lost_from = from;
    g->lost_to = to;
}

static mem__mark *next_of(mem__group *g, uint32_t part)
{
    mem__place *p = &g->places[part];
    const mem__track *k = &g->topic->tracks[part];
    uint64_t at = ferry__list_empty(&p->again) ? p->next : FERRY__OF(p->again.next, mem__mark, node)->offset;
    if (at < k->first) {
        lose(g, at, k->first);
        return NULL;
    }
    if (!ferry__list_empty(&p->again))
        return FERRY__OF(ferry__list_shift(&p->again), mem__mark, node);
    mem__mark *m = p->next < k->end ? ferry__zalloc(sizeof *m) : NULL;
    if (!m)
        return NULL;
    *m = (mem__mark){.group = g, .part = part, .offset = p->next++};
    ferry__list_init(&m->node);
    return m;
}

mem__mark *mem__group_pull(mem__group *g, mem__endpoint *who)
{
    for (uint32_t i = 0; i < g->topic->parts && !g->lost; i++) {
        mem__place *p = &g->places[i];
        if (i > 0 && p->outs > 0 && p->owner != who)
            continue;
        mem__mark *m = next_of(g, i);
        if (!m)
            continue;
        m->who = p->owner = who;
        p->outs++;
        put_by_offset(&p->out, m);
        return m;
    }
    return NULL;
}

ferry__frame *mem__mark_frame(const mem__mark *m)
{
    const mem__track *k = &m->group->topic->tracks[m->part];
    if (m->offset < k->first || m->offset >= k->end)
        return NULL;
    ferry__frame *f = ferry__frame_clone(k->ring[m->offset & (k->size - 1)].frame);
    if (f) {
        f->attempt = m->attempt;
        f->maybe = m->maybe;
        f->tag[0] = (uint64_t)(uintptr_t)m;
    }
    return f;
}

void mem__mark_done(mem__mark *m)
{
    mem__group *g = m->group;
    g->places[m->part].outs--;
    ferry__list_remove(&m->node);
    ferry__free(m);
    maybe_free(g);
}

void mem__mark_back(mem__mark *m)
{
    mem__place *p = &m->group->places[m->part];
    p->outs--;
    ferry__list_remove(&m->node);
    m->who = NULL;
    m->begun = false;
    put_by_offset(&p->again, m);
}

void mem__group_drop(mem__group *g, const mem__endpoint *who)
{
    for (size_t i = 0; i < g->topic->parts; i++)
        for (ferry__node *n = g->places[i].out.next, *next; n != &g->places[i].out; n = next) {
            mem__mark *m = FERRY__OF(n, mem__mark, node);
            next = n->next;
            if (m->who != who)
                continue;
            m->maybe = m->maybe || m->begun;
            m->attempt += m->begun;
            mem__mark_back(m);
        }
    maybe_free(g);
}

/* ---- how far ---- */

static uint64_t floor_of(const mem__place *p)
{
    uint64_t least = p->next;
    const ferry__list *lists[] = {&p->again, &p->out};
    for (size_t i = 0; i < 2; i++)
        if (!ferry__list_empty(lists[i]) && FERRY__OF(lists[i]->next, mem__mark, node)->offset < least)
            least = FERRY__OF(lists[i]->next, mem__mark, node)->offset;
    return least;
}

bool mem__group_caught_up(const mem__group *g, const uint64_t *goals)
{
    for (size_t i = 0; i < g->topic->parts; i++)
        if (floor_of(&g->places[i]) < goals[i])
            return false;
    return true;
}

static int64_t lag_of(const mem__group *g)
{
    int64_t lag = 0;
    for (size_t i = 0; i < g->topic->parts; i++) {
        const mem__place *p = &g->places[i];
        lag += (int64_t)(g->topic->tracks[i].end - p->next) + (int64_t)p->outs;
        for (const ferry__node *n = p->again.next; n != &p->again; n = n->next)
            lag++;
    }
    return lag;
}

ferry_value *mem__group_describe(const mem__group *g)
{
    ferry__buf text = FERRY__BUF(65536);
    ferry_value *v = ferry_new_map();
    for (size_t i = 0; i < g->topic->parts; i++) {
        char one[24];
        int n = snprintf(one, sizeof one, "%s%llu", i ? "." : "", (unsigned long long)floor_of(&g->places[i]));
        ferry__buf_add(&text, one, (size_t)n);
    }
    ferry_map_put(v, "domain", ferry_text(g->topic->name));
    ferry_map_put(v, "group", ferry_text(g->name));
    ferry_map_put(v, "lag", ferry_int(lag_of(g)));
    ferry_map_put(v, "position", ferry_string(text.data ? (const char *)text.data : "", text.length));
    ferry_map_put(v, "members", ferry_int((int64_t)g->members));
    ferry__buf_done(&text);
    return v;
}
