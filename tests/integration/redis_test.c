/* redis_test.c - what only a Redis of the case's own shows: restarts, freezes, refusals, limits, strange entries. */
#include "redis_kit.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- Restarts ------------------------------------------------------------------------------------------------------- */

static void restarted(int signal)
{
    atomic_int calls = 0;
    redis_begin("");
    ferry *s = redis_serve("calc.count", redis_count, &calls), *c = redis_ready("");
    CHECK_SOON(redis_get(c, "calc.count", SOON_MS) == FERRY_OK, SOON_MS);
    redis_stop(signal);
    ferry_status gone = redis_get(c, "calc.count", 200);
    CHECK(gone == FERRY_UNAVAILABLE || gone == FERRY_TIMEOUT); /* TIMEOUT: it left before the end of the link was seen */
    redis_start("");
    CHECK_STATUS(redis_get(c, "calc.count", SOON_MS), FERRY_OK);
    CHECK_INT(atomic_load(&calls), 2);
    redis_shut(s, c);
}

TEST_WITH(restarted_while_idle, .limit_ms = 30000)
{
    restarted(SIGTERM);
}

TEST_WITH(killed_while_idle, .limit_ms = 30000)
{
    restarted(SIGKILL);
}

/* A Redis that forgot everything: groups and reply streams are made anew. */
TEST_WITH(emptied, .limit_ms = 30000)
{
    atomic_int calls = 0;
    redis_begin("");
    ferry *s = redis_serve("calc.count", redis_count, &calls), *c = redis_ready("");
    CHECK_SOON(redis_get(c, "calc.count", SOON_MS) == FERRY_OK, SOON_MS);
    redis("flushall");
    CHECK_SOON(redis_get(c, "calc.count", 1000) == FERRY_OK, SOON_MS);
    redis_stop(SIGKILL);
    CHECK_INT(test_sh("rm -rf %s/appendonlydir", test_dir()).code, 0);
    redis_start("");
    CHECK_SOON(redis_get(c, "calc.count", 1000) == FERRY_OK, SOON_MS);
    redis_shut(s, c);
}

/* ---- Frozen --------------------------------------------------------------------------------------------------------- */

TEST_WITH(frozen_keeps_deadlines, .limit_ms = 30000)
{
    atomic_int calls = 0;
    redis_begin("");
    ferry *s = redis_serve("calc.count", redis_count, &calls), *c = redis_ready("");
    CHECK_SOON(redis_get(c, "calc.count", SOON_MS) == FERRY_OK, SOON_MS);
    CHECK_INT(kill(redis_pid(), SIGSTOP), 0);
    int64_t before = test_now_ms();
    ferry_reply *r = ferry_post(c, "calc.count", NULL, FERRY_CALL(.timeout_ms = 700));
    CHECK_OUTCOME(ferry_reply_outcome(r), FERRY_OUTCOME_UNKNOWN);
    ferry_reply_free(r);
    CHECK(test_now_ms() - before < test_ms(1000));
    CHECK_INT(kill(redis_pid(), SIGCONT), 0);
    CHECK_SOON(redis_get(c, "calc.count", 1000) == FERRY_OK, SOON_MS);
    redis_shut(s, c);
}

/* A server that is frozen past its lease is taken for dead, learns it, and serves on under a new name. */
TEST_CHILD(frozen_server)
{
    atomic_int calls = 0;
    ferry *s = redis_serve("calc.pid", redis_count, &calls);
    (void)arg;
    test_ready();
    for (;;)
        pause();
    ferry_close(s);
}

TEST_WITH(frozen_server_is_replaced_and_comes_back, .limit_ms = 30000)
{
    redis_begin("");
    setenv("TMPDIR", test_dir(), 1);
    pid_t child = test_spawn(frozen_server, "");
    test_wait_ready(child);
    ferry *c = redis_ready("");
    CHECK_SOON(redis_get(c, "calc.pid", SOON_MS) == FERRY_OK, SOON_MS);
    CHECK_INT(kill(child, SIGSTOP), 0);
    CHECK_SOON(redis_get(c, "calc.pid", 500) == FERRY_NO_SERVICE, SOON_MS);
    atomic_int calls = 0;
    ferry *s = redis_serve("calc.pid", redis_count, &calls);
    CHECK_SOON(redis_get(c, "calc.pid", 1000) == FERRY_OK, SOON_MS);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    CHECK_INT(kill(child, SIGCONT), 0);
    CHECK_SOON(redis_get(c, "calc.pid", 1000) == FERRY_OK, SOON_MS);
    test_kill(child, SIGKILL);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    redis_stop(SIGTERM);
}

