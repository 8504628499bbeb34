/* intake.c - from the streams of a service to frames handed up.
 *
 *     XREADGROUP (connections C and P) -----------.
 *     take-over: what was handed back, what the    >--> held: a receipt each --> posts: is its id done? --> backlog --credit--> core
 *     dead had, a partition's past, our orphans --'
 *
 * Invariants
 * 1. Every entry that the group holds pending under our name has a receipt, except what a lost connection swallowed: after each
 *    reconnect the two are compared (MINE), before anything new is read.
 * 2. COUNT is per stream, so calls and posts are read on connections of their own, and nothing is read while there is a backlog.
 * 3. A partition is read only when nothing of it is pending with others: its order is the order of its entries. */
#include "backends/redis/event.h"

#include "base/alloc.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

enum { BIG = 32 << 20 /* bytes of one read, about */, UNNUDGED_MS = 100, TAKE_MOST = 128 };

static size_t place(const redis__lane *l)
{
    return l->lane == FERRY__CALLS ? 0 : l->lane == FERRY__POSTS ? 1 : 3;
}

ferry__source *redis__lane_source(const redis__lane *l)
{
    return l->service->source[place(l)];
}

static int *credit_of(redis__lane *l)
{
    return &l->service->credit[place(l)];
}

static void each(redis__pipe *p, redis__service *s, void (*act)(redis__pipe *p, redis__lane *l))
{
    act(p, &s->calls);
    for (unsigned i = 0; i <= s->parts; i++)
        act(p, &s->posts[i]);
    for (unsigned i = 0; s->group && i <= s->parts; i++)
        act(p, redis__group_lane(s->group, i));
}

/* ---- Handing up ----------------------------------------------------------------------------------------------------- */

void redis__lane_forget(redis__lane *l)
{
    for (ferry__frame *f; (f = ferry__frames_take(&l->backlog));) {
        redis__receipt_free((redis__receipt *)(uintptr_t)f->tag[0]);
        ferry__frame_unref(f);
    }
}

void redis__lane_deliver(redis__pipe *p, redis__lane *l)
{
    int *credit = credit_of(l);
    /* Credit that was taken back: another server may have the time that we have not. A partition is ours alone. */
    while (l->backlog.first && (!redis__lane_source(l) || (l->part == 0 && *credit <= 0))) {
        ferry__frame *f = ferry__frames_take(&l->backlog);
        redis__settle_op(p, (redis__receipt *)(uintptr_t)f->tag[0], REDIS__HAND_BACK);
        ferry__frame_unref(f);
    }
    while (l->backlog.first && *credit > 0 && redis__lane_source(l) && redis__service_sure(p, l->service)) {
        ferry__frame *f = ferry__frames_take(&l->backlog);
        --*credit;
        ferry__id id = f->id;
        f->from = redis__lane_source(l);
        p->up->frame(p->up, f->from, f);
        if (l->lane == FERRY__CALLS && l->service->cancels_count)
            redis__inbox_cancelled(p, l->service, &id);
    }
}

/* ---- From an entry to a frame --------------------------------------------------------------------------------------- */

/* Somebody else wrote it, or a newer ferry. */
static void unreadable(redis__pipe *p, redis__lane *l, const char *id)
{
    redis__receipt *r = redis__receipt_new(p, l, NULL);
    if (!r)
        return;
    ferry__log_print(p->up->log, LOG_ERR, "entry %s of %s is no message of this version of ferry: dropped", id, l->key);
    redis__entry_id(id, &r->ms, &r->seq);
    redis__settle_op(p, r, REDIS__DROP);
}

/* There was no memory for it: it is pending under our name, and nobody here knows it. */
static void forgotten(redis__pipe *p, redis__lane *l)
{
    l->orphans = true;
    p->work = true;
}

ferry__frame *redis__lane_entry(redis__pipe *p, redis__lane *l, const char *id, const redis__value *fields,
                                uint32_t count)
{
    uint64_t ms, seq;
    ferry_status why;
    redis__entry_id(id, &ms, &seq);
    ferry__frame *f = redis__wire_read(fields, p->now_ms, p->now_ms + p->clock_ms - (int64_t)ms, &why);
    if (!f && why == FERRY_PROTOCOL)
        unreadable(p, l, id);
    else if (!f && why == FERRY_NO_MEMORY)
        forgotten(p, l);
    if (!f)
        return NULL;
    f->partition = l->part;
    f->attempt += count;
    f->maybe = count > 0;
    redis__receipt *r = redis__receipt_new(p, l, f);
    if (!r) {
        forgotten(p, l);
        ferry__frame_unref(f);
        return NULL;
    }
    r->ms = ms;
    r->seq = seq;
    r->count = count;
    l->odd += count >= 2;
    if (ferry__frame_size(f) > p->biggest)
        p->biggest = ferry__frame_size(f);
    return f;
}

