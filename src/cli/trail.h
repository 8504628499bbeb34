/* `ferry trail`: the hops of one correlation. */
#ifndef FERRY_CLI_TRAIL_H
#define FERRY_CLI_TRAIL_H

#include "args.h"

int cli_trail_run(const cli_command *command, const cli_settings *settings, int count, char **arguments);

#endif
