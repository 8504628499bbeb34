#include "amqp_kit.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

const char *amqp_more = "tier=10ms&partitions=2";
amqp_load amqp_the_load;

/* ---- The broker ----------------------------------------------------------------------------------------------------- */

void amqp_broker(const char *arguments)
{
    test_output o = test_sh("%s/tools/brokers --dir '%s/set' %s", test_root(), test_dir(), arguments);
    if (o.code != 0)
        FAIL("brokers %s: %s%s", arguments, o.out, o.err);
}

const char *amqp_ctl(const char *arguments)
{
    test_output o = test_sh("%s/tools/brokers --dir '%s/set' ctl amqp -q %s", test_root(), test_dir(), arguments);
    if (o.code != 0)
        FAIL("rabbitmqctl %s: %s%s", arguments, o.out, o.err);
    return o.out;
}

void amqp_stop(void)
{
    amqp_broker("stop amqp");
}

static const char *address_in(const char *name)
{
    test_output o = test_sh("%s/tools/brokers --dir '%s/set' env amqp", test_root(), test_dir());
    const char *at = strstr(o.out, name);
    CHECK_NOT_NULL(at);
    at += strlen(name);
    return test_text("%.*s", (int)strcspn(at, " \n"), at);
}

const char *amqp_start(void)
{
    ferry *f = ferry_open("amqp://localhost/?connect=100ms", NULL);
    ferry_status status = ferry_wait_ready(f, 0);
    ferry_close(f);
    if (status == FERRY_INVALID)
        SKIP("amqp was left out of this build");
    if (test_sh("command -v rabbitmq-server || test -d /usr/lib/rabbitmq").code != 0)
        SKIP("no rabbitmq-server here");
    amqp_broker("start amqp");
    /* it takes connections before, but deletes no queue until it is up for itself */
    CHECK_SOON(test_sh("grep -q 'startup complete' '%s/set/amqp/log'", test_dir()).code == 0, AMQP_SOON_MS);
    return address_in("FERRY_TEST_AMQP=");
}

const char *amqp_tls_address(void)
{
    return address_in("FERRY_TEST_AMQP_TLS=");
}

/* ---- Handles -------------------------------------------------------------------------------------------------------- */

