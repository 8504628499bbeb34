/* amqp_fields_test.c - a frame as properties and back; ids that were done. */
#ifdef FERRY_WITH_AMQP
#include "backends/amqp/done.h"
#include "backends/amqp/fields.h"
#include "test.h"

#include "base/clock.h"

static ferry__frame *there_and_back(const ferry__frame *f, const char *reply_to)
{
    ferry__amqp_fields fields;
    ferry_status why = FERRY_OK;
    ferry__buf scratch = FERRY__BUF(1 << 20);
    ferry__amqp_fields_write(&fields, f, reply_to, ferry__now_ms());
    ferry__frame *back = ferry__amqp_fields_read(&fields.p, f->kind, f->body.length, ferry__now_ms(), &scratch, &why);
    ferry__buf_done(&scratch);
    CHECK_NOT_NULL(back);
    return back;
}

static ferry__frame *full(const char *headers, size_t length)
{
    ferry__frame *f = ferry__frame_new(FERRY__CALL, &(ferry__parts){.route = "calc.add",
                                                                    .key = "k",
                                                                    .correlation = "c",
                                                                    .idempotency_key = "i",
                                                                    .source = "me@here:1",
                                                                    .content_type = "text/plain",
                                                                    .headers = headers,
                                                                    .headers_length = length,
                                                                    .body = "\1",
                                                                    .body_length = 1});
    f->id = (ferry__id){.client = {1, 2, 3}, .serial = 77};
    f->verb = FERRY_PATCH;
    f->time_ms = 1700000000000;
    f->deadline_ms = ferry__now_ms() + 5000;
    return f;
}

static void same(const ferry__frame *a, const ferry__frame *b)
{
    CHECK_STR(ferry__frame_text(a, a->route), ferry__frame_text(b, b->route));
    CHECK_STR(ferry__frame_text(a, a->key), ferry__frame_text(b, b->key));
    CHECK_STR(ferry__frame_text(a, a->correlation), ferry__frame_text(b, b->correlation));
    CHECK_STR(ferry__frame_text(a, a->idempotency_key), ferry__frame_text(b, b->idempotency_key));
    CHECK_STR(ferry__frame_text(a, a->source), ferry__frame_text(b, b->source));
    CHECK_STR(ferry__frame_text(a, a->content_type), ferry__frame_text(b, b->content_type));
    CHECK_BYTES(&a->id, sizeof a->id, &b->id, sizeof b->id);
    CHECK_INT(a->verb, b->verb);
    CHECK_INT(a->time_ms, b->time_ms);
    CHECK_INT(a->deadline_ms, b->deadline_ms); /* one machine, one clock */
}

TEST(a_call_comes_back_whole)
{
    ferry__frame *f = full("\x81\xa1"
                           "a\xa1"
                           "b",
                           5),
                 *back = there_and_back(f, "somewhere");
    same(back, f);
    CHECK_BYTES(ferry__frame_text(back, back->headers), back->headers.length,
                "\xdf\0\0\0\1\xdb\0\0\0\1"
                "a\xdb\0\0\0\1"
                "b",
                17);
    ferry__frame_unref(back);
    ferry__frame_unref(f);
}

/* Given five milliseconds, and read a second later: that is too late, not five milliseconds from now. */
TEST(what_comes_late_is_late)
{
    ferry__amqp_fields fields;
    ferry_status why = FERRY_OK;
    ferry__buf scratch = FERRY__BUF(1 << 20);
    int64_t now_ms = ferry__now_ms();
    ferry__frame *f = full(NULL, 0);
    f->deadline_ms = now_ms + 5;
    ferry__amqp_fields_write(&fields, f, "somewhere", now_ms);
    ferry__frame *back = ferry__amqp_fields_read(&fields.p, FERRY__CALL, 1, now_ms + 1000, &scratch, &why);
    CHECK_NOT_NULL(back);
    CHECK_INT(back->deadline_ms, f->deadline_ms);
    ferry__frame_unref(back);
    ferry__frame_unref(f);
    ferry__buf_done(&scratch);
}

