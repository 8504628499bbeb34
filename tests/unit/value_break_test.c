/* value_break_test.c - values that cannot be: misuse, limits, want of memory. Nothing crashes, nothing leaks, and it is told once. */
#include "base/alloc.h"
#include "data/value.h"
#include "test.h"

/* The status that the call would reply. Takes v. */
static ferry_status status_of(ferry_value *v)
{
    size_t length;
    ferry_status status = ferry__value_status(v);
    CHECK_STATUS(ferry__value_measure(v, SIZE_MAX, &length), status);
    CHECK(ferry__value_broken(v) == (status != FERRY_OK));
    CHECK((ferry__value_flaw(v)[0] == '\0') == (status == FERRY_OK));
    ferry_value_free(v);
    return status;
}

TEST(strings_must_be_utf8)
{
    static const char *const bad[] = {"\xff", "a\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc3(", "\x80"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_STATUS(status_of(ferry_text(bad[i])), FERRY_INVALID);
        CHECK_STATUS(status_of(ferry_list(1, bad[i])), FERRY_INVALID);
        CHECK_STATUS(status_of(ferry_map("x", bad[i], "y", 2)), FERRY_INVALID);
        CHECK_STATUS(status_of(ferry_map(bad[i], 1)), FERRY_INVALID);
        CHECK_STATUS(status_of(ferry_bytes(bad[i], strlen(bad[i]))), FERRY_OK);
    }
    CHECK_STATUS(status_of(ferry_string(NULL, 3)), FERRY_INVALID);
    CHECK_STATUS(status_of(ferry_bytes(NULL, 3)), FERRY_INVALID);
}

TEST(broken_is_catching_and_stays)
{
    ferry_value *m = ferry_map("a", 1, "bad", "\xff", "b", ferry_list(2));
    ferry_value_set(m, "bad", 3); /* too late */
    CHECK_STATUS(status_of(ferry_value_copy(m)), FERRY_INVALID);
    CHECK_STATUS(status_of(ferry_list(ferry_list(m))), FERRY_INVALID);
    ferry_value *broken = ferry_text("\xff");
    CHECK_INT(ferry_value_type(broken), FERRY_TYPE_NIL);
    CHECK_NULL(ferry_encoded(broken, NULL));
    ferry_value *list = ferry_new_list();
    ferry_list_put(list, broken);
    ferry_value_add(list, 1);
    CHECK_STATUS(status_of(list), FERRY_INVALID);
}

TEST(null_taken_is_out_of_memory)
{
    ferry_value *list = ferry_new_list(), *none = NULL;
    ferry_list_put(list, NULL);
    CHECK_STATUS(status_of(list), FERRY_NO_MEMORY);
    CHECK_STATUS(status_of(ferry_map("x", none)), FERRY_NO_MEMORY);
    CHECK_STATUS(status_of(ferry_of(none)), FERRY_NO_MEMORY);
}

TEST(put_into_the_wrong_kind)
{
    ferry_value *list = ferry_new_list(), *map = ferry_new_map(), *text = ferry_text("s"), *raw = ferry_raw("\x90", 1);
    ferry_map_put(list, "x", ferry_int(1));
    ferry_list_put(map, ferry_int(1));
    ferry_list_put(text, ferry_list(1));
    ferry_list_put(raw, ferry_int(1));
    CHECK_STATUS(status_of(list), FERRY_INVALID);
    CHECK_STATUS(status_of(map), FERRY_INVALID);
    CHECK_STATUS(status_of(text), FERRY_INVALID);
    CHECK_STATUS(status_of(raw), FERRY_INVALID);
    map = ferry_new_map();
    ferry_map_put(map, NULL, ferry_list(1));
    CHECK_STATUS(status_of(map), FERRY_INVALID);
}

TEST(put_into_itself)
{
    ferry_value *map = ferry_map("x", 1), *list = ferry_list(1);
    ferry_map_put(map, "me", map);
    ferry_list_put(list, list);
    CHECK_STATUS(status_of(map), FERRY_INVALID);
    CHECK_STATUS(status_of(list), FERRY_INVALID);
    map = ferry_map("x", 1);
    ferry_list_put(map, map); /* no list, too */
    CHECK_STATUS(status_of(map), FERRY_INVALID);
}

