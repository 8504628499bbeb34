/* posts.c - no-wait posts: at least once, whoever is there and whoever is not. */
#include "kit.h"

#include <stdlib.h>

#define CONFIRMED FERRY_CALL(.confirm = FERRY_CONFIRMED, .timeout_ms = KIT_SOON_MS)

/* ---- Handed over ---------------------------------------------------------------------------------------------------- */

typedef struct marks {
    atomic_int each[500], total, attempts_over_one;
} marks;

static void mark(ferry_request *req, void *arg)
{
    marks *m = arg;
    atomic_fetch_add(&m->each[ferry_as_int(ferry_request_data(req), 0)], 1);
    atomic_fetch_add(&m->attempts_over_one, ferry_request_attempt(req) > 1);
    atomic_fetch_add(&m->total, 1);
}

CONFORMANCE(posts_arrive_each_once)
{
    enum { POSTS = 500 };
    marks m = {0};
    ferry *s = kit_serve("work.mark", mark, &m), *c = kit_open(NULL);
    for (int i = 0; i < POSTS; i++)
        CHECK_STATUS(ferry_post_no_wait(c, "work.mark", ferry_int(i), NULL), FERRY_OK);
    CHECK_STATUS(ferry_flush(c, KIT_SOON_MS), FERRY_OK);
    CHECK_SOON(atomic_load(&m.total) >= POSTS, KIT_SOON_MS);
    for (int i = 0; i < POSTS; i++)
        CHECK_INT(atomic_load(&m.each[i]), 1); /* nothing failed, so nothing came twice */
    CHECK_INT(atomic_load(&m.attempts_over_one), 0);
    kit_close(c);
    kit_close(s);
}

typedef struct told {
    atomic_int times;
    int        left, attempt;
    ferry_verb verb;
    char       key[32], correlation[64], header[32];
    int64_t    number;
} told;

static void tell(ferry_request *req, void *arg)
{
    told *t = arg;
    t->left = ferry_request_remaining_ms(req);
    t->attempt = ferry_request_attempt(req);
    t->verb = ferry_request_verb(req);
    strncpy(t->key, ferry_request_key(req) ? ferry_request_key(req) : "", sizeof t->key - 1);
    strncpy(t->correlation, ferry_request_correlation(req), sizeof t->correlation - 1);
    strncpy(t->header, ferry_as_string(ferry_find(ferry_request_headers(req), "lang"), ""), sizeof t->header - 1);
    t->number = ferry_as_int(ferry_request_data(req), -1);
    atomic_fetch_add(&t->times, 1);
}

