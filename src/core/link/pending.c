/* pending.c - the life of one message of ours; the picture is in pending.h. */
#include "link/pending.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/random.h"
#include "link/link.h"

#include <string.h>

enum {
    REPEAT_MS = 10,
    REPEAT_MAX_MS = 1000, /* before a lost message is sent again: doubled each time, with jitter */
    PACED = 4,       /* so many messages leave at once on a link that had taken others with it, */
    PACE_MS = 5,     /* and as long after them the next */
    WITHDRAW_MS = 30 /* how long after its deadline a call may wait to learn that it never ran */
};

/* ---- the table ---- */

bool ferry__table_init(ferry__table *t)
{
    t->size = 256;
    t->count = 0;
    t->buckets = ferry__zalloc(t->size * sizeof *t->buckets);
    return t->buckets != NULL;
}

void ferry__table_done(ferry__table *t)
{
    ferry__free(t->buckets);
    t->buckets = NULL;
}

static ferry__pending **bucket(const ferry__table *t, uint64_t serial)
{
    return &t->buckets[serial & (t->size - 1)];
}

/* Serials are dense, so buckets fill evenly. Without memory for more the chains just get longer. */
static void table_grow(ferry__table *t)
{
    ferry__table wide = {ferry__zalloc(t->size * 2 * sizeof *t->buckets), t->size * 2, t->count};
    if (!wide.buckets)
        return;
    for (size_t i = 0; i < t->size; i++)
        for (ferry__pending *p = t->buckets[i], *next; p; p = next) {
            ferry__pending **to = bucket(&wide, p->frame->id.serial);
            next = p->chain;
            p->chain = *to;
            *to = p;
        }
    ferry__free(t->buckets);
    *t = wide;
}

void ferry__table_add(ferry__table *t, ferry__pending *p)
{
    if (t->count >= t->size)
        table_grow(t);
    ferry__pending **to = bucket(t, p->frame->id.serial);
    p->chain = *to;
    *to = p;
    t->count++;
}

ferry__pending *ferry__table_find(const ferry__table *t, uint64_t serial)
{
    ferry__pending *p = *bucket(t, serial);
    while (p && (p->frame->id.serial != serial || p->frame->kind != FERRY__CALL)) /* a revived post keeps a foreign serial */
        p = p->chain;
    return p;
}

void ferry__table_remove(ferry__table *t, ferry__pending *p)
{
    for (ferry__pending **at = bucket(t, p->frame->id.serial); *at; at = &(*at)->chain)
        if (*at == p) {
            *at = p->chain;
            t->count--;
            return;
        }
}

/* ---- edges ---- */

static bool is_call(const ferry__pending *p)
{
    return p->frame->kind == FERRY__CALL;
}

/* May ferry itself send it again though it may have run? Posts without a wait are at least once, and their id makes them one. */
static bool repeatable(const ferry__pending *p)
{
    return !is_call(p) || !(p->frame->verb & (FERRY_POST | FERRY_PATCH)) || p->frame->idempotency_key.at;
}

static void count_end(ferry__link *l, const ferry__pending *p)
{
    ferry__counters *c = &l->counts;
    bool ok = p->status == FERRY_OK;
    if (is_call(p))
        *(ok ? &c->calls_ok : &c->calls_failed) += 1;
    else if (p->frame->kind == FERRY__EVENT)
        *(ok ? &c->events_accepted : &c->events_failed) += 1;
    else
        *(ok ? &c->posts_accepted : &c->posts_failed) += 1;
}

static void detach(ferry__link *l, ferry__pending *p)
{
    ferry__timer_clear(&l->wheel, &p->timer);
    ferry__list_remove(&p->place);
    ferry__table_remove(&l->table, p);
    p->frame->owner = NULL;
    if (p->alone)
        l->alone--;
    if (!is_call(p))
        l->posting--;
}

/* `ended` may free p and, if it was the last of the handle, nothing of the link: the handle outlives the lock. */
static void finish(ferry__link *l, ferry__pending *p)
{
    detach(l, p);
    p->stage = FERRY__ENDED;
    count_end(l, p);
    p->ended(l, p);
    if (l->table.count == 0 || l->posting == 0)
        ferry__link_poke_watchers(l);
}

void ferry__pending_end(ferry__link *l, ferry__pending *p, ferry_status status, ferry_outcome outcome, const char *why)
{
    if (p->stage == FERRY__ENDED)
        return;
    p->status = (uint8_t)status;
    p->outcome = (uint8_t)outcome;
    char *before = p->why;
    p->why = status != FERRY_OK && why ? ferry__strdup(why) : NULL;
    ferry__free(before);
    finish(l, p);
}

