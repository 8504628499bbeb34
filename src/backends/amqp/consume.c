/* consume.c - sources and what comes from them.
 *
 * Calls and posts without a key. AMQP has no credit, only a prefetch that a consumer is born with, so a consumer is as large as the
 * credit when it starts, and is joined by a second when the credit has doubled, and so on (not replaced: a quorum queue counts what is on
 * its way to a consumer that is cancelled as a failed delivery). When credit is taken back and none comes, the consumers are cancelled:
 * pinch.c. What nobody consumes is still seen as served, by the queue `up`, which exists to have its consumers counted.
 *
 * Posts with a key. Each partition has one consumer at a time (x-single-active-consumer); to cancel it while messages of it are being
 * handled would let another server overtake them. So these consumers live as long as their channel. What the core hands back waits in
 * its place here; when draining nothing more is handed up, and once nothing of it is being handled the channel is closed, which
 * returns all that it had in one step, in order. */
#include "backends/amqp/event.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

enum { KEYED_PREFETCH = 16 };

/* ---- intakes -------------------------------------------------------------------------------------------------------- */

ferry__amqp_intake *ferry__amqp_intake_by(ferry__amqp *a, unsigned number)
{
    for (ferry__node *n = a->intakes.next; n != &a->intakes; n = n->next) {
        ferry__amqp_intake *in = FERRY__OF(n, ferry__amqp_intake, node);
        if (in->number == number)
            return in;
    }
    return NULL;
}

amqp_channel_t ferry__amqp_shared_channel(const ferry__amqp_intake *in)
{
    return in->source->lane == FERRY__CALLS ? FERRY__AMQP_CALLS_IN : FERRY__AMQP_POSTS_IN;
}

static bool works(const ferry__amqp_intake *in)
{
    return in->source->lane == FERRY__CALLS || in->source->lane == FERRY__POSTS;
}

static bool live(const ferry__amqp *a)
{
    return a->in.live && a->out.live && !a->failed;
}

/* ---- consumers ------------------------------------------------------------------------------------------------------ */

static void tag_of(char to[48], char kind, unsigned number, unsigned part)
{
    snprintf(to, 48, "%c%u.%u", kind, number, part);
}

static void set_prefetch(ferry__amqp *a, amqp_channel_t channel, unsigned count)
{
    amqp_basic_qos_t m = {.prefetch_count = (uint16_t)count}; /* of the consumers that start behind it; never global */
    ferry__amqp_say(&a->in, channel, AMQP_BASIC_QOS_METHOD, &m);
}

void ferry__amqp_cancel(ferry__amqp *a, amqp_channel_t channel, char kind, unsigned number, unsigned part)
{
    char tag[48];
    tag_of(tag, kind, number, part);
    amqp_basic_cancel_t m = {.consumer_tag = ferry__amqp_text(tag)};
    a->cancelling++;
    ferry__amqp_say(&a->in, channel, AMQP_BASIC_CANCEL_METHOD, &m);
}

void ferry__amqp_stop_shared(ferry__amqp *a, ferry__amqp_intake *in)
{
    for (; in->consumers; in->consumers--)
        ferry__amqp_cancel(a, ferry__amqp_shared_channel(in), 'q', in->number, in->generation + 1 - in->consumers);
    in->prefetch = 0;
}

static void add_shared(ferry__amqp *a, ferry__amqp_intake *in, unsigned more)
{
    char queue[FERRY__AMQP_NAME], tag[48];
    if (!in->consumers)
        ferry__amqp_declare_shared(a, in->source); /* a server that left meanwhile may have deleted it */
    in->prefetch += more;
    in->consumers++;
    in->generation++;
    ferry__amqp_shared_name(a, queue, in->source);
    tag_of(tag, 'q', in->number, in->generation);
    set_prefetch(a, ferry__amqp_shared_channel(in), more);
    ferry__amqp_consume(a, &a->in, ferry__amqp_shared_channel(in), queue, tag, false);
}

