/* random.h - bytes nobody can guess (getrandom(2)), and cheap ones for jitter. */
#ifndef FERRY_BASE_RANDOM_H
#define FERRY_BASE_RANDOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool     ferry__random_bytes(void *to, size_t length);
uint32_t ferry__random_below(uint32_t limit); /* 0 … limit - 1; for jitter only; any thread */
uint64_t ferry__hash(const void *data, size_t length); /* for tables of this process */
/* The same everywhere and for ever: which part a key goes to is agreed between programs (docs/wire.md). */
uint64_t ferry__hash_agreed(const void *data, size_t length);

#endif
