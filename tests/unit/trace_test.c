/* trace_test.c - one line for what passes, and that all of it passes. */
#include "inner.h"
#include "test.h"

#include "base/clock.h"

TEST(passes_every_slot)
{
    rig r;
    CHECK_STATUS(rig_open(&r, "trace+mem:x", true), FERRY_OK);
    const ferry__backend *b = r.outer;
    CHECK_STATUS(b->listen(r.self, &r.source), FERRY_UNSUPPORTED);
    b->credit(r.self, &r.source, 4);
    rig_send(&r, FERRY__CALL, 1);
    b->settle(r.self, rig_frame(FERRY__POST, 2));
    b->retry(r.self, rig_frame(FERRY__POST, 3), 50);
    b->bury(r.self, rig_frame(FERRY__POST, 4), "mail", "rec", 3);
    b->hand_back(r.self, rig_frame(FERRY__POST, 5));
    b->probe(r.self, &r.target);
    b->wait(r.self, 9);
    b->wake(r.self);
    rig_turn(&r);
    CHECK_INT(b->next_ms(r.self, 0), 5000);
    CHECK_INT(b->fd(r.self), 77);
    b->unlisten(r.self, &r.source);
    CHECK_STR(rig_below(&r), "open x, listen mail, credit mail 4, send 1 body c0, settle 2, retry 3 in 50, "
                             "bury 4 in mail rec, hand_back 5, probe calc, wait 9, wake, flush, step, pump, fd, "
                             "unlisten mail");
    CHECK_STR(rig_above(&r), "outcome 1 ACCEPTED OK, settled 2 OK");
    rig_close(&r);
    CHECK_STR(rig_below(&r), "close");
}

TEST(passes_every_ability)
{
    rig r;
    CHECK_STATUS(rig_open(&r, "trace+mem:x", true), FERRY_OK);
    const ferry__abilities *more = r.outer->more;
    ferry__frame *f = rig_frame(FERRY__CALL, 1);
    ferry__admin admin = {.ask = FERRY__LAG};
    f->owner = &r;
    more->withdraw(r.self, &r.target, f);
    more->begin(r.self, f);
    more->touch(r.self, f);
    more->seek(r.self, &r.source, &(ferry__wish){.position = "here"});
    more->admin(r.self, &admin);
    CHECK_STR(rig_below(&r), "open x, withdraw 1 body c0 of calc, begin 1, touch 1, seek mail here, admin 7");
    CHECK_STR(rig_above(&r), "withdrawn 1 yes, answered OK 3 []");
    ferry__frame_unref(f);
    rig_close(&r);
}

TEST(passes_every_upcall)
{
    rig r;
    CHECK_STATUS(rig_open(&r, "trace+mem:x", true), FERRY_OK);
    ferry__up *up = r.inner.up;
    up->state(up, FERRY__UP, FERRY_OK, NULL);
    up->probed(up, &r.target, FERRY__ALIVE);
    rig_arrive(&r, rig_frame(FERRY__POST, 9));
    up->settled(up, 3, FERRY_UNAVAILABLE, "gone");
    up->state(up, FERRY__DOWN, FERRY_UNAVAILABLE, "cut");
    CHECK_STR(rig_above(&r), "state UP OK [], probed calc 2, frame 9 from mail, settled 3 UNAVAILABLE, "
                             "state DOWN UNAVAILABLE [cut]");
    rig_close(&r);
}

/* What the wrapped one cannot do is answered, in pump and not before. */
TEST(absent_abilities)
{
    rig r;
    CHECK_STATUS(rig_open(&r, "trace+mem:x", false), FERRY_OK);
    const ferry__abilities *more = r.outer->more;
    ferry__frame *f = rig_frame(FERRY__CALL, 1);
    ferry__admin first = {.ask = FERRY__DOCTOR}, second = {.ask = FERRY__LAG};
    f->owner = &r;
    more->withdraw(r.self, &r.target, f);
    more->begin(r.self, f);
    more->touch(r.self, f);
    more->seek(r.self, &r.source, &(ferry__wish){.position = "here"});
    more->admin(r.self, &first);
    more->admin(r.self, &second);
    CHECK_STR(rig_above(&r), "");
    CHECK_INT(r.outer->next_ms(r.self, 0), 0); /* no sleep on them */
    rig_turn(&r);
    CHECK_STR(rig_above(&r), "withdrawn 1 no, answered UNSUPPORTED 0 [mem has no administration], "
                             "answered UNSUPPORTED 0 [mem has no administration]");
    CHECK_STR(rig_below(&r), "open x, flush, pump");
    CHECK_INT(r.outer->next_ms(r.self, 0), 5000);
    more->withdraw(r.self, &r.target, f); /* close frees what was not answered */
    ferry__frame_unref(f);
    rig_close(&r);
}

static const char *first_line(const char *lines)
{
    return test_text("%.*s", (int)strcspn(lines, "\n"), lines);
}

