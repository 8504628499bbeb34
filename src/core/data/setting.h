/* setting.h - named settings, described in tables. One table gives the check, the "did you mean" and the page in docs/transports. */
#ifndef FERRY_DATA_SETTING_H
#define FERRY_DATA_SETTING_H

#include <ferry/ferry.h>

typedef enum ferry__setting_type {
    FERRY__TEXT,
    FERRY__NUMBER,
    FERRY__MS,    /* 500, 500ms, 2s, 1m, 1h, 7d; the number is milliseconds */
    FERRY__BYTES, /* 4096, 64k, 1M, 1g: times 1024 */
    FERRY__FLAG,  /* yes, no, true, false, 1, 0 */
    FERRY__CHOICE /* one of `choices`; the number is its place, from 0 */
} ferry__setting_type;

typedef struct ferry__setting {
    const char         *name; /* a last * stands for anything */
    ferry__setting_type type;
    const char         *otherwise;   /* the default, as text; NULL = unset */
    int64_t             least, most; /* numbers: the bounds; both 0 = none, most 0 = no upper one */
    const char         *choices;     /* "yes|no" */
    const char         *about;       /* one line of documentation */
} ferry__setting;                    /* tables end with a NULL name */

const ferry__setting *ferry__setting_find(const ferry__setting *table, const char *name); /* NULL: not there */

/* Is it to be kept from logs and error texts: does its name speak of a password, a secret or a token? */
bool ferry__setting_secret(const char *name);

/* INVALID, naming the setting, what was found (unless secret) and what was expected. number may be NULL; 0 for a text. */
ferry_status ferry__setting_read(const ferry__setting *s, const char *value, int64_t *number, char *why);

#endif
