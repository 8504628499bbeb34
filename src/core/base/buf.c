#include "base/buf.h"

#include "base/alloc.h"

#include <stdarg.h>
#include <string.h>

void *ferry__buf_reserve(ferry__buf *b, size_t more)
{
    if (b->failed)
        return NULL;
    if (more > b->max || b->length > b->max - more) {
        b->failed = FERRY_TOO_BIG;
        return NULL;
    }
    size_t need = b->length + more + 1; /* one spare byte, for a NUL */
    if (need > b->room) {
        size_t want = need > b->room * 2 ? need : b->room * 2;
        char *grown = ferry__realloc(b->data, want);
        if (!grown) {
            b->failed = FERRY_NO_MEMORY;
            return NULL;
        }
        b->data = grown;
        b->room = ferry__alloc_room(grown);
    }
    return b->data + b->length;
}

void ferry__buf_add(ferry__buf *b, const void *data, size_t length)
{
    void *to = ferry__buf_reserve(b, length);
    if (to && length) {
        memcpy(to, data, length);
        b->length += length;
    }
}

void ferry__buf_text(ferry__buf *b, const char *s)
{
    ferry__buf_add(b, s, strlen(s));
}

void ferry__buf_format(ferry__buf *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    char *to = n >= 0 ? ferry__buf_reserve(b, (size_t)n) : NULL;
    if (to) {
        vsnprintf(to, (size_t)n + 1, format, again);
        b->length += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

const char *ferry__buf_string(ferry__buf *b)
{
    char *end = ferry__buf_reserve(b, 0);
    if (!end)
        return "";
    *end = '\0';
    return b->data;
}

void ferry__buf_clear(ferry__buf *b)
{
    b->length = 0;
    b->failed = FERRY_OK;
}

void ferry__buf_done(ferry__buf *b)
{
    ferry__free(b->data);
    *b = FERRY__BUF(b->max);
}
