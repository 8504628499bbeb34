/* fault_test.c - each fault strikes when it should, and every frame has one outcome all the same. */
#include "inner.h"
#include "test.h"

#include "backends/fault/fault.h"
#include "base/clock.h"

#include <time.h>

static void open_fault(rig *r, const char *query)
{
    CHECK_STATUS(rig_open(r, test_text("fault+mem:x?%s", query), true), FERRY_OK);
    rig_below(r);
}

/* Sends calls 1 … n, makes one turn, and checks what came out on either side. */
static void course(const char *query, int n, const char *below, const char *above)
{
    rig r;
    test_note("%s", query);
    open_fault(&r, query);
    for (int i = 1; i <= n; i++)
        rig_send(&r, FERRY__CALL, (uint64_t)i);
    rig_turn(&r);
    CHECK_STR(rig_below(&r), *below ? test_text("%s, flush, step, pump", below) : "flush, step, pump");
    CHECK_STR(rig_above(&r), above);
    rig_close(&r);
}

TEST(none)
{
    course("", 2, "send 1 body c0, send 2 body c0", "outcome 1 ACCEPTED OK, outcome 2 ACCEPTED OK");
    course("drop=0&seed=7", 1, "send 1 body c0", "outcome 1 ACCEPTED OK");
}

TEST(drop)
{
    course("drop=2", 3, "send 1 body c0, send 3 body c0",
           "outcome 1 ACCEPTED OK, outcome 3 ACCEPTED OK, outcome 2 ACCEPTED OK");
    course("drop=1", 2, "", "outcome 1 ACCEPTED OK, outcome 2 ACCEPTED OK");
}

TEST(refuse)
{
    course("refuse=2", 2, "send 1 body c0", "outcome 1 ACCEPTED OK, outcome 2 REFUSED OVERLOADED");
}

TEST(lose)
{
    course("lose=2", 2, "send 1 body c0, send 2 body c0", "outcome 1 ACCEPTED OK, outcome 2 LOST UNAVAILABLE");
}

TEST(vanish)
{
    course("vanish=2", 2, "send 1 body c0", "outcome 1 ACCEPTED OK, outcome 2 LOST UNAVAILABLE");
}

TEST(dup)
{
    course("dup=2", 2, "send 1 body c0, send 2 body c0, send 2 body c0",
           "outcome 1 ACCEPTED OK, outcome 2 ACCEPTED OK");
}

/* The frame itself stays whole: the core may send it again. */
TEST(corrupt)
{
    rig r;
    course("corrupt=2", 2, "send 1 body c0, send 2 body c1", "outcome 1 ACCEPTED OK, outcome 2 ACCEPTED OK");
    open_fault(&r, "corrupt=1");
    ferry__frame *f = rig_frame(FERRY__CALL, 1);
    f->owner = &r;
    r.outer->send(r.self, &r.target, ferry__frame_ref(f));
    CHECK_INT(*(unsigned char *)ferry__frame_body(f), 0xc0);
    r.outer->more->withdraw(r.self, &r.target, f); /* the copy is withdrawn, and the core hears of its frame */
    CHECK_STR(rig_below(&r), "send 1 body c1, withdraw 1 body c1 of calc");
    CHECK_STR(rig_above(&r), "withdrawn 1 yes");
    ferry__frame_unref(f);
    rig_close(&r); /* with the copy's outcome never told */
}

/* One fault a frame: the first of the table; the others count it all the same. */
TEST(together)
{
    course("drop=2&refuse=3", 6, "send 1 body c0, send 5 body c0",
           "outcome 1 ACCEPTED OK, outcome 5 ACCEPTED OK, outcome 2 ACCEPTED OK, outcome 3 REFUSED OVERLOADED, "
           "outcome 4 ACCEPTED OK, outcome 6 ACCEPTED OK");
}

TEST(posts_and_events_too_but_no_control)
{
    rig r;
    open_fault(&r, "refuse=1");
    rig_send(&r, FERRY__POST, 1);
    rig_send(&r, FERRY__EVENT, 2);
    rig_send(&r, FERRY__CONTROL, 3);
    rig_turn(&r);
    CHECK_STR(rig_below(&r), "send 3 body c0, flush, step, pump");
    CHECK_STR(rig_above(&r), "outcome 1 REFUSED OVERLOADED, outcome 2 REFUSED OVERLOADED");
    rig_close(&r);
}

