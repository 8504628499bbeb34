/* net_kit.h - both ends of a connection: a peer that plays a script on a thread, and a stream that is driven until something holds.
 *
 *     static void say_hello(int fd, void *arg) { kit_say(fd, "hello", 5); }
 *
 *     kit_peer p;
 *     kit_listen(&p, say_hello, NULL);
 *     ferry__stream *s = kit_open(&p, NULL);
 *     kit_drive(s, kit_has, 5);                     // until 5 bytes have come
 *     kit_close(s);
 *     kit_join(&p);
 *
 * A peer takes one connection after the other, each with the script anew, and closes it when the script returns. */
#ifndef FERRY_UNIT_NET_KIT_H
#define FERRY_UNIT_NET_KIT_H

#include "net/stream.h"
#include <pthread.h>

enum { KIT_BUFFER = 1 << 20 };

typedef struct kit_peer {
    int       listener, port;
    char      port_text[8], path[108]; /* path: "" for TCP */
    pthread_t thread;
    bool      running;
    void (*script)(int fd, void *arg);
    void     *arg;
} kit_peer;

void kit_listen(kit_peer *p, void (*script)(int fd, void *arg), void *arg); /* 127.0.0.1; script NULL: takes nobody */
void kit_listen_unix(kit_peer *p, void (*script)(int fd, void *arg), void *arg);
void kit_bind(kit_peer *p, const char *address, int port); /* of a cleared one: without listening */
void kit_join(kit_peer *p);  /* no more connections; waits for the script's end */
int  kit_unused_port(void);  /* nobody listens there */
void kit_fill_backlog(kit_peer *p, int *fds, int count); /* TCP or unix: until the next one has to wait */

/* For scripts: the blocking kind; a failure ends the script's say quietly, the test sees it at the other end. */
void kit_say(int fd, const void *data, size_t length);
bool kit_hear(int fd, void *to, size_t length); /* false: it ended before */
void kit_reset(int fd);                         /* the close that follows is an RST */
void kit_echo(int fd, void *arg);               /* a script: gives back what comes */
void kit_quiet(int fd, void *arg);              /* a script: waits for the end */

ferry__stream_options kit_options(const kit_peer *p);
ferry__stream        *kit_open(const kit_peer *p, const ferry__stream_options *o); /* o NULL: kit_options */
void                  kit_close(ferry__stream *s);

/* Polls and pumps as an owner does; fails the case when it takes longer than ten seconds. */
void kit_drive(ferry__stream *s, bool (*until)(ferry__stream *s, size_t n), size_t n);
bool kit_is(ferry__stream *s, size_t state);
bool kit_has(ferry__stream *s, size_t bytes); /* to be eaten */
bool kit_sent(ferry__stream *s, size_t left);
const char *kit_why(ferry__stream *s, ferry_status want); /* of a closed one */
void kit_expect(ferry__stream *s, const char *text); /* drives, compares, eats */

/* The log of the streams, newest line last. */
extern const ferry__log kit_log;
const char *kit_log_text(void);

/* A pattern in which no byte may be missing or twice. */
void kit_pattern(char *to, size_t from, size_t length);
bool kit_matches(const char *data, size_t from, size_t length);

#endif
