/* admin.c - ferry_admin: commands in terms of a few questions that every transport can answer (browse, remove, facts). */
#include "ends/admin.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/text.h"
#include "data/route.h"
#include "data/value.h"
#include "ends/dead.h"
#include "ends/options.h"
#include "ends/reply.h"
#include "ends/serve.h"
#include "ends/topic.h"

#include <string.h>

enum { PAGE = 64, LIST_DEFAULT = 100, LIST_MAX = 100000 };

static ferry__service *service_of(const ferry__admin *admin)
{
    return admin->source->owner;
}

static const char *keep(char *to, size_t size, const char *text)
{
    if (text)
        snprintf(to, size, "%s", text);
    return text ? to : NULL;
}

static ferry__question *new_question(const ferry__admin *what)
{
    ferry__question *q = ferry__zalloc(sizeof *q);
    if (!q)
        return NULL;
    q->admin = *what;
    q->admin.name = keep(q->name, sizeof q->name, what->name);
    q->admin.id = keep(q->id, sizeof q->id, what->id);
    q->admin.after = keep(q->after, sizeof q->after, what->after);
    q->admin.group = keep(q->group, sizeof q->group, what->group);
    return q;
}

void ferry__admin_answered(ferry__link *l, ferry__admin *admin)
{
    ferry__question *q = (ferry__question *)(void *)admin;
    if (admin->source)
        service_of(admin)->requests--;
    if (q->forgotten) {
        ferry_value_free(admin->answer);
        ferry__free(q);
        return;
    }
    q->answered = true;
    ferry__waiter_poke(l, q->waiter);
}

const char *ferry__command_name(ferry__command *c, const char *key)
{
    const char *text = ferry_as_string(ferry_find(c->args, key), NULL);
    size_t length = text ? strcspn(text, "/") : 0; /* a box is DOMAIN/GROUP */
    if (!text)
        return NULL;
    const char *rest = text + length, *real = ferry__names_real(c->f->names, text, &length);
    snprintf(c->name, sizeof c->name, "%.*s%s", (int)length, real, rest);
    return c->name;
}

bool ferry__command_fail(ferry__command *c, ferry_status status, const char *why)
{
    c->status = status;
    ferry__why(c->why, "%s", why);
    return false;
}

static bool wait_answer(ferry__command *c, ferry__question *q)
{
    ferry__link *l = &c->f->link;
    ferry__waiter w;
    ferry__waiter_init(&w);
    q->waiter = &w;
    while (!q->answered && ferry__now_ms() < c->until_ms && !c->f->closed)
        ferry__link_wait(l, &w, c->until_ms);
    if (!q->answered)
        q->forgotten = true;
    ferry__link_leave(l);
    return q->answered;
}

static bool connected(ferry__command *c)
{
    ferry__link *l = &c->f->link;
    ferry__waiter w;
    ferry__waiter_init(&w);
    ferry__link_watch(l, &w);
    while (l->state == FERRY__DOWN && ferry__now_ms() < c->until_ms) {
        w.poked = false;
        ferry__link_wait(l, &w, c->until_ms);
    }
    ferry__list_remove(&w.place);
    return l->state != FERRY__DOWN || ferry__command_fail(c, FERRY_UNAVAILABLE, l->state_why);
}

/* Asks and waits. The question is the caller's afterwards, to be ended by forget; NULL: failed, c says why. */
ferry__question *ferry__admin_ask(ferry__command *c, const ferry__admin *what)
{
    ferry__link *l = &c->f->link;
    ferry__question *q = new_question(what);
    if (!q) {
        ferry__command_fail(c, FERRY_NO_MEMORY, "out of memory");
        return NULL;
    }
    ferry__link_lock(l);
    ferry_status status = ferry__handle_usable(c->f, c->why);
    bool asked = status == FERRY_OK && (l->more && l->more->admin) && connected(c);
    if (status != FERRY_OK)
        c->status = status;
    else if (!asked && c->status == FERRY_OK)
        ferry__command_fail(c, FERRY_UNSUPPORTED, "this transport has no such command");
    if (asked) {
        if (q->admin.source)
            service_of(&q->admin)->requests++; /* it stays until the answer */
        l->more->admin(l->self, &q->admin);
        ferry__link_noted(l, true);
        if (!wait_answer(c, q)) {
            ferry__command_fail(c, FERRY_TIMEOUT, "the broker did not answer in time");
            q = NULL; /* it frees itself */
        }
    }
    ferry__link_unlock(l);
    if (q && !asked) {
        ferry__free(q);
        return NULL;
    }
    if (q && q->admin.status == FERRY_OK && ferry__value_broken(q->admin.answer))
        q->admin.status = FERRY_NO_MEMORY;
    if (q && q->admin.status != FERRY_OK)
        ferry__command_fail(c, q->admin.status, *q->admin.why ? q->admin.why : ferry_status_text(q->admin.status));
    return q;
}

