#include "backends/kafka/wire.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/text.h"
#include "data/value.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEADLINE_AT = 32, TIME_AT = 40 /* in a packed frame, pack.c */ };

static const struct {
    const char *name;
    ferry_verb verb;
} verbs[] = {
    {"get", FERRY_GET}, {"put", FERRY_PUT}, {"patch", FERRY_PATCH}, {"post", FERRY_POST}, {"delete", FERRY_DELETE}};
enum { VERBS = sizeof verbs / sizeof *verbs };
#define EVENT "event" /* in the place of the verb */
#define HEAD  "ferry"

int64_t ferry__wire_mark(const rd_kafka_message_t *m)
{
    char text[24] = "";
    if (m->key_len != strlen(FERRY__WIRE_MARK) || memcmp(m->key, FERRY__WIRE_MARK, m->key_len) != 0)
        return -1;
    if (!m->payload || m->len == 0 || m->len >= sizeof text)
        return -1;
    memcpy(text, m->payload, m->len);
    return text[0] >= '0' && text[0] <= '9' ? strtoll(text, NULL, 10) : -1;
}

/* ---- calls and answers ---- */

size_t ferry__wire_packed(const ferry__frame *f)
{
    return ferry__frame_packed(f);
}

void ferry__wire_pack(const ferry__frame *f, void *to)
{
    unsigned char *at = (unsigned char *)to + DEADLINE_AT;
    ferry__frame_pack(f, to);
    int64_t left = f->deadline_ms ? f->deadline_ms - ferry__now_ms() + ferry__wall_ms() - f->time_ms : 0;
    uint64_t bits = (uint64_t)(left > 0 ? left : f->deadline_ms ? 1 : 0);
    for (int i = 0; i < 8; i++)
        at[i] = (unsigned char)(bits >> (8 * i));
}

int64_t ferry__wire_time(const rd_kafka_message_t *m)
{
    const unsigned char *at = (const unsigned char *)m->payload + TIME_AT;
    uint64_t time_ms = 0;
    if (!m->payload || m->len < TIME_AT + 8)
        return INT64_MAX;
    for (int i = 7; i >= 0; i--)
        time_ms = time_ms << 8 | at[i];
    return (int64_t)time_ms;
}

/* From the message's own time on, rounded up: two clocks were cut to milliseconds, and what is late by less than one must not run. */
static int64_t age_ms(const ferry__frame *f)
{
    int64_t age = ferry__wall_ms() - f->time_ms;
    return age < 0 ? 0 : age + 1;
}

static ferry__frame *unpack(const rd_kafka_message_t *m, int64_t now_ms, ferry_status *why)
{
    ferry__frame *f = m->payload ? ferry__frame_unpack(m->payload, m->len, why) : NULL;
    if (!f)
        return NULL;
    if (f->deadline_ms > 0) {
        int64_t left = f->deadline_ms > INT32_MAX ? INT32_MAX : f->deadline_ms;
        f->deadline_ms = now_ms + left - age_ms(f);
        f->deadline_ms = f->deadline_ms > 0 ? f->deadline_ms : 1;
    }
    return f;
}

ferry__frame *ferry__wire_reply(const rd_kafka_message_t *m)
{
    ferry_status why;
    ferry__frame *f = unpack(m, 0, &why);
    if (f && f->kind == FERRY__REPLY)
        return f;
    ferry__frame_unref(f);
    return NULL;
}

/* ---- posts ---- */

static void add(ferry__wire_post *p, const char *name, const void *value, size_t length)
{
    rd_kafka_vu_t *v = &p->fields[p->count++];
    v->vtype = RD_KAFKA_VTYPE_HEADER;
    v->u.header.name = name;
    v->u.header.val = value;
    v->u.header.size = (ssize_t)length;
}

static void add_slice(ferry__wire_post *p, const char *name, const ferry__frame *f, ferry__slice s)
{
    if (s.at)
        add(p, name, f->data + s.at, s.length);
}

static void add_number(ferry__wire_post *p, const char *name, int64_t value)
{
    char *text = p->numbers[p->used++];
    if (value)
        add(p, name, text, (size_t)snprintf(text, sizeof p->numbers[0], "%" PRId64, value));
}

/* Names that are ours, or that mean something to the readers of CloudEvents. */
static bool reserved(const char *name)
{
    return strncmp(name, HEAD, 5) == 0 || strncmp(name, "ce_", 3) == 0 || strcmp(name, "content-type") == 0;
}

static bool plain(const ferry_value *program)
{
    for (size_t i = 0; i < ferry_count(program); i++) {
        const char *name = ferry_as_string(ferry_key_at(program, i), NULL);
        if (!name || !*name || reserved(name) || !ferry_as_string(ferry_at(program, i), NULL))
            return false;
    }
    return ferry_count(program) <= FERRY__WIRE_PROGRAM;
}

