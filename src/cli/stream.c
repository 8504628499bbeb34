/* A stream of calls: a line of stdin each, up to --in-flight at once, answers in the order of the lines.
 *
 *     reader (the main thread)                         printer
 *     waits for a line, starts its call,               awaits the oldest call, prints its answer,
 *     waits while the ring is full                     rings `stop` when stdout is gone
 *
 *  1. Between them is a ring of slots in the order of the lines; `lock` guards it. A slot holds a future, or the reason
 *     why its line never became a call.
 *  2. Two threads, so that an answer is printed as soon as it is there, also while the next line is not: a program may
 *     write one line, read its answer and then decide on the next.
 *  3. A future is freed (ferry_await) only after its slot left the ring, and cancelled only while it is in it, under the
 *     lock. So a signal can cancel all that runs.
 */
#include "call.h"
#include "handle.h"
#include "json.h"
#include "lines.h"
#include "progress.h"
#include "result.h"
#include "signals.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { IN_FLIGHT = 64, CLOSE_MS = 2000 };

typedef struct slot {
    size_t        line;
    ferry_future *future;    /* NULL: */
    ferry_status  status;    /* why not */
    char          why[CLI_JSON_WHY + 64];
} slot;

typedef struct stream {
    const cli_call *call;
    ferry          *f;
    pthread_mutex_t lock;
    pthread_cond_t  moved;
    slot           *ring;
    size_t          room, head, count;
    bool            ended;   /* no more lines */
    bool            stopped; /* by a signal, or because nobody reads the answers */
    int             stop_fd;
    int             code;    /* the worst so far; the printer's until it is joined */
    cli_progress    progress;
} stream;

static void stop(void *arg)
{
    stream *s = arg;

    pthread_mutex_lock(&s->lock);
    s->stopped = true;
    for (size_t i = 0; i < s->count && cli_signals_came(); i++) {
        slot *each = &s->ring[(s->head + i) % s->room];
        if (each->future != NULL)
            ferry_cancel(each->future);
    }
    pthread_cond_broadcast(&s->moved);
    pthread_mutex_unlock(&s->lock);
    eventfd_write(s->stop_fd, 1);
}

static void print_slot(stream *s, slot *each)
{
    const cli_settings *settings = s->call->settings;
    int code;

    if (each->status == FERRY_OK) {
        ferry_reply *r = each->future != NULL ? ferry_await(each->future) : NULL;
        cli_result_print(settings, r, ferry_has_errors(r) ? each->line : 0);
        code = cli_result_code(r);
        ferry_reply_free(r);
    } else {
        cli_result_print_status(settings, each->status, each->why, each->line);
        code = each->status == FERRY_INVALID ? CLI_USAGE : CLI_NOT_DONE;
    }
    s->code = cli_result_worse(s->code, code);
    cli_progress_step(&s->progress, code != CLI_DONE);
}

/* The oldest slot, still in the ring. stdout is flushed before a wait, never between answers that are there already. */
static bool oldest(stream *s, slot *copy)
{
    bool any;

    pthread_mutex_lock(&s->lock);
    if (s->count == 0) {
        pthread_mutex_unlock(&s->lock);
        cli_result_flush();
        pthread_mutex_lock(&s->lock);
    }
    while (s->count == 0 && !s->ended)
        pthread_cond_wait(&s->moved, &s->lock);
    any = s->count > 0;
    if (any)
        *copy = s->ring[s->head];
    pthread_mutex_unlock(&s->lock);
    return any;
}

static void *print_answers(void *arg)
{
    stream *s = arg;
    slot each;

    while (oldest(s, &each)) {
        if (each.future != NULL && ferry_await_any(&each.future, 1, 0) != 0) {
            cli_result_flush();
            while (ferry_await_any(&each.future, 1, INT_MAX) != 0)
                ;
        }
        pthread_mutex_lock(&s->lock);
        s->head = (s->head + 1) % s->room;
        s->count--;
        pthread_cond_broadcast(&s->moved);
        pthread_mutex_unlock(&s->lock);
        print_slot(s, &each);
        if (cli_result_stdout_failed())
            stop(s);
    }
    return NULL;
}

