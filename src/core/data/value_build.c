/* value_build.c - making values: scalars, lists, maps, and putting one into another.
 *
 * Whatever goes wrong is remembered in the document (its flaw) and told by the call that the value is given to. A value that was to be
 * taken is freed then, too. */
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "data/value_document.h"

enum { FIRST_NODES = 6, FIRST_BYTES = 64, KEYS_UNINDEXED = 16 };

static const ferry__flaw no_utf8 = {FERRY_INVALID, "a string is not valid UTF-8; use bytes"};
static const ferry__flaw no_key = {FERRY_INVALID, "a map key is NULL"};
static const ferry__flaw no_map = {FERRY_INVALID, "ferry_map_put into a value that is no map"};
static const ferry__flaw no_list = {FERRY_INVALID, "ferry_list_put into a value that is no list"};
static const ferry__flaw gone = {FERRY_INVALID, "something was put into a value that had been given away"};
static const ferry__flaw odd = {FERRY_INVALID, "a key without a value"};
static const ferry__flaw no_bytes = {FERRY_INVALID, "a length without data"};

/* ---- Scalars ------------------------------------------------------------------------------------------------------------- */

static ferry_value *scalar(uint8_t kind)
{
    ferry__document *d = ferry__document_new(0, 0);
    if (!d)
        return ferry__document_broken(&ferry__flaw_memory);
    d->root.kind = kind;
    return &d->root;
}

ferry_value *ferry_nil(void)
{
    return scalar(FERRY_TYPE_NIL);
}

ferry_value *ferry_bool(bool b)
{
    ferry_value *v = scalar(FERRY_TYPE_BOOL);
    if (!v->home->immortal)
        v->as.b = b;
    return v;
}

ferry_value *ferry_int(int64_t i)
{
    ferry_value *v = scalar(FERRY_TYPE_INT);
    if (!v->home->immortal)
        v->as.i = i;
    return v;
}

ferry_value *ferry_uint(uint64_t u)
{
    if (u <= INT64_MAX)
        return ferry_int((int64_t)u);
    ferry_value *v = scalar(FERRY_TYPE_UINT);
    if (!v->home->immortal)
        v->as.u = u;
    return v;
}

ferry_value *ferry_double(double d)
{
    ferry_value *v = scalar(FERRY_TYPE_DOUBLE);
    if (!v->home->immortal)
        v->as.d = d;
    return v;
}

static const ferry__flaw *wrong_text(const char *s, size_t length)
{
    if (length > UINT32_MAX)
        return &ferry__flaw_big;
    return s && !ferry__text_utf8(s, length) ? &no_utf8 : NULL;
}

static ferry_value *run_of_bytes(uint8_t kind, const void *data, size_t length)
{
    if (length > UINT32_MAX)
        return ferry__document_broken(&ferry__flaw_big);
    ferry__document *d = ferry__document_new(0, length + 1);
    if (!d)
        return ferry__document_broken(&ferry__flaw_memory);
    ferry_value from = {.home = d, .kind = kind, .size = (uint32_t)length, .as.text = data};
    ferry__document_copy_flat(d, &d->root, &from);
    return &d->root;
}

ferry_value *ferry_string(const char *s, size_t len)
{
    if (!s && len)
        return ferry__document_broken(&no_bytes);
    const ferry__flaw *flaw = wrong_text(s, len);
    return flaw ? ferry__document_broken(flaw) : run_of_bytes(FERRY_TYPE_STRING, s, len);
}

ferry_value *ferry_text(const char *s)
{
    return s ? ferry_string(s, strlen(s)) : ferry_nil();
}

ferry_value *ferry_bytes(const void *data, size_t len)
{
    return !data && len ? ferry__document_broken(&no_bytes) : run_of_bytes(FERRY_TYPE_BYTES, data, len);
}

/* ---- Containers ---------------------------------------------------------------------------------------------------------- */

static unsigned width(const ferry__document *d)
{
    return d->root.kind == FERRY_TYPE_MAP ? 2 : 1;
}

