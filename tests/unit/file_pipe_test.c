/* The file transport between two handles, without the core. */
#include "file_kit.h"

#include "backends/file/batch.h"
#include "base/clock.h"

#include <poll.h>

#define B file_backend
#define DB test_text("%s/unit.db", test_dir())

TEST(call_and_answer)
{
    side *s = file_server(DB, 10), *c = file_up(DB);
    ferry__frame *call = file_call(c, "ping");
    FILE_UNTIL(c, s, s->got.count == 1);
    ferry__frame *got = ferry__frames_take(&s->got);
    CHECK_STR(file_body(got), "ping");
    CHECK_STR(ferry__frame_text(got, got->route), "calc.add");
    CHECK(got->from == &s->from_calls && !got->maybe && got->attempt == 0);
    CHECK(got->deadline_ms == call->deadline_ms);
    file_answer(s, got, "pong");
    FILE_UNTIL(c, s, c->replies.count == 1);
    CHECK_STR(file_body(c->replies.first), "pong");
    CHECK(c->replies.first->id.serial == call->id.serial && c->accepted == 1);
    FILE_UNTIL(s, c, s->settled == 1);
    ferry__frame_unref(call);
    file_end(c);
    file_end(s);
    CHECK_INT(file_sql(DB, "SELECT count(*) FROM message"), 0);
}

TEST(answers_of_a_batch_share_a_row)
{
    enum { MANY = 50 };
    side *s = file_server(DB, MANY), *c = file_up(DB);
    for (int i = 0; i < MANY; i++)
        ferry__frame_unref(file_call(c, "x"));
    FILE_UNTIL(c, s, s->got.count == MANY);
    for (ferry__frame *f; (f = ferry__frames_take(&s->got));)
        file_answer(s, f, test_text("%d", (int)f->id.serial));
    file_turn(s);
    CHECK(file_sql(DB, "SELECT count(*) FROM message WHERE id >> 40 >= 7864320") <= 2);
    FILE_UNTIL(c, s, c->replies.count == MANY);
    int n = 0;
    for (ferry__frame *f = c->replies.first; f; f = f->next)
        CHECK_STR(file_body(f), test_text("%d", ++n));
    file_end(c);
    file_end(s);
}

TEST(credit_is_never_exceeded)
{
    side *s = file_server(DB, 3), *c = file_up(DB);
    for (int i = 0; i < 10; i++)
        ferry__frame_unref(file_call(c, "x"));
    for (int i = 0; i < 20; i++) {
        file_turn(c);
        file_turn(s);
    }
    CHECK_INT(s->got.count, 3);
    B->credit(s->file, &s->from_calls, -2); /* taken back before it was used */
    B->credit(s->file, &s->from_calls, 4);
    for (int i = 0; i < 20; i++)
        file_turn(s);
    CHECK_INT(s->got.count, 5);
    file_end(c);
    file_end(s);
}

TEST(never_gone_alive)
{
    side *c = file_up(DB);
    CHECK_INT(file_presence(c, &c->calls), FERRY__NEVER);
    ferry__frame_unref(file_call(c, "x"));
    file_post(c, "x", 0);
    FILE_UNTIL(c, NOBODY, c->refused == 2);
    CHECK_STATUS(c->status, FERRY_NO_SERVICE);
    CHECK_HAS(c->why, "\"calc\"");
    side *s = file_server(DB, 1);
    CHECK_INT(file_presence(c, &c->calls), FERRY__ALIVE);
    c->presence = -1;
    file_end(s);
    FILE_UNTIL(c, NOBODY, c->presence == FERRY__GONE); /* unasked */
    file_post(c, "waits", 0);
    FILE_UNTIL(c, NOBODY, c->accepted == 1);
    s = file_server(DB, 1);
    FILE_UNTIL(s, c, s->got.count == 1);
    CHECK_STR(file_body(s->got.first), "waits");
    file_end(s);
    file_end(c);
}

