/* service.c - a name we serve: its lease, its groups, and which partitions are ours.
 *
 *     listen --> first renewal answered: joined --> renewals, each a third of the lease --> unlisten --> leave
 *
 * One script renews: it puts us among those who are up, renews the lease, and deals the partitions out evenly. A partition that is
 * one too many is released when all of it is settled. A renewal that finds no lease where one should be tells that we were taken for
 * dead and our messages given to others: then we begin a new era, under a new name. */
#include "backends/redis/event.h"

#include "base/alloc.h"

#include <string.h>

enum { CALLS, POSTS, CONTROLS, EVENTS };

/* ---- Making one ----------------------------------------------------------------------------------------------------- */

void redis__lane_init(redis__lane *l, redis__service *s, ferry__lane lane, unsigned part, const char *key,
                      const char *group)
{
    *l = (redis__lane){.service = s, .lane = lane, .part = part, .group = group};
    if (part)
        snprintf(l->key, sizeof l->key, "%.280s:%u", key, part);
    else
        snprintf(l->key, sizeof l->key, "%.280s", key);
    ferry__list_init(&l->held);
    ferry__frames_init(&l->backlog);
    l->ops_end = &l->ops;
}

static void init_posts(redis__service *s)
{
    char key[REDIS__KEY + 8];
    snprintf(key, sizeof key, "%sposts", s->prefix);
    for (unsigned i = 0; i <= s->parts; i++)
        redis__lane_init(&s->posts[i], s, FERRY__POSTS, i, key, REDIS__GROUP);
}

/* Before it has received anything. */
bool redis__service_set_parts(redis__service *s, unsigned parts)
{
    redis__lane *posts = s->parts == parts ? s->posts : ferry__alloc((parts + 1) * sizeof *posts);
    if (posts == s->posts)
        return posts != NULL;
    if (!posts)
        return false;
    ferry__free(s->posts);
    s->posts = posts;
    s->parts = parts;
    init_posts(s);
    return true;
}

static redis__service *make(redis__pipe *p, const char *name)
{
    char key[REDIS__KEY + 8];
    redis__service *s = ferry__zalloc(sizeof *s);
    if (s) {
        s->name = ferry__strdup(name);
        s->parts = p->config->partitions;
        s->posts = ferry__alloc((s->parts + 1) * sizeof *s->posts);
    }
    if (!s || !s->name || !s->posts) {
        ferry__free(s ? s->name : NULL);
        ferry__free(s ? s->posts : NULL);
        ferry__free(s);
        return NULL;
    }
    snprintf(s->prefix, sizeof s->prefix, "%s:{%s}:", p->config->ns, name);
    snprintf(key, sizeof key, "%scalls", s->prefix);
    redis__lane_init(&s->calls, s, FERRY__CALLS, 0, key, REDIS__GROUP);
    init_posts(s);
    return s;
}

redis__service *redis__service_get(redis__pipe *p, const char *name)
{
    redis__service *s = p->services;
    while (s && strcmp(s->name, name) != 0)
        s = s->next;
    if (s || !(s = make(p, name)))
        return s;
    s->next = p->services;
    p->services = s;
    return s;
}

void redis__lane_free(redis__lane *l)
{
    ferry__frames_drop(&l->backlog);
    while (!ferry__list_empty(&l->held))
        redis__receipt_free(FERRY__OF(l->held.next, redis__receipt, node)); /* those to be settled are among them */
}

void redis__services_free(redis__pipe *p)
{
    for (redis__service *s = p->services, *next; s; s = next) {
        next = s->next;
        redis__lane_free(&s->calls);
        for (unsigned i = 0; i <= s->parts; i++)
            redis__lane_free(&s->posts[i]);
        redis__group_free(s);
        ferry__free(s->posts);
        ferry__free(s->name);
        ferry__free(s);
    }
    p->services = NULL;
}

/* ---- The lease ------------------------------------------------------------------------------------------------------ */

static bool serving(const redis__service *s)
{
    return s->source[CALLS] || s->source[POSTS] || s->source[EVENTS];
}

static bool busy(const redis__lane *l)
{
    return l->held_count > 0 || l->ops || l->flying > 0;
}

