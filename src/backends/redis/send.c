/* send.c - what we send: calls, posts, cancellations, replies; and the questions about it: is anybody there, take it back.
 *
 * A sent frame's tag[0] and tag[1] hold its entry id once Redis has it; until then tag[0] is 0, and tag[1] says what is known. */
#include "backends/redis/event.h"

#include "base/alloc.h"

#include <string.h>

enum { UNDER_WAY, REFUSED, LOST }; /* tag[1] while tag[0] is 0 */

/* A withdrawal, or a frame whose outcome waits for the next pump. */
typedef struct note {
    ferry__node    node;
    ferry__target *target;
    ferry__frame  *frame;
    bool           asked;
} note;

static const char *kind_of(ferry__lane lane)
{
    return lane == FERRY__CALLS ? "calls" : lane == FERRY__POSTS ? "posts" : "events";
}

/* The keys of a name are made once and kept at its target. */
typedef struct redis__names {
    struct redis__names *next;
    char   up[REDIS__KEY], ctl[REDIS__KEY], stream[REDIS__KEY], start[REDIS__KEY + 80];
    size_t start_length;
    redis__topic *topic;
} names;

static const names *names_of(redis__pipe *p, ferry__target *t)
{
    if (t->data)
        return t->data;
    names *n = ferry__zalloc(sizeof *n);
    if (!n)
        return NULL;
    snprintf(n->stream, sizeof n->stream, "%s:{%s}:%s", p->config->ns, t->name, kind_of(t->lane));
    snprintf(n->up, sizeof n->up, "%s:{%s}:up", p->config->ns, t->name);
    snprintf(n->ctl, sizeof n->ctl, "%s:{%s}:ctl", p->config->ns, t->name);
    n->start_length = redis__wire_start(n->start, sizeof n->start, n->stream);
    n->next = p->names;
    p->names = n;
    t->data = n;
    return n;
}

/* Of an EVENTS target; NULL: no memory. */
redis__topic **redis__send_topic(redis__pipe *p, ferry__target *t)
{
    names_of(p, t);
    return t->data ? &((names *)t->data)->topic : NULL;
}

/* ---- Outcomes ------------------------------------------------------------------------------------------------------- */

void redis__send_refuse(redis__pipe *p, ferry__frame *f, ferry_status status)
{
    f->tag[0] = 0;
    f->tag[1] = (uint64_t)status;
    ferry__frames_add(&p->refused, f);
}

void redis__send_refused(redis__pipe *p)
{
    for (ferry__frame *f; (f = ferry__frames_take(&p->refused));) {
        ferry_status status = (ferry_status)f->tag[1];
        f->tag[1] = REFUSED;
        p->up->outcome(p->up, f, FERRY__REFUSED, status,
                       status == FERRY_OVERLOADED ? "too much is waiting to be written to Redis"
                                                  : ferry_status_text(status));
        ferry__frame_unref(f);
    }
}

void redis__send_end(redis__pipe *p, ferry__frame *f, ferry__fate fate, ferry_status status, const char *why)
{
    p->sending--;
    if (fate != FERRY__ACCEPTED)
        f->tag[1] = fate == FERRY__REFUSED ? REFUSED : LOST;
    p->up->outcome(p->up, f, fate, status, why);
    ferry__frame_unref(f);
}

void redis__send_denied(redis__pipe *p, ferry__frame *f, const redis__value *v)
{
    bool again;
    char why[FERRY_WHY_SIZE];
    ferry_status status = redis__error_status(v, &again);
    ferry__why(why, "Redis refused it: %.200s", redis__text(v));
    if (again) /* this Redis is the wrong one, or not ready: it goes out on the next connection */
        redis__link_fail(p, status, "Redis says: %.200s", redis__text(v));
    redis__send_end(p, f, FERRY__REFUSED, status, why);
}

static void sent(redis__pipe *p, redis__want *w, const redis__value *v)
{
    ferry__frame *f = w->what;
    char why[FERRY_WHY_SIZE];
    if (!v && w->left)
        redis__send_end(p, f, FERRY__LOST, FERRY_UNAVAILABLE,
                        "the connection to Redis was lost before it had answered");
    else if (!v)
        redis__send_end(p, f, FERRY__REFUSED, FERRY_UNAVAILABLE, "the connection to Redis was lost before it had left");
    else if (v->type == REDIS__ERROR)
        redis__send_denied(p, f, v);
    else if (v->type == REDIS__NIL) {
        const char *route = ferry__frame_text(f, f->route);
        p->inbox_fresh_ms = 0; /* if that stream is gone, ours may be */
        ferry__why(why, "nobody ever served '%.*s' here: start a server for it, or check the name and FERRY_URL",
                   (int)strcspn(route, "."), route);
        redis__send_end(p, f, FERRY__REFUSED, FERRY_NO_SERVICE, why);
    } else {
        redis__entry_id(redis__text(v), &f->tag[0], &f->tag[1]);
        p->work = p->work || !ferry__list_empty(&p->withdrawals);
        redis__send_end(p, f, FERRY__ACCEPTED, FERRY_OK, NULL);
    }
}

