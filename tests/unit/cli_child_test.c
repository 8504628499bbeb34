/* cli_child_test.c - one command with its pipes: nothing that it does blocks us, and it ends when it must. */
#include "test.h"

#include "cli/child.h"
#include "cli/within.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static cli_child run(const char *command, const cli_text *input, int limit_ms, bool (*cancelled)(void *arg))
{
    cli_child c = {.input = input, .output = {.max = 1 << 20}};

    if (limit_ms > 0)
        c.deadline_ms = cli_now_ms() + limit_ms;
    CHECK_INT(cli_child_start(&c, command, environ), 0);
    CHECK(cli_child_count() > 0);
    cli_child_run(&c, cancelled, NULL);
    return c;
}

static cli_child run_quietly(const char *command, int limit_ms)
{
    static const cli_text nothing;

    return run(command, &nothing, limit_ms, NULL);
}

static void is_gone(const char *pid_file)
{
    long pid = strtol(test_read(pid_file), NULL, 10);

    CHECK(pid > 1);
    CHECK_SOON(waitpid((pid_t)pid, NULL, WNOHANG) > 0 || kill((pid_t)pid, 0) != 0, 1000); /* orphans become ours */
}

TEST(input_goes_in_and_output_comes_out)
{
    cli_text input = {0};

    cli_text_puts(&input, "hello");
    cli_child c = run("tr a-z A-Z; echo oops >&2; exit 3", &input, 0, NULL);
    CHECK_STR(c.output.at, "HELLO");
    CHECK_STR(c.complaint.at, "oops\n");
    CHECK_INT(c.end, CLI_CHILD_EXITED);
    CHECK_INT(WEXITSTATUS(c.status), 3);
    cli_child_done(&c);
    cli_text_free(&input);
}

/* Ten times what a pipe holds, through a command that writes while it reads, and through one that does not read. */
TEST(more_than_a_pipe_holds)
{
    cli_text input = {0};

    for (int i = 0; i < 65000; i++)
        cli_text_puts(&input, "0123456789");
    cli_child c = run("cat", &input, 0, NULL);
    CHECK_BYTES(c.output.at, c.output.length, input.at, input.length);
    cli_child_done(&c);
    sigaction(SIGPIPE, &(const struct sigaction){.sa_handler = SIG_IGN}, NULL);
    c = run("exec true", &input, 0, NULL);
    CHECK_INT(c.end, CLI_CHILD_EXITED);
    CHECK_INT(c.status, 0);
    cli_child_done(&c);
    cli_text_free(&input);
}

TEST(only_the_last_of_a_long_complaint_is_kept)
{
    cli_child c = run_quietly("seq 1 100000 >&2", 0);

    CHECK(c.complaint.length <= 4096);
    CHECK_HAS(c.complaint.at, "\n99999\n100000\n");
    cli_child_done(&c);
}

TEST(too_much_output_ends_it)
{
    cli_child c = run_quietly("exec yes", 0);

    CHECK_INT(c.end, CLI_CHILD_TOO_BIG);
    CHECK(c.output.length <= 1 << 20);
    cli_child_done(&c);
}

TEST(the_deadline_ends_the_group)
{
    int64_t start = test_now_ms();
    cli_child c = run_quietly("sleep 60 & echo $! > pid; wait", 200);

    CHECK_INT(c.end, CLI_CHILD_TOO_LONG);
    CHECK(test_now_ms() - start >= 200);
    CHECK(test_now_ms() - start < test_ms(4000)); /* its orphan stays a zombie here, so that the group seems to live */
    is_gone("pid");
    cli_child_done(&c);
}

TEST(who_ignores_the_first_signal_gets_the_second)
{
    int64_t start = test_now_ms();
    cli_child c = run_quietly("trap '' TERM; echo $$ > pid; while :; do sleep 0.1; done", 200);

    CHECK_INT(c.end, CLI_CHILD_TOO_LONG);
    CHECK(test_now_ms() - start >= 2200);
    CHECK(test_now_ms() - start < test_ms(4000));
    is_gone("pid");
    cli_child_done(&c);
}

/* The shell ends by the first signal, what it started does not. */
TEST(a_stubborn_grandchild_is_killed_too)
{
    cli_child c = run_quietly("(trap '' TERM; sleep 0.2; exec sleep 60) & echo $! > pid; wait", 400);

    CHECK_INT(c.end, CLI_CHILD_TOO_LONG);
    is_gone("pid");
    cli_child_done(&c);
}

static bool started(void *unused)
{
    (void)unused;
    return access("started", F_OK) == 0;
}

TEST(a_cancel_ends_it)
{
    static const cli_text nothing;
    cli_child c = run("touch started; exec sleep 60", &nothing, 0, started);

    CHECK_INT(c.end, CLI_CHILD_CANCELLED);
    CHECK(WIFSIGNALED(c.status));
    CHECK_INT(WTERMSIG(c.status), SIGTERM);
    cli_child_done(&c);
}

TEST(what_stays_behind_is_not_waited_for)
{
    int64_t start = test_now_ms();
    cli_child c = run_quietly("sleep 60 & echo $! > pid; echo done", 0);

    CHECK_STR(c.output.at, "done\n");
    CHECK(test_now_ms() - start < test_ms(2000));
    CHECK_INT(kill((pid_t)strtol(test_read("pid"), NULL, 10), SIGKILL), 0);
    cli_child_done(&c);
}

/* Two at once: neither holds an end of the other's pipes, or its input would never end. */
TEST(a_child_gets_no_descriptor_and_no_mask_of_ours)
{
    static const cli_text nothing;
    cli_child other = {.input = &nothing};
    struct stat st;
    sigset_t some;

    sigemptyset(&some);
    sigaddset(&some, SIGTERM);
    sigprocmask(SIG_BLOCK, &some, NULL);
    sigaction(SIGPIPE, &(const struct sigaction){.sa_handler = SIG_IGN}, NULL);
    CHECK_INT(cli_child_start(&other, "cat", environ), 0);
    CHECK_INT(fstat(other.in, &st), 0);
    cli_child c = run_quietly("ls -l /proc/self/fd; grep -E 'Sig(Blk|Ign)' /proc/self/status", 0);
    CHECK_HAS(c.output.at, "pipe:[");
    CHECK_NULL(strstr(c.output.at, test_text("pipe:[%llu]", (unsigned long long)st.st_ino)));
    CHECK_HAS(c.output.at, "SigBlk:\t0000000000000000\n");
    CHECK_HAS(c.output.at, "0000000\n"); /* nor SIGPIPE ignored; the C library keeps two high ones so */
    cli_child_done(&c);
    CHECK_UINT(cli_child_count(), 1);
    cli_child_run(&other, NULL, NULL);
    CHECK_UINT(cli_child_count(), 0);
    cli_child_done(&other);
}
