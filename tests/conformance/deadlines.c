/* deadlines.c - every call ends once, by its deadline and 50 ms, whatever keeps the others busy. */
#include "kit.h"

typedef struct asked {
    ferry        *c;
    ferry_verb    verb;
    int           timeout_ms;
    ferry_outcome outcome; /* UNKNOWN, or another if it is certain */
} asked;

static void ask(void *arg)
{
    asked *a = arg;
    ferry_reply *r =
        ferry_await(ferry_async(a->c, a->verb, "slow.echo", NULL, FERRY_CALL(.timeout_ms = a->timeout_ms)));
    a->outcome = ferry_reply_outcome(r);
    KIT_ENDS(r, FERRY_TIMEOUT, a->outcome);
}

CONFORMANCE(slow_handler_times_out_unknown)
{
    const ferry_verb verbs[] = {FERRY_GET, FERRY_POST};
    kit_gate gate = {0};
    ferry *s = kit_serve_with(FERRY_OPTIONS(.workers = 8), "slow.echo", kit_gated, &gate, NULL);
    asked a = {.c = kit_open(NULL), .timeout_ms = 200};
    for (int i = 0; i < 2; i++) {
        a.verb = verbs[i];
        kit_takes(200, 200 + KIT_LATE_MS, ask, &a);
        CHECK_OUTCOME(a.outcome, FERRY_OUTCOME_UNKNOWN);
    }
    atomic_store(&gate.open, true);
    kit_close(a.c);
    kit_close(s);
}

CONFORMANCE(waiting_in_line_times_out_too)
{
    kit_gate gate = {0};
    ferry *s = kit_serve("slow.echo", kit_gated, &gate), *c = kit_open(NULL);
    ferry_future *busy = ferry_async(c, FERRY_GET, "slow.echo", ferry_int(1), NULL);
    CHECK_SOON(atomic_load(&gate.entered) == 1, KIT_SOON_MS);
    asked a = {.c = c, .verb = FERRY_POST, .timeout_ms = 150};
    kit_takes(150, 150 + KIT_LATE_MS, ask, &a);
    CHECK(a.outcome == FERRY_OUTCOME_NOT_EXECUTED || a.outcome == FERRY_OUTCOME_UNKNOWN);
    atomic_store(&gate.open, true);
    KIT_INT(ferry_await(busy), 1);
    KIT_INT(ferry_get(c, "slow.echo", ferry_int(2), NULL), 2);
    CHECK_INT(atomic_load(&gate.entered), 2); /* nobody waited for it any more, so it did not run */
    kit_close(c);
    kit_close(s);
}

static void ask_with_others_in_flight(void *arg)
{
    enum { OTHERS = 50 };
    asked *a = arg;
    ferry_future *f[OTHERS];
    for (int i = 0; i < OTHERS; i++)
        f[i] = ferry_async(a->c, FERRY_POST, "slow.echo", NULL, FERRY_CALL(.timeout_ms = 200));
    for (int i = 0; i < OTHERS; i++) {
        ferry_reply *r = ferry_await(f[i]);
        KIT_ENDS(r, FERRY_TIMEOUT, ferry_reply_outcome(r));
    }
}

CONFORMANCE(many_deadlines_at_once)
{
    kit_gate gate = {0};
    ferry *s = kit_serve("slow.echo", kit_gated, &gate);
    asked a = {.c = kit_open(NULL)};
    kit_takes(200, 200 + KIT_LATE_MS, ask_with_others_in_flight, &a);
    atomic_store(&gate.open, true);
    kit_close(a.c);
    kit_close(s);
}

CONFORMANCE(deadline_of_the_handle)
{
    kit_gate gate = {0};
    ferry *s = kit_serve_with(FERRY_OPTIONS(.workers = 4), "slow.echo", kit_gated, &gate, NULL);
    asked a = {.c = kit_open(FERRY_OPTIONS(.timeout_ms = 200)), .verb = FERRY_POST};
    kit_takes(200, 200 + KIT_LATE_MS, ask, &a);
    atomic_store(&gate.open, true);
    kit_close(a.c);
    kit_close(s);
}

CONFORMANCE(impossible_deadline)
{
    ferry *c = kit_open(NULL);
    KIT_ENDS(ferry_get(c, "calc.echo", NULL, FERRY_CALL(.timeout_ms = -1)), FERRY_INVALID, FERRY_OUTCOME_NOT_SENT);
    CHECK_STATUS(ferry_post_no_wait(c, "calc.echo", NULL, FERRY_CALL(.timeout_ms = -5)), FERRY_INVALID);
    kit_close(c);
}

static void answer_at_the_last_moment(ferry_request *req, void *arg)
{
    (void)arg;
    while (ferry_request_remaining_ms(req) > 20)
        test_pause(INT64_MAX);
    CHECK(ferry_request_remaining_ms(req) >= 0); /* 0 once it is over, never less: -1 says that nobody waits */
    kit_echo(req, NULL);
}

CONFORMANCE(the_server_knows_how_long_is_left)
{
    ferry *s = kit_serve("calc.last", answer_at_the_last_moment, NULL), *c = kit_open(NULL);
    ferry_reply *r = ferry_get(c, "calc.last", ferry_int(3), FERRY_CALL(.timeout_ms = 300));
    CHECK(ferry_reply_status(r) == FERRY_OK || ferry_reply_status(r) == FERRY_TIMEOUT);
    ferry_reply_free(r);
    kit_close(c);
    kit_close(s);
}
