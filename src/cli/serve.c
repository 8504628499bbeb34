/* Start: handle all routes, begin to receive, say so on stderr once connected. Then wait for a signal (or, with
 * --until-eof, for the end of stdin), stop, drain, exit. A second signal kills the commands that run and ends at once. */
#include "serve.h"
#include "exec.h"
#include "handle.h"
#include "result.h"
#include "signals.h"
#include "within.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

enum { SLICE_MS = 100, PATIENCE_MS = 2000 };

static atomic_llong handled; /* for `ferry bench post` */

static void echo(ferry_request *req, void *unused)
{
    (void)unused;
    ferry_respond(req, ferry_value_copy(ferry_request_data(req)));
}

static void count_one(ferry_request *req, void *unused)
{
    (void)req;
    (void)unused;
    atomic_fetch_add(&handled, 1);
}

static void answer_count(ferry_request *req, void *unused)
{
    (void)unused;
    ferry_respond(req, ferry_int(atomic_load(&handled)));
}

static void kill_commands(void *unused)
{
    (void)unused;
    cli_exec_kill_all();
}

/* "get,put" as bits; -1 = one of them is no verb. */
static int verbs_of(const cli_command *command, const char *text)
{
    static const char *const names[] = {"get", "put", "patch", "post", "delete"};
    int bits = 0;

    while (text != NULL && *text != '\0') {
        size_t n = strcspn(text, ","), i = 0;
        while (i < 5 && (strlen(names[i]) != n || memcmp(names[i], text, n) != 0))
            i++;
        if (i == 5) {
            cli_usage(command, "--verbs %.*s: there are get, put, patch, post and delete", (int)n, text);
            return -1;
        }
        bits |= 1 << i;
        text += n + (text[n] == ',');
    }
    return bits;
}

static int refuse(ferry *f)
{
    char why[FERRY_WHY_SIZE * 2] = "";

    ferry_problem(f, why, sizeof why);
    cli_result_complain(0, "INVALID", why[0] != '\0' ? why : "refused");
    return CLI_USAGE;
}

static int handle_routes(ferry *f, const cli_settings *s, unsigned verbs, cli_exec *exec, int count, char **routes)
{
    ferry_handler_fn *handler = s->exec != NULL ? cli_exec_handle : s->count != NULL ? count_one : echo;
    const ferry_handle_options *options =
        FERRY_HANDLE(.verbs = verbs, .attempts = s->attempts, .backoff_ms = s->backoff_ms);

    for (int i = 0; i < count; i++) {
        if (ferry_handle(f, routes[i], handler, exec, options) != FERRY_OK)
            return refuse(f);
    }
    if (s->count != NULL && ferry_handle(f, s->count, answer_count, NULL, NULL) != FERRY_OK)
        return refuse(f);
    return CLI_DONE;
}

/* Waits until asked to stop. Input that is there with --until-eof is read and forgotten. */
static bool asked_to_stop(const cli_settings *s, int wait_ms)
{
    struct pollfd fds[2] = {{.fd = cli_signals_fd(), .events = POLLIN},
                            {.fd = s->until_eof ? STDIN_FILENO : -1, .events = POLLIN}};
    char block[256];
    ssize_t n;

    if (poll(fds, 2, wait_ms) <= 0)
        return false;
    if (fds[0].revents != 0 || fds[1].revents == 0)
        return fds[0].revents != 0;
    n = read(STDIN_FILENO, block, sizeof block);
    return n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN);
}

static void say_serving(const cli_settings *s, int count, char **routes)
{
    if (s->quiet)
        return;
    fputs("ferry: serving", stderr);
    for (int i = 0; i < count; i++)
        fprintf(stderr, " %s", routes[i]);
    fputc('\n', stderr);
}

/* OK when connected, INVALID when that will never be; else it was asked to stop. Somebody who waits long hears why, once. */
static ferry_status wait_connected(ferry *f, const cli_settings *s)
{
    int64_t tell_ms = cli_now_ms() + PATIENCE_MS;
    char why[FERRY_WHY_SIZE * 2] = "";
    ferry_status ready;

    while ((ready = ferry_wait_ready(f, SLICE_MS)) != FERRY_OK && ready != FERRY_INVALID && !asked_to_stop(s, 0)) {
        if (tell_ms != 0 && cli_now_ms() >= tell_ms) {
            ferry_problem(f, why, sizeof why);
            cli_result_complain(0, "UNAVAILABLE", why[0] != '\0' ? why : "not connected yet");
            tell_ms = 0;
        }
    }
    return ready;
}

static int drain(ferry *f, const cli_settings *s)
{
    ferry_status ended;

    if (!s->quiet && cli_exec_running() > 0)
        fprintf(stderr, "ferry: stopping when %zu running command(s) ended; a second signal kills them\n",
                cli_exec_running());
    ferry_stop(f);
    ended = ferry_close(f);
    if (cli_signals_twice())
        return CLI_SIGNAL;
    if (ended == FERRY_OK)
        return CLI_DONE;
    if (cli_exec_running() > 0)
        cli_result_complain(0, ferry_status_name(ended), "commands outlived the grace (--grace) and were killed");
    cli_exec_kill_all();
    return CLI_NOT_DONE;
}

static int serve(ferry *f, const cli_settings *s, unsigned verbs, cli_exec *exec, int count, char **routes)
{
    int code = handle_routes(f, s, verbs, exec, count, routes);
    ferry_status ready;

    if (code == CLI_DONE && ferry_serve(f) != FERRY_OK)
        code = refuse(f);
    ready = code == CLI_DONE ? wait_connected(f, s) : FERRY_INVALID;
    if (code == CLI_DONE && ready == FERRY_INVALID)
        code = refuse(f);
    if (code != CLI_DONE) {
        ferry_close(f);
        return code;
    }
    if (ready == FERRY_OK) {
        say_serving(s, count, routes);
        while (!asked_to_stop(s, -1))
            ;
    }
    return drain(f, s);
}

int cli_serve_run(const cli_command *command, const cli_settings *s, int count, char **arguments)
{
    cli_exec exec = {
        .command = s->exec, .url = cli_url(s), .raw = s->raw, .quiet = s->quiet, .limit_ms = s->timeout_ms};
    int verbs = verbs_of(command, s->verbs);

    if (verbs < 0)
        return CLI_USAGE;
    if (count == 0)
        return cli_usage(command, "no route; give one or more, such as calc.echo or 'calc.*'");
    if ((s->exec != NULL) + s->echo + (s->count != NULL) != 1)
        return cli_usage(command, "say what answers: --echo, or --exec 'COMMAND'");
    if (s->workers > 1024)
        return cli_usage(command, "--workers %d is more than 1024", s->workers);
    sigaction(SIGCHLD, &(const struct sigaction){.sa_handler = SIG_DFL}, NULL); /* inherited as ignored, no end could be told */
    if (!cli_signals_start(NULL, kill_commands, NULL))
        return cli_usage(command, "out of memory or descriptors");
    ferry *f =
        cli_open(s, &(const cli_wishes){
                        .close_ms = s->grace_ms, .workers = s->workers, .log_level = s->quiet ? LOG_ERR : LOG_WARNING});
    return f != NULL ? serve(f, s, (unsigned)verbs, &exec, count, arguments) : CLI_NOT_DONE;
}
