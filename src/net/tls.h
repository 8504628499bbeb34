/* tls.h - TLS over one connected socket, by OpenSSL (3.0 and up), never blocking.
 *
 * Verified are the chain (of the CA file, else of the system) and the name or the IP, at least TLS 1.2. RFC 8446, RFC 5280, RFC 6125.
 * Contexts and sessions are kept for later connections of the process (tls_cache.h). The calling thread's queue of OpenSSL errors is
 * left empty: the program may use OpenSSL too. */
#ifndef FERRY_NET_TLS_H
#define FERRY_NET_TLS_H

#include "net/stream.h"
#include <sys/types.h>

typedef struct ferry__tls ferry__tls;

typedef enum ferry__tls_result {
    FERRY__TLS_DONE,
    FERRY__TLS_AGAIN, /* the socket first: ferry__tls_events */
    FERRY__TLS_ENDED, /* the peer has closed */
    FERRY__TLS_FAILED /* ferry__tls_status */
} ferry__tls_result;

/* Reads the certificate files, but touches no network. NULL with the status (INVALID, NO_MEMORY) and the reason. `peer` is for texts
 * and tells sessions apart. `o` and `peer` have to outlive it. */
ferry__tls *ferry__tls_new(const ferry__stream_options *o, const char *peer, ferry_status *status, char *why);
/* Takes over reading and writing of fd, not its closing. */
bool ferry__tls_start(ferry__tls *t, int fd);

ferry__tls_result ferry__tls_handshake(ferry__tls *t);
/* *done: how much. Write takes a record's worth at a time; after AGAIN it wants the same bytes again, with more behind them or not. */
ferry__tls_result ferry__tls_read(ferry__tls *t, void *to, size_t room, size_t *done);
ferry__tls_result ferry__tls_write(ferry__tls *t, const void *from, size_t length, size_t *done);

/* What the last read, or the last write or handshake, waits for: POLLIN, POLLOUT or 0. */
short        ferry__tls_events(const ferry__tls *t);
ferry_status ferry__tls_status(const ferry__tls *t, const char **why); /* after FAILED */
bool         ferry__tls_resumed(const ferry__tls *t);
const char  *ferry__tls_version(const ferry__tls *t); /* "TLSv1.3" */

void ferry__tls_free(ferry__tls *t, bool goodbye); /* goodbye: sends close_notify, if the socket takes it */

#endif
