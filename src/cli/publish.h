/* `ferry publish`: events out of arguments, or of a stream. It is a call without a verb: call.h does the rest. */
#ifndef FERRY_CLI_PUBLISH_H
#define FERRY_CLI_PUBLISH_H

#include "call.h"

/* Takes data. */
ferry_status cli_publish_send(ferry *f, const cli_call *call, ferry_value *data, ferry_confirm confirm, int timeout_ms,
                              char *why);

/* `ferry notify` and `ferry send-files`: what a step of a workflow tells the others. */
int cli_notify_run(const cli_command *command, const cli_settings *settings, int count, char **arguments);
int cli_send_files_run(const cli_command *command, const cli_settings *settings, int count, char **arguments);

#endif
