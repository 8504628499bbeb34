/* One line of JSON a figure. The loops allocate nothing of their own: a ring of futures, a histogram of fixed size, one
 * reading of the clock a call. */
#include "bench.h"
#include "bench_server.h"
#include "handle.h"
#include "histogram.h"
#include "result.h"
#include "within.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SECONDS = 3, SIZE = 128, MOST = 65536, WARM_NS = 300 * 1000 * 1000, DRAIN_MS = 60000, FLUSH_MS = 30000 };

typedef struct bench {
    ferry              *f;
    const cli_settings *settings;
    cli_bench_server    server;
    const char         *body;
    size_t              size, in_flight;
    ferry_future      **ring;
    int64_t            *began;     /* ns, beside the ring */
    long long           done, errors;
    atomic_llong        dropped, overloaded;
    bool                told;
    int64_t             took_ns;
    cli_histogram       times;
} bench;

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static ferry_call_options options_of(const bench *b)
{
    return *FERRY_CALL(.timeout_ms = b->settings->timeout_ms);
}

/* The first failure of a run is told, the others counted. */
static void note(bench *b, ferry_reply *r, int64_t began, int64_t now)
{
    cli_histogram_add(&b->times, now - began);
    if (!ferry_has_errors(r))
        b->done++;
    else if (b->errors++ == 0)
        cli_result_complain(0, ferry_error_at(r, 0)->type, ferry_error_at(r, 0)->message);
    ferry_reply_free(r);
}

/* One at a time, as a program would: no futures. */
static void run_single(bench *b, int64_t end)
{
    const ferry_call_options options = options_of(b);
    int64_t began = now_ns();

    while (began < end) {
        ferry_reply *r = ferry_get(b->f, b->server.route, ferry_bytes(b->body, b->size), &options);
        int64_t now = now_ns();
        note(b, r, began, now);
        began = now;
    }
}

static void run_ring(bench *b, int64_t end)
{
    const ferry_call_options options = options_of(b);
    int64_t now = now_ns();
    size_t at = 0;

    for (size_t i = 0; i < b->in_flight; i++) {
        b->began[i] = now_ns();
        b->ring[i] = ferry_async(b->f, FERRY_GET, b->server.route, ferry_bytes(b->body, b->size), &options);
    }
    while (now < end) {
        ferry_reply *r = ferry_await(b->ring[at]);
        now = now_ns();
        note(b, r, b->began[at], now);
        b->ring[at] = ferry_async(b->f, FERRY_GET, b->server.route, ferry_bytes(b->body, b->size), &options);
        b->began[at] = now;
        at = at + 1 < b->in_flight ? at + 1 : 0;
    }
    b->took_ns = now; /* what is still in flight is collected, not counted */
    for (size_t i = 0; i < b->in_flight; i++)
        ferry_reply_free(ferry_await(b->ring[i]));
}

static void run_calls(bench *b, int64_t length_ns)
{
    int64_t start = now_ns();

    b->done = b->errors = b->took_ns = 0;
    memset(&b->times, 0, sizeof b->times);
    if (b->in_flight == 1)
        run_single(b, start + length_ns);
    else
        run_ring(b, start + length_ns);
    b->took_ns = (b->in_flight == 1 ? now_ns() : b->took_ns) - start;
}

static void print_times(const bench *b)
{
    printf("\"p50_us\":%.1f,\"p99_us\":%.1f}\n", cli_histogram_at(&b->times, 0.5), cli_histogram_at(&b->times, 0.99));
    fflush(stdout);
}

static void print_head(const bench *b, const char *unit)
{
    printf("{\"transport\":\"%s\",\"in_flight\":%zu,\"size\":%zu,\"%s\":%lld,\"errors\":%lld,\"%s_per_s\":%.1f,",
           cli_bench_transport(b->settings), b->in_flight, b->size, unit, b->done, b->errors, unit,
           (double)b->done * 1e9 / (double)(b->took_ns > 0 ? b->took_ns : 1));
}

static int64_t for_ns(const bench *b)
{
    return (int64_t)(b->settings->seconds != 0 ? b->settings->seconds : SECONDS) * 1000000000;
}

static void bench_calls(bench *b)
{
    run_calls(b, WARM_NS);
    run_calls(b, for_ns(b));
    print_head(b, "calls");
    print_times(b);
}

/* A full queue is no error here, but time to let the server catch up. */
static void count_drop(const ferry_request *message, ferry_status why, void *arg)
{
    bench *b = arg;

    (void)message;
    atomic_fetch_add(why == FERRY_OVERLOADED ? &b->overloaded : &b->dropped, 1);
}

static void complain_once(bench *b, ferry_status s)
{
    char why[FERRY_WHY_SIZE] = "";

    if (b->told)
        return;
    b->told = true;
    ferry_problem(b->f, why, sizeof why);
    cli_result_complain(0, ferry_status_name(s), why[0] != '\0' ? why : ferry_status_text(s));
}

static long long stat_of(const bench *b, const char *name)
{
    ferry_value *stats = ferry_stats(b->f);
    long long n = ferry_as_int(ferry_find(stats, name), 0);

    ferry_value_free(stats);
    return n;
}

/* A window is queued, then waited for until the broker has all of it. Answers whether a queue on the way is full. */
static bool post_window(bench *b)
{
    const ferry_call_options options = options_of(b);
    int64_t began = now_ns();
    ferry_status s = FERRY_OK, flushed;

    for (size_t i = 0; i < b->in_flight && s == FERRY_OK; i++)
        s = ferry_post_no_wait(b->f, b->server.route, ferry_bytes(b->body, b->size), &options);
    b->errors += s != FERRY_OK && s != FERRY_OVERLOADED;
    flushed = ferry_flush(b->f, FLUSH_MS);
    s = s == FERRY_OK ? flushed : s;
    if (s != FERRY_OK && s != FERRY_OVERLOADED)
        complain_once(b, s);
    cli_histogram_add(&b->times, now_ns() - began);
    return s == FERRY_OVERLOADED;
}

