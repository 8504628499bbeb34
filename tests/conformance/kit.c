#include "kit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* ---- Handles -------------------------------------------------------------------------------------------------------- */

const char *kit_url(const char *decorators, const char *query)
{
    const char *url = test_url();
    const char *joint = !*query ? "" : strchr(url, '?') ? "&" : "?";
    return test_text("%s%s%s%s", decorators, url, joint, query);
}

ferry *kit_open(const ferry_options *options)
{
    ferry *f = ferry_open(test_url(), options);
    char problem[512] = "";
    CHECK_NOT_NULL(f);
    CHECK_STATUS(ferry_wait_ready(f, test_ms(KIT_SOON_MS)), FERRY_OK);
    ferry_problem(f, problem, sizeof problem);
    CHECK_STR(problem, "");
    return f;
}

static ferry_status ask_stranger(ferry *stranger, const char *service)
{
    ferry_reply *r =
        ferry_get(stranger, test_text("%s.kit-probe", service), NULL, FERRY_CALL(.timeout_ms = test_ms(1500)));
    ferry_status s = ferry_reply_status(r); /* a timeout is an answer, too: somebody was there to send it to */
    ferry_reply_free(r);
    return s;
}

void kit_await_service(const char *service)
{
    ferry *stranger = kit_open(NULL);
    CHECK_SOON(ask_stranger(stranger, service) != FERRY_NO_SERVICE, KIT_SOON_MS);
    CHECK_STATUS(ferry_close(stranger), FERRY_OK);
}

void kit_await_gone(const char *service)
{
    ferry *stranger = kit_open(NULL);
    CHECK_SOON(ask_stranger(stranger, service) == FERRY_NO_SERVICE, KIT_SOON_MS);
    CHECK_STATUS(ferry_close(stranger), FERRY_OK);
}

void kit_start(ferry *f, const char *service)
{
    CHECK_STATUS(ferry_serve(f), FERRY_OK);
    kit_await_service(service);
}

ferry *kit_serve_with(const ferry_options *options, const char *route, ferry_handler_fn *handler, void *arg,
                      const ferry_handle_options *how)
{
    ferry *f = kit_open(options);
    CHECK_STATUS(ferry_handle(f, route, handler, arg, how), FERRY_OK);
    kit_start(f, test_text("%.*s", (int)strcspn(route, "."), route));
    return f;
}

ferry *kit_serve(const char *route, ferry_handler_fn *handler, void *arg)
{
    return kit_serve_with(NULL, route, handler, arg, NULL);
}

void kit_close(ferry *f)
{
    CHECK_STATUS(ferry_close(f), FERRY_OK);
}

/* ---- Handlers ------------------------------------------------------------------------------------------------------- */

void kit_echo(ferry_request *req, void *arg)
{
    (void)arg;
    ferry_status status = ferry_respond(req, ferry_value_copy(ferry_request_data(req)));
    CHECK(status == FERRY_OK || status == FERRY_CLOSED); /* CLOSED: it outstayed its handle */
}

void kit_count(ferry_request *req, void *counter)
{
    ferry_respond(req, ferry_int(atomic_fetch_add((atomic_int *)counter, 1) + 1));
}

void kit_fail(ferry_request *req, void *counter)
{
    if (counter)
        atomic_fetch_add((atomic_int *)counter, 1);
    ferry_fail(req, "Broken", "on purpose");
}

void kit_gated(ferry_request *req, void *arg)
{
    kit_gate *gate = arg;
    atomic_fetch_add(&gate->entered, 1);
    CHECK_SOON(atomic_load(&gate->open), KIT_SOON_MS);
    kit_echo(req, NULL);
    atomic_fetch_add(&gate->left, 1);
}

/* ---- Replies -------------------------------------------------------------------------------------------------------- */

static const char *told(const ferry_reply *r)
{
    char *text = NULL;
    size_t length;
    FILE *to = open_memstream(&text, &length);
    ferry_print_errors(r, to);
    fclose(to);
    const char *kept =
        test_text("%s (outcome %d)\n  %s", ferry_status_name(ferry_reply_status(r)), (int)ferry_reply_outcome(r), text);
    free(text);
    return kept;
}

static void consistent(const char *file, int line, const char *what, const ferry_reply *r)
{
    bool failed = ferry_reply_status(r) != FERRY_OK;
    if (ferry_has_errors(r) != failed || (ferry_error_count(r) > 0) != failed)
        test_fail(file, line, "%s contradicts itself: has_errors %d, %zu errors, %s", what, ferry_has_errors(r),
                  ferry_error_count(r), told(r));
}

