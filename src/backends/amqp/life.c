/* life.c - the link's life:
 *
 *     AWAY --retry_ms--> CONNECTING --both live, declared, confirming, listening--> UP
 *       ^__________________|______________________________________________________|   fall: what was under way is lost, wait, next host
 */
#include "backends/amqp/event.h"

#include "base/clock.h"
#include "base/random.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { IN_MAX = 4 * 1024 * 1024, OUT_MAX = 64 * 1024 * 1024 };

void ferry__amqp_fail(ferry__amqp *a, ferry_status status, const char *format, ...)
{
    va_list args;
    if (a->failed)
        return; /* the first reason is the cause */
    va_start(args, format);
    vsnprintf(a->why, sizeof a->why, format, args);
    va_end(args);
    a->failed = status;
}

/* ---- hosts ---------------------------------------------------------------------------------------------------------- */

/* The n-th of "a:1,b,[::1]:3", counted around. */
static void host_at(const ferry__amqp *a, char host[256], char port[16])
{
    const char *at = a->url->hosts && *a->url->hosts ? a->url->hosts : "localhost";
    size_t count = 1;
    for (const char *c = at; *c; c++)
        count += *c == ',';
    for (size_t n = a->host % count; n; n--)
        at = strchr(at, ',') + 1;
    size_t length = strcspn(at, ",");
    const char *bracket = *at == '[' ? memchr(at, ']', length) : NULL;
    const char *colon = bracket ? memchr(bracket, ':', length - (size_t)(bracket - at)) : memchr(at, ':', length);
    size_t name = bracket ? (size_t)(bracket - at - 1) : colon ? (size_t)(colon - at) : length;
    snprintf(host, 256, "%.*s", (int)name, bracket ? at + 1 : at);
    if (colon)
        snprintf(port, 16, "%.*s", (int)(length - (size_t)(colon + 1 - at)), colon + 1);
    else
        snprintf(port, 16, "%s", a->tls ? "5671" : "5672");
}

static void hex(char *to, const unsigned char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        snprintf(to + 2 * i, 3, "%02x", bytes[i]);
}

static void connect_both(ferry__amqp *a, int64_t now_ms)
{
    char host[256], port[16];
    unsigned char nonce[8] = {0};
    const ferry__setting *t = ferry__amqp_settings;
    host_at(a, host, port);
    ferry__random_bytes(nonce, sizeof nonce);
    hex(a->nonce, nonce, sizeof nonce);
    ferry__stream_options o = {.host = host,
                               .port = port,
                               .tls = a->tls,
                               .ca_file = ferry__url_text(a->url, t, "ca"),
                               .cert_file = ferry__url_text(a->url, t, "cert"),
                               .key_file = ferry__url_text(a->url, t, "key"),
                               .tls_name = ferry__url_text(a->url, t, "tls_name"),
                               .tls_unverified = !a->verify,
                               .connect_ms = a->connect_ms,
                               .dead_ms = a->heartbeat_ms * 2,
                               .in_max = IN_MAX,
                               .out_max = OUT_MAX};
    a->epoch++;
    a->era++;
    a->phase = FERRY__AMQP_CONNECTING;
    a->limit_ms = now_ms + a->connect_ms;
    if (!ferry__amqp_conn_open(&a->out, &o) || !ferry__amqp_conn_open(&a->in, &o))
        ferry__amqp_fail(a, FERRY_NO_MEMORY, "out of memory");
}

/* ---- up and down ---------------------------------------------------------------------------------------------------- */

void ferry__amqp_ready(ferry__amqp *a)
{
    if (a->phase != FERRY__AMQP_CONNECTING || a->failed || !a->confirming || !a->listening || a->declaring)
        return;
    bool blocked = a->in.blocked || a->out.blocked;
    a->phase = FERRY__AMQP_UP;
    a->backoff_ms = 0;
    a->told = blocked ? FERRY__BLOCKED : FERRY__UP;
    if (!a->closing)
        a->up->state(a->up, a->told, blocked ? FERRY_OVERLOADED : FERRY_OK,
                     blocked ? "the broker takes nothing at present" : NULL);
    ferry__amqp_probe_begin(a);
}

void ferry__amqp_drop(ferry__amqp *a, bool forked)
{
    ferry__amqp_conn_done(&a->out, forked);
    ferry__amqp_conn_done(&a->in, forked);
    a->phase = FERRY__AMQP_AWAY;
    a->confirming = a->listening = a->fencing = a->control_queue = a->keyed_open = a->keyed_closing = a->probes_open =
        a->browsing = false;
    a->declaring = a->cancelling = 0;
    memset(a->tiers, 0, sizeof a->tiers);
}

static void fall(ferry__amqp *a, int64_t now_ms)
{
    ferry_status status = a->failed;
    a->failed = FERRY_OK;
    ferry__amqp_drop(a, false);
    int most = a->config->backoff_max_ms, ms = a->backoff_ms ? a->backoff_ms : a->config->backoff_ms;
    ms = ms < most ? ms : most;
    a->backoff_ms = ms * 2;
    a->retry_ms = now_ms + ms / 2 + ferry__random_below((uint32_t)ms / 2 + 1);
    a->host++;
    a->told = FERRY__DOWN;
    if (!a->closing)
        a->up->state(a->up, FERRY__DOWN, status, a->why);
    ferry__amqp_send_down(a);
    ferry__amqp_consume_down(a);
    ferry__amqp_probe_down(a);
    ferry__amqp_admin_down(a, FERRY_UNAVAILABLE, a->why);
    ferry__amqp_topics_down(a);
}

void ferry__amqp_move(ferry__amqp *a, int64_t now_ms)
{
    ferry__amqp_conn_beat(&a->out, now_ms);
    ferry__amqp_conn_beat(&a->in, now_ms);
    if (a->phase == FERRY__AMQP_CONNECTING && now_ms >= a->limit_ms)
        ferry__amqp_fail(a, FERRY_UNAVAILABLE, "the broker has not finished the handshake within %d ms", a->connect_ms);
    if (a->failed)
        fall(a, now_ms);
    if (a->phase == FERRY__AMQP_AWAY && now_ms >= a->retry_ms && !a->closing)
        connect_both(a, now_ms);
}

static int until(int64_t at_ms, int64_t now_ms)
{
    return at_ms <= now_ms ? 0 : at_ms - now_ms > INT32_MAX ? INT32_MAX : (int)(at_ms - now_ms);
}

static int least(int a, int b)
{
    return a < 0 ? b : b < 0 ? a : a < b ? a : b;
}

int ferry__amqp_life_next_ms(ferry__amqp *a, int64_t now_ms)
{
    if (a->failed || a->out.noted || a->in.noted)
        return 0;
    if (a->phase == FERRY__AMQP_AWAY)
        return until(a->retry_ms, now_ms);
    int ms = least(ferry__amqp_conn_next_ms(&a->out, now_ms), ferry__amqp_conn_next_ms(&a->in, now_ms));
    if (a->phase == FERRY__AMQP_CONNECTING)
        ms = least(ms, until(a->limit_ms, now_ms));
    if (a->fence_ms && !a->fencing)
        ms = least(ms, until(a->fence_ms, now_ms));
    ms = least(ms, ferry__amqp_pinch_next_ms(a, now_ms));
    ms = least(ms, ferry__amqp_events_next_ms(a, now_ms));
    if (a->late.first)
        ms = least(ms, until(a->late.first->deadline_ms, now_ms));
    return ms;
}
