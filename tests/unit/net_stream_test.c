#include "test.h"

#include "base/clock.h"
#include "net_kit.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- Getting there -------------------------------------------------------------------------------------------------- */

static void say_and_hear(kit_peer *p)
{
    ferry__stream *s = kit_open(p, NULL);
    kit_drive(s, kit_is, FERRY__OPEN);
    CHECK_INT(ferry__stream_next_ms(s, ferry__now_ms()), -1);
    CHECK(ferry__stream_add(s, "hel", 3));
    memcpy(ferry__stream_room(s, 2), "lo", 2);
    ferry__stream_wrote(s, 2);
    CHECK_UINT(ferry__stream_unsent(s), 5);
    ferry__stream_flush(s);
    CHECK_UINT(ferry__stream_unsent(s), 0);
    CHECK_INT(ferry__stream_events(s), POLLIN);
    kit_expect(s, "hello");
    kit_close(s);
    kit_join(p);
}

TEST(over_tcp)
{
    kit_peer p;
    kit_listen(&p, kit_echo, NULL);
    say_and_hear(&p);
}

TEST(over_a_unix_socket)
{
    kit_peer p;
    kit_listen_unix(&p, kit_echo, NULL);
    say_and_hear(&p);
}

/* What was written before the connection stood leaves with it. */
TEST(written_before_it_is_open)
{
    kit_peer p;
    kit_listen(&p, kit_echo, NULL);
    ferry__stream *s = kit_open(&p, NULL);
    CHECK(ferry__stream_add(s, "early", 5));
    ferry__stream_flush(s);
    kit_expect(s, "early");
    kit_close(s);
    kit_join(&p);
}

TEST(nobody_listens)
{
    kit_peer p = {0};
    snprintf(p.port_text, sizeof p.port_text, "%d", kit_unused_port());
    ferry__stream *s = kit_open(&p, NULL);
    CHECK_STR(kit_why(s, FERRY_UNAVAILABLE),
              test_text("cannot connect to 127.0.0.1:%s: Connection refused", p.port_text));
    CHECK_INT(ferry__stream_fd(s), -1);
    CHECK_INT(ferry__stream_events(s), 0);
    CHECK_INT(ferry__stream_next_ms(s, ferry__now_ms()), -1);
    CHECK_INT(ferry__stream_pump(s, ferry__now_ms()), FERRY__CLOSED);
    kit_close(s);
    snprintf(p.path, sizeof p.path, "%s/nobody", test_dir());
    s = kit_open(&p, NULL);
    CHECK_HAS(kit_why(s, FERRY_UNAVAILABLE), "No such file or directory");
    kit_close(s);
}

/* A full queue of a listener answers nothing, as a machine does that is gone. */
TEST(a_black_hole)
{
    kit_peer p;
    int fds[8];
    kit_listen(&p, NULL, NULL);
    kit_fill_backlog(&p, fds, 8);
    ferry__stream_options o = kit_options(&p);
    o.connect_ms = 200;
    int64_t start = test_now_ms();
    ferry__stream *s = kit_open(&p, &o);
    CHECK_INT(ferry__stream_pump(s, ferry__now_ms()), FERRY__CONNECTING);
    CHECK(ferry__stream_next_ms(s, ferry__now_ms()) > 100);
    CHECK_STR(kit_why(s, FERRY_UNAVAILABLE), test_text("127.0.0.1:%d has not answered within 200 ms", p.port));
    CHECK(test_now_ms() - start >= 200);
    CHECK(test_now_ms() - start < test_ms(1000));
    kit_close(s);
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    kit_join(&p);
}

TEST(a_unix_socket_whose_queue_is_full)
{
    kit_peer p;
    int fds[2];
    kit_listen_unix(&p, NULL, NULL);
    kit_fill_backlog(&p, fds, 2);
    ferry__stream *s = kit_open(&p, NULL);
    CHECK_INT(ferry__stream_pump(s, ferry__now_ms()), FERRY__CONNECTING);
    CHECK_INT(ferry__stream_fd(s), -1);
    CHECK(ferry__stream_next_ms(s, ferry__now_ms()) <= 5);
    int taken = accept(p.listener, NULL, NULL);
    kit_drive(s, kit_is, FERRY__OPEN);
    close(taken);
    kit_close(s);
    close(fds[0]);
    close(fds[1]);
    kit_join(&p);
}

TEST(no_more_descriptors)
{
    kit_peer p;
    struct rlimit before, none;
    kit_listen(&p, kit_quiet, NULL);
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 3;
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &none), 0);
    ferry__stream *s = kit_open(&p, NULL);
    CHECK_HAS(kit_why(s, FERRY_UNAVAILABLE), "Too many open files");
    kit_close(s);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &before), 0);
    kit_join(&p);
}

