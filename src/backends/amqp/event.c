#include "backends/amqp/event_stream.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

enum { PART_PREFETCH = 128, PINCH_MS = 20, PRECONDITION_FAILED = 406, ACCESS_REFUSED = 403, NOT_IMPLEMENTED = 540 };

static ferry__amqp_feed *at(const ferry__amqp *a, ferry__node *n)
{
    return n == &a->feeds ? NULL : FERRY__OF(n, ferry__amqp_feed, node);
}

static ferry__amqp_feed *after(const ferry__amqp *a, ferry__amqp_feed *d)
{
    return d ? at(a, d->node.next) : NULL;
}

static bool live(const ferry__amqp *a)
{
    return a->in.live && a->out.live && !a->failed;
}

ferry__amqp_feed *ferry__amqp_feed_on(ferry__amqp *a, amqp_channel_t channel)
{
    for (ferry__amqp_feed *d = at(a, a->feeds.next), *n = after(a, d); d; d = n, n = after(a, d))
        if (d->channel == channel)
            return d;
    return NULL;
}

static void drop(ferry__amqp_feed *d)
{
    ferry__list_remove(&d->node);
    ferry__frames_drop(&d->hold);
    ferry__amqp_stream_free(d);
    ferry__free(d);
}

/* ---- beginning ------------------------------------------------------------------------------------------------------ */

void ferry__amqp_feed_begin(ferry__amqp *a, ferry__amqp_feed *d)
{
    if (!live(a) || d->opened || d->broken || !d->source)
        return;
    d->opened = true;
    ferry__amqp_channel_open(&a->in, d->channel);
    if (d->stream)
        ferry__amqp_stream_declare(a, d);
    else
        ferry__amqp_event_declare(a, d);
}

void ferry__amqp_events_begin(ferry__amqp *a)
{
    for (ferry__amqp_feed *d = at(a, a->feeds.next), *n = after(a, d); d; d = n, n = after(a, d))
        ferry__amqp_feed_begin(a, d);
}

static amqp_channel_t free_channel(ferry__amqp *a)
{
    for (amqp_channel_t channel = FERRY__AMQP_EVENTS; channel < FERRY__AMQP_CHANNELS; channel++)
        if (!ferry__amqp_feed_on(a, channel))
            return channel;
    return 0;
}

static char *keep(char **at, const char *text)
{
    char *kept = *at;
    size_t n = strlen(text) + 1;
    memcpy(kept, text, n);
    *at += n;
    return kept;
}

static ferry__amqp_feed *new_feed(const ferry__amqp *a, const ferry__source *source)
{
    const ferry__wish *w = source->wish;
    unsigned parts = w->group && !a->streams ? 1 + a->config->partitions : 1;
    size_t texts = strlen(source->name) + strlen(w->box) + strlen(w->pattern) + 3;
    ferry__amqp_feed *d = ferry__zalloc(sizeof *d + parts * sizeof *d->part + texts);
    if (!d)
        return NULL;
    char *at = (char *)&d->part[parts];
    d->domain = keep(&at, source->name);
    d->box = keep(&at, w->box);
    d->pattern = keep(&at, w->pattern);
    d->group = w->group != NULL;
    d->parts = parts;
    ferry__frames_init(&d->hold);
    ferry__list_init(&d->node);
    return d;
}

ferry_status ferry__amqp_event_listen(ferry__amqp *a, ferry__source *source)
{
    amqp_channel_t channel = free_channel(a);
    if (source->wish->from != FERRY_FROM_NEW && !a->streams)
        return FERRY_UNSUPPORTED; /* a queue keeps nothing that was published before it was made */
    if (!channel)
        return FERRY_OVERLOADED;
    ferry__amqp_feed *d = new_feed(a, source);
    if (!d)
        return FERRY_NO_MEMORY;
    ferry_status status = a->streams ? ferry__amqp_stream_new(d, source->wish) : FERRY_OK;
    if (status != FERRY_OK) {
        drop(d);
        return status;
    }
    d->source = source;
    d->channel = channel;
    d->number = d->born = ++a->numbers & 0xffffff;
    ferry__list_append(&a->feeds, &d->node);
    ferry__amqp_domain_note(a, source->name);
    source->data = d;
    ferry__amqp_feed_begin(a, d);
    return FERRY_OK;
}

/* ---- consumers ------------------------------------------------------------------------------------------------------ */

static void tag_of(char to[64], const ferry__amqp_feed *d, unsigned part, unsigned generation)
{
    snprintf(to, 64, "e%u.%u.%u", d->number, part, generation);
}