TEST(put_into_two_places)
{
    ferry_value *shared = ferry_list(1), *first = ferry_list(shared), *second = ferry_list(shared);
    CHECK_STATUS(status_of(second), FERRY_INVALID);
    CHECK_STATUS(ferry__value_status(first), FERRY_OK);
    ferry_list_put(shared, ferry_list(2)); /* it is in first by now, which breaks */
    CHECK_STATUS(ferry__value_status(first), FERRY_INVALID);
    ferry_list_put(shared, first); /* a cycle, even; first is taken by that, and so freed */
    first = ferry_list(1, shared = ferry_list(2));
    ferry_value_free(shared); /* not ours any more: nothing happens */
    CHECK_INT(ferry_count(ferry_at(first, 1)), 1);
    CHECK_STATUS(status_of(first), FERRY_OK);
}

TEST(borrowed_cannot_be_given_away)
{
    ferry_value *from = ferry_map("in", ferry_list(1, "text"), "name", "ada"), *to = ferry_new_list();
    ferry_list_put(to, (ferry_value *)ferry_find(from, "in"));
    ferry_value_free((ferry_value *)ferry_find(from, "in"));
    ferry_value_add((ferry_value *)ferry_find(from, "in"), 2);
    CHECK_INT(ferry_count(ferry_find(from, "in")), 2);
    CHECK_STATUS(status_of(to), FERRY_INVALID);
    CHECK_STATUS(status_of(ferry_list((ferry_value *)ferry_find(from, "name"))), FERRY_INVALID);
    CHECK_STR(ferry_as_string(ferry_find(from, "name"), NULL), "ada");
    CHECK_STATUS(status_of(from), FERRY_OK);
}

static ferry_value *nested(int depth)
{
    ferry_value *v = ferry_new_list();
    for (int i = 1; i < depth; i++)
        v = i % 2 ? ferry_map("k", v) : ferry_list(v);
    return v;
}

TEST(depth_is_limited)
{
    CHECK_STATUS(status_of(nested(FERRY__DEPTH_MAX)), FERRY_OK);
    CHECK_STATUS(status_of(nested(FERRY__DEPTH_MAX + 1)), FERRY_INVALID);
    CHECK_STATUS(status_of(nested(100000)), FERRY_INVALID);
    CHECK_STATUS(status_of(ferry_list(nested(FERRY__DEPTH_MAX - 1), 1)), FERRY_OK);
    ferry_value *list = ferry_list(ferry_value_copy(NULL)), *deep = nested(FERRY__DEPTH_MAX);
    const ferry_value *borrowed = deep;
    ferry_value_add(list, borrowed); /* its copy is as deep */
    CHECK_STATUS(status_of(list), FERRY_INVALID);
    ferry_value_free(deep);
}

TEST(depth_counts_what_is_in_msgpack)
{
    char deep[FERRY__DEPTH_MAX];
    memset(deep, '\x91', sizeof deep);
    deep[sizeof deep - 1] = '\x90';
    ferry_value *raw = ferry_raw(deep, sizeof deep),
                *list = ferry_list(ferry_list(ferry_raw(deep + 2, sizeof deep - 2)));
    CHECK_STATUS(ferry__value_status(raw), FERRY_OK);
    CHECK_STATUS(status_of(ferry_list(raw)), FERRY_INVALID);
    ferry_value *decoded;
    CHECK_STATUS(ferry__value_decode(deep, sizeof deep, &decoded, NULL), FERRY_OK);
    CHECK_STATUS(status_of(ferry_list(decoded)), FERRY_INVALID);
    CHECK_STATUS(status_of(ferry_list(ferry_value_copy(list))), FERRY_INVALID);
    CHECK_STATUS(status_of(list), FERRY_OK);
}

TEST(raw_must_be_one_value)
{
    CHECK_STATUS(status_of(ferry_raw(NULL, 0)), FERRY_INVALID);
    CHECK_STATUS(status_of(ferry_raw("", 0)), FERRY_INVALID);
    CHECK_STATUS(status_of(ferry_raw("\x01\x02", 2)), FERRY_INVALID);
    CHECK_STATUS(status_of(ferry_raw("\x91", 1)), FERRY_INVALID);
    CHECK_STATUS(status_of(ferry_raw("\xc1", 1)), FERRY_INVALID);
    CHECK_STATUS(status_of(ferry_list(1, ferry_raw("\xdf\xff\xff\xff\xff", 5), ferry_list(2))), FERRY_INVALID);
}