/* The program's own headers under their names; where one of these would be mistaken for ours, all of them as they are encoded. */
static void add_program(ferry__wire_post *p, const ferry__frame *f)
{
    p->program = NULL;
    if (!f->headers.at)
        return;
    ferry_status status = ferry__value_decode(ferry__frame_text(f, f->headers), f->headers.length, &p->program, NULL);
    if (status != FERRY_OK || !plain(p->program)) {
        add_slice(p, "ferry-headers", f, f->headers);
        return;
    }
    for (size_t i = 0; i < ferry_count(p->program); i++) {
        const char *value = ferry_as_string(ferry_at(p->program, i), "");
        add(p, ferry_as_string(ferry_key_at(p->program, i), ""), value, strlen(value));
    }
}

void ferry__wire_headers_done(ferry__wire_post *p)
{
    ferry_value_free(p->program);
    p->program = NULL;
}

static char *put(char *to, const char *text, size_t length)
{
    memcpy(to, text, length);
    to[length] = ' ';
    return to + length + 1;
}

static size_t print_number(uint32_t n, char to[12])
{
    char text[12];
    size_t length = 0, at = sizeof text;
    do {
        text[--at] = (char)('0' + n % 10);
        length++;
    } while ((n /= 10) > 0);
    memcpy(to, text + at, length);
    return length;
}

/* A header is three allocations of librdkafka's here and three there, and there are many events: what each of them has goes in one,
 * "ID TYPE PART SOURCE". False: too long. */
static bool add_head(ferry__wire_post *p, const ferry__frame *f)
{
    char part[12], *to = p->head;
    size_t id = strlen(p->id), length = print_number(f->partition, part);
    if (id + f->route.length + length + f->source.length + 4 > sizeof p->head)
        return false;
    to = put(to, p->id, id);
    to = put(to, ferry__frame_text(f, f->route), f->route.length);
    to = put(to, part, length);
    to = put(to, ferry__frame_text(f, f->source), f->source.length);
    add(p, HEAD, p->head, (size_t)(to - p->head - 1));
    return true;
}

static void add_fields(ferry__wire_post *p, const ferry__frame *f)
{
    const char *type = ferry__frame_text(f, f->content_type);
    type = *type ? type : "application/msgpack";
    add(p, "content-type", type, strlen(type));
    add(p, "ce_specversion", "1.0", 3);
    add(p, "ce_id", p->id, strlen(p->id));
    add_slice(p, "ce_type", f, f->route);
    add_slice(p, "ce_source", f, f->source);
    add_number(p, "ferry-partition", f->partition);
}

static const char *verb_name(const ferry__frame *f)
{
    for (size_t i = 0; i < VERBS; i++)
        if (verbs[i].verb == (ferry_verb)f->verb)
            return verbs[i].name;
    return f->kind == FERRY__EVENT ? EVENT : "post";
}

void ferry__wire_headers(ferry__wire_post *p, const ferry__frame *f, int64_t due_ms, bool stored)
{
    const char *verb = verb_name(f);
    p->count = p->used = 0;
    ferry__id_print(&f->id, p->id);
    stored = stored && f->time_ms > 0 && add_head(p, f);
    if (!stored) {
        add_fields(p, f);
        add(p, "ferry-verb", verb, strlen(verb));
        add_number(p, "ferry-time", f->time_ms);
    } else
        add_slice(p, "content-type", f, f->content_type);
    add_slice(p, "ferry-correlation", f, f->correlation);
    add_slice(p, "ferry-idempotency-key", f, f->idempotency_key);
    add_program(p, f);
    add_number(p, "ferry-attempt", f->attempt);
    add_number(p, "ferry-due", due_ms);
}

/* The headers that are ours; librdkafka puts a NUL behind each value. NULL: not there. */
typedef struct fields {
    const char *content_type, *id, *type, *source;
    const char *verb, *time, *correlation, *idempotency_key, *headers, *partition, *attempt, *due;
    size_t headers_length;
    bool others;
    char head[FERRY__WIRE_HEAD]; /* the one header of a stored event, cut into fields */
} fields;

static char *cut(char **rest)
{
    char *at = *rest, *space = at ? strchr(at, ' ') : NULL;
    if (space)
        *space = '\0';
    *rest = space ? space + 1 : NULL;
    return at;
}

static void read_head(fields *f, const char *value, size_t size)
{
    if (size >= sizeof f->head)
        return;
    memcpy(f->head, value, size);
    f->head[size] = '\0';
    char *rest = f->head;
    f->id = cut(&rest);
    f->type = cut(&rest);
    f->partition = cut(&rest);
    f->source = rest;
}

static const char **field_of(fields *f, const char *name)
{
    const struct {
        const char *name;
        const char **to;
    } all[] = {{"ce_id", &f->id},
               {"ce_type", &f->type},
               {"ce_source", &f->source},
               {"content-type", &f->content_type},
               {"ferry-correlation", &f->correlation},
               {"ferry-partition", &f->partition},
               {"ferry-verb", &f->verb},
               {"ferry-time", &f->time},
               {"ferry-idempotency-key", &f->idempotency_key},
               {"ferry-headers", &f->headers},
               {"ferry-attempt", &f->attempt},
               {"ferry-due", &f->due}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(all[i].name, name) == 0)
            return all[i].to;
    return NULL;
}