/* ---- Posts: those that came before ---------------------------------------------------------------------------------
 *
 * The id of a post is noted among the known ones when its entry is first delivered, by whoever gets it; a second entry with that id
 * is dropped. An entry that is delivered again is never looked up: not what others left pending, nor what comes from the retry set.
 * So a crash makes no message its own double. Each batch has a score of its own, by which it sees which ids it was that noted. */

typedef struct batch {
    redis__lane  *lane;
    ferry__frames frames;
    double        stamp;
} batch;

static void drop_frame(redis__pipe *p, ferry__frame *f, bool forget)
{
    redis__receipt *r = (redis__receipt *)(uintptr_t)f->tag[0];
    if (forget)
        redis__receipt_free(r);
    else
        redis__settle_op(p, r, REDIS__DROP);
    ferry__frame_unref(f);
}

static void hand_on(redis__pipe *p, batch *b, const redis__value *scores, bool lost)
{
    redis__lane *l = b->lane;
    size_t i = 0;
    l->checking -= b->frames.count;
    for (ferry__frame *f; (f = ferry__frames_take(&b->frames)); i++) {
        const char *score = redis__text(redis__at(scores, i));
        if (lost || (*score && strtod(score, NULL) != b->stamp))
            drop_frame(p, f, lost);
        else
            ferry__frames_add(&l->backlog, f);
    }
    ferry__free(b);
}

static void word_known(redis__pipe *p, const redis__lane *l)
{
    char key[REDIS__KEY + 8];
    snprintf(key, sizeof key, "%sknown", l->service->prefix);
    redis__word(&p->conns[REDIS__W].out, key);
}

static void word_message(redis__pipe *p, const ferry__frame *f)
{
    char id[FERRY__ID_TEXT];
    ferry__id_print(&f->id, id);
    redis__word(&p->conns[REDIS__W].out, id);
}

static void told_which(redis__pipe *p, redis__want *w, const redis__value *v)
{
    hand_on(p, w->what, v, !v || w->number != p->era);
}

static void ask_which(redis__pipe *p, batch *b)
{
    redis__conn *w = &p->conns[REDIS__W];
    redis__words(&w->out, 2 + b->frames.count);
    redis__word(&w->out, "ZMSCORE");
    word_known(p, b->lane);
    for (ferry__frame *f = b->frames.first; f; f = f->next)
        word_message(p, f);
    redis__ask(w, told_which, b, p->era);
    p->work = true;
}

static void noted(redis__pipe *p, redis__want *w, const redis__value *v)
{
    batch *b = w->what;
    bool lost = !v || w->number != p->era;
    if (!lost && v->type == REDIS__NUMBER && v->number < (int64_t)b->frames.count)
        ask_which(p, b);
    else
        hand_on(p, b, NULL, lost);
}

static void check(redis__pipe *p, redis__lane *l, ferry__frames *got)
{
    redis__conn *w = &p->conns[REDIS__W];
    char stamp[40];
    batch *b = ferry__alloc(sizeof *b);
    if (!b) { /* at least once: better twice than never */
        ferry__frames_join(&l->backlog, got);
        return;
    }
    *b = (batch){.lane = l};
    ferry__frames_init(&b->frames);
    ferry__frames_join(&b->frames, got);
    l->checking += b->frames.count;
    snprintf(stamp, sizeof stamp, "%lld.%03u", (long long)(p->now_ms + p->clock_ms), 1 + ferry__random_below(999));
    b->stamp = strtod(stamp, NULL);
    redis__words(&w->out, 3 + 2 * b->frames.count);
    redis__word(&w->out, "ZADD");
    word_known(p, l);
    redis__word(&w->out, "NX");
    for (ferry__frame *f = b->frames.first; f; f = f->next) {
        redis__word(&w->out, stamp);
        word_message(p, f);
    }
    redis__ask(w, noted, b, p->era);
    p->work = true;
}

/* A second copy of what we hold goes at once: whatever becomes of the first, it is not lost. */
static bool is_double(const redis__receipt *r)
{
    for (redis__receipt *o = r->chain; o; o = o->chain) /* those that came before */
        if (o->id.serial == r->id.serial && memcmp(o->id.client, r->id.client, 16) == 0)
            return true;
    return false;
}

