/* msgpack_test.c - the public test vectors: every form of every value is decoded, and what we encode is one of the forms. */
#include <jansson.h>
#include <stdlib.h>

#include "data/value.h"
#include "test.h"

typedef struct bytes {
    unsigned char data[512];
    size_t        length;
} bytes;

/* "c7-00-06" */
static bytes unhex(const char *text)
{
    bytes b = {.length = 0};
    for (const char *at = text; *at; at += at[2] == '-' ? 3 : 2) {
        CHECK(b.length < sizeof b.data);
        b.data[b.length++] = (unsigned char)strtoul(at, NULL, 16);
    }
    return b;
}

static bytes encode(const ferry_value *v)
{
    bytes b;
    CHECK_STATUS(ferry__value_measure(v, sizeof b.data, &b.length), FERRY_OK);
    ferry__value_write(v, b.data);
    return b;
}

static ferry_value *decode(const bytes *b)
{
    ferry_value *v = NULL;
    char why[FERRY_WHY_SIZE] = "";
    ferry_status status = ferry__value_decode(b->data, b->length, &v, why);
    if (status != FERRY_OK)
        FAIL("%s: %s", ferry_status_name(status), why);
    return v;
}

/* Seconds and nanoseconds from the payload of an ext of type -1: 32, 64 or 96 bits. */
static void check_timestamp(const bytes *b, json_t *want)
{
    size_t at = b->data[0] == 0xc7 ? 3 : 2, length = b->length - at;
    uint64_t n = 0;
    for (size_t i = length == 12 ? at + 4 : at; i < b->length; i++)
        n = n << 8 | b->data[i];
    uint64_t nano = length == 8 ? n >> 34 : 0;
    int64_t seconds = (int64_t)(length == 8 ? n & 0x3ffffffff : n);
    for (size_t i = at; length == 12 && i < at + 4; i++)
        nano = nano << 8 | b->data[i];
    CHECK_INT(seconds, json_integer_value(json_array_get(want, 0)));
    CHECK_UINT(nano, json_integer_value(json_array_get(want, 1)));
}

static void check_value(const ferry_value *v, const char *key, json_t *want);

static void check_json(const ferry_value *v, json_t *want)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "map",  [JSON_ARRAY] = "array", [JSON_STRING] = "string", [JSON_INTEGER] = "number",
        [JSON_REAL] = "number", [JSON_TRUE] = "bool",   [JSON_FALSE] = "bool",    [JSON_NULL] = "nil"};
    check_value(v, names[json_typeof(want)], want);
}

static void check_entries(const ferry_value *v, json_t *want)
{
    const char *key;
    json_t *entry;
    size_t i = 0;
    CHECK_INT(ferry_value_type(v), json_is_array(want) ? FERRY_TYPE_LIST : FERRY_TYPE_MAP);
    CHECK_INT(ferry_count(v), json_is_array(want) ? json_array_size(want) : json_object_size(want));
    json_array_foreach(want, i, entry) check_json(ferry_at(v, i), entry);
    i = 0;
    json_object_foreach(want, key, entry)
    {
        CHECK_STR(ferry_as_string(ferry_key_at(v, i), NULL), key);
        CHECK(ferry_find(v, key) == ferry_at(v, i));
        check_json(ferry_at(v, i++), entry);
    }
}

static void check_number(const ferry_value *v, json_t *want)
{
    CHECK(ferry_as_double(v, -12345) == json_number_value(want));
    if (json_is_integer(want) && ferry_value_type(v) != FERRY_TYPE_DOUBLE)
        CHECK_INT(ferry_as_int(v, -12345), json_integer_value(want));
}

static void check_ext(const ferry_value *v, json_t *want)
{
    bytes payload = unhex(json_string_value(json_array_get(want, 1)));
    size_t length = 0;
    const unsigned char *encoded = ferry_encoded(v, &length);
    CHECK_INT(ferry_value_type(v), FERRY_TYPE_OTHER);
    CHECK(length > payload.length);
    CHECK_BYTES(encoded + length - payload.length, payload.length, payload.data, payload.length);
    CHECK_INT((signed char)encoded[length - payload.length - 1], json_integer_value(json_array_get(want, 0)));
}

