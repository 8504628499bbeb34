/* Value to JSON. Always valid UTF-8 JSON, whatever a peer sent, and always something that cli_json_read makes the same
 * value of. */
#include "base64.h"
#include "json.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void write_escape(cli_text *to, unsigned point)
{
    static const char named[] = "\b\t\n\f\r\"\\", letters[] = "btnfr\"\\";
    const char *at = point != 0 && point < 0x80 ? strchr(named, (int)point) : NULL;

    if (at != NULL)
        cli_text_printf(to, "\\%c", letters[at - named]);
    else
        cli_text_printf(to, "\\u%04x", point);
}

/* The control characters of both ranges are escaped: the second one (U+0080 to U+009F) is legal in JSON, but some
 * terminals obey it. */
bool cli_json_write_string(cli_text *to, const char *s, size_t n)
{
    const unsigned char *in = (const unsigned char *)s;
    size_t from = 0;

    cli_text_add(to, "\"", 1);
    for (size_t i = 0; i < n;) {
        bool second = in[i] == 0xc2 && i + 1 < n && in[i + 1] < 0xa0;
        size_t length = second ? 2 : 1;
        if (second || in[i] < 0x20 || in[i] == '"' || in[i] == '\\' || in[i] == 0x7f) {
            cli_text_add(to, s + from, i - from);
            write_escape(to, second ? in[i + 1] : in[i]);
            from = i + length;
        }
        i += length;
    }
    cli_text_add(to, s + from, n - from);
    return cli_text_add(to, "\"", 1);
}

/* The fewest of 15, 16 or 17 digits that read back as the same double; always with a point or an exponent, so that it
 * stays a double. */
static void write_double(cli_text *to, double d)
{
    char number[40];

    if (!isfinite(d)) {
        cli_text_printf(to, "{\"$double\":\"%s\"}", isnan(d) ? "nan" : d > 0 ? "inf" : "-inf");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(number, sizeof number, "%.*g", digits, d);
        double back = strtod(number, NULL);
        if (memcmp(&back, &d, sizeof d) == 0)
            break;
    }
    cli_text_puts(to, number);
    if (strpbrk(number, ".e") == NULL)
        cli_text_puts(to, ".0");
}

static void write_base64(cli_text *to, const char *form, const void *bytes, size_t n)
{
    cli_text_printf(to, "{\"%s\":\"", form);
    cli_base64_write(to, bytes, n);
    cli_text_puts(to, "\"}");
}

static void write_text(cli_text *to, const ferry_value *v)
{
    size_t n = 0;
    const char *s = ferry_as_bytes(v, &n);

    if (s == NULL)
        cli_text_puts(to, "\"\"");
    else if (cli_utf8_valid(s, n))
        cli_json_write_string(to, s, n);
    else
        write_base64(to, "$string", s, n);
}

/* msgpack ext: d4 to d8 have 1, 2, 4, 8, 16 bytes; c7 to c9 a length of 1, 2, 4 bytes. */
static void write_ext(cli_text *to, const ferry_value *v)
{
    size_t n = 0, head = 2;
    const unsigned char *at = ferry_encoded(v, &n);

    if (at != NULL && n > 2 && at[0] >= 0xc7 && at[0] <= 0xc9)
        head += (size_t)1 << (at[0] - 0xc7);
    if (at == NULL || n < head) {
        cli_text_puts(to, "null");
        return;
    }
    cli_text_printf(to, "{\"$ext\":[%d,\"", (int)(signed char)at[head - 1]);
    cli_base64_write(to, at + head, n - head);
    cli_text_puts(to, "\"]}");
}

static void write_list(cli_text *to, const ferry_value *v)
{
    cli_text_add(to, "[", 1);
    for (size_t i = 0; i < ferry_count(v); i++) {
        if (i > 0)
            cli_text_add(to, ",", 1);
        cli_json_write(to, ferry_at(v, i));
    }
    cli_text_add(to, "]", 1);
}

