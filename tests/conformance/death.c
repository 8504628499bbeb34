/* death.c - servers and clients that are killed in the middle of things. */
#include "kit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- A server to kill ----------------------------------------------------------------------------------------------- */

static void hold(ferry_request *req, void *arg)
{
    (void)arg;
    kit_log("held", "begin %d", (int)ferry_as_int(ferry_request_data(req), -1));
    for (;;)
        pause();
}

static void answer(ferry_request *req, void *arg)
{
    (void)arg;
    kit_log("answered", "begin %d", (int)ferry_as_int(ferry_request_data(req), -1));
    kit_echo(req, NULL);
}

static void serve_until_killed(ferry_handler_fn *handler, int workers)
{
    kit_serve_with(FERRY_OPTIONS(.workers = workers), "mort.work", handler, NULL,
                   FERRY_HANDLE(.attempts = 3, .backoff_ms = 5));
    test_ready();
    for (;;)
        pause();
}

TEST_CHILD(holding_server)
{
    serve_until_killed(hold, (int)strtol(arg, NULL, 10));
}

TEST_CHILD(answering_server)
{
    serve_until_killed(answer, (int)strtol(arg, NULL, 10));
}

static pid_t ready(pid_t pid)
{
    test_wait_ready(pid);
    return pid;
}

static void kill_it(pid_t pid)
{
    CHECK_INT(test_kill(pid, SIGKILL), 128 + SIGKILL);
}

#define LONG_CALL FERRY_CALL(.timeout_ms = KIT_SOON_MS)

/* ---- Calls ---------------------------------------------------------------------------------------------------------- */

static void killed_in_the_middle(ferry *c, ferry_future **f, const ferry_verb *verbs, int n,
                                 const ferry_call_options *options)
{
    pid_t first = ready(test_spawn(holding_server, "8"));
    for (int i = 0; i < n; i++)
        f[i] = ferry_async(c, verbs[i], "mort.work", ferry_int(i), options);
    CHECK_SOON(kit_log_lines("held", "begin") == n, KIT_SOON_MS);
    pid_t second = ready(test_spawn(answering_server, "1"));
    int64_t before = test_now_ms();
    kill_it(first);
    for (int i = 0; i < n; i++)
        CHECK_SOON(ferry_await_any(&f[i], 1, 0) == 0, KIT_SOON_MS);
    CHECK(test_now_ms() - before < test_ms(4000)); /* at once by the next server, long before the deadline */
    kill_it(second);
}

CONFORMANCE_WITH(killed_get_put_delete_run_again, .needs = "processes", .limit_ms = 30000)
{
    const ferry_verb verbs[] = {FERRY_GET, FERRY_PUT, FERRY_DELETE};
    ferry_future *f[3];
    ferry *c = kit_open(NULL);
    killed_in_the_middle(c, f, verbs, 3, LONG_CALL);
    for (int i = 0; i < 3; i++)
        KIT_INT(ferry_await(f[i]), i);
    kit_close(c);
}

CONFORMANCE_WITH(killed_post_and_patch_maybe_executed, .needs = "processes", .limit_ms = 30000)
{
    const ferry_verb verbs[] = {FERRY_POST, FERRY_PATCH};
    ferry_future *f[2];
    ferry *c = kit_open(NULL);
    killed_in_the_middle(c, f, verbs, 2, LONG_CALL);
    for (int i = 0; i < 2; i++)
        KIT_ENDS(ferry_await(f[i]), FERRY_MAYBE_EXECUTED, FERRY_OUTCOME_UNKNOWN);
    CHECK_INT(kit_log_lines("answered", "begin"), 0); /* never run twice */
    kit_close(c);
}

CONFORMANCE_WITH(killed_post_with_an_idempotency_key_runs_again, .needs = "processes", .limit_ms = 30000)
{
    const ferry_verb verbs[] = {FERRY_POST, FERRY_PATCH};
    ferry_future *f[2];
    ferry *c = kit_open(NULL);
    killed_in_the_middle(c, f, verbs, 2, FERRY_CALL(.timeout_ms = KIT_SOON_MS, .idempotency_key = "once"));
    for (int i = 0; i < 2; i++)
        KIT_INT(ferry_await(f[i]), i);
    kit_close(c);
}

CONFORMANCE_WITH(killed_before_they_were_started_are_fresh, .needs = "processes", .limit_ms = 30000)
{
    enum { CALLS = 10 };
    ferry_future *f[CALLS];
    ferry *c = kit_open(NULL);
    pid_t first = ready(test_spawn(holding_server, "1"));
    for (int i = 0; i < CALLS; i++)
        f[i] = ferry_async(c, FERRY_POST, "mort.work", ferry_int(i), LONG_CALL);
    CHECK_SOON(kit_log_lines("held", "begin") == 1, KIT_SOON_MS);
    pid_t second = ready(test_spawn(answering_server, "1"));
    kill_it(first);
    KIT_ENDS(ferry_await(f[0]), FERRY_MAYBE_EXECUTED, FERRY_OUTCOME_UNKNOWN);
    for (int i = 1; i < CALLS; i++)
        KIT_INT(ferry_await(f[i]), i);
    CHECK_INT(kit_log_lines("answered", "begin"), CALLS - 1);
    kill_it(second);
    kit_close(c);
}