TEST(lines)
{
    rig r;
    CHECK_STATUS(rig_open(&r, "trace+mem:x?drop=1", true), FERRY_OK);
    CHECK_STR(rig_lines(&r), "trace: open trace+mem:x?drop=1: OK\n");
    ferry__frame *f = rig_frame(FERRY__CALL, 31);
    f->deadline_ms = ferry__now_ms() + 60000;
    f->owner = &r;
    r.outer->send(r.self, &r.target, f);
    const char *line = first_line(rig_lines(&r));
    CHECK_HAS(line, "trace: send call calc.add get abababab-1f, 8 bytes, ");
    CHECK_HAS(line, " ms left");
    rig_turn(&r);
    CHECK_HAS(rig_lines(&r), "ms left: ACCEPTED\n");
    f = rig_frame(FERRY__REPLY, 31);
    f->status = FERRY_NOT_FOUND;
    r.outer->send(r.self, NULL, f);
    CHECK_STR(rig_lines(&r), "trace: send reply abababab-1f NOT_FOUND, 8 bytes\n");
    f = rig_frame(FERRY__POST, 2);
    f->attempt = 1;
    f->maybe = true;
    rig_arrive(&r, f);
    CHECK_STR(rig_lines(&r),
              "trace: frame post calc.add post abababab-2, 8 bytes, attempt 2, may have been started before\n");
    r.inner.up->settled(r.inner.up, 2, FERRY_UNAVAILABLE, "gone");
    r.inner.up->settled(r.inner.up, 1, FERRY_OK, "");
    CHECK_STR(rig_lines(&r), "trace: settled 2: UNAVAILABLE (gone)\ntrace: settled 1: OK\n");
    r.inner.up->state(r.inner.up, FERRY__DOWN, FERRY_UNAVAILABLE, "cut");
    r.outer->listen(r.self, &r.source);
    r.outer->probe(r.self, &r.target);
    CHECK_STR(rig_lines(&r), "trace: state DOWN UNAVAILABLE (cut)\ntrace: listen posts of mail: UNSUPPORTED\n"
                             "trace: probe calls of calc\n");
    rig_close(&r);
}

TEST(no_body_no_key_no_password)
{
    rig r;
    CHECK_STATUS(rig_open(&r, "trace+mem:x", true), FERRY_OK);
    for (int kind = FERRY__CALL; kind <= FERRY__CONTROL; kind++) {
        rig_send(&r, (ferry__kind)kind, 1);
        r.outer->settle(r.self, rig_frame((ferry__kind)kind, 1));
        r.outer->bury(r.self, rig_frame((ferry__kind)kind, 1), "box", "r-secret", 8);
    }
    rig_turn(&r);
    CHECK_NULL(strstr(r.lines, "a body"));
    CHECK_NULL(strstr(r.lines, "k-secret"));
    CHECK_NULL(strstr(r.lines, "r-secret"));
    rig_close(&r);
    rig_open(&r, "trace+redis://u:hunter2@h/broken", true); /* no scripted transport reads it */
    CHECK_HAS(r.lines, "redis://u:***@h");
    CHECK_NULL(strstr(r.lines, "hunter2"));
    rig_close(&r);
}

TEST(silent_without_a_listener)
{
    rig r;
    CHECK_STATUS(rig_open(&r, "trace+mem:x", true), FERRY_OK);
    rig_lines(&r);
    r.log.line = NULL;
    rig_send(&r, FERRY__CALL, 1);
    rig_turn(&r);
    CHECK_STR(rig_lines(&r), "");
    CHECK_STR(rig_above(&r), "outcome 1 ACCEPTED OK");
    rig_close(&r);
}

TEST(a_failed_open_is_passed_and_closed)
{
    rig r;
    CHECK_STATUS(rig_open(&r, "trace+mem:broken", true), FERRY_INVALID);
    CHECK_STR(rig_lines(&r), "trace: open trace+mem:broken: INVALID (it is broken)\n");
    rig_close(&r);
    CHECK_STR(rig_below(&r), "open broken, close");
}

/* "trace:" alone: there is nothing to open and nothing to close. */
TEST(nothing_behind_it)
{
    rig r;
    char why[FERRY_WHY_SIZE] = "";
    CHECK_STATUS(rig_open(&r, "trace+mem:x", true), FERRY_OK);
    r.outer->close(r.self);
    memset(r.self, 0, r.outer->state_size);
    rig_below(&r);
    CHECK_STATUS(r.outer->open(r.self, &r.up, &r.base, &r.url, why), FERRY_INVALID);
    CHECK_HAS(why, "e.g. trace+mem:name");
    rig_close(&r);
    CHECK_STR(rig_below(&r), "");
}

TEST(abandoned_in_a_child)
{
    rig r;
    CHECK_STATUS(rig_open(&r, "trace+mem:x", false), FERRY_OK);
    ferry__frame *f = rig_frame(FERRY__CALL, 1);
    r.outer->more->withdraw(r.self, &r.target, f);
    ferry__frame_unref(f);
    rig_below(&r);
    r.outer->abandon(r.self);
    CHECK_STR(rig_below(&r), "close");
    memset(r.self, 0, r.outer->state_size);
    rig_close(&r);
}

TEST(stacked)
{
    rig r;
    CHECK_STATUS(rig_open(&r, "trace+fault+mem:x?drop=2", true), FERRY_OK);
    rig_send(&r, FERRY__CALL, 1);
    rig_send(&r, FERRY__CALL, 2);
    rig_turn(&r);
    CHECK_STR(rig_below(&r), "open x, send 1 body c0, flush, step, pump");
    CHECK_STR(rig_above(&r), "outcome 1 ACCEPTED OK, outcome 2 ACCEPTED OK");
    CHECK_HAS(rig_lines(&r), "send call calc.add get abababab-2");
    rig_close(&r);
    CHECK_STR(rig_below(&r), "close");
    CHECK_STATUS(rig_open(&r, "fault+trace+mem:x?drop=2", true), FERRY_OK);
    rig_send(&r, FERRY__CALL, 1);
    rig_send(&r, FERRY__CALL, 2);
    rig_turn(&r);
    CHECK_NULL(strstr(r.lines, "abababab-2"));
    rig_close(&r);
}
