/* get, put, patch, post, delete and publish: one call, or a stream of them; waiting for the answer, or not. */
#ifndef FERRY_CLI_CALL_H
#define FERRY_CLI_CALL_H

#include "args.h"
#include "within.h"

enum { CLI_PUBLISH = 0 }; /* in the place of a verb: an event, which nobody answers */

typedef struct cli_call {
    const cli_command  *command;
    const cli_settings *settings;
    const char         *route;
    ferry_value        *headers;
    cli_within          within;
} cli_call;

/* Milliseconds for a call that starts now: -t, or what is left of the message this process serves, the shorter of both;
 * 0 = the library's default; -1 = nothing is left. */
int cli_call_timeout(const cli_call *call);
/* Borrows from the call. */
ferry_call_options cli_call_options(const cli_call *call, int timeout_ms, char *why);
/* Headers and what is inherited, out of the settings. Answers an exit code; `headers` is the caller's to free. */
int cli_call_prepare(cli_call *call);
/* The no-wait send of the command's verb, confirmed or queued. Takes data. */
ferry_status cli_call_send(ferry *f, const cli_call *call, ferry_value *data, ferry_confirm confirm, char *why);
/* Broken URL and the like: says so and answers CLI_USAGE, else CLI_DONE. */
int cli_call_check(ferry *f, const cli_settings *settings);

int cli_call_run(const cli_command *command, const cli_settings *settings, int count, char **arguments);
/* One event, confirmed: connects, sends, says how it ended. Takes data. */
int cli_call_publish(const cli_command *command, const cli_settings *settings, const char *topic, ferry_value *data);
int cli_call_stream(const cli_call *call); /* stream.c */
int cli_call_posts(const cli_call *call);  /* posts.c: a stream that waits for no answer */

#endif
