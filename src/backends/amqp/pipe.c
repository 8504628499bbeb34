/* pipe.c - the table of amqp and amqps, and its turn: flush writes, pump reads and hands up, wait polls two sockets and an eventfd.
 *
 * A socket is read when the last poll saw something in it. A turn that has just written leaves the reading to the poll that follows,
 * once: a batch then costs a write, a poll and a read, and none that finds nothing. Without a poll in between, what is read is the
 * socket on which something is due. */
#include "backends/amqp/amqp.h"
#include "backends/amqp/event_stream.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    CLOSE_MS = 1000,
    BYE_MS = 500,
    OUT_MS = 10 /* the broker says little on the connection that publishes: so often it is looked at without a poll */
};

const ferry__setting ferry__amqp_settings[] = {
    {"queue", FERRY__CHOICE, "quorum", 0, 0, "quorum|classic",
     "type of the queues of posts and dead letters; the same for all who share them"},
    {"reply", FERRY__CHOICE, "exclusive", 0, 0, "exclusive|direct",
     "answers through a queue of the handle's own, or RabbitMQ's direct reply-to"},
    {"events", FERRY__CHOICE, "queue", 0, 0, "queue|stream",
     "what a domain is: queues, which keep events for the groups there are, or a stream, which keeps them for all"},
    {"prefetch", FERRY__NUMBER, "2000", 1, 65535, NULL,
     "messages of one queue that a server holds unacknowledged at most"},
    {"window", FERRY__NUMBER, "1000", 1, 100000, NULL, "posts under way that the broker has not confirmed, at most"},
    {"heartbeat", FERRY__MS, "10s", 20, 600000, NULL,
     "a sign of life each half of it; a broker silent for two is gone"},
    {"connect", FERRY__MS, "5s", 10, 600000, NULL, "for one attempt to connect, handshakes and declarations included"},
    {"tier", FERRY__MS, "100ms", 1, 3600000, NULL,
     "the shortest delay of a retry; the others are 1.5, 2, 3, 4, 6, 8, … times as long"},
    {"auth", FERRY__CHOICE, "plain", 0, 0, "plain|external", "by user and password, or by the client certificate"},
    {"ca", FERRY__TEXT, NULL, 0, 0, NULL, "file with the certificates to trust, instead of the system's"},
    {"cert", FERRY__TEXT, NULL, 0, 0, NULL, "file with the client's certificate chain"},
    {"key", FERRY__TEXT, NULL, 0, 0, NULL, "file with the key of that certificate"},
    {"tls_name", FERRY__TEXT, NULL, 0, 0, NULL, "the name that the broker's certificate must have, if not the host's"},
    {"verify", FERRY__FLAG, "yes", 0, 0, NULL, "check the broker's certificate and its name"},
    {NULL, FERRY__TEXT, NULL, 0, 0, NULL, NULL},
};

/* ---- opening -------------------------------------------------------------------------------------------------------- */

static bool loopback_only(const char *hosts)
{
    static const char *const here[] = {"localhost", "127.", "[::1]"};
    for (const char *at = hosts ? hosts : ""; *at; at += strcspn(at, ","), at += *at == ',') {
        bool is = false;
        for (size_t i = 0; i < sizeof here / sizeof *here; i++)
            is = is || strncmp(at, here[i], strlen(here[i])) == 0;
        if (!is)
            return false;
    }
    return true;
}

static ferry_status check_login(ferry__amqp *a, char *why)
{
    bool here = loopback_only(a->url->hosts);
    if (!a->external && !a->url->user && !here) {
        ferry__why(why, "a user is missing: amqp://USER:PASSWORD@HOST (guest is only for this machine)");
        return FERRY_INVALID;
    }
    if (a->external && !a->tls) {
        ferry__why(why, "auth=external needs amqps: the certificate is the login");
        return FERRY_INVALID;
    }
    if (!a->tls && !here && a->url->password)
        ferry__log_print(a->up->log, LOG_WARNING,
                         "amqp: the password crosses the network readable by all: amqps hides it");
    return FERRY_OK;
}

static ferry_status read_vhost(ferry__amqp *a, char *why)
{
    const char *path = a->url->path ? a->url->path : "";
    const char *name = *path == '/' && path[1] ? path + 1 : "/";
    if (strlen(name) < sizeof a->vhost) {
        snprintf(a->vhost, sizeof a->vhost, "%s", name);
        return FERRY_OK;
    }
    ferry__why(why, "the virtual host, which is the path, has at most 255 bytes");
    return FERRY_INVALID;
}