static void check_bignum(const ferry_value *v, const char *want)
{
    if (ferry_value_type(v) == FERRY_TYPE_UINT)
        CHECK_STR(test_text("%llu", (unsigned long long)ferry_as_uint(v, 0)), want);
    else if (ferry_value_type(v) == FERRY_TYPE_INT)
        CHECK_STR(test_text("%lld", (long long)ferry_as_int(v, 0)), want);
    else
        CHECK(ferry_as_double(v, 0) == strtod(want, NULL));
}

static void check_value(const ferry_value *v, const char *key, json_t *want)
{
    size_t length;
    if (strcmp(key, "nil") == 0) {
        CHECK(v && ferry_value_type(v) == FERRY_TYPE_NIL);
    } else if (strcmp(key, "bool") == 0) {
        CHECK_INT(ferry_value_type(v), FERRY_TYPE_BOOL);
        CHECK(ferry_as_bool(v, !json_is_true(want)) == json_is_true(want));
    } else if (strcmp(key, "number") == 0) {
        check_number(v, want);
    } else if (strcmp(key, "bignum") == 0) {
        check_bignum(v, json_string_value(want));
    } else if (strcmp(key, "string") == 0) {
        CHECK_STR(ferry_as_string(v, NULL), json_string_value(want));
    } else if (strcmp(key, "binary") == 0) {
        bytes b = unhex(json_string_value(want));
        const void *data = ferry_as_bytes(v, &length);
        CHECK_INT(ferry_value_type(v), FERRY_TYPE_BYTES);
        CHECK_BYTES(data, length, b.data, b.length);
    } else if (strcmp(key, "array") == 0 || strcmp(key, "map") == 0) {
        check_entries(v, want);
    } else if (strcmp(key, "ext") == 0) {
        check_ext(v, want);
    } else {
        CHECK_STR(key, "timestamp");
        bytes b = encode(v);
        check_timestamp(&b, want);
    }
}

/* The value of a case built with our own functions; NULL: nothing builds that but ferry_raw. */
static ferry_value *build(const char *key, json_t *value);

static ferry_value *build_json(json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return build("map", value);
    case JSON_ARRAY:
        return build("array", value);
    case JSON_STRING:
        return ferry_text(json_string_value(value));
    case JSON_INTEGER:
        return ferry_int(json_integer_value(value));
    case JSON_REAL:
        return ferry_double(json_real_value(value));
    case JSON_NULL:
        return ferry_nil();
    default:
        return ferry_bool(json_is_true(value));
    }
}

static ferry_value *build(const char *key, json_t *value)
{
    size_t i;
    const char *name;
    json_t *entry;
    if (strcmp(key, "binary") == 0) {
        bytes b = unhex(json_string_value(value));
        return ferry_bytes(b.data, b.length);
    }
    if (strcmp(key, "bignum") == 0) {
        const char *text = json_string_value(value);
        return *text == '-' ? ferry_int(strtoll(text, NULL, 10)) : ferry_uint(strtoull(text, NULL, 10));
    }
    if (strcmp(key, "ext") == 0 || strcmp(key, "timestamp") == 0)
        return NULL;
    if (strcmp(key, "array") != 0 && strcmp(key, "map") != 0)
        return build_json(value);
    ferry_value *v = json_is_array(value) ? ferry_new_list() : ferry_new_map();
    json_array_foreach(value, i, entry) ferry_list_put(v, build_json(entry));
    json_object_foreach(value, name, entry) ferry_map_put(v, name, build_json(entry));
    return v;
}

static bool is_a_form(const bytes *b, json_t *forms)
{
    size_t i;
    json_t *form;
    json_array_foreach(forms, i, form)
    {
        bytes want = unhex(json_string_value(form));
        if (want.length == b->length && memcmp(want.data, b->data, b->length) == 0)
            return true;
    }
    return false;
}

