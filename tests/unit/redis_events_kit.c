#include "redis_events_kit.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/random.h"

#include <signal.h>
#include <stdlib.h>

static const ferry__backend *const B = &ferry__redis_unix_backend;
static pid_t server;

/* ---- The server ----------------------------------------------------------------------------------------------------- */

const char *redis_says(const char *command)
{
    return test_sh("redis-cli -s %s/redis.sock %s", test_dir(), command).out;
}

static bool answers(void *arg)
{
    (void)arg;
    return strncmp(redis_says("ping"), "PONG", 4) == 0;
}

void redis_start(const char *more)
{
    if (test_sh("command -v redis-server redis-cli").code != 0)
        SKIP("there is no redis-server here");
    server = test_start("redis-server --port 0 --unixsocket %s/redis.sock --dir %s --save '' --appendonly yes "
                        "--logfile %s/redis.log %s",
                        test_dir(), test_dir(), test_dir(), more);
    CHECK(test_wait_for(answers, NULL, 10000));
}

void redis_end(void)
{
    test_kill(server, SIGTERM);
}

void redis_kill(void)
{
    test_kill(server, SIGKILL);
}

/* ---- What the transport tells --------------------------------------------------------------------------------------- */

uint32_t redis_number(const ferry__frame *f)
{
    return (uint32_t)strtoul(f->data + f->body.at, NULL, 10);
}

static void note(side *s, const ferry__frame *f)
{
    uint32_t n = redis_number(f), key = (uint32_t)strtoul(ferry__frame_text(f, f->key), NULL, 10);
    if (n >= s->seen_room) {
        uint32_t room = n * 2 + 1024;
        s->seen = realloc(s->seen, room);
        CHECK_NOT_NULL(s->seen);
        memset(s->seen + s->seen_room, 0, room - s->seen_room);
        s->seen_room = room;
    }
    if (s->seen[n]++)
        s->doubles++;
    else
        s->distinct++;
    if (key && key < 64 && !f->attempt && n < s->last[key])
        s->disorder++;
    if (key && key < 64 && n > s->last[key])
        s->last[key] = n;
}

static void on_frame(ferry__up *up, ferry__source *source, ferry__frame *f)
{
    side *s = (side *)up;
    CHECK(f->from == source);
    CHECK_INT(f->kind, FERRY__EVENT);
    if (source == &s->posts) {
        ferry__frames_add(&s->retried, f);
        return;
    }
    note(s, f);
    if (s->holds) {
        ferry__frames_add(&s->got, f);
        return;
    }
    B->settle(s->self, f);
    B->credit(s->self, source, 1);
}

static void on_outcome(ferry__up *up, ferry__frame *frame, ferry__fate fate, ferry_status status, const char *why)
{
    side *s = (side *)up;
    if (fate == FERRY__ACCEPTED) {
        s->accepted++;
        return;
    }
    *(fate == FERRY__LOST ? &s->lost : &s->refused) += 1;
    s->status = status;
    snprintf(s->why, sizeof s->why, "%s", why ? why : "");
    if (s->holds || fate == FERRY__REFUSED) {
        if (status != FERRY_UNAVAILABLE)
            return;
    }
    B->send(s->self, &s->topic, ferry__frame_ref(frame)); /* as the core does */
}

static void on_settled(ferry__up *up, size_t how_many, ferry_status status, const char *why)
{
    side *s = (side *)up;
    (void)why;
    *(status == FERRY_OK ? &s->settled : &s->unsettled) += how_many;
}

static void on_state(ferry__up *up, ferry__state state, ferry_status why, const char *text)
{
    side *s = (side *)up;
    (void)why;
    (void)text;
    s->up_now = state == FERRY__UP;
}

static void on_answered(ferry__up *up, ferry__admin *admin)
{
    (void)admin;
    ((side *)up)->answered++;
}

static void on_ready(ferry__up *up, ferry__source *source)
{
    (void)source;
    ((side *)up)->ready++;
}

static void on_caught_up(ferry__up *up, ferry__source *source)
{
    (void)source;
    ((side *)up)->caught_up++;
}

static void on_broken(ferry__up *up, ferry__source *source, ferry_status status, const char *why)
{
    side *s = (side *)up;
    (void)source;
    s->broken++;
    s->status = status;
    snprintf(s->why, sizeof s->why, "%s", why);
}

static void on_log(int level, const char *line, void *arg)
{
    (void)level;
    (void)arg;
    test_note("%s", line);
}

/* ---- Sides ---------------------------------------------------------------------------------------------------------- */

static void fill(side *s)
{
    s->log = (ferry__log){on_log, s};
    s->up = (ferry__up){.frame = on_frame,
                        .outcome = on_outcome,
                        .settled = on_settled,
                        .state = on_state,
                        .answered = on_answered,
                        .ready = on_ready,
                        .caught_up = on_caught_up,
                        .broken = on_broken,
                        .log = &s->log};
    s->config = (ferry__config){.ns = "ferry",
                                .name = "unit",
                                .partitions = 8,
                                .max_message = 1 << 20,
                                .max_queued = 100000,
                                .backoff_ms = 20,
                                .backoff_max_ms = 100,
                                .done_ms = 600000,
                                .done_count = 1000,
                                .keep_ms = 7 * 86400000LL,
                                .keep_bytes = 1 << 30};
    ferry__random_bytes(s->config.client, sizeof s->config.client);
    s->topic = (ferry__target){.lane = FERRY__EVENTS, .name = "order"};
    ferry__frames_init(&s->got);
    ferry__frames_init(&s->retried);
}

