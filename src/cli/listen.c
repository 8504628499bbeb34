/* Pulls events, and ends each only when its line is written or its command has succeeded.
 *
 *     main                                             pullers: 1, or with --exec --workers
 *     subscribes, waits until connected,               take an event, handle it, end it,
 *     then for a reason to end: a signal,              until somebody said that it is over
 *     stdout gone, count reached, caught up, lost
 *
 *  1. Nothing is taken that could not be handled: with --count a place is claimed first, and given back when no event came
 *     or its handler failed. So what is left over was never ours, and the next one gets it as fresh.
 *  2. An event whose line cannot be written goes back at once, uncounted. So does, of a group, one whose line still stands
 *     in the pipe when its reader leaves: one line at a time is in it. A reader that left is seen also while no event comes.
 *  3. `over` is set once and never taken back; `bell` wakes main for it.
 */
#include "listen.h"
#include "exec.h"
#include "from.h"
#include "handle.h"
#include "message.h"
#include "result.h"
#include "signals.h"
#include "within.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

enum { SLICE_MS = 100, PATIENCE_MS = 2000, GRACE_MS = 10000, TAKE_MS = 1000, WORKERS_MAX = 64, READY_SLICE_MS = 100 };

typedef struct listen {
    const cli_settings *settings;
    ferry              *f;
    ferry_subscription *s;
    cli_exec            exec;
    pthread_mutex_t     out;     /* one message at a time on stdout */
    atomic_llong        places;  /* --count: how many more may be taken */
    atomic_llong        handled; /* and how many were */
    atomic_bool         over;
    atomic_int_least64_t over_ms; /* since when; 0: not yet */
    atomic_bool         gone;    /* stdout took something not, so nothing more is written */
    atomic_int          code;
    atomic_int          pullers;
    bool                replays; /* begins before now */
    int                 bell;
} listen;

typedef struct event {
    listen        *l;
    ferry_request *req;
    bool           refused; /* stdout did not take it */
} event;

static void end(listen *l, int code)
{
    int none = CLI_DONE;
    int_least64_t never = 0;

    atomic_compare_exchange_strong(&l->over_ms, &never, cli_now_ms());
    atomic_compare_exchange_strong(&l->code, &none, code);
    atomic_store(&l->over, true);
    eventfd_write(l->bell, 1);
}

/* ---- one event ---- */

/* A line in the pipe of a reader that is alive will most likely be read: it gets a moment. */
static bool is_long_over(void *arg)
{
    int64_t since_ms = atomic_load(&((listen *)arg)->over_ms);

    return since_ms != 0 && cli_now_ms() - since_ms > TAKE_MS;
}

/* Under `out`. A failure puts the event back and ends it all: said, unless the reader just has enough. */
static void print(event *e, const cli_text *t)
{
    listen *l = e->l;
    int error = t->failed ? ENOMEM : atomic_load(&l->gone) ? EPIPE : cli_message_put(t);

    if (error == 0 && l->settings->group != NULL && l->settings->exec == NULL && !cli_message_taken(is_long_over, l))
        error = EPIPE; /* a command has run already: to run it again for this would be worse */
    if (error == 0)
        return;
    e->refused = true;
    if (error != EPIPE) {
        fprintf(stderr, "ferry: stdout: %s; the event was given back\n", strerror(error));
        end(l, CLI_NOT_DONE);
    } else {
        end(l, CLI_DONE);
    }
    atomic_store(&l->gone, true);
}

static void print_message(event *e)
{
    cli_text t = {0};

    if (e->l->settings->quiet)
        return;
    cli_message_write(&t, e->l->settings, e->req);
    pthread_mutex_lock(&e->l->out);
    print(e, &t);
    pthread_mutex_unlock(&e->l->out);
    cli_text_free(&t);
}

/* What a command wrote; its event is ended only after this, too. */
static void print_output(const cli_text *output, void *arg)
{
    event *e = arg;

    if (e->l->settings->quiet || output->length == 0)
        return;
    pthread_mutex_lock(&e->l->out);
    print(e, output);
    pthread_mutex_unlock(&e->l->out);
}

/* Whether it was handled. */
static bool handle(listen *l, ferry_request *req)
{
    event e = {l, req, false};
    cli_exec exec = l->exec;
    bool good = true;

    exec.print_arg = &e;
    if (l->settings->exec != NULL)
        good = cli_exec_event(req, &exec);
    else
        print_message(&e);
    if (e.refused)
        ferry_put_back(req);
    else
        ferry_done(req);
    return good && !e.refused;
}

