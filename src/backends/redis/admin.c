/* admin.c - dead letters, and the facts for `ferry doctor`. A question is a job: its commands go out together and the last answer
 * ends it. */
#include "backends/redis/event.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

typedef struct row {
    uint64_t     ms, seq;
    ferry_value *value;
} row;

typedef struct job {
    ferry__admin *admin;
    size_t        open; /* answers to come */
    row          *rows;
    size_t        count, room;
    struct tally *tallies; /* doctor */
} job;

enum { NUMBERS = 5 };

typedef struct tally {
    struct tally *next;
    int64_t       numbers[NUMBERS];
    char          name[132];
} tally;

/* One of its questions. */
typedef struct part {
    job *job;
    char name[132];
} part;

/* ---- Ends ----------------------------------------------------------------------------------------------------------- */

static int by_id(const void *a, const void *b)
{
    const row *x = a, *y = b;
    if (x->ms != y->ms)
        return x->ms < y->ms ? -1 : 1;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* The cursor is an entry id, which two boxes may share: such a group is not cut by the end of a page. */
static size_t page(const job *j)
{
    size_t n = j->count < j->admin->limit ? j->count : j->admin->limit;
    if (n == j->count || n == 0)
        return n;
    size_t whole = n;
    while (whole > 0 && by_id(&j->rows[whole - 1], &j->rows[n]) == 0)
        whole--;
    return whole ? whole : n;
}

static void end_browse(job *j)
{
    if (j->count > 1)
        qsort(j->rows, j->count, sizeof *j->rows, by_id);
    size_t n = page(j);
    j->admin->answer = ferry_new_list();
    for (size_t i = 0; i < j->count; i++)
        if (i < n && j->admin->status == FERRY_OK)
            ferry_list_put(j->admin->answer, j->rows[i].value);
        else
            ferry_value_free(j->rows[i].value);
    ferry__free(j->rows);
}

static void put_text(ferry_value *map, const char *name, const char *text)
{
    ferry_map_put(map, name, ferry_text(*text ? text : "unknown"));
}

static ferry_value *warnings(const redis__pipe *p)
{
    ferry_value *list = ferry_new_list();
    if (!p->aof)
        ferry_list_put(
            list,
            ferry_text("redis: no append-only file: what it accepted is lost when it is killed (set appendonly yes)"));
    else if (strcmp(p->appendfsync, "always") != 0)
        ferry_list_put(
            list,
            ferry_text("redis: appendfsync is not always: a power failure may lose two seconds of accepted posts"));
    if (*p->policy && strcmp(p->policy, "noeviction") != 0)
        ferry_list_put(list, ferry_text("redis: maxmemory-policy is not noeviction: whole streams may be evicted"));
    return list;
}

static const struct {
    const char *name, *command, *key;
} numbers[NUMBERS] = {{"calls_waiting", "XLEN", "calls"},
                      {"posts_waiting", "XLEN", "posts"},
                      {"posts_later", "ZCARD", "later"},
                      {"dead", "XLEN", "dead"},
                      {"servers", "ZCARD", "up"}};

static ferry_value *services(job *j)
{
    ferry_value *all = ferry_new_map();
    for (tally *t = j->tallies, *next; t; t = next) {
        ferry_value *of = ferry_new_map();
        for (size_t i = 0; i < NUMBERS; i++)
            ferry_map_put(of, numbers[i].name, ferry_int(t->numbers[i]));
        ferry_map_put(all, t->name, of);
        next = t->next;
        ferry__free(t);
    }
    return all;
}

static void end_doctor(redis__pipe *p, job *j)
{
    ferry_value *v = ferry_new_map();
    put_text(v, "transport", "redis");
    put_text(v, "server", p->version);
    put_text(v, "run_id", p->run_id);
    put_text(v, "appendfsync", p->appendfsync);
    put_text(v, "maxmemory_policy", p->policy);
    ferry_map_put(v, "services", services(j));
    ferry_map_put(v, "durable", ferry_bool(p->aof && strcmp(p->appendfsync, "always") == 0));
    ferry_map_put(v, "warnings", warnings(p));
    j->admin->answer = v;
}

static void end_job(redis__pipe *p, job *j)
{
    if (j->admin->ask == FERRY__DEAD_BROWSE)
        end_browse(j);
    else if (j->admin->ask == FERRY__DOCTOR)
        end_doctor(p, j);
    p->up->answered(p->up, j->admin);
    ferry__free(j);
}

/* The common part of every answer; true: v is of use. The caller ends with left(). */
static bool usable(job *j, const redis__value *v)
{
    bool again;
    if (v && v->type != REDIS__ERROR)
        return true;
    if (j->admin->status == FERRY_OK) {
        j->admin->status = v ? redis__error_status(v, &again) : FERRY_UNAVAILABLE;
        ferry__why(j->admin->why, "%.200s", v ? v->text : "the connection to Redis was lost");
    }
    return false;
}

static void left(redis__pipe *p, job *j)
{
    if (--j->open == 0)
        end_job(p, j);
}

static part *ask_part(redis__pipe *p, job *j, redis__answer_fn *answer, const char *name, uint64_t number)
{
    part *q = ferry__alloc(sizeof *q);
    j->open++;
    if (q) {
        q->job = j;
        snprintf(q->name, sizeof q->name, "%s", name);
    }
    redis__ask(&p->conns[REDIS__W], q ? answer : redis__ignore, q, number);
    if (!q) {
        j->admin->status = FERRY_NO_MEMORY;
        j->open--;
    }
    return q;
}

/* ---- Browsing ------------------------------------------------------------------------------------------------------- */

static const redis__value *field(const redis__value *fields, const char *name)
{
    for (size_t i = 0; fields && i + 1 < fields->count; i += 2)
        if (strcmp(redis__text(redis__at(fields, i)), name) == 0)
            return redis__at(fields, i + 1);
    return NULL;
}

static void add_row(job *j, const char *id, const char *box, const redis__value *record)
{
    if (j->count == j->room) {
        size_t room = j->room ? j->room * 2 : 64;
        row *wide = ferry__realloc(j->rows, room * sizeof *wide);
        if (!wide) {
            j->admin->status = FERRY_NO_MEMORY;
            return;
        }
        j->rows = wide;
        j->room = room;
    }
    row *r = &j->rows[j->count++];
    redis__entry_id(id, &r->ms, &r->seq);
    r->value = ferry_new_list();
    ferry_list_put(r->value, ferry_text(id));
    ferry_list_put(r->value, ferry_text(box));
    ferry_list_put(r->value, ferry_bytes(record->text, record->count));
}

static void browsed(redis__pipe *p, redis__want *w, const redis__value *v)
{
    part *q = w->what;
    for (size_t i = 0; usable(q->job, v) && i < v->count; i++) {
        const redis__value *e = redis__at(v, i), *fields = redis__at(e, 1), *record = field(fields, "record");
        if (record && record->type == REDIS__TEXT)
            add_row(q->job, redis__text(redis__at(e, 0)), q->name, record);
    }
    left(p, q->job);
    ferry__free(q);
}

static void browse_box(redis__pipe *p, job *j, const char *name)
{
    char key[REDIS__KEY], from[80];
    snprintf(key, sizeof key, "%s:{%.128s}:dead", p->config->ns, name);
    snprintf(from, sizeof from, "(%.64s", j->admin->after ? j->admin->after : "");
    ferry__buf *b = &p->conns[REDIS__W].out;
    redis__words(b, 6);
    redis__word(b, "XRANGE");
    redis__word(b, key);
    redis__word(b, j->admin->after ? from : "-");
    redis__word(b, "+");
    redis__word(b, "COUNT");
    redis__word_number(b, (int64_t)j->admin->limit);
    ask_part(p, j, browsed, name, 0);
}

/* ---- The doctor's numbers ------------------------------------------------------------------------------------------- */

static tally *tally_of(job *j, const char *name)
{
    tally *t = j->tallies;
    while (t && strcmp(t->name, name) != 0)
        t = t->next;
    if (t || !(t = ferry__zalloc(sizeof *t)))
        return t;
    snprintf(t->name, sizeof t->name, "%s", name);
    t->next = j->tallies;
    j->tallies = t;
    return t;
}

static void counted(redis__pipe *p, redis__want *w, const redis__value *v)
{
    part *q = w->what;
    tally *t = usable(q->job, v) ? tally_of(q->job, q->name) : NULL;
    if (t)
        t->numbers[w->number] = redis__number(v);
    left(p, q->job);
    ferry__free(q);
}

static void count_service(redis__pipe *p, job *j, const char *name)
{
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char key[REDIS__KEY];
        snprintf(key, sizeof key, "%s:{%.128s}:%s", p->config->ns, name, numbers[i].key);
        redis__command(&p->conns[REDIS__W].out, numbers[i].command, key, NULL);
        ask_part(p, j, counted, name, i);
    }
}

