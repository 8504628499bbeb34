/* event.c - subscriptions: listening, leaving, and the start that groups and broadcasts have in common.
 *
 * Each has a connection of its own, for XREADGROUP knows one group name only. It is opened when there is something to be read, closed
 * when nobody listens any more; its place among the handle's connections stays. */
#include "backends/redis/event.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

/* ---- Names ---------------------------------------------------------------------------------------------------------- */

void redis__topic_key(const redis__pipe *p, char to[REDIS__KEY], const char *domain, const char *end)
{
    snprintf(to, REDIS__KEY, "%.64s:{%.128s}:%s", p->config->ns, domain, end);
}

void redis__topic_words(redis__pipe *p, const char *domain)
{
    ferry__buf *b = &p->conns[REDIS__W].out;
    char key[REDIS__KEY];
    redis__topic_key(p, key, domain, "topic");
    redis__word(b, key);
    snprintf(key, sizeof key, "%.64s:domains", p->config->ns);
    redis__word(b, key);
    redis__topic_key(p, key, domain, "events");
    redis__word(b, key);
    redis__word(b, domain);
    redis__word_number(b, p->config->partitions);
    redis__word_number(b, p->config->keep_ms);
    redis__word_number(b, p->config->keep_bytes);
}

/* ---- Connections ---------------------------------------------------------------------------------------------------- */

redis__conn *redis__reader_take(redis__pipe *p)
{
    for (size_t i = REDIS__E; i < REDIS__CONNS; i++) {
        redis__conn *c = &p->conns[i];
        if (c->taken)
            continue;
        c->taken = true;
        if (i >= p->conns_used)
            p->conns_used = i + 1;
        return c;
    }
    return NULL;
}

bool redis__reader_opened(redis__pipe *p, redis__conn *c)
{
    if (c->state == REDIS__OFF && !redis__conn_open(c))
        redis__link_fail(p, FERRY_NO_MEMORY, "out of memory");
    return c->state == REDIS__READY;
}

static void nudged(redis__pipe *p, redis__want *w, const redis__value *v)
{
    redis__conn *c = w->what;
    if (redis__is_error(v, "NOPERM"))
        p->no_nudge = true;
    if (v && v->type == REDIS__NUMBER && v->number == 0)
        c->nudged = false; /* it was not blocked, or not yet */
}

/* What it waits for is not what is wanted any more. */
void redis__reader_nudge(redis__pipe *p, redis__conn *c)
{
    redis__conn *w = &p->conns[REDIS__W];
    if (!c->reading || c->nudged || !c->number || p->no_nudge || w->state != REDIS__READY)
        return;
    redis__words(&w->out, 3);
    redis__word(&w->out, "CLIENT");
    redis__word(&w->out, "UNBLOCK");
    redis__word_number(&w->out, c->number);
    redis__ask(w, nudged, c, 0);
    c->nudged = true;
}

/* COUNT of a read is per stream: as if the streams that had something the last time will have it again. */
size_t redis__read_count(const redis__pipe *p, size_t wanted, size_t lively)
{
    enum { BIG = 8 << 20, MOST = 4096, FIRST = 64 };
    size_t most = p->biggest ? BIG / (p->biggest + 1024) : FIRST, count = wanted / (lively ? lively : 1);
    count = count > most ? most : count;
    return count < 1 ? 1 : count > MOST ? MOST : count;
}

/* ---- A start -------------------------------------------------------------------------------------------------------- */

bool redis__start_wish(redis__start *s, const ferry__wish *wish)
{
    char *position = ferry__strdup(wish->position);
    if (wish->position && !position)
        return false;
    ferry__free(s->position);
    s->position = position;
    s->from = (int)wish->from;
    s->time_ms = wish->time_ms;
    s->fresh = true;
    s->there = s->broken = s->caught_up = false;
    s->number++;
    return true;
}

void redis__start_done(redis__start *s)
{
    ferry__free(s->position);
    ferry__free(s->marks);
    ferry__free(s->ends);
    s->position = NULL;
    s->marks = s->ends = NULL;
}

static void word_from(ferry__buf *b, const redis__start *s, const char *at)
{
    static const char *const modes[] = {[FERRY_FROM_NEW] = "new",
                                        [FERRY_FROM_EARLIEST] = "earliest",
                                        [FERRY_FROM_TIME] = "time",
                                        [FERRY_FROM_POSITION] = "at"};
    redis__word(b, s->fresh ? modes[s->from] : "on");
    if (!s->fresh)
        redis__word(b, at);
    else if (s->from == FERRY_FROM_TIME)
        redis__word_number(b, s->time_ms > 0 ? s->time_ms : 0);
    else
        redis__word(b, s->from == FERRY_FROM_POSITION && s->position ? s->position : "");
}

