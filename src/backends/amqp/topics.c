/* topics.c - questions about domains and groups: a few methods, one after the other, on a channel that is opened for the question. A
 * refusal closes that channel, and is the answer.
 *
 * AMQP can ask for a name, and cannot list names: what groups there are of a domain is known for those that this handle listens for,
 * or that the question names. */
#include "backends/amqp/topics.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <string.h>

enum { NOT_FOUND = 404, ACCESS_REFUSED = 403, PRECONDITION_FAILED = 406 };

typedef ferry__amqp_topic job;
typedef ferry__amqp_step  step;
typedef ferry__amqp_row   row;

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

/* What the broker gave us does not count as in the queue. It may be on its way when the broker counts, or go back meanwhile. */
static int64_t in_hand(const ferry__amqp *a, const row *r)
{
    int64_t count = 0;
    for (ferry__node *n = a->feeds.next; n != &a->feeds; n = n->next) {
        const ferry__amqp_feed *d = FERRY__OF(n, ferry__amqp_feed, node);
        for (unsigned i = 0; d->number == r->feed && i < d->parts; i++)
            count += d->part[i].open;
    }
    return count > r->open ? count : r->open;
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
    bool ours = s && s->from == FERRY_FROM_POSITION && (!d->group || s->owner), known = ours || r->read;
    uint64_t next = ours ? s->next : r->at;
    int64_t behind = known && j->end > next ? (int64_t)(j->end - next) : known ? 0 : -1;
    ferry_map_put(m, "lag", ferry_int(a->streams ? behind : r->lag + in_hand(a, r)));
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
    if (status == FERRY_OK && j->q->ask == FERRY__TOPIC_CREATE)
        ferry__amqp_domain_note(a, j->q->name);
    if (status == FERRY_OK && j->q->ask == FERRY__TOPIC_DELETE)
        ferry__amqp_domain_forget(a, j->q->name);
    if (status == FERRY_OK)
        answer(a, j);
    finish(a, j->q, status, why);
    job_free(j);
}

/* ---- step by step --------------------------------------------------------------------------------------------------- */

static void say(ferry__amqp *a, const step *s)
{
    amqp_bytes_t name = ferry__amqp_text(s->name);
    amqp_exchange_declare_t look = {.exchange = name,
                                    .type = ferry__amqp_text("topic"),
                                    .passive = s->op == FERRY__AMQP_LOOK_EXCHANGE,
                                    .durable = 1};
    amqp_exchange_delete_t drop = {.exchange = name};
    amqp_queue_declare_t count = {.queue = name, .passive = 1};
    amqp_queue_purge_t purge = {.queue = name};
    amqp_queue_delete_t drop_queue = {.queue = name};
    if (s->op == FERRY__AMQP_MAKE_LOG || s->op == FERRY__AMQP_BIND_LOG || s->op == FERRY__AMQP_READ_END ||
        s->op == FERRY__AMQP_READ_FIRST || s->op == FERRY__AMQP_READ_TOKEN) {
        ferry__amqp_topic_say_log(a, s);
        return;
    }
    struct {
        amqp_method_number_t method;
        void                *decoded;
    } of[] = {[FERRY__AMQP_LOOK_EXCHANGE] = {AMQP_EXCHANGE_DECLARE_METHOD, &look},
              [FERRY__AMQP_MAKE_EXCHANGE] = {AMQP_EXCHANGE_DECLARE_METHOD, &look},
              [FERRY__AMQP_DROP_EXCHANGE] = {AMQP_EXCHANGE_DELETE_METHOD, &drop},
              [FERRY__AMQP_COUNT] = {AMQP_QUEUE_DECLARE_METHOD, &count},
              [FERRY__AMQP_LOOK_MEMBERS] = {AMQP_QUEUE_DECLARE_METHOD, &count},
              [FERRY__AMQP_LOOK_TOKEN] = {AMQP_QUEUE_DECLARE_METHOD, &count},
              [FERRY__AMQP_PURGE] = {AMQP_QUEUE_PURGE_METHOD, &purge},
              [FERRY__AMQP_DROP_QUEUE] = {AMQP_QUEUE_DELETE_METHOD, &drop_queue}};
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
    s->op = FERRY__AMQP_READ_TOKEN;
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
    if (r && s->op == FERRY__AMQP_COUNT) {
        const ferry__amqp_feed *d = feed_by(a, r->feed);
        r->lag += messages;
        r->open += d && s->part < d->parts ? d->part[s->part].open : 0;
    }
    if (r && s->op == FERRY__AMQP_COUNT && s->part == 1) /* the first part: each member has one consumer of it */
        r->members = consumers;
    if (s->op == FERRY__AMQP_PURGE)
        j->q->count += messages;
    if (r && s->op == FERRY__AMQP_LOOK_MEMBERS)
        r->members = consumers;
    if (r && s->op == FERRY__AMQP_LOOK_TOKEN) {
        if (messages && again(j, s)) {
            go_on(a);
            return;
        }
    }
    if (j->q && (s->op == FERRY__AMQP_MAKE_EXCHANGE || s->op == FERRY__AMQP_DROP_EXCHANGE))
        j->q->count = 1;
    ferry__free(s);
    go_on(a);
}

