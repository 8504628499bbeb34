/* The file transport's events: groups, broadcasts, positions, retries. */
#include "file_event_kit.h"

#include "base/clock.h"

#include <stdlib.h>
#include <unistd.h>

#define B file_backend

/* ---- order and sharing ---- */

static void take_all(side *s, int *seen, int *last, int parts)
{
    for (ferry__frame *f; (f = ferry__frames_take(&s->got));) {
        int i = event_number(f), part = i % parts;
        seen[i]++;
        if (part && last[part] >= i)
            FAIL("%d of part %d after %d", i, part, last[part]);
        last[part] = i;
        B->settle(s->file, f);
        B->credit(s->file, (ferry__source *)f->from, 1);
    }
}

static int sum(const int *seen, int n)
{
    int all = 0;
    for (int i = 0; i < n; i++)
        all += seen[i] > 0;
    return all;
}

TEST(group_shares_and_keeps_order)
{
    event_sub ea, eb;
    side *c = file_up(DB), *a = event_subscriber(&ea, "billing", FERRY_FROM_EARLIEST, 20),
         *b = event_subscriber(&eb, "billing", FERRY_FROM_EARLIEST, 20);
    enum { N = 2000, PARTS = 9 };
    static int seen[N], by_a[N], by_b[N], last[PARTS];
    for (int i = 0; i < 10; i++)
        file_turns(a, b);
    event_publish_many(c, 0, N, PARTS);
    for (int64_t end = test_now_ms() + test_ms(5000); sum(by_a, N) + sum(by_b, N) < N;) {
        if (!test_pause(end))
            FAIL("%d and %d came", sum(by_a, N), sum(by_b, N));
        file_turns(a, b);
        take_all(a, by_a, last, PARTS);
        take_all(b, by_b, last, PARTS);
    }
    for (int i = 0; i < N; i++)
        if ((seen[i] = by_a[i] + by_b[i]) != 1)
            FAIL("%d came %d times", i, seen[i]);
    CHECK(sum(by_a, N) > N / 3 && sum(by_b, N) > N / 3);
    FILE_UNTIL(a, b, event_lag(c, "billing", NULL) == 0);
    file_end(a);
    file_end(b);
    file_end(c);
}

TEST(members_of_one_handle_share)
{
    event_sub ea, eb;
    side *c = event_subscriber(&ea, "billing", FERRY_FROM_EARLIEST, 1000);
    event_subscribe(c, &eb, "billing", FERRY_FROM_EARLIEST, 1000);
    event_idle(c);
    event_publish_many(c, 0, 300, 9);
    FILE_UNTIL(c, NOBODY, c->got.count == 300);
    int first = 0;
    for (ferry__frame *f = c->got.first; f; f = f->next)
        first += f->from == &ea.source;
    CHECK(first > 100 && first < 200);
    event_settle_all(c);
    file_end(c);
}

TEST(one_who_leaves_makes_room)
{
    event_sub ea, eb;
    side *c = file_up(DB), *a = event_subscriber(&ea, "billing", FERRY_FROM_EARLIEST, 10);
    side *b = event_subscriber(&eb, "billing", FERRY_FROM_EARLIEST, 1000);
    event_publish_many(c, 0, 100, 9);
    for (int i = 0; i < 10; i++)
        file_turns(a, b);
    CHECK_INT(a->got.count, 10);
    for (int i = 0; i < 4; i++)
        B->settle(a->file, ferry__frames_take(&a->got));
    B->unlisten(a->file, &ea.source);
    for (int i = 0; i < 2; i++)
        B->settle(a->file, ferry__frames_take(&a->got)); /* what was handed up stays ours */
    while (a->got.first)
        B->hand_back(a->file, ferry__frames_take(&a->got));
    FILE_UNTIL(a, b, b->got.count == 94);
    for (ferry__frame *f = b->got.first; f; f = f->next)
        CHECK(f->attempt == 0 && !f->maybe);
    event_settle_all(b);
    FILE_UNTIL(a, b, event_lag(c, "billing", NULL) == 0);
    CHECK_INT(a->settled, 10);
    file_end(a);
    file_end(b);
    file_end(c);
}

