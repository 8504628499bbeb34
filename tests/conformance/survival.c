/* survival.c - many no-wait posts, and a server that is killed while it handles them: none is lost, and only what stood in a handler
 * at a kill is handled twice.
 *
 * The server appends a line at the begin and at the end of each handler, each in one write. All lines are of one length, so that the
 * size of the log tells how far the server is:  "begin 0000042 00012345\n"  "end   0000042 00012345\n"  (message, process). */
#include "kit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINE = 23, MOST_KILLS = 3 };

static const char *tally_path(void)
{
    return test_text("%s/tally.log", test_dir());
}

static void tally(ferry_request *req, void *arg)
{
    const int *fd = arg;
    char line[64];
    int number = (int)ferry_as_int(ferry_request_data(req), -1);
    int length = snprintf(line, sizeof line, "begin %07d %08d\n", number, (int)getpid());
    CHECK_INT(write(*fd, line, (size_t)length), LINE);
    length = snprintf(line, sizeof line, "end   %07d %08d\n", number, (int)getpid());
    CHECK_INT(write(*fd, line, (size_t)length), LINE);
}

TEST_CHILD(tallying_server)
{
    static int fd;
    (void)arg;
    fd = open(tally_path(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    kit_serve("tally.count", tally, &fd);
    test_ready();
    for (;;)
        pause();
}

static int lines(void)
{
    struct stat st;
    return stat(tally_path(), &st) == 0 ? (int)(st.st_size / LINE) : 0;
}

static pid_t start(void)
{
    pid_t pid = test_spawn(tallying_server, "");
    test_wait_ready(pid);
    return pid;
}

/* ---- The account ---------------------------------------------------------------------------------------------------- */

typedef struct account {
    int  posts;
    int *begun, *ended;      /* times, for each message */
    int *open_in;            /* the process whose handler began it and did not end it; 0 = none */
    int  excused, wrong;
} account;

static void read_line(account *a, const char *line)
{
    int number, pid;
    bool begins = line[0] == 'b';
    CHECK_INT(sscanf(line + 6, "%d %d", &number, &pid), 2);
    CHECK(number >= 0 && number < a->posts);
    if (begins) {
        if (a->ended[number]) {
            a->wrong++;
            fprintf(stderr, "message %d was handled again by process %d, after a handler had ended\n", number, pid);
        } else if (a->begun[number]) {
            a->excused++;
            fprintf(stderr, "message %d stood in a handler of process %d when that was killed, and was handled again\n", number,
                    a->open_in[number]);
        }
        a->begun[number]++;
        a->open_in[number] = pid;
    } else
        a->ended[number]++;
}

static void check_account(int posts, int kills)
{
    account a = {.posts = posts};
    a.begun = calloc((size_t)posts * 3, sizeof *a.begun);
    a.ended = a.begun + posts;
    a.open_in = a.ended + posts;
    const char *log = test_read(tally_path());
    for (const char *line = log; *line; line += LINE)
        read_line(&a, line);
    for (int i = 0; i < posts; i++)
        if (a.ended[i] == 0)
            FAIL("message %d is lost (begun %d times)", i, a.begun[i]);
    free(a.begun);
    if (a.wrong || a.excused > kills)
        FAIL("%d messages were handled again after their handler had ended, %d of those that stood in one at %d kills", a.wrong,
             a.excused, kills);
}

static void survive(int posts, int kills)
{
    ferry *c = kit_open(FERRY_OPTIONS(.timeout_ms = 120000, .max_pending = 200000));
    pid_t server = start();
    for (int i = 0; i < posts; i++)
        CHECK_STATUS(ferry_post_no_wait(c, "tally.count", ferry_int(i), NULL), FERRY_OK);
    for (int k = 1; k <= kills; k++) {
        CHECK_SOON(lines() >= 2 * posts / (kills + 1) * k, 60000);
        CHECK_INT(test_kill(server, SIGKILL), 128 + SIGKILL);
        server = start();
    }
    CHECK_STATUS(ferry_flush(c, test_ms(60000)), FERRY_OK);
    CHECK_SOON(lines() >= 2 * posts, 60000);
    ferry_reply *r; /* all that will come has come when a server has nothing left to do */
    CHECK_INT(test_kill(server, SIGKILL), 128 + SIGKILL);
    server = start();
    r = ferry_get(c, "tally.nope", NULL, NULL);
    KIT_ENDS(r, FERRY_NOT_FOUND, FERRY_OUTCOME_NOT_EXECUTED);
    CHECK_INT(test_kill(server, SIGKILL), 128 + SIGKILL);
    kit_close(c);
    CHECK_INT(kills <= MOST_KILLS, 1);
    check_account(posts, kills);
}

CONFORMANCE_WITH(posts_survive_kills, .needs = "processes", .limit_ms = 240000)
{
    if (test_long())
        survive(100000, 3);
    else
        survive(2000, 2);
}
