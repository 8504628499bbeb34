#include "test.h"

#include "base/buf.h"

TEST(grows)
{
    ferry__buf b = FERRY__BUF(1 << 20);
    CHECK_STR(ferry__buf_string(&b), "");
    for (int i = 0; i < 1000; i++)
        ferry__buf_format(&b, "%d,", i);
    ferry__buf_text(&b, "end");
    CHECK_STATUS(b.failed, FERRY_OK);
    CHECK_HAS(ferry__buf_string(&b), "0,1,2,");
    CHECK_HAS(ferry__buf_string(&b), ",998,999,end");
    CHECK_UINT(strlen(ferry__buf_string(&b)), b.length);
    ferry__buf_done(&b);
    CHECK_UINT(b.length, 0);
}

TEST(holds_any_byte)
{
    ferry__buf b = FERRY__BUF(100);
    ferry__buf_add(&b, "a\0b", 3);
    ferry__buf_add(&b, NULL, 0);
    CHECK_BYTES(b.data, b.length, "a\0b", 3);
    ferry__buf_done(&b);
}

TEST(the_maximum_is_exact)
{
    ferry__buf b = FERRY__BUF(4);
    ferry__buf_text(&b, "four");
    CHECK_STATUS(b.failed, FERRY_OK);
    CHECK_STR(ferry__buf_string(&b), "four");
    ferry__buf_text(&b, "x");
    CHECK_STATUS(b.failed, FERRY_TOO_BIG);
    CHECK_UINT(b.length, 4);
    ferry__buf_done(&b);
}

TEST(a_failure_sticks_until_cleared)
{
    ferry__buf b = FERRY__BUF(4);
    ferry__buf_format(&b, "%s", "too long for it");
    CHECK_STATUS(b.failed, FERRY_TOO_BIG);
    ferry__buf_text(&b, "ok");
    CHECK_UINT(b.length, 0);
    CHECK_STR(ferry__buf_string(&b), "");
    CHECK_NULL(ferry__buf_reserve(&b, 1));
    ferry__buf_clear(&b);
    ferry__buf_text(&b, "ok");
    CHECK_STR(ferry__buf_string(&b), "ok");
    ferry__buf_done(&b);
}

TEST(sizes_near_the_end_of_size_t)
{
    ferry__buf b = FERRY__BUF(100);
    ferry__buf_text(&b, "x");
    CHECK_NULL(ferry__buf_reserve(&b, SIZE_MAX));
    CHECK_STATUS(b.failed, FERRY_TOO_BIG);
    ferry__buf_done(&b);
}

static void fill(void *arg)
{
    ferry__buf b = FERRY__BUF(1 << 20);
    (void)arg;
    for (int i = 0; i < 500; i++)
        ferry__buf_text(&b, "0123456789");
    CHECK_STATUS(b.failed, test_alloc_failed() ? FERRY_NO_MEMORY : FERRY_OK);
    if (!b.failed)
        CHECK_UINT(b.length, 5000);
    ferry__buf_done(&b);
}

TEST(out_of_memory)
{
    test_every_alloc_fails(fill, NULL);
}