TEST(replies)
{
    const char *want[][2] = {{"drop_reply=2", "send reply 1 body c0"},
                             {"dup_reply=2", "send reply 1 body c0, send reply 2 body c0, send reply 2 body c0"},
                             {"corrupt_reply=2", "send reply 1 body c0, send reply 2 body c1"},
                             {"drop=1&refuse=1&delay=1h", "send reply 1 body c0, send reply 2 body c0"}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        rig r;
        test_note("%s", want[i][0]);
        open_fault(&r, want[i][0]);
        rig_send(&r, FERRY__REPLY, 1);
        rig_send(&r, FERRY__REPLY, 2);
        CHECK_STR(rig_below(&r), want[i][1]);
        rig_turn(&r);
        CHECK_STR(rig_above(&r), "");
        rig_close(&r);
    }
}

TEST(seed)
{
    const char *first = NULL;
    for (int round = 0; round < 2; round++) {
        rig r;
        open_fault(&r, "drop_reply=3&seed=42");
        for (int i = 1; i <= 300; i++)
            rig_send(&r, FERRY__REPLY, (uint64_t)i);
        const char *course_now = rig_below(&r);
        if (first)
            CHECK_STR(course_now, first); /* the same seed, the same course */
        first = course_now;
        size_t passed = 0, thirds = 0;
        for (int n = 1; n <= 300; n++)
            if (strstr(course_now, test_text("reply %d body", n))) {
                passed++;
                thirds += n % 3 == 0;
            }
        CHECK(passed > 160 && passed < 240); /* a third is gone, … */
        CHECK(thirds > 40);                  /* … and not every third */
        rig_close(&r);
    }
}

/* ---- Later ---------------------------------------------------------------------------------------------------------- */

static int next_ms(rig *r)
{
    return r->outer->next_ms(r->self, ferry__now_ms());
}

TEST(delay)
{
    rig r;
    open_fault(&r, "delay=60ms&delay_each=2");
    int64_t start = test_now_ms();
    rig_send(&r, FERRY__CALL, 1);
    CHECK_INT(next_ms(&r), 5000);
    rig_send(&r, FERRY__CALL, 2);
    CHECK(next_ms(&r) > 0 && next_ms(&r) <= 60);
    rig_turn(&r);
    CHECK_STR(rig_below(&r), "send 1 body c0, flush, step, pump");
    CHECK_STR(rig_above(&r), "outcome 1 ACCEPTED OK");
    CHECK_SOON(next_ms(&r) == 0, 1000);
    CHECK(test_now_ms() - start >= 59);
    rig_turn(&r);
    CHECK_STR(rig_below(&r), "send 2 body c0, flush, step, pump");
    CHECK_STR(rig_above(&r), "outcome 2 ACCEPTED OK");
    CHECK_INT(next_ms(&r), 5000);
    rig_close(&r);
}

TEST(delay_reply)
{
    rig r;
    open_fault(&r, "delay_reply=5ms");
    rig_send(&r, FERRY__REPLY, 1);
    rig_send(&r, FERRY__CALL, 2);
    CHECK_STR(rig_below(&r), "send 2 body c0");
    CHECK_SOON(next_ms(&r) == 0, 1000);
    rig_turn(&r);
    CHECK_STR(rig_below(&r), "send reply 1 body c0, flush, step, pump");
    rig_close(&r);
}

TEST(reorder)
{
    rig r;
    open_fault(&r, "reorder=2");
    for (uint64_t i = 1; i <= 4; i++)
        rig_send(&r, FERRY__CALL, i);
    CHECK_STR(rig_below(&r), "send 1 body c0, send 3 body c0, send 2 body c0");
    CHECK_SOON(next_ms(&r) == 0, 1000); /* nothing follows the fourth: its time comes */
    rig_turn(&r);
    CHECK_STR(rig_below(&r), "send 4 body c0, flush, step, pump");
    rig_close(&r);
}

