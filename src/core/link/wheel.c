/* wheel.c - one hashed wheel. A timer further off than a turn stays in its slot and is passed over until its turn comes: calls carry
 * deadlines of seconds and end within milliseconds, so nearly all timers are cleared long before anyone looks at them. */
#include "link/wheel.h"

void ferry__wheel_init(ferry__wheel *w, int64_t now_ms)
{
    for (size_t i = 0; i < FERRY__WHEEL_SLOTS; i++)
        ferry__list_init(&w->slots[i]);
    for (size_t i = 0; i < FERRY__WHEEL_SLOTS / 64; i++)
        w->some[i] = 0;
    w->tick = now_ms / FERRY__WHEEL_TICK_MS;
    w->count = 0;
}

void ferry__timer_init(ferry__timer *t, void (*fire)(ferry__timer *t))
{
    ferry__list_init(&t->node);
    t->due_ms = 0;
    t->fire = fire;
}

void ferry__timer_clear(ferry__wheel *w, ferry__timer *t)
{
    if (!ferry__node_linked(&t->node))
        return;
    ferry__list_remove(&t->node);
    w->count--;
}

void ferry__timer_set(ferry__wheel *w, ferry__timer *t, int64_t due_ms)
{
    ferry__timer_clear(w, t);
    int64_t tick = due_ms / FERRY__WHEEL_TICK_MS;
    if (tick < w->tick)
        tick = w->tick; /* overdue: in the slot that is looked at next */
    size_t slot = (size_t)tick % FERRY__WHEEL_SLOTS;
    t->due_ms = due_ms;
    ferry__list_append(&w->slots[slot], &t->node);
    w->some[slot / 64] |= 1ull << slot % 64;
    w->count++;
}

static void run_slot(ferry__wheel *w, size_t slot, int64_t now_ms)
{
    ferry__list due;
    ferry__list_init(&due);
    ferry__list_join(&due, &w->slots[slot]); /* what fires may set new timers here */
    w->some[slot / 64] &= ~(1ull << slot % 64);
    for (ferry__node *n; (n = ferry__list_shift(&due));) {
        ferry__timer *t = FERRY__OF(n, ferry__timer, node);
        if (t->due_ms > now_ms) {
            ferry__list_append(&w->slots[slot], n);
            w->some[slot / 64] |= 1ull << slot % 64;
            continue;
        }
        w->count--;
        t->fire(t);
    }
}

void ferry__wheel_run(ferry__wheel *w, int64_t now_ms)
{
    int64_t now = now_ms / FERRY__WHEEL_TICK_MS, first = w->tick;
    if (now - first >= FERRY__WHEEL_SLOTS)
        first = now - FERRY__WHEEL_SLOTS + 1;
    for (int64_t tick = first; tick <= now; tick++) {
        size_t slot = (size_t)tick % FERRY__WHEEL_SLOTS;
        w->tick = tick;
        if (w->some[slot / 64] >> slot % 64 & 1)
            run_slot(w, slot, now_ms);
    }
}

int ferry__wheel_next(ferry__wheel *w, int64_t now_ms)
{
    if (w->count == 0)
        return -1;
    for (int64_t ahead = 0; ahead < FERRY__WHEEL_SLOTS;) {
        size_t slot = (size_t)(w->tick + ahead) % FERRY__WHEEL_SLOTS;
        uint64_t bits = w->some[slot / 64] >> slot % 64;
        if (bits) {
            ahead += __builtin_ctzll(bits);
            int64_t at = (w->tick + ahead) * FERRY__WHEEL_TICK_MS, left = at - now_ms;
            return left < 1 ? 1 : (int)left;
        }
        ahead += 64 - (int64_t)(slot % 64);
    }
    return FERRY__WHEEL_SLOTS * FERRY__WHEEL_TICK_MS;
}
