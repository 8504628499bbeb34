/* value_read.c - reading values, and many keys of a map at once. */
#include <limits.h>
#include <string.h>

#include "data/value_document.h"

ferry_type ferry_value_type(const ferry_value *v)
{
    v = ferry__node_see(v);
    if (!v)
        return FERRY_TYPE_NIL;
    return v->kind == FERRY__KIND_FLOAT ? FERRY_TYPE_DOUBLE : (ferry_type)v->kind;
}

bool ferry_as_bool(const ferry_value *v, bool otherwise)
{
    v = ferry__node_see(v);
    return v && v->kind == FERRY_TYPE_BOOL ? v->as.b : otherwise;
}

int64_t ferry_as_int(const ferry_value *v, int64_t otherwise)
{
    v = ferry__node_see(v);
    return v && v->kind == FERRY_TYPE_INT ? v->as.i : otherwise;
}

uint64_t ferry_as_uint(const ferry_value *v, uint64_t otherwise)
{
    v = ferry__node_see(v);
    bool fits = v && (v->kind == FERRY_TYPE_UINT || (v->kind == FERRY_TYPE_INT && v->as.i >= 0));
    return fits ? v->as.u : otherwise;
}

double ferry_as_double(const ferry_value *v, double otherwise)
{
    v = ferry__node_see(v);
    if (!v)
        return otherwise;
    switch (v->kind) {
    case FERRY_TYPE_DOUBLE:
    case FERRY__KIND_FLOAT:
        return v->as.d;
    case FERRY_TYPE_INT:
        return (double)v->as.i;
    case FERRY_TYPE_UINT:
        return (double)v->as.u;
    default:
        return otherwise;
    }
}

const char *ferry_as_string(const ferry_value *v, const char *otherwise)
{
    v = ferry__node_see(v);
    return v && v->kind == FERRY_TYPE_STRING ? v->as.text : otherwise;
}

const void *ferry_as_bytes(const ferry_value *v, size_t *len)
{
    v = ferry__node_see(v);
    bool has = v && (v->kind == FERRY_TYPE_BYTES || v->kind == FERRY_TYPE_STRING);
    if (len)
        *len = has ? v->size : 0;
    return has ? v->as.text : NULL;
}

static bool holds_entries(const ferry_value *v)
{
    return v && (v->kind == FERRY_TYPE_LIST || v->kind == FERRY_TYPE_MAP);
}

size_t ferry_count(const ferry_value *v)
{
    v = ferry__node_see(v);
    return holds_entries(v) ? v->size : 0;
}

const ferry_value *ferry_at(const ferry_value *v, size_t i)
{
    v = ferry__node_see(v);
    if (!holds_entries(v) || i >= v->size)
        return NULL;
    return v->kind == FERRY_TYPE_MAP ? &v->as.items[2 * i + 1] : &v->as.items[i];
}

const ferry_value *ferry_key_at(const ferry_value *map, size_t i)
{
    map = ferry__node_see(map);
    return map && map->kind == FERRY_TYPE_MAP && i < map->size ? &map->as.items[2 * i] : NULL;
}

static const ferry_value *find(const ferry_value *map, const char *key, size_t length)
{
    map = ferry__node_see(map);
    return map && key && map->kind == FERRY_TYPE_MAP ? ferry__map_find(map, key, length) : NULL;
}

const ferry_value *ferry_find(const ferry_value *map, const char *key)
{
    return key ? find(map, key, strlen(key)) : NULL;
}

/* ---- Keys into variables ------------------------------------------------------------------------------------------------- */

/* The numbers are those of ferry_slot.kind. */
enum {
    SLOT_KEY,
    SLOT_BOOL,
    SLOT_INT,
    SLOT_LONG,
    SLOT_LONG_LONG,
    SLOT_UNSIGNED,
    SLOT_UNSIGNED_LONG,
    SLOT_UNSIGNED_LONG_LONG,
    SLOT_DOUBLE,
    SLOT_TEXT,
    SLOT_VALUE,
    SLOT_SIGNED_CHAR,
    SLOT_SHORT,
    SLOT_UNSIGNED_CHAR,
    SLOT_UNSIGNED_SHORT,
    SLOT_FLOAT,
    SLOT_END
};

