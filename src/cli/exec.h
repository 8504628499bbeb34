/* A shell command as a handler: `serve --exec CMD`. */
#ifndef FERRY_CLI_EXEC_H
#define FERRY_CLI_EXEC_H

#include <ferry/ferry.h>

typedef struct cli_exec {
    const char *command;
    const char *url;      /* becomes FERRY_URL of the command; NULL = as inherited */
    bool        raw;      /* strings in and out as bare text */
    bool        quiet;    /* what a command that succeeds wrote to stderr is not passed on */
    int         limit_ms; /* of one command, also when nobody waits; 0 = none */
} cli_exec;

void   cli_exec_handle(ferry_request *req, void *exec); /* a ferry_handler_fn */
size_t cli_exec_running(void);
void   cli_exec_kill_all(void); /* SIGKILL for every process group that still runs */

#endif
