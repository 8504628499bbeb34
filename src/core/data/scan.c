/* scan.c - a table of how each first byte goes on, and a stack of how many values each open container still wants. */
#include "data/scan.h"

#include <stdarg.h>
#include <string.h>

#include "data/value.h"

typedef enum shape { FIXED, TEXT, BLOB, LIST, MAP, NEVER } shape;

/* What follows the first byte: `head` bytes, of which the first `count` are a big-endian length or number of entries. */
typedef struct form {
    uint8_t shape, count, body; /* body: bytes behind the count that are always there */
} form;

/* 0xc0 … 0xdf; the other first bytes carry their number in themselves. */
static const form forms[32] = {
    {FIXED, 0, 0}, {NEVER, 0, 0}, {FIXED, 0, 0}, {FIXED, 0, 0},                /* nil, never used, false, true */
    {BLOB, 1, 0},  {BLOB, 2, 0},  {BLOB, 4, 0},                                /* bin */
    {BLOB, 1, 1},  {BLOB, 2, 1},  {BLOB, 4, 1},                                /* ext, with its type */
    {FIXED, 0, 4}, {FIXED, 0, 8},                                              /* float, double */
    {FIXED, 0, 1}, {FIXED, 0, 2}, {FIXED, 0, 4}, {FIXED, 0, 8},                /* uint */
    {FIXED, 0, 1}, {FIXED, 0, 2}, {FIXED, 0, 4}, {FIXED, 0, 8},                /* int */
    {FIXED, 0, 2}, {FIXED, 0, 3}, {FIXED, 0, 5}, {FIXED, 0, 9}, {FIXED, 0, 17}, /* fixext, with its type */
    {TEXT, 1, 0},  {TEXT, 2, 0},  {TEXT, 4, 0},                                /* str */
    {LIST, 2, 0},  {LIST, 4, 0},  {MAP, 2, 0},   {MAP, 4, 0},
};

typedef struct scanner {
    const unsigned char *at, *end;
    const char          *wrong;
    size_t               open;                        /* containers not yet full */
    uint64_t             wanted[FERRY__DEPTH_MAX + 1]; /* by each of them */
} scanner;

static uint64_t number(const unsigned char *at, unsigned bytes)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < bytes; i++)
        n = n << 8 | at[i];
    return n;
}

static bool wrong(scanner *s, const char *text)
{
    s->wrong = text;
    return false;
}

static bool skip(scanner *s, uint64_t bytes)
{
    if (bytes > (uint64_t)(s->end - s->at))
        return wrong(s, "msgpack breaks off");
    s->at += bytes;
    return true;
}

static bool enter(scanner *s, uint64_t values, ferry__tally *t)
{
    if (values > (uint64_t)(s->end - s->at))
        return wrong(s, "msgpack claims more entries than it has bytes");
    if (s->open == FERRY__DEPTH_MAX)
        return wrong(s, "msgpack is nested too deep");
    if (t->depth < s->open + 1)
        t->depth = s->open + 1;
    if (values)
        s->wanted[++s->open] = values;
    return true;
}

static bool body(scanner *s, shape what, uint64_t n, ferry__tally *t)
{
    switch (what) {
    case LIST:
        return enter(s, n, t);
    case MAP:
        return enter(s, n * 2, t);
    case TEXT:
        t->text += (size_t)n + 1;
        return skip(s, n);
    case FIXED:
    case BLOB:
        return skip(s, n);
    case NEVER:
        break;
    }
    return wrong(s, "msgpack has the byte 0xc1, which is never used");
}

/* One value without what is in it; true also opens a container. */
static bool head(scanner *s, ferry__tally *t)
{
    unsigned first = *s->at++;
    if (first < 0x80 || first >= 0xe0)
        return true;
    if (first < 0x90)
        return body(s, MAP, first & 0x0f, t);
    if (first < 0xa0)
        return body(s, LIST, first & 0x0f, t);
    if (first < 0xc0)
        return body(s, TEXT, first & 0x1f, t);
    const form *f = &forms[first - 0xc0];
    if (f->count > s->end - s->at)
        return wrong(s, "msgpack breaks off");
    uint64_t n = number(s->at, f->count) + f->body;
    s->at += f->count;
    return body(s, (shape)f->shape, n, t);
}

static bool scan(scanner *s, ferry__tally *t)
{
    do {
        if (s->at == s->end)
            return wrong(s, "msgpack breaks off");
        if (++t->objects > FERRY__OBJECTS_MAX)
            return wrong(s, "msgpack has too many values");
        size_t open = s->open;
        if (!head(s, t))
            return false;
        if (s->open == open)
            while (s->open && --s->wanted[s->open] == 0)
                s->open--;
    } while (s->open);
    return s->at == s->end || wrong(s, "bytes are left over behind the msgpack value");
}

ferry_status ferry__scan(const void *msgpack, size_t length, ferry__tally *tally, char *why)
{
    scanner s;
    s.at = msgpack;
    s.end = msgpack ? s.at + length : NULL;
    s.wrong = "there is no msgpack value";
    s.open = 0;
    *tally = (ferry__tally){0};
    if (msgpack && length && scan(&s, tally))
        return FERRY_OK;
    if (why)
        snprintf(why, FERRY_WHY_SIZE, "%s (at byte %zu of %zu)", s.wrong,
                 (size_t)(s.at - (const unsigned char *)msgpack), length);
    return FERRY_BAD_DATA;
}

ferry_status ferry__value_scan(const void *msgpack, size_t length, char *why)
{
    ferry__tally tally;
    return ferry__scan(msgpack, length, &tally, why);
}
