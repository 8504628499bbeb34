/* faults.c - networks and brokers that misbehave, through the `fault` decorator (src/backends/fault): what a caller hears then. */
#include "kit.h"

#include <stdlib.h>

/* A healthy server that counts, and a caller behind a fault. */
typedef struct scene {
    atomic_int count;
    ferry     *s, *c;
} scene;

static void begin_with(scene *x, const char *server_fault, const char *client_fault, const ferry_options *options)
{
    atomic_store(&x->count, 0);
    x->s = ferry_open(*server_fault ? kit_url("fault+", server_fault) : test_url(), NULL);
    CHECK_STATUS(ferry_handle(x->s, "calc.count", kit_count, &x->count, FERRY_HANDLE(.backoff_ms = 5)), FERRY_OK);
    kit_start(x->s, "calc");
    x->c = ferry_open(*client_fault ? kit_url("fault+", client_fault) : test_url(), options);
    CHECK_STATUS(ferry_wait_ready(x->c, KIT_SOON_MS), FERRY_OK);
}

static void begin(scene *x, const char *client_fault)
{
    begin_with(x, "", client_fault, NULL);
}

static void end(scene *x)
{
    kit_close(x->c);
    kit_close(x->s);
}

static void short_get(void *arg)
{
    scene *x = arg;
    ferry_reply *r = ferry_get(x->c, "calc.count", NULL, FERRY_CALL(.timeout_ms = 250));
    CHECK(ferry_reply_outcome(r) != FERRY_OUTCOME_EXECUTED);
    KIT_ENDS(r, FERRY_TIMEOUT, ferry_reply_outcome(r));
}

CONFORMANCE(dropped_requests_end_by_their_deadline)
{
    scene x = {0};
    begin(&x, "drop=1");
    kit_takes(250, 250 + KIT_LATE_MS, short_get, &x);
    CHECK_INT(atomic_load(&x.count), 0);
    end(&x);
}

CONFORMANCE(dropped_answers_end_by_the_deadline)
{
    scene x = {0};
    begin_with(&x, "drop_reply=1", "", NULL);
    kit_takes(250, 250 + KIT_LATE_MS, short_get, &x);
    ferry_reply *r = ferry_post(x.c, "calc.count", NULL, FERRY_CALL(.timeout_ms = 250));
    KIT_ENDS(r, FERRY_TIMEOUT, FERRY_OUTCOME_UNKNOWN);
    end(&x);
}

CONFORMANCE(refused_is_overloaded_and_not_executed)
{
    scene x = {0};
    begin(&x, "refuse=1");
    KIT_UNDONE(ferry_get(x.c, "calc.count", NULL, NULL), FERRY_OVERLOADED);
    KIT_UNDONE(ferry_post(x.c, "calc.count", NULL, NULL), FERRY_OVERLOADED);
    CHECK_STATUS(ferry_post_no_wait(x.c, "calc.count", NULL, FERRY_CALL(.confirm = FERRY_CONFIRMED)), FERRY_OVERLOADED);
    CHECK_INT(atomic_load(&x.count), 0);
    CHECK_INT(kit_stat(x.c, "sent_again"), 0);
    end(&x);
}

CONFORMANCE(vanished_get_put_delete_are_repeated)
{
    scene x = {0};
    begin(&x, "vanish=2");
    for (int i = 0; i < 6; i++) {
        KIT_OK(ferry_get(x.c, "calc.count", NULL, NULL));
        KIT_OK(ferry_put(x.c, "calc.count", NULL, NULL));
        KIT_OK(ferry_delete(x.c, "calc.count", NULL, NULL));
    }
    CHECK_INT(atomic_load(&x.count), 18);
    CHECK(kit_stat(x.c, "sent_again") > 0);
    end(&x);
}

CONFORMANCE(vanished_post_is_unknown_and_not_repeated)
{
    scene x = {0};
    begin(&x, "vanish=1");
    ferry_reply *r = ferry_post(x.c, "calc.count", NULL, FERRY_CALL(.timeout_ms = 2000));
    CHECK(ferry_has_errors(r));
    KIT_ENDS(r, ferry_reply_status(r), FERRY_OUTCOME_UNKNOWN);
    CHECK_INT(kit_stat(x.c, "sent_again"), 0);
    CHECK_INT(atomic_load(&x.count), 0);
    end(&x);
}

