/* topics_plan.c - which steps answer a question. */
#include "backends/amqp/topics.h"

#include "base/alloc.h"

#include <string.h>

typedef ferry__amqp_topic job;
typedef ferry__amqp_step  step;
typedef ferry__amqp_row   row;
typedef ferry__amqp_op    op;

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

void ferry__amqp_topic_add_domain(const ferry__amqp *a, job *j)
{
    add_exchange(a, j, FERRY__AMQP_MAKE_EXCHANGE);
    add_log(a, j, FERRY__AMQP_MAKE_LOG);
    add_log(a, j, FERRY__AMQP_BIND_LOG);
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
    step *s = what == FERRY__AMQP_COUNT ? NULL : add(j, what, of);
    if (s)
        ferry__amqp_queue_name(a, s->name, box, strlen(box), "posts", 0);
    for (int i = 0; i < 2 && what == FERRY__AMQP_DROP_QUEUE && a->streams && (s = add(j, what, of)); i++)
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
    step *s = add(j, FERRY__AMQP_LOOK_MEMBERS, of);
    if (s)
        ferry__amqp_queue_name(a, s->name, box, strlen(box), "at", 0);
    s = add(j, FERRY__AMQP_LOOK_TOKEN, of);
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
    if (a->streams && what == FERRY__AMQP_COUNT)
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
    if (d->stream && what == FERRY__AMQP_COUNT) {
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
        if (meant && d->source && d->ready && !known(j, d) && (what != FERRY__AMQP_DROP_QUEUE || d->group))
            add_feed(a, j, what, d);
    }
}

/* False: it is answered already. */
bool ferry__amqp_topic_plan(ferry__amqp *a, job *j)
{
    ferry__admin *q = j->q;
    if (q->ask == FERRY__LAG) {
        add_groups(a, j, FERRY__AMQP_COUNT);
        add_log(a, j, FERRY__AMQP_READ_END);
        return j->rows || j->failed;
    }
    add_exchange(a, j, FERRY__AMQP_LOOK_EXCHANGE);
    if (q->ask == FERRY__TOPIC_DESCRIBE)
        add_groups(a, j, FERRY__AMQP_COUNT);
    if (q->ask == FERRY__TOPIC_DESCRIBE) {
        add_log(a, j, FERRY__AMQP_READ_END);
        add_log(a, j, FERRY__AMQP_READ_FIRST);
    }
    if (q->ask == FERRY__TOPIC_PURGE)
        add_groups(a, j, FERRY__AMQP_PURGE);
    if (q->ask == FERRY__TOPIC_DELETE) {
        add_exchange(a, j, FERRY__AMQP_DROP_EXCHANGE);
        add_log(a, j, FERRY__AMQP_DROP_QUEUE);
        add_groups(a, j, FERRY__AMQP_DROP_QUEUE);
    }
    return q->ask != FERRY__TOPIC_PURGE || j->rows || j->failed;
}
