/* pipe.c - the table of redis: opening, closing, and the slots that any thread calls, which only note down. What the driver does is
 * in turn.c. */
#include "backends/redis/event.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

const ferry__setting redis__settings[] = {
    {"db", FERRY__NUMBER, NULL, 0, 65535, NULL, "number of the database [that of the path, else 0]"},
    {"reply", FERRY__CHOICE, "stream", 0, 0, "stream|pubsub",
     "how answers come back: pubsub is faster, and loses what comes while the link is down"},
    {"reply_ttl", FERRY__MS, "60s", 1000, 86400000, NULL, "how long the reply stream of a dead client stays"},
    {"lease", FERRY__MS, "3s", 20, 3600000, NULL,
     "a server that is silent for so long counts as dead; the same for all of a service"},
    {"look", FERRY__MS, "1s", 10, 3600000, NULL, "how often a server looks for what dead ones had"},
    {"connect", FERRY__MS, "5s", 10, 600000, NULL, "how long an attempt to connect may take"},
    {"dead", FERRY__MS, "10s", 100, 600000, NULL, "a connection without an answer for so long counts as dead"},
    {"ca", FERRY__TEXT, NULL, 0, 0, NULL, "file of certificates to trust [the system's]"},
    {"cert", FERRY__TEXT, NULL, 0, 0, NULL, "file with our certificate"},
    {"key", FERRY__TEXT, NULL, 0, 0, NULL, "file with its key"},
    {"tls_name", FERRY__TEXT, NULL, 0, 0, NULL, "name that the certificate must have [the host's]"},
    {"verify", FERRY__FLAG, "yes", 0, 0, NULL, "no: trust whoever answers"},
    {NULL, FERRY__TEXT, NULL, 0, 0, NULL, NULL},
};

/* ---- Opening -------------------------------------------------------------------------------------------------------- */

static bool add_host(redis__pipe *p, const char *text, size_t length)
{
    redis__host *h = &p->hosts[p->hosts_count];
    const char *port = NULL;
    if (length == 0 || p->hosts_count == REDIS__HOSTS)
        return true;
    if (*text == '[') {
        const char *end = memchr(text, ']', length);
        size_t inside = end ? (size_t)(end - text) - 1 : length - 1;
        h->host = ferry__strndup(text + 1, inside);
        port = end && end[1] == ':' && (size_t)(end + 2 - text) < length ? end + 2 : NULL;
    } else {
        const char *colon = memchr(text, ':', length);
        h->host = ferry__strndup(text, colon ? (size_t)(colon - text) : length);
        port = colon ? colon + 1 : NULL;
    }
    h->port = port ? ferry__strndup(port, (size_t)(text + length - port)) : ferry__strdup("6379");
    p->hosts_count++;
    return h->host && h->port;
}

static ferry_status read_hosts(redis__pipe *p, char *why)
{
    const char *at = p->url->hosts && *p->url->hosts ? p->url->hosts : "localhost";
    for (;;) {
        size_t length = strcspn(at, ",");
        if (!add_host(p, at, length)) {
            ferry__why(why, "out of memory");
            return FERRY_NO_MEMORY;
        }
        if (!at[length])
            return FERRY_OK;
        at += length + 1;
    }
}

static ferry_status read_path(redis__pipe *p, char *why)
{
    const char *path = p->url->path ? p->url->path : "", *db = ferry__url_text(p->url, redis__settings, "db");
    p->db = (int)ferry__url_number(p->url, redis__settings, "db");
    if (p->is_unix) {
        if (*path)
            return FERRY_OK;
        ferry__why(why, "redis+unix: wants the path of a socket, as in redis+unix:/run/redis/redis.sock");
        return FERRY_INVALID;
    }
    if (*path == '/')
        path++;
    if (strspn(path, "0123456789") != strlen(path) || strlen(path) > 5) {
        ferry__why(why, "'/%.40s' is no number of a database", path);
        return FERRY_INVALID;
    }
    if (*path && !db)
        p->db = (int)strtol(path, NULL, 10);
    return FERRY_OK;
}

