/* buf.h - bytes that grow, up to a maximum set at birth. A failure sticks: check `failed` once, at the end. */
#ifndef FERRY_BASE_BUF_H
#define FERRY_BASE_BUF_H

#include <ferry/ferry.h>

typedef struct ferry__buf {
    char        *data; /* NULL until the first byte */
    size_t       length, room, max;
    ferry_status failed; /* OK, NO_MEMORY or TOO_BIG: nothing is added from then on */
} ferry__buf;

#define FERRY__BUF(limit) ((ferry__buf){.max = (limit)})

/* Room for `more` bytes behind the end; NULL when failed. The caller writes there and adds to length. */
void *ferry__buf_reserve(ferry__buf *b, size_t more);
void  ferry__buf_add(ferry__buf *b, const void *data, size_t length);
void  ferry__buf_text(ferry__buf *b, const char *s);
void  ferry__buf_format(ferry__buf *b, const char *format, ...) FERRY_PRINTF(2, 3);
/* The text so far, NUL-terminated (the NUL is not counted); "" when failed. */
const char *ferry__buf_string(ferry__buf *b);
void        ferry__buf_clear(ferry__buf *b); /* empty, memory kept */
void        ferry__buf_done(ferry__buf *b);

#endif