/* ---- Refusals ------------------------------------------------------------------------------------------------------- */

static void fails_with(const char *url, ferry_status status, const char *part)
{
    ferry *f = ferry_open(url, FERRY_OPTIONS(.close_ms = 100));
    char why[FERRY_WHY_SIZE] = "";
    CHECK_STATUS(ferry_wait_ready(f, 500), status);
    ferry_reply *r = ferry_get(f, "calc.count", NULL, FERRY_CALL(.timeout_ms = 300, .why = why));
    CHECK_OUTCOME(ferry_reply_outcome(r), FERRY_OUTCOME_NOT_SENT);
    ferry_reply_free(r);
    CHECK_HAS(why, part);
    CHECK(!strstr(why, "sesame"));
    ferry_close(f);
}

TEST(no_password)
{
    redis_begin("--requirepass secret");
    fails_with(test_text("redis+unix:%s", redis_socket()), FERRY_DENIED, "NOAUTH");
    fails_with(test_text("redis+unix://ada:sesame@localhost%s", redis_socket()), FERRY_DENIED, "WRONGPASS");
    ferry *f = ferry_open(test_text("redis+unix://:secret@localhost%s", redis_socket()), NULL);
    CHECK_STATUS(ferry_wait_ready(f, SOON_MS), FERRY_OK);
    ferry_close(f);
    redis_stop(SIGTERM);
}

TEST(no_permission)
{
    redis_begin("");
    redis("acl setuser reader on '>sesame' '~*' '&*' +@all -xadd");
    redis("acl setuser default -xadd");
    atomic_int calls = 0;
    ferry *s = redis_serve("calc.count", redis_count, &calls), *c = redis_ready("");
    CHECK_SOON(redis_get(c, "calc.count", 1000) == FERRY_DENIED, SOON_MS);
    CHECK_STATUS(ferry_post_no_wait(c, "calc.count", NULL, FERRY_CALL(.confirm = FERRY_CONFIRMED, .timeout_ms = 1000)),
                 FERRY_DENIED);
    redis_shut(s, c);
}

TEST(no_memory_left_is_overload)
{
    atomic_int calls = 0;
    redis_begin("");
    ferry *s = redis_serve("calc.count", redis_count, &calls), *c = redis_ready("");
    CHECK_SOON(redis_get(c, "calc.count", SOON_MS) == FERRY_OK, SOON_MS);
    redis("config set maxmemory 1");
    CHECK_STATUS(redis_get(c, "calc.count", 1000), FERRY_OVERLOADED);
    CHECK_STATUS(ferry_post_no_wait(c, "calc.count", NULL, FERRY_CALL(.confirm = FERRY_CONFIRMED, .timeout_ms = 1000)),
                 FERRY_OVERLOADED);
    redis("config set maxmemory 0");
    CHECK_SOON(redis_get(c, "calc.count", 1000) == FERRY_OK, SOON_MS);
    redis_shut(s, c);
}

TEST(durable_yes_wants_what_survives)
{
    redis_begin("--appendfsync everysec");
    ferry *f = redis_handle("durable=yes", FERRY_OPTIONS(.close_ms = 100));
    CHECK_STATUS(ferry_wait_ready(f, 500), FERRY_UNSUPPORTED);
    redis("config set appendfsync always");
    CHECK_SOON(redis_get(f, "nobody.home", 300) == FERRY_NO_SERVICE, SOON_MS);
    ferry_close(f);
    redis_stop(SIGTERM);
}

/* ---- Strange things in the streams ---------------------------------------------------------------------------------- */

