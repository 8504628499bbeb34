/* runner.c - plans the cases, runs each in a process group of its own, some at a time, and tells how they ended.
 *
 *     waiting -> running -> passed | failed | skipped
 *
 * A case's process is this program again, by exec, with --one: it starts with no threads and no memory of the others. Its output
 * goes to a file in its scratch directory and is shown when it fails. When it ends, or outlives its limit, its whole process group
 * is killed. This process is a subreaper, so that what escaped from the group is found and killed at the very end.
 * The last line is always "N passed, N failed"; the exit code is 0 only if none failed and at least one ran. */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT_MS = 20000, SLOWEST = 10, SHOWN_BYTES = 32768 };
enum { EXIT_NONE_RAN = 3, EXIT_USAGE = 2, EXIT_STOPPED = 130 };

typedef enum result { WAITING, RUNNING, PASSED, FAILED, SKIPPED } result;

typedef struct item {
    const test_case      *c;
    const test_transport *t;
    const char           *address, *scratch, *why;
    result                result;
    pid_t                 pid;
    int64_t               started, took, limit;
} item;

static struct {
    item       *items;
    size_t      count, running;
    const char *base; /* holds the scratch directories */
    long        jobs, repeat;
    bool        verbose, list;
    const char *one, *here;
    char      **words; /* what to run; ends with NULL */
} plan = {.jobs = 2, .repeat = 1};

/* ---- Planning ------------------------------------------------------------------------------------------------------- */

static void add_item(const test_case *c, const test_transport *t)
{
    plan.items = realloc(plan.items, (plan.count + 1) * sizeof *plan.items);
    if (!plan.items)
        abort();
    plan.items[plan.count++] = (item){.c = c, .t = t, .address = test_address(c, t), .why = ""};
}

static bool all_words(const char *words, const char *among)
{
    char word[64];
    int used;
    for (const char *at = words; at && sscanf(at, "%63s%n", word, &used) == 1; at += used)
        if (!test_has_word(among, word))
            return false;
    return true;
}

/* A case stamped on nothing is a mistake in a word, and would never run: it ends the whole run. */
static bool stamp(const test_case *c)
{
    bool made = false;
    for (const test_transport *t = test_transports; t; t = t->next)
        if ((!c->only || test_has_word(c->only, t->name)) && all_words(c->needs, t->can)) {
            add_item(c, t);
            made = true;
        }
    if (!made)
        fprintf(stderr, "%s: no transport fits it: needs \"%s\", only \"%s\"\n", test_address(c, NULL),
                c->needs ? c->needs : "", c->only ? c->only : "");
    return made;
}

static bool make_plan(void)
{
    bool fine = true;
    for (const test_case *c = test_cases; c; c = c->next)
        if (c->stamped)
            fine &= stamp(c);
        else
            add_item(c, NULL);
    return fine;
}

/* "calls::echo" is the whole of "mem/calls::echo", but for the transport. */
static bool is_whole(const char *address, const char *word)
{
    const char *slash = strchr(address, '/');
    return strcmp(address, word) == 0 || (slash && strcmp(slash + 1, word) == 0);
}

/* A word that is a whole address means just that case; any other means all that contain it. */
static bool selects(const char *word, const char *address)
{
    for (size_t n = 0; n < plan.count; n++)
        if (is_whole(plan.items[n].address, word))
            return is_whole(address, word);
    return strstr(address, word) != NULL;
}

static bool wanted(const char *address)
{
    bool found = !*plan.words;
    for (char **w = plan.words; *w && !found; w++)
        found = selects(*w, address);
    return found;
}

static void select_items(void)
{
    item *all = plan.items, *chosen = calloc(plan.count * (size_t)plan.repeat + 1, sizeof *chosen);
    size_t count = 0;
    if (!chosen)
        abort();
    for (size_t n = 0; all && n < plan.count; n++)
        for (long again = 0; wanted(all[n].address) && again < plan.repeat; again++)
            chosen[count++] = all[n];
    free(all);
    plan.items = chosen;
    plan.count = count;
}

/* ---- One case ------------------------------------------------------------------------------------------------------- */