typedef struct key {
    const char *at;
    size_t      length;
} key;

static int compare_keys(const void *a, const void *b)
{
    const key *x = a, *y = b;
    int order = memcmp(x->at, y->at, x->length < y->length ? x->length : y->length);

    return order != 0 ? order : (x->length > y->length) - (x->length < y->length);
}

static bool keys_of(const ferry_value *map, key *keys, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const ferry_value *k = ferry_key_at(map, i);
        if (ferry_value_type(k) != FERRY_TYPE_STRING)
            return false;
        keys[i].at = ferry_as_bytes(k, &keys[i].length);
        /* A NUL inside a key is legal JSON, but few readers take it, the one here neither. */
        if (keys[i].at == NULL || memchr(keys[i].at, '\0', keys[i].length) != NULL)
            return false;
        if (!cli_utf8_valid(keys[i].at, keys[i].length))
            return false;
    }
    return true;
}

static bool looks_like_a_form(const key *k)
{
    static const char *const forms[] = {"$bytes", "$double", "$ext", "$map", "$string"};

    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (strlen(forms[i]) == k->length && memcmp(forms[i], k->at, k->length) == 0)
            return true;
    }
    return false;
}

/* Whether a JSON object can carry this map. No memory to find out: the safe form is right for every map. */
static bool is_plain(const ferry_value *map)
{
    size_t n = ferry_count(map);
    key *keys = n > 0 ? malloc(n * sizeof *keys) : NULL;
    bool plain = n == 0 || (keys != NULL && keys_of(map, keys, n));

    if (plain && n == 1)
        plain = !looks_like_a_form(keys);
    if (plain && n > 1) {
        qsort(keys, n, sizeof *keys, compare_keys);
        for (size_t i = 1; i < n && plain; i++)
            plain = compare_keys(&keys[i - 1], &keys[i]) != 0;
    }
    free(keys);
    return plain;
}

static void write_map(cli_text *to, const ferry_value *v)
{
    bool plain = is_plain(v);

    cli_text_puts(to, plain ? "{" : "{\"$map\":[");
    for (size_t i = 0; i < ferry_count(v); i++) {
        if (i > 0)
            cli_text_add(to, ",", 1);
        if (!plain)
            cli_text_add(to, "[", 1);
        cli_json_write(to, ferry_key_at(v, i));
        cli_text_puts(to, plain ? ":" : ",");
        cli_json_write(to, ferry_at(v, i));
        if (!plain)
            cli_text_add(to, "]", 1);
    }
    cli_text_puts(to, plain ? "}" : "]}");
}

bool cli_json_write(cli_text *to, const ferry_value *v)
{
    size_t n = 0;

    switch (ferry_value_type(v)) {
    case FERRY_TYPE_NIL:
        cli_text_puts(to, "null");
        break;
    case FERRY_TYPE_BOOL:
        cli_text_puts(to, ferry_as_bool(v, false) ? "true" : "false");
        break;
    case FERRY_TYPE_INT:
        cli_text_printf(to, "%" PRId64, ferry_as_int(v, 0));
        break;
    case FERRY_TYPE_UINT:
        cli_text_printf(to, "%" PRIu64, ferry_as_uint(v, 0));
        break;
    case FERRY_TYPE_DOUBLE:
        write_double(to, ferry_as_double(v, 0));
        break;
    case FERRY_TYPE_STRING:
        write_text(to, v);
        break;
    case FERRY_TYPE_BYTES: {
        const void *bytes = ferry_as_bytes(v, &n);
        write_base64(to, "$bytes", bytes, n);
        break;
    }
    case FERRY_TYPE_LIST:
        write_list(to, v);
        break;
    case FERRY_TYPE_MAP:
        write_map(to, v);
        break;
    case FERRY_TYPE_OTHER:
        write_ext(to, v);
        break;
    }
    return !to->failed;
}
