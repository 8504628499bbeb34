/* How far a stream is: one line on stderr that is written over, and only where stderr is a terminal. */
#ifndef FERRY_CLI_PROGRESS_H
#define FERRY_CLI_PROGRESS_H

#include "args.h"

typedef struct cli_progress {
    bool    shown;
    int64_t start_ms, last_ms;
    size_t  done, failed;
} cli_progress;

void cli_progress_start(cli_progress *p, const cli_settings *settings);
void cli_progress_step(cli_progress *p, bool failed);
void cli_progress_end(cli_progress *p);

#endif
