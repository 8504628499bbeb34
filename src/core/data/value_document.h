/* value_document.h - how values lie in memory. For the value*.c files alone.
 *
 * A value handed out by a constructor is the root of a document: one block with the node, what it holds and what it owns. Nodes inside
 * a list or map are interior: borrowed, constant, never freed by themselves.
 *
 *     document ──root──> items ──> node node node            items: one run of nodes; a map has key, value, key, value …
 *        │  │                        │
 *        │  └─arena: strings, bytes  └─ a container put in later keeps its own document,
 *        └─adopted documents <───────── which is only linked into this one: O(1)
 *
 * Invariants
 * 1. node->home is the document that owns what the node points to. v is a root exactly if v == &v->home->root.
 * 2. Only a root grows, and only while its document is in nobody else (owner == NULL). So one `capacity` a document is enough, and
 *    an interior node never moves while it can be reached but by growth of the run it lies in.
 * 3. Strings and bytes of a decoded document: strings are copied and end in NUL, bytes and ext payloads point into the input.
 * 4. flaw != NULL: the value is broken, for good, and what it joins becomes broken too. The first flaw stays.
 * 5. Immortal documents (out of memory: there is no room to say so) are constant; putting to, freeing and copying them does nothing. */
#ifndef FERRY_DATA_VALUE_DOCUMENT_H
#define FERRY_DATA_VALUE_DOCUMENT_H

#include "data/value.h"

typedef struct ferry__document ferry__document;

/* The kinds of a node: ferry_type, and two that readers see as one of those. */
enum { FERRY__KIND_FLOAT = FERRY_TYPE_OTHER + 1, FERRY__KIND_RAW };

typedef struct ferry__raw ferry__raw;

struct ferry_value {
    ferry__document *home;
    uint8_t          kind;
    int8_t           ext;      /* OTHER: the ext type */
    bool             encoded;  /* ferry_encoded has been asked for it */
    uint8_t          spare;    /* STRING and NIL: bytes behind the string that another one may use, see ferry__document_drop */
    uint32_t         size;     /* bytes, list items or map entries */
    union {
        bool         b;
        int64_t      i;
        uint64_t     u; /* UINT: above INT64_MAX */
        double       d;
        const char  *text;
        ferry_value *items;
        ferry__raw  *raw;
    } as;
};

/* Msgpack given ready-made: written as it is, read through `seen`. */
struct ferry__raw {
    const char *bytes;
    size_t      length;
    size_t      objects;
    ferry_value seen;
};

typedef struct ferry__flaw {
    ferry_status status;
    const char  *text;
} ferry__flaw;
extern const ferry__flaw ferry__flaw_memory, ferry__flaw_big;

typedef struct ferry__chunk ferry__chunk;
struct ferry__chunk {
    ferry__chunk *next;
    char         *at, *end;
};

typedef struct ferry__encoding ferry__encoding;
struct ferry__encoding {
    ferry__encoding   *next; /* a ring */
    const ferry_value *of;
    size_t             length;
    char               bytes[];
};

struct ferry__document {
    ferry_value        root;
    const ferry__flaw *flaw;
    ferry__document   *owner;           /* who adopted it */
    ferry__document   *prev, *next;     /* among the owner's adopted */
    ferry__document   *adopted;
    ferry__chunk      *arena;
    ferry__encoding   *encoded;
    uint32_t          *index;           /* of a large map: hash table of entries */
    uint32_t           capacity;        /* entries that root.as.items has room for */
    uint32_t           index_mask;
    uint8_t            depth;           /* containers nested in it */
    bool               immortal;
    bool               items_apart;     /* root.as.items is a block of its own */
};

static inline bool ferry__node_is_root(const ferry_value *v)
{
    return v == &v->home->root;
}

static inline ferry_value ferry__node_nil(ferry__document *d)
{
    return (ferry_value){.home = d, .kind = FERRY_TYPE_NIL};
}

/* What a reader sees: NULL stays NULL, raw msgpack shows what is in it. */
static inline const ferry_value *ferry__node_see(const ferry_value *v)
{
    return v && v->kind == FERRY__KIND_RAW ? &v->as.raw->seen : v;
}

/* A document whose arena has room for so many nodes and bytes, in the same block; its root is nil. NULL: out of memory. */
ferry__document *ferry__document_new(size_t nodes, size_t bytes);
void             ferry__document_free(ferry__document *d); /* with all that it adopted */
void             ferry__document_break(ferry__document *d, const ferry__flaw *flaw);
/* What a constructor answers when it could not make its value. */
ferry_value     *ferry__document_broken(const ferry__flaw *flaw);
ferry_value     *ferry__document_nodes(ferry__document *d, size_t count); /* from the arena; NULL: out of memory */
char            *ferry__document_bytes(ferry__document *d, size_t count);
/* Moves v, a root, into `slot`, a nil node of d; breaks d if that cannot be. */
void             ferry__document_take(ferry__document *d, ferry_value *slot, ferry_value *v);
/* Makes a node of the root's run nil again. Its string leaves its room for the next one, so that a map whose strings change for ever
 * does not grow for ever. */
void             ferry__document_drop(ferry__document *d, ferry_value *slot);
/* Copies a scalar, string or bytes into a nil node; false: out of memory, and it is still nil. */
bool             ferry__document_copy_flat(ferry__document *d, ferry_value *slot, const ferry_value *v);
void             ferry__document_forget_encodings(ferry__document *d);

/* The value of a string key in a map that is no raw one; if it stands there twice, the last. */
const ferry_value *ferry__map_find(const ferry_value *map, const char *key, size_t length);

#endif