void ferry__forget(ferry__question *q)
{
    if (!q)
        return;
    ferry_value_free(q->admin.answer);
    ferry__free(q);
}

/* ---- dead letters ---- */

/* What each record is shown to; false = enough. It may remove the record. */
typedef bool visitor(ferry__command *c, const char *box, const ferry_value *record, void *arg);

static bool visit_row(ferry__command *c, const ferry_value *row, visitor *visit, void *arg)
{
    size_t length;
    const void *bytes = ferry_as_bytes(ferry_at(row, 2), &length);
    ferry_value *record = NULL;
    if (!bytes || ferry__value_decode(bytes, length, &record, NULL) != FERRY_OK)
        return true; /* not ours to read; it stays */
    bool more = visit(c, ferry_as_string(ferry_at(row, 1), ""), record, arg);
    ferry_value_free(record);
    return more;
}

static bool walk(ferry__command *c, visitor *visit, void *arg)
{
    char after[64] = "";
    for (bool more = true; more;) {
        ferry__question *q = ferry__admin_ask(
            c, &(ferry__admin){
                   .ask = FERRY__DEAD_BROWSE, .name = c->service, .after = *after ? after : NULL, .limit = PAGE});
        size_t n = q ? ferry_count(q->admin.answer) : 0;
        more = n == PAGE && c->status == FERRY_OK;
        for (size_t i = 0; i < n && c->status == FERRY_OK; i++) {
            const ferry_value *row = ferry_at(q->admin.answer, i);
            snprintf(after, sizeof after, "%s", ferry_as_string(ferry_at(row, 0), ""));
            if (!visit_row(c, row, visit, arg)) {
                more = false;
                break;
            }
        }
        ferry__forget(q);
    }
    return c->status == FERRY_OK;
}

static const ferry_value *first_error(const ferry_value *record)
{
    return ferry_at(ferry_find(record, "errors"), 0);
}

static ferry_value *summary(const ferry_value *record)
{
    static const char *const names[] = {"id",     "service", "route",    "verb",     "key",
                                        "reason", "why",     "attempts", "first_ms", "dead_ms"};
    ferry_value *s = ferry_new_map();
    size_t size = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (ferry_find(record, names[i]))
            ferry_map_put(s, names[i], ferry_value_copy(ferry_find(record, names[i])));
    if (first_error(record))
        ferry_map_put(s, "error", ferry_value_copy(first_error(record)));
    ferry_as_bytes(ferry_find(record, "body"), &size);
    ferry_map_put(s, "size", ferry_int((int64_t)size));
    return s;
}

typedef struct listing {
    ferry_value *rows;
    size_t limit;
    bool more;
} listing;

static bool add_summary(ferry__command *c, const char *box, const ferry_value *record, void *arg)
{
    listing *l = arg;
    (void)c;
    (void)box;
    if (ferry_count(l->rows) == l->limit) {
        l->more = true;
        return false;
    }
    ferry_list_put(l->rows, summary(record));
    return true;
}

static void dead_list(ferry__command *c)
{
    int64_t limit = ferry_as_int(ferry_find(c->args, "limit"), LIST_DEFAULT);
    listing l = {ferry_new_list(), (size_t)(limit < 1 ? 1 : limit > LIST_MAX ? LIST_MAX : limit), false};
    walk(c, add_summary, &l);
    c->result = ferry_new_map();
    ferry_map_put(c->result, "dead", l.rows);
    ferry_map_put(c->result, "more", ferry_bool(l.more));
}

