/* settle.c - the end of a received message: acknowledged, or copied somewhere else and acknowledged then.
 *
 * Acknowledgements are collected and written at flush, one for all up to the lowest that is open, and one each for those behind it: a
 * long handler must not keep the finished ones unacknowledged. What was answered is acknowledged only when its answer is written.
 * Copies leave through the ring of posts; the old message is acknowledged when the broker has confirmed the new one. If that fails, the
 * old one goes back to its queue a little later, so that a broker that refuses does not make us spin. */
#include "backends/amqp/event_stream.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <string.h>

enum { OPEN, SETTLED, DONE };
enum { LATE_MS = 1000, TAGS_MOST = 1 << 20 };

/* ---- tags ----------------------------------------------------------------------------------------------------------- */

static uint8_t *state_of(const ferry__amqp_tags *t, uint64_t tag)
{
    return &t->state[tag & (t->size - 1)];
}

static bool grow(ferry__amqp_tags *t)
{
    ferry__amqp_tags wide = *t;
    wide.size = t->size ? t->size * 2 : 64;
    wide.state = wide.size <= TAGS_MOST ? ferry__zalloc(wide.size) : NULL;
    if (!wide.state)
        return false;
    for (uint64_t n = t->base; n < t->top; n++)
        *state_of(&wide, n) = *state_of(t, n);
    ferry__free(t->state);
    *t = wide;
    return true;
}

bool ferry__amqp_tag_add(ferry__amqp *a, amqp_channel_t channel, uint64_t tag)
{
    ferry__amqp_tags *t = &a->tags[channel];
    if (tag != t->top || (t->top - t->base >= t->size && !grow(t)))
        return false;
    t->top++;
    *state_of(t, tag) = OPEN;
    return true;
}

void ferry__amqp_tag_settle(ferry__amqp *a, amqp_channel_t channel, uint64_t tag)
{
    ferry__amqp_tags *t = &a->tags[channel];
    if (tag < t->base || tag >= t->top || *state_of(t, tag) != OPEN)
        return;
    *state_of(t, tag) = SETTLED;
    t->settled++;
}

void ferry__amqp_tags_forget(ferry__amqp *a, amqp_channel_t channel)
{
    ferry__amqp_tags *t = &a->tags[channel];
    a->lost_now += t->known;
    t->base = t->top = 1;
    t->settled = t->known = 0;
}

void ferry__amqp_tags_reset(ferry__amqp *a)
{
    for (amqp_channel_t i = 0; i < FERRY__AMQP_CHANNELS; i++)
        ferry__amqp_tags_forget(a, i);
    for (ferry__frame *f; (f = ferry__frames_take(&a->late));)
        ferry__frame_unref(f);
}

static void put_ack(ferry__amqp *a, amqp_channel_t channel, uint64_t tag, bool multiple)
{
    amqp_basic_ack_t m = {.delivery_tag = tag, .multiple = multiple};
    ferry__amqp_say(&a->in, channel, AMQP_BASIC_ACK_METHOD, &m);
}

void ferry__amqp_acknowledge_on(ferry__amqp *a, amqp_channel_t channel)
{
    ferry__amqp_tags *t = &a->tags[channel];
    uint64_t upto = 0;
    for (; t->base < t->top && *state_of(t, t->base) != OPEN; t->base++)
        if (*state_of(t, t->base) == SETTLED) {
            upto = t->base;
            t->settled--;
        }
    if (upto)
        put_ack(a, channel, upto, true);
    for (uint64_t n = t->base; t->settled; n++)
        if (*state_of(t, n) == SETTLED) {
            *state_of(t, n) = DONE;
            put_ack(a, channel, n, false);
            t->settled--;
        }
    a->settled_now += t->known;
    t->known = 0;
}

void ferry__amqp_acknowledge(ferry__amqp *a)
{
    for (amqp_channel_t channel = FERRY__AMQP_CALLS_IN; channel <= FERRY__AMQP_KEYED_IN; channel++)
        if (a->tags[channel].settled && !(channel == FERRY__AMQP_CALLS_IN && a->replies.count))
            ferry__amqp_acknowledge_on(a, channel);
    ferry__amqp_events_acknowledge(a);
}