void kit_ends(const char *file, int line, const char *what, ferry_reply *r, ferry_status status, ferry_outcome outcome)
{
    consistent(file, line, what, r);
    if (ferry_reply_status(r) != status || ferry_reply_outcome(r) != outcome)
        test_fail(file, line, "%s ended with %s, not with %s (outcome %d)", what, told(r), ferry_status_name(status),
                  (int)outcome);
    ferry_reply_free(r);
}

void kit_undone(const char *file, int line, const char *what, ferry_reply *r, ferry_status status)
{
    ferry_outcome o = ferry_reply_outcome(r);
    if (o != FERRY_OUTCOME_NOT_SENT && o != FERRY_OUTCOME_NOT_EXECUTED)
        test_fail(file, line, "%s may have run: %s", what, told(r));
    kit_ends(file, line, what, r, status, o);
}

void kit_int(const char *file, int line, const char *what, ferry_reply *r, int64_t want)
{
    int64_t found = ferry_as_int(ferry_data(r), INT64_MIN);
    if (ferry_has_errors(r) || found != want)
        test_fail(file, line, "%s answered %lld, not %lld: %s", what, (long long)found, (long long)want, told(r));
    kit_ends(file, line, what, r, FERRY_OK, FERRY_OUTCOME_EXECUTED);
}

int64_t kit_stat(const ferry *f, const char *name)
{
    ferry_value *stats = ferry_stats(f);
    const ferry_value *v = ferry_find(stats, name);
    int64_t n = ferry_as_int(v, INT64_MIN);
    if (n == INT64_MIN)
        FAIL("ferry_stats has no number \"%s\"", name);
    ferry_value_free(stats);
    return n;
}

/* ---- Time ----------------------------------------------------------------------------------------------------------- */

/* Sleeps a millisecond at a time beside what is measured, and keeps by how much the worst of these sleeps was late. */
typedef struct witness {
    pthread_t   thread;
    atomic_bool over;
    int         worst_ms;
} witness;

static void *watch(void *arg)
{
    witness *w = arg;
    while (!atomic_load(&w->over)) {
        int64_t before = test_now_ms();
        test_pause(INT64_MAX);
        int late = (int)(test_now_ms() - before) - 1;
        w->worst_ms = late > w->worst_ms ? late : w->worst_ms;
    }
    return NULL;
}

/* How long run took, less what the machine was late. */
static int timed(void (*run)(void *arg), void *arg, int least_ms)
{
    witness w = {.worst_ms = 0};
    CHECK_INT(pthread_create(&w.thread, NULL, watch, &w), 0);
    int64_t before = test_now_ms();
    run(arg);
    int took = (int)(test_now_ms() - before);
    atomic_store(&w.over, true);
    pthread_join(w.thread, NULL);
    return took - w.worst_ms > least_ms ? took - w.worst_ms : took < least_ms ? took : least_ms;
}

void kit_takes(int least_ms, int most_ms, void (*run)(void *arg), void *arg)
{
    int took = 0;
    for (int tries = 0; tries < 3; tries++) {
        took = timed(run, arg, least_ms);
        if (took < least_ms - 2) /* two clocks that are rounded to milliseconds */
            FAIL("took %d ms, less than %d", took, least_ms);
        if (took <= test_ms(most_ms))
            return;
    }
    FAIL("took %d ms, more than %d", took, test_ms(most_ms));
}

/* ---- Dead letters --------------------------------------------------------------------------------------------------- */

ferry_value *kit_dead(ferry *f, const char *service)
{
    ferry_reply *r = ferry_admin(f, "dead.list", ferry_map("service", service), NULL);
    if (ferry_has_errors(r))
        FAIL("dead.list: %s", told(r));
    ferry_value *list = ferry_value_copy(ferry_find(ferry_data(r), "dead"));
    ferry_reply_free(r);
    return list;
}

size_t kit_dead_count(ferry *f, const char *service)
{
    ferry_value *list = kit_dead(f, service);
    size_t n = ferry_count(list);
    ferry_value_free(list);
    return n;
}

/* ---- A log ---------------------------------------------------------------------------------------------------------- */

static const char *log_path(const char *name)
{
    return test_text("%s/%s.log", test_dir(), name);
}

void kit_log(const char *name, const char *format, ...)
{
    char line[256];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    CHECK(length > 0 && (size_t)length < sizeof line - 1);
    line[length++] = '\n';
    int fd = open(log_path(name), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, line, (size_t)length) != length)
        FAIL("cannot append to %s: %s", log_path(name), strerror(errno));
    close(fd);
}

int kit_log_lines(const char *name, const char *start)
{
    int n = 0;
    FILE *in = fopen(log_path(name), "re");
    char line[256];
    while (in && fgets(line, sizeof line, in))
        n += strncmp(line, start, strlen(start)) == 0;
    if (in)
        fclose(in);
    return n;
}
