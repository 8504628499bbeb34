#include "units.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

typedef struct unit {
    char    letter; /* '\0': without one */
    int64_t each;
} unit;

static int64_t parse(const char *text, const unit *units)
{
    long long n;
    char *end;

    if (text[0] < '0' || text[0] > '9')
        return -1;
    errno = 0;
    n = strtoll(text, &end, 10);
    if (errno != 0 || n <= 0 || (end[0] != '\0' && end[1] != '\0'))
        return -1;
    for (size_t i = 0; units[i].each != 0; i++) {
        if (units[i].letter == end[0])
            return n <= INT64_MAX / units[i].each ? n * units[i].each : -1;
    }
    return -1;
}

int64_t cli_span(const char *text)
{
    static const unit units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}, {0}};

    return parse(text, units);
}

int64_t cli_bytes(const char *text)
{
    static const unit units[] = {{'\0', 1}, {'K', 1 << 10}, {'M', 1 << 20}, {'G', 1 << 30}, {0}};

    return parse(text, units);
}
