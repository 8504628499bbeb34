#include "test.h"

#include "net_tls_kit.h"

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
