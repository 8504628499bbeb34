/* pipe.c - the table of redis, and a turn of the driver.
 *
 * Any thread, with the lock: listen, unlisten, credit, send, settle, probe, … only note down. The driver alone: flush writes (W first,
 * then the reads of the next turn), pump reads what poll said is there, and makes all upcalls; wait polls without the lock, on a list
 * made by the pump before it. So connections need no lock of their own.
 *
 * The answers on W to calls, replies and acknowledgements are lazy: they wake nobody, and are read in lots or after REDIS__LAZY_MS. */
#include "backends/redis/redis.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

const ferry__setting redis__settings[] = {
    {"db", FERRY__NUMBER, NULL, 0, 65535, NULL, "number of the database [that of the path, else 0]"},
    {"reply", FERRY__CHOICE, "stream", 0, 0, "stream|pubsub", "how answers come back: pubsub is faster, and loses what comes while the link is down"},
    {"reply_ttl", FERRY__MS, "60s", 1000, 86400000, NULL, "how long the reply stream of a dead client stays"},
    {"lease", FERRY__MS, "3s", 20, 3600000, NULL, "a server that is silent for so long counts as dead; the same for all of a service"},
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
    for (size_t i = 0; i < REDIS__ROLES; i++)
        p->conns[i] = (redis__conn){.pipe = p, .role = (redis__role)i, .epoll_fd = -1};
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

/* ---- A turn: writing ------------------------------------------------------------------------------------------------ */

static void flush_conns(redis__pipe *p)
{
    for (size_t i = 0; i < REDIS__ROLES; i++) {
        redis__conn *c = &p->conns[i];
        if (c->state >= REDIS__GREETING && !p->slow_to_die && (c->out.length || c->out.failed || ferry__stream_unsent(c->stream)))
            redis__conn_flush(c);
    }
}

static void read_on(redis__pipe *p)
{
    if (p->state != FERRY__UP)
        return;
    redis__inbox_read(p);
    redis__intake_read(p);
}

static bool stale(const redis__pipe *p)
{
    const redis__conn *w = &p->conns[REDIS__W];
    return w->state == REDIS__READY && w->count == 0 && p->staged.count > 0 && p->now_ms - p->looked_ms > 100;
}

static void redis_flush(void *self)
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
    bool lazy = c->role == REDIS__W && c->state == REDIS__READY && c->eager == 0 && c->count < REDIS__LAZY_LOT && p->epoll_fd < 0;
    if (lazy && c->count > 0 && p->now_ms - c->lazy_ms < REDIS__LAZY_MS)
        events &= (short)~POLLIN;
    return events;
}

