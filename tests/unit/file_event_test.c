/* The file transport's events: groups, broadcasts, positions, retries, trimming, topics; and what a killed member leaves. */
#include "file_kit.h"

#include "backends/file/event.h"
#include "base/clock.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define B file_backend
#define DB test_text("%s/unit.db", test_dir())

/* ---- subscriptions ---- */

typedef struct sub {
    ferry__wish   wish;
    ferry__source source;
} sub;

static void subscribe(side *s, sub *e, const char *group, int from, int credit)
{
    *e = (sub){.wish = {.group = group, .box = group ? "order/billing" : "order/@unit", .pattern = "order.**"}};
    e->wish.from = from;
    e->source = (ferry__source){.lane = FERRY__EVENTS, .name = "order", .wish = &e->wish};
    CHECK_STATUS(B->listen(s->file, &e->source), FERRY_OK);
    B->credit(s->file, &e->source, credit);
    size_t was = s->ready + s->broken;
    FILE_UNTIL(s, NOBODY, s->ready + s->broken > was);
}

static side *subscriber(sub *e, const char *group, int from, int credit)
{
    side *s = file_up(DB);
    subscribe(s, e, group, from, credit);
    return s;
}

static void publish(side *s, const char *body, uint32_t part)
{
    ferry__frame *f = file_frame(s, FERRY__EVENT, body);
    f->verb = 0;
    f->partition = part;
    B->send(s->file, &s->events, f);
}

/* "0", "1", ...: those of `parts` parts in turn, 0 the shared one. */
static void publish_many(side *s, int from, int to, int parts)
{
    size_t was = s->accepted;
    for (int i = from; i < to; i++)
        publish(s, test_text("%d", i), (uint32_t)(i % parts));
    FILE_UNTIL(s, NOBODY, s->accepted == was + (size_t)(to - from));
}

static ferry__frame *next(side *s)
{
    FILE_UNTIL(s, NOBODY, s->got.first);
    return ferry__frames_take(&s->got);
}

static void settle_all(side *s)
{
    for (ferry__frame *f; (f = ferry__frames_take(&s->got));)
        B->settle(s->file, f);
    file_turn(s);
}

static void check_next(side *s, const char *body)
{
    ferry__frame *f = next(s);
    CHECK_STR(file_body(f), body);
    B->settle(s->file, f);
}

static void idle(side *s)
{
    for (int i = 0; i < 10; i++)
        file_turn(s);
}

static void ask(side *s, ferry__admin *a)
{
    size_t was = s->answered;
    B->more->admin(s->file, a);
    FILE_UNTIL(s, NOBODY, s->answered > was);
}

static int64_t lag_of(side *s, const char *group, char *position)
{
    ferry__admin a = {.ask = FERRY__LAG, .name = "order", .group = group};
    ask(s, &a);
    CHECK_STATUS(a.status, FERRY_OK);
    CHECK_INT(ferry_count(a.answer), 1);
    const ferry_value *one = ferry_at(a.answer, 0);
    CHECK_STR(ferry_as_string(ferry_find(one, "group"), ""), group);
    if (position)
        snprintf(position, 24, "%s", ferry_as_string(ferry_find(one, "position"), ""));
    int64_t lag = ferry_as_int(ferry_find(one, "lag"), -2);
    ferry_value_free(a.answer);
    return lag;
}

/* ---- order and sharing ---- */

