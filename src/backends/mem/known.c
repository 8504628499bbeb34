#include "backends/mem/known.h"

#include "base/alloc.h"
#include "base/random.h"

#include <string.h>

#define NONE UINT32_MAX

typedef struct entry {
    ferry__id id;
    int64_t   at_ms;
    uint32_t  chain;
    bool      used;
} entry;

struct mem__known {
    size_t    size; /* of the ring */
    uint32_t  next; /* to be written */
    int64_t   keep_ms;
    uint32_t *buckets;
    entry    *ring;
};

mem__known *mem__known_new(size_t count, int64_t keep_ms)
{
    mem__known *k = ferry__zalloc(sizeof *k);
    if (!k)
        return NULL;
    k->size = count;
    k->keep_ms = keep_ms;
    k->buckets = ferry__alloc(count * sizeof *k->buckets);
    k->ring = ferry__zalloc(count * sizeof *k->ring);
    if (!k->buckets || !k->ring) {
        mem__known_free(k);
        return NULL;
    }
    memset(k->buckets, 0xff, count * sizeof *k->buckets);
    return k;
}

void mem__known_free(mem__known *k)
{
    if (!k)
        return;
    ferry__free(k->buckets);
    ferry__free(k->ring);
    ferry__free(k);
}

static bool same(const ferry__id *a, const ferry__id *b)
{
    return a->serial == b->serial && memcmp(a->client, b->client, sizeof a->client) == 0;
}

static uint32_t *bucket(mem__known *k, const ferry__id *id)
{
    return &k->buckets[(ferry__hash(id->client, sizeof id->client) + id->serial) % k->size];
}

static uint32_t *find(mem__known *k, const ferry__id *id)
{
    uint32_t *at = bucket(k, id);
    while (*at != NONE && !same(&k->ring[*at].id, id))
        at = &k->ring[*at].chain;
    return at;
}

static void drop(mem__known *k, entry *e)
{
    if (!e->used)
        return;
    uint32_t *at = find(k, &e->id);
    if (*at != NONE)
        *at = k->ring[*at].chain;
    e->used = false;
}

bool mem__known_add(mem__known *k, const ferry__id *id, int64_t now_ms)
{
    uint32_t *at = find(k, id);
    if (*at != NONE && now_ms - k->ring[*at].at_ms < k->keep_ms)
        return false;
    if (*at != NONE)
        drop(k, &k->ring[*at]);
    entry *e = &k->ring[k->next];
    drop(k, e);
    at = bucket(k, id);
    *e = (entry){*id, now_ms, *at, true};
    *at = k->next;
    k->next = (k->next + 1) % (uint32_t)k->size;
    return true;
}

void mem__known_forget(mem__known *k, const ferry__id *id)
{
    uint32_t *at = find(k, id);
    if (*at != NONE)
        drop(k, &k->ring[*at]);
}