void ferry__amqp_reject(ferry__amqp *a, amqp_channel_t channel, uint64_t tag, bool requeue)
{
    ferry__amqp_tags *t = &a->tags[channel];
    amqp_basic_reject_t m = {.delivery_tag = tag, .requeue = requeue};
    if (tag < t->base || tag >= t->top || *state_of(t, tag) != OPEN)
        return;
    *state_of(t, tag) = DONE;
    ferry__amqp_say(&a->in, channel, AMQP_BASIC_REJECT_METHOD, &m);
}

/* ---- handled -------------------------------------------------------------------------------------------------------- */

bool ferry__amqp_current(const ferry__amqp *a, const ferry__frame *f)
{
    return a->phase == FERRY__AMQP_UP && (uint32_t)(f->tag[1] >> 32) == a->epoch &&
           (ferry__amqp_channel_of(f) < FERRY__AMQP_EVENTS || ferry__amqp_event_current(a, f));
}

/* The core has no more of it in hand. False: its connection is gone, and with it the right to settle it. */
static bool release(ferry__amqp *a, ferry__frame *f, bool done)
{
    if (ferry__amqp_channel_of(f) >= FERRY__AMQP_EVENTS)
        return ferry__amqp_event_release(a, f, done);
    if (f->kind == FERRY__POST && done)
        ferry__amqp_done_settled(a->done, &f->id, ferry__now_ms());
    else if (f->kind == FERRY__POST)
        ferry__amqp_done_forget(a->done, &f->id);
    if (f->kind == FERRY__CALL && (done || !ferry__amqp_current(a, f))) /* given back, it needs its address */
        ferry__amqp_drop_direct(a, &f->id);
    ferry__amqp_intake *in = ferry__amqp_intake_by(a, f->tag[1] & 0xffffff);
    if (in && in->handed)
        in->handed--;
    ferry__amqp_leave_settled(a, f->tag[1] & 0xffffff);
    ferry__amqp_box_settled(a, f->tag[1] & 0xffffff);
    if (!ferry__amqp_current(a, f)) {
        a->lost_now++;
        ferry__frame_unref(f);
        return false;
    }
    a->keyed_busy -= ferry__amqp_channel_of(f) == FERRY__AMQP_KEYED_IN && a->keyed_busy;
    return true;
}

static void settled(ferry__amqp *a, ferry__frame *f)
{
    amqp_channel_t channel = ferry__amqp_channel_of(f);
    ferry__amqp_tag_settle(a, channel, f->tag[0]);
    a->tags[channel].known++;
}

void ferry__amqp_settle(void *self, ferry__frame *f)
{
    ferry__amqp *a = self;
    if (!release(a, f, true))
        return;
    settled(a, f);
    ferry__amqp_event_finished(a, f);
    ferry__frame_unref(f);
    ferry__amqp_keyed_look(a);
}

/* ---- copies --------------------------------------------------------------------------------------------------------- */

static void back_later(ferry__amqp *a, ferry__frame *f)
{
    f->deadline_ms = ferry__now_ms() + LATE_MS; /* nobody reads it any more */
    ferry__frames_add(&a->late, f);
}

void ferry__amqp_late(ferry__amqp *a, int64_t now_ms)
{
    while (a->late.first && a->late.first->deadline_ms <= now_ms) {
        ferry__frame *f = ferry__frames_take(&a->late);
        if (ferry__amqp_current(a, f))
            ferry__amqp_reject(a, ferry__amqp_channel_of(f), f->tag[0], true);
        ferry__frame_unref(f);
    }
}

void ferry__amqp_copied(ferry__amqp *a, ferry__amqp_sent *s, bool accepted)
{
    ferry__frame *f = s->frame;
    if (f->tag[0] == 0) { /* not a copy: it was never delivered */
        ferry__amqp_stream_stored(a, f, accepted);
        ferry__frame_unref(f);
        return;
    }
    bool current = ferry__amqp_current(a, f), known = s->kind != FERRY__AMQP_MOVED;
    ferry__amqp_event_copied(a, f);
    if (accepted && current) {
        if (known)
            settled(a, f);
        else
            ferry__amqp_tag_settle(a, ferry__amqp_channel_of(f), f->tag[0]);
    } else
        a->lost_now += known;
    if (!accepted && current)
        back_later(a, f);
    else
        ferry__frame_unref(f);
}

