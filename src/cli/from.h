/* Where a subscription starts, as people write it: new, earliest, a time, a position. */
#ifndef FERRY_CLI_FROM_H
#define FERRY_CLI_FROM_H

#include <ferry/ferry.h>

typedef struct cli_from {
    ferry_from  from;
    int64_t     time_ms;  /* since 1970 */
    const char *position; /* borrowed from the text */
} cli_from;

/* "new", "earliest"; "90s", "15m", "2h", "7d": so long ago; "2026-07-01", "2026-07-01T12:30", "2026-07-01T12:30:15": that
 * local time, of UTC with a Z behind; anything else without blanks is a position, as `ferry lag` prints it. NULL is new.
 * false: none of these. */
bool cli_from_parse(cli_from *to, const char *text, int64_t now_ms);

#endif