typedef enum wish { WANT_BOOL, WANT_SIGNED, WANT_UNSIGNED, WANT_DOUBLE, WANT_TEXT, WANT_ANY, WANT_NOTHING } wish;

static const struct {
    wish        want;
    const char *name;
    int64_t     least;
    uint64_t    most;
} slots[SLOT_END] = {
    [SLOT_KEY] = {WANT_NOTHING, "key", 0, 0},
    [SLOT_BOOL] = {WANT_BOOL, "bool", 0, 0},
    [SLOT_INT] = {WANT_SIGNED, "int", INT_MIN, INT_MAX},
    [SLOT_LONG] = {WANT_SIGNED, "long", LONG_MIN, LONG_MAX},
    [SLOT_LONG_LONG] = {WANT_SIGNED, "long long", LLONG_MIN, LLONG_MAX},
    [SLOT_UNSIGNED] = {WANT_UNSIGNED, "unsigned int", 0, UINT_MAX},
    [SLOT_UNSIGNED_LONG] = {WANT_UNSIGNED, "unsigned long", 0, ULONG_MAX},
    [SLOT_UNSIGNED_LONG_LONG] = {WANT_UNSIGNED, "unsigned long long", 0, ULLONG_MAX},
    [SLOT_DOUBLE] = {WANT_DOUBLE, "double", 0, 0},
    [SLOT_TEXT] = {WANT_TEXT, "string", 0, 0},
    [SLOT_VALUE] = {WANT_ANY, "value", 0, 0},
    [SLOT_SIGNED_CHAR] = {WANT_SIGNED, "signed char", SCHAR_MIN, SCHAR_MAX},
    [SLOT_SHORT] = {WANT_SIGNED, "short", SHRT_MIN, SHRT_MAX},
    [SLOT_UNSIGNED_CHAR] = {WANT_UNSIGNED, "unsigned char", 0, UCHAR_MAX},
    [SLOT_UNSIGNED_SHORT] = {WANT_UNSIGNED, "unsigned short", 0, USHRT_MAX},
    [SLOT_FLOAT] = {WANT_DOUBLE, "float", 0, 0},
};

static const char *const wanted[] = {"a bool",   "an integer", "an integer", "a number",
                                     "a string", "a value",    "nothing"};

static const char *type_name(const ferry_value *v)
{
    static const char *const names[] = {"nil",      "a bool", "an integer", "an integer", "a double",
                                        "a string", "bytes",  "a list",     "a map"};
    ferry_type type = ferry_value_type(v);
    return type < FERRY_TYPE_OTHER ? names[type] : "an ext value";
}

static bool is_integer(const ferry_value *v)
{
    return v->kind == FERRY_TYPE_INT || v->kind == FERRY_TYPE_UINT;
}

static bool has_type(const ferry_value *v, wish want)
{
    switch (want) {
    case WANT_BOOL:
        return v->kind == FERRY_TYPE_BOOL;
    case WANT_SIGNED:
    case WANT_UNSIGNED:
        return is_integer(v);
    case WANT_DOUBLE:
        return is_integer(v) || v->kind == FERRY_TYPE_DOUBLE || v->kind == FERRY__KIND_FLOAT;
    case WANT_TEXT:
        return v->kind == FERRY_TYPE_STRING;
    case WANT_ANY:
        return true;
    case WANT_NOTHING:
        break;
    }
    return false;
}

static bool in_range(const ferry_value *v, int kind)
{
    if (slots[kind].want != WANT_SIGNED && slots[kind].want != WANT_UNSIGNED)
        return true;
    if (v->kind == FERRY_TYPE_INT && v->as.i < 0)
        return v->as.i >= slots[kind].least;
    return v->as.u <= slots[kind].most;
}

