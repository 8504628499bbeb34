/* topology.c - what is declared, under which names; docs/wire.md shows it to people.
 *
 * Only what RabbitMQ 3.10 to 4.3 all accept: every queue that is not exclusive is durable, and says its type, since a vhost may have
 * another default. A queue is declared by whoever consumes from it; what is declared by a sender as well has the same arguments.
 * Declaring twice is harmless; with other arguments it is refused by the broker, and the link falls with that reason. */
#include "backends/amqp/event.h"

#include "base/alloc.h"

#include <string.h>

enum { NO_LIMIT = 1000000000 /* of deliveries: ours are counted by the core */ };

/* ---- names ---------------------------------------------------------------------------------------------------------- */

void ferry__amqp_queue_name(const ferry__amqp *a, char to[FERRY__AMQP_NAME], const char *service, size_t length,
                            const char *what, unsigned partition)
{
    if (partition)
        snprintf(to, FERRY__AMQP_NAME, "%s.%.*s.%s.%u", a->config->ns, (int)length, service, what, partition);
    else
        snprintf(to, FERRY__AMQP_NAME, "%s.%.*s.%s", a->config->ns, (int)length, service, what);
}

void ferry__amqp_queue_of(const ferry__amqp *a, char to[FERRY__AMQP_NAME], const char *name, const ferry__frame *f)
{
    bool call = f->kind == FERRY__CALL, parted = !call && !ferry__amqp_is_box(name);
    ferry__amqp_queue_name(a, to, name, strlen(name), call ? "calls" : "posts", parted ? f->partition : 0);
}

/* A new name for each connection: the broker may still be busy deleting the exclusive queue of the last one. */
void ferry__amqp_reply_name(const ferry__amqp *a, char to[FERRY__AMQP_NAME])
{
    snprintf(to, FERRY__AMQP_NAME, "%s.replies.%s.%s", a->config->ns, a->client, a->nonce);
}

static void control_name(const ferry__amqp *a, char to[FERRY__AMQP_NAME])
{
    snprintf(to, FERRY__AMQP_NAME, "%s.controls.%s.%s", a->config->ns, a->client, a->nonce);
}

static void reply_exchange(const ferry__amqp *a, char to[FERRY__AMQP_NAME])
{
    snprintf(to, FERRY__AMQP_NAME, "%s.replies", a->config->ns);
}

/* ---- declaring ------------------------------------------------------------------------------------------------------ */

static amqp_table_entry_t text(const char *name, const char *value)
{
    amqp_table_entry_t e = {.key = ferry__amqp_text(name), .value = {.kind = AMQP_FIELD_KIND_UTF8}};
    e.value.value.bytes = ferry__amqp_text(value);
    return e;
}

static amqp_table_entry_t number(const char *name, int32_t value)
{
    amqp_table_entry_t e = {.key = ferry__amqp_text(name),
                            .value = {.kind = AMQP_FIELD_KIND_I32, .value = {.i32 = value}}};
    return e;
}

amqp_table_entry_t ferry__amqp_yes(const char *name)
{
    amqp_table_entry_t e = {.key = ferry__amqp_text(name),
                            .value = {.kind = AMQP_FIELD_KIND_BOOLEAN, .value = {.boolean = 1}}};
    return e;
}

static void declare(ferry__amqp *a, ferry__amqp_conn *c, amqp_channel_t channel, amqp_queue_declare_t *m)
{
    m->nowait = c->publishes; /* a mistake closes the channel in any case; of `in` we want to know when it is done */
    a->declaring += !m->nowait;
    ferry__amqp_say(c, channel, AMQP_QUEUE_DECLARE_METHOD, m);
}

void ferry__amqp_declare_queue(ferry__amqp *a, ferry__amqp_conn *c, amqp_channel_t channel, const char *name,
                               amqp_table_entry_t *arguments, int n)
{
    amqp_queue_declare_t m = {.queue = ferry__amqp_text(name), .durable = 1, .arguments = {n, arguments}};
    declare(a, c, channel, &m);
}

static void declare_exclusive(ferry__amqp *a, const char *name)
{
    amqp_table_entry_t classic = text("x-queue-type", "classic");
    amqp_queue_declare_t m = {
        .queue = ferry__amqp_text(name), .exclusive = 1, .auto_delete = 1, .arguments = {1, &classic}};
    declare(a, &a->in, FERRY__AMQP_MAIN, &m);
}

