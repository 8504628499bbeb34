/* redis_test.c - what only a Redis of the case's own shows: restarts, kills, freezes, refusals, limits, strange entries.
 *
 * Each case starts redis-server on a unix socket in its own directory, with an append-only file that is synced at each write. */
#include "test.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SOON_MS = 8000 };

static pid_t server;

static const char *socket_path(void)
{
    return test_text("%s/redis.sock", test_dir());
}

static test_output redis(const char *command)
{
    return test_sh("redis-cli -s %s %s", socket_path(), command);
}

static bool answers(void *arg)
{
    (void)arg;
    return strncmp(redis("ping").out, "PONG", 4) == 0 || strstr(redis("ping").out, "NOAUTH");
}

static void start(const char *more)
{
    server =
        test_start("redis-server --port 0 --unixsocket %s --dir %s --save '' --appendonly yes --appendfsync always "
                   "--logfile %s/redis.log %s",
                   socket_path(), test_dir(), test_dir(), more);
    CHECK(test_wait_for(answers, NULL, SOON_MS));
}

static void begin(const char *more)
{
    ferry *f = ferry_open("redis+unix:/nowhere", FERRY_OPTIONS(.close_ms = 1));
    char problem[512] = "";
    ferry_problem(f, problem, sizeof problem);
    ferry_close(f);
    if (*problem)
        SKIP("redis is not in this build: %s", problem);
    if (test_sh("command -v redis-server redis-cli").code != 0)
        SKIP("there is no redis-server here");
    start(more);
}

static ferry *handle(const char *query, const ferry_options *options)
{
    ferry *f = ferry_open(
        test_text("redis+unix:%s?lease=400ms&look=50ms&backoff_max=100ms%s%s", socket_path(), *query ? "&" : "", query),
        options);
    CHECK_NOT_NULL(f);
    return f;
}

static ferry *ready(const char *query)
{
    ferry *f = handle(query, NULL);
    CHECK_STATUS(ferry_wait_ready(f, SOON_MS), FERRY_OK);
    return f;
}

static void count(ferry_request *req, void *counter)
{
    ferry_respond(req, ferry_int(atomic_fetch_add((atomic_int *)counter, 1) + 1));
}

static ferry *serve(const char *route, ferry_handler_fn *handler, void *arg)
{
    ferry *s = ready("");
    CHECK_STATUS(ferry_handle(s, route, handler, arg, NULL), FERRY_OK);
    CHECK_STATUS(ferry_serve(s), FERRY_OK);
    return s;
}

static ferry_status get(ferry *c, const char *route, int ms)
{
    ferry_reply *r = ferry_get(c, route, NULL, FERRY_CALL(.timeout_ms = ms));
    ferry_status status = ferry_reply_status(r);
    ferry_reply_free(r);
    return status;
}

static void shut(ferry *s, ferry *c)
{
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    test_kill(server, SIGTERM);
}

/* ---- Restarts ------------------------------------------------------------------------------------------------------- */

static void restarted(int signal)
{
    atomic_int calls = 0;
    begin("");
    ferry *s = serve("calc.count", count, &calls), *c = ready("");
    CHECK_SOON(get(c, "calc.count", SOON_MS) == FERRY_OK, SOON_MS);
    test_kill(server, signal);
    ferry_status gone = get(c, "calc.count", 200);
    CHECK(gone == FERRY_UNAVAILABLE || gone == FERRY_TIMEOUT); /* TIMEOUT: it left before the end of the link was seen */
    start("");
    CHECK_STATUS(get(c, "calc.count", SOON_MS), FERRY_OK);
    CHECK_INT(atomic_load(&calls), 2);
    shut(s, c);
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
    begin("");
    ferry *s = serve("calc.count", count, &calls), *c = ready("");
    CHECK_SOON(get(c, "calc.count", SOON_MS) == FERRY_OK, SOON_MS);
    redis("flushall");
    CHECK_SOON(get(c, "calc.count", 1000) == FERRY_OK, SOON_MS);
    test_kill(server, SIGKILL);
    CHECK_INT(test_sh("rm -rf %s/appendonlydir", test_dir()).code, 0);
    start("");
    CHECK_SOON(get(c, "calc.count", 1000) == FERRY_OK, SOON_MS);
    shut(s, c);
}

