/* file_bench.c - the file transport alone, without the core: an echo server in a second process, so many calls in flight. Prints a
 * line of JSON a figure, asserts nothing: `make bench`, or build/file_bench [DATABASE [CALLS]].
 *
 * What the core adds is the difference to `ferry bench call`; what claims and durability cost, the difference to a raw program. */
#include "backends/file/file.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/random.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BODY = 64, AHEAD = 512, ALIVE_MS = 5000 };

static const ferry__backend *const B = &ferry__file_backend;

typedef struct side {
    ferry__up     up; /* first */
    void         *self;
    ferry__config config;
    ferry__url    url;
    ferry__log    log;
    ferry__target target;
    ferry__source calls, replies;
    bool          serves, is_up, noted; /* noted: there is something to do before it may sleep */
    int           presence;
    uint64_t      serial;
    long          window, count, started, done;
    int64_t       begun_us;
    int32_t      *took_us; /* by call */
    int64_t      *sent_us;
} side;

/* ---- what the transport tells ---- */

static void echo(side *s, ferry__frame *call)
{
    ferry__parts parts = {
        .body = ferry__frame_body(call), .body_length = call->body.length, .source = "server@host:1234"};
    B->more->begin(s->self, call);
    ferry__frame *reply = ferry__frame_new(FERRY__REPLY, &parts);
    if (reply) {
        reply->id = call->id;
        B->send(s->self, NULL, reply);
    }
    B->settle(s->self, call);
    B->credit(s->self, &s->calls, 1);
    s->noted = true;
}

static void on_frame(ferry__up *up, ferry__source *source, ferry__frame *frame)
{
    side *s = (side *)up;
    (void)source;
    if (s->serves) {
        echo(s, frame);
        return;
    }
    long i;
    memcpy(&i, ferry__frame_body(frame), sizeof i);
    s->took_us[i] = (int32_t)(ferry__now_us() - s->sent_us[i]);
    s->done++;
    s->noted = true; /* there is room for another one */
    ferry__frame_unref(frame);
}

static void on_outcome(ferry__up *up, ferry__frame *frame, ferry__fate fate, ferry_status status, const char *why)
{
    (void)up;
    (void)frame;
    if (fate != FERRY__ACCEPTED)
        fprintf(stderr, "%s: %s\n", ferry_status_name(status), why);
}

static void on_settled(ferry__up *up, size_t how_many, ferry_status status, const char *why)
{
    (void)up;
    (void)how_many;
    (void)status;
    (void)why;
}

static void on_probed(ferry__up *up, ferry__target *target, ferry__presence presence)
{
    (void)target;
    ((side *)up)->presence = (int)presence;
}

static void on_state(ferry__up *up, ferry__state state, ferry_status status, const char *text)
{
    ((side *)up)->is_up = state == FERRY__UP;
    if (state != FERRY__UP)
        fprintf(stderr, "%s: %s\n", ferry_status_name(status), text);
}

/* ---- a handle ---- */

static void open_side(side *s, const char *path, bool serves)
{
    char why[FERRY_WHY_SIZE] = "", text[4096];
    *s = (side){.serves = serves, .presence = -1};
    s->up = (ferry__up){.frame = on_frame,
                        .outcome = on_outcome,
                        .settled = on_settled,
                        .probed = on_probed,
                        .state = on_state,
                        .log = &s->log};
    s->config = (ferry__config){.ns = "bench",
                                .name = "bench",
                                .partitions = 8,
                                .max_message = 1 << 20,
                                .max_queued = 65536,
                                .backoff_ms = 50,
                                .backoff_max_ms = 1000};
    ferry__random_bytes(s->config.client, sizeof s->config.client);
    snprintf(text, sizeof text, "file:%s", path);
    s->target = (ferry__target){.lane = FERRY__CALLS, .name = "calc"};
    s->calls = (ferry__source){.lane = FERRY__CALLS, .name = "calc"};
    s->replies = (ferry__source){.lane = FERRY__REPLIES};
    s->self = ferry__zalloc(B->state_size);
    if (!s->self || ferry__url_parse(&s->url, text, why) || B->open(s->self, &s->up, &s->config, &s->url, why)) {
        fprintf(stderr, "%s\n", why);
        exit(1);
    }
    B->listen(s->self, serves ? &s->calls : &s->replies);
    if (serves)
        B->credit(s->self, &s->calls, AHEAD);
}

