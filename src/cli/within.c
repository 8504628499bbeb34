#include "within.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

int64_t cli_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("-._~", c));
}

/* One that would not fit where it is read is left out. */
static void write_field(cli_text *to, const char *name, const char *value)
{
    if (value == NULL || value[0] == '\0' || strlen(value) >= CLI_WITHIN_VALUE)
        return;
    cli_text_printf(to, "%s%s=", to->length > 0 ? "&" : "", name);
    for (const char *c = value; *c != '\0'; c++)
        cli_text_printf(to, is_plain(*c) ? "%c" : "%%%02X", (unsigned char)*c);
}

bool cli_within_write(cli_text *to, const ferry_request *req)
{
    int left = ferry_request_remaining_ms(req);

    if (left >= 0)
        cli_text_printf(to, "deadline=%" PRId64, cli_now_ms() + left);
    write_field(to, "correlation", ferry_request_correlation(req));
    write_field(to, "traceparent", ferry_as_string(ferry_find(ferry_request_headers(req), "traceparent"), NULL));
    return cli_text_add(to, "", 0);
}

static int hex(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

static bool decode(char *to, const char *from, size_t n)
{
    size_t length = 0;

    if (to[0] != '\0')
        return false;
    for (size_t i = 0; i < n; i++) {
        int byte = (unsigned char)from[i];
        if (from[i] == '%') {
            int high = i + 2 < n ? hex(from[i + 1]) : -1, low = high >= 0 ? hex(from[i + 2]) : -1;
            byte = low >= 0 ? high * 16 + low : 0;
            i += 2;
        } else if (!is_plain(from[i])) {
            return false;
        }
        if (byte == 0 || length + 1 >= CLI_WITHIN_VALUE)
            return false;
        to[length++] = (char)byte;
    }
    to[length] = '\0';
    return length > 0 && cli_utf8_valid(to, length);
}

static bool parse_deadline(int64_t *to, const char *from, size_t n)
{
    int64_t ms = 0;

    if (*to != 0 || n == 0 || n > 18)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (from[i] < '0' || from[i] > '9')
            return false;
        ms = ms * 10 + (from[i] - '0');
    }
    *to = ms;
    return ms > 0;
}

static bool parse_field(cli_within *w, const char *field, size_t n)
{
    const char *equals = memchr(field, '=', n);
    size_t name = equals != NULL ? (size_t)(equals - field) : n;

    if (equals == NULL)
        return false;
    const char *value = equals + 1;
    size_t length = n - name - 1;
    if (name == 8 && memcmp(field, "deadline", name) == 0)
        return parse_deadline(&w->deadline_ms, value, length);
    if (name == 11 && memcmp(field, "correlation", name) == 0)
        return decode(w->correlation, value, length);
    if (name == 11 && memcmp(field, "traceparent", name) == 0)
        return decode(w->traceparent, value, length);
    return false;
}

bool cli_within_parse(cli_within *w, const char *text)
{
    *w = (cli_within){0};
    if (text == NULL || text[0] == '\0')
        return true;
    for (;;) {
        size_t n = strcspn(text, "&");
        if (!parse_field(w, text, n))
            return false;
        if (text[n] == '\0')
            return true;
        text += n + 1;
    }
}
