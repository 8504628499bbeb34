/* trail.c - the audit trail: hops as events of the domain "audit", keyed by correlation, so that those of one message keep their
 * order. */
#include "base/clock.h"
#include "data/value.h"
#include "ends/subscription.h"

#include <stdlib.h>
#include <string.h>

enum { HOPS_MAX = 64, CHANGES_MAX = 16384, SLICE_MS = 50 };

static ferry_status refuse(ferry_value *changes, ferry_status status)
{
    ferry_value_free(changes);
    return status;
}

ferry_status ferry_hop(ferry_request *req, const char *what, ferry_value *changes)
{
    size_t length;
    if (!req)
        return refuse(changes, FERRY_NO_MEMORY);
    if (!what || !*what || strlen(what) > 255)
        return refuse(changes, FERRY_INVALID);
    if (req->hops >= HOPS_MAX)
        return refuse(changes, FERRY_TOO_BIG);
    ferry_status status = changes ? ferry__value_measure(changes, CHANGES_MAX, &length) : FERRY_OK;
    if (status != FERRY_OK)
        return refuse(changes, status);
    req->hops++;
    ferry_value *hop =
        ferry_map("correlation", ferry_request_correlation(req), "id", ferry_request_id(req), "route",
                  ferry_request_route(req), "who", req->f->source, "when_ms", ferry__wall_ms(), "what", what);
    if (changes)
        ferry_map_put(hop, "changes", changes);
    return ferry_publish(req->f, "audit.hop", hop, FERRY_EVENT(.key = ferry_request_correlation(req), .within = req));
}

static void add(ferry_value *trail, ferry_request *event, const char *correlation)
{
    const ferry_value *hop = ferry_request_data(event);
    const char *its = ferry_as_string(ferry_find(hop, "correlation"), "");
    if (strcmp(its, correlation) == 0)
        ferry_list_put(trail, ferry_value_copy(hop));
    ferry_done(event);
}

static ferry_status read_all(ferry_subscription *s, ferry_value *trail, const char *correlation, int64_t until_ms,
                             char *why)
{
    ferry_request *event;
    for (bool there = false; !there;) {
        there = ferry_caught_up(s); /* before the look, so that nothing is left behind it */
        while ((event = ferry_receive(s, there ? 0 : SLICE_MS)))
            add(trail, event, correlation);
        ferry_status status = ferry_subscription_status(s, why);
        if (status != FERRY_OK)
            return status;
        if (!there && ferry__now_ms() >= until_ms) {
            ferry__why(why, "the audit domain was not read to its end in time");
            return FERRY_TIMEOUT;
        }
    }
    return FERRY_OK;
}

ferry_value *ferry_trail(ferry *f, const char *correlation, int timeout_ms, char *why)
{
    ferry_subscription *s = NULL;
    ferry__why(why, "%s", "");
    if (!f || !correlation || !*correlation) {
        ferry__why(why, "ferry_trail wants a handle and a correlation");
        return NULL;
    }
    ferry_subscribe_options o = {.size = sizeof o, .from = FERRY_FROM_EARLIEST};
    ferry_status status = ferry__handle_refusal(f, why);
    if (status == FERRY_OK)
        status = ferry__subscribe(f, "audit.hop", NULL, NULL, &o, &s, why);
    if (status != FERRY_OK)
        return NULL;
    ferry_value *trail = ferry_new_list();
    status = read_all(s, trail, correlation, ferry__now_ms() + (timeout_ms > 0 ? timeout_ms : f->timeout_ms), why);
    ferry_unsubscribe(s);
    if (status == FERRY_OK)
        return trail;
    ferry_value_free(trail);
    return NULL;
}
