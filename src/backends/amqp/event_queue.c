/* event_queue.c - the queues of feeds, and where they stand.
 *
 * A domain is a topic exchange. The routing key of an event is its part and its topic, "3.order.created"; each queue of a group is bound
 * for its part, so that what arrives there is in order. An exchange keeps nothing: a group's events are those published since its
 * queues were made.
 *
 * Caught up. A queue does not say how far it was when we came, only how many messages it has. So those that were never delivered before
 * are counted down; those that somebody had before stand in front of them. If others take their share the count never ends, but then
 * the queue runs empty: two looks in a row that find nothing in it and nothing of it in our hands, two because a delivery may be on its
 * way while the first is answered. A part from which nothing comes though it is not empty is another member's. */
#include "backends/amqp/event_stream.h"

#include "base/clock.h"

#include <string.h>

enum {
    LOOK_MS = 20,
    LOOK_MOST_MS = 500,
    LOOKS = 3 /* without a delivery: the part is another's */,
    EXPIRES_MS = 60000
};

/* ---- names ---------------------------------------------------------------------------------------------------------- */

void ferry__amqp_event_exchange(const ferry__amqp *a, char to[FERRY__AMQP_NAME], const char *domain)
{
    ferry__amqp_queue_name(a, to, domain, strlen(domain), "events", 0);
}

void ferry__amqp_event_queue(const ferry__amqp *a, char to[FERRY__AMQP_NAME], const ferry__amqp_feed *d, unsigned part)
{
    if (d->group)
        ferry__amqp_queue_name(a, to, d->box, strlen(d->box), "events", part);
    else
        snprintf(to, FERRY__AMQP_NAME, "%s.%s.events.%s.%u", a->config->ns, d->domain, a->client, d->number);
}

/* "order.**" is any name of two segments or more; `#` is none or more. The other words mean the same. */
static void binding_key(char to[FERRY__AMQP_NAME], const ferry__amqp_feed *d, unsigned part)
{
    size_t n = strlen(d->pattern);
    bool deep = n >= 2 && strcmp(d->pattern + n - 2, "**") == 0;
    int length = (int)(deep ? n - 2 : n);
    if (d->group)
        snprintf(to, FERRY__AMQP_NAME, "%u.%.*s%s", part, length, d->pattern, deep ? "*.#" : "");
    else
        snprintf(to, FERRY__AMQP_NAME, "*.%.*s%s", length, d->pattern, deep ? "*.#" : "");
}

/* ---- declaring ------------------------------------------------------------------------------------------------------ */

static void declare_queue(ferry__amqp *a, const ferry__amqp_feed *d, const char *name, amqp_table_entry_t *arguments,
                          int n)
{
    amqp_queue_declare_t m = {.queue = ferry__amqp_text(name), .durable = 1, .arguments = {n, arguments}};
    ferry__amqp_say(&a->in, d->channel, AMQP_QUEUE_DECLARE_METHOD, &m); /* answered by how many are in it */
}

/* A broadcast's queue is the handle's own. Not an exclusive one: it has to be there when the link has been away for a moment, the
 * broker's end included. */
static void declare_own(ferry__amqp *a, const ferry__amqp_feed *d, const char *name)
{
    amqp_table_entry_t arguments[2] = {
        {.key = ferry__amqp_text("x-queue-type"), .value = {.kind = AMQP_FIELD_KIND_UTF8}},
        {.key = ferry__amqp_text("x-expires"), .value = {.kind = AMQP_FIELD_KIND_I32, .value = {.i32 = EXPIRES_MS}}}};
    arguments[0].value.value.bytes = ferry__amqp_text("classic");
    declare_queue(a, d, name, arguments, 2);
}

void ferry__amqp_event_declare(ferry__amqp *a, ferry__amqp_feed *d)
{
    char exchange[FERRY__AMQP_NAME], queue[FERRY__AMQP_NAME], key[FERRY__AMQP_NAME];
    amqp_table_entry_t arguments[3];
    int n = ferry__amqp_durable_type(a, arguments);
    arguments[n] = ferry__amqp_yes("x-single-active-consumer");
    ferry__amqp_event_exchange(a, exchange, d->domain);
    ferry__amqp_declare_exchange(&a->in, d->channel, exchange, "topic");
    for (unsigned i = 0; i < d->parts; i++) {
        ferry__amqp_event_queue(a, queue, d, i);
        binding_key(key, d, i);
        if (d->group)
            declare_queue(a, d, queue, arguments, i ? n + 1 : n);
        else
            declare_own(a, d, queue);
        ferry__amqp_bind(&a->in, d->channel, queue, exchange, key);
    }
    amqp_basic_qos_t sync = {.prefetch_count = 1}; /* answered behind all of these */
    d->awaited = ++d->syncs;
    d->answers = 0;
    ferry__amqp_say(&a->in, d->channel, AMQP_BASIC_QOS_METHOD, &sync);
}

