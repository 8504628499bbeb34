/* peer.c - liveness of the names we send to; the rules are in peer.h. */
#include "link/peer.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/random.h"
#include "link/link.h"

#include <string.h>

enum { GONE_LOOK_MS = 50 }; /* between probes while calls wait for a server to come */

static void look(ferry__timer *t);

static ferry__peer *make(ferry__link *l, ferry__lane lane, const char *name, size_t length)
{
    ferry__peer *peer = ferry__zalloc(sizeof *peer + length + 1);
    if (!peer)
        return NULL;
    memcpy(peer->name, name, length);
    peer->target = (ferry__target){.lane = lane, .name = peer->name};
    peer->link = l;
    peer->presence = FERRY__PRESENCE_UNKNOWN;
    ferry__list_init(&peer->held);
    ferry__list_init(&peer->flying);
    ferry__timer_init(&peer->timer, look);
    return peer;
}

ferry__peer *ferry__peer_get(ferry__link *l, ferry__lane lane, const char *name, size_t length)
{
    uint64_t hash = ferry__hash(name, length) + (uint64_t)lane;
    ferry__peer **at = &l->peers.buckets[hash % 256];
    for (ferry__peer *p = *at; p; p = p->chain)
        if (p->target.lane == lane && strncmp(p->name, name, length) == 0 && p->name[length] == '\0')
            return p;
    ferry__peer *peer = make(l, lane, name, length);
    if (!peer)
        return NULL;
    peer->chain = *at;
    *at = peer;
    l->peers.count++;
    return peer;
}

ferry__peer *ferry__peers_next(const ferry__peers *peers, const ferry__peer *after)
{
    if (after && after->chain)
        return after->chain;
    uint64_t place = after ? ferry__hash(after->name, strlen(after->name)) + (uint64_t)after->target.lane : 0;
    for (size_t i = after ? place % 256 + 1 : 0; i < 256; i++)
        if (peers->buckets[i])
            return peers->buckets[i];
    return NULL;
}

void ferry__peers_done(ferry__peers *peers)
{
    for (size_t i = 0; i < 256; i++)
        for (ferry__peer *p = peers->buckets[i], *next; p; p = next) {
            next = p->chain;
            ferry__free(p);
        }
    memset(peers, 0, sizeof *peers);
}

static void ask(ferry__peer *peer)
{
    ferry__link *l = peer->link;
    if (peer->asking || l->state != FERRY__UP)
        return;
    peer->asking = true;
    l->probing++;
    l->backend->probe(l->self, &peer->target);
    l->dirty = true;
}

static void look_by(ferry__peer *peer, int64_t at_ms)
{
    if (!ferry__node_linked(&peer->timer.node) || peer->timer.due_ms > at_ms)
        ferry__timer_set(&peer->link->wheel, &peer->timer, at_ms);
}

static bool in_use(const ferry__peer *peer)
{
    return !ferry__list_empty(&peer->held) || !ferry__list_empty(&peer->flying);
}

bool ferry__peer_ready(ferry__peer *peer, int64_t now_ms)
{
    bool fresh = now_ms - peer->checked_ms < peer->link->refresh_ms;
    if (peer->presence == FERRY__ALIVE) {
        if (!fresh)
            ask(peer);
        look_by(peer, now_ms + peer->link->refresh_ms);
        return true;
    }
    ask(peer);
    look_by(peer, now_ms + GONE_LOOK_MS);
    return false;
}

bool ferry__peer_served(ferry__peer *peer)
{
    if (peer->presence != FERRY__ALIVE) {
        ask(peer);
        ferry__link_noted(peer->link, true); /* a driver that sleeps would ask when it wakes */
    }
    return peer->presence == FERRY__ALIVE;
}

void ferry__peer_alive(ferry__peer *peer, int64_t now_ms)
{
    peer->presence = FERRY__ALIVE;
    peer->checked_ms = now_ms;
}

static void end_held(ferry__peer *peer, int64_t before_ms, const char *why)
{
    for (ferry__node *n = peer->held.next, *next; n != &peer->held; n = next) {
        ferry__pending *p = FERRY__OF(n, ferry__pending, place);
        next = n->next;
        if (p->started_ms <= before_ms && p->frame->kind == FERRY__CALL)
            ferry__pending_end(peer->link, p, FERRY_NO_SERVICE,
                               p->tried ? FERRY_OUTCOME_UNKNOWN : FERRY_OUTCOME_NOT_SENT, why);
    }
}

/* They were sent while somebody was there. What nobody read is taken back; of the rest nobody can say. */
static void end_flying(ferry__peer *peer)
{
    ferry__link *l = peer->link;
    for (ferry__node *n = peer->flying.next, *next; n != &peer->flying; n = next) {
        ferry__pending *p = FERRY__OF(n, ferry__pending, place);
        next = n->next;
        if (p->leaving || p->frame->kind != FERRY__CALL)
            continue;
        if (l->bits & FERRY__WITHDRAWS) {
            p->leaving = true;
            l->more->withdraw(l->self, &peer->target, p->frame);
            l->dirty = true;
        } else
            ferry__pending_end(l, p, FERRY_NO_SERVICE, FERRY_OUTCOME_UNKNOWN,
                               "the last server is gone; the call may have run");
    }
}

static void send_held(ferry__peer *peer)
{
    ferry__list all;
    ferry__list_init(&all);
    ferry__list_join(&all, &peer->held);
    for (ferry__node *n; (n = ferry__list_shift(&all));) {
        ferry__pending *p = FERRY__OF(n, ferry__pending, place);
        ferry__list_append(&peer->held, n);
        if (!p->resting)
            ferry__pending_send(peer->link, p);
    }
}

static void gone(ferry__peer *peer, int64_t now_ms)
{
    char why[FERRY_WHY_SIZE];
    int64_t grace = peer->link->grace_ms;
    if (peer->presence != FERRY__GONE)
        peer->gone_ms = now_ms;
    peer->presence = FERRY__GONE;
    ferry__why(why, "nobody serves '%s' now (waited %lld ms for a server)", peer->name, (long long)grace);
    end_held(peer, now_ms - grace, why);
    if (now_ms - peer->gone_ms >= grace)
        end_flying(peer);
    if (in_use(peer))
        look_by(peer, now_ms + GONE_LOOK_MS);
}

void ferry__peer_probed(ferry__peer *peer, ferry__presence presence)
{
    char why[FERRY_WHY_SIZE];
    int64_t now_ms = ferry__now_ms();
    if (peer->asking)
        peer->link->probing--;
    peer->asking = false;
    peer->checked_ms = now_ms;
    if (presence == FERRY__GONE) {
        gone(peer, now_ms);
        return;
    }
    peer->presence = (int)presence;
    if (presence == FERRY__ALIVE) {
        send_held(peer);
        return;
    }
    ferry__why(why, "nobody ever served '%s' here: start a server for it, or check the name and FERRY_URL", peer->name);
    end_held(peer, INT64_MAX, why);
}

/* While calls wait for it: is it still there? */
static void look(ferry__timer *t)
{
    ferry__peer *peer = FERRY__OF(t, ferry__peer, timer);
    int64_t now_ms = ferry__now_ms();
    if (!in_use(peer))
        return;
    if (now_ms - peer->checked_ms >= peer->link->refresh_ms || peer->presence != FERRY__ALIVE)
        ask(peer);
    look_by(peer, now_ms + (peer->presence == FERRY__ALIVE ? peer->link->refresh_ms : GONE_LOOK_MS));
}
