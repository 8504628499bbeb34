/* base_test.c - the small parts of base: bells, threads, clocks, random bytes, logs, statuses. */
#include "test.h"

#include "base/bell.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "base/thread.h"
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Bells ---- */

TEST(bell_sleeps_no_longer_than_asked)
{
    ferry__bell b = {0};
    int64_t start = ferry__now_ms();
    ferry__bell_sleep(&b, ferry__bell_seen(&b), 30, false);
    CHECK(ferry__now_ms() - start >= 29);
    ferry__bell_sleep(&b, ferry__bell_seen(&b), 0, false);
    CHECK_UINT(atomic_load(&b.asleep), 0);
}

TEST(bell_rung_before_sleeping_ends_the_sleep)
{
    ferry__bell b = {0};
    unsigned seen = ferry__bell_seen(&b);
    ferry__bell_ring(&b);
    ferry__bell_sleep(&b, seen, -1, false);
}

typedef struct pingpong {
    ferry__bell bells[2];
    atomic_int  turns;
} pingpong;

static void *play(void *arg)
{
    pingpong *p = arg;
    for (int turn = 1; turn < 2000; turn += 2) {
        for (unsigned seen; seen = ferry__bell_seen(&p->bells[1]), atomic_load(&p->turns) != turn;)
            ferry__bell_sleep(&p->bells[1], seen, -1, false);
        atomic_fetch_add(&p->turns, 1);
        ferry__bell_ring(&p->bells[0]);
    }
    return NULL;
}

TEST(bell_loses_no_ring)
{
    pingpong p = {0};
    pthread_t t;
    CHECK(ferry__thread_start(&t, "play", play, &p));
    for (int turn = 0; turn < 2000; turn += 2) {
        for (unsigned seen; seen = ferry__bell_seen(&p.bells[0]), atomic_load(&p.turns) != turn;)
            ferry__bell_sleep(&p.bells[0], seen, -1, false);
        atomic_fetch_add(&p.turns, 1);
        ferry__bell_ring(&p.bells[1]);
    }
    pthread_join(t, NULL);
    CHECK_INT(atomic_load(&p.turns), 2000);
}

TEST(bell_rings_in_another_process)
{
    ferry__bell *b = mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(b != MAP_FAILED);
    unsigned seen = ferry__bell_seen(b);
    pid_t pid = fork();
    if (pid == 0) {
        while (atomic_load(&b->asleep) == 0)
            test_pause(0);
        ferry__bell_ring_shared(b);
        _exit(0);
    }
    ferry__bell_sleep(b, seen, -1, true);
    CHECK(ferry__bell_seen(b) != seen);
    CHECK_INT(test_wait(pid, 5000), 0);
    munmap(b, sizeof *b);
}

/* ---- Threads ---- */

static void *read_mask(void *arg)
{
    pthread_sigmask(SIG_SETMASK, NULL, arg);
    return NULL;
}

TEST(threads_block_every_signal)
{
    sigset_t before, during, after;
    pthread_t t;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    CHECK(ferry__thread_start(&t, "mask", read_mask, &during));
    pthread_join(t, NULL);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGPIPE, SIGCHLD};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        CHECK_INT(sigismember(&during, signals[i]), 1);
        CHECK_INT(sigismember(&after, signals[i]), sigismember(&before, signals[i]));
    }
}

TEST(forks_are_counted)
{
    unsigned before = ferry__fork_count();
    pid_t pid = fork();
    if (pid == 0)
        _exit(ferry__fork_count() == before + 1 ? 0 : 1);
    CHECK_INT(test_wait(pid, 5000), 0);
    CHECK_UINT(ferry__fork_count(), before);
}

/* ---- Clocks ---- */

TEST(clocks_agree)
{
    int64_t ms = ferry__now_ms(), us = ferry__now_us(), later = ferry__now_ms();
    CHECK(ms <= us / 1000 && us / 1000 <= later);
    CHECK(ferry__wall_ms() > INT64_C(1700000000000));
}

/* ---- Random ---- */

TEST(random_bytes_differ)
{
    unsigned char a[64] = {0}, b[64] = {0};
    CHECK(ferry__random_bytes(a, sizeof a));
    CHECK(ferry__random_bytes(b, sizeof b));
    CHECK(memcmp(a, b, sizeof a) != 0);
    CHECK(ferry__random_bytes(a, 0));
}

TEST(random_below_covers_its_range)
{
    unsigned seen[10] = {0};
    for (int i = 0; i < 10000; i++) {
        uint32_t n = ferry__random_below(10);
        CHECK(n < 10);
        seen[n]++;
    }
    for (size_t i = 0; i < 10; i++)
        CHECK(seen[i] > 700 && seen[i] < 1300);
    CHECK_UINT(ferry__random_below(0), 0);
    CHECK_UINT(ferry__random_below(1), 0);
}

TEST(hash_spreads)
{
    unsigned buckets[16] = {0};
    for (int i = 0; i < 16000; i++) {
        const char *key = test_text("key-%d", i);
        uint64_t h = ferry__hash(key, strlen(key));
        CHECK_UINT(h, ferry__hash(key, strlen(key)));
        buckets[h % 16]++;
    }
    for (size_t i = 0; i < 16; i++)
        CHECK(buckets[i] > 800 && buckets[i] < 1200);
    CHECK(ferry__hash("a\0", 2) != ferry__hash("a", 1));
}

/* ---- Logs and statuses ---- */

static void keep_line(int level, const char *line, void *arg)
{
    *(const char **)arg = test_text("%d: %s", level, line);
}

TEST(log_lines)
{
    const char *line = NULL;
    ferry__log log = {keep_line, &line}, nobody = {NULL, NULL};
    ferry__log_print(&log, LOG_WARNING, "lost %d of %s", 3, "them");
    CHECK_STR(line, "4: lost 3 of them");
    ferry__log_print(&nobody, LOG_WARNING, "unheard");
    CHECK_STR(line, "4: lost 3 of them");
}

TEST(long_log_lines_are_cut)
{
    char text[5000];
    const char *line = NULL;
    ferry__log log = {keep_line, &line};
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    ferry__log_print(&log, LOG_ERR, "%s", text);
    CHECK(strlen(line) > 900 && strlen(line) < 1100);
}

TEST(why_fits_its_size)
{
    char why[FERRY_WHY_SIZE + 1];
    why[FERRY_WHY_SIZE] = '!';
    ferry__why(why, "%s", "short");
    CHECK_STR(why, "short");
    ferry__why(why, "%500s|", "x");
    CHECK_UINT(strlen(why), FERRY_WHY_SIZE - 1);
    CHECK_INT(why[FERRY_WHY_SIZE], '!');
    ferry__why(NULL, "nobody asked");
}

TEST(statuses)
{
    CHECK_STR(ferry_status_name(FERRY_OK), "OK");
    CHECK_STR(ferry_status_name(FERRY_MAYBE_EXECUTED), "MAYBE_EXECUTED");
    CHECK_STR(ferry_status_text(FERRY_NO_SERVICE), "nobody serves that name");
    CHECK(ferry_status_retryable(FERRY_OVERLOADED));
    CHECK(!ferry_status_retryable(FERRY_MAYBE_EXECUTED));
    CHECK_STR(ferry_status_name((ferry_status)999), "INTERNAL");
    CHECK_NOT_NULL(ferry_status_text((ferry_status)999));
    CHECK(!ferry_status_retryable((ferry_status)999));
}