static void read_settings(redis__pipe *p)
{
    const ferry__url *u = p->url;
    const ferry__setting *t = redis__settings;
    p->tls = strcmp(u->scheme, "rediss") == 0;
    p->is_unix = strcmp(u->scheme, "redis+unix") == 0;
    p->pubsub = ferry__url_number(u, t, "reply") == 1;
    p->reply_ttl_ms = (int)ferry__url_number(u, t, "reply_ttl");
    p->lease_ms = (int)ferry__url_number(u, t, "lease");
    p->look_ms = (int)ferry__url_number(u, t, "look");
    p->connect_ms = (int)ferry__url_number(u, t, "connect");
    p->dead_ms = (int)ferry__url_number(u, t, "dead");
}

static void init(redis__pipe *p)
{
    ferry__frames *all[] = {&p->staged, &p->replies, &p->refused};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ferry__frames_init(all[i]);
    ferry__list_init(&p->withdrawals);
    for (size_t i = 0; i < REDIS__CONNS; i++)
        p->conns[i] = (redis__conn){.pipe = p, .role = i < REDIS__ROLES ? (redis__role)i : REDIS__E, .epoll_fd = -1};
    p->conns_used = REDIS__ROLES;
    p->wake_fd = p->epoll_fd = -1;
    p->state = FERRY__DOWN;
    p->retry_ms = INT64_MAX;
    p->now_ms = ferry__now_ms();
}

static ferry_status redis_open(void *self, ferry__up *up, const ferry__config *config, const ferry__url *url, char *why)
{
    redis__pipe *p = self;
    p->up = up;
    p->config = config;
    p->url = url;
    init(p);
    read_settings(p);
    ferry_status status = read_path(p, why);
    if (status == FERRY_OK)
        status = read_hosts(p, why);
    if (status != FERRY_OK)
        return status;
    p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->wake_fd < 0) {
        ferry__why(why, "no descriptor for waking: %s", strerror(errno));
        return FERRY_INTERNAL;
    }
    redis__inbox_init(p);
    redis__link_start(p);
    return FERRY_OK;
}

/* ---- Closing -------------------------------------------------------------------------------------------------------- */

/* The core is not told any more. */
static void no_frame(ferry__up *up, ferry__source *source, ferry__frame *frame)
{
    (void)up;
    (void)source;
    ferry__frame_unref(frame);
}
static void no_outcome(ferry__up *up, ferry__frame *frame, ferry__fate fate, ferry_status status, const char *why)
{
    (void)up;
    (void)frame;
    (void)fate;
    (void)status;
    (void)why;
}
static void no_settled(ferry__up *up, size_t how_many, ferry_status status, const char *why)
{
    (void)up;
    (void)how_many;
    (void)status;
    (void)why;
}
static void no_withdrawn(ferry__up *up, ferry__frame *frame, bool yes)
{
    (void)up;
    (void)frame;
    (void)yes;
}
static void no_probed(ferry__up *up, ferry__target *target, ferry__presence presence)
{
    (void)up;
    (void)target;
    (void)presence;
}
static void no_state(ferry__up *up, ferry__state state, ferry_status why, const char *text)
{
    (void)up;
    (void)state;
    (void)why;
    (void)text;
}
static void no_answered(ferry__up *up, ferry__admin *admin)
{
    (void)up;
    (void)admin;
}
static void no_news(ferry__up *up, ferry__source *source)
{
    (void)up;
    (void)source;
}
static void no_broken(ferry__up *up, ferry__source *source, ferry_status status, const char *why)
{
    (void)up;
    (void)source;
    (void)status;
    (void)why;
}

static void fall_silent(redis__pipe *p)
{
    static const ferry__log nobody = {NULL, NULL};
    static ferry__up silent = {no_frame,    no_outcome, no_settled, no_withdrawn, no_probed, no_state,
                               no_answered, no_news,    no_news,    no_broken,    &nobody,   0};
    p->up = &silent;
}