static ferry_outcome known(const ferry__pending *p)
{
    return p->tried ? FERRY_OUTCOME_UNKNOWN : FERRY_OUTCOME_NOT_SENT;
}

/* Why a held one has not left: the reason that helps most. */
static void end_late(ferry__link *l, ferry__pending *p)
{
    char why[FERRY_WHY_SIZE];
    ferry_status status = FERRY_TIMEOUT;
    if (p->stage == FERRY__HELD && l->state != FERRY__UP) {
        status = FERRY_UNAVAILABLE;
        ferry__why(why, "no connection before the deadline: %.200s",
                   l->state_why[0] ? l->state_why : "still connecting");
    } else if (p->stage == FERRY__HELD && p->peer->presence == FERRY__GONE) {
        status = FERRY_NO_SERVICE;
        ferry__why(why, "nobody serves '%s' now", p->peer->name);
    } else if (is_call(p))
        ferry__why(why, "no answer from '%s' within %lld ms", ferry__frame_text(p->frame, p->frame->route),
                   (long long)(p->frame->deadline_ms - p->started_ms));
    else
        ferry__why(why, "not accepted by the broker before the deadline%s%.200s", p->why ? ": " : "",
                   p->why ? p->why : "");
    ferry__pending_end(l, p, status, known(p), why);
}

static bool withdraw(ferry__link *l, ferry__pending *p)
{
    if (!(l->bits & FERRY__WITHDRAWS) || p->stage == FERRY__HELD || !is_call(p))
        return false;
    l->more->withdraw(l->self, &p->peer->target, p->frame);
    ferry__link_noted(l, false);
    return true;
}

static void try_to_send(ferry__link *l, ferry__pending *p);

static void on_timer(ferry__timer *t)
{
    ferry__pending *p = FERRY__OF(t, ferry__pending, timer);
    ferry__link *l = p->peer->link;
    if (p->resting && l->now_ms < p->frame->deadline_ms) {
        p->resting = false;
        ferry__timer_set(&l->wheel, t, p->frame->deadline_ms);
        try_to_send(l, p);
        return;
    }
    if (!p->leaving && withdraw(l, p)) {
        p->leaving = true;
        ferry__timer_set(&l->wheel, t, p->frame->deadline_ms + WITHDRAW_MS);
        return;
    }
    end_late(l, p);
}

void ferry__pending_send(ferry__link *l, ferry__pending *p)
{
    if (p->tried)
        l->counts.sent_again++;
    p->stage = FERRY__SENT;
    p->tried = true;
    ferry__list_remove(&p->place);
    ferry__list_append(&p->peer->flying, &p->place);
    l->backend->send(l->self, &p->peer->target, ferry__frame_ref(p->frame));
    l->dirty = true;
}

/* Waiting will not mend a wrong path or password: whoever waits is told soon. Not by the first failure: a file that another process is
 * just making looks wrong for a moment. */
bool ferry__link_hopeless(const ferry__link *l)
{
    return l->state == FERRY__DOWN && l->same_failures >= 2 &&
           (l->state_status == FERRY_INVALID || l->state_status == FERRY_DENIED ||
            l->state_status == FERRY_UNSUPPORTED);
}

static void try_to_send(ferry__link *l, ferry__pending *p)
{
    if (ferry__link_hopeless(l)) {
        ferry__pending_end(l, p, l->state_status, known(p), l->state_why);
        return;
    }
    if (l->state == FERRY__BLOCKED) {
        ferry__pending_end(l, p, FERRY_OVERLOADED, known(p), l->state_why);
        return;
    }
    if (l->state == FERRY__UP && !p->resting && (!is_call(p) || ferry__peer_ready(p->peer, p->started_ms)))
        ferry__pending_send(l, p);
}

static void rest_until(ferry__link *l, ferry__pending *p, int64_t at_ms)
{
    p->resting = at_ms < p->frame->deadline_ms;
    if (p->resting)
        ferry__timer_set(&l->wheel, &p->timer, at_ms);
}

/* Behind those that leave one after the other, if there are any. */
static void begin(ferry__link *l, ferry__pending *p)
{
    ferry__peer *peer = p->peer;
    if (peer->paced_ms && ferry__now_ms() >= peer->paced_ms)
        peer->paced_ms = 0;
    if (peer->paced_ms && !is_call(p))
        rest_until(l, p, peer->paced_ms);
    else
        try_to_send(l, p);
}

