/* Opening the handle a command works with: which URL, the trace of -v, the log on stderr. */
#ifndef FERRY_CLI_HANDLE_H
#define FERRY_CLI_HANDLE_H

#include "args.h"

/* What a command wants different from the defaults; zero = as the library has it. */
typedef struct cli_wishes {
    int            close_ms;
    int            workers;
    int            max_pending;
    int            log_level;  /* print this and worse on stderr; 0 = nothing (never set with -v: then all of it) */
    ferry_drop_fn *on_drop;
    void          *arg;
} cli_wishes;

/* NULL only for want of memory: said on stderr. */
ferry *cli_open(const cli_settings *settings, const cli_wishes *wishes);
/* The URL in use, or NULL for the library's own default. Not for printing: it may hold a password. */
const char *cli_url(const cli_settings *settings);

#endif