static void start_keyed(ferry__amqp *a, ferry__amqp_intake *in)
{
    char queue[FERRY__AMQP_NAME], tag[48];
    const char *name = in->source->name;
    if (in->keyed || !a->keyed_open || a->keyed_closing || ferry__amqp_is_box(name))
        return;
    in->keyed = true;
    set_prefetch(a, FERRY__AMQP_KEYED_IN, KEYED_PREFETCH);
    for (unsigned i = 1; i <= a->config->partitions; i++) {
        ferry__amqp_queue_name(a, queue, name, strlen(name), "posts", i);
        tag_of(tag, 'k', in->number, i);
        ferry__amqp_consume(a, &a->in, FERRY__AMQP_KEYED_IN, queue, tag, false);
    }
}

/* Not while what is held is enough: it is older than what would come. */
static bool pinched(const ferry__amqp_intake *in)
{
    return !in->consumers && in->hold.count >= (size_t)in->credit;
}

/* Large enough for the credit. Enlarged in steps, unless it is full of messages that are kept (deferred ones, say). */
static void fit(ferry__amqp *a, ferry__amqp_intake *in)
{
    if (!in->declared || in->credit <= 0 || !live(a) || pinched(in))
        return;
    size_t want = (size_t)in->credit + in->handed, have = in->prefetch;
    bool full = in->handed + in->hold.count >= have;
    if (full && want < have + have / 4)
        want = have + have / 4;
    if (want > a->prefetch)
        want = a->prefetch;
    if (want > have && (full || want >= have * 2 || want == a->prefetch))
        add_shared(a, in, (unsigned)(want - have));
    if (in->source->lane == FERRY__POSTS)
        start_keyed(a, in);
}

static void sign_of_life(ferry__amqp *a, ferry__amqp_intake *in)
{
    in->signs = true;
    char queue[FERRY__AMQP_NAME], tag[48];
    ferry__amqp_queue_name(a, queue, in->source->name, strlen(in->source->name), "up", 0);
    tag_of(tag, 'u', in->number, 0);
    ferry__amqp_consume(a, &a->in, FERRY__AMQP_CALLS_IN, queue, tag, true);
}

static void begin(ferry__amqp *a, ferry__amqp_intake *in)
{
    if (in->source->lane == FERRY__POSTS && !a->keyed_open && !a->keyed_closing)
        a->keyed_open = true; /* it was opened with the connection, or again by keyed_closed */
    ferry__amqp_declare_service(a, in);
    if (works(in))
        fit(a, in);
}

/* Not before all of its queues are there: whoever sees the service may post to it, and a quorum queue in the making takes nothing. */
void ferry__amqp_show_signs(ferry__amqp *a)
{
    for (ferry__node *n = a->intakes.next; n != &a->intakes && !a->declaring && live(a); n = n->next) {
        ferry__amqp_intake *in = FERRY__OF(n, ferry__amqp_intake, node);
        if (in->source->lane == FERRY__CALLS && in->declared && !in->signs)
            sign_of_life(a, in);
    }
}

void ferry__amqp_begin_all(ferry__amqp *a)
{
    a->keyed_open = true;
    a->calls.base = a->calls.top = a->posts.base = a->posts.top = 1;
    ferry__amqp_declare_own(a);
    ferry__amqp_events_begin(a);
    for (ferry__node *n = a->intakes.next; n != &a->intakes; n = n->next)
        begin(a, FERRY__OF(n, ferry__amqp_intake, node));
}

/* ---- the slots ------------------------------------------------------------------------------------------------------ */

