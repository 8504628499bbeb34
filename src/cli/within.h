/* What a command run by `serve --exec` inherits from the message it serves, through FERRY_WITHIN: the deadline, the
 * correlation and the trace. Fields "name=value" joined by '&', values percent-encoded:
 *
 *     FERRY_WITHIN='deadline=812345678&correlation=7f3a…&traceparent=00-4bf9…-01'
 *
 * deadline is in milliseconds of CLOCK_MONOTONIC, which all processes of one machine share. Each field at most once, each
 * may be absent; anything else is refused, so that a damaged one cannot silently become "no deadline". */
#ifndef FERRY_CLI_WITHIN_H
#define FERRY_CLI_WITHIN_H

#include "text.h"

#define CLI_WITHIN "FERRY_WITHIN"
#define CLI_WITHIN_VALUE 256

typedef struct cli_within {
    int64_t deadline_ms; /* 0 = none */
    char    correlation[CLI_WITHIN_VALUE];
    char    traceparent[CLI_WITHIN_VALUE];
} cli_within;

int64_t cli_now_ms(void); /* CLOCK_MONOTONIC */
bool    cli_within_write(cli_text *to, const ferry_request *req);
bool    cli_within_parse(cli_within *w, const char *text); /* false: refused; NULL or "" is all absent */

#endif
