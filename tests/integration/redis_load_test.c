/* redis_load_test.c - what may happen to a Redis, under load: killed and back three seconds later, frozen, out of memory, its streams
 * deleted. Clients and servers have nothing but default settings.
 *
 * 64 calls are in flight all the time, half of them with a deadline that ends while Redis is away, half with one that does not; beside
 * them one post after the other waits to be confirmed. The server keeps a journal of what it ran, call by call, and at the end each
 * outcome is held against it: what was told to be executed is in it, what was told not to be is not, no post call is in it twice, and
 * no confirmed post is missing. */
#include "redis_kit.h"

#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    CALLERS = 8,
    AT_ONCE = 8,
    CALLS_MOST = 4000000,
    POSTS_MOST = 400000,
    AWAY_MS = 3000,
    BACK_MS = 2000,
    LATE_MS = 50,
    BRIEF_MS = 1500, /* over while Redis is away */
    PATIENT_MS = 9000
};

static atomic_uchar ran[CALLS_MOST], told[CALLS_MOST], handled[POSTS_MOST]; /* told: the outcome + 1 */
static atomic_int   calls, posts, late;
static atomic_bool  over;
static unsigned char confirmed[POSTS_MOST];
static atomic_llong  first_ok_ms; /* when a call that began after Redis was back has been answered */
static atomic_llong  back_ms;

/* ---- The server's journal ------------------------------------------------------------------------------------------- */

static void call(ferry_request *req, void *arg)
{
    int64_t n = ferry_as_int(ferry_request_data(req), 0);
    (void)arg;
    atomic_fetch_add(&ran[n % CALLS_MOST], 1);
    ferry_respond(req, ferry_int(n));
}

static void post(ferry_request *req, void *arg)
{
    (void)arg;
    atomic_fetch_add(&handled[ferry_as_int(ferry_request_data(req), 0) % POSTS_MOST], 1);
}

/* ---- How late is the machine itself? -------------------------------------------------------------------------------- */

static atomic_int worst_ms;

static void *witness(void *arg)
{
    (void)arg;
    while (!atomic_load(&over)) {
        int64_t before = test_now_ms();
        test_pause(INT64_MAX);
        int behind = (int)(test_now_ms() - before) - 1;
        if (behind > atomic_load(&worst_ms))
            atomic_store(&worst_ms, behind);
    }
    return NULL;
}

/* ---- The load ------------------------------------------------------------------------------------------------------- */

static ferry_verb verb_of(int n)
{
    return n % 2 ? FERRY_POST : FERRY_GET;
}

static void note_end(int n, ferry_reply *r, int64_t began_ms)
{
    bool ok = ferry_reply_status(r) == FERRY_OK;
    atomic_store(&told[n], (unsigned char)(ferry_reply_outcome(r) + 1));
    CHECK(!ok || ferry_as_int(ferry_data(r), -1) == n);
    CHECK(ok == (ferry_reply_outcome(r) == FERRY_OUTCOME_EXECUTED));
    if (ok && began_ms >= atomic_load(&back_ms) && !atomic_load(&first_ok_ms))
        atomic_store(&first_ok_ms, test_now_ms());
    ferry_reply_free(r);
}

static void round_of_calls(ferry *c, int ms)
{
    ferry_future *f[AT_ONCE];
    int first = atomic_fetch_add(&calls, AT_ONCE);
    int64_t began_ms = test_now_ms();
    CHECK(first + AT_ONCE <= CALLS_MOST);
    for (int i = 0; i < AT_ONCE; i++)
        f[i] = ferry_async(c, verb_of(first + i), "calc.call", ferry_int(first + i), FERRY_CALL(.timeout_ms = ms));
    for (int i = 0; i < AT_ONCE; i++)
        note_end(first + i, ferry_await(f[i]), began_ms);
    int behind = (int)(test_now_ms() - began_ms) - ms;
    int late_ms = test_ms(LATE_MS) * (test_is_asan() ? 4 : 1) + atomic_load(&worst_ms);
    if (behind > late_ms) {
        printf("a call ended %d ms after its deadline; the machine itself was late by %d ms\n", behind,
               atomic_load(&worst_ms));
        atomic_fetch_add(&late, 1);
    }
}

typedef struct caller {
    pthread_t thread;
    ferry    *c;
    int       ms;
} caller;

static void *keep_calling(void *arg)
{
    caller *one = arg;
    while (!atomic_load(&over))
        round_of_calls(one->c, one->ms);
    return NULL;
}