CONFORMANCE(vanished_post_with_an_idempotency_key_is_repeated)
{
    scene x = {0};
    begin(&x, "vanish=2");
    KIT_OK(ferry_post(x.c, "calc.count", NULL, FERRY_CALL(.idempotency_key = "a")));
    KIT_OK(ferry_post(x.c, "calc.count", NULL, FERRY_CALL(.idempotency_key = "b")));
    KIT_OK(ferry_patch(x.c, "calc.count", NULL, FERRY_CALL(.idempotency_key = "c")));
    CHECK_INT(atomic_load(&x.count), 3);
    CHECK(kit_stat(x.c, "sent_again") > 0);
    end(&x);
}

CONFORMANCE(lost_outcome_of_a_get_still_answers)
{
    scene x = {0};
    begin(&x, "lose=1");
    KIT_OK(ferry_get(x.c, "calc.count", NULL, NULL));
    KIT_OK(ferry_delete(x.c, "calc.count", NULL, NULL));
    end(&x);
}

/* Sent a second time, and that one is taken back unread: the first may be running all the same. */
CONFORMANCE(lost_and_taken_back_is_unknown)
{
    kit_gate gate = {0};
    ferry *s = kit_serve_with(FERRY_OPTIONS(.workers = 1), "slow.echo", kit_gated, &gate, NULL);
    ferry *c = ferry_open(kit_url("fault+", "lose=2"), NULL);
    KIT_ENDS(ferry_get(c, "slow.nothing", NULL, NULL), FERRY_NOT_FOUND, FERRY_OUTCOME_NOT_EXECUTED);
    KIT_ENDS(ferry_get(c, "slow.echo", NULL, FERRY_CALL(.timeout_ms = 400)), FERRY_TIMEOUT, FERRY_OUTCOME_UNKNOWN);
    CHECK_SOON(atomic_load(&gate.entered) >= 1, KIT_SOON_MS);
    atomic_store(&gate.open, true);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(lost_outcome_of_a_post_runs_once)
{
    scene x = {0};
    begin(&x, "lose=1");
    ferry_reply *r = ferry_post(x.c, "calc.count", NULL, FERRY_CALL(.timeout_ms = 2000));
    ferry_outcome o = ferry_reply_outcome(r);
    CHECK(o == FERRY_OUTCOME_UNKNOWN || o == FERRY_OUTCOME_EXECUTED); /* never a guess in the other direction */
    ferry_reply_free(r);
    CHECK_SOON(atomic_load(&x.count) == 1, KIT_SOON_MS);
    CHECK_INT(kit_stat(x.c, "sent_again"), 0);
    end(&x);
    CHECK_INT(atomic_load(&x.count), 1);
}

CONFORMANCE(lost_outcomes_of_posts_lose_none_and_double_none)
{
    enum { POSTS = 60 };
    scene x = {0};
    begin(&x, "lose=3&vanish=4");
    for (int i = 0; i < POSTS; i++)
        CHECK_STATUS(ferry_post_no_wait(x.c, "calc.count", ferry_int(i), NULL), FERRY_OK);
    CHECK_STATUS(ferry_flush(x.c, KIT_SOON_MS), FERRY_OK);
    CHECK_SOON(atomic_load(&x.count) >= POSTS, KIT_SOON_MS);
    end(&x);
    CHECK_INT(atomic_load(&x.count), POSTS); /* the id makes them one */
}

CONFORMANCE(doubled_posts_are_handled_once)
{
    enum { POSTS = 40 };
    scene x = {0};
    begin(&x, "dup=2");
    for (int i = 0; i < POSTS; i++)
        CHECK_STATUS(ferry_post_no_wait(x.c, "calc.count", ferry_int(i), NULL), FERRY_OK);
    CHECK_STATUS(ferry_flush(x.c, KIT_SOON_MS), FERRY_OK);
    CHECK_SOON(atomic_load(&x.count) >= POSTS, KIT_SOON_MS);
    KIT_ENDS(ferry_get(x.c, "calc.nope", NULL, NULL), FERRY_NOT_FOUND, FERRY_OUTCOME_NOT_EXECUTED);
    end(&x);
    CHECK_INT(atomic_load(&x.count), POSTS);
}

CONFORMANCE_WITH(doubled_posts_are_handled_once_by_two_servers, .needs = "remembers")
{
    enum { POSTS = 40 };
    scene x = {0};
    begin(&x, "dup=1");
    ferry *second = kit_serve("calc.count", kit_count, &x.count);
    for (int i = 0; i < POSTS; i++)
        CHECK_STATUS(ferry_post_no_wait(x.c, "calc.count", ferry_int(i), NULL), FERRY_OK);
    CHECK_STATUS(ferry_flush(x.c, KIT_SOON_MS), FERRY_OK);
    CHECK_SOON(atomic_load(&x.count) >= POSTS, KIT_SOON_MS);
    end(&x);
    kit_close(second);
    CHECK_INT(atomic_load(&x.count), POSTS);
}

CONFORMANCE(doubled_answers_are_dropped)
{
    scene x = {0};
    begin_with(&x, "dup_reply=1", "", NULL);
    for (int i = 1; i <= 20; i++)
        KIT_INT(ferry_get(x.c, "calc.count", NULL, NULL), i);
    CHECK_SOON(kit_stat(x.c, "replies_late") >= 19, KIT_SOON_MS);
    end(&x);
}

/* ---- Damage --------------------------------------------------------------------------------------------------------- */

CONFORMANCE(damaged_request_is_refused_and_harms_nobody)
{
    scene x = {0};
    begin(&x, "corrupt=1");
    ferry *well = kit_open(NULL);
    ferry_reply *r = ferry_post(x.c, "calc.count", ferry_map("x", 1, "y", "two"), NULL);
    CHECK(ferry_reply_status(r) == FERRY_BAD_DATA || ferry_reply_status(r) == FERRY_PROTOCOL);
    ferry_reply_free(r);
    CHECK_STATUS(ferry_post_no_wait(x.c, "calc.count", ferry_int(1), FERRY_CALL(.confirm = FERRY_CONFIRMED)), FERRY_OK);
    CHECK_SOON(kit_dead_count(well, "calc") == 1, KIT_SOON_MS); /* not lost without a trace */
    KIT_INT(ferry_get(well, "calc.count", NULL, NULL), 1);
    kit_close(well);
    end(&x);
}

CONFORMANCE(damaged_answer_is_an_error)
{
    scene x = {0};
    begin_with(&x, "corrupt_reply=1", "", NULL);
    ferry_reply *r = ferry_post(x.c, "calc.count", NULL, FERRY_CALL(.timeout_ms = 3000));
    CHECK(ferry_reply_status(r) == FERRY_BAD_DATA || ferry_reply_status(r) == FERRY_PROTOCOL);
    CHECK(ferry_reply_outcome(r) == FERRY_OUTCOME_EXECUTED || ferry_reply_outcome(r) == FERRY_OUTCOME_UNKNOWN);
    ferry_reply_free(r);
    end(&x);
}

/* ---- Late ----------------------------------------------------------------------------------------------------------- */

static void delayed_get(void *arg)
{
    KIT_OK(ferry_get(((scene *)arg)->c, "calc.count", NULL, NULL));
}

CONFORMANCE(delayed_is_only_late)
{
    scene x = {0};
    begin(&x, "delay=150");
    kit_takes(150, 1000, delayed_get, &x);
    end(&x);
}

CONFORMANCE(late_answers_are_dropped_and_counted)
{
    scene x = {0};
    begin_with(&x, "delay_reply=300", "", NULL);
    KIT_INT(ferry_get(x.c, "calc.count", NULL, FERRY_CALL(.timeout_ms = 3000)), 1);
    KIT_ENDS(ferry_post(x.c, "calc.count", NULL, FERRY_CALL(.timeout_ms = 100)), FERRY_TIMEOUT, FERRY_OUTCOME_UNKNOWN);
    KIT_INT(ferry_get(x.c, "calc.count", NULL, FERRY_CALL(.timeout_ms = 3000)), 3); /* its own answer, not the late one */
    CHECK_SOON(kit_stat(x.c, "replies_late") == 1, KIT_SOON_MS);
    end(&x);
}

CONFORMANCE(reordered_calls_get_their_own_answers)
{
    enum { CALLS = 30 };
    scene x = {0};
    ferry_future *f[CALLS];
    begin(&x, "reorder=2");
    ferry *echo = kit_serve("back.echo", kit_echo, NULL);
    for (int i = 0; i < CALLS; i++)
        f[i] = ferry_async(x.c, FERRY_PUT, "back.echo", ferry_int(i), NULL);
    for (int i = 0; i < CALLS; i++)
        KIT_INT(ferry_await(f[i]), i);
    end(&x);
    kit_close(echo);
}

CONFORMANCE(stalling_transport_keeps_deadlines)
{
    scene x = {0};
    begin_with(&x, "drop_reply=1", "stall=15", NULL);
    kit_takes(250, 250 + KIT_LATE_MS, short_get, &x);
    end(&x);
}

CONFORMANCE(unanswered_question_of_life_ends_by_the_deadline)
{
    scene x = {0};
    begin(&x, "lose_probe=1");
    kit_takes(0, 250 + KIT_LATE_MS, short_get, &x);
    end(&x);
}

/* ---- Down ----------------------------------------------------------------------------------------------------------- */

CONFORMANCE(outage_shorter_than_the_deadline_is_not_noticed)
{
    scene x = {0};
    begin(&x, "down=3&outage=150");
    for (int i = 0; i < 6; i++)
        KIT_OK(ferry_get(x.c, "calc.count", NULL, FERRY_CALL(.timeout_ms = KIT_SOON_MS)));
    CHECK(kit_stat(x.c, "disconnects") >= 1);
    CHECK(kit_stat(x.c, "connects") >= 2);
    end(&x);
}

CONFORMANCE(posts_wait_for_the_link)
{
    enum { POSTS = 30 };
    scene x = {0};
    begin(&x, "down=10&outage=150");
    for (int i = 0; i < POSTS; i++)
        CHECK_STATUS(ferry_post_no_wait(x.c, "calc.count", ferry_int(i), FERRY_CALL(.timeout_ms = KIT_SOON_MS)),
                     FERRY_OK);
    CHECK_STATUS(ferry_flush(x.c, KIT_SOON_MS), FERRY_OK);
    CHECK_SOON(atomic_load(&x.count) >= POSTS, KIT_SOON_MS);
    end(&x);
    CHECK_INT(atomic_load(&x.count), POSTS);
}

typedef struct numbers {
    atomic_int last, wrong, total;
} numbers;

static void take_number(ferry_request *req, void *arg)
{
    numbers *n = arg;
    int number = (int)ferry_as_int(ferry_request_data(req), -1);
    atomic_fetch_add(&n->wrong, number <= atomic_load(&n->last)); /* one that came before is dropped by its id, or comes late */
    if (number > atomic_load(&n->last))
        atomic_store(&n->last, number);
    atomic_fetch_add(&n->total, 1);
}

/* The outage comes near the end of the second half, which is sent again and meets no other. */
CONFORMANCE(posts_keep_their_order_over_an_outage)
{
    enum { POSTS = 200, HALF = POSTS / 2 };
    numbers n = {.last = -1};
    ferry *s = kit_serve("calc.number", take_number, &n);
    ferry *c = ferry_open(kit_url("fault+", "down=190&outage=100"), NULL);
    for (int i = 0; i < POSTS; i++) {
        ferry_status status =
            ferry_post_no_wait(c, "calc.number", ferry_int(i), FERRY_CALL(.key = "one", .timeout_ms = KIT_SOON_MS));
        CHECK_STATUS(status, FERRY_OK);
        if (i % HALF == HALF - 1)
            CHECK_STATUS(ferry_flush(c, KIT_SOON_MS), FERRY_OK);
    }
    CHECK_SOON(atomic_load(&n.total) >= POSTS, KIT_SOON_MS);
    CHECK_INT(atomic_load(&n.wrong), 0);
    kit_close(c);
    kit_close(s);
}

static void call_while_down(void *arg)
{
    scene *x = arg;
    ferry_reply *r = ferry_post(x->c, "calc.count", NULL, FERRY_CALL(.timeout_ms = 250));
    ferry_status s = ferry_reply_status(r);
    CHECK(s == FERRY_TIMEOUT || s == FERRY_UNAVAILABLE);
    KIT_ENDS(r, s, FERRY_OUTCOME_NOT_SENT);
}

CONFORMANCE(outage_longer_than_the_deadline_ends_by_it)
{
    scene x = {0};
    begin_with(&x, "", "down=1&outage=8000", FERRY_OPTIONS(.close_ms = 500));
    ferry_reply *r = ferry_post(x.c, "calc.count", NULL, FERRY_CALL(.timeout_ms = 250)); /* takes the link down */
    CHECK(ferry_has_errors(r));
    ferry_reply_free(r);
    kit_takes(250, 250 + KIT_LATE_MS, call_while_down, &x);
    ferry_close(x.c);
    kit_close(x.s);
}

static void one_overloaded(void *arg)
{
    scene *x = arg;
    KIT_UNDONE(ferry_post(x->c, "calc.count", NULL, FERRY_CALL(.timeout_ms = 5000)), FERRY_OVERLOADED);
}

CONFORMANCE(blocked_broker_is_overloaded_at_once)
{
    scene x = {0};
    begin(&x, "block=2&outage=1500");
    KIT_OK(ferry_post(x.c, "calc.count", NULL, NULL));
    ferry_reply_free(ferry_get(x.c, "calc.count", NULL, FERRY_CALL(.timeout_ms = 3000))); /* begins the outage */
    kit_takes(0, 500, one_overloaded, &x);
    CHECK_SOON(ferry_wait_ready(x.c, 0) == FERRY_OK, KIT_SOON_MS);
    end(&x);
}

/* ---- Acknowledgements ----------------------------------------------------------------------------------------------- */

CONFORMANCE(lost_acknowledgement_never_runs_a_post_call_twice)
{
    scene x = {0};
    begin_with(&x, "lose_settle=1", "", NULL);
    KIT_INT(ferry_post(x.c, "calc.count", NULL, NULL), 1);
    KIT_INT(ferry_patch(x.c, "calc.count", NULL, NULL), 2);
    KIT_ENDS(ferry_post(x.c, "calc.nope", NULL, NULL), FERRY_NOT_FOUND, FERRY_OUTCOME_NOT_EXECUTED);
    CHECK_INT(atomic_load(&x.count), 2);
    end(&x);
    CHECK_INT(atomic_load(&x.count), 2);
}

CONFORMANCE(lost_acknowledgement_of_a_post_brings_it_again)
{
    scene x = {0};
    begin_with(&x, "lose_settle=2", "", NULL);
    CHECK_STATUS(ferry_post_no_wait(x.c, "calc.count", NULL, NULL), FERRY_OK);
    CHECK_STATUS(ferry_post_no_wait(x.c, "calc.count", NULL, NULL), FERRY_OK);
    CHECK_SOON(atomic_load(&x.count) >= 3, KIT_SOON_MS); /* at least once: done counts only together with its acknowledgement */
    end(&x);
}

/* ---- Watching ------------------------------------------------------------------------------------------------------- */

static void look_for_route(int level, const char *line, void *arg)
{
    (void)level;
    if (strstr(line, "calc.count"))
        atomic_fetch_add((atomic_int *)arg, 1);
}

CONFORMANCE(trace_changes_nothing_and_tells)
{
    atomic_int lines = 0, count = 0;
    ferry *s = kit_serve("calc.count", kit_count, &count);
    ferry *c = ferry_open(kit_url("trace+", ""), FERRY_OPTIONS(.on_log = look_for_route, .arg = &lines));
    KIT_INT(ferry_get(c, "calc.count", NULL, NULL), 1);
    CHECK_STATUS(ferry_post_no_wait(c, "calc.count", NULL, FERRY_CALL(.confirm = FERRY_CONFIRMED)), FERRY_OK);
    CHECK_SOON(atomic_load(&count) == 2, KIT_SOON_MS);
    kit_close(c);
    CHECK(atomic_load(&lines) >= 2);
    kit_close(s);
}