void ferry__amqp_declare_exchange(ferry__amqp_conn *c, amqp_channel_t channel, const char *name, const char *type)
{
    amqp_exchange_declare_t m = {
        .exchange = ferry__amqp_text(name), .type = ferry__amqp_text(type), .durable = 1, .nowait = 1};
    ferry__amqp_say(c, channel, AMQP_EXCHANGE_DECLARE_METHOD, &m);
}

void ferry__amqp_bind(ferry__amqp_conn *c, amqp_channel_t channel, const char *queue, const char *exchange,
                      const char *key)
{
    amqp_queue_bind_t m = {.queue = ferry__amqp_text(queue),
                           .exchange = ferry__amqp_text(exchange),
                           .routing_key = ferry__amqp_text(key),
                           .nowait = 1};
    ferry__amqp_say(c, channel, AMQP_QUEUE_BIND_METHOD, &m);
}

void ferry__amqp_consume(ferry__amqp *a, ferry__amqp_conn *c, amqp_channel_t channel, const char *queue,
                         const char *tag, bool no_ack)
{
    (void)a;
    amqp_basic_consume_t m = {.queue = ferry__amqp_text(queue),
                              .consumer_tag = ferry__amqp_text(tag),
                              .no_ack = no_ack,
                              .nowait = tag[0] != 'r'};
    ferry__amqp_say(c, channel, AMQP_BASIC_CONSUME_METHOD, &m);
}

/* ---- what a handle needs -------------------------------------------------------------------------------------------- */

void ferry__amqp_declare_own(ferry__amqp *a)
{
    char queue[FERRY__AMQP_NAME], exchange[FERRY__AMQP_NAME];
    reply_exchange(a, exchange);
    ferry__amqp_declare_exchange(&a->in, FERRY__AMQP_MAIN, exchange,
                                 "direct"); /* servers answer through it, so each handle sees to it */
    if (a->direct) {
        ferry__amqp_consume(a, &a->out, FERRY__AMQP_CALLS, "amq.rabbitmq.reply-to", "r", true);
        return;
    }
    ferry__amqp_reply_name(a, queue);
    declare_exclusive(a, queue);
    ferry__amqp_bind(&a->in, FERRY__AMQP_MAIN, queue, exchange, a->client);
    ferry__amqp_consume(a, &a->in, FERRY__AMQP_MAIN, queue, "r", true);
}

void ferry__amqp_declare_controls(ferry__amqp *a, const char *service, bool bound)
{
    char queue[FERRY__AMQP_NAME], exchange[FERRY__AMQP_NAME];
    control_name(a, queue);
    ferry__amqp_queue_name(a, exchange, service, strlen(service), "ctl", 0);
    if (!bound) {
        amqp_queue_unbind_t m = {.queue = ferry__amqp_text(queue), .exchange = ferry__amqp_text(exchange)};
        ferry__amqp_say(&a->in, FERRY__AMQP_MAIN, AMQP_QUEUE_UNBIND_METHOD, &m);
        return;
    }
    if (!a->control_queue) {
        declare_exclusive(a, queue);
        ferry__amqp_consume(a, &a->in, FERRY__AMQP_MAIN, queue, "x", true);
    }
    a->control_queue = true;
    ferry__amqp_declare_exchange(&a->in, FERRY__AMQP_MAIN, exchange, "fanout");
    ferry__amqp_bind(&a->in, FERRY__AMQP_MAIN, queue, exchange, "");
}

/* ---- what a service needs ------------------------------------------------------------------------------------------- */

int ferry__amqp_durable_type(const ferry__amqp *a, amqp_table_entry_t *to)
{
    to[0] = text("x-queue-type", a->quorum ? "quorum" : "classic");
    to[1] = number("x-delivery-limit", NO_LIMIT);
    return a->quorum ? 2 : 1;
}

void ferry__amqp_shared_name(const ferry__amqp *a, char to[FERRY__AMQP_NAME], const ferry__source *source)
{
    const char *what = source->lane == FERRY__CALLS ? "calls" : "posts";
    ferry__amqp_queue_name(a, to, source->name, strlen(source->name), what, 0);
}

void ferry__amqp_declare_shared(ferry__amqp *a, const ferry__source *source)
{
    char name[FERRY__AMQP_NAME];
    amqp_table_entry_t arguments[2] = {text("x-queue-type", "classic")};
    bool calls = source->lane == FERRY__CALLS;
    int n = calls ? 1 : ferry__amqp_durable_type(a, arguments);
    ferry__amqp_shared_name(a, name, source);
    ferry__amqp_declare_queue(a, &a->in, calls ? FERRY__AMQP_CALLS_IN : FERRY__AMQP_POSTS_IN, name, arguments, n);
}

