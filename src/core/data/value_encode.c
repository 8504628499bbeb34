/* value_encode.c - values to msgpack, packed by msgpack-c: once into a counter, once into the exact room. */
#include <msgpack.h>
#include <string.h>

#include "base/alloc.h"
#include "data/value_document.h"

typedef struct counter {
    size_t length;
} counter;

static int count(void *to, const char *bytes, size_t length)
{
    (void)bytes;
    ((counter *)to)->length += length;
    return 0;
}

typedef struct writer {
    char *at;
} writer;

static int write_to(void *to, const char *bytes, size_t length)
{
    writer *w = to;
    memcpy(w->at, bytes, length);
    w->at += length;
    return 0;
}

static void bytes(msgpack_packer *to, const char *data, size_t length)
{
    if (length)
        to->callback(to->data, data, length);
}

/* Answers how many objects went out. Never deeper than FERRY__DEPTH_MAX: nothing deeper can be built or decoded. */
static size_t pack(msgpack_packer *to, const ferry_value *v)
{
    size_t objects = 1;
    switch (v->kind) {
    case FERRY_TYPE_BOOL:
        if (v->as.b)
            msgpack_pack_true(to);
        else
            msgpack_pack_false(to);
        break;
    case FERRY_TYPE_INT:
        msgpack_pack_int64(to, v->as.i);
        break;
    case FERRY_TYPE_UINT:
        msgpack_pack_uint64(to, v->as.u);
        break;
    case FERRY_TYPE_DOUBLE:
        msgpack_pack_double(to, v->as.d);
        break;
    case FERRY__KIND_FLOAT:
        msgpack_pack_float(to, (float)v->as.d);
        break;
    case FERRY_TYPE_STRING:
        msgpack_pack_str(to, v->size);
        bytes(to, v->as.text, v->size);
        break;
    case FERRY_TYPE_BYTES:
        msgpack_pack_bin(to, v->size);
        bytes(to, v->as.text, v->size);
        break;
    case FERRY_TYPE_OTHER:
        msgpack_pack_ext(to, v->size, v->ext);
        bytes(to, v->as.text, v->size);
        break;
    case FERRY_TYPE_LIST:
        msgpack_pack_array(to, v->size);
        for (size_t i = 0; i < v->size; i++)
            objects += pack(to, &v->as.items[i]);
        break;
    case FERRY_TYPE_MAP:
        msgpack_pack_map(to, v->size);
        for (size_t i = 0; i < 2 * (size_t)v->size; i++)
            objects += pack(to, &v->as.items[i]);
        break;
    case FERRY__KIND_RAW:
        bytes(to, v->as.raw->bytes, v->as.raw->length);
        return v->as.raw->objects;
    default:
        msgpack_pack_nil(to);
    }
    return objects;
}

static size_t pack_any(msgpack_packer *to, const ferry_value *v)
{
    if (v)
        return pack(to, v);
    msgpack_pack_nil(to);
    return 1;
}

ferry_status ferry__value_measure(const ferry_value *v, size_t max, size_t *length)
{
    counter n = {0};
    msgpack_packer to;
    *length = 0;
    if (v && v->home->flaw)
        return v->home->flaw->status;
    msgpack_packer_init(&to, &n, count);
    if (pack_any(&to, v) > FERRY__OBJECTS_MAX)
        return FERRY_TOO_BIG;
    *length = n.length;
    return n.length > max ? FERRY_TOO_BIG : FERRY_OK;
}

void ferry__value_write(const ferry_value *v, void *room)
{
    writer w = {.at = room};
    msgpack_packer to;
    msgpack_packer_init(&to, &w, write_to);
    pack_any(&to, v);
}

bool ferry__value_broken(const ferry_value *v)
{
    return v && v->home->flaw;
}

ferry_status ferry__value_status(const ferry_value *v)
{
    return v && v->home->flaw ? v->home->flaw->status : FERRY_OK;
}

const char *ferry__value_flaw(const ferry_value *v)
{
    return v && v->home->flaw ? v->home->flaw->text : "";
}

/* ---- ferry_encoded: made on demand, kept with the document ---------------------------------------------------------------- */

/* The ring is entered behind the last one asked for, so that going through a list again and again finds each at once. */
static const ferry__encoding *known(ferry__document *d, const ferry_value *v)
{
    ferry__encoding *e = d->encoded;
    for (ferry__encoding *first = e; e; e = e->next == first ? NULL : e->next)
        if (e->of == v) {
            d->encoded = e;
            return e;
        }
    return NULL;
}

static const ferry__encoding *encode(ferry__document *d, const ferry_value *v)
{
    size_t length;
    if (ferry__value_measure(v, UINT32_MAX, &length) != FERRY_OK)
        return NULL;
    ferry__encoding *e = ferry__alloc(sizeof *e + length);
    if (!e)
        return NULL;
    e->of = v;
    e->length = length;
    ferry__value_write(v, e->bytes);
    e->next = d->encoded ? d->encoded->next : e;
    if (d->encoded)
        d->encoded->next = e;
    d->encoded = e;
    return e;
}

const void *ferry_encoded(const ferry_value *v, size_t *len)
{
    size_t ignored = 0;
    len = len ? len : &ignored;
    *len = v ? 0 : 1;
    if (!v)
        return "\xc0";
    if (v->home->flaw)
        return NULL;
    if (v->kind == FERRY__KIND_RAW) {
        *len = v->as.raw->length;
        return v->as.raw->bytes;
    }
    const ferry__encoding *e = v->encoded ? known(v->home, v) : NULL;
    if (!e && (e = encode(v->home, v)) != NULL)
        ((ferry_value *)v)->encoded = true;
    *len = e ? e->length : 0;
    return e ? e->bytes : NULL;
}
