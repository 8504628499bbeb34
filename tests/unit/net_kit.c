#include "net_kit.h"

#include "base/clock.h"
#include "test.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- The peer ------------------------------------------------------------------------------------------------------- */

static void *play(void *arg)
{
    kit_peer *p = arg;
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE); /* only here: the stream must not raise it */
    pthread_sigmask(SIG_BLOCK, &pipe, NULL);
    for (int fd; (fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0; close(fd)) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        p->script(fd, p->arg);
    }
    return NULL;
}

static void run(kit_peer *p, int family, void (*script)(int fd, void *arg), void *arg)
{
    p->listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    p->script = script;
    p->arg = arg;
}

static void start(kit_peer *p)
{
    if (!p->script)
        return;
    CHECK_INT(listen(p->listener, 16), 0);
    CHECK_INT(pthread_create(&p->thread, NULL, play, p), 0);
    p->running = true;
}

void kit_bind(kit_peer *p, const char *address, int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    socklen_t length = sizeof at;
    CHECK_INT(inet_pton(AF_INET, address, &at.sin_addr), 1);
    run(p, AF_INET, p->script, p->arg);
    CHECK_INT(bind(p->listener, (struct sockaddr *)&at, sizeof at), 0);
    CHECK_INT(getsockname(p->listener, (struct sockaddr *)&at, &length), 0);
    p->port = ntohs(at.sin_port);
    snprintf(p->port_text, sizeof p->port_text, "%d", p->port);
}

void kit_listen(kit_peer *p, void (*script)(int fd, void *arg), void *arg)
{
    *p = (kit_peer){.script = script, .arg = arg};
    kit_bind(p, "127.0.0.1", 0);
    start(p);
}

void kit_listen_unix(kit_peer *p, void (*script)(int fd, void *arg), void *arg)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    *p = (kit_peer){0};
    snprintf(p->path, sizeof p->path, "%s", test_text("%s/peer", test_dir()));
    memcpy(at.sun_path, p->path, sizeof at.sun_path);
    run(p, AF_UNIX, script, arg);
    CHECK_INT(bind(p->listener, (struct sockaddr *)&at, sizeof at), 0);
    start(p);
}

void kit_join(kit_peer *p)
{
    shutdown(p->listener, SHUT_RDWR);
    if (p->running)
        pthread_join(p->thread, NULL);
    close(p->listener);
}

int kit_unused_port(void)
{
    kit_peer p;
    kit_listen(&p, NULL, NULL);
    kit_join(&p);
    return p.port;
}

void kit_fill_backlog(kit_peer *p, int *fds, int count)
{
    struct sockaddr_storage at = {0};
    socklen_t length = sizeof at;
    CHECK_INT(listen(p->listener, 0), 0);
    CHECK_INT(getsockname(p->listener, (struct sockaddr *)&at, &length), 0);
    for (int i = 0; i < count; i++) {
        fds[i] = socket(at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fds[i], (struct sockaddr *)&at, length);
    }
}

