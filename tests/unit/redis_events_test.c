/* redis_events_test.c - events on the redis transport, without the core: a Redis of the case's own. */
#include "redis_events_kit.h"

#include "base/clock.h"

#include <stdlib.h>

static const ferry__backend *const B = &ferry__redis_unix_backend;

static uint32_t all_of(side *a, side *b, side *c, uint32_t to)
{
    uint32_t n = 0;
    side *sides[] = {a, b, c};
    for (uint32_t i = 0; i < to; i++) {
        bool seen = false;
        for (int k = 0; k < 3; k++)
            seen = seen || (sides[k] && i < sides[k]->seen_room && sides[k]->seen[i]);
        n += seen;
    }
    return n;
}

TEST(a_group_from_earliest)
{
    redis_start("");
    side *p = redis_side("", NULL), *s = redis_side("", NULL);
    redis_publish_all(p, 0, 3000, 7);
    redis_publish_all(p, 3000, 4000, 0);
    redis_group(s, "order", "billing", FERRY_FROM_EARLIEST);
    REDIS_UNTIL(s, NONE, NONE, s->caught_up == 1);
    CHECK_UINT(s->distinct, 4000);
    CHECK_UINT(s->doubles, 0);
    CHECK_UINT(s->disorder, 0);
    CHECK_UINT(s->ready, 1);
    int64_t lag;
    redis_position(s, &lag);
    CHECK_INT(lag, 0);
    redis_publish_all(p, 4000, 4100, 5);
    REDIS_UNTIL(s, NONE, NONE, s->distinct == 4100);
    CHECK_UINT(s->caught_up, 1);
    redis_close_side(s);
    side *again = redis_side("", NULL); /* what was settled before a clean end does not come again */
    redis_group(again, "order", "billing", FERRY_FROM_EARLIEST);
    REDIS_UNTIL(again, NONE, NONE, again->caught_up == 1);
    CHECK_UINT(again->distinct, 0);
    redis_close_side(again);
    redis_close_side(p);
    redis_end();
}

static void new_is_exact(void (*listen)(side *s, uint32_t round))
{
    redis_start("");
    side *p = redis_side("", NULL);
    redis_publish_all(p, 0, 50, 7);
    for (uint32_t round = 1; round < 15; round++) {
        side *s = redis_side("", NULL);
        listen(s, round);
        REDIS_UNTIL(s, p, NONE, s->ready == 1);
        redis_publish_all(p, round * 100, round * 100 + 20, round % 2 ? 7 : 0);
        REDIS_UNTIL(s, NONE, NONE, s->distinct == 20 && s->caught_up == 1);
        CHECK(s->seen[round * 100]);
        redis_close_side(s);
    }
    redis_close_side(p);
    redis_end();
}

static void listen_group(side *s, uint32_t round)
{
    redis_group(s, "order", test_text("g%u", round), FERRY_FROM_NEW);
}

static void listen_broadcast(side *s, uint32_t round)
{
    (void)round;
    redis_broadcast(s, "order", FERRY_FROM_NEW);
}

TEST(new_is_exact_for_a_group)
{
    new_is_exact(listen_group);
}

TEST(new_is_exact_for_a_broadcast)
{
    new_is_exact(listen_broadcast);
}

TEST(a_broadcast_and_its_positions)
{
    redis_start("");
    side *p = redis_side("", NULL), *s = redis_side("", NULL), *t = redis_side("", NULL);
    redis_publish_all(p, 0, 2000, 7);
    redis_broadcast(s, "order", FERRY_FROM_EARLIEST);
    REDIS_UNTIL(s, NONE, NONE, s->caught_up == 1);
    CHECK_UINT(s->distinct, 2000);
    CHECK_UINT(s->disorder, 0);
    int64_t lag;
    const char *position = redis_position(s, &lag);
    CHECK_INT(lag, 0);
    s->holds = true;
    redis_publish_all(p, 2000, 2050, 3);
    REDIS_UNTIL(s, NONE, NONE, s->got.count == 50);
    CHECK_STR(redis_position(s, &lag), position); /* nothing more is finished */
    CHECK_INT(lag, 50);
    t->wish.position = position;
    redis_broadcast(t, "order", FERRY_FROM_POSITION);
    REDIS_UNTIL(t, NONE, NONE, t->caught_up == 1);
    CHECK_UINT(t->distinct, 50);
    redis_seek_to(t, FERRY_FROM_EARLIEST, NULL, 0);
    REDIS_UNTIL(t, NONE, NONE, t->caught_up == 2);
    CHECK_UINT(t->distinct, 2050);
    CHECK_UINT(t->doubles, 50);
    CHECK_UINT(t->ready, 2);
    redis_close_side(t);
    redis_close_side(s);
    redis_close_side(p);
    redis_end();
}

