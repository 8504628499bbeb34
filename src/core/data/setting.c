#include "data/setting.h"

#include "base/log.h"
#include "base/text.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

/* A number may be followed by one of these words. */
typedef struct unit {
    const char *word;
    int64_t factor;
} unit;

static const unit none[] = {{"", 1}, {NULL, 0}};
static const unit durations[] = {
    {"", 1}, {"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}, {"d", 86400 * 1000}, {NULL, 0}};
static const unit sizes[] = {{"", 1},        {"k", 1 << 10}, {"K", 1 << 10}, {"m", 1 << 20},
                             {"M", 1 << 20}, {"g", 1 << 30}, {"G", 1 << 30}, {NULL, 0}};

static const struct {
    const unit *units;
    const char *expected, *noun;
} kinds[] = {
    [FERRY__TEXT] = {NULL, "a text", ""},
    [FERRY__NUMBER] = {none, "a number", ""},
    [FERRY__MS] = {durations, "milliseconds, e.g. 500, 2s or 1m", " milliseconds"},
    [FERRY__BYTES] = {sizes, "bytes, e.g. 4096, 64k or 1M", " bytes"},
    [FERRY__FLAG] = {NULL, "yes or no", ""},
    [FERRY__CHOICE] = {NULL, NULL, ""},
};

/* "kafka.*" stands for all names that begin with "kafka." */
static bool fits(const char *pattern, const char *name)
{
    size_t length = strlen(pattern);
    bool open = length > 1 && pattern[length - 1] == '*';
    return open ? strncmp(pattern, name, length - 1) == 0 && name[length - 1] : strcmp(pattern, name) == 0;
}

const ferry__setting *ferry__setting_find(const ferry__setting *table, const char *name)
{
    for (; table && table->name; table++)
        if (fits(table->name, name))
            return table;
    return NULL;
}

bool ferry__setting_secret(const char *name)
{
    static const char *const words[] = {"password", "secret", "token"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasestr(name, words[i]))
            return true;
    return false;
}

/* ---- What was found, for an error text ------------------------------------------------------------------------------ */

enum { QUOTED = 40 };

/* The start of a value, cut between characters; what a terminal would obey is replaced. */
static const char *quote(const ferry__setting *s, const char *value, char to[QUOTED + 4])
{
    if (ferry__setting_secret(s->name))
        return "***";
    size_t n = strlen(value);
    bool cut = n > QUOTED;
    for (n = cut ? QUOTED : n; cut && n > 0 && ((unsigned char)value[n] & 0xc0) == 0x80;)
        n--;
    for (size_t i = 0; i < n; i++)
        to[i] = (unsigned char)value[i] < 0x20 || value[i] == 0x7f ? '?' : value[i];
    memcpy(to + n, cut ? "..." : "", cut ? 4 : 1);
    return to;
}

static ferry_status refuse(const ferry__setting *s, const char *value, const char *expected, char *why)
{
    char found[QUOTED + 4];
    ferry__why(why, "%s=%s: expected %s", s->name, quote(s, value, found), expected);
    return FERRY_INVALID;
}

/* ---- Types ---------------------------------------------------------------------------------------------------------- */

static bool read_unit(const unit *units, const char *word, int64_t *factor)
{
    for (; units->word; units++)
        if (strcmp(units->word, word) == 0)
            return *factor = units->factor, true;
    return false;
}

static bool read_number(const char *text, const unit *units, int64_t *number)
{
    bool minus = units == none && *text == '-';
    const char *at = text + minus;
    int64_t n = 0, factor;
    if (*at < '0' || *at > '9')
        return false;
    for (; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *at - '0', &n))
            return false;
    if (!read_unit(units, at, &factor) || __builtin_mul_overflow(n, minus ? -factor : factor, number))
        return false;
    return true;
}

static ferry_status check_bounds(const ferry__setting *s, const char *value, int64_t number, char *why)
{
    char expected[96];
    bool bounded = s->least != 0 || s->most != 0;
    if (!bounded || (number >= s->least && (s->most == 0 || number <= s->most)))
        return FERRY_OK;
    if (s->most == 0)
        snprintf(expected, sizeof expected, "at least %" PRId64 "%s", s->least, kinds[s->type].noun);
    else
        snprintf(expected, sizeof expected, "%" PRId64 " to %" PRId64 "%s", s->least, s->most, kinds[s->type].noun);
    return refuse(s, value, expected, why);
}

static ferry_status read_flag(const ferry__setting *s, const char *value, int64_t *number, char *why)
{
    static const char *const words[] = {"no", "yes", "false", "true", "0", "1"};
    for (unsigned i = 0; i < 6; i++)
        if (strcasecmp(value, words[i]) == 0)
            return *number = i % 2, FERRY_OK;
    return refuse(s, value, kinds[FERRY__FLAG].expected, why);
}

/* The n-th word of "a|b|c"; false when there is none. */
static bool choice(const char *choices, size_t n, char *word, size_t size)
{
    for (; n > 0; n--) {
        choices = strchr(choices, '|');
        if (!choices)
            return false;
        choices++;
    }
    snprintf(word, size, "%.*s", (int)strcspn(choices, "|"), choices);
    return true;
}

static ferry_status read_choice(const ferry__setting *s, const char *value, int64_t *number, char *why)
{
    char word[QUOTED], expected[128];
    for (size_t i = 0; choice(s->choices, i, word, sizeof word); i++)
        if (strcmp(word, value) == 0)
            return *number = (int64_t)i, FERRY_OK;
    size_t used = 0;
    for (size_t i = 0; choice(s->choices, i, word, sizeof word) && used < sizeof expected; i++)
        used += (size_t)snprintf(expected + used, sizeof expected - used, "%s%s", i ? ", " : "one of ", word);
    return refuse(s, value, expected, why);
}

ferry_status ferry__setting_read(const ferry__setting *s, const char *value, int64_t *number, char *why)
{
    int64_t ignored;
    number = number ? number : &ignored;
    *number = 0;
    switch (s->type) {
    case FERRY__TEXT:
        return FERRY_OK;
    case FERRY__FLAG:
        return read_flag(s, value, number, why);
    case FERRY__CHOICE:
        return read_choice(s, value, number, why);
    case FERRY__NUMBER:
    case FERRY__MS:
    case FERRY__BYTES:
        break;
    }
    if (!read_number(value, kinds[s->type].units, number))
        return refuse(s, value, kinds[s->type].expected, why);
    return check_bounds(s, value, *number, why);
}
