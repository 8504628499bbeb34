/* value_decode.c - msgpack to values, and copies.
 *
 * The scan has bounded and counted the input, so msgpack-c gets a zone of the exact size and the document is one block. The zone lies
 * on the stack or in a block of ferry's own: msgpack-c allocates nothing. If it ever did (another version, another layout), the zone
 * would take a chunk of its own, which is given back: slower, not wrong. */
#include <msgpack.h>
#include <string.h>

#include "base/alloc.h"
#include "data/scan.h"
#include "data/value_document.h"

enum { ZONE_ON_STACK = 2048 };
_Static_assert(sizeof(msgpack_object_kv) == 2 * sizeof(msgpack_object), "the zone is counted in objects");

static const ferry__flaw no_msgpack = {FERRY_INVALID, "ferry_raw got bytes that are not one msgpack value"};

static void convert(ferry__document *d, ferry_value *to, const msgpack_object *from);

static void convert_text(ferry__document *d, ferry_value *to, const msgpack_object *from)
{
    uint32_t size = from->via.str.size;
    char *text = ferry__document_bytes(d, (size_t)size + 1);
    if (size)
        memcpy(text, from->via.str.ptr, size);
    text[size] = '\0';
    to->kind = FERRY_TYPE_STRING;
    to->size = size;
    to->as.text = text;
}

static void convert_list(ferry__document *d, ferry_value *to, const msgpack_object *from)
{
    uint32_t size = from->via.array.size;
    ferry_value *items = ferry__document_nodes(d, size);
    for (uint32_t i = 0; i < size; i++)
        convert(d, &items[i], &from->via.array.ptr[i]);
    to->kind = FERRY_TYPE_LIST;
    to->size = size;
    to->as.items = items;
}

static void convert_map(ferry__document *d, ferry_value *to, const msgpack_object *from)
{
    uint32_t size = from->via.map.size;
    ferry_value *items = ferry__document_nodes(d, 2 * (size_t)size);
    for (uint32_t i = 0; i < size; i++) {
        convert(d, &items[2 * (size_t)i], &from->via.map.ptr[i].key);
        convert(d, &items[2 * (size_t)i + 1], &from->via.map.ptr[i].val);
    }
    to->kind = FERRY_TYPE_MAP;
    to->size = size;
    to->as.items = items;
}

static void convert_borrowed(ferry_value *to, uint8_t kind, uint32_t size, const char *data)
{
    to->kind = kind;
    to->size = size;
    to->as.text = size ? data : "";
}

/* Cannot fail: the document has the room that the scan counted. */
static void convert(ferry__document *d, ferry_value *to, const msgpack_object *from)
{
    *to = ferry__node_nil(d);
    switch (from->type) {
    case MSGPACK_OBJECT_NIL:
        break;
    case MSGPACK_OBJECT_BOOLEAN:
        to->kind = FERRY_TYPE_BOOL;
        to->as.b = from->via.boolean;
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        to->kind = from->via.u64 > INT64_MAX ? FERRY_TYPE_UINT : FERRY_TYPE_INT;
        to->as.u = from->via.u64;
        break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        to->kind = FERRY_TYPE_INT;
        to->as.i = from->via.i64;
        break;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        to->kind = from->type == MSGPACK_OBJECT_FLOAT32 ? FERRY__KIND_FLOAT : FERRY_TYPE_DOUBLE;
        to->as.d = from->via.f64;
        break;
    case MSGPACK_OBJECT_STR:
        convert_text(d, to, from);
        break;
    case MSGPACK_OBJECT_BIN:
        convert_borrowed(to, FERRY_TYPE_BYTES, from->via.bin.size, from->via.bin.ptr);
        break;
    case MSGPACK_OBJECT_EXT:
        convert_borrowed(to, FERRY_TYPE_OTHER, from->via.ext.size, from->via.ext.ptr);
        to->ext = from->via.ext.type;
        break;
    case MSGPACK_OBJECT_ARRAY:
        convert_list(d, to, from);
        break;
    case MSGPACK_OBJECT_MAP:
        convert_map(d, to, from);
        break;
    }
}

/* Unpacks into `to`, a node of d. False: msgpack-c could not, so it had no memory: the scan has seen the input. */
static bool unpack(ferry__document *d, ferry_value *to, const void *msgpack, size_t length, size_t objects)
{
    _Alignas(16) char on_stack[ZONE_ON_STACK];
    size_t room = objects * sizeof(msgpack_object);
    char *block = room > sizeof on_stack ? ferry__alloc(room) : on_stack;
    if (!block)
        return false;
    msgpack_zone zone = {.chunk_list = {.free = block == on_stack ? sizeof on_stack : room, .ptr = block},
                         .chunk_size = room};
    msgpack_object top;
    bool done = msgpack_unpack(msgpack, length, NULL, &zone, &top) == MSGPACK_UNPACK_SUCCESS;
    if (done)
        convert(d, to, &top);
    if (zone.chunk_list.head)
        msgpack_zone_destroy(&zone);
    if (block != on_stack)
        ferry__free(block);
    return done;
}

