/* redis_wire_test.c - replies in pieces and with lies, and frames as fields, without a Redis. */
#include "test.h"

#ifdef FERRY_WITH_REDIS
#include "backends/redis/redis.h"
#include "backends/redis/sha.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- The reader ----------------------------------------------------------------------------------------------------- */

static const redis__value *feed(redis__reader *r, const char *text, size_t length, size_t portion)
{
    const redis__value *v = NULL;
    for (size_t at = 0; at < length && !v;) {
        size_t used, n = length - at < portion ? length - at : portion;
        v = redis__reader_next(r, text + at, n, &used);
        at += used;
        if (redis__reader_flaw(r))
            return NULL;
    }
    return v;
}

TEST(replies_in_pieces)
{
    static const char text[] = "*3\r\n$5\r\nhel\0o\r\n:-42\r\n*2\r\n$-1\r\n+OK\r\n";
    for (size_t portion = 1; portion < sizeof text; portion++) {
        redis__reader *r = redis__reader_new(1000);
        const redis__value *v = feed(r, text, sizeof text - 1, portion);
        CHECK_NOT_NULL(v);
        CHECK_INT(v->count, 3);
        CHECK_BYTES(redis__at(v, 0)->text, redis__at(v, 0)->count, "hel\0o", 5);
        CHECK_INT(redis__number(redis__at(v, 1)), -42);
        CHECK_INT(redis__at(redis__at(v, 2), 0)->type, REDIS__NIL);
        CHECK_STR(redis__text(redis__at(redis__at(v, 2), 1)), "OK");
        CHECK_NULL(redis__at(v, 3));
        redis__reader_free(r);
    }
}

TEST(one_after_the_other)
{
    static const char text[] = ":1\r\n-ERR no\r\n$0\r\n\r\n*0\r\n";
    redis__reader *r = redis__reader_new(1000);
    size_t at = 0, used;
    const redis__type types[] = {REDIS__NUMBER, REDIS__ERROR, REDIS__TEXT, REDIS__LIST};
    for (size_t i = 0; i < 4; i++) {
        const redis__value *v = redis__reader_next(r, text + at, sizeof text - 1 - at, &used);
        at += used;
        CHECK_NOT_NULL(v);
        CHECK_INT(v->type, types[i]);
    }
    CHECK_NULL(redis__reader_next(r, "", 0, &used));
    redis__reader_free(r);
}

static void is_refused(const char *text)
{
    redis__reader *r = redis__reader_new(1000);
    CHECK_NULL(feed(r, text, strlen(text), 7));
    CHECK_NOT_NULL(redis__reader_flaw(r));
    redis__reader_free(r);
}

TEST(what_lies_is_refused)
{
    is_refused("GET / HTTP/1.1\r\n\r\n");
    is_refused("*2147483647\r\n");
    is_refused("*3\r\n*2000000\r\n");
    char *big = malloc(80000);
    int n = snprintf(big, 80000, "$70000\r\n");
    memset(big + n, 'x', 70100);
    big[n + 70100] = '\0';
    is_refused(big);
    free(big);
}

TEST(a_text_that_never_ends_is_refused)
{
    static char part[8192];
    size_t used, fed = 0;
    redis__reader *r = redis__reader_new(1000);
    redis__reader_next(r, "$999999999\r\n", 12, &used);
    memset(part, 'x', sizeof part);
    for (; !redis__reader_flaw(r) && fed < 1 << 20; fed += sizeof part)
        CHECK_NULL(redis__reader_next(r, part, sizeof part, &used));
    CHECK_NOT_NULL(redis__reader_flaw(r));
    CHECK(fed < 200000);
    redis__reader_free(r);
}

static void parse_all(void *arg)
{
    static const char text[] = "*2\r\n$5\r\nhello\r\n*1\r\n:7\r\n";
    redis__reader *r = redis__reader_new(1000);
    (void)arg;
    if (!r)
        return;
    const redis__value *v = feed(r, text, sizeof text - 1, 9);
    CHECK(v || (test_alloc_failed() && redis__reader_flaw(r)));
    redis__reader_free(r);
}

TEST(reader_without_memory)
{
    test_every_alloc_fails(parse_all, NULL);
}

/* ---- Frames --------------------------------------------------------------------------------------------------------- */

/* What XADD got, as XREADGROUP would hand it out: the words of the command behind "*" are the fields. */
static const redis__value *fields_of(redis__reader *r, ferry__buf *b, redis__value *fields)
{
    const redis__value *v = feed(r, b->data, b->length, 4096);
    CHECK_NOT_NULL(v);
    CHECK_STR(redis__text(redis__at(v, 0)), "XADD");
    *fields = (redis__value){.type = REDIS__LIST, .count = v->count - 4, .items = v->items + 4};
    return fields;
}

static ferry__frame *call(void)
{
    ferry__frame *f = ferry__frame_new(FERRY__CALL, &(ferry__parts){.route = "calc.add",
                                                                    .key = "k",
                                                                    .correlation = "corr with blanks",
                                                                    .source = "a b@host:1",
                                                                    .headers = "\x80",
                                                                    .headers_length = 1,
                                                                    .body = "\x01\r\n",
                                                                    .body_length = 3});
    f->verb = FERRY_PATCH;
    f->id.serial = 0x1f;
    f->id.client[0] = 0xab;
    f->deadline_ms = 5000;
    f->time_ms = 1700000000000;
    return f;
}

