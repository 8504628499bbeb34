#include "backends/amqp/fields.h"

#include "base/random.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Headers of ours. Those of the program stand beside them under their own names; if one of its names would collide with ours or with
 * one that the broker heeds (CC, BCC, x-…), all of its headers travel as they are encoded, in HEADERS. */
static const char VERB[] = "ferry-verb", KEY[] = "ferry-key", CORRELATION[] = "ferry-correlation",
                  IDEMPOTENCY[] = "ferry-idempotency-key", ATTEMPT[] = "ferry-attempt", STATUS[] = "ferry-status",
                  OUTCOME[] = "ferry-outcome", MAYBE[] = "ferry-maybe", UNTIL[] = "ferry-until",
                  HEADERS[] = "ferry-headers", TIME[] = "ferry-time";
static const char EVENT[] = "event"; /* the verb of what was published */
static const char MSGPACK[] = "application/msgpack";

enum {
    SHORT = 255,       /* bytes in a short string of AMQP */
    TRANSIT_MS = 10000 /* from the broker to here, at most, when this machine has much else to do */
};

/* ---- deadlines ------------------------------------------------------------------------------------------------------ */

/* A deadline travels as remaining milliseconds, and the broker does not say how long a message stood in its queue. Between processes of
 * one machine the moment itself is better: its clock is theirs too, and this says whose clock it is. */
static char boot[9];

static void read_boot(void)
{
    char text[40] = "";
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && read(fd, text, sizeof text - 1) >= 8)
        memcpy(boot, text, 8);
    if (fd >= 0)
        close(fd);
}

static const char *this_boot(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, read_boot);
    return boot;
}

/* ---- verbs ---------------------------------------------------------------------------------------------------------- */

static const char *const verbs[] = {"get", "put", "patch", "post", "delete"};

