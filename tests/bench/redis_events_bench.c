/* redis_events_bench.c - events over Redis, three ways in turn: a raw hiredis program, the transport alone, the whole of ferry.
 *
 *     build/redis_events_bench SOCKET [EVENTS [ROUNDS [KEYS]]]       a unix socket of a Redis that may be written to
 *
 * Each publishes EVENTS (64 bytes) pipelined and confirmed, reads them as a group that acknowledges, and as a broadcast. KEYS: so many
 * keys, onto 8 parts; 0: none. A line of JSON a figure: events a second, and microseconds of processor an event, which a busy machine
 * disturbs less; the ratios to raw last. Asserts nothing. */
#ifdef FERRY_WITH_REDIS
#include "backends/redis/event.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/random.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { BODY = 64, WINDOW = 4000, BATCH = 1000, PARTS = 8, ROUNDS_MOST = 9 };
enum { RAW, SEAM, CORE, WAYS };
enum { PUBLISH, GROUP, BROADCAST, KINDS };

static const char *const ways[] = {"raw", "transport", "ferry"}, *const kinds[] = {"publish", "group", "broadcast"};
static const char *socket_path;
static long        events, rounds, keys;
static double      figures[WAYS][KINDS][ROUNDS_MOST], costs[WAYS][KINDS][ROUNDS_MOST];
static char        body[BODY + 2];

static void die(const char *why)
{
    fprintf(stderr, "redis_events_bench: %s\n", why);
    exit(1);
}

static redisContext *connect_raw(void)
{
    redisContext *c = redisConnectUnix(socket_path);
    if (!c || c->err)
        die("no Redis there");
    return c;
}

typedef struct mark {
    int64_t us;
    double  client, server; /* seconds of processor */
} mark;

static double field(const char *info, const char *name)
{
    const char *at = strstr(info, name);
    return at ? strtod(at + strlen(name), NULL) : 0;
}

static mark begin(void)
{
    struct rusage own;
    redisContext *c = connect_raw();
    redisReply *r = redisCommand(c, "INFO cpu");
    mark m = {.us = ferry__now_us(), .server = field(r->str, "used_cpu_sys:") + field(r->str, "used_cpu_user:")};
    getrusage(RUSAGE_SELF, &own);
    m.client = (double)(own.ru_utime.tv_sec + own.ru_stime.tv_sec) +
               (double)(own.ru_utime.tv_usec + own.ru_stime.tv_usec) / 1e6;
    freeReplyObject(r);
    redisFree(c);
    return m;
}

static void note(int way, int kind, long round, mark began)
{
    mark now = begin();
    double n = (double)events, rate = n * 1e6 / (double)(now.us - began.us);
    double client = (now.client - began.client) * 1e6 / n, server = (now.server - began.server) * 1e6 / n;
    figures[way][kind][round] = rate;
    costs[way][kind][round] = client + server;
    printf(
        "{\"way\":\"%s\",\"what\":\"%s\",\"events\":%ld,\"per_second\":%.0f,\"client_us\":%.2f,\"server_us\":%.2f}\n",
        ways[way], kinds[kind], events, rate, client, server);
    fflush(stdout);
}

static unsigned part_of(long n)
{
    return keys ? (unsigned)(n % keys % PARTS) + 1 : 0;
}

/* ---- Raw ------------------------------------------------------------------------------------------------------------ */

static redisReply *next_reply(redisContext *c)
{
    void *r = NULL;
    if (redisGetReply(c, &r) != REDIS_OK || !r || ((redisReply *)r)->type == REDIS_REPLY_ERROR)
        die(r ? ((redisReply *)r)->str : c->errstr);
    return r;
}

static const char *raw_key(unsigned part)
{
    static char names[PARTS + 1][32];
    if (part)
        snprintf(names[part], sizeof names[part], "bench:raw:%u", part);
    else
        snprintf(names[0], sizeof names[0], "bench:raw");
    return names[part];
}

