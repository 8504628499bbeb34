/* check.c - checks that show what was found and what was wanted; and texts, clocks and files for cases. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { SLOWNESS = TEST_TSAN ? 5 : TEST_ASAN ? 3 : 1 };

/* ---- Ends ----------------------------------------------------------------------------------------------------------- */

/* The mark tells the case's own process when this is a child of it. */
void test_fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    fflush(stdout);
    fprintf(stderr, "%s:%d: ", file, line);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    int mark = open(test_scratch("failed"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (mark >= 0)
        close(mark);
    _exit(1);
}

void test_skip(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    _exit(TEST_SKIPPED);
}

/* ---- Checks --------------------------------------------------------------------------------------------------------- */

void test_check_int(const char *file, int line, const char *what, long long found, long long want)
{
    if (found != want)
        test_fail(file, line, "%s is %lld, not %lld", what, found, want);
}

void test_check_uint(const char *file, int line, const char *what, unsigned long long found, unsigned long long want)
{
    if (found != want)
        test_fail(file, line, "%s is %llu, not %llu", what, found, want);
}

static const char *quoted(const char *s)
{
    return s ? test_text("\"%s\"", s) : "NULL";
}

void test_check_str(const char *file, int line, const char *what, const char *found, const char *want)
{
    if (found == want || (found && want && strcmp(found, want) == 0))
        return;
    test_fail(file, line, "%s is %s, not %s", what, quoted(found), quoted(want));
}

void test_check_has(const char *file, int line, const char *what, const char *found, const char *part)
{
    if (!found || !strstr(found, part))
        test_fail(file, line, "%s is %s, without %s in it", what, quoted(found), quoted(part));
}

static const char *hex(const void *data, size_t length)
{
    const char *text = "";
    for (size_t i = 0; i < length && i < 64; i++)
        text = test_text("%s%02x ", text, ((const unsigned char *)data)[i]);
    return test_text("%zu bytes: %s%s", length, text, length > 64 ? "…" : "");
}

void test_check_bytes(const char *file, int line, const char *what, const void *found, size_t length, const void *want,
                      size_t want_length)
{
    if (length != want_length || (length && memcmp(found, want, length) != 0))
        test_fail(file, line, "%s is\n  %s\nnot\n  %s", what, hex(found, length), hex(want, want_length));
}

void test_check_null(const char *file, int line, const char *what, const void *found)
{
    if (found)
        test_fail(file, line, "%s is %p, not NULL", what, found);
}

void test_check_status(const char *file, int line, const char *what, ferry_status found, ferry_status want)
{
    if (found != want)
        test_fail(file, line, "%s is %s, not %s", what, ferry_status_name(found), ferry_status_name(want));
}

static const char *outcome_name(ferry_outcome o)
{
    static const char *const names[] = {"NOT_SENT", "NOT_EXECUTED", "UNKNOWN", "EXECUTED"};
    return (size_t)o < sizeof names / sizeof names[0] ? names[o] : test_text("outcome %d", (int)o);
}

void test_check_outcome(const char *file, int line, const char *what, ferry_outcome found, ferry_outcome want)
{
    if (found != want)
        test_fail(file, line, "%s is %s, not %s", what, outcome_name(found), outcome_name(want));
}

/* ---- Texts ---------------------------------------------------------------------------------------------------------- */

/* Kept until the process ends, chained so that LeakSanitizer sees an owner. */
typedef struct kept {
    struct kept *older;
    char         chars[];
} kept;

static void *keep(size_t size)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static kept           *newest;
    kept *t = malloc(sizeof *t + size);
    if (!t)
        abort();
    pthread_mutex_lock(&lock);
    t->older = newest;
    newest = t;
    pthread_mutex_unlock(&lock);
    return t->chars;
}

const char *test_text(const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    char *chars = keep((size_t)length + 1);
    vsnprintf(chars, (size_t)length + 1, format, again);
    va_end(again);
    va_end(args);
    return chars;
}

const char *test_read(const char *path)
{
    enum { CHUNK = 65536 };
    char *text = NULL;
    size_t length = 0, got;
    FILE *in = fopen(path, "re");
    if (!in)
        FAIL("cannot read %s: %s", path, strerror(errno));
    do {
        char *longer = keep(length + CHUNK + 1);
        if (length)
            memcpy(longer, text, length);
        text = longer;
        got = fread(text + length, 1, CHUNK, in);
        length += got;
    } while (got > 0);
    text[length] = '\0';
    fclose(in);
    return text;
}

void test_write(const char *path, const char *text)
{
    FILE *out = fopen(path, "we");
    if (!out || fputs(text, out) < 0 || fclose(out) != 0)
        FAIL("cannot write %s: %s", path, strerror(errno));
}

void test_note(const char *format, ...)
{
    char note[TEST_NOTE_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(note, sizeof note, format, args);
    va_end(args);
    test_write(test_scratch("note"), note);
}

bool test_is_asan(void)
{
    return TEST_ASAN;
}

/* ---- Time ----------------------------------------------------------------------------------------------------------- */

int64_t test_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int test_ms(int ms)
{
    const char *slower = getenv("FERRY_TEST_SLOWNESS");
    long times = slower ? strtol(slower, NULL, 10) : 1;
    return ms * SLOWNESS * (times > 1 ? (int)times : 1);
}

bool test_pause(int64_t end_ms)
{
    struct timespec one = {0, 1000000};
    nanosleep(&one, NULL);
    return test_now_ms() < end_ms;
}

bool test_wait_for(bool (*is_so)(void *arg), void *arg, int ms)
{
    int64_t end = test_now_ms() + test_ms(ms);
    while (!is_so(arg))
        if (!test_pause(end))
            return false;
    return true;
}
