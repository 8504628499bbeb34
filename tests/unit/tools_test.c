/* tools_test.c - the laws that need nothing but a shell hold in every test run, not only in `make lint`. */
#include "test.h"

static void holds(const char *tool)
{
    test_output r = test_sh("'%s/tools/%s'", test_root(), tool);
    if (r.code != 0)
        FAIL("tools/%s:\n%s%s", tool, r.out, r.err);
}

TEST_WITH(checkers_find_planted_mistakes, .limit_ms = 60000)
{
    holds("selftest");
}

TEST(layers)
{
    holds("layers");
}

TEST(sizes)
{
    holds("sizes");
}

TEST(banned)
{
    holds("banned");
}

TEST(symbols)
{
    if (strcmp(test_bin(), test_text("%s/build", test_root())) != 0)
        SKIP("only the plain library is checked");
    holds("symbols");
}