TEST(from_a_time)
{
    redis_start("");
    side *p = redis_side("", NULL), *s = redis_side("", NULL), *t = redis_side("", NULL);
    redis_publish_all(p, 0, 100, 7);
    int64_t before = ferry__wall_ms() + 10; /* a coarse clock */
    CHECK_SOON(ferry__wall_ms() > before + 10, 1000);
    redis_publish_all(p, 100, 130, 7);
    s->wish.time_ms = t->wish.time_ms = before;
    redis_broadcast(s, "order", FERRY_FROM_TIME);
    redis_group(t, "order", "g", FERRY_FROM_TIME);
    REDIS_UNTIL(s, t, NONE, s->caught_up == 1 && t->caught_up == 1);
    CHECK_UINT(s->distinct, 30);
    CHECK_UINT(t->distinct, 30);
    redis_close_side(t);
    redis_close_side(s);
    redis_close_side(p);
    redis_end();
}

TEST_WITH(members_come_leave_and_die, .limit_ms = 60000)
{
    enum { ALL = 60000 };
    redis_start("");
    side *p = redis_side("", NULL), *a = redis_side("", NULL), *b = redis_side("", NULL), *c;
    redis_group(a, "order", "g", FERRY_FROM_EARLIEST);
    REDIS_UNTIL(a, NONE, NONE, a->ready == 1);
    redis_publish_all(p, 0, ALL, 7);
    REDIS_UNTIL(a, NONE, NONE, a->distinct > 2000);
    redis_group(b, "order", "g", FERRY_FROM_EARLIEST);
    REDIS_UNTIL(a, b, NONE, b->distinct > 500);
    c = redis_side("", NULL);
    redis_group(c, "order", "g", FERRY_FROM_EARLIEST);
    REDIS_UNTIL(a, b, c, c->distinct > 500);
    redis_unlisten(b); /* a clean leave: nothing of it comes twice */
    REDIS_UNTIL(a, b, c, all_of(a, b, c, ALL) > ALL / 2);
    CHECK_UINT(a->doubles + b->doubles + c->doubles, 0);
    CHECK_UINT(a->distinct + b->distinct + c->distinct, all_of(a, b, c, ALL));
    uint8_t seen[ALL] = {0};
    memcpy(seen, c->seen, c->seen_room < ALL ? c->seen_room : ALL);
    uint32_t had = c->distinct;
    redis_drop(c);
    for (uint32_t i = 0; i < ALL; i++) /* what it had counts; what it had not settled may come again */
        if (seen[i] && !(i < a->seen_room && a->seen[i]) && !(i < b->seen_room && b->seen[i]))
            seen[i] = 2;
    int64_t end = test_now_ms() + test_ms(20000);
    uint32_t missing;
    do {
        CHECK(test_now_ms() < end);
        redis_turn(a);
        redis_turn(b);
        missing = 0;
        for (uint32_t i = 0; i < ALL; i++)
            missing += !seen[i] && !(i < a->seen_room && a->seen[i]) && !(i < b->seen_room && b->seen[i]);
    } while (missing);
    int64_t lag = -1;
    REDIS_UNTIL(a, b, NONE, (redis_position(a, &lag), lag == 0));
    uint32_t all = a->distinct + b->distinct + had;
    test_note("%u handled for %u", all, ALL);
    CHECK(all < ALL + 3000);
    redis_close_side(a);
    redis_close_side(b);
    redis_close_side(p);
    redis_end();
}

