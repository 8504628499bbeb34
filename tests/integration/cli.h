/* What the tests of the tool share. Every case has a directory, which is also HOME: so the tool's default, a file in the
 * state directory, is the case's own. */
#ifndef FERRY_TEST_CLI_H
#define FERRY_TEST_CLI_H

#include "test.h"

/* `ferry serve` with these words, once it says that it serves. Its stderr is in serve-ROUTE.log. A second argument is set in its environment. */
#define cli_serve(...) cli_serve_(__VA_ARGS__, "", "")
#define cli_serve_(words, environment, ...) cli_serve_with((words), (environment))
pid_t cli_serve_with(const char *words, const char *environment);

/* A case, after which its servers are ended. */
#define CLI_TEST(name)             CLI_TEST_WITH(name, .limit_ms = 20000)
#define CLI_TEST_WITH(name, ...)         \
    static void cli_case_##name(void);   \
    TEST_WITH(name, __VA_ARGS__)         \
    {                                    \
        cli_case_##name();               \
        cli_stop();                      \
    }                                    \
    static void cli_case_##name(void)
void cli_stop(void);

/* Runs a shell command: exit code, all of stdout, all of stderr. */
void cli_prints(int code, const char *out, const char *err, const char *command, ...) FERRY_PRINTF(4, 5);
/* Exit code, nothing on stdout, this in stderr. */
void cli_fails(int code, const char *part_of_err, const char *command);

#endif
