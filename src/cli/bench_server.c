#include "bench_server.h"
#include "handle.h"
#include "result.h"
#include "within.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <unistd.h>

enum { START_MS = 10000, TRY_MS = 1000, PAUSE_MS = 20 };

/* Decorators stand before the scheme: trace+file:… is file. */
const char *cli_bench_transport(const cli_settings *settings)
{
    static char name[32];
    const char *url = cli_url(settings);
    size_t end = url != NULL ? strcspn(url, ":") : 0, from = end;

    if (url == NULL)
        return "file";
    while (from > 0 && url[from - 1] != '+')
        from--;
    snprintf(name, sizeof name, "%.*s", (int)(end - from), url + from);
    return name;
}

static void echo(ferry_request *req, void *unused)
{
    (void)unused;
    ferry_respond(req, ferry_value_copy(ferry_request_data(req)));
}

/* One worker runs it, so nothing else counts at the same time. */
static void count_one(ferry_request *req, void *server)
{
    (void)req;
    __atomic_fetch_add(&((cli_bench_server *)server)->handled, 1, __ATOMIC_RELAXED);
}

static bool start_here(cli_bench_server *s, const cli_settings *settings, bool count)
{
    s->here = true;
    s->f = cli_open(settings, &(const cli_wishes){.workers = settings->workers});
    if (ferry_handle(s->f, s->route, count ? count_one : echo, s, NULL) == FERRY_OK && ferry_serve(s->f) == FERRY_OK)
        return true;
    char why[FERRY_WHY_SIZE * 2] = "";
    ferry_problem(s->f, why, sizeof why);
    cli_result_complain(0, "INVALID", why);
    return false;
}

/* The URL goes by the environment: a command line is visible to everyone on the machine, and it may hold a password. */
static bool start_apart(cli_bench_server *s, const cli_settings *settings, bool count)
{
    char workers[16];
    const char *words[] = {"ferry",
                           "serve",
                           s->route,
                           "-q",
                           "--until-eof",
                           "--workers",
                           workers,
                           count ? "--count" : "--echo",
                           count ? s->counted : NULL,
                           NULL};
    posix_spawn_file_actions_t actions;
    int ends[2], error;

    snprintf(workers, sizeof workers, "%d", settings->workers != 0 ? settings->workers : 1);
    if (settings->url != NULL)
        setenv("FERRY_URL", settings->url, 1);
    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    error = posix_spawn_file_actions_init(&actions);
    if (error == 0) {
        posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO);
        error = posix_spawn(&s->pid, "/proc/self/exe", &actions, NULL, (char **)(uintptr_t)words, environ);
        posix_spawn_file_actions_destroy(&actions);
    }
    close(ends[0]);
    s->lifeline = ends[1];
    if (error != 0)
        fprintf(stderr, "ferry bench: no second process: %s\n", strerror(error));
    return error == 0;
}

bool cli_bench_server_start(cli_bench_server *s, const cli_settings *settings, bool count)
{
    unsigned char noise[8] = {0};
    char hex[17];

    *s = (cli_bench_server){.lifeline = -1};
    if (settings->route != NULL) {
        snprintf(s->route, sizeof s->route, "%s", settings->route);
        return true;
    }
    if (getrandom(noise, sizeof noise, 0) < 0)
        memcpy(noise, &(int64_t){cli_now_ms()}, sizeof noise);
    for (size_t i = 0; i < sizeof noise; i++)
        snprintf(hex + 2 * i, 3, "%02x", noise[i]);
    snprintf(s->route, sizeof s->route, "bench-%s.%s", hex, count ? "post" : "echo");
    if (count)
        snprintf(s->counted, sizeof s->counted, "bench-%s.counted", hex);
    if (strcmp(cli_bench_transport(settings), "mem") == 0)
        return start_here(s, settings, count);
    return start_apart(s, settings, count);
}

long long cli_bench_server_handled(cli_bench_server *s, ferry *f)
{
    long long n = -1;

    if (s->here && s->counted[0] != '\0')
        return __atomic_load_n(&s->handled, __ATOMIC_RELAXED);
    if (s->counted[0] == '\0')
        return -1;
    ferry_reply *r = ferry_get(f, s->counted, NULL, FERRY_CALL(.timeout_ms = TRY_MS));
    if (!ferry_has_errors(r))
        n = ferry_as_int(ferry_data(r), -1);
    ferry_reply_free(r);
    return n;
}

bool cli_bench_server_wait(cli_bench_server *s, ferry *f)
{
    int64_t end = cli_now_ms() + (s->pid > 0 || s->here ? START_MS : 0);

    for (;;) {
        const char *probe = s->counted[0] != '\0' && !s->here ? s->counted : s->route;
        if (s->here && s->counted[0] != '\0')
            return true;
        ferry_reply *r = ferry_get(f, probe, NULL, FERRY_CALL(.timeout_ms = TRY_MS));
        bool good = !ferry_has_errors(r), late = cli_now_ms() >= end;
        if (!good && (late || ferry_reply_status(r) == FERRY_INVALID))
            cli_result_complain(0, ferry_error_at(r, 0)->type, ferry_error_at(r, 0)->message);
        late = late || ferry_reply_status(r) == FERRY_INVALID;
        ferry_reply_free(r);
        if (good || late)
            return good;
        poll(NULL, 0, PAUSE_MS);
    }
}

void cli_bench_server_stop(cli_bench_server *s)
{
    if (s->f != NULL)
        ferry_close(s->f);
    if (s->lifeline >= 0)
        close(s->lifeline);
    if (s->pid > 0) {
        while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    *s = (cli_bench_server){.lifeline = -1};
}
