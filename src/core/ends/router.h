/* router.h - which handler takes a route and a verb. Entries are only ever added; adding and finding hold the link's lock, walking
 * the guards does not need it. */
#ifndef FERRY_ENDS_ROUTER_H
#define FERRY_ENDS_ROUTER_H

#include <ferry/ferry.h>
#include <stdatomic.h>

#define FERRY__FACTOR 2.0
#define FERRY__JITTER 0.5

typedef struct ferry__handler {
    struct ferry__handler *next;
    ferry_handler_fn      *run;
    void                  *arg;
    unsigned               verbs;
    int                    attempts, backoff_ms;
    double                 factor, jitter; /* of the backoff */
    size_t                 length, literal; /* of the route; of it before a star */
    char                   route[];
} ferry__handler;

typedef struct ferry__guard {
    _Atomic(struct ferry__guard *) next;
    ferry_guard_fn                *run;
    void                          *arg;
    char                           route[];
} ferry__guard;

typedef struct ferry__router {
    ferry__handler        *exact[256]; /* by hash of the route */
    ferry__handler        *patterns;   /* the most particular first */
    _Atomic(ferry__guard *) guards;
} ferry__router;

ferry_status ferry__router_add(ferry__router *r, const char *route, ferry_handler_fn *run, void *arg,
                               const ferry_handle_options *o, char *why);
ferry_status ferry__router_guard(ferry__router *r, const char *route, ferry_guard_fn *run, void *arg);
/* NULL with NOT_FOUND or VERB_NOT_ALLOWED. */
const ferry__handler *ferry__router_find(const ferry__router *r, const char *route, ferry_verb verb,
                                         ferry_status *status);
void ferry__router_done(ferry__router *r);

#endif