void ferry__amqp_event_synced(ferry__amqp *a, amqp_channel_t channel)
{
    ferry__amqp_feed *d = channel >= FERRY__AMQP_EVENTS ? ferry__amqp_feed_on(a, channel) : NULL;
    if (!d || ++d->synced != d->awaited)
        return;
    if (d->stream) {
        ferry__amqp_stream_synced(a, d);
        return;
    }
    d->ready = true;
    if (a->closing || !d->source)
        return;
    a->up->ready(a->up, d->source);
    if (!d->source)
        return;
    ferry__amqp_feed_fit(a, d);
    ferry__amqp_event_caught(a, d);
    if (!d->told) {
        d->pause_ms = LOOK_MS;
        d->look_ms = ferry__now_ms() + LOOK_MS;
    }
}

/* ---- caught up ------------------------------------------------------------------------------------------------------ */

static void judge(const ferry__amqp_feed *d, unsigned i, uint32_t messages, ferry__amqp_part *p)
{
    bool consuming = p->prefetch > 0;
    p->empty = messages == 0 && p->open == 0 ? p->empty + 1 : 0;
    bool anothers = d->group && i > 0 && consuming && !p->seen && d->looks >= LOOKS;
    if (p->empty >= 2 || anothers)
        p->caught = true;
}

void ferry__amqp_event_counted(ferry__amqp *a, amqp_channel_t channel, const amqp_queue_declare_ok_t *m)
{
    ferry__amqp_feed *d = ferry__amqp_feed_on(a, channel);
    if (d && d->stream)
        d->stream->tokens = m->message_count + m->consumer_count;
    if (!d || d->stream)
        return;
    unsigned i = d->answers++ % d->parts;
    ferry__amqp_part *p = &d->part[i];
    if (!d->ready)
        p->left = m->message_count;
    else
        judge(d, i, m->message_count, p);
    if (d->ready && i + 1 == d->parts)
        ferry__amqp_event_caught(a, d);
}

void ferry__amqp_event_caught(ferry__amqp *a, ferry__amqp_feed *d)
{
    if (d->told || !d->ready || !d->source || a->closing)
        return;
    for (unsigned i = 0; i < d->parts; i++) {
        d->part[i].caught = d->part[i].caught || d->part[i].left == 0;
        if (!d->part[i].caught)
            return;
    }
    d->told = true;
    d->look_ms = 0;
    a->up->caught_up(a->up, d->source);
}

void ferry__amqp_event_look(ferry__amqp *a, ferry__amqp_feed *d, int64_t now_ms)
{
    char queue[FERRY__AMQP_NAME];
    d->look_ms = now_ms + d->pause_ms;
    d->pause_ms = d->pause_ms * 2 < LOOK_MOST_MS ? d->pause_ms * 2 : LOOK_MOST_MS;
    if (d->answers % d->parts) /* the last is not answered yet */
        return;
    d->looks += d->part[d->parts - 1].prefetch > 0;
    for (unsigned i = 0; i < d->parts; i++) {
        ferry__amqp_event_queue(a, queue, d, i);
        amqp_queue_declare_t m = {.queue = ferry__amqp_text(queue), .passive = 1};
        ferry__amqp_say(&a->in, d->channel, AMQP_QUEUE_DECLARE_METHOD, &m);
    }
}

/* ---- publishing ----------------------------------------------------------------------------------------------------- */

/* Nobody may listen yet, so whoever publishes makes the exchange; a channel that declared it once need not again. */
bool ferry__amqp_event_domain(ferry__amqp *a, ferry__target *target)
{
    char exchange[FERRY__AMQP_NAME];
    if ((uintptr_t)target->data == a->era)
        return true;
    ferry__amqp_domain_note(a, target->name);
    if (a->streams)
        return ferry__amqp_topics_make(a, target);
    ferry__amqp_event_exchange(a, exchange, target->name);
    ferry__amqp_declare_exchange(&a->out, FERRY__AMQP_POSTS, exchange, "topic");
    target->data = (void *)(uintptr_t)a->era;
    return true;
}

ferry_status ferry__amqp_event_put(ferry__amqp *a, const ferry__target *target, ferry__frame *f)
{
    char exchange[FERRY__AMQP_NAME], key[FERRY__AMQP_NAME];
    ferry__amqp_fields fields;
    ferry__amqp_event_exchange(a, exchange, target->name);
    snprintf(key, sizeof key, "%u.%s", (unsigned)f->partition, ferry__frame_text(f, f->route));
    ferry__amqp_fields_write(&fields, f, NULL, 0);
    ferry__amqp_letter l = {.channel = FERRY__AMQP_POSTS,
                            .exchange = exchange,
                            .key = key,
                            .properties = &fields.p,
                            .body = ferry__frame_body(f),
                            .length = f->body.length};
    return ferry__amqp_put_letter(&a->out.codec, &l);
}
