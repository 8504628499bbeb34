/* test.h - the test harness: cases that register themselves, checks that show both values, processes to kill.
 *
 *     #include "test.h"
 *
 *     TEST(starts_empty)                                     // in tests/unit/list_test.c: address "list_test::starts_empty"
 *     {
 *         CHECK_INT(count, 0);
 *     }
 *     CONFORMANCE(echo)                                      // once per transport: "mem/calls::echo", "file/calls::echo"
 *     {
 *         ferry *f = ferry_open(test_url(), NULL);
 *     }
 *
 * Every case runs in a process of its own, with a time limit. It fails when a check fails, when it crashes or outlives its limit, and
 * when it leaves something behind that was not there before: a thread, a descriptor, a block of ferry's memory, a running process.
 * A check that fails ends the process at once; in a child process it fails the case too.
 *
 *     build/test-unit list_test                   the cases whose address contains that; several words = all of their cases
 *     build/test-unit --here list_test::empty     one case in this very process, without a limit: for a debugger
 *     build/test-unit --list | -j N | -v | --repeat N
 *
 * Around a case: the directory is test_dir(), also HOME, TMPDIR and XDG_STATE_HOME; no FERRY_ variable is set save FERRY_TEST_…; PATH
 * starts with the build directory, so that `ferry` is the one just built; standard input is empty. Strings that the harness returns
 * belong to it and live as long as the process. */
#ifndef FERRY_TEST_H
#define FERRY_TEST_H

#include <ferry/ferry.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

/* ---- Cases ---------------------------------------------------------------------------------------------------------- */

typedef struct test_case {
    const char *file, *name;
    void (*run)(void);
    int               limit_ms; /* [20000]; longer by itself under a sanitizer */
    const char       *needs;    /* words a transport must list in .can, else the case is not made for it [none] */
    const char       *only;     /* names of the transports it is made for [all] */
    bool              stamped;  /* once per transport */
    struct test_case *next;
} test_case;

typedef struct test_transport {
    const char *name;
    const char *url; /* {dir} becomes the case's directory, {name} a name no other case has, {NAME} an environment variable */
    const char *can; /* words of our own: "processes" = others on this machine reach it, "durable" = survives a kill … */
    struct test_transport *next;
} test_transport;

typedef struct test_child {
    const char *name;
    void (*run)(const char *arg);
    struct test_child *next;
} test_child;

#define TEST(name)                  TEST_CASE_(name, .stamped = false)
#define TEST_WITH(name, ...)        TEST_CASE_(name, __VA_ARGS__)     /* TEST_WITH(slow, .limit_ms = 60000) */
#define CONFORMANCE(name)           TEST_CASE_(name, .stamped = true)
#define CONFORMANCE_WITH(name, ...) TEST_CASE_(name, .stamped = true, __VA_ARGS__)

/* One line makes every CONFORMANCE case run on one more transport: TRANSPORT(file, "file:{dir}/ferry.db", .can = "processes durable") */
#define TRANSPORT(name_, ...) TEST_REGISTER_(name_, transport, {.name = #name_, .url = __VA_ARGS__})

/* A function to run in another process of the test program: TEST_CHILD(server) { … arg … }, then test_spawn(server, "text"). The
 * name is unique in the whole program. */
