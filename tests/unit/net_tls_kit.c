#include "net_tls_kit.h"

#include "test.h"
#include <stdio.h>

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

void side_start(side *d)
{
    side_context(d);
    kit_listen(&d->peer, serve, d);
}

void side_end(side *d)
{
    kit_join(&d->peer);
    SSL_CTX_free(d->ctx);
}

ferry__stream_options tls_options(const side *d)
{
    ferry__stream_options o = kit_options(&d->peer);
    o.tls = true;
    o.ca_file = cert_file("ca");
    o.tls_name = "localhost";
    return o;
}

void authority(void)
{
    CERT(.name = "ca", .authority = true);
}

/* The usual case: an authority of our own, a server by it. */
void usual(void)
{
    authority();
    CERT(.name = "good", .issuer = "ca", .hosts = "DNS:localhost,IP:127.0.0.1");
}

void works(side *d, const ferry__stream_options *o)
{
    ferry__stream *s = kit_open(&d->peer, o);
    kit_drive(s, kit_is, FERRY__OPEN);
    CHECK(ferry__stream_add(s, "hello", 5));
    kit_expect(s, "hello");
    kit_close(s);
}
