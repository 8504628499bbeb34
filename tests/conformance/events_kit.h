/* events_kit.h - what the cases about events share: a listener that notes what it got. */
#ifndef FERRY_CONFORMANCE_EVENTS_KIT_H
#define FERRY_CONFORMANCE_EVENTS_KIT_H

#include "kit.h"

enum { HEARD_MAX = 20000 };

/* Notes each event: its number (data, or the first of a list), in order of arrival. */
typedef struct heard {
    atomic_int total, begun, caught_up, caught_up_at, lost;
    atomic_int times[HEARD_MAX], order[HEARD_MAX];
    atomic_int last_attempt;
    atomic_int fail_number, fail_times; /* fails that one so often; -1: for ever */
    bool rejects;                       /* rather than fails */
} heard;

void hear(ferry_request *event, void *heard);
void heard_caught_up(ferry_subscription *s, void *heard);
void heard_lost(ferry_subscription *s, void *heard);

/* Opens a handle that subscribes with `hear` and waits until it is ready. made may be NULL. */
ferry *listen_with(const ferry_options *options, const char *pattern, heard *h, const ferry_subscribe_options *how,
                   ferry_subscription **made);
ferry *listen_to(const char *pattern, heard *h, const ferry_subscribe_options *how);
void publish(ferry *f, const char *route, int number, const char *key); /* confirmed */
void publish_range(ferry *f, const char *route, int from, int to);      /* queued, then flushed; without keys */
void check_each_once(heard *h, int from, int to);

#endif
