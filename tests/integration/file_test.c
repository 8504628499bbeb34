/* file_test.c - the file transport and what a machine does to files: no file, another file, no right, no room; and the default path. */
#include "test.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SOON_MS = 20000, NO_MOUNT = 99 /* exit code */ };

static const char *in_dir(const char *name)
{
    return test_text("%s/%s", test_dir(), name);
}

/* ---- Paths that cannot be used -------------------------------------------------------------------------------------- */

/* Every call says why, soon, and closing is quick: nothing hangs on a file that will never work. */
static void is_unusable(const char *path, const char *said)
{
    char problem[512] = "", why[FERRY_WHY_SIZE] = "";
    ferry *f = ferry_open(test_text("file:%s", path), FERRY_OPTIONS(.close_ms = 1000));
    CHECK(ferry_wait_ready(f, 300) != FERRY_OK);
    CHECK(ferry_problem(f, problem, sizeof problem) > 0);
    CHECK_HAS(problem, said);
    ferry_reply *r = ferry_get(f, "calc.add", NULL, FERRY_CALL(.timeout_ms = 300));
    CHECK(ferry_has_errors(r));
    CHECK_OUTCOME(ferry_reply_outcome(r), FERRY_OUTCOME_NOT_SENT);
    CHECK_HAS(ferry_error_at(r, 0)->message, said);
    ferry_reply_free(r);
    CHECK(ferry_post_no_wait(f, "calc.add", NULL,
                             FERRY_CALL(.confirm = FERRY_CONFIRMED, .timeout_ms = 300, .why = why)) != FERRY_OK);
    CHECK_HAS(why, said);
    ferry_close(f);
}

TEST(a_file_that_is_no_database)
{
    const char *path = in_dir("letter.txt");
    test_write(path, "Dear reader, this is a letter and not a database; it is long enough to have no header of one.\n");
    const char *before = test_read(path);
    is_unusable(path, "letter.txt");
    CHECK_STR(test_read(path), before); /* and it was left alone */
}

TEST(a_database_of_somebody_else)
{
    if (test_sh("command -v sqlite3").code != 0)
        SKIP("no sqlite3 shell here to make one with");
    CHECK_INT(test_sh("sqlite3 '%s' 'create table t(x); insert into t values (42)'", in_dir("other.db")).code, 0);
    is_unusable(in_dir("other.db"), "not a ferry database");
    CHECK_STR(test_sh("sqlite3 '%s' 'select x from t'", in_dir("other.db")).out, "42\n");
}

TEST(a_directory)
{
    is_unusable(test_dir(), "directory");
}

TEST(a_place_where_nothing_can_be_made)
{
    is_unusable("/proc/ferry.db", "/proc/ferry.db");
    is_unusable("/dev/null", "/dev/null");
}

TEST(a_file_without_the_right_to_write)
{
    const char *path = in_dir("locked.db");
    if (geteuid() == 0)
        SKIP("root may write everything");
    test_write(path, "");
    CHECK_INT(chmod(path, 0400), 0);
    is_unusable(path, "locked.db");
}

TEST(a_damaged_database)
{
    const char *path = in_dir("damaged.db");
    ferry *f = ferry_open(test_text("file:%s", path), NULL);
    CHECK_STATUS(ferry_wait_ready(f, SOON_MS), FERRY_OK);
    CHECK_STATUS(ferry_close(f), FERRY_OK);
    char noise[4096];
    memset(noise, 0x5a, sizeof noise);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0 && pwrite(fd, noise, sizeof noise, 0) == sizeof noise);
    close(fd);
    CHECK_INT(test_sh("rm -f '%s'-wal '%s'-shm", path, path).code, 0);
    is_unusable(path, "damaged.db");
}

/* ---- No room -------------------------------------------------------------------------------------------------------- */

static void count(ferry_request *req, void *counter)
{
    (void)req;
    __atomic_add_fetch((int *)counter, 1, __ATOMIC_SEQ_CST);
}

