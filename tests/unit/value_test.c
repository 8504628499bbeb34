/* value_test.c - building, reading, encoding and decoding of values. What breaks them is in value_break_test.c. */
#include "data/value.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "test.h"

enum { ROOM = 4096 };

/* v as msgpack, in hex. Takes v. */
static const char *hex(ferry_value *v)
{
    unsigned char bytes[ROOM];
    static char text[2 * ROOM + 1];
    size_t length;
    CHECK_STATUS(ferry__value_measure(v, sizeof bytes, &length), FERRY_OK);
    ferry__value_write(v, bytes);
    for (size_t i = 0; i < length; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    text[2 * length] = '\0';
    ferry_value_free(v);
    return text;
}

static void check_bytes(const void *found, size_t length, const char *want, size_t want_length)
{
    CHECK_BYTES(found, length, want, want_length);
}

#define CHECK_ENCODED(v, literal)                                     \
    do {                                                              \
        size_t length_;                                               \
        const void *found_ = ferry_encoded((v), &length_);            \
        check_bytes(found_, length_, "" literal "", sizeof literal - 1); \
    } while (0)
#define CHECK_AS_BYTES(v, literal)                                    \
    do {                                                              \
        size_t length_;                                               \
        const void *found_ = ferry_as_bytes((v), &length_);           \
        check_bytes(found_, length_, "" literal "", sizeof literal - 1); \
    } while (0)

static ferry_value *decode(const void *msgpack, size_t length)
{
    ferry_value *v = NULL;
    char why[FERRY_WHY_SIZE] = "";
    ferry_status status = ferry__value_decode(msgpack, length, &v, why);
    if (status != FERRY_OK)
        FAIL("%s: %s", ferry_status_name(status), why);
    return v;
}
#define DECODE(literal) decode("" literal "", sizeof literal - 1)

/* ---- Scalars -------------------------------------------------------------------------------------------------------- */

TEST(scalars_encode_shortest)
{
    CHECK_STR(hex(ferry_nil()), "c0");
    CHECK_STR(hex(ferry_bool(false)), "c2");
    CHECK_STR(hex(ferry_bool(true)), "c3");
    CHECK_STR(hex(ferry_double(1.5)), "cb3ff8000000000000");
    CHECK_STR(hex(ferry_double(0.0)), "cb0000000000000000");
    CHECK_STR(hex(ferry_double(-0.0)), "cb8000000000000000");
    CHECK_STR(hex(ferry_text("ab")), "a26162");
    CHECK_STR(hex(ferry_text(NULL)), "c0");
    CHECK_STR(hex(ferry_bytes("ab", 2)), "c4026162");
    CHECK_STR(hex(ferry_bytes(NULL, 0)), "c400");
    CHECK_STR(hex(NULL), "c0");
}

TEST(integers_encode_shortest)
{
    static const struct {
        int64_t     i;
        const char *hex;
    } all[] = {
        {0, "00"},
        {127, "7f"},
        {128, "cc80"},
        {255, "ccff"},
        {256, "cd0100"},
        {65535, "cdffff"},
        {65536, "ce00010000"},
        {UINT32_MAX, "ceffffffff"},
        {1LL << 32, "cf0000000100000000"},
        {INT64_MAX, "cf7fffffffffffffff"},
        {-1, "ff"},
        {-32, "e0"},
        {-33, "d0df"},
        {-128, "d080"},
        {-129, "d1ff7f"},
        {-32769, "d2ffff7fff"},
        {INT32_MIN, "d280000000"},
        {INT32_MIN - 1LL, "d3ffffffff7fffffff"},
        {INT64_MIN, "d38000000000000000"},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        CHECK_STR(hex(ferry_int(all[i].i)), all[i].hex);
    CHECK_STR(hex(ferry_uint(128)), "cc80");
    CHECK_STR(hex(ferry_uint(UINT64_MAX)), "cfffffffffffffffff");
}

TEST(readers_answer_otherwise_for_another_type)
{
    ferry_value *all = ferry_list((const char *)NULL, FERRY_TRUE, -1, UINT64_MAX, 2.0, "7", ferry_bytes("7", 1),
                                  ferry_new_list(), ferry_new_map());
    for (size_t i = 0; i < ferry_count(all); i++) {
        const ferry_value *v = ferry_at(all, i);
        ferry_type type = ferry_value_type(v);
        size_t length = 99;
        const void *bytes = ferry_as_bytes(v, &length);
        CHECK_INT(type, i);
        CHECK(ferry_as_bool(v, false) == (type == FERRY_TYPE_BOOL));
        CHECK_INT(ferry_as_int(v, 42), type == FERRY_TYPE_INT ? -1 : 42);
        CHECK_UINT(ferry_as_uint(v, 42), type == FERRY_TYPE_UINT ? UINT64_MAX : 42);
        CHECK_STR(ferry_as_string(v, "otherwise"), type == FERRY_TYPE_STRING ? "7" : "otherwise");
        CHECK((bytes != NULL) == (type == FERRY_TYPE_STRING || type == FERRY_TYPE_BYTES));
        CHECK_INT(length, bytes ? 1 : 0);
        CHECK_INT(ferry_count(v), 0);
        CHECK_NULL(ferry_at(v, 0));
        CHECK_NULL(ferry_key_at(v, 0));
        CHECK_NULL(ferry_find(v, "x"));
    }
    CHECK(ferry_as_double(ferry_at(all, 2), 42) == -1.0);
    CHECK(ferry_as_double(ferry_at(all, 3), 42) == (double)UINT64_MAX);
    CHECK(ferry_as_double(ferry_at(all, 4), 42) == 2.0);
    CHECK(ferry_as_double(ferry_at(all, 5), 42) == 42.0);
    ferry_value_free(all);
}

TEST(null_is_fine_everywhere)
{
    size_t length = 99;
    CHECK_INT(ferry_value_type(NULL), FERRY_TYPE_NIL);
    CHECK(ferry_as_bool(NULL, true));
    CHECK_INT(ferry_as_int(NULL, 3), 3);
    CHECK_UINT(ferry_as_uint(NULL, 3), 3);
    CHECK(ferry_as_double(NULL, 1.5) == 1.5);
    CHECK_STR(ferry_as_string(NULL, "x"), "x");
    CHECK_NULL(ferry_as_bytes(NULL, &length));
    CHECK_INT(length, 0);
    CHECK_NULL(ferry_as_bytes(NULL, NULL));
    CHECK_INT(ferry_count(NULL), 0);
    CHECK_NULL(ferry_at(NULL, 0));
    CHECK_NULL(ferry_key_at(NULL, 0));
    CHECK_NULL(ferry_find(NULL, "x"));
    CHECK_ENCODED(NULL, "\xc0");
    CHECK_NOT_NULL(ferry_encoded(NULL, NULL));
    ferry_value_free(NULL);
    ferry_map_put(NULL, "x", ferry_int(1)); /* frees the 1 */
    ferry_list_put(NULL, ferry_int(1));
    ferry_value *map = ferry_map("x", 1), *copy = ferry_value_copy(NULL);
    CHECK_NULL(ferry_find(map, NULL));
    CHECK_INT(ferry_value_type(copy), FERRY_TYPE_NIL);
    CHECK_STATUS(ferry__value_status(copy), FERRY_OK);
    ferry_value_free(copy);
    ferry_value_free(map);
}

TEST(strings_keep_what_is_behind_a_nul)
{
    ferry_value *v = ferry_string("a\0b", 3);
    CHECK_STR(ferry_as_string(v, NULL), "a");
    CHECK_AS_BYTES(v, "a\0b");
    CHECK_STR(hex(v), "a3610062");
    v = ferry_string("abcdef", 3);
    CHECK_STR(ferry_as_string(v, NULL), "abc");
    ferry_value_free(v);
    v = ferry_string(NULL, 0);
    CHECK_STR(ferry_as_string(v, NULL), "");
    ferry_value_free(v);
}

TEST(bytes_may_be_empty)
{
    size_t length = 1;
    ferry_value *v = ferry_bytes("", 0);
    CHECK_NOT_NULL(ferry_as_bytes(v, &length));
    CHECK_INT(length, 0);
    ferry_value_free(v);
    v = DECODE("\xc4\0");
    CHECK_NOT_NULL(ferry_as_bytes(v, &length));
    ferry_value_free(v);
}

/* ---- Lists and maps ------------------------------------------------------------------------------------------------- */

TEST(macros_build_what_they_say)
{
    CHECK_STR(hex(ferry_map("x", 1, "y", "z")), "82a17801a179a17a");
    CHECK_STR(hex(ferry_list(1, 2.5, "s", FERRY_TRUE, ferry_new_list())), "9501cb4004000000000000a173c390");
    CHECK_STR(hex(ferry_list(ferry_map("a", ferry_list(1)), ferry_map("b", 2))), "9281a161910181a16202");
    CHECK_STR(hex(ferry_of(7)), "07");
    CHECK_STR(hex(ferry_of(ferry_of("s"))), "a173");
    const ferry_value *none = NULL;
    CHECK_STR(hex(ferry_of(none)), "c0");
    CHECK_STR(hex(ferry_map("a", none, "b", (const char *)NULL)), "82a161c0a162c0");
    CHECK_STR(hex(ferry_map("a", 1, "b", 2, "a", 3)), "82a16103a16202");
}

TEST(borrowed_values_are_copied_in)
{
    ferry_value *from = ferry_map("tags", ferry_list("a", 1), "name", "ada");
    ferry_value *to =
        ferry_map("tags", ferry_find(from, "tags"), "name", ferry_find(from, "name"), "none", ferry_find(from, "?"));
    ferry_value_add(to, 1); /* no list, so it breaks; checked below that the copies are independent nonetheless */
    ferry_value_free(from);
    CHECK_STR(ferry_as_string(ferry_at(ferry_find(to, "tags"), 0), NULL), "a");
    CHECK_STR(ferry_as_string(ferry_find(to, "name"), NULL), "ada");
    CHECK_INT(ferry_value_type(ferry_find(to, "none")), FERRY_TYPE_NIL);
    CHECK_STATUS(ferry__value_status(to), FERRY_INVALID);
    ferry_value_free(to);
}

TEST(put_replaces_in_place_and_frees)
{
    size_t live = ferry__alloc_live();
    ferry_value *m = ferry_map("a", 1, "b", ferry_list(1), "c", 3);
    size_t filled = ferry__alloc_live();
    for (int i = 0; i < 1000; i++)
        ferry_value_set(m, "b", ferry_list(ferry_list(i)));
    CHECK(ferry__alloc_live() <= filled + 1);
    ferry_value_set(m, "b", "text");
    ferry_value_set(m, "d", 4);
    CHECK_STR(ferry_as_string(ferry_at(m, 1), NULL), "text");
    CHECK_STR(ferry_as_string(ferry_key_at(m, 3), NULL), "d");
    CHECK_STR(hex(m), "84a16101a162a474657874a16303a16404");
    CHECK_INT(ferry__alloc_live(), live);
}

/* A long-lived map whose strings change must not keep every string it ever had. */
TEST(replaced_strings_do_not_pile_up)
{
    ferry_value *m = ferry_map("state", "starting");
    for (int i = 0; i < 20; i++)
        ferry_value_set(m, "state", i % 2 ? "running" : "waiting");
    size_t live = ferry__alloc_live();
    for (int i = 0; i < 100000; i++)
        ferry_value_set(m, "state", i % 2 ? "running" : i % 4 ? "up" : NULL);
    CHECK(ferry__alloc_live() <= live + 1);
    CHECK_STR(ferry_as_string(ferry_find(m, "state"), NULL), "running");
    ferry_value_free(m);
}

TEST(large_map_finds_and_replaces)
{
    enum { KEYS = 20000 };
    ferry_value *m = ferry_new_map();
    for (int i = 0; i < KEYS; i++)
        ferry_map_put(m, test_text("k%d", i), ferry_int(i));
    for (int i = 0; i < KEYS; i += 3)
        ferry_map_put(m, test_text("k%d", i), ferry_int(-i));
    CHECK_INT(ferry_count(m), KEYS);
    for (int i = 0; i < KEYS; i += 7)
        CHECK_INT(ferry_as_int(ferry_find(m, test_text("k%d", i)), -1), i % 3 ? i : -i);
    CHECK_NULL(ferry_find(m, "k20000"));
    CHECK_STR(ferry_as_string(ferry_key_at(m, 12345), NULL), "k12345");
    ferry_value_free(m);
}

TEST(million_items_take_few_blocks)
{
    enum { ITEMS = 1000000 };
    ferry_value *list = ferry_new_list();
    for (int i = 0; i < ITEMS; i++)
        ferry_value_add(list, i);
    CHECK(ferry__alloc_live() < 10);
    CHECK_INT(ferry_count(list), ITEMS);
    for (int i = 0; i < ITEMS; i += 991)
        CHECK_INT(ferry_as_int(ferry_at(list, (size_t)i), -1), i);
    CHECK_NULL(ferry_at(list, ITEMS));
    size_t length;
    CHECK_STATUS(ferry__value_measure(list, SIZE_MAX, &length), FERRY_OK);
    ferry_value_free(list);
}

TEST(containers_join_without_copying)
{
    ferry_value *inner = ferry_list("in"), *outer = ferry_new_list();
    const ferry_value *item = ferry_at(inner, 0);
    ferry_list_put(outer, inner);
    CHECK(ferry_at(ferry_at(outer, 0), 0) == item);
    ferry_value_free(outer);
}

/* ---- Copies, raw msgpack, encodings ---------------------------------------------------------------------------------- */

TEST(copy_outlives_what_it_came_from)
{
    char *input = ferry__strndup("\x93\xc4\x02hi\xa2yo\xd4\x05!", 11);
    ferry_value *v = decode(input, 11);
    ferry_value *whole = ferry_value_copy(v), *part = ferry_value_copy(ferry_at(v, 0)),
                *ext = ferry_value_copy(ferry_at(v, 2));
    ferry_value_free(v);
    memset(input, '?', 11);
    ferry__free(input);
    CHECK_STR(hex(whole), "93c4026869a2796fd40521");
    CHECK_STR(hex(part), "c4026869");
    CHECK_STR(hex(ext), "d40521");
}

TEST(raw_is_passed_on_as_it_is)
{
    static const char wide[] = "\xde\0\x02\xa1x\xcd\0\x01\xa1y\x91\xd0\x07"; /* longer than need be */
    size_t length;
    ferry_value *v = ferry_raw(wide, sizeof wide - 1);
    CHECK_INT(ferry_value_type(v), FERRY_TYPE_MAP);
    CHECK_INT(ferry_as_int(ferry_find(v, "x"), 0), 1);
    CHECK_INT(ferry_as_int(ferry_at(ferry_find(v, "y"), 0), 0), 7);
    const void *encoded = ferry_encoded(v, &length);
    CHECK_BYTES(encoded, length, wide, sizeof wide - 1);
    ferry_value *copy = ferry_value_copy(v), *list = ferry_list(v, copy);
    CHECK_INT(ferry_count(ferry_at(list, 1)), 2);
    ferry_value *again = ferry_value_copy(list);
    CHECK_STR(hex(list), "92de0002a178cd0001a17991d007de0002a178cd0001a17991d007");
    CHECK_STR(hex(again), "92de0002a178cd0001a17991d007de0002a178cd0001a17991d007");
}

TEST(encoded_stays_until_the_next_put)
{
    ferry_value *list = ferry_list(1, ferry_map("x", 2));
    const void *whole = ferry_encoded(list, NULL), *part = ferry_encoded(ferry_find(ferry_at(list, 1), "x"), NULL);
    CHECK_ENCODED(list, "\x92\x01\x81\xa1x\x02");
    CHECK_ENCODED(ferry_find(ferry_at(list, 1), "x"), "\x02");
    CHECK(ferry_encoded(list, NULL) == whole);
    CHECK(ferry_encoded(ferry_find(ferry_at(list, 1), "x"), NULL) == part);
    ferry_value_add(list, 3);
    CHECK_ENCODED(list, "\x93\x01\x81\xa1x\x02\x03");
    ferry_value_free(list);
}

/* Replacing a value keeps its node: a stale encoding must not come back. */
TEST(encoded_follows_a_replaced_value)
{
    ferry_value *m = ferry_map("x", 1);
    CHECK_ENCODED(ferry_find(m, "x"), "\x01");
    ferry_value_set(m, "x", 2);
    CHECK_ENCODED(ferry_find(m, "x"), "\x02");
    ferry_value_set(m, "x", ferry_list(3));
    CHECK_ENCODED(ferry_find(m, "x"), "\x91\x03");
    ferry_value_free(m);
}

TEST(encoded_of_every_item_again_and_again)
{
    enum { ITEMS = 20000 };
    ferry_value *list = ferry_new_list();
    for (int i = 0; i < ITEMS; i++)
        ferry_value_add(list, i);
    for (int round = 0; round < 5; round++)
        for (size_t i = 0; i < ITEMS; i++) {
            size_t length;
            const unsigned char *bytes = ferry_encoded(ferry_at(list, i), &length);
            CHECK_INT(bytes[length - 1], i & 0xff);
        }
    ferry_value_free(list);
}

/* ---- Decoding -------------------------------------------------------------------------------------------------------- */

TEST(decoded_strings_end_and_bytes_are_borrowed)
{
    static const char input[] = "\x83\xa1s\xa3"
                                "abc"
                                "\xa1"
                                "b\xc4\x02hi\xa1n\xa3"
                                "a\0b";
    ferry_value *v = decode(input, sizeof input - 1);
    size_t length;
    CHECK_STR(ferry_as_string(ferry_find(v, "s"), NULL), "abc");
    CHECK(ferry_as_bytes(ferry_find(v, "b"), &length) == (const void *)(input + 11));
    CHECK_INT(length, 2);
    CHECK_AS_BYTES(ferry_find(v, "n"), "a\0b");
    ferry_value_free(v);
}

/* msgpack of others may hold strings that are no UTF-8: they are not ours to refuse. */
TEST(foreign_strings_need_not_be_utf8)
{
    ferry_value *v = DECODE("\x82\xa1\xff\x01\xa1x\xa2\xc3\x28");
    CHECK_STR(ferry_as_string(ferry_find(v, "x"), NULL), "\xc3\x28");
    CHECK_INT(ferry_as_int(ferry_find(v, "\xff"), 0), 1);
    CHECK_STR(hex(v), "82a1ff01a178a2c328");
}

TEST(last_of_equal_keys_counts)
{
    ferry_value *v = DECODE("\x83\xa1x\x01\xa1y\x02\xa1x\x03");
    CHECK_INT(ferry_count(v), 3);
    CHECK_INT(ferry_as_int(ferry_find(v, "x"), 0), 3);
    CHECK_STR(hex(v), "83a17801a17902a17803");
}

TEST(float_stays_a_float)
{
    ferry_value *v = DECODE("\xca\x3f\xc0\0\0");
    CHECK_INT(ferry_value_type(v), FERRY_TYPE_DOUBLE);
    CHECK(ferry_as_double(v, 0) == 1.5);
    CHECK_STR(hex(v), "ca3fc00000");
    CHECK_STR(hex(DECODE("\xcb\x7f\xf8\0\0\0\0\0\x01")), "cb7ff8000000000001");
    CHECK_STR(hex(DECODE("\xca\x7f\x80\0\0")), "ca7f800000");
}

TEST(decoded_root_takes_puts)
{
    ferry_value *v = DECODE("\x82\xa1x\x01\x07\x02");
    ferry_value_set(v, "x", "one");
    for (int i = 0; i < 100; i++)
        ferry_map_put(v, test_text("k%d", i), ferry_int(i));
    CHECK_INT(ferry_count(v), 102);
    CHECK_STR(ferry_as_string(ferry_at(v, 0), NULL), "one");
    CHECK_INT(ferry_as_int(ferry_key_at(v, 1), 0), 7);
    CHECK_INT(ferry_as_int(ferry_find(v, "k99"), 0), 99);
    ferry_value_free(v);
    v = DECODE("\x90");
    ferry_value_add(v, 1);
    CHECK_STR(hex(v), "9101");
}

TEST(measure_keeps_to_the_maximum)
{
    size_t length;
    ferry_value *v = ferry_text("0123456789");
    CHECK_STATUS(ferry__value_measure(v, 10, &length), FERRY_TOO_BIG);
    CHECK_STATUS(ferry__value_measure(v, 11, &length), FERRY_OK);
    CHECK_INT(length, 11);
    ferry_value_free(v);
}

/* ---- Reading into variables -------------------------------------------------------------------------------------------- */

TEST(read_fills_every_type)
{
    bool b = false;
    signed char sc = 0;
    unsigned char uc = 0;
    short s = 0;
    unsigned short us = 0;
    int i = 0;
    unsigned u = 0;
    long l = 0;
    unsigned long ul = 0;
    long long ll = 0;
    unsigned long long ull = 0;
    float f = 0;
    double d = 0;
    const char *text = NULL;
    const ferry_value *v = NULL;
    ferry_value *m =
        ferry_map("b", FERRY_TRUE, "sc", -128, "uc", 255, "s", -32768, "us", 65535, "i", INT32_MIN, "u", UINT32_MAX,
                  "l", INT64_MIN, "ul", UINT64_MAX, "ll", -7, "ull", 7, "f", 1.5, "d", 3, "text", "ada", "v", 9);
    CHECK(ferry_read(m, "b", &b, "sc", &sc, "uc", &uc, "s", &s, "us", &us, "i", &i, "u", &u, "l", &l));
    CHECK(ferry_read(m, "ul", &ul, "ll", &ll, "ull", &ull, "f", &f, "d", &d, "text", &text, "v", &v));
    CHECK(b && sc == -128 && uc == 255 && s == -32768 && us == 65535 && i == INT32_MIN && u == UINT32_MAX &&
          l == INT64_MIN);
    CHECK(ul == UINT64_MAX && ll == -7 && ull == 7 && f == 1.5f && d == 3.0);
    CHECK_STR(text, "ada");
    CHECK(v == ferry_find(m, "v"));
    ferry_value_free(m);
}

typedef struct complaints {
    char text[1024];
} complaints;

static void note(void *arg, const char *key, const char *message)
{
    complaints *c = arg;
    size_t used = strlen(c->text);
    snprintf(c->text + used, sizeof c->text - used, "%s: %s; ", key, message);
}

#define READ(v, c, ...)                                                                                                \
    ferry__value_read((v), FERRY_N_(__VA_ARGS__),                                                                      \
                      (const ferry_slot[]){FERRY_PAIRS_(FERRY_SLOT_KEY_, FERRY_SLOT_, __VA_ARGS__)}, note, (c))

TEST(read_tells_every_wrong_key)
{
    complaints c = {""};
    int x = 1, y = 2, z = 3, n = 4;
    unsigned char small = 5;
    unsigned u = 6;
    const char *s = "7";
    bool b = false;
    ferry_value *m = ferry_map("x", 10, "y", "text", "z", 2.0, "small", 256, "u", -1, "s", ferry_bytes("x", 1), "b", 1,
                               "n", (const char *)NULL, "big", UINT64_MAX);
    CHECK(!READ(m, &c, "x", &x, "gone", &x, "y", &y, "z", &z, "small", &small, "u?", &u, "s", &s, "b", &b, "n", &n,
                "big", &n));
    CHECK_STR(c.text, "gone: missing; y: expected an integer, got a string; z: expected an integer, got a double; "
                      "small: out of range for unsigned char; u: out of range for unsigned int; "
                      "s: expected a string, got bytes; b: expected a bool, got an integer; "
                      "n: expected an integer, got nil; big: out of range for int; ");
    CHECK(x == 1 && y == 2 && z == 3 && n == 4 && small == 5 && u == 6 && !b);
    CHECK_STR(s, "7");
    ferry_value_free(m);
}

TEST(read_lets_optional_keys_be_absent)
{
    int x = 1, y = 2;
    const ferry_value *v = NULL;
    ferry_value *m = ferry_map("x", 10, "nil", (const char *)NULL, "odd?", 5);
    CHECK(ferry_read(m, "x?", &x, "y?", &y));
    CHECK(x == 10 && y == 2);
    CHECK(ferry_read(m, "nil?", &y, "nil", &v));
    CHECK(y == 2 && ferry_value_type(v) == FERRY_TYPE_NIL && v);
    CHECK(!ferry_read(m, "nil", &y));
    CHECK(ferry_read(m, "odd??", &y)); /* the key itself ends in a question mark */
    CHECK_INT(y, 5);
    ferry_value_free(m);
}

TEST(read_wants_a_map)
{
    complaints c = {""};
    int x = 1;
    ferry_value *list = ferry_list(1);
    CHECK(!READ(list, &c, "x?", &x));
    CHECK_STR(c.text, ": expected a map, got a list; ");
    c.text[0] = '\0';
    CHECK(!READ(NULL, &c, "x", &x, "y", &x));
    CHECK_STR(c.text, "x: missing; y: missing; ");
    CHECK(ferry_read(NULL, "x?", &x));
    CHECK(!ferry_read_into(list, 0, NULL));
    CHECK(ferry_read_into(NULL, 0, NULL));
    CHECK_INT(x, 1);
    ferry_value_free(list);
}

TEST(read_survives_hand_made_slots)
{
    int x = 1;
    complaints c = {""};
    ferry_value *m = ferry_map("x", 2);
    const ferry_slot unknown[] = {{0, {.key = "x"}}, {99, {.to = &x}}},
                     nowhere[] = {{0, {.key = "x"}}, {2, {.to = NULL}}},
                     keyless[] = {{0, {.key = NULL}}, {2, {.to = &x}}};
    CHECK(!ferry__value_read(m, 2, unknown, note, &c));
    CHECK(!ferry__value_read(m, 2, nowhere, note, &c));
    CHECK(!ferry__value_read(m, 2, keyless, note, &c));
    CHECK(!ferry__value_read(m, 1, unknown, note, &c));
    CHECK_STR(
        c.text,
        "x: no variable to read it into; x: no variable to read it into; : missing; : a key without a variable; ");
    CHECK_INT(x, 1);
    ferry_value_free(m);
}

/* ---- Cost ---------------------------------------------------------------------------------------------------------------- */

static void one_call(void)
{
    char bytes[64];
    size_t length;
    int x, y;
    ferry_value *sent = ferry_map("x", 1, "y", 2, "who", "ada"), *came;
    CHECK_STATUS(ferry__value_measure(sent, sizeof bytes, &length), FERRY_OK);
    ferry__value_write(sent, bytes);
    ferry_value_free(sent);
    CHECK_STATUS(ferry__value_decode(bytes, length, &came, NULL), FERRY_OK);
    CHECK(ferry_read(came, "x", &x, "y", &y));
    ferry_value_free(came);
    ferry_value_free(ferry_of(x + y));
}

TEST(steady_state_takes_nothing_from_malloc)
{
    one_call();
    ferry__free(ferry__alloc(1));
    uint64_t before = ferry__alloc_mallocs();
    ferry__free(ferry__alloc(1));
    if (ferry__alloc_mallocs() != before)
        SKIP("blocks are not recycled in this build");
    for (int i = 0; i < 10000; i++)
        one_call();
    CHECK_UINT(ferry__alloc_mallocs(), before);
}