TEST(a_retry_comes_by_posts_and_a_dead_letter_is_kept)
{
    redis_start("");
    side *p = redis_side("", NULL), *s = redis_side("", NULL);
    redis_group(s, "order", "g", FERRY_FROM_EARLIEST);
    s->holds = true;
    redis_publish_all(p, 0, 3, 3);
    REDIS_UNTIL(s, NONE, NONE, s->got.count == 3);
    ferry__frame *f = redis_take(s);
    uint32_t number = redis_number(f), part = f->partition;
    f->attempt = 1;
    B->retry(s->self, f, 50);
    B->bury(s->self, redis_take(s), s->box, "why", 4);
    B->hand_back(s->self, redis_take(s));
    REDIS_UNTIL(s, NONE, NONE, s->retried.count == 1 && s->got.count == 1);
    f = ferry__frames_take(&s->retried);
    CHECK_INT(f->kind, FERRY__EVENT);
    CHECK_UINT(redis_number(f), number);
    CHECK_UINT(f->attempt, 1);
    CHECK_UINT(f->partition, part);
    CHECK_STR(ferry__frame_text(f, f->route), "order.created");
    B->settle(s->self, f);
    f = redis_take(s);
    CHECK_UINT(f->attempt, 0);
    B->settle(s->self, f);
    int64_t lag = -1;
    REDIS_UNTIL(s, NONE, NONE, (redis_position(s, &lag), lag == 0));
    ferry__admin dead = redis_ask(s, (ferry__admin){.ask = FERRY__DEAD_BROWSE, .limit = 10});
    CHECK_UINT(ferry_count(dead.answer), 1);
    CHECK_STR(ferry_as_string(ferry_at(ferry_at(dead.answer, 0), 1), ""), "order/g");
    ferry_value_free(dead.answer);
    redis_close_side(s);
    redis_close_side(p);
    redis_end();
}

TEST(a_broadcast_keeps_dead_letters_and_takes_back)
{
    redis_start("");
    side *p = redis_side("", NULL), *s = redis_side("", NULL);
    redis_broadcast(s, "order", FERRY_FROM_NEW);
    REDIS_UNTIL(s, NONE, NONE, s->ready == 1);
    s->holds = true;
    redis_publish_all(p, 0, 4, 1);
    REDIS_UNTIL(s, NONE, NONE, s->got.count == 4);
    ferry__frame *first = redis_take(s), *second = redis_take(s);
    B->hand_back(s->self, second);
    B->hand_back(s->self, first);
    B->bury(s->self, redis_take(s), "order/@me", "why", 4);
    B->settle(s->self, redis_take(s));
    B->credit(s->self, &s->events, 10);
    REDIS_UNTIL(s, NONE, NONE, s->settled == 4 && s->got.count == 2);
    CHECK_UINT(redis_number(s->got.first), 0);
    CHECK_HAS(redis_says("smembers ferry:services"), "order/@me");
    CHECK_HAS(redis_says("xlen \"ferry:{order/@me}:dead\""), "1");
    B->settle(s->self, redis_take(s));
    B->settle(s->self, redis_take(s));
    redis_close_side(s);
    redis_close_side(p);
    redis_end();
}

/* ---- Retention ------------------------------------------------------------------------------------------------------ */

static void keep_little(ferry__config *c)
{
    c->keep_bytes = 20000;
}

static void keep_briefly(ferry__config *c)
{
    c->keep_ms = 300;
}