static void copy(ferry__amqp *a, ferry__frame *f, ferry__amqp_letter *l, ferry__amqp_kind kind)
{
    l->channel = FERRY__AMQP_POSTS;
    l->mandatory = true;
    a->out.noted = true;
    ferry__amqp_event_copying(a, f);
    bool written = ferry__amqp_ring_room(&a->posts) && ferry__amqp_put_letter(&a->out.codec, l) == FERRY_OK;
    if (written)
        ferry__amqp_ring_add(&a->posts, f, NULL, kind);
    else
        ferry__amqp_copied(a, &(ferry__amqp_sent){.frame = f, .kind = (uint8_t)kind}, false);
}

void ferry__amqp_give_back(ferry__amqp *a, ferry__frame *f, ferry__amqp_kind kind)
{
    char queue[FERRY__AMQP_NAME], reply[FERRY__AMQP_NAME];
    ferry__amqp_fields fields;
    const char *direct = ferry__amqp_direct_of(a, &f->id);
    ferry__amqp_event_place(a, queue, f, true);
    snprintf(reply, sizeof reply, "%s", direct ? direct : "");
    ferry__amqp_fields_write(&fields, f, *reply ? reply : NULL, ferry__now_ms());
    ferry__amqp_drop_direct(a, &f->id);
    ferry__amqp_letter l = {
        .exchange = "", .key = queue, .properties = &fields.p, .body = ferry__frame_body(f), .length = f->body.length};
    copy(a, f, &l, kind);
}

void ferry__amqp_retry(void *self, ferry__frame *f, int delay_ms)
{
    ferry__amqp *a = self;
    char queue[FERRY__AMQP_NAME], tier[FERRY__AMQP_NAME];
    ferry__amqp_fields fields;
    if (!release(a, f, false))
        return;
    ferry__amqp_event_place(a, queue, f, false);
    ferry__amqp_declare_tier(a, ferry__amqp_tier(a, delay_ms), tier);
    ferry__amqp_fields_write(&fields, f, NULL, ferry__now_ms());
    ferry__amqp_letter l = {.exchange = tier,
                            .key = queue,
                            .properties = &fields.p,
                            .body = ferry__frame_body(f),
                            .length = f->body.length};
    copy(a, f, &l, FERRY__AMQP_RETRY);
    ferry__amqp_keyed_look(a);
}

void ferry__amqp_bury(void *self, ferry__frame *f, const char *box, const void *record, size_t length)
{
    ferry__amqp *a = self;
    char queue[FERRY__AMQP_NAME];
    ferry__amqp_fields fields;
    if (!release(a, f, false))
        return;
    ferry__amqp_queue_name(a, queue, box, strlen(box), "dead", 0);
    ferry__amqp_event_box(a, f, queue);
    ferry__amqp_fields_write(&fields, f, NULL, ferry__now_ms());
    ferry__amqp_letter l = {.exchange = "", .key = queue, .properties = &fields.p, .body = record, .length = length};
    copy(a, f, &l, FERRY__AMQP_BURIED);
    ferry__amqp_keyed_look(a);
}

/* ---- given back ----------------------------------------------------------------------------------------------------- */

/* In its old place: by the number of its delivery, which its channel gave it. */
static void hold_again(ferry__amqp_intake *in, ferry__frame *f)
{
    ferry__frame **at = &in->hold.first;
    for (ferry__frame **next = at; *next; next = &(*next)->next)
        if (ferry__amqp_channel_of(*next) == ferry__amqp_channel_of(f) && (*next)->tag[0] < f->tag[0])
            at = &(*next)->next;
    f->next = *at;
    *at = f;
    in->hold.count++;
    if (!f->next)
        in->hold.last = &f->next;
}

void ferry__amqp_hand_back(void *self, ferry__frame *f)
{
    ferry__amqp *a = self;
    if (!release(a, f, false))
        return;
    if (ferry__amqp_channel_of(f) >= FERRY__AMQP_EVENTS) {
        ferry__amqp_event_hand_back(a, f);
        return;
    }
    ferry__amqp_intake *in = ferry__amqp_intake_by(a, f->tag[1] & 0xffffff);
    if (in) {
        a->settled_now++; /* as far as the core goes: it stays unacknowledged, until it is handed up again or pinched */
        hold_again(in, f);
    } else if (ferry__amqp_channel_of(f) != FERRY__AMQP_KEYED_IN)
        ferry__amqp_give_back(a, f, FERRY__AMQP_BACK);
    else {
        a->keyed_parked++;
        ferry__frame_unref(f);
    }
    ferry__amqp_keyed_look(a);
}