static bool holds(const redis__service *s)
{
    bool any = busy(&s->calls);
    for (unsigned i = 0; i <= s->parts; i++)
        any = any || busy(&s->posts[i]) || (s->group && busy(redis__group_lane(s->group, i)));
    return any;
}

static void each_lane(redis__pipe *p, redis__service *s, void (*act)(redis__pipe *p, redis__lane *l))
{
    act(p, &s->calls);
    for (unsigned i = 0; i <= s->parts; i++)
        act(p, &s->posts[i]);
    for (unsigned i = 0; s->group && i <= s->parts; i++)
        act(p, redis__group_lane(s->group, i));
}

static void forget_lane(redis__pipe *p, redis__lane *l)
{
    (void)p;
    redis__lane_forget(l);
    if (l->part)
        l->state = REDIS__LANE_OFF;
}

static void buried_alive(redis__pipe *p)
{
    ferry__log_print(p->up->log, LOG_WARNING,
                     "this server was silent for longer than its lease: others have taken over what it held");
    redis__link_new_era(p);
    for (redis__service *s = p->services; s; s = s->next) {
        each_lane(p, s, forget_lane);
        s->joined = false;
        s->renew_ms = p->now_ms;
    }
}

static void set_state(redis__service *s, unsigned part, redis__lane_state state, uint64_t token)
{
    redis__lane *lanes[] = {&s->posts[part], s->group ? redis__group_lane(s->group, part) : NULL};
    for (size_t i = 0; i < 2 && lanes[i]; i++) {
        lanes[i]->state = state;
        lanes[i]->token = token;
    }
}

static void deal(redis__service *s, const redis__value *v)
{
    bool mine[1025] = {false};
    int64_t surplus = redis__number(redis__at(v, 2));
    for (size_t i = 3; i + 1 < v->count; i += 2) {
        int64_t part = redis__number(redis__at(v, i));
        uint64_t token = (uint64_t)redis__number(redis__at(v, i + 1));
        if (part < 1 || part > s->parts)
            continue;
        redis__lane *l = &s->posts[part];
        mine[part] = true;
        if (l->state == REDIS__LANE_OFF || l->token != token)
            set_state(s, (unsigned)part, REDIS__LANE_CLAIMING, token);
    }
    for (unsigned i = s->parts; i >= 1; i--) {
        redis__lane *l = &s->posts[i];
        if (l->state != REDIS__LANE_OFF && l->state != REDIS__LANE_RELEASING &&
            (!mine[i] || surplus-- > 0 || !serving(s)))
            set_state(s, i, mine[i] ? REDIS__LANE_RELEASING : REDIS__LANE_OFF, l->token);
    }
}

static void renewed(redis__pipe *p, redis__want *w, const redis__value *v)
{
    redis__service *s = w->what;
    s->renewing = false;
    if (!v || redis__forgotten(p, REDIS__RENEW, v)) {
        s->renew_ms = p->now_ms;
        return;
    }
    if (v->type != REDIS__LIST) {
        if (s->renew_ms == INT64_MAX || !s->joined)
            ferry__log_print(p->up->log, LOG_ERR, "'%s' is not served: Redis says: %s", s->name, redis__text(v));
        s->renew_ms = p->now_ms + p->lease_ms / 3 + 1;
        return;
    }
    p->clock_ms = redis__number(redis__at(v, 0)) - p->now_ms;
    s->renew_ms = s->again ? p->now_ms : p->now_ms + p->lease_ms / 3;
    s->again = false;
    if (w->number != p->era)
        return;
    if (s->joined && redis__number(redis__at(v, 1)) == 0) {
        buried_alive(p);
        return;
    }
    s->joined = s->grouped = true;
    s->sure_ms = p->now_ms;
    deal(s, v);
}

/* May we hand up what was delivered to us? Not if by now it may be another's. */
bool redis__service_sure(const redis__pipe *p, const redis__service *s)
{
    return s->joined && p->now_ms - s->sure_ms < p->lease_ms;
}

static void word_key(redis__pipe *p, const redis__service *s, const char *end)
{
    char key[REDIS__KEY + 16];
    snprintf(key, sizeof key, "%s%s", s->prefix, end);
    redis__word(&p->conns[REDIS__W].out, key);
}