void redis__start_ask(redis__pipe *p, redis__start *s, const char *domain, const char *group, const char *only,
                      const char *at, redis__answer_fn *answer, void *what)
{
    ferry__buf *b = &p->conns[REDIS__W].out;
    s->asking = true;
    redis__call(p, REDIS__JOIN, 3, 10);
    redis__topic_words(p, domain);
    redis__word(b, group ? group : "");
    word_from(b, s, at);
    redis__word(b, s->born);
    redis__word(b, s->moves ? "1" : "0");
    redis__word(b, only);
    redis__ask(&p->conns[REDIS__W], answer, what, s->number);
}

static redis__began broken(redis__start *s, char *why, ferry_status *to, ferry_status status, const char *text)
{
    s->broken = true;
    *to = status;
    ferry__why(why, "%s", text);
    return REDIS__BROKEN;
}

static redis__mark mark_of(const redis__value *v)
{
    redis__mark m;
    redis__entry_id(redis__text(v), &m.ms, &m.seq);
    return m;
}

static bool take_marks(redis__start *s, const redis__value *v)
{
    redis__mark *marks = ferry__alloc((s->parts + 1) * sizeof *marks),
                *ends = ferry__alloc((s->parts + 1) * sizeof *ends);
    if (!marks || !ends) {
        ferry__free(marks);
        ferry__free(ends);
        return false;
    }
    for (unsigned i = 0; i <= s->parts; i++) {
        marks[i] = mark_of(redis__at(v, 3 + 2 * i));
        ends[i] = mark_of(redis__at(v, 4 + 2 * i));
    }
    ferry__free(s->marks);
    ferry__free(s->ends);
    s->marks = marks;
    s->ends = ends;
    return true;
}

static redis__began began(redis__start *s, const redis__value *v, char *why, ferry_status *status)
{
    int64_t code = redis__number(redis__at(v, 0)), parts = redis__number(redis__at(v, 1));
    if (parts < 1 || parts > 1024)
        return broken(s, why, status, FERRY_PROTOCOL, "the topic has no sensible number of partitions");
    if (s->known && s->parts != (unsigned)parts)
        return broken(s, why, status, FERRY_UNAVAILABLE,
                      "the topic was made anew with another number of partitions: subscribe again");
    s->parts = (unsigned)parts;
    s->known = true;
    if (code == 1)
        return broken(s, why, status, FERRY_NOT_FOUND, "events behind this position were trimmed away (keep)");
    if (code == 2)
        return broken(s, why, status, FERRY_NOT_FOUND,
                      "somebody removed the group from its streams, and with it the position");
    if (code == 3) {
        char text[160];
        snprintf(text, sizeof text, "'%.80s' is no position of this transport", s->position ? s->position : "");
        return broken(s, why, status, FERRY_INVALID, text);
    }
    if (s->fresh && !take_marks(s, v))
        return broken(s, why, status, FERRY_NO_MEMORY, "out of memory");
    snprintf(s->born, sizeof s->born, "%s", redis__text(redis__at(v, 2)));
    s->fresh = s->moves = false;
    s->there = true;
    return REDIS__BEGAN;
}

redis__began redis__start_answer(redis__pipe *p, redis__start *s, redis__want *w, const redis__value *v, char *why,
                                 ferry_status *status)
{
    bool later;
    s->asking = false;
    p->work = true;
    if (!v || w->number != s->number || redis__forgotten(p, REDIS__JOIN, v))
        return REDIS__BEGINS_LATER;
    if (v->type == REDIS__LIST)
        return began(s, v, why, status);
    *status = redis__error_status(v, &later);
    if (later || *status == FERRY_OVERLOADED)
        redis__link_fail(p, *status, "Redis says: %.200s", redis__text(v));
    else {
        s->broken = true;
        ferry__why(why, "Redis says: %.200s", redis__text(v));
    }
    return later || !s->broken ? REDIS__BEGINS_LATER : REDIS__BROKEN;
}

/* ---- The slots ------------------------------------------------------------------------------------------------------ */

/* A part that is ours still, from a subscription before this one: what that handed back comes first. */
static void claim_again(redis__lane *l)
{
    if (l->state == REDIS__LANE_READING)
        l->state = REDIS__LANE_CLAIMING;
    l->hint = true;
}

