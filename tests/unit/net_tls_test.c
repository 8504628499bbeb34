#include "test.h"

#include "base/clock.h"
#include "net_certs.h"
#include "net_kit.h"
#include <errno.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- The other side ------------------------------------------------------------------------------------------------- */

typedef struct side {
    const char *cert, *clients; /* names of files; clients: the authority whose certificates it demands */
    int         newest;         /* TLS1_2_VERSION; 0: any */
    void (*talk)(SSL *ssl);     /* NULL: echo */
    SSL_CTX    *ctx;
    atomic_int  accepted, resumed;
    char        name[64]; /* the last one asked for (SNI) */
    kit_peer    peer;
} side;

static void echo(SSL *ssl)
{
    char bytes[16384];
    for (int n; (n = SSL_read(ssl, bytes, sizeof bytes)) > 0;)
        if (SSL_write(ssl, bytes, n) != n)
            return;
    SSL_shutdown(ssl);
}

static void serve(int fd, void *arg)
{
    side *d = arg;
    SSL *ssl = SSL_new(d->ctx);
    SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) == 1) {
        const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
        snprintf(d->name, sizeof d->name, "%s", name ? name : "");
        d->resumed += SSL_session_reused(ssl);
        d->accepted++;
        (d->talk ? d->talk : echo)(ssl);
    }
    SSL_free(ssl);
}

static void old_protocols(SSL_CTX *ctx, int newest)
{
    SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(ctx, newest);
    if (newest < TLS1_2_VERSION)
        CHECK(SSL_CTX_set_cipher_list(ctx, "ALL:@SECLEVEL=0"));
}