TEST(deleted_streams_come_back)
{
    atomic_int calls = 0;
    redis_begin("");
    ferry *s = redis_serve("calc.count", redis_count, &calls), *c = redis_ready("");
    CHECK_SOON(redis_get(c, "calc.count", SOON_MS) == FERRY_OK, SOON_MS);
    for (int i = 0; i < 5; i++) {
        redis("del 'ferry:{calc}:calls' 'ferry:{calc}:posts'");
        CHECK_SOON(redis_get(c, "calc.count", 1000) == FERRY_OK, SOON_MS);
    }
    redis_shut(s, c);
}

TEST(entries_of_strangers_are_dropped)
{
    atomic_int calls = 0;
    redis_begin("");
    ferry *s = redis_serve("calc.count", redis_count, &calls), *c = redis_ready("");
    CHECK_SOON(redis_get(c, "calc.count", SOON_MS) == FERRY_OK, SOON_MS);
    redis("xadd 'ferry:{calc}:calls' '*' x y");
    redis("xadd 'ferry:{calc}:calls' '*' ferry '2 call get calc.count 00-1 1 1 stream me' body x");
    redis("xadd 'ferry:{calc}:calls' '*' ferry '1 call get calc.count zz 1 1 stream me' body x");
    redis("xadd 'ferry:{calc}:posts' '*' ferry '' body ''");
    redis("publish 'ferry:{calc}:ctl' 'cancel nobody'");
    CHECK_SOON(strtol(redis("xlen 'ferry:{calc}:calls'").out, NULL, 10) == 0, SOON_MS);
    CHECK_SOON(strtol(redis("xlen 'ferry:{calc}:posts'").out, NULL, 10) == 0, SOON_MS);
    CHECK_STATUS(redis_get(c, "calc.count", SOON_MS), FERRY_OK);
    CHECK_INT(atomic_load(&calls), 2);
    redis_shut(s, c);
}

/* What a dead client leaves is gone after reply_ttl, and its late answers make no new key. */
TEST_CHILD(dying_client)
{
    ferry *c = redis_ready("reply_ttl=1s");
    (void)arg;
    CHECK_STATUS(redis_get(c, "calc.count", SOON_MS), FERRY_OK);
    raise(SIGKILL);
}

TEST_WITH(nothing_is_left_of_a_dead_client, .limit_ms = 30000)
{
    atomic_int calls = 0;
    redis_begin("");
    ferry *s = redis_serve("calc.count", redis_count, &calls), *c = redis_ready("");
    CHECK_SOON(redis_get(c, "calc.count", SOON_MS) == FERRY_OK, SOON_MS);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_SOON(!strstr(redis("keys 'ferry:r:*'").out, "ferry:r:"), SOON_MS);
    CHECK_INT(test_wait(test_spawn(dying_client, ""), SOON_MS), 128 + SIGKILL);
    CHECK_HAS(redis("keys 'ferry:r:*'").out, "ferry:r:");
    CHECK_SOON(!strstr(redis("keys 'ferry:r:*'").out, "ferry:r:"), SOON_MS);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    CHECK_STR(redis("zcard 'ferry:{calc}:up'").out, "0\n");
    CHECK_STR(redis("zcard 'ferry:{calc}:lease'").out, "0\n");
    redis_stop(SIGTERM);
}

/* ---- Other ways ----------------------------------------------------------------------------------------------------- */

TEST(answers_by_publish)
{
    atomic_int calls = 0;
    redis_begin("");
    ferry *s = redis_serve("calc.count", redis_count, &calls), *c = redis_ready("reply=pubsub");
    CHECK_SOON(redis_get(c, "calc.count", SOON_MS) == FERRY_OK, SOON_MS);
    for (int i = 0; i < 50; i++)
        CHECK_STATUS(redis_get(c, "calc.count", SOON_MS), FERRY_OK);
    CHECK_STATUS(redis_get(c, "calc.nope", SOON_MS), FERRY_NOT_FOUND);
    CHECK_STR(redis("keys 'ferry:r:*'").out, "\n");
    redis_shut(s, c);
}

