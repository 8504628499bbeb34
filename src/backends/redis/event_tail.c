/* event_tail.c - a broadcast: a cursor a stream, kept by us.
 *
 *     behind: MULTI, what was trimmed, XREAD, EXEC --nothing came--> at the end: XREAD BLOCK --something came--> behind
 *
 * While it is behind, each read is compared with what was trimmed by then, in the same step. What a blocked read brought is compared at
 * the next one: it began at the end, so only a trim between two reads, of events that came in between, could hide anything.
 *
 * Each part has a ring of what was handed out: its first is unfinished, so all below it is done. A frame's tag[0] is the tail, marked by
 * the lowest bit; tag[1] the part and the number in the ring. */
#include "backends/redis/event.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

enum { AHEAD = 1024, UNNUDGED_MS = 100, PART_SHIFT = 40 };
#define NUMBER_MASK (((uint64_t)1 << PART_SHIFT) - 1)

/* A dead letter on its way. */
typedef struct burial {
    struct burial *next;
    redis__tail   *tail;
    ferry__frame  *frame;
    char          *box;
    void          *record;
    size_t         length;
    bool           asked;
} burial;

/* ---- Making one ----------------------------------------------------------------------------------------------------- */

redis__tail *redis__tail_new(redis__pipe *p, ferry__source *source)
{
    redis__tail *t = ferry__zalloc(sizeof *t);
    if (!t)
        return NULL;
    t->source = source;
    t->domain = ferry__strdup(source->name);
    t->box = ferry__strdup(source->wish->box);
    ferry__frames_init(&t->backlog);
    t->next = p->tails;
    if (t->domain && t->box && redis__start_wish(&t->start, source->wish)) {
        p->tails = t;
        return t;
    }
    redis__tail_free(t);
    return NULL;
}

static void burial_free(burial *b)
{
    ferry__frame_unref(b->frame);
    ferry__free(b->box);
    ferry__free(b->record);
    ferry__free(b);
}

void redis__tail_free(redis__tail *t)
{
    for (burial *b = t->burials, *next; b; b = next) {
        next = b->next;
        burial_free(b);
    }
    ferry__frames_drop(&t->backlog);
    for (unsigned i = 0; t->parts && i <= t->start.parts; i++)
        ferry__free(t->parts[i].ring);
    ferry__free(t->parts);
    redis__start_done(&t->start);
    ferry__free(t->domain);
    ferry__free(t->box);
    ferry__free(t);
}

static bool make_parts(redis__pipe *p, redis__tail *t)
{
    char key[REDIS__KEY];
    if (t->parts)
        return true;
    t->parts = ferry__zalloc((t->start.parts + 1) * sizeof *t->parts);
    redis__topic_key(p, key, t->domain, "events");
    for (unsigned i = 0; t->parts && i <= t->start.parts; i++)
        if (i)
            snprintf(t->parts[i].key, sizeof t->parts[i].key, "%.300s:%u", key, i);
        else
            snprintf(t->parts[i].key, sizeof t->parts[i].key, "%s", key);
    return t->parts != NULL;
}

/* ---- What is handed out --------------------------------------------------------------------------------------------- */

static bool ring_add(redis__tail_part *a, redis__mark m)
{
    if (a->count == a->room) {
        size_t room = a->room ? a->room * 2 : 256;
        redis__mark *wide = ferry__alloc(room * sizeof *wide);
        if (!wide)
            return false;
        for (size_t i = 0; i < a->count; i++)
            wide[(a->base + i) & (room - 1)] = a->ring[(a->base + i) & (a->room - 1)];
        ferry__free(a->ring);
        a->ring = wide;
        a->room = room;
    }
    a->ring[(a->base + a->count++) & (a->room - 1)] = m;
    return true;
}

