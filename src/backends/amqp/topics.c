/* topics.c - questions about domains and groups: a few methods, one after the other, on a channel that is opened for the question. A
 * refusal closes that channel, and is the answer.
 *
 * AMQP can ask for a name, and cannot list names: what groups there are of a domain is known for those that this handle listens for,
 * or that the question names. */
#include "backends/amqp/event_stream.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <string.h>

enum { NOT_FOUND = 404, ACCESS_REFUSED = 403, PRECONDITION_FAILED = 406, FIRST_MS = 300, NEXT_MS = 40 };

typedef enum op {
    LOOK_EXCHANGE,
    MAKE_EXCHANGE,
    MAKE_LOG,
    BIND_LOG,
    DROP_EXCHANGE,
    COUNT,
    PURGE,
    DROP_QUEUE,
    READ_END,
    READ_FIRST,
    LOOK_MEMBERS,
    LOOK_TOKEN,
    READ_TOKEN
} op;

typedef struct step {
    struct step *next;
    op           op;
    unsigned     row, part;
    char         name[FERRY__AMQP_NAME];
} step;

typedef struct row { /* a group, or a broadcast */
    struct row *next;
    unsigned    number, feed; /* feed: whose it is, if ours */
    char       *group;        /* NULL: a broadcast */
    int64_t     lag;
    unsigned    members;
    bool        read; /* its token was: */
    uint64_t    at;
} row;

typedef struct ferry__amqp_topic {
    ferry__admin  *q;      /* NULL: a domain is made, to publish to it */
    ferry__target *target; /* that one */
    step         *steps, **steps_end; /* the first is being answered */
    row          *rows, **rows_end;
    unsigned      number;
    bool          failed, ending;
    int64_t       quiet_ms; /* when what is read has come to its end */
    uint64_t      first, end; /* of the log */
} job;

/* ---- making a job --------------------------------------------------------------------------------------------------- */

static step *add(job *j, op what, unsigned of)
{
    step *s = j->failed ? NULL : ferry__zalloc(sizeof *s);
    if (!s) {
        j->failed = true;
        return NULL;
    }
    s->op = what;
    s->row = of;
    *j->steps_end = s;
    j->steps_end = &s->next;
    return s;
}

static void add_exchange(const ferry__amqp *a, job *j, op what)
{
    step *s = add(j, what, 0);
    if (s)
        ferry__amqp_event_exchange(a, s->name, j->q ? j->q->name : j->target->name);
}

static void add_log(const ferry__amqp *a, job *j, op what)
{
    const char *domain = !j->q ? j->target->name : j->q->source ? j->q->source->name : j->q->name;
    step *s = a->streams ? add(j, what, 0) : NULL;
    if (s)
        ferry__amqp_stream_name(a, s->name, domain);
}

static void add_domain(const ferry__amqp *a, job *j)
{
    add_exchange(a, j, MAKE_EXCHANGE);
    add_log(a, j, MAKE_LOG);
    add_log(a, j, BIND_LOG);
}

static void add_queues(const ferry__amqp *a, job *j, op what, const char *box, unsigned of)
{
    for (unsigned i = 0; i <= a->config->partitions; i++) {
        step *s = add(j, what, of);
        if (!s)
            return;
        s->part = i;
        ferry__amqp_queue_name(a, s->name, box, strlen(box), "events", i);
    }
    step *s = what == COUNT ? NULL : add(j, what, of);
    if (s)
        ferry__amqp_queue_name(a, s->name, box, strlen(box), "posts", 0);
    for (int i = 0; i < 2 && what == DROP_QUEUE && a->streams && (s = add(j, what, of)); i++)
        ferry__amqp_queue_name(a, s->name, box, strlen(box), i ? "position" : "at", 0);
}

static row *add_row(job *j, const char *group)
{
    row *r = j->failed ? NULL : ferry__zalloc(sizeof *r);
    char *name = r && group ? ferry__alloc(strlen(group) + 1) : NULL;
    if (!r || (group && !name)) {
        ferry__free(r);
        j->failed = true;
        return NULL;
    }
    if (name)
        memcpy(name, group, strlen(group) + 1);
    r->group = name;
    r->number = ++j->number;
    *j->rows_end = r;
    j->rows_end = &r->next;
    return r;
}

