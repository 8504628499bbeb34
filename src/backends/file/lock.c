/* lock.c - the writer lock; explained in lock.h. */
#include "backends/file/lock.h"

#include "base/clock.h"

enum { SPINS = 400, STARVED_US = 2000, LOOK_MS = 5 };

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    atomic_thread_fence(memory_order_seq_cst);
#endif
}

static bool grab(const ferry__page *p, uint32_t from)
{
    return atomic_compare_exchange_strong(&p->file->header.writer, &from, (uint32_t)p->me + 1);
}

bool ferry__lock_mine(const ferry__page *p)
{
    return atomic_load(&p->file->header.writer) == (uint32_t)p->me + 1;
}

static bool spin(const ferry__page *p)
{
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&p->file->header.writer, memory_order_relaxed) == 0 && grab(p, 0))
            return true;
        relax();
    }
    return false;
}

/* Free, handed to us, or left by a dead one. */
static bool try_take(const ferry__page *p, bool look)
{
    uint32_t writer = atomic_load(&p->file->header.writer);
    if (writer == (uint32_t)p->me + 1)
        return true;
    if (writer == 0)
        return grab(p, 0);
    if (!look || ferry__page_lives(p, (int)writer - 1) || !grab(p, writer))
        return false;
    atomic_store(&p->file->header.repair, 1);
    return true;
}

/* No more in line. Whoever drops the lock hands it over by zeroing waits_us first: then it is ours, now or in a moment. */
static bool leave_line(const ferry__page *p, bool got)
{
    ferry__page_slot *me = ferry__page_mine(p);
    bool handed = atomic_exchange(&me->waits_us, 0) == 0;
    ferry__page_set_remove(p->file->header.waiting, p->me);
    while (!got && handed)
        got = try_take(p, true);
    return got;
}

static bool queue_up(const ferry__page *p, int ms)
{
    ferry__page_slot *me = ferry__page_mine(p);
    int64_t now = ferry__now_us(), end = now + (int64_t)ms * 1000;
    atomic_store(&me->waits_us, now);
    ferry__page_set_add(p->file->header.waiting, p->me);
    bool got = false, look = true;
    for (;;) {
        unsigned seen = ferry__bell_seen(&me->turn);
        got = try_take(p, look);
        int64_t left = end - ferry__now_us();
        if (got || left <= 0)
            break;
        ferry__bell_sleep(&me->turn, seen, left < LOOK_MS * 1000 ? (int)(left / 1000) + 1 : LOOK_MS, true);
        look = ferry__bell_seen(&me->turn) == seen;
    }
    return leave_line(p, got);
}

bool ferry__lock_take(const ferry__page *p, int ms, int *blocker)
{
    if (spin(p) || queue_up(p, ms))
        return true;
    *blocker = (int)atomic_load(&p->file->header.writer) - 1;
    return false;
}

static int longest_waiting(const ferry__page *p, int64_t *since)
{
    int best = FERRY__PAGE_NOBODY;
    for (int word = 0; word < FERRY__PAGE_WORDS; word++)
        for (uint64_t bits = atomic_load(&p->file->header.waiting[word]); bits; bits &= bits - 1) {
            int slot = word * 64 + __builtin_ctzll(bits);
            int64_t us = atomic_load(&ferry__page_slot_of(p, slot)->waits_us);
            if (us && (best < 0 || us < *since)) {
                best = slot;
                *since = us;
            }
        }
    return best;
}

void ferry__lock_drop(const ferry__page *p)
{
    int64_t since = 0;
    int next = longest_waiting(p, &since);
    bool hand = next >= 0 && ferry__now_us() - since > STARVED_US &&
                atomic_exchange(&ferry__page_slot_of(p, next)->waits_us, 0) != 0;
    uint32_t mine = (uint32_t)p->me + 1;
    atomic_compare_exchange_strong(&p->file->header.writer, &mine, hand ? (uint32_t)next + 1 : 0);
    if (!hand)
        next = longest_waiting(p, &since); /* who came in between saw it taken, or sees it free */
    if (next >= 0)
        ferry__bell_ring_shared(&ferry__page_slot_of(p, next)->turn);
}
