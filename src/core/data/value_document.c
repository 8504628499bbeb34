/* value_document.c - the memory of values: blocks, arenas, adoption. */
#include "data/value_document.h"

#include <string.h>

#include "base/alloc.h"

enum {
    CHUNK_FIRST = 256,
    CHUNK_LAST = 4096,
    ADOPT_FROM = 128 /* a longer string keeps its block when it is put somewhere */
};

const ferry__flaw ferry__flaw_memory = {FERRY_NO_MEMORY, "out of memory while the value was built"};
const ferry__flaw ferry__flaw_big = {FERRY_TOO_BIG, "the value has too many entries, or one that is too long"};

static const ferry__flaw taken_twice = {FERRY_INVALID,
                                        "a value was put somewhere that had been put elsewhere, or into itself"};
static const ferry__flaw not_owned = {FERRY_INVALID, "a borrowed value was given away; copy it first"};
static const ferry__flaw too_deep = {FERRY_INVALID, "the value is nested too deep"};

static ferry__document lost = {
    .root = {.home = &lost, .kind = FERRY_TYPE_NIL}, .flaw = &ferry__flaw_memory, .immortal = true};

static ferry__chunk *inside(ferry__document *d)
{
    return (ferry__chunk *)(d + 1);
}

static void chunk_start(ferry__chunk *c, size_t room, ferry__chunk *next)
{
    c->next = next;
    c->at = (char *)(c + 1);
    c->end = c->at + room;
}

ferry__document *ferry__document_new(size_t nodes, size_t bytes)
{
    size_t room = nodes * sizeof(ferry_value) + bytes;
    ferry__document *d = ferry__alloc(sizeof *d + (room ? sizeof(ferry__chunk) + room : 0));
    if (!d)
        return NULL;
    *d = (ferry__document){.root = {.home = d, .kind = FERRY_TYPE_NIL}};
    if (room) {
        d->arena = inside(d);
        chunk_start(d->arena, room, NULL);
    }
    return d;
}

ferry_value *ferry__document_broken(const ferry__flaw *flaw)
{
    ferry__document *d = flaw->status == FERRY_NO_MEMORY ? NULL : ferry__document_new(0, 0);
    if (!d)
        return &lost.root;
    d->flaw = flaw;
    return &d->root;
}

void ferry__document_break(ferry__document *d, const ferry__flaw *flaw)
{
    if (!d->flaw)
        d->flaw = flaw;
}

/* ---- The arena: nodes from the front of a chunk, bytes from its back, so that nodes stay aligned ------------------------- */

static bool chunk_add(ferry__document *d, size_t room)
{
    ferry__chunk *top = d->arena;
    size_t size = top && top != inside(d) ? ferry__alloc_room(top) * 2 : CHUNK_FIRST;
    if (size > CHUNK_LAST)
        size = CHUNK_LAST;
    bool large = room > size - sizeof *top;
    ferry__chunk *c = ferry__alloc(large ? sizeof *c + room : size);
    if (!c)
        return false;
    chunk_start(c, large ? room : size - sizeof *c, top);
    d->arena = c;
    return true;
}

static bool arena_has(ferry__document *d, size_t room)
{
    return (d->arena && room <= (size_t)(d->arena->end - d->arena->at)) || chunk_add(d, room);
}

ferry_value *ferry__document_nodes(ferry__document *d, size_t count)
{
    size_t room = count * sizeof(ferry_value);
    if (!arena_has(d, room))
        return NULL;
    ferry_value *nodes = (ferry_value *)(void *)d->arena->at;
    d->arena->at += room;
    return nodes;
}

char *ferry__document_bytes(ferry__document *d, size_t count)
{
    if (!arena_has(d, count))
        return NULL;
    return d->arena->end -= count;
}

/* ---- The end ------------------------------------------------------------------------------------------------------------- */

void ferry__document_forget_encodings(ferry__document *d)
{
    ferry__encoding *first = d->encoded, *e = first;
    d->encoded = NULL;
    while (e) {
        ferry__encoding *next = e->next == first ? NULL : e->next;
        ferry__free(e);
        e = next;
    }
}

