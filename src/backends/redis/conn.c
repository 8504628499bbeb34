/* conn.c - one connection: OFF -> OPENING (the stream) -> GREETING (AUTH, SELECT, facts) -> READY.
 *
 * Commands are written to `out` and their answers come in the same order, so a ring of wants says whose each is. Nothing is closed in
 * here: a failure is noted at the link, which closes all connections when no answer is being handed out. */
#include "backends/redis/redis.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OUT_MAX = 256 << 20, IN_MAX = 1 << 20 };

/* ---- Wants ---------------------------------------------------------------------------------------------------------- */

static bool grow(redis__conn *c)
{
    size_t room = c->room ? c->room * 2 : 64;
    redis__want *wide = ferry__alloc(room * sizeof *wide);
    if (!wide)
        return false;
    for (size_t i = 0; i < c->count; i++)
        wide[i] = c->wants[(c->first + i) & (c->room - 1)];
    ferry__free(c->wants);
    c->wants = wide;
    c->room = room;
    c->first = 0;
    return true;
}

static redis__want *add_want(redis__conn *c, redis__answer_fn *answer, void *what, uint64_t number, bool lazy)
{
    static _Thread_local redis__want nowhere; /* for what cannot be noted: the link goes down, and that tells its owner */
    if (c->count == c->room && !grow(c)) {
        redis__link_fail(c->pipe, FERRY_NO_MEMORY, "out of memory");
        nowhere = (redis__want){.answer = answer, .what = what, .number = number, .lazy = lazy};
        answer(c->pipe, &nowhere, NULL);
        return &nowhere;
    }
    if (c->count == 0) {
        c->limit_ms = c->pipe->now_ms + c->pipe->dead_ms;
        c->lazy_ms = c->pipe->now_ms;
    }
    redis__want *w = &c->wants[(c->first + c->count++) & (c->room - 1)];
    *w = (redis__want){
        .answer = answer, .what = what, .number = number, .end = c->written + c->out.length, .lazy = lazy};
    redis__lot_note(c, lazy);
    c->eager += !lazy;
    return w;
}

redis__want *redis__ask(redis__conn *c, redis__answer_fn *answer, void *what, uint64_t number)
{
    return add_want(c, answer, what, number, false);
}

redis__want *redis__ask_lazily(redis__conn *c, redis__answer_fn *answer, void *what, uint64_t number)
{
    return add_want(c, answer, what, number, true);
}

void redis__ignore(redis__pipe *p, redis__want *w, const redis__value *v)
{
    (void)p;
    (void)w;
    (void)v;
}

static bool take_want(redis__conn *c, redis__want *to)
{
    if (c->count == 0)
        return false;
    *to = c->wants[c->first];
    c->first = (c->first + 1) & (c->room - 1);
    c->count--;
    c->eager -= !to->lazy;
    c->limit_ms = c->pipe->now_ms + c->pipe->dead_ms;
    c->lazy_ms = c->pipe->now_ms;
    return true;
}

/* ---- Greeting ------------------------------------------------------------------------------------------------------- */

static void fact(const char *info, const char *name, char *to, size_t size)
{
    const char *at = strstr(info, name);
    *to = '\0';
    if (!at)
        return;
    at += strlen(name);
    snprintf(to, size, "%.*s", (int)strcspn(at, "\r\n"), at);
}

static void read_info(redis__pipe *p, redis__want *w, const redis__value *v)
{
    char text[64], before[64];
    (void)w;
    if (!v || v->type != REDIS__TEXT)
        return;
    memcpy(before, p->run_id, sizeof before);
    fact(v->text, "run_id:", p->run_id, sizeof p->run_id);
    fact(v->text, "redis_version:", p->version, sizeof p->version);
    fact(v->text, "maxmemory_policy:", p->policy, sizeof p->policy);
    fact(v->text, "aof_enabled:", text, sizeof text);
    p->aof = *text == '1';
    fact(v->text, "uptime_in_seconds:", text, sizeof text);
    p->uptime_s = strtoll(text, NULL, 10);
    fact(v->text, "\nrole:", text, sizeof text);
    if (strcmp(text, "slave") == 0)
        redis__link_fail(p, FERRY_UNAVAILABLE, "that Redis is a replica: it takes no writes");
    if (*before && strcmp(before, p->run_id) != 0)
        ferry__log_print(p->up->log, LOG_NOTICE,
                         "Redis was restarted or replaced: groups and the reply stream are made anew");
}