CONFORMANCE_WITH(last_server_killed_unread_is_taken_back, .needs = "processes withdraws", .limit_ms = 30000)
{
    ferry *c = kit_open(NULL);
    pid_t only = ready(test_spawn(holding_server, "1"));
    ferry_future *running = ferry_async(c, FERRY_POST, "mort.work", ferry_int(0), LONG_CALL);
    CHECK_SOON(kit_log_lines("held", "begin") == 1, KIT_SOON_MS);
    ferry_future *unread = ferry_async(c, FERRY_POST, "mort.work", ferry_int(1), LONG_CALL);
    CHECK_INT(ferry_await_any(&unread, 1, 50), 1);
    int64_t before = test_now_ms();
    kill_it(only);
    KIT_UNDONE(ferry_await(unread), FERRY_NO_SERVICE);
    ferry_reply *r = ferry_await(running);
    KIT_ENDS(r, FERRY_NO_SERVICE, FERRY_OUTCOME_UNKNOWN);
    CHECK(test_now_ms() - before < test_ms(4000));
    kit_close(c);
}

CONFORMANCE_WITH(server_comes_back_in_time, .needs = "processes", .limit_ms = 30000)
{
    ferry *c = kit_open(NULL);
    pid_t first = ready(test_spawn(answering_server, "1"));
    KIT_INT(ferry_get(c, "mort.work", ferry_int(1), NULL), 1);
    kill_it(first);
    pid_t second = test_spawn(answering_server, "1");
    test_wait_ready(second);
    KIT_INT(ferry_get(c, "mort.work", ferry_int(2), NULL), 2);
    kill_it(second);
    kit_close(c);
}

/* ---- Clients -------------------------------------------------------------------------------------------------------- */

TEST_CHILD(calling_client)
{
    ferry *c = kit_open(NULL);
    (void)arg;
    ferry_reply *r = ferry_post(c, "mort.slow", ferry_int(1), NULL);
    FAIL("an answer came: %s", ferry_status_name(ferry_reply_status(r)));
}

CONFORMANCE_WITH(killed_client_bothers_nobody, .needs = "processes", .limit_ms = 30000)
{
    kit_gate gate = {0};
    ferry *s = kit_open(NULL), *c = kit_open(NULL);
    CHECK_STATUS(ferry_handle(s, "mort.slow", kit_gated, &gate, NULL), FERRY_OK);
    CHECK_STATUS(ferry_handle(s, "mort.echo", kit_echo, NULL, NULL), FERRY_OK);
    kit_start(s, "mort");
    pid_t client = test_spawn(calling_client, "");
    CHECK_SOON(atomic_load(&gate.entered) == 1, KIT_SOON_MS);
    kill_it(client);
    atomic_store(&gate.open, true);
    KIT_INT(ferry_get(c, "mort.echo", ferry_int(3), NULL), 3);
    CHECK_INT(atomic_load(&gate.entered), 1);
    kit_close(c);
    kit_close(s);
}

/* ---- Posts ---------------------------------------------------------------------------------------------------------- */

static void die_of_666(ferry_request *req, void *arg)
{
    (void)arg;
    int number = (int)ferry_as_int(ferry_request_data(req), -1);
    kit_log("died", "begin %d attempt %d", number, ferry_request_attempt(req));
    if (number == 666)
        raise(SIGKILL);
}

TEST_CHILD(mortal_server)
{
    (void)arg;
    serve_until_killed(die_of_666, 1);
}

static bool nobody_works(ferry *c)
{
    ferry_reply *r = ferry_get(c, "mort.work", ferry_int(0), FERRY_CALL(.timeout_ms = 2000));
    bool gone = ferry_reply_status(r) == FERRY_NO_SERVICE;
    ferry_reply_free(r);
    return gone;
}

CONFORMANCE_WITH(post_that_kills_its_server_dies_too, .needs = "processes", .limit_ms = 60000)
{
    enum { ATTEMPTS = 3 };
    ferry *c = kit_open(NULL);
    kill_it(ready(test_spawn(answering_server, "1"))); /* so that the service exists */
    CHECK_SOON(nobody_works(c), KIT_SOON_MS);          /* else the post may go to the dead one, which counts as an attempt */
    CHECK_STATUS(ferry_post_no_wait(c, "mort.work", ferry_int(666), FERRY_CALL(.confirm = FERRY_CONFIRMED)), FERRY_OK);
    CHECK_STATUS(ferry_post_no_wait(c, "mort.work", ferry_int(7), FERRY_CALL(.confirm = FERRY_CONFIRMED)), FERRY_OK);
    for (int i = 0; i < ATTEMPTS; i++)
        CHECK_INT(test_wait(test_spawn(mortal_server, ""), KIT_SOON_MS), 128 + SIGKILL);
    pid_t last = ready(test_spawn(mortal_server, ""));
    CHECK_SOON(kit_dead_count(c, "mort") == 1, KIT_SOON_MS);
    CHECK_SOON(kit_log_lines("died", "begin 7 ") >= 1, KIT_SOON_MS);
    CHECK_INT(kit_log_lines("died", "begin 666 "), ATTEMPTS);
    CHECK_INT(kit_log_lines("died", "begin 666 attempt 3"), 1);
    CHECK(test_alive(last));
    kill_it(last);
    kit_close(c);
}

/* What was confirmed is there although every process that knew of it is dead. */
TEST_CHILD(confirming_client)
{
    ferry *c = kit_open(NULL);
    (void)arg;
    CHECK_STATUS(ferry_post_no_wait(c, "mort.work", ferry_int(5), FERRY_CALL(.confirm = FERRY_CONFIRMED)), FERRY_OK);
    raise(SIGKILL);
}

CONFORMANCE_WITH(confirmed_outlives_everybody, .needs = "processes durable", .limit_ms = 30000)
{
    kill_it(ready(test_spawn(answering_server, "1")));
    CHECK_INT(test_wait(test_spawn(confirming_client, ""), KIT_SOON_MS), 128 + SIGKILL);
    pid_t server = ready(test_spawn(answering_server, "1"));
    CHECK_SOON(kit_log_lines("answered", "begin 5") == 1, KIT_SOON_MS);
    kill_it(server);
}
