/* url.h - [decorator+…]scheme:[//[user[:password]@]host[:port][,host…]][/path][?name=value&…]
 *
 * The query's names come from tables: the transport's and the core's own. From the same tables come the "did you mean" and the
 * pages in docs/transports. RFC 3986 for the characters, %XX decoded. */
#ifndef FERRY_DATA_URL_H
#define FERRY_DATA_URL_H

#include <ferry/ferry.h>

typedef enum ferry__setting_type { FERRY__TEXT, FERRY__NUMBER, FERRY__MS, FERRY__BYTES, FERRY__FLAG, FERRY__CHOICE } ferry__setting_type;

typedef struct ferry__setting {
    const char         *name;
    ferry__setting_type type;
    const char         *otherwise;   /* the default, as text; NULL = unset */
    int64_t             least, most; /* numbers: the bounds */
    const char         *choices;     /* "yes|no" */
    const char         *about;       /* one line of documentation */
} ferry__setting;                    /* tables end with a NULL name */

typedef struct ferry__url {
    char *text;        /* as given */
    char *shown;       /* the same with the password as ***: for logs and people */
    char *decorators;  /* "fault+trace", "" for none */
    char *scheme;      /* "file" */
    char *user, *password;
    char *hosts;       /* "a:1,b:2", "" for none */
    char *path;        /* decoded; for file: and mem: all that stands between the colon and the query */
    struct {
        char *name, *value;
    } query[32];
    size_t queries;
    bool   loose; /* set by a decorator's scheme: names are checked by each table's own turn */
} ferry__url;

/* INVALID with the reason. done also after a failure. */
ferry_status ferry__url_parse(ferry__url *u, const char *text, char *why);
void         ferry__url_done(ferry__url *u);

/* Every name of the query must stand in one of the tables, with a value of its type. */
ferry_status ferry__url_check(const ferry__url *u, const ferry__setting *const *tables, size_t count, char *why);
const char  *ferry__url_text(const ferry__url *u, const ferry__setting *table, const char *name);   /* value or default; may be NULL */
int64_t      ferry__url_number(const ferry__url *u, const ferry__setting *table, const char *name); /* NUMBER; MS: milliseconds; BYTES; FLAG: 0, 1 */

#endif
