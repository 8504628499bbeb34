/* tls_context.h - what connections share: an OpenSSL context for each set of certificate files, and sessions to be resumed.
 *
 * Reading the system's certificates takes longer than a handshake, and a reconnect should not do it again. So contexts and sessions
 * are kept for the process, a fixed number of each, the longest unused making room. The key of a context is the digest of its options
 * and of the files' times and sizes: a renewed certificate is read anew. The key of a session adds the peer and the name it had to
 * prove, so that nothing is resumed which another connection has verified less.
 *
 * The lock is only ever tried. Who does not get it does without: also a forked child that inherited it locked for ever. */
#ifndef FERRY_NET_TLS_CONTEXT_H
#define FERRY_NET_TLS_CONTEXT_H

#include "net/stream.h"
#include <openssl/ssl.h>

typedef struct ferry__tls_key {
    bool          known; /* false: no memory for it; nothing is kept */
    unsigned char digest[32];
} ferry__tls_key;

/* A reference, for SSL_CTX_free; NULL with the status (INVALID: a file; NO_MEMORY) and the reason. */
SSL_CTX *ferry__tls_context(const ferry__stream_options *o, ferry_status *status, char *why);

/* New contexts are given these: called as OpenSSL says in SSL_CTX_sess_set_new_cb(3) and SSL_CTX_set_verify(3). */
int ferry__tls_on_session(SSL *ssl, SSL_SESSION *session);
int ferry__tls_on_verify(int good, X509_STORE_CTX *chain);

ferry__tls_key ferry__tls_session_key(const ferry__stream_options *o, const char *peer);
SSL_SESSION   *ferry__tls_session_take(const ferry__tls_key *key);                       /* a reference, or NULL */
bool           ferry__tls_session_keep(const ferry__tls_key *key, SSL_SESSION *session); /* true: has taken the reference */

#endif