static void accept(redis__pipe *p, redis__lane *l, ferry__frames *got, bool first_time)
{
    ferry__frames fresh;
    if (l->lane != FERRY__POSTS || !first_time) {
        ferry__frames_join(&l->backlog, got);
        return;
    }
    ferry__frames_init(&fresh);
    for (ferry__frame *f; (f = ferry__frames_take(got));)
        if (is_double((redis__receipt *)(uintptr_t)f->tag[0]))
            drop_frame(p, f, false);
        else
            ferry__frames_add(f->attempt ? &l->backlog : &fresh, f);
    if (fresh.count)
        check(p, l, &fresh);
}

/* ---- Reading -------------------------------------------------------------------------------------------------------- */

static redis__lane *lane_of(redis__pipe *p, const char *key)
{
    for (redis__service *s = p->services; s; s = s->next) {
        if (strcmp(s->calls.key, key) == 0)
            return &s->calls;
        for (unsigned i = 0; i <= s->parts; i++)
            if (strcmp(s->posts[i].key, key) == 0)
                return &s->posts[i];
    }
    return NULL;
}

static void give_all_back(redis__pipe *p, ferry__frames *all)
{
    for (ferry__frame *f; (f = ferry__frames_take(all));) {
        redis__settle_op(p, (redis__receipt *)(uintptr_t)f->tag[0], REDIS__HAND_BACK);
        ferry__frame_unref(f);
    }
}

static void read_stream(redis__pipe *p, const redis__value *stream)
{
    redis__lane *l = lane_of(p, redis__text(redis__at(stream, 0)));
    const redis__value *entries = redis__at(stream, 1);
    ferry__frames got;
    ferry__frames_init(&got);
    for (size_t i = 0; l && entries && i < entries->count; i++) {
        const redis__value *e = redis__at(entries, i);
        ferry__frame *f = redis__lane_entry(p, l, redis__text(redis__at(e, 0)), redis__at(e, 1), 0);
        if (f)
            ferry__frames_add(&got, f);
    }
    if (l && l->lane == FERRY__CALLS && l->gave)
        give_all_back(p, &got); /* read before older ones went back: in their order they come again */
    else if (l)
        accept(p, l, &got, true);
}

static void groups_are_gone(redis__pipe *p)
{
    for (redis__service *s = p->services; s; s = s->next) {
        s->grouped = false;
        s->sure_ms = 0;
        s->again = s->renewing;
        if (!s->renewing)
            s->renew_ms = p->now_ms;
    }
}

static void not_in_read(redis__pipe *p, redis__lane *l)
{
    (void)p;
    l->in_read = false;
}

static void got_read(redis__pipe *p, redis__want *w, const redis__value *v)
{
    redis__conn *c = w->what;
    c->reading = c->nudged = false;
    for (redis__service *s = p->services; s; s = s->next)
        if (c->role == REDIS__C)
            not_in_read(p, &s->calls);
        else
            for (unsigned i = 0; i <= s->parts; i++)
                not_in_read(p, &s->posts[i]);
    if (!v || w->number != p->era)
        return;
    if (redis__is_error(v, "NOGROUP") || redis__is_error(v, "UNBLOCKED") || redis__is_error(v, "WRONGTYPE"))
        groups_are_gone(p);
    else if (v->type == REDIS__ERROR)
        redis__link_fail(p, FERRY_UNAVAILABLE, "Redis says: %.200s", v->text);
    for (size_t i = 0; v->type == REDIS__LIST && i < v->count; i++)
        read_stream(p, redis__at(v, i));
}

/* Reading now would let new calls overtake those that we handed back. */
static bool overtakes(const redis__lane *l)
{
    return l->lane == FERRY__CALLS && (l->taking || (l->gave && !(l->held_up && l->odd)));
}

static bool eligible(redis__pipe *p, redis__lane *l)
{
    return redis__lane_source(l) && *credit_of(l) > 0 && !l->backlog.first && !l->checking && !l->orphans &&
           !overtakes(l) && (l->part == 0 || l->state == REDIS__LANE_READING) && redis__service_sure(p, l->service);
}

static size_t count_for(redis__pipe *p, int credit, size_t lanes)
{
    size_t count = (size_t)credit / lanes, most = BIG / (p->biggest + 1024);
    count = count > most ? most : count;
    return count < 1 ? 1 : count > 512 ? 512 : count;
}

