/* publish.c - events out. */
#include "ends/future.h"
#include "ends/options.h"
#include "ends/reply.h"

static ferry_status take_options(ferry_event_options *o, const ferry_event_options *given, char *why)
{
    ferry_status status = ferry__options_take(o, sizeof *o, given, why);
    return status == FERRY_OK ? ferry__options_confirm(o->confirm, why) : status;
}

ferry_status ferry_publish(ferry *f, const char *route, ferry_value *data, const ferry_event_options *given)
{
    char why[FERRY_WHY_SIZE] = "";
    ferry_event_options o;
    ferry_status status = take_options(&o, given, why);
    ferry__orders all = {.kind = FERRY__EVENT,
                         .route = route,
                         .data = data,
                         .timeout_ms = o.timeout_ms,
                         .key = o.key,
                         .correlation = o.correlation,
                         .headers = o.headers,
                         .within = o.within};
    status = ferry__future_hand_over(f, &all, o.confirm, status, why);
    ferry__why(o.why, "%s", status == FERRY_OK ? "" : why);
    return status;
}
