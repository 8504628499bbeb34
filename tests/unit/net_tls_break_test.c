/* net_tls_break_test.c - TLS connections that are sliced, cut, flooded, forked and short of memory. */
#include "test.h"

#include "base/clock.h"
#include "net_tls_kit.h"
#include <openssl/crypto.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* Forwards between the stream and the real peer: towards the stream `slice` bytes at a time, and none after `most`. */
typedef struct middle {
    side    *behind;
    size_t   slice, most;
    bool     reset;
    kit_peer peer;
} middle;

static int reach(const side *d)
{
    struct sockaddr_storage at = {0};
    socklen_t length = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(getsockname(d->peer.listener, (struct sockaddr *)&at, &length), 0);
    CHECK_INT(connect(fd, (struct sockaddr *)&at, length), 0);
    return fd;
}

static bool forward(int from, int to, size_t slice, size_t *left)
{
    char bytes[4096];
    size_t most = slice < sizeof bytes ? slice : sizeof bytes;
    ssize_t n = recv(from, bytes, most < *left ? most : *left, 0);
    if (n <= 0)
        return false;
    kit_say(to, bytes, (size_t)n);
    *left -= (size_t)n;
    return *left > 0;
}

static void stand_between(int fd, void *arg)
{
    middle *m = arg;
    size_t left = m->most, unlimited = SIZE_MAX;
    int behind = reach(m->behind);
    struct pollfd p[2] = {{fd, POLLIN, 0}, {behind, POLLIN, 0}};
    while (left && poll(p, 2, -1) > 0) {
        if (p[0].revents && !forward(fd, behind, SIZE_MAX, &unlimited))
            break;
        if (p[1].revents && !forward(behind, fd, m->slice, &left))
            break;
    }
    if (m->reset)
        kit_reset(fd);
    close(behind);
}

static ferry__stream *open_through(middle *m)
{
    ferry__stream_options o = tls_options(m->behind);
    o.port = m->peer.port_text;
    return kit_open(&m->peer, &o);
}

TEST(tls_one_byte_at_a_time)
{
    usual();
    side d = {.cert = "good"};
    side_start(&d);
    middle m = {.behind = &d, .slice = 1, .most = SIZE_MAX};
    kit_listen(&m.peer, stand_between, &m);
    ferry__stream *s = open_through(&m);
    CHECK(ferry__stream_add(s, "hello", 5));
    kit_expect(s, "hello");
    kit_close(s);
    kit_join(&m.peer);
    side_end(&d);
}

static bool is_over(ferry__stream *s, size_t bytes)
{
    return kit_has(s, bytes) || kit_is(s, FERRY__CLOSED);
}

/* A whole exchange is cut at every byte of what the peer says, until it comes through. */
static void cut_anywhere(bool reset)
{
    usual();
    side d = {.cert = "good"};
    side_start(&d);
    middle m = {.behind = &d, .slice = 4096, .most = 1, .reset = reset};
    kit_listen(&m.peer, stand_between, &m);
    for (bool through = false; !through; m.most += test_long() ? 1 : 17) {
        ferry__stream *s = open_through(&m);
        CHECK(ferry__stream_add(s, "hello", 5));
        kit_drive(s, is_over, 5);
        through = kit_has(s, 5);
        if (!through)
            CHECK_HAS(kit_why(s, FERRY_UNAVAILABLE), " the connection");
        kit_close(s);
    }
    CHECK(m.most > 500);
    kit_join(&m.peer);
    side_end(&d);
}

TEST_WITH(tls_cut_anywhere, .limit_ms = 60000)
{
    cut_anywhere(false);
}

TEST_WITH(tls_reset_anywhere, .limit_ms = 60000)
{
    cut_anywhere(true);
}

static void last_words(SSL *ssl)
{
    char byte;
    SSL_read(ssl, &byte, 1);
    SSL_write(ssl, "bye", 3);
    kit_reset(SSL_get_fd(ssl)); /* no goodbye either */
}

/* Neither a signal nor the loss of what had been said. */
TEST(tls_writing_to_a_peer_that_is_gone)
{
    usual();
    side d = {.cert = "good", .talk = last_words};
    side_start(&d);
    ferry__stream_options o = tls_options(&d);
    ferry__stream *s = kit_open(&d.peer, &o);
    CHECK(ferry__stream_add(s, "x", 1));
    kit_drive(s, kit_has, 3);
    for (int i = 0; i < 100 && ferry__stream_where(s) == FERRY__OPEN; i++) {
        CHECK(ferry__stream_add(s, "hello", 5));
        ferry__stream_flush(s);
    }
    size_t n;
    kit_why(s, FERRY_UNAVAILABLE);
    const char *in = ferry__stream_in(s, &n);
    CHECK_BYTES(in, n, "bye", 3);
    kit_close(s);
    side_end(&d);
}

/* ---- Much of it ----------------------------------------------------------------------------------------------------- */

enum { ALL = 4 << 20, CHUNK = 50021 };