static void read_settings(ferry__amqp *a)
{
    const ferry__setting *t = ferry__amqp_settings;
    a->tls = strcmp(a->url->scheme, "amqps") == 0;
    a->quorum = ferry__url_number(a->url, t, "queue") == 0;
    a->direct = ferry__url_number(a->url, t, "reply") == 1;
    a->streams = ferry__url_number(a->url, t, "events") == 1;
    a->external = ferry__url_number(a->url, t, "auth") == 1;
    a->verify = ferry__url_number(a->url, t, "verify") != 0;
    a->prefetch = (unsigned)ferry__url_number(a->url, t, "prefetch");
    a->window = (unsigned)ferry__url_number(a->url, t, "window");
    a->heartbeat_ms = (int)ferry__url_number(a->url, t, "heartbeat");
    a->connect_ms = (int)ferry__url_number(a->url, t, "connect");
    a->tier_ms = (int)ferry__url_number(a->url, t, "tier");
}

static void init_lists(ferry__amqp *a)
{
    ferry__frames *all[] = {&a->waiting[0], &a->waiting[1], &a->refused, &a->replies, &a->late};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ferry__frames_init(all[i]);
    ferry__list_init(&a->intakes);
    ferry__list_init(&a->leavers);
    ferry__list_init(&a->feeds);
    ferry__list_init(&a->boxes);
    ferry__list_init(&a->domains);
    a->probes_end = &a->probes;
    a->admins_end = &a->admins;
    a->calls.base = a->calls.top = a->posts.base = a->posts.top = 1;
    for (size_t i = 0; i < FERRY__AMQP_CHANNELS; i++)
        a->tags[i].base = a->tags[i].top = 1;
    a->scratch = FERRY__BUF(1024 * 1024);
    a->out = (ferry__amqp_conn){.a = a, .publishes = true, .watched = {.fd = -1}};
    a->in = (ferry__amqp_conn){.a = a, .watched = {.fd = -1}};
    for (size_t i = 0; i < 3; i++)
        a->polled[i].fd = -1;
}

static ferry_status amqp_open(void *self, ferry__up *up, const ferry__config *config, const ferry__url *url, char *why)
{
    ferry__amqp *a = self;
    a->up = up;
    a->config = config;
    a->url = url;
    a->epoll = -1;
    init_lists(a);
    a->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (a->event < 0) {
        ferry__why(why, "no descriptor for waking: %s", strerror(errno));
        return FERRY_NO_MEMORY;
    }
    read_settings(a);
    if (!a->streams)
        up->bits &= ~(unsigned)FERRY__REPLAYS;
    for (size_t i = 0; i < sizeof config->client; i++)
        snprintf(a->client + 2 * i, 3, "%02x", config->client[i]);
    ferry_status status = read_vhost(a, why);
    return status != FERRY_OK ? status : check_login(a, why);
}

/* ---- waiting -------------------------------------------------------------------------------------------------------- */

void ferry__amqp_wake(void *self)
{
    ferry__amqp *a = self;
    uint64_t one = 1;
    int kept = errno;
    atomic_store(&a->woken, true);
    if (atomic_load(&a->asleep) && write(a->event, &one, sizeof one) < 0)
        errno = kept; /* the counter is full: readable all the same */
}

static void clear_event(ferry__amqp *a)
{
    uint64_t count;
    if (read(a->event, &count, sizeof count) < 0)
        return; /* it was empty */
}

static void amqp_wait(void *self, int ms)
{
    ferry__amqp *a = self;
    atomic_store(&a->asleep, true);
    int n = poll(a->polled, 3, atomic_load(&a->woken) ? 0 : ms);
    if (a->epoll < 0)
        atomic_store(&a->asleep, false);
    if (n > 0 && a->polled[2].revents)
        clear_event(a);
    a->slept = true;
}

static struct pollfd interest(const ferry__amqp_conn *c)
{
    int fd = c->stream ? ferry__stream_fd(c->stream) : -1;
    return (struct pollfd){.fd = fd, .events = fd >= 0 ? ferry__stream_events(c->stream) : 0};
}

