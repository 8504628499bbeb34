#include "ends/options.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

ferry_status ferry__options_take(void *to, size_t known, const void *given, char *why)
{
    size_t size = 0;
    memset(to, 0, known);
    if (!given)
        return FERRY_OK;
    memcpy(&size, given, sizeof size);
    if (size < sizeof size || size > 4096) {
        ferry__why(why, "the options struct has no size: make it with FERRY_OPTIONS(…), FERRY_CALL(…) and so on");
        return FERRY_INVALID;
    }
    for (size_t i = known; i < size; i++)
        if (((const char *)given)[i]) {
            ferry__why(why, "an option is set that this library (%s) does not know: it is older than the header",
                       ferry_version());
            return FERRY_INVALID;
        }
    memcpy(to, given, size < known ? size : known);
    return FERRY_OK;
}

ferry_status ferry__options_confirm(ferry_confirm confirm, char *why)
{
    if (confirm == FERRY_QUEUED || confirm == FERRY_CONFIRMED)
        return FERRY_OK;
    ferry__why(why, "confirm is neither FERRY_QUEUED nor FERRY_CONFIRMED");
    return FERRY_INVALID;
}

static bool parse(const char *text, long long most, long long *value)
{
    char *end;
    errno = 0;
    *value = strtoll(text, &end, 10);
    return !errno && end != text && !*end && *value >= 1 && *value <= most;
}

ferry_status ferry__options_number(const char *field, const char *variable, long long most, long long *value, char *why)
{
    const char *text = getenv(variable);
    if (*value == 0 && text && *text && !parse(text, most, value)) {
        ferry__why(why, "%s=%.60s: expected a whole number from 1 to %lld", variable, text, most);
        return FERRY_INVALID;
    }
    if (*value < 0 || *value > most) {
        ferry__why(why, "%s = %lld: expected 1 to %lld, or 0 for the default", field, *value, most);
        return FERRY_INVALID;
    }
    return FERRY_OK;
}
