/* event_settle.c - the end of an event that was handed up: what differs from calls and posts (settle.c), which does the rest. And the
 * names of sources, for frames whose source is gone: a frame has its route, "order.created", but not where it came from. */
#include "backends/amqp/event_stream.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <string.h>

ferry__amqp_feed *ferry__amqp_feed_of(const ferry__amqp *a, const ferry__frame *f)
{
    for (ferry__node *n = a->feeds.next; n != &a->feeds; n = n->next) {
        ferry__amqp_feed *d = FERRY__OF(n, ferry__amqp_feed, node);
        unsigned number = f->tag[1] & 0xffffff;
        if (d->channel == ferry__amqp_channel_of(f) && number >= d->born && number <= d->number)
            return d;
    }
    return NULL;
}

static bool is_event(const ferry__frame *f)
{
    return ferry__amqp_channel_of(f) >= FERRY__AMQP_EVENTS;
}

bool ferry__amqp_event_current(const ferry__amqp *a, const ferry__frame *f)
{
    const ferry__amqp_feed *d = ferry__amqp_feed_of(a, f);
    return d && !d->broken;
}

bool ferry__amqp_event_shared(const ferry__amqp_feed *d, const ferry__frame *f)
{
    return d->group && f->partition == 0 && !d->stream;
}

/* ---- ids ------------------------------------------------------------------------------------------------------------ */

/* Each source has every event once, so an id is known for one source. */
static ferry__id id_for(unsigned number, const ferry__frame *f)
{
    ferry__id id = f->id;
    memcpy(id.client, &number, sizeof number); /* the rest of it is random enough */
    return id;
}

bool ferry__amqp_event_repeated(ferry__amqp *a, const ferry__amqp_feed *d, const ferry__frame *f)
{
    ferry__id id = id_for(d->number, f);
    if (!a->events_done)
        a->events_done = ferry__amqp_done_new(a->config->done_count, a->config->done_ms);
    return a->events_done && !ferry__amqp_done_take(a->events_done, &id, a->epoch, ferry__now_ms());
}

/* ---- ends ----------------------------------------------------------------------------------------------------------- */

bool ferry__amqp_event_release(ferry__amqp *a, ferry__frame *f, bool done)
{
    ferry__amqp_feed *d = ferry__amqp_feed_of(a, f);
    ferry__id id = id_for(f->tag[1] & 0xffffff, f);
    if (done)
        ferry__amqp_done_settled(a->events_done, &id, ferry__now_ms());
    else
        ferry__amqp_done_forget(a->events_done, &id);
    if (d && d->handed)
        d->handed--;
    if (ferry__amqp_current(a, f))
        return true;
    a->lost_now++;
    ferry__frame_unref(f);
    return false;
}

void ferry__amqp_event_finished(ferry__amqp *a, const ferry__frame *f)
{
    ferry__amqp_feed *d = is_event(f) ? ferry__amqp_feed_of(a, f) : NULL;
    if (!d)
        return;
    if (d->stream) {
        d->part[0].open -= d->part[0].open > 0;
        ferry__amqp_stream_finished(a, d, f->tag[0]);
        ferry__amqp_stream_caught(a, d);
        return;
    }
    ferry__amqp_part *p = &d->part[d->group && f->partition < d->parts ? f->partition : 0];
    p->open -= p->open > 0;
    if (p->left && !f->maybe) /* those that somebody had before stand in front of what was counted */
        p->left--;
    if (!d->told)
        ferry__amqp_event_caught(a, d);
}

void ferry__amqp_event_copying(ferry__amqp *a, const ferry__frame *f)
{
    ferry__amqp_feed *d = is_event(f) ? ferry__amqp_feed_of(a, f) : NULL;
    if (d)
        d->busy++;
}

void ferry__amqp_event_copied(ferry__amqp *a, const ferry__frame *f)
{
    ferry__amqp_feed *d = is_event(f) && ferry__amqp_current(a, f) ? ferry__amqp_feed_of(a, f) : NULL;
    if (!d)
        return;
    d->busy -= d->busy > 0;
    ferry__amqp_event_finished(a, f);
}