/* ---- Sending -------------------------------------------------------------------------------------------------------- */

bool redis__send_room(redis__pipe *p, const ferry__frame *f)
{
    redis__conn *w = &p->conns[REDIS__W];
    return p->sending < p->config->max_queued &&
           ferry__stream_unsent(w->stream) + w->out.length + ferry__frame_size(f) < w->out.max / 2;
}

static void put_request(redis__pipe *p, const names *n, const ferry__frame *f)
{
    char key[REDIS__KEY + 12], start[REDIS__KEY + 92];
    ferry__buf *b = &p->conns[REDIS__W].out;
    if (!f->partition) {
        redis__wire_request(b, n->start, n->start_length, f, p->pubsub, p->now_ms);
        return;
    }
    snprintf(key, sizeof key, "%s:%u", n->stream, f->partition);
    redis__wire_request(b, start, redis__wire_start(start, sizeof start, key), f, p->pubsub, p->now_ms);
}

static void send_request(redis__pipe *p, ferry__target *t, ferry__frame *f)
{
    redis__conn *w = &p->conns[REDIS__W];
    const names *n = names_of(p, t);
    if (!n || !redis__send_room(p, f)) {
        redis__send_refuse(p, f, n ? FERRY_OVERLOADED : FERRY_NO_MEMORY);
        return;
    }
    if (f->kind == FERRY__CALL)
        redis__inbox_ensure(p);
    f->tag[0] = 0;
    f->tag[1] = UNDER_WAY;
    p->sending++;
    put_request(p, n, f);
    if (f->kind == FERRY__CALL)
        redis__ask_lazily(w, sent, f, 0); /* its reply tells */
    else
        redis__ask(w, sent, f, 0);
}

static void send_cancel(redis__pipe *p, ferry__target *t, ferry__frame *f)
{
    redis__conn *w = &p->conns[REDIS__W];
    const names *n = names_of(p, t);
    char id[FERRY__ID_TEXT], text[FERRY__ID_TEXT + 8];
    if (n) {
        ferry__id_print(&f->id, id);
        snprintf(text, sizeof text, "cancel %s", id);
        redis__command(&w->out, "PUBLISH", n->ctl, text, NULL);
        redis__ask_lazily(w, redis__ignore, NULL, 0);
    }
    ferry__frame_unref(f);
}

/* A reply that Redis did not answer for, or had no memory for, is written again: the caller takes the first and drops the rest. */
static void replied(redis__pipe *p, redis__want *w, const redis__value *v)
{
    ferry__frame *f = w->what;
    bool later, full = v && v->type == REDIS__ERROR && redis__error_status(v, &later) == FERRY_OVERLOADED;
    if (full)
        p->ops_ms = p->now_ms + REDIS__NO_ROOM_MS;
    if (!v || full)
        ferry__frames_add(&p->replies, f);
    else
        ferry__frame_unref(f);
}

enum { LISTENERS = 64 };

static bool listens(const redis__pipe *p, const unsigned char client[16])
{
    for (size_t i = 0; i < LISTENERS && i < p->listeners_count; i++)
        if (memcmp(p->listeners[i], client, 16) == 0)
            return true;
    return false;
}

void redis__send_published(redis__pipe *p, const unsigned char client[16])
{
    if (!listens(p, client))
        memcpy(p->listeners[p->listeners_count++ % LISTENERS], client, 16);
}

static bool by_pubsub(redis__pipe *p, const ferry__frame *reply)
{
    for (redis__service *s = p->services; s; s = s->next)
        for (redis__receipt *r = s->ids[reply->id.serial % 256]; r; r = r->chain)
            if (r->id.serial == reply->id.serial && memcmp(r->id.client, reply->id.client, 16) == 0 &&
                r->lane->lane == FERRY__CALLS)
                return true;
    return listens(p, reply->id.client); /* it was settled already */
}

static void send_reply(redis__pipe *p, ferry__frame *f)
{
    redis__conn *w = &p->conns[REDIS__W];
    if (by_pubsub(p, f))
        redis__wire_publish(&w->out, p->config->ns, f);
    else
        redis__wire_reply(&w->out, p->config->ns, f);
    redis__ask_lazily(w, replied, f, 0);
}

static void send_replies(redis__pipe *p)
{
    ferry__frames all;
    if (p->now_ms < p->ops_ms)
        return;
    ferry__frames_init(&all);
    ferry__frames_join(&all, &p->replies);
    for (ferry__frame *f; (f = ferry__frames_take(&all));)
        send_reply(p, f);
}

static void send_staged(redis__pipe *p)
{
    for (ferry__frame *f; (f = ferry__frames_take(&p->staged));) {
        ferry__target *t = (ferry__target *)(uintptr_t)f->tag[0];
        if (f->kind == FERRY__CONTROL && p->state == FERRY__UP)
            send_cancel(p, t, f);
        else if (f->kind == FERRY__CONTROL)
            ferry__frame_unref(f);
        else if (p->state != FERRY__UP)
            redis__send_refuse(p, f, FERRY_UNAVAILABLE);
        else if (t->lane == FERRY__EVENTS)
            redis__topic_send(p, t, f);
        else
            send_request(p, t, f);
    }
}

