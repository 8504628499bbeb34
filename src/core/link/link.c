/* link.c - the driver's role, followers, and the background; the rules are in link.h. */
#include "link/link.h"

#include "base/clock.h"
#include "base/thread.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    CORK_MS = 1,     /* unflushed work of a caller who is about to wait anyway */
    TICK_MS = 1,     /* how the background sleeps after it had work */
    TICKS = 50       /* how often, before it sleeps for good */
};

/* ---- one turn of the driver ---- */

static void work(ferry__link *l)
{
    l->dirty = false;
    l->backend->flush(l->self);
    if (l->bits & FERRY__STEPS) {
        ferry__link_unlock(l);
        l->backend->step(l->self);
        ferry__link_lock(l);
    }
    l->now_ms = ferry__now_ms();
    l->backend->pump(l->self);
    ferry__wheel_run(&l->wheel, l->now_ms);
    l->hooks->turned(l);
    ferry__jobs_wake(l, l->driver->worker ? 1 : 0);
    l->turns++;
}

static int least_wait(int a, int b)
{
    return a < 0 ? b : b < 0 ? a : a < b ? a : b;
}

static int until(const ferry__link *l, int64_t at_ms)
{
    int64_t left = at_ms - l->now_ms;
    return at_ms == INT64_MAX ? -1 : left <= 0 ? 0 : left > 1000000 ? 1000000 : (int)left;
}

static void nap(ferry__link *l, int64_t at_ms)
{
    int ms = least_wait(until(l, at_ms), ferry__wheel_next(&l->wheel, l->now_ms));
    ms = least_wait(ms, l->backend->next_ms(l->self, l->now_ms));
    if (ms == 0)
        return;
    l->sleeping = true;
    ferry__link_unlock(l);
    l->backend->wait(l->self, ms);
    ferry__link_lock(l);
    l->sleeping = false;
}

static bool unattended(const ferry__link *l)
{
    return l->dirty || l->alone > 0 || l->probing > 0 || l->subscribing > 0 || l->settling > 0 || l->jobs.running > 0 ||
           l->now_ms < l->leaving_ms;
}

static bool may_sleep(const ferry__link *l, const ferry__waiter *w)
{
    return !w->poked && !l->dirty && !(w == &l->behind && (l->wants_role || !unattended(l))) &&
           !(w->worker && l->jobs.ready > 0);
}

static void drive(ferry__link *l, ferry__waiter *w, int64_t at_ms)
{
    l->driver = w;
    work(l);
    if (may_sleep(l, w))
        nap(l, at_ms);
    l->driver = NULL;
}

static void follow(ferry__link *l, ferry__waiter *w, int64_t at_ms)
{
    if (l->driver == &l->behind && w != &l->behind) {
        l->wants_role = true;
        if (l->sleeping)
            l->backend->wake(l->self);
    }
    unsigned seen = ferry__bell_seen(&w->bell);
    l->now_ms = ferry__now_ms();
    int ms = until(l, at_ms);
    ferry__list_append(&l->followers, &w->node);
    ferry__link_unlock(l);
    if (ms != 0)
        ferry__bell_sleep(&w->bell, seen, ms, false);
    ferry__link_lock(l);
    ferry__list_remove(&w->node);
}

void ferry__link_wait(ferry__link *l, ferry__waiter *w, int64_t until_ms)
{
    if (w->poked)
        return;
    if (l->driver)
        follow(l, w, until_ms);
    else
        drive(l, w, until_ms);
}

void ferry__link_turn(ferry__link *l, ferry__waiter *w)
{
    if (l->driver)
        return;
    l->driver = w;
    work(l);
    l->driver = NULL;
}

/* ---- waking ---- */

void ferry__waiter_init(ferry__waiter *w)
{
    memset(w, 0, sizeof *w);
    ferry__list_init(&w->node);
    ferry__list_init(&w->place);
}

void ferry__waiter_poke(ferry__link *l, ferry__waiter *w)
{
    w->poked = true;
    if (l->driver != w)
        ferry__bell_ring(&w->bell);
    else if (l->sleeping)
        l->backend->wake(l->self);
}

void ferry__link_watch(ferry__link *l, ferry__waiter *w)
{
    ferry__list_append(&l->watchers, &w->place);
}

void ferry__link_poke_watchers(ferry__link *l)
{
    for (ferry__node *n = l->watchers.next; n != &l->watchers; n = n->next)
        ferry__waiter_poke(l, FERRY__OF(n, ferry__waiter, place));
}

static void background_soon(ferry__link *l)
{
    int64_t soon = ferry__now_ms() + CORK_MS;
    if (l->background_at > soon)
        ferry__link_background_by(l, soon);
}

/* Nobody is inside, but the other end expects a sign of life now and then. */
static void beat_by(ferry__link *l)
{
    int64_t now = ferry__now_ms();
    int ms = l->backend ? l->backend->next_ms(l->self, now) : -1;
    if (ms >= 0)
        ferry__link_background_by(l, now + (ms > CORK_MS ? ms : CORK_MS));
}

void ferry__link_leave(ferry__link *l)
{
    if (l->driver)
        return;
    if (!ferry__list_empty(&l->followers))
        ferry__bell_ring(&FERRY__OF(l->followers.next, ferry__waiter, node)->bell);
    else if (unattended(l))
        background_soon(l);
    else if (l->bits & FERRY__BEATS && l->background_at == INT64_MAX)
        beat_by(l);
}

