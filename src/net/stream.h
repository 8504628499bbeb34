/* stream.h - one non-blocking stream of bytes to a broker: TCP or a unix socket, plain or TLS, with bounded buffers on both sides.
 *
 *     RESOLVING --> CONNECTING --> [HANDSHAKE] --> OPEN --> CLOSED (why)
 *          \____________\______________\____________/^
 *
 * Not locked: the transport that owns it calls it under its link's lock; nothing here blocks. Names are resolved on a thread of their
 * own. TLS verifies the chain and the host name or IP, TLS 1.2 up (RFC 8446, RFC 5280, RFC 6125); turning that off is loud.
 * Sockets are non-blocking, CLOEXEC, TCP_NODELAY, keep-alive, TCP_USER_TIMEOUT; writes never raise SIGPIPE. */
#ifndef FERRY_NET_STREAM_H
#define FERRY_NET_STREAM_H

#include "base/log.h"

typedef struct ferry__stream ferry__stream;

typedef enum ferry__stream_state {
    FERRY__RESOLVING,
    FERRY__CONNECTING,
    FERRY__HANDSHAKE,
    FERRY__OPEN,
    FERRY__CLOSED
} ferry__stream_state;

typedef struct ferry__stream_options {
    const char *host; /* name or address; NULL with unix_path */
    const char *port; /* "6379" */
    const char *unix_path;
    bool        tls;
    const char *ca_file;              /* NULL: the system's */
    const char *cert_file, *key_file; /* NULL: no client certificate */
    const char *tls_name;             /* name to verify [host] */
    bool        tls_unverified;       /* neither chain nor name is checked; warns at each connect */
    int         connect_ms;           /* for all of resolve, connect and handshake */
    int         dead_ms;              /* TCP_USER_TIMEOUT: unacknowledged data so long = closed */
    size_t      in_max, out_max;      /* bytes buffered at most */
} ferry__stream_options;

/* Starts; copies the options. NULL: out of memory. wake (may be NULL) is called from the resolver's thread when a name is resolved:
 * the owner's wait has to come round; it must only ring a bell or write an eventfd. */
ferry__stream *ferry__stream_open(const ferry__stream_options *o, const ferry__log *log, void (*wake)(void *arg),
                                  void *arg);
void           ferry__stream_free(ferry__stream *s); /* closes at once; NULL is fine */
void           ferry__stream_abandon(ferry__stream *s); /* in a forked child: memory only, the descriptor is closed, no TLS goodbye */

/* Moves on what can move now: connect, handshake, write, read. Answers the state. now_ms: ferry__now_ms(). */
ferry__stream_state ferry__stream_pump(ferry__stream *s, int64_t now_ms);
ferry__stream_state ferry__stream_where(const ferry__stream *s);
ferry_status        ferry__stream_status(const ferry__stream *s, const char **why); /* of a CLOSED one: UNAVAILABLE, DENIED, … */
int                 ferry__stream_fd(const ferry__stream *s);     /* -1: none yet */
short               ferry__stream_events(const ferry__stream *s); /* POLLIN | POLLOUT as wanted now (TLS included) */
int                 ferry__stream_next_ms(const ferry__stream *s, int64_t now_ms); /* connect timer; -1: none */

/* What was read and not eaten: one run of bytes, valid until the next pump. */
const char *ferry__stream_in(const ferry__stream *s, size_t *length);
void        ferry__stream_eat(ferry__stream *s, size_t length);

/* Appends to what is to be written; nothing leaves before flush (or pump). Room: a place for `length` bytes, to be followed by wrote;
 * NULL: over out_max or out of memory. */
void  *ferry__stream_room(ferry__stream *s, size_t length);
void   ferry__stream_wrote(ferry__stream *s, size_t length);
bool   ferry__stream_add(ferry__stream *s, const void *data, size_t length);
size_t ferry__stream_unsent(const ferry__stream *s); /* bytes noted and not yet with the kernel */
/* One write of all, as far as the socket takes it. */
void   ferry__stream_flush(ferry__stream *s);

#endif
