/* settle.c - the end of a received message, in lots: one XACK and one XDEL for the calls of a flush, one script for the posts.
 *
 * A receipt stays until Redis has answered. When the connection goes first, its settlement is written again on the next one; the
 * script finds what was done already no longer pending under our name, and leaves it. */
#include "backends/redis/event.h"

#include "base/alloc.h"

#include <string.h>

enum { LOT = 256, EVENTS_LOT = 1024 };

/* ---- Receipts ------------------------------------------------------------------------------------------------------- */

redis__receipt *redis__receipt_new(redis__pipe *p, redis__lane *l, ferry__frame *f)
{
    redis__receipt *r = ferry__zalloc(sizeof *r);
    if (!r)
        return NULL;
    r->lane = l;
    r->era = p->era;
    ferry__list_init(&r->node);
    ferry__list_append(&l->held, &r->node);
    l->held_count++;
    if (!f)
        return r;
    r->id = f->id;
    if (l->lane == FERRY__POSTS || redis__wire_pubsub(f)) {
        redis__receipt **at = &l->service->ids[r->id.serial % 256];
        r->chain = *at;
        *at = r;
        r->hashed = true;
        if (l->lane == FERRY__CALLS)
            redis__send_published(p, r->id.client);
    }
    f->tag[0] = (uint64_t)(uintptr_t)r;
    return r;
}

void redis__receipt_free(redis__receipt *r)
{
    redis__lane *l = r->lane;
    for (redis__receipt **at = &l->service->ids[r->id.serial % 256]; r->hashed && *at; at = &(*at)->chain)
        if (*at == r) {
            *at = r->chain;
            break;
        }
    ferry__list_remove(&r->node);
    l->held_count--;
    if (r->count >= 2 && l->odd > 0)
        l->odd--;
    ferry__free(r->box);
    ferry__free(r->record);
    ferry__frame_unref(r->frame);
    ferry__free(r);
}

/* ---- Noting --------------------------------------------------------------------------------------------------------- */

void redis__settle_op(redis__pipe *p, redis__receipt *r, redis__op op)
{
    redis__lane *l = r->lane;
    if (op == REDIS__HAND_BACK && l->lane == FERRY__CALLS)
        l->gave = l->hint = true;
    r->op = (uint8_t)op;
    r->next = NULL;
    *l->ops_end = r;
    l->ops_end = &r->next;
    l->ops_count++;
    l->urgent = l->urgent || op != REDIS__SETTLE;
    p->work = true;
}

/* A keyed message that we shall get again anyway, as long as the partition is ours: it waits here, in its place. */
static bool keep(redis__pipe *p, redis__receipt *r, ferry__frame *f)
{
    redis__lane *l = r->lane;
    bool ours = l->part && (l->state == REDIS__LANE_READING || l->state == REDIS__LANE_CLAIMING);
    if (!ours || !redis__lane_source(l) || r->era != p->era)
        return false;
    f->next = l->backlog.first;
    if (!l->backlog.first)
        l->backlog.last = &f->next;
    l->backlog.first = f;
    l->backlog.count++;
    p->settled_now++;
    p->work = true;
    return true;
}

/* All that was not handed up goes back. */
void redis__settle_back(redis__pipe *p, redis__lane *l)
{
    for (ferry__frame *f; (f = ferry__frames_take(&l->backlog));) {
        redis__receipt *r = (redis__receipt *)(uintptr_t)f->tag[0];
        r->frame = f;
        redis__settle_op(p, r, REDIS__HAND_BACK);
    }
}

void redis__settle_note(redis__pipe *p, ferry__frame *f, redis__op op)
{
    redis__receipt *r = (redis__receipt *)(uintptr_t)f->tag[0];
    if (op == REDIS__HAND_BACK && keep(p, r, f))
        return;
    r->told = true;
    r->attempt = f->attempt;
    redis__settle_op(p, r, op);
    if (r->lane->lane == FERRY__EVENTS && (op == REDIS__RETRY || op == REDIS__HAND_BACK))
        r->frame = f;
    else
        ferry__frame_unref(f);
}

