/* event_source.c - what the core calls and is told about events; explained in event.h. */
#include "backends/file/event.h"

#include "backends/file/claim.h"
#include "backends/file/pipe.h"
#include "base/alloc.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void ferry__events_init(ferry__events *e)
{
    ferry__frames *frames[] = {&e->noted, &e->passed, &e->work, &e->arrived};
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++)
        ferry__frames_init(frames[i]);
    ferry__list_init(&e->noted_listeners);
    ferry__list_init(&e->passed_listeners);
    ferry__list_init(&e->listeners);
}

/* ---- sources ---- */

static char *join(const char *ns, const char *name)
{
    size_t size = strlen(ns) + 1 + strlen(name) + 1;
    char *text = ferry__alloc(size);
    if (text)
        snprintf(text, size, "%s:%s", ns, name);
    return text;
}

ferry__event_wish ferry__event_wish_of(const ferry__wish *wish)
{
    ferry__event_wish w = {.from = (int)wish->from, .time_ms = wish->time_ms, .position = -1};
    char *end = NULL;
    if (wish->position && wish->position[0] >= '0' && wish->position[0] <= '9')
        w.position = strtoll(wish->position, &end, 10);
    if (end && (*end || w.position >= FERRY__STORE_SEQUENCE_MASK))
        w.position = -1;
    snprintf(w.text, sizeof w.text, "%s", wish->position ? wish->position : "");
    return w;
}

void ferry__event_free_listener(ferry__event_listener *l)
{
    for (size_t i = 0; l->tracks && i < l->count; i++)
        ferry__free(l->tracks[i].again);
    ferry__free(l->tracks);
    ferry__free(l->topic_name);
    ferry__free(l->group);
    ferry__free(l->box);
    ferry__free(l);
}

static ferry__event_listener *make(ferry__file *f, ferry__source *source)
{
    const ferry__wish *wish = source->wish;
    ferry__event_listener *l = ferry__zalloc(sizeof *l);
    if (!l)
        return NULL;
    l->count = wish->group ? FERRY__PAGE_TRACKS : 1;
    l->tracks = ferry__zalloc(l->count * sizeof *l->tracks);
    l->topic_name = join(f->config->ns, source->name);
    l->group = ferry__strdup(wish->group);
    l->box = join(f->config->ns, wish->box ? wish->box : source->name);
    if (!l->tracks || !l->topic_name || !l->box || (wish->group && !l->group)) {
        ferry__event_free_listener(l);
        return NULL;
    }
    ferry__list_init(&l->loose);
    for (size_t i = 0; i < l->count; i++) {
        ferry__list_init(&l->tracks[i].holds);
        l->tracks[i].listener = l;
        l->tracks[i].index = (uint16_t)i;
    }
    l->source = source;
    l->wish = ferry__event_wish_of(wish);
    l->member = -1;
    return l;
}

ferry_status ferry__event_listen(ferry__file *f, ferry__source *source)
{
    ferry__event_listener *l = make(f, source);
    if (!l)
        return FERRY_NO_MEMORY;
    source->data = l;
    ferry__list_append(&f->events.noted_listeners, &l->node);
    return FERRY_OK;
}

void ferry__event_unlisten(ferry__source *source)
{
    ferry__event_listener *l = source->data;
    source->data = NULL;
    if (l)
        atomic_store(&l->closed, true);
}

void ferry__event_flush(ferry__file *f)
{
    ferry__frames_join(&f->events.passed, &f->events.noted);
    ferry__list_join(&f->events.passed_listeners, &f->events.noted_listeners);
}

void ferry__event_take(ferry__file *f)
{
    ferry__frames_join(&f->events.work, &f->events.passed);
    ferry__list_join(&f->events.listeners, &f->events.passed_listeners);
}

/* ---- frames ---- */

bool ferry__event_is(const ferry__frame *frame)
{
    return FERRY__TAG_VERB(frame) == FERRY__IS_EVENT && frame->tag[0];
}

bool ferry__event_in_group(const ferry__frame *frame)
{
    return FERRY__TAG_ENTRY(frame) != FERRY__EVENT_NO_ENTRY;
}