ferry_status ferry__amqp_listen(void *self, ferry__source *source)
{
    ferry__amqp *a = self;
    if (source->lane == FERRY__EVENTS)
        return ferry__amqp_event_listen(a, source);
    if (source->lane == FERRY__REPLIES) {
        a->replies_to = source;
        return FERRY_OK;
    }
    ferry__amqp_intake *in = ferry__zalloc(sizeof *in);
    if (!in || !ferry__amqp_box_note(a, source->name, a->numbers + 1)) {
        ferry__free(in);
        return FERRY_NO_MEMORY;
    }
    in->source = source;
    in->number = ++a->numbers & 0xffffff;
    ferry__frames_init(&in->hold);
    ferry__list_init(&in->node);
    ferry__list_append(&a->intakes, &in->node);
    source->data = in;
    if (live(a) && !(source->lane == FERRY__POSTS && a->keyed_closing))
        begin(a, in);
    return FERRY_OK;
}

void ferry__amqp_unlisten(void *self, ferry__source *source)
{
    ferry__amqp *a = self;
    if (source->lane == FERRY__EVENTS) {
        ferry__amqp_event_unlisten(a, source);
        return;
    }
    ferry__amqp_intake *in = source->data;
    if (!in)
        return;
    source->data = NULL;
    ferry__list_remove(&in->node);
    ferry__amqp_box_left(a, in->number, in->handed);
    if (in->declared && live(a)) {
        if (source->lane == FERRY__CONTROLS)
            ferry__amqp_declare_controls(a, source->name, false);
        if (works(in))
            ferry__amqp_stop_shared(a, in);
        ferry__amqp_let_go(a, in, true);
        if (source->lane == FERRY__CALLS)
            ferry__amqp_leave(a, in);
        ferry__amqp_keyed_look(a);
    }
    ferry__frames_drop(&in->hold);
    ferry__free(in);
}

void ferry__amqp_credit(void *self, ferry__source *source, int frames)
{
    ferry__amqp *a = self;
    if (source->lane == FERRY__EVENTS) {
        ferry__amqp_event_credit(a, source, frames);
        return;
    }
    ferry__amqp_intake *in = source->data;
    if (!in)
        return;
    in->credit += frames;
    ferry__amqp_pinch_note(in, frames);
    fit(a, in);
}

/* ---- deliveries ----------------------------------------------------------------------------------------------------- */

static bool parse_tag(amqp_bytes_t tag, char *kind, unsigned *number, unsigned *part)
{
    char text[48] = "";
    if (tag.len == 0 || tag.len >= sizeof text)
        return false;
    memcpy(text, tag.bytes, tag.len);
    *kind = text[0];
    char *end = text + 1;
    *number = (unsigned)strtoul(text + 1, &end, 10);
    *part = *end == '.' ? (unsigned)strtoul(end + 1, NULL, 10) : 0;
    return true;
}

void ferry__amqp_deliver(ferry__amqp_conn *c, amqp_channel_t channel, const amqp_basic_deliver_t *d)
{
    ferry__amqp_inbound *in = &c->in[channel];
    unsigned part = 0;
    *in = (ferry__amqp_inbound){
        .what = FERRY__AMQP_DELIVERED, .tag = d->delivery_tag, .redelivered = d->redelivered != 0};
    if (!parse_tag(d->consumer_tag, &in->tag_kind, &in->intake, &part)) {
        ferry__amqp_fail(c->a, FERRY_UNAVAILABLE, "the broker delivered to a consumer that is not ours");
        return;
    }
    if (in->tag_kind == 'k')
        in->partition = part;
    if (in->tag_kind == 'e' || in->tag_kind == 'f')
        ferry__amqp_event_deliver(in, part, d->routing_key);
    if ((in->tag_kind == 'q' || in->tag_kind == 'k' || in->tag_kind == 'e' || in->tag_kind == 't') &&
        !ferry__amqp_tag_add(c->a, channel, d->delivery_tag))
        ferry__amqp_fail(c->a, FERRY_UNAVAILABLE, "no memory for a delivery, or its number makes no sense");
}

static void control(ferry__amqp *a, ferry__frame *f)
{
    for (ferry__node *n = a->intakes.next; n != &a->intakes; n = n->next) {
        ferry__amqp_intake *in = FERRY__OF(n, ferry__amqp_intake, node);
        if (in->source->lane != FERRY__CONTROLS || strcmp(in->source->name, ferry__frame_text(f, f->route)) != 0)
            continue;
        a->up->frame(a->up, in->source, f);
        return;
    }
    ferry__frame_unref(f);
}