static void declare_calls(ferry__amqp *a, const ferry__source *source)
{
    char name[FERRY__AMQP_NAME];
    amqp_table_entry_t classic = text("x-queue-type", "classic");
    ferry__amqp_declare_shared(a, source);
    ferry__amqp_queue_name(a, name, source->name, strlen(source->name), "up", 0);
    ferry__amqp_declare_queue(a, &a->in, FERRY__AMQP_CALLS_IN, name, &classic, 1);
}

/* Before it is needed: a quorum queue cannot be looked at in the moment of its birth. */
static void declare_box(ferry__amqp *a, const char *box)
{
    char name[FERRY__AMQP_NAME];
    amqp_table_entry_t arguments[3];
    int n = ferry__amqp_durable_type(a, arguments);
    ferry__amqp_queue_name(a, name, box, strlen(box), "dead", 0);
    ferry__amqp_declare_queue(a, &a->in, FERRY__AMQP_POSTS_IN, name, arguments, n);
}

static void declare_posts(ferry__amqp *a, const ferry__source *source)
{
    char name[FERRY__AMQP_NAME];
    const char *service = source->name;
    amqp_table_entry_t arguments[3];
    int n = ferry__amqp_durable_type(a, arguments);
    ferry__amqp_declare_shared(a, source);
    declare_box(a, service);
    if (ferry__amqp_is_box(service)) /* events that are tried again: their order is given up */
        return;
    arguments[n] = ferry__amqp_yes("x-single-active-consumer");
    for (unsigned i = 1; i <= a->config->partitions; i++) {
        ferry__amqp_queue_name(a, name, service, strlen(service), "posts", i);
        ferry__amqp_declare_queue(a, &a->in, FERRY__AMQP_KEYED_IN, name, arguments, n + 1);
    }
}

void ferry__amqp_declare_service(ferry__amqp *a, ferry__amqp_intake *in)
{
    if (in->source->lane == FERRY__CALLS)
        declare_calls(a, in->source);
    else if (in->source->lane == FERRY__POSTS)
        declare_posts(a, in->source);
    else if (in->source->lane == FERRY__CONTROLS)
        ferry__amqp_declare_controls(a, in->source->name, true);
    in->declared = true;
}

/* ---- tiers of delay ------------------------------------------------------------------------------------------------- */

/* The next of 1, 1.5, 2, 3, 4, 6, 8, 12, … times the least: one queue for each, in which all wait equally long and none waits behind a
 * longer one. */
int ferry__amqp_tier(const ferry__amqp *a, int delay_ms)
{
    int ms = a->tier_ms;
    while (ms < delay_ms && ms < INT32_MAX / 4) {
        if (ms * 3 / 2 >= delay_ms)
            return ms * 3 / 2;
        ms *= 2;
    }
    return ms;
}

static bool first_use(ferry__amqp *a, int ms)
{
    enum { MOST = sizeof a->tiers / sizeof *a->tiers };
    for (size_t i = 0; i < MOST; i++)
        if (a->tiers[i] == ms)
            return false;
    a->tiers[a->next_tier++ % MOST] = ms; /* overwritten ones are declared once more: harmless */
    return true;
}

/* A fanout exchange with one queue behind it, whose messages go on to the default exchange when they are due: by their routing key,
 * which is the name of the queue that they came from. */
void ferry__amqp_declare_tier(ferry__amqp *a, int ms, char to[FERRY__AMQP_NAME])
{
    snprintf(to, FERRY__AMQP_NAME, "%s.retry.%d", a->config->ns, ms);
    if (!first_use(a, ms))
        return;
    amqp_table_entry_t arguments[] = {text("x-queue-type", a->quorum ? "quorum" : "classic"),
                                      number("x-message-ttl", ms), text("x-dead-letter-exchange", ""),
                                      text("x-dead-letter-strategy", "at-least-once"),
                                      text("x-overflow", "reject-publish")};
    ferry__amqp_declare_exchange(&a->out, FERRY__AMQP_POSTS, to, "fanout");
    ferry__amqp_declare_queue(a, &a->out, FERRY__AMQP_POSTS, to, arguments, a->quorum ? 5 : 3);
    ferry__amqp_bind(&a->out, FERRY__AMQP_POSTS, to, to, "");
}