TEST(scripts_may_be_flushed)
{
    atomic_int calls = 0, posts = 0;
    redis_begin("");
    ferry *s = redis_serve("calc.count", redis_count, &calls), *c = redis_ready("");
    CHECK_STATUS(ferry_handle(s, "calc.post", redis_count, &posts, NULL), FERRY_OK);
    CHECK_SOON(redis_get(c, "calc.count", SOON_MS) == FERRY_OK, SOON_MS);
    for (int i = 1; i <= 5; i++) {
        redis("script flush");
        CHECK_STATUS(ferry_post_no_wait(c, "calc.post", NULL, FERRY_CALL(.confirm = FERRY_CONFIRMED)), FERRY_OK);
        CHECK_SOON(atomic_load(&posts) == i, SOON_MS);
        CHECK_SOON(strtol(redis("xlen 'ferry:{calc}:posts'").out, NULL, 10) == 0, SOON_MS);
    }
    redis_shut(s, c);
}

/* ---- Many at once --------------------------------------------------------------------------------------------------- */

enum { AT_ONCE = 200 };

static int burst(ferry *c, ferry_status other)
{
    ferry_future *f[AT_ONCE];
    int ok = 0;
    for (int i = 0; i < AT_ONCE; i++)
        f[i] = ferry_async(c, FERRY_POST, "calc.count", ferry_int(i), FERRY_CALL(.timeout_ms = SOON_MS));
    for (int i = 0; i < AT_ONCE; i++) {
        ferry_reply *r = ferry_await(f[i]);
        ferry_status status = ferry_reply_status(r);
        ok += status == FERRY_OK;
        if (status != FERRY_OK) {
            CHECK_STATUS(status, other);
            CHECK_OUTCOME(ferry_reply_outcome(r), FERRY_OUTCOME_NOT_EXECUTED);
        }
        ferry_reply_free(r);
    }
    return ok;
}

static int64_t transactions(void)
{
    const char *at = strstr(redis("info commandstats").out, "cmdstat_exec:calls=");
    return at ? strtoll(at + strlen("cmdstat_exec:calls="), NULL, 10) : 0;
}

TEST(many_at_once_are_transactions)
{
    atomic_int calls = 0;
    redis_begin("");
    ferry *s = redis_serve("calc.count", redis_count, &calls), *c = redis_ready("");
    CHECK_SOON(redis_get(c, "calc.count", SOON_MS) == FERRY_OK, SOON_MS);
    CHECK_INT(burst(c, FERRY_OK), AT_ONCE);
    CHECK_INT(atomic_load(&calls), AT_ONCE + 1);
    CHECK(transactions() > 0);
    redis_shut(s, c);
}

TEST(who_may_not_have_transactions_needs_none)
{
    atomic_int calls = 0;
    redis_begin("");
    redis("acl setuser default -@transaction");
    ferry *s = redis_serve("calc.count", redis_count, &calls), *c = redis_ready("");
    CHECK_SOON(redis_get(c, "calc.count", SOON_MS) == FERRY_OK, SOON_MS);
    for (int i = 1; i <= 3; i++) {
        CHECK_INT(burst(c, FERRY_OK), AT_ONCE);
        CHECK_INT(atomic_load(&calls), i * AT_ONCE + 1);
    }
    CHECK_INT(transactions(), 0);
    redis_shut(s, c);
}

/* One command that is refused takes those that it was bound to with it: none of them ran, and the next ones go singly. */
TEST(a_refusal_within_a_transaction)
{
    atomic_int calls = 0;
    redis_begin("");
    ferry *s = redis_serve("calc.count", redis_count, &calls), *c = redis_ready("");
    CHECK_SOON(redis_get(c, "calc.count", SOON_MS) == FERRY_OK, SOON_MS);
    redis("acl setuser default -xtrim");
    int ok = 0;
    for (int i = 0; i < 4; i++)
        ok = burst(c, FERRY_DENIED);
    CHECK_INT(ok, AT_ONCE);
    redis_shut(s, c);
}

/* ---- Other ways in -------------------------------------------------------------------------------------------------- */