TEST(withdrawn_only_while_unread)
{
    side *s = file_server(DB, 1), *c = file_up(DB);
    ferry__frame *first = file_call(c, "first"), *second = file_call(c, "second");
    FILE_UNTIL(c, s, s->got.count == 1 && c->accepted == 2);
    CHECK(!file_withdraws(c, first));
    CHECK(file_withdraws(c, second));
    CHECK(!file_withdraws(c, second));
    B->credit(s->file, &s->from_calls, 5);
    for (int i = 0; i < 10; i++)
        file_turn(s);
    CHECK_INT(s->got.count, 1);
    B->hand_back(s->file, ferry__frames_take(&s->got));
    B->credit(s->file, &s->from_calls, -5);
    FILE_UNTIL(s, NOBODY, s->settled == 1);
    CHECK(file_withdraws(c, first)); /* it is back, and was never begun */
    ferry__frame_unref(first);
    ferry__frame_unref(second);
    file_end(c);
    file_end(s);
    CHECK_INT(file_sql(DB, "SELECT count(*) FROM message"), 0);
}

TEST(withdraw_in_the_turn_of_the_send)
{
    side *s = file_server(DB, 0), *c = file_up(DB);
    ferry__frame *call = file_call(c, "x");
    CHECK(file_withdraws(c, call));
    CHECK_INT(c->accepted, 1);
    ferry__frame_unref(call);
    file_end(c);
    file_end(s);
}

TEST(handed_back_comes_first_and_in_order)
{
    side *s = file_server(DB, 3), *c = file_up(DB);
    for (int i = 1; i <= 5; i++)
        file_post(c, test_text("%d", i), 0);
    FILE_UNTIL(c, s, s->got.count == 3);
    for (ferry__frame *f; (f = ferry__frames_take(&s->got));)
        B->hand_back(s->file, f);
    FILE_UNTIL(s, NOBODY, s->settled == 3);
    B->credit(s->file, &s->from_posts, 10);
    FILE_UNTIL(s, NOBODY, s->got.count == 5);
    for (int i = 1; i <= 5; i++) {
        ferry__frame *f = ferry__frames_take(&s->got);
        CHECK_STR(file_body(f), test_text("%d", i));
        CHECK(f->attempt == 0 && !f->maybe);
        B->settle(s->file, f);
    }
    FILE_UNTIL(s, NOBODY, s->settled == 8);
    CHECK_INT(file_sql(DB, "SELECT (SELECT count(*) FROM message) + (SELECT count(*) FROM later)"), 0);
    file_end(c);
    file_end(s);
}

TEST(retried_when_due_with_its_attempts)
{
    side *s = file_server(DB, 5), *c = file_up(DB);
    file_post(c, "again", 0);
    FILE_UNTIL(c, s, s->got.count == 1);
    ferry__frame *f = ferry__frames_take(&s->got);
    f->attempt = 1;
    int64_t before = ferry__now_ms();
    B->retry(s->file, f, 120);
    while (s->got.count == 0 && ferry__now_ms() < before + test_ms(3000)) {
        file_turn(s);
        file_rest(s); /* next_ms knows when it is due */
    }
    CHECK(ferry__now_ms() >= before + 120);
    CHECK(ferry__now_ms() < before + test_ms(400));
    CHECK_INT(s->got.first->attempt, 1);
    B->settle(s->file, ferry__frames_take(&s->got));
    FILE_UNTIL(s, NOBODY, s->settled == 2);
    CHECK_INT(file_sql(DB, "SELECT (SELECT count(*) FROM message) + (SELECT count(*) FROM later)"), 0);
    file_end(c);
    file_end(s);
}