/* ---- Answers -------------------------------------------------------------------------------------------------------- */

static void again(redis__pipe *p, redis__lane *l, redis__receipt *first)
{
    redis__receipt **end = &first;
    for (; *end; end = &(*end)->next)
        l->ops_count++;
    *end = l->ops;
    if (!l->ops)
        l->ops_end = end;
    l->ops = first;
    p->work = true;
}

static void end_all(redis__pipe *p, redis__receipt *r, bool good)
{
    for (redis__receipt *next; r; r = next) {
        next = r->next;
        if (r->told && good)
            p->settled_now++;
        else if (r->told)
            p->unsettled_now++;
        redis__receipt_free(r);
    }
}

static size_t length_of(const redis__receipt *r)
{
    size_t n = 0;
    for (; r; r = r->next)
        n++;
    return n;
}

static void failed(redis__pipe *p, redis__lane *l, redis__receipt *first, const redis__value *v)
{
    bool later;
    ferry_status status = redis__error_status(v, &later);
    if (later)
        redis__link_fail(p, status, "Redis says: %.200s", v->text);
    if (status == FERRY_OVERLOADED)
        p->ops_ms = p->now_ms + REDIS__NO_ROOM_MS;
    if (later || status == FERRY_OVERLOADED) {
        again(p, l, first);
        return;
    }
    ferry__log_print(p->up->log, LOG_ERR, "a settlement failed: Redis says: %s", v->text);
    end_all(p, first, false);
}

static void acknowledged(redis__pipe *p, redis__want *w, const redis__value *v)
{
    redis__receipt *first = w->what;
    redis__lane *l = first->lane;
    l->flying -= length_of(first);
    if (!v)
        again(p, l, first);
    else if (v->type == REDIS__ERROR)
        failed(p, l, first, v);
    else
        end_all(p, first, true);
}

void redis__settle_answer(redis__pipe *p, redis__want *w, const redis__value *v, redis__script s)
{
    redis__receipt *first = w->what;
    redis__lane *l = first->lane;
    l->flying -= length_of(first);
    if (!v || redis__forgotten(p, s, v))
        again(p, l, first);
    else if (v->type == REDIS__ERROR)
        failed(p, l, first, v);
    else
        end_all(p, first, redis__number(v) >= 0);
}

static void operated(redis__pipe *p, redis__want *w, const redis__value *v)
{
    redis__settle_answer(p, w, v, REDIS__OPS);
}

/* ---- Writing -------------------------------------------------------------------------------------------------------- */

static void word_ids(ferry__buf *b, const redis__receipt *r)
{
    for (; r; r = r->next)
        redis__word_entry(b, r->ms, r->seq);
}

static void acknowledge(redis__pipe *p, redis__lane *l, redis__receipt *first)
{
    redis__conn *w = &p->conns[REDIS__W];
    size_t n = length_of(first);
    l->flying += n;
    redis__words(&w->out, 3 + n);
    redis__word(&w->out, "XACK");
    redis__word(&w->out, l->key);
    redis__word(&w->out, l->group);
    word_ids(&w->out, first);
    if (l->lane == FERRY__EVENTS) {
        redis__ask_lazily(w, acknowledged, first, 0);
        return;
    }
    redis__ask_lazily(w, redis__ignore, NULL, 0);
    redis__words(&w->out, 2 + n);
    redis__word(&w->out, "XDEL");
    redis__word(&w->out, l->key);
    word_ids(&w->out, first);
    redis__ask_lazily(w, acknowledged, first, 0);
}

static size_t words_for(const redis__receipt *r)
{
    static const size_t words[] = {
        [REDIS__SETTLE] = 2, [REDIS__RETRY] = 4, [REDIS__BURY] = 5, [REDIS__HAND_BACK] = 3, [REDIS__DROP] = 2};
    return words[r->op];
}

static void word_message(ferry__buf *b, const redis__receipt *r)
{
    char id[FERRY__ID_TEXT];
    ferry__id_print(&r->id, id);
    redis__word(b, id);
}