/* A finished one is marked by a time that no entry has; its place is passed when those before it are finished. */
static void ring_end(redis__tail_part *a, uint64_t number)
{
    redis__mark *m = &a->ring[number & (a->room - 1)];
    if (number != a->base) {
        m->seq = ~m->seq;
        m->ms = ~m->ms;
        return;
    }
    a->done = *m;
    for (a->base++, a->count--; a->count; a->base++, a->count--) {
        m = &a->ring[a->base & (a->room - 1)];
        if (!(m->ms >> 63))
            break;
        a->done = (redis__mark){~m->ms, ~m->seq};
    }
}

static void ring_clear(redis__tail_part *a, redis__mark at)
{
    a->base += a->count; /* what is still up has numbers of before */
    a->count = 0;
    a->at = a->done = at;
    a->unsure = false;
}

static redis__tail *tail_of(const ferry__frame *f)
{
    return (redis__tail *)(uintptr_t)(f->tag[0] & ~(uint64_t)1);
}

static void finish(redis__tail *t, ferry__frame *f)
{
    redis__tail_part *a = &t->parts[f->tag[1] >> PART_SHIFT];
    uint64_t number = f->tag[1] & NUMBER_MASK;
    if (number - a->base < a->count)
        ring_end(a, number);
    t->held--;
    ferry__frame_unref(f);
}

void redis__tail_end(redis__pipe *p, ferry__frame *f)
{
    finish(tail_of(f), f);
    p->settled_now++;
}

/* It comes again, in its place. */
void redis__tail_back(redis__pipe *p, ferry__frame *f)
{
    redis__tail *t = tail_of(f);
    redis__tail_part *a = &t->parts[f->tag[1] >> PART_SHIFT];
    p->settled_now++;
    p->work = true;
    t->held--;
    if (!t->source || (f->tag[1] & NUMBER_MASK) - a->base >= a->count) { /* left, or moved away */
        ferry__frame_unref(f);
        return;
    }
    ferry__frame **at = &t->backlog.first;
    while (*at && ((*at)->tag[1] >> PART_SHIFT != f->tag[1] >> PART_SHIFT || (*at)->tag[1] < f->tag[1]) && (*at)->next)
        at = &(*at)->next;
    if (*at && !((*at)->tag[1] >> PART_SHIFT == f->tag[1] >> PART_SHIFT && (*at)->tag[1] > f->tag[1]))
        at = &t->backlog.first; /* nothing of its part that is later */
    f->next = *at;
    if (!*at)
        t->backlog.last = &f->next;
    *at = f;
    t->backlog.count++;
}

/* ---- Dead letters --------------------------------------------------------------------------------------------------- */

void redis__tail_bury(redis__pipe *p, ferry__frame *f, const char *box, const void *record, size_t length)
{
    burial *b = ferry__zalloc(sizeof *b);
    p->work = true;
    if (b) {
        *b = (burial){.tail = tail_of(f), .frame = f, .box = ferry__strdup(box), .record = ferry__alloc(length)};
        b->length = length;
    }
    if (!b || !b->box || !b->record) {
        if (b) {
            b->frame = NULL;
            burial_free(b);
        }
        redis__tail_back(p, f); /* nothing is lost: it comes again when there may be memory */
        return;
    }
    memcpy(b->record, record, length);
    b->next = b->tail->burials;
    b->tail->burials = b;
}

static void buried(redis__pipe *p, redis__want *w, const redis__value *v)
{
    burial *b = w->what;
    redis__tail *t = b->tail;
    bool later = false;
    ferry_status status = v && v->type == REDIS__ERROR ? redis__error_status(v, &later) : FERRY_OK;
    if (later)
        redis__link_fail(p, status, "Redis says: %.200s", v->text);
    if (!v || later || status == FERRY_OVERLOADED) {
        b->asked = false;
        p->work = p->work || !v;
        return;
    }
    for (burial **at = &t->burials; *at; at = &(*at)->next)
        if (*at == b) {
            *at = b->next;
            break;
        }
    if (status != FERRY_OK) {
        ferry__log_print(p->up->log, LOG_ERR, "a dead letter was not kept: Redis says: %s", v->text);
        redis__tail_back(p, b->frame);
    } else
        redis__tail_end(p, b->frame);
    b->frame = NULL;
    burial_free(b);
}