static void read_fsync(redis__pipe *p, redis__want *w, const redis__value *v)
{
    (void)w;
    const char *text = redis__text(redis__at(v, 1));
    snprintf(p->appendfsync, sizeof p->appendfsync, "%s", p->aof ? *text ? text : "unknown" : "off");
}

static void read_time(redis__pipe *p, redis__want *w, const redis__value *v)
{
    (void)w;
    if (v && v->type == REDIS__LIST)
        p->clock_ms = redis__number(redis__at(v, 0)) * 1000 + redis__number(redis__at(v, 1)) / 1000 - p->now_ms;
}

static void read_number(redis__pipe *p, redis__want *w, const redis__value *v)
{
    redis__conn *c = w->what;
    (void)p;
    c->number = v && v->type == REDIS__NUMBER ? v->number : 0;
}

static void must_work(redis__pipe *p, redis__want *w, const redis__value *v)
{
    bool again;
    if (!v || v->type != REDIS__ERROR)
        return;
    ferry_status status = redis__error_status(v, &again);
    if (w->number && status == FERRY_INTERNAL)
        status = FERRY_DENIED; /* AUTH: "ERR Client sent AUTH, but no password is set" */
    redis__link_fail(p, status, "Redis says: %.200s", v->text);
}

static void greeted(redis__pipe *p, redis__want *w, const redis__value *v)
{
    redis__conn *c = w->what;
    must_work(p, w, v);
    if (!v || v->type == REDIS__ERROR)
        return;
    c->state = REDIS__READY;
    redis__link_greeted(c);
}

static void ask_facts(redis__conn *c)
{
    redis__command(&c->out, "INFO", NULL);
    redis__ask(c, read_info, c, 0);
    redis__command(&c->out, "CONFIG", "GET", "appendfsync", NULL);
    redis__ask(c, read_fsync, c, 0);
    redis__command(&c->out, "TIME", NULL);
    redis__ask(c, read_time, c, 0);
}

static void set_name(redis__conn *c)
{
    static const char *const roles[] = {"write", "calls", "posts", "replies", "news", "events"};
    char name[96];
    snprintf(name, sizeof name, "ferry-%.60s-%s", c->pipe->config->name ? c->pipe->config->name : "", roles[c->role]);
    for (char *at = name; *at; at++)
        if (*at <= ' ' || *at > '~')
            *at = '_';
    redis__command(&c->out, "CLIENT", "SETNAME", name, NULL);
    redis__ask(c, redis__ignore, c, 0);
    redis__command(&c->out, "CLIENT", "ID", NULL);
    redis__ask(c, read_number, c, 0);
}

static void greet(redis__conn *c)
{
    redis__pipe *p = c->pipe;
    c->state = REDIS__GREETING;
    if (p->url->password) {
        if (p->url->user && *p->url->user)
            redis__command(&c->out, "AUTH", p->url->user, p->url->password, NULL);
        else
            redis__command(&c->out, "AUTH", p->url->password, NULL);
        redis__ask(c, must_work, c, 1);
    }
    if (p->db) {
        char db[16];
        snprintf(db, sizeof db, "%d", p->db);
        redis__command(&c->out, "SELECT", db, NULL);
        redis__ask(c, must_work, c, 0);
    }
    set_name(c);
    if (c->role == REDIS__W)
        ask_facts(c);
    redis__command(&c->out, "PING", NULL);
    redis__ask(c, greeted, c, 0);
    c->limit_ms = p->now_ms + p->connect_ms;
    redis__conn_flush(c);
}

/* ---- Opening and closing -------------------------------------------------------------------------------------------- */

static void wake(void *arg)
{
    redis__pipe *p = arg;
    uint64_t one = 1;
    if (write(p->wake_fd, &one, sizeof one) < 0)
        return; /* full: readable all the same */
}

static ferry__stream_options options(const redis__pipe *p)
{
    const ferry__url *u = p->url;
    const ferry__setting *t = redis__settings;
    const redis__host *h = &p->hosts[p->host];
    return (ferry__stream_options){.host = p->is_unix ? NULL : h->host,
                                   .port = p->is_unix ? NULL : h->port,
                                   .unix_path = p->is_unix ? u->path : NULL,
                                   .tls = p->tls,
                                   .ca_file = ferry__url_text(u, t, "ca"),
                                   .cert_file = ferry__url_text(u, t, "cert"),
                                   .key_file = ferry__url_text(u, t, "key"),
                                   .tls_name = ferry__url_text(u, t, "tls_name"),
                                   .tls_unverified = p->tls && !ferry__url_number(u, t, "verify"),
                                   .connect_ms = p->connect_ms,
                                   .dead_ms = p->dead_ms,
                                   .in_max = IN_MAX,
                                   .out_max = OUT_MAX};
}