/* Killed again and again under calls and confirmed posts: each call ends in time and truly, no confirmed post is lost. */
typedef struct load {
    ferry     *c;
    atomic_int calls, posts;
    int        confirmed, ok, unknown, undone;
} load;

static void one_round(load *l)
{
    enum { FLIGHT = 16, POSTS = 10 };
    ferry_future *f[FLIGHT];
    for (int i = 0; i < FLIGHT; i++)
        f[i] = ferry_async(l->c, i % 2 ? FERRY_POST : FERRY_GET, "calc.call", NULL, FERRY_CALL(.timeout_ms = 4000));
    for (int i = 0; i < POSTS; i++)
        l->confirmed += ferry_post_no_wait(l->c, "calc.post", NULL,
                                           FERRY_CALL(.confirm = FERRY_CONFIRMED, .timeout_ms = SOON_MS)) == FERRY_OK;
    test_kill(server, SIGKILL);
    int64_t before = test_now_ms();
    start("");
    for (int i = 0; i < FLIGHT; i++) {
        ferry_reply *r = ferry_await(f[i]);
        ferry_outcome o = ferry_reply_outcome(r);
        *(o == FERRY_OUTCOME_EXECUTED ? &l->ok : o == FERRY_OUTCOME_UNKNOWN ? &l->unknown : &l->undone) += 1;
        ferry_reply_free(r);
    }
    CHECK(test_now_ms() - before < test_ms(6000));
}

TEST_WITH(killed_under_load, .limit_ms = 120000)
{
    load l = {0};
    int kills = test_long() ? 20 : 4;
    begin("");
    ferry *s = ready("");
    l.c = ready("");
    CHECK_STATUS(ferry_handle(s, "calc.call", count, &l.calls, NULL), FERRY_OK);
    CHECK_STATUS(ferry_handle(s, "calc.post", count, &l.posts, NULL), FERRY_OK);
    CHECK_STATUS(ferry_serve(s), FERRY_OK);
    CHECK_SOON(get(l.c, "calc.call", SOON_MS) == FERRY_OK, SOON_MS);
    for (int i = 0; i < kills; i++)
        one_round(&l);
    CHECK_SOON(get(l.c, "calc.call", SOON_MS) == FERRY_OK, SOON_MS);
    CHECK_SOON(atomic_load(&l.posts) >= l.confirmed, SOON_MS);
    CHECK(l.confirmed > 0);
    printf("%d kills: %d calls executed, %d unknown, %d certainly not; %d posts confirmed\n", kills, l.ok, l.unknown,
           l.undone, l.confirmed);
    shut(s, l.c);
}

/* ---- Frozen --------------------------------------------------------------------------------------------------------- */

TEST_WITH(frozen_keeps_deadlines, .limit_ms = 30000)
{
    atomic_int calls = 0;
    begin("");
    ferry *s = serve("calc.count", count, &calls), *c = ready("");
    CHECK_SOON(get(c, "calc.count", SOON_MS) == FERRY_OK, SOON_MS);
    CHECK_INT(kill(server, SIGSTOP), 0);
    int64_t before = test_now_ms();
    ferry_reply *r = ferry_post(c, "calc.count", NULL, FERRY_CALL(.timeout_ms = 700));
    CHECK_OUTCOME(ferry_reply_outcome(r), FERRY_OUTCOME_UNKNOWN);
    ferry_reply_free(r);
    CHECK(test_now_ms() - before < test_ms(1000));
    CHECK_INT(kill(server, SIGCONT), 0);
    CHECK_SOON(get(c, "calc.count", 1000) == FERRY_OK, SOON_MS);
    shut(s, c);
}

