#include "cli.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t servers[16];
static size_t count;

void cli_stop(void)
{
    for (size_t i = 0; i < count; i++) {
        if (test_alive(servers[i]))
            CHECK_INT(test_kill(servers[i], SIGTERM), 0);
    }
    while (waitpid(-1, NULL, WNOHANG) > 0) /* orphans of commands */
        ;
}

pid_t cli_serve_with(const char *words, const char *environment)
{
    const char *log = test_text("serve-%.*s.log", (int)strcspn(words, " "), words);
    pid_t pid;

    unlink(log);
    pid = test_start("env %s ferry serve %s 2> %s", environment, words, log);
    CHECK_SOON(!test_alive(pid) || (access(log, F_OK) == 0 && strstr(test_read(log), "ferry: serving ") != NULL),
               10000);
    if (!test_alive(pid))
        FAIL("ferry serve %s ended: %s", words, test_read(log));
    CHECK(count < sizeof servers / sizeof *servers);
    return servers[count++] = pid;
}

void cli_prints(int code, const char *out, const char *err, const char *command, ...)
{
    va_list args;
    char line[1024];
    test_output r;

    va_start(args, command);
    vsnprintf(line, sizeof line, command, args);
    va_end(args);
    test_note("%s", line);
    r = test_sh("%s", line);
    CHECK_STR(r.err, err);
    CHECK_STR(r.out, out);
    CHECK_INT(r.code, code);
}

void cli_fails(int code, const char *part_of_err, const char *command)
{
    test_output r;

    test_note("%s", command);
    r = test_sh("%s", command);
    CHECK_HAS(r.err, part_of_err);
    CHECK_STR(r.out, "");
    CHECK_INT(r.code, code);
}