static void take_all(side *s, int *seen, int *last, int parts)
{
    for (ferry__frame *f; (f = ferry__frames_take(&s->got));) {
        int i = atoi(file_body(f)), part = i % parts;
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
    sub ea, eb;
    side *c = file_up(DB), *a = subscriber(&ea, "billing", FERRY__FROM_EARLIEST, 20),
         *b = subscriber(&eb, "billing", FERRY__FROM_EARLIEST, 20);
    enum { N = 2000, PARTS = 9 };
    static int seen[N], by_a[N], by_b[N], last[PARTS];
    for (int i = 0; i < 10; i++)
        file_turns(a, b);
    publish_many(c, 0, N, PARTS);
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
    FILE_UNTIL(a, b, lag_of(c, "billing", NULL) == 0);
    file_end(a);
    file_end(b);
    file_end(c);
}

TEST(members_of_one_handle_share)
{
    sub ea, eb;
    side *c = subscriber(&ea, "billing", FERRY__FROM_EARLIEST, 1000);
    subscribe(c, &eb, "billing", FERRY__FROM_EARLIEST, 1000);
    idle(c);
    publish_many(c, 0, 300, 9);
    FILE_UNTIL(c, NOBODY, c->got.count == 300);
    int first = 0;
    for (ferry__frame *f = c->got.first; f; f = f->next)
        first += f->from == &ea.source;
    CHECK(first > 100 && first < 200);
    settle_all(c);
    file_end(c);
}

TEST(one_who_leaves_makes_room)
{
    sub ea, eb;
    side *c = file_up(DB), *a = subscriber(&ea, "billing", FERRY__FROM_EARLIEST, 10);
    side *b = subscriber(&eb, "billing", FERRY__FROM_EARLIEST, 1000);
    publish_many(c, 0, 100, 9);
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
    settle_all(b);
    FILE_UNTIL(a, b, lag_of(c, "billing", NULL) == 0);
    CHECK_INT(a->settled, 10);
    file_end(a);
    file_end(b);
    file_end(c);
}

TEST(position_of_a_group_survives_all_members)
{
    sub e;
    side *c = file_up(DB), *a = subscriber(&e, "billing", FERRY__FROM_NEW, 100);
    publish_many(c, 0, 10, 3);
    FILE_UNTIL(a, NOBODY, a->got.count == 10);
    for (int i = 0; i < 7; i++)
        B->settle(a->file, ferry__frames_take(&a->got));
    file_end(a);
    file_end(c);
    unlink(test_text("%s-page", DB)); /* as after a boot */
    a = subscriber(&e, "billing", FERRY__FROM_NEW, 100);
    FILE_UNTIL(a, NOBODY, a->got.count == 3);
    CHECK_INT(a->caught_up, 0);
    settle_all(a);
    FILE_UNTIL(a, NOBODY, a->caught_up == 1);
    CHECK_INT(lag_of(a, "billing", NULL), 0);
    file_end(a);
}

TEST(handed_back_comes_again_in_order)
{
    sub e;
    side *a = subscriber(&e, "billing", FERRY__FROM_EARLIEST, 3);
    publish_many(a, 0, 5, 1);
    FILE_UNTIL(a, NOBODY, a->got.count == 3);
    ferry__frame *f[3];
    for (int i = 0; i < 3; i++)
        f[i] = ferry__frames_take(&a->got);
    B->settle(a->file, f[1]);
    B->hand_back(a->file, f[2]);
    B->hand_back(a->file, f[0]);
    B->credit(a->file, &e.source, 3);
    check_next(a, "0");
    check_next(a, "2");
    check_next(a, "3");
    idle(a);
    CHECK_INT(lag_of(a, "billing", NULL), 1);
    file_end(a);
}

/* ---- where to start ---- */

TEST(broadcast_from_everywhere)
{
    sub early, late, timed, placed;
    side *c = file_up(DB);
    publish_many(c, 0, 3, 3);
    int64_t stored = ferry__wall_ms(), then;
    while ((then = ferry__wall_ms()) <= stored) /* that clock has coarse ticks */
        usleep(500);
    side *n = subscriber(&late, NULL, FERRY__FROM_NEW, 10), *a = subscriber(&early, NULL, FERRY__FROM_EARLIEST, 10);
    FILE_UNTIL(n, NOBODY, n->caught_up == 1);
    publish_many(c, 3, 5, 3);
    for (int i = 0; i < 5; i++)
        check_next(a, test_text("%d", i));
    check_next(n, "3");
    check_next(n, "4");
    FILE_UNTIL(a, NOBODY, a->caught_up == 1);
    side *t = file_up(DB), *p = file_up(DB);
    timed = late;
    timed.wish.from = FERRY__FROM_TIME;
    timed.wish.time_ms = then;
    timed.source.wish = &timed.wish;
    B->listen(t->file, &timed.source);
    B->credit(t->file, &timed.source, 10);
    check_next(t, "3");
    ferry__admin where = {.ask = FERRY__LAG, .source = &timed.source};
    FILE_UNTIL(t, NOBODY, t->settled == 1);
    ask(t, &where);
    const ferry_value *one = ferry_at(where.answer, 0);
    CHECK_INT(ferry_as_int(ferry_find(one, "lag"), -1), 1);
    placed = late;
    placed.wish.from = FERRY__FROM_POSITION;
    placed.wish.position = ferry_as_string(ferry_find(one, "position"), "");
    placed.source.wish = &placed.wish;
    B->listen(p->file, &placed.source);
    B->credit(p->file, &placed.source, 10);
    check_next(p, "4");
    FILE_UNTIL(p, NOBODY, p->caught_up == 1);
    ferry_value_free(where.answer);
    file_end(n);
    file_end(a);
    file_end(t);
    file_end(p);
    file_end(c);
}

static void seek(side *s, sub *e, int from, const char *position)
{
    ferry__wish to = e->wish;
    to.from = from;
    to.position = position;
    B->more->seek(s->file, &e->source, &to);
}

TEST(seek_moves_a_group)
{
    sub e;
    char position[24];
    side *a = subscriber(&e, "billing", FERRY__FROM_EARLIEST, 100);
    publish_many(a, 0, 20, 9);
    FILE_UNTIL(a, NOBODY, a->got.count == 20);
    ferry__frame *up = ferry__frames_take(&a->got);
    settle_all(a);
    CHECK_INT(lag_of(a, "billing", position), 1);
    CHECK_STR(position, "0");
    seek(a, &e, FERRY__FROM_POSITION, "15");
    FILE_UNTIL(a, NOBODY, a->ready == 2 && a->got.count == 5);
    CHECK_STR(file_body(a->got.first), "15");
    settle_all(a);
    B->settle(a->file, up);
    FILE_UNTIL(a, NOBODY, lag_of(a, "billing", position) == 0);
    CHECK_STR(position, "20");
    CHECK_INT(a->caught_up, 2);
    CHECK_INT(a->settled, 25);
    seek(a, &e, FERRY__FROM_EARLIEST, NULL);
    FILE_UNTIL(a, NOBODY, a->got.count == 20);
    seek(a, &e, FERRY__FROM_NEW, NULL);
    FILE_UNTIL(a, NOBODY, a->ready == 4);
    CHECK_INT(lag_of(a, "billing", NULL), 0);
    file_end(a);
    a = subscriber(&e, "billing", FERRY__FROM_EARLIEST, 100);
    idle(a);
    CHECK_INT(a->got.count, 0);
    file_end(a);
}

TEST(positions_that_are_none_are_broken)
{
    sub e;
    side *a = subscriber(&e, NULL, FERRY__FROM_POSITION, 10);
    CHECK_INT(a->broken, 1);
    CHECK_STATUS(a->status, FERRY_INVALID);
    publish_many(a, 0, 2, 1);
    idle(a);
    CHECK_INT(a->got.count, 0);
    seek(a, &e, FERRY__FROM_POSITION, "17");
    FILE_UNTIL(a, NOBODY, a->broken == 2);
    CHECK_HAS(a->why, "not come to it");
    seek(a, &e, FERRY__FROM_EARLIEST, NULL);
    check_next(a, "0");
    file_end(a);
}

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
    sub e, g, all;
    side *c = keeper(0, 20000);
    publish_many(c, 0, 10, 1);
    side *a = subscriber(&e, NULL, FERRY__FROM_EARLIEST, 1), *b = subscriber(&g, "billing", FERRY__FROM_EARLIEST, 0);
    check_next(a, "0");
    for (int i = 10; i < 2000; i += 199)
        publish_many(c, i, i + 199, 1);
    FILE_UNTIL(c, NOBODY, file_sql(DB, "SELECT sum(length(body)) FROM event") <= 24000);
    CHECK(file_sql(DB, "SELECT sum(length(body)) FROM event") > 12000);
    B->credit(a->file, &e.source, 10);
    B->credit(b->file, &g.source, 10);
    FILE_UNTIL(a, b, a->broken == 1 && b->broken == 1);
    CHECK_HAS(a->why, "trimmed");
    CHECK_STATUS(a->status, FERRY_NOT_FOUND);
    CHECK_INT(a->got.count, 0);
    side *d = subscriber(&all, NULL, FERRY__FROM_EARLIEST, 10);
    ferry__frame *f = next(d);
    CHECK(atoi(file_body(f)) > 1000);
    seek(a, &e, FERRY__FROM_EARLIEST, NULL);
    check_next(a, file_body(f));
    ferry__frame_unref(f);
    file_end(d);
    file_end(a);
    file_end(b);
    file_end(c);
}

