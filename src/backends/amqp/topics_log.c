/* topics_log.c - reading a log where it begins and ends, and the position of a group. */
#include "backends/amqp/topics.h"

#include "base/clock.h"

#include <string.h>

enum { FIRST_MS = 300, NEXT_MS = 40 };

typedef ferry__amqp_topic job;
typedef ferry__amqp_step  step;
typedef ferry__amqp_row   row;
typedef ferry__amqp_op    op;

/* A log from its first or its last messages; a position, which goes back when the channel is closed. A log does not say where it ends,
 * so that is where nothing more comes for a moment. */
static void read_from(ferry__amqp *a, const step *s, amqp_bytes_t queue)
{
    bool end = s->op == FERRY__AMQP_READ_END, log = s->op != FERRY__AMQP_READ_TOKEN;
    amqp_basic_qos_t room = {.prefetch_count = end ? 1000 : 1};
    amqp_table_entry_t start = {.key = ferry__amqp_text("x-stream-offset"), .value = {.kind = AMQP_FIELD_KIND_UTF8}};
    start.value.value.bytes = ferry__amqp_text(end ? "last" : "first");
    amqp_basic_consume_t m = {.queue = queue,
                              .consumer_tag = ferry__amqp_text(end   ? "f0"
                                                               : log ? "f1"
                                                                     : "f2"),
                              .nowait = 1,
                              .arguments = {log ? 1 : 0, &start}};
    ferry__amqp_say(&a->out, FERRY__AMQP_TOPICS, AMQP_BASIC_QOS_METHOD, &room);
    ferry__amqp_say(&a->out, FERRY__AMQP_TOPICS, AMQP_BASIC_CONSUME_METHOD, &m);
    a->topic->quiet_ms = ferry__now_ms() + FIRST_MS;
}

void ferry__amqp_topic_say_log(ferry__amqp *a, const step *s)
{
    job *j = a->topic;
    char age[32], exchange[FERRY__AMQP_NAME];
    amqp_table_entry_t arguments[4];
    amqp_bytes_t name = ferry__amqp_text(s->name);
    if (s->op == FERRY__AMQP_READ_END || s->op == FERRY__AMQP_READ_FIRST || s->op == FERRY__AMQP_READ_TOKEN) {
        read_from(a, s, name);
    } else if (s->op == FERRY__AMQP_MAKE_LOG) {
        amqp_queue_declare_t make = {.queue = name, .durable = 1};
        make.arguments = (amqp_table_t){ferry__amqp_stream_arguments(a, j->q, age, arguments), arguments};
        ferry__amqp_say(&a->out, FERRY__AMQP_TOPICS, AMQP_QUEUE_DECLARE_METHOD, &make);
    } else {
        ferry__amqp_event_exchange(a, exchange, j->q ? j->q->name : j->target->name);
        amqp_queue_bind_t bind = {
            .queue = name, .exchange = ferry__amqp_text(exchange), .routing_key = ferry__amqp_text("#")};
        ferry__amqp_say(&a->out, FERRY__AMQP_TOPICS, AMQP_QUEUE_BIND_METHOD, &bind);
    }
}

static void note_token(job *j, const ferry__frame *f)
{
    ferry__amqp_token t;
    row *r = j->rows;
    while (r && r->number != j->steps->row)
        r = r->next;
    if (!r || !f || !ferry__amqp_token_read(f, &t))
        return;
    r->read = t.from != FERRY_FROM_TIME;
    r->at = t.next;
}

void ferry__amqp_topics_read(ferry__amqp *a, ferry__amqp_inbound *in)
{
    job *j = a->topic;
    amqp_basic_ack_t ack = {.delivery_tag = in->tag};
    op waiting = j && j->steps ? j->steps->op : FERRY__AMQP_LOOK_EXCHANGE;
    if (waiting == FERRY__AMQP_READ_END && in->intake == 0) {
        j->end = in->offset + 1;
        j->quiet_ms = ferry__now_ms() + NEXT_MS;
        ferry__amqp_say(&a->out, FERRY__AMQP_TOPICS, AMQP_BASIC_ACK_METHOD, &ack);
    }
    bool first = waiting == FERRY__AMQP_READ_FIRST && in->intake == 1,
         token = waiting == FERRY__AMQP_READ_TOKEN && in->intake == 2;
    if (first)
        j->first = in->offset;
    if (token)
        note_token(j, in->frame);
    ferry__frame_unref(in->frame);
    if (first || token)
        ferry__amqp_topics_answer(a, 0, 0);
}

void ferry__amqp_topics_look(ferry__amqp *a, int64_t now_ms)
{
    if (a->topic && a->topic->quiet_ms && now_ms >= a->topic->quiet_ms)
        ferry__amqp_topics_answer(a, 0, 0);
}

int64_t ferry__amqp_topics_due_ms(const ferry__amqp *a) /* 0: nothing */
{
    return a->topic ? a->topic->quiet_ms : 0;
}
