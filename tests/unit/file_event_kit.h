/* file_event_kit.h - subscriptions on the file transport without the core. */
#ifndef FERRY_UNIT_FILE_EVENT_KIT_H
#define FERRY_UNIT_FILE_EVENT_KIT_H

#include "file_kit.h"

#define DB test_text("%s/unit.db", test_dir())

typedef struct event_sub {
    ferry__wish   wish;
    ferry__source source;
} event_sub;

void event_subscribe(side *s, event_sub *e, const char *group, unsigned from, int credit);
side *event_subscriber(event_sub *e, const char *group, unsigned from, int credit);
void event_publish(side *s, const char *body, uint32_t part);
void event_publish_many(side *s, int from, int to, int parts);
ferry__frame *event_next(side *s);
void event_settle_all(side *s);
void event_check_next(side *s, const char *body);
void event_idle(side *s);
void event_ask(side *s, ferry__admin *a);
int64_t event_lag(side *s, const char *group, char *position);
void event_seek(side *s, event_sub *e, unsigned from, const char *position);
int event_number(ferry__frame *f);

#endif