static ferry__document *container(uint8_t kind, size_t nodes, size_t bytes)
{
    ferry__document *d = ferry__document_new(nodes, bytes);
    if (!d)
        return NULL;
    d->root.kind = kind;
    d->depth = 1;
    d->capacity = (uint32_t)(nodes / width(d));
    d->root.as.items = nodes ? ferry__document_nodes(d, nodes) : NULL;
    return d;
}

static ferry_value *new_container(uint8_t kind)
{
    ferry__document *d = container(kind, FIRST_NODES, FIRST_BYTES);
    return d ? &d->root : ferry__document_broken(&ferry__flaw_memory);
}

ferry_value *ferry_new_map(void)
{
    return new_container(FERRY_TYPE_MAP);
}

ferry_value *ferry_new_list(void)
{
    return new_container(FERRY_TYPE_LIST);
}

/* Room for one entry more. Doubled, so that n puts move each node at most twice. */
static bool grow(ferry__document *d)
{
    size_t entry = width(d) * sizeof(ferry_value), used = d->root.size * entry;
    size_t capacity = d->capacity < 4 ? 8 : (size_t)d->capacity * 2;
    ferry_value *items = ferry__alloc(capacity * entry);
    if (!items)
        return false;
    if (used)
        memcpy(items, d->root.as.items, used);
    if (d->items_apart)
        ferry__free(d->root.as.items);
    d->root.as.items = items;
    d->items_apart = true;
    d->capacity = (uint32_t)(ferry__alloc_room(items) / entry);
    return true;
}

/* The nodes of a new entry, not yet counted in; NULL: d is broken now. */
static ferry_value *append(ferry__document *d)
{
    if (d->root.size >= FERRY__OBJECTS_MAX)
        ferry__document_break(d, &ferry__flaw_big);
    else if (d->root.size == d->capacity && !grow(d))
        ferry__document_break(d, &ferry__flaw_memory);
    return d->flaw ? NULL : d->root.as.items + (size_t)d->root.size * width(d);
}

/* Something was put into a value that is elsewhere by now: told where that is. */
static void break_outermost(ferry__document *d)
{
    while (d->owner)
        d = d->owner;
    ferry__document_break(d, &gone);
}

/* Is this a root that can be added to? Breaks it if it is the wrong kind. */
static bool open_to_puts(ferry_value *into, uint8_t kind, const ferry__flaw *otherwise)
{
    if (!into || !ferry__node_is_root(into) || into->home->flaw)
        return false;
    if (into->home->owner) {
        break_outermost(into->home);
        return false;
    }
    if (into->kind != kind)
        ferry__document_break(into->home, otherwise);
    else if (into->home->encoded)
        ferry__document_forget_encodings(into->home);
    return into->kind == kind;
}

void ferry_list_put(ferry_value *list, ferry_value *v)
{
    ferry_value *slot = open_to_puts(list, FERRY_TYPE_LIST, &no_list) ? append(list->home) : NULL;
    if (!slot) {
        if (v != list)
            ferry_value_free(v);
        return;
    }
    *slot = ferry__node_nil(list->home);
    ferry__document_take(list->home, slot, v);
    list->size++;
}

/* ---- Map entries: the last one wins; a large map has an index ------------------------------------------------------------ */

static uint32_t hash(const char *key, size_t length)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < length; i++)
        h = (h ^ (unsigned char)key[i]) * 16777619u;
    return h;
}

static bool key_is(const ferry_value *node, const char *key, size_t length)
{
    return node->kind == FERRY_TYPE_STRING && node->size == length && memcmp(node->as.text, key, length) == 0;
}

static void index_add(ferry__document *d, uint32_t entry)
{
    const ferry_value *key = &d->root.as.items[2 * (size_t)entry];
    if (key->kind != FERRY_TYPE_STRING)
        return;
    uint32_t at = hash(key->as.text, key->size) & d->index_mask;
    while (d->index[at] && !key_is(&d->root.as.items[2 * (size_t)(d->index[at] - 1)], key->as.text, key->size))
        at = (at + 1) & d->index_mask;
    d->index[at] = entry + 1; /* of equal keys, which only a peer can have sent, the last */
}