static void raw_publish(redisContext *c)
{
    static const char head[] =
        "1 event - order.created 7fa36ad0eb4db5cf0505bec3da896115-f4240 0 1795654995071 - shop@host:4728";
    long asked = 0, got = 0;
    char stream[PARTS + 1][32];
    for (unsigned i = 0; i <= PARTS; i++)
        memcpy(stream[i], raw_key(i), sizeof stream[i]);
    while (got < events) {
        for (; asked < events && asked - got < WINDOW; asked++) {
            const char *words[] = {"XADD", stream[part_of(asked)], "*", "ferry", head, "body", body};
            size_t lengths[] = {4, strlen(words[1]), 1, 5, sizeof head - 1, 4, BODY + 2};
            redisAppendCommandArgv(c, 7, words, lengths);
        }
        for (long until = asked - WINDOW / 2; got < asked && (got < until || asked == events); got++)
            freeReplyObject(next_reply(c));
    }
}

static void append_read(redisContext *c, bool group, const char *const *from)
{
    const char *words[8 + 2 * (PARTS + 1)];
    int n = 0, parts = keys ? PARTS + 1 : 1;
    words[n++] = group ? "XREADGROUP" : "XREAD";
    if (group) {
        words[n++] = "GROUP";
        words[n++] = "g";
        words[n++] = "me";
    }
    words[n++] = "COUNT";
    words[n++] = keys ? "125" : "1000";
    words[n++] = "STREAMS";
    for (int i = 0; i < parts; i++)
        words[n++] = raw_key((unsigned)i);
    for (int i = 0; i < parts; i++)
        words[n++] = group ? ">" : from[i];
    redisAppendCommandArgv(c, n, words, NULL);
}

static long append_acks(redisContext *c, const redisReply *r)
{
    static const char *words[3 + BATCH];
    long n = 0;
    for (size_t i = 0; r->type == REDIS_REPLY_ARRAY && i < r->elements; i++) {
        const redisReply *entries = r->element[i]->element[1];
        words[0] = "XACK";
        words[1] = r->element[i]->element[0]->str;
        words[2] = "g";
        for (size_t k = 0; k < entries->elements; k++)
            words[3 + k] = entries->element[k]->element[0]->str;
        redisAppendCommandArgv(c, (int)(3 + entries->elements), words, NULL);
        n += (long)entries->elements;
    }
    return n;
}

/* The next read goes out before the acknowledgements of this one are answered, so both ends work at a time. */
static void raw_group(redisContext *c)
{
    append_read(c, true, NULL);
    redisReply *r = next_reply(c);
    for (long got = 0; got < events;) {
        append_read(c, true, NULL);
        got += append_acks(c, r);
        redisReply *next = next_reply(c);
        for (size_t acks = r->elements; acks; acks--)
            freeReplyObject(next_reply(c));
        freeReplyObject(r);
        r = next;
    }
    freeReplyObject(r);
}

static void raw_broadcast(redisContext *c)
{
    char at[PARTS + 1][48];
    const char *from[PARTS + 1];
    for (int i = 0; i <= PARTS; i++) {
        snprintf(at[i], sizeof at[i], "0-0");
        from[i] = at[i];
    }
    for (long got = 0; got < events;) {
        append_read(c, false, from);
        redisReply *r = next_reply(c);
        for (size_t i = 0; r->type == REDIS_REPLY_ARRAY && i < r->elements; i++) {
            const redisReply *entries = r->element[i]->element[1];
            const char *name = r->element[i]->element[0]->str;
            long part = strtol(strlen(name) > 10 ? name + 10 : "0", NULL, 10);
            got += (long)entries->elements;
            snprintf(at[part], sizeof at[part], "%s", entries->element[entries->elements - 1]->element[0]->str);
        }
        freeReplyObject(r);
    }
}

static void raw(long round)
{
    redisContext *c = connect_raw();
    for (unsigned i = 0; i <= PARTS; i++)
        freeReplyObject(redisCommand(c, "XGROUP CREATE %s g 0 MKSTREAM", raw_key(i)));
    mark at = begin();
    raw_publish(c);
    note(RAW, PUBLISH, round, at);
    at = begin();
    raw_group(c);
    note(RAW, GROUP, round, at);
    at = begin();
    raw_broadcast(c);
    note(RAW, BROADCAST, round, at);
    for (unsigned i = 0; i <= PARTS; i++)
        freeReplyObject(redisCommand(c, "DEL %s", raw_key(i)));
    redisFree(c);
}

/* ---- The transport alone -------------------------------------------------------------------------------------------- */

static const ferry__backend *const B = &ferry__redis_unix_backend;