void ferry__amqp_topics_closed(ferry__amqp *a, unsigned code, const char *why)
{
    job *j = a->topic;
    if (!j)
        return;
    bool absent = code == NOT_FOUND && j->steps && j->steps->op == FERRY__AMQP_LOOK_EXCHANGE;
    if (code == 0) {
        over(a, FERRY_OK, NULL);
    } else if (absent && j->q && j->q->ask == FERRY__TOPIC_CREATE) {
        ferry__free(take(j));
        ferry__amqp_channel_open(&a->out, FERRY__AMQP_TOPICS);
        ferry__amqp_topic_add_domain(a, j);
        go_on(a);
    } else if (code == PRECONDITION_FAILED && j->steps && j->steps->op == FERRY__AMQP_MAKE_LOG) {
        ferry__free(take(j)); /* somebody made it, to be kept for another time */
        ferry__amqp_channel_open(&a->out, FERRY__AMQP_TOPICS);
        go_on(a);
    } else if (code == NOT_FOUND)
        over(a, FERRY_NOT_FOUND, absent ? "there is no such domain" : "there is no such group of that domain");
    else
        over(a, code == ACCESS_REFUSED ? FERRY_DENIED : FERRY_UNAVAILABLE, why);
}

static void answer_list(ferry__amqp *a, ferry__admin *q)
{
    q->answer = ferry__amqp_domains(a);
    if (q->answer)
        finish(a, q, FERRY_OK, NULL);
    else
        finish(a, q, FERRY_UNSUPPORTED, "AMQP cannot list its exchanges: name the domain that is meant");
}

void ferry__amqp_topics_ask(ferry__amqp *a, ferry__admin *q)
{
    if (q->ask == FERRY__TOPIC_LIST) {
        answer_list(a, q);
        return;
    }
    job *j = ferry__zalloc(sizeof *j);
    if (!j) {
        finish(a, q, FERRY_NO_MEMORY, "out of memory");
        return;
    }
    j->q = q;
    j->steps_end = &j->steps;
    j->rows_end = &j->rows;
    q->count = 0;
    bool cannot = q->ask == FERRY__TOPIC_PURGE && a->streams;
    bool planned = !cannot && ferry__amqp_topic_plan(a, j);
    if (planned && !j->failed) {
        a->topic = j;
        ferry__amqp_channel_open(&a->out, FERRY__AMQP_TOPICS);
        go_on(a);
        return;
    }
    if (j->failed)
        finish(a, q, FERRY_NO_MEMORY, "out of memory");
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
    ferry__amqp_topic_add_domain(a, j);
    if (j->failed) {
        job_free(j);
        return false;
    }
    a->topic = j;
    ferry__amqp_channel_open(&a->out, FERRY__AMQP_TOPICS);
    go_on(a);
    return false;
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
