/* turn.c - a turn of the driver: write, read, hand up, sleep.
 *
 * flush writes, W first, then the reads of the next turn. pump reads where poll said that something is there, and makes all upcalls.
 * wait polls without the lock, on a list that the pump before it made; so connections need no lock of their own.
 *
 * The answers on W to calls, replies and acknowledgements are lazy: they wake nobody, and are read in lots or after LAZY_MS. */
#include "backends/redis/event.h"

#include "base/clock.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* ---- A turn: writing ------------------------------------------------------------------------------------------------ */

static void flush_conns(redis__pipe *p)
{
    for (size_t i = 0; i < p->conns_used; i++) {
        redis__conn *c = &p->conns[i];
        if (c->state >= REDIS__GREETING && !p->slow_to_die &&
            (c->out.length || c->out.failed || ferry__stream_unsent(c->stream)))
            redis__conn_flush(c);
    }
}

static void read_on(redis__pipe *p)
{
    if (p->state != FERRY__UP)
        return;
    redis__inbox_read(p);
    redis__intake_read(p);
    redis__events_read(p);
}

static bool stale(const redis__pipe *p)
{
    const redis__conn *w = &p->conns[REDIS__W];
    return w->state == REDIS__READY && w->count == 0 && p->staged.count > 0 && p->now_ms - p->looked_ms > 100;
}

void redis__flush(void *self)
{
    redis__pipe *p = self;
    p->work = false;
    p->now_ms = ferry__now_ms();
    if (stale(p)) { /* nobody looked for a while: it may be closed, and then what we write now would be of unknown fate */
        p->looked_ms = p->now_ms;
        redis__conn_pump(&p->conns[REDIS__W]);
    }
    if (!p->slow_to_die) {
        redis__send_all(p);
        if (p->state == FERRY__UP) {
            redis__services_turn(p);
            redis__intake_turn(p);
            redis__events_turn(p);
        }
        read_on(p);
    }
    flush_conns(p);
}

/* ---- A turn: reading ------------------------------------------------------------------------------------------------ */

static void mark(redis__pipe *p)
{
    for (size_t i = 0; i < p->polled_count; i++) {
        if (!p->polled[i].revents)
            continue;
        if (p->polled_conn[i])
            p->polled_conn[i]->ready = true;
        else
            p->woken = true;
    }
}

static short wanted(redis__pipe *p, const redis__conn *c)
{
    short events = ferry__stream_events(c->stream);
    bool lazy = c->role == REDIS__W && c->state == REDIS__READY && c->eager == 0 && c->count < REDIS__LAZY_LOT &&
                p->epoll_fd < 0;
    if (lazy && c->count > 0 && p->now_ms - c->lazy_ms < REDIS__LAZY_MS)
        events &= (short)~POLLIN;
    return events;
}

static void make_list(redis__pipe *p)
{
    p->polled_count = 0;
    p->polled[p->polled_count] = (struct pollfd){.fd = p->wake_fd, .events = POLLIN};
    p->polled_conn[p->polled_count++] = NULL;
    for (size_t i = 0; i < p->conns_used; i++) {
        redis__conn *c = &p->conns[i];
        int fd = c->state == REDIS__OFF ? -1 : ferry__stream_fd(c->stream);
        short events = fd < 0 ? 0 : wanted(p, c);
        if (!events)
            continue;
        p->polled[p->polled_count] = (struct pollfd){.fd = fd, .events = events};
        p->polled_conn[p->polled_count++] = c;
    }
}

/* After a wait poll has told; without one, it is asked now, but not for each call of a busy caller. */
static void look(redis__pipe *p)
{
    if (p->looked || (p->now_ms == p->looked_ms && p->epoll_fd < 0)) {
        p->looked = false;
        return;
    }
    make_list(p);
    if (poll(p->polled, p->polled_count, 0) > 0)
        mark(p);
    p->looked_ms = p->now_ms;
}

static void clear_wake(redis__pipe *p)
{
    uint64_t count;
    if (p->woken && read(p->wake_fd, &count, sizeof count) < 0 && errno != EAGAIN)
        ferry__log_print(p->up->log, LOG_ERR, "reading an eventfd: %s", strerror(errno));
    p->woken = false;
}

static bool due(const redis__pipe *p, const redis__conn *c)
{
    bool lazy_lot = c->role == REDIS__W && c->state == REDIS__READY && c->count >= REDIS__LAZY_LOT;
    return c->ready || lazy_lot || ferry__stream_next_ms(c->stream, p->now_ms) == 0 || c->state == REDIS__OPENING;
}

