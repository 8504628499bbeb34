#include "backends/amqp/codec.h"

#include <string.h>

enum {
    HEAD = 7, /* type, channel, length */
    FRAMING = HEAD + 1,
    END = 0xCE,
    METHOD_MOST = 16384, /* of one method with its tables; ours are far below */
    DEEP = 16            /* tables in tables: rabbitmq-c recurses without a limit */
};

/* ---- open and done -------------------------------------------------------------------------------------------------- */

bool ferry__amqp_codec_open(ferry__amqp_codec *c, ferry__stream *stream)
{
    static const char hello[8] = {'A', 'M', 'Q', 'P', 0, 0, 9, 1};
    c->stream = stream;
    c->frame_max = FERRY__AMQP_FRAME_MAX;
    c->state = amqp_new_connection();
    return c->state && ferry__stream_add(stream, hello, sizeof hello);
}

void ferry__amqp_codec_done(ferry__amqp_codec *c)
{
    if (c->state)
        amqp_destroy_connection(c->state);
    c->state = NULL;
    c->stream = NULL;
}

bool ferry__amqp_codec_tune(ferry__amqp_codec *c, size_t frame_max)
{
    c->frame_max = frame_max;
    return amqp_tune_connection(c->state, 0, (int)frame_max, 0) == AMQP_STATUS_OK;
}

/* ---- reading -------------------------------------------------------------------------------------------------------- */