/* ---- pullers ---- */

static void leave_place(listen *l, bool handled)
{
    if (!handled)
        atomic_fetch_add(&l->places, 1);
    else if (atomic_fetch_add(&l->handled, 1) + 1 == l->settings->limit)
        end(l, CLI_DONE);
}

static void *pull(void *arg)
{
    listen *l = arg;

    while (!atomic_load(&l->over)) {
        if (atomic_fetch_sub(&l->places, 1) <= 0) { /* others are at the last ones; one of those may fail */
            atomic_fetch_add(&l->places, 1);
            poll(NULL, 0, SLICE_MS);
            continue;
        }
        ferry_request *req = ferry_receive(l->s, SLICE_MS);
        leave_place(l, req != NULL && handle(l, req));
    }
    atomic_fetch_sub(&l->pullers, 1);
    eventfd_write(l->bell, 1);
    return NULL;
}

static void caught_up(ferry_subscription *s, void *arg)
{
    listen *l = arg;

    (void)s;
    if (l->settings->drain)
        end(l, CLI_DONE);
    else if (l->replays && !l->settings->quiet)
        fputs("ferry: caught up\n", stderr);
}

static void lost(ferry_subscription *s, void *arg)
{
    char why[FERRY_WHY_SIZE] = "";
    ferry_status status = ferry_subscription_status(s, why);

    cli_result_complain(0, ferry_status_name(status), why[0] != '\0' ? why : ferry_status_text(status));
    end(arg, CLI_NOT_DONE);
}

/* ---- main ---- */

/* Until over, asked to end, or (exec aside) nobody reads stdout. A pipe without a reader is an error event without asking. */
static void await_end(listen *l)
{
    struct pollfd fds[3] = {{.fd = cli_signals_fd(), .events = POLLIN},
                            {.fd = l->bell, .events = POLLIN},
                            {.fd = l->settings->exec != NULL ? -1 : STDOUT_FILENO, .events = 0}};

    while (!atomic_load(&l->over)) {
        if (poll(fds, 3, -1) <= 0)
            continue;
        if (fds[0].revents != 0 || (fds[2].revents & POLLERR) != 0)
            end(l, CLI_DONE);
    }
}

static void await_pullers(listen *l, int ms)
{
    int64_t until = cli_now_ms() + ms;
    eventfd_t rung;

    while (atomic_load(&l->pullers) > 0 && cli_now_ms() < until) {
        poll(&(struct pollfd){.fd = l->bell, .events = POLLIN}, 1, SLICE_MS);
        if (atomic_load(&l->pullers) > 0)
            eventfd_read(l->bell, &rung);
    }
}

static int refuse(ferry *f, ferry_status s)
{
    char problem[FERRY_WHY_SIZE * 2] = "";

    ferry_problem(f, problem, sizeof problem);
    cli_result_complain(0, ferry_status_name(s), problem[0] != '\0' ? problem : ferry_status_text(s));
    return s == FERRY_INVALID ? CLI_USAGE : CLI_NOT_DONE;
}

/* True when all that is published from now on comes. Somebody who waits long hears why, once. */
static bool wait_ready(listen *l)
{
    int64_t tell_ms = cli_now_ms() + PATIENCE_MS;
    char why[FERRY_WHY_SIZE * 2];
    ferry_status ready;

    while ((ready = ferry_wait_ready(l->f, READY_SLICE_MS)) != FERRY_OK && !atomic_load(&l->over)) {
        why[0] = '\0';
        ferry_problem(l->f, why, sizeof why);
        if (ready == FERRY_INVALID || ready == FERRY_UNSUPPORTED) {
            end(l, refuse(l->f, ready));
        } else if (tell_ms != 0 && cli_now_ms() >= tell_ms) {
            cli_result_complain(0, ferry_status_name(ready), why[0] != '\0' ? why : "not connected yet");
            tell_ms = 0;
        }
        if (cli_signals_came())
            end(l, CLI_DONE);
    }
    return ready == FERRY_OK;
}

/* A broadcast has no place of its own on the broker: whoever wants to go on later has to know it. */
static void say_position(const listen *l)
{
    ferry_value *position = l->settings->group == NULL ? ferry_position(l->s) : NULL;
    const char *text = ferry_as_string(position, NULL);

    if (text != NULL && text[0] != '\0' && !l->settings->quiet)
        fprintf(stderr, "ferry: to go on from here: --from '%s'\n", text);
    ferry_value_free(position);
}