static void work(ferry__amqp *a, amqp_channel_t channel, ferry__amqp_inbound *in)
{
    ferry__amqp_intake *to = ferry__amqp_intake_by(a, in->intake);
    ferry__frame *f = in->frame;
    if (!f) {
        ferry__log_print(a->up->log, LOG_ERR, "a message that cannot be read was dropped from a queue of %s",
                         to ? to->source->name : "ours");
        ferry__amqp_reject(a, channel, in->tag, false);
        ferry__frame_unref(f);
        return;
    }
    bool uncounted = f->tag[0] != 0;
    f->tag[0] = in->tag;
    f->tag[1] = (uint64_t)a->epoch << 32 | (uint64_t)channel << 24 | in->intake;
    if (uncounted && to) { /* a server died with it, and only the message itself can carry that on */
        f->attempt++;
        f->maybe = false;
        ferry__amqp_give_back(a, f, FERRY__AMQP_MOVED);
    } else if (to)
        ferry__frames_add(&to->hold, f);
    else if (in->tag_kind == 'q')
        ferry__amqp_give_back(a, f, FERRY__AMQP_MOVED);
    else
        ferry__frame_unref(f); /* goes back with its channel */
}

void ferry__amqp_delivered(ferry__amqp *a, amqp_channel_t channel, ferry__amqp_inbound *in)
{
    if (in->tag_kind == 'q' || in->tag_kind == 'k')
        work(a, channel, in);
    else if (in->tag_kind == 'e' || in->tag_kind == 't')
        ferry__amqp_event_delivered(a, channel, in);
    else if (in->tag_kind == 'f')
        ferry__amqp_topics_read(a, in);
    else if (!in->frame || a->closing || in->tag_kind == 'u')
        ferry__frame_unref(in->frame);
    else if (in->tag_kind == 'r') {
        ferry__amqp_proven(a, &in->frame->id);
        a->up->frame(a->up, a->replies_to, in->frame);
    } else
        control(a, in->frame);
}

/* A post that is being handled, or was. Without memory for the list they may come twice. */
static bool repeated(ferry__amqp *a, const ferry__frame *f)
{
    if (f->kind != FERRY__POST)
        return false;
    if (!a->done)
        a->done = ferry__amqp_done_new(a->config->done_count, a->config->done_ms);
    return a->done && !ferry__amqp_done_take(a->done, &f->id, a->epoch, ferry__now_ms());
}

static void hand_up_of(ferry__amqp *a, ferry__amqp_intake *in)
{
    while (in->credit > 0 && in->hold.first) {
        ferry__frame *f = ferry__frames_take(&in->hold);
        if (repeated(a, f)) {
            ferry__amqp_tag_settle(a, ferry__amqp_channel_of(f), f->tag[0]);
            ferry__frame_unref(f);
            continue;
        }
        in->credit--;
        in->handed++;
        a->keyed_busy += ferry__amqp_channel_of(f) == FERRY__AMQP_KEYED_IN;
        f->from = in->source;
        a->up->frame(a->up, in->source, f);
    }
    if (!in->consumers && works(in))
        fit(a, in);
}

void ferry__amqp_hand_up(ferry__amqp *a)
{
    for (ferry__node *n = a->intakes.next, *next; n != &a->intakes && !a->closing && a->phase == FERRY__AMQP_UP;
         n = next) {
        next = n->next;
        hand_up_of(a, FERRY__OF(n, ferry__amqp_intake, node));
    }
    ferry__amqp_events_hand_up(a);
}

