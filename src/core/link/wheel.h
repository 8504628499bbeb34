/* wheel.h - timers: set and cleared in constant time, fired by the driver. Guarded by the link's lock. */
#ifndef FERRY_LINK_WHEEL_H
#define FERRY_LINK_WHEEL_H

#include "base/list.h"

#include <stdint.h>

typedef struct ferry__timer {
    ferry__node node;
    int64_t     due_ms;
    void (*fire)(struct ferry__timer *t); /* no longer set when called; may set itself again */
} ferry__timer;

enum { FERRY__WHEEL_SLOTS = 1024, FERRY__WHEEL_TICK_MS = 2 };

typedef struct ferry__wheel {
    ferry__list slots[FERRY__WHEEL_SLOTS];
    uint64_t    some[FERRY__WHEEL_SLOTS / 64]; /* a bit a slot: it may hold timers */
    int64_t     tick;                          /* all before it were looked at */
    size_t      count;
} ferry__wheel;

void ferry__wheel_init(ferry__wheel *w, int64_t now_ms);
void ferry__timer_init(ferry__timer *t, void (*fire)(ferry__timer *t));
void ferry__timer_set(ferry__wheel *w, ferry__timer *t, int64_t due_ms); /* moves it if set */
void ferry__timer_clear(ferry__wheel *w, ferry__timer *t);
void ferry__wheel_run(ferry__wheel *w, int64_t now_ms);
/* Milliseconds until the next timer may be due; -1: none. Never later than a timer, perhaps earlier: at most one turn of the wheel. */
int ferry__wheel_next(ferry__wheel *w, int64_t now_ms);

#endif
