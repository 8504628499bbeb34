/* JSON to value, on jansson. Its integers end at INT64_MAX, ours at UINT64_MAX, so the integers between are taken out of
 * the text before jansson sees it:
 *
 *     1. scan() finds each of them, notes its value and its number among all integer literals of the document, and
 *        overwrites it with a 0 and spaces: nothing moves, so the line and column of any error stay true.
 *     2. jansson parses, refusing duplicate keys, so every literal of the text is there once, and objects keep their
 *        order: walking the tree meets the integers in the order of the text.
 *     3. build() counts the integers it meets and puts the noted ones back.
 */
#include "base64.h"
#include "json.h"

#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

typedef struct big {
    size_t   number; /* among the integer literals of the document */
    uint64_t value;
} big;

typedef struct reader {
    char           *text;    /* a copy with the big ones overwritten; NULL while there is none */
    big            *bigs;
    size_t          count, room;
    size_t          met;     /* integer literals met by build() */
    size_t          next;    /* in bigs */
    cli_json_error *error;
} reader;

static ferry_value *build(reader *r, json_t *json);

static ferry_value *wrong(reader *r, const char *format, ...) FERRY_PRINTF(2, 3);
static ferry_value *wrong(reader *r, const char *format, ...)
{
    va_list list;

    va_start(list, format);
    vsnprintf(r->error->why, sizeof r->error->why, format, list);
    va_end(list);
    return NULL;
}

/* An integer beyond INT64_MAX that still fits. */
static bool is_big(const char *s, size_t n, uint64_t *value)
{
    uint64_t u = 0;

    if (n < 19 || n > 20)
        return false;
    for (size_t i = 0; i < n; i++) {
        unsigned d = (unsigned)(s[i] - '0');
        if (d > 9 || u > (UINT64_MAX - d) / 10)
            return false;
        u = u * 10 + d;
    }
    *value = u;
    return u > INT64_MAX;
}

static bool note(reader *r, const char *text, size_t n, size_t at, size_t length, big found)
{
    if (r->text == NULL) {
        r->text = malloc(n > 0 ? n : 1);
        if (r->text == NULL)
            return false;
        memcpy(r->text, text, n);
    }
    if (r->count == r->room) {
        size_t room = r->room != 0 ? r->room * 2 : 8;
        big *more = realloc(r->bigs, room * sizeof *more);
        if (more == NULL)
            return false;
        r->bigs = more;
        r->room = room;
    }
    memset(r->text + at, ' ', length);
    r->text[at] = '0';
    r->bigs[r->count++] = found;
    return true;
}

static size_t skip_string(const char *text, size_t n, size_t i)
{
    for (i++; i < n && text[i] != '"'; i++) {
        if (text[i] == '\\')
            i++;
    }
    return i + 1;
}

/* Text that is no JSON may be misread here; then jansson refuses it all the same. */
static bool scan(reader *r, const char *text, size_t n)
{
    size_t number = 0;

    for (size_t i = 0; i < n;) {
        if (text[i] == '"') {
            i = skip_string(text, n, i);
        } else if (text[i] == '-' || (text[i] >= '0' && text[i] <= '9')) {
            size_t end = i;
            bool real = false;
            uint64_t value;
            for (; end < n && text[end] != '\0' && strchr("0123456789+-.eE", text[end]) != NULL; end++)
                real = real || strchr(".eE", text[end]) != NULL;
            if (!real && is_big(text + i, end - i, &value) && !note(r, text, n, i, end - i, (big){number, value}))
                return false;
            number += !real;
            i = end;
        } else {
            i++;
        }
    }
    return true;
}

static ferry_value *build_integer(reader *r, json_t *json)
{
    size_t number = r->met++;

    if (r->next < r->count && r->bigs[r->next].number == number)
        return ferry_uint(r->bigs[r->next++].value);
    return ferry_int(json_integer_value(json));
}

static bool decode(reader *r, json_t *json, const char *form, cli_text *to)
{
    if (json_is_string(json) && cli_base64_read(to, json_string_value(json), json_string_length(json)))
        return true;
    wrong(r, "%s wants base64 text, padded, such as \"aGVsbG8=\"", form);
    return false;
}

static ferry_value *build_bytes(reader *r, json_t *json)
{
    cli_text bytes = {0};
    ferry_value *v = NULL;

    if (decode(r, json, "$bytes", &bytes))
        v = ferry_bytes(bytes.at, bytes.length);
    cli_text_free(&bytes);
    return v;
}

/* The head of a msgpack value: a byte, then a length of `width` bytes. */
static void put_head(cli_text *to, unsigned char first, uint64_t length, int width)
{
    cli_text_add(to, &first, 1);
    for (int shift = (width - 1) * 8; shift >= 0; shift -= 8) {
        unsigned char byte = (unsigned char)(length >> shift);
        cli_text_add(to, &byte, 1);
    }
}

static ferry_value *ready(reader *r, cli_text *packed)
{
    ferry_value *v = NULL;

    if (packed->failed)
        wrong(r, "out of memory");
    else
        v = ferry_raw(packed->at, packed->length);
    cli_text_free(packed);
    return v;
}

/* The library builds no string that is not UTF-8, but passes a ready one on. */
static ferry_value *build_broken_string(reader *r, json_t *json)
{
    cli_text bytes = {0}, packed = {0};
    ferry_value *v = NULL;

    if (decode(r, json, "$string", &bytes) && bytes.length <= UINT32_MAX) {
        put_head(&packed, 0xdb, bytes.length, 4);
        cli_text_add(&packed, bytes.at, bytes.length);
        v = ready(r, &packed);
    }
    cli_text_free(&bytes);
    return v;
}

