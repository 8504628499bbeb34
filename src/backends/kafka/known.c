#include "backends/kafka/known.h"

#include "base/alloc.h"
#include "base/random.h"

#include <string.h>

#define NONE UINT32_MAX

typedef struct entry {
    ferry__id id;
    uint64_t place;
    int64_t at_ms;
    uint32_t chain;
    bool used;
} entry;

struct ferry__kafka_known {
    size_t size;
    uint32_t next;
    int64_t keep_ms;
    uint32_t *buckets;
    entry *ring;
};

ferry__kafka_known *ferry__known_new(size_t count, int64_t keep_ms)
{
    ferry__kafka_known *k = ferry__zalloc(sizeof *k);
    if (!k)
        return NULL;
    k->size = count;
    k->keep_ms = keep_ms;
    k->buckets = ferry__alloc(count * sizeof *k->buckets);
    k->ring = ferry__zalloc(count * sizeof *k->ring);
    if (!k->buckets || !k->ring) {
        ferry__known_free(k);
        return NULL;
    }
    memset(k->buckets, 0xff, count * sizeof *k->buckets);
    return k;
}

void ferry__known_free(ferry__kafka_known *k)
{
    if (!k)
        return;
    ferry__free(k->buckets);
    ferry__free(k->ring);
    ferry__free(k);
}

static uint32_t *bucket(ferry__kafka_known *k, const ferry__id *id)
{
    return &k->buckets[(ferry__hash(id->client, sizeof id->client) + id->serial) % k->size];
}

static uint32_t *find(ferry__kafka_known *k, const ferry__id *id)
{
    uint32_t *at = bucket(k, id);
    while (*at != NONE &&
           (k->ring[*at].id.serial != id->serial || memcmp(k->ring[*at].id.client, id->client, sizeof id->client) != 0))
        at = &k->ring[*at].chain;
    return at;
}

void ferry__known_forget(ferry__kafka_known *k, const ferry__id *id)
{
    uint32_t *at = k ? find(k, id) : NULL;
    if (!at || *at == NONE)
        return;
    k->ring[*at].used = false;
    *at = k->ring[*at].chain;
}

bool ferry__known_take(ferry__kafka_known *k, const ferry__id *id, uint64_t place, int64_t now_ms)
{
    uint32_t *at = find(k, id);
    if (*at != NONE && now_ms - k->ring[*at].at_ms < k->keep_ms)
        return k->ring[*at].place == place;
    ferry__known_forget(k, id);
    entry *e = &k->ring[k->next];
    if (e->used)
        ferry__known_forget(k, &e->id);
    at = bucket(k, id);
    *e = (entry){.id = *id, .place = place, .at_ms = now_ms, .chain = *at, .used = true};
    *at = k->next;
    k->next = (k->next + 1) % (uint32_t)k->size;
    return true;
}