void ferry__pending_start(ferry__link *l, ferry__pending *p, ferry__frame *frame)
{
    p->frame = frame;
    if (!p->started_ms)
        p->started_ms = ferry__now_ms();
    p->stage = FERRY__HELD;
    frame->owner = p;
    ferry__timer_init(&p->timer, on_timer);
    ferry__list_init(&p->place);
    ferry__list_append(&p->peer->held, &p->place);
    ferry__table_add(&l->table, p);
    ferry__timer_set(&l->wheel, &p->timer, frame->deadline_ms);
    if (p->alone)
        l->alone++;
    if (!is_call(p))
        l->posting++;
    *(is_call(p)                    ? &l->counts.calls_sent
      : frame->kind == FERRY__EVENT ? &l->counts.events_sent
                                    : &l->counts.posts_sent) += 1;
    if (l->table.count > l->max_pending)
        ferry__pending_end(l, p, FERRY_OVERLOADED, FERRY_OUTCOME_NOT_SENT, "max_pending messages are under way");
    else if (frame->deadline_ms <= p->started_ms)
        ferry__pending_end(l, p, FERRY_TIMEOUT, FERRY_OUTCOME_NOT_SENT,
                           "the deadline had passed before the call began");
    else
        begin(l, p);
}

static void tell_servers(ferry__link *l, const ferry__frame *call, ferry__peer *calls)
{
    if (!(l->bits & FERRY__CANCELS))
        return;
    ferry__peer *all = ferry__peer_get(l, FERRY__CONTROLS, calls->name, strlen(calls->name));
    ferry__frame *f = all ? ferry__frame_new(FERRY__CONTROL, &(ferry__parts){.route = calls->name}) : NULL;
    if (!f)
        return; /* best effort */
    f->id = call->id;
    f->time_ms = ferry__wall_ms();
    l->backend->send(l->self, &all->target, f);
    ferry__link_noted(l, false);
}

void ferry__pending_cancel(ferry__link *l, ferry__pending *p, ferry_status status, const char *why)
{
    if (p->stage == FERRY__ENDED)
        return;
    if (is_call(p) && p->stage != FERRY__HELD) {
        withdraw(l, p);
        tell_servers(l, p->frame, p->peer);
    }
    ferry__pending_end(l, p, status, known(p), why);
}

/* ---- news from the transport ---- */

static void hold_again(ferry__pending *p)
{
    p->stage = FERRY__HELD;
    ferry__list_remove(&p->place);
    ferry__list_append(&p->peer->held, &p->place);
}

/* Why it has not left yet, for the end if it never does. */
static void remember(ferry__pending *p, const char *why)
{
    ferry__free(p->why);
    p->why = ferry__strdup(why);
}

/* A message that is lost over and over must not keep the broker busy. */
static void rest(ferry__link *l, ferry__pending *p)
{
    int ms = p->repeats < 7 ? REPEAT_MS << p->repeats : REPEAT_MAX_MS;
    int64_t at_ms = ferry__now_ms() + ms + ferry__random_below((uint32_t)ms);
    if (p->repeats < UINT8_MAX)
        p->repeats++;
    rest_until(l, p, at_ms);
}

static void refused(ferry__link *l, ferry__pending *p, ferry_status status, const char *why)
{
    if (status == FERRY_UNAVAILABLE) { /* it never left: it goes out when the link is up, or soon if it is */
        hold_again(p);
        remember(p, why);
        p->tried = p->lost;
        if (l->state == FERRY__UP)
            rest(l, p);
        return;
    }
    if (status == FERRY_NO_SERVICE)
        p->peer->presence = FERRY__NEVER;
    ferry__pending_end(l, p, status, p->lost ? FERRY_OUTCOME_UNKNOWN : FERRY_OUTCOME_NOT_EXECUTED, why);
}

static void lost(ferry__link *l, ferry__pending *p, ferry_status status, const char *why)
{
    if (!repeatable(p)) {
        ferry__pending_end(l, p, status, FERRY_OUTCOME_UNKNOWN, why);
        return;
    }
    p->lost = true;
    hold_again(p);
    if (l->state == FERRY__UP) /* else it waits for the link */
        rest(l, p);
}

void ferry__pending_outcome(ferry__link *l, ferry__frame *f, unsigned fate, ferry_status status, const char *why)
{
    ferry__pending *p = f->owner;
    if (!p || p->stage != FERRY__SENT)
        return;
    if (fate == FERRY__REFUSED)
        refused(l, p, status, why);
    else if (fate == FERRY__LOST)
        lost(l, p, status, why);
    else if (is_call(p))
        p->stage = FERRY__TAKEN;
    else
        ferry__pending_end(l, p, FERRY_OK, FERRY_OUTCOME_NOT_EXECUTED, NULL);
}

