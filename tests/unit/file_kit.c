#include "file_kit.h"

#include "backends/file/file.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/random.h"

#include <sqlite3.h>

const ferry__backend *const file_backend = &ferry__file_backend;
const char *file_query = "";

/* ---- what the transport tells ---- */

static void on_frame(ferry__up *up, ferry__source *source, ferry__frame *frame)
{
    side *s = (side *)up;
    ferry__frames_add(source == &s->from_replies    ? &s->replies
                      : source == &s->from_controls ? &s->cancels
                                                    : &s->got,
                      frame);
}

static void on_outcome(ferry__up *up, ferry__frame *frame, ferry__fate fate, ferry_status status, const char *why)
{
    side *s = (side *)up;
    (void)frame;
    *(fate == FERRY__ACCEPTED ? &s->accepted : &s->refused) += 1;
    if (fate == FERRY__ACCEPTED)
        return;
    s->status = status;
    snprintf(s->why, sizeof s->why, "%s", why);
}

static void on_settled(ferry__up *up, size_t how_many, ferry_status status, const char *why)
{
    side *s = (side *)up;
    (void)why;
    *(status == FERRY_OK ? &s->settled : &s->unsettled) += how_many;
}

static void on_withdrawn(ferry__up *up, ferry__frame *frame, bool yes)
{
    (void)frame;
    ((side *)up)->withdrawn = yes;
}

static void on_probed(ferry__up *up, ferry__target *target, ferry__presence presence)
{
    (void)target;
    ((side *)up)->presence = (int)presence;
}

static void on_state(ferry__up *up, ferry__state state, ferry_status why, const char *text)
{
    side *s = (side *)up;
    s->state = state;
    s->up_now = state == FERRY__UP;
    s->status = why;
    snprintf(s->why, sizeof s->why, "%s", text ? text : "");
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
    snprintf(((side *)arg)->logged, FERRY_WHY_SIZE, "%s", line);
}

/* ---- opening ---- */

static void fill(side *s)
{
    s->log = (ferry__log){on_log, s};
    s->up = (ferry__up){.frame = on_frame,
                        .outcome = on_outcome,
                        .settled = on_settled,
                        .withdrawn = on_withdrawn,
                        .probed = on_probed,
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
                                .max_queued = 1000,
                                .backoff_ms = 20,
                                .backoff_max_ms = 100,
                                .done_ms = 600000,
                                .done_count = 1000};
    ferry__random_bytes(s->config.client, sizeof s->config.client);
    s->calls = (ferry__target){.lane = FERRY__CALLS, .name = "calc"};
    s->posts = (ferry__target){.lane = FERRY__POSTS, .name = "calc"};
    s->controls = (ferry__target){.lane = FERRY__CONTROLS, .name = "calc"};
    s->events = (ferry__target){.lane = FERRY__EVENTS, .name = "order"};
    s->from_calls = (ferry__source){.lane = FERRY__CALLS, .name = "calc"};
    s->from_posts = (ferry__source){.lane = FERRY__POSTS, .name = "calc"};
    s->from_controls = (ferry__source){.lane = FERRY__CONTROLS, .name = "calc"};
    s->from_replies = (ferry__source){.lane = FERRY__REPLIES};
    ferry__frames_init(&s->got);
    ferry__frames_init(&s->replies);
    ferry__frames_init(&s->cancels);
    s->withdrawn = s->presence = -1;
}

side *file_side(const char *path)
{
    char why[FERRY_WHY_SIZE] = "";
    side *s = ferry__zalloc(sizeof *s);
    CHECK_NOT_NULL(s);
    fill(s);
    CHECK_STATUS(ferry__url_parse(&s->url, test_text("file:%s%s", path, file_query), why), FERRY_OK);
    s->file = ferry__zalloc(file_backend->state_size);
    CHECK_NOT_NULL(s->file);
    CHECK_STATUS(file_backend->open(s->file, &s->up, &s->config, &s->url, why), FERRY_OK);
    CHECK_STATUS(file_backend->listen(s->file, &s->from_replies), FERRY_OK);
    return s;
}

