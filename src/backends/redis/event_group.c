/* event_group.c - a member of a group.
 *
 * Its lanes hang on the service "domain/group" and are taken over, released and compared after a lost link as those of posts are
 * (intake.c, service.c). What differs: nothing is deleted when it is settled; settlements are written in lots, one XACK for up to a
 * thousand, at most COMMIT_MS late; and it reads ahead of its credit, as many as it handled in the last WINDOW_MS, so that Redis is
 * never waited for. What was read ahead and finds no credit for STUCK_MS goes back if others may have it.
 *
 * A group that retention has overtaken is not there any more (event.h): the read that finds that asks JOIN why, and is broken. */
#include "backends/redis/event.h"

#include "base/alloc.h"

#include <string.h>

enum { WINDOW_MS = 50, STALE_MS = 200, STUCK_MS = 200, DRY_MS = 50, LOOK_MS = 25, UNNUDGED_MS = 100 };

/* ---- Making one ----------------------------------------------------------------------------------------------------- */

static bool set_lanes(redis__group *g, const char *ns)
{
    char key[REDIS__KEY];
    redis__service *s = g->service;
    redis__lane *lanes = ferry__alloc((s->parts + 1) * sizeof *lanes);
    if (!lanes)
        return false;
    ferry__free(g->lanes);
    g->lanes = lanes;
    snprintf(key, sizeof key, "%.64s:{%.128s}:events", ns, g->domain);
    for (unsigned i = 0; i <= s->parts; i++)
        redis__lane_init(&lanes[i], s, FERRY__EVENTS, i, key, g->name);
    return true;
}

redis__group *redis__group_get(redis__service *s, const char *domain, const char *name, const char *ns)
{
    redis__group *g = s->group;
    if (g || !(g = ferry__zalloc(sizeof *g)))
        return g;
    g->service = s;
    g->domain = ferry__strdup(domain);
    g->name = ferry__strdup(name);
    g->commit_ms = g->stuck_ms = INT64_MAX;
    s->group = g;
    if (g->domain && g->name && set_lanes(g, ns))
        return g;
    redis__group_free(s);
    return NULL;
}

void redis__group_free(redis__service *s)
{
    redis__group *g = s->group;
    if (!g)
        return;
    for (unsigned i = 0; g->lanes && i <= s->parts; i++)
        redis__lane_free(&g->lanes[i]);
    redis__start_done(&g->start);
    ferry__free(g->lanes);
    ferry__free(g->domain);
    ferry__free(g->name);
    ferry__free(g);
    s->group = NULL;
}

static bool fit(redis__pipe *p, redis__group *g)
{
    redis__service *s = g->service;
    if (s->parts == g->start.parts)
        return true;
    return !s->joined && !s->renewing && redis__service_set_parts(s, g->start.parts) && set_lanes(g, p->config->ns);
}

/* ---- Its start ------------------------------------------------------------------------------------------------------ */

static void joined(redis__pipe *p, redis__want *w, const redis__value *v)
{
    redis__group *g = w->what;
    ferry__source *source = g->service->source[3];
    char why[FERRY_WHY_SIZE] = "";
    ferry_status status = FERRY_OK;
    bool known = g->start.known;
    redis__began began = redis__start_answer(p, &g->start, w, v, why, &status);
    if (!known && g->start.known && !fit(p, g)) {
        g->start.broken = true;
        began = REDIS__BROKEN;
        status = FERRY_NO_MEMORY;
    }
    if (began == REDIS__BROKEN && source)
        p->up->broken(p->up, source, status, why);
    if (began == REDIS__BEGAN && source) {
        g->look_ms = p->now_ms;
        p->up->ready(p->up, source);
    }
}

/* What a seek leaves behind is acknowledged before the group is moved: else it might pass for what comes behind the move. */
static bool still(redis__pipe *p, redis__group *g)
{
    bool open = g->conn && g->conn->reading;
    if (open)
        redis__reader_nudge(p, g->conn);
    for (unsigned i = 0; i <= g->service->parts; i++)
        open = open || g->lanes[i].ops || g->lanes[i].flying || g->lanes[i].taking;
    return !open;
}

static bool ours(const redis__lane *l)
{
    return l->part == 0 || l->state == REDIS__LANE_READING || l->state == REDIS__LANE_CLAIMING;
}

static void ask_start(redis__pipe *p, redis__group *g)
{
    ferry__buf only = FERRY__BUF(16384);
    for (unsigned i = 0; i <= g->service->parts; i++)
        if (ours(&g->lanes[i]))
            ferry__buf_format(&only, "%u,", i);
    redis__start_ask(p, &g->start, g->domain, g->name, ferry__buf_string(&only), "", joined, g);
    ferry__buf_done(&only);
}