static ferry_status listen_group(redis__pipe *p, ferry__source *source)
{
    const ferry__wish *wish = source->wish;
    redis__service *s = redis__service_get(p, wish->box);
    if (!s)
        return FERRY_NO_MEMORY;
    if (s->source[3])
        return FERRY_INVALID; /* one position, one reader of a handle */
    redis__group *g = redis__group_get(s, source->name, wish->group, p->config->ns);
    if (!g || !redis__start_wish(&g->start, wish))
        return FERRY_NO_MEMORY;
    if (!g->conn && !(g->conn = redis__reader_take(p)))
        return FERRY_OVERLOADED;
    s->source[3] = source;
    s->credit[3] = 0;
    source->data = s;
    for (unsigned i = 0; i <= s->parts; i++) {
        claim_again(&s->posts[i]);
        claim_again(redis__group_lane(g, i));
    }
    redis__service_renew(p, s);
    return FERRY_OK;
}

static ferry_status listen_tail(redis__pipe *p, ferry__source *source)
{
    redis__conn *c = redis__reader_take(p);
    if (!c)
        return FERRY_OVERLOADED;
    redis__tail *t = redis__tail_new(p, source);
    if (!t) {
        c->taken = false;
        return FERRY_NO_MEMORY;
    }
    t->conn = c;
    source->data = t;
    p->work = true;
    return FERRY_OK;
}

ferry_status redis__events_listen(redis__pipe *p, ferry__source *source)
{
    return source->wish->group ? listen_group(p, source) : listen_tail(p, source);
}

void redis__events_unlisten(redis__pipe *p, ferry__source *source)
{
    p->work = true;
    if (!source->data)
        return;
    if (source->wish->group) {
        redis__service *s = source->data;
        s->source[3] = NULL;
        s->credit[3] = 0;
        redis__service_renew(p, s);
    } else {
        redis__tail *t = source->data;
        t->source = NULL;
        ferry__frames_drop(&t->backlog);
    }
    source->data = NULL;
}

void redis__events_credit(redis__pipe *p, ferry__source *source, int frames)
{
    if (source->data && source->wish->group)
        ((redis__service *)source->data)->credit[3] += frames;
    else if (source->data)
        ((redis__tail *)source->data)->credit += frames;
    p->work = true;
}

void redis__events_seek(redis__pipe *p, ferry__source *source, const ferry__wish *to)
{
    redis__service *s = source->data;
    redis__tail *t = source->data;
    p->work = true;
    if (!s)
        return;
    redis__start *start = source->wish->group ? &s->group->start : &t->start;
    if (!redis__start_wish(start, to)) {
        p->up->broken(p->up, source, FERRY_NO_MEMORY, "out of memory");
        return;
    }
    start->moves = true;
    if (source->wish->group)
        redis__group_seek(p, s->group);
    else
        redis__tail_seek(t);
}

/* ---- Turns ---------------------------------------------------------------------------------------------------------- */

void redis__events_turn(redis__pipe *p)
{
    for (redis__tail *t = p->tails; t; t = t->next)
        redis__tail_turn(p, t);
    for (redis__topic *t = p->topics; t; t = t->next)
        redis__topic_turn(p, t);
}

void redis__events_read(redis__pipe *p)
{
    for (redis__service *s = p->services; s; s = s->next)
        if (s->group)
            redis__group_read(p, s->group);
    for (redis__tail *t = p->tails; t; t = t->next)
        redis__tail_read(p, t);
}

static void let_go(redis__conn **c)
{
    if (!*c)
        return;
    redis__conn_close(*c, false);
    (*c)->taken = false;
    *c = NULL;
}

/* A connection is closed here and nowhere else: wait polls it without the lock. */
void redis__events_tidy(redis__pipe *p)
{
    for (redis__service *s = p->services; s; s = s->next)
        if (s->group && s->group->conn && !s->source[3] && !s->group->conn->reading)
            let_go(&s->group->conn);
    for (redis__tail **at = &p->tails, *t; (t = *at);) {
        if (!t->source)
            let_go(&t->conn);
        if (!redis__tail_over(p, t)) {
            at = &t->next;
            continue;
        }
        *at = t->next;
        redis__tail_free(t);
    }
}

void redis__events_lost(redis__pipe *p)
{
    for (redis__tail *t = p->tails; t; t = t->next)
        redis__tail_down(t);
    for (redis__topic *t = p->topics; t; t = t->next)
        redis__topic_down(t);
}

int64_t redis__events_due(const redis__pipe *p)
{
    int64_t due = INT64_MAX;
    for (const redis__topic *t = p->topics; t; t = t->next)
        if (!t->trimming && t->trim_ms < due)
            due = t->trim_ms;
    return due;
}

void redis__events_free(redis__pipe *p)
{
    for (redis__tail *t = p->tails, *next; t; t = next) {
        next = t->next;
        redis__tail_free(t);
    }
    for (redis__topic *t = p->topics, *next; t; t = next) {
        next = t->next;
        redis__topic_free(t);
    }
    p->tails = NULL;
    p->topics = NULL;
}
