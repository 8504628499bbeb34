/* threads.c - many callers, many handles, and threads of the library that nobody notices. */
#include "kit.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 8, EACH = 150 };

typedef struct part {
    ferry *f;
    int    first;
} part;

static void *call_and_check(void *arg)
{
    const part *p = arg;
    for (int i = 0; i < EACH; i++) {
        int n = p->first + i;
        KIT_INT(n % 2 ? ferry_get(p->f, "calc.echo", ferry_int(n), NULL)
                      : ferry_post(p->f, "calc.echo", ferry_int(n), NULL),
                n);
    }
    return NULL;
}

static void all_threads(ferry *const *handles, size_t n, void *(*run)(void *arg))
{
    pthread_t threads[THREADS];
    part parts[THREADS];
    for (int t = 0; t < THREADS; t++) {
        parts[t] = (part){handles[(size_t)t % n], t * EACH};
        CHECK_INT(pthread_create(&threads[t], NULL, run, &parts[t]), 0);
    }
    for (int t = 0; t < THREADS; t++)
        pthread_join(threads[t], NULL);
}

CONFORMANCE_WITH(many_threads_on_one_handle, .limit_ms = 30000)
{
    ferry *s = kit_serve_with(FERRY_OPTIONS(.workers = 2), "calc.echo", kit_echo, NULL, NULL), *c = kit_open(NULL);
    all_threads(&c, 1, call_and_check);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE_WITH(many_handles, .limit_ms = 30000)
{
    ferry *s = kit_serve("calc.echo", kit_echo, NULL), *c[THREADS];
    for (int t = 0; t < THREADS; t++)
        c[t] = kit_open(NULL);
    all_threads(c, THREADS, call_and_check);
    for (int t = 0; t < THREADS; t++)
        kit_close(c[t]);
    kit_close(s);
}

static void *everything_at_once(void *arg)
{
    const part *p = arg;
    ferry_future *f[3];
    for (int i = 0; i < EACH / 10; i++) {
        for (int k = 0; k < 3; k++)
            f[k] = ferry_async(p->f, FERRY_PUT, "calc.echo", ferry_int(k), NULL);
        ferry_cancel(f[1]);
        CHECK_STATUS(ferry_post_no_wait(p->f, "calc.echo", ferry_int(i), NULL), FERRY_OK);
        KIT_INT(ferry_get(p->f, "calc.echo", ferry_int(i), NULL), i);
        KIT_INT(ferry_await(f[0]), 0);
        ferry_reply *r = ferry_await(f[1]);
        CHECK(ferry_reply_status(r) == FERRY_OK || ferry_reply_status(r) == FERRY_CANCELLED);
        ferry_reply_free(r);
        KIT_INT(ferry_await(f[2]), 2);
    }
    return NULL;
}

CONFORMANCE_WITH(callers_of_every_kind_at_once, .limit_ms = 30000)
{
    ferry *f = kit_serve_with(FERRY_OPTIONS(.workers = 3), "calc.echo", kit_echo, NULL, NULL); /* serves and calls */
    all_threads(&f, 1, everything_at_once);
    kit_close(f);
}

CONFORMANCE(progress_while_nobody_waits)
{
    atomic_int count = 0;
    ferry *s = kit_serve("work.count", kit_count, &count), *c = kit_open(NULL);
    ferry_future *f = ferry_async(c, FERRY_POST, "work.count", NULL, NULL);
    CHECK_SOON(atomic_load(&count) == 1, KIT_SOON_MS); /* sent, although nobody is inside a call of c */
    CHECK_SOON(ferry_await_any(&f, 1, 0) == 0, KIT_SOON_MS);
    KIT_INT(ferry_await(f), 1);
    CHECK_STATUS(ferry_post_no_wait(c, "work.count", NULL, NULL), FERRY_OK);
    CHECK_SOON(atomic_load(&count) == 2, KIT_SOON_MS);
    kit_close(c);
    kit_close(s);
}

/* ---- Nobody notices ------------------------------------------------------------------------------------------------- */

static int cpu_us(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (int)((u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000 + u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

CONFORMANCE(idle_handles_use_no_cpu)
{
    ferry *s = kit_serve_with(FERRY_OPTIONS(.workers = 4), "calc.echo", kit_echo, NULL, NULL), *c = kit_open(NULL);
    for (int i = 0; i < 100; i++)
        KIT_OK(ferry_get(c, "calc.echo", NULL, NULL));
    ferry_future *f = ferry_async(c, FERRY_GET, "calc.echo", NULL, NULL);
    KIT_OK(ferry_await(f));
    struct timespec settle = {0, 200000000}, second = {1, 0};
    nanosleep(&settle, NULL);
    int before = cpu_us();
    nanosleep(&second, NULL);
    int used = cpu_us() - before;
    if (used > test_ms(20) * 1000)
        FAIL("two idle handles used %d us of processor time in a second", used);
    kit_close(c);
    kit_close(s);
}

static void each_thread(void (*look)(const char *tid))
{
    DIR *d = opendir("/proc/self/task");
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.' && strtol(e->d_name, NULL, 10) != getpid())
            look(e->d_name);
    closedir(d);
}

static int seen;

static void blocks_all_signals(const char *tid)
{
    const char *status = test_read(test_text("/proc/self/task/%s/status", tid)), *line = strstr(status, "SigBlk:");
    unsigned long long blocked = strtoull(line + strlen("SigBlk:"), NULL, 16);
    for (int signal = 1; signal < 32; signal++)
        /* SIGSYS: ThreadSanitizer's own thread (of gcc 14) leaves it open; it is only sent to the thread that errs. */
        if (signal != SIGKILL && signal != SIGSTOP && signal != SIGSYS && !(blocked & 1ULL << (signal - 1)))
            FAIL("thread %s takes signal %d: %s", tid, signal, status);
    seen++;
}

static void nothing(ferry_reply *reply, void *arg)
{
    ferry_reply_free(reply);
    atomic_fetch_add((atomic_int *)arg, 1);
}

CONFORMANCE(threads_of_the_library_take_no_signals)
{
    atomic_int called = 0;
    ferry *f = kit_serve_with(FERRY_OPTIONS(.workers = 2), "calc.echo", kit_echo, NULL, NULL);
    ferry_async_with(f, FERRY_GET, "calc.echo", NULL, NULL, nothing, &called);
    CHECK_SOON(atomic_load(&called) == 1, KIT_SOON_MS);
    each_thread(blocks_all_signals);
    CHECK(seen > 0);
    kit_close(f);
}

enum { MOST_FDS = 256 };

static bool inherited(int fd)
{
    int flags = fcntl(fd, F_GETFD);
    return flags >= 0 && !(flags & FD_CLOEXEC);
}

CONFORMANCE(descriptors_close_on_exec)
{
    bool before[MOST_FDS]; /* what the test program was started with */
    if (test_can("threads"))
        SKIP("its client library has threads and descriptors of its own");
    for (int fd = 0; fd < MOST_FDS; fd++)
        before[fd] = inherited(fd);
    ferry *f = kit_serve("calc.echo", kit_echo, NULL), *l = kit_open(NULL);
    CHECK(ferry_fd(l) >= 0);
    KIT_OK(ferry_get(f, "calc.echo", NULL, NULL));
    for (int fd = 0; fd < MOST_FDS; fd++)
        if (inherited(fd) && !before[fd])
            FAIL("descriptor %d is inherited: %s", fd, test_sh("readlink /proc/%d/fd/%d", (int)getpid(), fd).out);
    kit_close(l);
    kit_close(f);
}

static void count_thread(const char *tid)
{
    (void)tid;
    seen++;
}

CONFORMANCE(a_caller_alone_makes_no_threads_until_needed)
{
    if (test_can("threads"))
        SKIP("its client library has threads and descriptors of its own");
    ferry *s = kit_serve("calc.echo", kit_echo, NULL);
    each_thread(count_thread);
    int before = seen;
    ferry *c = ferry_open(test_url(), NULL);
    seen = 0;
    each_thread(count_thread);
    CHECK(seen - before <= 1); /* at most the one that goes on while nobody is inside a call */
    for (int i = 0; i < 10; i++)
        KIT_OK(ferry_get(c, "calc.echo", NULL, NULL));
    seen = 0;
    each_thread(count_thread);
    CHECK(seen - before <= 1);
    kit_close(c);
    kit_close(s);
}
