/* leaks.c - an inventory before and after a case: threads, descriptors, blocks of ferry's memory, running processes.
 *
 * A thread that was joined and a process that was killed may be seen a moment longer, so both get a short grace. Memory that does not
 * come through ferry__alloc is LeakSanitizer's business, in the ASan build. */
#include "harness.h"

#include "base/alloc.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GRACE_MS = 400 };

static void each_entry(const char *path, void (*each)(const char *name, void *arg), void *arg)
{
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.' && strcmp(e->d_name, test_text("%d", dirfd(d))) != 0)
            each(e->d_name, arg);
    if (d)
        closedir(d);
}

static void count_one(const char *name, void *arg)
{
    (void)name;
    ++*(size_t *)arg;
}

static size_t threads_now(void)
{
    size_t n = 0;
    each_entry("/proc/self/task", count_one, &n);
    return n;
}

static void mark_fd(const char *name, void *arg)
{
    long fd = strtol(name, NULL, 10);
    if (fd < TEST_MOST_FDS)
        ((test_inventory *)arg)->fds[fd] = true;
}

void test_inventory_take(test_inventory *i)
{
    ferry__pool_trim();
    memset(i, 0, sizeof *i);
    i->threads = threads_now() + TEST_TSAN; /* its own thread comes with the first one that is started */
    i->blocks = ferry__alloc_live();
    each_entry("/proc/self/fd", mark_fd, i);
}

/* Ended children are reaped here, whoever forgot them; true when none is left. */
static bool no_children(void)
{
    pid_t pid;
    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
        continue;
    return pid < 0;
}

static void name_thread(const char *tid, void *arg)
{
    (void)arg;
    fprintf(stderr, "  thread %s: %s", tid, test_read(test_text("/proc/self/task/%s/comm", tid)));
}

static bool same_threads(const test_inventory *before)
{
    for (int64_t end = test_now_ms() + test_ms(GRACE_MS); threads_now() > before->threads;)
        if (!test_pause(end)) {
            fprintf(stderr, "%zu threads left running; all there are now:\n", threads_now() - before->threads);
            each_entry("/proc/self/task", name_thread, NULL);
            return false;
        }
    return true;
}

static bool same_processes(void)
{
    for (int64_t end = test_now_ms() + test_ms(GRACE_MS); !no_children();)
        if (!test_pause(end)) {
            fprintf(stderr, "a child process left running: %s\n", test_read("/proc/thread-self/children"));
            return false;
        }
    return true;
}

static bool same_fds(const test_inventory *before)
{
    bool same = true;
    test_inventory now = {0};
    each_entry("/proc/self/fd", mark_fd, &now);
    for (int fd = 0; fd < TEST_MOST_FDS; fd++)
        if (now.fds[fd] && !before->fds[fd]) {
            char target[256] = "";
            if (readlink(test_text("/proc/self/fd/%d", fd), target, sizeof target - 1) < 0)
                continue;
            fprintf(stderr, "descriptor %d left open: %s\n", fd, target);
            same = false;
        }
    return same;
}

static bool same_blocks(const test_inventory *before)
{
    size_t now = ferry__alloc_live();
    if (now > before->blocks)
        fprintf(stderr, "%zu blocks of ferry's memory leaked\n", now - before->blocks);
    return now <= before->blocks;
}

bool test_inventory_same(const test_inventory *before)
{
    bool threads = same_threads(before), processes = same_processes();
    bool fds = same_fds(before), blocks = same_blocks(before);
    return threads && processes && fds && blocks;
}
