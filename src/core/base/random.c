#include "base/random.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

bool ferry__random_bytes(void *to, size_t length)
{
    char *at = to;
    while (length > 0) {
        ssize_t n = getrandom(at, length, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        length -= (size_t)n;
    }
    return true;
}

static uint64_t mix(uint64_t x) /* splitmix64, by Sebastiano Vigna, public domain */
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint32_t ferry__random_below(uint32_t limit)
{
    static atomic_uint_fast64_t state;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    uint64_t x = mix(atomic_fetch_add(&state, 0x9e3779b97f4a7c15u) ^ (uint64_t)t.tv_nsec);
    return limit ? (uint32_t)(x % limit) : 0;
}

/* Eight bytes a step: names are hashed for every message. */
uint64_t ferry__hash(const void *data, size_t length)
{
    const char *at = data;
    uint64_t h = 0xcbf29ce484222325u ^ length, word;
    for (; length >= sizeof word; at += sizeof word, length -= sizeof word) {
        memcpy(&word, at, sizeof word);
        h = (h ^ word) * 0x9fb21c651e98df25u;
        h ^= h >> 32;
    }
    word = 0;
    memcpy(&word, at, length);
    return mix((h ^ word) * 0x9fb21c651e98df25u);
}

uint64_t ferry__hash_agreed(const void *data, size_t length)
{
    const unsigned char *at = data;
    uint64_t h = 0xcbf29ce484222325u ^ length;
    for (size_t i = 0; i < length; i++)
        h = (h ^ at[i]) * 0x100000001b3u; /* FNV-1a, its start joined with the length, mixed once more at the end */
    return mix(h);
}
