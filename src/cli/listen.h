/* `ferry listen`: events printed, or given to a shell command each. */
#ifndef FERRY_CLI_LISTEN_H
#define FERRY_CLI_LISTEN_H

#include "args.h"

int cli_listen_run(const cli_command *command, const cli_settings *settings, int count, char **arguments);

#endif
