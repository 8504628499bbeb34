/* Invariants:
 *  1. All pipes are close-on-exec in this process, and ours do not block; the child gets its ends by dup2 alone.
 *  2. The child is a zombie until it left the list of running ones, so no process group id in that list can be another
 *     process's.
 *  3. Its end is the end of the shell, seen through the pidfd (or by asking every tick): a process that it left behind
 *     with our pipes open delays nothing. What stands in the pipes at that moment is still read.
 */
#include "child.h"
#include "within.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TICK_MS = 20, CANCEL_MS = 50, GRACE_MS = 2000, COMPLAINT_MAX = 4096 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static cli_child *running;

static void list_add(cli_child *c)
{
    pthread_mutex_lock(&lock);
    c->next = running;
    running = c;
    pthread_mutex_unlock(&lock);
}

static void list_remove(cli_child *c)
{
    pthread_mutex_lock(&lock);
    for (cli_child **at = &running; *at != NULL; at = &(*at)->next) {
        if (*at == c) {
            *at = c->next;
            break;
        }
    }
    pthread_mutex_unlock(&lock);
}

size_t cli_child_count(void)
{
    size_t n = 0;

    pthread_mutex_lock(&lock);
    for (cli_child *c = running; c != NULL; c = c->next)
        n++;
    pthread_mutex_unlock(&lock);
    return n;
}

void cli_child_kill_all(void)
{
    pthread_mutex_lock(&lock);
    for (cli_child *c = running; c != NULL; c = c->next)
        kill(-c->pid, SIGKILL);
    pthread_mutex_unlock(&lock);
}

static void shut(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* A group of its own, no signal blocked or ignored as they are here, and the three pipes. */
static int spawn(cli_child *c, const char *command, char **environment, const int theirs[3])
{
    char shell[] = "sh", option[] = "-c";
    char *words[] = {shell, option, (char *)(uintptr_t)command, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t how;
    sigset_t none, all;
    int error = posix_spawn_file_actions_init(&actions);

    if (error != 0)
        return error;
    error = posix_spawnattr_init(&how);
    if (error != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return error;
    }
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&how, &none);
    posix_spawnattr_setsigdefault(&how, &all);
    posix_spawnattr_setpgroup(&how, 0);
    error = posix_spawnattr_setflags(&how, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    for (int i = 0; i < 3 && error == 0; i++)
        error = posix_spawn_file_actions_adddup2(&actions, theirs[i], i);
    if (error == 0)
        error = posix_spawn(&c->pid, "/bin/sh", &actions, &how, words, environment);
    posix_spawnattr_destroy(&how);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* A pipe end that is 0, 1 or 2 already would lose close-on-exec by no dup2 of its own number; so none may be that low. */
static int raise_low(int fd)
{
    int high = fd;

    if (fd >= 0 && fd <= STDERR_FILENO) {
        high = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
        close(fd);
    }
    return high;
}

static bool make_pipe(int *read_end, int *write_end)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0)
        return false;
    *read_end = raise_low(ends[0]);
    *write_end = raise_low(ends[1]);
    return *read_end >= 0 && *write_end >= 0;
}

int cli_child_start(cli_child *c, const char *command, char **environment)
{
    int theirs[3] = {-1, -1, -1}, error = 0;

    c->in = c->out = c->err = c->pidfd = -1;
    if (!make_pipe(&theirs[0], &c->in) || !make_pipe(&c->out, &theirs[1]) || !make_pipe(&c->err, &theirs[2]))
        error = errno;
    if (error == 0)
        error = spawn(c, command, environment, theirs);
    for (int i = 0; i < 3; i++)
        shut(&theirs[i]);
    if (error != 0) {
        shut(&c->in);
        shut(&c->out);
        shut(&c->err);
        return error;
    }
    list_add(c);
    fcntl(c->in, F_SETFL, O_NONBLOCK);
    fcntl(c->out, F_SETFL, O_NONBLOCK);
    fcntl(c->err, F_SETFL, O_NONBLOCK);
#ifdef SYS_pidfd_open
    c->pidfd = (int)syscall(SYS_pidfd_open, c->pid, 0); /* close-on-exec by itself */
#endif
    return 0;
}

static void feed(cli_child *c)
{
    while (c->in >= 0 && c->written < c->input->length) {
        ssize_t n = write(c->in, c->input->at + c->written, c->input->length - c->written);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            break; /* EPIPE: it does not want its input */
        c->written += (size_t)n;
    }
    shut(&c->in);
}

static void end_it(cli_child *c, cli_child_end why)
{
    if (c->kill_ms != 0)
        return;
    c->end = why;
    c->kill_ms = cli_now_ms() + GRACE_MS;
    kill(-c->pid, SIGTERM);
}

/* The last of it is kept, all of it passed on. */
static void take_complaint(cli_child *c, const char *bytes, size_t n)
{
    cli_text *t = &c->complaint;

    if (c->pass_on)
        fwrite(bytes, 1, n, stderr);
    if (cli_text_add(t, bytes, n) && t->length > COMPLAINT_MAX) {
        memmove(t->at, t->at + t->length - COMPLAINT_MAX, COMPLAINT_MAX + 1);
        t->length = COMPLAINT_MAX;
    }
}

/* Until the pipe is empty. What is too much is thrown away, so that the child can go on to its end. */
static void drain(cli_child *c, int *fd)
{
    char block[16384];

    while (*fd >= 0) {
        ssize_t n = read(*fd, block, sizeof block);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0)
            shut(fd);
        else if (fd == &c->err)
            take_complaint(c, block, (size_t)n);
        else if (!cli_text_add(&c->output, block, (size_t)n))
            end_it(c, CLI_CHILD_TOO_BIG);
        if (c->kill_ms != 0 && cli_now_ms() >= c->kill_ms)
            return; /* one that never stops writing must not keep us from the kill */
    }
}

