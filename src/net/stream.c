/* stream.c - the states of a stream and who moves it on:
 *
 *     RESOLVING --resolved--> CONNECTING --reached--> HANDSHAKE --shaken--> OPEN      plain: from CONNECTING to OPEN
 *                             one address after the other
 *
 * and fail() from each of them to CLOSED, which nothing leaves. Invariants:
 *
 * 1. fd >= 0 only from CONNECTING to OPEN.
 * 2. A write that fails does not close: what the peer said before it went may still be unread, and is the better reason. It is noted
 *    in `broken`, and the next pump reads to the end and closes.
 * 3. TLS may hold bytes that no poll tells of. Whenever reading stops before the socket is empty, `more` is set and next_ms is 0, as
 *    long as there is room.
 * 4. The buffers outlive the socket: in CLOSED, what had been read is still there to be eaten. */
#include "net/stream.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "net/bytes.h"
#include "net/resolve.h"
#include "net/socket.h"
#include "net/tls.h"
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

enum {
    READ_STEP = 64 * 1024,
    READ_MOST = 4 * 1024 * 1024, /* a pump: the owner has other things to do */
    UNIX_RETRY_MS = 5            /* a unix socket whose queue is full cannot be polled for */
};

struct ferry__stream {
    ferry__stream_state    state;
    ferry__stream_options  o; /* the texts stand in `texts` */
    const ferry__log      *log;
    int                    fd;
    bool                   more, quiet; /* more: invariant 3; quiet: a poll has just said that nothing is to be read */
    int                    broken; /* errno of a failed write, or 0 */
    int64_t                born, limit; /* of everything before OPEN */
    int64_t                next;  /* when this address has had its share of the time, or is tried again */
    ferry__resolve        *resolve;
    const struct addrinfo *address; /* being tried; NULL: unix */
    int                    tried, error; /* how many addresses failed, and how the last one did */
    ferry__tls            *tls;
    ferry__bytes           in, out;
    ferry_status           status;
    char                   why[FERRY_WHY_SIZE];
    char                   peer[128]; /* "host:port" or the path: for texts */
    char                   texts[];
};

static const ferry__log nobody;

/* ---- The end -------------------------------------------------------------------------------------------------------- */

static void drop_socket(ferry__stream *s, bool goodbye)
{
    ferry__tls_free(s->tls, goodbye);
    s->tls = NULL;
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    s->more = false;
}

static void fail(ferry__stream *s, ferry_status status, const char *format, ...) FERRY_PRINTF(3, 4);
static void fail(ferry__stream *s, ferry_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(s->why, sizeof s->why, format, args); /* before the TLS state goes: an argument may be its text */
    va_end(args);
    s->status = status;
    s->state = FERRY__CLOSED;
    drop_socket(s, false);
}

static void fail_by_errno(ferry__stream *s, int error)
{
    switch (error) {
    case ECONNRESET:
    case EPIPE:
        fail(s, FERRY_UNAVAILABLE, "%s broke the connection off: %s", s->peer, strerror(error));
        break;
    case ETIMEDOUT:
        fail(s, FERRY_UNAVAILABLE, "%s is gone: it has acknowledged nothing for %d ms", s->peer, s->o.dead_ms);
        break;
    default:
        fail(s, FERRY_UNAVAILABLE, "the connection to %s failed: %s", s->peer, strerror(error));
    }
}

static void fail_by_tls(ferry__stream *s)
{
    const char *why;
    ferry_status status = ferry__tls_status(s->tls, &why);
    fail(s, status, "%s", why);
}

static void fail_by_time(ferry__stream *s)
{
    int ms = s->o.connect_ms;
    if (s->state == FERRY__RESOLVING)
        fail(s, FERRY_UNAVAILABLE, "no name server has answered for the host '%s' within %d ms", s->o.host, ms);
    else if (s->state == FERRY__CONNECTING)
        fail(s, FERRY_UNAVAILABLE, "%s has not answered within %d ms", s->peer, ms);
    else
        fail(s, FERRY_UNAVAILABLE, "%s has not finished the TLS handshake within %d ms: is that its TLS port?", s->peer,
             ms);
}

/* ---- Open ----------------------------------------------------------------------------------------------------------- */