/* Waits for room; false = stopped. */
static bool wait_room(stream *s)
{
    bool go;

    pthread_mutex_lock(&s->lock);
    while (s->count == s->room && !s->stopped)
        pthread_cond_wait(&s->moved, &s->lock);
    go = !s->stopped;
    pthread_mutex_unlock(&s->lock);
    return go;
}

static void push(stream *s, const slot *each)
{
    pthread_mutex_lock(&s->lock);
    s->ring[(s->head + s->count++) % s->room] = *each;
    if (each->future != NULL && cli_signals_came())
        ferry_cancel(each->future);
    pthread_cond_broadcast(&s->moved);
    pthread_mutex_unlock(&s->lock);
}

static void start(stream *s, size_t number, const char *line, size_t length)
{
    slot each = {.line = number, .status = FERRY_OK};
    int timeout_ms = cli_call_timeout(s->call);
    ferry_call_options options = cli_call_options(s->call, timeout_ms, NULL);
    cli_json_error error;
    ferry_value *data = cli_json_read(line, length, &error);

    if (data == NULL) {
        each.status = FERRY_INVALID;
        if (error.column > 0)
            snprintf(each.why, sizeof each.why, "column %d: %s", error.column, error.why);
        else
            snprintf(each.why, sizeof each.why, "%s", error.why);
    } else if (timeout_ms < 0) {
        ferry_value_free(data);
        each.status = FERRY_TIMEOUT;
        snprintf(each.why, sizeof each.why, "no time is left of the message being served (" CLI_WITHIN ")");
    } else {
        each.future = ferry_async(s->f, (ferry_verb)s->call->command->verb, s->call->route, data, &options);
    }
    push(s, &each);
}

static int read_lines(stream *s)
{
    cli_lines lines = {.fd = STDIN_FILENO, .stop_fd = s->stop_fd};
    const char *line;
    size_t length;
    cli_lines_got got;
    int code = CLI_DONE;

    while ((got = cli_lines_next(&lines, &line, &length)) == CLI_LINE && wait_room(s)) {
        if (strspn(line, " \t\r") >= length) /* ends at the newline, or at the NUL behind the last line */
            continue;
        start(s, lines.number, line, length);
    }
    if (got == CLI_LINES_FAILED) {
        cli_result_complain(lines.number + 1, errno == EFBIG ? "TOO_BIG" : "INVALID", strerror(errno));
        code = CLI_USAGE;
    }
    cli_lines_free(&lines);
    return code;
}

static int run(stream *s)
{
    pthread_t printer;
    int code = cli_call_check(s->f, s->call->settings);

    if (code != CLI_DONE)
        return code;
    cli_progress_start(&s->progress, s->call->settings);
    if (pthread_create(&printer, NULL, print_answers, s) != 0) {
        cli_result_print_status(s->call->settings, FERRY_NO_MEMORY, "no thread to be had", 0);
        return CLI_NOT_DONE;
    }
    code = read_lines(s);
    pthread_mutex_lock(&s->lock);
    s->ended = true;
    pthread_cond_broadcast(&s->moved);
    pthread_mutex_unlock(&s->lock);
    pthread_join(printer, NULL);
    cli_progress_end(&s->progress);
    return cli_result_worse(code, s->code);
}

int cli_call_stream(const cli_call *call)
{
    static stream s; /* the watching thread may look at it until the process ends */
    const char *in_flight = call->settings->in_flight;
    int code, room = in_flight != NULL ? cli_number(in_flight, 65536) : IN_FLIGHT;

    if (room == 0)
        return cli_usage(call->command, "--in-flight %s is no number from 1 to 65536", in_flight);
    s = (stream){.call = call, .room = (size_t)room, .code = CLI_DONE};
    pthread_mutex_init(&s.lock, NULL);
    pthread_cond_init(&s.moved, NULL);
    s.ring = calloc(s.room, sizeof(slot));
    s.stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s.ring == NULL || s.stop_fd < 0 || !cli_signals_start(stop, NULL, &s))
        return cli_usage(call->command, "out of memory or descriptors");
    s.f = cli_open(call->settings, &(const cli_wishes){.close_ms = CLOSE_MS});
    code = run(&s);
    ferry_close(s.f);
    free(s.ring);
    s.ring = NULL;
    code = cli_result_finish(code);
    return cli_signals_came() ? CLI_SIGNAL : code;
}