side *file_up(const char *path)
{
    side *s = file_side(path);
    FILE_UNTIL(s, NOBODY, s->up_now);
    return s;
}

side *file_server(const char *path, int credit)
{
    side *s = file_up(path);
    file_backend->listen(s->file, &s->from_calls);
    file_backend->listen(s->file, &s->from_posts);
    file_backend->listen(s->file, &s->from_controls);
    file_backend->credit(s->file, &s->from_calls, credit);
    file_backend->credit(s->file, &s->from_posts, credit);
    file_turn(s);
    CHECK_INT(file_presence(s, &s->calls), FERRY__ALIVE);
    return s;
}

void file_end(side *s)
{
    file_backend->close(s->file);
    ferry__frames_drop(&s->got);
    ferry__frames_drop(&s->replies);
    ferry__frames_drop(&s->cancels);
    ferry__url_done(&s->url);
    ferry__free(s->file);
    ferry__free(s);
}

void file_turn(side *s)
{
    file_backend->flush(s->file);
    file_backend->step(s->file);
    file_backend->pump(s->file);
}

void file_turns(side *a, side *b)
{
    file_turn(a);
    if (b)
        file_turn(b);
}

void file_rest(side *s)
{
    int ms = file_backend->next_ms(s->file, ferry__now_ms());
    if (ms != 0)
        file_backend->wait(s->file, ms);
}

/* ---- messages ---- */

ferry__frame *file_frame(side *s, ferry__kind kind, const char *body)
{
    ferry__frame *f =
        ferry__frame_new(kind, &(ferry__parts){.route = "calc.add", .body = body, .body_length = strlen(body) + 1});
    CHECK_NOT_NULL(f);
    memcpy(f->id.client, s->config.client, sizeof f->id.client);
    f->id.serial = ++s->serial;
    f->verb = FERRY_GET;
    f->deadline_ms = kind == FERRY__CALL ? ferry__now_ms() + 10000 : 0;
    return f;
}

ferry__frame *file_call(side *s, const char *body)
{
    ferry__frame *f = file_frame(s, FERRY__CALL, body);
    file_backend->send(s->file, &s->calls, ferry__frame_ref(f));
    return f;
}

void file_post(side *s, const char *body, uint32_t part)
{
    ferry__frame *f = file_frame(s, FERRY__POST, body);
    f->partition = part;
    file_backend->send(s->file, &s->posts, f);
}

void file_answer(side *s, ferry__frame *call, const char *body)
{
    ferry__frame *r = ferry__frame_new(FERRY__REPLY, &(ferry__parts){.body = body, .body_length = strlen(body) + 1});
    CHECK_NOT_NULL(r);
    r->id = call->id;
    file_backend->send(s->file, NULL, r);
    file_backend->settle(s->file, call);
}

const char *file_body(ferry__frame *f)
{
    return f ? ferry__frame_body(f) : "nothing";
}

ferry__presence file_presence(side *s, ferry__target *t)
{
    s->presence = -1;
    file_backend->probe(s->file, t);
    FILE_UNTIL(s, NOBODY, s->presence >= 0);
    return (ferry__presence)s->presence;
}

bool file_withdraws(side *s, ferry__frame *sent)
{
    s->withdrawn = -1;
    file_backend->more->withdraw(s->file, &s->calls, sent);
    FILE_UNTIL(s, NOBODY, s->withdrawn >= 0);
    return s->withdrawn;
}

int64_t file_sql(const char *path, const char *question)
{
    sqlite3 *db;
    sqlite3_stmt *q = NULL;
    CHECK_INT(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
    sqlite3_busy_timeout(db, 2000);
    CHECK_INT(sqlite3_prepare_v2(db, question, -1, &q, NULL), SQLITE_OK);
    int got = sqlite3_step(q);
    int64_t answer = got == SQLITE_ROW ? sqlite3_column_int64(q, 0) : got == SQLITE_DONE ? 0 : -1;
    sqlite3_finalize(q);
    sqlite3_close(db);
    return answer;
}
