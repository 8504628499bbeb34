/* events_survival.c - many events and a group whose members join, leave and are killed: each event is handled, those of a key first in
 * order, and whatever is handled twice was with a member that was killed, or that the machine kept from running for longer than its
 * lease: to the others it was dead, too. Each member watches its own clock for that.
 *
 * Members append a line at the begin and at the end of each handler, each in one write, all of one length:
 *     "begin 0000042 00012345\n"  "end   0000042 00012345\n"  (event, process) */
#include "kit.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    LINE = 23,
    KEYS = 64,
    PROCESSES = 256,
    SHOWN = 10,
    WORKERS = 2,
    AGAIN_A_KILL = 1000, /* where a member holds ahead what it has not acknowledged */
    LATE_MS = 150 /* of the 500 of a lease that the tests set */
};

static const char *log_path(void)
{
    return test_text("%s/members.log", test_dir());
}

static void say(int fd, const char *what, int number)
{
    char line[64];
    int length = snprintf(line, sizeof line, "%-5s %07d %08d\n", what, number, (int)getpid());
    CHECK_INT(write(fd, line, (size_t)length), LINE);
}

static void handle(ferry_request *event, void *arg)
{
    int number = (int)ferry_as_int(ferry_request_data(event), -1);
    say(*(int *)arg, "begin", number);
    say(*(int *)arg, "end", number);
}

static void handle_with_work(ferry_request *event, void *arg)
{
    int number = (int)ferry_as_int(ferry_request_data(event), -1);
    say(*(int *)arg, "begin", number);
    nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    say(*(int *)arg, "end", number);
}

static void *watch_the_clock(void *arg)
{
    for (int64_t before = test_now_ms(), now;; before = now) {
        test_pause(INT64_MAX);
        now = test_now_ms();
        if (now - before > LATE_MS)
            say(*(int *)arg, "late", 0);
    }
    return NULL;
}

static ferry *running;

static void stop(int number)
{
    (void)number;
    ferry_stop(running);
}

/* Who hears that we are ready may end us before ferry_run has its own handlers. */
static void stop_at_sigterm(ferry *f)
{
    running = f;
    CHECK_INT(sigaction(SIGTERM, &(struct sigaction){.sa_handler = stop}, NULL), 0);
}