/* One pump long: who is wrong about it loses nothing. */
TEST(a_poll_in_vain_saves_a_read)
{
    kit_peer p;
    kit_listen(&p, kit_echo, NULL);
    ferry__stream *s = kit_open(&p, NULL);
    kit_drive(s, kit_is, FERRY__OPEN);
    CHECK(ferry__stream_add(s, "hello", 5));
    ferry__stream_flush(s);
    struct pollfd poller = {ferry__stream_fd(s), POLLIN, 0};
    CHECK_INT(poll(&poller, 1, 5000), 1);
    ferry__stream_polled(s, POLLOUT);
    ferry__stream_pump(s, ferry__now_ms());
    CHECK(!kit_has(s, 1));
    ferry__stream_polled(s, poller.revents);
    ferry__stream_pump(s, ferry__now_ms());
    CHECK(kit_has(s, 1));
    kit_expect(s, "hello");
    kit_close(s);
    kit_join(&p);
}

/* ---- What a peer may do --------------------------------------------------------------------------------------------- */

enum { FRAME = 300 };

static void one_byte_at_a_time(int fd, void *arg)
{
    (void)arg;
    char frame[FRAME];
    kit_pattern(frame, 0, FRAME);
    for (size_t i = 0; i < FRAME; i++)
        kit_say(fd, frame + i, 1);
    kit_quiet(fd, NULL);
}

TEST(one_byte_at_a_time)
{
    kit_peer p;
    size_t n;
    kit_listen(&p, one_byte_at_a_time, NULL);
    ferry__stream *s = kit_open(&p, NULL);
    kit_drive(s, kit_has, FRAME);
    const char *in = ferry__stream_in(s, &n);
    CHECK_UINT(n, FRAME);
    CHECK(kit_matches(in, 0, n));
    kit_close(s);
    kit_join(&p);
}

static void cut_after(int fd, void *arg)
{
    char frame[FRAME];
    size_t *length = arg;
    kit_pattern(frame, 0, FRAME);
    kit_say(fd, frame, (*length)++);
}

TEST(cut_at_each_byte)
{
    kit_peer p;
    size_t length = 0, n;
    kit_listen(&p, cut_after, &length);
    for (size_t i = 0; i < FRAME; i++) {
        ferry__stream *s = kit_open(&p, NULL);
        CHECK_STR(kit_why(s, FERRY_UNAVAILABLE), test_text("127.0.0.1:%d closed the connection", p.port));
        const char *in = ferry__stream_in(s, &n);
        CHECK_UINT(n, i); /* what had come is still there */
        CHECK(kit_matches(in, 0, n));
        ferry__stream_eat(s, n);
        CHECK_UINT((ferry__stream_in(s, &n), n), 0);
        kit_close(s);
    }
    kit_join(&p);
}

static void hear_and_reset(int fd, void *arg)
{
    (void)arg;
    char byte;
    kit_hear(fd, &byte, 1);
    kit_reset(fd);
}

TEST(reset)
{
    kit_peer p;
    kit_listen(&p, hear_and_reset, NULL);
    ferry__stream *s = kit_open(&p, NULL);
    CHECK(ferry__stream_add(s, "x", 1));
    CHECK_HAS(kit_why(s, FERRY_UNAVAILABLE), "broke the connection off: Connection reset by peer");
    kit_close(s);
    kit_join(&p);
}

static void last_words(int fd, void *arg)
{
    (void)arg;
    kit_say(fd, "-ERR max number of clients reached\r\n", 36);
}

/* Our writes fail, for the peer is gone; what it said before is read all the same, and no signal is raised. */
TEST(last_words_are_read_though_writing_fails)
{
    kit_peer p;
    size_t n;
    kit_listen(&p, last_words, NULL);
    ferry__stream *s = kit_open(&p, NULL);
    struct pollfd poller = {ferry__stream_fd(s), POLLRDHUP, 0};
    while (ferry__stream_pump(s, ferry__now_ms()) != FERRY__OPEN && ferry__stream_where(s) != FERRY__CLOSED)
        poll(NULL, 0, 1);
    poller.fd = ferry__stream_fd(s);
    if (poller.fd >= 0) {
        poll(&poller, 1, 5000);
        for (int i = 0; i < 5; i++) {
            CHECK(ferry__stream_add(s, "PING\r\n", 6));
            ferry__stream_flush(s);
        }
    }
    kit_why(s, FERRY_UNAVAILABLE);
    const char *in = ferry__stream_in(s, &n);
    CHECK_BYTES(in, n, "-ERR max number of clients reached\r\n", 36);
    CHECK(ferry__stream_add(s, "more", 4)); /* has no effect, and is no harm */
    ferry__stream_flush(s);
    kit_close(s);
    kit_join(&p);
}

/* ---- Bounds --------------------------------------------------------------------------------------------------------- */

enum { ALL = 8 << 20, CHUNK = 10007 };

static void read_on_cue(int fd, void *arg)
{
    char go, bytes[CHUNK];
    size_t at = 0;
    int *cue = arg;
    if (read(cue[0], &go, 1) != 1)
        return;
    for (ssize_t n; at < ALL && (n = recv(fd, bytes, CHUNK, 0)) > 0; at += (size_t)n)
        if (!kit_matches(bytes, at, (size_t)n))
            break;
    kit_say(fd, at == ALL ? "all" : "bad", 3);
}