static void store(const ferry_value *v, const ferry_value *seen, int kind, void *to)
{
    switch (kind) {
    case SLOT_BOOL:
        *(bool *)to = seen->as.b;
        break;
    case SLOT_INT:
        *(int *)to = (int)seen->as.i;
        break;
    case SLOT_LONG:
        *(long *)to = (long)seen->as.i;
        break;
    case SLOT_LONG_LONG:
        *(long long *)to = (long long)seen->as.i;
        break;
    case SLOT_UNSIGNED:
        *(unsigned *)to = (unsigned)seen->as.u;
        break;
    case SLOT_UNSIGNED_LONG:
        *(unsigned long *)to = (unsigned long)seen->as.u;
        break;
    case SLOT_UNSIGNED_LONG_LONG:
        *(unsigned long long *)to = (unsigned long long)seen->as.u;
        break;
    case SLOT_DOUBLE:
        *(double *)to = ferry_as_double(seen, 0);
        break;
    case SLOT_FLOAT:
        *(float *)to = (float)ferry_as_double(seen, 0);
        break;
    case SLOT_TEXT:
        *(const char **)to = seen->as.text;
        break;
    case SLOT_VALUE:
        *(const ferry_value **)to = v;
        break;
    case SLOT_SIGNED_CHAR:
        *(signed char *)to = (signed char)seen->as.i;
        break;
    case SLOT_SHORT:
        *(short *)to = (short)seen->as.i;
        break;
    case SLOT_UNSIGNED_CHAR:
        *(unsigned char *)to = (unsigned char)seen->as.u;
        break;
    case SLOT_UNSIGNED_SHORT:
        *(unsigned short *)to = (unsigned short)seen->as.u;
        break;
    default:
        break;
    }
}

typedef struct reader {
    const ferry_value *map;
    const ferry_slot  *slots;
    void (*bad)(void *arg, const char *key, const char *message);
    void *arg;
    bool  good;
} reader;

static void complain(reader *r, const char *key, size_t length, const char *message)
{
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)(length < sizeof name ? length : sizeof name), key);
    r->good = false;
    if (r->bad)
        r->bad(r->arg, name, message);
}

/* The value for slot pair i, or NULL: none, and *fine tells whether that is allowed. */
static const ferry_value *look(const reader *r, size_t i, size_t *length, bool *optional)
{
    const char *key = r->slots[i].as.key ? r->slots[i].as.key : "";
    *length = strlen(key);
    *optional = *length && key[*length - 1] == '?';
    *length -= *optional;
    const ferry_value *v = find(r->map, key, *length), *seen = ferry__node_see(v);
    bool nil = seen && seen->kind == FERRY_TYPE_NIL && r->slots[i + 1].kind != SLOT_VALUE;
    return *optional && nil ? NULL : v;
}

static void check(reader *r, size_t i)
{
    size_t length;
    bool optional;
    char message[96];
    const ferry_value *v = look(r, i, &length, &optional), *seen = ferry__node_see(v);
    const char *key = r->slots[i].as.key ? r->slots[i].as.key : "";
    int kind = r->slots[i + 1].kind;
    if (kind <= SLOT_KEY || kind >= SLOT_END || !r->slots[i + 1].as.to)
        complain(r, key, length, "no variable to read it into");
    else if (!v && !optional)
        complain(r, key, length, "missing");
    else if (v && !has_type(seen, slots[kind].want)) {
        snprintf(message, sizeof message, "expected %s, got %s", wanted[slots[kind].want], type_name(seen));
        complain(r, key, length, message);
    } else if (v && !in_range(seen, kind)) {
        snprintf(message, sizeof message, "out of range for %s", slots[kind].name);
        complain(r, key, length, message);
    }
}

bool ferry__value_read(const ferry_value *v, size_t n, const ferry_slot *keys_and_slots,
                       void (*bad)(void *arg, const char *key, const char *message), void *arg)
{
    reader r = {.map = v, .slots = keys_and_slots, .bad = bad, .arg = arg, .good = true};
    ferry_type type = ferry_value_type(v);
    if (type != FERRY_TYPE_MAP && type != FERRY_TYPE_NIL) {
        char message[64];
        snprintf(message, sizeof message, "expected a map, got %s", type_name(v));
        complain(&r, "", 0, message);
        return false;
    }
    if (n % 2)
        complain(&r, "", 0, "a key without a variable");
    n -= n % 2;
    for (size_t i = 0; i < n; i += 2)
        check(&r, i);
    for (size_t i = 0; r.good && i < n; i += 2) {
        size_t length;
        bool optional;
        const ferry_value *found = look(&r, i, &length, &optional);
        if (found)
            store(found, ferry__node_see(found), keys_and_slots[i + 1].kind, keys_and_slots[i + 1].as.to);
    }
    return r.good;
}

bool ferry_read_into(const ferry_value *v, size_t n, const ferry_slot *keys_and_slots)
{
    return ferry__value_read(v, n, keys_and_slots, NULL, NULL);
}