static void consume(ferry__amqp *a, ferry__amqp_feed *d, unsigned part, unsigned count)
{
    char queue[FERRY__AMQP_NAME], tag[64];
    ferry__amqp_part *p = &d->part[part];
    amqp_basic_qos_t m = {.prefetch_count = (uint16_t)count};
    p->prefetch += count;
    p->consumers++;
    p->generation++;
    tag_of(tag, d, part, p->generation);
    ferry__amqp_event_queue(a, queue, d, part);
    d->syncs++;
    ferry__amqp_say(&a->in, d->channel, AMQP_BASIC_QOS_METHOD, &m);
    ferry__amqp_consume(a, &a->in, d->channel, queue, tag, false);
}

/* As that of posts without a key, see consume.c: what one member takes ahead, the others cannot have. */
static void fit_shared(ferry__amqp *a, ferry__amqp_feed *d)
{
    ferry__amqp_part *p = &d->part[0];
    size_t want = (size_t)d->credit + p->open, have = p->prefetch;
    bool full = p->open >= have;
    if (full && want < have + have / 4)
        want = have + have / 4;
    if (want > a->prefetch)
        want = a->prefetch;
    if (want > have && (full || want >= have * 2 || want == a->prefetch))
        consume(a, d, 0, (unsigned)(want - have));
}

void ferry__amqp_feed_fit(ferry__amqp *a, ferry__amqp_feed *d)
{
    if (d->stream || !d->ready || !d->source || d->broken || d->credit <= 0 || !live(a))
        return;
    if (d->group)
        fit_shared(a, d);
    else if (!d->part[0].prefetch)
        consume(a, d, 0, a->prefetch);
    for (unsigned i = 1; i < d->parts; i++)
        if (!d->part[i].prefetch)
            consume(a, d, i, PART_PREFETCH);
}

static void stop_shared(ferry__amqp *a, ferry__amqp_feed *d)
{
    char tag[64];
    ferry__amqp_part *p = &d->part[0];
    for (; p->consumers; p->consumers--) {
        tag_of(tag, d, 0, p->generation + 1 - p->consumers);
        amqp_basic_cancel_t m = {.consumer_tag = ferry__amqp_text(tag)};
        d->cancelling++;
        ferry__amqp_say(&a->in, d->channel, AMQP_BASIC_CANCEL_METHOD, &m);
    }
    p->prefetch = 0;
}

bool ferry__amqp_event_cancel_ok(ferry__amqp *a, amqp_channel_t channel)
{
    ferry__amqp_feed *d = channel >= FERRY__AMQP_EVENTS ? ferry__amqp_feed_on(a, channel) : NULL;
    if (d && d->cancelling)
        d->cancelling--;
    return channel >= FERRY__AMQP_EVENTS;
}

void ferry__amqp_event_credit(ferry__amqp *a, ferry__source *source, int frames)
{
    ferry__amqp_feed *d = source->data;
    if (!d)
        return;
    d->credit += frames;
    if (frames < 0 && d->credit <= 0)
        d->pinch_ms = ferry__now_ms() + PINCH_MS;
    else if (d->credit > 0)
        d->pinch_ms = 0;
    ferry__amqp_feed_fit(a, d);
}

/* What others may have goes back to the queue, as fresh; what has its place in an order stays with the channel. */
static void let_go(ferry__amqp *a, ferry__amqp_feed *d, bool all)
{
    ferry__frame *first = d->hold.first;
    ferry__frames_init(&d->hold);
    for (ferry__frame *f = first, *next; f; f = next) {
        next = f->next;
        f->next = NULL;
        if (ferry__amqp_event_shared(d, f))
            ferry__amqp_give_back(a, f, FERRY__AMQP_MOVED);
        else if (all)
            ferry__frame_unref(f);
        else
            ferry__frames_add(&d->hold, f);
    }
}

static void pinch(ferry__amqp *a, ferry__amqp_feed *d)
{
    d->pinch_ms = 0;
    if (!d->ready || !live(a) || !d->group || d->stream)
        return;
    stop_shared(a, d);
    let_go(a, d, false);
}

/* ---- deliveries ----------------------------------------------------------------------------------------------------- */

void ferry__amqp_event_deliver(ferry__amqp_inbound *in, unsigned queue, amqp_bytes_t key)
{
    const char *at = key.bytes;
    in->queue = queue;
    in->partition = 0;
    for (size_t i = 0; i < key.len && i < 6 && at[i] >= '0' && at[i] <= '9'; i++)
        in->partition = in->partition * 10 + (unsigned)(at[i] - '0');
}

