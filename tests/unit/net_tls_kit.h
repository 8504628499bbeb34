/* net_tls_kit.h - a TLS server by OpenSSL for a stream to talk to.
 *
 *     usual();                                      // an authority of our own, "ca", and a certificate by it, "good"
 *     side d = {.cert = "good"};
 *     side_start(&d);
 *     ferry__stream_options o = tls_options(&d);
 *     works(&d, &o);
 *     side_end(&d); */
#ifndef FERRY_UNIT_NET_TLS_KIT_H
#define FERRY_UNIT_NET_TLS_KIT_H

#include "net_certs.h"
#include "net_kit.h"
#include <openssl/ssl.h>
#include <stdatomic.h>

typedef struct side {
    const char *cert, *clients; /* names of files; clients: the authority whose certificates it demands */
    int         newest;         /* TLS1_2_VERSION; 0: any */
    void (*talk)(SSL *ssl);     /* NULL: echo */
    SSL_CTX    *ctx;
    atomic_int  accepted, resumed;
    char        name[64]; /* the last one asked for (SNI) */
    kit_peer    peer;
} side;

void side_start(side *d);
void side_end(side *d);

ferry__stream_options tls_options(const side *d); /* verifies "localhost" by "ca" */
void                  authority(void);
void                  usual(void);
void                  works(side *d, const ferry__stream_options *o); /* opens, is answered, closes */

#endif
