/* A stream that waits for no answer: a line of stdin each, sent in order, reported when the broker has it.
 *
 *  1. Lines are queued into a window of --in-flight; a full window, or one after which no line is there yet, is flushed:
 *     when that succeeds the broker has all of it. So a stream costs one confirmation a window, not one a line.
 *  2. What the library gives up in between it hands to on_drop. Which line that was is told by comparing the data: two
 *     lines of one window with equal data are one as good as the other. Nothing is added to the messages for it.
 *     on_drop runs on another thread, maybe after the flush: the library's counter of failed posts says how many to await.
 *  3. A flush that fails leaves the lines of its window that were not dropped unconfirmed: each is reported as such.
 */
#include "call.h"
#include "handle.h"
#include "json.h"
#include "lines.h"
#include "progress.h"
#include "result.h"
#include "signals.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { WINDOW = 1024, CLOSE_MS = 2000, FLUSH_MS = 30000, DROPS_S = 5 };

typedef struct entry {
    size_t       line;
    ferry_value *data;   /* a copy, to know it again */
    ferry_status status; /* OK until dropped */
} entry;

typedef struct posts {
    const cli_call *call;
    ferry          *f;
    pthread_mutex_t lock;    /* guards the window: on_drop comes from any thread */
    entry          *window;
    size_t          room, count;
    pthread_cond_t  told;
    long long       drops;   /* so many on_drop told */
    size_t          strays;  /* dropped, but not out of this window */
    int             code;
    cli_progress    progress;
} posts;

static bool same(const ferry_value *a, const ferry_value *b)
{
    size_t n = 0, m = 0;
    const void *x = ferry_encoded(a, &n), *y = ferry_encoded(b, &m);

    return x != NULL && y != NULL && n == m && memcmp(x, y, n) == 0;
}

static void dropped(const ferry_request *message, ferry_status why, void *arg)
{
    posts *p = arg;
    size_t i = 0;

    pthread_mutex_lock(&p->lock);
    while (i < p->count && (p->window[i].status != FERRY_OK || !same(p->window[i].data, ferry_request_data(message))))
        i++;
    if (i < p->count)
        p->window[i].status = why != FERRY_OK ? why : FERRY_INTERNAL;
    else
        p->strays++;
    p->drops++;
    pthread_cond_signal(&p->told);
    pthread_mutex_unlock(&p->lock);
}

static void report(posts *p, ferry_status s, const char *why, size_t line)
{
    cli_result_print_status(p->call->settings, s, why, line);
    p->code = cli_result_worse(p->code, cli_result_code_of(s));
    cli_progress_step(&p->progress, s != FERRY_OK);
}

static void report_window(posts *p, ferry_status flushed)
{
    size_t drops = 0;

    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < p->count; i++)
        drops += p->window[i].status != FERRY_OK;
    for (size_t i = 0; i < p->count; i++) {
        entry *e = &p->window[i];
        bool lost = flushed == FERRY_TIMEOUT || flushed == FERRY_CANCELLED || (flushed != FERRY_OK && drops == 0);
        if (e->status != FERRY_OK)
            report(p, e->status, "", e->line);
        else if (lost)
            report(p, flushed, "not confirmed by the broker", e->line);
        else
            report(p, FERRY_OK, "", e->line);
        ferry_value_free(e->data);
    }
    p->count = 0;
    pthread_mutex_unlock(&p->lock);
}

static void await_drops(posts *p)
{
    ferry_value *stats = ferry_stats(p->f);
    long long failed =
        ferry_as_int(ferry_find(stats, "posts_failed"), 0) + ferry_as_int(ferry_find(stats, "events_failed"), 0);
    struct timespec end;

    ferry_value_free(stats);
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += DROPS_S;
    pthread_mutex_lock(&p->lock);
    while (p->drops < failed && pthread_cond_timedwait(&p->told, &p->lock, &end) == 0)
        ;
    pthread_mutex_unlock(&p->lock);
}

