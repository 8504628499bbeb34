/* frame.h - one message with its fields: what transports move.
 *
 * A frame is counted. Its strings and its body lie in one storage, in place or shared with the frame it was cloned from; every string
 * is followed by a NUL, an absent one reads as "". Fields are written by whoever makes the frame and are constant once it was sent,
 * except those in the last group, which belong to the side that holds it: a transport that passes a frame to another handle clones
 * it, so each side has its own. */
#ifndef FERRY_WIRE_FRAME_H
#define FERRY_WIRE_FRAME_H

#include <ferry/ferry.h>
#include <stdatomic.h>

typedef enum ferry__kind {
    FERRY__CALL = 1,
    FERRY__REPLY,
    FERRY__POST,
    FERRY__EVENT,
    FERRY__CONTROL, /* to every member of a service: today only "cancelled", id = the call's */
    FERRY__CHUNK,   /* reserved for streams */
    FERRY__END
} ferry__kind;

/* 128 random bits for the handle, counted up for each message. A reply carries the id of its call, so `client` is also the address
 * that the reply goes to: there is no reply address to forge. */
typedef struct ferry__id {
    unsigned char client[16];
    uint64_t      serial;
} ferry__id;
enum { FERRY__ID_TEXT = 16 * 2 + 1 + 16 + 1 }; /* "<32 hex>-<hex serial>", NUL included */
void ferry__id_print(const ferry__id *id, char to[FERRY__ID_TEXT]);
bool ferry__id_parse(const char *text, ferry__id *id);

typedef struct ferry__slice {
    uint32_t at, length; /* in the storage; {0, 0} = absent */
} ferry__slice;

typedef struct ferry__frame ferry__frame;
struct ferry__source;

struct ferry__frame {
    atomic_uint   refs;
    uint8_t       kind;        /* ferry__kind */
    uint8_t       verb;        /* ferry_verb; 0 for events */
    uint8_t       status;      /* of a reply: ferry_status; OK = the body is data, else a list of errors */
    uint8_t       executed;    /* of a reply: ferry_outcome */
    uint32_t      attempt;     /* deliveries to a handler before this one: 0 when fresh */
    uint32_t      partition;   /* 0: the shared part; 1 … : one of the parts for messages with a key */
    ferry__id     id;
    int64_t       deadline_ms; /* ferry__now_ms() clock; 0: none. On the wire: remaining milliseconds */
    int64_t       time_ms;     /* wall clock, when it was first sent */
    ferry__slice  route, key, correlation, idempotency_key, source /* "name@host:pid" */, content_type;
    ferry__slice  headers;     /* an encoded msgpack map of strings, or absent */
    ferry__slice  body;        /* one encoded msgpack value */
    char         *data;        /* the storage */
    ferry__frame *shared;      /* whose storage it is, counted; NULL: our own */

    ferry__frame         *next;     /* for whoever has it in a list */
    void                 *owner;    /* sent frames: the core's call; received ones: the core's request */
    struct ferry__source *from;     /* received frames: where */
    uint64_t              tag[2];   /* the transport's receipt */
    bool                  maybe;    /* received frames: a server that is gone had it and may have started it */
    atomic_uint           mark;     /* of the storage's frame: for a transport whose two ends share it (mem) */
    char                  inside[]; /* own storage */
};

/* What a new frame is made of; NULL and 0 = absent. */
typedef struct ferry__parts {
    const char *route, *key, *correlation, *idempotency_key, *source, *content_type;
    const void *headers;
    size_t      headers_length;
    const void *body; /* NULL with a length: room is left, to be filled through ferry__frame_body */
    size_t      body_length;
} ferry__parts;
ferry__frame *ferry__frame_new(ferry__kind kind, const ferry__parts *parts); /* one reference; NULL: out of memory */
ferry__frame *ferry__frame_clone(ferry__frame *f);                          /* own fields, shared storage */
ferry__frame *ferry__frame_ref(ferry__frame *f);
void          ferry__frame_unref(ferry__frame *f); /* NULL is fine */

static inline const char *ferry__frame_text(const ferry__frame *f, ferry__slice s)
{
    return f->data + s.at;
}

static inline void *ferry__frame_body(ferry__frame *f)
{
    return f->data + f->body.at;
}

/* Bytes in a queue, for limits. */
static inline size_t ferry__frame_size(const ferry__frame *f)
{
    return sizeof *f + f->body.at + f->body.length;
}

/* The whole frame in one run of bytes, for transports without fields of their own (docs/wire.md has the format). */
size_t        ferry__frame_packed(const ferry__frame *f);         /* bytes needed */
void          ferry__frame_pack(const ferry__frame *f, void *to); /* deadline as absolute milliseconds of the machine's monotonic clock */
ferry__frame *ferry__frame_unpack(const void *data, size_t length, ferry_status *why); /* NULL: PROTOCOL or NO_MEMORY */

/* A queue of frames through `next`. */
typedef struct ferry__frames {
    ferry__frame *first, **last;
    size_t        count;
} ferry__frames;
void          ferry__frames_init(ferry__frames *q);
void          ferry__frames_add(ferry__frames *q, ferry__frame *f);
ferry__frame *ferry__frames_take(ferry__frames *q);
void          ferry__frames_join(ferry__frames *to, ferry__frames *from); /* all of from, behind the end */
void          ferry__frames_drop(ferry__frames *q);                       /* unref all */

#endif