TEST(a_slow_reader)
{
    kit_peer p;
    int cue[2];
    char chunk[CHUNK];
    size_t added = 0;
    CHECK_INT(pipe(cue), 0);
    kit_listen(&p, read_on_cue, cue);
    ferry__stream *s = kit_open(&p, NULL);
    kit_drive(s, kit_is, FERRY__OPEN);
    while (added < ALL) {
        size_t n = ALL - added < CHUNK ? ALL - added : CHUNK;
        kit_pattern(chunk, added, n);
        if (ferry__stream_add(s, chunk, n)) {
            added += n;
            ferry__stream_flush(s);
            continue;
        }
        CHECK(ferry__stream_unsent(s) > KIT_BUFFER - CHUNK);
        CHECK(ferry__stream_unsent(s) <= KIT_BUFFER);
        CHECK(ferry__stream_events(s) & POLLOUT);
        CHECK_INT(write(cue[1], "g", 1), 1); /* again and again: only the first counts */
        kit_drive(s, kit_sent, KIT_BUFFER / 2);
    }
    kit_expect(s, "all");
    kit_close(s);
    kit_join(&p);
    close(cue[0]);
    close(cue[1]);
}

static void flood(int fd, void *arg)
{
    (void)arg;
    char chunk[CHUNK];
    for (size_t at = 0, n; at < ALL; at += n) {
        n = ALL - at < CHUNK ? ALL - at : CHUNK;
        kit_pattern(chunk, at, n);
        kit_say(fd, chunk, n);
    }
}

TEST(a_flood_stops_at_the_limit_and_goes_on)
{
    kit_peer p;
    size_t n, at = 0;
    kit_listen(&p, flood, NULL);
    ferry__stream_options o = kit_options(&p);
    o.in_max = 100000;
    ferry__stream *s = kit_open(&p, &o);
    while (at + 100000 < ALL) {
        kit_drive(s, kit_has, 100000);
        const char *in = ferry__stream_in(s, &n);
        CHECK_UINT(n, 100000);
        CHECK_INT(ferry__stream_events(s), 0);
        size_t eaten = 1 + at % n;
        CHECK(kit_matches(in, at, n));
        ferry__stream_eat(s, eaten);
        CHECK_INT(ferry__stream_events(s), POLLIN);
        at += eaten;
    }
    kit_why(s, FERRY_UNAVAILABLE);
    const char *rest = ferry__stream_in(s, &n);
    CHECK(kit_matches(rest, at, n));
    CHECK_UINT(at + n, ALL);
    kit_close(s);
    kit_join(&p);
}

/* ---- Memory and forks ----------------------------------------------------------------------------------------------- */

/* True when the scenario ran through; else memory was short, which must be said and nothing else. */
static bool drive_short_of_memory(ferry__stream *s, size_t bytes)
{
    const char *why;
    for (int64_t end = test_now_ms() + test_ms(5000); !kit_has(s, bytes); poll(NULL, 0, 1)) {
        if (ferry__stream_pump(s, ferry__now_ms()) == FERRY__CLOSED) {
            CHECK(test_alloc_failed());
            CHECK_STATUS(ferry__stream_status(s, &why), FERRY_NO_MEMORY);
            CHECK_HAS(why, "out of memory");
            return false;
        }
        CHECK(test_now_ms() < end);
    }
    return true;
}

static void echo_a_lot(void *arg)
{
    kit_peer *p = arg;
    ferry__stream_options o = kit_options(p);
    ferry__stream *s = ferry__stream_open(&o, &kit_log, NULL, NULL);
    char chunk[CHUNK];
    size_t added = 0, n;
    if (!s) {
        CHECK(test_alloc_failed());
        return;
    }
    for (; added < 30 * CHUNK; added += CHUNK) {
        kit_pattern(chunk, added, CHUNK);
        if (!ferry__stream_add(s, chunk, CHUNK)) {
            CHECK(test_alloc_failed());
            break;
        }
    }
    if (drive_short_of_memory(s, added)) {
        const char *in = ferry__stream_in(s, &n);
        CHECK(kit_matches(in, 0, n));
    }
    kit_close(s);
}

TEST_WITH(any_allocation_may_fail, .limit_ms = 30000)
{
    kit_peer p;
    kit_listen(&p, kit_echo, NULL);
    test_every_alloc_fails(echo_a_lot, &p);
    kit_join(&p);
}

TEST(a_forked_child_lets_go_of_it)
{
    kit_peer p;
    kit_listen(&p, kit_echo, NULL);
    ferry__stream *s = kit_open(&p, NULL);
    kit_drive(s, kit_is, FERRY__OPEN);
    CHECK(ferry__stream_add(s, "parent", 6));
    int fd = ferry__stream_fd(s);
    pid_t child = fork();
    if (child == 0) {
        ferry__stream_abandon(s);
        _exit(write(fd, "child", 5) == -1 && errno == EBADF ? 0 : 1);
    }
    CHECK_INT(test_wait(child, 5000), 0);
    kit_expect(s, "parent");
    kit_close(s);
    kit_join(&p);
}