/* ---- All services --------------------------------------------------------------------------------------------------- */

static void listed(redis__pipe *p, redis__want *w, const redis__value *v)
{
    part *q = w->what;
    job *j = q->job;
    for (size_t i = 0; usable(j, v) && i < v->count; i++)
        if (j->admin->ask == FERRY__DEAD_BROWSE)
            browse_box(p, j, redis__text(redis__at(v, i)));
        else
            count_service(p, j, redis__text(redis__at(v, i)));
    p->work = true;
    left(p, j);
    ferry__free(q);
}

static void list_services(redis__pipe *p, job *j)
{
    char key[REDIS__KEY];
    snprintf(key, sizeof key, "%s:services", p->config->ns);
    redis__command(&p->conns[REDIS__W].out, "SMEMBERS", key, NULL);
    ask_part(p, j, listed, "", 0);
}

/* ---- Removing ------------------------------------------------------------------------------------------------------- */

static void removed(redis__pipe *p, redis__want *w, const redis__value *v)
{
    part *q = w->what;
    job *j = q->job;
    if (redis__forgotten(p, REDIS__UNBURY, v)) {
        j->admin->next = p->admins;
        p->admins = j->admin;
        p->work = true;
        ferry__free(j);
    } else {
        if (usable(j, v))
            j->admin->count = redis__number(v);
        left(p, j);
    }
    ferry__free(q);
}