static void tell_epoll(ferry__amqp *a, ferry__amqp_conn *c, struct pollfd want)
{
    struct epoll_event e = {.data.fd = want.fd,
                            .events = (want.events & POLLIN ? EPOLLIN : 0u) | (want.events & POLLOUT ? EPOLLOUT : 0u)};
    if (want.fd < 0 || (want.fd == c->watched.fd && want.events == c->watched.events))
        return; /* a closed descriptor left the set by itself */
    if (epoll_ctl(a->epoll, EPOLL_CTL_MOD, want.fd, &e) < 0)
        epoll_ctl(a->epoll, EPOLL_CTL_ADD, want.fd, &e);
    c->watched = want;
}

/* What wait will look at; made by the driver, under the lock, after all that it did. */
static void prepare_wait(ferry__amqp *a)
{
    a->polled[0] = interest(&a->out);
    a->polled[1] = interest(&a->in);
    a->polled[2] = (struct pollfd){.fd = a->event, .events = POLLIN};
    a->slept = false;
    if (a->epoll < 0)
        return;
    tell_epoll(a, &a->out, a->polled[0]);
    tell_epoll(a, &a->in, a->polled[1]);
}

static int amqp_fd(void *self)
{
    ferry__amqp *a = self;
    struct epoll_event e = {.events = EPOLLIN, .data.fd = a->event};
    if (a->epoll >= 0)
        return a->epoll;
    a->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (a->epoll < 0)
        return -1;
    epoll_ctl(a->epoll, EPOLL_CTL_ADD, a->event, &e);
    atomic_store(&a->asleep, true); /* the loop may sleep at any time */
    tell_epoll(a, &a->out, interest(&a->out));
    tell_epoll(a, &a->in, interest(&a->in));
    return a->epoll;
}

static int amqp_next_ms(void *self, int64_t now_ms)
{
    return ferry__amqp_life_next_ms(self, now_ms);
}

/* ---- a turn --------------------------------------------------------------------------------------------------------- */

static void write_all(ferry__amqp *a, int64_t now_ms)
{
    if (a->phase == FERRY__AMQP_UP) {
        ferry__amqp_send_replies(a);
        ferry__amqp_acknowledge(a);
        ferry__amqp_send_fence(a, now_ms);
    }
    ferry__amqp_conn_flush(&a->out, now_ms);
    ferry__amqp_conn_flush(&a->in, now_ms);
}

static void amqp_flush(void *self)
{
    ferry__amqp *a = self;
    bool noted = a->out.noted || a->in.noted;
    write_all(a, ferry__now_ms());
    a->wrote = (a->wrote || noted) && !a->out.noted && !a->in.noted;
}

static bool may_have_news(const ferry__amqp *a, const ferry__amqp_conn *c, const struct pollfd *polled, int64_t now_ms)
{
    bool knows = a->epoll < 0 && polled->fd >= 0;
    return !knows || polled->revents || a->phase != FERRY__AMQP_UP ||
           (c->stream && ferry__stream_next_ms(c->stream, now_ms) == 0);
}

/* Nobody polled, so this may cost a read that finds nothing. */
static void guess(ferry__amqp *a, int64_t now_ms)
{
    bool due = a->calls.top > a->calls.base || a->posts.top > a->posts.base || a->probes || a->look;
    a->in.unread = true;
    a->out.unread = due || a->phase != FERRY__AMQP_UP || a->epoll >= 0 || now_ms - a->looked_ms >= OUT_MS;
}

static void note_readable(ferry__amqp *a, int64_t now_ms)
{
    a->skipped = a->wrote && !a->slept && !a->skipped && a->phase == FERRY__AMQP_UP && a->epoll < 0;
    a->wrote = false;
    if (a->skipped) {
        a->out.unread = ferry__stream_next_ms(a->out.stream, now_ms) == 0;
        a->in.unread = ferry__stream_next_ms(a->in.stream, now_ms) == 0;
        return;
    }
    if (a->slept) {
        a->out.unread = may_have_news(a, &a->out, &a->polled[0], now_ms);
        a->in.unread = may_have_news(a, &a->in, &a->polled[1], now_ms);
    } else
        guess(a, now_ms);
    a->looked_ms = a->slept || a->out.unread ? now_ms : a->looked_ms;
}

static void report(ferry__amqp *a)
{
    ferry__amqp_report_refused(a);
    ferry__amqp_admin_report(a);
    size_t good = a->settled_now, bad = a->lost_now;
    a->settled_now = a->lost_now = 0;
    if (a->closing)
        return;
    if (good)
        a->up->settled(a->up, good, FERRY_OK, NULL);
    if (bad)
        a->up->settled(a->up, bad, FERRY_UNAVAILABLE, *a->why ? a->why : "the broker refused the copy");
}

