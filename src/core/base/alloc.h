/* alloc.h - the one door to memory.
 *
 * Every allocation of ferry's own passes here, so that one hook can make the n-th one fail (tests/oom) and one counter can prove that
 * the steady state allocates nothing. Small blocks are recycled in size classes: each thread keeps a short stack of blocks per class
 * and trades half a stack at a time with a shared depot. So a block that one thread allocates and another frees, the fate of every
 * message, finds its way back without a lock per message.
 *
 * Under ASan the recycling is off, so that a use after free is seen. */
#ifndef FERRY_BASE_ALLOC_H
#define FERRY_BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>

void *ferry__alloc(size_t size);    /* not cleared; NULL = none */
void *ferry__zalloc(size_t size);   /* cleared */
void *ferry__realloc(void *block, size_t size);
void  ferry__free(void *block);     /* NULL is fine */
char *ferry__strdup(const char *s); /* NULL gives NULL */
char *ferry__strndup(const char *s, size_t length);

/* What a block can hold, at least what was asked for: lets a growing buffer use all of its size class. */
size_t ferry__alloc_room(const void *block);

/* For tests. Live blocks; blocks taken from malloc so far; let the n-th allocation from now fail, once or from then on (0 = never). */
size_t   ferry__alloc_live(void);
uint64_t ferry__alloc_mallocs(void);
uint64_t ferry__alloc_count(void); /* allocations so far; only counted after a call of one of the two below */
void     ferry__alloc_fail_at(uint64_t n);
void     ferry__alloc_fail_from(uint64_t n);
void     ferry__pool_trim(void); /* gives this thread's and the depot's spare blocks back to malloc */

#endif
