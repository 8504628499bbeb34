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
 * the owner's wait has to come round; it must only ring a bell or write an eventfd. It is not called any more once free returned. A
 * stream may be CLOSED at once: a certificate file that cannot be used is INVALID. The log (may be NULL) has to outlive it. */
ferry__stream *ferry__stream_open(const ferry__stream_options *o, const ferry__log *log, void (*wake)(void *arg),
                                  void *arg);
void           ferry__stream_free(ferry__stream *s);    /* closes at once, what is unsent is lost; NULL is fine */
void           ferry__stream_abandon(ferry__stream *s); /* in a forked child: memory only, the descriptor is closed, no TLS goodbye */

/* Moves on what can move now: connect, handshake, write, read (4 MiB at most). Answers the state. now_ms: ferry__now_ms(). */
ferry__stream_state ferry__stream_pump(ferry__stream *s, int64_t now_ms);
ferry__stream_state ferry__stream_where(const ferry__stream *s);
/* Of a CLOSED one, with the reason as a sentence that names the peer:
 * UNAVAILABLE  not reached, refused, reset, closed by the peer, too slow, no descriptors, no TLS 1.2 there
 * DENIED       its certificate is not good (expired, another host's, of an unknown authority), or ours is not good for it; a unix
 *              socket we may not open
 * INVALID      the options: a port, a path, a certificate file;  NO_MEMORY */
ferry_status ferry__stream_status(const ferry__stream *s, const char **why);

/* What to poll for. fd is -1 before CONNECTING and in CLOSED, and changes when the next address is tried: ask before each wait, and
 * wait no longer than next_ms (-1: as long as you like). With the input full and nothing to send, events is 0 and the kernel may still
 * report POLLHUP: eat before waiting. */
int   ferry__stream_fd(const ferry__stream *s);
short ferry__stream_events(const ferry__stream *s);
int   ferry__stream_next_ms(const ferry__stream *s, int64_t now_ms);
/* What the poll answered for it. Saves the next pump a read in vain; who does not tell is read from at each pump. */
void ferry__stream_polled(ferry__stream *s, short revents);

/* What was read and not eaten: one run of bytes, valid until the next pump; also of a CLOSED one, whose last words may tell why. A
 * run of in_max bytes that is no whole message will never become one. */
const char *ferry__stream_in(const ferry__stream *s, size_t *length);
void        ferry__stream_eat(ferry__stream *s, size_t length);

/* Appends to what is to be written, in any state; nothing leaves before flush (or pump). Room: a place for `length` bytes, to be
 * followed by wrote; NULL: over out_max or out of memory. */
void  *ferry__stream_room(ferry__stream *s, size_t length);
void   ferry__stream_wrote(ferry__stream *s, size_t length);
bool   ferry__stream_add(ferry__stream *s, const void *data, size_t length);
size_t ferry__stream_unsent(const ferry__stream *s); /* bytes noted and not yet with the kernel */
/* One write of all, as far as the socket takes it; TLS: one for each 16 KiB. A failure is told by the next pump. */
void ferry__stream_flush(ferry__stream *s);

#endif
