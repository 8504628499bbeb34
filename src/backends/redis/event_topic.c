/* event_topic.c - publishing.
 *
 *     asked (ABOUT, which makes the topic) --> XADD NOMKSTREAM, pipelined --nil: the topic was deleted--> asked again
 *
 * Events wait while it is asked, in their order. How many parts there are is the topic's to say: a handle that counts otherwise deals
 * its parts onto those.
 *
 * When the link goes down what had no answer stays here, in its order, and goes out first on the next one: by a script that looks
 * whether it is stored already, if it may be. So a lost link neither doubles events nor changes their order, within their deadlines.
 *
 * Retention is the publishers' work: who has published asks for a trim, at most every `every_ms`. */
#include "backends/redis/event.h"

#include "base/alloc.h"

#include <string.h>

enum { TRIM_MS = 1000, TRIM_LEAST_MS = 20, TRIM_EACH = 20000, AGAIN_MOST = 200, SLACK_MS = 5000 };

static redis__topic *topic_of(redis__pipe *p, ferry__target *target)
{
    redis__topic **at = redis__send_topic(p, target);
    if (!at || *at)
        return at ? *at : NULL;
    redis__topic *t = ferry__zalloc(sizeof *t);
    if (!t)
        return NULL;
    t->name = ferry__strdup(target->name);
    if (!t->name) {
        ferry__free(t);
        return NULL;
    }
    redis__topic_key(p, t->key, t->name, "events");
    ferry__frames_init(&t->waiting);
    ferry__frames_init(&t->again);
    t->trim_ms = INT64_MAX;
    t->next = p->topics;
    p->topics = t;
    return *at = t;
}

void redis__topic_free(redis__topic *t)
{
    ferry__frames_drop(&t->waiting);
    ferry__frames_drop(&t->again);
    ferry__free(t->heads);
    ferry__free(t->name);
    ferry__free(t);
}

static bool set_parts(redis__topic *t, unsigned parts)
{
    char key[REDIS__KEY + 12];
    struct redis__head *heads = ferry__alloc((parts + 1) * sizeof *heads);
    if (!heads)
        return false;
    for (unsigned i = 0; i <= parts; i++) {
        snprintf(key, sizeof key, i ? "%s:%u" : "%s", t->key, i);
        heads[i].length = redis__wire_start(heads[i].text, sizeof heads[i].text, key);
    }
    ferry__free(t->heads);
    t->heads = heads;
    t->parts = parts;
    return true;
}

/* ---- Sending -------------------------------------------------------------------------------------------------------- */

static unsigned part_of(const redis__topic *t, const ferry__frame *f)
{
    return f->partition ? (f->partition - 1) % t->parts + 1 : 0;
}

static void wait_again(redis__pipe *p, redis__topic *t, ferry__frame *f)
{
    t->parts = 0;
    ferry__frames_add(&t->waiting, f);
    p->work = true;
}

static void published(redis__pipe *p, redis__want *w, const redis__value *v)
{
    ferry__frame *f = w->what;
    redis__topic *t = (redis__topic *)(uintptr_t)w->number;
    if (!v && w->left)
        ferry__frames_add(&t->again, f);
    else if (!v)
        ferry__frames_add(&t->waiting, f);
    else if (v->type == REDIS__ERROR)
        redis__send_denied(p, f, v);
    else if (v->type == REDIS__NIL)
        wait_again(p, t, f); /* the topic was deleted */
    else {
        redis__entry_id(redis__text(v), &f->tag[0], &f->tag[1]);
        redis__send_end(p, f, FERRY__ACCEPTED, FERRY_OK, NULL);
    }
}

static void note_sent(redis__pipe *p, redis__topic *t, const ferry__frame *f)
{
    t->bytes += (int64_t)(ferry__frame_size(f) - sizeof *f);
    if (t->trim_ms > p->now_ms + t->every_ms)
        t->trim_ms = p->now_ms + t->every_ms;
    if (++t->sent == TRIM_EACH || (t->keep_bytes > 0 && t->bytes > t->keep_bytes / 4))
        t->trim_ms = p->now_ms;
}