static bool wanted(const ferry__command *c, const ferry_value *record)
{
    const char *id = ferry_as_string(ferry_find(record, "id"), ""),
               *one = ferry_as_string(ferry_find(c->args, "id"), NULL);
    const ferry_value *ids = ferry_find(c->args, "ids");
    if (ferry_as_bool(ferry_find(c->args, "all"), false) || (one && strcmp(one, id) == 0))
        return true;
    for (size_t i = 0; i < ferry_count(ids); i++)
        if (strcmp(ferry_as_string(ferry_at(ids, i), ""), id) == 0)
            return true;
    return false;
}

/* The body as a value where it can be read as one, else as the bytes it is. */
static ferry_value *whole(const ferry_value *record)
{
    ferry_value *v = ferry_new_map(), *data = NULL;
    size_t length = 0;
    const void *body = ferry_as_bytes(ferry_find(record, "body"), &length);
    for (size_t i = 0; i < ferry_count(record); i++) {
        const char *name = ferry_as_string(ferry_key_at(record, i), "");
        if (strcmp(name, "body") != 0 && strcmp(name, "headers") != 0)
            ferry_map_put(v, name, ferry_value_copy(ferry_at(record, i)));
    }
    if (body && ferry__value_decode(body, length, &data, NULL) == FERRY_OK)
        ferry_map_put(v, "data", ferry_value_copy(data));
    else
        ferry_map_put(v, "data", ferry_bytes(body, length));
    ferry_value_free(data);
    data = NULL;
    body = ferry_as_bytes(ferry_find(record, "headers"), &length);
    if (body && ferry__value_decode(body, length, &data, NULL) == FERRY_OK)
        ferry_map_put(v, "headers", ferry_value_copy(data));
    ferry_value_free(data);
    return v;
}

static bool show_it(ferry__command *c, const char *box, const ferry_value *record, void *arg)
{
    (void)box;
    (void)arg;
    if (!wanted(c, record))
        return true;
    c->result = whole(record);
    return false;
}

static void dead_show(ferry__command *c)
{
    if (!ferry_find(c->args, "id"))
        ferry__command_fail(c, FERRY_INVALID, "dead.show wants an id");
    else if (walk(c, show_it, NULL) && !c->result)
        ferry__command_fail(c, FERRY_NOT_FOUND, "no dead letter has that id");
}

static bool remove_record(ferry__command *c, const char *box, const ferry_value *record)
{
    const char *id = ferry_as_string(ferry_find(record, "id"), "");
    ferry__question *q = ferry__admin_ask(c, &(ferry__admin){.ask = FERRY__DEAD_REMOVE, .name = box, .id = id});
    bool removed = q && q->admin.count > 0;
    ferry__forget(q);
    return removed;
}

static bool purge_it(ferry__command *c, const char *box, const ferry_value *record, void *arg)
{
    if (wanted(c, record) && remove_record(c, box, record))
        ++*(int64_t *)arg;
    return c->status == FERRY_OK;
}

/* Back on the broker and confirmed first, removed then: a crash in between repeats the message, under its old id, and loses nothing. */
static bool send_revived(ferry__command *c, const char *box, const ferry_value *record)
{
    if (strstr(box, "/@"))
        return ferry__command_fail(c, FERRY_UNSUPPORTED,
                                   "a subscription without a group has nobody to send it to again: publish it anew");
    ferry__frame *frame = ferry__dead_revive(record);
    if (!frame)
        return ferry__command_fail(c, FERRY_BAD_DATA, "a dead letter's record is damaged");
    ferry_status status = ferry__future_resend(c->f, box, frame, c->until_ms, c->why);
    c->status = status;
    return status == FERRY_OK;
}

static bool requeue_it(ferry__command *c, const char *box, const ferry_value *record, void *arg)
{
    if (!wanted(c, record))
        return true;
    if (send_revived(c, box, record) && remove_record(c, box, record))
        ++*(int64_t *)arg;
    return c->status == FERRY_OK;
}

