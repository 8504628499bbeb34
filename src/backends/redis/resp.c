/* resp.c - hiredis' reader calls us for each element it finds; we lay them in an arena that is emptied when the next reply begins.
 *
 * hiredis copies what it is fed into a buffer of its own and moves the rest of that buffer down after each reply, so it is fed in
 * small portions. Its bounds are not ours: the length of a string and of a list are checked here, before anything is reserved. */
#include "backends/redis/resp.h"

#include "base/alloc.h"

#include <hiredis/hiredis.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FEED = 8192, CHUNK = 64 * 1024, LIST_MOST = 1 << 20 };

typedef struct chunk {
    struct chunk *next;
    size_t        used, room;
    char          data[];
} chunk;

struct redis__reader {
    redisReader *inner;
    chunk       *chunks; /* the newest first; the last one is kept */
    bool         whole;  /* the arena holds a reply that was handed out */
    size_t       max_text;
    const char  *flaw;
};

/* ---- The arena ------------------------------------------------------------------------------------------------------ */

static void *take(redis__reader *r, size_t size)
{
    size = (size + 15) & ~(size_t)15;
    chunk *c = r->chunks;
    if (!c || c->room - c->used < size) {
        size_t room = size > CHUNK ? size : CHUNK;
        c = ferry__alloc(sizeof *c + room);
        if (!c)
            return NULL;
        *c = (chunk){.next = r->chunks, .room = room};
        r->chunks = c;
    }
    c->used += size;
    return c->data + c->used - size;
}

static void empty(redis__reader *r)
{
    while (r->chunks && r->chunks->next) {
        chunk *c = r->chunks;
        r->chunks = c->next;
        ferry__free(c);
    }
    if (r->chunks)
        r->chunks->used = 0;
    r->whole = false;
}

/* ---- What hiredis calls --------------------------------------------------------------------------------------------- */

static redis__value *add(const redisReadTask *task, redis__type type, size_t extra)
{
    redis__value *v = take(task->privdata, sizeof *v + extra);
    if (!v)
        return NULL;
    *v = (redis__value){.type = type};
    if (task->parent)
        ((redis__value *)task->parent->obj)->items[task->idx] = v;
    return v;
}

static void *make_string(const redisReadTask *task, char *text, size_t length)
{
    redis__reader *r = task->privdata;
    if (length > r->max_text) {
        r->flaw = "Redis sent a longer text than any of ours can be";
        return NULL;
    }
    redis__value *v = add(task, task->type == REDIS_REPLY_ERROR ? REDIS__ERROR : REDIS__TEXT, length + 1);
    if (!v)
        return NULL;
    char *to = (char *)(v + 1);
    memcpy(to, text, length);
    to[length] = '\0';
    v->text = to;
    v->count = length;
    return v;
}

#if defined(HIREDIS_MAJOR) && HIREDIS_MAJOR >= 1
typedef size_t list_length;
#else
typedef int list_length;
#endif

static void *make_list(const redisReadTask *task, list_length given)
{
    redis__reader *r = task->privdata;
    size_t count = (size_t)given;
    if (count > LIST_MOST) {
        r->flaw = "Redis sent a longer list than any of ours can be";
        return NULL;
    }
    redis__value *v = add(task, REDIS__LIST, count * sizeof *v->items);
    if (!v)
        return NULL;
    v->items = (redis__value **)(v + 1);
    v->count = count;
    if (count)
        memset(v->items, 0, count * sizeof *v->items);
    return v;
}

static void *make_number(const redisReadTask *task, long long number)
{
    redis__value *v = add(task, REDIS__NUMBER, 0);
    if (v)
        v->number = number;
    return v;
}

static void *make_nil(const redisReadTask *task)
{
    return add(task, REDIS__NIL, 0);
}

static void free_object(void *object)
{
    (void)object; /* the arena's */
}

#if defined(HIREDIS_MAJOR) && HIREDIS_MAJOR >= 1
static void *make_double(const redisReadTask *task, double number, char *text, size_t length)
{
    (void)number;
    return make_string(task, text, length);
}

static void *make_bool(const redisReadTask *task, int yes)
{
    return make_number(task, yes);
}
#endif

static redisReplyObjectFunctions functions = {
    .createString = make_string,
    .createArray = make_list,
    .createInteger = make_number,
    .createNil = make_nil,
    .freeObject = free_object,
#if defined(HIREDIS_MAJOR) && HIREDIS_MAJOR >= 1
    .createDouble = make_double,
    .createBool = make_bool,
#endif
};

/* ---- The reader ----------------------------------------------------------------------------------------------------- */