/* What failed after it was queued is told on another thread, and may be so after the flush. */
static void count_errors(bench *b, long long failed)
{
    int64_t end = cli_now_ms() + FLUSH_MS;

    while (atomic_load(&b->dropped) + atomic_load(&b->overloaded) < failed && cli_now_ms() < end)
        poll(NULL, 0, 1);
    b->errors += atomic_load(&b->dropped);
}

/* Until the server has handled as many as were sent, or no more come. Answers how many. */
static long long wait_handled(bench *b, long long before)
{
    int64_t end = cli_now_ms() + DRAIN_MS;
    long long n = cli_bench_server_handled(&b->server, b->f);

    while (n >= 0 && n - before < b->done && cli_now_ms() < end) {
        poll(NULL, 0, 5);
        n = cli_bench_server_handled(&b->server, b->f);
    }
    return n < 0 ? -1 : n - before;
}

static void bench_posts(bench *b)
{
    long long before = cli_bench_server_handled(&b->server, b->f), handled;
    long long accepted = stat_of(b, "posts_accepted"), failed = stat_of(b, "posts_failed");
    int64_t start = now_ns(), end = start + for_ns(b);

    b->done = b->errors = 0;
    atomic_store(&b->dropped, 0);
    atomic_store(&b->overloaded, 0);
    memset(&b->times, 0, sizeof b->times);
    while (now_ns() < end) {
        if (!post_window(b))
            continue;
        b->done = stat_of(b, "posts_accepted") - accepted;
        if (wait_handled(b, before) < 0)
            poll(NULL, 0, 10);
    }
    b->took_ns = now_ns() - start;
    b->done = stat_of(b, "posts_accepted") - accepted;
    count_errors(b, stat_of(b, "posts_failed") - failed);
    handled = wait_handled(b, before);
    print_head(b, "posts");
    if (handled >= 0)
        printf("\"handled\":%lld,\"handled_per_s\":%.1f,", handled, (double)handled * 1e9 / (double)(now_ns() - start));
    print_times(b);
}

static bool prepare(bench *b, size_t in_flight)
{
    ferry_future **ring = realloc(b->ring, in_flight * sizeof(ferry_future *));

    if (ring == NULL)
        return false;
    b->ring = ring;
    int64_t *began = realloc(b->began, in_flight * sizeof *began);
    if (began == NULL)
        return false;
    b->began = began;
    b->in_flight = in_flight;
    return true;
}

/* The first number of "1,64,512", which is left behind; 0 = it is none. */
static int take_number(const char **list)
{
    char word[16];
    size_t n = strcspn(*list, ",");

    snprintf(word, sizeof word, "%.*s", (int)(n < sizeof word ? n : sizeof word - 1), *list);
    *list += n + ((*list)[n] == ',');
    return cli_number(word, MOST);
}

static bool is_list(const char *list)
{
    bool good = *list != '\0';

    while (good && *list != '\0')
        good = take_number(&list) != 0;
    return good;
}

static int run_all(bench *b, const char *list, void (*run)(bench *b))
{
    long long errors = 0;

    while (*list != '\0') {
        if (!prepare(b, (size_t)take_number(&list)))
            return CLI_NOT_DONE;
        run(b);
        if (b->done == 0)
            return CLI_NOT_DONE;
        errors += b->errors;
    }
    return errors == 0 ? CLI_DONE : CLI_ERRORS;
}

static int bench_run(const cli_command *command, const cli_settings *s, const char *list, void (*run)(bench *b),
                     bool count)
{
    static bench b; /* the histogram is too big for a careful stack */
    size_t size = s->size != 0 ? (size_t)s->size : SIZE;
    char *body = calloc(size, 1);
    int code = CLI_NOT_DONE;

    b.settings = s;
    b.body = body;
    b.size = size;
    if (!is_list(list)) {
        free(body);
        return cli_usage(command, "--in-flight %s is no list of numbers from 1 to %d, such as 1,64,512", list,
                         (int)MOST);
    }
    if (body == NULL || !cli_bench_server_start(&b.server, s, count)) {
        free(body);
        return CLI_NOT_DONE;
    }
    if (b.server.here && !s->quiet)
        fputs("ferry: mem: does not leave a process, so the server is a second handle in this one\n", stderr);
    b.f = cli_open(s, &(const cli_wishes){.close_ms = 2000, .on_drop = count_drop, .arg = &b});
    if ((s->route != NULL && count) || cli_bench_server_wait(&b.server, b.f))
        code = run_all(&b, list, run);
    ferry_close(b.f);
    cli_bench_server_stop(&b.server);
    free(b.ring);
    free(b.began);
    free(body);
    return cli_result_finish(code);
}

int cli_bench_call(const cli_command *command, const cli_settings *s, int count, char **arguments)
{
    if (count > 0)
        return cli_usage(command, "takes no argument: leave out '%s'", arguments[0]);
    return bench_run(command, s, s->in_flight != NULL ? s->in_flight : "1,64,512", bench_calls, false);
}

int cli_bench_post(const cli_command *command, const cli_settings *s, int count, char **arguments)
{
    if (count > 0)
        return cli_usage(command, "takes no argument: leave out '%s'", arguments[0]);
    return bench_run(command, s, s->in_flight != NULL ? s->in_flight : "512", bench_posts, true);
}