/* Made, or made anew, when less than half would stay free. Without memory for it the map is searched from end to end. */
static void index_build(ferry__document *d)
{
    size_t places = 4 * KEYS_UNINDEXED;
    while (places < 4 * (size_t)d->root.size)
        places *= 2;
    ferry__free(d->index);
    d->index = ferry__zalloc(places * sizeof *d->index);
    d->index_mask = (uint32_t)(places - 1);
    for (uint32_t i = 0; d->index && i < d->root.size; i++)
        index_add(d, i);
}

static ferry_value *index_find(ferry__document *d, const char *key, size_t length)
{
    for (uint32_t at = hash(key, length) & d->index_mask; d->index[at]; at = (at + 1) & d->index_mask) {
        ferry_value *entry = d->root.as.items + 2 * (size_t)(d->index[at] - 1);
        if (key_is(entry, key, length))
            return entry + 1;
    }
    return NULL;
}

const ferry_value *ferry__map_find(const ferry_value *map, const char *key, size_t length)
{
    if (ferry__node_is_root(map) && map->home->index)
        return index_find(map->home, key, length);
    for (size_t i = map->size; i-- > 0;)
        if (key_is(&map->as.items[2 * i], key, length))
            return &map->as.items[2 * i + 1];
    return NULL;
}

static ferry_value *find_to_replace(ferry__document *d, const char *key, size_t length)
{
    if (d->root.size >= KEYS_UNINDEXED && (!d->index || 2 * (size_t)d->root.size > d->index_mask))
        index_build(d);
    return (ferry_value *)ferry__map_find(&d->root, key, length);
}

/* The node for the value of `key`, made or emptied, nil for now; NULL: d is broken. */
static ferry_value *entry_for(ferry__document *d, const char *key)
{
    size_t length = key ? strlen(key) : 0;
    const ferry__flaw *flaw = key ? wrong_text(key, length) : &no_key;
    if (flaw) {
        ferry__document_break(d, flaw);
        return NULL;
    }
    ferry_value *value = find_to_replace(d, key, length);
    if (value) {
        ferry__document_drop(d, value);
        return value;
    }
    ferry_value *entry = append(d), text = {.kind = FERRY_TYPE_STRING, .size = (uint32_t)length, .as.text = key};
    if (!entry)
        return NULL;
    entry[0] = entry[1] = ferry__node_nil(d);
    if (!ferry__document_copy_flat(d, entry, &text)) {
        ferry__document_break(d, &ferry__flaw_memory);
        return NULL;
    }
    d->root.size++;
    if (d->index)
        index_add(d, d->root.size - 1);
    return entry + 1;
}

void ferry_map_put(ferry_value *map, const char *key, ferry_value *v)
{
    ferry_value *slot = open_to_puts(map, FERRY_TYPE_MAP, &no_map) ? entry_for(map->home, key) : NULL;
    if (slot)
        ferry__document_take(map->home, slot, v);
    else if (v != map)
        ferry_value_free(v);
}

/* ---- What the macros call ------------------------------------------------------------------------------------------------ */

enum { ITEM_BOOL = 1, ITEM_INT, ITEM_UINT, ITEM_DOUBLE, ITEM_TEXT, ITEM_TAKEN, ITEM_COPIED };

static void fill_text(ferry__document *d, ferry_value *slot, const char *s)
{
    size_t length = s ? strlen(s) : 0;
    ferry_value text = {.kind = s ? FERRY_TYPE_STRING : FERRY_TYPE_NIL, .size = (uint32_t)length, .as.text = s};
    const ferry__flaw *flaw = wrong_text(s, length);
    if (!flaw && !ferry__document_copy_flat(d, slot, &text))
        flaw = &ferry__flaw_memory;
    if (flaw)
        ferry__document_break(d, flaw);
}

static void fill_copy(ferry__document *d, ferry_value *slot, const ferry_value *v)
{
    if (v)
        ferry__document_take(d, slot, ferry_value_copy(v));
}

