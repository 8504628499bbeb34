/* stats.c - the counters tell what happened, no more and no less. */
#include "kit.h"

CONFORMANCE(calls_are_counted_on_both_sides)
{
    atomic_int count = 0;
    ferry *s = kit_open(NULL), *c = kit_open(NULL);
    CHECK_STATUS(ferry_handle(s, "calc.count", kit_count, &count, NULL), FERRY_OK);
    CHECK_STATUS(ferry_handle(s, "calc.fail", kit_fail, NULL, NULL), FERRY_OK);
    kit_start(s, "calc");
    int64_t received = kit_stat(s, "requests_received"), handled = kit_stat(s, "requests_handled"),
            failed = kit_stat(s, "requests_failed");
    for (int i = 1; i <= 7; i++)
        KIT_INT(ferry_get(c, "calc.count", NULL, NULL), i);
    for (int i = 0; i < 3; i++)
        KIT_ENDS(ferry_post(c, "calc.fail", NULL, NULL), FERRY_FAILED, FERRY_OUTCOME_EXECUTED);
    KIT_UNDONE(ferry_get(c, "nobody.home", NULL, NULL), FERRY_NO_SERVICE);
    CHECK_INT(kit_stat(c, "calls_sent"), 11);
    CHECK_INT(kit_stat(c, "calls_ok"), 7);
    CHECK_INT(kit_stat(c, "calls_failed"), 4);
    CHECK_INT(kit_stat(c, "replies_late"), 0);
    CHECK_INT(kit_stat(c, "sent_again"), 0);
    CHECK_SOON(kit_stat(s, "requests_received") - received == 10, KIT_SOON_MS);
    CHECK_SOON(kit_stat(s, "requests_handled") - handled == 10, KIT_SOON_MS);
    CHECK_SOON(kit_stat(s, "requests_failed") - failed == 3, KIT_SOON_MS);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(posts_are_counted_on_both_sides)
{
    atomic_int count = 0;
    ferry *s = kit_open(NULL), *c = kit_open(NULL);
    CHECK_STATUS(ferry_handle(s, "work.count", kit_count, &count, NULL), FERRY_OK);
    CHECK_STATUS(ferry_handle(s, "work.fail", kit_fail, NULL, FERRY_HANDLE(.attempts = 3, .backoff_ms = 5)), FERRY_OK);
    kit_start(s, "work");
    for (int i = 0; i < 5; i++)
        CHECK_STATUS(ferry_post_no_wait(c, "work.count", NULL, NULL), FERRY_OK);
    CHECK_STATUS(ferry_post_no_wait(c, "work.fail", NULL, NULL), FERRY_OK);
    CHECK_STATUS(ferry_post_no_wait(c, "nobody.home", NULL, FERRY_CALL(.confirm = FERRY_CONFIRMED)), FERRY_NO_SERVICE);
    ferry_flush(c, KIT_SOON_MS);
    CHECK_INT(kit_stat(c, "posts_sent"), 7);
    CHECK_INT(kit_stat(c, "posts_accepted"), 6);
    CHECK_INT(kit_stat(c, "posts_failed"), 1);
    CHECK_SOON(kit_stat(s, "posts_dead") == 1, KIT_SOON_MS);
    CHECK_INT(kit_stat(s, "posts_retried"), 2);
    CHECK_INT(atomic_load(&count), 5);
    kit_close(c);
    kit_close(s);
}

static int skipped(ferry *s)
{
    return (int)(kit_stat(s, "requests_expired") + kit_stat(s, "requests_cancelled"));
}

enum { SURE_MS = 25 /* after the deadline; a call waits 30 ms to learn that it was taken back */ };

CONFORMANCE(expired_work_is_skipped_and_counted)
{
    kit_gate gate = {0};
    ferry *s = kit_serve("slow.echo", kit_gated, &gate), *c = kit_open(NULL);
    ferry_future *busy = ferry_async(c, FERRY_GET, "slow.echo", ferry_int(1), NULL);
    CHECK_SOON(atomic_load(&gate.entered) == 1, KIT_SOON_MS);
    ferry_future *late[3];
    int64_t began_ms = test_now_ms();
    for (int i = 0; i < 3; i++)
        late[i] = ferry_async(c, FERRY_POST, "slow.echo", NULL, FERRY_CALL(.timeout_ms = 100));
    int unseen = 0;  /* taken back unread, or so late that it never left */
    int unsure = 0;  /* it was to be taken back, and the broker's word came too late: perhaps it was */
    for (int i = 0; i < 3; i++) {
        ferry_reply *r = ferry_await(late[i]);
        bool unknown = ferry_reply_outcome(r) == FERRY_OUTCOME_UNKNOWN;
        unseen += !unknown;
        unsure += unknown && test_can("withdraws") && test_now_ms() - began_ms > 100 + SURE_MS;
        CHECK(ferry_reply_outcome(r) != FERRY_OUTCOME_EXECUTED);
        KIT_ENDS(r, FERRY_TIMEOUT, ferry_reply_outcome(r));
    }
    atomic_store(&gate.open, true);
    KIT_INT(ferry_await(busy), 1);
    KIT_INT(ferry_get(c, "slow.echo", ferry_int(2), NULL), 2);
    CHECK_INT(atomic_load(&gate.entered), 2); /* none of the late ones ran */
    if (!test_can("expires")) /* a broker that drops them itself before a server sees them */
        CHECK_SOON(skipped(s) + unseen + unsure >= 3, KIT_SOON_MS);
    CHECK(skipped(s) + unseen <= 3);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(connection_is_counted)
{
    ferry *c = kit_open(NULL);
    CHECK_INT(kit_stat(c, "connects"), 1);
    CHECK_INT(kit_stat(c, "disconnects"), 0);
    kit_close(c);
}
