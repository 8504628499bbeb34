/* kafka_test.c - what only a real Kafka shows: first answers, servers that come and go under load, a broker that ends, sizes.
 *
 * The cases use the broker that FERRY_TEST_KAFKA names (tools/with-brokers); the one that kills starts a broker of its own. */
#include "test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SOON_MS = 15000, FLYING = 64, AHEAD = 64 /* posts_ahead, if the URL does not say */ };

static const char *at(const char *variable)
{
    const char *value = getenv(variable);
    if (!value || !*value)
        SKIP("no %s: tools/with-brokers DIR kafka -- … starts one", variable);
    return value;
}

/* A namespace of the case's own, and servers that are known to be dead soon. */
static const char *url(void)
{
    return test_text("kafka://%s?ns=it%d&partitions=4&replies=4&session=2s&heartbeat=300ms", at("FERRY_TEST_KAFKA"),
                     (int)getpid());
}

/* ---- A server to start and end -------------------------------------------------------------------------------------- */

static int handled;

static void echo(ferry_request *req, void *arg)
{
    (void)arg;
    ferry_respond(req, ferry_value_copy(ferry_request_data(req)));
}

static void note(ferry_request *req, void *arg)
{
    char line[16];
    (void)arg;
    int length = snprintf(line, sizeof line, "%07d\n", (int)ferry_as_int(ferry_request_data(req), -1));
    CHECK(write(handled, line, (size_t)length) == length);
}

static const char *handled_path(void)
{
    return test_text("%s/handled", test_dir());
}

static void tell(int level, const char *line, void *arg)
{
    (void)arg;
    if (level <= 6)
        printf("%lld server %d: %s\n", (long long)test_now_ms() % 1000000, (int)getpid(), line);
}