static void add_token(const ferry__amqp *a, job *j, const char *box, unsigned of)
{
    step *s = add(j, LOOK_MEMBERS, of);
    if (s)
        ferry__amqp_queue_name(a, s->name, box, strlen(box), "at", 0);
    s = add(j, LOOK_TOKEN, of);
    if (s)
        ferry__amqp_queue_name(a, s->name, box, strlen(box), "position", 0);
}

static void add_group(const ferry__amqp *a, job *j, op what, const char *group)
{
    char box[FERRY__AMQP_NAME];
    row *r = add_row(j, group);
    if (!r)
        return;
    snprintf(box, sizeof box, "%s/%s", j->q->name, group);
    if (a->streams && what == COUNT)
        add_token(a, j, box, r->number);
    else
        add_queues(a, j, what, box, r->number);
}

static void add_feed(const ferry__amqp *a, job *j, op what, const ferry__amqp_feed *d)
{
    row *r = add_row(j, d->group ? strchr(d->box, '/') + 1 : NULL);
    if (!r)
        return;
    r->feed = d->number;
    if (d->stream && what == COUNT) {
        if (d->group)
            add_token(a, j, d->box, r->number);
        return;
    }
    if (d->group) {
        add_queues(a, j, what, d->box, r->number);
        return;
    }
    step *s = add(j, what, r->number);
    if (s)
        ferry__amqp_event_queue(a, s->name, d, 0);
}

static bool known(const job *j, const ferry__amqp_feed *d)
{
    for (const row *r = j->rows; r && d->group; r = r->next)
        if (r->group && strcmp(r->group, strchr(d->box, '/') + 1) == 0)
            return true;
    return false;
}

/* Those that the question means. */
static void add_groups(const ferry__amqp *a, job *j, op what)
{
    const ferry__admin *q = j->q;
    if (!q->source && q->group) {
        add_group(a, j, what, q->group);
        return;
    }
    for (ferry__node *n = a->feeds.next; n != &a->feeds; n = n->next) {
        const ferry__amqp_feed *d = FERRY__OF(n, ferry__amqp_feed, node);
        bool meant = q->source ? d->source == q->source : q->name && strcmp(d->domain, q->name) == 0;
        if (meant && d->source && d->ready && !known(j, d) && (what != DROP_QUEUE || d->group))
            add_feed(a, j, what, d);
    }
}

/* False: it is answered already. */
static bool plan(ferry__amqp *a, job *j)
{
    ferry__admin *q = j->q;
    if (q->ask == FERRY__LAG) {
        add_groups(a, j, COUNT);
        add_log(a, j, READ_END);
        return j->rows || j->failed;
    }
    add_exchange(a, j, LOOK_EXCHANGE);
    if (q->ask == FERRY__TOPIC_DESCRIBE)
        add_groups(a, j, COUNT);
    if (q->ask == FERRY__TOPIC_DESCRIBE) {
        add_log(a, j, READ_END);
        add_log(a, j, READ_FIRST);
    }
    if (q->ask == FERRY__TOPIC_PURGE)
        add_groups(a, j, PURGE);
    if (q->ask == FERRY__TOPIC_DELETE) {
        add_exchange(a, j, DROP_EXCHANGE);
        add_log(a, j, DROP_QUEUE);
        add_groups(a, j, DROP_QUEUE);
    }
    return q->ask != FERRY__TOPIC_PURGE || j->rows || j->failed;
}

/* ---- the end of one ------------------------------------------------------------------------------------------------- */

static void finish(ferry__amqp *a, ferry__admin *q, ferry_status status, const char *why)
{
    q->status = status;
    ferry__why(q->why, "%s", why ? why : "");
    q->next = a->answered;
    a->answered = q;
}

static void job_free(job *j)
{
    for (step *s; (s = j->steps);) {
        j->steps = s->next;
        ferry__free(s);
    }
    for (row *r; (r = j->rows);) {
        j->rows = r->next;
        ferry__free(r->group);
        ferry__free(r);
    }
    ferry__free(j);
}

/* What the broker gave us does not count as in the queue. */
static int64_t unfinished(const ferry__amqp *a, unsigned number)
{
    int64_t count = 0;
    for (ferry__node *n = a->feeds.next; n != &a->feeds; n = n->next) {
        const ferry__amqp_feed *d = FERRY__OF(n, ferry__amqp_feed, node);
        for (unsigned i = 0; d->number == number && i < d->parts; i++)
            count += d->part[i].open;
    }
    return count;
}