/* A name the broker heeds, one of ours, or no map of strings at all: they travel as they are. */
TEST(headers_that_would_collide)
{
    const struct {
        const char *bytes;
        size_t      length;
    } odd[] = {{"\x81\xa2"
                "CC\xa1"
                "b",
                6},
               {"\x81\xa8"
                "ferry-ab\xa1"
                "b",
                12},
               {"\x81\xa3"
                "x-a\xa1"
                "b",
                7},
               {"\x81\xa1"
                "a\1",
                4},
               {"\x81\xdb\xff\xff\xff\xff", 6}};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        ferry__frame *f = full(odd[i].bytes, odd[i].length), *back = there_and_back(f, NULL);
        same(back, f);
        CHECK_BYTES(ferry__frame_text(back, back->headers), back->headers.length, odd[i].bytes, odd[i].length);
        ferry__frame_unref(back);
        ferry__frame_unref(f);
    }
}

TEST(a_reply_needs_no_headers)
{
    ferry__frame *f = ferry__frame_new(FERRY__REPLY, &(ferry__parts){.body = "\xc0", .body_length = 1});
    ferry__amqp_fields fields;
    f->id.serial = 5;
    f->executed = FERRY_OUTCOME_EXECUTED;
    ferry__amqp_fields_write(&fields, f, NULL, 0);
    CHECK_INT(fields.p.headers.num_entries, 0);
    f->status = FERRY_FAILED;
    f->executed = FERRY_OUTCOME_UNKNOWN;
    ferry__frame *back = there_and_back(f, NULL);
    CHECK_INT(back->status, FERRY_FAILED);
    CHECK_INT(back->executed, FERRY_OUTCOME_UNKNOWN);
    ferry__frame_unref(back);
    ferry__frame_unref(f);
}

/* Nothing but a type: what another client may post. */
TEST(a_strangers_post)
{
    amqp_basic_properties_t p = {._flags = AMQP_BASIC_TYPE_FLAG, .type = ferry__amqp_text("calc.add")};
    ferry__buf scratch = FERRY__BUF(4096);
    ferry_status why;
    ferry__frame *f = ferry__amqp_fields_read(&p, FERRY__POST, 0, 0, &scratch, &why);
    CHECK_NOT_NULL(f);
    CHECK_INT(f->verb, FERRY_POST);
    ferry__frame_unref(f);
    CHECK_NULL(ferry__amqp_fields_read(&p, FERRY__CALL, 0, 0, &scratch, &why)); /* nobody could be answered */
    CHECK_STATUS(why, FERRY_PROTOCOL);
    p._flags = 0;
    CHECK_NULL(ferry__amqp_fields_read(&p, FERRY__POST, 0, 0, &scratch, &why));
    ferry__buf_done(&scratch);
}

TEST(ids_that_were_done)
{
    ferry__amqp_done *d = ferry__amqp_done_new(16, 1000);
    ferry__id id = {.serial = 1};
    CHECK(ferry__amqp_done_take(d, &id, 1, 0));
    CHECK(!ferry__amqp_done_take(d, &id, 1, 0)); /* the first is still with the broker */
    CHECK(ferry__amqp_done_take(d, &id, 2, 0));  /* behind a new connection it may be the first itself */
    ferry__amqp_done_settled(d, &id, 0);
    CHECK(!ferry__amqp_done_take(d, &id, 3, 999));
    CHECK(ferry__amqp_done_take(d, &id, 3, 1000));
    ferry__amqp_done_forget(d, &id);
    CHECK(ferry__amqp_done_take(d, &id, 3, 1000));
    for (uint64_t n = 2; n < 18; n++)
        CHECK(ferry__amqp_done_take(d, &(ferry__id){.serial = n}, 3, 1000));
    CHECK(ferry__amqp_done_take(d, &id, 3, 1000)); /* the oldest fell out */
    ferry__amqp_done_free(d);
}
#endif