static void renew(redis__pipe *p, redis__service *s)
{
    ferry__buf *b = &p->conns[REDIS__W].out;
    static const char *const keys[] = {"up", "lease", "parts", "calls", "posts", "ctl"};
    redis__call(p, REDIS__RENEW, 6, 5);
    for (size_t i = 0; i < 6; i++)
        word_key(p, s, keys[i]);
    redis__word(b, p->me);
    redis__word_number(b, p->lease_ms);
    s->seen = serving(s) || holds(s);
    redis__word(b, serving(s) ? "2" : s->seen ? "1" : "0");
    redis__word_number(b, s->parts);
    redis__word(b, s->grouped ? "0" : "1");
    redis__ask(&p->conns[REDIS__W], renewed, s, p->era);
    s->renewing = true;
    s->renew_ms = INT64_MAX;
    if (!s->listed) {
        char key[REDIS__KEY];
        snprintf(key, sizeof key, "%s:services", p->config->ns);
        redis__command(b, "SADD", key, s->name, NULL);
        redis__ask(&p->conns[REDIS__W], redis__ignore, NULL, 0);
        s->listed = true;
    }
}

/* ---- Partitions that go --------------------------------------------------------------------------------------------- */

static void released(redis__pipe *p, redis__want *w, const redis__value *v)
{
    redis__lane *l = w->what;
    (void)p;
    set_state(l->service, l->part, v && v->type == REDIS__NUMBER ? REDIS__LANE_OFF : REDIS__LANE_RELEASING, l->token);
    l->taking = false;
}

static bool still(redis__pipe *p, redis__lane *l)
{
    redis__settle_back(p, l);
    return !busy(l) && !l->in_read && !l->taking;
}

static void release(redis__pipe *p, redis__lane *l)
{
    ferry__buf *b = &p->conns[REDIS__W].out;
    redis__group *g = l->service->group;
    if (!still(p, l) || (g && !still(p, redis__group_lane(g, l->part))))
        return;
    l->taking = true;
    redis__call(p, REDIS__RELEASE, 2, 3);
    word_key(p, l->service, "parts");
    word_key(p, l->service, "ctl");
    redis__word(b, p->me);
    redis__word_number(b, l->part);
    redis__word_number(b, (int64_t)l->token);
    redis__ask(&p->conns[REDIS__W], released, l, 0);
}

/* ---- The retry set -------------------------------------------------------------------------------------------------- */

static void moved(redis__pipe *p, redis__want *w, const redis__value *v)
{
    redis__service *s = w->what;
    int64_t next = v && v->type == REDIS__NUMBER ? v->number : -1, soonest = p->now_ms + p->look_ms;
    s->moving = false;
    if (!v || redis__forgotten(p, REDIS__MOVE, v))
        next = 0;
    if (next >= 0 && p->now_ms + next < soonest)
        soonest = p->now_ms + next;
    if (soonest < s->move_ms)
        s->move_ms = soonest;
}

static void move(redis__pipe *p, redis__service *s)
{
    s->moving = true;
    s->move_ms = INT64_MAX;
    redis__call(p, REDIS__MOVE, 1, 1);
    word_key(p, s, "later");
    redis__word_number(&p->conns[REDIS__W].out, 100);
    redis__ask(&p->conns[REDIS__W], moved, s, 0);
}

/* ---- Turns ---------------------------------------------------------------------------------------------------------- */

static void subscribe(redis__pipe *p, redis__service *s)
{
    char channel[REDIS__KEY + 8];
    redis__conn *c = &p->conns[REDIS__S];
    if (s->subscribed || !(s->source[CONTROLS] || s->source[EVENTS]))
        return;
    if (c->state == REDIS__OFF && !redis__conn_open(c))
        redis__link_fail(p, FERRY_NO_MEMORY, "out of memory");
    if (c->state != REDIS__READY)
        return;
    snprintf(channel, sizeof channel, "%sctl", s->prefix);
    redis__subscribe(p, channel);
    s->subscribed = true;
}

static void service_turn(redis__pipe *p, redis__service *s)
{
    subscribe(p, s);
    if (s->seen && !serving(s) && !s->renewing && !holds(s))
        s->renew_ms = p->now_ms; /* the last answer is out: now we are gone */
    if (s->group && !redis__group_turn(p, s->group))
        return;
    if (!s->renewing && p->now_ms >= s->renew_ms)
        renew(p, s);
    if (!s->joined)
        return;
    if (s->source[POSTS] && !s->moving && p->now_ms >= s->move_ms)
        move(p, s);
    for (unsigned i = 1; i <= s->parts; i++)
        if (s->posts[i].state == REDIS__LANE_RELEASING)
            release(p, &s->posts[i]);
}