void redis__group_seek(redis__pipe *p, redis__group *g)
{
    for (unsigned i = 0; i <= g->service->parts; i++)
        for (ferry__frame *f; (f = ferry__frames_take(&g->lanes[i].backlog));) {
            redis__settle_op(p, (redis__receipt *)(uintptr_t)f->tag[0], REDIS__SETTLE);
            ferry__frame_unref(f);
        }
    g->look_ms = 0;
}

void redis__group_lost(redis__pipe *p, redis__lane *l, const char *id)
{
    redis__group *g = l->service->group;
    char why[FERRY_WHY_SIZE];
    if (g->start.broken || !g->service->source[3])
        return;
    g->start.broken = true;
    ferry__why(why, "event %s of %s was trimmed away before it was handled (keep)", id, l->key);
    p->up->broken(p->up, g->service->source[3], FERRY_NOT_FOUND, why);
}

/* ---- Caught up? ----------------------------------------------------------------------------------------------------- */

static void looked(redis__pipe *p, redis__want *w, const redis__value *v)
{
    redis__group *g = w->what;
    redis__start *s = &g->start;
    g->looking = false;
    g->look_ms = p->now_ms + LOOK_MS;
    if (!v || redis__forgotten(p, REDIS__CAUGHT_UP, v) || w->number != s->number || redis__number(v) != 1 ||
        s->caught_up || !g->service->source[3])
        return;
    s->caught_up = true;
    p->up->caught_up(p->up, g->service->source[3]);
}

/* Only what Redis cannot know is looked at here: is there something of before the end in our hands? */
static bool may_be_caught_up(const redis__group *g)
{
    if (!g->service->joined)
        return false;
    for (unsigned i = 0; i <= g->service->parts; i++) {
        const redis__lane *l = &g->lanes[i];
        if (l->state == REDIS__LANE_CLAIMING)
            return false;
        if (ferry__list_empty(&l->held))
            continue;
        redis__receipt *r = FERRY__OF(l->held.next, redis__receipt, node);
        if (!redis__mark_below(g->start.ends[i], (redis__mark){r->ms, r->seq}))
            return false;
    }
    return true;
}

static void look(redis__pipe *p, redis__group *g)
{
    ferry__buf *b = &p->conns[REDIS__W].out;
    size_t n = 0;
    g->look_ms = p->now_ms + LOOK_MS;
    if (!may_be_caught_up(g))
        return;
    for (unsigned i = 0; i <= g->service->parts; i++)
        n += ours(&g->lanes[i]) && g->start.ends[i].ms;
    g->looking = true;
    redis__call(p, REDIS__CAUGHT_UP, 3, 5 + 2 * n);
    redis__topic_words(p, g->domain);
    redis__word(b, g->name);
    for (unsigned i = 0; i <= g->service->parts; i++) {
        if (!ours(&g->lanes[i]) || !g->start.ends[i].ms)
            continue;
        redis__word_number(b, i);
        redis__word_entry(b, g->start.ends[i].ms, g->start.ends[i].seq);
    }
    redis__ask(&p->conns[REDIS__W], looked, g, g->start.number);
}

/* ---- Turns ---------------------------------------------------------------------------------------------------------- */

static bool looks(const redis__group *g)
{
    return g->service->source[3] && g->start.there && !g->start.caught_up && !g->start.broken && !g->looking;
}

bool redis__group_turn(redis__pipe *p, redis__group *g)
{
    redis__start *s = &g->start;
    if (!g->service->source[3])
        return true;
    if (!s->there && !s->broken && !s->asking && (!s->moves || still(p, g)))
        ask_start(p, g);
    if (looks(g) && p->now_ms >= g->look_ms)
        look(p, g);
    return s->known;
}

void redis__group_down(redis__group *g)
{
    g->start.there = g->looking = false;
}

int64_t redis__group_due(const redis__group *g)
{
    int64_t due = g->commit_ms < g->stuck_ms ? g->commit_ms : g->stuck_ms;
    const redis__service *s = g->service;
    if (looks(g) && s->joined && g->look_ms < due)
        due = g->look_ms;
    if (s->joined && s->source[3] && g->start.there && s->credit[3] > 0 && !g->lanes[0].taking &&
        g->lanes[0].look_ms < due)
        due = g->lanes[0].look_ms;
    return due;
}

/* ---- Handing up ----------------------------------------------------------------------------------------------------- */

static void deliver_lane(redis__pipe *p, redis__group *g, redis__lane *l)
{
    int *credit = &g->service->credit[3];
    while (l->backlog.first && *credit > 0 && g->service->source[3] && !g->start.broken && !g->start.moves) {
        ferry__frame *f = ferry__frames_take(&l->backlog);
        --*credit;
        f->from = g->service->source[3];
        p->up->frame(p->up, f->from, f);
    }
}