TEST(position_of_a_group_survives_all_members)
{
    event_sub e;
    side *c = file_up(DB), *a = event_subscriber(&e, "billing", FERRY_FROM_NEW, 100);
    event_publish_many(c, 0, 10, 3);
    FILE_UNTIL(a, NOBODY, a->got.count == 10);
    for (int i = 0; i < 7; i++)
        B->settle(a->file, ferry__frames_take(&a->got));
    file_end(a);
    file_end(c);
    unlink(test_text("%s-page", DB)); /* as after a boot */
    a = event_subscriber(&e, "billing", FERRY_FROM_NEW, 100);
    FILE_UNTIL(a, NOBODY, a->got.count == 3);
    CHECK_INT(a->caught_up, 0);
    event_settle_all(a);
    FILE_UNTIL(a, NOBODY, a->caught_up == 1);
    CHECK_INT(event_lag(a, "billing", NULL), 0);
    file_end(a);
}

TEST(handed_back_comes_again_in_order)
{
    event_sub e;
    side *a = event_subscriber(&e, "billing", FERRY_FROM_EARLIEST, 3);
    event_publish_many(a, 0, 5, 1);
    FILE_UNTIL(a, NOBODY, a->got.count == 3);
    ferry__frame *f[3];
    for (int i = 0; i < 3; i++)
        f[i] = ferry__frames_take(&a->got);
    B->settle(a->file, f[1]);
    B->hand_back(a->file, f[2]);
    B->hand_back(a->file, f[0]);
    B->credit(a->file, &e.source, 3);
    event_check_next(a, "0");
    event_check_next(a, "2");
    event_check_next(a, "3");
    event_idle(a);
    CHECK_INT(event_lag(a, "billing", NULL), 1);
    file_end(a);
}

/* ---- where to start ---- */

TEST(broadcast_from_everywhere)
{
    event_sub early, late, timed, placed;
    side *c = file_up(DB);
    event_publish_many(c, 0, 3, 3);
    int64_t stored = ferry__wall_ms(), then = stored;
    for (int64_t end = test_now_ms() + test_ms(5000); then <= stored; then = ferry__wall_ms()) /* its ticks are coarse */
        CHECK(test_pause(end));
    side *n = event_subscriber(&late, NULL, FERRY_FROM_NEW, 10),
         *a = event_subscriber(&early, NULL, FERRY_FROM_EARLIEST, 10);
    FILE_UNTIL(n, NOBODY, n->caught_up == 1);
    event_publish_many(c, 3, 5, 3);
    for (int i = 0; i < 5; i++)
        event_check_next(a, test_text("%d", i));
    event_check_next(n, "3");
    event_check_next(n, "4");
    FILE_UNTIL(a, NOBODY, a->caught_up == 1);
    side *t = file_up(DB), *p = file_up(DB);
    timed = late;
    timed.wish.from = FERRY_FROM_TIME;
    timed.wish.time_ms = then;
    timed.source.wish = &timed.wish;
    B->listen(t->file, &timed.source);
    B->credit(t->file, &timed.source, 10);
    event_check_next(t, "3");
    ferry__admin where = {.ask = FERRY__LAG, .source = &timed.source};
    FILE_UNTIL(t, NOBODY, t->settled == 1);
    event_ask(t, &where);
    const ferry_value *one = ferry_at(where.answer, 0);
    CHECK_INT(ferry_as_int(ferry_find(one, "lag"), -1), 1);
    placed = late;
    placed.wish.from = FERRY_FROM_POSITION;
    placed.wish.position = ferry_as_string(ferry_find(one, "position"), "");
    placed.source.wish = &placed.wish;
    B->listen(p->file, &placed.source);
    B->credit(p->file, &placed.source, 10);
    event_check_next(p, "4");
    FILE_UNTIL(p, NOBODY, p->caught_up == 1);
    ferry_value_free(where.answer);
    file_end(n);
    file_end(a);
    file_end(t);
    file_end(p);
    file_end(c);
}

