#include "backends/mem/hub.h"

#include "backends/mem/events.h"
#include "backends/mem/known.h"
#include "base/alloc.h"
#include "base/random.h"

#include <string.h>

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static mem__hub       *all;

static mem__hub *make_hub(const char *name)
{
    size_t length = strlen(name);
    mem__hub *h = ferry__zalloc(sizeof *h + length + 1);
    if (!h)
        return NULL;
    memcpy(h->name, name, length);
    pthread_mutex_init(&h->lock, NULL);
    h->dead_end = &h->dead;
    h->next = all;
    all = h;
    return h;
}

mem__hub *mem__hub_open(const char *name)
{
    pthread_mutex_lock(&all_lock);
    mem__hub *h = all;
    while (h && strcmp(h->name, name) != 0)
        h = h->next;
    if (!h)
        h = make_hub(name);
    if (h)
        h->refs++;
    pthread_mutex_unlock(&all_lock);
    return h;
}

static void drop_parcels(ferry__list *list)
{
    for (ferry__node *n; (n = ferry__list_shift(list));)
        mem__parcel_free(FERRY__OF(n, mem__parcel, node));
}

static void free_queue(mem__queue *q)
{
    for (size_t i = 0; i < q->parts; i++)
        drop_parcels(&q->part[i].waiting);
    drop_parcels(&q->later);
    ferry__free(q->part);
    ferry__free(q);
}

static void free_hub(mem__hub *h)
{
    for (size_t i = 0; i < 64; i++)
        for (mem__queue *q = h->queues[i], *next; q; q = next) {
            next = q->next;
            free_queue(q);
        }
    for (mem__record *r = h->dead, *next; r; r = next) {
        next = r->next;
        ferry__free(r->box);
        ferry__free(r->id);
        ferry__free(r->bytes);
        ferry__free(r);
    }
    mem__topics_free(h->topics);
    mem__known_free(h->known);
    pthread_mutex_destroy(&h->lock);
    ferry__free(h);
}

void mem__hub_close(mem__hub *h)
{
    pthread_mutex_lock(&all_lock);
    bool last = --h->refs == 0;
    for (mem__hub **at = &all; last && *at; at = &(*at)->next)
        if (*at == h) {
            *at = h->next;
            break;
        }
    pthread_mutex_unlock(&all_lock);
    if (last)
        free_hub(h);
}

static mem__queue *make_queue(ferry__lane lane, const char *name, size_t parts)
{
    size_t length = strlen(name);
    mem__queue *q = ferry__zalloc(sizeof *q + length + 1);
    mem__part *part = q ? ferry__zalloc(parts * sizeof *part) : NULL;
    if (!part) {
        ferry__free(q);
        return NULL;
    }
    memcpy(q->name, name, length);
    q->lane = lane;
    q->parts = parts;
    q->part = part;
    ferry__list_init(&q->later);
    for (size_t i = 0; i < parts; i++)
        ferry__list_init(&part[i].waiting);
    return q;
}

mem__queue *mem__hub_queue(mem__hub *h, ferry__lane lane, const char *name, size_t parts, bool make)
{
    mem__queue **at = &h->queues[(ferry__hash(name, strlen(name)) + (uint64_t)lane) % 64];
    for (mem__queue *q = *at; q; q = q->next)
        if (q->lane == lane && strcmp(q->name, name) == 0)
            return q;
    mem__queue *q = make ? make_queue(lane, name, parts) : NULL;
    if (!q)
        return NULL;
    q->next = *at;
    *at = q;
    return q;
}

void mem__parcel_free(mem__parcel *p)
{
    ferry__frame_unref(p->frame);
    ferry__free(p);
}

static mem__part *part_of(mem__queue *q, const mem__parcel *p)
{
    return &q->part[p->frame->partition < q->parts ? p->frame->partition : 0];
}

void mem__queue_push(mem__queue *q, mem__parcel *p)
{
    p->queue = q;
    ferry__list_append(&part_of(q, p)->waiting, &p->node);
    q->count++;
}

void mem__queue_push_front(mem__queue *q, mem__parcel *p)
{
    p->queue = q;
    ferry__list_prepend(&part_of(q, p)->waiting, &p->node);
    q->count++;
}

void mem__queue_push_later(mem__queue *q, mem__parcel *p, int64_t due_ms)
{
    ferry__node *at = q->later.prev;
    while (at != &q->later && FERRY__OF(at, mem__parcel, node)->due_ms > due_ms)
        at = at->prev;
    p->due_ms = due_ms;
    ferry__list_prepend(at, &p->node); /* right behind `at` */
    q->count++;
}

static void release_due(mem__queue *q, int64_t now_ms)
{
    while (!ferry__list_empty(&q->later)) {
        mem__parcel *p = FERRY__OF(q->later.next, mem__parcel, node);
        if (p->due_ms > now_ms)
            return;
        ferry__list_remove(&p->node);
        ferry__list_append(&part_of(q, p)->waiting, &p->node);
    }
}

/* The sender may have taken it back: the mark in the storage both share says who was first. */
static bool claim(mem__parcel *p)
{
    ferry__frame *storage = p->frame->shared ? p->frame->shared : p->frame;
    unsigned fresh = 0;
    return atomic_compare_exchange_strong(&storage->mark, &fresh, 1) || fresh == 1;
}

/* It was not begun: its sender may take it back as before. */
void mem__parcel_unread(mem__parcel *p)
{
    ferry__frame *storage = p->frame->shared ? p->frame->shared : p->frame;
    atomic_store(&storage->mark, 0);
}

static mem__parcel *pull_part(mem__queue *q, size_t i, mem__endpoint *who)
{
    mem__part *part = &q->part[i];
    if (i > 0 && part->unsettled > 0 && part->owner != who)
        return NULL;
    for (ferry__node *n; (n = ferry__list_shift(&part->waiting));) {
        mem__parcel *p = FERRY__OF(n, mem__parcel, node);
        q->count--;
        if (!claim(p)) {
            mem__parcel_free(p);
            continue;
        }
        part->owner = who;
        part->unsettled++;
        return p;
    }
    return NULL;
}

mem__parcel *mem__queue_pull(mem__queue *q, mem__endpoint *who, int64_t now_ms)
{
    if (q->count == 0)
        return NULL;
    release_due(q, now_ms);
    for (size_t i = 0; i < q->parts; i++) {
        mem__parcel *p = pull_part(q, i, who);
        if (p)
            return p;
    }
    return NULL;
}

void mem__queue_settled(mem__queue *q, const mem__parcel *p)
{
    part_of(q, p)->unsettled--;
}

bool mem__queue_held(const mem__queue *q)
{
    for (size_t i = 0; i < q->parts; i++)
        if (q->part[i].unsettled > 0)
            return true;
    return false;
}

int mem__queue_next_ms(const mem__queue *q, int64_t now_ms)
{
    if (ferry__list_empty(&q->later))
        return -1;
    int64_t left = FERRY__OF(q->later.next, mem__parcel, node)->due_ms - now_ms;
    return left <= 0 ? 1 : (int)left;
}