/* A server that is frozen past its lease is taken for dead, learns it, and serves on under a new name. */
TEST_CHILD(frozen_server)
{
    atomic_int calls = 0;
    ferry *s = serve("calc.pid", count, &calls);
    (void)arg;
    test_ready();
    for (;;)
        pause();
    ferry_close(s);
}

TEST_WITH(frozen_server_is_replaced_and_comes_back, .limit_ms = 30000)
{
    begin("");
    setenv("TMPDIR", test_dir(), 1);
    pid_t child = test_spawn(frozen_server, "");
    test_wait_ready(child);
    ferry *c = ready("");
    CHECK_SOON(get(c, "calc.pid", SOON_MS) == FERRY_OK, SOON_MS);
    CHECK_INT(kill(child, SIGSTOP), 0);
    CHECK_SOON(get(c, "calc.pid", 500) == FERRY_NO_SERVICE, SOON_MS);
    atomic_int calls = 0;
    ferry *s = serve("calc.pid", count, &calls);
    CHECK_SOON(get(c, "calc.pid", 1000) == FERRY_OK, SOON_MS);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    CHECK_INT(kill(child, SIGCONT), 0);
    CHECK_SOON(get(c, "calc.pid", 1000) == FERRY_OK, SOON_MS);
    test_kill(child, SIGKILL);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    test_kill(server, SIGTERM);
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
    begin("--requirepass secret");
    fails_with(test_text("redis+unix:%s", socket_path()), FERRY_DENIED, "NOAUTH");
    fails_with(test_text("redis+unix://ada:sesame@localhost%s", socket_path()), FERRY_DENIED, "WRONGPASS");
    ferry *f = ferry_open(test_text("redis+unix://:secret@localhost%s", socket_path()), NULL);
    CHECK_STATUS(ferry_wait_ready(f, SOON_MS), FERRY_OK);
    ferry_close(f);
    test_kill(server, SIGTERM);
}

TEST(no_permission)
{
    begin("");
    redis("acl setuser reader on '>sesame' '~*' '&*' +@all -xadd");
    redis("acl setuser default -xadd");
    atomic_int calls = 0;
    ferry *s = serve("calc.count", count, &calls), *c = ready("");
    CHECK_SOON(get(c, "calc.count", 1000) == FERRY_DENIED, SOON_MS);
    CHECK_STATUS(ferry_post_no_wait(c, "calc.count", NULL, FERRY_CALL(.confirm = FERRY_CONFIRMED, .timeout_ms = 1000)),
                 FERRY_DENIED);
    shut(s, c);
}

TEST(no_memory_left_is_overload)
{
    atomic_int calls = 0;
    begin("");
    ferry *s = serve("calc.count", count, &calls), *c = ready("");
    CHECK_SOON(get(c, "calc.count", SOON_MS) == FERRY_OK, SOON_MS);
    redis("config set maxmemory 1");
    CHECK_STATUS(get(c, "calc.count", 1000), FERRY_OVERLOADED);
    CHECK_STATUS(ferry_post_no_wait(c, "calc.count", NULL, FERRY_CALL(.confirm = FERRY_CONFIRMED, .timeout_ms = 1000)),
                 FERRY_OVERLOADED);
    redis("config set maxmemory 0");
    CHECK_SOON(get(c, "calc.count", 1000) == FERRY_OK, SOON_MS);
    shut(s, c);
}

TEST(durable_yes_wants_what_survives)
{
    begin("--appendfsync everysec");
    ferry *f = handle("durable=yes", FERRY_OPTIONS(.close_ms = 100));
    CHECK_STATUS(ferry_wait_ready(f, 500), FERRY_UNSUPPORTED);
    redis("config set appendfsync always");
    CHECK_SOON(get(f, "nobody.home", 300) == FERRY_NO_SERVICE, SOON_MS);
    ferry_close(f);
    test_kill(server, SIGTERM);
}

