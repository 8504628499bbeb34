/* pack.c - a frame as one run of bytes, for transports without fields of their own (file).
 *
 * A fixed head, then fields, each a tag, a length (LEB128) and bytes; the body is the last. Integers are little-endian.
 *
 *     0  0xfe 'f'   2  major, minor   4  kind, verb, status, executed   8  client (16)   24  serial (8)
 *     32 deadline (8, absolute monotonic ms)   40 time (8, wall ms)   48 attempt (4)   52 partition (4)   56 fields
 *
 * A reader ignores tags that it does not know and refuses another major version. Nothing here is trusted: the lengths are checked
 * against what is left before they are used. */
#include "wire/frame.h"

#include <string.h>

enum { HEAD = 56, MAJOR = 1, MINOR = 0 };
enum { ROUTE = 1, KEY, CORRELATION, IDEMPOTENCY, SOURCE, CONTENT_TYPE, HEADERS, BODY, TAGS };

static ferry__slice *field(ferry__frame *f, unsigned tag)
{
    ferry__slice *fields[TAGS] = {NULL,       &f->route,        &f->key,     &f->correlation, &f->idempotency_key,
                                  &f->source, &f->content_type, &f->headers, &f->body};
    return tag < TAGS ? fields[tag] : NULL;
}

static void put64(unsigned char *to, uint64_t x)
{
    for (int i = 0; i < 8; i++)
        to[i] = (unsigned char)(x >> (8 * i));
}

static uint64_t get64(const unsigned char *at)
{
    uint64_t x = 0;
    for (int i = 7; i >= 0; i--)
        x = x << 8 | at[i];
    return x;
}

static size_t length_bytes(size_t n)
{
    size_t bytes = 1;
    while (n >>= 7)
        bytes++;
    return bytes;
}

size_t ferry__frame_packed(const ferry__frame *f)
{
    size_t sum = HEAD;
    for (unsigned tag = 1; tag < TAGS; tag++) {
        ferry__slice s = *field((ferry__frame *)f, tag);
        if (s.at)
            sum += 1 + length_bytes(s.length) + s.length;
    }
    return sum;
}

static unsigned char *put_field(unsigned char *to, unsigned tag, const void *bytes, size_t length)
{
    *to++ = (unsigned char)tag;
    size_t n = length;
    do {
        *to++ = (unsigned char)((n & 0x7f) | (n > 0x7f ? 0x80 : 0));
    } while (n >>= 7);
    memcpy(to, bytes, length);
    return to + length;
}

void ferry__frame_pack(const ferry__frame *f, void *bytes)
{
    unsigned char *to = bytes;
    const unsigned char head[8] = {0xfe, 'f', MAJOR, MINOR, f->kind, f->verb, f->status, f->executed};
    memcpy(to, head, sizeof head);
    memcpy(to + 8, f->id.client, 16);
    put64(to + 24, f->id.serial);
    put64(to + 32, (uint64_t)f->deadline_ms);
    put64(to + 40, (uint64_t)f->time_ms);
    put64(to + 48, (uint64_t)f->attempt | (uint64_t)f->partition << 32);
    to += HEAD;
    for (unsigned tag = 1; tag < TAGS; tag++) {
        ferry__slice s = *field((ferry__frame *)f, tag);
        if (s.at)
            to = put_field(to, tag, f->data + s.at, s.length);
    }
}

typedef struct reader {
    const unsigned char *at;
    size_t               left;
    unsigned             tag;
    const void          *bytes;
    size_t               length;
} reader;

static bool next_length(reader *r)
{
    r->length = 0;
    for (unsigned shift = 0; shift < 35 && r->left; shift += 7) {
        unsigned char b = *r->at++;
        r->left--;
        r->length |= (size_t)(b & 0x7f) << shift;
        if (!(b & 0x80))
            return r->length <= r->left;
    }
    return false;
}

static bool next_field(reader *r)
{
    r->tag = *r->at++;
    r->left--;
    if (!next_length(r))
        return false;
    r->bytes = r->at;
    r->at += r->length;
    r->left -= r->length;
    return true;
}

static bool known_numbers(const unsigned char *at)
{
    return at[0] == 0xfe && at[1] == 'f' && at[2] == MAJOR && at[4] >= FERRY__CALL && at[4] <= FERRY__CONTROL &&
           at[6] <= FERRY_INTERNAL && at[7] <= FERRY_OUTCOME_EXECUTED;
}

static void read_head(ferry__frame *f, const unsigned char *at)
{
    f->verb = at[5];
    f->status = at[6];
    f->executed = at[7];
    memcpy(f->id.client, at + 8, 16);
    f->id.serial = get64(at + 24);
    f->deadline_ms = (int64_t)get64(at + 32);
    f->time_ms = (int64_t)get64(at + 40);
    f->attempt = (uint32_t)get64(at + 48);
    f->partition = (uint32_t)(get64(at + 48) >> 32);
}

/* Copies the run of fields as it is and points into it: the byte behind a field becomes its NUL once the next tag was read. */
ferry__frame *ferry__frame_unpack(const void *data, size_t length, ferry_status *why)
{
    const unsigned char *at = data;
    *why = FERRY_PROTOCOL;
    if (length < HEAD || !known_numbers(at))
        return NULL;
    ferry__frame *f = ferry__frame_new(at[4], &(ferry__parts){.body = at + HEAD, .body_length = length - HEAD});
    if (!f) {
        *why = FERRY_NO_MEMORY;
        return NULL;
    }
    read_head(f, at);
    reader r = {.at = ferry__frame_body(f), .left = length - HEAD};
    f->body = (ferry__slice){0, 0};
    while (r.left) {
        char *end_of_last = (char *)(uintptr_t)r.at;
        bool good = next_field(&r);
        if (end_of_last != f->inside + 1)
            *end_of_last = '\0';
        if (!good) {
            ferry__frame_unref(f);
            return NULL;
        }
        ferry__slice *s = field(f, r.tag);
        if (s)
            *s = (ferry__slice){(uint32_t)((const char *)r.bytes - f->data), (uint32_t)r.length};
    }
    *why = FERRY_OK;
    return f;
}
