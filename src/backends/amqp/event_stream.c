#include "backends/amqp/event_stream.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MARK_MS = 1000, LOOK_MS = 100, LOOKS = 3, SEGMENTS = 16, SEGMENT_LEAST = 1 << 20, SEGMENT_MOST = 500000000 };

/* ---- names and arguments -------------------------------------------------------------------------------------------- */

void ferry__amqp_stream_name(const ferry__amqp *a, char to[FERRY__AMQP_NAME], const char *domain)
{
    ferry__amqp_queue_name(a, to, domain, strlen(domain), "log", 0);
}

amqp_table_entry_t ferry__amqp_text_argument(const char *name, const char *value)
{
    amqp_table_entry_t e = {.key = ferry__amqp_text(name), .value = {.kind = AMQP_FIELD_KIND_UTF8}};
    e.value.value.bytes = ferry__amqp_text(value);
    return e;
}

amqp_table_entry_t ferry__amqp_big_argument(const char *name, int64_t value)
{
    amqp_table_entry_t e = {.key = ferry__amqp_text(name),
                            .value = {.kind = AMQP_FIELD_KIND_I64, .value = {.i64 = value}}};
    return e;
}

/* Whole segments are dropped, so they are a fraction of what is kept. */
int ferry__amqp_stream_arguments(const ferry__amqp *a, const ferry__admin *q, char age[32], amqp_table_entry_t to[4])
{
    int64_t ms = q && q->keep_ms ? q->keep_ms : a->config->keep_ms;
    int64_t bytes = q && q->keep_bytes ? q->keep_bytes : a->config->keep_bytes, segment = bytes / SEGMENTS;
    int n = 0;
    segment = segment < SEGMENT_LEAST ? SEGMENT_LEAST : segment > SEGMENT_MOST ? SEGMENT_MOST : segment;
    to[n++] = ferry__amqp_text_argument("x-queue-type", "stream");
    snprintf(age, 32, "%" PRId64 "s", (ms + 999) / 1000);
    if (ms > 0)
        to[n++] = ferry__amqp_text_argument("x-max-age", age);
    if (bytes > 0)
        to[n++] = ferry__amqp_big_argument("x-max-length-bytes", bytes);
    to[n++] = ferry__amqp_big_argument("x-stream-max-segment-size-bytes", segment);
    return n;
}

/* ---- what it is made of --------------------------------------------------------------------------------------------- */

static bool parse_position(const char *text_, uint64_t *next)
{
    char *end = NULL;
    if (!text_ || *text_ < '0' || *text_ > '9')
        return false;
    *next = strtoull(text_, &end, 10);
    return *end == '\0' && *next <= INT64_MAX;
}

static void aim(ferry__amqp_stream *s, const ferry__wish *w)
{
    s->from = (int)w->from;
    s->time_ms = w->from == FERRY_FROM_TIME ? w->time_ms : 0;
    s->next = 0;
    s->say_broken = w->from == FERRY_FROM_POSITION && !parse_position(w->position, &s->next);
    if (!s->say_broken)
        return;
    snprintf(s->nonsense, sizeof s->nonsense, "%s", w->position ? w->position : "");
    for (char *c = s->nonsense; *c; c++)
        *c = (unsigned char)*c > 0x20 && (unsigned char)*c < 0x7f ? *c : '?';
}

ferry_status ferry__amqp_stream_new(ferry__amqp_feed *d, const ferry__wish *w)
{
    ferry__amqp_stream *s = ferry__zalloc(sizeof *s);
    if (!s)
        return FERRY_NO_MEMORY;
    s->feed = d;
    d->stream = s;
    aim(s, w);
    d->look_ms = s->say_broken ? ferry__now_ms() : 0;
    return FERRY_OK;
}

void ferry__amqp_stream_free(ferry__amqp_feed *d)
{
    if (!d->stream)
        return;
    ferry__free(d->stream->over);
    ferry__free(d->stream->ring);
    ferry__free(d->stream);
    d->stream = NULL;
}

void ferry__amqp_stream_sync(ferry__amqp *a, ferry__amqp_feed *d, unsigned prefetch)
{
    amqp_basic_qos_t m = {.prefetch_count = (uint16_t)prefetch};
    d->syncs++;
    ferry__amqp_say(&a->in, d->channel, AMQP_BASIC_QOS_METHOD, &m);
}