static void free_all(redis__pipe *p, bool abandon)
{
    fall_silent(p);
    for (size_t i = 0; i < REDIS__CONNS; i++)
        redis__conn_done(&p->conns[i], abandon);
    redis__send_free(p);
    redis__services_free(p);
    redis__events_free(p);
    for (size_t i = 0; i < p->hosts_count; i++) {
        ferry__free(p->hosts[i].host);
        ferry__free(p->hosts[i].port);
    }
    if (p->wake_fd >= 0)
        close(p->wake_fd);
    if (p->epoll_fd >= 0)
        close(p->epoll_fd);
    p->hosts_count = 0;
    p->wake_fd = p->epoll_fd = -1;
}

static void unblock(redis__pipe *p, redis__conn *c)
{
    redis__conn *w = &p->conns[REDIS__W];
    if (!c->reading || !c->number)
        return;
    char number[24];
    snprintf(number, sizeof number, "%lld", (long long)c->number);
    redis__command(&w->out, "CLIENT", "UNBLOCK", number, NULL);
    redis__ask(w, redis__ignore, NULL, 0);
}

/* What came while we were closing goes back as fresh; then the leases end, so that others see at once that we are gone. */
static void say_goodbye(redis__pipe *p)
{
    enum { EACH_MS = 120 };
    fall_silent(p);
    p->now_ms = ferry__now_ms();
    for (redis__service *s = p->services; s; s = s->next)
        s->source[0] = s->source[1] = s->source[2] = s->source[3] = NULL;
    unblock(p, &p->conns[REDIS__C]);
    unblock(p, &p->conns[REDIS__P]);
    for (size_t i = REDIS__E; i < p->conns_used; i++)
        unblock(p, &p->conns[i]);
    redis__await_quiet(p, true, p->now_ms + EACH_MS);
    redis__deliver(p);
    redis__send_all(p);
    redis__services_leave(p);
    if (p->inbox_fresh_ms) {
        redis__command(&p->conns[REDIS__W].out, "UNLINK", p->inbox, NULL);
        redis__ask(&p->conns[REDIS__W], redis__ignore, NULL, 0);
    }
    redis__await_quiet(p, false, p->now_ms + EACH_MS);
}

static void redis_close(void *self)
{
    redis__pipe *p = self;
    if (!p->up)
        return; /* never opened */
    if (p->state == FERRY__UP)
        say_goodbye(p);
    free_all(p, false);
}

static void redis_abandon(void *self)
{
    redis__pipe *p = self;
    if (p->up)
        free_all(p, true);
}

/* ---- Noting --------------------------------------------------------------------------------------------------------- */

static int place(ferry__lane lane)
{
    return lane == FERRY__CALLS ? 0 : lane == FERRY__POSTS ? 1 : 2;
}

void redis__service_renew(redis__pipe *p, redis__service *s)
{
    s->again = s->renewing;
    if (!s->renewing)
        s->renew_ms = 0;
    p->work = true;
}

static ferry_status redis_listen(void *self, ferry__source *source)
{
    redis__pipe *p = self;
    if (source->lane == FERRY__EVENTS)
        return redis__events_listen(p, source);
    if (source->lane == FERRY__REPLIES) {
        p->replies_to = source;
        return FERRY_OK;
    }
    redis__service *s = redis__service_get(p, source->name);
    if (!s)
        return FERRY_NO_MEMORY;
    s->source[place(source->lane)] = source;
    source->data = s;
    redis__service_renew(p, s);
    return FERRY_OK;
}

static void redis_unlisten(void *self, ferry__source *source)
{
    redis__pipe *p = self;
    redis__service *s = source->data;
    if (source->lane == FERRY__EVENTS) {
        redis__events_unlisten(p, source);
        return;
    }
    if (source == p->replies_to)
        p->replies_to = NULL;
    if (!s)
        return;
    s->source[place(source->lane)] = NULL;
    if (source->lane != FERRY__CONTROLS)
        s->credit[place(source->lane)] = 0;
    source->data = NULL;
    redis__service_renew(p, s);
}

