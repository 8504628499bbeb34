/* running.c - ferry_run: a whole server process from its start to its exit code. */
#include "kit.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static ferry *the_handle;

static void log_and_linger(ferry_request *req, void *arg)
{
    (void)arg;
    kit_log("run", "begin %d", (int)ferry_as_int(ferry_request_data(req), -1));
    CHECK_SOON(access(test_text("%s/go", test_dir()), F_OK) == 0, KIT_SOON_MS);
    kit_log("run", "end %d", (int)ferry_as_int(ferry_request_data(req), -1));
    ferry_respond(req, ferry_int(getpid()));
}

static void *say_ready(void *arg)
{
    (void)arg;
    kit_await_service("run");
    test_ready();
    return NULL;
}

/* Runs until something ends it, and then with ferry_run's own code plus 40. */
TEST_CHILD(running_server)
{
    pthread_t thread;
    (void)arg;
    the_handle = kit_open(NULL);
    CHECK_STATUS(ferry_handle(the_handle, "run.linger", log_and_linger, NULL, NULL), FERRY_OK);
    CHECK_STATUS(ferry_handle(the_handle, "run.echo", kit_echo, NULL, NULL), FERRY_OK);
    CHECK_INT(pthread_create(&thread, NULL, say_ready, NULL), 0);
    int code = ferry_run(the_handle);
    pthread_join(thread, NULL);
    exit(40 + code);
}

static pid_t start_server(void)
{
    pid_t pid = test_spawn(running_server, "");
    test_wait_ready(pid);
    return pid;
}

CONFORMANCE_WITH(run_ends_by_signal, .needs = "processes")
{
    ferry *c = kit_open(NULL);
    pid_t pid = start_server();
    KIT_INT(ferry_get(c, "run.echo", ferry_int(1), NULL), 1);
    CHECK_INT(test_kill(pid, SIGTERM), 40);
    pid = start_server();
    CHECK_INT(test_kill(pid, SIGINT), 40);
    kit_close(c);
}

CONFORMANCE_WITH(run_drains_before_it_ends, .needs = "processes")
{
    enum { CALLS = 5 };
    ferry_future *f[CALLS];
    ferry *c = kit_open(NULL);
    pid_t first = start_server();
    for (int i = 0; i < CALLS; i++)
        f[i] = ferry_async(c, FERRY_POST, "run.linger", ferry_int(i), FERRY_CALL(.timeout_ms = KIT_SOON_MS));
    CHECK_SOON(kit_log_lines("run", "begin") == 1, KIT_SOON_MS);
    CHECK_INT(kill(first, SIGTERM), 0);
    CHECK_INT(ferry_await_any(f, CALLS, 100), CALLS);
    pid_t second = test_spawn(running_server, "");
    CHECK_SOON(kit_log_lines("run", "begin") == 2, KIT_SOON_MS); /* the next one got one that was handed back */
    test_write(test_text("%s/go", test_dir()), "");
    KIT_INT(ferry_await(f[0]), first);
    for (int i = 1; i < CALLS; i++)
        KIT_INT(ferry_await(f[i]), second);
    CHECK_INT(test_wait(first, KIT_SOON_MS), 40);
    test_wait_ready(second);
    CHECK_INT(test_kill(second, SIGTERM), 40);
    CHECK_INT(kit_log_lines("run", "begin"), CALLS); /* none ran twice */
    kit_close(c);
}

static void stop_in_handler(int signal)
{
    (void)signal;
    ferry_stop(the_handle);
}

TEST_CHILD(stopping_server)
{
    (void)arg;
    sigaction(SIGUSR1, &(struct sigaction){.sa_handler = stop_in_handler}, NULL);
    test_child_running_server("");
}

CONFORMANCE_WITH(stop_in_a_signal_handler, .needs = "processes")
{
    pid_t pid = test_spawn(stopping_server, "");
    test_wait_ready(pid);
    CHECK_INT(test_kill(pid, SIGUSR1), 40);
}

static void *run_it(void *f)
{
    return (void *)(intptr_t)(ferry_run(f) + 1);
}

CONFORMANCE(run_ends_by_stop)
{
    pthread_t thread;
    void *code;
    ferry *s = kit_open(NULL), *c = kit_open(NULL);
    CHECK_STATUS(ferry_handle(s, "run.echo", kit_echo, NULL, NULL), FERRY_OK);
    CHECK_INT(pthread_create(&thread, NULL, run_it, s), 0);
    kit_await_service("run");
    KIT_INT(ferry_get(c, "run.echo", ferry_int(1), NULL), 1);
    ferry_stop(s);
    pthread_join(thread, &code);
    CHECK_INT((intptr_t)code, 0 + 1);
    kit_close(c);
}

CONFORMANCE(run_after_stop_returns_at_once)
{
    ferry *s = kit_open(NULL);
    CHECK_STATUS(ferry_handle(s, "run.echo", kit_echo, NULL, NULL), FERRY_OK);
    ferry_stop(s); /* sticky */
    CHECK_INT(ferry_run(s), 0);
}

CONFORMANCE(run_with_a_refused_handler_is_2)
{
    ferry *s = kit_open(NULL);
    CHECK_STATUS(ferry_handle(s, "not a route", kit_echo, NULL, NULL), FERRY_INVALID);
    CHECK_INT(ferry_run(s), 2);
}

CONFORMANCE(run_gives_the_signals_back)
{
    struct sigaction before = {.sa_handler = SIG_IGN}, after = {0};
    pthread_t thread;
    ferry *s = kit_open(NULL);
    CHECK_INT(sigaction(SIGTERM, &before, NULL), 0);
    CHECK_STATUS(ferry_handle(s, "run.echo", kit_echo, NULL, NULL), FERRY_OK);
    CHECK_INT(pthread_create(&thread, NULL, run_it, s), 0);
    kit_await_service("run");
    ferry_stop(s);
    pthread_join(thread, NULL);
    CHECK_INT(sigaction(SIGTERM, NULL, &after), 0);
    CHECK(after.sa_handler == SIG_IGN);
}