static void remove_record(redis__pipe *p, job *j)
{
    char key[REDIS__KEY];
    snprintf(key, sizeof key, "%s:{%.128s}:dead", p->config->ns, j->admin->name ? j->admin->name : "");
    redis__call(p, REDIS__UNBURY, 1, 1);
    redis__word(&p->conns[REDIS__W].out, key);
    redis__word(&p->conns[REDIS__W].out, j->admin->id ? j->admin->id : "");
    ask_part(p, j, removed, "", 0);
}

/* ---- Asking --------------------------------------------------------------------------------------------------------- */

static void begin(redis__pipe *p, ferry__admin *a)
{
    job *j = ferry__zalloc(sizeof *j);
    a->status = j ? FERRY_OK : FERRY_NO_MEMORY;
    if (!j) {
        p->up->answered(p->up, a);
        return;
    }
    j->admin = a;
    j->open = 1; /* ours, so that nothing ends while questions are being asked */
    if (a->ask == FERRY__DEAD_BROWSE && a->name)
        browse_box(p, j, a->name);
    else if (a->ask == FERRY__DEAD_BROWSE || a->ask == FERRY__DOCTOR)
        list_services(p, j);
    else if (a->ask == FERRY__DEAD_REMOVE)
        remove_record(p, j);
    else
        a->status = FERRY_UNSUPPORTED;
    left(p, j);
}

/* In pump, with the link up. */
void redis__admin_ask(redis__pipe *p)
{
    ferry__admin *all = p->admins, *next;
    p->admins = NULL;
    for (ferry__admin *a = all; a; a = next) {
        next = a->next;
        if (!redis__topic_ask(p, a))
            begin(p, a);
    }
}