ferry__amqp_entry *ferry__amqp_stream_entry(const ferry__amqp_stream *s, uint64_t n)
{
    return &s->ring[n & (s->size - 1)];
}

/* ---- marks ------------------------------------------------------------------------------------ */

bool ferry__amqp_stream_publish(ferry__amqp *a, const char *queue, ferry__frame *f, bool confirm)
{
    ferry__amqp_fields fields;
    ferry__amqp_fields_write(&fields, f, NULL, 0);
    ferry__amqp_letter l = {.channel = FERRY__AMQP_POSTS,
                            .exchange = "",
                            .key = queue,
                            .properties = &fields.p,
                            .body = ferry__frame_body(f),
                            .length = f->body.length};
    a->out.noted = true;
    bool written = ferry__amqp_ring_room(&a->posts) && ferry__amqp_put_letter(&a->out.codec, &l) == FERRY_OK;
    if (written)
        ferry__amqp_ring_add(&a->posts, confirm ? ferry__frame_ref(f) : NULL, NULL, FERRY__AMQP_MOVED);
    return written;
}

static void mark_route(const ferry__amqp *a, char to[80], unsigned feed, unsigned number)
{
    snprintf(to, 80, "~%s.%u.%u", a->client, feed, number);
}

static void send_mark(ferry__amqp *a, ferry__amqp_feed *d)
{
    char route[80], queue[FERRY__AMQP_NAME];
    d->stream->marked = false;
    d->look_ms = ferry__now_ms() + MARK_MS;
    mark_route(a, route, d->number, ++d->stream->mark);
    ferry__amqp_stream_name(a, queue, d->domain);
    ferry__frame *f = ferry__frame_new(FERRY__EVENT, &(ferry__parts){.route = route});
    if (f) {
        memcpy(f->id.client, a->config->client, sizeof f->id.client);
        f->time_ms = ferry__wall_ms();
        ferry__amqp_stream_publish(a, queue, f, false); /* without success once more, by stream_look */
    }
    ferry__frame_unref(f);
}

/* ---- attaching ------------------------------------------------------------------------------------------------------ */

static void reader_tag(char to[64], const ferry__amqp_feed *d)
{
    snprintf(to, 64, "e%u.0.%u", d->number, d->stream->readers);
}

static amqp_table_entry_t start_of(const ferry__amqp_stream *s)
{
    amqp_table_entry_t e = ferry__amqp_big_argument("x-stream-offset", (int64_t)s->next);
    if (s->from == FERRY_FROM_NEW)
        return ferry__amqp_text_argument("x-stream-offset", "next");
    if (s->from == FERRY_FROM_EARLIEST)
        return ferry__amqp_text_argument("x-stream-offset", "first");
    if (s->from == FERRY_FROM_TIME) {
        e.value.kind = AMQP_FIELD_KIND_TIMESTAMP;
        e.value.value.u64 = s->time_ms > 0 ? (uint64_t)s->time_ms / 1000 : 0;
    }
    return e;
}

void ferry__amqp_stream_attach(ferry__amqp *a, ferry__amqp_feed *d)
{
    char queue[FERRY__AMQP_NAME], tag[64];
    ferry__amqp_stream *s = d->stream;
    amqp_table_entry_t start = start_of(s);
    s->readers++;
    s->reading = s->fresh = s->attaching = true;
    s->mark_tries = 0;
    reader_tag(tag, d);
    ferry__amqp_stream_name(a, queue, d->domain);
    ferry__amqp_stream_sync(a, d, a->prefetch);
    amqp_basic_consume_t m = {
        .queue = ferry__amqp_text(queue), .consumer_tag = ferry__amqp_text(tag), .nowait = 1, .arguments = {1, &start}};
    ferry__amqp_say(&a->in, d->channel, AMQP_BASIC_CONSUME_METHOD, &m);
    ferry__amqp_stream_sync(a, d, a->prefetch); /* answered behind it */
    d->awaited = d->syncs;
    s->marked = s->at_end;
    s->at_end = false;
    if (!s->marked)
        send_mark(a, d);
}

