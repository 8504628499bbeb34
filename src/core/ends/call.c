/* call.c - the verbs. */
#include "base/alloc.h"
#include "base/clock.h"
#include "ends/future.h"
#include "ends/options.h"
#include "ends/reply.h"

#include <string.h>

static ferry_status take_options(ferry_call_options *o, const ferry_call_options *given, char *why)
{
    ferry_status status = ferry__options_take(o, sizeof *o, given, why);
    return status == FERRY_OK ? ferry__options_confirm(o->confirm, why) : status;
}

static ferry__orders orders(ferry__kind kind, ferry_verb verb, const char *route, ferry_value *data,
                            const ferry_call_options *o)
{
    return (ferry__orders){.kind = kind,
                           .verb = verb,
                           .route = route,
                           .data = data,
                           .timeout_ms = o->timeout_ms,
                           .key = o->key,
                           .idempotency_key = o->idempotency_key,
                           .correlation = o->correlation,
                           .headers = o->headers,
                           .within = o->within};
}

static bool is_verb(ferry_verb verb)
{
    return verb == FERRY_GET || verb == FERRY_PUT || verb == FERRY_PATCH || verb == FERRY_POST || verb == FERRY_DELETE;
}

/* Ends at once with the mistake, unless everything is in order: then it is under way. Answers the ticket. */
static uint64_t start(ferry_future *u, ferry_verb verb, const char *route, ferry_value *data,
                      const ferry_call_options *given, bool stays)
{
    char why[FERRY_WHY_SIZE] = "";
    ferry_call_options o;
    ferry_status status = take_options(&o, given, why);
    if (status == FERRY_OK && !is_verb(verb)) {
        ferry__why(why, "no such verb: one of FERRY_GET, FERRY_PUT, FERRY_PATCH, FERRY_POST, FERRY_DELETE");
        status = FERRY_INVALID;
    }
    ferry__orders all = orders(FERRY__CALL, verb, route, data, &o);
    return status == FERRY_OK ? ferry__future_start(u, &all, stays) : ferry__future_refuse(u, &all, status, why);
}

ferry_future *ferry_async(ferry *f, ferry_verb verb, const char *route, ferry_value *data,
                          const ferry_call_options *options)
{
    ferry_future *u = f ? ferry__future_new(f) : NULL;
    if (u)
        start(u, verb, route, data, options, false);
    else
        ferry_value_free(data);
    return u;
}

uint64_t ferry_async_with(ferry *f, ferry_verb verb, const char *route, ferry_value *data,
                          const ferry_call_options *options, ferry_reply_fn *on_reply, void *arg)
{
    ferry_future *u = f ? ferry__future_new(f) : NULL;
    if (!u) {
        ferry_value_free(data);
        return 0;
    }
    u->on_reply = on_reply;
    u->arg = arg;
    return start(u, verb, route, data, options, false);
}

static ferry_reply *wait_for(ferry *f, ferry_verb verb, const char *route, ferry_value *data,
                             const ferry_call_options *options)
{
    ferry_future *u = f ? ferry__future_new(f) : NULL;
    if (!u) {
        ferry_value_free(data);
        return NULL;
    }
    start(u, verb, route, data, options, true);
    ferry_reply *r = ferry_await(u);
    if (options && options->size >= sizeof *options && options->why)
        ferry__why(options->why, "%s", ferry_has_errors(r) ? ferry_error_at(r, 0)->message : "");
    return r;
}

ferry_reply *ferry_get(ferry *f, const char *route, ferry_value *data, const ferry_call_options *options)
{
    return wait_for(f, FERRY_GET, route, data, options);
}

ferry_reply *ferry_put(ferry *f, const char *route, ferry_value *data, const ferry_call_options *options)
{
    return wait_for(f, FERRY_PUT, route, data, options);
}

ferry_reply *ferry_patch(ferry *f, const char *route, ferry_value *data, const ferry_call_options *options)
{
    return wait_for(f, FERRY_PATCH, route, data, options);
}

ferry_reply *ferry_post(ferry *f, const char *route, ferry_value *data, const ferry_call_options *options)
{
    return wait_for(f, FERRY_POST, route, data, options);
}

ferry_reply *ferry_delete(ferry *f, const char *route, ferry_value *data, const ferry_call_options *options)
{
    return wait_for(f, FERRY_DELETE, route, data, options);
}

/* ---- without waiting for an answer ---- */

static ferry_status no_wait(ferry *f, ferry_verb verb, const char *route, ferry_value *data,
                            const ferry_call_options *given)
{
    char why[FERRY_WHY_SIZE] = "";
    ferry_call_options o;
    ferry_status status = take_options(&o, given, why);
    ferry__orders all = orders(FERRY__POST, verb, route, data, &o);
    status = ferry__future_hand_over(f, &all, o.confirm, status, why);
    ferry__why(o.why, "%s", status == FERRY_OK ? "" : why);
    return status;
}

ferry_status ferry_post_no_wait(ferry *f, const char *route, ferry_value *data, const ferry_call_options *options)
{
    return no_wait(f, FERRY_POST, route, data, options);
}

ferry_status ferry_put_no_wait(ferry *f, const char *route, ferry_value *data, const ferry_call_options *options)
{
    return no_wait(f, FERRY_PUT, route, data, options);
}

ferry_status ferry_patch_no_wait(ferry *f, const char *route, ferry_value *data, const ferry_call_options *options)
{
    return no_wait(f, FERRY_PATCH, route, data, options);
}

ferry_status ferry_delete_no_wait(ferry *f, const char *route, ferry_value *data, const ferry_call_options *options)
{
    return no_wait(f, FERRY_DELETE, route, data, options);
}