static void turn(ferry__amqp *a)
{
    int64_t now_ms = ferry__now_ms();
    atomic_store(&a->woken, false);
    if (a->epoll >= 0)
        clear_event(a);
    note_readable(a, now_ms);
    ferry__amqp_conn_pump(&a->out, now_ms);
    ferry__amqp_conn_pump(&a->in, now_ms);
    ferry__amqp_show_signs(a);
    ferry__amqp_ready(a);
    ferry__amqp_move(a, now_ms);
    ferry__amqp_late(a, now_ms);
    ferry__amqp_hand_up(a);
    ferry__amqp_pinch(a, now_ms);
    ferry__amqp_send_waiting(a, now_ms);
    ferry__amqp_leave_look(a);
    ferry__amqp_events_look(a, now_ms);
    write_all(a, now_ms);
    report(a);
    prepare_wait(a);
}

static void amqp_pump(void *self)
{
    turn(self);
}

/* ---- closing -------------------------------------------------------------------------------------------------------- */

static bool given_back(const ferry__amqp *a)
{
    return !a->cancelling && !a->keyed_closing && ferry__list_empty(&a->leavers) && ferry__list_empty(&a->feeds) &&
           ferry__amqp_send_quiet(a);
}

static bool said_bye(const ferry__amqp *a)
{
    return a->out.bye && a->in.bye;
}

static void turn_until(ferry__amqp *a, bool (*over)(const ferry__amqp *a), int ms)
{
    int64_t end_ms = ferry__now_ms() + ms;
    for (int64_t left; a->phase == FERRY__AMQP_UP && !over(a) && (left = end_ms - ferry__now_ms()) > 0;) {
        turn(a);
        int own = ferry__amqp_life_next_ms(a, ferry__now_ms());
        if (a->phase == FERRY__AMQP_UP && !over(a))
            amqp_wait(a, own >= 0 && own < left ? own : (int)left);
    }
}

static void free_all(ferry__amqp *a, bool forked)
{
    ferry__amqp_drop(a, forked);
    ferry__amqp_send_done(a);
    ferry__amqp_consume_done(a);
    ferry__amqp_admin_done(a);
    ferry__amqp_drop_directs(a);
    ferry__frames_drop(&a->late);
    ferry__buf_done(&a->scratch);
    if (a->epoll >= 0)
        close(a->epoll);
    if (a->event >= 0)
        close(a->event);
    a->epoll = a->event = -1;
}

static void amqp_close(void *self)
{
    ferry__amqp *a = self;
    if (!a->up)
        return;
    a->closing = true;
    ferry__amqp_events_close(a);
    turn_until(a, given_back, CLOSE_MS);
    if (a->phase == FERRY__AMQP_UP) {
        ferry__amqp_conn_bye(&a->out);
        ferry__amqp_conn_bye(&a->in);
        turn_until(a, said_bye, BYE_MS);
    }
    free_all(a, false);
}

static void amqp_abandon(void *self)
{
    ferry__amqp *a = self;
    if (a->up)
        free_all(a, true);
}

#define TABLE(name, text)                                                                                          \
    {                                                                                                              \
        .scheme = name, .about = text, .state_size = sizeof(ferry__amqp),                                          \
        .bits = FERRY__DURABLE | FERRY__CANCELS | FERRY__BEATS | FERRY__REPLAYS, .settings = ferry__amqp_settings,                  \
        .more = &ferry__amqp_more, .open = amqp_open, .close = amqp_close, .abandon = amqp_abandon,                \
        .listen = ferry__amqp_listen, .unlisten = ferry__amqp_unlisten, .credit = ferry__amqp_credit,              \
        .send = ferry__amqp_send, .flush = amqp_flush, .settle = ferry__amqp_settle, .retry = ferry__amqp_retry,   \
        .bury = ferry__amqp_bury, .hand_back = ferry__amqp_hand_back, .wait = amqp_wait, .wake = ferry__amqp_wake, \
        .pump = amqp_pump, .probe = ferry__amqp_probe, .next_ms = amqp_next_ms, .fd = amqp_fd,                     \
    }

const ferry__abilities ferry__amqp_more = {.admin = ferry__amqp_admin, .seek = ferry__amqp_seek};
const ferry__backend   ferry__amqp_backend = TABLE("amqp", "RabbitMQ");
const ferry__backend   ferry__amqps_backend = TABLE("amqps", "RabbitMQ over TLS");