TEST(repeated_post_is_dropped)
{
    side *s = file_server(DB, 5), *c = file_up(DB);
    ferry__frame *post = file_frame(c, FERRY__POST, "once"), *twin = ferry__frame_clone(post),
                 *late = ferry__frame_clone(post);
    B->send(c->file, &c->posts, post);
    B->send(c->file, &c->posts, twin);
    FILE_UNTIL(c, s, c->accepted == 2);
    FILE_UNTIL(s, NOBODY, s->got.count == 1);
    B->settle(s->file, ferry__frames_take(&s->got));
    FILE_UNTIL(s, NOBODY, s->settled == 1);
    B->send(c->file, &c->posts, late);
    FILE_UNTIL(c, s, c->accepted == 3);
    for (int i = 0; i < 10; i++)
        file_turn(s);
    CHECK_INT(s->got.count, 0);
    file_end(c);
    file_end(s);
}

TEST(serials_far_apart_are_told_apart)
{
    side *s = file_server(DB, 100), *c = file_up(DB);
    const uint64_t serials[] = {
        1, 2, (uint64_t)1 << 19, ((uint64_t)1 << 20) + 1, (uint64_t)1 << 40, 3, ((uint64_t)1 << 40) - 5};
    for (size_t i = 0; i < sizeof serials / sizeof serials[0]; i++) {
        c->serial = serials[i] - 1;
        file_post(c, "x", 0);
        file_turn(c);
    }
    c->serial = ((uint64_t)1 << 40) - 1;
    file_post(c, "the last but two again", 0);
    FILE_UNTIL(c, s, c->accepted == 8);
    FILE_UNTIL(s, NOBODY, s->got.count == 7);
    file_end(c);
    file_end(s);
}

TEST(full_queue_is_overloaded)
{
    side *s = file_server(DB, 0), *c = file_up(DB);
    c->config.max_queued = 3;
    for (int i = 0; i < 5; i++)
        ferry__frame_unref(file_call(c, "x"));
    FILE_UNTIL(c, s, c->accepted + c->refused == 5);
    CHECK_INT(c->accepted, 3);
    CHECK_STATUS(c->status, FERRY_OVERLOADED);
    file_end(c);
    file_end(s);
}

TEST(expired_is_not_sent)
{
    side *s = file_server(DB, 5), *c = file_up(DB);
    ferry__frame *f = file_frame(c, FERRY__CALL, "late");
    f->deadline_ms = ferry__now_ms() - 1;
    B->send(c->file, &c->calls, f);
    FILE_UNTIL(c, s, c->refused == 1);
    CHECK_STATUS(c->status, FERRY_TIMEOUT);
    CHECK_INT(file_sql(DB, "SELECT count(*) FROM message"), 0);
    file_end(c);
    file_end(s);
}

TEST(controls_reach_every_member)
{
    side *a = file_server(DB, 1), *b = file_server(DB, 1), *c = file_up(DB);
    ferry__frame *f = file_frame(c, FERRY__CONTROL, "");
    uint64_t serial = f->id.serial;
    B->send(c->file, &c->controls, f);
    FILE_UNTIL(c, a, a->cancels.count == 1);
    FILE_UNTIL(b, NOBODY, b->cancels.count == 1);
    CHECK(a->cancels.first->id.serial == serial && a->cancels.first->from == &a->from_controls);
    CHECK_INT(c->accepted, 0); /* nobody asks what became of it */
    file_end(c);
    file_end(b);
    file_end(a);
}

TEST(answer_to_one_who_left_is_dropped)
{
    side *s = file_server(DB, 5), *c = file_up(DB);
    ferry__frame_unref(file_call(c, "x"));
    FILE_UNTIL(c, s, s->got.count == 1);
    file_end(c);
    file_answer(s, ferry__frames_take(&s->got), "to nobody");
    FILE_UNTIL(s, NOBODY, s->settled == 1);
    CHECK_INT(file_sql(DB, "SELECT count(*) FROM message"), 0);
    file_end(s);
}