TEST(seek_moves_a_group)
{
    event_sub e;
    char position[24];
    side *a = event_subscriber(&e, "billing", FERRY_FROM_EARLIEST, 100);
    event_publish_many(a, 0, 20, 9);
    FILE_UNTIL(a, NOBODY, a->got.count == 20);
    ferry__frame *up = ferry__frames_take(&a->got);
    event_settle_all(a);
    CHECK_INT(event_lag(a, "billing", position), 1);
    CHECK_STR(position, "0");
    event_seek(a, &e, FERRY_FROM_POSITION, "15");
    FILE_UNTIL(a, NOBODY, a->ready == 2 && a->got.count == 5);
    CHECK_STR(file_body(a->got.first), "15");
    event_settle_all(a);
    B->settle(a->file, up);
    FILE_UNTIL(a, NOBODY, event_lag(a, "billing", position) == 0);
    CHECK_STR(position, "20");
    CHECK_INT(a->caught_up, 2);
    CHECK_INT(a->settled, 25);
    event_seek(a, &e, FERRY_FROM_EARLIEST, NULL);
    FILE_UNTIL(a, NOBODY, a->got.count == 20);
    event_seek(a, &e, FERRY_FROM_NEW, NULL);
    FILE_UNTIL(a, NOBODY, a->ready == 4);
    CHECK_INT(event_lag(a, "billing", NULL), 0);
    file_end(a);
    a = event_subscriber(&e, "billing", FERRY_FROM_EARLIEST, 100);
    event_idle(a);
    CHECK_INT(a->got.count, 0);
    file_end(a);
}

TEST(positions_that_are_none_are_broken)
{
    event_sub e;
    side *a = event_subscriber(&e, NULL, FERRY_FROM_POSITION, 10);
    CHECK_INT(a->broken, 1);
    CHECK_STATUS(a->status, FERRY_INVALID);
    event_publish_many(a, 0, 2, 1);
    event_idle(a);
    CHECK_INT(a->got.count, 0);
    event_seek(a, &e, FERRY_FROM_POSITION, "17");
    FILE_UNTIL(a, NOBODY, a->broken == 2);
    CHECK_HAS(a->why, "not come to it");
    event_seek(a, &e, FERRY_FROM_EARLIEST, NULL);
    event_check_next(a, "0");
    file_end(a);
}

/* ---- failures ---- */

TEST(retry_comes_by_the_box)
{
    event_sub e;
    side *a = event_subscriber(&e, "billing", FERRY_FROM_EARLIEST, 10);
    ferry__source box = {.lane = FERRY__POSTS, .name = "order/billing"};
    B->listen(a->file, &box);
    B->credit(a->file, &box, 10);
    event_publish_many(a, 0, 3, 1);
    FILE_UNTIL(a, NOBODY, a->got.count == 3);
    for (int i = 0; i < 3; i++) {
        ferry__frame *f = ferry__frames_take(&a->got);
        f->attempt = 1;
        B->retry(a->file, f, 40);
    }
    FILE_UNTIL(a, NOBODY, a->settled == 3);
    CHECK_INT(event_lag(a, "billing", NULL), 0);
    CHECK_INT(a->got.count, 0);
    for (int i = 0; i < 3; i++) {
        ferry__frame *f = event_next(a);
        CHECK_STR(file_body(f), test_text("%d", i));
        CHECK_INT(f->attempt, 1);
        CHECK_INT(f->kind, FERRY__EVENT);
        CHECK(f->from == &box);
        if (i < 2)
            B->settle(a->file, f);
        else
            B->bury(a->file, f, "order/billing", "record", 6);
    }
    FILE_UNTIL(a, NOBODY, a->settled == 6);
    CHECK_INT(file_sql(DB, "SELECT (SELECT count(*) FROM message) + (SELECT count(*) FROM later)"), 0);
    CHECK_INT(file_sql(DB, "SELECT count(*) FROM dead WHERE box = 'order/billing'"), 1);
    file_end(a);
}