static ferry_status no_memory(char *why)
{
    if (why)
        snprintf(why, FERRY_WHY_SIZE, "out of memory while a value was decoded");
    return FERRY_NO_MEMORY;
}

ferry_status ferry__value_decode(const void *msgpack, size_t length, ferry_value **made, char *why)
{
    ferry__tally tally;
    *made = NULL;
    ferry_status status = ferry__scan(msgpack, length, &tally, why);
    if (status != FERRY_OK)
        return status;
    ferry__document *d = ferry__document_new(tally.objects - 1, tally.text);
    if (!d)
        return no_memory(why);
    if (!unpack(d, &d->root, msgpack, length, tally.objects)) {
        ferry__document_free(d);
        return no_memory(why);
    }
    d->capacity = ferry_count(&d->root) ? d->root.size : 0;
    d->depth = (uint8_t)tally.depth;
    *made = &d->root;
    return FERRY_OK;
}

/* ---- Ready-made msgpack --------------------------------------------------------------------------------------------------- */

ferry_value *ferry_raw(const void *msgpack, size_t len)
{
    ferry__tally tally;
    if (ferry__scan(msgpack, len, &tally, NULL) != FERRY_OK)
        return ferry__document_broken(&no_msgpack);
    size_t nodes = tally.objects - 1, around = sizeof(ferry__raw) / sizeof(ferry_value) + 1;
    ferry__document *d = ferry__document_new(nodes + around, tally.text + len);
    if (!d)
        return ferry__document_broken(&ferry__flaw_memory);
    ferry__raw *raw = (ferry__raw *)(void *)ferry__document_nodes(d, around);
    char *copy = ferry__document_bytes(d, len);
    memcpy(copy, msgpack, len);
    *raw = (ferry__raw){.bytes = copy, .length = len, .objects = tally.objects};
    if (!unpack(d, &raw->seen, copy, len, tally.objects)) {
        ferry__document_free(d);
        return ferry__document_broken(&ferry__flaw_memory);
    }
    d->root.kind = FERRY__KIND_RAW;
    d->root.as.raw = raw;
    d->depth = (uint8_t)tally.depth;
    return &d->root;
}

/* ---- Copies --------------------------------------------------------------------------------------------------------------- */

typedef struct extent {
    size_t nodes, bytes, depth; /* below a node */
} extent;

static size_t children(const ferry_value *v)
{
    return v->kind == FERRY_TYPE_MAP ? 2 * (size_t)v->size : v->kind == FERRY_TYPE_LIST ? v->size : 0;
}

static void extend(const ferry_value *v, extent *e, size_t depth)
{
    size_t n = children(v);
    bool holds = v->kind == FERRY_TYPE_LIST || v->kind == FERRY_TYPE_MAP;
    if (v->kind == FERRY_TYPE_STRING || v->kind == FERRY_TYPE_BYTES || v->kind == FERRY_TYPE_OTHER)
        e->bytes += (size_t)v->size + 1;
    size_t reaches = depth + (v->kind == FERRY__KIND_RAW ? v->as.raw->seen.home->depth : holds ? 1 : 0);
    if (e->depth < reaches)
        e->depth = reaches;
    e->nodes += n;
    for (size_t i = 0; i < n; i++)
        extend(&v->as.items[i], e, depth + 1);
}

static void copy(ferry__document *d, ferry_value *to, const ferry_value *from)
{
    size_t n = children(from);
    *to = ferry__node_nil(d);
    if (from->kind == FERRY__KIND_RAW) {
        ferry__document_take(d, to, ferry_raw(from->as.raw->bytes, from->as.raw->length));
    } else if (from->kind == FERRY_TYPE_LIST || from->kind == FERRY_TYPE_MAP) {
        *to = *from;
        to->home = d;
        to->encoded = false;
        to->as.items = ferry__document_nodes(d, n);
        for (size_t i = 0; i < n; i++)
            copy(d, &to->as.items[i], &from->as.items[i]);
    } else {
        ferry__document_copy_flat(d, to, from);
    }
}

ferry_value *ferry_value_copy(const ferry_value *v)
{
    extent e = {0, 0, 0};
    if (!v)
        return ferry_nil();
    if (v->home->flaw)
        return ferry__document_broken(v->home->flaw);
    if (v->kind == FERRY__KIND_RAW)
        return ferry_raw(v->as.raw->bytes, v->as.raw->length);
    extend(v, &e, 0);
    ferry__document *d = ferry__document_new(e.nodes, e.bytes);
    if (!d)
        return ferry__document_broken(&ferry__flaw_memory);
    d->depth = (uint8_t)e.depth;
    copy(d, &d->root, v);
    d->capacity = children(v) ? v->size : 0;
    return &d->root;
}