static size_t lanes_of(redis__pipe *p, redis__role role, redis__lane **to, size_t most, int *credit)
{
    size_t n = 0;
    *credit = 512;
    for (redis__service *s = p->services; s; s = s->next)
        for (unsigned i = 0; i <= (role == REDIS__C ? 0 : s->parts); i++) {
            redis__lane *l = role == REDIS__C ? &s->calls : &s->posts[i];
            if (n == most || !eligible(p, l))
                continue;
            to[n++] = l;
            *credit = *credit_of(l) < *credit ? *credit_of(l) : *credit;
        }
    return n;
}

/* For a moment some lanes cannot be read: better than to read the others and to be nudged. */
static bool checks(const redis__pipe *p)
{
    for (const redis__service *s = p->services; s; s = s->next)
        for (unsigned i = 0; i <= s->parts; i++)
            if (s->posts[i].checking)
                return true;
    return false;
}

static void begin_read(redis__pipe *p, redis__conn *c, redis__lane **lanes, size_t n, int credit)
{
    ferry__buf *b = &c->out;
    int block = p->no_nudge ? UNNUDGED_MS : REDIS__BLOCK_MS;
    redis__words(b, 9 + 2 * n);
    redis__word(b, "XREADGROUP");
    redis__word(b, "GROUP");
    redis__word(b, REDIS__GROUP);
    redis__word(b, p->me);
    redis__word(b, "COUNT");
    redis__word_number(b, (int64_t)count_for(p, credit, n));
    redis__word(b, "BLOCK");
    redis__word_number(b, block);
    redis__word(b, "STREAMS");
    for (size_t i = 0; i < n; i++) {
        redis__word(b, lanes[i]->key);
        lanes[i]->in_read = true;
    }
    for (size_t i = 0; i < n; i++)
        redis__word(b, ">");
    c->reading = true;
    redis__ask(c, got_read, c, p->era);
    c->limit_ms = p->now_ms + block + p->dead_ms;
}

/* 0: it was not blocked, not yet perhaps, for the two go by different connections: once more, if it is still needed. */
static void nudged(redis__pipe *p, redis__want *w, const redis__value *v)
{
    redis__conn *c = w->what;
    if (redis__is_error(v, "NOPERM"))
        p->no_nudge = true;
    if (v && v->type == REDIS__NUMBER && v->number == 0)
        c->nudged = false;
}

static bool wants_other_read(redis__pipe *p, redis__lane *l)
{
    bool leaves =
        l->in_read && (!redis__lane_source(l) || *credit_of(l) <= 0 || (l->part && l->state != REDIS__LANE_READING));
    return leaves || (!l->in_read && eligible(p, l));
}

static void nudge(redis__pipe *p, redis__conn *c)
{
    bool needed = false;
    for (redis__service *s = p->services; s && !c->nudged; s = s->next)
        for (unsigned i = 0; i <= (c->role == REDIS__C ? 0 : s->parts); i++)
            needed = needed || wants_other_read(p, c->role == REDIS__C ? &s->calls : &s->posts[i]);
    redis__conn *w = &p->conns[REDIS__W];
    if (!needed || c->nudged || !c->number || p->no_nudge || w->state != REDIS__READY)
        return;
    redis__words(&w->out, 3);
    redis__word(&w->out, "CLIENT");
    redis__word(&w->out, "UNBLOCK");
    redis__word_number(&w->out, c->number);
    redis__ask(w, nudged, c, 0);
    c->nudged = true;
}

static void read_on(redis__pipe *p, redis__role role)
{
    enum { MOST = 256 };
    redis__conn *c = &p->conns[role];
    redis__lane *lanes[MOST];
    int credit;
    if (c->reading) {
        nudge(p, c);
        return;
    }
    size_t n = lanes_of(p, role, lanes, MOST, &credit);
    if (n == 0 || (role == REDIS__P && checks(p)))
        return;
    if (c->state == REDIS__OFF && !redis__conn_open(c))
        redis__link_fail(p, FERRY_NO_MEMORY, "out of memory");
    if (c->state == REDIS__READY)
        begin_read(p, c, lanes, n, credit);
}

void redis__intake_read(redis__pipe *p)
{
    if (!p->services)
        return;
    read_on(p, REDIS__C);
    read_on(p, REDIS__P);
}

/* ---- Taking over ---------------------------------------------------------------------------------------------------- */

static void accept_taken(redis__pipe *p, redis__lane *l, const redis__value *v)
{
    ferry__frames got;
    ferry__frames_init(&got);
    for (size_t i = 1; i + 2 < v->count; i += 3) {
        uint32_t count = (uint32_t)redis__number(redis__at(v, i + 2));
        const redis__value *fields = redis__at(v, i + 1);
        if (l->lane == FERRY__EVENTS && fields && fields->type == REDIS__TEXT) {
            redis__group_lost(p, l, redis__text(redis__at(v, i)));
            continue;
        }
        ferry__frame *f = redis__lane_entry(p, l, redis__text(redis__at(v, i)), fields, count);
        if (f)
            ferry__frames_add(&got, f);
    }
    accept(p, l, &got, false);
}