static const ferry__amqp_feed *feed_by(const ferry__amqp *a, unsigned number)
{
    for (ferry__node *n = a->feeds.next; n != &a->feeds; n = n->next)
        if (FERRY__OF(n, ferry__amqp_feed, node)->number == number)
            return FERRY__OF(n, ferry__amqp_feed, node);
    return NULL;
}

/* Of a log the reader knows its position; nobody else can ask for it. */
static void put_lag(const ferry__amqp *a, const job *j, const row *r, ferry_value *m)
{
    char text[24];
    const ferry__amqp_feed *d = feed_by(a, r->feed);
    const ferry__amqp_stream *s = d ? d->stream : NULL;
    bool ours = s && s->from == FERRY__FROM_POSITION && (!d->group || s->owner), known = ours || r->read;
    uint64_t next = ours ? s->next : r->at;
    int64_t behind = known && j->end > next ? (int64_t)(j->end - next) : known ? 0 : -1;
    ferry_map_put(m, "lag", ferry_int(a->streams ? behind : r->lag + unfinished(a, r->feed)));
    if (!known)
        return;
    snprintf(text, sizeof text, "%llu", (unsigned long long)next);
    ferry_map_put(m, "position", ferry_text(text));
}

static ferry_value *lags(const ferry__amqp *a, const job *j, const char *domain)
{
    ferry_value *list = ferry_new_list();
    for (const row *r = j->rows; r; r = r->next) {
        ferry_value *m = ferry_new_map();
        ferry_map_put(m, "domain", ferry_text(domain));
        ferry_map_put(m, "group", r->group ? ferry_text(r->group) : ferry_nil());
        put_lag(a, j, r, m);
        if (r->members)
            ferry_map_put(m, "members", ferry_int(r->members));
        ferry_list_put(list, m);
    }
    return list;
}

static void answer(const ferry__amqp *a, const job *j)
{
    ferry__admin *q = j->q;
    if (q->ask == FERRY__LAG)
        q->answer = lags(a, j, q->source ? q->source->name : q->name);
    if (q->ask != FERRY__TOPIC_DESCRIBE)
        return;
    q->answer = ferry_new_map();
    ferry_map_put(q->answer, "name", ferry_text(q->name));
    ferry_map_put(q->answer, "partitions", ferry_int(a->config->partitions));
    if (a->streams)
        ferry_map_put(q->answer, "events", ferry_int((int64_t)(j->end - j->first)));
    ferry_map_put(q->answer, "groups", lags(a, j, q->name));
}

static void over(ferry__amqp *a, ferry_status status, const char *why)
{
    job *j = a->topic;
    a->topic = NULL;
    if (!j->q) {
        if (status != FERRY_UNAVAILABLE)
            j->target->data = (void *)(uintptr_t)a->era;
        if (status != FERRY_OK)
            ferry__log_print(a->up->log, LOG_ERR, "the domain '%s' cannot be made: %s", j->target->name, why);
        job_free(j);
        return;
    }
    if (status == FERRY_OK)
        answer(a, j);
    finish(a, j->q, status, why);
    job_free(j);
}

/* ---- step by step --------------------------------------------------------------------------------------------------- */

/* A log from its first or its last messages; a position, which goes back when the channel is closed. A log does not say where it ends,
 * so that is where nothing more comes for a moment. */
static void read_from(ferry__amqp *a, const step *s, amqp_bytes_t queue)
{
    bool end = s->op == READ_END, log = s->op != READ_TOKEN;
    amqp_basic_qos_t room = {.prefetch_count = end ? 1000 : 1};
    amqp_table_entry_t start = {.key = ferry__amqp_text("x-stream-offset"), .value = {.kind = AMQP_FIELD_KIND_UTF8}};
    start.value.value.bytes = ferry__amqp_text(end ? "last" : "first");
    amqp_basic_consume_t m = {.queue = queue,
                              .consumer_tag = ferry__amqp_text(end ? "f0" : log ? "f1" : "f2"),
                              .nowait = 1,
                              .arguments = {log ? 1 : 0, &start}};
    ferry__amqp_say(&a->out, FERRY__AMQP_TOPICS, AMQP_BASIC_QOS_METHOD, &room);
    ferry__amqp_say(&a->out, FERRY__AMQP_TOPICS, AMQP_BASIC_CONSUME_METHOD, &m);
    a->topic->quiet_ms = ferry__now_ms() + FIRST_MS;
}