static void publish(redis__pipe *p, redis__topic *t, ferry__frame *f)
{
    redis__conn *w = &p->conns[REDIS__W];
    const struct redis__head *h = &t->heads[part_of(t, f)];
    redis__wire_request(&w->out, h->text, h->length, f, false, p->now_ms);
    redis__ask(w, published, f, (uintptr_t)t);
    note_sent(p, t, f);
}

void redis__topic_send(redis__pipe *p, ferry__target *target, ferry__frame *f)
{
    redis__topic *t = topic_of(p, target);
    if (!t || !redis__send_room(p, f)) {
        redis__send_refuse(p, f, t ? FERRY_OVERLOADED : FERRY_NO_MEMORY);
        return;
    }
    f->tag[0] = f->tag[1] = 0;
    p->sending++;
    if (!t->parts || t->waiting.first || t->again.first)
        ferry__frames_add(&t->waiting, f);
    else
        publish(p, t, f);
}

/* ---- Once more ------------------------------------------------------------------------------------------------------ */

typedef struct lot {
    redis__topic *topic;
    ferry__frames frames;
} lot;

static void found(redis__pipe *p, redis__want *w, const redis__value *v)
{
    lot *l = w->what;
    size_t i = 0;
    for (ferry__frame *f; (f = ferry__frames_take(&l->frames)); i++) {
        redis__want each = {.what = f, .number = (uintptr_t)l->topic, .left = w->left};
        if (redis__forgotten(p, REDIS__AGAIN, v))
            ferry__frames_add(&l->topic->again, f);
        else
            published(p, &each, v && v->type == REDIS__LIST ? redis__at(v, i) : v);
    }
    ferry__free(l);
}

/* Those of one part, in their order. */
static lot *take_lot(redis__topic *t)
{
    ferry__frames rest;
    lot *l = ferry__alloc(sizeof *l);
    if (!l)
        return NULL;
    *l = (lot){.topic = t};
    ferry__frames_init(&l->frames);
    ferry__frames_init(&rest);
    unsigned part = part_of(t, t->again.first);
    for (ferry__frame *f; (f = ferry__frames_take(&t->again));)
        ferry__frames_add(part_of(t, f) == part && l->frames.count < AGAIN_MOST ? &l->frames : &rest, f);
    ferry__frames_join(&t->again, &rest);
    return l;
}

static void ask_again(redis__pipe *p, redis__topic *t)
{
    ferry__buf *b = &p->conns[REDIS__W].out;
    lot *l = take_lot(t);
    char key[REDIS__KEY + 12], id[FERRY__ID_TEXT];
    if (!l)
        return;
    unsigned part = part_of(t, l->frames.first);
    int64_t since = l->frames.first->time_ms;
    size_t words = 1;
    for (ferry__frame *f = l->frames.first; f; f = f->next) {
        since = f->time_ms < since ? f->time_ms : since;
        words += 1 + redis__wire_words(f);
        note_sent(p, t, f);
    }
    redis__call(p, REDIS__AGAIN, 1, words);
    snprintf(key, sizeof key, part ? "%s:%u" : "%s", t->key, part);
    redis__word(b, key);
    redis__word_number(b, since > SLACK_MS ? since - SLACK_MS : 0);
    for (ferry__frame *f = l->frames.first; f; f = f->next) {
        ferry__id_print(&f->id, id);
        redis__word(b, id);
        redis__wire_put(b, f, f->attempt);
    }
    redis__ask(&p->conns[REDIS__W], found, l, 0);
}

/* ---- What the topic is ---------------------------------------------------------------------------------------------- */

