/* link.c - all connections together.
 *
 *     DOWN --W greeted, in pub/sub mode S subscribed--> UP --any connection fails--> DOWN, and again after a pause
 *
 * A failure is only noted where it is found (slow_to_die); the connections are closed at the end of the turn, when no reply of theirs
 * is being looked at. The pause doubles from backoff_ms, with jitter, and each attempt takes the next host. */
#include "backends/redis/event.h"

#include "base/clock.h"
#include "base/random.h"

#include <stdarg.h>
#include <string.h>

enum { AFTER_RESTART_MS = 1000 };

void redis__link_fail(redis__pipe *p, ferry_status status, const char *format, ...)
{
    if (p->slow_to_die)
        return; /* the first reason is the best */
    va_list args;
    va_start(args, format);
    vsnprintf(p->why, sizeof p->why, format, args);
    va_end(args);
    p->status = status;
    p->slow_to_die = true;
}

void redis__link_new_era(redis__pipe *p)
{
    static const char digits[] = "0123456789abcdef";
    char client[17], name[41];
    for (int i = 0; i < 8; i++) {
        client[2 * i] = digits[p->config->client[i] >> 4];
        client[2 * i + 1] = digits[p->config->client[i] & 15];
    }
    client[16] = '\0';
    snprintf(name, sizeof name, "%.40s", p->config->name ? p->config->name : "");
    for (char *at = name; *at; at++)
        if (*at <= ' ' || *at > '~')
            *at = '_';
    p->era++;
    snprintf(p->me, sizeof p->me, p->era > 1 ? "%s-%s-%u" : "%s-%s", name, client, p->era);
}

static void try_host(redis__pipe *p)
{
    p->retry_ms = INT64_MAX;
    p->loaded = 0;
    if (!redis__conn_open(&p->conns[REDIS__W]))
        redis__link_fail(p, FERRY_NO_MEMORY, "out of memory");
}

void redis__link_start(redis__pipe *p)
{
    p->backoff_ms = p->config->backoff_ms;
    redis__link_new_era(p);
    try_host(p);
}

static void tell(redis__pipe *p, ferry__state state)
{
    if (p->state == state)
        return;
    p->state = state;
    bool up = state == FERRY__UP;
    p->up->state(p->up, state, up ? FERRY_OK : p->status, up ? NULL : p->why);
}

/* ---- Up ------------------------------------------------------------------------------------------------------------- */

static void warn(redis__pipe *p)
{
    if (p->was_up)
        return;
    if (!p->aof)
        ferry__log_print(
            p->up->log, LOG_WARNING,
            "this Redis has no append-only file: a post that it accepted is lost when it is killed (appendonly yes)");
    if (*p->policy && strcmp(p->policy, "noeviction") != 0)
        ferry__log_print(p->up->log, LOG_WARNING,
                         "this Redis may evict whole streams when memory is short (maxmemory-policy %s)", p->policy);
}

static bool durable_enough(redis__pipe *p)
{
    if (!p->config->durable || (p->aof && strcmp(p->appendfsync, "always") == 0))
        return true;
    redis__link_fail(p, FERRY_UNSUPPORTED, "durable=yes wants appendonly yes and appendfsync always; this Redis has %s",
                     p->appendfsync);
    return false;
}

/* Leases of the living may have run out while Redis was away, so nobody is declared dead at once. */
static int64_t patience(const redis__pipe *p)
{
    bool young = p->uptime_s * 1000 < 2 * (int64_t)p->lease_ms + AFTER_RESTART_MS;
    return p->was_up || young ? p->lease_ms + AFTER_RESTART_MS : 0;
}

static void go_up(redis__pipe *p)
{
    if (p->state == FERRY__UP)
        return;
    warn(p);
    p->take_ms = p->now_ms + patience(p);
    p->was_up = true;
    p->backoff_ms = p->config->backoff_ms;
    p->work = true;
    if (p->inbox_used)
        redis__inbox_ensure(p); /* answers to what was sent before may be in it */
    tell(p, FERRY__UP);
}