static void dead_each(ferry__command *c, visitor *visit)
{
    int64_t count = 0;
    if (!ferry_find(c->args, "id") && !ferry_find(c->args, "ids") && !ferry_find(c->args, "all")) {
        ferry__command_fail(c, FERRY_INVALID, "say which: id, ids or all");
        return;
    }
    walk(c, visit, &count);
    if (c->status == FERRY_OK && count == 0 && !ferry_find(c->args, "all"))
        ferry__command_fail(c, FERRY_NOT_FOUND, "no dead letter has that id");
    c->result = ferry_new_map();
    ferry_map_put(c->result, "count", ferry_int(count));
}

static void dead_requeue(ferry__command *c)
{
    dead_each(c, requeue_it);
}

static void dead_purge(ferry__command *c)
{
    dead_each(c, purge_it);
}

static void doctor(ferry__command *c)
{
    ferry__question *q = ferry__admin_ask(c, &(ferry__admin){.ask = FERRY__DOCTOR});
    if (q) {
        c->result = q->admin.answer;
        q->admin.answer = NULL;
        ferry_map_put(c->result, "url", ferry_text(c->f->url.shown));
        ferry_map_put(c->result, "version", ferry_text(ferry_version()));
        if (!ferry_find(c->result, "durable")) /* a transport that knows its broker better says so itself */
            ferry_map_put(c->result, "durable", ferry_bool((c->f->link.bits & FERRY__DURABLE) != 0));
    }
    ferry__forget(q);
}

/* ---- the commands ---- */

static const struct {
    const char *name;
    void (*run)(ferry__command *c);
} commands[] = {
    {"dead.list", dead_list},
    {"dead.show", dead_show},
    {"dead.requeue", dead_requeue},
    {"dead.purge", dead_purge},
    {"doctor", doctor},
    {"topic.list", ferry__topic_list},
    {"topic.create", ferry__topic_create},
    {"topic.describe", ferry__topic_describe},
    {"topic.delete", ferry__topic_delete},
    {"topic.purge", ferry__topic_purge},
    {"lag", ferry__topic_lag},
};

static void run(ferry__command *c, const char *name)
{
    ferry__guess guess = {.word = name};
    c->service = ferry__command_name(c, "service");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        ferry__guess_try(&guess, commands[i].name);
        if (strcmp(commands[i].name, name) == 0) {
            commands[i].run(c);
            return;
        }
    }
    c->status = FERRY_INVALID;
    ferry__why(c->why, "no command '%.60s'%s%s%s", name, guess.best ? ": did you mean '" : "",
               guess.best ? guess.best : "", guess.best ? "'?" : "");
}

ferry_reply *ferry_admin(ferry *f, const char *name, ferry_value *args, const ferry_call_options *options)
{
    ferry__command c = {.f = f, .args = args};
    ferry_call_options o = {0};
    c.status = !f ? FERRY_NO_MEMORY : ferry__options_take(&o, sizeof o, options, c.why);
    if (c.status == FERRY_OK)
        c.status = ferry__handle_refusal(f, c.why);
    if (c.status == FERRY_OK && ferry__value_broken(args)) {
        c.status = ferry__value_status(args);
        ferry__why(c.why, "args: %s", ferry__value_flaw(args));
    }
    if (c.status == FERRY_OK) {
        c.until_ms = ferry__now_ms() + (o.timeout_ms ? o.timeout_ms : f->timeout_ms);
        run(&c, name ? name : "");
    }
    ferry__why(o.why, "%s", c.status == FERRY_OK ? "" : c.why);
    ferry_value_free(args);
    if (c.status == FERRY_OK)
        return ferry__reply_of(c.result);
    ferry_value_free(c.result);
    bool asked = c.status != FERRY_INVALID && c.status != FERRY_UNSUPPORTED && c.status != FERRY_CLOSED;
    return ferry__reply_local(c.status, asked ? FERRY_OUTCOME_NOT_EXECUTED : FERRY_OUTCOME_NOT_SENT, c.why);
}
