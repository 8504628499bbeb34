/* ahead.c - claims ahead: part.h says what they mean; here is when they are made.
 *
 * After a streak of short handlers each partition of calls whose calls wait for claims gets one for the next ones, for a second; it is
 * made anew in good time, with a commit that nobody waits for. When a handler is long the streak is over and the claims are withdrawn. */
#include "backends/kafka/group.h"
#include "base/clock.h"

enum {
    STREAK = 16,
    LONG_MS = 20, /* a handler that runs so long is long */
    AHEAD = 256,
    LOW = 128, /* messages: so many are claimed, and again when so few are left */
    TIME_MS = 1000,
    SOON_MS = 500
};

void ferry__ahead_handed(ferry__kafka_group *g)
{
    if (g->calls_up++ == 0)
        g->moved_ms = g->k->now_ms;
}

void ferry__ahead_handled(ferry__kafka_group *g)
{
    g->calls_up -= g->calls_up > 0;
    g->streak++;
    g->moved_ms = g->k->now_ms;
}

void ferry__ahead_withdraw(ferry__kafka_group *g)
{
    g->streak = 0;
    for (ferry__node *n = g->parts.next; n != &g->parts; n = n->next) {
        ferry__kafka_part *p = FERRY__OF(n, ferry__kafka_part, node);
        if (p->own.to == 0)
            continue;
        p->own.to = p->sent.to = p->known.to = 0; /* nor by the commit under way */
        p->dirty = g->urgent = true;
    }
}

static void renew(ferry__kafka_group *g)
{
    int64_t wall_ms = ferry__wall_ms();
    for (ferry__node *n = g->parts.next; n != &g->parts; n = n->next) {
        ferry__kafka_part *p = FERRY__OF(n, ferry__kafka_part, node);
        bool enough = p->own.to - p->top > LOW && p->own.time_ms - wall_ms > SOON_MS;
        if (p->topic != FERRY__GROUP_CALLS || !p->owned || p->leaving || !p->claiming || enough)
            continue;
        p->own.to = p->top + AHEAD;
        p->own.time_ms = wall_ms + TIME_MS;
        p->claiming = false;
        p->dirty = g->urgent = true;
    }
}

void ferry__ahead_serve(ferry__kafka_group *g)
{
    if (g->streak > 0 && g->calls_up > 0 && g->k->now_ms - g->moved_ms >= LONG_MS)
        ferry__ahead_withdraw(g);
    else if (g->streak >= STREAK && g->state == FERRY__GROUP_MEMBER)
        renew(g);
}

int64_t ferry__ahead_next_ms(const ferry__kafka_group *g)
{
    return g->streak > 0 && g->calls_up > 0 ? g->moved_ms + LONG_MS : INT64_MAX;
}