void ferry__pending_withdrawn(ferry__link *l, ferry__frame *f, bool yes)
{
    ferry__pending *p = f->owner;
    if (!p || p->stage == FERRY__ENDED)
        return;
    bool never = yes && !p->lost; /* of one that was sent twice only the second was taken back */
    if (never)
        p->tried = false;
    bool gone = p->peer->presence == FERRY__GONE && p->frame->deadline_ms > ferry__now_ms();
    char why[FERRY_WHY_SIZE];
    if (gone)
        ferry__why(why, "the last server of '%s' is gone", p->peer->name);
    else
        ferry__why(why, "no answer from '%s' within %lld ms%s", ferry__frame_text(f, f->route),
                   (long long)(f->deadline_ms - p->started_ms), never ? "; it was withdrawn unread" : "");
    ferry__pending_end(l, p, gone ? FERRY_NO_SERVICE : FERRY_TIMEOUT,
                       never ? FERRY_OUTCOME_NOT_EXECUTED : FERRY_OUTCOME_UNKNOWN, why);
}

void ferry__pending_reply(ferry__link *l, ferry__frame *reply)
{
    ferry__pending *p = memcmp(reply->id.client, l->layers[0].config.client, sizeof reply->id.client) == 0
                            ? ferry__table_find(&l->table, reply->id.serial)
                            : NULL;
    if (!p || !is_call(p)) {
        l->counts.replies_late++;
        ferry__frame_unref(reply);
        return;
    }
    ferry__peer_alive(p->peer, l->now_ms);
    p->reply = reply;
    p->status = reply->status;
    p->outcome = reply->executed;
    finish(l, p);
}

/* They wait for the link now, not each for a moment of its own: so they leave in the order in which they came. */
static void wake_resting(ferry__link *l, ferry__peer *peer)
{
    for (ferry__node *n = peer->held.next; n != &peer->held; n = n->next) {
        ferry__pending *p = FERRY__OF(n, ferry__pending, place);
        if (!p->resting)
            continue;
        p->resting = false;
        ferry__timer_set(&l->wheel, &p->timer, p->frame->deadline_ms);
    }
    peer->paced_ms = 0;
}

/* What a transport without memory of its own had accepted may be answered by nobody any more. */
void ferry__pending_link_down(ferry__link *l)
{
    for (ferry__peer *peer = ferry__peers_next(&l->peers, NULL); peer; peer = ferry__peers_next(&l->peers, peer))
        wake_resting(l, peer);
    if (l->bits & FERRY__REDELIVERS)
        return;
    for (size_t i = 0; i < l->table.size; i++)
        for (ferry__pending *p = l->table.buckets[i], *next; p; p = next) {
            next = p->chain;
            if (p->stage == FERRY__TAKEN && repeatable(p)) {
                p->lost = true;
                hold_again(p);
            } else if (p->stage == FERRY__TAKEN)
                ferry__pending_end(l, p, FERRY_UNAVAILABLE, FERRY_OUTCOME_UNKNOWN,
                                   "the connection was lost during the call");
        }
}

static bool lost_some(const ferry__peer *peer)
{
    for (const ferry__node *n = peer->held.next; n != &peer->held; n = n->next)
        if (FERRY__OF(n, ferry__pending, place)->lost)
            return true;
    return false;
}

/* Posts and events that a link took with it leave in their order, and not all at once: if it was their number that broke it, the first
 * few get through before it breaks again. 4 at once, 4 after a moment, then 8, 16, ... */
static void try_all_of(ferry__link *l, ferry__peer *peer)
{
    bool paced = l->state == FERRY__UP && lost_some(peer);
    int64_t now_ms = ferry__now_ms();
    size_t i = 0, step = 0;
    for (ferry__node *n = peer->held.next, *next; n != &peer->held; n = next) {
        ferry__pending *p = FERRY__OF(n, ferry__pending, place);
        next = n->next;
        if (paced && !is_call(p) && i++ >= (size_t)PACED << step)
            step++;
        if (paced && !is_call(p) && step > 0)
            rest_until(l, p, peer->paced_ms = now_ms + (int64_t)step * PACE_MS);
        else
            try_to_send(l, p);
    }
}

void ferry__pending_try_held(ferry__link *l)
{
    for (ferry__peer *peer = ferry__peers_next(&l->peers, NULL); peer; peer = ferry__peers_next(&l->peers, peer))
        try_all_of(l, peer);
}