static void become_case(const item *i)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int out = open(test_text("%s/out", i->scratch), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    if (in < 0 || out < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
        _exit(1);
    setenv("FERRY_TEST_SCRATCH", i->scratch, 1);
    execl("/proc/self/exe", "test", "--one", i->address, (char *)NULL);
    _exit(1);
}

static void start_item(item *i, size_t number)
{
    i->scratch = test_text("%s/t%d-%zu", plan.base, (int)getpid(), number);
    test_scratch_open(i->scratch);
    i->limit = test_ms(i->c->limit_ms ? i->c->limit_ms : LIMIT_MS);
    i->started = test_now_ms();
    i->pid = fork();
    if (i->pid == 0)
        become_case(i);
    if (i->pid < 0)
        abort();
    setpgid(i->pid, i->pid); /* both sides do, so that neither is too late */
    i->result = RUNNING;
    plan.running++;
}

static void judge(item *i, int status, bool late)
{
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    i->result = code == TEST_PASSED ? PASSED : code == TEST_SKIPPED ? SKIPPED : FAILED;
    if (late) {
        i->result = FAILED;
        i->why = test_text("TIMEOUT, its limit is %g s", (double)i->limit / 1000);
    } else if (WIFSIGNALED(status))
        i->why = test_text("CRASH, signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (i->result == FAILED)
        i->why = code ? test_text("exit code %d", code) : "exited before its end";
}

static void show_lines(const char *text, const char *before)
{
    size_t length = strlen(text);
    if (length > SHOWN_BYTES) {
        printf("%s[%zu bytes before this]\n", before, length - SHOWN_BYTES);
        text += length - SHOWN_BYTES;
    }
    for (size_t n; *text; text += n + (text[n] == '\n')) {
        n = strcspn(text, "\n");
        printf("%s%.*s\n", before, (int)n, text);
    }
}

static void report(const item *i)
{
    const char *note = test_text("%s/note", i->scratch);
    if (i->result == PASSED && plan.verbose)
        printf("ok   %s (%.3f s)\n", i->address, (double)i->took / 1000);
    if (i->result == SKIPPED)
        printf("SKIP %s: %s", i->address, test_read(test_text("%s/out", i->scratch)));
    if (i->result == FAILED) {
        printf("FAIL %s (%.3f s): %s\n", i->address, (double)i->took / 1000, i->why);
        show_lines(test_read(test_text("%s/out", i->scratch)), "     | ");
        if (access(note, F_OK) == 0)
            show_lines(test_read(note), "     note: ");
    }
    fflush(stdout);
}

static void end_item(item *i, bool late)
{
    int status = 0;
    i->took = test_now_ms() - i->started;
    kill(-i->pid, SIGKILL);
    while (waitpid(i->pid, &status, 0) < 0 && errno == EINTR)
        continue;
    plan.running--;
    judge(i, status, late);
    report(i);
    test_scratch_remove(i->scratch);
}

/* ---- All cases ------------------------------------------------------------------------------------------------------ */

static bool ended(const item *i)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)i->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == i->pid;
}

static void look_after_running(void)
{
    for (size_t n = 0; n < plan.count; n++) {
        item *i = &plan.items[n];
        if (i->result != RUNNING)
            continue;
        if (ended(i))
            end_item(i, false);
        else if (test_now_ms() - i->started > i->limit)
            end_item(i, true);
    }
}

static void block_signals(sigset_t *set)
{
    sigemptyset(set);
    int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGCHLD};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        sigaddset(set, signals[i]);
    sigprocmask(SIG_BLOCK, set, NULL);
}

/* Until a child ends, a twentieth of a second at most; answers whether a signal asks us to stop. */
static bool wait_a_little(const sigset_t *set)
{
    int got = sigtimedwait(set, NULL, &(struct timespec){0, 50000000});
    return got > 0 && got != SIGCHLD;
}

/* Whatever escaped from its case's process group has become our child. */
static void kill_escaped(void)
{
    DIR *d = opendir("/proc");
    for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
        int parent = 0;
        pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);
        FILE *stat = pid > 0 ? fopen(test_text("/proc/%d/stat", (int)pid), "re") : NULL;
        if (stat && fscanf(stat, "%*d (%*[^)]) %*c %d", &parent) == 1 && parent == getpid())
            kill(pid, SIGKILL);
        if (stat)
            fclose(stat);
    }
    if (d)
        closedir(d);
    while (waitpid(-1, NULL, 0) > 0)
        continue;
}

static void stop_all(void)
{
    for (size_t n = 0; n < plan.count; n++)
        if (plan.items[n].result == RUNNING)
            end_item(&plan.items[n], false);
}

