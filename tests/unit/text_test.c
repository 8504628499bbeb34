#include "test.h"

#include "base/text.h"

TEST(distance)
{
    CHECK_UINT(ferry__text_distance("redis", "redis"), 0);
    CHECK_UINT(ferry__text_distance("rediss", "redis"), 1);
    CHECK_UINT(ferry__text_distance("redsi", "redis"), 1); /* neighbours swapped */
    CHECK_UINT(ferry__text_distance("rabbit", "rabid"), 2);
    CHECK_UINT(ferry__text_distance("", "abc"), 3);
    CHECK(ferry__text_distance("kafka", "amqp") > 3);
    CHECK(ferry__text_distance("", "abcd") > 3);
}

TEST(distance_of_long_words_gives_up)
{
    char a[200], b[200];
    memset(a, 'a', sizeof a - 1);
    memset(b, 'a', sizeof b - 1);
    a[199] = b[199] = '\0';
    CHECK(ferry__text_distance(a, b) > 3);
}

static const char *guess(const char *word)
{
    static const char *const names[] = {"timeout", "prefetch", "partitions", "ns", "durable", "db"};
    ferry__guess g = {.word = word};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        ferry__guess_try(&g, names[i]);
    return g.best;
}

TEST(guesses_the_nearest)
{
    CHECK_STR(guess("timout"), "timeout");
    CHECK_STR(guess("partition"), "partitions");
    CHECK_STR(guess("durabel"), "durable");
    CHECK_STR(guess("nss"), "ns");
    CHECK_NULL(guess("colour"));
    CHECK_NULL(guess("xyz"));
    CHECK_NULL(guess("n")); /* one letter is near to everything */
}

static bool utf8(const char *s)
{
    return ferry__text_utf8(s, strlen(s));
}

TEST(utf8_of_every_length)
{
    CHECK(utf8(""));
    CHECK(utf8("plain"));
    CHECK(utf8("\xc2\x80 \xdf\xbf"));
    CHECK(utf8("\xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 \xef\xbf\xbf"));
    CHECK(utf8("\xf0\x90\x80\x80 \xf4\x8f\xbf\xbf"));
    CHECK(ferry__text_utf8("a\0b", 3));
    CHECK(ferry__text_utf8("\xc3\xa4\xc3", 2)); /* no byte more than it is told */
}

TEST(not_utf8)
{
    static const char *const bad[] = {
        "\x80",             /* starts with a continuation */
        "\xc3",             /* ends early */
        "\xe2\x82",         /* ends early */
        "\xf0\x9f\x98",     /* ends early */
        "\xc3\x28",         /* no continuation */
        "\xe2\x28\xa1",     /* no continuation */
        "\xc0\xaf",         /* overlong */
        "\xc1\xbf",         /* overlong */
        "\xe0\x9f\xbf",     /* overlong */
        "\xf0\x8f\xbf\xbf", /* overlong */
        "\xed\xa0\x80",     /* a surrogate */
        "\xed\xbf\xbf",     /* a surrogate */
        "\xf4\x90\x80\x80", /* beyond the last character */
        "\xf5\x80\x80\x80", /* never valid */
        "\xff",             /* never valid */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        test_note("bad string %zu", i);
        CHECK(!utf8(bad[i]));
        CHECK(!utf8(test_text("before %s", bad[i])));
    }
}