static void ask_burial(redis__pipe *p, burial *b)
{
    redis__conn *w = &p->conns[REDIS__W];
    char key[REDIS__KEY], id[FERRY__ID_TEXT];
    b->asked = true;
    snprintf(key, sizeof key, "%s:services", p->config->ns);
    redis__command(&w->out, "SADD", key, b->box, NULL);
    redis__ask(w, redis__ignore, NULL, 0);
    redis__topic_key(p, key, b->box, "dead");
    ferry__id_print(&b->frame->id, id);
    redis__words(&w->out, 9);
    redis__word(&w->out, "XADD");
    redis__word(&w->out, key);
    redis__word(&w->out, "*");
    redis__word(&w->out, "id");
    redis__word(&w->out, id);
    redis__word(&w->out, "box");
    redis__word(&w->out, b->box);
    redis__word(&w->out, "record");
    redis__word_bytes(&w->out, b->record, b->length);
    redis__ask(w, buried, b, 0);
}

/* ---- Its start ------------------------------------------------------------------------------------------------------ */

static void tell_broken(redis__pipe *p, redis__tail *t, ferry_status status, const char *why)
{
    t->start.broken = true;
    if (t->source)
        p->up->broken(p->up, t->source, status, why);
}

static void began(redis__pipe *p, redis__tail *t, bool fresh)
{
    if (!make_parts(p, t)) {
        tell_broken(p, t, FERRY_NO_MEMORY, "out of memory");
        return;
    }
    for (unsigned i = 0; fresh && i <= t->start.parts; i++) {
        ring_clear(&t->parts[i], t->start.marks[i]);
        t->parts[i].end = t->start.ends[i];
    }
    t->behind = true;
    if (t->source)
        p->up->ready(p->up, t->source);
}

static void joined(redis__pipe *p, redis__want *w, const redis__value *v)
{
    redis__tail *t = w->what;
    char why[FERRY_WHY_SIZE] = "";
    ferry_status status = FERRY_OK;
    bool fresh = t->start.fresh;
    redis__began how = redis__start_answer(p, &t->start, w, v, why, &status);
    if (how == REDIS__BROKEN)
        tell_broken(p, t, status, why);
    else if (how == REDIS__BEGAN)
        began(p, t, fresh);
}

void redis__tail_position(const redis__tail *t, ferry__buf *to, bool finished)
{
    for (unsigned i = 0; t->parts && i <= t->start.parts; i++) {
        redis__mark m = finished ? t->parts[i].done : t->parts[i].at;
        if (m.ms || m.seq)
            ferry__buf_format(to, "%s%u:%llu-%llu", to->length ? "," : "", i, (unsigned long long)m.ms,
                              (unsigned long long)m.seq);
    }
    if (!to->length)
        ferry__buf_text(to, "-");
}

void redis__tail_turn(redis__pipe *p, redis__tail *t)
{
    for (burial *b = t->burials; b; b = b->next)
        if (!b->asked)
            ask_burial(p, b);
    if (!t->source || t->start.there || t->start.broken || t->start.asking)
        return;
    ferry__buf at = FERRY__BUF(65536);
    redis__tail_position(t, &at, false);
    redis__start_ask(p, &t->start, t->domain, NULL, "", ferry__buf_string(&at), joined, t);
    ferry__buf_done(&at);
}

void redis__tail_seek(redis__tail *t)
{
    for (ferry__frame *f; (f = ferry__frames_take(&t->backlog));)
        ferry__frame_unref(f);
}

void redis__tail_down(redis__tail *t)
{
    t->start.there = false;
}

/* ---- Reading -------------------------------------------------------------------------------------------------------- */