/* ---- Probes --------------------------------------------------------------------------------------------------------- */

static void probed(redis__pipe *p, redis__want *w, const redis__value *v)
{
    ferry__target *t = w->what;
    if (!v || redis__forgotten(p, REDIS__ALIVE, v)) {
        t->next = p->probes; /* asked again */
        p->probes = t;
        p->work = true;
        return;
    }
    if (v->type == REDIS__ERROR) { /* not allowed to look: try and see */
        p->up->probed(p->up, t, FERRY__ALIVE);
        return;
    }
    int64_t n = redis__number(v);
    p->up->probed(p->up, t, n >= 2 ? FERRY__ALIVE : n == 1 ? FERRY__GONE : FERRY__NEVER);
}

static void ask_probes(redis__pipe *p)
{
    ferry__target *all = p->probes, *next;
    p->probes = NULL;
    for (ferry__target *t = all; t; t = next) {
        const names *n = names_of(p, t);
        next = t->next;
        redis__call(p, REDIS__ALIVE, 2, 0);
        redis__word(&p->conns[REDIS__W].out, n ? n->stream : "");
        redis__word(&p->conns[REDIS__W].out, n ? n->up : "");
        redis__ask(&p->conns[REDIS__W], probed, t, 0);
    }
}

/* ---- Taking back ---------------------------------------------------------------------------------------------------- */

static void end_note(note *n)
{
    ferry__list_remove(&n->node);
    ferry__frame_unref(n->frame);
    ferry__free(n);
}

static void withdrawn(redis__pipe *p, redis__want *w, const redis__value *v)
{
    note *n = w->what;
    if (!v || redis__forgotten(p, REDIS__WITHDRAW, v)) {
        n->asked = false; /* on the next connection */
        p->work = true;
        return;
    }
    p->up->withdrawn(p->up, n->frame, v->type == REDIS__NUMBER && v->number == 1);
    end_note(n);
}

static void ask_withdraw(redis__pipe *p, note *n)
{
    ferry__buf *b = &p->conns[REDIS__W].out;
    const names *at = names_of(p, n->target);
    n->asked = true;
    if (n->target->lane == FERRY__EVENTS) { /* whom it reached nobody can say */
        redis__command(b, "PING", NULL);
        redis__ask(&p->conns[REDIS__W], withdrawn, n, 0);
        return;
    }
    redis__call(p, REDIS__WITHDRAW, 1, 1);
    redis__word(b, at ? at->stream : "");
    redis__word_entry(b, n->frame->tag[0], n->frame->tag[1]);
    redis__ask(&p->conns[REDIS__W], withdrawn, n, 0);
}

static void ask_withdrawals(redis__pipe *p)
{
    for (ferry__node *at = p->withdrawals.next, *next; at != &p->withdrawals; at = next) {
        note *n = FERRY__OF(at, note, node);
        next = at->next;
        if (!n->asked && n->frame->tag[0])
            ask_withdraw(p, n);
    }
}

/* In pump: those that never got an entry. What was refused did not run; of what was lost nobody can say. */
void redis__send_news(redis__pipe *p)
{
    redis__send_refused(p);
    for (ferry__node *at = p->withdrawals.next, *next; at != &p->withdrawals; at = next) {
        note *n = FERRY__OF(at, note, node);
        next = at->next;
        if (n->asked || n->frame->tag[0])
            continue;
        if (n->frame->tag[1] == UNDER_WAY)
            continue;
        p->up->withdrawn(p->up, n->frame, n->frame->tag[1] == REFUSED);
        end_note(n);
    }
}

void redis__send_withdraw(redis__pipe *p, ferry__target *t, ferry__frame *f)
{
    note *n = ferry__zalloc(sizeof *n);
    if (!n)
        return; /* unanswered: the core stops waiting for it by itself */
    n->target = t;
    n->frame = ferry__frame_ref(f);
    ferry__list_append(&p->withdrawals, &n->node);
    p->work = true;
    p->inbox_fresh_ms = 0; /* no answer came: the next call makes sure that one could */
    if (p->conns[REDIS__W].count > 0)
        p->conns[REDIS__W].lazy_ms = 0; /* its entry id is wanted now */
}

void redis__send_free(redis__pipe *p)
{
    while (!ferry__list_empty(&p->withdrawals))
        end_note(FERRY__OF(p->withdrawals.next, note, node));
    for (names *n = p->names, *next; n; n = next) {
        next = n->next;
        ferry__free(n);
    }
    p->names = NULL;
    ferry__frames_drop(&p->staged);
    ferry__frames_drop(&p->replies);
    ferry__frames_drop(&p->refused);
}

/* ---- A flush -------------------------------------------------------------------------------------------------------- */

void redis__send_all(redis__pipe *p)
{
    if (p->state != FERRY__UP) {
        send_staged(p);
        return;
    }
    send_replies(p); /* before their settlements, which follow in the same write */
    redis__settle_all(p);
    send_staged(p);
    if (p->probes)
        ask_probes(p);
    ask_withdrawals(p);
}