static const char *verb_name(unsigned verb)
{
    for (unsigned i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (verb == (unsigned)FERRY_GET << i)
            return verbs[i];
    return "";
}

static uint8_t verb_of(amqp_bytes_t name)
{
    for (unsigned i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (strlen(verbs[i]) == name.len && memcmp(verbs[i], name.bytes, name.len) == 0)
            return (uint8_t)((unsigned)FERRY_GET << i);
    return 0;
}

/* ---- the program's headers: a msgpack map of strings ---------------------------------------------------------------- */

typedef struct map {
    const unsigned char *at;
    size_t               left;
} map;

static size_t big_endian(const unsigned char *at, size_t n)
{
    size_t x = 0;
    while (n--)
        x = x << 8 | *at++;
    return x;
}

static bool take_count(map *m, size_t bytes, size_t *n)
{
    if (m->left < 1 + bytes)
        return false;
    *n = big_endian(m->at + 1, bytes);
    m->at += 1 + bytes;
    m->left -= 1 + bytes;
    return true;
}

static bool take_map(map *m, size_t *pairs)
{
    unsigned head = m->left ? m->at[0] : 0;
    if (head == 0xde || head == 0xdf)
        return take_count(m, head == 0xde ? 2 : 4, pairs);
    if ((head & 0xf0) != 0x80)
        return false;
    *pairs = head & 15;
    size_t none;
    return take_count(m, 0, &none);
}

static bool take_text(map *m, amqp_bytes_t *text)
{
    unsigned head = m->left ? m->at[0] : 0;
    size_t n = head & 31, bytes = head == 0xd9 ? 1 : head == 0xda ? 2 : head == 0xdb ? 4 : 0, none;
    if (!bytes && (head & 0xe0) != 0xa0)
        return false;
    if (!take_count(m, bytes, bytes ? &n : &none) || m->left < n)
        return false;
    *text = ferry__amqp_bytes(m->at, n);
    m->at += n;
    m->left -= n;
    return true;
}

static bool starts(amqp_bytes_t name, const char *with)
{
    size_t n = strlen(with);
    return name.len >= n && memcmp(name.bytes, with, n) == 0;
}

static bool plain_name(amqp_bytes_t name)
{
    bool routes = (name.len == 2 && starts(name, "CC")) || (name.len == 3 && starts(name, "BCC"));
    return name.len > 0 && name.len <= SHORT && !routes && !starts(name, "x-") && !starts(name, "ferry-");
}

static void add_text(ferry__amqp_fields *to, amqp_bytes_t name, amqp_bytes_t text)
{
    amqp_table_entry_t *e = &to->entries[to->p.headers.num_entries++];
    e->key = name;
    e->value.kind = AMQP_FIELD_KIND_UTF8;
    e->value.value.bytes = text;
}

static void add_number(ferry__amqp_fields *to, const char *name, int32_t x)
{
    amqp_table_entry_t *e = &to->entries[to->p.headers.num_entries++];
    e->key = ferry__amqp_text(name);
    e->value.kind = AMQP_FIELD_KIND_I32;
    e->value.value.i32 = x;
}

static void add_time(ferry__amqp_fields *to, int64_t ms)
{
    amqp_table_entry_t *e = &to->entries[to->p.headers.num_entries++];
    e->key = ferry__amqp_text(TIME);
    e->value.kind = AMQP_FIELD_KIND_I64;
    e->value.value.i64 = ms;
}

static bool add_each(ferry__amqp_fields *to, map m)
{
    size_t pairs;
    amqp_bytes_t name, text;
    if (!take_map(&m, &pairs) || pairs > FERRY__AMQP_HEADERS)
        return false;
    for (; pairs; pairs--) {
        if (!take_text(&m, &name) || !take_text(&m, &text) || !plain_name(name))
            return false;
        add_text(to, name, text);
    }
    return m.left == 0;
}

static void add_headers(ferry__amqp_fields *to, const ferry__frame *f)
{
    const char *bytes = ferry__frame_text(f, f->headers);
    int before = to->p.headers.num_entries;
    if (!f->headers.length || add_each(to, (map){(const unsigned char *)bytes, f->headers.length}))
        return;
    to->p.headers.num_entries = before;
    amqp_table_entry_t *e = &to->entries[to->p.headers.num_entries++];
    e->key = ferry__amqp_text(HEADERS);
    e->value.kind = AMQP_FIELD_KIND_BYTES;
    e->value.value.bytes = ferry__amqp_bytes(bytes, f->headers.length);
}

/* ---- writing -------------------------------------------------------------------------------------------------------- */

static amqp_bytes_t slice(const ferry__frame *f, ferry__slice s)
{
    return ferry__amqp_bytes(ferry__frame_text(f, s), s.length);
}

static amqp_bytes_t shortened(amqp_bytes_t b)
{
    return ferry__amqp_bytes(b.bytes, b.len < SHORT ? b.len : SHORT);
}

static void set(amqp_basic_properties_t *p, amqp_flags_t flag, amqp_bytes_t *field, amqp_bytes_t value)
{
    p->_flags |= flag;
    *field = value;
}

static void write_reply(ferry__amqp_fields *to, const ferry__frame *f)
{
    set(&to->p, AMQP_BASIC_TYPE_FLAG, &to->p.type, ferry__amqp_text("reply"));
    if (f->status != FERRY_OK)
        add_number(to, STATUS, f->status);
    if (f->executed != FERRY_OUTCOME_EXECUTED)
        add_number(to, OUTCOME, f->executed);
}

static void write_request(ferry__amqp_fields *to, const ferry__frame *f)
{
    amqp_basic_properties_t *p = &to->p;
    set(p, AMQP_BASIC_TYPE_FLAG, &p->type, slice(f, f->route));
    if (f->source.length)
        set(p, AMQP_BASIC_APP_ID_FLAG, &p->app_id, shortened(slice(f, f->source)));
    p->_flags |= AMQP_BASIC_TIMESTAMP_FLAG;
    p->timestamp = (uint64_t)f->time_ms / 1000; /* AMQP has seconds */
    if (f->kind != FERRY__CONTROL)
        add_text(to, ferry__amqp_text(VERB), ferry__amqp_text(f->kind == FERRY__EVENT ? EVENT : verb_name(f->verb)));
    if (f->key.at)
        add_text(to, ferry__amqp_text(KEY), slice(f, f->key));
    if (f->correlation.at)
        add_text(to, ferry__amqp_text(CORRELATION), slice(f, f->correlation));
    if (f->idempotency_key.at)
        add_text(to, ferry__amqp_text(IDEMPOTENCY), slice(f, f->idempotency_key));
    if (f->kind == FERRY__EVENT) /* readers start at a time */
        add_time(to, f->time_ms);
    if (f->attempt)
        add_number(to, ATTEMPT, (int32_t)f->attempt);
    if (f->maybe && f->kind == FERRY__CALL) /* given back: whoever had it before us may have started it */
        add_number(to, MAYBE, 1);
}

static void write_lane(ferry__amqp_fields *to, const ferry__frame *f, const char *reply_to, int64_t now_ms)
{
    amqp_basic_properties_t *p = &to->p;
    amqp_bytes_t id = ferry__amqp_text(to->id);
    p->_flags |= AMQP_BASIC_DELIVERY_MODE_FLAG;
    bool kept = f->kind == FERRY__POST || f->kind == FERRY__EVENT;
    p->delivery_mode = kept ? AMQP_DELIVERY_PERSISTENT : AMQP_DELIVERY_NONPERSISTENT;
    set(p, AMQP_BASIC_CORRELATION_ID_FLAG, &p->correlation_id, id);
    if (kept)
        set(p, AMQP_BASIC_MESSAGE_ID_FLAG, &p->message_id, id);
    if (f->kind != FERRY__CALL)
        return;
    long long left = f->deadline_ms > now_ms ? f->deadline_ms - now_ms : 1;
    snprintf(to->expiration, sizeof to->expiration, "%lld", left);
    set(p, AMQP_BASIC_EXPIRATION_FLAG, &p->expiration, ferry__amqp_text(to->expiration));
    if (*this_boot()) {
        snprintf(to->until, sizeof to->until, "%s:%lld", boot, (long long)f->deadline_ms);
        add_text(to, ferry__amqp_text(UNTIL), ferry__amqp_text(to->until));
    }
    if (reply_to)
        set(p, AMQP_BASIC_REPLY_TO_FLAG, &p->reply_to, ferry__amqp_text(reply_to));
}

void ferry__amqp_fields_write(ferry__amqp_fields *to, const ferry__frame *f, const char *reply_to, int64_t now_ms)
{
    amqp_basic_properties_t *p = &to->p;
    memset(p, 0, sizeof *p);
    p->headers.entries = to->entries;
    ferry__id_print(&f->id, to->id);
    set(p, AMQP_BASIC_CONTENT_TYPE_FLAG, &p->content_type,
        f->content_type.length ? shortened(slice(f, f->content_type)) : ferry__amqp_text(MSGPACK));
    write_lane(to, f, reply_to, now_ms);
    if (f->kind == FERRY__REPLY)
        write_reply(to, f);
    else
        write_request(to, f);
    add_headers(to, f);
    if (p->headers.num_entries)
        p->_flags |= AMQP_BASIC_HEADERS_FLAG;
}

/* ---- reading -------------------------------------------------------------------------------------------------------- */

static bool is(amqp_bytes_t name, const char *text)
{
    return name.len == strlen(text) && memcmp(name.bytes, text, name.len) == 0;
}

static bool is_text(const amqp_field_value_t *v)
{
    return v->kind == AMQP_FIELD_KIND_UTF8 || v->kind == AMQP_FIELD_KIND_BYTES;
}

static int64_t number(const amqp_field_value_t *v)
{
    switch (v->kind) {
    case AMQP_FIELD_KIND_BOOLEAN:
        return v->value.boolean != 0;
    case AMQP_FIELD_KIND_I8:
        return v->value.i8;
    case AMQP_FIELD_KIND_U8:
        return v->value.u8;
    case AMQP_FIELD_KIND_I16:
        return v->value.i16;
    case AMQP_FIELD_KIND_U16:
        return v->value.u16;
    case AMQP_FIELD_KIND_I32:
        return v->value.i32;
    case AMQP_FIELD_KIND_U32:
        return v->value.u32;
    case AMQP_FIELD_KIND_I64:
    case AMQP_FIELD_KIND_TIMESTAMP:
        return v->value.i64;
    case AMQP_FIELD_KIND_U64:
        return v->value.u64 > INT64_MAX ? INT64_MAX : (int64_t)v->value.u64;
    default:
        return -1;
    }
}

static bool is_number(const amqp_field_value_t *v)
{
    return v->kind != AMQP_FIELD_KIND_BOOLEAN &&
           (number(v) != -1 || v->kind == AMQP_FIELD_KIND_I32 || v->kind == AMQP_FIELD_KIND_I64);
}

/* What stands in the table of headers. */
typedef struct reading {
    amqp_bytes_t key, correlation, idempotency, until, whole; /* bytes NULL: absent */
    int64_t      status, outcome, attempt, maybe, time;
    uint8_t      verb;
    size_t       pairs; /* headers of the program */
    size_t       room;  /* that they take, encoded */
} reading;

static bool own(reading *r, const amqp_table_entry_t *e)
{
    struct {
        const char   *name;
        amqp_bytes_t *text;
        int64_t      *number;
    } known[] = {
        {KEY, &r->key, NULL},         {CORRELATION, &r->correlation, NULL}, {IDEMPOTENCY, &r->idempotency, NULL},
        {UNTIL, &r->until, NULL},     {HEADERS, &r->whole, NULL},           {STATUS, NULL, &r->status},
        {OUTCOME, NULL, &r->outcome}, {ATTEMPT, NULL, &r->attempt},         {MAYBE, NULL, &r->maybe},
        {TIME, NULL, &r->time}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!is(e->key, known[i].name))
            continue;
        if (known[i].text && is_text(&e->value))
            *known[i].text = e->value.value.bytes;
        if (known[i].number && is_number(&e->value))
            *known[i].number = number(&e->value);
        return true;
    }
    if (is(e->key, VERB) && is_text(&e->value))
        r->verb = verb_of(e->value.value.bytes);
    return starts(e->key, "ferry-") || starts(e->key, "x-");
}

static void read_table(reading *r, const amqp_basic_properties_t *p)
{
    *r = (reading){.outcome = FERRY_OUTCOME_EXECUTED};
    if (!(p->_flags & AMQP_BASIC_HEADERS_FLAG))
        return;
    for (int i = 0; i < p->headers.num_entries; i++) {
        const amqp_table_entry_t *e = &p->headers.entries[i];
        if (own(r, e) || !(is_text(&e->value) || is_number(&e->value)))
            continue;
        r->pairs++;
        r->room += 5 + e->key.len + 5 + (is_text(&e->value) ? e->value.value.bytes.len : 24);
    }
}

static char *put_msgpack_text(char *to, const void *text, size_t length)
{
    *to++ = (char)0xdb;
    for (int shift = 24; shift >= 0; shift -= 8)
        *to++ = (char)(length >> shift);
    memcpy(to, text, length);
    return to + length;
}

static char *put_pair(char *to, const amqp_table_entry_t *e)
{
    char digits[24];
    to = put_msgpack_text(to, e->key.bytes, e->key.len);
    if (is_text(&e->value))
        return put_msgpack_text(to, e->value.value.bytes.bytes, e->value.value.bytes.len);
    int n = snprintf(digits, sizeof digits, "%lld", (long long)number(&e->value));
    return put_msgpack_text(to, digits, (size_t)n);
}

static char *put_headers(char *to, const amqp_basic_properties_t *p, size_t pairs)
{
    reading ignored;
    *to++ = (char)0xdf;
    for (int shift = 24; shift >= 0; shift -= 8)
        *to++ = (char)(pairs >> shift);
    for (int i = 0; i < p->headers.num_entries; i++) {
        const amqp_table_entry_t *e = &p->headers.entries[i];
        if (!own(&ignored, e) && (is_text(&e->value) || is_number(&e->value)))
            to = put_pair(to, e);
    }
    return to;
}

static const char *keep(char **at, amqp_bytes_t text)
{
    if (!text.bytes)
        return NULL;
    char *kept = *at;
    memcpy(kept, text.bytes, text.len);
    kept[text.len] = '\0';
    *at += text.len + 1;
    return kept;
}

static amqp_bytes_t property(const amqp_basic_properties_t *p, amqp_flags_t flag, amqp_bytes_t value)
{
    return p->_flags & flag ? value : amqp_empty_bytes;
}

static amqp_bytes_t content_type(const amqp_basic_properties_t *p)
{
    amqp_bytes_t type = property(p, AMQP_BASIC_CONTENT_TYPE_FLAG, p->content_type);
    return is(type, MSGPACK) || type.len == 0 ? amqp_empty_bytes : type;
}

/* The frame's texts are copied to the scratch first: they need a NUL each. Its room is taken at once, so that nothing moves. */
static bool make_parts(ferry__parts *parts, const reading *r, const amqp_basic_properties_t *p, ferry__buf *scratch)
{
    amqp_bytes_t route = property(p, AMQP_BASIC_TYPE_FLAG, p->type), type = content_type(p);
    amqp_bytes_t source = property(p, AMQP_BASIC_APP_ID_FLAG, p->app_id);
    size_t texts = route.len + type.len + source.len + r->key.len + r->correlation.len + r->idempotency.len + 8;
    ferry__buf_clear(scratch);
    char *at = ferry__buf_reserve(scratch, texts + r->room + 8);
    if (!at)
        return false;
    parts->route = keep(&at, route);
    parts->content_type = keep(&at, type);
    parts->source = keep(&at, source);
    parts->key = keep(&at, r->key);
    parts->correlation = keep(&at, r->correlation);
    parts->idempotency_key = keep(&at, r->idempotency);
    if (r->whole.bytes) {
        parts->headers = r->whole.bytes;
        parts->headers_length = r->whole.len;
    } else if (r->pairs) {
        parts->headers = at;
        parts->headers_length = (size_t)(put_headers(at, p, r->pairs) - at);
    }
    return true;
}

bool ferry__amqp_fields_id(const amqp_basic_properties_t *p, ferry__kind kind, ferry__id *id)
{
    char text[FERRY__ID_TEXT];
    amqp_bytes_t b = property(p, AMQP_BASIC_CORRELATION_ID_FLAG, p->correlation_id);
    if (kind == FERRY__POST || kind == FERRY__EVENT)
        b = property(p, AMQP_BASIC_MESSAGE_ID_FLAG, p->message_id);
    if (b.len < 34 || b.len >= sizeof text)
        return false;
    memcpy(text, b.bytes, b.len);
    text[b.len] = '\0';
    return ferry__id_parse(text, id);
}

/* Whoever posts without our kind of id gets a new one: its message is then only protected against what the broker repeats. */
static bool take_id(ferry__frame *f, const amqp_basic_properties_t *p)
{
    if (ferry__amqp_fields_id(p, f->kind, &f->id))
        return true;
    return (f->kind == FERRY__POST || f->kind == FERRY__EVENT) && ferry__random_bytes(&f->id, sizeof f->id);
}

static int64_t remaining(const amqp_basic_properties_t *p)
{
    char text[24] = "";
    amqp_bytes_t b = property(p, AMQP_BASIC_EXPIRATION_FLAG, p->expiration);
    if (b.len == 0 || b.len >= sizeof text)
        return 30000;
    memcpy(text, b.bytes, b.len);
    long long ms = strtoll(text, NULL, 10);
    return ms < 0 ? 0 : ms > INT32_MAX ? INT32_MAX : ms;
}

/* Believed only where it makes sense: a container may have been given a clock of its own. What is past long ago does not: the broker
 * would have dropped it. */
static int64_t deadline(const reading *r, const amqp_basic_properties_t *p, int64_t now_ms)
{
    char text[40] = "";
    int64_t left = remaining(p);
    if (r->until.len < 10 || r->until.len >= sizeof text || !*this_boot())
        return now_ms + left;
    memcpy(text, r->until.bytes, r->until.len);
    long long until = strtoll(text + 9, NULL, 10);
    bool ours = memcmp(text, boot, 8) == 0 && until <= now_ms + left && until >= now_ms - left - TRANSIT_MS;
    return ours ? until : now_ms + left;
}

static bool fill(ferry__frame *f, const reading *r, const amqp_basic_properties_t *p, int64_t now_ms)
{
    if (!take_id(f, p) || r->status < 0 || r->status > FERRY_INTERNAL || r->outcome < 0 ||
        r->outcome > FERRY_OUTCOME_EXECUTED)
        return false;
    f->verb = r->verb ? r->verb : f->kind == FERRY__CALL ? FERRY_GET : FERRY_POST;
    if (f->kind == FERRY__EVENT)
        f->verb = 0;
    f->status = (uint8_t)r->status;
    f->executed = (uint8_t)r->outcome;
    f->maybe = r->maybe == 1;
    f->attempt = r->attempt > 0 && r->attempt < 1000000 ? (uint32_t)r->attempt : 0;
    f->time_ms =
        p->_flags & AMQP_BASIC_TIMESTAMP_FLAG && p->timestamp < INT64_MAX / 1000 ? (int64_t)p->timestamp * 1000 : 0;
    if (r->time > 0)
        f->time_ms = r->time;
    if (f->kind == FERRY__CALL)
        f->deadline_ms = deadline(r, p, now_ms);
    return f->kind == FERRY__REPLY || f->route.length > 0;
}

ferry__frame *ferry__amqp_fields_read(const amqp_basic_properties_t *p, ferry__kind kind, size_t body, int64_t now_ms,
                                      ferry__buf *scratch, ferry_status *why)
{
    reading r;
    ferry__parts parts = {.body_length = body};
    read_table(&r, p);
    *why = FERRY_NO_MEMORY;
    ferry__frame *f = make_parts(&parts, &r, p, scratch) ? ferry__frame_new(kind, &parts) : NULL;
    if (!f)
        return NULL;
    if (fill(f, &r, p, now_ms))
        return f;
    *why = FERRY_PROTOCOL;
    ferry__frame_unref(f);
    return NULL;
}

bool ferry__amqp_fields_event(const amqp_basic_properties_t *p)
{
    for (int i = 0; (p->_flags & AMQP_BASIC_HEADERS_FLAG) && i < p->headers.num_entries; i++) {
        const amqp_table_entry_t *e = &p->headers.entries[i];
        if (is(e->key, VERB))
            return is_text(&e->value) && is(e->value.value.bytes, EVENT);
    }
    return false;
}

static int64_t numbered(const amqp_basic_properties_t *p, const char *name)
{
    for (int i = 0; (p->_flags & AMQP_BASIC_HEADERS_FLAG) && i < p->headers.num_entries; i++)
        if (is(p->headers.entries[i].key, name))
            return number(&p->headers.entries[i].value);
    return -1;
}

int64_t ferry__amqp_fields_deliveries(const amqp_basic_properties_t *p)
{
    return numbered(p, "x-delivery-count");
}

uint64_t ferry__amqp_fields_offset(const amqp_basic_properties_t *p)
{
    int64_t offset = numbered(p, "x-stream-offset");
    return offset > 0 ? (uint64_t)offset : 0;
}