void ferry__amqp_event_delivered(ferry__amqp *a, amqp_channel_t channel, ferry__amqp_inbound *in)
{
    ferry__amqp_feed *d = ferry__amqp_feed_on(a, channel);
    ferry__frame *f = in->frame;
    if (d && in->tag_kind == 't') {
        ferry__amqp_stream_token(a, d, in);
        return;
    }
    if (d && d->stream) {
        ferry__amqp_stream_delivered(a, d, in);
        return;
    }
    if (!d || d->number != in->intake || in->queue >= d->parts) {
        ferry__frame_unref(f);
        return;
    }
    if (!f) {
        ferry__log_print(a->up->log, LOG_ERR, "an event that cannot be read was dropped from a queue of %s", d->box);
        ferry__amqp_reject(a, channel, in->tag, false);
        ferry__frame_unref(f);
        return;
    }
    ferry__amqp_part *p = &d->part[in->queue];
    f->partition = in->partition;
    f->tag[0] = in->tag;
    f->tag[1] = (uint64_t)a->epoch << 32 | (uint64_t)channel << 24 | d->number;
    p->open++;
    p->seen = true;
    p->empty = 0;
    if (ferry__amqp_event_shared(d, f) && (!d->source || !p->prefetch))
        ferry__amqp_give_back(a, f, FERRY__AMQP_MOVED);
    else if (d->source)
        ferry__frames_add(&d->hold, f);
    else
        ferry__frame_unref(f); /* goes back with its channel */
}

static void hand_up_of(ferry__amqp *a, ferry__amqp_feed *d)
{
    while (d->source && d->credit > 0 && d->hold.first) {
        ferry__frame *f = ferry__frames_take(&d->hold);
        if (!d->stream && ferry__amqp_event_repeated(a, d, f)) {
            ferry__amqp_tag_settle(a, d->channel, f->tag[0]);
            ferry__amqp_event_finished(a, f);
            ferry__frame_unref(f);
            continue;
        }
        d->credit--;
        d->handed++;
        f->from = d->source;
        a->up->frame(a->up, d->source, f);
    }
}

void ferry__amqp_events_hand_up(ferry__amqp *a)
{
    for (ferry__node *n = a->feeds.next, *next; n != &a->feeds && !a->closing && a->phase == FERRY__AMQP_UP; n = next) {
        next = n->next;
        hand_up_of(a, FERRY__OF(n, ferry__amqp_feed, node));
    }
}

void ferry__amqp_events_acknowledge(ferry__amqp *a)
{
    for (ferry__amqp_feed *d = at(a, a->feeds.next), *n = after(a, d); d; d = n, n = after(a, d))
        if (a->tags[d->channel].settled)
            ferry__amqp_acknowledge_on(a, d->channel);
}

/* A queue of it was deleted, or lost its leader: declared again, it is there again. */
void ferry__amqp_event_cancelled(ferry__amqp *a, char kind, unsigned number)
{
    for (ferry__amqp_feed *d = at(a, a->feeds.next), *n = after(a, d); d; d = n, n = after(a, d)) {
        if (d->stream && kind == 'e' && d->number == number)
            ferry__amqp_stream_gone(a, d);
        else if (d->number >= number && d->born <= number && d->source)
            ferry__amqp_fail(a, FERRY_UNAVAILABLE, "the broker deleted a queue of '%s': it is declared again", d->box);
    }
}

/* ---- the end -------------------------------------------------------------------------------------------------------- */

static void leave(ferry__amqp *a, ferry__amqp_feed *d)
{
    d->source->data = NULL;
    d->source = NULL;
    d->pinch_ms = d->look_ms = 0;
    if (!d->opened || !live(a)) {
        drop(d);
        return;
    }
    if (d->group && !d->stream)
        stop_shared(a, d);
    let_go(a, d, true);
}

void ferry__amqp_event_unlisten(ferry__amqp *a, ferry__source *source)
{
    if (source->data)
        leave(a, source->data);
}

void ferry__amqp_events_close(ferry__amqp *a)
{
    for (ferry__amqp_feed *d = at(a, a->feeds.next), *n = after(a, d); d; d = n, n = after(a, d)) {
        d->handed = 0;
        if (d->source)
            leave(a, d);
    }
}

