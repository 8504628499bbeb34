/* `ferry bench`: how fast is this transport, here and now. */
#ifndef FERRY_CLI_BENCH_H
#define FERRY_CLI_BENCH_H

#include "args.h"

int cli_bench_call(const cli_command *command, const cli_settings *settings, int count, char **arguments);
int cli_bench_post(const cli_command *command, const cli_settings *settings, int count, char **arguments);

#endif
