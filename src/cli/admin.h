/* Administrative questions: asked, and their answers printed as a table or as JSON. */
#ifndef FERRY_CLI_ADMIN_H
#define FERRY_CLI_ADMIN_H

#include "args.h"

typedef void cli_admin_print_fn(const cli_settings *settings, const ferry_value *answer);
/* Asks on a handle of its own and prints: errors as always, the answer by `print` (NULL: as one line of JSON). Takes args.
 * Answers the exit code. */
int cli_admin_ask(const cli_settings *settings, const char *what, ferry_value *args, cli_admin_print_fn *print);

/* Each item of a list: a row on a terminal, below `head`, a line of JSON elsewhere or with --full. */
void cli_admin_print_list(const cli_settings *settings, const ferry_value *list, const char *head,
                          void (*print_row)(const ferry_value *item));
/* One field of a row, cut and filled up to a width in characters; control characters are blanks. */
void cli_admin_column(const char *text, int width);
void cli_admin_number(const ferry_value *number, int width); /* "-" where there is none, or a negative one */

/* "Purge …? [y/N]" on a terminal, unless --yes. CLI_DONE: go on; else the exit code, and something was said. */
int cli_admin_agree(const cli_command *command, const cli_settings *settings, const char *question);

#endif