static ferry_value *build_double(reader *r, json_t *json)
{
    const char *s = json_is_string(json) ? json_string_value(json) : "";

    if (strcmp(s, "nan") == 0)
        return ferry_double((double)NAN);
    if (strcmp(s, "inf") == 0 || strcmp(s, "-inf") == 0)
        return ferry_double(s[0] == '-' ? -HUGE_VAL : HUGE_VAL);
    return wrong(r, "$double wants \"nan\", \"inf\" or \"-inf\"");
}

static ferry_value *build_ext(reader *r, json_t *json)
{
    json_t *type = json_array_get(json, 0);
    bool big_type = r->next < r->count && r->bigs[r->next].number == r->met;
    cli_text bytes = {0}, packed = {0};
    ferry_value *v = NULL;

    r->met++;
    if (json_array_size(json) != 2 || !json_is_integer(type) || big_type || json_integer_value(type) < -128 ||
        json_integer_value(type) > 127)
        return wrong(r, "$ext wants [type from -128 to 127, base64]");
    if (decode(r, json_array_get(json, 1), "$ext", &bytes) && bytes.length <= UINT32_MAX) {
        unsigned char code = (unsigned char)json_integer_value(type);
        put_head(&packed, 0xc9, bytes.length, 4);
        cli_text_add(&packed, &code, 1);
        cli_text_add(&packed, bytes.at, bytes.length);
        v = ready(r, &packed);
    }
    cli_text_free(&bytes);
    return v;
}

static bool pack(reader *r, cli_text *to, json_t *json)
{
    ferry_value *v = build(r, json);
    size_t n = 0;
    const void *at = v != NULL ? ferry_encoded(v, &n) : NULL;

    if (at != NULL && !cli_text_add(to, at, n))
        wrong(r, "out of memory");
    else if (v != NULL && at == NULL)
        wrong(r, "this cannot be sent: out of memory, or nested too deep");
    ferry_value_free(v);
    return at != NULL && !to->failed;
}

/* Keys of any type have no builder in the library; their msgpack is put together here and passed on ready. */
static ferry_value *build_map(reader *r, json_t *json)
{
    cli_text packed = {0};
    size_t n = json_array_size(json);
    bool good = true;

    if (!json_is_array(json) || n > UINT32_MAX)
        return wrong(r, "$map wants [[key, value], ...]");
    put_head(&packed, 0xdf, n, 4);
    for (size_t i = 0; i < n && good; i++) {
        json_t *pair = json_array_get(json, i);
        good = json_array_size(pair) == 2;
        if (!good)
            wrong(r, "$map wants [[key, value], ...]");
        good = good && pack(r, &packed, json_array_get(pair, 0)) && pack(r, &packed, json_array_get(pair, 1));
    }
    if (good)
        return ready(r, &packed);
    cli_text_free(&packed);
    return NULL;
}

static ferry_value *build_object(reader *r, json_t *json)
{
    static const struct {
        const char *name;
        ferry_value *(*build)(reader *r, json_t *json);
    } forms[] = {{"$bytes", build_bytes},
                 {"$double", build_double},
                 {"$ext", build_ext},
                 {"$map", build_map},
                 {"$string", build_broken_string}};
    ferry_value *map;
    const char *key;
    json_t *member;

    for (size_t i = 0; json_object_size(json) == 1 && i < sizeof forms / sizeof *forms; i++) {
        if ((member = json_object_get(json, forms[i].name)) != NULL)
            return forms[i].build(r, member);
    }
    map = ferry_new_map();
    json_object_foreach(json, key, member)
    {
        ferry_value *v = build(r, member);
        if (v == NULL) {
            ferry_value_free(map);
            return NULL;
        }
        ferry_map_put(map, key, v);
    }
    return map;
}

static ferry_value *build_list(reader *r, json_t *json)
{
    ferry_value *list = ferry_new_list();

    for (size_t i = 0; i < json_array_size(json); i++) {
        ferry_value *v = build(r, json_array_get(json, i));
        if (v == NULL) {
            ferry_value_free(list);
            return NULL;
        }
        ferry_list_put(list, v);
    }
    return list;
}

static ferry_value *build(reader *r, json_t *json)
{
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        return build_object(r, json);
    case JSON_ARRAY:
        return build_list(r, json);
    case JSON_STRING:
        return ferry_string(json_string_value(json), json_string_length(json));
    case JSON_INTEGER:
        return build_integer(r, json);
    case JSON_REAL:
        return ferry_double(json_real_value(json));
    case JSON_TRUE:
        return ferry_bool(true);
    case JSON_FALSE:
        return ferry_bool(false);
    case JSON_NULL:
        break;
    }
    return ferry_nil();
}

ferry_value *cli_json_read(const char *text, size_t n, cli_json_error *error)
{
    reader r = {.error = error};
    ferry_value *v = NULL;
    json_error_t why;

    *error = (cli_json_error){.line = 1};
    if (!scan(&r, text, n)) {
        wrong(&r, "out of memory");
    } else {
        size_t flags = JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL;
        json_t *json = json_loadb(r.text != NULL ? r.text : text, n, flags, &why);
        if (json == NULL) {
            error->line = why.line > 0 ? why.line : 1;
            error->column = why.column > 0 ? why.column : 1;
            snprintf(error->why, sizeof error->why, "%s", why.text);
        } else {
            v = build(&r, json);
            if (v == NULL && error->why[0] == '\0')
                wrong(&r, "out of memory");
        }
        json_decref(json);
    }
    free(r.text);
    free(r.bigs);
    return v;
}