static void flush_window(posts *p)
{
    int own = p->call->settings->timeout_ms;
    ferry_status s;

    if (p->count == 0)
        return;
    s = ferry_flush(p->f, own != 0 ? own : FLUSH_MS);
    if (s != FERRY_OK)
        await_drops(p);
    report_window(p, s);
}

static void post_line(posts *p, size_t number, const char *line, size_t length)
{
    char why[FERRY_WHY_SIZE];
    cli_json_error error;
    ferry_value *data = cli_json_read(line, length, &error);
    ferry_status s;

    if (data == NULL) {
        if (error.column > 0)
            snprintf(why, sizeof why, "column %d: %.200s", error.column, error.why);
        else
            snprintf(why, sizeof why, "%.200s", error.why);
        report(p, FERRY_INVALID, why, number);
        return;
    }
    pthread_mutex_lock(&p->lock);
    p->window[p->count++] = (entry){number, ferry_value_copy(data), FERRY_OK};
    pthread_mutex_unlock(&p->lock);
    s = cli_call_send(p->f, p->call, data, FERRY_QUEUED, why);
    if (s == FERRY_OK)
        return;
    pthread_mutex_lock(&p->lock);
    ferry_value_free(p->window[--p->count].data);
    pthread_mutex_unlock(&p->lock);
    report(p, s, why, number);
}

static int read_lines(posts *p)
{
    cli_lines lines = {.fd = STDIN_FILENO, .stop_fd = cli_signals_fd()};
    const char *line;
    size_t length;
    cli_lines_got got;
    int code = CLI_DONE;

    while ((got = cli_lines_next(&lines, &line, &length)) == CLI_LINE && !cli_signals_came()) {
        if (strspn(line, " \t\r") < length) /* ends at the newline, or at the NUL behind the last line */
            post_line(p, lines.number, line, length);
        if (p->count == p->room || !cli_lines_ready(&lines)) {
            flush_window(p);
            cli_result_flush();
        }
    }
    flush_window(p);
    if (got == CLI_LINES_FAILED) {
        cli_result_complain(lines.number + 1, errno == EFBIG ? "TOO_BIG" : "INVALID", strerror(errno));
        code = CLI_USAGE;
    }
    cli_lines_free(&lines);
    return code;
}

/* Connected first, as for one send: after that a timeout may mean sent, before it never does. */
static int run(posts *p)
{
    const cli_settings *settings = p->call->settings;
    ferry_status s = ferry_wait_ready(p->f, settings->timeout_ms != 0 ? settings->timeout_ms : FLUSH_MS);
    char why[FERRY_WHY_SIZE * 2] = "";
    int code;

    if (s != FERRY_OK) {
        ferry_problem(p->f, why, sizeof why);
        cli_result_print_status(settings, s, why, 0);
        return s == FERRY_INVALID ? CLI_USAGE : CLI_NOT_DONE;
    }
    cli_progress_start(&p->progress, settings);
    code = read_lines(p);
    cli_progress_end(&p->progress);
    if (p->strays > 0) {
        cli_result_complain(0, "UNAVAILABLE", "some messages were given up after they had been reported");
        code = CLI_UNKNOWN;
    }
    return cli_result_worse(code, p->code);
}

int cli_call_posts(const cli_call *call)
{
    const char *in_flight = call->settings->in_flight;
    int code, room = in_flight != NULL ? cli_number(in_flight, 65536) : WINDOW;
    posts p = {.call = call, .room = (size_t)room, .lock = PTHREAD_MUTEX_INITIALIZER, .told = PTHREAD_COND_INITIALIZER};

    if (room == 0)
        return cli_usage(call->command, "--in-flight %s is no number from 1 to 65536", in_flight);
    p.window = calloc(p.room, sizeof *p.window);
    if (p.window == NULL || !cli_signals_start(NULL, NULL, NULL)) {
        free(p.window);
        return cli_usage(call->command, "out of memory or descriptors");
    }
    p.f = cli_open(call->settings, &(const cli_wishes){.close_ms = CLOSE_MS, .on_drop = dropped, .arg = &p});
    code = run(&p);
    ferry_close(p.f);
    free(p.window);
    code = cli_result_finish(code);
    return cli_signals_came() ? CLI_SIGNAL : code;
}