TEST(request_there_and_back)
{
    ferry__buf b = FERRY__BUF(100000);
    char start[200];
    ferry_status why;
    redis__value fields;
    ferry__frame *f = call();
    redis__reader *r = redis__reader_new(1000);
    redis__wire_request(&b, start, redis__wire_start(start, sizeof start, "ferry:{calc}:calls"), f, true, 1000);
    ferry__frame *g = redis__wire_read(fields_of(r, &b, &fields), 100, 50, &why);
    CHECK_NOT_NULL(g);
    CHECK_INT(g->kind, FERRY__CALL);
    CHECK_INT(g->verb, FERRY_PATCH);
    CHECK_INT(g->id.serial, 0x1f);
    CHECK_INT(g->id.client[0], 0xab);
    CHECK_INT(g->deadline_ms, 100 + 4000 - 50);
    CHECK_INT(g->time_ms, 1700000000000);
    CHECK_STR(ferry__frame_text(g, g->route), "calc.add");
    CHECK_STR(ferry__frame_text(g, g->key), "k");
    CHECK_STR(ferry__frame_text(g, g->correlation), "corr with blanks");
    CHECK_STR(ferry__frame_text(g, g->source), "a b@host:1");
    CHECK_INT(g->headers.length, 1);
    CHECK_BYTES(ferry__frame_body(g), g->body.length, "\x01\r\n", 3);
    CHECK(redis__wire_pubsub(g));
    ferry__frame_unref(g);
    ferry__frame_unref(f);
    ferry__buf_done(&b);
    redis__reader_free(r);
}

TEST(reply_there_and_back)
{
    ferry__buf b = FERRY__BUF(100000);
    ferry_status why;
    redis__value fields;
    ferry__frame *f = call();
    redis__reader *r = redis__reader_new(1000);
    f->kind = FERRY__REPLY;
    f->status = FERRY_NOT_FOUND;
    f->executed = FERRY_OUTCOME_NOT_EXECUTED;
    redis__wire_reply(&b, "ferry", f);
    ferry__frame *g = redis__wire_read_reply(fields_of(r, &b, &fields), f->id.client, &why);
    CHECK_NOT_NULL(g);
    CHECK_INT(g->status, FERRY_NOT_FOUND);
    CHECK_INT(g->executed, FERRY_OUTCOME_NOT_EXECUTED);
    CHECK_INT(g->id.serial, 0x1f);
    CHECK_BYTES(ferry__frame_body(g), g->body.length, "\x01\r\n", 3);
    ferry__frame_unref(g);
    ferry__buf_clear(&b);
    redis__wire_publish(&b, "ferry", f);
    const redis__value *v = feed(r, b.data, b.length, 100);
    g = redis__wire_read_published(redis__at(v, 2)->text, redis__at(v, 2)->count, f->id.client);
    CHECK_NOT_NULL(g);
    CHECK_BYTES(ferry__frame_body(g), g->body.length, "\x01\r\n", 3);
    CHECK_INT(g->headers.length, 1);
    ferry__frame_unref(g);
    ferry__frame_unref(f);
    ferry__buf_done(&b);
    redis__reader_free(r);
}

/* Whatever is cut off or changed in what was published: no frame, or a whole one. */
TEST(published_and_damaged)
{
    unsigned char client[16] = {0};
    static const char text[] = "1 reply OK executed 1f\nheaders 1\n\x80"
                               "body 3\n\x01\r\n";
    char copy[sizeof text];
    for (size_t length = 0; length < sizeof text; length++) {
        char *exact = malloc(length + 1); /* the reader puts a NUL behind each text */
        memcpy(exact, text, length);
        exact[length] = '\0';
        ferry__frame_unref(redis__wire_read_published(exact, length, client));
        free(exact);
    }
    for (size_t i = 0; i < sizeof text - 1; i++)
        for (int x = 1; x < 256; x += 7) {
            memcpy(copy, text, sizeof text);
            copy[i] = (char)(copy[i] ^ x);
            ferry__frame_unref(redis__wire_read_published(copy, sizeof text - 1, client));
        }
}

TEST(heads_that_are_none)
{
    static const char *const heads[] = {"",
                                        " ",
                                        "1",
                                        "2 call get a.b 00-1 1 1 stream x",
                                        "1 call get a.b zz 1 1 stream x",
                                        "1 call gett a.b 00000000000000000000000000000000-1 1 1 stream x",
                                        "1 reply OK executed 1",
                                        "1 event - a.b zz 0 1 - x",
                                        "1 control get a.b 00000000000000000000000000000000-1 1 1 stream x"};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        redis__value name = {.type = REDIS__TEXT, .text = "ferry", .count = 5},
                     head = {.type = REDIS__TEXT, .text = heads[i], .count = strlen(heads[i])};
        redis__value *items[] = {&name, &head}, fields = {.type = REDIS__LIST, .count = 2, .items = items};
        ferry_status why;
        CHECK_NULL(redis__wire_read(&fields, 0, 0, &why));
        CHECK_STATUS(why, FERRY_PROTOCOL);
    }
}

TEST(names_of_scripts)
{
    static const struct {
        const char *text, *sum;
    } known[] = {
        {"", "da39a3ee5e6b4b0d3255bfef95601890afd80709"},
        {"abc", "a9993e364706816aba3e25717850c26c9cd0d89d"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "84983e441c3bd26ebaae4aa1f95129e5e54670f1"},
        {"return 1", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        char sum[41];
        redis__sha(known[i].text, sum);
        CHECK_STR(sum, known[i].sum);
    }
}

TEST(words_of_all_lengths)
{
    ferry__buf b = FERRY__BUF(100000);
    redis__command(&b, "A", "", "bcd", NULL);
    redis__word_number(&b, INT64_MIN);
    redis__word_entry(&b, 1700000000000, 7);
    CHECK_STR(ferry__buf_string(&b),
              "*3\r\n$1\r\nA\r\n$0\r\n\r\n$3\r\nbcd\r\n$20\r\n-9223372036854775808\r\n$15\r\n1700000000000-7\r\n");
    ferry__buf_done(&b);
}
#endif
