/* events.h - what the transport tells about subscriptions. With the lock held. */
#ifndef FERRY_ENDS_EVENTS_H
#define FERRY_ENDS_EVENTS_H

#include "link/link.h"

void ferry__events_ready(ferry__link *l, ferry__source *source);
void ferry__events_caught_up(ferry__link *l, ferry__source *source);
void ferry__events_broken(ferry__link *l, ferry__source *source, ferry_status status, const char *why);

#endif