/* Decoded, encoded again; as raw msgpack, also in a list; and cut short. */
static void check_form(const bytes *form, const char *key, json_t *want, json_t *forms)
{
    ferry_value *v = decode(form), *copy = ferry_value_copy(v), *raw = ferry_raw(form->data, form->length);
    bytes again = encode(v), copied = encode(copy), same = encode(raw);
    check_value(v, key, want);
    check_value(copy, key, want);
    check_value(raw, key, want);
    CHECK(is_a_form(&again, forms));
    CHECK_BYTES(copied.data, copied.length, again.data, again.length);
    CHECK_BYTES(same.data, same.length, form->data, form->length);
    ferry_value *list = ferry_list(raw, copy);
    check_value(ferry_at(list, 0), key, want);
    check_value(ferry_at(list, 1), key, want);
    bytes both = encode(list);
    CHECK_INT(both.length, 1 + form->length + again.length);
    CHECK_BYTES(both.data + 1, form->length, form->data, form->length);
    ferry_value_free(list);
    ferry_value_free(v);
    for (size_t cut = 0; cut < form->length; cut++)
        CHECK_STATUS(ferry__value_scan(form->data, cut, NULL), FERRY_BAD_DATA);
}

static size_t check_case(json_t *test)
{
    const char *key;
    json_t *value, *form, *forms = json_object_get(test, "msgpack");
    size_t i;
    json_object_foreach(test, key, value)
    {
        if (strcmp(key, "msgpack") == 0)
            continue;
        json_array_foreach(forms, i, form)
        {
            test_note("%s: %s", key, json_string_value(form));
            bytes b = unhex(json_string_value(form));
            check_form(&b, key, value, forms);
        }
        ferry_value *built = build(key, value);
        if (built) {
            bytes b = encode(built);
            CHECK(is_a_form(&b, forms));
        }
        ferry_value_free(built);
    }
    return json_array_size(forms);
}

TEST(every_vector)
{
    json_error_t error;
    const char *group, *path = test_text("%s/tests/msgpack/msgpack-test-suite.json", test_root());
    json_t *suite = json_load_file(path, JSON_ALLOW_NUL, &error), *cases, *test;
    size_t i, count = 0, forms = 0;
    CHECK_NOT_NULL(suite);
    json_object_foreach(suite, group, cases)
    {
        json_array_foreach(cases, i, test)
        {
            forms += check_case(test);
            count++;
        }
    }
    CHECK_INT(count, 85);
    CHECK_INT(forms, 233);
    json_decref(suite);
}

/* The public vectors come from JavaScript and have string keys only. */
TEST(keys_of_any_type)
{
    static const struct {
        const char *msgpack;
        ferry_type  type;
    } keys[] = {
        {"c0", FERRY_TYPE_NIL},
        {"c3", FERRY_TYPE_BOOL},
        {"07", FERRY_TYPE_INT},
        {"d0-80", FERRY_TYPE_INT},
        {"ca-3f-80-00-00", FERRY_TYPE_DOUBLE},
        {"cb-3f-f8-00-00-00-00-00-00", FERRY_TYPE_DOUBLE},
        {"c4-01-00", FERRY_TYPE_BYTES},
        {"92-01-02", FERRY_TYPE_LIST},
        {"81-01-02", FERRY_TYPE_MAP},
        {"d4-05-aa", FERRY_TYPE_OTHER},
        {"80", FERRY_TYPE_MAP},
        {"cf-ff-ff-ff-ff-ff-ff-ff-ff", FERRY_TYPE_UINT},
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        test_note("%s", keys[i].msgpack);
        bytes map = unhex(test_text("82-%s-01-a1-78-02", keys[i].msgpack)), key = unhex(keys[i].msgpack);
        ferry_value *v = decode(&map);
        size_t length;
        const void *encoded = ferry_encoded(ferry_key_at(v, 0), &length);
        CHECK_INT(ferry_value_type(ferry_key_at(v, 0)), keys[i].type);
        CHECK_BYTES(encoded, length, key.data, key.length);
        CHECK_INT(ferry_as_int(ferry_at(v, 0), 0), 1);
        CHECK_INT(ferry_as_int(ferry_find(v, "x"), 0), 2);
        bytes again = encode(v);
        CHECK_BYTES(again.data, again.length, map.data, map.length);
        ferry_value_free(v);
    }
}
