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
            ferry__why(why, "an option is set that this library (%s) does not know: it is older than the header", ferry_version());
            return FERRY_INVALID;
        }
    memcpy(to, given, size < known ? size : known);
    return FERRY_OK;
}

ferry_status ferry__options_env(const char *name, long long least, long long most, long long *value, char *why)
{
    const char *text = *value == 0 ? getenv(name) : NULL;
    char *end;
    if (text && *text) {
        errno = 0;
        *value = strtoll(text, &end, 10);
        if (errno || *end || *value == 0)
            *value = least - 1;
    }
    if (*value != 0 && (*value < least || *value > most)) {
        ferry__why(why, "%s%s%s: expected a whole number from %lld to %lld", name, text ? "=" : "", text ? text : "", least, most);
        return FERRY_INVALID;
    }
    return FERRY_OK;
}