/* What comes from the old reader has the old number, and is ignored; what the core has of it may still be finished. */
void ferry__amqp_stream_detach(ferry__amqp *a, ferry__amqp_feed *d)
{
    char tag[64];
    ferry__amqp_stream *s = d->stream;
    for (ferry__frame *f; (f = ferry__frames_take(&d->hold));) {
        ferry__amqp_tag_settle(a, d->channel, f->tag[0]);
        ferry__frame_unref(f);
    }
    d->part[0].open = 0;
    s->base = s->top = 0;
    if (!s->reading)
        return;
    reader_tag(tag, d);
    amqp_basic_cancel_t m = {.consumer_tag = ferry__amqp_text(tag), .nowait = 1};
    ferry__amqp_say(&a->in, d->channel, AMQP_BASIC_CANCEL_METHOD, &m);
    s->reading = false;
    d->number = ++a->numbers & 0xffffff;
}

/* ---- beginning ------------------------------------------------------------------------------------------------------ */

void ferry__amqp_stream_declare(ferry__amqp *a, ferry__amqp_feed *d)
{
    char exchange[FERRY__AMQP_NAME], queue[FERRY__AMQP_NAME], age[32];
    amqp_table_entry_t arguments[4];
    ferry__amqp_event_exchange(a, exchange, d->domain);
    ferry__amqp_stream_name(a, queue, d->domain);
    ferry__amqp_declare_exchange(&a->in, d->channel, exchange, "topic");
    if (!d->stream->made) {
        amqp_queue_declare_t m = {.queue = ferry__amqp_text(queue), .durable = 1, .nowait = 1};
        m.arguments = (amqp_table_t){ferry__amqp_stream_arguments(a, NULL, age, arguments), arguments};
        ferry__amqp_say(&a->in, d->channel, AMQP_QUEUE_DECLARE_METHOD, &m);
    }
    ferry__amqp_bind(&a->in, d->channel, queue, exchange, "#");
    if (d->group)
        ferry__amqp_token_declare(a, d);
    ferry__amqp_stream_sync(a, d, 1);
    d->awaited = d->syncs;
}

void ferry__amqp_stream_ready(ferry__amqp *a, ferry__amqp_feed *d)
{
    if (d->ready || a->closing || !d->source)
        return;
    d->ready = true;
    a->up->ready(a->up, d->source);
    ferry__amqp_stream_caught(a, d);
}

static void begin_group(ferry__amqp *a, ferry__amqp_feed *d)
{
    ferry__amqp_stream *s = d->stream;
    s->founding = s->tokens == 0;
    if (s->founding && s->from == FERRY_FROM_NEW) {
        ferry__amqp_stream_attach(a, d); /* reads until its mark, and keeps nothing */
        return;
    }
    if (s->founding)
        ferry__amqp_token_found(a, d);
    ferry__amqp_token_consume(a, d);
    if (!s->founding)
        ferry__amqp_stream_ready(a, d);
    d->look_ms = ferry__now_ms() + LOOK_MS;
}

void ferry__amqp_stream_synced(ferry__amqp *a, ferry__amqp_feed *d)
{
    ferry__amqp_stream *s = d->stream;
    if (s->say_broken)
        return;
    if (s->attaching)
        s->attaching = false;
    else if (d->group)
        begin_group(a, d);
    else
        ferry__amqp_stream_attach(a, d);
    if (s->attaching || (d->group ? !s->owner : s->from == FERRY_FROM_NEW))
        return;
    ferry__amqp_stream_ready(a, d);
    ferry__amqp_stream_caught(a, d);
}

/* ---- what was read -------------------------------------------------------------------------------------------------- */

static bool add_entry(ferry__amqp_stream *s, uint64_t tag, uint64_t offset, bool done)
{
    if (s->top - s->base >= s->size) {
        size_t size = s->size ? s->size * 2 : 256;
        ferry__amqp_entry *ring = ferry__alloc(size * sizeof *ring);
        if (!ring)
            return false;
        for (uint64_t n = s->base; n < s->top; n++)
            ring[n & (size - 1)] = s->ring[n & (s->size - 1)];
        ferry__free(s->ring);
        s->ring = ring;
        s->size = size;
    }
    s->ring[s->top++ & (s->size - 1)] = (ferry__amqp_entry){tag, offset, done};
    return true;
}

static void advance(ferry__amqp_stream *s)
{
    for (; s->base < s->top && ferry__amqp_stream_entry(s, s->base)->done; s->base++)
        s->next = ferry__amqp_stream_entry(s, s->base)->offset + 1;
    if (s->base < s->top)
        s->next = ferry__amqp_stream_entry(s, s->base)->offset;
    s->from = FERRY_FROM_POSITION; /* known from now on */
    if (s->feed->group && s->next != s->committed && !s->commit_ms)
        s->commit_ms = ferry__now_ms() + 20;
}

