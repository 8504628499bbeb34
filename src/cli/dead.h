/* `ferry dead`: what was given up. */
#ifndef FERRY_CLI_DEAD_H
#define FERRY_CLI_DEAD_H

#include "args.h"

int cli_dead_list(const cli_command *command, const cli_settings *settings, int count, char **arguments);
int cli_dead_show(const cli_command *command, const cli_settings *settings, int count, char **arguments);
int cli_dead_requeue(const cli_command *command, const cli_settings *settings, int count, char **arguments);
int cli_dead_purge(const cli_command *command, const cli_settings *settings, int count, char **arguments);

#endif
