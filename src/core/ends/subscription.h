/* subscription.h - a standing wish for events, from subscribe to its end.
 *
 * To the rest it is one more name that is served (ends/serve.h): its first source is the events, its second, with a group, the posts
 * of "domain/group", by which failed events come again. What differs is here: the pattern, the handler of its own, pulling, pausing,
 * and events that are tried again within this process (resting), since a broadcast has nobody else and a blocked key must not be
 * overtaken.
 *
 *     LISTENING --- broken (trimmed) ---> BROKEN --- seek ---> LISTENING
 *         \--- unsubscribe ---> ENDED: freed once no request of it is left and the transport has nothing to settle
 *
 * Guarded by the link's lock. */
#ifndef FERRY_ENDS_SUBSCRIPTION_H
#define FERRY_ENDS_SUBSCRIPTION_H

#include "data/route.h"
#include "ends/request.h"
#include "ends/serve.h"

enum { FERRY__STORE = 64 }; /* events kept ready for ferry_receive */

struct ferry_subscription {
    ferry          *f;
    ferry__service *service;
    ferry__wish     wish; /* its texts are ours */
    char            domain[FERRY__ROUTE_MAX + 1];
    ferry__handler *handler; /* run NULL: pulled */
    bool            block_key, paused, ready, caught_up, ended;
    ferry_status    status; /* why it is broken */
    char            why[FERRY_WHY_SIZE];
    ferry_subscription_fn *on_caught_up, *on_lost;
    void           *arg;
    ferry__callback told_caught_up, told_lost;
    ferry__list     store;     /* pulled ones that nobody received yet, by job.node */
    size_t          stored, store_max;
    ferry__list     receivers; /* ferry__waiter by place */
};

/* ferry_subscribe, its mistakes not noted for ferry_problem. Without the lock. */
ferry_status ferry__subscribe(ferry *f, const char *pattern, ferry_handler_fn *handler, void *arg,
                              const ferry_subscribe_options *o, ferry_subscription **made, char *why);
void ferry__subscription_free(ferry_subscription *s); /* its service is gone */
/* With the lock held. */
bool ferry__subscription_wants(const ferry_subscription *s, const ferry__frame *frame);
void ferry__subscription_store(ferry_subscription *s, ferry_request *req);
void ferry__subscription_restore(ferry_subscription *s, ferry_request *req); /* in front of the others */
bool ferry__subscription_unstore(ferry_subscription *s, ferry_request *req); /* false: it was not in the store */
bool ferry__subscription_rests(const ferry_request *req); /* it is tried again here, not by the broker */
void ferry__subscription_rest(ferry_request *req, int delay_ms);
bool ferry__subscription_unrest(ferry_request *req); /* false: it did not rest */

/* What the transport tells. */
void ferry__subscription_ready(ferry__link *l, ferry__source *source);
void ferry__subscription_caught_up(ferry__link *l, ferry__source *source);
void ferry__subscription_broken(ferry__link *l, ferry__source *source, ferry_status status, const char *why);

#endif
