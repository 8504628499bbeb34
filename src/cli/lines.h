/* Lines from a descriptor, without blocking past a stop. */
#ifndef FERRY_CLI_LINES_H
#define FERRY_CLI_LINES_H

#include "text.h"

typedef enum cli_lines_got {
    CLI_LINE,
    CLI_LINES_END,
    CLI_LINES_STOPPED,
    CLI_LINES_FAILED /* errno; EFBIG: a line too long */
} cli_lines_got;

typedef struct cli_lines {
    int      fd;
    int      stop_fd;   /* readable = stop */
    size_t   number;    /* of the line last given, from 1 */
    cli_text buffer;
    size_t   from;      /* in buffer: where the next line begins */
    size_t   seen;      /* in buffer: no newline before it */
    bool     ended;
} cli_lines;

/* The next line without its newline; valid until the next call. The last one needs no newline. */
cli_lines_got cli_lines_next(cli_lines *l, const char **line, size_t *length);
bool          cli_lines_ready(cli_lines *l); /* a call of next would not wait */
void          cli_lines_free(cli_lines *l);

#endif