/* ---- Strange things in the streams ---------------------------------------------------------------------------------- */

TEST(deleted_streams_come_back)
{
    atomic_int calls = 0;
    begin("");
    ferry *s = serve("calc.count", count, &calls), *c = ready("");
    CHECK_SOON(get(c, "calc.count", SOON_MS) == FERRY_OK, SOON_MS);
    for (int i = 0; i < 5; i++) {
        redis("del 'ferry:{calc}:calls' 'ferry:{calc}:posts'");
        CHECK_SOON(get(c, "calc.count", 1000) == FERRY_OK, SOON_MS);
    }
    shut(s, c);
}

TEST(entries_of_strangers_are_dropped)
{
    atomic_int calls = 0;
    begin("");
    ferry *s = serve("calc.count", count, &calls), *c = ready("");
    CHECK_SOON(get(c, "calc.count", SOON_MS) == FERRY_OK, SOON_MS);
    redis("xadd 'ferry:{calc}:calls' '*' x y");
    redis("xadd 'ferry:{calc}:calls' '*' ferry '2 call get calc.count 00-1 1 1 stream me' body x");
    redis("xadd 'ferry:{calc}:calls' '*' ferry '1 call get calc.count zz 1 1 stream me' body x");
    redis("xadd 'ferry:{calc}:posts' '*' ferry '' body ''");
    redis("publish 'ferry:{calc}:ctl' 'cancel nobody'");
    CHECK_SOON(strtol(redis("xlen 'ferry:{calc}:calls'").out, NULL, 10) == 0, SOON_MS);
    CHECK_SOON(strtol(redis("xlen 'ferry:{calc}:posts'").out, NULL, 10) == 0, SOON_MS);
    CHECK_STATUS(get(c, "calc.count", SOON_MS), FERRY_OK);
    CHECK_INT(atomic_load(&calls), 2);
    shut(s, c);
}

/* What a dead client leaves is gone after reply_ttl, and its late answers make no new key. */
TEST_CHILD(dying_client)
{
    ferry *c = ready("reply_ttl=1s");
    (void)arg;
    CHECK_STATUS(get(c, "calc.count", SOON_MS), FERRY_OK);
    raise(SIGKILL);
}

TEST_WITH(nothing_is_left_of_a_dead_client, .limit_ms = 30000)
{
    atomic_int calls = 0;
    begin("");
    ferry *s = serve("calc.count", count, &calls), *c = ready("");
    CHECK_SOON(get(c, "calc.count", SOON_MS) == FERRY_OK, SOON_MS);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_SOON(!strstr(redis("keys 'ferry:r:*'").out, "ferry:r:"), SOON_MS);
    CHECK_INT(test_wait(test_spawn(dying_client, ""), SOON_MS), 128 + SIGKILL);
    CHECK_HAS(redis("keys 'ferry:r:*'").out, "ferry:r:");
    CHECK_SOON(!strstr(redis("keys 'ferry:r:*'").out, "ferry:r:"), SOON_MS);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    CHECK_STR(redis("zcard 'ferry:{calc}:up'").out, "0\n");
    CHECK_STR(redis("zcard 'ferry:{calc}:lease'").out, "0\n");
    test_kill(server, SIGTERM);
}

/* ---- Other ways ----------------------------------------------------------------------------------------------------- */

TEST(answers_by_publish)
{
    atomic_int calls = 0;
    begin("");
    ferry *s = serve("calc.count", count, &calls), *c = ready("reply=pubsub");
    CHECK_SOON(get(c, "calc.count", SOON_MS) == FERRY_OK, SOON_MS);
    for (int i = 0; i < 50; i++)
        CHECK_STATUS(get(c, "calc.count", SOON_MS), FERRY_OK);
    CHECK_STATUS(get(c, "calc.nope", SOON_MS), FERRY_NOT_FOUND);
    CHECK_STR(redis("keys 'ferry:r:*'").out, "\n");
    shut(s, c);
}

