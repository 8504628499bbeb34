/* url.h - [decorator+…]scheme:[//[user[:password]@]host[:port][,host…]][/path][?name=value&…]
 *
 * The query's names come from tables: the transport's, its decorators' and the core's own (setting.h). RFC 3986 for the characters,
 * and UTF-8; %XX decoded; control characters are refused, encoded or not. docs/url.md tells it to people.
 *
 * No error text and no `shown` holds a password, nor the value of a secret setting, also where the URL is wrong: where a character
 * that a password should have had encoded makes a part of it look like a host, a path or an option, the URL is refused unquoted. */
#ifndef FERRY_DATA_URL_H
#define FERRY_DATA_URL_H

#include "data/setting.h"

enum { FERRY__URL_MAX = 2048, FERRY__URL_QUERIES = 32 };

typedef struct ferry__url {
    char *text;       /* as given: holds the secrets */
    char *shown;      /* the same with them as ***: for logs and people; NULL after a failure */
    char *decorators; /* "fault+trace", "" for none */
    char *scheme;     /* "file", "redis+unix"; in lower case */
    char *user, *password; /* decoded; NULL for none */
    char *hosts;      /* "a:1,b:2,[::1]:3", "" for none */
    char *path;       /* decoded; behind hosts it is "" or begins with '/'; for file: and mem: all that stands before the query */
    struct {
        char *name, *value; /* decoded */
    } query[FERRY__URL_QUERIES];
    size_t queries;
} ferry__url;

/* INVALID or NO_MEMORY with the reason. done also after a failure, and twice. */
ferry_status ferry__url_parse(ferry__url *u, const char *text, char *why);
void         ferry__url_done(ferry__url *u);

/* Every name of the query must stand in one of the tables (the first that has it counts), with a value of its type. */
ferry_status ferry__url_check(const ferry__url *u, const ferry__setting *const *tables, size_t count, char *why);
const char  *ferry__url_text(const ferry__url *u, const ferry__setting *table, const char *name);   /* value or default; may be NULL */
int64_t      ferry__url_number(const ferry__url *u, const ferry__setting *table, const char *name); /* of either; 0 when unset */

/* Is the word one of the decorators that may stand before a scheme? */
bool ferry__url_is_decorator(const char *word);
/* Why there is no transport for that scheme. The lists end with NULL. */
void ferry__url_unknown_scheme(const char *scheme, const char *const *known, const char *const *absent, char *why);

#endif