static void taken(redis__pipe *p, redis__want *w, const redis__value *v)
{
    redis__lane *l = w->what;
    l->taking = false;
    if (!v || w->number != p->era)
        return;
    if (redis__forgotten(p, REDIS__TAKE, v)) {
        l->hint = true;
        return;
    }
    if (v->type == REDIS__ERROR) {
        if (l->lane == FERRY__EVENTS)
            l->service->group->start.there = false;
        else if (redis__is_error(v, "NOGROUP") || redis__is_error(v, "ERR"))
            groups_are_gone(p);
        return;
    }
    int64_t more = redis__number(redis__at(v, 0));
    accept_taken(p, l, v);
    l->gave = l->gave || (more != 0 && l->lane == FERRY__CALLS);
    l->hint = more != 0 || l->gave;
    l->held_up = more == 2;
    p->work = p->work || (l->hint && !l->backlog.first); /* more of them, if there is credit */
    if (more == 0 && l->state == REDIS__LANE_CLAIMING)
        l->state = REDIS__LANE_READING;
}

static void take(redis__pipe *p, redis__lane *l)
{
    ferry__buf *b = &p->conns[REDIS__W].out;
    char key[REDIS__KEY + 8];
    int credit = *credit_of(l);
    snprintf(key, sizeof key, "%slease", l->service->prefix);
    l->taking = true;
    l->hint = l->gave = false;
    l->look_ms = p->now_ms + p->look_ms;
    redis__call(p, REDIS__TAKE, 2, 6);
    redis__word(b, l->key);
    redis__word(b, key);
    redis__word(b, p->me);
    redis__word_number(b, credit < TAKE_MOST ? credit : TAKE_MOST);
    redis__word(b, p->now_ms >= p->take_ms ? "1" : "0");
    redis__word(b, l->part ? "1" : "0");
    redis__word(b, l->odd ? "1" : "0");
    redis__word(b, l->group);
    redis__ask(&p->conns[REDIS__W], taken, l, p->era);
}

static void found(redis__pipe *p, redis__want *w, const redis__value *v)
{
    redis__lane *l = w->what;
    l->taking = false;
    if (!v || w->number != p->era || redis__forgotten(p, REDIS__MINE, v))
        return;
    l->orphans = false;
    if (v->type == REDIS__LIST)
        accept_taken(p, l, v);
}

static void find_orphans(redis__pipe *p, redis__lane *l)
{
    ferry__buf *b = &p->conns[REDIS__W].out;
    char key[REDIS__KEY + 8];
    snprintf(key, sizeof key, "%sctl", l->service->prefix);
    l->taking = true;
    redis__call(p, REDIS__MINE, 2, 3 + l->held_count);
    redis__word(b, l->key);
    redis__word(b, key);
    redis__word(b, p->me);
    redis__word(b, "take");
    redis__word(b, l->group);
    for (ferry__node *n = l->held.next; n != &l->held; n = n->next) {
        redis__receipt *r = FERRY__OF(n, redis__receipt, node);
        redis__word_entry(b, r->ms, r->seq);
    }
    redis__ask(&p->conns[REDIS__W], found, l, p->era);
}

/* For a partition: what others left pending comes before anything new. */
static bool must_take(redis__pipe *p, redis__lane *l)
{
    if (l->held_up && l->odd)
        return false;
    if (l->part)
        return l->state == REDIS__LANE_CLAIMING;
    return l->hint || p->now_ms >= l->look_ms;
}

static void lane_turn(redis__pipe *p, redis__lane *l)
{
    if (l->taking || !redis__service_sure(p, l->service) || (l->part && l->state == REDIS__LANE_OFF))
        return;
    if (l->lane == FERRY__EVENTS && !l->service->group->start.there)
        return;
    if (l->orphans)
        find_orphans(p, l);
    else if (redis__lane_source(l) && *credit_of(l) > 0 && !l->backlog.first && !l->checking && must_take(p, l))
        take(p, l);
}

/* In flush, with the link up: behind the settlements, before the reads. */
void redis__intake_turn(redis__pipe *p)
{
    for (redis__service *s = p->services; s; s = s->next)
        if (s->joined)
            each(p, s, lane_turn);
}