/* Into a nil node. */
static void fill(ferry__document *d, ferry_value *slot, const ferry_item *x)
{
    switch (x->kind) {
    case ITEM_BOOL:
        slot->kind = FERRY_TYPE_BOOL;
        slot->as.b = x->as.b;
        break;
    case ITEM_INT:
        slot->kind = FERRY_TYPE_INT;
        slot->as.i = x->as.i;
        break;
    case ITEM_UINT:
        slot->kind = x->as.u > INT64_MAX ? FERRY_TYPE_UINT : FERRY_TYPE_INT;
        slot->as.u = x->as.u;
        break;
    case ITEM_DOUBLE:
        slot->kind = FERRY_TYPE_DOUBLE;
        slot->as.d = x->as.d;
        break;
    case ITEM_TEXT:
        fill_text(d, slot, x->as.s);
        break;
    case ITEM_TAKEN:
        ferry__document_take(d, slot, x->as.v);
        break;
    case ITEM_COPIED:
        fill_copy(d, slot, x->as.c);
        break;
    default:
        break;
    }
}

static void release(const ferry_item *items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (items[i].kind == ITEM_TAKEN)
            ferry_value_free(items[i].as.v);
}

static ferry_value *refuse(const ferry_item *items, size_t n, const ferry__flaw *flaw)
{
    release(items, n);
    return ferry__document_broken(flaw);
}

static size_t bytes_needed(const ferry_item *items, size_t n)
{
    size_t sum = 0;
    for (size_t i = 0; i < n; i++)
        if (items[i].kind == ITEM_TEXT && items[i].as.s)
            sum += strlen(items[i].as.s) + 1;
        else if (items[i].kind == ITEM_TAKEN || items[i].kind == ITEM_COPIED)
            sum += sizeof(ferry_value); /* a short string, perhaps */
    return sum;
}

ferry_value *ferry_value_of(ferry_item x)
{
    switch (x.kind) {
    case ITEM_BOOL:
        return ferry_bool(x.as.b);
    case ITEM_INT:
        return ferry_int(x.as.i);
    case ITEM_UINT:
        return ferry_uint(x.as.u);
    case ITEM_DOUBLE:
        return ferry_double(x.as.d);
    case ITEM_TEXT:
        return ferry_text(x.as.s);
    case ITEM_TAKEN:
        return x.as.v ? x.as.v : ferry__document_broken(&ferry__flaw_memory);
    case ITEM_COPIED:
        return x.as.c ? ferry_value_copy(x.as.c) : ferry_nil();
    default:
        return ferry_nil();
    }
}

ferry_value *ferry_list_of(size_t n, const ferry_item *items)
{
    if (n > FERRY__OBJECTS_MAX)
        return refuse(items, n, &ferry__flaw_big);
    ferry__document *d = container(FERRY_TYPE_LIST, n, bytes_needed(items, n));
    if (!d)
        return refuse(items, n, &ferry__flaw_memory);
    for (size_t i = 0; i < n; i++) {
        d->root.as.items[i] = ferry__node_nil(d);
        fill(d, &d->root.as.items[i], &items[i]);
    }
    d->root.size = (uint32_t)n;
    return &d->root;
}

ferry_value *ferry_map_of(size_t n, const ferry_item *keys_and_values)
{
    if (n % 2 || n > FERRY__OBJECTS_MAX)
        return refuse(keys_and_values, n, n % 2 ? &odd : &ferry__flaw_big);
    ferry__document *d = container(FERRY_TYPE_MAP, n, bytes_needed(keys_and_values, n));
    if (!d)
        return refuse(keys_and_values, n, &ferry__flaw_memory);
    for (size_t i = 0; i < n; i += 2) {
        const char *key = keys_and_values[i].kind == ITEM_TEXT ? keys_and_values[i].as.s : NULL;
        ferry_value *slot = entry_for(d, key);
        if (slot)
            fill(d, slot, &keys_and_values[i + 1]);
        else
            release(&keys_and_values[i], 2);
    }
    return &d->root;
}
