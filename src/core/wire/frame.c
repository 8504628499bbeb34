/* frame.c - making, sharing and queueing frames. The packed form is in pack.c. */
#include "wire/frame.h"

#include "base/alloc.h"

#include <string.h>

typedef struct cursor {
    char    *data;
    uint32_t at;
} cursor;

static ferry__slice put_bytes(cursor *c, const void *bytes, size_t length)
{
    ferry__slice s = {c->at, (uint32_t)length};
    if (bytes)
        memcpy(c->data + c->at, bytes, length);
    c->data[c->at + length] = '\0';
    c->at += (uint32_t)length + 1;
    return s;
}

static ferry__slice put_text(cursor *c, const char *text)
{
    return text ? put_bytes(c, text, strlen(text)) : (ferry__slice){0, 0};
}

static size_t text_room(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

static size_t room_for(const ferry__parts *p)
{
    return 1 + text_room(p->route) + text_room(p->key) + text_room(p->correlation) + text_room(p->idempotency_key) +
           text_room(p->source) + text_room(p->content_type) + p->headers_length + 1 + p->body_length + 1;
}

ferry__frame *ferry__frame_new(ferry__kind kind, const ferry__parts *p)
{
    size_t room = room_for(p);
    ferry__frame *f = room < UINT32_MAX ? ferry__alloc(sizeof *f + room) : NULL;
    if (!f)
        return NULL;
    memset(f, 0, sizeof *f);
    atomic_init(&f->refs, 1);
    f->kind = (uint8_t)kind;
    f->data = f->inside;
    f->data[0] = '\0'; /* what absent fields point at */
    cursor c = {f->data, 1};
    f->route = put_text(&c, p->route);
    f->key = put_text(&c, p->key);
    f->correlation = put_text(&c, p->correlation);
    f->idempotency_key = put_text(&c, p->idempotency_key);
    f->source = put_text(&c, p->source);
    f->content_type = put_text(&c, p->content_type);
    if (p->headers_length)
        f->headers = put_bytes(&c, p->headers, p->headers_length);
    f->body = put_bytes(&c, p->body, p->body_length);
    return f;
}

ferry__frame *ferry__frame_clone(ferry__frame *f)
{
    ferry__frame *c = ferry__alloc(sizeof *c);
    if (!c)
        return NULL;
    memcpy(c, f, sizeof *c);
    atomic_init(&c->refs, 1);
    c->shared = ferry__frame_ref(f->shared ? f->shared : f);
    c->next = NULL;
    c->owner = NULL;
    c->from = NULL;
    c->tag[0] = c->tag[1] = 0;
    return c;
}

ferry__frame *ferry__frame_ref(ferry__frame *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
    return f;
}

void ferry__frame_unref(ferry__frame *f)
{
    if (!f || atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1)
        return;
    ferry__frame *storage = f->shared; /* a storage is never itself shared: one step, no recursion */
    ferry__free(f);
    if (storage && atomic_fetch_sub_explicit(&storage->refs, 1, memory_order_acq_rel) == 1)
        ferry__free(storage);
}

void ferry__frames_init(ferry__frames *q)
{
    *q = (ferry__frames){.first = NULL, .last = &q->first};
}

void ferry__frames_add(ferry__frames *q, ferry__frame *f)
{
    f->next = NULL;
    *q->last = f;
    q->last = &f->next;
    q->count++;
}

ferry__frame *ferry__frames_take(ferry__frames *q)
{
    ferry__frame *f = q->first;
    if (!f)
        return NULL;
    q->first = f->next;
    if (!q->first)
        q->last = &q->first;
    f->next = NULL;
    q->count--;
    return f;
}

void ferry__frames_join(ferry__frames *to, ferry__frames *from)
{
    if (!from->first)
        return;
    *to->last = from->first;
    to->last = from->last;
    to->count += from->count;
    ferry__frames_init(from);
}

void ferry__frames_drop(ferry__frames *q)
{
    for (ferry__frame *f; (f = ferry__frames_take(q));)
        ferry__frame_unref(f);
}

void ferry__id_print(const ferry__id *id, char to[FERRY__ID_TEXT])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < sizeof id->client; i++) {
        *to++ = digits[id->client[i] >> 4];
        *to++ = digits[id->client[i] & 15];
    }
    *to++ = '-';
    int shift = 60;
    while (shift > 0 && (id->serial >> shift & 15) == 0)
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        *to++ = digits[id->serial >> shift & 15];
    *to = '\0';
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool ferry__id_parse(const char *text, ferry__id *id)
{
    for (size_t i = 0; i < sizeof id->client; i++, text += 2) {
        int high = hex_digit(text[0]), low = high < 0 ? -1 : hex_digit(text[1]);
        if (low < 0)
            return false;
        id->client[i] = (unsigned char)(high << 4 | low);
    }
    if (*text++ != '-' || !*text)
        return false;
    id->serial = 0;
    for (int n = 0; *text; text++, n++) {
        int digit = hex_digit(*text);
        if (digit < 0 || n == 16)
            return false;
        id->serial = id->serial << 4 | (uint64_t)digit;
    }
    return true;
}