ferry *amqp_open(const char *format, ...)
{
    char url[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(url, sizeof url, format, args);
    va_end(args);
    ferry *f = ferry_open(url, NULL);
    CHECK_NOT_NULL(f);
    return f;
}

ferry *amqp_ready(const char *address)
{
    ferry *f = amqp_open("amqp://ferry:secret@%s/ferry?%s", address, amqp_more);
    CHECK_STATUS(ferry_wait_ready(f, test_ms(AMQP_SOON_MS)), FERRY_OK);
    return f;
}

static void echo(ferry_request *req, void *arg)
{
    (void)arg;
    ferry_respond(req, ferry_value_copy(ferry_request_data(req)));
}

static void count_in(atomic_uchar *counts, ferry_request *req)
{
    int64_t n = ferry_as_int(ferry_request_data(req), -1);
    if (n >= 0 && n < AMQP_MOST)
        atomic_fetch_add(&counts[n], 1);
}

static void note(ferry_request *req, void *arg)
{
    (void)arg;
    count_in(amqp_the_load.noted, req);
}

static void count(ferry_request *req, void *arg)
{
    count_in(amqp_the_load.ran, req);
    echo(req, arg);
}

ferry *amqp_serve_on(ferry *s)
{
    CHECK_STATUS(ferry_handle(s, "calc.echo", echo, NULL, NULL), FERRY_OK);
    CHECK_STATUS(ferry_handle(s, "calc.note", note, NULL, NULL), FERRY_OK);
    CHECK_STATUS(ferry_handle(s, "calc.count", count, NULL, NULL), FERRY_OK);
    CHECK_STATUS(ferry_serve(s), FERRY_OK);
    return s;
}

ferry *amqp_serve(const char *address)
{
    return amqp_serve_on(amqp_ready(address));
}

ferry_status amqp_get(ferry *c, int timeout_ms)
{
    ferry_reply *r = ferry_get(c, "calc.echo", ferry_int(1), FERRY_CALL(.timeout_ms = timeout_ms));
    ferry_status status = ferry_reply_status(r);
    ferry_reply_free(r);
    return status;
}

int amqp_descriptors(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* ---- A load --------------------------------------------------------------------------------------------------------- */

static void at_least(atomic_int *to, int value)
{
    int was = atomic_load(to);
    while (value > was && !atomic_compare_exchange_weak(to, &was, value)) {
    }
}

/* Sleeps as a caller does: what this one oversleeps, the machine owes, not the library. */
static void *watch_the_clock(void *arg)
{
    amqp_load *l = arg;
    while (!atomic_load(&l->over)) {
        int64_t end_ms = test_now_ms() + 5;
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
        at_least(&l->slip_ms, (int)(test_now_ms() - end_ms));
    }
    return NULL;
}

static void ended(amqp_load *l, int n, ferry_reply *r)
{
    bool ok = ferry_reply_status(r) == FERRY_OK;
    ferry_outcome outcome = ferry_reply_outcome(r);
    atomic_fetch_add(ok ? &l->ok : &l->failed, 1);
    atomic_fetch_add(&l->wrong, ok && (outcome != FERRY_OUTCOME_EXECUTED || ferry_as_int(ferry_data(r), -1) != n));
    atomic_store(&l->said[n], (unsigned char)(outcome + 1));
    ferry_reply_free(r);
}

static void *call_on(void *arg)
{
    enum { AT_ONCE = 8, MS = 1500 };
    amqp_load *l = arg;
    while (!atomic_load(&l->over)) {
        ferry_future *f[AT_ONCE];
        int64_t begun[AT_ONCE];
        int first = atomic_fetch_add(&l->called, AT_ONCE);
        if (first + AT_ONCE > AMQP_MOST)
            break;
        for (int i = 0; i < AT_ONCE; i++) {
            begun[i] = test_now_ms();
            atomic_store(&l->idempotent[first + i], i % 2 == 0);
            f[i] = ferry_async(l->c, i % 2 ? FERRY_POST : FERRY_GET, "calc.count", ferry_int(first + i),
                               FERRY_CALL(.timeout_ms = MS));
        }
        for (int i = 0; i < AT_ONCE; i++) {
            ferry_reply *r = ferry_await(f[i]);
            at_least(&l->latest_ms, (int)(test_now_ms() - begun[i]) - MS);
            ended(l, first + i, r);
        }
    }
    return NULL;
}

static void *post_on(void *arg)
{
    amqp_load *l = arg;
    for (int n = 0; n < AMQP_MOST && !atomic_load(&l->over); n++) {
        ferry_status s = ferry_post_no_wait(l->c, "calc.note", ferry_int(n),
                                            FERRY_CALL(.confirm = FERRY_CONFIRMED, .timeout_ms = AMQP_SOON_MS));
        l->confirmed[n] = s == FERRY_OK;
        atomic_store(&l->posted, n + 1);
    }
    return NULL;
}

void amqp_begin_load(ferry *c)
{
    amqp_load *l = &amqp_the_load;
    l->c = c;
    for (size_t i = 0; i < sizeof l->callers / sizeof *l->callers; i++)
        CHECK_INT(pthread_create(&l->callers[i], NULL, call_on, l), 0);
    CHECK_INT(pthread_create(&l->poster, NULL, post_on, l), 0);
    CHECK_INT(pthread_create(&l->clock, NULL, watch_the_clock, l), 0);
}

static bool all_noted(const amqp_load *l)
{
    for (int n = 0; n < atomic_load(&l->posted); n++)
        if (l->confirmed[n] && !atomic_load(&l->noted[n]))
            return false;
    return true;
}

/* What was said of a call, against how often it ran. */
static void check_said(const amqp_load *l, int n)
{
    int ran = atomic_load(&l->ran[n]), outcome = atomic_load(&l->said[n]) - 1;
    if (ran > 1 && !atomic_load(&l->idempotent[n]))
        FAIL("post %d ran %d times", n, ran);
    if (outcome == FERRY_OUTCOME_EXECUTED && ran == 0)
        FAIL("call %d is said to have run", n);
    if ((outcome == FERRY_OUTCOME_NOT_SENT || outcome == FERRY_OUTCOME_NOT_EXECUTED) && ran > 0)
        FAIL("call %d ran %d times, and is said not to have (outcome %d)", n, ran, outcome);
}

void amqp_end_load(void)
{
    amqp_load *l = &amqp_the_load;
    atomic_store(&l->over, true);
    for (size_t i = 0; i < sizeof l->callers / sizeof *l->callers; i++)
        pthread_join(l->callers[i], NULL);
    pthread_join(l->poster, NULL);
    pthread_join(l->clock, NULL);
    CHECK_INT(atomic_load(&l->wrong), 0);
    test_note("%d calls ended well, %d badly, the latest %d ms behind its deadline, a sleeper %d ms late; %d posts",
              atomic_load(&l->ok), atomic_load(&l->failed), atomic_load(&l->latest_ms), atomic_load(&l->slip_ms),
              atomic_load(&l->posted));
    CHECK(atomic_load(&l->latest_ms) <= test_ms(AMQP_LATE_MS) + atomic_load(&l->slip_ms));
    CHECK_SOON(all_noted(l), AMQP_SOON_MS);
    for (int n = 0; n < atomic_load(&l->called) && n < AMQP_MOST; n++)
        check_said(l, n);
}