static void word_op(ferry__buf *b, const redis__receipt *r)
{
    static const char *const letters[] = {[REDIS__SETTLE] = "D",
                                          [REDIS__RETRY] = "R",
                                          [REDIS__BURY] = "B",
                                          [REDIS__HAND_BACK] = "H",
                                          [REDIS__DROP] = "X"};
    redis__word(b, letters[r->op]);
    redis__word_entry(b, r->ms, r->seq);
    if (r->op == REDIS__HAND_BACK)
        redis__word_number(b, r->count);
    else if (r->op == REDIS__RETRY) {
        redis__word_number(b, r->delay_ms);
        redis__word_number(b, r->attempt);
    } else if (r->op == REDIS__BURY) {
        word_message(b, r);
        redis__word(b, r->box);
        redis__word_bytes(b, r->record, r->record_length);
    }
}

static void operate(redis__pipe *p, redis__lane *l, redis__receipt *first)
{
    static const char *const keys[] = {"known", "later", "dead", "parts", "ctl"};
    ferry__buf *b = &p->conns[REDIS__W].out;
    size_t words = 5;
    for (redis__receipt *r = first; r; r = r->next)
        words += words_for(r);
    l->flying += length_of(first);
    redis__call(p, REDIS__OPS, 6, words);
    redis__word(b, l->key);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        char key[REDIS__KEY + 8];
        snprintf(key, sizeof key, "%s%s", l->service->prefix, keys[i]);
        redis__word(b, key);
    }
    redis__word(b, p->me);
    redis__word_number(b, l->part);
    redis__word_number(b, (int64_t)l->token);
    redis__word_number(b, p->config->done_ms);
    redis__word_number(b, (int64_t)p->config->done_count);
    for (redis__receipt *r = first; r; r = r->next)
        word_op(b, r);
    redis__ask(&p->conns[REDIS__W], operated, first, 0);
}

static bool plain(const redis__receipt *r)
{
    return r->lane->lane != FERRY__POSTS && (r->op == REDIS__SETTLE || r->op == REDIS__DROP);
}

/* The next of them that can go in one command, cut off; those of an era that is over go nowhere: others have those messages now. */
static redis__receipt *cut(redis__pipe *p, redis__lane *l)
{
    redis__receipt *first = NULL, **end = &first;
    for (size_t n = 0; l->ops && n < (l->lane == FERRY__EVENTS ? EVENTS_LOT : LOT); n++) {
        redis__receipt *r = l->ops;
        if (r->era == p->era && first && plain(r) != plain(first))
            break;
        l->ops = r->next;
        l->ops_count--;
        r->next = NULL;
        if (r->era != p->era) {
            end_all(p, r, false);
            continue;
        }
        if (r->lane->lane == FERRY__CALLS && r->op == REDIS__RETRY)
            r->op = REDIS__HAND_BACK; /* a call has no time to lose */
        *end = r;
        end = &r->next;
    }
    if (!l->ops) {
        l->ops_end = &l->ops;
        l->urgent = false;
    }
    return first;
}

static void settle_lane(redis__pipe *p, redis__lane *l)
{
    while (l->ops) {
        redis__receipt *first = cut(p, l);
        if (first && plain(first))
            acknowledge(p, l, first);
        else if (first) {
            for (redis__receipt *r = first; r; r = r->next)
                if (r->op == REDIS__RETRY && p->now_ms + r->delay_ms < l->service->move_ms)
                    l->service->move_ms = p->now_ms + r->delay_ms;
            if (l->lane == FERRY__EVENTS)
                redis__group_operate(p, l, first);
            else
                operate(p, l, first);
        }
    }
}

void redis__settle_all(redis__pipe *p)
{
    if (p->now_ms < p->ops_ms)
        return;
    for (redis__service *s = p->services; s; s = s->next) {
        if (!s->joined && s->renewing)
            continue; /* under a new name: first it must be known */
        settle_lane(p, &s->calls);
        for (unsigned i = 0; i <= s->parts; i++)
            settle_lane(p, &s->posts[i]);
        if (s->group && redis__group_commits(p, s->group))
            for (unsigned i = 0; i <= s->parts; i++)
                settle_lane(p, redis__group_lane(s->group, i));
    }
}
