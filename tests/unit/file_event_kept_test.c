/* The file transport's events: what is kept, what a killed member leaves, topics. */
#include "file_event_kit.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define B file_backend

/* ---- what is kept ---- */

static side *keeper(int64_t keep_ms, int64_t keep_bytes)
{
    side *c = file_up(DB);
    c->config.keep_ms = keep_ms;
    c->config.keep_bytes = keep_bytes;
    return c;
}

TEST(trimmed_positions_are_broken)
{
    event_sub e, g, all;
    side *c = keeper(0, 20000);
    event_publish_many(c, 0, 10, 1);
    side *a = event_subscriber(&e, NULL, FERRY_FROM_EARLIEST, 1),
         *b = event_subscriber(&g, "billing", FERRY_FROM_EARLIEST, 0);
    event_check_next(a, "0");
    for (int i = 10; i < 2000; i += 199)
        event_publish_many(c, i, i + 199, 1);
    FILE_UNTIL(c, NOBODY, file_sql(DB, "SELECT sum(length(body)) FROM event") <= 24000);
    CHECK(file_sql(DB, "SELECT sum(length(body)) FROM event") > 12000);
    B->credit(a->file, &e.source, 10);
    B->credit(b->file, &g.source, 10);
    FILE_UNTIL(a, b, a->broken == 1 && b->broken == 1);
    CHECK_HAS(a->why, "trimmed");
    CHECK_STATUS(a->status, FERRY_NOT_FOUND);
    CHECK_INT(a->got.count, 0);
    side *d = event_subscriber(&all, NULL, FERRY_FROM_EARLIEST, 10);
    ferry__frame *f = event_next(d);
    CHECK(event_number(f) > 1000);
    event_seek(a, &e, FERRY_FROM_EARLIEST, NULL);
    event_check_next(a, file_body(f));
    ferry__frame_unref(f);
    file_end(d);
    file_end(a);
    file_end(b);
    file_end(c);
}

TEST(old_events_go)
{
    side *c = keeper(50, 0);
    event_publish_many(c, 0, 10, 1);
    FILE_UNTIL(c, NOBODY, file_sql(DB, "SELECT count(*) FROM event") == 0);
    event_publish_many(c, 10, 11, 1);
    CHECK_INT(file_sql(DB, "SELECT id & 65535 FROM event"), 11);
    file_end(c);
}

TEST(numbers_go_on_after_all_was_trimmed)
{
    side *c = keeper(50, 0);
    event_publish_many(c, 0, 10, 1);
    FILE_UNTIL(c, NOBODY, file_sql(DB, "SELECT count(*) FROM event") == 0);
    file_end(c);
    unlink(test_text("%s-page", DB));
    c = file_up(DB);
    event_publish_many(c, 10, 11, 1);
    CHECK_INT(file_sql(DB, "SELECT id & 65535 FROM event"), 11);
    file_end(c);
}

/* ---- deaths ---- */

_Noreturn static void linger(void)
{
    test_ready();
    for (;;)
        pause();
}

/* Of six events of one part: the first begun, the second unread, the third settled, the fourth to be retried (not committed), the fifth
 * settled, the sixth unread. */
TEST_CHILD(file_member_in_the_middle)
{
    event_sub e;
    side *s = event_subscriber(&e, "billing", FERRY_FROM_EARLIEST, 6);
    ferry__frame *f[6];
    (void)arg;
    FILE_UNTIL(s, NOBODY, s->got.count == 6);
    for (int i = 0; i < 6; i++)
        f[i] = ferry__frames_take(&s->got);
    B->more->begin(s->file, f[0]);
    B->more->begin(s->file, f[2]);
    B->more->begin(s->file, f[3]);
    B->settle(s->file, f[2]);
    B->settle(s->file, f[4]);
    B->retry(s->file, f[3], 60000);
    linger();
}