static void *keep_posting(void *c)
{
    while (!atomic_load(&over) && atomic_load(&posts) < POSTS_MOST) {
        int n = atomic_load(&posts);
        confirmed[n] = ferry_post_no_wait(c, "calc.post", ferry_int(n),
                                          FERRY_CALL(.confirm = FERRY_CONFIRMED, .timeout_ms = PATIENT_MS)) == FERRY_OK;
        atomic_store(&posts, n + 1);
    }
    return NULL;
}

/* ---- What must not grow --------------------------------------------------------------------------------------------- */

typedef struct things {
    int  descriptors;
    char clients[64], keys[2048], members[256];
} things;

static int descriptors(void)
{
    int n = 0;
    DIR *all = opendir("/proc/self/fd");
    while (readdir(all))
        n++;
    closedir(all);
    return n;
}

static void copy(char *to, size_t size, const char *text)
{
    CHECK((size_t)snprintf(to, size, "%s", text) < size);
}

static things count_things(void)
{
    things t = {.descriptors = descriptors()};
    const char *cli = test_text("redis-cli -s %s", redis_socket());
    copy(t.clients, sizeof t.clients, test_sh("%s client list | grep -c name=ferry-", cli).out);
    copy(t.keys, sizeof t.keys, test_sh("%s keys '*' | sort", cli).out);
    copy(t.members, sizeof t.members,
         test_sh("for key in calls posts; do %s xinfo consumers 'ferry:{calc}:'$key ferry | grep -A1 '^name$' | "
                 "grep -v '^name$' | grep -v '^back$'; done; %s zcard 'ferry:{calc}:up'; %s zcard 'ferry:{calc}:lease'",
                 cli, cli, cli)
             .out);
    return t;
}

static bool same_things(void *arg)
{
    const things *was = arg, is = count_things();
    test_note("before: %d descriptors, clients %s, keys:\n%s, members:\n%s; now: %d, %s\n%s\n%s", was->descriptors,
              was->clients, was->keys, was->members, is.descriptors, is.clients, is.keys, is.members);
    return was->descriptors == is.descriptors && strcmp(was->clients, is.clients) == 0 &&
           strcmp(was->keys, is.keys) == 0 && strcmp(was->members, is.members) == 0;
}

static bool nothing_waits(void *arg)
{
    const char *keys[] = {"xlen 'ferry:{calc}:calls'", "xlen 'ferry:{calc}:posts'", "zcard 'ferry:{calc}:later'",
                          "xlen 'ferry:{calc}:dead'"};
    (void)arg;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(redis(keys[i]).out, "0\n") != 0)
            return false;
    return true;
}

/* ---- The verdict ---------------------------------------------------------------------------------------------------- */

static void check_calls(void)
{
    int of[5] = {0};
    for (int n = 0; n < atomic_load(&calls); n++) {
        ferry_outcome o = (ferry_outcome)(atomic_load(&told[n]) - 1);
        int times = atomic_load(&ran[n]);
        of[o]++;
        if (o == FERRY_OUTCOME_EXECUTED && times == 0)
            FAIL("call %d was told to be executed, and was not", n);
        if ((o == FERRY_OUTCOME_NOT_SENT || o == FERRY_OUTCOME_NOT_EXECUTED) && times > 0)
            FAIL("%s %d was told not to be executed (outcome %d), and ran %d times", n % 2 ? "post" : "get", n, (int)o,
                 times);
        if (verb_of(n) == FERRY_POST && times > 1)
            FAIL("post %d ran %d times", n, times);
    }
    printf("calls: %d executed, %d not sent, %d not executed, %d unknown\n", of[FERRY_OUTCOME_EXECUTED],
           of[FERRY_OUTCOME_NOT_SENT], of[FERRY_OUTCOME_NOT_EXECUTED], of[FERRY_OUTCOME_UNKNOWN]);
    CHECK(of[FERRY_OUTCOME_EXECUTED] > 0);
}

static void check_posts(bool all)
{
    int many = 0, twice = 0;
    for (int n = 0; n < atomic_load(&posts); n++) {
        if (all && confirmed[n] && !atomic_load(&handled[n]))
            FAIL("post %d was confirmed and is lost", n);
        many += confirmed[n];
        twice += atomic_load(&handled[n]) > 1;
    }
    printf("posts: %d of %d confirmed, %d handled twice\n", many, atomic_load(&posts), twice);
    CHECK(many > 0);
}

/* ---- The troubles ---------------------------------------------------------------------------------------------------- */

static ferry *plain(void)
{
    ferry *f = ferry_open(test_text("redis+unix:%s", redis_socket()), NULL);
    CHECK_STATUS(ferry_wait_ready(f, SOON_MS), FERRY_OK);
    return f;
}