static ferry_value *heavy(void)
{
    enum { SIZE = 100000 };
    char *bytes = calloc(1, SIZE);
    ferry_value *v = ferry_bytes(bytes, SIZE);
    free(bytes);
    return v;
}

static ferry *serve_counter(const char *url, int *counter)
{
    ferry *s = ferry_open(url, NULL);
    CHECK_STATUS(ferry_handle(s, "work.count", count, counter, NULL), FERRY_OK);
    CHECK_STATUS(ferry_serve(s), FERRY_OK);
    return s;
}

/* Sends until the file may grow no more; says how many were confirmed, by its exit code. */
TEST_CHILD(filling_client)
{
    const struct rlimit most = {3 << 20, 3 << 20};
    char why[FERRY_WHY_SIZE] = "";
    int confirmed = 0;
    signal(SIGXFSZ, SIG_IGN);
    ferry *c = ferry_open(arg, FERRY_OPTIONS(.timeout_ms = 2000));
    CHECK_STATUS(ferry_wait_ready(c, SOON_MS), FERRY_OK);
    CHECK_INT(setrlimit(RLIMIT_FSIZE, &most), 0); /* as a disk does that is full, this fails writes beyond it */
    for (; confirmed < 100; confirmed++)
        if (ferry_post_no_wait(c, "work.count", heavy(), FERRY_CALL(.confirm = FERRY_CONFIRMED, .why = why)) !=
            FERRY_OK)
            break;
    CHECK_HAS(why, "narrow.db"); /* which file it is about */
    CHECK(ferry_post_no_wait(c, "work.count", heavy(), FERRY_CALL(.confirm = FERRY_CONFIRMED)) != FERRY_OK); /* still, and still no harm */
    ferry_close(c);
    exit(confirmed);
}

TEST_WITH(a_file_that_may_not_grow, .limit_ms = 60000)
{
    const char *url = test_text("file:%s", in_dir("narrow.db"));
    int handled = 0;
    ferry *s = serve_counter(url, &handled), *c = ferry_open(url, NULL);
    CHECK_SOON(ferry_post_no_wait(c, "work.count", NULL, FERRY_CALL(.confirm = FERRY_CONFIRMED)) == FERRY_OK, SOON_MS);
    CHECK_SOON(__atomic_load_n(&handled, __ATOMIC_SEQ_CST) == 1, SOON_MS);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    int confirmed = test_wait(test_spawn(filling_client, url), SOON_MS);
    CHECK(confirmed > 5 && confirmed < 100);
    s = serve_counter(url, &handled);
    CHECK_SOON(__atomic_load_n(&handled, __ATOMIC_SEQ_CST) == 1 + confirmed, SOON_MS); /* what was confirmed is there, and no more */
    CHECK_STATUS(ferry_post_no_wait(c, "work.count", NULL, FERRY_CALL(.confirm = FERRY_CONFIRMED)), FERRY_OK);
    CHECK_SOON(__atomic_load_n(&handled, __ATOMIC_SEQ_CST) == 2 + confirmed, SOON_MS);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
}

/* A file system of our own, so small that it gets full. */
static void mount_small(const char *at)
{
    if (geteuid() != 0 || mkdir(at, 0700) != 0 || unshare(CLONE_NEWNS) != 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 || mount("none", at, "tmpfs", 0, "size=64m") != 0)
        exit(NO_MOUNT);
}

static void fill(const char *path)
{
    static char block[1 << 16];
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    while (write(fd, block, sizeof block) > 0)
        continue;
    close(fd);
}