void kit_say(int fd, const void *data, size_t length)
{
    for (size_t at = 0; at < length;) {
        ssize_t n = send(fd, (const char *)data + at, length - at, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        at += (size_t)n;
    }
}

bool kit_hear(int fd, void *to, size_t length)
{
    return recv(fd, to, length, MSG_WAITALL) == (ssize_t)length;
}

void kit_reset(int fd)
{
    struct linger at_once = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

void kit_echo(int fd, void *arg)
{
    (void)arg;
    char bytes[16384];
    for (ssize_t n; (n = recv(fd, bytes, sizeof bytes, 0)) > 0;)
        kit_say(fd, bytes, (size_t)n);
}

void kit_quiet(int fd, void *arg)
{
    (void)arg;
    char bytes[16384];
    while (recv(fd, bytes, sizeof bytes, 0) > 0)
        continue;
}

/* ---- The stream ----------------------------------------------------------------------------------------------------- */

static char            lines[4096];
static pthread_mutex_t lines_lock = PTHREAD_MUTEX_INITIALIZER;

static void note_line(int level, const char *line, void *arg)
{
    (void)arg;
    pthread_mutex_lock(&lines_lock);
    size_t at = strlen(lines);
    snprintf(lines + at, sizeof lines - at, "%d %s\n", level, line);
    pthread_mutex_unlock(&lines_lock);
}

const ferry__log kit_log = {note_line, NULL};

const char *kit_log_text(void)
{
    return lines;
}

ferry__stream_options kit_options(const kit_peer *p)
{
    ferry__stream_options o = {.connect_ms = 5000, .dead_ms = 5000, .in_max = KIT_BUFFER, .out_max = KIT_BUFFER};
    if (p->path[0]) {
        o.unix_path = p->path;
    } else {
        o.host = "127.0.0.1";
        o.port = p->port_text;
    }
    return o;
}

ferry__stream *kit_open(const kit_peer *p, const ferry__stream_options *o)
{
    ferry__stream_options usual = o ? *o : kit_options(p);
    ferry__stream *s = ferry__stream_open(&usual, &kit_log, NULL, NULL);
    CHECK_NOT_NULL(s);
    return s;
}

void kit_close(ferry__stream *s)
{
    ferry__stream_free(s);
}

/* Without a wake the resolver's answer is looked for now and then. */
static void wait_once(ferry__stream *s)
{
    struct pollfd p = {ferry__stream_fd(s), ferry__stream_events(s), 0};
    int ms = ferry__stream_next_ms(s, ferry__now_ms());
    if (p.fd < 0)
        ms = ms >= 0 && ms < 2 ? ms : 2;
    poll(&p, 1, ms >= 0 && ms < 100 ? ms : 100);
}

void kit_drive(ferry__stream *s, bool (*until)(ferry__stream *s, size_t n), size_t n)
{
    for (int64_t end = test_now_ms() + test_ms(10000);;) {
        ferry__stream_pump(s, ferry__now_ms());
        if (until(s, n))
            return;
        const char *why = "";
        if (ferry__stream_where(s) == FERRY__CLOSED)
            ferry__stream_status(s, &why);
        if (ferry__stream_where(s) == FERRY__CLOSED || test_now_ms() > end)
            FAIL("in state %d, with %zu bytes unsent: %s", (int)ferry__stream_where(s), ferry__stream_unsent(s), why);
        wait_once(s);
    }
}

bool kit_is(ferry__stream *s, size_t state)
{
    return ferry__stream_where(s) == (ferry__stream_state)state;
}

bool kit_has(ferry__stream *s, size_t bytes)
{
    size_t n;
    ferry__stream_in(s, &n);
    return n >= bytes;
}

bool kit_sent(ferry__stream *s, size_t left)
{
    return ferry__stream_where(s) == FERRY__OPEN && ferry__stream_unsent(s) <= left;
}

const char *kit_why(ferry__stream *s, ferry_status want)
{
    const char *why;
    kit_drive(s, kit_is, FERRY__CLOSED);
    CHECK_STATUS(ferry__stream_status(s, &why), want);
    return why;
}

void kit_expect(ferry__stream *s, const char *text)
{
    size_t n;
    kit_drive(s, kit_has, strlen(text));
    const char *in = ferry__stream_in(s, &n);
    CHECK_BYTES(in, n, text, strlen(text));
    ferry__stream_eat(s, n);
}

/* ---- A pattern ------------------------------------------------------------------------------------------------------ */

static char pattern_at(size_t i)
{
    return (char)(i * 2654435761u >> 11);
}

void kit_pattern(char *to, size_t from, size_t length)
{
    for (size_t i = 0; i < length; i++)
        to[i] = pattern_at(from + i);
}

bool kit_matches(const char *data, size_t from, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (data[i] != pattern_at(from + i))
            return false;
    return true;
}