typedef struct side {
    ferry__up     up; /* first */
    void         *self;
    ferry__config config;
    ferry__url    url;
    ferry__log    log;
    ferry__target topic;
    ferry__wish   wish;
    ferry__source source, posts;
    long          got, accepted;
    bool          is_up, caught_up;
} side;

static void on_frame(ferry__up *up, ferry__source *source, ferry__frame *f)
{
    side *s = (side *)up;
    s->got++;
    B->settle(s->self, f);
    B->credit(s->self, source, 1);
}
static void on_outcome(ferry__up *up, ferry__frame *f, ferry__fate fate, ferry_status status, const char *why)
{
    (void)f;
    (void)status;
    if (fate != FERRY__ACCEPTED)
        die(why);
    ((side *)up)->accepted++;
}
static void on_settled(ferry__up *up, size_t n, ferry_status status, const char *why)
{
    (void)up;
    (void)n;
    if (status != FERRY_OK)
        die(why);
}
static void on_state(ferry__up *up, ferry__state state, ferry_status why, const char *text)
{
    (void)why;
    (void)text;
    ((side *)up)->is_up = state == FERRY__UP;
}
static void on_ready(ferry__up *up, ferry__source *source)
{
    (void)up;
    (void)source;
}
static void on_caught_up(ferry__up *up, ferry__source *source)
{
    (void)source;
    ((side *)up)->caught_up = true;
}
static void on_broken(ferry__up *up, ferry__source *source, ferry_status status, const char *why)
{
    (void)up;
    (void)source;
    (void)status;
    die(why);
}
static void on_answered(ferry__up *up, ferry__admin *admin)
{
    (void)up;
    (void)admin;
}
static void on_log(int level, const char *line, void *arg)
{
    (void)level;
    (void)arg;
    (void)line;
}

static void turn(side *s)
{
    B->flush(s->self);
    B->pump(s->self);
    int ms = B->next_ms(s->self, ferry__now_ms());
    if (ms)
        B->wait(s->self, ms);
}

static void open_side(side *s)
{
    char why[FERRY_WHY_SIZE], url[300];
    *s = (side){.log = {on_log, NULL}};
    s->up = (ferry__up){.frame = on_frame,
                        .outcome = on_outcome,
                        .settled = on_settled,
                        .state = on_state,
                        .answered = on_answered,
                        .ready = on_ready,
                        .caught_up = on_caught_up,
                        .broken = on_broken,
                        .log = &s->log};
    s->config = (ferry__config){.ns = "bench",
                                .name = "bench",
                                .partitions = PARTS,
                                .max_message = 1 << 20,
                                .max_queued = 100000,
                                .backoff_ms = 20,
                                .backoff_max_ms = 100,
                                .done_ms = 600000,
                                .done_count = 1000};
    ferry__random_bytes(s->config.client, sizeof s->config.client);
    s->topic = (ferry__target){.lane = FERRY__EVENTS, .name = "order"};
    snprintf(url, sizeof url, "redis+unix:%s", socket_path);
    s->self = ferry__zalloc(B->state_size);
    if (ferry__url_parse(&s->url, url, why) != FERRY_OK ||
        B->open(s->self, &s->up, &s->config, &s->url, why) != FERRY_OK)
        die(why);
    while (!s->is_up)
        turn(s);
}

static void close_side(side *s)
{
    B->close(s->self);
    ferry__url_done(&s->url);
    ferry__free(s->self);
}

static void send_one(side *s, long n)
{
    char key[24];
    snprintf(key, sizeof key, "%ld", keys ? n % keys : 0);
    ferry__frame *f = ferry__frame_new(FERRY__EVENT, &(ferry__parts){.route = "order.created",
                                                                     .source = "shop@host:4728",
                                                                     .key = keys ? key : NULL,
                                                                     .body = body,
                                                                     .body_length = BODY + 2});
    if (!f)
        die("out of memory");
    memcpy(f->id.client, s->config.client, 16);
    f->id.serial = (uint64_t)n + 1;
    f->time_ms = 1795654995071;
    f->partition = part_of(n);
    B->send(s->self, &s->topic, f);
}

static void listen_side(side *s, const char *group)
{
    s->wish = (ferry__wish){
        .group = group, .box = group ? "order/g" : "order/@me", .pattern = "order.*", .from = FERRY_FROM_EARLIEST};
    s->source = (ferry__source){.lane = FERRY__EVENTS, .name = "order", .wish = &s->wish};
    s->posts = (ferry__source){.lane = FERRY__POSTS, .name = "order/g"};
    B->listen(s->self, &s->source);
    if (group)
        B->listen(s->self, &s->posts);
    B->credit(s->self, &s->source, 256);
    while (s->got < events)
        turn(s);
}