static void give_back_stuck(redis__pipe *p, redis__group *g)
{
    if (!g->lanes[0].backlog.count || g->service->credit[3] > 0)
        g->stuck_ms = INT64_MAX;
    else if (g->stuck_ms == INT64_MAX)
        g->stuck_ms = p->now_ms + STUCK_MS;
    else if (p->now_ms >= g->stuck_ms) {
        redis__settle_back(p, &g->lanes[0]);
        g->stuck_ms = INT64_MAX;
    }
}

void redis__group_deliver(redis__pipe *p, redis__group *g)
{
    redis__service *s = g->service;
    unsigned n = s->parts + 1;
    if (!s->source[3]) {
        for (unsigned i = 0; i < n; i++)
            redis__settle_back(p, &g->lanes[i]);
        return;
    }
    if (s->credit[3] > 0 && redis__service_sure(p, s)) {
        g->next = (g->next + 1) % n;
        for (unsigned i = 0; i < n; i++)
            deliver_lane(p, g, &g->lanes[(g->next + i) % n]);
    }
    give_back_stuck(p, g);
}

/* ---- Settling ------------------------------------------------------------------------------------------------------- */

static void note_speed(redis__pipe *p, redis__group *g, size_t handled)
{
    int64_t took = p->now_ms - g->window_ms;
    g->handled += handled;
    if (took < WINDOW_MS)
        return;
    int64_t speed = took > 10 * WINDOW_MS ? (int64_t)handled : (int64_t)g->handled * WINDOW_MS / took;
    g->ahead = speed > REDIS__AHEAD ? REDIS__AHEAD : (int)speed;
    g->window_ms = p->now_ms;
    g->handled = 0;
}

/* Are its settlements to be written in this flush? */
bool redis__group_commits(redis__pipe *p, redis__group *g)
{
    size_t n = 0;
    bool urgent = !g->service->source[3] || g->start.moves || p->now_ms >= g->commit_ms;
    for (unsigned i = 0; i <= g->service->parts; i++) {
        n += g->lanes[i].ops_count;
        urgent = urgent || g->lanes[i].urgent;
        if (g->lanes[i].ops_count >= REDIS__COMMIT_LOT)
            urgent = true;
    }
    if (n == 0) {
        g->commit_ms = INT64_MAX;
        return false;
    }
    if (!urgent && n < REDIS__COMMIT_LOT) {
        if (g->commit_ms == INT64_MAX)
            g->commit_ms = p->now_ms + REDIS__COMMIT_MS;
        return false;
    }
    g->commit_ms = INT64_MAX;
    note_speed(p, g, n);
    return true;
}

static size_t words_for(const redis__receipt *r)
{
    return r->op == REDIS__BURY ? 5 : 3 + redis__wire_words(r->frame);
}

static void word_op(redis__pipe *p, const redis__receipt *r)
{
    ferry__buf *b = &p->conns[REDIS__W].out;
    char id[FERRY__ID_TEXT];
    redis__word(b, r->op == REDIS__BURY ? "B" : r->op == REDIS__RETRY ? "R" : "H");
    redis__word_entry(b, r->ms, r->seq);
    if (r->op == REDIS__BURY) {
        ferry__id_print(&r->id, id);
        redis__word(b, id);
        redis__word(b, r->box);
        redis__word_bytes(b, r->record, r->record_length);
        return;
    }
    redis__word_number(b, r->op == REDIS__RETRY ? r->delay_ms : (int64_t)r->count);
    redis__wire_put(b, r->frame, r->op == REDIS__RETRY ? r->attempt : r->count);
}

static void operated(redis__pipe *p, redis__want *w, const redis__value *v)
{
    redis__settle_answer(p, w, v, REDIS__EVENT_OPS);
}

/* All but plain settlements. */
void redis__group_operate(redis__pipe *p, redis__lane *l, redis__receipt *first)
{
    static const char *const keys[] = {"later", "dead", "parts", "ctl"};
    ferry__buf *b = &p->conns[REDIS__W].out;
    const redis__service *s = l->service;
    char key[REDIS__KEY + 16];
    size_t words = 6;
    for (redis__receipt *r = first; r; r = r->next, l->flying++)
        words += words_for(r);
    redis__call(p, REDIS__EVENT_OPS, 6, words);
    redis__word(b, l->key);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        snprintf(key, sizeof key, "%s%s", s->prefix, keys[i]);
        redis__word(b, key);
    }
    snprintf(key, sizeof key, "%s:services", p->config->ns);
    redis__word(b, key);
    redis__word(b, p->me);
    redis__word_number(b, l->part);
    redis__word_number(b, (int64_t)l->token);
    redis__word(b, l->group);
    redis__word(b, s->posts[l->part].key);
    redis__word(b, s->name);
    for (redis__receipt *r = first; r; r = r->next)
        word_op(p, r);
    redis__ask(&p->conns[REDIS__W], operated, first, 0);
}