TEST(a_position_that_was_trimmed_away_is_broken)
{
    redis_start("");
    side *p = redis_side("", keep_little), *s = redis_side("", NULL), *t = redis_side("", NULL),
         *u = redis_side("", NULL);
    redis_group(u, "order", "slow", FERRY_FROM_EARLIEST); /* u makes it: its limits would hold */
    redis_close_side(u);
    CHECK_HAS(redis_says("ping"), "PONG");
    u = redis_side("", NULL);
    ferry__admin gone = redis_ask(p, (ferry__admin){.ask = FERRY__TOPIC_DELETE, .name = "order"});
    CHECK(gone.status == FERRY_OK || gone.status == FERRY_NOT_FOUND);
    redis_publish_all(p, 0, 50, 1);
    redis_group(u, "order", "slow", FERRY_FROM_EARLIEST);
    redis_broadcast(s, "order", FERRY_FROM_EARLIEST);
    REDIS_UNTIL(u, s, NONE, u->distinct == 50 && s->distinct == 50);
    const char *position = redis_position(s, NULL);
    redis_close_side(u);
    redis_publish_all(p, 50, 3000, 1);
    redis_publish_all(p, 3000, 6000, 3);
    REDIS_UNTIL(p, NONE, NONE, strtol(redis_says("xlen \"ferry:{order}:events:3\""), NULL, 10) < 1000);
    REDIS_UNTIL(s, NONE, NONE, s->broken == 1); /* it did not look for a while */
    CHECK_STATUS(s->status, FERRY_NOT_FOUND);
    t->wish.position = position;
    redis_broadcast(t, "order", FERRY_FROM_POSITION);
    REDIS_UNTIL(t, NONE, NONE, t->broken == 1);
    u = redis_side("", NULL);
    redis_group(u, "order", "slow", FERRY_FROM_EARLIEST);
    REDIS_UNTIL(u, NONE, NONE, u->broken == 1);
    CHECK_UINT(u->ready, 0);
    CHECK_UINT(u->distinct + t->distinct, 0);
    redis_seek_to(u, FERRY_FROM_EARLIEST, NULL, 0);
    redis_seek_to(t, FERRY_FROM_EARLIEST, NULL, 0);
    REDIS_UNTIL(u, t, NONE, u->caught_up == 1 && t->caught_up == 1);
    CHECK(u->distinct > 0);
    CHECK_UINT(u->distinct, t->distinct);
    CHECK(u->seen[5999]);
    redis_close_side(s);
    redis_close_side(t);
    redis_close_side(u);
    redis_close_side(p);
    redis_end();
}

TEST(retention_overtakes_a_member)
{
    redis_start("");
    side *p = redis_side("", keep_briefly), *s = redis_side("", NULL);
    redis_publish_all(p, 0, 1, 1);
    redis_group(s, "order", "slow", FERRY_FROM_EARLIEST);
    s->holds = true;
    REDIS_UNTIL(s, p, NONE, s->ready == 1 && s->got.count == 1);
    B->credit(s->self, &s->events, -63); /* no room for more */
    redis_publish_all(p, 1, 200, 1);
    REDIS_UNTIL(p, s, NONE, strtol(redis_says("xlen \"ferry:{order}:events:2\""), NULL, 10) == 0);
    B->settle(s->self, redis_take(s));
    B->credit(s->self, &s->events, 64);
    REDIS_UNTIL(p, s, NONE, s->broken == 1);
    CHECK_STATUS(s->status, FERRY_NOT_FOUND);
    CHECK(s->distinct < 200);
    s->holds = false;
    while (s->got.count)
        B->settle(s->self, redis_take(s));
    B->credit(s->self, &s->events, 64);
    redis_seek_to(s, FERRY_FROM_EARLIEST, NULL, 0);
    REDIS_UNTIL(p, s, NONE, s->ready == 2);
    redis_publish_all(p, 200, 201, 1);
    REDIS_UNTIL(p, s, NONE, s->seen[200] == 1);
    redis_close_side(s);
    redis_close_side(p);
    redis_end();
}

/* ---- Topics --------------------------------------------------------------------------------------------------------- */

