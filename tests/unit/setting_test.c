/* setting_test.c - units, bounds and the texts that refuse. */
#include "test.h"

#include "data/setting.h"

static const ferry__setting ms = {"wait", FERRY__MS, NULL, 0, 0, NULL, ""};
static const ferry__setting bytes = {"size", FERRY__BYTES, NULL, 0, 0, NULL, ""};
static const ferry__setting number = {"count", FERRY__NUMBER, NULL, 0, 0, NULL, ""};
static const ferry__setting flag = {"on", FERRY__FLAG, NULL, 0, 0, NULL, ""};
static const ferry__setting choice = {"kind", FERRY__CHOICE, NULL, 0, 0, "one|two|three", ""};
static const ferry__setting text = {"name", FERRY__TEXT, NULL, 0, 0, NULL, ""};

static void reads(const ferry__setting *s, const char *value, int64_t want)
{
    char why[FERRY_WHY_SIZE] = "";
    int64_t found = -1;
    test_note("%s=%s", s->name, value);
    CHECK_STATUS(ferry__setting_read(s, value, &found, why), FERRY_OK);
    CHECK_INT(found, want);
    CHECK_STR(why, "");
    CHECK_STATUS(ferry__setting_read(s, value, NULL, NULL), FERRY_OK);
}

static void refuses(const ferry__setting *s, const char *value, const char *want)
{
    char why[FERRY_WHY_SIZE] = "";
    int64_t found;
    test_note("%s=%s", s->name, value);
    CHECK_STATUS(ferry__setting_read(s, value, &found, why), FERRY_INVALID);
    CHECK_STR(why, test_text("%s=%s: expected %s", s->name, value, want));
}

TEST(units)
{
    const struct {
        const char *value;
        int64_t want;
    } durations[] = {{"0", 0},      {"500", 500},    {"500ms", 500},    {"2s", 2000},
                     {"1m", 60000}, {"1h", 3600000}, {"7d", 604800000}, {"106751991167d", 9223372036828800000}},
      sizes[] = {{"0", 0},        {"64k", 65536},      {"64K", 65536},     {"1m", 1 << 20},
                 {"1M", 1 << 20}, {"2g", 2147483648u}, {"8G", 8589934592}, {"9223372036854775807", INT64_MAX}};
    for (size_t i = 0; i < sizeof durations / sizeof durations[0]; i++)
        reads(&ms, durations[i].value, durations[i].want);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        reads(&bytes, sizes[i].value, sizes[i].want);
    reads(&number, "-7", -7);
    reads(&number, "007", 7);
    reads(&text, "", 0);
    reads(&text, "anything", 0);
}

TEST(not_numbers)
{
    static const char *const wrong[] = {"",
                                        " ",
                                        "1 ",
                                        " 1",
                                        "+1",
                                        "1.5",
                                        "0x10",
                                        "1e3",
                                        "s",
                                        "1sec",
                                        "1S",
                                        "-",
                                        "--1",
                                        "1kk",
                                        "9223372036854775808",
                                        "99999999999999999999999",
                                        "9223372036854775807d"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        refuses(&ms, wrong[i], "milliseconds, e.g. 500, 2s or 1m");
        refuses(&bytes, wrong[i], "bytes, e.g. 4096, 64k or 1M");
        refuses(&number, wrong[i], "a number");
    }
    refuses(&ms, "-1", "milliseconds, e.g. 500, 2s or 1m");
    refuses(&number, "1k", "a number");
    refuses(&bytes, "1s", "bytes, e.g. 4096, 64k or 1M");
}

TEST(bounds)
{
    const ferry__setting both = {"n", FERRY__NUMBER, NULL, -3, 10, NULL, ""},
                         lower = {"n", FERRY__MS, NULL, 10, 0, NULL, ""},
                         size = {"n", FERRY__BYTES, NULL, 1024, 4096, NULL, ""};
    reads(&both, "-3", -3);
    reads(&both, "10", 10);
    refuses(&both, "-4", "-3 to 10");
    refuses(&both, "11", "-3 to 10");
    reads(&lower, "10", 10);
    reads(&lower, "7d", 604800000);
    refuses(&lower, "9ms", "at least 10 milliseconds");
    reads(&size, "4k", 4096);
    refuses(&size, "1M", "1024 to 4096 bytes");
}

TEST(words)
{
    static const char *const yes[] = {"yes", "true", "1", "YES", "True"}, *const no[] = {"no", "false", "0", "No",
                                                                                         "FALSE"};
    for (size_t i = 0; i < 5; i++) {
        reads(&flag, yes[i], 1);
        reads(&flag, no[i], 0);
    }
    refuses(&flag, "", "yes or no");
    refuses(&flag, "2", "yes or no");
    refuses(&flag, "yess", "yes or no");
    reads(&choice, "one", 0);
    reads(&choice, "three", 2);
    refuses(&choice, "One", "one of one, two, three");
    refuses(&choice, "on", "one of one, two, three");
    refuses(&choice, "", "one of one, two, three");
    refuses(&choice, "one|two", "one of one, two, three");
}

/* Long ones are cut between characters, what a terminal obeys is replaced, secrets are not shown. */
TEST(what_was_found)
{
    const ferry__setting secret = {"smtp_Password", FERRY__NUMBER, NULL, 1, 5, NULL, ""};
    char why[FERRY_WHY_SIZE];
    ferry__setting_read(&number,
                        "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4-"
                        "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4-",
                        NULL, why);
    CHECK_STR(why, "count=\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4-"
                   "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4...: expected a number");
    ferry__setting_read(&number, "a\x1b[2Jb\n", NULL, why);
    CHECK_STR(why, "count=a?[2Jb?: expected a number");
    ferry__setting_read(&secret, "hunter2", NULL, why);
    CHECK_STR(why, "smtp_Password=***: expected a number");
    ferry__setting_read(&secret, "6", NULL, why);
    CHECK_STR(why, "smtp_Password=***: expected 1 to 5");
}

TEST(find)
{
    const ferry__setting table[] = {ms, bytes, {.name = NULL}};
    CHECK(ferry__setting_find(table, "size") == &table[1]);
    CHECK_NULL(ferry__setting_find(table, "siz"));
    CHECK_NULL(ferry__setting_find(NULL, "size"));
    CHECK(ferry__setting_secret("access_TOKEN"));
    CHECK(ferry__setting_secret("mysecret"));
    CHECK(!ferry__setting_secret("pass"));
}