TEST(scripts_may_be_flushed)
{
    atomic_int calls = 0, posts = 0;
    begin("");
    ferry *s = serve("calc.count", count, &calls), *c = ready("");
    CHECK_STATUS(ferry_handle(s, "calc.post", count, &posts, NULL), FERRY_OK);
    CHECK_SOON(get(c, "calc.count", SOON_MS) == FERRY_OK, SOON_MS);
    for (int i = 1; i <= 5; i++) {
        redis("script flush");
        CHECK_STATUS(ferry_post_no_wait(c, "calc.post", NULL, FERRY_CALL(.confirm = FERRY_CONFIRMED)), FERRY_OK);
        CHECK_SOON(atomic_load(&posts) == i, SOON_MS);
        CHECK_SOON(strtol(redis("xlen 'ferry:{calc}:posts'").out, NULL, 10) == 0, SOON_MS);
    }
    shut(s, c);
}

TEST(another_database)
{
    atomic_int calls = 0;
    begin("");
    ferry *s = serve("calc.count", count, &calls), *c = ready(""), *other = ready("db=3");
    CHECK_SOON(get(c, "calc.count", SOON_MS) == FERRY_OK, SOON_MS);
    CHECK_STATUS(get(other, "calc.count", SOON_MS), FERRY_NO_SERVICE);
    CHECK_STATUS(ferry_close(other), FERRY_OK);
    shut(s, c);
}

TEST(first_host_is_not_there)
{
    begin("--port 0");
    test_kill(server, SIGTERM);
    int port = 20000 + (int)(getpid() % 20000);
    start(test_text("--port %d --bind 127.0.0.1", port));
    ferry *f = ferry_open(test_text("redis://127.0.0.1:1,127.0.0.1:%d?backoff=10ms", port), NULL);
    CHECK_STATUS(ferry_wait_ready(f, SOON_MS), FERRY_OK);
    CHECK_STATUS(ferry_close(f), FERRY_OK);
    test_kill(server, SIGTERM);
}

TEST(doctor_sees_what_is_weak)
{
    begin("--appendonly no");
    ferry *c = ready("");
    ferry_reply *r = ferry_admin(c, "doctor", NULL, NULL);
    const ferry_value *warnings = ferry_find(ferry_data(r), "warnings");
    CHECK(ferry_count(warnings) > 0);
    CHECK_HAS(ferry_as_string(ferry_at(warnings, 0), ""), "append-only");
    CHECK_STR(ferry_as_string(ferry_find(ferry_data(r), "transport"), ""), "redis");
    ferry_reply_free(r);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    test_kill(server, SIGTERM);
}

/* ---- Without memory ------------------------------------------------------------------------------------------------- */

static void call_and_post(void *arg)
{
    (void)arg;
    ferry *c = ferry_open(test_text("redis+unix:%s?backoff=1ms&backoff_max=2ms", socket_path()),
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
    begin("");
    pid_t child = test_spawn(frozen_server, "");
    test_wait_ready(child);
    ferry *c = ready("");
    CHECK_SOON(get(c, "calc.pid", SOON_MS) == FERRY_OK, SOON_MS);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    test_every_alloc_fails(call_and_post, NULL);
    test_kill(child, SIGKILL);
    test_kill(server, SIGTERM);
}

static void serve_one(void *arg)
{
    atomic_int *calls = arg;
    ferry *s = ferry_open(test_text("redis+unix:%s?ns=oom&lease=1s&backoff=1ms&backoff_max=2ms", socket_path()),
                          FERRY_OPTIONS(.close_ms = 500));
    if (!s)
        return;
    bool serves = ferry_handle(s, "calc.count", count, calls, NULL) == FERRY_OK && ferry_serve(s) == FERRY_OK;
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
    begin("");
    test_every_alloc_fails(serve_one, &calls);
    test_kill(server, SIGTERM);
}