void ferry__link_signal(ferry__link *l)
{
    uint64_t one = 1;
    if (write(l->loop_event, &one, sizeof one) < 0)
        return; /* full: it is readable already */
}

/* What needs neither a step nor somebody who reads the answer at once can be flushed by whoever noted it. */
static bool flushes_here(const ferry__link *l)
{
    return !(l->bits & FERRY__STEPS) && l->state == FERRY__UP && l->alone == 0 && l->probing == 0 && l->settling == 0 &&
           l->jobs.running == 0;
}

/* The first one leaves at once and wakes no thread; those behind it within the same millisecond leave together. */
static void flush_here(ferry__link *l)
{
    int64_t now = ferry__now_ms();
    if (l->flushed_ms == now) {
        background_soon(l);
        return;
    }
    l->flushed_ms = now;
    l->dirty = false;
    l->backend->flush(l->self);
}

void ferry__link_noted(ferry__link *l, bool stays)
{
    l->dirty = true;
    if (l->looped) {
        ferry__link_signal(l);
        return;
    }
    if (l->driver) {
        if (l->sleeping)
            l->backend->wake(l->self);
        return;
    }
    if (stays)
        return;
    bool corked = l->uncollected > 0; /* its caller collects and comes back to wait: one write for many */
    if (corked)
        background_soon(l);
    else if (flushes_here(l))
        flush_here(l);
    else
        ferry__link_background_by(l, 0);
}

/* ---- the background ---- */

static int background_sleep(ferry__link *l)
{
    int64_t now = ferry__now_ms();
    if (l->background_at != INT64_MAX)
        return l->background_at <= now ? 0 : (int)(l->background_at - now);
    return l->idle_ticks++ < TICKS ? TICK_MS : -1;
}

/* Answers with the lock held. Whoever is inside just when the time is over sees to what there is: he is not disturbed. */
static void sleep_behind(ferry__link *l, unsigned seen, int ms)
{
    ferry__bell *b = &l->behind.bell;
    do {
        ferry__bell_sleep(b, seen, ms, false);
        if (ferry__bell_seen(b) != seen) {
            ferry__link_lock(l);
            return;
        }
        ms = TICK_MS;
    } while (pthread_mutex_trylock(&l->lock) != 0);
}

static void background_rest(ferry__link *l)
{
    int ms = background_sleep(l);
    if (ms == 0)
        return;
    unsigned seen = ferry__bell_seen(&l->behind.bell);
    l->background_end = ms < 0 ? INT64_MAX : ferry__now_ms() + ms;
    ferry__link_unlock(l);
    sleep_behind(l, seen, ms);
    l->background_end = 0;
}

/* While messages that nobody waits for are under way it stays the driver, unless a caller wants the role. */
static void background_drive(ferry__link *l)
{
    l->idle_ticks = 0;
    l->background_at = INT64_MAX;
    if (l->bits & FERRY__BEATS)
        ferry__link_turn(l, &l->behind);
    while (!l->quit && !l->driver && !l->wants_role && unattended(l))
        ferry__link_wait(l, &l->behind, l->now_ms < l->leaving_ms ? l->leaving_ms : INT64_MAX);
    l->wants_role = false;
    ferry__link_leave(l);
}

/* Somebody drove since the last look, or handlers come and go, and he will be back: the role is left to him, for it costs to take it
 * back. A handler that is still the same at the next look is a long one. */
static bool attended(ferry__link *l)
{
    bool moved = l->turns != l->turns_seen || l->jobs.begun != l->begun_seen;
    l->turns_seen = l->turns;
    l->begun_seen = l->jobs.begun;
    return moved && (l->uncollected > 0 || l->jobs.running > 0);
}

static void *background(void *arg)
{
    ferry__link *l = arg;
    ferry__link_lock(l);
    while (!l->quit) {
        l->behind.poked = false;
        if (l->background_at > ferry__now_ms())
            background_rest(l);
        else if (l->driver)
            l->background_at = INT64_MAX; /* whoever drives now leaves through ferry__link_leave */
        else if (attended(l))
            l->background_at = unattended(l) || l->bits & FERRY__BEATS ? ferry__now_ms() + CORK_MS : INT64_MAX;
        else
            background_drive(l);
    }
    ferry__link_unlock(l);
    return NULL;
}

void ferry__link_background_by(ferry__link *l, int64_t at_ms)
{
    if (l->looped || l->quit)
        return;
    if (at_ms < l->background_at)
        l->background_at = at_ms;
    if (!l->background_runs)
        l->background_runs = ferry__thread_start(&l->background, "ferry-behind", background, l);
    else if (l->background_end > l->background_at) {
        l->background_end = 0; /* until it is awake, nobody needs to ring again */
        ferry__bell_ring(&l->behind.bell);
    }
}

void ferry__link_stop_background(ferry__link *l)
{
    ferry__link_lock(l);
    l->quit = true;
    bool runs = l->background_runs;
    l->background_runs = false;
    ferry__waiter_poke(l, &l->behind);
    ferry__link_unlock(l);
    if (runs)
        pthread_join(l->background, NULL);
}
