#include "base/alloc.h"
#include "ends/names.h"
#include "test.h"

static const char *real(const ferry__name *names, const char *route)
{
    size_t length = strcspn(route, ".");
    const char *name = ferry__names_real(names, route, &length);
    return test_text("%.*s", (int)length, name);
}

TEST(pairs)
{
    ferry__name *names = NULL;
    char why[FERRY_WHY_SIZE] = "";
    CHECK_STATUS(ferry__names_read(&names, "order:orders-eu,stock:s2", why), FERRY_OK);
    CHECK_STR(real(names, "order.created"), "orders-eu");
    CHECK_STR(real(names, "stock"), "s2");
    CHECK_STR(real(names, "ord.created"), "ord");
    CHECK_STR(real(names, "orders.created"), "orders");
    ferry__names_done(names);
}

TEST(none)
{
    ferry__name *names = NULL;
    CHECK_STATUS(ferry__names_read(&names, "", NULL), FERRY_OK);
    CHECK_NULL(names);
    CHECK_STR(real(names, "order.created"), "order");
}

TEST(a_file)
{
    ferry__name *names = NULL;
    char why[FERRY_WHY_SIZE] = "";
    const char *path = test_text("%s/names", test_dir());
    test_write(path, "# where things are\norder:orders-eu\n\nstock:s2\r\n");
    CHECK_STATUS(ferry__names_read(&names, test_text("@%s", path), why), FERRY_OK);
    CHECK_STR(real(names, "order.created"), "orders-eu");
    CHECK_STR(real(names, "stock.level"), "s2");
    ferry__names_done(names);
}

TEST(mistakes)
{
    static const char *const wrong[] = {"order", "order:", ":x", "a.b:c", "order:a.b", "order:a b", "@/nowhere/at/all"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ferry__name *names = NULL;
        char why[FERRY_WHY_SIZE] = "";
        CHECK_STATUS(ferry__names_read(&names, wrong[i], why), FERRY_INVALID);
        CHECK_HAS(why, "names:");
        ferry__names_done(names);
    }
}
