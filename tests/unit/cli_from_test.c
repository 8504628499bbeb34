/* cli_from_test.c - where a subscription starts, long times and sizes, as people write them. */
#include "test.h"

#include "cli/from.h"
#include "cli/units.h"

#include <stdlib.h>
#include <time.h>

static const int64_t now = 1700000000000;

static int64_t time_of(const char *text)
{
    cli_from from;

    CHECK(cli_from_parse(&from, text, now));
    CHECK_INT(from.from, FERRY_FROM_TIME);
    return from.time_ms;
}

TEST(new_and_earliest)
{
    cli_from from;

    CHECK(cli_from_parse(&from, NULL, now));
    CHECK_INT(from.from, FERRY_FROM_NEW);
    CHECK(cli_from_parse(&from, "new", now));
    CHECK_INT(from.from, FERRY_FROM_NEW);
    CHECK(cli_from_parse(&from, "earliest", now));
    CHECK_INT(from.from, FERRY_FROM_EARLIEST);
}

TEST(so_long_ago)
{
    CHECK_INT(time_of("90s"), now - 90000);
    CHECK_INT(time_of("2h"), now - 7200000);
    CHECK_INT(time_of("7d"), now - 604800000);
}

TEST(dates)
{
    setenv("TZ", "UTC-3", 1); /* three hours east */
    tzset();
    CHECK_INT(time_of("2023-11-14T22:13:20Z"), now);
    CHECK_INT(time_of("2023-11-15T01:13:20"), now);
    CHECK_INT(time_of("2023-11-15T01:13"), now - 20000);
    CHECK_INT(time_of("2023-11-15Z"), now + 6400000);
    CHECK_INT(time_of("2023-11-15"), now + 6400000 - 3 * 3600000);
}

TEST(no_such_date)
{
    cli_from from;

    CHECK(!cli_from_parse(&from, "2023-02-30", now));
    CHECK(!cli_from_parse(&from, "2023-13-01", now));
    CHECK(!cli_from_parse(&from, "2023-11-14T25:00", now));
    CHECK(!cli_from_parse(&from, "2023-11-14T22:13:20+01", now));
}

TEST(all_else_is_a_position)
{
    static const char *const positions[] = {"0:12,1:7", "1700000000000-0", "12", "0", "5x", "2023-11"};
    cli_from from;

    for (size_t i = 0; i < sizeof positions / sizeof *positions; i++) {
        CHECK(cli_from_parse(&from, positions[i], now));
        CHECK_INT(from.from, FERRY_FROM_POSITION);
        CHECK_STR(from.position, positions[i]);
    }
    CHECK(!cli_from_parse(&from, "", now));
    CHECK(!cli_from_parse(&from, "a b", now));
}

TEST(spans_and_sizes)
{
    CHECK_INT(cli_span("1s"), 1000);
    CHECK_INT(cli_span("365d"), 31536000000);
    CHECK_INT(cli_span("0s"), -1);
    CHECK_INT(cli_span("5"), -1);
    CHECK_INT(cli_span("5dd"), -1);
    CHECK_INT(cli_span("-5d"), -1);
    CHECK_INT(cli_span("99999999999999999d"), -1);
    CHECK_INT(cli_bytes("7"), 7);
    CHECK_INT(cli_bytes("512K"), 524288);
    CHECK_INT(cli_bytes("20G"), 21474836480);
    CHECK_INT(cli_bytes("1.5G"), -1);
    CHECK_INT(cli_bytes(""), -1);
    CHECK_INT(cli_bytes("9223372036854775807G"), -1);
}