TEST_CHILD(on_a_full_disk)
{
    char why[FERRY_WHY_SIZE] = "";
    int handled = 0, confirmed = 0;
    mount_small(arg);
    const char *url = test_text("file:%s/full.db", arg), *ballast = test_text("%s/ballast", arg);
    ferry *s = serve_counter(url, &handled), *c = ferry_open(url, FERRY_OPTIONS(.timeout_ms = 2000));
    CHECK_SOON(ferry_post_no_wait(c, "work.count", NULL, FERRY_CALL(.confirm = FERRY_CONFIRMED)) == FERRY_OK, SOON_MS);
    CHECK_SOON(__atomic_load_n(&handled, __ATOMIC_SEQ_CST) == 1, SOON_MS);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    fill(ballast);
    for (; confirmed < 100; confirmed++)
        if (ferry_post_no_wait(c, "work.count", heavy(), FERRY_CALL(.confirm = FERRY_CONFIRMED, .why = why)) !=
            FERRY_OK)
            break;
    CHECK_HAS(why, "disk full");
    CHECK_HAS(why, "full.db");
    ferry_reply *r = ferry_get(c, "work.count", heavy(), FERRY_CALL(.timeout_ms = 500));
    CHECK(ferry_has_errors(r));
    ferry_reply_free(r);
    CHECK_INT(unlink(ballast), 0); /* somebody makes room */
    CHECK_SOON(ferry_post_no_wait(c, "work.count", heavy(), FERRY_CALL(.confirm = FERRY_CONFIRMED)) == FERRY_OK,
               SOON_MS);
    s = serve_counter(url, &handled);
    CHECK_SOON(__atomic_load_n(&handled, __ATOMIC_SEQ_CST) == 2 + confirmed, SOON_MS); /* all that was confirmed, and no more */
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
}

TEST_WITH(a_full_disk, .limit_ms = 60000)
{
    int code = test_wait(test_spawn(on_a_full_disk, in_dir("small")), SOON_MS * 2);
    if (code == NO_MOUNT)
        SKIP("may not mount a small file system here");
    CHECK_INT(code, 0);
}

/* ---- Many processes ------------------------------------------------------------------------------------------------- */

TEST_CHILD(first_user)
{
    ferry *f = ferry_open(arg, NULL);
    CHECK_STATUS(ferry_wait_ready(f, SOON_MS), FERRY_OK);
    ferry_reply *r = ferry_get(f, "nobody.home", NULL, NULL);
    CHECK_STATUS(ferry_reply_status(r), FERRY_NO_SERVICE);
    ferry_reply_free(r);
    CHECK_STATUS(ferry_close(f), FERRY_OK);
}

TEST_WITH(a_new_file_opened_by_many_at_once, .limit_ms = 30000)
{
    enum { USERS = 6 };
    pid_t users[USERS];
    for (int round = 0; round < 3; round++) {
        const char *url = test_text("file:%s", in_dir(test_text("new%d.db", round)));
        for (int i = 0; i < USERS; i++)
            users[i] = test_spawn(first_user, url);
        for (int i = 0; i < USERS; i++)
            CHECK_INT(test_wait(users[i], SOON_MS), 0);
    }
}

/* ---- The default ---------------------------------------------------------------------------------------------------- */

static void echo(ferry_request *req, void *arg)
{
    (void)arg;
    ferry_respond(req, ferry_value_copy(ferry_request_data(req)));
}

static void is_private(const char *path, mode_t want)
{
    struct stat at;
    CHECK_INT(stat(path, &at), 0);
    CHECK_INT(at.st_mode & 0777, want);
}

TEST(the_default_is_a_file_in_the_state_directory)
{
    const char *folder = test_text("%s/ferry", getenv("XDG_STATE_HOME")); /* the harness points it into the case's directory */
    umask(0);
    ferry *s = ferry_open(NULL, NULL), *c = ferry_open(NULL, NULL);
    CHECK_STATUS(ferry_handle(s, "calc.echo", echo, NULL, NULL), FERRY_OK);
    CHECK_STATUS(ferry_serve(s), FERRY_OK);
    ferry_status status = FERRY_NO_SERVICE;
    for (int64_t end = test_now_ms() + SOON_MS; status == FERRY_NO_SERVICE && test_pause(end);) {
        ferry_reply *r = ferry_get(c, "calc.echo", NULL, NULL);
        status = ferry_reply_status(r);
        ferry_reply_free(r);
    }
    CHECK_STATUS(status, FERRY_OK);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    is_private(folder, 0700);
    DIR *d = opendir(folder);
    CHECK_NOT_NULL(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.')
            is_private(test_text("%s/%s", folder, e->d_name), 0600);
    closedir(d);
}