static size_t text_size(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

static size_t all_texts(const ferry__stream_options *o)
{
    return text_size(o->host) + text_size(o->port) + text_size(o->unix_path) + text_size(o->ca_file) +
           text_size(o->cert_file) + text_size(o->key_file) + text_size(o->tls_name);
}

static void keep_text(const char **text, char **at)
{
    size_t size = text_size(*text);
    if (!size)
        return;
    *text = memcpy(*at, *text, size);
    *at += size;
}

static void keep_options(ferry__stream *s, const ferry__stream_options *o)
{
    char *at = s->texts;
    s->o = *o;
    const char **texts[] = {&s->o.host,      &s->o.port,     &s->o.unix_path, &s->o.ca_file,
                            &s->o.cert_file, &s->o.key_file, &s->o.tls_name};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        keep_text(texts[i], &at);
    if (o->unix_path)
        snprintf(s->peer, sizeof s->peer, "%s", o->unix_path);
    else
        snprintf(s->peer, sizeof s->peer, strchr(o->host, ':') ? "[%s]:%s" : "%s:%s", o->host, o->port);
}

static void resolved(ferry__stream *s)
{
    const char *why;
    ferry_status status;
    if (!ferry__resolve_done(s->resolve))
        return;
    s->address = ferry__resolve_list(s->resolve, &status, &why);
    if (s->address)
        s->state = FERRY__CONNECTING;
    else
        fail(s, status, "%s", why);
}

static void begin(ferry__stream *s, void (*wake)(void *arg), void *arg)
{
    if (s->o.tls) {
        char why[FERRY_WHY_SIZE];
        ferry_status status = FERRY_OK;
        s->tls = ferry__tls_new(&s->o, s->peer, &status, why);
        if (!s->tls) {
            fail(s, status, "%s", why);
            return;
        }
    }
    if (s->o.unix_path) {
        s->state = FERRY__CONNECTING;
        return;
    }
    s->resolve = ferry__resolve_start(s->o.host, s->o.port, wake, arg);
    if (s->resolve)
        resolved(s);
    else
        fail(s, FERRY_NO_MEMORY, "cannot look up the host '%s': out of memory or of threads", s->o.host);
}

ferry__stream *ferry__stream_open(const ferry__stream_options *o, const ferry__log *log, void (*wake)(void *arg),
                                  void *arg)
{
    ferry__stream *s = ferry__zalloc(sizeof *s + all_texts(o));
    if (!s)
        return NULL;
    keep_options(s, o);
    s->log = log ? log : &nobody;
    s->fd = -1;
    s->in.max = o->in_max;
    s->out.max = o->out_max;
    s->born = ferry__now_ms();
    s->limit = s->born + o->connect_ms;
    begin(s, wake, arg);
    return s;
}

void ferry__stream_free(ferry__stream *s)
{
    if (!s)
        return;
    drop_socket(s, s->state == FERRY__OPEN);
    ferry__resolve_free(s->resolve);
    ferry__bytes_done(&s->in);
    ferry__bytes_done(&s->out);
    ferry__free(s);
}

void ferry__stream_abandon(ferry__stream *s)
{
    if (!s)
        return;
    ferry__resolve_abandon(s->resolve);
    s->resolve = NULL;
    s->state = FERRY__CLOSED;
    ferry__stream_free(s);
}

/* ---- To the broker -------------------------------------------------------------------------------------------------- */

static void reached(ferry__stream *s)
{
    s->state = s->tls ? FERRY__HANDSHAKE : FERRY__OPEN;
    if (s->tls && !ferry__tls_start(s->tls, s->fd))
        fail_by_tls(s);
}

/* The socket call itself failed: no other address will do better. */
static void no_socket(ferry__stream *s, int error)
{
    if (error == EAFNOSUPPORT)
        return;
    fail(s, FERRY_UNAVAILABLE, "cannot make a socket for %s: %s", s->peer, strerror(error));
}

static void unix_answer(ferry__stream *s, int error, int64_t now_ms)
{
    if (error == 0)
        reached(s);
    else if (error == EAGAIN)
        s->next = now_ms + UNIX_RETRY_MS;
    else if (error == EACCES || error == EPERM)
        fail(s, FERRY_DENIED, "cannot connect to %s: %s", s->peer, strerror(error));
    else if (error == ENAMETOOLONG)
        fail(s, FERRY_INVALID, "the path of a unix socket has at most 107 bytes: %s", s->peer);
    else
        fail(s, FERRY_UNAVAILABLE, "cannot connect to %s: %s", s->peer, strerror(error));
}

static void connect_unix(ferry__stream *s, int64_t now_ms)
{
    if (now_ms < s->next)
        return;
    if (s->fd < 0)
        s->fd = ferry__socket_new(AF_UNIX, 0);
    if (s->fd < 0)
        no_socket(s, errno);
    else
        unix_answer(s, ferry__socket_unix(s->fd, s->o.unix_path), now_ms);
}

static int64_t share_of_time(const ferry__stream *s, int64_t now_ms)
{
    int left = 1;
    for (const struct addrinfo *a = s->address->ai_next; a; a = a->ai_next)
        left++;
    return now_ms + (s->limit - now_ms) / left;
}

static int start_address(ferry__stream *s, int64_t now_ms)
{
    s->next = share_of_time(s, now_ms);
    s->fd = ferry__socket_new(s->address->ai_family, s->o.dead_ms);
    if (s->fd >= 0)
        return ferry__socket_connect(s->fd, s->address->ai_addr, s->address->ai_addrlen);
    int error = errno;
    no_socket(s, error);
    return error;
}

static void next_address(ferry__stream *s, int error)
{
    s->error = error;
    s->tried++;
    s->address = s->address->ai_next;
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    if (s->address)
        return;
    const char *of_all = s->tried > 1 ? " at any of its addresses; the last one" : "";
    fail(s, FERRY_UNAVAILABLE, "cannot connect to %s%s: %s", s->peer, of_all, strerror(s->error));
}

static void connect_tcp(ferry__stream *s, int64_t now_ms)
{
    while (s->state == FERRY__CONNECTING) {
        int error = s->fd < 0 ? start_address(s, now_ms) : ferry__socket_connected(s->fd);
        if (s->state != FERRY__CONNECTING)
            return;
        if (error == EINPROGRESS && (now_ms < s->next || !s->address->ai_next))
            return;
        if (error == 0)
            reached(s);
        else
            next_address(s, error == EINPROGRESS ? ETIMEDOUT : error);
    }
}

static void shake_hands(ferry__stream *s)
{
    switch (ferry__tls_handshake(s->tls)) {
    case FERRY__TLS_DONE:
        s->state = FERRY__OPEN;
        if (s->o.tls_unverified)
            ferry__log_print(s->log, LOG_WARNING, "%s was NOT verified: anybody could be there", s->peer);
        else
            ferry__log_print(s->log, LOG_DEBUG, "%s verified, %s%s", s->peer, ferry__tls_version(s->tls),
                             ferry__tls_resumed(s->tls) ? ", resumed" : "");
        break;
    case FERRY__TLS_AGAIN:
        break;
    case FERRY__TLS_ENDED:
        fail(s, FERRY_UNAVAILABLE, "%s closed the connection during the TLS handshake: is that its TLS port?", s->peer);
        break;
    case FERRY__TLS_FAILED:
        fail_by_tls(s);
    }
}

/* ---- Reading -------------------------------------------------------------------------------------------------------- */

/* How much was read; 0: no more now, or closed. */
static size_t read_tls(ferry__stream *s, char *to, size_t room)
{
    size_t done = 0;
    switch (ferry__tls_read(s->tls, to, room, &done)) {
    case FERRY__TLS_DONE:
        return done;
    case FERRY__TLS_AGAIN:
        break;
    case FERRY__TLS_ENDED:
        fail(s, FERRY_UNAVAILABLE, "%s closed the connection", s->peer);
        break;
    case FERRY__TLS_FAILED:
        fail_by_tls(s);
    }
    return 0;
}

static size_t read_plain(ferry__stream *s, char *to, size_t room)
{
    ssize_t n;
    do
        n = recv(s->fd, to, room, 0);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        return (size_t)n;
    if (n == 0)
        fail(s, FERRY_UNAVAILABLE, "%s closed the connection", s->peer);
    else if (errno != EAGAIN)
        fail_by_errno(s, errno);
    return 0;
}

/* One read; false: nothing more now. */
static bool read_some(ferry__stream *s)
{
    size_t space = s->in.max - ferry__bytes_held(&s->in);
    char *to = ferry__bytes_room(&s->in, space < READ_STEP ? space : READ_STEP);
    if (!to) {
        fail(s, FERRY_NO_MEMORY, "out of memory for what %s sends", s->peer);
        return false;
    }
    size_t room = s->in.room - s->in.tail;
    room = room < space ? room : space;
    size_t n = s->tls ? read_tls(s, to, room) : read_plain(s, to, room);
    s->in.tail += n;
    return n > 0 && (s->tls || n == room); /* a socket that gave less is empty */
}

static void read_in(ferry__stream *s)
{
    size_t before = ferry__bytes_held(&s->in);
    s->more = false;
    while (ferry__bytes_held(&s->in) < s->in.max)
        if (ferry__bytes_held(&s->in) - before >= READ_MOST)
            break;
        else if (!read_some(s))
            return;
    s->more = true;
}

/* ---- Writing -------------------------------------------------------------------------------------------------------- */

static void write_plain(ferry__stream *s)
{
    ssize_t n;
    do
        n = send(s->fd, s->out.data + s->out.head, ferry__bytes_held(&s->out), MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        ferry__bytes_eat(&s->out, (size_t)n);
    else if (errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM)
        s->broken = errno;
}

static void write_tls(ferry__stream *s)
{
    while (ferry__bytes_held(&s->out)) {
        size_t done = 0;
        ferry__tls_result r = ferry__tls_write(s->tls, s->out.data + s->out.head, ferry__bytes_held(&s->out), &done);
        ferry__bytes_eat(&s->out, done);
        if (r == FERRY__TLS_AGAIN)
            return;
        if (r != FERRY__TLS_DONE) {
            s->broken = EPIPE;
            return;
        }
    }
}

void ferry__stream_flush(ferry__stream *s)
{
    if (s->state != FERRY__OPEN || s->broken || ferry__bytes_held(&s->out) == 0)
        return;
    if (s->tls)
        write_tls(s);
    else
        write_plain(s);
}

/* ---- Moving on ------------------------------------------------------------------------------------------------------ */

static void move_on(ferry__stream *s, int64_t now_ms)
{
    if (s->state == FERRY__RESOLVING)
        resolved(s);
    if (s->state == FERRY__CONNECTING && s->o.unix_path)
        connect_unix(s, now_ms);
    else if (s->state == FERRY__CONNECTING)
        connect_tcp(s, now_ms);
    if (s->state == FERRY__HANDSHAKE)
        shake_hands(s);
    if (s->state < FERRY__OPEN && now_ms >= s->limit)
        fail_by_time(s);
}

ferry__stream_state ferry__stream_pump(ferry__stream *s, int64_t now_ms)
{
    if (s->state < FERRY__OPEN)
        move_on(s, now_ms);
    ferry__stream_flush(s);
    if (s->state == FERRY__OPEN && (!s->quiet || s->more || s->broken))
        read_in(s);
    s->quiet = false;
    if (s->state == FERRY__OPEN && s->broken && !s->more)
        fail_by_errno(s, s->broken);
    return s->state;
}

ferry__stream_state ferry__stream_where(const ferry__stream *s)
{
    return s->state;
}

ferry_status ferry__stream_status(const ferry__stream *s, const char **why)
{
    *why = s->why;
    return s->status;
}

void ferry__stream_polled(ferry__stream *s, short revents)
{
    s->quiet = s->state == FERRY__OPEN && !(revents & ~POLLOUT);
}

int ferry__stream_fd(const ferry__stream *s)
{
    return s->state == FERRY__CONNECTING && s->o.unix_path ? -1 : s->fd;
}

static bool has_room(const ferry__stream *s)
{
    return ferry__bytes_held(&s->in) < s->in.max;
}

short ferry__stream_events(const ferry__stream *s)
{
    switch (s->state) {
    case FERRY__CONNECTING:
        return s->o.unix_path ? 0 : POLLOUT;
    case FERRY__HANDSHAKE:
        return ferry__tls_events(s->tls);
    case FERRY__OPEN:
        return (short)((has_room(s) ? POLLIN : 0) | (ferry__bytes_held(&s->out) && !s->broken ? POLLOUT : 0) |
                       (s->tls ? ferry__tls_events(s->tls) : 0));
    default:
        return 0;
    }
}

static int64_t next_time(const ferry__stream *s, int64_t now_ms)
{
    if (s->state == FERRY__OPEN)
        return (s->more || s->broken) && has_room(s) ? now_ms : INT64_MAX;
    if (s->state == FERRY__CLOSED)
        return INT64_MAX;
    if (s->state == FERRY__CONNECTING && s->fd < 0)
        return now_ms;
    return s->state == FERRY__CONNECTING && s->next && s->next < s->limit ? s->next : s->limit;
}

int ferry__stream_next_ms(const ferry__stream *s, int64_t now_ms)
{
    int64_t at = next_time(s, now_ms);
    if (at == INT64_MAX)
        return -1;
    return at > now_ms ? (int)(at - now_ms) : 0;
}

/* ---- The buffers ---------------------------------------------------------------------------------------------------- */

const char *ferry__stream_in(const ferry__stream *s, size_t *length)
{
    *length = ferry__bytes_held(&s->in);
    return s->in.data ? s->in.data + s->in.head : "";
}

void ferry__stream_eat(ferry__stream *s, size_t length)
{
    ferry__bytes_eat(&s->in, length);
}

void *ferry__stream_room(ferry__stream *s, size_t length)
{
    return ferry__bytes_room(&s->out, length);
}

void ferry__stream_wrote(ferry__stream *s, size_t length)
{
    s->out.tail += length;
}

bool ferry__stream_add(ferry__stream *s, const void *data, size_t length)
{
    return ferry__bytes_add(&s->out, data, length);
}

size_t ferry__stream_unsent(const ferry__stream *s)
{
    return ferry__bytes_held(&s->out);
}