/* ---- Reading -------------------------------------------------------------------------------------------------------- */

static void take_entry(redis__pipe *p, redis__group *g, redis__lane *l, const redis__value *e)
{
    ferry__frame *f = redis__lane_entry(p, l, redis__text(redis__at(e, 0)), redis__at(e, 1), 0);
    if (!f)
        return;
    if (!g->start.moves) {
        ferry__frames_add(&l->backlog, f);
        return;
    }
    redis__settle_op(p, (redis__receipt *)(uintptr_t)f->tag[0], REDIS__SETTLE);
    ferry__frame_unref(f);
}

static redis__lane *lane_of(redis__group *g, const char *key)
{
    for (unsigned i = 0; i <= g->service->parts; i++)
        if (strcmp(g->lanes[i].key, key) == 0)
            return &g->lanes[i];
    return NULL;
}

static void take_entries(redis__pipe *p, redis__group *g, const redis__value *v)
{
    g->lively = v->type == REDIS__LIST ? v->count : 0;
    for (size_t i = 0; i < g->lively; i++) {
        const redis__value *stream = redis__at(v, i), *entries = redis__at(stream, 1);
        redis__lane *l = lane_of(g, redis__text(redis__at(stream, 0)));
        for (size_t k = 0; l && entries && k < entries->count; k++)
            take_entry(p, g, l, redis__at(entries, k));
    }
}

static void got(redis__pipe *p, redis__want *w, const redis__value *v)
{
    redis__group *g = w->what;
    if (g->conn)
        g->conn->reading = g->conn->nudged = false;
    for (unsigned i = 0; i <= g->service->parts; i++)
        g->lanes[i].in_read = false;
    if (!v || w->number != p->era)
        return;
    if (redis__is_error(v, "NOGROUP") || redis__is_error(v, "UNBLOCKED") || redis__is_error(v, "WRONGTYPE")) {
        g->start.there = false;
        p->work = true;
    } else if (v->type == REDIS__ERROR)
        redis__link_fail(p, FERRY_UNAVAILABLE, "Redis says: %.200s", v->text);
    else
        take_entries(p, g, v);
}

static bool readable(const redis__group *g, const redis__lane *l)
{
    return g->service->source[3] && g->start.there && !g->start.broken && !l->orphans &&
           (l->part == 0 || l->state == REDIS__LANE_READING);
}

/* How many it should have at hand. */
static size_t target(const redis__pipe *p, const redis__group *g)
{
    int credit = g->service->credit[3], ahead = p->now_ms - g->window_ms < STALE_MS ? g->ahead : 0;
    return (size_t)(credit > ahead ? credit : ahead > 0 ? ahead : 0);
}

static void read_lanes(redis__pipe *p, redis__group *g, size_t n, size_t wanted)
{
    ferry__buf *b = &g->conn->out;
    int block = p->no_nudge ? UNNUDGED_MS : REDIS__BLOCK_MS;
    redis__words(b, 9 + 2 * n);
    redis__word(b, "XREADGROUP");
    redis__word(b, "GROUP");
    redis__word(b, g->name);
    redis__word(b, p->me);
    redis__word(b, "COUNT");
    redis__word_number(b, (int64_t)redis__read_count(p, wanted, g->lively));
    redis__word(b, "BLOCK");
    redis__word_number(b, block);
    redis__word(b, "STREAMS");
    for (unsigned i = 0; i <= g->service->parts; i++)
        if (readable(g, &g->lanes[i])) {
            redis__word(b, g->lanes[i].key);
            g->lanes[i].in_read = true;
        }
    for (size_t i = 0; i < n; i++)
        redis__word(b, ">");
    g->conn->reading = true;
    redis__ask(g->conn, got, g, p->era);
    g->conn->limit_ms = p->now_ms + block + p->dead_ms;
}

void redis__group_read(redis__pipe *p, redis__group *g)
{
    redis__conn *c = g->conn;
    size_t n = 0, backlog = 0, most = target(p, g);
    bool other = !g->service->source[3];
    for (unsigned i = 0; i <= g->service->parts; i++) {
        redis__lane *l = &g->lanes[i];
        n += readable(g, l);
        backlog += l->backlog.count;
        other = other || (c && c->reading && readable(g, l) != l->in_read);
    }
    if (!c)
        return;
    if (c->reading) {
        if (other || (most == 0 && p->now_ms - g->window_ms > STALE_MS))
            redis__reader_nudge(p, c);
        return;
    }
    if (n == 0 || most == 0 || backlog > most / 2 || !redis__service_sure(p, g->service))
        return;
    if (redis__reader_opened(p, c))
        read_lanes(p, g, n, most - backlog);
}