static void check_left(side *s, const char *body, unsigned attempt, bool maybe)
{
    ferry__frame *f = event_next(s);
    CHECK_STR(file_body(f), body);
    CHECK_INT(f->attempt, attempt);
    CHECK(f->maybe == maybe);
    B->settle(s->file, f);
}

TEST(events_of_a_killed_member)
{
    event_sub e;
    side *c = file_up(DB);
    for (int i = 0; i < 7; i++)
        event_publish(c, test_text("%d", i), 3);
    FILE_UNTIL(c, NOBODY, c->accepted == 7);
    for (int deaths = 1; deaths <= 2; deaths++) {
        pid_t pid = test_spawn(file_member_in_the_middle, "");
        test_wait_ready(pid);
        CHECK_INT(test_kill(pid, SIGKILL), 128 + SIGKILL);
        if (deaths == 1) /* the second has to come to the same six: of those the settled ones do not come again */
            break;
    }
    side *s = event_subscriber(&e, "billing", FERRY_FROM_EARLIEST, 10);
    check_left(s, "0", 1, true);
    check_left(s, "1", 0, false);
    check_left(s, "3", 1, false);
    check_left(s, "5", 0, false);
    check_left(s, "6", 0, false);
    FILE_UNTIL(s, c, event_lag(c, "billing", NULL) == 0);
    FILE_UNTIL(s, c, file_sql(DB, "SELECT count(*) FROM again") == 0);
    file_end(s);
    file_end(c);
}

TEST_CHILD(file_member_that_begins_one)
{
    event_sub e;
    side *s = event_subscriber(&e, "billing", FERRY_FROM_EARLIEST, 1);
    (void)arg;
    B->more->begin(s->file, event_next(s));
    linger();
}

TEST(one_that_kills_its_members_counts_attempts)
{
    event_sub e;
    side *c = file_up(DB);
    event_publish(c, "poison", 3);
    FILE_UNTIL(c, NOBODY, c->accepted == 1);
    for (int deaths = 0; deaths < 3; deaths++) {
        pid_t pid = test_spawn(file_member_that_begins_one, "");
        test_wait_ready(pid);
        CHECK_INT(test_kill(pid, SIGKILL), 128 + SIGKILL);
    }
    side *s = event_subscriber(&e, "billing", FERRY_FROM_EARLIEST, 10);
    check_left(s, "poison", 3, true);
    file_end(s);
    file_end(c);
}

TEST(handle_that_closes_leaves_the_rest)
{
    event_sub e;
    side *c = file_up(DB), *s = event_subscriber(&e, "billing", FERRY_FROM_EARLIEST, 6);
    event_publish_many(c, 0, 6, 1);
    FILE_UNTIL(s, NOBODY, s->got.count == 6);
    ferry__frame *f[6];
    for (int i = 0; i < 6; i++)
        f[i] = ferry__frames_take(&s->got);
    B->settle(s->file, f[1]);
    B->settle(s->file, f[4]);
    B->hand_back(s->file, f[5]);
    B->more->begin(s->file, f[0]);
    file_end(s);
    for (int i = 0; i < 6; i++)
        if (i == 0 || i == 2 || i == 3)
            ferry__frame_unref(f[i]);
    s = event_subscriber(&e, "billing", FERRY_FROM_EARLIEST, 10);
    FILE_UNTIL(s, NOBODY, s->got.count == 4);
    event_idle(s);
    CHECK_INT(s->got.count, 4);
    event_settle_all(s);
    file_end(s);
    file_end(c);
}

/* ---- topics ---- */

