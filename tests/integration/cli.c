#include "cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

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
    return pid;
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