void redis__link_greeted(redis__conn *c)
{
    redis__pipe *p = c->pipe;
    if (p->slow_to_die)
        return;
    p->work = true;
    if (c->role == REDIS__W && !durable_enough(p))
        return;
    if (c->role == REDIS__W && p->pubsub && !redis__conn_open(&p->conns[REDIS__S]))
        redis__link_fail(p, FERRY_NO_MEMORY, "out of memory");
    else if (c->role == REDIS__W && !p->pubsub)
        go_up(p);
    else if (c->role == REDIS__S && p->pubsub)
        redis__subscribe(p, p->inbox);
}

/* ---- Down ----------------------------------------------------------------------------------------------------------- */

static void go_down(redis__pipe *p)
{
    int wait = p->backoff_ms / 2 + (int)ferry__random_below((uint32_t)(p->backoff_ms / 2 + 1));
    for (size_t i = 0; i < p->conns_used; i++)
        redis__conn_close(&p->conns[i], false);
    p->slow_to_die = false;
    redis__services_lost(p);
    redis__events_lost(p);
    p->inbox_fresh_ms = 0;
    p->inbox_asked = p->inbox_there = false;
    p->retry_ms = p->now_ms + wait;
    p->backoff_ms = p->backoff_ms * 2 < p->config->backoff_max_ms ? p->backoff_ms * 2 : p->config->backoff_max_ms;
    p->host = (p->host + 1) % p->hosts_count;
    if (p->state == FERRY__DOWN) /* the newest reason is told again */
        p->up->state(p->up, FERRY__DOWN, p->status, p->why);
    tell(p, FERRY__DOWN);
}

static void check_dead(redis__pipe *p)
{
    for (size_t i = 0; i < p->conns_used; i++) {
        redis__conn *c = &p->conns[i];
        if (c->state >= REDIS__GREETING && c->count > 0 && p->now_ms > c->limit_ms)
            redis__link_fail(p, FERRY_UNAVAILABLE, "Redis has not answered for too long");
    }
}

/* The end of a turn. */
void redis__link_turn(redis__pipe *p)
{
    check_dead(p);
    if (p->slow_to_die)
        go_down(p);
    if (p->retry_ms <= p->now_ms)
        try_host(p);
    if (p->pubsub && p->inbox_there)
        go_up(p);
}

static int sooner(int a, int64_t at, int64_t now)
{
    if (at == INT64_MAX)
        return a;
    int ms = at <= now ? 0 : at - now > 100000 ? 100000 : (int)(at - now);
    return a < 0 || ms < a ? ms : a;
}

static int conn_next_ms(const redis__conn *c, int64_t now_ms)
{
    int ms = c->state == REDIS__OFF ? -1 : ferry__stream_next_ms(c->stream, now_ms);
    if (c->state >= REDIS__GREETING && c->count > 0) {
        ms = sooner(ms, c->limit_ms + 1, now_ms);
        if (c->eager == 0 && c->role == REDIS__W && now_ms < c->lazy_ms + REDIS__LAZY_MS)
            ms = sooner(ms, c->lazy_ms + REDIS__LAZY_MS, now_ms); /* from then on it is polled */
    }
    return ms;
}

int redis__link_next_ms(const redis__pipe *p, int64_t now_ms)
{
    int least = sooner(-1, p->retry_ms, now_ms);
    if (now_ms < p->ops_ms)
        least = sooner(least, p->ops_ms, now_ms);
    for (size_t i = 0; i < p->conns_used; i++) {
        int ms = conn_next_ms(&p->conns[i], now_ms);
        least = ms >= 0 && (least < 0 || ms < least) ? ms : least;
    }
    if (p->slow_to_die)
        return 0;
    int ms = redis__services_next_ms(p, now_ms);
    least = sooner(least, p->state == FERRY__UP ? redis__events_due(p) : INT64_MAX, now_ms);
    return ms >= 0 && (least < 0 || ms < least) ? ms : least;
}