/* In its old place: by the number of its delivery. */
static void hold_again(ferry__amqp_feed *d, ferry__frame *f)
{
    ferry__frame **at = &d->hold.first;
    while (*at && (*at)->tag[0] < f->tag[0])
        at = &(*at)->next;
    f->next = *at;
    *at = f;
    d->hold.count++;
    if (!f->next)
        d->hold.last = &f->next;
}

void ferry__amqp_event_hand_back(ferry__amqp *a, ferry__frame *f)
{
    ferry__amqp_feed *d = ferry__amqp_feed_of(a, f); /* it is there: its receipt is current */
    if (d->source && (f->tag[1] & 0xffffff) == d->number) {
        a->settled_now++;
        hold_again(d, f);
    } else if (d->source) { /* it was sought elsewhere since */
        a->settled_now++;
        ferry__amqp_tag_settle(a, d->channel, f->tag[0]);
        ferry__frame_unref(f);
    } else if (ferry__amqp_event_shared(d, f))
        ferry__amqp_give_back(a, f, FERRY__AMQP_BACK);
    else {
        d->parked++;
        ferry__frame_unref(f);
    }
}

/* ---- boxes ---------------------------------------------------------------------------------------------------------- */

typedef struct box {
    ferry__node node;
    unsigned    number;
    size_t      handed; /* once its source is gone */
    bool        left;
    char        name[];
} box;

static box *box_of(const ferry__amqp *a, unsigned number)
{
    for (ferry__node *n = a->boxes.next; n != &a->boxes; n = n->next)
        if (FERRY__OF(n, box, node)->number == number)
            return FERRY__OF(n, box, node);
    return NULL;
}

bool ferry__amqp_box_note(ferry__amqp *a, const char *name, unsigned number)
{
    if (!name)
        return true;
    box *b = ferry__zalloc(sizeof *b + strlen(name) + 1);
    if (!b)
        return false;
    memcpy(b->name, name, strlen(name));
    b->number = number & 0xffffff;
    ferry__list_init(&b->node);
    ferry__list_append(&a->boxes, &b->node);
    return true;
}

void ferry__amqp_box_left(ferry__amqp *a, unsigned number, size_t handed)
{
    box *b = box_of(a, number);
    if (!b)
        return;
    b->left = true;
    b->handed = handed;
}

void ferry__amqp_box_settled(ferry__amqp *a, unsigned number)
{
    box *b = box_of(a, number);
    if (b && b->handed)
        b->handed--;
}

void ferry__amqp_boxes_sweep(ferry__amqp *a, bool all)
{
    for (ferry__node *n = a->boxes.next, *next; n != &a->boxes; n = next) {
        box *b = FERRY__OF(n, box, node);
        next = n->next;
        if (!all && (!b->left || b->handed))
            continue;
        ferry__list_remove(n);
        ferry__free(b);
    }
}

/* Where its copy goes. Back: to where it came from, as fresh; else, of an event, to the posts of its box. */
void ferry__amqp_event_place(ferry__amqp *a, char to[FERRY__AMQP_NAME], const ferry__frame *f, bool back)
{
    const ferry__amqp_feed *d = is_event(f) ? ferry__amqp_feed_of(a, f) : NULL;
    const box *b = d ? NULL : box_of(a, f->tag[1] & 0xffffff);
    if (d && back)
        ferry__amqp_event_queue(a, to, d, 0);
    else if (d || b)
        ferry__amqp_queue_of(a, to, d ? d->box : b->name, f);
    else
        snprintf(to, FERRY__AMQP_NAME, "%s", a->config->ns); /* cannot be: there is no such queue, so it stays where it is */
}

/* A group's was declared by its source of posts; a broadcast has none, and needs a box only when something dies. */
void ferry__amqp_event_box(ferry__amqp *a, const ferry__frame *f, const char *queue)
{
    amqp_table_entry_t arguments[2];
    ferry__amqp_feed *d = is_event(f) ? ferry__amqp_feed_of(a, f) : NULL;
    if (!d || d->boxed == a->era)
        return;
    d->boxed = a->era;
    ferry__amqp_declare_queue(a, &a->out, FERRY__AMQP_POSTS, queue, arguments, ferry__amqp_durable_type(a, arguments));
}