static void make_list(redis__pipe *p)
{
    p->polled_count = 0;
    p->polled[p->polled_count] = (struct pollfd){.fd = p->wake_fd, .events = POLLIN};
    p->polled_conn[p->polled_count++] = NULL;
    for (size_t i = 0; i < REDIS__ROLES; i++) {
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
    for (size_t i = 0; i < REDIS__ROLES; i++) {
        redis__conn *c = &p->conns[i];
        if (c->state != REDIS__OFF && !p->slow_to_die && due(p, c))
            redis__conn_pump(c);
    }
}

static void deliver(redis__pipe *p)
{
    for (redis__service *s = p->services; s; s = s->next) {
        redis__lane_deliver(p, &s->calls);
        for (unsigned i = 0; i <= p->config->partitions; i++)
            if (s->posts[i].backlog.first)
                redis__lane_deliver(p, &s->posts[i]);
    }
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
    for (size_t i = 0; i < REDIS__ROLES && p->epoll_fd >= 0; i++) {
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

static void redis_pump(void *self)
{
    redis__pipe *p = self;
    p->now_ms = ferry__now_ms();
    look(p);
    clear_wake(p);
    pump_conns(p);
    deliver(p);
    redis__link_turn(p);
    redis__send_news(p);
    if (p->admins && p->state == FERRY__UP)
        redis__admin_ask(p);
    tell_settled(p);
    read_on(p);
    make_list(p);
    sync_epoll(p);
}

static void redis_wait(void *self, int ms)
{
    redis__pipe *p = self;
    int got = poll(p->polled, p->polled_count, ms);
    if (got > 0)
        mark(p);
    p->looked = true;
    p->looked_ms = p->now_ms;
}

static void redis_wake(void *self)
{
    redis__pipe *p = self;
    uint64_t one = 1;
    int saved = errno;
    if (write(p->wake_fd, &one, sizeof one) < 0)
        errno = saved; /* full: readable all the same */
}

static bool unwritten(const redis__pipe *p)
{
    for (size_t i = 0; i < REDIS__ROLES; i++)
        if (p->conns[i].state >= REDIS__GREETING && p->conns[i].out.length)
            return true;
    return false;
}

static int redis_next_ms(void *self, int64_t now_ms)
{
    redis__pipe *p = self;
    bool noted = p->work || unwritten(p) || (p->state == FERRY__UP && p->admins) || p->settled_now || p->unsettled_now;
    return noted ? 0 : redis__link_next_ms(p, now_ms);
}

static int redis_fd(void *self)
{
    redis__pipe *p = self;
    if (p->epoll_fd >= 0)
        return p->epoll_fd;
    p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = p->wake_fd};
    if (p->epoll_fd >= 0)
        epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, p->wake_fd, &e);
    sync_epoll(p);
    redis_wake(p);
    return p->epoll_fd;
}

/* ---- Closing -------------------------------------------------------------------------------------------------------- */

static void free_all(redis__pipe *p)
{
    for (size_t i = 0; i < REDIS__ROLES; i++)
        redis__conn_done(&p->conns[i]);
    redis__send_free(p);
    redis__services_free(p);
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

static bool reading(const redis__pipe *p)
{
    return p->conns[REDIS__C].reading || p->conns[REDIS__P].reading;
}

/* Moves bytes until nothing is open any more, or the time is over, or the link. */
static void await_quiet(redis__pipe *p, bool reads, int64_t until_ms)
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
    enum { EACH_MS = 300 };
    static ferry__up silent = {no_frame, no_outcome, no_settled, no_withdrawn, no_probed, no_state, no_answered, NULL};
    static const ferry__log nobody = {NULL, NULL};
    silent.log = &nobody;
    p->up = &silent;
    p->now_ms = ferry__now_ms();
    for (redis__service *s = p->services; s; s = s->next)
        s->source[0] = s->source[1] = s->source[2] = NULL;
    unblock(p, &p->conns[REDIS__C]);
    unblock(p, &p->conns[REDIS__P]);
    await_quiet(p, true, p->now_ms + EACH_MS);
    deliver(p);
    redis__send_all(p);
    redis__services_leave(p);
    if (p->inbox_fresh_ms) {
        redis__command(&p->conns[REDIS__W].out, "UNLINK", p->inbox, NULL);
        redis__ask(&p->conns[REDIS__W], redis__ignore, NULL, 0);
    }
    await_quiet(p, false, p->now_ms + EACH_MS);
}

static void redis_close(void *self)
{
    redis__pipe *p = self;
    if (!p->up || p->wake_fd < 0) {
        if (p->up)
            free_all(p);
        return;
    }
    if (p->state == FERRY__UP)
        say_goodbye(p);
    free_all(p);
}

static void redis_abandon(void *self)
{
    redis__pipe *p = self;
    if (p->up)
        free_all(p);
}

/* ---- Noting --------------------------------------------------------------------------------------------------------- */

static int place(ferry__lane lane)
{
    return lane == FERRY__CALLS ? 0 : lane == FERRY__POSTS ? 1 : 2;
}

static void renew_soon(redis__pipe *p, redis__service *s)
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
        return FERRY_UNSUPPORTED;
    if (source->lane == FERRY__REPLIES) {
        p->replies_to = source;
        return FERRY_OK;
    }
    redis__service *s = redis__service_get(p, source->name);
    if (!s)
        return FERRY_NO_MEMORY;
    s->source[place(source->lane)] = source;
    source->data = s;
    renew_soon(p, s);
    return FERRY_OK;
}

static void redis_unlisten(void *self, ferry__source *source)
{
    redis__pipe *p = self;
    redis__service *s = source->data;
    if (source == p->replies_to)
        p->replies_to = NULL;
    if (!s)
        return;
    s->source[place(source->lane)] = NULL;
    if (source->lane != FERRY__CONTROLS)
        s->credit[place(source->lane)] = 0;
    source->data = NULL;
    renew_soon(p, s);
}

static void redis_credit(void *self, ferry__source *source, int frames)
{
    redis__service *s = source->data;
    (void)self;
    if (s && source->lane != FERRY__CONTROLS)
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
    redis__settle_note(self, f, REDIS__SETTLE);
}

static void redis_retry(void *self, ferry__frame *f, int delay_ms)
{
    redis__receipt *r = (redis__receipt *)(uintptr_t)f->tag[0];
    r->delay_ms = delay_ms;
    redis__settle_note(self, f, REDIS__RETRY);
}

static void redis_bury(void *self, ferry__frame *f, const char *box, const void *record, size_t length)
{
    redis__receipt *r = (redis__receipt *)(uintptr_t)f->tag[0];
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

const ferry__abilities redis__more = {
    .withdraw = redis_withdraw,
    .admin = redis_admin,
};

#define TABLE(name_, about_)                                                                       \
    {                                                                                              \
        .scheme = name_, .about = about_, .state_size = sizeof(redis__pipe),                       \
        .bits = FERRY__WITHDRAWS | FERRY__REMEMBERS | FERRY__REDELIVERS | FERRY__CANCELS | FERRY__DURABLE, \
        .settings = redis__settings, .more = &redis__more, .open = redis_open, .close = redis_close, \
        .abandon = redis_abandon, .listen = redis_listen, .unlisten = redis_unlisten,              \
        .credit = redis_credit, .send = redis_send, .flush = redis_flush, .settle = redis_settle,  \
        .retry = redis_retry, .bury = redis_bury, .hand_back = redis_hand_back, .wait = redis_wait, \
        .wake = redis_wake, .pump = redis_pump, .probe = redis_probe, .next_ms = redis_next_ms,    \
        .fd = redis_fd,                                                                            \
    }

const ferry__backend ferry__redis_backend = TABLE("redis", "Redis or Valkey: streams");
const ferry__backend ferry__rediss_backend = TABLE("rediss", "the same over TLS");
const ferry__backend ferry__redis_unix_backend = TABLE("redis+unix", "the same by a unix socket");
