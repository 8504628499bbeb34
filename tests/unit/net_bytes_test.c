#include "test.h"

#include "net/bytes.h"
#include <stdlib.h>

TEST(first_in_first_out)
{
    ferry__bytes b = {.max = 100};
    CHECK(ferry__bytes_add(&b, "hello ", 6));
    CHECK(ferry__bytes_add(&b, "world", 5));
    ferry__bytes_eat(&b, 4);
    CHECK_BYTES(b.data + b.head, ferry__bytes_held(&b), "o world", 7);
    ferry__bytes_eat(&b, 1000);
    CHECK_UINT(ferry__bytes_held(&b), 0);
    ferry__bytes_done(&b);
}

TEST(the_maximum_is_of_what_is_held)
{
    ferry__bytes b = {.max = 8};
    CHECK(ferry__bytes_add(&b, "12345678", 8));
    CHECK(!ferry__bytes_add(&b, "9", 1));
    CHECK_NULL(ferry__bytes_room(&b, SIZE_MAX));
    ferry__bytes_eat(&b, 3);
    CHECK(ferry__bytes_add(&b, "abc", 3));
    CHECK(!ferry__bytes_add(&b, "d", 1));
    CHECK_BYTES(b.data + b.head, ferry__bytes_held(&b), "45678abc", 8);
    ferry__bytes_done(&b);
}

/* Against a reference that never moves anything. */
TEST(any_order_of_adding_and_eating)
{
    enum { ALL = 1 << 20 };
    char *all = malloc(ALL);
    size_t in = 0, out = 0;
    ferry__bytes b = {.max = 5000};
    CHECK_NOT_NULL(all);
    for (int i = 0; i < ALL; i++)
        all[i] = (char)(i * 7 + i / 251);
    for (unsigned seed = 1; in < ALL; seed = seed * 1103515245 + 12345) {
        size_t n = (seed >> 8) % 2000, left = ALL - in;
        if (seed >> 31) {
            n = n < left ? n : left;
            bool fits = in - out + n <= 5000;
            CHECK_INT(ferry__bytes_add(&b, all + in, n), fits);
            in += fits ? n : 0;
        } else {
            n = n < in - out ? n : in - out;
            CHECK_BYTES(b.data ? b.data + b.head : "", ferry__bytes_held(&b), all + out, in - out);
            ferry__bytes_eat(&b, n);
            out += n;
        }
        CHECK(b.room <= 4 * 5000);
    }
    ferry__bytes_done(&b);
    free(all);
}

TEST(one_big_message_does_not_keep_its_memory_for_ever)
{
    ferry__bytes b = {.max = 8 << 20};
    CHECK_NOT_NULL(ferry__bytes_room(&b, 4 << 20));
    b.tail += 4 << 20;
    ferry__bytes_eat(&b, 4 << 20);
    CHECK(b.room >= 4 << 20);
    for (int i = 0; i < 100; i++) {
        CHECK(ferry__bytes_add(&b, "small", 5));
        ferry__bytes_eat(&b, 5);
    }
    CHECK(b.room <= 64 * 1024);
    ferry__bytes_done(&b);
}

TEST(big_messages_all_the_time_keep_it)
{
    ferry__bytes b = {.max = 8 << 20};
    const char *first = ferry__bytes_room(&b, 4 << 20);
    for (int i = 0; i < 200; i++) {
        CHECK(ferry__bytes_room(&b, 4 << 20) == first);
        b.tail += 4 << 20;
        ferry__bytes_eat(&b, 4 << 20);
    }
    ferry__bytes_done(&b);
}

TEST(without_memory_nothing_changes)
{
    ferry__bytes b = {.max = 1 << 20};
    CHECK(ferry__bytes_add(&b, "kept", 4));
    test_fail_alloc_at(1);
    CHECK_NULL(ferry__bytes_room(&b, 1 << 19));
    CHECK_BYTES(b.data + b.head, ferry__bytes_held(&b), "kept", 4);
    CHECK_NOT_NULL(ferry__bytes_room(&b, 1 << 19));
    CHECK_BYTES(b.data + b.head, ferry__bytes_held(&b), "kept", 4);
    ferry__bytes_done(&b);
}
