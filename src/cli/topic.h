/* `ferry topic …` and `ferry lag`: the domains of events, and how far their readers are. */
#ifndef FERRY_CLI_TOPIC_H
#define FERRY_CLI_TOPIC_H

#include "args.h"

int cli_topic_list(const cli_command *command, const cli_settings *settings, int count, char **arguments);
int cli_topic_create(const cli_command *command, const cli_settings *settings, int count, char **arguments);
int cli_topic_describe(const cli_command *command, const cli_settings *settings, int count, char **arguments);
int cli_topic_delete(const cli_command *command, const cli_settings *settings, int count, char **arguments);
int cli_topic_purge(const cli_command *command, const cli_settings *settings, int count, char **arguments);
int cli_lag_run(const cli_command *command, const cli_settings *settings, int count, char **arguments);

#endif
