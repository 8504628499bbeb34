#include "test.h"

#include "data/route.h"

static const char *of_length(size_t n)
{
    const char *text = "";
    for (size_t i = 0; i < n; i++)
        text = test_text("%sa", text);
    return text;
}

TEST(names)
{
    const char *good[] = {"a", "calc.add", "A-Z_0.9-", "a.b.c.d.e.f", "-", "_", "0", of_length(128)};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        char why[FERRY_WHY_SIZE] = "";
        test_note("%s", good[i]);
        CHECK_STATUS(ferry__route_check(good[i], why), FERRY_OK);
        CHECK_STATUS(ferry__route_check_pattern(good[i], why), FERRY_OK);
        CHECK_STR(why, "");
    }
}

TEST(not_names)
{
    const char *bad[][2] = {
        {NULL, "the route is empty"},
        {"", "the route is empty"},
        {".", "has an empty segment"},
        {"calc.", "route 'calc.' has an empty segment"},
        {".calc", "has an empty segment"},
        {"calc..add", "route 'calc..' has an empty segment"},
        {"calc/add", "route 'calc/': only A-Z a-z 0-9 _ -"},
        {"calc add", "route 'calc': byte 0x20 follows"},
        {"calc.\nadd", "route 'calc.': byte 0x0a follows"},
        {"calc.\x1b[2J", "route 'calc.': byte 0x1b follows"},
        {"caf\xc3\xa9", "route 'caf': byte 0xc3 follows"},
        {"calc.*", "a '*' stands only in patterns"},
        {"calc.%s", "route 'calc.%'"},
        {of_length(129), "the route is over 128 bytes"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char why[FERRY_WHY_SIZE] = "";
        test_note("%s", bad[i][0] ? bad[i][0] : "NULL");
        CHECK_STATUS(ferry__route_check(bad[i][0], why), FERRY_INVALID);
        CHECK_HAS(why, bad[i][1]);
        CHECK_STATUS(ferry__route_check(bad[i][0], NULL), FERRY_INVALID);
    }
}

TEST(patterns)
{
    static const char *const good[] = {"calc.*", "calc.**", "calc.*.add", "calc.*.*", "calc.*.**"};
    static const char *const bad[] = {"*",       "**",       "*.add", "**.add", "calc.**.add", "calc.a*",
                                      "calc.*a", "calc.***", "calc.", "calc*",  "calc.**.",    "calc.**.**"};
    char why[FERRY_WHY_SIZE];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        CHECK_STATUS(ferry__route_check_pattern(good[i], NULL), FERRY_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        *why = '\0';
        test_note("%s", bad[i]);
        CHECK_STATUS(ferry__route_check_pattern(bad[i], why), FERRY_INVALID);
        CHECK_HAS(why, "pattern '");
    }
}

TEST(match)
{
    static const struct {
        const char *pattern, *route;
        bool want;
    } rows[] = {
        {"calc", "calc", true},
        {"calc.add", "calc.add", true},
        {"calc.add", "calc.ad", false},
        {"calc.add", "calc.adds", false},
        {"calc.add", "calc", false},
        {"calc", "calc.add", false},
        {"calc.*", "calc", false},
        {"calc.*", "calc.add", true},
        {"calc.*", "calc.add.two", false},
        {"calc.*", "calculus.add", false},
        {"calc.**", "calc", false},
        {"calc.**", "calc.add", true},
        {"calc.**", "calc.add.two.three", true},
        {"calc.**", "calculus.add", false},
        {"a.*.c", "a.b.c", true},
        {"a.*.c", "a.b.d", false},
        {"a.*.c", "a.b", false},
        {"a.*.**", "a.b", false},
        {"a.*.**", "a.b.c", true},
        {"a.*", "a.", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        test_note("%s on %s", rows[i].pattern, rows[i].route);
        CHECK_INT(ferry__route_match(rows[i].pattern, rows[i].route), rows[i].want);
    }
}

TEST(service)
{
    CHECK_UINT(ferry__route_service("calc"), 4);
    CHECK_UINT(ferry__route_service("calc.add.two"), 4);
}