/* In flush, with the link up. */
void redis__services_turn(redis__pipe *p)
{
    for (redis__service *s = p->services; s; s = s->next)
        if (serving(s) || s->joined)
            service_turn(p, s);
}

static int sooner(int a, int64_t at, int64_t now)
{
    if (at == INT64_MAX)
        return a;
    int ms = at <= now ? 0 : at - now > 100000 ? 100000 : (int)(at - now);
    return a < 0 || ms < a ? ms : a;
}

int redis__services_next_ms(const redis__pipe *p, int64_t now_ms)
{
    int ms = -1;
    for (const redis__service *s = p->services; s && p->state == FERRY__UP; s = s->next) {
        if (!serving(s) && !s->joined)
            continue;
        if (!s->renewing)
            ms = sooner(ms, s->renew_ms, now_ms);
        if (s->source[POSTS] && s->joined && !s->moving)
            ms = sooner(ms, s->move_ms, now_ms);
        if (s->joined && s->source[CALLS] && s->credit[CALLS] > 0 && !s->calls.taking)
            ms = sooner(ms, s->calls.look_ms, now_ms);
        if (s->joined && s->source[POSTS] && s->credit[POSTS] > 0 && !s->posts[0].taking)
            ms = sooner(ms, s->posts[0].look_ms, now_ms);
        if (s->group)
            ms = sooner(ms, redis__group_due(s->group), now_ms);
    }
    return ms;
}

/* ---- The link went down --------------------------------------------------------------------------------------------- */

static void lane_lost(redis__pipe *p, redis__lane *l)
{
    (void)p;
    l->in_read = l->taking = false;
    l->orphans = true;
}

void redis__services_lost(redis__pipe *p)
{
    for (redis__service *s = p->services; s; s = s->next) {
        s->subscribed = s->renewing = s->moving = s->listed = s->grouped = false;
        s->renew_ms = 0;
        s->sure_ms = 0;
        each_lane(p, s, lane_lost);
        if (s->group)
            redis__group_down(s->group);
    }
}

/* ---- Leaving for good ----------------------------------------------------------------------------------------------- */

static void leave_lane(redis__pipe *p, redis__lane *l)
{
    ferry__buf *b = &p->conns[REDIS__W].out;
    if (l->part && l->state == REDIS__LANE_OFF)
        return;
    redis__call(p, REDIS__MINE, 2, 3 + l->held_count);
    redis__word(b, l->key);
    word_key(p, l->service, "ctl");
    redis__word(b, p->me);
    redis__word(b, "back");
    redis__word(b, l->group);
    for (ferry__node *n = l->held.next; n != &l->held; n = n->next) {
        redis__receipt *r = FERRY__OF(n, redis__receipt, node);
        redis__word_entry(b, r->ms, r->seq);
    }
    redis__ask(&p->conns[REDIS__W], redis__ignore, NULL, 0);
    if (l->part && l->lane == FERRY__POSTS) {
        redis__call(p, REDIS__RELEASE, 2, 3);
        word_key(p, l->service, "parts");
        word_key(p, l->service, "ctl");
        redis__word(b, p->me);
        redis__word_number(b, l->part);
        redis__word_number(b, (int64_t)l->token);
        redis__ask(&p->conns[REDIS__W], redis__ignore, NULL, 0);
    }
}

/* What a handler that outstays us still holds stays in our name, without a lease: it may have been executed. */
void redis__services_leave(redis__pipe *p)
{
    redis__conn *w = &p->conns[REDIS__W];
    for (redis__service *s = p->services; s; s = s->next) {
        if (!s->joined)
            continue;
        each_lane(p, s, leave_lane);
        static const char *const sets[] = {"up", "lease"};
        for (size_t i = 0; i < 2; i++) {
            redis__words(&w->out, 3);
            redis__word(&w->out, "ZREM");
            word_key(p, s, sets[i]);
            redis__word(&w->out, p->me);
            redis__ask(w, redis__ignore, NULL, 0);
        }
        s->joined = holds(s);
    }
}
