/* runner_test.c - the harness is tested as its users see it: the runner runs tests/fixtures, and has to report each case rightly. */
#include "test.h"

#include "base/alloc.h"
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static test_output run(const char *words)
{
    return test_sh("%s/test-fixtures %s", test_bin(), words);
}

static const char *last_line(const char *text)
{
    const char *end = text + strlen(text), *start = end > text ? end - 1 : end;
    while (start > text && start[-1] != '\n')
        start--;
    return test_text("%.*s", (int)strcspn(start, "\n"), start);
}

/* Just this case, reported as failed, with these words in the report. */
static void fails_with(const char *name, const char *words)
{
    test_output r = run(test_text("bad::%s", name));
    CHECK_STR(last_line(r.out), "0 passed, 1 failed");
    CHECK_INT(r.code, 1);
    CHECK_HAS(r.out, test_text("FAIL bad::%s (", name));
    CHECK_HAS(r.out, words);
}

TEST(pass)
{
    test_output r = run("bad::passes");
    CHECK_STR(r.out, "1 passed, 0 failed\n");
    CHECK_INT(r.code, 0);
}

TEST(skip_is_neither)
{
    test_output r = run("bad::passes bad::skips");
    CHECK_HAS(r.out, "SKIP bad::skips: no moon tonight\n");
    CHECK_HAS(r.out, "1 skipped\n");
    CHECK_STR(last_line(r.out), "1 passed, 0 failed");
    CHECK_INT(r.code, 0);
}

TEST(none_ran_is_no_success)
{
    test_output r = run("no_such_case");
    CHECK_STR(r.out, "0 passed, 0 failed\n");
    CHECK_INT(r.code, 3);
    CHECK_INT(run("bad::skips").code, 3);
}

TEST(failed_checks_show_both_values)
{
    fails_with("fails_a_check", "1 + 1 is 2, not 3");
    fails_with("fails_a_status", "FERRY_NO_SERVICE is NO_SERVICE, not OK");
    fails_with("fails_a_string", "is \"left\", not \"right\"");
    fails_with("fails_bytes", "2 bytes: 61 63");
    fails_with("fails_a_check", "fixtures/bad.c:");
}

TEST(leaks_fail)
{
    fails_with("leaks_a_descriptor", "left open: ");
    fails_with("leaks_a_thread", "1 threads left running");
    fails_with("leaks_memory", "1 blocks of ferry's memory leaked");
    fails_with("leaks_a_process", "a child process left running");
    fails_with("leaks_a_daemon", "a child process left running");
    fails_with("leaks_when_memory_is_short", "allocation 1 failed, and 1 blocks leaked");
}

TEST(time_limit)
{
    fails_with("times_out", "TIMEOUT");
    fails_with("times_out", "note: waiting for Godot");
}

static bool is_gone(void *arg)
{
    return kill(*(pid_t *)arg, 0) < 0;
}

TEST(a_timeout_takes_the_children_along)
{
    const char *file = test_text("%s/pid", test_dir());
    setenv("FERRY_TEST_PID_FILE", file, 1);
    fails_with("times_out_with_children", "TIMEOUT");
    pid_t child = (pid_t)strtol(test_read(file), NULL, 10);
    CHECK(child > 1);
    CHECK(test_wait_for(is_gone, &child, 5000));
}

TEST(crashes_fail)
{
    fails_with("crashes", ""); /* a sanitizer has its own words for it */
    fails_with("is_killed", "CRASH, signal 9");
    fails_with("aborts", "signal 6");
    fails_with("exits_early", "exited before its end");
}

TEST(children_fail_their_case)
{
    fails_with("fails_in_a_child", "a child process failed a check");
    fails_with("waits_for_a_dead_child", "ended before it was ready");
}

TEST(waiting_has_an_end)
{
    fails_with("waits_in_vain", "still not so after ");
}

TEST(stamped_once_per_transport)
{
    CHECK_STR(run("--list stamped").out, "one/bad::stamped\n"
                                         "two/bad::stamped\n"
                                         "one/bad::stamped_by_need\n"
                                         "two/bad::stamped_by_name\n");
    CHECK_STR(last_line(run("stamped_").out), "2 passed, 0 failed");
}