static void pump_conns(redis__pipe *p)
{
    for (size_t i = 0; i < p->conns_used; i++) {
        redis__conn *c = &p->conns[i];
        if (c->state != REDIS__OFF && !p->slow_to_die && due(p, c))
            redis__conn_pump(c);
    }
}

void redis__deliver(redis__pipe *p)
{
    for (redis__service *s = p->services; s; s = s->next) {
        redis__lane_deliver(p, &s->calls);
        for (unsigned i = 0; i <= s->parts; i++)
            if (s->posts[i].backlog.first)
                redis__lane_deliver(p, &s->posts[i]);
        if (s->group)
            redis__group_deliver(p, s->group);
    }
    redis__tails_deliver(p);
}

static void tell_settled(redis__pipe *p)
{
    size_t good = p->settled_now, bad = p->unsettled_now;
    p->settled_now = p->unsettled_now = 0;
    if (good)
        p->up->settled(p->up, good, FERRY_OK, NULL);
    if (bad)
        p->up->settled(p->up, bad, FERRY_UNAVAILABLE, "another server had taken them over");
}

static void sync_epoll(redis__pipe *p)
{
    for (size_t i = 0; i < p->conns_used && p->epoll_fd >= 0; i++) {
        redis__conn *c = &p->conns[i];
        int fd = c->state == REDIS__OFF ? -1 : ferry__stream_fd(c->stream);
        short wants = fd < 0 ? 0 : ferry__stream_events(c->stream);
        uint32_t events = (wants & POLLIN ? EPOLLIN : 0u) | (wants & POLLOUT ? EPOLLOUT : 0u);
        if (fd == c->epoll_fd && events == c->epoll_events)
            continue;
        struct epoll_event e = {.events = events, .data.fd = fd};
        if (fd >= 0 && epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, fd, &e) != 0 && errno == EEXIST)
            epoll_ctl(p->epoll_fd, EPOLL_CTL_MOD, fd, &e);
        c->epoll_fd = fd;
        c->epoll_events = events;
    }
}

void redis__pump(void *self)
{
    redis__pipe *p = self;
    p->now_ms = ferry__now_ms();
    look(p);
    clear_wake(p);
    pump_conns(p);
    redis__deliver(p);
    redis__link_turn(p);
    redis__send_news(p);
    redis__events_tidy(p);
    if (p->admins && p->state == FERRY__UP)
        redis__admin_ask(p);
    tell_settled(p);
    read_on(p);
    make_list(p);
    sync_epoll(p);
}

void redis__wait(void *self, int ms)
{
    redis__pipe *p = self;
    int got = poll(p->polled, p->polled_count, ms);
    if (got > 0)
        mark(p);
    p->looked = true;
    p->looked_ms = p->now_ms;
}

void redis__wake(void *self)
{
    redis__pipe *p = self;
    uint64_t one = 1;
    int saved = errno;
    if (write(p->wake_fd, &one, sizeof one) < 0)
        errno = saved; /* full: readable all the same */
}

static bool unwritten(const redis__pipe *p)
{
    for (size_t i = 0; i < p->conns_used; i++)
        if (p->conns[i].state >= REDIS__GREETING && p->conns[i].out.length)
            return true;
    return false;
}

int redis__next_ms(void *self, int64_t now_ms)
{
    redis__pipe *p = self;
    bool noted = p->work || unwritten(p) || (p->state == FERRY__UP && p->admins) || p->settled_now || p->unsettled_now;
    return noted ? 0 : redis__link_next_ms(p, now_ms);
}

int redis__fd(void *self)
{
    redis__pipe *p = self;
    if (p->epoll_fd >= 0)
        return p->epoll_fd;
    p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = p->wake_fd};
    if (p->epoll_fd >= 0)
        epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, p->wake_fd, &e);
    sync_epoll(p);
    redis__wake(p);
    return p->epoll_fd;
}

/* ---- The last turns ------------------------------------------------------------------------------------------------- */

static bool reading(const redis__pipe *p)
{
    for (size_t i = REDIS__E; i < p->conns_used; i++)
        if (p->conns[i].reading)
            return true;
    return p->conns[REDIS__C].reading || p->conns[REDIS__P].reading;
}

/* Moves bytes until nothing is open any more, or the time is over, or the link. */
void redis__await_quiet(redis__pipe *p, bool reads, int64_t until_ms)
{
    while (!p->slow_to_die && p->now_ms < until_ms) {
        flush_conns(p);
        if (reads ? !reading(p) : p->conns[REDIS__W].count == 0)
            return;
        p->conns[REDIS__W].lazy_ms = 0;
        make_list(p);
        if (poll(p->polled, p->polled_count, 10) > 0)
            mark(p);
        p->now_ms = ferry__now_ms();
        clear_wake(p);
        pump_conns(p);
    }
}