CONFORMANCE(posts_carry_what_calls_carry)
{
    told t = {0};
    ferry *s = kit_serve("work.tell", tell, &t), *c = kit_open(NULL);
    ferry_value *headers = ferry_map("lang", "fr");
    CHECK_STATUS(ferry_patch_no_wait(c, "work.tell", ferry_int(7),
                                     FERRY_CALL(.key = "k", .correlation = "corr", .headers = headers)),
                 FERRY_OK);
    ferry_value_free(headers);
    CHECK_SOON(atomic_load(&t.times) == 1, KIT_SOON_MS);
    CHECK_INT(t.left, -1); /* nobody waits */
    CHECK_INT(t.attempt, 1);
    CHECK_INT(t.verb, FERRY_PATCH);
    CHECK_STR(t.key, "k");
    CHECK_STR(t.correlation, "corr");
    CHECK_STR(t.header, "fr");
    CHECK_INT(t.number, 7);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(verbs_that_do_not_wait)
{
    told t = {0};
    ferry *s = kit_serve("work.tell", tell, &t), *c = kit_open(NULL);
    CHECK_STATUS(ferry_put_no_wait(c, "work.tell", NULL, CONFIRMED), FERRY_OK);
    CHECK_SOON(atomic_load(&t.times) == 1, KIT_SOON_MS);
    CHECK_INT(t.verb, FERRY_PUT);
    CHECK_STATUS(ferry_delete_no_wait(c, "work.tell", NULL, CONFIRMED), FERRY_OK);
    CHECK_SOON(atomic_load(&t.times) == 2, KIT_SOON_MS);
    CHECK_INT(t.verb, FERRY_DELETE);
    CHECK_STATUS(ferry_post_no_wait(c, "work.tell", NULL, CONFIRMED), FERRY_OK);
    CHECK_SOON(atomic_load(&t.times) == 3, KIT_SOON_MS);
    CHECK_INT(t.verb, FERRY_POST);
    kit_close(c);
    kit_close(s);
}

/* ---- Who is there, who is not --------------------------------------------------------------------------------------- */

CONFORMANCE(post_waits_for_a_service_that_is_down)
{
    marks m = {0};
    ferry *c = kit_open(NULL);
    kit_close(kit_serve("work.mark", mark, &m));
    kit_await_gone("work");
    CHECK_STATUS(ferry_post_no_wait(c, "work.mark", ferry_int(1), CONFIRMED), FERRY_OK);
    CHECK_STATUS(ferry_post_no_wait(c, "work.mark", ferry_int(2), NULL), FERRY_OK);
    CHECK_STATUS(ferry_flush(c, KIT_SOON_MS), FERRY_OK);
    ferry *s = kit_serve("work.mark", mark, &m);
    CHECK_SOON(atomic_load(&m.total) == 2, KIT_SOON_MS);
    CHECK_INT(atomic_load(&m.each[1]), 1);
    CHECK_INT(atomic_load(&m.each[2]), 1);
    kit_close(c);
    kit_close(s);
}

static void post_to_nobody(void *c)
{
    char why[FERRY_WHY_SIZE] = "";
    CHECK_STATUS(ferry_post_no_wait(c, "nobody.home", ferry_int(1),
                                    FERRY_CALL(.confirm = FERRY_CONFIRMED, .timeout_ms = 30000, .why = why)),
                 FERRY_NO_SERVICE);
    CHECK_HAS(why, "nobody");
}

CONFORMANCE(confirmed_post_to_what_never_was)
{
    ferry *c = kit_open(NULL);
    kit_takes(0, 500, post_to_nobody, c);
    kit_close(c);
}

typedef struct drops {
    atomic_int   count;
    ferry_status why;
    char         route[64];
} drops;

static void drop(const ferry_request *message, ferry_status why, void *arg)
{
    drops *d = arg;
    d->why = why;
    strncpy(d->route, ferry_request_route(message), sizeof d->route - 1);
    atomic_fetch_add(&d->count, 1);
}

CONFORMANCE(queued_post_to_what_never_was_is_told_to_on_drop)
{
    drops d = {0};
    ferry *c = kit_open(FERRY_OPTIONS(.on_drop = drop, .arg = &d));
    CHECK_STATUS(ferry_post_no_wait(c, "nobody.home", ferry_int(1), NULL), FERRY_OK);
    CHECK_STATUS(ferry_flush(c, KIT_SOON_MS), FERRY_NO_SERVICE); /* the first failure … */
    CHECK_SOON(atomic_load(&d.count) == 1, KIT_SOON_MS);
    CHECK_STATUS(d.why, FERRY_NO_SERVICE);
    CHECK_STR(d.route, "nobody.home");
    CHECK_STATUS(ferry_flush(c, KIT_SOON_MS), FERRY_OK); /* … is told once */
    kit_close(c);
}

CONFORMANCE(flush_of_nothing)
{
    ferry *c = kit_open(NULL);
    CHECK_STATUS(ferry_flush(c, 0), FERRY_OK);
    kit_close(c);
}

/* ---- Handlers that fail --------------------------------------------------------------------------------------------- */

typedef struct tries {
    atomic_int count;
    int        good_at; /* the attempt that succeeds */
    int        attempt[16];
    int64_t    at[16];
} tries;

static void try_hard(ferry_request *req, void *arg)
{
    tries *t = arg;
    int n = atomic_load(&t->count);
    t->attempt[n] = ferry_request_attempt(req);
    t->at[n] = test_now_ms();
    if (t->attempt[n] != t->good_at)
        ferry_fail(req, "Broken", "attempt %d", t->attempt[n]);
    atomic_fetch_add(&t->count, 1);
}

CONFORMANCE(failed_post_comes_again_later)
{
    tries t = {.good_at = 4};
    ferry *s = kit_serve_with(NULL, "work.try", try_hard, &t, FERRY_HANDLE(.backoff_ms = 60)), *c = kit_open(NULL);
    CHECK_STATUS(ferry_post_no_wait(c, "work.try", ferry_int(1), CONFIRMED), FERRY_OK);
    CHECK_SOON(atomic_load(&t.count) == 4, KIT_SOON_MS);
    for (int i = 0; i < 4; i++)
        CHECK_INT(t.attempt[i], i + 1);
    CHECK(t.at[1] - t.at[0] >= 30);  /* 60 ms, with jitter … */
    CHECK(t.at[2] - t.at[1] >= 60);  /* … doubled … */
    CHECK(t.at[3] - t.at[2] >= 120); /* … and again */
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    CHECK_INT(kit_dead_count(c, "work"), 0);
    kit_close(c);
}

typedef struct pair {
    atomic_int failed, done;
} pair;

static void fail_the_first(ferry_request *req, void *arg)
{
    pair *p = arg;
    if (ferry_as_int(ferry_request_data(req), 0) == 1) {
        ferry_fail(req, "Broken", "on purpose");
        atomic_fetch_add(&p->failed, 1);
    } else
        atomic_fetch_add(&p->done, 1);
}

CONFORMANCE(failed_post_stands_in_nobodys_way)
{
    pair p = {0};
    ferry *s = kit_serve_with(NULL, "work.do", fail_the_first, &p, FERRY_HANDLE(.backoff_ms = 600000)),
          *c = kit_open(NULL);
    CHECK_STATUS(ferry_post_no_wait(c, "work.do", ferry_int(1), CONFIRMED), FERRY_OK);
    CHECK_SOON(atomic_load(&p.failed) == 1, KIT_SOON_MS);
    for (int i = 0; i < 20; i++)
        CHECK_STATUS(ferry_post_no_wait(c, "work.do", ferry_int(2), CONFIRMED), FERRY_OK);
    CHECK_SOON(atomic_load(&p.done) == 20, KIT_SOON_MS);
    CHECK_INT(atomic_load(&p.failed), 1);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(retry_outlives_its_server)
{
    tries t = {.good_at = 2};
    ferry *s = kit_serve_with(NULL, "work.try", try_hard, &t, FERRY_HANDLE(.backoff_ms = 200)), *c = kit_open(NULL);
    CHECK_STATUS(ferry_post_no_wait(c, "work.try", ferry_int(1), CONFIRMED), FERRY_OK);
    CHECK_SOON(atomic_load(&t.count) == 1, KIT_SOON_MS);
    kit_close(s);
    s = kit_serve("work.try", try_hard, &t);
    CHECK_SOON(atomic_load(&t.count) == 2, KIT_SOON_MS);
    CHECK_INT(t.attempt[1], 2);
    kit_close(c);
    kit_close(s);
}

typedef struct later {
    atomic_int count;
    int        attempt[2];
    int64_t    at[2];
} later;

static void do_later(ferry_request *req, void *arg)
{
    later *l = arg;
    int n = atomic_load(&l->count);
    if (n < 2) {
        l->at[n] = test_now_ms();
        l->attempt[n] = ferry_request_attempt(req);
    }
    if (n == 0)
        ferry_retry_later(req, 150);
    atomic_fetch_add(&l->count, 1);
}

CONFORMANCE(retry_later_when_the_handler_says)
{
    later l = {0};
    ferry *s = kit_serve_with(NULL, "work.later", do_later, &l, FERRY_HANDLE(.backoff_ms = 600000)),
          *c = kit_open(NULL);
    CHECK_STATUS(ferry_post_no_wait(c, "work.later", NULL, CONFIRMED), FERRY_OK);
    CHECK_SOON(atomic_load(&l.count) == 2, KIT_SOON_MS);
    CHECK(l.at[1] - l.at[0] >= 145);
    CHECK_INT(l.attempt[0], 1);
    CHECK_INT(l.attempt[1], 2);
    kit_close(s);
    CHECK_INT(kit_dead_count(c, "work"), 0);
    kit_close(c);
}