static bool has_ended(const cli_child *c)
{
    siginfo_t info = {0};

    return waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid != 0;
}

static int until(const cli_child *c, bool may_cancel)
{
    int64_t next = c->kill_ms != 0 ? c->kill_ms : c->deadline_ms;
    int64_t left = next == 0 ? 1000 : next - cli_now_ms();
    int64_t most = c->pidfd < 0 ? TICK_MS : may_cancel ? CANCEL_MS : 1000;

    return left < 0 ? 0 : left < most ? (int)left : (int)most;
}

static void turn(cli_child *c, bool (*cancelled)(void *arg), void *arg)
{
    struct pollfd fds[4] = {{.fd = c->in, .events = POLLOUT},
                            {.fd = c->out, .events = POLLIN},
                            {.fd = c->err, .events = POLLIN},
                            {.fd = c->pidfd, .events = POLLIN}};

    poll(fds, 4, until(c, cancelled != NULL && c->kill_ms == 0));
    c->ended = has_ended(c);
    feed(c);
    drain(c, &c->out);
    drain(c, &c->err);
    if (c->ended)
        return;
    int64_t now = cli_now_ms();
    if (c->kill_ms != 0 && now >= c->kill_ms)
        kill(-c->pid, SIGKILL);
    else if (c->deadline_ms != 0 && now >= c->deadline_ms)
        end_it(c, CLI_CHILD_TOO_LONG);
    else if (cancelled != NULL && cancelled(arg))
        end_it(c, CLI_CHILD_CANCELLED);
}

/* After a SIGTERM the shell may be gone and others of its group not: they get the rest of their two seconds. */
static void end_group(cli_child *c)
{
    while (kill(-c->pid, 0) == 0) {
        if (cli_now_ms() >= c->kill_ms) {
            kill(-c->pid, SIGKILL);
            return;
        }
        poll(NULL, 0, TICK_MS);
    }
}

void cli_child_run(cli_child *c, bool (*cancelled)(void *arg), void *arg)
{
    while (!c->ended)
        turn(c, cancelled, arg);
    list_remove(c);
    while (waitpid(c->pid, &c->status, 0) < 0 && errno == EINTR)
        ;
    if (c->kill_ms != 0)
        end_group(c);
    shut(&c->in);
    shut(&c->out);
    shut(&c->err);
    shut(&c->pidfd);
}

void cli_child_done(cli_child *c)
{
    cli_text_free(&c->output);
    cli_text_free(&c->complaint);
}
