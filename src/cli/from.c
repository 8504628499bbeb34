#include "from.h"
#include "units.h"

#include <string.h>
#include <time.h>

static bool looks_like_date(const char *text)
{
    static const char form[] = "0000-00-00";

    for (size_t i = 0; form[i] != '\0'; i++) {
        bool digit = text[i] >= '0' && text[i] <= '9';
        if (form[i] == '0' ? !digit : text[i] != form[i])
            return false;
    }
    return text[sizeof form - 1] == '\0' || text[sizeof form - 1] == 'T' || text[sizeof form - 1] == 'Z';
}

/* strptime takes the 31st of February, and mktime makes March of it. */
static bool is_same_day(const struct tm *a, const struct tm *b)
{
    return a->tm_mday == b->tm_mday && a->tm_mon == b->tm_mon && a->tm_year == b->tm_year;
}

static bool parse_date(int64_t *ms, const char *text)
{
    static const char *const forms[] = {"%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"};

    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        struct tm t = {.tm_isdst = -1}, asked;
        const char *end = strptime(text, forms[i], &t);
        if (end == NULL || !(end[0] == '\0' || strcmp(end, "Z") == 0))
            continue;
        asked = t;
        *ms = (int64_t)(end[0] == 'Z' ? timegm(&t) : mktime(&t)) * 1000;
        return is_same_day(&asked, &t);
    }
    return false;
}

bool cli_from_parse(cli_from *to, const char *text, int64_t now_ms)
{
    int64_t ago = text != NULL ? cli_span(text) : -1; /* bare numbers are positions of some transports */

    *to = (cli_from){.from = FERRY_FROM_NEW};
    if (text == NULL || strcmp(text, "new") == 0)
        return true;
    if (strcmp(text, "earliest") == 0) {
        to->from = FERRY_FROM_EARLIEST;
    } else if (ago > 0) {
        to->from = FERRY_FROM_TIME;
        to->time_ms = now_ms - ago;
    } else if (looks_like_date(text)) {
        to->from = FERRY_FROM_TIME;
        return parse_date(&to->time_ms, text);
    } else {
        to->from = FERRY_FROM_POSITION;
        to->position = text;
        return text[0] != '\0' && strpbrk(text, " \t\n") == NULL;
    }
    return true;
}
