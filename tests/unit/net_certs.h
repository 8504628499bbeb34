/* net_certs.h - certificates made for a test, as PEM files in its directory: "<name>.pem" holds the certificate and then its key. */
#ifndef FERRY_UNIT_NET_CERTS_H
#define FERRY_UNIT_NET_CERTS_H

#include <stdbool.h>

typedef struct cert {
    const char *name;    /* of the file, and the common name */
    const char *issuer;  /* name of the one that signs; NULL: itself */
    const char *hosts;   /* "DNS:localhost,IP:127.0.0.1"; NULL: none */
    int         from, to; /* seconds from now; both 0: an hour back and forth */
    bool        authority;
} cert;

#define CERT(...) cert_make(&(cert){__VA_ARGS__})
void        cert_make(const cert *c);
const char *cert_file(const char *name);
void        cert_lock_key(const char *name, const char *as); /* "<as>.pem": the same with the key under a password */

#endif