static void take_entry(redis__pipe *p, redis__tail *t, unsigned part, const redis__value *e)
{
    redis__tail_part *a = &t->parts[part];
    redis__mark m;
    ferry_status why;
    redis__entry_id(redis__text(redis__at(e, 0)), &m.ms, &m.seq);
    ferry__frame *f = redis__wire_read(redis__at(e, 1), p->now_ms, 0, &why);
    if (!f && why == FERRY_NO_MEMORY)
        redis__link_fail(p, why, "out of memory"); /* it is read again */
    else if (!f)
        ferry__log_print(p->up->log, LOG_ERR, "entry %s of %s is no message of this version of ferry: passed over",
                         redis__text(redis__at(e, 0)), a->key);
    if (f && !ring_add(a, m)) {
        ferry__frame_unref(f);
        redis__link_fail(p, FERRY_NO_MEMORY, "out of memory");
    } else if (f) {
        f->partition = part;
        f->tag[0] = (uint64_t)(uintptr_t)t | 1;
        f->tag[1] = (uint64_t)part << PART_SHIFT | (a->base + a->count - 1);
        if (ferry__frame_size(f) > p->biggest)
            p->biggest = ferry__frame_size(f);
        ferry__frames_add(&t->backlog, f);
    }
    if (p->slow_to_die)
        return;
    a->at = m;
    if (!a->count)
        a->done = m;
}

static unsigned part_of(const redis__tail *t, const char *key)
{
    for (unsigned i = 0; i <= t->start.parts; i++)
        if (strcmp(t->parts[i].key, key) == 0)
            return i;
    return UINT32_MAX;
}

static void take_entries(redis__pipe *p, redis__tail *t, const redis__value *v, bool blocked)
{
    t->lively = v && v->type == REDIS__LIST ? v->count : 0;
    for (size_t i = 0; i < t->lively; i++) {
        const redis__value *stream = redis__at(v, i), *entries = redis__at(stream, 1);
        unsigned part = part_of(t, redis__text(redis__at(stream, 0)));
        if (part == UINT32_MAX || !entries || !entries->count)
            continue;
        redis__tail_part *a = &t->parts[part];
        a->from = a->at;
        redis__entry_id(redis__text(redis__at(redis__at(entries, 0), 0)), &a->first.ms, &a->first.seq);
        a->unsure = blocked;
        for (size_t k = 0; k < entries->count && !p->slow_to_die; k++)
            take_entry(p, t, part, redis__at(entries, k));
    }
    t->behind = t->lively > 0;
}

/* Was something trimmed that we have not read? */
static bool overtaken(redis__tail *t, const redis__value *trimmed)
{
    for (unsigned i = 0; i <= t->start.parts; i++) {
        redis__tail_part *a = &t->parts[i];
        redis__mark cut;
        redis__entry_id(redis__text(redis__at(trimmed, i)), &cut.ms, &cut.seq);
        if (redis__mark_below(a->at, cut) ||
            (a->unsure && redis__mark_below(a->from, cut) && redis__mark_below(cut, a->first)))
            return true;
        a->unsure = false;
    }
    return false;
}

static void refused(redis__pipe *p, redis__tail *t, const redis__value *v)
{
    bool later;
    char why[FERRY_WHY_SIZE];
    ferry_status status = redis__error_status(v, &later);
    ferry__why(why, "Redis says: %.150s (a broadcast needs the rights multi, exec, hmget, xread)", v->text);
    if (redis__is_error(v, "UNBLOCKED"))
        return; /* a stream was deleted: looked at again */
    if (later)
        redis__link_fail(p, status, "%s", why);
    else
        tell_broken(p, t, status, why);
}

static bool current(redis__pipe *p, redis__tail *t, redis__want *w, const redis__value *v)
{
    t->conn->reading = t->conn->nudged = false;
    bool good = v && w->number == t->start.number && t->start.there && !t->start.broken && t->source;
    if (good && v->type == REDIS__ERROR)
        refused(p, t, v);
    return good && v->type != REDIS__ERROR;
}

static void got_blocked(redis__pipe *p, redis__want *w, const redis__value *v)
{
    redis__tail *t = w->what;
    if (current(p, t, w, v)) {
        take_entries(p, t, v, true);
        if (!t->lively)
            t->behind = true; /* it was told to return, or the time was over: look again */
    }
}

