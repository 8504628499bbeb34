/* A shell command as a handler: `serve --exec CMD`. */
#ifndef FERRY_CLI_EXEC_H
#define FERRY_CLI_EXEC_H

#include "text.h"

typedef struct cli_exec {
    const char *command;
    const char *url;      /* becomes FERRY_URL of the command; NULL = as inherited */
    bool        raw;      /* strings in and out as bare text */
    bool        quiet;    /* what a command that succeeds wrote to stderr is not passed on */
    int         limit_ms; /* of one command, also when nobody waits; 0 = none */
    /* of an event: where the output of a command that succeeded goes; NULL: it is the answer */
    void      (*print)(const cli_text *output, void *arg);
    void       *print_arg;
} cli_exec;

void   cli_exec_handle(ferry_request *req, void *exec); /* a ferry_handler_fn */
bool   cli_exec_event(ferry_request *req, const cli_exec *exec); /* the same, for one to be ended by the caller; true = it succeeded */
size_t cli_exec_running(void);
void   cli_exec_kill_all(void); /* SIGKILL for every process group that still runs */

#endif