void ferry__event_end(ferry__file *f, ferry__frame *frame, int verb)
{
    if (ferry__event_in_group(frame) && FERRY__TAG_GENERATION(frame) == (f->generation & 0xfff))
        ferry__claim_mark(f, frame, verb == FERRY__DO_SETTLE ? FERRY__MARK_DONE : FERRY__MARK_CLAIMED);
    frame->tag[1] = FERRY__TAG(FERRY__TAG_ENTRY(frame), verb, FERRY__TAG_GENERATION(frame), 0);
    ferry__frames_add(&f->events.noted, frame);
}

/* ---- news ---- */

void ferry__event_tell(ferry__event_listener *l, unsigned news)
{
    l->news |= news;
}

void ferry__event_break(ferry__event_listener *l, ferry_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(l->why, sizeof l->why, format, args);
    va_end(args);
    l->status = status;
    l->broken = true;
    l->news |= FERRY__NEWS_BROKEN;
}

static void tell(ferry__file *f, ferry__event_listener *l, unsigned news)
{
    if (news & FERRY__NEWS_READY && f->up->ready)
        f->up->ready(f->up, l->source);
    if (news & FERRY__NEWS_BROKEN && !atomic_load(&l->closed) && f->up->broken)
        f->up->broken(f->up, l->source, l->status, l->why);
    if (news & FERRY__NEWS_CAUGHT_UP && !atomic_load(&l->closed) && f->up->caught_up)
        f->up->caught_up(f->up, l->source);
}

static void tell_all(ferry__file *f)
{
    for (ferry__node *n = f->events.listeners.next; n != &f->events.listeners; n = n->next) {
        ferry__event_listener *l = FERRY__OF(n, ferry__event_listener, node);
        unsigned news = l->news;
        l->news = 0;
        if (news && !atomic_load(&l->closed))
            tell(f, l, news);
    }
}

static void hand_up(ferry__file *f, ferry__frame *frame)
{
    ferry__event_listener *l = frame->owner;
    frame->owner = NULL;
    if (!atomic_load(&l->closed)) {
        frame->from = l->source;
        f->up->frame(f->up, l->source, frame);
        return;
    }
    ferry__event_end(f, frame, FERRY__DO_HAND_BACK);
    f->unasked++;
}

void ferry__event_pump(ferry__file *f)
{
    tell_all(f);
    for (ferry__frame *frame; (frame = ferry__frames_take(&f->events.arrived));)
        hand_up(f, frame);
}

/* ---- the end ---- */

void ferry__event_shut(ferry__file *f)
{
    for (ferry__node *n = f->events.listeners.next; n != &f->events.listeners; n = n->next)
        ferry__event_cut(f, FERRY__OF(n, ferry__event_listener, node));
    memset(f->events.known, 0, sizeof f->events.known);
    f->events.used = f->events.rings = 0;
}

static void free_holds(ferry__list *holds)
{
    for (ferry__node *n; (n = ferry__list_shift(holds));)
        ferry__free(FERRY__OF(n, ferry__event_hold, node));
}

static void end_listener(ferry__event_listener *l)
{
    if (!atomic_load(&l->closed))
        l->source->data = NULL;
    for (size_t i = 0; i < l->count; i++)
        free_holds(&l->tracks[i].holds);
    free_holds(&l->loose);
    ferry__event_free_listener(l);
}

void ferry__event_done(ferry__file *f)
{
    ferry__frames *frames[] = {&f->events.noted, &f->events.passed, &f->events.work, &f->events.arrived};
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++)
        if (frames[i]->last)
            ferry__frames_drop(frames[i]);
    ferry__list *lists[] = {&f->events.noted_listeners, &f->events.passed_listeners, &f->events.listeners};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        for (ferry__node *n; lists[i]->next && (n = ferry__list_shift(lists[i]));)
            end_listener(FERRY__OF(n, ferry__event_listener, node));
    for (size_t i = 0; i < FERRY__EVENT_ROWS; i++)
        ferry__free(f->events.rows[i].data);
}
