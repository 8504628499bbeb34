/* process.c - other processes of a case, and ferry's memory running out. Children are started by exec, never by a bare fork: the
 * case may have threads and open handles. */
#include "harness.h"

#include "base/alloc.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KILL_MS = 10000, READY_MS = 30000 };

extern char **environ;

/* ---- Where things are ----------------------------------------------------------------------------------------------- */

static const char *program(void)
{
    char path[4096] = "";
    if (readlink("/proc/self/exe", path, sizeof path - 1) < 0)
        FAIL("cannot find the test program: %s", strerror(errno));
    return test_text("%s", path);
}

const char *test_bin(void)
{
    const char *path = program();
    return test_text("%.*s", (int)(strrchr(path, '/') - path), path);
}

const char *test_root(void)
{
    return FERRY_TEST_ROOT;
}

/* ---- Starting ------------------------------------------------------------------------------------------------------- */

/* out and err: paths to write to, or NULL for the case's own output. */
static pid_t start(const char *path, const char *const *argv, const char *out, const char *err)
{
    pid_t pid;
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    if (out)
        posix_spawn_file_actions_addopen(&files, 1, out, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    if (err)
        posix_spawn_file_actions_addopen(&files, 2, err, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    int failed = posix_spawn(&pid, path, &files, NULL, (char *const *)(uintptr_t)argv, environ);
    posix_spawn_file_actions_destroy(&files);
    if (failed)
        FAIL("cannot start %s: %s", path, strerror(failed));
    return pid;
}

/* ---- Those that end with the case ------------------------------------------------------------------------------------- */

enum { MOST_STARTED = 256 };
static pid_t  started[MOST_STARTED];
static size_t started_count;

static pid_t remember(pid_t pid)
{
    if (started_count == MOST_STARTED)
        FAIL("more than %d processes started", MOST_STARTED);
    started[started_count++] = pid;
    return pid;
}

bool test_end_started(void)
{
    bool good = true;
    for (size_t i = 0; i < started_count; i++)
        if (test_alive(started[i]))
            kill(started[i], SIGTERM);
    for (size_t i = 0; i < started_count; i++) {
        for (int64_t end = test_now_ms() + test_ms(KILL_MS); test_alive(started[i]) && test_pause(end);)
            continue;
        if (!test_alive(started[i]))
            continue;
        fprintf(stderr, "process %d did not end on SIGTERM\n", (int)started[i]);
        test_kill(started[i], SIGKILL);
        good = false;
    }
    return good;
}

pid_t test_spawn_child(const char *child, const char *arg)
{
    const char *const argv[] = {program(), "--child", child, arg ? arg : "", NULL};
    return remember(start(argv[0], argv, NULL, NULL));
}

static const char *ready_mark(pid_t pid)
{
    return test_scratch(test_text("ready.%d", (int)pid));
}

void test_ready(void)
{
    test_write(ready_mark(getpid()), "");
}

void test_wait_ready(pid_t child)
{
    for (int64_t end = test_now_ms() + test_ms(READY_MS); access(ready_mark(child), F_OK) != 0;) {
        if (!test_alive(child))
            FAIL("child process %d ended before it was ready, with %d", (int)child, test_wait(child, KILL_MS));
        if (!test_pause(end))
            FAIL("child process %d is not ready", (int)child);
    }
}

static const char *formatted(const char *format, va_list args)
{
    char *text = NULL;
    if (vasprintf(&text, format, args) < 0)
        abort();
    const char *kept = test_text("%s", text);
    free(text);
    return kept;
}

pid_t test_start(const char *command, ...)
{
    va_list args;
    va_start(args, command);
    const char *line = test_text("exec %s", formatted(command, args));
    va_end(args);
    const char *const argv[] = {"sh", "-c", line, NULL};
    return remember(start("/bin/sh", argv, NULL, NULL));
}

test_output test_sh(const char *command, ...)
{
    static int count;
    va_list args;
    va_start(args, command);
    const char *const argv[] = {"sh", "-c", formatted(command, args), NULL};
    va_end(args);
    int n = __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);
    const char *out = test_scratch(test_text("sh.%d.%d.out", (int)getpid(), n));
    const char *err = test_scratch(test_text("sh.%d.%d.err", (int)getpid(), n));
    int code = test_wait(start("/bin/sh", argv, out, err), -1);
    return (test_output){code, test_read(out), test_read(err)};
}

/* ---- Ending --------------------------------------------------------------------------------------------------------- */

bool test_alive(pid_t pid)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}

int test_wait(pid_t pid, int ms)
{
    int status;
    int64_t end = ms < 0 ? INT64_MAX : test_now_ms() + test_ms(ms);
    for (;;) {
        pid_t got = waitpid(pid, &status, ms < 0 ? 0 : WNOHANG);
        if (got == pid)
            return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        if (got < 0 && errno != EINTR)
            FAIL("no child process %d: %s", (int)pid, strerror(errno));
        if (!test_pause(end))
            FAIL("process %d is still running", (int)pid);
    }
}

int test_kill(pid_t pid, int signal)
{
    if (kill(pid, signal) < 0)
        FAIL("cannot send signal %d to process %d: %s", signal, (int)pid, strerror(errno));
    return test_wait(pid, KILL_MS);
}

/* ---- Running out of memory ------------------------------------------------------------------------------------------ */

static uint64_t failing_at; /* 0 = none */

void test_fail_alloc_at(uint64_t n)
{
    failing_at = n;
    ferry__alloc_fail_at(n);
}

bool test_alloc_failed(void)
{
    return failing_at && ferry__alloc_count() >= failing_at;
}

void test_every_alloc_fails(void (*scenario)(void *arg), void *arg)
{
    size_t before = ferry__alloc_live();
    bool struck = true;
    for (uint64_t n = 1; struck; n++) {
        test_note("allocation %llu of the scenario was the one to fail", (unsigned long long)n);
        test_fail_alloc_at(n);
        scenario(arg);
        struck = test_alloc_failed();
        test_fail_alloc_at(0);
        if (ferry__alloc_live() > before)
            FAIL("allocation %llu failed, and %zu blocks leaked", (unsigned long long)n, ferry__alloc_live() - before);
    }
}