static void serve(const char *where, int workers, ferry_handler_fn *echoes)
{
    handled = open(handled_path(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    setlinebuf(stdout);
    ferry *f = ferry_open(where, FERRY_OPTIONS(.on_log = tell, .workers = workers));
    CHECK_STATUS(ferry_handle(f, "it.echo", echoes, NULL, NULL), FERRY_OK);
    CHECK_STATUS(ferry_handle(f, "it.note", note, NULL, NULL), FERRY_OK);
    exit(ferry_run(f));
}

TEST_CHILD(kafka_server)
{
    serve(arg, 0, echo);
}

/* So long that a server holds no more calls than it has workers, and claims each by itself. */
static void echo_slowly(ferry_request *req, void *arg)
{
    for (int64_t end = test_now_ms() + 6; test_pause(end);)
        continue;
    echo(req, arg);
}

TEST_CHILD(kafka_slow_server)
{
    serve(arg, 1, echo_slowly);
}

static ferry_status ask(ferry *f, int timeout_ms)
{
    ferry_reply *r = ferry_get(f, "it.echo", ferry_int(7), FERRY_CALL(.timeout_ms = timeout_ms));
    ferry_status s = ferry_reply_status(r);
    ferry_reply_free(r);
    return s;
}

static ferry *client_of(const char *where, int timeout_ms)
{
    ferry *f = ferry_open(where, FERRY_OPTIONS(.timeout_ms = timeout_ms));
    CHECK_SOON(ask(f, 1000) == FERRY_OK, SOON_MS);
    return f;
}

static void end_server(pid_t pid)
{
    CHECK_INT(test_kill(pid, SIGTERM), 0);
}

/* ---- First answers -------------------------------------------------------------------------------------------------- */

TEST_WITH(first_answer_within_a_second, .limit_ms = 60000)
{
    pid_t server = test_spawn(kafka_server, url());
    CHECK_STATUS(ferry_close(client_of(url(), 5000)), FERRY_OK);
    int64_t before = test_now_ms();
    ferry *f = ferry_open(url(), NULL);
    CHECK_STATUS(ask(f, 5000), FERRY_OK);
    CHECK(test_now_ms() - before < test_ms(1000));
    CHECK_STATUS(ferry_close(f), FERRY_OK);
    end_server(server);
}

/* The race that loses answers elsewhere: one that is there before the reader knows where the end is. */
TEST_WITH(fresh_clients_miss_no_answer, .limit_ms = 300000)
{
    pid_t server = test_spawn(kafka_server, url());
    CHECK_STATUS(ferry_close(client_of(url(), 5000)), FERRY_OK);
    for (int i = 0; i < (test_long() ? 1000 : 100); i++) {
        ferry *f = ferry_open(url(), NULL);
        CHECK_STATUS(ask(f, 5000), FERRY_OK);
        CHECK_STATUS(ferry_close(f), FERRY_OK);
    }
    end_server(server);
}

/* ---- Servers come and go --------------------------------------------------------------------------------------------- */

typedef struct load {
    ferry *f;
    ferry_future *flying[FLYING];
    int64_t since[FLYING];
    int calls, good, posts, deadline_ms;
} load;

static void start_one(load *l, size_t i)
{
    l->since[i] = test_now_ms();
    l->flying[i] = ferry_async(l->f, l->calls++ % 2 ? FERRY_POST : FERRY_GET, "it.echo", ferry_int(7), NULL);
    if (l->calls % 20 == 0 &&
        ferry_post_no_wait(l->f, "it.note", ferry_int(l->posts), FERRY_CALL(.timeout_ms = 120000)) == FERRY_OK)
        l->posts++;
}

/* A true outcome: answered, or certainly not run, or nobody can say. */
static void end_one(load *l, size_t i)
{
    ferry_reply *r = ferry_await(l->flying[i]);
    ferry_status s = ferry_reply_status(r);
    ferry_outcome o = ferry_reply_outcome(r);
    CHECK(test_now_ms() - l->since[i] < l->deadline_ms + test_ms(500));
    CHECK(s != FERRY_OK || (o == FERRY_OUTCOME_EXECUTED && ferry_as_int(ferry_data(r), 0) == 7));
    CHECK(s == FERRY_OK || s == FERRY_TIMEOUT || s == FERRY_UNAVAILABLE || s == FERRY_MAYBE_EXECUTED ||
          s == FERRY_NO_SERVICE);
    CHECK(s == FERRY_OK || o != FERRY_OUTCOME_EXECUTED);
    l->good += s == FERRY_OK;
    ferry_reply_free(r);
}

static void begin_load(load *l, const char *where, int deadline_ms)
{
    *l = (load){.deadline_ms = deadline_ms};
    l->f = client_of(where, deadline_ms);
    for (size_t i = 0; i < FLYING; i++)
        start_one(l, i);
}

static void keep_load(load *l, int ms)
{
    for (int64_t end = test_now_ms() + ms; test_now_ms() < end;) {
        size_t i = ferry_await_any(l->flying, FLYING, 20);
        if (i >= FLYING)
            continue;
        end_one(l, i);
        start_one(l, i);
    }
}

/* How often each was handled; the number of those that were at all. */
static int tally(unsigned char *seen, int posts)
{
    int different = 0;
    memset(seen, 0, (size_t)posts + 1);
    for (const char *line = access(handled_path(), R_OK) == 0 ? test_read(handled_path()) : ""; strlen(line) >= 8;
         line += 8) {
        long n = strtol(line, NULL, 10);
        if (n < 0 || n >= posts)
            FAIL("handled: '%.8s', of %d posts", line, posts);
        different += seen[n]++ == 0;
    }
    return different;
}

/* Each must have been handled. How many were handled again? */
static int account(int posts)
{
    int again = 0;
    unsigned char *seen = calloc((size_t)posts + 1, 1);
    CHECK_NOT_NULL(seen);
    for (int64_t end = test_now_ms() + test_ms(60000); tally(seen, posts) < posts && test_now_ms() < end;)
        test_pause(100);
    printf("handled again:");
    for (int i = 0; i<posts; again += seen[i]> 1, i++)
        if (seen[i] > 1)
            printf(" %d", i);
    printf(" (%d)\n", again);
    for (int i = 0; i < posts; i++)
        if (seen[i] == 0)
            FAIL("post %d was never handled", i);
    free(seen);
    return again;
}

static int end_load(load *l)
{
    for (size_t i = 0; i < FLYING; i++)
        end_one(l, i);
    CHECK_STATUS(ferry_flush(l->f, test_ms(60000)), FERRY_OK);
    ferry_reply *r = ferry_get(l->f, "it.echo", NULL, FERRY_CALL(.timeout_ms = SOON_MS));
    CHECK_STATUS(ferry_reply_status(r), FERRY_OK);
    ferry_reply_free(r);
    printf("%d calls, %d answered, %d posts\n", l->calls, l->good, l->posts);
    CHECK_STATUS(ferry_close(l->f), FERRY_OK);
    return account(l->posts);
}

TEST_WITH(servers_come_and_go_each_second, .limit_ms = 180000)
{
    load l;
    pid_t stays = test_spawn(kafka_server, url());
    begin_load(&l, url(), 5000);
    for (int i = 0; i < (test_long() ? 30 : 5); i++) {
        pid_t visitor = test_spawn(kafka_server, url());
        keep_load(&l, 1000);
        kill(visitor, SIGTERM);
        keep_load(&l, 1000);
        CHECK_INT(test_wait(visitor, SOON_MS), 0);
    }
    CHECK(l.good > l.calls / 2);
    CHECK_INT(end_load(&l), 0); /* in order, so nothing is handled twice */
    end_server(stays);
}

/* A call that waits for its claim when its partition moves is dropped; its place is free for another. */
TEST_WITH(calls_that_were_not_claimed_in_time_hold_no_place, .limit_ms = 180000)
{
    load l;
    pid_t stays = test_spawn(kafka_slow_server, url());
    begin_load(&l, url(), 5000);
    for (int i = 0; i < (test_long() ? 20 : 4); i++) {
        pid_t visitor = test_spawn(kafka_slow_server, url());
        keep_load(&l, 1000);
        kill(visitor, SIGTERM);
        keep_load(&l, 1000);
        CHECK_INT(test_wait(visitor, SOON_MS), 0);
    }
    CHECK_INT(end_load(&l), 0);
    end_server(stays);
}

/* One that stands still for longer than its session is taken for dead. What it had is handled again where it may be, and when it goes on
 * its word counts no more. */
TEST_WITH(a_frozen_server_is_replaced_and_comes_back, .limit_ms = 180000)
{
    load l;
    pid_t stays = test_spawn(kafka_server, url()), freezes = test_spawn(kafka_server, url());
    begin_load(&l, url(), 5000);
    keep_load(&l, 2500);
    CHECK_INT(kill(freezes, SIGSTOP), 0);
    keep_load(&l, 4500);
    CHECK_INT(kill(freezes, SIGCONT), 0);
    keep_load(&l, 3000);
    CHECK(l.good > l.calls / 2);
    int again = end_load(&l);
    printf("%d posts again\n", again);
    CHECK(again <= 2 * AHEAD); /* those in flight on its partitions, of posts and of their retries */
    end_server(freezes);
    end_server(stays);
}

/* ---- A broker that ends ---------------------------------------------------------------------------------------------- */

static const char *brokers(const char *command)
{
    test_output o = test_sh("%s/tools/brokers %s kafka --dir %s/brokers", test_root(), command, test_dir());
    if (o.code != 0)
        SKIP("no broker of our own: tools/brokers %s: %s", command, o.err);
    return o.out;
}

static void away_for_a_while(load *l, const char *how)
{
    pid_t ends = test_start("%s/tools/brokers %s kafka --dir %s/brokers", test_root(), how, test_dir());
    keep_load(l, 3000);
    CHECK_INT(test_wait(ends, SOON_MS), 0);
    pid_t starter = test_start("%s/tools/brokers start kafka --dir %s/brokers", test_root(), test_dir());
    for (int before = l->good; l->good - before < 10 * FLYING;) /* it is back, and so are we */
        keep_load(l, 500);
    CHECK_INT(test_wait(starter, 60000), 0);
}

TEST_WITH(a_broker_that_ends_loses_no_accepted_post, .limit_ms = 240000)
{
    load l;
    const char *out = brokers("start");
    const char *where = test_text("%.*s?ns=it&partitions=4&replies=4&session=3s&heartbeat=300ms",
                                  (int)strcspn(out + 10, "\n"), out + 10);
    CHECK_HAS(where, "kafka://");
    pid_t server = test_spawn(kafka_server, where);
    begin_load(&l, where, 4000);
    keep_load(&l, 1000);
    away_for_a_while(&l, "kill");
    away_for_a_while(&l, "stop");
    int again = end_load(&l);
    printf("%d posts again\n", again);
    end_server(server);
    brokers("stop");
}

/* ---- Refusals -------------------------------------------------------------------------------------------------------- */

TEST_WITH(over_the_topics_limit_is_too_big, .limit_ms = 60000)
{
    pid_t server = test_spawn(kafka_server, url());
    CHECK_STATUS(ferry_close(client_of(url(), 5000)), FERRY_OK);
    ferry *f = ferry_open(url(), FERRY_OPTIONS(.max_message = 4 << 20));
    char *bytes = calloc(1, 2 << 20);
    CHECK_NOT_NULL(bytes);
    ferry_reply *r = ferry_post(f, "it.echo", ferry_bytes(bytes, 2 << 20), FERRY_CALL(.timeout_ms = SOON_MS));
    free(bytes);
    CHECK_STATUS(ferry_reply_status(r), FERRY_TOO_BIG);
    CHECK_OUTCOME(ferry_reply_outcome(r), FERRY_OUTCOME_NOT_EXECUTED);
    ferry_reply_free(r);
    CHECK_STATUS(ask(f, SOON_MS), FERRY_OK);
    CHECK_STATUS(ferry_close(f), FERRY_OK);
    end_server(server);
}