/* The input is so small that TLS holds records which no poll tells of. */
TEST(tls_a_lot_through_small_buffers)
{
    usual();
    side d = {.cert = "good"};
    side_start(&d);
    ferry__stream_options o = tls_options(&d);
    o.in_max = 1000;
    o.out_max = 100000;
    char chunk[CHUNK];
    size_t out = 0, in = 0, n;
    ferry__stream *s = kit_open(&d.peer, &o);
    while (in < ALL) {
        size_t next = ALL - out < CHUNK ? ALL - out : CHUNK;
        kit_pattern(chunk, out, next);
        if (next && ferry__stream_add(s, chunk, next))
            out += next;
        kit_drive(s, kit_has, 1);
        const char *got = ferry__stream_in(s, &n);
        CHECK(n <= 1000);
        CHECK(kit_matches(got, in, n));
        ferry__stream_eat(s, n);
        in += n;
    }
    CHECK_UINT(in, ALL);
    kit_close(s);
    side_end(&d);
}

/* ---- Memory and forks ----------------------------------------------------------------------------------------------- */

static void connect_short_of_memory(void *arg)
{
    side *d = arg;
    const char *why;
    ferry__stream_options o = tls_options(d);
    ferry__stream *s = ferry__stream_open(&o, &kit_log, NULL, NULL);
    CHECK(s || test_alloc_failed());
    if (!s)
        return;
    bool added = ferry__stream_add(s, "hello", 5);
    CHECK(added || test_alloc_failed());
    for (int64_t end = test_now_ms() + test_ms(5000); added && !kit_has(s, 5); poll(NULL, 0, 1)) {
        if (ferry__stream_pump(s, ferry__now_ms()) == FERRY__CLOSED) {
            CHECK(test_alloc_failed());
            CHECK_STATUS(ferry__stream_status(s, &why), FERRY_NO_MEMORY);
            break;
        }
        CHECK(test_now_ms() < end);
    }
    kit_close(s);
}

TEST_WITH(tls_any_allocation_may_fail, .limit_ms = 30000)
{
    usual();
    side d = {.cert = "good"};
    side_start(&d);
    test_every_alloc_fails(connect_short_of_memory, &d);
    side_end(&d);
}

/* OpenSSL's own memory, in this thread only: the peer has all it wants. */
static _Thread_local uint64_t openssl_fails_in; /* 0: not */
static _Thread_local bool     openssl_failed;

static bool runs_out(void)
{
    bool now = openssl_fails_in && --openssl_fails_in == 0;
    openssl_failed |= now;
    return now;
}

static void *short_malloc(size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return runs_out() ? NULL : malloc(size);
}

static void *short_realloc(void *block, size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return runs_out() ? NULL : realloc(block, size);
}

static void short_free(void *block, const char *file, int line)
{
    (void)file, (void)line;
    free(block);
}

/* Whatever OpenSSL makes of it, the stream opens or closes with a reason, and gives everything back. */
static void connect_without_openssl_memory(side *d, uint64_t n)
{
    const char *why = "";
    ferry__stream_options o = tls_options(d);
    openssl_failed = false;
    openssl_fails_in = n;
    ferry__stream *s = kit_open(&d->peer, &o);
    CHECK(ferry__stream_add(s, "hello", 5));
    kit_drive(s, is_over, 5);
    openssl_fails_in = 0;
    if (kit_is(s, FERRY__CLOSED)) {
        CHECK(openssl_failed);
        CHECK(ferry__stream_status(s, &why) != FERRY_OK);
        CHECK(*why);
    }
    kit_close(s);
}

TEST_WITH(tls_any_allocation_of_openssl_may_fail, .limit_ms = 60000)
{
    CHECK_INT(CRYPTO_set_mem_functions(short_malloc, short_realloc, short_free), 1);
    usual();
    side d = {.cert = "good"};
    side_start(&d);
    uint64_t n = 1;
    for (openssl_failed = true; openssl_failed; n += test_long() ? 1 : 13)
        connect_without_openssl_memory(&d, n);
    test_note("%llu allocations", (unsigned long long)n);
    CHECK(n > 100);
    side_end(&d);
}

TEST(tls_a_forked_child_lets_go_and_makes_its_own)
{
    usual();
    side d = {.cert = "good"};
    side_start(&d);
    ferry__stream_options o = tls_options(&d);
    ferry__stream *s = kit_open(&d.peer, &o);
    kit_drive(s, kit_is, FERRY__OPEN);
    pid_t child = fork();
    if (child == 0) {
        ferry__stream_abandon(s);
        _exit(0);
    }
    CHECK_INT(test_wait(child, 5000), 0);
    CHECK(ferry__stream_add(s, "parent", 6));
    kit_expect(s, "parent");
    kit_close(s);
    child = fork();
    if (child == 0) {
        works(&d, &o); /* the peer is a thread of the parent */
        _exit(0);
    }
    CHECK_INT(test_wait(child, 10000), 0);
    side_end(&d);
    CHECK_INT(d.accepted, 2);
}

/* Many handles connect at once: contexts and sessions are shared. */
static void *connect_again_and_again(void *arg)
{
    side *d = arg;
    ferry__stream_options o = tls_options(d);
    for (int i = 0; i < 20; i++)
        works(d, &o);
    return NULL;
}

TEST_WITH(tls_from_many_threads, .limit_ms = 30000)
{
    usual();
    enum { THREADS = 4 };
    side d[THREADS];
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        d[i] = (side){.cert = "good"};
        side_start(&d[i]);
        CHECK_INT(pthread_create(&threads[i], NULL, connect_again_and_again, &d[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        side_end(&d[i]);
        CHECK_INT(d[i].accepted, 20);
    }
}