TEST(unlisten_gives_back_what_was_claimed)
{
    side *s = file_server(DB, 5), *c = file_up(DB);
    file_post(c, "x", 0);
    FILE_UNTIL(c, NOBODY, c->accepted == 1);
    B->flush(s->file);
    B->step(s->file); /* claimed, and not yet handed up */
    B->unlisten(s->file, &s->from_posts);
    B->pump(s->file);
    for (int i = 0; i < 5; i++)
        file_turn(s);
    CHECK_INT(s->got.count, 0);
    CHECK_INT(s->settled, 0); /* the core never had it */
    CHECK_INT(file_presence(c, &c->posts), FERRY__GONE);
    CHECK_INT(file_presence(c, &c->calls), FERRY__ALIVE);
    side *next = file_server(DB, 5);
    FILE_UNTIL(next, NOBODY, next->got.count == 1);
    CHECK(!next->got.first->maybe && next->got.first->attempt == 0);
    file_end(next);
    file_end(c);
    file_end(s);
}

TEST(close_gives_back_and_marks_what_was_begun)
{
    side *s = file_server(DB, 5), *c = file_up(DB);
    file_post(c, "begun", 0);
    file_post(c, "unread", 0);
    FILE_UNTIL(c, s, s->got.count == 2);
    B->more->begin(s->file, s->got.first);
    file_end(s);
    s = file_server(DB, 5);
    FILE_UNTIL(s, NOBODY, s->got.count == 2);
    CHECK_STR(file_body(s->got.first), "begun");
    CHECK(s->got.first->maybe && s->got.first->attempt == 1);
    CHECK(!s->got.first->next->maybe && s->got.first->next->attempt == 0);
    file_end(c);
    file_end(s);
}

TEST(close_writes_what_was_noted)
{
    side *s = file_server(DB, 5), *c = file_up(DB);
    file_post(c, "last words", 0);
    file_end(c);
    FILE_UNTIL(s, NOBODY, s->got.count == 1);
    B->settle(s->file, ferry__frames_take(&s->got));
    file_end(s);
    CHECK_INT(file_sql(DB, "SELECT count(*) FROM message"), 0);
}

TEST(part_belongs_to_one_server_while_it_has_messages)
{
    side *a = file_server(DB, 1), *b = file_server(DB, 10), *c = file_up(DB);
    B->credit(b->file, &b->from_posts, -10);
    for (int i = 1; i <= 4; i++)
        file_post(c, test_text("%d", i), 3);
    FILE_UNTIL(c, a, a->got.count == 1);
    B->credit(b->file, &b->from_posts, 10);
    for (int i = 0; i < 10; i++)
        file_turn(b);
    CHECK_INT(b->got.count, 0); /* its first message is still unsettled elsewhere */
    B->settle(a->file, ferry__frames_take(&a->got));
    FILE_UNTIL(b, a, b->got.count == 3);
    for (int i = 2; i <= 4; i++) {
        ferry__frame *f = ferry__frames_take(&b->got);
        CHECK_STR(file_body(f), test_text("%d", i));
        ferry__frame_unref(f);
    }
    file_end(c);
    file_end(b);
    file_end(a);
}

TEST(bell_wakes_a_sleeping_server)
{
    side *s = file_server(DB, 5), *c = file_up(DB);
    file_turn(s);
    int64_t before = ferry__now_ms();
    file_post(c, "x", 0);
    file_turn(c);
    file_rest(s); /* rung already: returns at once, not after the 250 ms look */
    file_turn(s);
    CHECK_INT(s->got.count, 1);
    CHECK(ferry__now_ms() - before < test_ms(200));
    file_end(c);
    file_end(s);
}

