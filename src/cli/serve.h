/* `ferry serve`: routes answered by an echo or by a shell command. */
#ifndef FERRY_CLI_SERVE_H
#define FERRY_CLI_SERVE_H

#include "args.h"

int cli_serve_run(const cli_command *command, const cli_settings *settings, int count, char **arguments);

#endif
