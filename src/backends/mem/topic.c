/* topic.c - the log of one domain. */
#include "backends/mem/events.h"

#include "base/alloc.h"

#include <string.h>

static mem__topic *make_topic(mem__hub *h, const ferry__config *c, const char *name)
{
    size_t length = strlen(name), parts = c->partitions + 1;
    mem__topic *t = ferry__zalloc(sizeof *t + length + 1);
    mem__track *tracks = t ? ferry__zalloc(parts * sizeof *tracks) : NULL;
    if (!tracks) {
        ferry__free(t);
        return NULL;
    }
    memcpy(t->name, name, length);
    t->parts = parts;
    t->tracks = tracks;
    t->keep_ms = c->keep_ms;
    t->keep_bytes = c->keep_bytes;
    t->next = h->topics;
    h->topics = t;
    return t;
}

mem__topic *mem__topic_get(mem__hub *h, const ferry__config *c, const char *name, bool make)
{
    for (mem__topic *t = h->topics; t; t = t->next)
        if (strcmp(t->name, name) == 0)
            return t;
    return make ? make_topic(h, c, name) : NULL;
}

static mem__event *at(const mem__track *k, uint64_t offset)
{
    return &k->ring[offset & (k->size - 1)];
}

static bool grow(mem__track *k)
{
    mem__track wide = {.size = k->size ? k->size * 2 : 64, .first = k->first, .end = k->end};
    wide.ring = ferry__alloc(wide.size * sizeof *wide.ring);
    if (!wide.ring)
        return false;
    for (uint64_t i = k->first; i < k->end; i++)
        *at(&wide, i) = *at(k, i);
    ferry__free(k->ring);
    *k = wide;
    return true;
}

static void drop_first(mem__topic *t, mem__track *k)
{
    mem__event *e = at(k, k->first++);
    t->bytes -= (int64_t)ferry__frame_size(e->frame);
    ferry__frame_unref(e->frame);
}

/* The oldest of all parts first, so that the log ends at one time for all. */
static mem__track *oldest(const mem__topic *t)
{
    mem__track *best = NULL;
    for (size_t i = 0; i < t->parts; i++) {
        mem__track *k = &t->tracks[i];
        if (k->first < k->end && (!best || at(k, k->first)->time_ms < at(best, best->first)->time_ms))
            best = k;
    }
    return best;
}

void mem__topic_trim(mem__topic *t, int64_t now_ms)
{
    for (mem__track *k; (k = oldest(t));) {
        if (t->bytes <= t->keep_bytes && now_ms - at(k, k->first)->time_ms <= t->keep_ms)
            return;
        drop_first(t, k);
    }
}

bool mem__topic_append(mem__topic *t, ferry__frame *f, int64_t now_ms)
{
    mem__track *k = &t->tracks[f->partition < t->parts ? f->partition : 0];
    t->hidden = false;
    if (k->end - k->first == k->size && !grow(k))
        return false;
    *at(k, k->end++) = (mem__event){f, now_ms};
    t->bytes += (int64_t)ferry__frame_size(f);
    if (t->bytes > t->keep_bytes || (k->end & 1023) == 0)
        mem__topic_trim(t, now_ms);
    return true;
}

/* Groups stand behind what is gone. */
int64_t mem__topic_purge(mem__topic *t)
{
    int64_t gone = 0;
    for (size_t i = 0; i < t->parts; i++) {
        mem__track *k = &t->tracks[i];
        for (; k->first < k->end; gone++)
            drop_first(t, k);
        for (mem__group *g = t->groups; g; g = g->next) {
            for (ferry__node *n; (n = ferry__list_shift(&g->places[i].again));)
                ferry__free(FERRY__OF(n, mem__mark, node));
            g->places[i].next = k->end;
        }
    }
    return gone;
}

static void free_marks(ferry__list *list)
{
    for (ferry__node *n; (n = ferry__list_shift(list));)
        ferry__free(FERRY__OF(n, mem__mark, node));
}

void mem__topics_free(mem__topic *t)
{
    for (mem__topic *next; t; t = next) {
        next = t->next;
        for (mem__group *g = t->groups, *after; g; g = after) {
            after = g->next;
            for (size_t i = 0; i < t->parts; i++) {
                free_marks(&g->places[i].again);
                free_marks(&g->places[i].out);
            }
            ferry__free(g->places);
            ferry__free(g->name);
            ferry__free(g);
        }
        for (size_t i = 0; i < t->parts; i++) {
            while (t->tracks[i].first < t->tracks[i].end)
                drop_first(t, &t->tracks[i]);
            ferry__free(t->tracks[i].ring);
        }
        ferry__free(t->tracks);
        ferry__free(t);
    }
}