static bool run_all(void)
{
    size_t next = 0;
    bool stopped = false;
    sigset_t signals;
    block_signals(&signals);
    while (!stopped && (next < plan.count || plan.running)) {
        while (next < plan.count && plan.running < (size_t)plan.jobs) {
            start_item(&plan.items[next], next);
            next++;
        }
        stopped = wait_a_little(&signals);
        look_after_running();
    }
    stop_all();
    kill_escaped();
    return !stopped;
}

static int slower_first(const void *a, const void *b)
{
    const item *x = a, *y = b;
    return (x->took < y->took) - (x->took > y->took);
}

static int summary(bool whole)
{
    size_t sums[SKIPPED + 1] = {0};
    for (size_t n = 0; n < plan.count; n++)
        sums[plan.items[n].result]++;
    qsort(plan.items, plan.count, sizeof *plan.items, slower_first);
    for (size_t n = 0; plan.count > SLOWEST && n < SLOWEST; n++)
        printf("%s%8.3f s  %s\n", n ? "" : "slowest:\n", (double)plan.items[n].took / 1000, plan.items[n].address);
    if (sums[SKIPPED])
        printf("%zu skipped\n", sums[SKIPPED]);
    if (!whole)
        printf("stopped by a signal, %zu not run\n", sums[WAITING]);
    printf("%zu passed, %zu failed\n", sums[PASSED], sums[FAILED]);
    if (!whole)
        return EXIT_STOPPED;
    return sums[FAILED] ? 1 : sums[PASSED] ? 0 : EXIT_NONE_RAN;
}

static int run_plan(void)
{
    char base[4096];
    const char *tmp = getenv("TMPDIR");
    snprintf(base, sizeof base, "%s/ferry-test.XXXXXX", tmp && *tmp ? tmp : "/tmp");
    plan.base = mkdtemp(base);
    if (!plan.base) {
        fprintf(stderr, "cannot make %s: %s\n", base, strerror(errno));
        return EXIT_USAGE;
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    bool whole = run_all();
    test_scratch_remove(plan.base);
    return summary(whole);
}

/* ---- Command line --------------------------------------------------------------------------------------------------- */

static const item *find(const char *address)
{
    for (size_t n = 0; n < plan.count; n++)
        if (strcmp(plan.items[n].address, address) == 0)
            return &plan.items[n];
    fprintf(stderr, "no case %s; --list shows them\n", address);
    exit(EXIT_USAGE);
}

static int run_here(const char *address)
{
    char scratch[] = "/tmp/ferry-test-here.XXXXXX";
    const item *i = find(address);
    if (!mkdtemp(scratch))
        return EXIT_USAGE;
    test_scratch_open(scratch);
    int code = test_run_case(i->c, i->t);
    test_scratch_remove(scratch);
    return code == TEST_PASSED ? 0 : code;
}

static int usage(void)
{
    fprintf(stderr,
            "usage: test [-j N] [-v] [--repeat N] [ADDRESS or part of it]... | --list [...] | --here ADDRESS\n");
    return EXIT_USAGE;
}

static bool read_option(char ***at)
{
    const char *option = **at, *value = (*at)[1];
    bool takes = true;
    if (strcmp(option, "-v") == 0 || strcmp(option, "--list") == 0) {
        plan.verbose |= option[1] == 'v';
        plan.list |= option[1] == '-';
        takes = false;
    } else if (!value)
        return false;
    else if (strcmp(option, "-j") == 0)
        plan.jobs = strtol(value, NULL, 10);
    else if (strcmp(option, "--repeat") == 0)
        plan.repeat = strtol(value, NULL, 10);
    else if (strcmp(option, "--one") == 0)
        plan.one = value;
    else if (strcmp(option, "--here") == 0)
        plan.here = value;
    else
        return false;
    *at += takes ? 2 : 1;
    return plan.jobs > 0 && plan.repeat > 0;
}

static int list_plan(void)
{
    for (size_t n = 0; n < plan.count; n++)
        puts(plan.items[n].address);
    return plan.count ? 0 : EXIT_NONE_RAN;
}

int main(int argc, char **argv)
{
    char **at = argv + 1;
    if (argc == 4 && strcmp(*at, "--child") == 0)
        return test_run_child(argv[2], argv[3]);
    while (*at && **at == '-')
        if (!read_option(&at))
            return usage();
    plan.words = at;
    if (!make_plan())
        return EXIT_USAGE;
    if (plan.one) {
        const item *i = find(plan.one);
        return test_run_case(i->c, i->t);
    }
    if (plan.here)
        return run_here(plan.here);
    select_items();
    return plan.list ? list_plan() : run_plan();
}