static void side_context(side *d)
{
    d->ctx = SSL_CTX_new(TLS_server_method());
    CHECK_INT(SSL_CTX_use_certificate_file(d->ctx, cert_file(d->cert), SSL_FILETYPE_PEM), 1);
    CHECK_INT(SSL_CTX_use_PrivateKey_file(d->ctx, cert_file(d->cert), SSL_FILETYPE_PEM), 1);
    SSL_CTX_set_session_id_context(d->ctx, (const unsigned char *)"test", 4);
    if (d->newest)
        old_protocols(d->ctx, d->newest);
    if (!d->clients)
        return;
    CHECK_INT(SSL_CTX_load_verify_locations(d->ctx, cert_file(d->clients), NULL), 1);
    SSL_CTX_set_verify(d->ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
}

static void side_start(side *d)
{
    side_context(d);
    kit_listen(&d->peer, serve, d);
}

static void side_end(side *d)
{
    kit_join(&d->peer);
    SSL_CTX_free(d->ctx);
}

static ferry__stream_options tls_options(const side *d)
{
    ferry__stream_options o = kit_options(&d->peer);
    o.tls = true;
    o.ca_file = cert_file("ca");
    o.tls_name = "localhost";
    return o;
}

static void authority(void)
{
    CERT(.name = "ca", .authority = true);
}

/* The usual case: an authority of our own, a server by it. */
static void usual(void)
{
    authority();
    CERT(.name = "good", .issuer = "ca", .hosts = "DNS:localhost,IP:127.0.0.1");
}

static void works(side *d, const ferry__stream_options *o)
{
    ferry__stream *s = kit_open(&d->peer, o);
    kit_drive(s, kit_is, FERRY__OPEN);
    CHECK(ferry__stream_add(s, "hello", 5));
    kit_expect(s, "hello");
    kit_close(s);
}

static void fails(side *d, const ferry__stream_options *o, ferry_status status, const char *why)
{
    ferry__stream *s = kit_open(&d->peer, o);
    CHECK_STR(kit_why(s, status), why);
    kit_close(s);
}

/* "…" of a text that begins with "the certificate of <peer>" */
static const char *of_peer(const side *d, const char *rest)
{
    return test_text("the certificate of 127.0.0.1:%d %s", d->peer.port, rest);
}

/* ---- Who it is ------------------------------------------------------------------------------------------------------ */

static void good_with(int newest, const char *name)
{
    side d = {.cert = "good", .newest = newest};
    side_start(&d);
    ferry__stream_options o = tls_options(&d);
    o.tls_name = name;
    works(&d, &o);
    side_end(&d);
    CHECK_INT(d.accepted, 1);
    CHECK_STR(d.name, name && strncmp(name, "local", 5) == 0 ? "localhost" : "");
}

TEST(good)
{
    usual();
    good_with(0, "localhost");
    good_with(TLS1_2_VERSION, "localhost");
    CHECK_HAS(kit_log_text(), "verified, TLSv1.3");
    CHECK_HAS(kit_log_text(), "verified, TLSv1.2");
}

TEST(good_by_its_address)
{
    usual();
    good_with(0, "127.0.0.1");
    good_with(0, NULL); /* the host: the same address */
    good_with(0, "localhost.");
    good_with(0, "127.0.0.1%lo"); /* a zone */
}

TEST(for_another_host)
{
    usual();
    CERT(.name = "localhost", .issuer = "ca"); /* a common name is no host name (RFC 9525 2) */
    side d = {.cert = "good"}, bare = {.cert = "localhost"};
    side_start(&d);
    side_start(&bare);
    ferry__stream_options o = tls_options(&d);
    o.tls_name = "db.example";
    fails(&d, &o, FERRY_DENIED, of_peer(&d, "is not for 'db.example' but for localhost, 127.0.0.1"));
    o.tls_name = "127.0.0.2";
    fails(&d, &o, FERRY_DENIED, of_peer(&d, "is not for '127.0.0.2' but for localhost, 127.0.0.1"));
    o = tls_options(&bare);
    fails(&bare, &o, FERRY_DENIED, of_peer(&bare, "is not for 'localhost' but for no host at all"));
    side_end(&d);
    side_end(&bare);
    CHECK_INT(d.accepted, 0);
}

TEST(a_name_is_not_an_address_nor_a_part_of_a_name)
{
    authority();
    CERT(.name = "wild", .issuer = "ca", .hosts = "DNS:*.host.example,DNS:f*o.test,DNS:127.0.0.1");
    side d = {.cert = "wild"};
    side_start(&d);
    ferry__stream_options o = tls_options(&d);
    o.tls_name = "a.host.example";
    works(&d, &o);
    const char *others[] = {"host.example", "a.b.host.example", "foo.test", "127.0.0.1"};
    for (size_t i = 0; i < 4; i++) {
        o.tls_name = others[i];
        ferry__stream *s = kit_open(&d.peer, &o);
        CHECK_HAS(kit_why(s, FERRY_DENIED), test_text("is not for '%s' but for *.host.example", others[i]));
        kit_close(s);
    }
    side_end(&d);
}

TEST(expired_or_not_yet_valid)
{
    authority();
    CERT(.name = "old", .issuer = "ca", .hosts = "DNS:localhost", .from = -7200, .to = -3600);
    CERT(.name = "young", .issuer = "ca", .hosts = "DNS:localhost", .from = 3600, .to = 7200);
    const char *names[] = {"old", "young"}, *texts[] = {"has expired, on 2", "is valid only from 2"};
    for (size_t i = 0; i < 2; i++) {
        side d = {.cert = names[i]};
        side_start(&d);
        ferry__stream_options o = tls_options(&d);
        ferry__stream *s = kit_open(&d.peer, &o);
        CHECK_HAS(kit_why(s, FERRY_DENIED), of_peer(&d, texts[i]));
        kit_close(s);
        side_end(&d);
    }
}

static void unknown_to(side *d, const char *ca_file)
{
    ferry__stream_options o = tls_options(d);
    o.ca_file = ca_file;
    ferry__stream *s = kit_open(&d->peer, &o);
    CHECK_HAS(kit_why(s, FERRY_DENIED), "is of an unknown authority (");
    kit_close(s);
}

TEST(of_an_unknown_authority)
{
    usual();
    CERT(.name = "other", .authority = true);
    CERT(.name = "self", .hosts = "DNS:localhost");
    side d = {.cert = "good"}, self = {.cert = "self"};
    side_start(&d);
    side_start(&self);
    unknown_to(&d, cert_file("other"));
    unknown_to(&d, NULL);
    unknown_to(&self, cert_file("ca"));
    unknown_to(&self, NULL);
    side_end(&d);
    side_end(&self);
}

TEST(its_own_certificate_as_the_authority)
{
    usual();
    CERT(.name = "self", .hosts = "DNS:localhost");
    side d = {.cert = "self"}, good = {.cert = "good"};
    side_start(&d);
    side_start(&good);
    ferry__stream_options o = tls_options(&d);
    o.ca_file = cert_file("self");
    works(&d, &o);
    o = tls_options(&good);
    o.ca_file = cert_file("good"); /* not a root: trusted because it was named */
    works(&good, &o);
    side_end(&d);
    side_end(&good);
}

TEST(not_verifying_is_loud)
{
    usual();
    CERT(.name = "self", .hosts = "DNS:other.example", .from = -7200, .to = -3600);
    side d = {.cert = "self"};
    side_start(&d);
    ferry__stream_options o = tls_options(&d);
    o.tls_unverified = true;
    works(&d, &o);
    CHECK_HAS(kit_log_text(), test_text("%d 127.0.0.1:%d was NOT verified", LOG_WARNING, d.peer.port));
    o.tls_unverified = false; /* and nothing of that is resumed */
    o.ca_file = cert_file("self");
    ferry__stream *s = kit_open(&d.peer, &o);
    kit_why(s, FERRY_DENIED);
    kit_close(s);
    side_end(&d);
}

TEST(older_than_tls_1_2)
{
    usual();
    side d = {.cert = "good", .newest = TLS1_1_VERSION};
    side_start(&d);
    ferry__stream_options o = tls_options(&d);
    fails(&d, &o, FERRY_UNAVAILABLE, test_text("127.0.0.1:%d does not offer TLS 1.2 or later", d.peer.port));
    side_end(&d);
}

/* ---- Who we are ----------------------------------------------------------------------------------------------------- */

static void with_client(int newest)
{
    side d = {.cert = "good", .clients = "ca", .newest = newest};
    side_start(&d);
    ferry__stream_options o = tls_options(&d);
    o.cert_file = cert_file("client");
    o.key_file = cert_file("client");
    works(&d, &o);
    o.key_file = NULL; /* the key is in the same file */
    works(&d, &o);
    CHECK_INT(d.resumed, 0); /* another set of files */
    o.cert_file = cert_file("stranger");
    ferry__stream *s = kit_open(&d.peer, &o);
    CHECK_HAS(kit_why(s, FERRY_DENIED), "refuses the client certificate, or the lack of one");
    kit_close(s);
    o.cert_file = NULL;
    s = kit_open(&d.peer, &o);
    const char *why = kit_why(s, newest ? FERRY_UNAVAILABLE : FERRY_DENIED);
    CHECK_HAS(why, newest ? "handshake failure" : "refuses the client certificate, or the lack of one");
    kit_close(s);
    side_end(&d);
}

TEST(a_client_certificate)
{
    usual();
    CERT(.name = "client", .issuer = "ca");
    CERT(.name = "stranger");
    with_client(0);
    with_client(TLS1_2_VERSION);
}

static void refuses(const ferry__stream_options *o, const char *why)
{
    ferry__stream *s = kit_open(NULL, o);
    CHECK_INT(ferry__stream_where(s), FERRY__CLOSED);
    CHECK_STR(kit_why(s, FERRY_INVALID), why);
    kit_close(s);
}

TEST(files_that_are_no_use)
{
    usual();
    CERT(.name = "client", .issuer = "ca");
    cert_lock_key("client", "locked");
    test_write(cert_file("text"), "this is a text\n");
    ferry__stream_options o = {
        .host = "localhost", .port = "1", .tls = true, .connect_ms = 1000, .in_max = 1, .out_max = 1};
    o.ca_file = cert_file("none");
    refuses(&o, test_text("the CA file %s: No such file or directory", o.ca_file));
    o.ca_file = cert_file("text");
    refuses(&o, test_text("the CA file %s holds no certificate in PEM", o.ca_file));
    o.ca_file = cert_file("ca");
    o.key_file = cert_file("client");
    refuses(&o, test_text("there is a key file, %s, but no certificate file", o.key_file));
    o.cert_file = cert_file("text");
    refuses(&o, test_text("the certificate file %s holds no certificate in PEM", o.cert_file));
    o.cert_file = cert_file("good");
    refuses(&o, test_text("the key file %s holds the key of another certificate", o.key_file));
    o.cert_file = cert_file("client");
    o.key_file = cert_file("none");
    refuses(&o, test_text("the key file %s: No such file or directory", o.key_file));
    o.key_file = cert_file("locked");
    refuses(&o, test_text("the key file %s is locked by a password: store it without (openssl pkey -in %s)", o.key_file,
                          o.key_file));
    o.key_file = cert_file("text");
    refuses(&o, test_text("the key file %s holds no private key in PEM", o.key_file));
}

/* ---- Sessions ------------------------------------------------------------------------------------------------------- */

static void resumes_with(int newest)
{
    side d = {.cert = "good", .newest = newest};
    side_start(&d);
    ferry__stream_options o = tls_options(&d);
    for (int i = 0; i < 4; i++) {
        CHECK_INT(d.resumed, i ? i - 1 : 0);
        works(&d, &o);
    }
    CHECK_SOON(d.resumed == 3, 5000);
    CHECK_HAS(kit_log_text(), "resumed");
    o.tls_name = "127.0.0.1"; /* verified for another name: not resumed */
    works(&d, &o);
    o = tls_options(&d);
    CERT(.name = "ca2", .authority = true);
    o.ca_file = cert_file("good"); /* and by another authority: neither */
    works(&d, &o);
    o.ca_file = cert_file("ca2");
    ferry__stream *s = kit_open(&d.peer, &o);
    kit_why(s, FERRY_DENIED);
    kit_close(s);
    side_end(&d);
    CHECK_INT(d.resumed, 3);
}

TEST(a_reconnect_resumes)
{
    usual();
    resumes_with(0);
}

TEST(a_reconnect_resumes_with_tls_1_2)
{
    usual();
    resumes_with(TLS1_2_VERSION);
}

TEST(a_renewed_file_is_read_anew)
{
    usual();
    side d = {.cert = "good"};
    side_start(&d);
    ferry__stream_options o = tls_options(&d);
    works(&d, &o);
    authority(); /* another one in the same file */
    ferry__stream *s = kit_open(&d.peer, &o);
    CHECK_HAS(kit_why(s, FERRY_DENIED), of_peer(&d, "is refused: certificate signature failure"));
    kit_close(s);
    side_end(&d);
}

/* ---- What a peer may do --------------------------------------------------------------------------------------------- */

static void plain_words(int fd, void *arg)
{
    (void)arg;
    kit_say(fd, "-ERR this is no TLS\r\n", 21);
    kit_quiet(fd, NULL);
}

TEST(a_peer_that_does_not_speak_tls)
{
    authority();
    side d = {0};
    kit_listen(&d.peer, plain_words, NULL);
    ferry__stream_options o = tls_options(&d);
    fails(&d, &o, FERRY_UNAVAILABLE,
          test_text("127.0.0.1:%d does not answer in TLS: is that its TLS port?", d.peer.port));
    kit_join(&d.peer);
    kit_listen(&d.peer, kit_quiet, NULL);
    o = tls_options(&d);
    o.connect_ms = 100;
    fails(
        &d, &o, FERRY_UNAVAILABLE,
        test_text("127.0.0.1:%d has not finished the TLS handshake within 100 ms: is that its TLS port?", d.peer.port));
    kit_join(&d.peer);
}

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