redis__reader *redis__reader_new(size_t max_text)
{
    redis__reader *r = ferry__zalloc(sizeof *r);
    if (!r)
        return NULL;
    r->inner = redisReaderCreateWithFunctions(&functions);
    if (!r->inner) {
        ferry__free(r);
        return NULL;
    }
    r->inner->privdata = r;
    r->inner->maxbuf = 0; /* keep the buffer */
    r->max_text = max_text;
    return r;
}

void redis__reader_free(redis__reader *r)
{
    if (!r)
        return;
    redisReaderFree(r->inner);
    empty(r);
    ferry__free(r->chunks);
    ferry__free(r);
}

static const redis__value *whole(redis__reader *r)
{
    void *reply = NULL;
    if (redisReaderGetReply(r->inner, &reply) != REDIS_OK) {
        if (!r->flaw)
            r->flaw = r->inner->err == REDIS_ERR_OOM ? "out of memory for a reply of Redis"
                                                     : "this is not what Redis would say";
        return NULL;
    }
    if (!reply && r->inner->len - r->inner->pos > r->max_text + 65536)
        r->flaw = "Redis sent a longer text than any of ours can be";
    r->whole = reply != NULL;
    return r->flaw ? NULL : reply;
}

const redis__value *redis__reader_next(redis__reader *r, const char *data, size_t length, size_t *used)
{
    *used = 0;
    if (r->flaw)
        return NULL;
    if (r->whole)
        empty(r);
    const redis__value *v = r->inner->pos < r->inner->len ? whole(r) : NULL;
    while (!v && !r->flaw && *used < length) {
        size_t portion = length - *used < FEED ? length - *used : FEED;
        if (redisReaderFeed(r->inner, data + *used, portion) != REDIS_OK) {
            r->flaw = "out of memory for what Redis says";
            return NULL;
        }
        *used += portion;
        v = whole(r);
    }
    return v;
}

const char *redis__reader_flaw(const redis__reader *r)
{
    return r->flaw;
}

/* ---- Questions ------------------------------------------------------------------------------------------------------ */

const redis__value *redis__at(const redis__value *v, size_t i)
{
    return v && v->type == REDIS__LIST && i < v->count ? v->items[i] : NULL;
}

const char *redis__text(const redis__value *v)
{
    return v && (v->type == REDIS__TEXT || v->type == REDIS__ERROR) ? v->text : "";
}

int64_t redis__number(const redis__value *v)
{
    if (!v)
        return 0;
    return v->type == REDIS__NUMBER ? v->number : v->type == REDIS__TEXT ? (int64_t)strtoll(v->text, NULL, 10) : 0;
}

bool redis__is_error(const redis__value *v, const char *code)
{
    size_t length = strlen(code);
    return v && v->type == REDIS__ERROR && strncmp(v->text, code, length) == 0 &&
           (v->text[length] == ' ' || !v->text[length]);
}

/* ---- Commands ------------------------------------------------------------------------------------------------------- */

static char *print(char *end, uint64_t n)
{
    do {
        *--end = (char)('0' + n % 10);
    } while (n /= 10);
    return end;
}

static void prefix(ferry__buf *b, char type, size_t n)
{
    char text[24], *end = text + sizeof text;
    *--end = '\n';
    *--end = '\r';
    char *at = print(end, n);
    *--at = type;
    ferry__buf_add(b, at, (size_t)(text + sizeof text - at));
}

void redis__words(ferry__buf *b, size_t count)
{
    prefix(b, '*', count);
}

void redis__word_bytes(ferry__buf *b, const void *data, size_t length)
{
    enum { AROUND = 26 };
    char digits[24], *at = print(digits + sizeof digits, length);
    size_t n = (size_t)(digits + sizeof digits - at);
    char *to = ferry__buf_reserve(b, length + AROUND);
    if (!to)
        return;
    *to++ = '$';
    memcpy(to, at, n);
    to += n;
    *to++ = '\r';
    *to++ = '\n';
    if (length)
        memcpy(to, data, length);
    to[length] = '\r';
    to[length + 1] = '\n';
    b->length += n + length + 5;
}

void redis__word(ferry__buf *b, const char *text)
{
    redis__word_bytes(b, text, strlen(text));
}

void redis__word_number(ferry__buf *b, int64_t number)
{
    char text[24], *end = text + sizeof text;
    char *at = print(end, number < 0 ? 0 - (uint64_t)number : (uint64_t)number);
    if (number < 0)
        *--at = '-';
    redis__word_bytes(b, at, (size_t)(end - at));
}

void redis__command(ferry__buf *b, const char *first, ...)
{
    va_list args, again;
    size_t count = 1;
    va_start(args, first);
    va_copy(again, args);
    while (va_arg(args, const char *))
        count++;
    redis__words(b, count);
    redis__word(b, first);
    for (const char *word; (word = va_arg(again, const char *));)
        redis__word(b, word);
    va_end(again);
    va_end(args);
}
