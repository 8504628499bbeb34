#include "ends/events.h"

void ferry__events_ready(ferry__link *l, ferry__source *source)
{
    (void)l;
    (void)source;
}

void ferry__events_caught_up(ferry__link *l, ferry__source *source)
{
    (void)l;
    (void)source;
}

void ferry__events_broken(ferry__link *l, ferry__source *source, ferry_status status, const char *why)
{
    (void)source;
    ferry__log_print(&l->log, LOG_ERR, "%s: %s", ferry_status_name(status), why);
}
