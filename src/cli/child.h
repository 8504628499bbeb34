/* One child process with three pipes, in a process group of its own, fed and read without ever blocking on it. */
#ifndef FERRY_CLI_CHILD_H
#define FERRY_CLI_CHILD_H

#include "text.h"

#include <sys/types.h>

typedef enum cli_child_end {
    CLI_CHILD_EXITED,
    CLI_CHILD_TOO_LONG,
    CLI_CHILD_CANCELLED,
    CLI_CHILD_TOO_BIG
} cli_child_end;

typedef struct cli_child {
    pid_t             pid;              /* also its process group */
    int               in, out, err;     /* our ends; -1 = closed */
    int               pidfd;            /* readable once it has ended; -1 = the kernel has none */
    const cli_text   *input;
    size_t            written;
    cli_text          output;           /* its max bounds what is taken */
    cli_text          complaint;        /* the last of what it wrote to stderr */
    bool              pass_on;          /* all of that to our stderr, too */
    cli_child_end     end;
    int               status;           /* as of waitpid */
    bool              ended;
    int64_t           deadline_ms;      /* CLOCK_MONOTONIC; 0 = none */
    int64_t           kill_ms;          /* when SIGKILL follows; 0 = no SIGTERM yet */
    struct cli_child *next;             /* of all that run */
} cli_child;

/* `sh -c command` with this environment. Answers 0, or an errno. */
int cli_child_start(cli_child *c, const char *command, char **environment);
/* Feeds, reads and waits until it has ended, or was made to: at the deadline, when `cancelled` says so, or when it writes
 * more than is taken, the group gets SIGTERM and 2 s later SIGKILL. */
void   cli_child_run(cli_child *c, bool (*cancelled)(void *arg), void *arg);
void   cli_child_done(cli_child *c);
size_t cli_child_count(void);
void   cli_child_kill_all(void);

#endif