TEST(another_database)
{
    atomic_int calls = 0;
    redis_begin("");
    ferry *s = redis_serve("calc.count", redis_count, &calls), *c = redis_ready(""), *other = redis_ready("db=3");
    CHECK_SOON(redis_get(c, "calc.count", SOON_MS) == FERRY_OK, SOON_MS);
    CHECK_STATUS(redis_get(other, "calc.count", SOON_MS), FERRY_NO_SERVICE);
    CHECK_STATUS(ferry_close(other), FERRY_OK);
    redis_shut(s, c);
}

TEST(first_host_is_not_there)
{
    redis_begin("--port 0");
    redis_stop(SIGTERM);
    int port = 20000 + (int)(getpid() % 20000);
    redis_start(test_text("--port %d --bind 127.0.0.1", port));
    ferry *f = ferry_open(test_text("redis://127.0.0.1:1,127.0.0.1:%d?backoff=10ms", port), NULL);
    CHECK_STATUS(ferry_wait_ready(f, SOON_MS), FERRY_OK);
    CHECK_STATUS(ferry_close(f), FERRY_OK);
    redis_stop(SIGTERM);
}

TEST(doctor_sees_what_is_weak)
{
    redis_begin("--appendonly no");
    ferry *c = redis_ready("");
    ferry_reply *r = ferry_admin(c, "doctor", NULL, NULL);
    const ferry_value *warnings = ferry_find(ferry_data(r), "warnings");
    CHECK(ferry_count(warnings) > 0);
    CHECK_HAS(ferry_as_string(ferry_at(warnings, 0), ""), "append-only");
    CHECK_STR(ferry_as_string(ferry_find(ferry_data(r), "transport"), ""), "redis");
    ferry_reply_free(r);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    redis_stop(SIGTERM);
}

/* ---- Without memory ------------------------------------------------------------------------------------------------- */

static void call_and_post(void *arg)
{
    (void)arg;
    ferry *c = ferry_open(test_text("redis+unix:%s?backoff=1ms&backoff_max=2ms", redis_socket()),
                          FERRY_OPTIONS(.close_ms = 500));
    if (!c)
        return;
    ferry_reply *r = ferry_get(c, "calc.pid", NULL, FERRY_CALL(.timeout_ms = 300));
    ferry_status posted =
        ferry_post_no_wait(c, "calc.pid", NULL, FERRY_CALL(.confirm = FERRY_CONFIRMED, .timeout_ms = 300));
    CHECK(test_alloc_failed() || (r && ferry_reply_status(r) == FERRY_OK && posted == FERRY_OK));
    ferry_reply_free(r);
    ferry_close(c);
}

TEST_WITH(client_without_memory, .limit_ms = 120000)
{
    redis_begin("");
    pid_t child = test_spawn(frozen_server, "");
    test_wait_ready(child);
    ferry *c = redis_ready("");
    CHECK_SOON(redis_get(c, "calc.pid", SOON_MS) == FERRY_OK, SOON_MS);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    test_every_alloc_fails(call_and_post, NULL);
    test_kill(child, SIGKILL);
    redis_stop(SIGTERM);
}

static void serve_one(void *arg)
{
    atomic_int *calls = arg;
    ferry *s = ferry_open(test_text("redis+unix:%s?ns=oom&lease=1s&backoff=1ms&backoff_max=2ms", redis_socket()),
                          FERRY_OPTIONS(.close_ms = 500));
    if (!s)
        return;
    bool serves = ferry_handle(s, "calc.count", redis_count, calls, NULL) == FERRY_OK && ferry_serve(s) == FERRY_OK;
    ferry_reply *r = ferry_get(s, "calc.count", NULL, FERRY_CALL(.timeout_ms = 300));
    ferry_status posted =
        ferry_post_no_wait(s, "calc.count", NULL, FERRY_CALL(.confirm = FERRY_CONFIRMED, .timeout_ms = 300));
    CHECK(test_alloc_failed() || (serves && posted == FERRY_OK));
    ferry_reply_free(r);
    ferry_close(s);
}

TEST_WITH(server_without_memory, .limit_ms = 120000)
{
    atomic_int calls = 0;
    redis_begin("");
    test_every_alloc_fails(serve_one, &calls);
    redis_stop(SIGTERM);
}