static void read_fields(fields *f, const rd_kafka_headers_t *h)
{
    const char *name;
    const void *value;
    size_t size;
    memset(f, 0, offsetof(fields, head));
    for (size_t i = 0; h && rd_kafka_header_get_all(h, i, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR; i++) {
        bool own = reserved(name);
        f->others = f->others || !own;
        if (own && strcmp(name, HEAD) == 0) {
            read_head(f, value, value ? size : 0);
            continue;
        }
        const char **to = own ? field_of(f, name) : NULL;
        if (to)
            *to = value;
        if (to == &f->headers)
            f->headers_length = size;
    }
}

static int64_t number(const char *value)
{
    int64_t n = 0;
    for (; value && *value >= '0' && *value <= '9' && n < INT64_MAX / 20; value++)
        n = n * 10 + (*value - '0');
    return n;
}

static const char *clean(const char *value)
{
    return value && *value ? value : NULL;
}

/* What others may have written among our headers as well. */
static ferry_value *program_of(const rd_kafka_headers_t *h)
{
    ferry_value *program = NULL;
    const char *name;
    const void *value;
    size_t size;
    for (size_t i = 0; h && rd_kafka_header_get_all(h, i, &name, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR; i++) {
        if (reserved(name) || !value || !ferry__text_utf8(value, size) || memchr(value, 0, size))
            continue;
        if (!program)
            program = ferry_new_map();
        if (ferry_count(program) < FERRY__WIRE_PROGRAM)
            ferry_map_put(program, name, ferry_string(value, size));
    }
    return program;
}

/* Encoded; false: no memory. `to` is the caller's to free. */
static bool encode_program(const rd_kafka_headers_t *h, ferry__parts *parts, void **to)
{
    ferry_value *program = program_of(h);
    size_t length = 0;
    bool good = !program || ferry__value_measure(program, SIZE_MAX / 4, &length) == FERRY_OK;
    *to = good && length ? ferry__alloc(length) : NULL;
    good = good && (!length || *to);
    if (*to) {
        ferry__value_write(program, *to);
        parts->headers = *to;
        parts->headers_length = length;
    }
    ferry_value_free(program);
    return good;
}

static void read_verb(ferry__frame *f, const char *name)
{
    f->verb = FERRY_POST;
    if (name && strcmp(name, EVENT) == 0) {
        f->kind = FERRY__EVENT;
        f->verb = 0;
    }
    for (size_t i = 0; name && i < VERBS; i++)
        if (strcmp(verbs[i].name, name) == 0)
            f->verb = (uint8_t)verbs[i].verb;
}

static int64_t time_of(const rd_kafka_message_t *m, const fields *f)
{
    rd_kafka_timestamp_type_t type;
    int64_t at = f->time ? number(f->time) : rd_kafka_message_timestamp(m, &type);
    return at > 0 ? at : 0;
}

static ferry__frame *make_post(const rd_kafka_message_t *m, const rd_kafka_headers_t *h, const fields *own)
{
    char key[256];
    void *program = NULL;
    ferry__parts parts = {.route = own->type,
                          .correlation = clean(own->correlation),
                          .idempotency_key = clean(own->idempotency_key),
                          .source = clean(own->source),
                          .content_type = clean(own->content_type),
                          .headers = own->headers,
                          .headers_length = own->headers_length,
                          .body = m->payload ? m->payload : "",
                          .body_length = m->payload ? m->len : 0};
    if (parts.content_type && strcmp(parts.content_type, "application/msgpack") == 0)
        parts.content_type = NULL;
    if (m->key && m->key_len > 0 && m->key_len < sizeof key && !memchr(m->key, 0, m->key_len)) {
        memcpy(key, m->key, m->key_len);
        key[m->key_len] = '\0';
        parts.key = key;
    }
    bool good = parts.headers || !own->others || encode_program(h, &parts, &program);
    ferry__frame *f = good ? ferry__frame_new(FERRY__POST, &parts) : NULL;
    ferry__free(program);
    return f;
}

static ferry__frame *read_post(const rd_kafka_message_t *m, int64_t *due_ms, ferry_status *why)
{
    rd_kafka_headers_t *h = NULL;
    fields own;
    ferry__id id;
    rd_kafka_message_headers(m, &h);
    read_fields(&own, h);
    if (!clean(own.type) || !own.id || !ferry__id_parse(own.id, &id))
        return NULL;
    ferry__frame *f = make_post(m, h, &own);
    if (!f) {
        *why = FERRY_NO_MEMORY;
        return NULL;
    }
    f->id = id;
    read_verb(f, own.verb);
    f->time_ms = time_of(m, &own);
    f->attempt = (uint32_t)number(own.attempt);
    f->partition = (uint32_t)number(own.partition);
    *due_ms = number(own.due);
    return f;
}

ferry__frame *ferry__wire_request(const rd_kafka_message_t *m, bool call, int64_t now_ms, int64_t *due_ms,
                                  ferry_status *why)
{
    *why = FERRY_PROTOCOL;
    if (!call)
        return read_post(m, due_ms, why);
    ferry__frame *f = unpack(m, now_ms, why);
    if (f && f->kind == FERRY__CALL)
        return f;
    ferry__frame_unref(f);
    return NULL;
}
