/* router.c - exact routes by hash, patterns in order of how particular they are: the longest first, `*` before `**`. The route is
 * chosen before the verb: a verb that nobody took on the chosen route is VERB_NOT_ALLOWED, even if a wider pattern takes it. */
#include "ends/router.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/random.h"
#include "data/route.h"

#include <string.h>

enum { ALL_VERBS = FERRY_GET | FERRY_PUT | FERRY_PATCH | FERRY_POST | FERRY_DELETE };

static ferry__handler **slot(const ferry__router *r, const char *route, size_t length)
{
    return (ferry__handler **)&r->exact[ferry__hash(route, length) % 256];
}

static bool is_pattern(const char *route)
{
    return strchr(route, '*') != NULL;
}

static ferry__handler *make(const char *route, const ferry_handle_options *o)
{
    size_t length = strlen(route);
    ferry__handler *h = ferry__zalloc(sizeof *h + length + 1);
    if (!h)
        return NULL;
    memcpy(h->route, route, length);
    h->length = length;
    h->literal = strcspn(route, "*");
    h->verbs = o->verbs ? o->verbs : ALL_VERBS;
    h->attempts = o->attempts ? o->attempts : 5;
    h->backoff_ms = o->backoff_ms ? o->backoff_ms : 1000;
    h->factor = FERRY__FACTOR;
    h->jitter = FERRY__JITTER;
    return h;
}

static ferry_status check(const ferry_handle_options *o, char *why)
{
    if (o->verbs & ~((unsigned)ALL_VERBS | FERRY_PUBLISH))
        ferry__why(why, "verbs has bits that are no verb: join FERRY_GET, FERRY_PUT, … with |");
    else if (o->attempts < 0 || o->backoff_ms < 0)
        ferry__why(why, "attempts and backoff_ms must not be negative");
    else if (o->reserved)
        ferry__why(why, "reserved must be 0");
    else
        return FERRY_OK;
    return FERRY_INVALID;
}

/* Longer literal parts first; of equal ones `*` before `**`. */
static bool before(const ferry__handler *a, const ferry__handler *b)
{
    if (a->literal != b->literal)
        return a->literal > b->literal;
    return strcmp(a->route + a->literal, "**") != 0 && strcmp(b->route + b->literal, "**") == 0;
}

ferry_status ferry__router_add(ferry__router *r, const char *route, ferry_handler_fn *run, void *arg,
                               const ferry_handle_options *o, char *why)
{
    ferry_status status = ferry__route_check_pattern(route, why);
    if (status == FERRY_OK)
        status = check(o, why);
    if (status != FERRY_OK)
        return status;
    ferry__handler *h = make(route, o);
    if (!h) {
        ferry__why(why, "out of memory");
        return FERRY_NO_MEMORY;
    }
    h->run = run;
    h->arg = arg;
    ferry__handler **at = is_pattern(route) ? &r->patterns : slot(r, route, h->length);
    for (ferry__handler *other = *at; other; other = other->next)
        if (strcmp(other->route, route) == 0 && other->verbs & h->verbs) {
            ferry__free(h);
            ferry__why(why, "'%s' has a handler for that verb already", route);
            return FERRY_INVALID;
        }
    while (is_pattern(route) && *at && !before(h, *at))
        at = &(*at)->next;
    h->next = *at;
    *at = h;
    return FERRY_OK;
}

ferry_status ferry__router_guard(ferry__router *r, const char *route, ferry_guard_fn *run, void *arg)
{
    size_t length = strlen(route);
    ferry__guard *g = ferry__zalloc(sizeof *g + length + 1);
    if (!g)
        return FERRY_NO_MEMORY;
    memcpy(g->route, route, length);
    g->run = run;
    g->arg = arg;
    _Atomic(ferry__guard *) *end = &r->guards;
    for (ferry__guard *at; (at = atomic_load(end));)
        end = &at->next;
    atomic_store(end, g);
    return FERRY_OK;
}

static const ferry__handler *same_route(const ferry__handler *h, const char *route, unsigned verb, ferry_status *status)
{
    for (const char *found = NULL; h; h = h->next) {
        if (found ? strcmp(h->route, found) != 0
                  : !(is_pattern(h->route) ? ferry__route_match(h->route, route) : strcmp(h->route, route) == 0))
            continue;
        found = h->route;
        *status = FERRY_VERB_NOT_ALLOWED;
        if (h->verbs & verb)
            return h;
    }
    return NULL;
}

const ferry__handler *ferry__router_find(const ferry__router *r, const char *route, ferry_verb verb,
                                         ferry_status *status)
{
    *status = FERRY_NOT_FOUND;
    const ferry__handler *h = same_route(*slot(r, route, strlen(route)), route, verb, status);
    if (!h && *status == FERRY_NOT_FOUND)
        h = same_route(r->patterns, route, verb, status);
    if (h)
        *status = FERRY_OK;
    return h;
}

static void free_chain(ferry__handler *h)
{
    for (ferry__handler *next; h; h = next) {
        next = h->next;
        ferry__free(h);
    }
}

void ferry__router_done(ferry__router *r)
{
    for (size_t i = 0; i < 256; i++)
        free_chain(r->exact[i]);
    free_chain(r->patterns);
    for (ferry__guard *g = atomic_load(&r->guards), *next; g; g = next) {
        next = atomic_load(&g->next);
        ferry__free(g);
    }
    memset(r, 0, sizeof *r);
}