/* What a peer would refuse is not sent: the count of values is limited like the depth. */
TEST(too_many_values)
{
    ferry_value *list = ferry_new_list();
    for (int i = 0; i < FERRY__OBJECTS_MAX - 1; i++)
        ferry_list_put(list, ferry_nil());
    CHECK_STATUS(ferry__value_status(list), FERRY_OK);
    size_t length;
    CHECK_STATUS(ferry__value_measure(list, SIZE_MAX, &length), FERRY_OK);
    ferry_list_put(list, ferry_nil());
    CHECK_STATUS(ferry__value_measure(list, SIZE_MAX, &length), FERRY_TOO_BIG);
    ferry_list_put(list, ferry_nil());
    CHECK_STATUS(status_of(list), FERRY_TOO_BIG);
}

TEST(calls_by_hand_with_a_wrong_count)
{
    const ferry_item items[] = {{5, {.s = "x"}}, {6, {.v = ferry_list(1)}}, {6, {.v = ferry_list(2)}}};
    CHECK_STATUS(status_of(ferry_map_of(3, items)), FERRY_INVALID);
    const ferry_item keys[] = {{6, {.v = ferry_list(1)}}, {6, {.v = ferry_list(2)}}};
    CHECK_STATUS(status_of(ferry_map_of(2, keys)), FERRY_INVALID);
    CHECK_STATUS(status_of(ferry_map_of(0, NULL)), FERRY_OK);
    CHECK_STATUS(status_of(ferry_list_of(0, NULL)), FERRY_OK);
}

/* ---- Out of memory --------------------------------------------------------------------------------------------------- */

static ferry_value *rich(void)
{
    char long_text[300];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    ferry_value *m = ferry_new_map();
    for (int i = 0; i < 40; i++)
        ferry_map_put(m, test_text("key %d", i), ferry_list(i, "text", long_text, ferry_map("in", i)));
    ferry_value_set(m, "raw", ferry_raw("\x82\xa1x\x01\xa1y\x92\x01\x02", 9));
    ferry_value_set(m, "key 7", ferry_bytes(long_text, 200));
    ferry_value_set(m, "copy", ferry_find(m, "key 3"));
    ferry_value_set(m, "double", 2.5);
    return m;
}

static void there_and_back(void *arg)
{
    static char room[65536];
    size_t length;
    char why[FERRY_WHY_SIZE];
    ferry_value *m = rich(), *copy = ferry_value_copy(m), *came = NULL;
    (void)arg;
    ferry_status status = ferry__value_measure(copy, sizeof room, &length);
    if (ferry_encoded(ferry_find(m, "key 3"), NULL) == NULL)
        CHECK(test_alloc_failed());
    if (status == FERRY_OK) {
        ferry__value_write(copy, room);
        status = ferry__value_decode(room, length, &came, why);
    }
    if (status == FERRY_OK)
        CHECK_INT(ferry_count(came), 43);
    else
        CHECK_STATUS(status, FERRY_NO_MEMORY);
    CHECK((came == NULL) == (status != FERRY_OK));
    if (!test_alloc_failed())
        CHECK_STATUS(status, FERRY_OK);
    ferry_value_free(came);
    ferry_value_free(copy);
    ferry_value_free(m);
}

TEST_WITH(every_allocation_may_fail, .limit_ms = 60000)
{
    test_every_alloc_fails(there_and_back, NULL);
}

TEST(without_memory_nothing_crashes)
{
    size_t length;
    ferry__alloc_fail_from(1);
    ferry_value *m = rich(), *list = ferry_list(1, "x", ferry_list(2)), *copy = ferry_value_copy(list);
    ferry_map_put(m, "x", list);
    ferry_list_put(copy, m);
    ferry_status status = ferry__value_measure(copy, 100, &length),
                 of = ferry__value_measure(ferry_of(1), 100, &length);
    ferry_value_free(copy);
    ferry__alloc_fail_from(0);
    CHECK_STATUS(status, FERRY_NO_MEMORY);
    CHECK_STATUS(of, FERRY_NO_MEMORY);
    CHECK_STATUS(status_of(ferry_of(1)), FERRY_OK);
}
