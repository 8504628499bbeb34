/* publish.c - events out. */
#include "ends/future.h"
#include "ends/options.h"
#include "ends/reply.h"

static ferry_status take_options(ferry_event_options *o, const ferry_event_options *given, char *why)
{
    ferry_status status = ferry__options_take(o, sizeof *o, given, why);
    if (status == FERRY_OK && o->confirm != FERRY_QUEUED && o->confirm != FERRY_CONFIRMED) {
        ferry__why(why, "confirm is neither FERRY_QUEUED nor FERRY_CONFIRMED");
        status = FERRY_INVALID;
    }
    return status;
}

ferry_status ferry_publish(ferry *f, const char *route, ferry_value *data, const ferry_event_options *given)
{
    char why[FERRY_WHY_SIZE] = "";
    ferry_event_options o;
    ferry_status status = take_options(&o, given, why);
    ferry_future *u = f && status == FERRY_OK ? ferry__future_new(f) : NULL;
    if (!u) {
        ferry_value_free(data);
        status = status == FERRY_OK ? FERRY_NO_MEMORY : status;
        ferry__why(why, "%s", *why ? why : "out of memory");
    } else {
        ferry__orders all = {.kind = FERRY__EVENT,
                             .route = route,
                             .data = data,
                             .timeout_ms = o.timeout_ms,
                             .key = o.key,
                             .correlation = o.correlation,
                             .headers = o.headers,
                             .within = o.within};
        status = o.confirm == FERRY_CONFIRMED ? ferry__future_confirm(u, &all, why) : ferry__future_post(u, &all, why);
    }
    ferry__why(o.why, "%s", status == FERRY_OK ? "" : why);
    return status;
}
