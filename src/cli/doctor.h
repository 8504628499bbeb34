/* `ferry doctor`: is everything there that a call needs? */
#ifndef FERRY_CLI_DOCTOR_H
#define FERRY_CLI_DOCTOR_H

#include "args.h"

int cli_doctor_run(const cli_command *command, const cli_settings *settings, int count, char **arguments);

#endif