static uint32_t get32(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

typedef struct bytes {
    const unsigned char *at;
    size_t               left;
} bytes;

static bool skip(bytes *b, size_t n)
{
    if (b->left < n)
        return false;
    b->at += n;
    b->left -= n;
    return true;
}

static bool skip_short(bytes *b)
{
    return b->left && skip(b, 1u + b->at[0]);
}

static bool skip_long(bytes *b)
{
    return b->left >= 4 && skip(b, 4 + (size_t)get32(b->at));
}

static size_t size_of(unsigned char kind)
{
    switch (kind) {
    case 't':
    case 'b':
    case 'B':
        return 1;
    case 's':
    case 'u':
        return 2;
    case 'I':
    case 'i':
    case 'f':
        return 4;
    case 'l':
    case 'L':
    case 'd':
    case 'T':
        return 8;
    case 'D':
        return 5;
    default:
        return 0;
    }
}

/* How deep do the tables and arrays of this field table go? One pass, no recursion: `end` is where each open one ends. */
static bool table_sane(bytes b)
{
    const unsigned char *end[DEEP];
    bool array[DEEP];
    int depth = 0;
    if (b.left < 4 || b.left - 4 < get32(b.at))
        return false;
    end[0] = b.at + 4 + get32(b.at);
    array[0] = false;
    skip(&b, 4);
    while (depth >= 0) {
        if (b.at >= end[depth]) {
            if (b.at > end[depth])
                return false;
            depth--;
            continue;
        }
        if (!array[depth] && !skip_short(&b))
            return false;
        if (!b.left)
            return false;
        unsigned char kind = *b.at;
        skip(&b, 1);
        if (kind == 'F' || kind == 'A') {
            if (b.left < 4 || b.left - 4 < get32(b.at) || ++depth == DEEP)
                return false;
            end[depth] = b.at + 4 + get32(b.at);
            array[depth] = kind == 'A';
            skip(&b, 4);
        } else if (!(kind == 'S' || kind == 'x' ? skip_long(&b)
                                                : kind == 'V' || (size_of(kind) && skip(&b, size_of(kind)))))
            return false;
    }
    return true;
}

/* A content header whose table is malformed or nested too deep would make the decoder recurse until the stack is gone. */
static bool header_sane(bytes b)
{
    enum { TYPE = 1 << 15, ENCODING = 1 << 14, HEADERS = 1 << 13 };
    if (b.left < 14)
        return false;
    unsigned flags = (unsigned)b.at[12] << 8 | b.at[13];
    skip(&b, 14);
    if ((flags & TYPE) && !skip_short(&b))
        return false;
    if ((flags & ENCODING) && !skip_short(&b))
        return false;
    return !(flags & HEADERS) || table_sane(b);
}

static int refuse(char *why, const char *text)
{
    ferry__why(why, "%s", text);
    return -1;
}

int ferry__amqp_codec_next(ferry__amqp_codec *c, amqp_frame_t *frame, char *why)
{
    size_t have;
    const unsigned char *in = (const void *)ferry__stream_in(c->stream, &have);
    if (have < HEAD)
        return have >= 4 && memcmp(in, "AMQP", 4) == 0 ? refuse(why, "the broker does not speak AMQP 0-9-1") : 0;
    if (memcmp(in, "AMQP", 4) == 0)
        return refuse(why, "the broker does not speak AMQP 0-9-1");
    size_t length = get32(in + 3);
    if (in[0] != AMQP_FRAME_METHOD && in[0] != AMQP_FRAME_HEADER && in[0] != AMQP_FRAME_BODY &&
        in[0] != AMQP_FRAME_HEARTBEAT)
        return refuse(why, "what came from the broker is not AMQP: is that its AMQP port?");
    if (length > c->frame_max - FRAMING)
        return refuse(why, "a frame of the broker is larger than was agreed");
    if (have < length + FRAMING)
        return 0;
    if (in[HEAD + length] != END)
        return refuse(why, "a frame of the broker has no end mark");
    if (in[0] == AMQP_FRAME_HEADER && !header_sane((bytes){in + HEAD, length}))
        return refuse(why, "a message has malformed properties");
    frame->frame_type = 0;
    int used = amqp_handle_input(c->state, ferry__amqp_bytes(in, length + FRAMING), frame);
    if (used != (int)(length + FRAMING) || frame->frame_type == 0) {
        ferry__why(why, "a frame of the broker is malformed: %s",
                   used < 0 ? amqp_error_string2(used) : "its length is wrong");
        return -1;
    }
    ferry__stream_eat(c->stream, length + FRAMING);
    return 1;
}

void ferry__amqp_codec_release(ferry__amqp_codec *c)
{
    amqp_maybe_release_buffers(c->state);
}

/* ---- writing -------------------------------------------------------------------------------------------------------- */

static void put16(unsigned char *to, unsigned x)
{
    to[0] = (unsigned char)(x >> 8);
    to[1] = (unsigned char)x;
}

static void put32(unsigned char *to, uint32_t x)
{
    put16(to, x >> 16);
    put16(to + 2, x & 0xffff);
}

/* Around a payload that stands at to + HEAD already. Answers where the next frame goes. */
static unsigned char *frame_it(unsigned char *to, uint8_t type, amqp_channel_t channel, size_t length)
{
    to[0] = type;
    put16(to + 1, channel);
    put32(to + 3, (uint32_t)length);
    to[HEAD + length] = END;
    return to + length + FRAMING;
}

static unsigned char *put_method(unsigned char *to, size_t room, amqp_channel_t channel, amqp_method_number_t id,
                                 void *decoded)
{
    put32(to + HEAD, id);
    int length = amqp_encode_method(id, decoded, ferry__amqp_bytes(to + HEAD + 4, room - FRAMING - 4));
    return length < 0 ? NULL : frame_it(to, AMQP_FRAME_METHOD, channel, (size_t)length + 4);
}

bool ferry__amqp_put(ferry__amqp_codec *c, amqp_channel_t channel, amqp_method_number_t method, void *decoded)
{
    unsigned char *to = ferry__stream_room(c->stream, METHOD_MOST);
    unsigned char *end = to ? put_method(to, METHOD_MOST, channel, method, decoded) : NULL;
    if (end)
        ferry__stream_wrote(c->stream, (size_t)(end - to));
    return end != NULL;
}

bool ferry__amqp_put_beat(ferry__amqp_codec *c)
{
    static const unsigned char beat[FRAMING] = {AMQP_FRAME_HEARTBEAT, 0, 0, 0, 0, 0, 0, END};
    return ferry__stream_add(c->stream, beat, sizeof beat);
}

static size_t properties_room(const amqp_basic_properties_t *p)
{
    size_t sum = 256 + p->content_type.len + p->correlation_id.len + p->reply_to.len + p->expiration.len +
                 p->message_id.len + p->type.len + p->app_id.len;
    for (int i = 0; i < p->headers.num_entries; i++) {
        const amqp_table_entry_t *e = &p->headers.entries[i];
        bool text = e->value.kind == AMQP_FIELD_KIND_UTF8 || e->value.kind == AMQP_FIELD_KIND_BYTES;
        sum += 16 + e->key.len + (text ? e->value.value.bytes.len : 0);
    }
    return sum;
}

static unsigned char *put_properties(unsigned char *to, size_t room, const ferry__amqp_letter *l)
{
    unsigned char *at = to + HEAD;
    put16(at, AMQP_BASIC_CLASS);
    put16(at + 2, 0);
    put32(at + 4, (uint32_t)((uint64_t)l->length >> 32));
    put32(at + 8, (uint32_t)l->length);
    int length =
        amqp_encode_properties(AMQP_BASIC_CLASS, l->properties, ferry__amqp_bytes(at + 12, room - FRAMING - 12));
    return length < 0 ? NULL : frame_it(to, AMQP_FRAME_HEADER, l->channel, (size_t)length + 12);
}

static unsigned char *put_body(unsigned char *to, const ferry__amqp_letter *l, size_t most)
{
    for (size_t done = 0; done < l->length;) {
        size_t n = l->length - done < most ? l->length - done : most;
        memcpy(to + HEAD, (const char *)l->body + done, n);
        to = frame_it(to, AMQP_FRAME_BODY, l->channel, n);
        done += n;
    }
    return to;
}

ferry_status ferry__amqp_put_letter(ferry__amqp_codec *c, const ferry__amqp_letter *l)
{
    amqp_basic_publish_t m = {
        .exchange = ferry__amqp_text(l->exchange), .routing_key = ferry__amqp_text(l->key), .mandatory = l->mandatory};
    size_t method = FRAMING + 4 + 8 + m.exchange.len + m.routing_key.len,
           properties = FRAMING + properties_room(l->properties);
    size_t most = c->frame_max - FRAMING, body = l->length + FRAMING * (l->length / most + 1);
    if (properties > c->frame_max || m.routing_key.len > 255)
        return FERRY_TOO_BIG;
    unsigned char *to = ferry__stream_room(c->stream, method + properties + body);
    if (!to)
        return FERRY_OVERLOADED;
    unsigned char *at = put_method(to, method, l->channel, AMQP_BASIC_PUBLISH_METHOD, &m);
    at = at ? put_properties(at, properties, l) : NULL;
    if (!at)
        return FERRY_TOO_BIG;
    ferry__stream_wrote(c->stream, (size_t)(put_body(at, l, most) - to));
    return FERRY_OK;
}