static void stay(int ms)
{
    for (int64_t end_ms = test_now_ms() + ms; test_now_ms() < end_ms;)
        test_pause(end_ms);
}

static void kill_it(void)
{
    redis_stop(SIGKILL);
    stay(AWAY_MS);
    redis_start("");
}

static void freeze_it(void)
{
    CHECK_INT(kill(redis_pid(), SIGSTOP), 0);
    stay(AWAY_MS);
    CHECK_INT(kill(redis_pid(), SIGCONT), 0);
}

static void fill_it(void)
{
    redis("config set maxmemory 1");
    stay(500);
    redis("config set maxmemory 0");
}

static void delete_streams(void)
{
    redis("eval \"for _,k in ipairs(redis.call('KEYS','*')) do if redis.call('TYPE',k).ok=='stream' then "
          "redis.call('DEL',k) end end\" 0");
}

/* ---- The case ------------------------------------------------------------------------------------------------------- */

/* Waits for calls and posts to flow, makes trouble, and measures when calls are answered again. */
static void once(void (*trouble)(void))
{
    int before = atomic_load(&calls), posted = atomic_load(&posts);
    CHECK_SOON(atomic_load(&calls) > before + 500 && atomic_load(&posts) > posted + 20, SOON_MS);
    atomic_store(&back_ms, INT64_MAX);
    atomic_store(&first_ok_ms, 0);
    trouble();
    int64_t back = test_now_ms();
    atomic_store(&back_ms, back);
    CHECK_SOON(atomic_load(&first_ok_ms) != 0, SOON_MS);
    int64_t took = atomic_load(&first_ok_ms) - back;
    printf("serving again after %lld ms\n", (long long)took);
    CHECK(took <= test_ms(BACK_MS) + atomic_load(&worst_ms));
}

static void run_load(ferry *c, void (*trouble)(void), int times)
{
    caller all[CALLERS];
    pthread_t poster, watch;
    CHECK_INT(pthread_create(&watch, NULL, witness, NULL), 0);
    for (int i = 0; i < CALLERS; i++) {
        all[i] = (caller){.c = c, .ms = i % 2 ? BRIEF_MS : PATIENT_MS};
        CHECK_INT(pthread_create(&all[i].thread, NULL, keep_calling, &all[i]), 0);
    }
    CHECK_INT(pthread_create(&poster, NULL, keep_posting, c), 0);
    for (int i = 0; i < times; i++)
        once(trouble);
    int before = atomic_load(&calls);
    CHECK_SOON(atomic_load(&calls) > before + 500, SOON_MS);
    atomic_store(&over, true);
    for (int i = 0; i < CALLERS; i++)
        pthread_join(all[i].thread, NULL);
    pthread_join(poster, NULL);
    pthread_join(watch, NULL);
}

static void under_load(void (*trouble)(void), int times, bool keeps_posts)
{
    redis_begin("");
    ferry *s = plain(), *c = plain();
    CHECK_STATUS(ferry_handle(s, "calc.call", call, NULL, NULL), FERRY_OK);
    CHECK_STATUS(ferry_handle(s, "calc.post", post, NULL, NULL), FERRY_OK);
    CHECK_STATUS(ferry_serve(s), FERRY_OK);
    CHECK_SOON(redis_get(c, "calc.nothing", SOON_MS) == FERRY_NOT_FOUND, SOON_MS);
    CHECK_STATUS(ferry_post_no_wait(c, "calc.post", ferry_int(POSTS_MOST - 1), FERRY_CALL(.confirm = FERRY_CONFIRMED)),
                 FERRY_OK);
    CHECK_SOON(atomic_load(&handled[POSTS_MOST - 1]) == 1, SOON_MS);
    CHECK(test_wait_for(nothing_waits, NULL, SOON_MS));
    things before = count_things();
    run_load(c, trouble, times);
    CHECK(test_wait_for(nothing_waits, NULL, SOON_MS));
    CHECK_INT(atomic_load(&late), 0);
    check_calls();
    check_posts(keeps_posts);
    CHECK(test_wait_for(same_things, &before, SOON_MS));
    redis_shut(s, c);
}

TEST_WITH(killed_and_back, .limit_ms = 240000)
{
    under_load(kill_it, test_long() ? 20 : 2, true);
}

TEST_WITH(frozen_and_back, .limit_ms = 60000)
{
    under_load(freeze_it, 1, true);
}

TEST_WITH(full_and_back, .limit_ms = 60000)
{
    under_load(fill_it, 3, true);
}

/* Calls and posts that were in them are gone; nothing else may be. */
TEST_WITH(deleted_streams, .limit_ms = 60000)
{
    under_load(delete_streams, 5, false);
}