static void seam(long round)
{
    side s;
    open_side(&s);
    mark at = begin();
    for (long n = 0; s.accepted < events;) {
        for (bool refill = n - s.accepted <= WINDOW / 2; refill && n < events && n - s.accepted < WINDOW; n++)
            send_one(&s, n);
        turn(&s);
    }
    note(SEAM, PUBLISH, round, at);
    close_side(&s);
    open_side(&s);
    at = begin();
    listen_side(&s, "g");
    note(SEAM, GROUP, round, at);
    close_side(&s);
    open_side(&s);
    at = begin();
    listen_side(&s, NULL);
    note(SEAM, BROADCAST, round, at);
    close_side(&s);
}

/* ---- The whole ------------------------------------------------------------------------------------------------------ */

static _Atomic long handled;

static void handle(ferry_request *req, void *arg)
{
    (void)req;
    (void)arg;
    handled++;
}

static ferry *open_core(void)
{
    char url[300], why[FERRY_WHY_SIZE];
    snprintf(url, sizeof url, "redis+unix:%s?ns=bench", socket_path);
    ferry *f = ferry_open(url, NULL);
    if (ferry_problem(f, why, sizeof why) || ferry_wait_ready(f, 5000) != FERRY_OK)
        die("ferry does not open");
    return f;
}

static void core_listen(long round, int kind)
{
    ferry *f = open_core();
    mark at = begin();
    handled = 0;
    if (ferry_subscribe(f, "order.*", handle, NULL,
                        FERRY_SUBSCRIBE(.group = kind == GROUP ? "core" : NULL, .from = FERRY_FROM_EARLIEST),
                        NULL) != FERRY_OK)
        die("no subscription");
    ferry_serve(f);
    while (handled < events)
        ferry_wait_ready(f, 1);
    note(CORE, kind, round, at);
    ferry_close(f);
}

static void core(long round)
{
    char key[24];
    ferry *f = open_core();
    mark at = begin();
    for (long n = 0; n < events; n++) {
        snprintf(key, sizeof key, "%ld", keys ? n % keys : 0);
        while (ferry_publish(f, "order.created", ferry_text(body), FERRY_EVENT(.key = keys ? key : NULL)) != FERRY_OK)
            if (ferry_flush(f, 10000) != FERRY_OK)
                die("not all were stored");
    }
    if (ferry_flush(f, 30000) != FERRY_OK)
        die("not all were stored");
    note(CORE, PUBLISH, round, at);
    ferry_close(f);
    core_listen(round, GROUP);
    core_listen(round, BROADCAST);
}

/* ---- In turn -------------------------------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *list)
{
    qsort(list, (size_t)rounds, sizeof *list, by_size);
    return list[rounds / 2];
}

static void clean(void)
{
    redisContext *c = connect_raw();
    freeReplyObject(redisCommand(c, "FLUSHDB"));
    redisFree(c);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        puts("redis_events_bench: give it the socket of a Redis whose database 0 may be emptied");
        return 0;
    }
    socket_path = argv[1];
    events = argc > 2 ? strtol(argv[2], NULL, 10) : 1000000;
    rounds = argc > 3 ? strtol(argv[3], NULL, 10) : 3;
    keys = argc > 4 ? strtol(argv[4], NULL, 10) : 0;
    if (events < 1 || rounds < 1 || rounds > ROUNDS_MOST)
        die("how many?");
    memset(body, 'x', BODY);
    for (long r = 0; r < rounds; r++) {
        clean();
        raw(r);
        clean();
        seam(r);
        clean();
        core(r);
    }
    clean();
    for (int kind = 0; kind < KINDS; kind++)
        for (int way = SEAM; way < WAYS; way++)
            printf("{\"what\":\"%s\",\"way\":\"%s\",\"rate_to_raw\":%.2f,\"processor_to_raw\":%.2f}\n", kinds[kind],
                   ways[way], median(figures[way][kind]) / median(figures[RAW][kind]),
                   median(costs[way][kind]) / median(costs[RAW][kind]));
    return 0;
}
#else
int main(void)
{
    return 0;
}
#endif