/* The queue of a consumer was deleted, or lost its leader: declared again, it is there again. */
void ferry__amqp_cancelled(ferry__amqp *a, amqp_bytes_t tag)
{
    char kind = 0;
    unsigned number = 0, part;
    ferry__amqp_intake *in = parse_tag(tag, &kind, &number, &part) ? ferry__amqp_intake_by(a, number) : NULL;
    if (kind == 'e' || kind == 't')
        ferry__amqp_event_cancelled(a, kind, number);
    if (kind == 'r' || kind == 'x') {
        ferry__amqp_fail(a, FERRY_UNAVAILABLE, "the broker deleted a queue of this handle");
        return;
    }
    if (!in || a->closing || (kind == 'q' && part != in->generation)) /* one notice for each consumer: the last counts */
        return;
    ferry__log_print(a->up->log, LOG_WARNING, "the broker deleted a queue of '%s': it is declared again",
                     in->source->name);
    if (kind == 'q')
        in->prefetch = in->consumers = 0; /* of one queue: all of them */
    if (kind == 'k') {
        ferry__amqp_fail(a, FERRY_UNAVAILABLE, "the broker deleted a partition of '%s'", in->source->name);
        return;
    }
    ferry__amqp_declare_service(a, in);
    if (kind == 'u')
        sign_of_life(a, in);
    fit(a, in);
}

/* ---- draining what has keys ----------------------------------------------------------------------------------------- */

static bool posts_wanted(const ferry__amqp *a)
{
    for (ferry__node *n = a->intakes.next; n != &a->intakes; n = n->next)
        if (FERRY__OF(n, ferry__amqp_intake, node)->source->lane == FERRY__POSTS)
            return true;
    return false;
}

void ferry__amqp_keyed_look(ferry__amqp *a)
{
    if (!a->keyed_open || a->keyed_closing || a->keyed_busy || !live(a) || posts_wanted(a))
        return;
    ferry__amqp_acknowledge(a); /* what was handled, before the rest goes back */
    a->keyed_closing = true;
    ferry__amqp_channel_close(&a->in, FERRY__AMQP_KEYED_IN);
}

void ferry__amqp_keyed_closed(ferry__amqp *a)
{
    a->keyed_open = a->keyed_closing = false;
    a->settled_now += a->keyed_parked;
    a->keyed_parked = 0;
    a->tags[FERRY__AMQP_KEYED_IN].base = a->tags[FERRY__AMQP_KEYED_IN].top = 1;
    if (!posts_wanted(a))
        return;
    ferry__amqp_channel_open(&a->in, FERRY__AMQP_KEYED_IN);
    for (ferry__node *n = a->intakes.next; n != &a->intakes; n = n->next) {
        ferry__amqp_intake *in = FERRY__OF(n, ferry__amqp_intake, node);
        in->keyed = false;
        if (in->source->lane == FERRY__POSTS)
            begin(a, in);
    }
}

/* ---- losses --------------------------------------------------------------------------------------------------------- */

void ferry__amqp_consume_down(ferry__amqp *a)
{
    for (ferry__node *n = a->intakes.next; n != &a->intakes; n = n->next) {
        ferry__amqp_intake *in = FERRY__OF(n, ferry__amqp_intake, node);
        ferry__frames_drop(&in->hold);
        in->prefetch = in->consumers = 0;
        in->declared = in->keyed = in->signs = in->asking = false;
    }
    ferry__amqp_tags_reset(a);
    ferry__amqp_leave_down(a);
    ferry__amqp_events_down(a);
    a->settled_now += a->keyed_parked;
    a->keyed_parked = a->keyed_busy = 0;
}

void ferry__amqp_consume_done(ferry__amqp *a)
{
    for (ferry__node *n; (n = ferry__list_shift(&a->intakes));) {
        ferry__amqp_intake *in = FERRY__OF(n, ferry__amqp_intake, node);
        ferry__frames_drop(&in->hold);
        ferry__free(in);
    }
    for (size_t i = 0; i < FERRY__AMQP_CHANNELS; i++)
        ferry__free(a->tags[i].state);
    ferry__amqp_leave_down(a);
    ferry__amqp_events_done(a);
    ferry__amqp_done_free(a->done);
}
