#include "base/text.h"

#include <stdint.h>
#include <string.h>

enum { LONGEST = 48, TOO_FAR = 4 };

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Damerau-Levenshtein, optimal string alignment: three rows of the matrix. */
unsigned ferry__text_distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    unsigned rows[3][LONGEST + 1];
    if (n > LONGEST || m > LONGEST || n > m + 3 || m > n + 3)
        return TOO_FAR;
    for (unsigned j = 0; j <= m; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        unsigned *now = rows[i % 3], *before = rows[(i - 1) % 3], *two = rows[(i + 1) % 3];
        now[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            now[j] = least(least(before[j] + 1, now[j - 1] + 1), before[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = least(now[j], two[j - 2] + 1);
        }
    }
    return least(rows[n % 3][m], TOO_FAR);
}

void ferry__guess_try(ferry__guess *g, const char *name)
{
    unsigned distance = ferry__text_distance(g->word, name);
    size_t length = strlen(g->word);
    unsigned allowed = length <= 1 ? 0 : length <= 3 ? 1 : length <= 5 ? 2 : 3;
    if (distance <= allowed && (!g->best || distance < g->distance)) {
        g->best = name;
        g->distance = distance;
    }
}

static size_t utf8_step(const unsigned char *s, size_t left)
{
    static const uint32_t least_of[5] = {0, 0, 0x80, 0x800, 0x10000};
    if (s[0] < 0x80)
        return 1;
    size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || n > left)
        return 0;
    uint32_t c = s[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3fu);
    }
    return c < least_of[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n;
}

/* Most text is ASCII: eight bytes a look. */
static size_t ascii_run(const char *s, size_t length)
{
    size_t n = 0;
    for (uint64_t eight; n + sizeof eight <= length; n += sizeof eight) {
        memcpy(&eight, s + n, sizeof eight);
        if (eight & 0x8080808080808080u)
            break;
    }
    return n;
}

bool ferry__text_utf8(const char *s, size_t length)
{
    size_t i = ascii_run(s, length);
    while (i < length) {
        size_t n = utf8_step((const unsigned char *)s + i, length - i);
        if (n == 0)
            return false;
        i += n;
        i += ascii_run(s + i, length - i);
    }
    return true;
}