static int handle_and_run(ferry *f, ferry_handler_fn *handler)
{
    static int fd;
    fd = open(log_path(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    pthread_t watch;
    CHECK_INT(pthread_create(&watch, NULL, watch_the_clock, &fd), 0);
    CHECK_STATUS(
        ferry_subscribe(f, "work.*", handler, &fd, FERRY_SUBSCRIBE(.group = "crew", .from = FERRY_FROM_NEW), NULL),
        FERRY_OK);
    CHECK_STATUS(ferry_serve(f), FERRY_OK);
    CHECK_STATUS(ferry_wait_ready(f, test_ms(30000)), FERRY_OK);
    stop_at_sigterm(f);
    test_ready();
    return ferry_run(f);
}

TEST_CHILD(event_member)
{
    (void)arg;
    CHECK_INT(handle_and_run(kit_open(FERRY_OPTIONS(.close_ms = 20000)), handle), 0);
}

TEST_CHILD(event_member_with_workers)
{
    (void)arg;
    CHECK_INT(handle_and_run(kit_open(FERRY_OPTIONS(.close_ms = 20000, .workers = WORKERS)), handle_with_work), 0);
}

/* ---- The account ---------------------------------------------------------------------------------------------------- */

typedef struct account {
    int    fd, events, done, again, unexplained, overtaken;
    off_t  at;
    bool   no_keys;
    int   *ended, *by;      /* for each event: times; the process that began it last */
    int    next[KEYS];      /* of each key: the event that may begin first */
    int    dead[PROCESSES], deaths, kills; /* dead to the others: killed, or late */
} account;

static void account_begin(account *a, int events)
{
    *a = (account){.events = events};
    a->fd = open(log_path(), O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
    a->ended = calloc((size_t)events, sizeof *a->ended);
    a->by = calloc((size_t)events, sizeof *a->by);
    CHECK(a->fd >= 0 && a->ended && a->by);
    for (int i = 0; i < KEYS; i++)
        a->next[i] = i;
}

static void account_end(account *a)
{
    close(a->fd);
    free(a->ended);
    free(a->by);
}

static bool was_dead(const account *a, int pid)
{
    for (int i = 0; i < a->deaths; i++)
        if (a->dead[i] == pid)
            return true;
    return false;
}

static void note_dead(account *a, int pid)
{
    if (!was_dead(a, pid) && a->deaths < PROCESSES)
        a->dead[a->deaths++] = pid;
}

static void begins(account *a, int number, int pid)
{
    int before = a->by[number], key = number % KEYS;
    if (!before && number != a->next[key] && !a->no_keys) {
        if (a->overtaken++ < SHOWN)
            fprintf(stderr, "event %d of key %d began before event %d had\n", number, key, a->next[key]);
    }
    if (!before)
        a->next[key] = number + KEYS;
    a->again += before != 0;
    if (before && !was_dead(a, before) && a->unexplained++ < SHOWN)
        fprintf(stderr, "event %d was with process %d, which was not killed, and again with %d\n", number, before, pid);
    a->by[number] = pid;
}

static void read_line(account *a, const char *line)
{
    int number, pid;
    CHECK_INT(sscanf(line + 6, "%d %d", &number, &pid), 2);
    CHECK(number >= 0 && number < a->events);
    if (line[0] == 'l')
        note_dead(a, pid);
    else if (line[0] == 'b')
        begins(a, number, pid);
    else
        a->done += a->ended[number]++ == 0;
}

static bool read_more(account *a)
{
    char text[LINE * 1000 + 1];
    ssize_t got;
    while ((got = pread(a->fd, text, LINE * 1000, a->at)) >= LINE) {
        got -= got % LINE;
        text[got] = '\0';
        for (const char *line = text; *line; line += LINE)
            read_line(a, line);
        a->at += got;
    }
    return a->done == a->events;
}

/* ---- Members come and go -------------------------------------------------------------------------------------------- */

static pid_t ready(pid_t pid)
{
    test_wait_ready(pid);
    return pid;
}

static pid_t join(void)
{
    return ready(test_spawn(event_member, ""));
}

static void kill_one(account *a, pid_t *member)
{
    a->kills++;
    note_dead(a, (int)*member); /* first: what it had may come again at once */
    CHECK_INT(test_kill(*member, SIGKILL), 128 + SIGKILL);
    *member = join();
}

static void let_one_leave(pid_t *member)
{
    CHECK_INT(test_kill(*member, SIGTERM), 0);
    *member = join();
}

static void publish_some(ferry *p, int from, int to)
{
    for (int i = from; i < to; i++) {
        char key[16];
        snprintf(key, sizeof key, "key%d", i % KEYS);
        CHECK_STATUS(ferry_publish(p, "work.item", ferry_int(i), FERRY_EVENT(.key = key)), FERRY_OK);
    }
    CHECK_STATUS(ferry_flush(p, test_ms(60000)), FERRY_OK);
}

static void survive(int events, int rounds, int limit_ms)
{
    static account a;
    ferry *p = kit_open(FERRY_OPTIONS(.timeout_ms = 100000));
    pid_t members[3];
    account_begin(&a, events);
    for (int i = 0; i < 3; i++)
        members[i] = join();
    for (int r = 0; r < rounds; r++) {
        int from = (int)((int64_t)events * r / rounds), to = (int)((int64_t)events * (r + 1) / rounds);
        for (int i = from; i < to; i += 5000)
            publish_some(p, i, i + 5000 < to ? i + 5000 : to);
        if (r % 2 == 0)
            kill_one(&a, &members[r % 3]);
        else
            let_one_leave(&members[r % 3]);
        read_more(&a);
    }
    CHECK_SOON(read_more(&a), limit_ms);
    printf(
        "%d events, %d kills, %d members kept from running: %d handled again, %d of them unexplained; %d overtaken\n",
        events, a.kills, a.deaths - a.kills, a.again, a.unexplained, a.overtaken);
    CHECK_INT(a.unexplained, 0);
    CHECK_INT(a.overtaken, 0);
    for (int i = 0; i < 3; i++)
        CHECK_INT(test_kill(members[i], SIGTERM), 0);
    kit_close(p);
    account_end(&a);
}

CONFORMANCE_WITH(events_survive_members, .needs = "processes events", .limit_ms = 600000)
{
    if (test_long())
        survive(test_can("expires") ? 100000 : 1000000, 30, 500000);
    else
        survive(10000, 4, 60000);
}

/* ---- Without keys, many behind, several workers --------------------------------------------------------------------- */

static pid_t join_with_workers(void)
{
    return ready(test_spawn(event_member_with_workers, ""));
}

static void publish_behind(ferry *p, int events)
{
    for (int i = 0; i < events; i++)
        CHECK_STATUS(ferry_publish(p, "work.item", ferry_int(i), NULL), FERRY_OK);
    CHECK_STATUS(ferry_flush(p, test_ms(60000)), FERRY_OK);
}

static bool has_done(account *a, int events)
{
    read_more(a);
    return a->done >= events;
}

/* Each kill comes while much is still to be handled, so that what a cursor forgets shows as thousands. */
static void kill_in_arrears(account *a, pid_t members[2], int kills)
{
    for (int k = 0; k < kills; k++) {
        CHECK_SOON(has_done(a, a->events / (kills + 1) * (k + 1)), 60000);
        note_dead(a, (int)members[k % 2]);
        a->kills++;
        CHECK_INT(test_kill(members[k % 2], SIGKILL), 128 + SIGKILL);
        members[k % 2] = join_with_workers();
    }
}

static void survive_in_arrears(int events, int kills)
{
    static account a;
    ferry *p = kit_open(FERRY_OPTIONS(.timeout_ms = 100000));
    account_begin(&a, events);
    a.no_keys = true;
    CHECK_INT(test_kill(join_with_workers(), SIGTERM), 0); /* the group is there, its members are not */
    publish_behind(p, events);
    pid_t members[2] = {join_with_workers(), join_with_workers()};
    kill_in_arrears(&a, members, kills);
    CHECK_SOON(read_more(&a), 120000);
    printf("%d events, %d kills, %d members kept from running: %d handled again, %d of them unexplained\n", events,
           kills, a.deaths - kills, a.again, a.unexplained);
    CHECK_INT(a.unexplained, 0);
    CHECK(a.again <= a.deaths * (test_can("exact") ? WORKERS : AGAIN_A_KILL));
    for (int i = 0; i < 2; i++)
        CHECK_INT(test_kill(members[i], SIGTERM), 0);
    kit_close(p);
    account_end(&a);
}

CONFORMANCE_WITH(kills_in_arrears_repeat_little, .needs = "processes events", .limit_ms = 600000)
{
    survive_in_arrears(test_long() ? 200000 : 20000, test_long() ? 40 : 4);
}