static void got_checked(redis__pipe *p, redis__want *w, const redis__value *v)
{
    redis__tail *t = w->what;
    if (!current(p, t, w, v))
        return;
    if (overtaken(t, redis__at(v, 0)))
        tell_broken(p, t, FERRY_NOT_FOUND, "events were trimmed away before they were read (keep)");
    else
        take_entries(p, t, redis__at(v, 1), false);
}

static void word_read(redis__pipe *p, redis__tail *t, int block)
{
    ferry__buf *b = &t->conn->out;
    size_t n = t->start.parts + 1;
    redis__words(b, (block ? 6u : 4u) + 2 * n);
    redis__word(b, "XREAD");
    redis__word(b, "COUNT");
    redis__word_number(b, (int64_t)redis__read_count(p, AHEAD, t->lively));
    if (block) {
        redis__word(b, "BLOCK");
        redis__word_number(b, block);
    }
    redis__word(b, "STREAMS");
    for (size_t i = 0; i < n; i++)
        redis__word(b, t->parts[i].key);
    for (size_t i = 0; i < n; i++)
        redis__word_entry(b, t->parts[i].at.ms, t->parts[i].at.seq);
}

static void read_checked(redis__pipe *p, redis__tail *t)
{
    redis__conn *c = t->conn;
    char key[REDIS__KEY], field[24];
    redis__command(&c->out, "MULTI", NULL);
    redis__ask(c, redis__ignore, NULL, 0);
    redis__topic_key(p, key, t->domain, "topic");
    redis__words(&c->out, 2 + t->start.parts + 1);
    redis__word(&c->out, "HMGET");
    redis__word(&c->out, key);
    for (unsigned i = 0; i <= t->start.parts; i++) {
        snprintf(field, sizeof field, "trimmed:%u", i);
        redis__word(&c->out, field);
    }
    redis__ask(c, redis__ignore, NULL, 0);
    word_read(p, t, 0);
    redis__ask(c, redis__ignore, NULL, 0);
    redis__command(&c->out, "EXEC", NULL);
    redis__ask(c, got_checked, t, t->start.number);
    c->limit_ms = p->now_ms + p->dead_ms;
}

void redis__tail_read(redis__pipe *p, redis__tail *t)
{
    redis__conn *c = t->conn;
    int block = p->no_nudge ? UNNUDGED_MS : REDIS__BLOCK_MS;
    if (!c || !t->source)
        return;
    if (c->reading) {
        if (!t->start.there)
            redis__reader_nudge(p, c);
        return;
    }
    if (!t->start.there || t->start.broken || t->backlog.count > AHEAD / 2 || !redis__reader_opened(p, c))
        return;
    c->reading = true;
    if (t->behind) {
        read_checked(p, t);
        return;
    }
    word_read(p, t, block);
    redis__ask(c, got_blocked, t, t->start.number);
    c->limit_ms = p->now_ms + block + p->dead_ms;
}

/* ---- Handing up ----------------------------------------------------------------------------------------------------- */

void redis__tails_deliver(redis__pipe *p)
{
    for (redis__tail *t = p->tails; t; t = t->next)
        while (t->backlog.first && t->credit > 0 && t->source && !t->start.broken && !t->start.moves) {
            ferry__frame *f = ferry__frames_take(&t->backlog);
            t->credit--;
            t->held++;
            f->from = t->source;
            p->up->frame(p->up, t->source, f);
        }
}

static bool caught_up(const redis__tail *t)
{
    if (!t->behind && !t->held && !t->backlog.count)
        return true; /* at the end, wherever that went */
    for (unsigned i = 0; i <= t->start.parts; i++)
        if (redis__mark_below(t->parts[i].done, t->parts[i].end))
            return false;
    return true;
}

bool redis__tail_over(redis__pipe *p, redis__tail *t)
{
    if (!t->source)
        return t->held == 0 && !t->burials && !t->start.asking;
    if (t->start.there && !t->start.broken && !t->start.caught_up && t->parts && caught_up(t)) {
        t->start.caught_up = true;
        p->up->caught_up(p->up, t->source);
    }
    return false;
}
