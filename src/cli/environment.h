/* The environment of a command that serves a message: ours, without what an outer message left in it, and
 * FERRY_MSG_ROUTE, _VERB, _ID, _KEY, _ATTEMPT, _REMAINING_MS, _HEADER_NAME (one a header), FERRY_WITHIN, FERRY_URL. */
#ifndef FERRY_CLI_ENVIRONMENT_H
#define FERRY_CLI_ENVIRONMENT_H

#include <ferry/ferry.h>

char **cli_environment(const ferry_request *req, const char *url) FERRY_MUST_USE; /* NULL = out of memory */
void   cli_environment_free(char **environment);

#endif