void ferry__amqp_stream_finished(ferry__amqp *a, ferry__amqp_feed *d, uint64_t tag)
{
    ferry__amqp_stream *s = d->stream;
    uint64_t low = s->base, high = s->top;
    (void)a;
    if (low < high && ferry__amqp_stream_entry(s, low)->tag == tag)
        high = low;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (ferry__amqp_stream_entry(s, middle)->tag < tag)
            low = middle + 1;
        else
            high = middle;
    }
    if (low >= s->top || ferry__amqp_stream_entry(s, low)->tag != tag)
        return; /* of before a seek */
    ferry__amqp_stream_entry(s, low)->done = true;
    if (low == s->base)
        advance(s);
}

static void break_off(ferry__amqp *a, ferry__amqp_feed *d, ferry_status status, const char *why)
{
    ferry__amqp_stream_detach(a, d);
    d->broken = true;
    d->look_ms = 0;
    if (!a->closing && d->source)
        a->up->broken(a->up, d->source, status, why);
}

void ferry__amqp_stream_gone(ferry__amqp *a, ferry__amqp_feed *d)
{
    break_off(a, d, FERRY_NOT_FOUND, "the log of this domain was deleted");
}

static void on_mark(ferry__amqp *a, ferry__amqp_feed *d, const char *route, uint64_t offset)
{
    char ours[80];
    ferry__amqp_stream *s = d->stream;
    mark_route(a, ours, d->number, s->mark);
    if (strcmp(route, ours) != 0 || s->marked)
        return;
    s->marked = true;
    s->end = offset;
    if (!s->founding || s->owner) {
        ferry__amqp_stream_ready(a, d);
        ferry__amqp_stream_caught(a, d);
        return;
    }
    ferry__amqp_stream_detach(a, d);
    s->from = FERRY_FROM_POSITION;
    s->next = offset + 1;
    s->founded = true;
    ferry__amqp_token_found(a, d);
    ferry__amqp_token_consume(a, d);
    d->look_ms = ferry__now_ms() + LOOK_MS;
}

static bool trimmed(ferry__amqp *a, ferry__amqp_feed *d, uint64_t offset)
{
    ferry__amqp_stream *s = d->stream;
    char why[FERRY_WHY_SIZE];
    bool fresh = s->fresh;
    s->fresh = false;
    if (!fresh || s->from != FERRY_FROM_POSITION || offset <= s->next)
        return false;
    ferry__why(why, "position %" PRIu64 " of '%s' is no longer kept: the log begins at %" PRIu64, s->next, d->domain,
               offset);
    break_off(a, d, FERRY_NOT_FOUND, why);
    return true;
}

static bool wanted(const ferry__amqp_feed *d, const ferry__frame *f)
{
    bool late = f->time_ms + (f->time_ms % 1000 ? 0 : 999) >= d->stream->time_ms; /* foreign ones have whole seconds */
    return late && ferry__frame_text(f, f->route)[0] != '~';
}

static bool was_finished(const ferry__amqp_stream *s, uint64_t offset)
{
    for (size_t i = 0; i < s->overs; i++)
        if (offset >= s->over[i].first && offset <= s->over[i].last)
            return true;
    return false;
}

void ferry__amqp_stream_delivered(ferry__amqp *a, ferry__amqp_feed *d, ferry__amqp_inbound *in)
{
    ferry__amqp_stream *s = d->stream;
    ferry__frame *f = in->frame;
    if (!d->source) { /* it leaves: without acknowledgements this ends soon */
        ferry__frame_unref(f);
        return;
    }
    bool current = d->number == in->intake && s->reading;
    if (!current || trimmed(a, d, in->offset)) {
        ferry__amqp_tag_settle(a, d->channel, in->tag);
        ferry__frame_unref(f);
        return;
    }
    bool ours = !d->group || s->owner, take = ours && f && wanted(d, f) && !was_finished(s, in->offset);
    if (ours && !add_entry(s, in->tag, in->offset, !take))
        ferry__amqp_fail(a, FERRY_NO_MEMORY, "no memory for an event");
    if (take) {
        f->partition = in->partition;
        f->tag[0] = in->tag;
        f->tag[1] = (uint64_t)a->epoch << 32 | (uint64_t)d->channel << 24 | d->number;
        f->maybe = in->offset < s->doubtful;
        d->part[0].open++;
        ferry__frames_add(&d->hold, f);
    } else
        ferry__amqp_tag_settle(a, d->channel, in->tag);
    if (ours)
        advance(s);
    if (take)
        return;
    if (f && ferry__frame_text(f, f->route)[0] == '~')
        on_mark(a, d, ferry__frame_text(f, f->route), in->offset);
    ferry__frame_unref(f);
}

