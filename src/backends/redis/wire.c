/* wire.c - a frame as the fields of a stream entry; docs/wire.md shows them to people.
 *
 *     ferry  1 call get calc.add <id> <ms left> <sent at> stream <source>      one line of words; the source is the rest
 *     ferry  1 reply OK executed <serial>
 *     body, and where there are any: key correlation idempotency type headers attempt
 *
 * One field with the words instead of one a word: Redis copies each field in and out. */
#include "backends/redis/redis.h"

#include "base/random.h"

#include <stdlib.h>
#include <string.h>

static const char *const kinds[] = {"", "call", "reply", "post", "event", "control"};
static const char *const outcomes[] = {"not_sent", "not_executed", "unknown", "executed"};

/* ---- Writing -------------------------------------------------------------------------------------------------------- */

static const char *verb_name(unsigned verb)
{
    switch (verb) {
    case FERRY_GET:
        return "get";
    case FERRY_PUT:
        return "put";
    case FERRY_PATCH:
        return "patch";
    case FERRY_POST:
        return "post";
    case FERRY_DELETE:
        return "delete";
    default:
        return "-";
    }
}

typedef struct field {
    const char  *name;
    ferry__slice slice;
} field;

enum { FIELDS = 6 };

static size_t optional(const ferry__frame *f, field to[FIELDS])
{
    const field all[FIELDS] = {
        {"key", f->key},           {"correlation", f->correlation}, {"idempotency", f->idempotency_key},
        {"type", f->content_type}, {"headers", f->headers},         {"body", f->body}};
    size_t n = 0;
    for (size_t i = 0; i < FIELDS; i++)
        if (all[i].slice.at)
            to[n++] = all[i];
    return n;
}

static void put_fields(ferry__buf *b, const ferry__frame *f, const field *fields, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        redis__word(b, fields[i].name);
        redis__word_bytes(b, f->data + fields[i].slice.at, fields[i].slice.length);
    }
}

/* snprintf is slow where a thousand of these are written in a millisecond. */
static char *add_text(char *to, const char *text)
{
    size_t length = strlen(text);
    memcpy(to, text, length);
    to[length] = ' ';
    return to + length + 1;
}

static char *add_unsigned(char *to, uint64_t left)
{
    char text[24], *at = text + sizeof text - 1;
    *at = '\0';
    do {
        *--at = (char)('0' + left % 10);
    } while (left /= 10);
    return add_text(to, at);
}

static char *add_number(char *to, int64_t n)
{
    return add_unsigned(to, n < 0 ? 0 : (uint64_t)n);
}

enum { HEAD = 8 + 8 + 8 + 130 + FERRY__ID_TEXT + 24 + 24 + 8 + 260 };

static size_t print_request(char *head, const ferry__frame *f, bool pubsub, int64_t now_ms)
{
    char id[FERRY__ID_TEXT], *to = head;
    ferry__id_print(&f->id, id);
    int64_t left = f->kind == FERRY__CALL ? f->deadline_ms - now_ms : 0;
    to = add_text(to, "1");
    to = add_text(to, kinds[f->kind]);
    to = add_text(to, verb_name(f->verb));
    to = add_text(to, ferry__frame_text(f, f->route));
    to = add_text(to, id);
    to = add_number(to, left);
    to = add_number(to, f->time_ms);
    to = add_text(to, f->kind != FERRY__CALL ? "-" : pubsub ? "pubsub" : "stream");
    size_t length = f->source.length < 256 ? f->source.length : 256;
    memcpy(to, ferry__frame_text(f, f->source), length);
    return (size_t)(to - head) + length;
}

/* What every XADD to a key begins with, behind the number of words. */
size_t redis__wire_start(char *to, size_t size, const char *key)
{
    int n = snprintf(to, size, "$4\r\nXADD\r\n$%zu\r\n%s\r\n$10\r\nNOMKSTREAM\r\n$1\r\n*\r\n$5\r\nferry\r\n",
                     strlen(key), key);
    return n > 0 && (size_t)n < size ? (size_t)n : 0;
}

void redis__wire_request(ferry__buf *b, const char *start, size_t start_length, const ferry__frame *f, bool pubsub,
                         int64_t now_ms)
{
    char head[HEAD];
    field fields[FIELDS];
    size_t n = optional(f, fields);
    redis__words(b, 6 + 2 * n + (f->attempt ? 2 : 0));
    ferry__buf_add(b, start, start_length);
    redis__word_bytes(b, head, print_request(head, f, pubsub, now_ms));
    put_fields(b, f, fields, n);
    if (f->attempt) {
        redis__word(b, "attempt");
        redis__word_number(b, f->attempt);
    }
}

