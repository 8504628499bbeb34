#include "file_event_kit.h"

#include <stdlib.h>

#define B file_backend

void event_subscribe(side *s, event_sub *e, const char *group, unsigned from, int credit)
{
    *e = (event_sub){.wish = {.group = group, .box = group ? "order/billing" : "order/@unit", .pattern = "order.**"}};
    e->wish.from = from;
    e->source = (ferry__source){.lane = FERRY__EVENTS, .name = "order", .wish = &e->wish};
    CHECK_STATUS(B->listen(s->file, &e->source), FERRY_OK);
    B->credit(s->file, &e->source, credit);
    size_t was = s->ready + s->broken;
    FILE_UNTIL(s, NOBODY, s->ready + s->broken > was);
}

side *event_subscriber(event_sub *e, const char *group, unsigned from, int credit)
{
    side *s = file_up(DB);
    event_subscribe(s, e, group, from, credit);
    return s;
}

void event_publish(side *s, const char *body, uint32_t part)
{
    ferry__frame *f = file_frame(s, FERRY__EVENT, body);
    f->verb = 0;
    f->partition = part;
    B->send(s->file, &s->events, f);
}

/* "0", "1", ...: those of `parts` parts in turn, 0 the shared one. */
void event_publish_many(side *s, int from, int to, int parts)
{
    size_t was = s->accepted;
    for (int i = from; i < to; i++)
        event_publish(s, test_text("%d", i), (uint32_t)(i % parts));
    FILE_UNTIL(s, NOBODY, s->accepted == was + (size_t)(to - from));
}

ferry__frame *event_next(side *s)
{
    FILE_UNTIL(s, NOBODY, s->got.first);
    return ferry__frames_take(&s->got);
}

void event_settle_all(side *s)
{
    for (ferry__frame *f; (f = ferry__frames_take(&s->got));)
        B->settle(s->file, f);
    file_turn(s);
}

void event_check_next(side *s, const char *body)
{
    ferry__frame *f = event_next(s);
    CHECK_STR(file_body(f), body);
    B->settle(s->file, f);
}

void event_idle(side *s)
{
    for (int i = 0; i < 10; i++)
        file_turn(s);
}

void event_ask(side *s, ferry__admin *a)
{
    size_t was = s->answered;
    B->more->admin(s->file, a);
    FILE_UNTIL(s, NOBODY, s->answered > was);
}

int64_t event_lag(side *s, const char *group, char *position)
{
    ferry__admin a = {.ask = FERRY__LAG, .name = "order", .group = group};
    event_ask(s, &a);
    CHECK_STATUS(a.status, FERRY_OK);
    CHECK_INT(ferry_count(a.answer), 1);
    const ferry_value *one = ferry_at(a.answer, 0);
    CHECK_STR(ferry_as_string(ferry_find(one, "group"), ""), group);
    if (position)
        snprintf(position, 24, "%s", ferry_as_string(ferry_find(one, "position"), ""));
    int64_t lag = ferry_as_int(ferry_find(one, "lag"), -2);
    ferry_value_free(a.answer);
    return lag;
}

void event_seek(side *s, event_sub *e, unsigned from, const char *position)
{
    ferry__wish to = e->wish;
    to.from = from;
    to.position = position;
    B->more->seek(s->file, &e->source, &to);
}

int event_number(ferry__frame *f)
{
    return (int)strtol(file_body(f), NULL, 10);
}