void ferry__document_free(ferry__document *d)
{
    while (d->adopted) {
        ferry__document *child = d->adopted;
        d->adopted = child->next;
        ferry__document_free(child);
    }
    if (d->encoded)
        ferry__document_forget_encodings(d);
    if (d->items_apart)
        ferry__free(d->root.as.items);
    ferry__free(d->index);
    while (d->arena && d->arena != inside(d)) {
        ferry__chunk *next = d->arena->next;
        ferry__free(d->arena);
        d->arena = next;
    }
    ferry__free(d);
}

void ferry_value_free(ferry_value *v)
{
    if (v && ferry__node_is_root(v) && !v->home->immortal && !v->home->owner)
        ferry__document_free(v->home);
}

/* ---- Joining ------------------------------------------------------------------------------------------------------------- */

static void adopt(ferry__document *d, ferry__document *child)
{
    child->owner = d;
    child->prev = NULL;
    child->next = d->adopted;
    if (d->adopted)
        d->adopted->prev = child;
    d->adopted = child;
    if (d->depth < child->depth + 1)
        d->depth = (uint8_t)(child->depth + 1);
}

static void release(ferry__document *d, ferry__document *child)
{
    if (child->prev)
        child->prev->next = child->next;
    else
        d->adopted = child->next;
    if (child->next)
        child->next->prev = child->prev;
    ferry__document_free(child);
}

void ferry__document_drop(ferry__document *d, ferry_value *slot)
{
    bool leaves_room = slot->home == d && (slot->kind == FERRY_TYPE_STRING || slot->kind == FERRY_TYPE_NIL);
    if (slot->home != d)
        release(d, slot->home);
    if (!leaves_room)
        *slot = ferry__node_nil(d);
    slot->kind = FERRY_TYPE_NIL;
}

static bool copied_when_put(const ferry_value *v)
{
    switch (v->kind) {
    case FERRY_TYPE_STRING:
    case FERRY_TYPE_BYTES:
    case FERRY_TYPE_OTHER:
        return v->size < ADOPT_FROM;
    case FERRY_TYPE_LIST:
    case FERRY_TYPE_MAP:
    case FERRY__KIND_RAW:
        return false;
    default:
        return true;
    }
}

/* Room for a string in a nil node: what one before it left, or new. */
static char *room_for(ferry__document *d, const ferry_value *slot, size_t size, uint8_t *spare)
{
    size_t left = (size_t)slot->size + slot->spare;
    *spare = 0;
    if (!slot->as.text || size > left)
        return ferry__document_bytes(d, size + 1);
    *spare = left - size > UINT8_MAX ? UINT8_MAX : (uint8_t)(left - size);
    return (char *)slot->as.text;
}

bool ferry__document_copy_flat(ferry__document *d, ferry_value *slot, const ferry_value *v)
{
    if (v->kind == FERRY_TYPE_NIL)
        return true;
    char *text = NULL;
    uint8_t spare = 0;
    bool has_text = v->kind == FERRY_TYPE_STRING || v->kind == FERRY_TYPE_BYTES || v->kind == FERRY_TYPE_OTHER;
    if (has_text && (text = room_for(d, slot, v->size, &spare)) == NULL)
        return false;
    *slot = *v;
    slot->home = d;
    slot->encoded = false;
    slot->spare = spare;
    if (!has_text)
        return true;
    if (v->size)
        memcpy(text, v->as.text, v->size);
    text[v->size] = '\0';
    slot->as.text = text;
    return true;
}

static const ferry__flaw *cannot_join(const ferry__document *d, const ferry_value *v)
{
    if (!v)
        return &ferry__flaw_memory;
    if (!ferry__node_is_root(v))
        return &not_owned;
    if (v->home == d || v->home->owner)
        return &taken_twice;
    if (v->home->flaw)
        return v->home->flaw;
    return v->home->depth >= FERRY__DEPTH_MAX ? &too_deep : NULL;
}

void ferry__document_take(ferry__document *d, ferry_value *slot, ferry_value *v)
{
    const ferry__flaw *flaw = d->flaw ? d->flaw : cannot_join(d, v);
    if (!flaw && !copied_when_put(v)) {
        adopt(d, v->home);
        *slot = v->home->root;
        return;
    }
    if (!flaw && !ferry__document_copy_flat(d, slot, v))
        flaw = &ferry__flaw_memory;
    if (flaw)
        ferry__document_break(d, flaw);
    if (v && v->home != d)
        ferry_value_free(v);
}