static void say_log(ferry__amqp *a, const step *s)
{
    job *j = a->topic;
    char age[32], exchange[FERRY__AMQP_NAME];
    amqp_table_entry_t arguments[4];
    amqp_bytes_t name = ferry__amqp_text(s->name);
    if (s->op == READ_END || s->op == READ_FIRST || s->op == READ_TOKEN) {
        read_from(a, s, name);
    } else if (s->op == MAKE_LOG) {
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

static void say(ferry__amqp *a, const step *s)
{
    amqp_bytes_t name = ferry__amqp_text(s->name);
    amqp_exchange_declare_t look = {
        .exchange = name, .type = ferry__amqp_text("topic"), .passive = s->op == LOOK_EXCHANGE, .durable = 1};
    amqp_exchange_delete_t drop = {.exchange = name};
    amqp_queue_declare_t count = {.queue = name, .passive = 1};
    amqp_queue_purge_t purge = {.queue = name};
    amqp_queue_delete_t drop_queue = {.queue = name};
    if (s->op == MAKE_LOG || s->op == BIND_LOG || s->op == READ_END || s->op == READ_FIRST || s->op == READ_TOKEN) {
        say_log(a, s);
        return;
    }
    struct {
        amqp_method_number_t method;
        void                *decoded;
    } of[] = {[LOOK_EXCHANGE] = {AMQP_EXCHANGE_DECLARE_METHOD, &look},
              [MAKE_EXCHANGE] = {AMQP_EXCHANGE_DECLARE_METHOD, &look},
              [DROP_EXCHANGE] = {AMQP_EXCHANGE_DELETE_METHOD, &drop},
              [COUNT] = {AMQP_QUEUE_DECLARE_METHOD, &count},
              [LOOK_MEMBERS] = {AMQP_QUEUE_DECLARE_METHOD, &count},
              [LOOK_TOKEN] = {AMQP_QUEUE_DECLARE_METHOD, &count},
              [PURGE] = {AMQP_QUEUE_PURGE_METHOD, &purge},
              [DROP_QUEUE] = {AMQP_QUEUE_DELETE_METHOD, &drop_queue}};
    ferry__amqp_say(&a->out, FERRY__AMQP_TOPICS, of[s->op].method, of[s->op].decoded);
}

static void go_on(ferry__amqp *a)
{
    job *j = a->topic;
    j->ending = !j->steps;
    if (j->ending)
        ferry__amqp_channel_close(&a->out, FERRY__AMQP_TOPICS);
    else
        say(a, j->steps);
}

static step *take(job *j)
{
    step *s = j->steps;
    j->steps = s->next;
    if (!j->steps)
        j->steps_end = &j->steps;
    return s;
}

/* There is one to read. */
static bool again(job *j, step *s)
{
    s->op = READ_TOKEN;
    s->next = j->steps;
    if (!j->steps)
        j->steps_end = &s->next;
    j->steps = s;
    return true;
}

void ferry__amqp_topics_answer(ferry__amqp *a, uint32_t messages, uint32_t consumers)
{
    job *j = a->topic;
    if (!j || !j->steps)
        return;
    step *s = take(j);
    j->quiet_ms = 0;
    row *r = j->rows;
    while (r && r->number != s->row)
        r = r->next;
    if (r && s->op == COUNT)
        r->lag += messages;
    if (r && s->op == COUNT && s->part == 1) /* the first part: each member has one consumer of it */
        r->members = consumers;
    if (s->op == PURGE)
        j->q->count += messages;
    if (r && s->op == LOOK_MEMBERS)
        r->members = consumers;
    if (r && s->op == LOOK_TOKEN) {
        if (messages && again(j, s))
        {
            go_on(a);
            return;
        }
    }
    if (j->q && (s->op == MAKE_EXCHANGE || s->op == DROP_EXCHANGE))
        j->q->count = 1;
    ferry__free(s);
    go_on(a);
}

void ferry__amqp_topics_closed(ferry__amqp *a, unsigned code, const char *why)
{
    job *j = a->topic;
    if (!j)
        return;
    bool absent = code == NOT_FOUND && j->steps && j->steps->op == LOOK_EXCHANGE;
    if (code == 0) {
        over(a, FERRY_OK, NULL);
    } else if (absent && j->q && j->q->ask == FERRY__TOPIC_CREATE) {
        ferry__free(take(j));
        ferry__amqp_channel_open(&a->out, FERRY__AMQP_TOPICS);
        add_domain(a, j);
        go_on(a);
    } else if (code == PRECONDITION_FAILED && j->steps && j->steps->op == MAKE_LOG) {
        ferry__free(take(j)); /* somebody made it, to be kept for another time */
        ferry__amqp_channel_open(&a->out, FERRY__AMQP_TOPICS);
        go_on(a);
    } else if (code == NOT_FOUND)
        over(a, FERRY_NOT_FOUND, absent ? "there is no such domain" : "there is no such group of that domain");
    else
        over(a, code == ACCESS_REFUSED ? FERRY_DENIED : FERRY_UNAVAILABLE, why);
}

void ferry__amqp_topics_ask(ferry__amqp *a, ferry__admin *q)
{
    job *j = ferry__zalloc(sizeof *j);
    if (!j) {
        finish(a, q, FERRY_NO_MEMORY, "out of memory");
        return;
    }
    j->q = q;
    j->steps_end = &j->steps;
    j->rows_end = &j->rows;
    q->count = 0;
    bool cannot = q->ask == FERRY__TOPIC_LIST || (q->ask == FERRY__TOPIC_PURGE && a->streams);
    bool planned = !cannot && plan(a, j);
    if (planned && !j->failed) {
        a->topic = j;
        ferry__amqp_channel_open(&a->out, FERRY__AMQP_TOPICS);
        go_on(a);
        return;
    }
    if (j->failed)
        finish(a, q, FERRY_NO_MEMORY, "out of memory");
    else if (q->ask == FERRY__TOPIC_LIST)
        finish(a, q, FERRY_UNSUPPORTED, "AMQP cannot list its exchanges: name the domain that is meant");
    else if (cannot)
        finish(a, q, FERRY_UNSUPPORTED, "a stream cannot be emptied: delete the domain, or let its events grow old");
    else
        finish(a, q, FERRY_UNSUPPORTED, "AMQP cannot list its queues: name the group that is meant");
    job_free(j);
}

bool ferry__amqp_topics_make(ferry__amqp *a, ferry__target *target)
{
    job *j = a->topic || a->phase != FERRY__AMQP_UP ? NULL : ferry__zalloc(sizeof *j);
    if (!j)
        return false;
    j->target = target;
    j->steps_end = &j->steps;
    j->rows_end = &j->rows;
    add_domain(a, j);
    if (j->failed) {
        job_free(j);
        return false;
    }
    a->topic = j;
    ferry__amqp_channel_open(&a->out, FERRY__AMQP_TOPICS);
    go_on(a);
    return false;
}

static void note_token(job *j, const ferry__frame *f)
{
    ferry__amqp_token t;
    row *r = j->rows;
    while (r && r->number != j->steps->row)
        r = r->next;
    if (!r || !f || !ferry__amqp_token_read(f, &t))
        return;
    r->read = t.from != FERRY__FROM_TIME;
    r->at = t.next;
}

void ferry__amqp_topics_read(ferry__amqp *a, ferry__amqp_inbound *in)
{
    job *j = a->topic;
    amqp_basic_ack_t ack = {.delivery_tag = in->tag};
    op waiting = j && j->steps ? j->steps->op : LOOK_EXCHANGE;
    if (waiting == READ_END && in->intake == 0) {
        j->end = in->offset + 1;
        j->quiet_ms = ferry__now_ms() + NEXT_MS;
        ferry__amqp_say(&a->out, FERRY__AMQP_TOPICS, AMQP_BASIC_ACK_METHOD, &ack);
    }
    bool first = waiting == READ_FIRST && in->intake == 1, token = waiting == READ_TOKEN && in->intake == 2;
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

void ferry__amqp_topics_down(ferry__amqp *a)
{
    if (a->topic)
        over(a, FERRY_UNAVAILABLE, a->why);
}

void ferry__amqp_topics_done(ferry__amqp *a)
{
    if (a->topic)
        job_free(a->topic);
    a->topic = NULL;
}