static void redis_credit(void *self, ferry__source *source, int frames)
{
    redis__service *s = source->data;
    (void)self;
    if (source->lane == FERRY__EVENTS)
        redis__events_credit(self, source, frames);
    else if (s && source->lane != FERRY__CONTROLS)
        s->credit[place(source->lane)] += frames;
}

static void redis_send(void *self, ferry__target *target, ferry__frame *f)
{
    redis__pipe *p = self;
    p->work = true;
    if (!target) {
        ferry__frames_add(&p->replies, f);
        return;
    }
    f->tag[0] = (uint64_t)(uintptr_t)target;
    f->tag[1] = 0;
    ferry__frames_add(&p->staged, f);
}

static void redis_settle(void *self, ferry__frame *f)
{
    if (redis__tail_has(f))
        redis__tail_end(self, f);
    else
        redis__settle_note(self, f, REDIS__SETTLE);
}

static void redis_retry(void *self, ferry__frame *f, int delay_ms)
{
    redis__receipt *r = (redis__receipt *)(uintptr_t)f->tag[0];
    if (redis__tail_has(f)) {
        redis__tail_back(self, f);
        return;
    }
    r->delay_ms = delay_ms;
    redis__settle_note(self, f, REDIS__RETRY);
}

static void redis_bury(void *self, ferry__frame *f, const char *box, const void *record, size_t length)
{
    redis__receipt *r = (redis__receipt *)(uintptr_t)f->tag[0];
    if (redis__tail_has(f)) {
        redis__tail_bury(self, f, box, record, length);
        return;
    }
    r->box = ferry__strdup(box);
    r->record = ferry__alloc(length);
    r->record_length = length;
    if (!r->box || !r->record) {
        redis_retry(self, f, 1000); /* nothing is lost: it is tried again when there may be memory */
        return;
    }
    memcpy(r->record, record, length);
    redis__settle_note(self, f, REDIS__BURY);
}

static void redis_hand_back(void *self, ferry__frame *f)
{
    if (redis__tail_has(f))
        redis__tail_back(self, f);
    else
        redis__settle_note(self, f, REDIS__HAND_BACK);
}

static void redis_probe(void *self, ferry__target *target)
{
    redis__pipe *p = self;
    target->next = p->probes;
    p->probes = target;
    p->work = true;
}

static void redis_withdraw(void *self, ferry__target *target, ferry__frame *f)
{
    redis__send_withdraw(self, target, f);
}

static void redis_admin(void *self, ferry__admin *admin)
{
    redis__pipe *p = self;
    admin->next = p->admins;
    p->admins = admin;
    p->work = true;
}

static void redis_seek(void *self, ferry__source *source, const ferry__wish *to)
{
    redis__events_seek(self, source, to);
}

const ferry__abilities redis__more = {
    .seek = redis_seek,
    .withdraw = redis_withdraw,
    .admin = redis_admin,
};

#define TABLE(name_, about_)                                                                                         \
    {                                                                                                                \
        .scheme = name_, .about = about_, .state_size = sizeof(redis__pipe),                                         \
        .bits = FERRY__WITHDRAWS | FERRY__REMEMBERS | FERRY__REDELIVERS | FERRY__CANCELS | FERRY__DURABLE | \
                FERRY__REPLAYS,          \
        .settings = redis__settings, .more = &redis__more, .open = redis_open, .close = redis_close,                 \
        .abandon = redis_abandon, .listen = redis_listen, .unlisten = redis_unlisten, .credit = redis_credit,        \
        .send = redis_send, .flush = redis__flush, .settle = redis_settle, .retry = redis_retry, .bury = redis_bury, \
        .hand_back = redis_hand_back, .wait = redis__wait, .wake = redis__wake, .pump = redis__pump,                 \
        .probe = redis_probe, .next_ms = redis__next_ms, .fd = redis__fd,                                            \
    }

const ferry__backend ferry__redis_backend = TABLE("redis", "Redis or Valkey: streams");
const ferry__backend ferry__rediss_backend = TABLE("rediss", "the same over TLS");
const ferry__backend ferry__redis_unix_backend = TABLE("redis+unix", "the same by a unix socket");