bool redis__conn_open(redis__conn *c)
{
    redis__pipe *p = c->pipe;
    ferry__stream_options o = options(p);
    c->out = FERRY__BUF(OUT_MAX);
    c->reader = redis__reader_new(p->config->max_message * 4 + (1 << 20));
    c->stream = c->reader ? ferry__stream_open(&o, p->up->log, wake, p) : NULL;
    c->state = REDIS__OPENING;
    c->written = 0;
    redis__lot_reset(c);
    c->reading = c->nudged = c->ready = false;
    if (c->stream)
        return true;
    redis__reader_free(c->reader);
    c->reader = NULL;
    c->state = REDIS__OFF;
    return false;
}

void redis__conn_close(redis__conn *c, bool abandon)
{
    if (c->state == REDIS__OFF)
        return;
    uint64_t sent = c->written - ferry__stream_unsent(c->stream);
    if (abandon)
        ferry__stream_abandon(c->stream);
    else
        ferry__stream_free(c->stream);
    c->stream = NULL;
    redis__reader_free(c->reader);
    c->reader = NULL;
    ferry__buf_done(&c->out);
    c->state = REDIS__OFF;
    c->reading = c->nudged = c->ready = false;
    c->epoll_fd = -1;
    redis__want w;
    while (take_want(c, &w)) {
        w.left = w.end <= sent;
        w.answer(c->pipe, &w, NULL);
    }
    c->count = c->eager = 0;
}

void redis__conn_done(redis__conn *c, bool abandon)
{
    redis__conn_close(c, abandon);
    ferry__free(c->wants);
    c->wants = NULL;
    c->room = 0;
}

/* ---- Moving bytes --------------------------------------------------------------------------------------------------- */

void redis__conn_flush(redis__conn *c)
{
    if (c->state < REDIS__GREETING)
        return;
    if (c->out.failed || (c->out.length && !redis__lot_write(c))) {
        redis__link_fail(c->pipe, FERRY_NO_MEMORY, "no room for what is to be written to Redis");
        return;
    }
    ferry__buf_clear(&c->out);
    if (ferry__stream_unsent(c->stream))
        ferry__stream_flush(c->stream);
}

void redis__conn_answer(redis__conn *c, const redis__value *v)
{
    redis__want w;
    if (take_want(c, &w))
        w.answer(c->pipe, &w, v);
    else
        redis__link_fail(c->pipe, FERRY_PROTOCOL, "Redis answered what nobody asked: %.100s", redis__text(v));
}

static void hand_out(redis__conn *c, const redis__value *v)
{
    if (c->role == REDIS__S && c->state == REDIS__READY)
        redis__inbox_message(c->pipe, v);
    else if (!redis__lot_answer(c, v))
        redis__conn_answer(c, v);
}

static void parse(redis__conn *c)
{
    redis__pipe *p = c->pipe;
    const redis__value *v;
    do {
        size_t length, used;
        const char *in = ferry__stream_in(c->stream, &length);
        v = redis__reader_next(c->reader, in, length, &used);
        ferry__stream_eat(c->stream, used);
        if (v)
            hand_out(c, v);
    } while (v && !p->slow_to_die);
    if (!p->slow_to_die && redis__reader_flaw(c->reader))
        redis__link_fail(p, FERRY_PROTOCOL, "%s", redis__reader_flaw(c->reader));
}

void redis__conn_pump(redis__conn *c)
{
    redis__pipe *p = c->pipe;
    if (c->state == REDIS__OFF || p->slow_to_die)
        return;
    ferry__stream_state before = ferry__stream_where(c->stream);
    ferry__stream_state now = ferry__stream_pump(c->stream, p->now_ms);
    c->ready = false;
    if (c->state == REDIS__OPENING && now == FERRY__OPEN)
        greet(c);
    else if (before == FERRY__OPEN)
        parse(c);
    if (now == FERRY__CLOSED && !p->slow_to_die) {
        const char *why;
        ferry_status status = ferry__stream_status(c->stream, &why);
        redis__link_fail(p, status, "%s", why);
    }
}
