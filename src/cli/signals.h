/* SIGINT and SIGTERM. Both are blocked in every thread and received by one that waits for them: what has to happen then
 * may take locks. The first signal asks, the second ends the process at once with CLI_SIGNAL. */
#ifndef FERRY_CLI_SIGNALS_H
#define FERRY_CLI_SIGNALS_H

#include <stdbool.h>

typedef void cli_signal_fn(void *arg);

/* Before the process has any other thread. `first` runs on the watching thread, `second` just before the end; either
 * may be NULL. false = no thread or descriptor to be had. */
bool cli_signals_start(cli_signal_fn *first, cli_signal_fn *second, void *arg);
bool cli_signals_came(void);
bool cli_signals_twice(void); /* the second came too: whoever else ends the process first must exit with CLI_SIGNAL */
int  cli_signals_fd(void); /* readable from the first signal on; -1 before start */

#endif