static void turn(side *s, bool may_sleep)
{
    s->noted = false;
    B->flush(s->self);
    B->step(s->self);
    B->pump(s->self);
    int ms = may_sleep && !s->noted ? B->next_ms(s->self, ferry__now_ms()) : 0;
    if (ms != 0)
        B->wait(s->self, ms);
}

static pid_t start_server(const char *path)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    static side s;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    open_side(&s, path, true);
    for (;;)
        turn(&s, true);
}

static void await_server(side *s)
{
    for (int64_t end = ferry__now_ms() + ALIVE_MS; s->presence != FERRY__ALIVE && ferry__now_ms() < end;) {
        if (s->is_up)
            B->probe(s->self, &s->target);
        turn(s, s->presence < 0);
    }
}

/* ---- a figure ---- */

static void send_one(side *s)
{
    char body[BODY] = "";
    memcpy(body, &s->started, sizeof s->started);
    ferry__frame *call = ferry__frame_new(
        FERRY__CALL,
        &(ferry__parts){.route = "calc.add", .body = body, .body_length = BODY, .source = "client@host:1234"});
    if (!call)
        exit(1);
    memcpy(call->id.client, s->config.client, sizeof call->id.client);
    call->id.serial = ++s->serial;
    call->verb = FERRY_GET;
    s->sent_us[s->started++] = ferry__now_us();
    call->deadline_ms = ferry__now_ms() + 30000;
    B->send(s->self, &s->target, call);
}

static int by_size(const void *a, const void *b)
{
    return *(const int32_t *)a - *(const int32_t *)b;
}

static void report(side *s)
{
    double seconds = (double)(ferry__now_us() - s->begun_us) / 1e6;
    qsort(s->took_us, (size_t)s->count, sizeof *s->took_us, by_size);
    printf("{\"what\":\"file transport\",\"in_flight\":%ld,\"calls_per_s\":%.0f,\"p50_us\":%d,\"p99_us\":%d}\n",
           s->window, (double)s->count / seconds, s->took_us[s->count / 2], s->took_us[s->count * 99 / 100]);
}

static void figure(side *s, long window, long count)
{
    s->window = window;
    s->count = count;
    s->started = s->done = 0;
    s->sent_us = ferry__alloc((size_t)count * sizeof *s->sent_us);
    s->took_us = ferry__alloc((size_t)count * sizeof *s->took_us);
    if (!s->sent_us || !s->took_us)
        exit(1);
    s->begun_us = ferry__now_us();
    while (s->done < count) {
        while (s->started < count && s->started - s->done < window)
            send_one(s);
        turn(s, true);
    }
    report(s);
    ferry__free(s->sent_us);
    ferry__free(s->took_us);
}

int main(int argc, char **argv)
{
    static side s;
    char path[64];
    long count = argc > 2 ? strtol(argv[2], NULL, 10) : 100000;
    snprintf(path, sizeof path, "/tmp/ferry-bench-%d.db", (int)getpid());
    const char *at = argc > 1 ? argv[1] : path;
    pid_t server = start_server(at);
    open_side(&s, at, false);
    await_server(&s);
    figure(&s, 1, count / 10);
    figure(&s, 64, count);
    figure(&s, 512, count);
    B->close(s.self);
    kill(server, SIGTERM);
    waitpid(server, NULL, 0);
    if (argc < 2) {
        static const char *const suffixes[] = {"", "-wal", "-shm", "-page"};
        char name[sizeof path + 8];
        for (int i = 0; i < 4; i++) {
            snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
            unlink(name);
        }
    }
    return 0;
}
