/* The data of a call, from the command line: key=text, key:=JSON, key=@file, key:=@file, or -d with one document. */
#ifndef FERRY_CLI_PAYLOAD_H
#define FERRY_CLI_PAYLOAD_H

#include "args.h"

/* NULL = no data to be had: said on stderr, the exit code is CLI_USAGE. Nothing given is nil. */
ferry_value *cli_payload(const cli_command *command, const cli_settings *settings, int count,
                         char **arguments) FERRY_MUST_USE;

/* "key=value" pairs as a map of strings; NULL = one is none: said on stderr. */
ferry_value *cli_payload_headers(const cli_command *command, const cli_list *headers) FERRY_MUST_USE;

#endif