static void refuse_all(redis__pipe *p, redis__topic *t, ferry_status status)
{
    for (ferry__frame *f; (f = ferry__frames_take(&t->again));)
        redis__send_end(p, f, FERRY__LOST, FERRY_UNAVAILABLE,
                        "the connection to Redis was lost before it had answered");
    for (ferry__frame *f; (f = ferry__frames_take(&t->waiting));)
        redis__send_end(p, f, FERRY__REFUSED, status, ferry_status_text(status));
}

/* Those that nobody waits for any more. */
static void drop_late(redis__pipe *p, ferry__frames *q)
{
    ferry__frames all;
    ferry__frames_init(&all);
    ferry__frames_join(&all, q);
    for (ferry__frame *f; (f = ferry__frames_take(&all));)
        if (f->deadline_ms && f->deadline_ms <= p->now_ms) {
            p->sending--;
            redis__send_refuse(p, f, FERRY_UNAVAILABLE);
        } else
            ferry__frames_add(q, f);
}

static void known(redis__pipe *p, redis__want *w, const redis__value *v)
{
    redis__topic *t = w->what;
    bool later;
    t->asking = false;
    p->work = true;
    if (!v || redis__forgotten(p, REDIS__ABOUT, v))
        return;
    int64_t parts = redis__number(redis__at(v, 0)), keep_ms = redis__number(redis__at(v, 1));
    if (v->type == REDIS__ERROR)
        refuse_all(p, t, redis__error_status(v, &later));
    else if (parts < 1 || parts > 1024)
        refuse_all(p, t, FERRY_PROTOCOL);
    else if (!set_parts(t, (unsigned)parts))
        refuse_all(p, t, FERRY_NO_MEMORY);
    t->keep_ms = keep_ms;
    t->keep_bytes = redis__number(redis__at(v, 2));
    t->every_ms = keep_ms > 0 && keep_ms / 8 < TRIM_MS ? keep_ms / 8 : TRIM_MS;
    if (t->every_ms < TRIM_LEAST_MS)
        t->every_ms = TRIM_LEAST_MS;
}

static void trimmed(redis__pipe *p, redis__want *w, const redis__value *v)
{
    redis__topic *t = w->what;
    t->trimming = false;
    if (v && v->type == REDIS__ERROR && !redis__forgotten(p, REDIS__TRIM, v))
        ferry__log_print(p->up->log, LOG_WARNING, "nothing is trimmed from '%s': Redis says: %s", t->name, v->text);
    if (!v || redis__is_error(v, "NOSCRIPT"))
        t->trim_ms = p->now_ms;
    else if (redis__number(v) > 0 && t->keep_ms > 0 && t->trim_ms == INT64_MAX)
        t->trim_ms = p->now_ms + t->keep_ms; /* by then all of it is too old */
}

static void trim(redis__pipe *p, redis__topic *t)
{
    t->trimming = true;
    t->trim_ms = INT64_MAX;
    t->sent = 0;
    t->bytes = 0;
    redis__call(p, REDIS__TRIM, 3, 4);
    redis__topic_words(p, t->name);
    redis__ask_lazily(&p->conns[REDIS__W], trimmed, t, 0);
}

/* In flush, with the link up. */
void redis__topic_turn(redis__pipe *p, redis__topic *t)
{
    bool waits = t->waiting.first || t->again.first;
    if (t->stale) {
        drop_late(p, &t->again);
        drop_late(p, &t->waiting);
        t->stale = false;
    }
    if (!t->parts && waits && !t->asking) {
        t->asking = true;
        redis__call(p, REDIS__ABOUT, 3, 4);
        redis__topic_words(p, t->name);
        redis__ask(&p->conns[REDIS__W], known, t, 0);
    }
    while (t->parts && t->again.first && !p->slow_to_die)
        ask_again(p, t);
    for (ferry__frame *f; t->parts && (f = ferry__frames_take(&t->waiting));)
        publish(p, t, f);
    if (!t->trimming && p->now_ms >= t->trim_ms)
        trim(p, t);
}

void redis__topic_down(redis__topic *t)
{
    t->stale = true;
}
