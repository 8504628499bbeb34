/* How calls end, for people and scripts: what is printed where, and the exit code. */
#ifndef FERRY_CLI_RESULT_H
#define FERRY_CLI_RESULT_H

#include "args.h"
#include "text.h"

/* The exit code of one reply: the first that fits of DONE, USAGE (INVALID, found here), UNKNOWN, ERRORS (a server
 * answered), NOT_DONE. */
int cli_result_code(const ferry_reply *r);
/* The same for the status of a no-wait send, which comes without an outcome. */
int cli_result_code_of(ferry_status s);
/* The worse of two lines of a stream: UNKNOWN, NOT_DONE, USAGE, ERRORS, DONE. */
int cli_result_worse(int a, int b);

/* The answer on stdout and the errors on stderr, each after "line N: " where line is not 0. */
void cli_result_print(const cli_settings *settings, const ferry_reply *r, size_t line);
/* The same for a failure that has no reply, or (status OK) for a no-wait send that is with the broker. */
void cli_result_print_status(const cli_settings *settings, ferry_status s, const char *why, size_t line);
/* One value, as the options say. */
void cli_result_print_value(const cli_settings *settings, const ferry_value *v);

/* "TYPE: MESSAGE" on stderr in one piece: control characters of a peer never reach the terminal, further lines of the
 * message are indented. */
void cli_result_complain(size_t line, const char *type, const char *message);

void cli_result_flush(void); /* stdout, remembering a failure */
/* Flushes stdout. Answers `code`, or UNKNOWN when an answer could not be written: said on stderr, save EPIPE. */
int  cli_result_finish(int code);
bool cli_result_stdout_failed(void);

#endif