TEST(one_message_wakes_one_of_many)
{
    side *a = file_server(DB, 5), *b = file_server(DB, 5), *c = file_up(DB);
    file_turn(a);
    file_turn(b);
    unsigned at_a = ferry__bell_seen(atomic_load(&a->file->bell)), at_b = ferry__bell_seen(atomic_load(&b->file->bell));
    file_post(c, "x", 0);
    file_turn(c);
    int rung = (ferry__bell_seen(atomic_load(&a->file->bell)) != at_a) +
               (ferry__bell_seen(atomic_load(&b->file->bell)) != at_b);
    CHECK_INT(rung, 1);
    file_end(c);
    file_end(b);
    file_end(a);
}

static void ask(side *s, ferry__admin *a)
{
    s->answered = 0;
    B->more->admin(s->file, a);
    FILE_UNTIL(s, NOBODY, s->answered == 1);
}

TEST(dead_letters)
{
    char id[FERRY__ID_TEXT];
    side *s = file_server(DB, 5), *c = file_up(DB);
    file_post(c, "bad", 0);
    FILE_UNTIL(c, s, s->got.count == 1);
    ferry__frame *f = ferry__frames_take(&s->got);
    ferry__id_print(&f->id, id);
    B->more->begin(s->file, f);
    B->bury(s->file, f, "calc", "record", 6);
    FILE_UNTIL(s, c, s->settled == 1);
    CHECK_INT(file_sql(DB, "SELECT count(*) FROM message"), 0);
    ferry__admin list = {.ask = FERRY__DEAD_BROWSE, .limit = 10};
    ask(c, &list);
    CHECK_INT(ferry_count(list.answer), 1);
    CHECK_STR(ferry_as_string(ferry_at(ferry_at(list.answer, 0), 1), ""), "calc");
    size_t length;
    const void *record = ferry_as_bytes(ferry_at(ferry_at(list.answer, 0), 2), &length);
    CHECK_BYTES(record, length, "record", 6);
    ferry__admin none = {.ask = FERRY__DEAD_BROWSE,
                         .name = "calc",
                         .after = ferry_as_string(ferry_at(ferry_at(list.answer, 0), 0), ""),
                         .limit = 10};
    ask(c, &none);
    CHECK_INT(ferry_count(none.answer), 0);
    ferry__admin other = {.ask = FERRY__DEAD_REMOVE, .name = "other", .id = id},
                 remove = {.ask = FERRY__DEAD_REMOVE, .name = "calc", .id = id};
    ask(c, &other);
    CHECK_INT(other.count, 0);
    ask(c, &remove);
    CHECK_INT(remove.count, 1);
    ferry_value_free(list.answer);
    ferry_value_free(none.answer);
    file_end(c);
    file_end(s);
}

TEST(doctor)
{
    side *s = file_server(DB, 5), *c = file_up(DB);
    ferry__admin a = {.ask = FERRY__DOCTOR};
    ask(c, &a);
    CHECK_STATUS(a.status, FERRY_OK);
    CHECK_STR(ferry_as_string(ferry_find(a.answer, "path"), ""), DB);
    CHECK_INT(ferry_count(ferry_find(a.answer, "handles")), 2);
    CHECK(ferry_as_bool(ferry_find(ferry_find(ferry_find(a.answer, "services"), "ferry:calc"), "served"), false));
    ferry_value_free(a.answer);
    file_end(c);
    file_end(s);
}

TEST(descriptor_for_foreign_loops)
{
    side *s = file_server(DB, 5), *c = file_up(DB);
    int fd = B->fd(s->file);
    CHECK(fd >= 0);
    file_turn(s);
    file_turn(s);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    CHECK_INT(poll(&p, 1, 0), 0);
    file_post(c, "x", 0);
    file_turn(c);
    CHECK_INT(poll(&p, 1, test_ms(200)), 1);
    file_turn(s);
    CHECK_INT(s->got.count, 1);
    file_turn(s);
    CHECK_INT(poll(&p, 1, 0), 0);
    B->wake(s->file);
    CHECK_INT(poll(&p, 1, test_ms(200)), 1);
    file_end(c);
    file_end(s);
}
