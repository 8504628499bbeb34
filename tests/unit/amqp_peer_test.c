/* amqp_peer_test.c - a broker of our own that says what RabbitMQ never would: in slices of one byte, too long, malformed, nothing. */
#ifdef FERRY_WITH_AMQP
#include "test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct peer {
    int         listener, port;
    const char *bytes; /* said to everybody who connects */
    size_t      length;
    bool        sliced;
    pthread_t   thread;
    atomic_int  connections, heard;
} peer;

static void talk(peer *p, int fd)
{
    char in[4096];
    size_t step = p->sliced ? 1 : p->length;
    if (recv(fd, in, 8, MSG_WAITALL) != 8)
        return;
    CHECK_BYTES(in, 8, "AMQP\0\0\x09\x01", 8);
    for (size_t at = 0; at < p->length; at += step)
        if (send(fd, p->bytes + at, step, MSG_NOSIGNAL) != (ssize_t)step)
            return;
    for (ssize_t n; (n = recv(fd, in, sizeof in, 0)) > 0;)
        atomic_fetch_add(&p->heard, (int)n);
}

static void *serve(void *arg)
{
    peer *p = arg;
    for (int fd; (fd = accept(p->listener, NULL, NULL)) >= 0; close(fd)) {
        atomic_fetch_add(&p->connections, 1);
        talk(p, fd);
    }
    return NULL;
}

static void start(peer *p)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(bind(p->listener, (struct sockaddr *)&at, sizeof at), 0);
    CHECK_INT(listen(p->listener, 8), 0);
    CHECK_INT(getsockname(p->listener, (struct sockaddr *)&at, &size), 0);
    p->port = ntohs(at.sin_port);
    CHECK_INT(pthread_create(&p->thread, NULL, serve, p), 0);
}

static void stop(peer *p)
{
    shutdown(p->listener, SHUT_RDWR);
    pthread_join(p->thread, NULL);
    close(p->listener);
}

/* The handle is never ready, and says why. */
static void refused(const char *bytes, size_t length, const char *why)
{
    peer p = {.bytes = bytes, .length = length};
    char problem[512];
    start(&p);
    ferry *f = ferry_open(test_text("amqp://127.0.0.1:%d/?connect=2s", p.port), NULL);
    CHECK_NOT_NULL(f);
    CHECK_SOON((ferry_wait_ready(f, 20), ferry_problem(f, problem, sizeof problem), strstr(problem, why) != NULL),
               8000);
    ferry_close(f);
    stop(&p);
}
#define REFUSED(bytes, why) refused(bytes, sizeof bytes - 1, why)

TEST(another_protocol)
{
    REFUSED("HTTP/1.1 400 Bad Request\r\n\r\n", "not AMQP");
    REFUSED("AMQP\0\1\0\0", "does not speak AMQP 0-9-1");
    REFUSED("AMQP\0\1\0", "does not speak AMQP 0-9-1");
}

TEST(frames_that_lie)
{
    REFUSED("\1\0\0\xff\xff\xff\xff", "larger than was agreed");
    REFUSED("\1\0\0\x7f\xff\xff\xff", "larger than was agreed");
    REFUSED("\1\0\0\0\2\0\1", "larger than was agreed");
    REFUSED("\1\0\0\0\0\0\4\0\x0a\0\x0a\0", "no end mark");
    REFUSED("\1\0\0\0\0\0\4\0\x0a\0\x0a\xce", "malformed"); /* a Start without its fields */
    REFUSED("\1\0\0\0\0\0\4\xff\xff\xff\xff\xce", "");
    REFUSED("\3\0\7\0\0\0\1x\xce", "announced");
}

/* Properties whose table claims more than there is, or nests deeper than a stack. */
TEST(properties_that_lie)
{
    static char deep[9 + 14 + 4 + 6 * 1000 + 16];
    char *at = deep;
    memset(deep, 0, sizeof deep);
    size_t size = 14 + 4 + 6 * 1000;
    at[0] = 2;
    at[2] = 1;
    at[5] = (char)(size >> 8);
    at[6] = (char)size;
    at[7 + 1] = 60;
    at[7 + 12] = 0x20; /* headers */
    at += 7 + 14;
    for (size_t left = 6 * 1000, n = 0; n < 1000; n++, left -= 6) {
        at[2] = (char)(left >> 8);
        at[3] = (char)left;
        at[4] = 0; /* a name of no bytes */
        at[5] = 'F';
        at += 6;
    }
    deep[7 + size] = (char)0xce;
    refused(deep, 7 + size + 1, "malformed properties");
    REFUSED("\2\0\1\0\0\0\x12\0\x3c\0\0\0\0\0\0\0\0\0\0\x20\0\xff\xff\xff\xff\xce", "malformed properties");
}

#define START "\1\0\0\0\0\0\x18\0\x0a\0\x0a\0\x09\0\0\0\0\0\0\0\5PLAIN\0\0\0\1C\xce" /* no properties, one mechanism */

TEST(slices_of_one_byte)
{
    peer p = {.bytes = START, .length = sizeof START - 1, .sliced = true};
    start(&p);
    ferry *f = ferry_open(test_text("amqp://127.0.0.1:%d/?connect=5s", p.port), NULL);
    CHECK_SOON((ferry_wait_ready(f, 10), atomic_load(&p.heard) > 50), 8000); /* Start-Ok */
    ferry_close(f);
    stop(&p);
}

TEST(login_that_is_not_offered)
{
    REFUSED("\1\0\0\0\0\0\x17\0\x0a\0\x0a\0\x09\0\0\0\0\0\0\0\4NONE\0\0\0\1C\xce", "does not offer PLAIN");
}

TEST(silence_ends_by_the_time_to_connect)
{
    peer p = {.bytes = "", .length = 0};
    char problem[512];
    start(&p);
    ferry *f = ferry_open(test_text("amqp://127.0.0.1:%d/?connect=100ms", p.port), NULL);
    CHECK_SOON(
        (ferry_wait_ready(f, 20), ferry_problem(f, problem, sizeof problem), strstr(problem, "handshake") != NULL),
        8000);
    CHECK_SOON((ferry_wait_ready(f, 20), atomic_load(&p.connections) >= 2), 8000); /* and it is tried again */
    ferry_close(f);
    stop(&p);
}

TEST(urls_that_cannot_be)
{
    const char *bad[] = {"amqp://broker.example.net/", "amqp://localhost/?auth=external",
                         "amqp://localhost/?queue=mirrored", "amqp://localhost/?prefetch=0"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ferry *f = ferry_open(bad[i], NULL);
        CHECK_STATUS(ferry_wait_ready(f, 0), FERRY_INVALID);
        ferry_close(f);
    }
}
#endif