/* An event or post as words of a script: their number, then field, value, … with its attempt. */
size_t redis__wire_words(const ferry__frame *f)
{
    field fields[FIELDS];
    return 5 + 2 * optional(f, fields);
}

void redis__wire_put(ferry__buf *b, const ferry__frame *f, uint32_t attempt)
{
    char head[HEAD];
    field fields[FIELDS];
    size_t n = optional(f, fields);
    redis__word_number(b, (int64_t)(4 + 2 * n));
    redis__word(b, "ferry");
    redis__word_bytes(b, head, print_request(head, f, false, 0));
    put_fields(b, f, fields, n);
    redis__word(b, "attempt");
    redis__word_number(b, attempt);
}

static size_t print_reply(char *head, const ferry__frame *f)
{
    char *to = head;
    char id[FERRY__ID_TEXT];
    ferry__id_print(&f->id, id);
    to = add_text(to, "1");
    to = add_text(to, "reply");
    to = add_text(to, ferry_status_name((ferry_status)f->status));
    to = add_text(to, outcomes[f->executed & 3]);
    to = add_text(to, id + 33);
    return (size_t)(to - head) - 1;
}

static void print_inbox(char *to, const char *prefix, const unsigned char client[16])
{
    static const char digits[] = "0123456789abcdef";
    size_t length = strlen(prefix); /* 64 at most */
    memcpy(to, prefix, length);
    memcpy(to + length, ":r:", 3);
    to += length + 3;
    for (int i = 0; i < 16; i++) {
        *to++ = digits[client[i] >> 4];
        *to++ = digits[client[i] & 15];
    }
    *to = '\0';
}

void redis__wire_reply(ferry__buf *b, const char *ns, const ferry__frame *f)
{
    char head[HEAD], key[REDIS__KEY];
    field fields[FIELDS];
    size_t n = optional(f, fields), length = print_reply(head, f);
    print_inbox(key, ns, f->id.client);
    redis__words(b, 6 + 2 * n);
    redis__word_bytes(b, "XADD", 4);
    redis__word(b, key);
    ferry__buf_add(b, "$10\r\nNOMKSTREAM\r\n$1\r\n*\r\n$5\r\nferry\r\n", 35);
    redis__word_bytes(b, head, length);
    put_fields(b, f, fields, n);
}

/* A published message is one text: the head, then each field as "name length\n" and its bytes. */
void redis__wire_publish(ferry__buf *b, const char *ns, const ferry__frame *f)
{
    char head[HEAD], key[REDIS__KEY], text[64];
    field fields[FIELDS];
    size_t n = optional(f, fields), length = print_reply(head, f), all = length + 1;
    for (size_t i = 0; i < n; i++)
        all += (size_t)snprintf(text, sizeof text, "%s %u\n", fields[i].name, fields[i].slice.length) +
               fields[i].slice.length;
    print_inbox(key, ns, f->id.client);
    redis__words(b, 3);
    redis__word(b, "PUBLISH");
    redis__word(b, key);
    ferry__buf_format(b, "$%zu\r\n", all);
    ferry__buf_add(b, head, length);
    ferry__buf_add(b, "\n", 1);
    for (size_t i = 0; i < n; i++) {
        ferry__buf_format(b, "%s %u\n", fields[i].name, fields[i].slice.length);
        ferry__buf_add(b, f->data + fields[i].slice.at, fields[i].slice.length);
    }
    ferry__buf_add(b, "\r\n", 2);
}

/* ---- Reading: nothing of it is trusted ------------------------------------------------------------------------------ */

typedef struct words {
    const char *at, *end;
} words;

static size_t next_word(words *w, const char **word)
{
    const char *space = memchr(w->at, ' ', (size_t)(w->end - w->at));
    *word = w->at;
    size_t length = (size_t)((space ? space : w->end) - w->at);
    w->at = space ? space + 1 : w->end;
    return length;
}

static bool is(const char *word, size_t length, const char *what)
{
    return strlen(what) == length && memcmp(word, what, length) == 0;
}

static int place(const char *word, size_t length, const char *const *names, int count)
{
    for (int i = 0; i < count; i++)
        if (is(word, length, names[i]))
            return i;
    return -1;
}

static bool copy_word(words *w, char *to, size_t size)
{
    const char *word;
    size_t length = next_word(w, &word);
    if (length == 0 || length >= size)
        return false;
    memcpy(to, word, length);
    to[length] = '\0';
    return true;
}

