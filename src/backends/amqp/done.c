#include "backends/amqp/done.h"

#include "base/alloc.h"
#include "base/random.h"

#include <string.h>

#define NONE UINT32_MAX

typedef struct entry {
    ferry__id id;
    int64_t   at_ms;
    uint32_t  chain;
    uint32_t  epoch; /* of the connection that brought a busy one */
    enum { FREE, BUSY, DONE } state;
} entry;

struct ferry__amqp_done {
    size_t    size; /* of the ring: the oldest falls out */
    uint32_t  next;
    int64_t   keep_ms;
    uint32_t *buckets;
    entry    *ring;
};

ferry__amqp_done *ferry__amqp_done_new(size_t count, int64_t keep_ms)
{
    ferry__amqp_done *d = ferry__zalloc(sizeof *d);
    if (!d)
        return NULL;
    d->size = count;
    d->keep_ms = keep_ms;
    d->buckets = ferry__alloc(count * sizeof *d->buckets);
    d->ring = ferry__zalloc(count * sizeof *d->ring);
    if (!d->buckets || !d->ring) {
        ferry__amqp_done_free(d);
        return NULL;
    }
    memset(d->buckets, 0xff, count * sizeof *d->buckets);
    return d;
}

void ferry__amqp_done_free(ferry__amqp_done *d)
{
    if (!d)
        return;
    ferry__free(d->buckets);
    ferry__free(d->ring);
    ferry__free(d);
}

static uint32_t *find(ferry__amqp_done *d, const ferry__id *id)
{
    uint32_t *at = &d->buckets[(ferry__hash(id->client, sizeof id->client) + id->serial) % d->size];
    while (*at != NONE &&
           (d->ring[*at].id.serial != id->serial || memcmp(d->ring[*at].id.client, id->client, sizeof id->client) != 0))
        at = &d->ring[*at].chain;
    return at;
}

void ferry__amqp_done_forget(ferry__amqp_done *d, const ferry__id *id)
{
    uint32_t *at = d ? find(d, id) : NULL;
    if (!at || *at == NONE)
        return;
    entry *e = &d->ring[*at];
    *at = e->chain;
    e->state = FREE;
}

bool ferry__amqp_done_take(ferry__amqp_done *d, const ferry__id *id, uint32_t epoch, int64_t now_ms)
{
    uint32_t *at = find(d, id);
    entry *e = *at != NONE ? &d->ring[*at] : NULL;
    bool fresh = e && now_ms - e->at_ms < d->keep_ms;
    if (fresh && (e->state == DONE || e->epoch == epoch))
        return false;
    if (e)
        ferry__amqp_done_forget(d, id);
    e = &d->ring[d->next];
    if (e->state != FREE)
        ferry__amqp_done_forget(d, &e->id);
    at = &d->buckets[(ferry__hash(id->client, sizeof id->client) + id->serial) % d->size];
    *e = (entry){.id = *id, .at_ms = now_ms, .chain = *at, .epoch = epoch, .state = BUSY};
    *at = d->next;
    d->next = (d->next + 1) % (uint32_t)d->size;
    return true;
}

void ferry__amqp_done_settled(ferry__amqp_done *d, const ferry__id *id, int64_t now_ms)
{
    uint32_t *at = d ? find(d, id) : NULL;
    if (!at || *at == NONE)
        return;
    d->ring[*at].state = DONE;
    d->ring[*at].at_ms = now_ms;
}