#define TEST_CHILD(name)                                   \
    static void test_child_##name(const char *arg);        \
    TEST_REGISTER_(name, child, {#name, test_child_##name, NULL}) \
    static void test_child_##name(const char *arg)

#define TEST_CASE_(name_, ...)                                                                                \
    static void test_case_##name_(void);                                                                      \
    TEST_REGISTER_(name_, case, {.file = __FILE__, .name = #name_, .run = test_case_##name_, __VA_ARGS__})    \
    static void test_case_##name_(void)

#define TEST_REGISTER_(name_, kind, ...)                                          \
    __attribute__((constructor)) static void test_register_##kind##_##name_(void) \
    {                                                                             \
        static test_##kind self = __VA_ARGS__;                                    \
        test_add_##kind(&self);                                                   \
    }
void test_add_case(test_case *c);
void test_add_transport(test_transport *t);
void test_add_child(test_child *c);

/* ---- Checks: the value found, then the value expected --------------------------------------------------------------- */

#define CHECK(cond)               ((cond) ? (void)0 : test_fail(__FILE__, __LINE__, "not so: %s", #cond))
#define CHECK_INT(found, want)    test_check_int(__FILE__, __LINE__, #found, (long long)(found), (long long)(want))
#define CHECK_UINT(found, want) \
    test_check_uint(__FILE__, __LINE__, #found, (unsigned long long)(found), (unsigned long long)(want))
#define CHECK_STR(found, want)    test_check_str(__FILE__, __LINE__, #found, (found), (want))
#define CHECK_HAS(found, part)    test_check_has(__FILE__, __LINE__, #found, (found), (part)) /* part is somewhere in the text */
#define CHECK_BYTES(found, length, want, want_length) \
    test_check_bytes(__FILE__, __LINE__, #found, (found), (length), (want), (want_length))
#define CHECK_NULL(found)          test_check_null(__FILE__, __LINE__, #found, (found))
#define CHECK_NOT_NULL(found)      CHECK((found) != NULL)
#define CHECK_STATUS(found, want)  test_check_status(__FILE__, __LINE__, #found, (found), (want))
#define CHECK_OUTCOME(found, want) test_check_outcome(__FILE__, __LINE__, #found, (found), (want))
/* Waits until cond holds, looking again every millisecond; fails after ms, which grow under a sanitizer. */
#define CHECK_SOON(cond, ms)                                                      \
    do {                                                                          \
        for (int64_t test_end_ = test_now_ms() + test_ms(ms); !(cond);)           \
            if (!test_pause(test_end_))                                           \
                test_fail(__FILE__, __LINE__, "still not so after %d ms: %s", test_ms(ms), #cond); \
    } while (0)
#define FAIL(...) test_fail(__FILE__, __LINE__, __VA_ARGS__)
#define SKIP(...) test_skip(__VA_ARGS__) /* cannot be tried here, with the reason; reported, neither passed nor failed */

_Noreturn void test_fail(const char *file, int line, const char *format, ...) FERRY_PRINTF(3, 4);
_Noreturn void test_skip(const char *format, ...) FERRY_PRINTF(1, 2);
void           test_check_int(const char *file, int line, const char *what, long long found, long long want);
void           test_check_uint(const char *file, int line, const char *what, unsigned long long found, unsigned long long want);
void           test_check_str(const char *file, int line, const char *what, const char *found, const char *want);
void           test_check_has(const char *file, int line, const char *what, const char *found, const char *part);
void test_check_bytes(const char *file, int line, const char *what, const void *found, size_t length, const void *want,
                      size_t want_length);
void           test_check_null(const char *file, int line, const char *what, const void *found);
void           test_check_status(const char *file, int line, const char *what, ferry_status found, ferry_status want);
void           test_check_outcome(const char *file, int line, const char *what, ferry_outcome found, ferry_outcome want);

/* ---- What a case may ask -------------------------------------------------------------------------------------------- */

const char *test_url(void);             /* of the transport; "" in a plain case. A child process has the same one */
const char *test_transport_name(void);  /* "mem", "file"; "" in a plain case */
bool        test_can(const char *word); /* does the transport list it in .can? */
const char *test_dir(void);             /* empty at the start, removed at the end */
const char *test_root(void);            /* the source tree */
const char *test_bin(void);             /* the build directory: "<it>/ferry" is the tool */
const char *test_text(const char *format, ...) FERRY_PRINTF(1, 2);
const char *test_read(const char *path); /* a whole file as text; fails the case if there is none */
void        test_write(const char *path, const char *text);
bool        test_long(void);             /* FERRY_TEST_LONG is set: take the full numbers */
bool        test_is_asan(void);          /* built with AddressSanitizer, which costs memory and switches recycling off */
int64_t     test_now_ms(void);           /* a monotonic clock */
int         test_ms(int ms);             /* stretched under a sanitizer and by FERRY_TEST_SLOWNESS: for limits, tolerances */
bool        test_pause(int64_t end_ms);  /* one millisecond; false when end_ms is past */
bool        test_wait_for(bool (*is_so)(void *arg), void *arg, int ms); /* CHECK_SOON with a function; answers whether it became so */
void        test_note(const char *format, ...) FERRY_PRINTF(1, 2); /* the last one is shown if the case fails, also by a crash */

/* ---- Other processes: those begun here get SIGTERM at the end of the case, and have to end by it ------------------------ */

#define test_spawn(child, arg) test_spawn_child(#child, (arg)) /* runs a TEST_CHILD */
pid_t test_spawn_child(const char *child, const char *arg);
void  test_ready(void);                                        /* said by a child … */
void  test_wait_ready(pid_t child);                            /* … waited for by its parent; fails if the child ended instead */
pid_t test_start(const char *command, ...) FERRY_PRINTF(1, 2); /* a shell command, exec'd: the pid is the program's own */
int   test_wait(pid_t pid, int ms);                            /* its exit code, 128 + n for signal n; fails after ms */
int   test_kill(pid_t pid, int signal);                        /* sends it and waits for the end, 10 s at most; as test_wait */
bool  test_alive(pid_t pid);

typedef struct test_output {
    int         code; /* as test_wait */
    const char *out, *err;
} test_output;
test_output test_sh(const char *command, ...) FERRY_PRINTF(1, 2); /* runs a shell command to its end */

/* ---- Running out of memory ------------------------------------------------------------------------------------------ */

void test_fail_alloc_at(uint64_t n); /* the n-th allocation of ferry's from now fails, once; 0 = none */
/* The scenario again and again, with its first allocation failing, then its second, … until it runs through. It must not leak;
 * what it has to answer when memory is short, it checks itself: test_alloc_failed() tells whether the failure has struck. */
void test_every_alloc_fails(void (*scenario)(void *arg), void *arg);
bool test_alloc_failed(void);

#endif
