/* socket.h - one socket towards a broker, never blocking: made, tuned, connected, and what its errors mean. */
#ifndef FERRY_NET_SOCKET_H
#define FERRY_NET_SOCKET_H

#include <stdbool.h>
#include <sys/socket.h>

/* -1 with errno. CLOEXEC, non-blocking; TCP also TCP_NODELAY, keep-alive and, with dead_ms > 0, TCP_USER_TIMEOUT. */
int ferry__socket_new(int family, int dead_ms);

/* 0: connected. EINPROGRESS: ask ferry__socket_connected when the socket is writable. EAGAIN (unix sockets): the other side's queue is
 * full, try again in a moment. Else the error. */
int ferry__socket_connect(int fd, const struct sockaddr *to, socklen_t length);
int ferry__socket_unix(int fd, const char *path); /* ENAMETOOLONG too */
int ferry__socket_connected(int fd);

#endif
