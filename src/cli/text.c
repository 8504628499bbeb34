#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool grow(cli_text *t, size_t more)
{
    size_t max = t->max != 0 ? t->max : CLI_TEXT_MAX;
    size_t room = t->room != 0 ? t->room : 256;
    char *at;

    if (more > max - t->length)
        return false;
    while (room < t->length + more + 1)
        room *= 2;
    at = realloc(t->at, room);
    if (at == NULL)
        return false;
    t->at = at;
    t->room = room;
    return true;
}

bool cli_text_add(cli_text *t, const void *bytes, size_t n)
{
    if (t->failed)
        return false;
    if (t->at == NULL || n >= t->room - t->length || (t->max != 0 && n > t->max - t->length)) {
        if (!grow(t, n)) {
            t->failed = true;
            return false;
        }
    }
    if (n > 0)
        memcpy(t->at + t->length, bytes, n);
    t->length += n;
    t->at[t->length] = '\0';
    return true;
}

bool cli_text_puts(cli_text *t, const char *s)
{
    return cli_text_add(t, s, strlen(s));
}

bool cli_text_printf(cli_text *t, const char *format, ...)
{
    char small[512];
    va_list list;
    int n;

    va_start(list, format);
    n = vsnprintf(small, sizeof small, format, list);
    va_end(list);
    if (n < 0) {
        t->failed = true;
        return false;
    }
    if ((size_t)n < sizeof small)
        return cli_text_add(t, small, (size_t)n);
    char *large = malloc((size_t)n + 1);
    if (large == NULL) {
        t->failed = true;
        return false;
    }
    va_start(list, format);
    vsnprintf(large, (size_t)n + 1, format, list);
    va_end(list);
    cli_text_add(t, large, (size_t)n);
    free(large);
    return !t->failed;
}

bool cli_text_cut_newline(cli_text *t)
{
    if (t->length == 0 || t->at[t->length - 1] != '\n')
        return false;
    t->at[--t->length] = '\0';
    return true;
}

void cli_text_clear(cli_text *t)
{
    t->length = 0;
    t->failed = false;
    if (t->at != NULL)
        t->at[0] = '\0';
}

void cli_text_free(cli_text *t)
{
    free(t->at);
    *t = (cli_text){.max = t->max};
}

static bool load(cli_text *t, int fd)
{
    char block[16384];

    for (;;) {
        ssize_t n = read(fd, block, sizeof block);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 && cli_text_add(t, "", 0);
        if (!cli_text_add(t, block, (size_t)n)) {
            errno = EFBIG;
            return false;
        }
    }
}

bool cli_text_load(cli_text *t, const char *path, char *why, size_t size)
{
    bool from_stdin = strcmp(path, "-") == 0;
    int fd = from_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    bool good = fd >= 0 && load(t, fd);

    if (!good)
        snprintf(why, size, "%s: %s", from_stdin ? "stdin" : path, strerror(errno));
    if (fd >= 0 && !from_stdin)
        close(fd);
    return good;
}

size_t cli_utf8_length(const unsigned char *s, size_t n)
{
    static const unsigned least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = s[0] < 0x80 ? 1 : s[0] < 0xc0 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf8 ? 4 : 0;
    unsigned point;

    if (length <= 1)
        return length;
    if (length > n)
        return 0;
    point = s[0] & (0x7fU >> length);
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (s[i] & 0x3fU);
    }
    if (point < least[length] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
        return 0;
    return length;
}

bool cli_utf8_valid(const void *bytes, size_t n)
{
    const unsigned char *s = bytes;

    for (size_t i = 0; i < n;) {
        size_t length = cli_utf8_length(s + i, n - i);
        if (length == 0)
            return false;
        i += length;
    }
    return true;
}
