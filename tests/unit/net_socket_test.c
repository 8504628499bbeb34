#include "test.h"

#include "net/socket.h"
#include "net_kit.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t length = sizeof value;
    CHECK_INT(getsockopt(fd, level, name, &value, &length), 0);
    return value;
}

TEST(has_the_options_of_a_long_lived_connection)
{
    int fd = ferry__socket_new(AF_INET, 8000);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
    CHECK_INT(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    CHECK_INT(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    CHECK_INT(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 8000);
    CHECK_INT(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 2);
    CHECK_INT(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 2);
    CHECK_INT(option(fd, IPPROTO_TCP, TCP_KEEPCNT), 3);
    close(fd);
}

static int connect_to(int fd, int port)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_port = htons((uint16_t)port)};
    return ferry__socket_connect(fd, (struct sockaddr *)&to, sizeof to);
}

static int outcome(int fd, int error)
{
    struct pollfd p = {fd, POLLOUT, 0};
    for (int64_t end = test_now_ms() + test_ms(5000); error == EINPROGRESS && test_now_ms() < end;) {
        poll(&p, 1, 50);
        error = ferry__socket_connected(fd);
    }
    return error;
}

TEST(connects_or_says_why_not)
{
    kit_peer p;
    kit_listen(&p, kit_quiet, NULL);
    int fd = ferry__socket_new(AF_INET, 0), other = ferry__socket_new(AF_INET, 0);
    CHECK_INT(outcome(fd, connect_to(fd, p.port)), 0);
    CHECK_INT(outcome(other, connect_to(other, kit_unused_port())), ECONNREFUSED);
    close(fd);
    close(other);
    kit_join(&p);
}

/* The socket is given the port that it then connects to: what otherwise happens once in thousands of attempts. */
TEST(a_connection_to_itself_is_none)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof here;
    int fd = ferry__socket_new(AF_INET, 0);
    CHECK_INT(bind(fd, (struct sockaddr *)&here, sizeof here), 0);
    CHECK_INT(getsockname(fd, (struct sockaddr *)&here, &length), 0);
    CHECK_INT(outcome(fd, connect_to(fd, ntohs(here.sin_port))), ECONNREFUSED);
    close(fd);
}

TEST(a_path_may_be_too_long_for_a_socket)
{
    char path[109];
    memset(path, 'x', sizeof path);
    path[108] = '\0';
    int fd = ferry__socket_new(AF_UNIX, 0);
    CHECK_INT(ferry__socket_unix(fd, path), ENAMETOOLONG);
    path[107] = '\0';
    CHECK_INT(ferry__socket_unix(fd, path), ENOENT);
    close(fd);
}
