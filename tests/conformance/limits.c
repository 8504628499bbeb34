/* limits.c - everything is bounded, and a bound answers: too many, too big, too deep, or not well formed. */
#include "kit.h"

#include <stdlib.h>

/* ---- Too many ------------------------------------------------------------------------------------------------------- */

enum { PENDING = 10 };

static void one_more(void *c)
{
    KIT_ENDS(ferry_get(c, "slow.echo", NULL, FERRY_CALL(.timeout_ms = KIT_SOON_MS)), FERRY_OVERLOADED,
             FERRY_OUTCOME_NOT_SENT);
}

CONFORMANCE(overloaded_at_the_limit_and_not_before)
{
    kit_gate gate = {0};
    ferry_future *f[PENDING];
    ferry *s = kit_serve("slow.echo", kit_gated, &gate), *c = kit_open(FERRY_OPTIONS(.max_pending = PENDING));
    for (int i = 0; i < PENDING; i++)
        f[i] = ferry_async(c, FERRY_GET, "slow.echo", ferry_int(i), NULL);
    CHECK_INT(ferry_await_any(f, PENDING, 50), PENDING); /* none of them was refused */
    kit_takes(0, KIT_LATE_MS, one_more, c);
    KIT_ENDS(ferry_await(ferry_async(c, FERRY_PUT, "slow.echo", NULL, NULL)), FERRY_OVERLOADED, FERRY_OUTCOME_NOT_SENT);
    CHECK_STATUS(ferry_post_no_wait(c, "slow.echo", NULL, NULL), FERRY_OVERLOADED);
    atomic_store(&gate.open, true);
    for (int i = 0; i < PENDING; i++)
        KIT_INT(ferry_await(f[i]), i);
    KIT_INT(ferry_get(c, "slow.echo", ferry_int(77), NULL), 77); /* and there is room again */
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(overload_is_never_repeated)
{
    kit_gate gate = {0};
    ferry *s = kit_serve("slow.echo", kit_gated, &gate), *c = kit_open(FERRY_OPTIONS(.max_pending = 1));
    ferry_future *f = ferry_async(c, FERRY_GET, "slow.echo", ferry_int(1), NULL);
    CHECK_SOON(atomic_load(&gate.entered) == 1, KIT_SOON_MS);
    for (int i = 0; i < 5; i++)
        one_more(c);
    atomic_store(&gate.open, true);
    KIT_INT(ferry_await(f), 1);
    CHECK_INT(atomic_load(&gate.entered), 1);
    kit_close(c);
    kit_close(s);
}

/* ---- Too big -------------------------------------------------------------------------------------------------------- */

static ferry_value *so_big(size_t length)
{
    char *bytes = calloc(1, length);
    ferry_value *v = ferry_bytes(bytes, length);
    free(bytes);
    return v;
}

CONFORMANCE(as_big_as_allowed)
{
    size_t length = 0;
    ferry *s = kit_serve("calc.echo", kit_echo, NULL), *c = kit_open(NULL);
    ferry_reply *r = ferry_get(c, "calc.echo", so_big((1 << 20) - 2048), FERRY_CALL(.timeout_ms = KIT_SOON_MS));
    CHECK_NOT_NULL(ferry_as_bytes(ferry_data(r), &length));
    CHECK_INT(length, (1 << 20) - 2048);
    KIT_OK(r);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(too_big_to_send)
{
    char why[FERRY_WHY_SIZE] = "";
    ferry *s = kit_serve("calc.echo", kit_echo, NULL), *c = kit_open(NULL),
          *small = kit_open(FERRY_OPTIONS(.max_message = 2000));
    KIT_ENDS(ferry_get(c, "calc.echo", so_big((1 << 20) + 1), NULL), FERRY_TOO_BIG, FERRY_OUTCOME_NOT_SENT);
    CHECK_STATUS(ferry_post_no_wait(c, "calc.echo", so_big((1 << 20) + 1), FERRY_CALL(.why = why)), FERRY_TOO_BIG);
    CHECK(*why);
    KIT_ENDS(ferry_get(small, "calc.echo", so_big(2001), NULL), FERRY_TOO_BIG, FERRY_OUTCOME_NOT_SENT);
    KIT_OK(ferry_get(small, "calc.echo", so_big(1000), NULL));
    kit_close(small);
    kit_close(c);
    kit_close(s);
}

static void answer_too_big(ferry_request *req, void *arg)
{
    (void)arg;
    ferry_respond(req, so_big((1 << 20) + 1));
}

CONFORMANCE(too_big_to_answer)
{
    ferry *s = kit_serve("calc.big", answer_too_big, NULL), *c = kit_open(NULL);
    KIT_ENDS(ferry_post(c, "calc.big", NULL, NULL), FERRY_TOO_BIG, FERRY_OUTCOME_EXECUTED);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(headers_are_bounded_and_texts)
{
    ferry *s = kit_serve("calc.echo", kit_echo, NULL), *c = kit_open(NULL);
    ferry_value *many = ferry_new_map(), *numbers = ferry_map("n", 1), *list = ferry_list("a"),
                *big = ferry_map("b", so_big(1 << 20));
    for (int i = 0; i < 20000; i++)
        ferry_value_set(many, test_text("header-%d", i), "a value that takes some room");
    KIT_ENDS(ferry_get(c, "calc.echo", NULL, FERRY_CALL(.headers = many)), FERRY_TOO_BIG, FERRY_OUTCOME_NOT_SENT);
    KIT_ENDS(ferry_get(c, "calc.echo", NULL, FERRY_CALL(.headers = numbers)), FERRY_INVALID, FERRY_OUTCOME_NOT_SENT);
    KIT_ENDS(ferry_get(c, "calc.echo", NULL, FERRY_CALL(.headers = list)), FERRY_INVALID, FERRY_OUTCOME_NOT_SENT);
    KIT_UNDONE(ferry_get(c, "calc.echo", NULL, FERRY_CALL(.headers = big)), FERRY_INVALID);
    ferry_value_free(many);
    ferry_value_free(numbers);
    ferry_value_free(list);
    ferry_value_free(big);
    kit_close(c);
    kit_close(s);
}

/* ---- Too deep, or a trap -------------------------------------------------------------------------------------------- */

static void refused_unsent(ferry *c, ferry_value *data)
{
    ferry_reply *r = ferry_get(c, "calc.echo", data, NULL);
    ferry_status s = ferry_reply_status(r);
    CHECK(s == FERRY_BAD_DATA || s == FERRY_TOO_BIG || s == FERRY_INVALID);
    KIT_ENDS(r, s, FERRY_OUTCOME_NOT_SENT);
}

CONFORMANCE(too_deep)
{
    ferry_value *v = ferry_int(1);
    ferry *s = kit_serve("calc.echo", kit_echo, NULL), *c = kit_open(NULL);
    for (int i = 0; i < 200; i++)
        v = ferry_list(v);
    refused_unsent(c, v);
    KIT_OK(ferry_get(c, "calc.echo", NULL, NULL));
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(bombs)
{
    enum { DEEP = 100000 };
    static const unsigned char maps[] = {0xdf, 0xff, 0xff, 0xff, 0xff}, lists[] = {0xdd, 0xff, 0xff, 0xff, 0xff};
    static const unsigned char text[] = {0xdb, 0xff, 0xff, 0xff, 0xff, 'x'}, cut[] = {0x92, 0x01}, never[] = {0xc1},
                               two[] = {0x01, 0x02};
    unsigned char *deep = malloc(DEEP);
    memset(deep, 0x91, DEEP);
    deep[DEEP - 1] = 0x01;
    ferry *s = kit_serve("calc.echo", kit_echo, NULL), *c = kit_open(NULL);
    refused_unsent(c, ferry_raw(maps, sizeof maps));
    refused_unsent(c, ferry_raw(lists, sizeof lists));
    refused_unsent(c, ferry_raw(text, sizeof text));
    refused_unsent(c, ferry_raw(cut, sizeof cut));
    refused_unsent(c, ferry_raw(never, sizeof never));
    refused_unsent(c, ferry_raw(two, sizeof two));
    refused_unsent(c, ferry_raw("", 0));
    refused_unsent(c, ferry_raw(deep, DEEP));
    refused_unsent(c, ferry_list(ferry_raw(deep, DEEP)));
    KIT_OK(ferry_get(c, "calc.echo", NULL, NULL)); /* nothing of it did any harm */
    free(deep);
    kit_close(c);
    kit_close(s);
}

/* ---- Not well formed ------------------------------------------------------------------------------------------------ */

#define LONG_128                                                                                                       \
    "long."                                                                                                            \
    "1234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012" \
    "34567890123"
_Static_assert(sizeof LONG_128 == 128 + 1, "as long as a route may be");

CONFORMANCE(malformed_routes)
{
    static const char *const bad[] = {"",      ".",   "a.",   ".a", "a..b",  "a b.c", "a.b ",  "\xc3\xbc.x",
                                      "a/b.c", "a.*", "a.**", "*",  "a.b\n", "a:b.c", "a.b?c", LONG_128 "4"};
    ferry *c = kit_open(NULL);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char why[FERRY_WHY_SIZE] = "";
        test_note("route \"%s\"", bad[i]);
        KIT_ENDS(ferry_get(c, bad[i], ferry_int(1), FERRY_CALL(.why = why)), FERRY_INVALID, FERRY_OUTCOME_NOT_SENT);
        CHECK(*why);
        KIT_ENDS(ferry_await(ferry_async(c, FERRY_POST, bad[i], ferry_int(1), NULL)), FERRY_INVALID,
                 FERRY_OUTCOME_NOT_SENT);
        CHECK_STATUS(ferry_post_no_wait(c, bad[i], ferry_int(1), NULL), FERRY_INVALID);
    }
    KIT_ENDS(ferry_get(c, NULL, ferry_int(1), NULL), FERRY_INVALID, FERRY_OUTCOME_NOT_SENT);
    CHECK_STATUS(ferry_post_no_wait(c, NULL, ferry_int(1), NULL), FERRY_INVALID);
    kit_close(c);
}

CONFORMANCE(malformed_handlers)
{
    static const char *const bad[] = {"", "a..b", "*.a", "**", "a.**.b", "a.b*", "a b.c", LONG_128 "4"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char problem[512] = "";
        ferry *f = kit_open(NULL);
        test_note("route \"%s\"", bad[i]);
        CHECK_STATUS(ferry_handle(f, bad[i], kit_echo, NULL, NULL), FERRY_INVALID);
        CHECK(ferry_problem(f, problem, sizeof problem) > 0);
        CHECK(*problem);
        kit_close(f);
    }
    ferry *f = kit_open(NULL);
    CHECK_STATUS(ferry_handle(f, NULL, kit_echo, NULL, NULL), FERRY_INVALID);
    CHECK_STATUS(ferry_handle(f, "calc.echo", NULL, NULL, NULL), FERRY_INVALID);
    CHECK_STATUS(ferry_guard(f, "a..b", NULL, NULL), FERRY_INVALID);
    kit_close(f);
}

CONFORMANCE(routes_at_the_edge)
{
    ferry *s = kit_open(NULL), *c = kit_open(NULL);
    CHECK_STATUS(ferry_handle(s, LONG_128, kit_echo, NULL, NULL), FERRY_OK);
    CHECK_STATUS(ferry_handle(s, "A-b_9.c-D_0.-._", kit_echo, NULL, NULL), FERRY_OK);
    kit_start(s, "long");
    kit_await_service("A-b_9");
    KIT_INT(ferry_get(c, LONG_128, ferry_int(1), NULL), 1);
    KIT_INT(ferry_get(c, "A-b_9.c-D_0.-._", ferry_int(2), NULL), 2);
    kit_close(c);
    kit_close(s);
}
