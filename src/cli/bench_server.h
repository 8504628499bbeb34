/* The other end of `ferry bench`: a `ferry serve` in a process of its own, or, for mem:, which does not leave a process, a
 * second handle in this one. */
#ifndef FERRY_CLI_BENCH_SERVER_H
#define FERRY_CLI_BENCH_SERVER_H

#include "args.h"

#include <sys/types.h>

typedef struct cli_bench_server {
    char        route[96];    /* where to send */
    char        counted[96];  /* a get of it answers how many were handled; "" = it does not count */
    bool        here;         /* in this process */
    pid_t       pid;
    int         lifeline;     /* it ends when this is closed, however we end */
    ferry      *f;
    long long   handled;
} cli_bench_server;

/* Before the process has threads. `count` = count no-wait posts instead of echoing. false: said on stderr. */
bool cli_bench_server_start(cli_bench_server *s, const cli_settings *settings, bool count);
/* Until it answers f, 10 s at most; somebody else's is there or not. false: said on stderr. */
bool cli_bench_server_wait(cli_bench_server *s, ferry *f);
/* How many it has handled; -1 = it does not say. */
long long cli_bench_server_handled(cli_bench_server *s, ferry *f);
void      cli_bench_server_stop(cli_bench_server *s);

const char *cli_bench_transport(const cli_settings *settings); /* "file", "mem", …: static until the next call */

#endif
