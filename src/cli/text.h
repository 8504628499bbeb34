/* Bytes that grow up to a limit. Failure is sticky: after the first one every addition is quiet, and one look at
 * `failed` at the end is enough. All zero is an empty text with the default limit. `at` is NUL-terminated, or NULL
 * while nothing was added. */
#ifndef FERRY_CLI_TEXT_H
#define FERRY_CLI_TEXT_H

#include <ferry/ferry.h>

#define CLI_TEXT_MAX ((size_t)256 << 20)

typedef struct cli_text {
    char  *at;
    size_t length;
    size_t room;
    size_t max;    /* 0 = CLI_TEXT_MAX */
    bool   failed; /* out of memory, or over max */
} cli_text;

bool cli_text_add(cli_text *t, const void *bytes, size_t n); /* false = failed, now or before */
bool cli_text_puts(cli_text *t, const char *s);
bool cli_text_printf(cli_text *t, const char *format, ...) FERRY_PRINTF(2, 3);
bool cli_text_cut_newline(cli_text *t); /* drops one final newline; true = there was one */
void cli_text_clear(cli_text *t);       /* empty again; keeps the memory */
void cli_text_free(cli_text *t);

/* A whole file or, for "-", all of stdin. On failure says why in `why` (one line, with the name). */
bool cli_text_load(cli_text *t, const char *path, char *why, size_t size);

/* Whether these bytes are UTF-8: shortest forms only, no surrogates, nothing past U+10FFFF. */
bool cli_utf8_valid(const void *bytes, size_t n);
/* Length of the UTF-8 sequence at s, 1 to 4; 0 = not one. */
size_t cli_utf8_length(const unsigned char *s, size_t n);

#endif
