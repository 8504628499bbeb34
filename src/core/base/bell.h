/* bell.h - a futex word that one side sleeps on and any thread rings.
 *
 *     sleeper: seen = ferry__bell_seen(b);  look for work;  none?  ferry__bell_sleep(b, seen, ms);
 *     ringer:  make work;  ferry__bell_ring(b);
 *
 * The word is read before looking, so work made in between ends the sleep at once. A ring costs a system call only while someone
 * sleeps. Ringing is safe in a signal handler. `shared` bells work between processes. futex(2) */
#ifndef FERRY_BASE_BELL_H
#define FERRY_BASE_BELL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct ferry__bell {
    atomic_uint word;
    atomic_uint asleep;
} ferry__bell;

static inline unsigned ferry__bell_seen(ferry__bell *b)
{
    return atomic_load(&b->word);
}

/* Sleeps until the word is no longer `seen`, or ms passed (-1: for ever). May return early. */
void ferry__bell_sleep(ferry__bell *b, unsigned seen, int ms, bool shared);
void ferry__bell_wake(ferry__bell *b, bool shared); /* the system call alone */

static inline void ferry__bell_ring(ferry__bell *b)
{
    atomic_fetch_add(&b->word, 1);
    if (atomic_load(&b->asleep))
        ferry__bell_wake(b, false);
}

static inline void ferry__bell_ring_shared(ferry__bell *b)
{
    atomic_fetch_add(&b->word, 1);
    if (atomic_load(&b->asleep))
        ferry__bell_wake(b, true);
}

#endif
