/* history_test.c - the broker, the publisher and the subscribers are killed with -9 at random for a while, and the history is checked
 * afterwards: every event whose publish was confirmed was handled, none that was refused for certain, and again at most what a kill
 * leaves in the hands of somebody: some hundreds, while tens of thousands a second go by.
 *
 * Every event carries a number that no other has. The publisher writes "i N" (invoked) before, then "o N" (ok), "f N" (failed: certainly
 * not stored) or "u N" (unknown) behind the publish; a number without a second line is unknown, too. Subscribers write "g N" in the
 * handler. One line, one write. */
#include "test.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LINE = 11, PUBLISHERS = 8, MOST = 20000000, AGAIN_A_KILL = 500 };

static int open_log(const char *name)
{
    int fd = open(test_text("%s/%s", test_dir(), name), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    return fd;
}

static void say(int fd, char what, int number)
{
    char line[32];
    int length = snprintf(line, sizeof line, "%c %08d\n", what, number);
    CHECK_INT(write(fd, line, (size_t)length), LINE);
}

static const char *url_of_case(void)
{
    return test_read(test_text("%s/url", test_dir()));
}

/* ---- The processes -------------------------------------------------------------------------------------------------- */

/* The next number, of a file that all map: no two publishers share one, however many events each gets through. */
static atomic_int *open_counter(void)
{
    int fd = open_log("next");
    CHECK_INT(ftruncate(fd, sizeof(atomic_int)), 0);
    void *p = mmap(NULL, sizeof(atomic_int), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(p != MAP_FAILED);
    close(fd);
    return p;
}

typedef struct publisher {
    ferry      *f;
    int         fd;
    atomic_int *next;
} publisher;

static void *publish_for_ever(void *arg)
{
    publisher *p = arg;
    for (int number; (number = atomic_fetch_add(p->next, 1)) < MOST;) {
        say(p->fd, 'i', number);
        ferry_status s = ferry_publish(p->f, "work.item", ferry_int(number),
                                       FERRY_EVENT(.confirm = FERRY_CONFIRMED, .timeout_ms = 3000));
        bool never = s == FERRY_OVERLOADED || s == FERRY_INVALID || s == FERRY_NO_MEMORY;
        say(p->fd, s == FERRY_OK ? 'o' : never ? 'f' : 'u', number);
    }
    return NULL;
}

TEST_CHILD(history_publisher)
{
    static publisher p;
    (void)arg;
    p = (publisher){ferry_open(url_of_case(), NULL), open_log("published"), open_counter()};
    test_ready();
    for (int i = 0; i < PUBLISHERS; i++) {
        pthread_t thread;
        CHECK_INT(pthread_create(&thread, NULL, publish_for_ever, &p), 0);
    }
    for (;;)
        pause();
}

static void note(ferry_request *event, void *arg)
{
    say(*(int *)arg, 'g', (int)ferry_as_int(ferry_request_data(event), -1));
}

/* arg: how long it takes at most until it is in the group; "": it says that it is ready before. */
TEST_CHILD(history_subscriber)
{
    static int fd;
    ferry *f = ferry_open(url_of_case(), FERRY_OPTIONS(.workers = 2));
    fd = open_log("handled");
    CHECK_STATUS(ferry_subscribe(f, "work.*", note, &fd, FERRY_SUBSCRIBE(.group = "crew"), NULL), FERRY_OK);
    CHECK_STATUS(ferry_serve(f), FERRY_OK);
    if (*arg)
        CHECK_STATUS(ferry_wait_ready(f, (int)strtol(arg, NULL, 10)), FERRY_OK);
    test_ready();
    ferry_run(f);
}

/* ---- The history ---------------------------------------------------------------------------------------------------- */

typedef struct history {
    char *told;  /* for each number: the last letter */
    int  *times; /* handled */
    int   confirmed, unknown, failed, missing, ghosts, again;
} history;

static void read_log(const char *name, history *h)
{
    char line[LINE + 1] = "";
    int fd = open_log(name);
    FILE *from = fdopen(fd, "r");
    CHECK_NOT_NULL(from);
    rewind(from);
    while (fread(line, 1, LINE, from) == LINE) {
        int number = (int)strtol(line + 2, NULL, 10);
        CHECK(number >= 0 && number < MOST);
        if (line[0] == 'g')
            h->times[number]++;
        else
            h->told[number] = line[0];
    }
    fclose(from);
}

static void read_history(history *h)
{
    memset(h->told, 0, MOST);
    memset(h->times, 0, MOST * sizeof *h->times);
    h->confirmed = h->unknown = h->failed = h->missing = h->ghosts = h->again = 0;
    read_log("published", h);
    read_log("handled", h);
    for (int i = 0; i < MOST; i++) {
        h->confirmed += h->told[i] == 'o';
        h->failed += h->told[i] == 'f';
        h->unknown += h->told[i] == 'u' || h->told[i] == 'i';
        h->missing += h->told[i] == 'o' && h->times[i] == 0;
        h->ghosts += (h->told[i] == 'f' || h->told[i] == 0) && h->times[i] > 0;
        h->again += h->times[i] > 1 ? h->times[i] - 1 : 0;
    }
}

static bool none_missing(void *arg)
{
    history *h = arg;
    int64_t end = test_now_ms() + 200; /* it reads all of both logs */
    read_history(h);
    while (h->missing > 0 && test_pause(end))
        continue;
    return h->missing == 0;
}

/* ---- The murderer --------------------------------------------------------------------------------------------------- */

static pid_t start_publisher(void)
{
    pid_t pid = test_spawn(history_publisher, "");
    test_wait_ready(pid);
    return pid;
}

static pid_t start_subscriber(const char *limit_ms)
{
    pid_t pid = test_spawn(history_subscriber, limit_ms);
    test_wait_ready(pid);
    return pid;
}

static void brokers(const char *what, const char *name)
{
    test_output o = test_sh("%s/tools/brokers --dir '%s/set' --safe %s %s", test_root(), test_dir(), what, name);
    if (o.code != 0)
        FAIL("brokers %s %s: %s%s", what, name, o.out, o.err);
}

static void rest(int ms)
{
    for (int64_t end = test_now_ms() + ms; test_pause(end);)
        continue;
}

static unsigned dice; /* the same kills in every run */

static unsigned throw_dice(unsigned below)
{
    dice = dice * 1103515245u + 12345u;
    return (dice >> 16) % below;
}

static void kill_somebody(const char *broker, pid_t *publisher_pid, pid_t subscribers[2])
{
    unsigned who = throw_dice(broker ? 4 : 3);
    if (who == 3) {
        brokers("kill", broker);
        rest(200 + (int)throw_dice(1500));
        brokers("start", broker);
    } else if (who == 2) {
        CHECK_INT(test_kill(*publisher_pid, SIGKILL), 128 + SIGKILL);
        *publisher_pid = start_publisher();
    } else {
        CHECK_INT(test_kill(subscribers[who], SIGKILL), 128 + SIGKILL);
        subscribers[who] = start_subscriber("");
    }
}

static void murder(const char *broker, int ms)
{
    /* The group is there before the first event. */
    pid_t subscribers[2] = {start_subscriber(test_text("%d", test_ms(25000))), start_subscriber("")};
    pid_t publisher_pid = start_publisher();
    int kills = 0;
    for (int64_t end = test_now_ms() + ms; test_now_ms() < end; kills++) {
        rest(500 + (int)throw_dice(1500));
        kill_somebody(broker, &publisher_pid, subscribers);
    }
    CHECK_INT(test_kill(publisher_pid, SIGKILL), 128 + SIGKILL);
    history h = {.told = calloc(MOST, 1), .times = calloc(MOST, sizeof *h.times)};
    CHECK(h.told && h.times);
    bool good = test_wait_for(none_missing, &h, 120000);
    printf("%d kills: %d confirmed, %d unknown, %d failed; %d missing, %d handled again, %d that were refused\n", kills,
           h.confirmed, h.unknown, h.failed, h.missing, h.again, h.ghosts);
    for (int i = 0, shown = 0; i < MOST && !good && shown < 10; i++)
        if (h.told[i] == 'o' && h.times[i] == 0)
            fprintf(stderr, "event %d was confirmed and never handled (%d)\n", i, ++shown);
    CHECK_INT(h.missing, 0);
    CHECK_INT(h.ghosts, 0);
    CHECK(h.confirmed > 0);
    CHECK(h.again <= kills * AGAIN_A_KILL);
    free(h.told);
    free(h.times);
}

static void history_over(const char *broker, const char *url)
{
    dice = 42;
    test_write(test_text("%s/url", test_dir()), url);
    murder(broker, test_long() ? 300000 : 8000);
    if (broker)
        brokers("stop", broker);
}

TEST_WITH(file_history, .limit_ms = 900000)
{
    history_over(NULL, test_text("file:%s/ferry.db", test_dir()));
}

#if defined(FERRY_WITH_REDIS) || defined(FERRY_WITH_AMQP) || defined(FERRY_WITH_KAFKA)
static const char *start_broker(const char *name)
{
    brokers("start", name);
    test_output o = test_sh("%s/tools/brokers --dir '%s/set' urls %s", test_root(), test_dir(), name);
    const char *url = strstr(o.out, "FERRY_URL=");
    CHECK_NOT_NULL(url);
    url += strlen("FERRY_URL=");
    return test_text("%.*s", (int)strcspn(url, "\n"), url);
}
#endif

#ifdef FERRY_WITH_REDIS
TEST_WITH(redis_history, .limit_ms = 900000)
{
    history_over("redis", test_text("%s/?lease=500ms&look=100ms", start_broker("redis")));
}
#endif

#ifdef FERRY_WITH_AMQP
TEST_WITH(amqp_history, .limit_ms = 900000)
{
    history_over("amqp", start_broker("amqp"));
}
#endif

#ifdef FERRY_WITH_KAFKA
TEST_WITH(kafka_history, .limit_ms = 900000)
{
    history_over("kafka", test_text("%s?session=1s&heartbeat=200ms", start_broker("kafka")));
}
#endif
