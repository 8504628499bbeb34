/* harness.h - what the harness's own files share: runner.c plans and watches, the others are the inside of one case's process. */
#ifndef FERRY_TEST_HARNESS_H
#define FERRY_TEST_HARNESS_H

#include "test.h"

#if defined(__has_feature)
#define TEST_HAS_FEATURE(x) __has_feature(x)
#else
#define TEST_HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_THREAD__) || TEST_HAS_FEATURE(thread_sanitizer)
#define TEST_TSAN 1
#else
#define TEST_TSAN 0
#endif
#if defined(__SANITIZE_ADDRESS__) || TEST_HAS_FEATURE(address_sanitizer)
#define TEST_ASAN 1
#else
#define TEST_ASAN 0
#endif

enum { TEST_PASSED = 76, TEST_SKIPPED = 77 }; /* exit codes; 0 is a case that called exit */
enum { TEST_MOST_FDS = 1024, TEST_NOTE_SIZE = 256 };

extern test_case      *test_cases;
extern test_transport *test_transports;

const char *test_address(const test_case *c, const test_transport *t);
bool        test_has_word(const char *words, const char *word); /* "mem" in "mem file" */

/* A case's scratch: dir/ is the case's own, out its output, failed the mark of a check that failed in some process of it, note its
 * last note, ready.PID what test_ready() leaves. */
const char *test_scratch(const char *name);
void        test_scratch_open(const char *path); /* makes it when there is none */
void        test_scratch_remove(const char *path);

typedef struct test_inventory {
    size_t threads, blocks;
    bool   fds[TEST_MOST_FDS];
} test_inventory;
void test_inventory_take(test_inventory *i);
bool test_inventory_same(const test_inventory *before); /* else says on stderr what was left behind */

bool test_end_started(void); /* SIGTERM to what test_start and test_spawn began; false: one did not end by it */

int test_run_case(const test_case *c, const test_transport *t); /* in this process; TEST_PASSED or 1 */
int test_run_child(const char *name, const char *arg);

#endif