TEST(a_held_one_is_withdrawn)
{
    rig r;
    open_fault(&r, "delay=1h");
    ferry__frame *f = rig_frame(FERRY__CALL, 1);
    f->owner = &r;
    r.outer->send(r.self, &r.target, ferry__frame_ref(f));
    rig_send(&r, FERRY__CALL, 2);
    r.outer->more->withdraw(r.self, &r.target, f);
    CHECK_STR(rig_above(&r), "");
    CHECK_INT(next_ms(&r), 0);
    rig_turn(&r);
    CHECK_STR(rig_below(&r), "flush, step, pump");
    CHECK_STR(rig_above(&r), "withdrawn 1 yes, outcome 1 REFUSED CANCELLED");
    r.outer->more->withdraw(r.self, &r.target, f); /* it is no longer here */
    CHECK_STR(rig_below(&r), "withdraw 1 body c0 of calc");
    ferry__frame_unref(f);
    rig_close(&r); /* with the second one still held */
}

TEST(stall)
{
    rig r;
    open_fault(&r, "stall=30ms");
    int64_t start = test_now_ms();
    r.outer->step(r.self);
    CHECK(test_now_ms() - start >= 29);
    start = test_now_ms();
    r.outer->wait(r.self, 0); /* it was slow in step already */
    CHECK(test_now_ms() - start < test_ms(25));
    start = test_now_ms();
    r.outer->wait(r.self, 0);
    CHECK(test_now_ms() - start >= 29);
    CHECK_STR(rig_below(&r), "step, wait 0, wait 0");
    rig_close(&r);
}

/* ---- What comes ----------------------------------------------------------------------------------------------------- */

TEST(lose_settle)
{
    rig r;
    open_fault(&r, "lose_settle=2");
    for (uint64_t i = 1; i <= 3; i++)
        rig_arrive(&r, rig_frame(FERRY__POST, i));
    CHECK_STR(rig_above(&r), "frame 1 from mail, frame 2 from mail, frame 3 from mail");
    for (size_t i = 0; i < 3; i++)
        r.outer->settle(r.self, r.received[i]);
    r.received_count = 0;
    CHECK_STR(rig_below(&r), "settle 1, hand_back 2, settle 3");
    CHECK_INT(next_ms(&r), 0);
    rig_turn(&r);
    CHECK_STR(rig_above(&r),
              "settled 2 OK, settled 1 UNAVAILABLE"); /* three in all, the one handed back is not heard */
    for (uint64_t i = 2; i <= 3; i++)
        rig_arrive(&r, rig_frame(FERRY__POST, i));
    CHECK_STR(rig_above(&r), "frame 2 from mail maybe, frame 3 from mail");
    r.outer->settle(r.self, r.received[1]); /* the fourth: lost */
    r.outer->settle(r.self, r.received[0]); /* its second time: not lost, and not counted */
    r.received_count = 0;
    rig_arrive(&r, rig_frame(FERRY__POST, 2));
    CHECK_STR(rig_below(&r), "flush, step, pump, hand_back 3, settle 2");
    CHECK_STR(rig_above(&r), "frame 2 from mail");
    rig_close(&r);
}

TEST(lose_probe)
{
    rig r;
    open_fault(&r, "lose_probe=2");
    for (int i = 0; i < 3; i++)
        r.inner.up->probed(r.inner.up, &r.target, (ferry__presence)i);
    CHECK_STR(rig_above(&r), "probed calc 0, probed calc 2");
    rig_close(&r);
}

/* ---- Outages -------------------------------------------------------------------------------------------------------- */