TEST(topics)
{
    event_sub e, g;
    side *c = file_up(DB);
    ferry__admin none = {.ask = FERRY__TOPIC_DESCRIBE, .name = "order"},
                 create = {.ask = FERRY__TOPIC_CREATE, .name = "order", .partitions = 4, .keep_ms = 5000},
                 again = {.ask = FERRY__TOPIC_CREATE, .name = "order"}, describe = none,
                 list = {.ask = FERRY__TOPIC_LIST}, purge = {.ask = FERRY__TOPIC_PURGE, .name = "order"},
                 delete = {.ask = FERRY__TOPIC_DELETE, .name = "order"}, gone = delete;
    event_ask(c, &none);
    CHECK_STATUS(none.status, FERRY_NOT_FOUND);
    event_ask(c, &create);
    CHECK_INT(create.count, 1);
    event_ask(c, &again);
    CHECK_INT(again.count, 0);
    event_publish_many(c, 0, 30, 5);
    side *s = event_subscriber(&e, "billing", FERRY_FROM_EARLIEST, 0),
         *b = event_subscriber(&g, NULL, FERRY_FROM_EARLIEST, 0);
    event_ask(c, &describe);
    CHECK_INT(ferry_as_int(ferry_find(describe.answer, "partitions"), 0), 4);
    CHECK_INT(ferry_as_int(ferry_find(describe.answer, "events"), 0), 30);
    CHECK_INT(ferry_as_int(ferry_find(describe.answer, "keep_ms"), 0), 5000);
    CHECK_INT(ferry_as_int(ferry_find(ferry_at(ferry_find(describe.answer, "groups"), 0), "lag"), 0), 30);
    event_ask(c, &list);
    CHECK_INT(ferry_count(list.answer), 1);
    CHECK_STR(ferry_as_string(ferry_find(ferry_at(list.answer, 0), "name"), ""), "order");
    event_ask(c, &purge);
    CHECK_INT(purge.count, 30);
    CHECK_INT(event_lag(c, "billing", NULL), 0);
    event_publish_many(c, 30, 31, 1);
    B->credit(s->file, &e.source, 10);
    B->credit(b->file, &g.source, 10);
    event_check_next(s, "30");
    event_check_next(b, "30");
    FILE_UNTIL(s, b, s->caught_up == 1 && b->caught_up == 1);
    CHECK_INT(s->broken + b->broken, 0);
    event_ask(c, &delete);
    CHECK_INT(delete.count, 1);
    event_ask(c, &gone);
    CHECK_STATUS(gone.status, FERRY_NOT_FOUND);
    event_publish_many(c, 31, 32, 1);
    event_check_next(s, "31"); /* of the new topic of that name */
    event_check_next(b, "31");
    FILE_UNTIL(s, b, event_lag(c, "billing", NULL) == 0);
    ferry_value_free(describe.answer);
    ferry_value_free(list.answer);
    file_end(s);
    file_end(b);
    file_end(c);
}

TEST(more_parts_than_the_topic_was_made_with)
{
    event_sub e;
    side *c = file_up(DB);
    c->config.partitions = 2;
    event_publish_many(c, 0, 10, 3);
    side *s = event_subscriber(&e, "billing", FERRY_FROM_NEW, 100);
    event_idle(s);
    event_publish_many(c, 0, 40, 20);
    FILE_UNTIL(s, NOBODY, s->got.count == 40);
    event_settle_all(s);
    FILE_UNTIL(s, NOBODY, event_lag(c, "billing", NULL) == 0);
    file_end(s);
    file_end(c);
}

TEST(database_of_the_version_before_gets_the_tables)
{
    side *c = file_up(DB);
    file_end(file_server(DB, 0));
    file_post(c, "kept", 0);
    FILE_UNTIL(c, NOBODY, c->accepted == 1);
    file_end(c);
    const char *back[] = {"DROP TABLE topic", "DROP TABLE event", "DROP TABLE reader", "DROP TABLE again",
                          "PRAGMA user_version = 1"};
    for (size_t i = 0; i < sizeof back / sizeof back[0]; i++)
        file_sql(DB, back[i]);
    unlink(test_text("%s-page", DB));
    side *s = file_server(DB, 10);
    FILE_UNTIL(s, NOBODY, s->got.count == 1);
    event_publish_many(s, 0, 3, 1);
    CHECK_INT(file_sql(DB, "PRAGMA user_version"), 2);
    file_end(s);
}
