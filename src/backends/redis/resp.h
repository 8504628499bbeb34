/* resp.h - RESP2: replies parsed by hiredis' reader into an arena of ours, commands written by ourselves. */
#ifndef FERRY_REDIS_RESP_H
#define FERRY_REDIS_RESP_H

#include "base/buf.h"

typedef enum redis__type { REDIS__NIL, REDIS__TEXT, REDIS__NUMBER, REDIS__LIST, REDIS__ERROR } redis__type;

/* One reply, or a part of one; lives until the next redis__reader_next. A text is followed by a NUL. */
typedef struct redis__value {
    redis__type type;
    int64_t     number;
    size_t      count; /* bytes of a text or an error, items of a list */
    const char *text;
    struct redis__value **items;
} redis__value;

typedef struct redis__reader redis__reader;
/* max_text: no single string may be longer; a list no longer than a million. */
redis__reader *redis__reader_new(size_t max_text);
void           redis__reader_free(redis__reader *r);
/* Eats what it can of the bytes and answers a reply as soon as one is whole. *used: how many it ate; NULL with all of them eaten: it
 * wants more. */
const redis__value *redis__reader_next(redis__reader *r, const char *data, size_t length, size_t *used);
const char         *redis__reader_flaw(const redis__reader *r); /* NULL: none; after a flaw the reader is of no use */

/* Safe questions: about a NULL, or a value of another type, they answer the empty one. */
const redis__value *redis__at(const redis__value *v, size_t i);
const char         *redis__text(const redis__value *v);
int64_t             redis__number(const redis__value *v); /* of a number, or of a text that is one */
bool                redis__is_error(const redis__value *v, const char *code);

/* A command: the number of its words, then the words. */
void redis__words(ferry__buf *b, size_t count);
void redis__word(ferry__buf *b, const char *text);
void redis__word_bytes(ferry__buf *b, const void *data, size_t length);
void redis__word_number(ferry__buf *b, int64_t number);
/* All words at once; ends with NULL. */
void redis__command(ferry__buf *b, const char *first, ...);

#endif