TEST(down)
{
    rig r;
    open_fault(&r, "down=2&outage=80ms");
    r.inner.up->state(r.inner.up, FERRY__UP, FERRY_OK, "");
    CHECK_STR(rig_above(&r), "state UP OK []");
    rig_send(&r, FERRY__CALL, 1);
    rig_turn(&r);
    CHECK_STR(rig_above(&r), "outcome 1 ACCEPTED OK");
    rig_send(&r, FERRY__CALL, 2);
    CHECK_STR(rig_above(&r), ""); /* upcalls in pump only */
    CHECK_INT(next_ms(&r), 0);
    rig_turn(&r);
    CHECK_STR(rig_above(&r),
              "state DOWN UNAVAILABLE [fault: the link is down for a while], outcome 2 LOST UNAVAILABLE");
    CHECK(next_ms(&r) > 0 && next_ms(&r) <= 80);
    rig_below(&r);
    rig_send(&r, FERRY__CALL, 3);
    rig_arrive(&r, rig_frame(FERRY__POST, 9));
    r.inner.up->state(r.inner.up, FERRY__UP, FERRY_OK, "");
    rig_turn(&r);
    CHECK_STR(rig_below(&r), "flush, step, pump");
    CHECK_STR(rig_above(&r), "outcome 3 REFUSED UNAVAILABLE");
    CHECK_SOON(next_ms(&r) == 0, 1000);
    rig_turn(&r);
    CHECK_STR(rig_above(&r), "state UP OK [], frame 9 from mail");
    CHECK_INT(next_ms(&r), 5000);
    rig_send(&r, FERRY__CALL, 4);
    rig_below(&r);
    rig_close(&r);
}

/* What was accepted before the cut stays so, or a batch that is as long as the distance of two cuts would never come through. */
TEST(down_within_a_batch)
{
    rig r;
    open_fault(&r, "down=3&outage=5ms");
    for (uint64_t i = 1; i <= 4; i++)
        rig_send(&r, FERRY__CALL, i);
    rig_turn(&r);
    CHECK_STR(rig_below(&r), "send 1 body c0, send 2 body c0, send 3 body c0, flush, step, pump");
    CHECK_STR(rig_above(&r), "outcome 1 ACCEPTED OK, outcome 2 ACCEPTED OK, "
                             "state DOWN UNAVAILABLE [fault: the link is down for a while], "
                             "outcome 3 LOST UNAVAILABLE, outcome 4 REFUSED UNAVAILABLE");
    rig_close(&r);
}

TEST(under_way_when_it_goes_down)
{
    rig r;
    open_fault(&r, "down=2&outage=1h");
    r.inner.silent = true;
    rig_send(&r, FERRY__CALL, 1);
    rig_send(&r, FERRY__CALL, 2);
    rig_turn(&r);
    rig_above(&r);
    r.inner.silent = false;
    rig_turn(&r);
    CHECK_STR(rig_above(&r), "outcome 1 LOST UNAVAILABLE");
    rig_close(&r);
}

TEST(block)
{
    rig r;
    open_fault(&r, "block=1&outage=50ms");
    r.inner.up->state(r.inner.up, FERRY__UP, FERRY_OK, "");
    rig_send(&r, FERRY__CALL, 1);
    rig_turn(&r);
    CHECK_STR(rig_above(&r), "state UP OK [], outcome 1 ACCEPTED OK, "
                             "state BLOCKED OVERLOADED [fault: the broker takes nothing for a while]");
    rig_send(&r, FERRY__CALL, 2);
    rig_arrive(&r, rig_frame(FERRY__POST, 9));
    rig_turn(&r);
    CHECK_STR(rig_above(&r), "frame 9 from mail, outcome 2 REFUSED OVERLOADED");
    CHECK_SOON(next_ms(&r) == 0, 1000);
    rig_turn(&r);
    CHECK_STR(rig_above(&r), "state UP OK []");
    rig_close(&r);
}

/* The end of an outage tells what the wrapped one said meanwhile. */
TEST(down_below_too)
{
    rig r;
    open_fault(&r, "down=1&outage=5ms");
    rig_send(&r, FERRY__CALL, 1);
    rig_turn(&r);
    r.inner.up->state(r.inner.up, FERRY__DOWN, FERRY_DENIED, "wrong password");
    rig_above(&r);
    CHECK_SOON(next_ms(&r) == 0, 1000);
    rig_turn(&r);
    CHECK_STR(rig_above(&r), "state DOWN DENIED [wrong password]");
    rig_close(&r);
}

