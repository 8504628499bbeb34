#include "net/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/un.h>

static void set(int fd, int level, int option, int value)
{
    (void)setsockopt(fd, level, option, &value, sizeof value); /* what a kernel does not know, it does without */
}

/* A peer that vanished without a word is noticed by unacknowledged data (TCP_USER_TIMEOUT) and, in silence, by keep-alive probes:
 * both within about dead_ms. */
static void tune_tcp(int fd, int dead_ms)
{
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    if (dead_ms <= 0)
        return;
    int quarter = dead_ms / 4000;
    set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, dead_ms);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, quarter > 0 ? quarter : 1);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, quarter > 0 ? quarter : 1);
    set(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

int ferry__socket_new(int family, int dead_ms)
{
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && family != AF_UNIX)
        tune_tcp(fd, dead_ms);
    return fd;
}

/* An attempt at a local port that nobody listens on may draw that very port as its own and meet itself: a connection that echoes
 * (simultaneous open, RFC 9293 3.5). */
static bool met_itself(int fd)
{
    struct sockaddr_storage here = {0}, there = {0};
    socklen_t length = sizeof here, other = sizeof there;
    return getsockname(fd, (struct sockaddr *)&here, &length) == 0 &&
           getpeername(fd, (struct sockaddr *)&there, &other) == 0 && here.ss_family != AF_UNIX && length == other &&
           memcmp(&here, &there, length) == 0;
}

static int checked(int fd)
{
    return met_itself(fd) ? ECONNREFUSED : 0;
}

int ferry__socket_connect(int fd, const struct sockaddr *to, socklen_t length)
{
    if (connect(fd, to, length) == 0)
        return checked(fd);
    return errno == EINTR ? EINPROGRESS : errno;
}

int ferry__socket_unix(int fd, const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof to.sun_path)
        return ENAMETOOLONG;
    memcpy(to.sun_path, path, strlen(path));
    return ferry__socket_connect(fd, (const struct sockaddr *)&to, sizeof to);
}

int ferry__socket_connected(int fd)
{
    struct pollfd p = {fd, POLLOUT, 0};
    int error = 0;
    socklen_t length = sizeof error;
    if (poll(&p, 1, 0) <= 0)
        return EINPROGRESS;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
        return errno;
    return error ? error : checked(fd);
}