side *redis_side(const char *query, void (*set)(ferry__config *c))
{
    char why[FERRY_WHY_SIZE] = "";
    side *s = ferry__zalloc(sizeof *s);
    CHECK_NOT_NULL(s);
    fill(s);
    if (set)
        set(&s->config);
    const char *url = test_text("redis+unix:%s/redis.sock?lease=500ms&look=50ms%s", test_dir(), query);
    CHECK_STATUS(ferry__url_parse(&s->url, url, why), FERRY_OK);
    s->self = ferry__zalloc(B->state_size);
    CHECK_NOT_NULL(s->self);
    CHECK_STATUS(B->open(s->self, &s->up, &s->config, &s->url, why), FERRY_OK);
    REDIS_UNTIL(s, NONE, NONE, s->up_now);
    return s;
}

static void free_side(side *s)
{
    ferry__frames_drop(&s->got);
    ferry__frames_drop(&s->retried);
    ferry__url_done(&s->url);
    ferry__free(s->self);
    free(s->seen);
    ferry__free(s);
}

void redis_close_side(side *s)
{
    B->close(s->self);
    free_side(s);
}

void redis_drop(side *s)
{
    B->abandon(s->self);
    free_side(s);
}

void redis_turn(side *s)
{
    B->flush(s->self);
    B->pump(s->self);
    int ms = B->next_ms(s->self, ferry__now_ms());
    B->wait(s->self, ms < 0 || ms > 1 ? 1 : ms);
}

void redis_group(side *s, const char *domain, const char *group, int from)
{
    snprintf(s->box, sizeof s->box, "%s/%s", domain, group);
    s->wish.group = group;
    s->wish.box = s->box;
    s->wish.pattern = "order.**";
    *(int *)(void *)&s->wish.from = from;
    s->events = (ferry__source){.lane = FERRY__EVENTS, .name = domain, .wish = &s->wish};
    s->posts = (ferry__source){.lane = FERRY__POSTS, .name = s->box};
    CHECK_STATUS(B->listen(s->self, &s->events), FERRY_OK);
    CHECK_STATUS(B->listen(s->self, &s->posts), FERRY_OK);
    B->credit(s->self, &s->events, 64);
    B->credit(s->self, &s->posts, 64);
}

void redis_broadcast(side *s, const char *domain, int from)
{
    snprintf(s->box, sizeof s->box, "%s/@me", domain);
    s->wish.box = s->box;
    s->wish.pattern = "order.**";
    *(int *)(void *)&s->wish.from = from;
    s->events = (ferry__source){.lane = FERRY__EVENTS, .name = domain, .wish = &s->wish};
    CHECK_STATUS(B->listen(s->self, &s->events), FERRY_OK);
    B->credit(s->self, &s->events, 64);
}

void redis_unlisten(side *s)
{
    B->unlisten(s->self, &s->events);
    if (s->wish.group)
        B->unlisten(s->self, &s->posts);
}

void redis_seek_to(side *s, int from, const char *position, int64_t time_ms)
{
    ferry__wish to = s->wish;
    *(int *)(void *)&to.from = from;
    to.position = position;
    to.time_ms = time_ms;
    B->more->seek(s->self, &s->events, &to);
}

/* ---- Messages ------------------------------------------------------------------------------------------------------- */

void redis_publish(side *s, uint32_t number, uint32_t key)
{
    char body[80], text[16];
    snprintf(body, sizeof body, "%u ..............................", number);
    snprintf(text, sizeof text, "%u", key);
    ferry__frame *f = ferry__frame_new(FERRY__EVENT, &(ferry__parts){.route = "order.created",
                                                                     .key = key ? text : NULL,
                                                                     .body = body,
                                                                     .body_length = strlen(body) + 1});
    CHECK_NOT_NULL(f);
    memcpy(f->id.client, s->config.client, sizeof f->id.client);
    f->id.serial = ++s->serial;
    f->time_ms = ferry__wall_ms();
    f->partition = key ? key % 8 + 1 : 0;
    B->send(s->self, &s->topic, f);
}

void redis_publish_all(side *s, uint32_t from, uint32_t to, uint32_t keys)
{
    size_t had = s->accepted, sent = 0;
    for (uint32_t n = from; n < to;) {
        while (n < to && sent - (s->accepted - had) < 4000) {
            redis_publish(s, n, keys ? n % keys + 1 : 0);
            n++;
            sent++;
        }
        redis_turn(s);
    }
    REDIS_UNTIL(s, NONE, NONE, s->accepted - had == sent);
}

ferry__frame *redis_take(side *s)
{
    ferry__frame *f = ferry__frames_take(&s->got);
    CHECK_NOT_NULL(f);
    return f;
}

ferry__admin redis_ask(side *s, ferry__admin about)
{
    static ferry__admin a; /* the transport has it meanwhile */
    size_t had = s->answered;
    a = about;
    B->more->admin(s->self, &a);
    REDIS_UNTIL(s, NONE, NONE, s->answered > had);
    return a;
}

const char *redis_position(side *s, int64_t *lag)
{
    ferry__admin a = redis_ask(s, (ferry__admin){.ask = FERRY__LAG, .source = &s->events});
    CHECK_STATUS(a.status, FERRY_OK);
    const ferry_value *of = ferry_at(a.answer, 0);
    CHECK_NOT_NULL(of);
    if (lag)
        *lag = ferry_as_int(ferry_find(of, "lag"), -2);
    const char *position = test_text("%s", ferry_as_string(ferry_find(of, "position"), ""));
    ferry_value_free(a.answer);
    return position;
}
