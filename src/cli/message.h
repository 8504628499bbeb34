/* A received event as text on stdout. */
#ifndef FERRY_CLI_MESSAGE_H
#define FERRY_CLI_MESSAGE_H

#include "args.h"
#include "text.h"

/* One line: {"topic":…,"id":…,"key":…,"correlation":…,"attempt":…,"headers":…,"data":…}, what is absent left out. With
 * --raw the data alone: a string bare, bytes as they are, else JSON. */
void cli_message_write(cli_text *to, const cli_settings *settings, const ferry_request *req);

/* All of it, by write(2): what succeeded is out of this process. 0, or an errno. */
int cli_message_put(const cli_text *t);
/* Where stdout is a pipe: until its reader has taken all of it. false: the reader is gone, or is_over() says to stop. So a
 * reader that takes one line and leaves, as head -1 does, leaves the next one here and not in the pipe. */
bool cli_message_taken(bool (*is_over)(void *arg), void *arg);

#endif
