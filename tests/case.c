/* case.c - the inside of one case's process: its surroundings, and what it must not leave behind.
 *
 * The scratch directory's path travels in FERRY_TEST_SCRATCH, the transport's URL and name beside it, so that child processes of the
 * case find the same. The inventory is taken once the surroundings stand. */
#include "harness.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

test_case             *test_cases;
test_transport        *test_transports;
static test_child     *children;
static const test_transport *transport; /* of the case in this process; NULL in a plain case */

/* Appends, so that cases keep the order of their file. */
#define ADD(list, item)                              \
    do {                                             \
        __typeof__(item) *at_ = &(list);             \
        while (*at_)                                 \
            at_ = &(*at_)->next;                     \
        *at_ = (item);                               \
    } while (0)

void test_add_case(test_case *c)
{
    ADD(test_cases, c);
}

void test_add_transport(test_transport *t)
{
    ADD(test_transports, t);
}

void test_add_child(test_child *c)
{
    ADD(children, c);
}

/* ---- Names ---------------------------------------------------------------------------------------------------------- */

const char *test_address(const test_case *c, const test_transport *t)
{
    const char *slash = strrchr(c->file, '/'), *stem = slash ? slash + 1 : c->file;
    int length = (int)strcspn(stem, ".");
    return test_text("%s%s%.*s::%s", t ? t->name : "", t ? "/" : "", length, stem, c->name);
}

bool test_has_word(const char *words, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = words; at && (at = strstr(at, word)) != NULL; at += length)
        if ((at == words || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
            return true;
    return false;
}

bool test_can(const char *word)
{
    return transport && test_has_word(transport->can, word);
}

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value ? value : "";
}

const char *test_url(void)
{
    return variable("FERRY_TEST_URL");
}

const char *test_transport_name(void)
{
    return variable("FERRY_TEST_TRANSPORT");
}

const char *test_scratch(const char *name)
{
    return test_text("%s/%s", variable("FERRY_TEST_SCRATCH"), name);
}

const char *test_dir(void)
{
    return test_scratch("dir");
}

bool test_long(void)
{
    return *variable("FERRY_TEST_LONG") != '\0';
}

/* ---- Surroundings --------------------------------------------------------------------------------------------------- */

static const char *bracket_value(const char *name)
{
    if (strcmp(name, "dir") == 0)
        return test_dir();
    if (strcmp(name, "name") == 0)
        return strrchr(variable("FERRY_TEST_SCRATCH"), '/') + 1;
    return variable(name);
}

static const char *expand(const char *template)
{
    const char *open = strchr(template, '{'), *close = open ? strchr(open, '}') : NULL;
    if (!close)
        return template;
    const char *name = test_text("%.*s", (int)(close - open - 1), open + 1);
    return test_text("%.*s%s%s", (int)(open - template), template, bracket_value(name), expand(close + 1));
}

static void forget_ferry_variables(void)
{
    for (char **e = environ; *e;) {
        const char *name = test_text("%.*s", (int)strcspn(*e, "="), *e);
        if (strncmp(name, "FERRY_", 6) == 0 && strncmp(name, "FERRY_TEST_", 11) != 0) {
            unsetenv(name);
            e = environ; /* it has moved */
        } else
            e++;
    }
}

void test_scratch_open(const char *path)
{
    mkdir(path, 0700);
    setenv("FERRY_TEST_SCRATCH", path, 1);
    if (mkdir(test_dir(), 0700) < 0 && errno != EEXIST)
        FAIL("cannot make %s: %s", test_dir(), strerror(errno));
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st, (void)ftw;
    if (kind == FTW_DNR)
        chmod(path, 0700);
    return remove(path), 0;
}

void test_scratch_remove(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void surround(const test_transport *t)
{
    forget_ferry_variables();
    const char *set[][2] = {
        {"HOME", test_dir()}, {"TMPDIR", test_dir()}, {"XDG_STATE_HOME", test_scratch("dir/state")}};
    for (size_t i = 0; i < sizeof set / sizeof set[0]; i++)
        setenv(set[i][0], set[i][1], 1);
    if (chdir(test_dir()) < 0)
        FAIL("cannot enter %s: %s", test_dir(), strerror(errno));
    setenv("PATH", test_text("%s:%s", test_bin(), variable("PATH")), 1);
    setenv("FERRY_TEST_TRANSPORT", t ? t->name : "", 1);
    setenv("FERRY_TEST_URL", t ? expand(t->url) : "", 1);
}

/* ---- Running -------------------------------------------------------------------------------------------------------- */

int test_run_case(const test_case *c, const test_transport *t)
{
    transport = t;
    surround(t);
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* grandchildren in sessions of their own come back here when their parent ends */
    setvbuf(stdout, NULL, _IOLBF, 0);
    test_inventory before;
    test_inventory_take(&before);
    c->run();
    fflush(stdout);
    bool ended = test_end_started(), clean = test_inventory_same(&before) && ended;
    if (access(test_scratch("failed"), F_OK) == 0) {
        fprintf(stderr, "a child process failed a check\n");
        clean = false;
    }
    return clean ? TEST_PASSED : 1;
}

int test_run_child(const char *name, const char *arg)
{
    for (test_child *c = children; c; c = c->next)
        if (strcmp(c->name, name) == 0) {
            setvbuf(stdout, NULL, _IOLBF, 0);
            for (transport = test_transports; transport && strcmp(transport->name, test_transport_name()) != 0;)
                transport = transport->next;
            c->run(arg);
            return 0;
        }
    FAIL("no TEST_CHILD(%s)", name);
}
