#include "redis_kit.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

static pid_t server;

const char *redis_socket(void)
{
    return test_text("%s/redis.sock", test_dir());
}

test_output redis(const char *command)
{
    return test_sh("redis-cli -s %s %s", redis_socket(), command);
}

static bool answers(void *arg)
{
    (void)arg;
    return strncmp(redis("ping").out, "PONG", 4) == 0 || strstr(redis("ping").out, "NOAUTH");
}

void redis_start(const char *more)
{
    server =
        test_start("redis-server --port 0 --unixsocket %s --dir %s --save '' --appendonly yes --appendfsync always "
                   "--logfile %s/redis.log %s",
                   redis_socket(), test_dir(), test_dir(), more);
    CHECK(test_wait_for(answers, NULL, SOON_MS));
}

void redis_begin(const char *more)
{
    ferry *f = ferry_open("redis+unix:/nowhere", FERRY_OPTIONS(.close_ms = 1));
    char problem[512] = "";
    ferry_problem(f, problem, sizeof problem);
    ferry_close(f);
    if (*problem)
        SKIP("redis is not in this build: %s", problem);
    if (test_sh("command -v redis-server redis-cli").code != 0)
        SKIP("there is no redis-server here");
    redis_start(more);
}

pid_t redis_pid(void)
{
    return server;
}

void redis_stop(int signal)
{
    test_kill(server, signal);
}

int redis_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(bind(fd, (struct sockaddr *)&at, size), 0);
    CHECK_INT(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    close(fd);
    return ntohs(at.sin_port);
}

ferry *redis_handle(const char *query, const ferry_options *options)
{
    ferry *f = ferry_open(test_text("redis+unix:%s?lease=400ms&look=50ms&backoff_max=100ms%s%s", redis_socket(),
                                    *query ? "&" : "", query),
                          options);
    CHECK_NOT_NULL(f);
    return f;
}

ferry *redis_ready(const char *query)
{
    ferry *f = redis_handle(query, NULL);
    CHECK_STATUS(ferry_wait_ready(f, SOON_MS), FERRY_OK);
    return f;
}

void redis_count(ferry_request *req, void *counter)
{
    ferry_respond(req, ferry_int(atomic_fetch_add((atomic_int *)counter, 1) + 1));
}

ferry *redis_serve(const char *route, ferry_handler_fn *handler, void *arg)
{
    ferry *s = redis_ready("");
    CHECK_STATUS(ferry_handle(s, route, handler, arg, NULL), FERRY_OK);
    CHECK_STATUS(ferry_serve(s), FERRY_OK);
    return s;
}

ferry_status redis_get(ferry *c, const char *route, int ms)
{
    ferry_reply *r = ferry_get(c, route, NULL, FERRY_CALL(.timeout_ms = ms));
    ferry_status status = ferry_reply_status(r);
    ferry_reply_free(r);
    return status;
}

void redis_shut(ferry *s, ferry *c)
{
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    redis_stop(SIGTERM);
}