static void close_channel(ferry__amqp *a, ferry__amqp_feed *d)
{
    char queue[FERRY__AMQP_NAME];
    if (a->tags[d->channel].settled)
        ferry__amqp_acknowledge_on(a, d->channel);
    if (!d->group && !d->stream) {
        ferry__amqp_event_queue(a, queue, d, 0);
        amqp_queue_delete_t m = {.queue = ferry__amqp_text(queue), .nowait = 1};
        ferry__amqp_say(&a->in, d->channel, AMQP_QUEUE_DELETE_METHOD, &m);
    }
    d->closing = true;
    ferry__amqp_channel_close(&a->in, d->channel);
}

/* By us: it has left. By the broker: what it asked for is refused, for good or because of the broker's troubles. */
void ferry__amqp_event_closed(ferry__amqp *a, amqp_channel_t channel, unsigned code, const char *why)
{
    ferry__amqp_feed *d = ferry__amqp_feed_on(a, channel);
    if (!d)
        return;
    ferry__amqp_tags_forget(a, channel);
    if (!d->source) {
        *(code ? &a->lost_now : &a->settled_now) += d->parked;
        drop(d);
        return;
    }
    if (code == PRECONDITION_FAILED && d->stream && !d->stream->made) {
        d->stream->made = true;
        d->opened = false;
        d->awaited = d->syncs = d->synced = 0;
        ferry__amqp_feed_begin(a, d);
        return;
    }
    if (code != PRECONDITION_FAILED && code != ACCESS_REFUSED && code != NOT_IMPLEMENTED) {
        ferry__amqp_fail(a, FERRY_UNAVAILABLE, "the broker refused: %s", why);
        return;
    }
    d->broken = true;
    d->opened = false;
    ferry__frames_drop(&d->hold);
    if (!a->closing)
        a->up->broken(a->up, d->source, code == ACCESS_REFUSED ? FERRY_DENIED : FERRY_INVALID, why);
}

void ferry__amqp_events_look(ferry__amqp *a, int64_t now_ms)
{
    ferry__amqp_boxes_sweep(a, false);
    ferry__amqp_topics_look(a, now_ms);
    if (a->phase != FERRY__AMQP_UP)
        return;
    for (ferry__amqp_feed *d = at(a, a->feeds.next), *n = after(a, d); d; d = n, n = after(a, d)) {
        if (d->pinch_ms && now_ms >= d->pinch_ms)
            pinch(a, d);
        if (d->stream)
            ferry__amqp_stream_look(a, d, now_ms);
        else if (d->look_ms && now_ms >= d->look_ms)
            ferry__amqp_event_look(a, d, now_ms);
        bool empty = !d->source && !d->closing && !d->handed && !d->busy && !d->cancelling;
        if (empty && ferry__amqp_stream_saved(a, d))
            close_channel(a, d);
    }
}

int ferry__amqp_events_next_ms(const ferry__amqp *a, int64_t now_ms)
{
    int64_t topics_ms = ferry__amqp_topics_due_ms(a), least = topics_ms ? topics_ms : INT64_MAX;
    for (ferry__amqp_feed *d = at(a, a->feeds.next), *n = after(a, d); d; d = n, n = after(a, d)) {
        least = d->pinch_ms && d->pinch_ms < least ? d->pinch_ms : least;
        least = d->look_ms && d->look_ms < least ? d->look_ms : least;
        int64_t commit_ms = d->stream && d->source ? d->stream->commit_ms : 0;
        least = commit_ms && commit_ms < least ? commit_ms : least;
    }
    return least == INT64_MAX ? -1 : least <= now_ms ? 0 : (int)(least - now_ms);
}

void ferry__amqp_events_down(ferry__amqp *a)
{
    for (ferry__amqp_feed *d = at(a, a->feeds.next), *n = after(a, d); d; d = n, n = after(a, d)) {
        a->settled_now += d->parked;
        if (!d->source) {
            drop(d);
            continue;
        }
        ferry__frames_drop(&d->hold);
        d->opened = d->ready = d->closing = false;
        d->busy = d->parked = 0;
        d->syncs = d->synced = d->awaited = d->cancelling = d->answers = d->looks = 0;
        d->look_ms = 0;
        if (d->stream)
            ferry__amqp_stream_down(d);
        for (unsigned i = 0; i < d->parts; i++)
            d->part[i] = (ferry__amqp_part){.caught = d->part[i].caught};
    }
}

void ferry__amqp_events_done(ferry__amqp *a)
{
    for (ferry__amqp_feed *d = at(a, a->feeds.next), *n = after(a, d); d; d = n, n = after(a, d))
        drop(d);
    ferry__amqp_boxes_sweep(a, true);
    ferry__amqp_domain_forget(a, NULL);
    ferry__amqp_done_free(a->events_done);
}