TEST(unlisten_while_down)
{
    rig r;
    open_fault(&r, "down=1&outage=1h");
    rig_send(&r, FERRY__CALL, 1);
    rig_turn(&r);
    rig_arrive(&r, rig_frame(FERRY__POST, 8));
    ferry__source other = {.lane = FERRY__POSTS, .name = "other"};
    ferry__frame *f = rig_frame(FERRY__POST, 9);
    r.inner.up->frame(r.inner.up, &other, f);
    rig_below(&r);
    rig_above(&r);
    r.outer->unlisten(r.self, &r.source);
    CHECK_STR(rig_below(&r), "hand_back 8, unlisten mail");
    rig_turn(&r);
    CHECK_STR(rig_above(&r), ""); /* the core never had it, so its return is not told */
    rig_close(&r);                /* with 9 still waiting */
}

/* ---- The table, memory, the end ------------------------------------------------------------------------------------- */

/* The order of the settings is the order of the enum. */
TEST(settings_name_their_faults)
{
    static const struct {
        const char *name;
        ferry__fault_kind kind;
    } rows[] = {
        {"drop", FERRY__DROP},
        {"refuse", FERRY__REFUSE},
        {"lose", FERRY__LOSE},
        {"vanish", FERRY__VANISH},
        {"dup", FERRY__DUP},
        {"corrupt", FERRY__CORRUPT},
        {"reorder", FERRY__REORDER},
        {"delay_each", FERRY__DELAY},
        {"drop_reply", FERRY__DROP_REPLY},
        {"dup_reply", FERRY__DUP_REPLY},
        {"corrupt_reply", FERRY__CORRUPT_REPLY},
        {"delay_reply_each", FERRY__DELAY_REPLY},
        {"lose_settle", FERRY__LOSE_SETTLE},
        {"lose_probe", FERRY__LOSE_PROBE},
        {"down", FERRY__TAKE_DOWN},
        {"block", FERRY__BLOCK},
    };
    CHECK_UINT(sizeof rows / sizeof rows[0], FERRY__FAULTS);
    for (size_t i = 0; i < FERRY__FAULTS; i++)
        CHECK_STR(ferry__fault_backend.settings[rows[i].kind].name, rows[i].name);
    for (const ferry__setting *s = ferry__fault_backend.settings; s->name; s++)
        CHECK(s->about && *s->about);
}

/* Without memory for a fault there is none, and every frame still has its one outcome. */
static void all_faults(void *arg)
{
    static const char *const queries[] = {"drop=1",          "refuse=1",      "lose=1",       "vanish=1",
                                          "dup=1",           "corrupt=1",     "reorder=1",    "delay=1ms",
                                          "down=1",          "block=1",       "drop_reply=1", "dup_reply=1",
                                          "corrupt_reply=1", "delay_reply=1", "lose_settle=1"};
    rig r;
    (void)arg;
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++) {
        char url[64];
        snprintf(url, sizeof url, "fault+mem:x?%s", queries[i]);
        if (rig_open(&r, url, true) != FERRY_OK) {
            CHECK(test_alloc_failed());
            rig_close(&r);
            return;
        }
        bool sent = rig_send(&r, FERRY__CALL, 1);
        rig_send(&r, FERRY__REPLY, 2);
        ferry__frame *f = rig_frame(FERRY__POST, 3);
        if (f)
            r.outer->settle(r.self, f);
        for (int64_t end = ferry__now_ms() + 2000; sent && !strstr(r.above, "outcome 1") && ferry__now_ms() < end;)
            rig_turn(&r);
        CHECK_HAS(r.above, sent ? "outcome 1" : "");
        rig_close(&r);
        if (test_alloc_failed())
            return;
    }
}

TEST_WITH(every_allocation_may_fail, .limit_ms = 60000)
{
    test_every_alloc_fails(all_faults, NULL);
}

TEST(abandoned_in_a_child)
{
    rig r;
    open_fault(&r, "delay=1h&dup_reply=1");
    rig_send(&r, FERRY__CALL, 1);
    r.outer->abandon(r.self);
    memset(r.self, 0, r.outer->state_size);
    rig_close(&r);
}