TEST(old_events_go)
{
    side *c = keeper(50, 0);
    publish_many(c, 0, 10, 1);
    FILE_UNTIL(c, NOBODY, file_sql(DB, "SELECT count(*) FROM event") == 0);
    publish_many(c, 10, 11, 1);
    CHECK_INT(file_sql(DB, "SELECT id & 65535 FROM event"), 11);
    file_end(c);
}

TEST(numbers_go_on_after_all_was_trimmed)
{
    side *c = keeper(50, 0);
    publish_many(c, 0, 10, 1);
    FILE_UNTIL(c, NOBODY, file_sql(DB, "SELECT count(*) FROM event") == 0);
    file_end(c);
    unlink(test_text("%s-page", DB));
    c = file_up(DB);
    publish_many(c, 10, 11, 1);
    CHECK_INT(file_sql(DB, "SELECT id & 65535 FROM event"), 11);
    file_end(c);
}

/* ---- failures ---- */

TEST(retry_comes_by_the_box)
{
    sub e;
    side *a = subscriber(&e, "billing", FERRY__FROM_EARLIEST, 10);
    ferry__source box = {.lane = FERRY__POSTS, .name = "order/billing"};
    B->listen(a->file, &box);
    B->credit(a->file, &box, 10);
    publish_many(a, 0, 3, 1);
    FILE_UNTIL(a, NOBODY, a->got.count == 3);
    for (int i = 0; i < 3; i++) {
        ferry__frame *f = ferry__frames_take(&a->got);
        f->attempt = 1;
        B->retry(a->file, f, 40);
    }
    FILE_UNTIL(a, NOBODY, a->settled == 3);
    CHECK_INT(lag_of(a, "billing", NULL), 0);
    CHECK_INT(a->got.count, 0);
    for (int i = 0; i < 3; i++) {
        ferry__frame *f = next(a);
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
    sub e;
    side *a = subscriber(&e, "billing", FERRY__FROM_EARLIEST, 10);
    ferry__source box = {.lane = FERRY__POSTS, .name = "order/billing"};
    ferry__target to = {.lane = FERRY__POSTS, .name = "order/billing"};
    B->listen(a->file, &box);
    publish_many(a, 0, 1, 1);
    B->send(a->file, &to, file_frame(a, FERRY__POST, "post"));
    FILE_UNTIL(a, NOBODY, a->got.count == 1 && a->accepted == 2);
    B->retry(a->file, ferry__frames_take(&a->got), 0);
    FILE_UNTIL(a, NOBODY, a->settled == 1);
    B->send(a->file, &to, file_frame(a, FERRY__POST, "later"));
    FILE_UNTIL(a, NOBODY, a->accepted == 3);
    B->credit(a->file, &box, 10);
    FILE_UNTIL(a, NOBODY, a->got.count == 3);
    settle_all(a);
    FILE_UNTIL(a, NOBODY, a->settled == 4);
    CHECK_INT(file_sql(DB, "SELECT (SELECT count(*) FROM message) + (SELECT count(*) FROM later)"), 0);
    file_end(a);
}

TEST(buried_event_lets_the_cursor_pass)
{
    sub e, all;
    side *a = subscriber(&e, "billing", FERRY__FROM_EARLIEST, 10), *b = subscriber(&all, NULL, FERRY__FROM_EARLIEST, 10);
    publish_many(a, 0, 1, 1);
    B->bury(a->file, next(a), "order/billing", "record", 6);
    B->bury(b->file, next(b), "order/@unit", "record", 6);
    FILE_UNTIL(a, b, a->settled == 1 && b->settled == 1);
    CHECK_INT(file_sql(DB, "SELECT count(*) FROM dead"), 2);
    CHECK_INT(lag_of(a, "billing", NULL), 0);
    file_end(a);
    file_end(b);
}

TEST(unfinished_one_does_not_stop_the_rest)
{
    sub e;
    side *a = subscriber(&e, "billing", FERRY__FROM_EARLIEST, 100);
    enum { N = 20000 }; /* more than the journal has entries */
    ferry__frame *slow = NULL;
    int came = 0;
    for (int i = 0; i < N; i += 500)
        publish_many(a, i, i + 500, 2);
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
    CHECK_INT(lag_of(a, "billing", NULL), 10000 - 0); /* what stands behind it on its track */
    B->settle(a->file, slow);
    FILE_UNTIL(a, NOBODY, lag_of(a, "billing", NULL) == 0);
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
    sub e;
    side *s = subscriber(&e, "billing", FERRY__FROM_EARLIEST, 6);
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
    ferry__frame *f = next(s);
    CHECK_STR(file_body(f), body);
    CHECK_INT(f->attempt, attempt);
    CHECK(f->maybe == maybe);
    B->settle(s->file, f);
}

TEST(events_of_a_killed_member)
{
    sub e;
    side *c = file_up(DB);
    for (int i = 0; i < 7; i++)
        publish(c, test_text("%d", i), 3);
    FILE_UNTIL(c, NOBODY, c->accepted == 7);
    for (int deaths = 1; deaths <= 2; deaths++) {
        pid_t pid = test_spawn(file_member_in_the_middle, "");
        test_wait_ready(pid);
        CHECK_INT(test_kill(pid, SIGKILL), 128 + SIGKILL);
        if (deaths == 1) /* the second has to come to the same six: of those the settled ones do not come again */
            break;
    }
    side *s = subscriber(&e, "billing", FERRY__FROM_EARLIEST, 10);
    check_left(s, "0", 1, true);
    check_left(s, "1", 0, false);
    check_left(s, "3", 1, false);
    check_left(s, "5", 0, false);
    check_left(s, "6", 0, false);
    FILE_UNTIL(s, c, lag_of(c, "billing", NULL) == 0);
    FILE_UNTIL(s, c, file_sql(DB, "SELECT count(*) FROM again") == 0);
    file_end(s);
    file_end(c);
}

TEST_CHILD(file_member_that_begins_one)
{
    sub e;
    side *s = subscriber(&e, "billing", FERRY__FROM_EARLIEST, 1);
    (void)arg;
    B->more->begin(s->file, next(s));
    linger();
}

TEST(one_that_kills_its_members_counts_attempts)
{
    sub e;
    side *c = file_up(DB);
    publish(c, "poison", 3);
    FILE_UNTIL(c, NOBODY, c->accepted == 1);
    for (int deaths = 0; deaths < 3; deaths++) {
        pid_t pid = test_spawn(file_member_that_begins_one, "");
        test_wait_ready(pid);
        CHECK_INT(test_kill(pid, SIGKILL), 128 + SIGKILL);
    }
    side *s = subscriber(&e, "billing", FERRY__FROM_EARLIEST, 10);
    check_left(s, "poison", 3, true);
    file_end(s);
    file_end(c);
}

TEST(handle_that_closes_leaves_the_rest)
{
    sub e;
    side *c = file_up(DB), *s = subscriber(&e, "billing", FERRY__FROM_EARLIEST, 6);
    publish_many(c, 0, 6, 1);
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
    s = subscriber(&e, "billing", FERRY__FROM_EARLIEST, 10);
    FILE_UNTIL(s, NOBODY, s->got.count == 4);
    idle(s);
    CHECK_INT(s->got.count, 4);
    settle_all(s);
    file_end(s);
    file_end(c);
}

/* ---- topics ---- */

TEST(topics)
{
    sub e, g;
    side *c = file_up(DB);
    ferry__admin none = {.ask = FERRY__TOPIC_DESCRIBE, .name = "order"},
                 create = {.ask = FERRY__TOPIC_CREATE, .name = "order", .partitions = 4, .keep_ms = 5000},
                 again = {.ask = FERRY__TOPIC_CREATE, .name = "order"}, describe = none,
                 list = {.ask = FERRY__TOPIC_LIST}, purge = {.ask = FERRY__TOPIC_PURGE, .name = "order"},
                 delete = {.ask = FERRY__TOPIC_DELETE, .name = "order"}, gone = delete;
    ask(c, &none);
    CHECK_STATUS(none.status, FERRY_NOT_FOUND);
    ask(c, &create);
    CHECK_INT(create.count, 1);
    ask(c, &again);
    CHECK_INT(again.count, 0);
    publish_many(c, 0, 30, 5);
    side *s = subscriber(&e, "billing", FERRY__FROM_EARLIEST, 0), *b = subscriber(&g, NULL, FERRY__FROM_EARLIEST, 0);
    ask(c, &describe);
    CHECK_INT(ferry_as_int(ferry_find(describe.answer, "partitions"), 0), 4);
    CHECK_INT(ferry_as_int(ferry_find(describe.answer, "events"), 0), 30);
    CHECK_INT(ferry_as_int(ferry_find(describe.answer, "keep_ms"), 0), 5000);
    CHECK_INT(ferry_as_int(ferry_find(ferry_at(ferry_find(describe.answer, "groups"), 0), "lag"), 0), 30);
    ask(c, &list);
    CHECK_INT(ferry_count(list.answer), 1);
    CHECK_STR(ferry_as_string(ferry_find(ferry_at(list.answer, 0), "name"), ""), "order");
    ask(c, &purge);
    CHECK_INT(purge.count, 30);
    CHECK_INT(lag_of(c, "billing", NULL), 0);
    publish_many(c, 30, 31, 1);
    B->credit(s->file, &e.source, 10);
    B->credit(b->file, &g.source, 10);
    check_next(s, "30");
    check_next(b, "30");
    FILE_UNTIL(s, b, s->caught_up == 1 && b->caught_up == 1);
    CHECK_INT(s->broken + b->broken, 0);
    ask(c, &delete);
    CHECK_INT(delete.count, 1);
    ask(c, &gone);
    CHECK_STATUS(gone.status, FERRY_NOT_FOUND);
    publish_many(c, 31, 32, 1);
    check_next(s, "31"); /* of the new topic of that name */
    check_next(b, "31");
    FILE_UNTIL(s, b, lag_of(c, "billing", NULL) == 0);
    ferry_value_free(describe.answer);
    ferry_value_free(list.answer);
    file_end(s);
    file_end(b);
    file_end(c);
}

TEST(more_parts_than_the_topic_was_made_with)
{
    sub e;
    side *c = file_up(DB);
    c->config.partitions = 2;
    publish_many(c, 0, 10, 3);
    side *s = subscriber(&e, "billing", FERRY__FROM_NEW, 100);
    idle(s);
    publish_many(c, 0, 40, 20);
    FILE_UNTIL(s, NOBODY, s->got.count == 40);
    settle_all(s);
    FILE_UNTIL(s, NOBODY, lag_of(c, "billing", NULL) == 0);
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
    const char *back[] = {"DROP TABLE topic", "DROP TABLE event", "DROP TABLE reader", "DROP TABLE again", "PRAGMA user_version = 1"};
    for (size_t i = 0; i < sizeof back / sizeof back[0]; i++)
        file_sql(DB, back[i]);
    unlink(test_text("%s-page", DB));
    side *s = file_server(DB, 10);
    FILE_UNTIL(s, NOBODY, s->got.count == 1);
    publish_many(s, 0, 3, 1);
    CHECK_INT(file_sql(DB, "PRAGMA user_version"), 2);
    file_end(s);
}