TEST(topics)
{
    redis_start("");
    side *p = redis_side("", NULL), *s = redis_side("", NULL);
    ferry__admin a =
        redis_ask(p, (ferry__admin){.ask = FERRY__TOPIC_CREATE, .name = "order", .partitions = 3, .keep_ms = 86400000});
    CHECK_STATUS(a.status, FERRY_OK);
    CHECK_INT(a.count, 1);
    a = redis_ask(p, (ferry__admin){.ask = FERRY__TOPIC_CREATE, .name = "order", .partitions = 5});
    CHECK_INT(a.count, 0);
    a = redis_ask(p, (ferry__admin){.ask = FERRY__TOPIC_LIST});
    CHECK_UINT(ferry_count(a.answer), 1);
    CHECK_INT(ferry_as_int(ferry_find(ferry_at(a.answer, 0), "partitions"), 0), 3);
    ferry_value_free(a.answer);
    redis_group(s, "order", "g", FERRY_FROM_NEW);
    REDIS_UNTIL(s, NONE, NONE, s->ready == 1);
    redis_publish_all(p, 0, 100, 8); /* eight parts of ours on three of its */
    REDIS_UNTIL(s, NONE, NONE, s->distinct == 100);
    CHECK_UINT(s->disorder, 0);
    a = redis_ask(p, (ferry__admin){.ask = FERRY__TOPIC_DESCRIBE, .name = "order"});
    CHECK_INT(ferry_as_int(ferry_find(a.answer, "events"), 0), 100);
    CHECK_INT(ferry_as_int(ferry_find(a.answer, "keep_ms"), 0), 86400000);
    CHECK_UINT(ferry_count(ferry_find(a.answer, "groups")), 1);
    ferry_value_free(a.answer);
    a = redis_ask(p, (ferry__admin){.ask = FERRY__TOPIC_PURGE, .name = "order"});
    CHECK_INT(a.count, 100);
    redis_publish_all(p, 100, 200, 8);
    REDIS_UNTIL(s, NONE, NONE, s->distinct == 200);
    a = redis_ask(p, (ferry__admin){.ask = FERRY__TOPIC_DELETE, .name = "order"});
    CHECK_INT(a.count, 1);
    a = redis_ask(p, (ferry__admin){.ask = FERRY__TOPIC_DELETE, .name = "order"});
    CHECK_STATUS(a.status, FERRY_NOT_FOUND);
    a = redis_ask(p, (ferry__admin){.ask = FERRY__LAG, .name = "order"});
    CHECK_STATUS(a.status, FERRY_NOT_FOUND);
    CHECK_UINT(s->broken, 0);
    redis_close_side(s);
    redis_close_side(p);
    redis_end();
}

/* ---- A killed Redis ------------------------------------------------------------------------------------------------- */

TEST_WITH(a_killed_redis_loses_nothing, .limit_ms = 60000)
{
    enum { ALL = 6000 };
    redis_start("--appendfsync always");
    side *p = redis_side("", NULL), *s = redis_side("", NULL), *t = redis_side("", NULL);
    redis_group(s, "order", "g", FERRY_FROM_EARLIEST);
    redis_broadcast(t, "order", FERRY_FROM_EARLIEST);
    REDIS_UNTIL(s, t, NONE, s->ready == 1 && t->ready == 1);
    for (uint32_t n = 0, kills = 0; n < ALL || p->accepted < ALL;) {
        for (int i = 0; i < 50 && n < ALL; i++, n++)
            redis_publish(p, n, n % 7 + 1);
        redis_turn(p);
        redis_turn(s);
        redis_turn(t);
        if (kills < 3 && n >= ALL * (kills + 1) / 4) {
            redis_kill();
            redis_start("--appendfsync always");
            kills++;
        }
    }
    REDIS_UNTIL(s, t, NONE, s->distinct == ALL && t->distinct == ALL);
    CHECK(s->ready > 1 && t->ready > 1);
    CHECK_UINT(t->doubles, 0); /* what was stored, and not confirmed, was not stored again */
    CHECK_UINT(s->broken + t->broken, 0);
    int64_t lag = -1;
    REDIS_UNTIL(s, t, NONE, (redis_position(s, &lag), lag == 0));
    redis_close_side(s);
    redis_close_side(t);
    redis_close_side(p);
    redis_end();
}