static int run_pullers(listen *l)
{
    pthread_t threads[WORKERS_MAX];
    int wanted = l->settings->exec != NULL && l->settings->workers != 0 ? l->settings->workers : 1, n = 0;
    int grace = l->settings->grace_ms != 0 ? l->settings->grace_ms : GRACE_MS;

    for (; n < wanted; n++) {
        atomic_fetch_add(&l->pullers, 1);
        if (pthread_create(&threads[n], NULL, pull, l) != 0) {
            atomic_fetch_sub(&l->pullers, 1);
            cli_result_complain(0, "NO_MEMORY", "no thread to be had");
            end(l, CLI_NOT_DONE);
            break;
        }
    }
    await_end(l);
    if (cli_exec_running() > 0 && !l->settings->quiet)
        fprintf(stderr, "ferry: stopping when %zu running command(s) ended; a second signal kills them\n",
                cli_exec_running());
    await_pullers(l, grace);
    if (atomic_load(&l->pullers) > 0) {
        cli_result_complain(0, "TIMEOUT", "commands outlived the grace (--grace) and were killed");
        end(l, CLI_NOT_DONE);
        cli_exec_kill_all();
    }
    for (int i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    return atomic_load(&l->code);
}

static int64_t wall_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int run(listen *l, const char *topics, const cli_from *from)
{
    const cli_settings *s = l->settings;
    ferry_status status;

    l->replays = from->from != FERRY_FROM_NEW;
    status = ferry_subscribe(l->f, topics, NULL, l,
                             FERRY_SUBSCRIBE(.from = from->from, .time_ms = from->time_ms, .position = from->position,
                                             .group = s->group, .attempts = s->attempts, .backoff_ms = s->backoff_ms,
                                             .block_key = s->block_key, .on_caught_up = caught_up, .on_lost = lost),
                             &l->s);

    if (status != FERRY_OK)
        return refuse(l->f, status);
    if (wait_ready(l)) {
        if (!s->quiet)
            fprintf(stderr, "ferry: listening %s\n", topics);
        run_pullers(l);
        say_position(l);
    }
    return atomic_load(&l->code);
}

static void kill_commands(void *unused)
{
    (void)unused;
    cli_exec_kill_all();
}

static int start(listen *l, const char *topics, const cli_from *from)
{
    const cli_settings *s = l->settings;
    int code;

    sigaction(SIGCHLD, &(const struct sigaction){.sa_handler = SIG_DFL}, NULL); /* inherited as ignored, no end could be told */
    l->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->bell < 0 || !cli_signals_start(NULL, kill_commands, NULL)) {
        cli_result_complain(0, "NO_MEMORY", "out of memory or descriptors");
        return CLI_NOT_DONE;
    }
    l->f = cli_open(s, &(const cli_wishes){.close_ms = s->grace_ms, .log_level = s->quiet ? LOG_ERR : LOG_WARNING});
    if (l->f == NULL)
        return CLI_NOT_DONE;
    code = run(l, topics, from);
    ferry_unsubscribe(l->s);
    if (ferry_close(l->f) != FERRY_OK && code == CLI_DONE)
        code = CLI_NOT_DONE;
    close(l->bell);
    return cli_signals_twice() ? CLI_SIGNAL : code;
}

int cli_listen_run(const cli_command *command, const cli_settings *s, int count, char **arguments)
{
    listen l = {.settings = s, .out = PTHREAD_MUTEX_INITIALIZER};
    cli_from from;

    if (count == 0)
        return cli_usage(command, "no topics; give a pattern, such as order.created or 'order.*'");
    if (count > 1)
        return cli_usage(command, "one pattern at a time: leave out '%s', and quote what has a * in it", arguments[1]);
    if (!cli_from_parse(&from, s->from, wall_ms()))
        return cli_usage(command,
                         "--from %s is none of: new, earliest, a time such as 2h or 2026-07-01T12:30Z, a position",
                         s->from);
    if (s->exec == NULL && (s->workers != 0 || s->timeout_ms != 0))
        return cli_usage(command, "--workers and --timeout are for --exec");
    if (s->workers > WORKERS_MAX)
        return cli_usage(command, "--workers %d is more than %d", s->workers, WORKERS_MAX);
    l.exec = (cli_exec){.command = s->exec,
                        .url = cli_url(s),
                        .raw = s->raw,
                        .quiet = s->quiet,
                        .limit_ms = s->timeout_ms,
                        .print = print_output};
    atomic_store(&l.places, s->limit != 0 ? s->limit : INT64_MAX / 2);
    return start(&l, arguments[0], &from);
}
