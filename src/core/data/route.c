#include "data/route.h"

#include "base/log.h"

#include <stdint.h>
#include <string.h>

#define INVALID(...) (ferry__why(why, __VA_ARGS__), FERRY_INVALID)

/* Every call checks its route: a bit a byte costs a tenth of what strspn takes to set up. */
static const uint64_t allowed[4] = {0x03ff200000000000, 0x07fffffe87fffffe, 0, 0}; /* 0-9 and -, A-Z a-z and _ */

static size_t fine_bytes(const char *at)
{
    size_t n = 0;
    while (allowed[(unsigned char)at[n] / 64] >> (unsigned char)at[n] % 64 & 1)
        n++;
    return n;
}

static size_t segment(const char *at)
{
    size_t n = 0;
    while (at[n] && at[n] != '.')
        n++;
    return n;
}

static bool is(const char *at, size_t length, const char *word)
{
    return length == strlen(word) && memcmp(at, word, length) == 0;
}

/* Shows only what was found to be fine: the rest may hold what a terminal would obey. */
static ferry_status refuse_byte(const char *what, const char *whole, const char *at, char *why)
{
    int before = (int)(at - whole);
    if (*at == '*')
        return INVALID("%s '%.*s*': a '*' stands only in patterns, for a whole segment and not for the first; '**' "
                       "only at the end",
                       what, before, whole);
    if ((unsigned char)*at > 0x20 && (unsigned char)*at < 0x7f)
        return INVALID("%s '%.*s%c': only A-Z a-z 0-9 _ - are allowed, and dots between segments", what, before, whole,
                       *at);
    return INVALID("%s '%.*s': byte 0x%02x follows; only A-Z a-z 0-9 _ - and dots are allowed", what, before, whole,
                   (unsigned char)*at);
}

static ferry_status check(const char *what, const char *whole, bool pattern, char *why)
{
    if (!whole || !*whole)
        return INVALID("the %s is empty: expected a dotted name, e.g. calc.add", what);
    if (strnlen(whole, FERRY__ROUTE_MAX + 1) > FERRY__ROUTE_MAX)
        return INVALID("the %s is over %d bytes", what, FERRY__ROUTE_MAX);
    for (const char *at = whole;; at++) {
        size_t n = segment(at);
        bool last = at[n] == '\0', star = pattern && at != whole && (is(at, n, "*") || (last && is(at, n, "**")));
        size_t fine = star ? n : fine_bytes(at);
        if (fine < n)
            return refuse_byte(what, whole, at + fine, why);
        if (n == 0)
            return INVALID("%s '%.*s' has an empty segment: a dot stands between two names", what,
                           (int)(at - whole) + 1, whole);
        at += n;
        if (last)
            return FERRY_OK;
    }
}

ferry_status ferry__route_check(const char *route, char *why)
{
    return check("route", route, false, why);
}

ferry_status ferry__route_check_pattern(const char *pattern, char *why)
{
    return check("pattern", pattern, true, why);
}

size_t ferry__route_service(const char *route)
{
    return segment(route);
}

bool ferry__route_match(const char *pattern, const char *route)
{
    for (;;) {
        size_t p = segment(pattern), r = segment(route);
        if (r == 0)
            return false;
        if (is(pattern, p, "**"))
            return true;
        if (!is(pattern, p, "*") && !(p == r && memcmp(pattern, route, p) == 0))
            return false;
        if (pattern[p] != route[r])
            return false; /* one of the two ends here */
        if (pattern[p] == '\0')
            return true;
        pattern += p + 1;
        route += r + 1;
    }
}