TEST(retry_beside_posts_that_wait)
{
    event_sub e;
    side *a = event_subscriber(&e, "billing", FERRY_FROM_EARLIEST, 10);
    ferry__source box = {.lane = FERRY__POSTS, .name = "order/billing"};
    ferry__target to = {.lane = FERRY__POSTS, .name = "order/billing"};
    B->listen(a->file, &box);
    event_publish_many(a, 0, 1, 1);
    B->send(a->file, &to, file_frame(a, FERRY__POST, "post"));
    FILE_UNTIL(a, NOBODY, a->got.count == 1 && a->accepted == 2);
    B->retry(a->file, ferry__frames_take(&a->got), 0);
    FILE_UNTIL(a, NOBODY, a->settled == 1);
    B->send(a->file, &to, file_frame(a, FERRY__POST, "later"));
    FILE_UNTIL(a, NOBODY, a->accepted == 3);
    B->credit(a->file, &box, 10);
    FILE_UNTIL(a, NOBODY, a->got.count == 3);
    event_settle_all(a);
    FILE_UNTIL(a, NOBODY, a->settled == 4);
    CHECK_INT(file_sql(DB, "SELECT (SELECT count(*) FROM message) + (SELECT count(*) FROM later)"), 0);
    file_end(a);
}

TEST(buried_event_lets_the_cursor_pass)
{
    event_sub e, all;
    side *a = event_subscriber(&e, "billing", FERRY_FROM_EARLIEST, 10),
         *b = event_subscriber(&all, NULL, FERRY_FROM_EARLIEST, 10);
    event_publish_many(a, 0, 1, 1);
    B->bury(a->file, event_next(a), "order/billing", "record", 6);
    B->bury(b->file, event_next(b), "order/@unit", "record", 6);
    FILE_UNTIL(a, b, a->settled == 1 && b->settled == 1);
    CHECK_INT(file_sql(DB, "SELECT count(*) FROM dead"), 2);
    CHECK_INT(event_lag(a, "billing", NULL), 0);
    file_end(a);
    file_end(b);
}

TEST(unfinished_one_does_not_stop_the_rest)
{
    event_sub e;
    side *a = event_subscriber(&e, "billing", FERRY_FROM_EARLIEST, 100);
    enum { N = 20000 }; /* more than the journal has entries */
    ferry__frame *slow = NULL;
    int came = 0;
    for (int i = 0; i < N; i += 500)
        event_publish_many(a, i, i + 500, 2);
    for (int64_t end = test_now_ms() + test_ms(8000); came < N;) {
        if (!test_pause(end))
            FAIL("%d came", came);
        file_turn(a);
        for (ferry__frame *f; (f = ferry__frames_take(&a->got)); came++) {
            if (!slow && f->partition == 1) {
                slow = f;
                continue;
            }
            B->settle(a->file, f);
            B->credit(a->file, &e.source, 1);
        }
    }
    CHECK_INT(event_lag(a, "billing", NULL), 10000 - 0); /* what stands behind it on its track */
    B->settle(a->file, slow);
    FILE_UNTIL(a, NOBODY, event_lag(a, "billing", NULL) == 0);
    file_end(a);
}

TEST(repeated_event_is_dropped)
{
    side *a = file_up(DB);
    ferry__frame *f = file_frame(a, FERRY__EVENT, "once");
    for (int i = 1; i <= 2; i++) {
        B->send(a->file, &a->events, ferry__frame_ref(f));
        FILE_UNTIL(a, NOBODY, a->accepted == (size_t)i);
    }
    ferry__frame_unref(f);
    CHECK_INT(file_sql(DB, "SELECT sum(count) FROM event"), 1);
    file_end(a);
}