TEST(a_case_that_no_transport_fits_is_told)
{
    setenv("FERRY_TEST_ORPHAN", "1", 1);
    test_output r = run("bad::passes");
    CHECK_INT(r.code, 2);
    CHECK_HAS(r.err, "bad::orphan: no transport fits it: needs \"proceses\"");
}

TEST(a_signal_stops_the_run)
{
    const char *file = test_text("%s/pid", test_dir());
    setenv("FERRY_TEST_PID_FILE", file, 1);
    test_output r = test_sh("%s/test-fixtures -j 1 says_so passes & until [ -s %s ]; do sleep 0.01; done; "
                            "kill -TERM $!; wait $!",
                            test_bin(), file);
    CHECK_INT(r.code, 130);
    CHECK_HAS(r.out, "stopped by a signal, ");
    pid_t child = (pid_t)strtol(test_read(file), NULL, 10);
    CHECK(test_wait_for(is_gone, &child, 5000));
    CHECK_STR(test_sh("ls -d %s/ferry-test.* 2>&1 | grep -v 'No such'", test_dir()).out, "");
}

TEST(whole_addresses_mean_one_case)
{
    CHECK_STR(run("--list bad::stamped").out, "one/bad::stamped\ntwo/bad::stamped\n");
    CHECK_STR(run("--list two/bad::stamped").out, "two/bad::stamped\n");
    CHECK_STR(run("--list bad::times").out, "bad::times_out\nbad::times_out_with_children\n");
    CHECK_STR(run("--list bad::times_out").out, "bad::times_out\n");
}

TEST(repeat)
{
    CHECK_STR(last_line(run("--repeat 3 bad::passes").out), "3 passed, 0 failed");
}

TEST(wrong_options_are_told)
{
    CHECK_INT(run("--lists").code, 2);
    CHECK_INT(run("-j 0").code, 2);
    CHECK_HAS(run("--lists").err, "usage: ");
}

/* ---- What cases see ---- */

TEST(ferry_variables_are_gone)
{
    test_output r =
        test_sh("FERRY_URL=mem:x FERRY_TIMEOUT_MS=1 %s/test-unit --here runner_test::prints_environment", test_bin());
    CHECK_INT(r.code, 0);
    CHECK(!strstr(r.out, "FERRY_URL"));
    CHECK(!strstr(r.out, "FERRY_TIMEOUT_MS"));
    CHECK_HAS(r.out, "FERRY_TEST_SCRATCH");
}

TEST(prints_environment)
{
    CHECK_INT(system("env"), 0);
    CHECK_STR(getenv("HOME"), test_dir());
}

TEST(the_directory_is_empty_and_goes)
{
    CHECK_STR(test_sh("ls -A %s", test_dir()).out, "");
    test_write(test_text("%s/file", test_dir()), "text");
    CHECK_STR(test_read(test_text("%s/file", test_dir())), "text");
    test_output r = test_sh("TMPDIR=%s %s/test-fixtures bad::passes; ls -A %s", test_dir(), test_bin(), test_dir());
    CHECK_STR(r.out, "1 passed, 0 failed\nfile\n");
}

TEST_CHILD(obedient)
{
    test_write(test_text("%s/said", test_dir()), arg);
    test_ready();
    test_pause(0);
    for (;;)
        pause();
}

TEST(children_can_be_killed)
{
    pid_t pid = test_spawn(obedient, "good morning");
    test_wait_ready(pid);
    CHECK_STR(test_read(test_text("%s/said", test_dir())), "good morning");
    CHECK(test_alive(pid));
    CHECK_INT(test_kill(pid, 9), 128 + 9);
}

TEST(commands)
{
    test_output r = test_sh("echo out; echo err >&2; exit %d", 7);
    CHECK_INT(r.code, 7);
    CHECK_STR(r.out, "out\n");
    CHECK_STR(r.err, "err\n");
}

static void allocates_twice(void *arg)
{
    void *first = ferry__alloc(1), *second = first ? ferry__alloc(1) : NULL;
    ++*(int *)arg;
    CHECK_INT(!second, test_alloc_failed());
    ferry__free(second);
    ferry__free(first);
}

TEST(every_allocation_fails_once)
{
    int rounds = 0;
    test_every_alloc_fails(allocates_twice, &rounds);
    CHECK_INT(rounds, 3);
}