void ferry__amqp_stream_caught(ferry__amqp *a, ferry__amqp_feed *d)
{
    const ferry__amqp_stream *s = d->stream;
    bool nothing = d->group && !s->owner && d->looks >= LOOKS; /* another member reads */
    bool all = s->marked && (!d->group || s->owner) && s->next > s->end;
    if (d->told || !d->ready || !d->source || a->closing || !(nothing || all))
        return;
    d->told = true;
    d->look_ms = 0;
    a->up->caught_up(a->up, d->source);
}

static void tell_nonsense(ferry__amqp *a, ferry__amqp_feed *d)
{
    char why[FERRY_WHY_SIZE];
    ferry__why(why, "'%s' is no position of this transport: that is a number", d->stream->nonsense);
    break_off(a, d, FERRY_INVALID, why);
}

void ferry__amqp_stream_look(ferry__amqp *a, ferry__amqp_feed *d, int64_t now_ms)
{
    ferry__amqp_stream *s = d->stream;
    if (s->owner && !s->committing && s->commit_ms && d->source &&
        (now_ms >= s->commit_ms || s->next - s->committed >= 1000))
        ferry__amqp_token_commit(a, d, false);
    if (!d->look_ms || now_ms < d->look_ms)
        return;
    d->look_ms = 0;
    if (s->say_broken)
        tell_nonsense(a, d);
    if (s->say_ready)
        ferry__amqp_stream_ready(a, d);
    s->say_ready = s->say_broken = false;
    if (s->reading && !s->marked && !s->attaching && a->posts.base == a->posts.top)
        s->fresh && s->from == FERRY_FROM_POSITION && s->next > 0 && s->mark_tries++ > 0
            ? break_off(a, d, FERRY_NOT_FOUND, "the log does not reach to that position: it is another one's")
            : send_mark(a, d); /* the first did not get there */
    else if (s->reading && !s->marked)
        d->look_ms = now_ms + MARK_MS;
    if (d->group && !s->owner && !s->reading && !d->told) {
        d->looks++;
        d->look_ms = now_ms + LOOK_MS;
        ferry__amqp_stream_caught(a, d);
    }
}

/* ---- losses, and other places --------------------------------------------------------------------------------------- */

void ferry__amqp_stream_down(ferry__amqp_feed *d)
{
    ferry__amqp_stream *s = d->stream;
    s->base = s->top = 0;
    s->attaching = s->reading = s->owner = s->committing = s->founding = s->marked = false;
    s->token = s->doubtful = 0;
    s->founded = false;
    s->tokens = 0;
    s->commit_ms = 0;
    d->awaited = d->syncs = d->synced = 0;
}

void ferry__amqp_seek(void *self, ferry__source *source, const ferry__wish *to)
{
    ferry__amqp *a = self;
    ferry__amqp_feed *d = source->data;
    ferry__amqp_stream *s = d ? d->stream : NULL;
    if (!s)
        return;
    bool idle = d->group && !s->owner; /* the others move when they own it */
    if (!idle)
        aim(s, to);
    if (s->say_broken) {
        d->look_ms = ferry__now_ms();
        return;
    }
    d->told = d->ready = false;
    s->overs = 0;
    if (!d->opened || a->phase != FERRY__AMQP_UP) {
        d->broken = false;
        ferry__amqp_feed_begin(a, d); /* now, or when the link is up */
        return;
    }
    if (idle) {
        d->looks = 0;
        s->say_ready = true;
        d->look_ms = ferry__now_ms();
        return;
    }
    ferry__amqp_stream_detach(a, d);
    d->broken = false;
    s->generation += d->group;
    s->committed = UINT64_MAX;
    s->clean = false;
    if (d->group && s->from != FERRY_FROM_NEW)
        ferry__amqp_token_found(a, d);
    ferry__amqp_stream_attach(a, d);
}