static int64_t next_number(words *w)
{
    const char *word;
    size_t length = next_word(w, &word);
    int64_t n = 0;
    for (size_t i = 0; i < length && i < 15 && word[i] >= '0' && word[i] <= '9'; i++)
        n = n * 10 + (word[i] - '0');
    return n;
}

static unsigned verb_of(const char *word, size_t length)
{
    for (unsigned verb = FERRY_GET; verb <= FERRY_DELETE; verb <<= 1)
        if (is(word, length, verb_name(verb)))
            return verb;
    return 0;
}

static int status_of(const char *word, size_t length)
{
    for (int s = FERRY_OK; s <= FERRY_INTERNAL; s++)
        if (is(word, length, ferry_status_name((ferry_status)s)))
            return s;
    return -1;
}

typedef struct entry {
    ferry__parts parts;
    uint32_t     attempt;
    words        head;
    char         source[260];
} entry;

static void read_text(entry *e, const char *name, const char *value)
{
    const struct {
        const char *name, **to;
    } texts[] = {{"key", &e->parts.key},
                 {"correlation", &e->parts.correlation},
                 {"idempotency", &e->parts.idempotency_key},
                 {"type", &e->parts.content_type}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (strcmp(name, texts[i].name) == 0)
            *texts[i].to = value;
}

static void read_field(entry *e, const char *name, const char *value, size_t length)
{
    if (strcmp(name, "body") == 0) {
        e->parts.body = value;
        e->parts.body_length = length;
    } else if (strcmp(name, "ferry") == 0)
        e->head = (words){value, value + length};
    else if (strcmp(name, "headers") == 0) {
        e->parts.headers = value;
        e->parts.headers_length = length;
    } else if (strcmp(name, "attempt") == 0)
        e->attempt = (uint32_t)strtoul(value, NULL, 10);
    else
        read_text(e, name, value);
}

static void read_fields(entry *e, const redis__value *fields)
{
    for (size_t i = 0; fields && i + 1 < fields->count; i += 2) {
        const redis__value *value = redis__at(fields, i + 1);
        if (value && value->type == REDIS__TEXT)
            read_field(e, redis__text(redis__at(fields, i)), value->text, value->count);
    }
}

typedef struct head {
    int       kind;
    unsigned  verb;
    char      route[132];
    ferry__id id;
    int64_t   left, time_ms;
    bool      pubsub;
} head;

static bool read_head(entry *e, head *h)
{
    const char *word;
    char id[FERRY__ID_TEXT];
    words *w = &e->head;
    size_t length = next_word(w, &word);
    if (!is(word, length, "1"))
        return false;
    length = next_word(w, &word);
    h->kind = place(word, length, kinds, 6);
    length = next_word(w, &word);
    h->verb = verb_of(word, length);
    if (!copy_word(w, h->route, sizeof h->route) || !copy_word(w, id, sizeof id) || !ferry__id_parse(id, &h->id))
        return false;
    h->left = next_number(w);
    h->time_ms = next_number(w);
    length = next_word(w, &word);
    h->pubsub = is(word, length, "pubsub");
    length = (size_t)(w->end - w->at);
    snprintf(e->source, sizeof e->source, "%.*s", (int)(length < 256 ? length : 256), w->at);
    return h->kind == FERRY__EVENT || ((h->kind == FERRY__CALL || h->kind == FERRY__POST) && h->verb);
}

ferry__frame *redis__wire_read(const redis__value *fields, int64_t now_ms, int64_t age_ms, ferry_status *why)
{
    entry e = {.head = {"", ""}};
    head h = {0};
    read_fields(&e, fields);
    *why = FERRY_PROTOCOL;
    if (!e.head.at || !read_head(&e, &h))
        return NULL;
    e.parts.route = h.route;
    e.parts.source = e.source;
    *why = FERRY_NO_MEMORY;
    ferry__frame *f = ferry__frame_new((ferry__kind)h.kind, &e.parts);
    if (!f)
        return NULL;
    f->verb = (uint8_t)h.verb;
    f->id = h.id;
    f->time_ms = h.time_ms;
    f->attempt = e.attempt;
    if (h.kind == FERRY__CALL)
        f->deadline_ms = now_ms + h.left - (age_ms > 0 ? age_ms : 0);
    f->tag[1] = h.pubsub;
    *why = FERRY_OK;
    return f;
}

static ferry__frame *reply_of(entry *e, const unsigned char client[16], ferry_status *why)
{
    const char *word;
    words *w = &e->head;
    size_t length = next_word(w, &word);
    bool known = is(word, length, "1");
    length = next_word(w, &word);
    known = known && is(word, length, "reply");
    length = next_word(w, &word);
    int status = status_of(word, length);
    length = next_word(w, &word);
    int outcome = place(word, length, outcomes, 4);
    length = next_word(w, &word);
    *why = FERRY_PROTOCOL;
    if (!known || status < 0 || outcome < 0 || length == 0 || length > 16)
        return NULL;
    ferry__id id = {.serial = strtoull(word, NULL, 16)};
    memcpy(id.client, client, sizeof id.client);
    ferry__frame *f = ferry__frame_new(FERRY__REPLY, &e->parts);
    *why = f ? FERRY_OK : FERRY_NO_MEMORY;
    if (!f)
        return NULL;
    f->status = (uint8_t)status;
    f->executed = (uint8_t)outcome;
    f->id = id;
    return f;
}

ferry__frame *redis__wire_read_reply(const redis__value *fields, const unsigned char client[16], ferry_status *why)
{
    entry e = {.head = {"", ""}};
    read_fields(&e, fields);
    return reply_of(&e, client, why);
}

ferry__frame *redis__wire_read_published(const char *text, size_t length, const unsigned char client[16])
{
    entry e = {.head = {"", ""}};
    ferry_status why;
    const char *end = text + length, *line = memchr(text, '\n', length);
    if (!line)
        return NULL;
    e.head = (words){text, line};
    for (const char *at = line + 1; at < end;) {
        char name[32];
        unsigned size;
        int used = 0;
        line = memchr(at, '\n', (size_t)(end - at));
        if (!line || line - at > 48 || sscanf(at, "%31s %u%n", name, &size, &used) != 2 || at + used != line ||
            size > (size_t)(end - line - 1))
            return NULL;
        /* The texts among them are short, and end where the next name begins: nothing here that is read as a text. */
        if (strcmp(name, "body") == 0 || strcmp(name, "headers") == 0)
            read_field(&e, name, line + 1, size);
        at = line + 1 + size;
    }
    return reply_of(&e, client, &why);
}

bool redis__wire_pubsub(const ferry__frame *f)
{
    return f->tag[1] != 0;
}

/* ---- Entry ids and errors ------------------------------------------------------------------------------------------- */

void redis__entry_id(const char *text, uint64_t *ms, uint64_t *seq)
{
    char *end = NULL;
    *ms = strtoull(text, &end, 10);
    *seq = end && *end == '-' ? strtoull(end + 1, NULL, 10) : 0;
}

void redis__word_entry(ferry__buf *b, uint64_t ms, uint64_t seq)
{
    char text[48], *to = add_unsigned(text, ms);
    to[-1] = '-';
    to = add_unsigned(to, seq);
    redis__word_bytes(b, text, (size_t)(to - text) - 1);
}

/* again: it did not run and may be tried again, on a new connection. */
ferry_status redis__error_status(const redis__value *v, bool *again)
{
    static const struct {
        const char  *code;
        ferry_status status;
        bool         again;
    } known[] = {
        {"OOM", FERRY_OVERLOADED, false},         {"MISCONF", FERRY_OVERLOADED, false},
        {"NOREPLICAS", FERRY_OVERLOADED, false},  {"READONLY", FERRY_UNAVAILABLE, true},
        {"LOADING", FERRY_UNAVAILABLE, true},     {"MASTERDOWN", FERRY_UNAVAILABLE, true},
        {"CLUSTERDOWN", FERRY_UNAVAILABLE, true}, {"TRYAGAIN", FERRY_UNAVAILABLE, true},
        {"BUSY", FERRY_UNAVAILABLE, true},        {"UNBLOCKED", FERRY_UNAVAILABLE, true},
        {"NOAUTH", FERRY_DENIED, false},          {"NOPERM", FERRY_DENIED, false},
        {"WRONGPASS", FERRY_DENIED, false},       {"MOVED", FERRY_UNSUPPORTED, false},
        {"ASK", FERRY_UNSUPPORTED, false},        {"NOGROUP", FERRY_NO_SERVICE, false},
    };
    *again = false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (redis__is_error(v, known[i].code)) {
            *again = known[i].again;
            return known[i].status;
        }
    /* In a script the code stands in the middle of the text. */
    for (size_t i = 0; v && i < sizeof known / sizeof *known; i++)
        if (strstr(redis__text(v), known[i].code)) {
            *again = known[i].again;
            return known[i].status;
        }
    return FERRY_INTERNAL;
}
