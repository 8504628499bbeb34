/* send.c - producing, and what delivery reports say of it.
 *
 * A frame for a name waits in its target until the topic is known to exist: librdkafka would have a broker create it, or keep the
 * message for a while. After rd_kafka_produce only the delivery report says what became of it. */
#include "backends/kafka/create.h"
#include "backends/kafka/group.h"
#include "backends/kafka/wire.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/random.h"

#include <string.h>

enum { RUN = 16 /* messages without a key that go to one partition in a row */ };

/* ---- topics ---- */

/* Partition numbers are not ours to know: the count comes from the brokers with the topic. */
int32_t ferry__kafka_pick(const rd_kafka_topic_t *topic, const void *key, size_t length, int32_t count, void *opaque,
                          void *note)
{
    const ferry__kafka_note *n = note;
    (void)topic;
    (void)key;
    (void)length;
    (void)opaque;
    return (int32_t)(n->spread % (uint32_t)count);
}

ferry__kafka_topic *ferry__kafka_topic_get(ferry__kafka *k, rd_kafka_t *producer, const char *name)
{
    for (ferry__node *n = k->topics.next; n != &k->topics; n = n->next) {
        ferry__kafka_topic *t = FERRY__OF(n, ferry__kafka_topic, node);
        if (t->producer == producer && strcmp(t->name, name) == 0)
            return t;
    }
    size_t length = strlen(name);
    ferry__kafka_topic *t = producer ? ferry__zalloc(sizeof *t + length + 1) : NULL;
    if (!t)
        return NULL;
    memcpy(t->name, name, length);
    t->producer = producer;
    t->handle = rd_kafka_topic_new(producer, name, NULL);
    if (!t->handle) {
        ferry__free(t);
        return NULL;
    }
    ferry__list_append(&k->topics, &t->node);
    return t;
}

/* ---- one message ---- */

static uint32_t client_spread(const unsigned char client[16])
{
    return (uint32_t)ferry__hash_agreed(client, 16);
}

/* Messages without a key go in runs, so that a few in a row stay in their order, as elsewhere. The same id leads to the same partition,
 * where its repetition is seen. */
static uint32_t spread_of(const ferry__frame *f)
{
    if (f->key.at)
        return (uint32_t)ferry__hash_agreed(f->data + f->key.at, f->key.length);
    return client_spread(f->id.client) % 1024 + (uint32_t)(f->id.serial / RUN);
}

static void *scratch(ferry__kafka *k, size_t size)
{
    if (size <= k->scratch_room)
        return k->scratch;
    ferry__free(k->scratch);
    k->scratch = ferry__alloc(size * 2);
    k->scratch_room = k->scratch ? size * 2 : 0;
    return k->scratch;
}

static rd_kafka_resp_err_t produce_packed(ferry__kafka *k, rd_kafka_topic_t *topic, const ferry__frame *f,
                                          const void *key, size_t length, ferry__kafka_note *n)
{
    size_t size = ferry__wire_packed(f);
    void *bytes = scratch(k, size);
    if (!bytes)
        return RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE;
    ferry__wire_pack(f, bytes);
    if (rd_kafka_produce(topic, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, bytes, size, key, length, n) != 0)
        return rd_kafka_last_error();
    n->flies = true;
    k->flying++;
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static void field(ferry__wire_post *p, rd_kafka_vtype_t type, const void *data, size_t length)
{
    rd_kafka_vu_t *v = &p->fields[p->count++];
    v->vtype = type;
    v->u.mem.ptr = (void *)(uintptr_t)data;
    v->u.mem.size = length;
}

/* An event's record is as old as the event: so it is found by its time. */
static void stamp(ferry__wire_post *p, const ferry__frame *f)
{
    rd_kafka_vu_t *v = &p->fields[p->count++];
    v->vtype = RD_KAFKA_VTYPE_TIMESTAMP;
    v->u.i64 = f->time_ms;
}

static rd_kafka_resp_err_t produce_open(rd_kafka_t *rk, rd_kafka_topic_t *topic, ferry__frame *f, int64_t due_ms,
                                        ferry__kafka_note *n)
{
    ferry__wire_post p;
    bool stored = f->kind == FERRY__EVENT && n->target && n->target->target->lane == FERRY__EVENTS;
    ferry__wire_headers(&p, f, due_ms, stored);
    field(&p, RD_KAFKA_VTYPE_VALUE, ferry__frame_body(f), f->body.length);
    field(&p, RD_KAFKA_VTYPE_KEY, f->key.at ? f->data + f->key.at : NULL, f->key.length);
    if (stored && f->time_ms > 0)
        stamp(&p, f);
    p.fields[p.count].vtype = RD_KAFKA_VTYPE_RKT;
    p.fields[p.count++].u.rkt = topic;
    p.fields[p.count].vtype = RD_KAFKA_VTYPE_MSGFLAGS;
    p.fields[p.count++].u.i = RD_KAFKA_MSG_F_COPY;
    p.fields[p.count].vtype = RD_KAFKA_VTYPE_OPAQUE;
    p.fields[p.count++].u.ptr = n;
    rd_kafka_error_t *error = rd_kafka_produceva(rk, p.fields, p.count);
    rd_kafka_resp_err_t err = error ? rd_kafka_error_code(error) : RD_KAFKA_RESP_ERR_NO_ERROR;
    rd_kafka_error_destroy(error);
    ferry__wire_headers_done(&p);
    return err;
}

void ferry__kafka_note_free(ferry__kafka_note *n)
{
    ferry__frame_unref(n->frame);
    ferry__free(n);
}

/* ---- calls and posts ---- */

ferry_status ferry__kafka_status(rd_kafka_resp_err_t err)
{
    switch (err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return FERRY_OK;
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
        return FERRY_TOO_BIG;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        return FERRY_NO_SERVICE;
    case RD_KAFKA_RESP_ERR__QUEUE_FULL:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS:
    case RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED:
        return FERRY_OVERLOADED;
    case RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE:
        return FERRY_NO_MEMORY;
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
        return FERRY_DENIED;
    default:
        return FERRY_UNAVAILABLE;
    }
}

void ferry__kafka_refuse(ferry__kafka *k, ferry__frame *f, ferry__fate fate, ferry_status status)
{
    f->tag[1] = (uint64_t)fate << 8 | (uint64_t)status;
    ferry__frames_add(&k->outcomes, f);
}

/* librdkafka says that there is no such topic; it may only not have heard of it yet. So the brokers are asked, which tells it too. */
typedef struct look {
    ferry__kafka_job job;
    ferry__kafka_target *target;
    rd_kafka_t *producer;
    int partitions;
} look;

enum { LOOK_MS = 2000 };

static void run_look(ferry__kafka *k, ferry__kafka_job *job)
{
    look *l = (look *)(void *)job;
    (void)k;
    l->partitions = ferry__kafka_partitions(l->producer, l->target->topic_name, LOOK_MS);
}

static void looked(ferry__kafka *k, ferry__kafka_job *job, bool ran)
{
    look *l = (look *)(void *)job;
    l->target->asked = false;
    if (ran && l->partitions >= 0)
        ferry__kafka_target_found(k, l->target, l->partitions > 0);
    else if (!k->closing)
        ferry__kafka_probe(k, l->target);
    ferry__free(l);
}

static void look_again(ferry__kafka *k, ferry__kafka_target *t, ferry__frame *f)
{
    t->topic = NULL;
    ferry__frames_add(&t->held, f);
    if (t->target->lane == FERRY__EVENTS) {
        ferry__kafka_probe(k, t);
        return;
    }
    look *l = t->asked ? NULL : ferry__zalloc(sizeof *l);
    if (!l)
        return;
    *l = (look){.job = {.run = run_look, .done = looked}, .target = t};
    l->producer = t->target->lane == FERRY__CALLS ? k->calls : k->posts;
    t->asked = true;
    ferry__kafka_job_add(k, &l->job);
}

enum { SPARES = 16384 };

static ferry__kafka_note *new_note(ferry__kafka *k)
{
    ferry__node *spare = ferry__list_shift(&k->spare);
    ferry__kafka_note *n = spare ? FERRY__OF(spare, ferry__kafka_note, node) : ferry__alloc(sizeof *n);
    k->spares -= spare != NULL;
    if (n)
        memset(n, 0, sizeof *n);
    return n;
}

/* Of one that was SENT: it has no room behind it. */
static void reuse(ferry__kafka *k, ferry__kafka_note *n)
{
    ferry__frame_unref(n->frame);
    if (k->spares == SPARES) {
        ferry__free(n);
        return;
    }
    ferry__list_prepend(&k->spare, &n->node); /* its memory is still near */
    k->spares++;
}

void ferry__kafka_drop_spare(ferry__kafka *k)
{
    for (ferry__node *n; (n = ferry__list_shift(&k->spare));)
        ferry__free(FERRY__OF(n, ferry__kafka_note, node));
}

static void send_now(ferry__kafka *k, ferry__kafka_target *t, ferry__frame *f)
{
    ferry__kafka_note *n = new_note(k);
    if (!n) {
        ferry__kafka_refuse(k, f, FERRY__REFUSED, FERRY_NO_MEMORY);
        return;
    }
    n->purpose = FERRY__KAFKA_SENT;
    n->frame = f;
    n->target = t;
    n->spread = spread_of(f);
    rd_kafka_resp_err_t err = t->target->lane == FERRY__CALLS ? produce_packed(k, t->topic->handle, f, NULL, 0, n)
                                                              : produce_open(k->posts, t->topic->handle, f, 0, n);
    if (!err)
        return;
    n->frame = NULL;
    reuse(k, n);
    if (ferry__kafka_status(err) == FERRY_NO_SERVICE)
        look_again(k, t, f);
    else
        ferry__kafka_refuse(k, f, FERRY__REFUSED, ferry__kafka_status(err));
}

static void ready_topic(ferry__kafka *k, ferry__kafka_target *t)
{
    rd_kafka_t *producer = t->target->lane == FERRY__CALLS ? k->calls : ferry__kafka_posts(k);
    t->topic = ferry__kafka_topic_get(k, producer, t->topic_name);
}

void ferry__kafka_target_found(ferry__kafka *k, ferry__kafka_target *t, bool exists)
{
    if (exists && !t->topic)
        ready_topic(k, t);
    for (ferry__frame *f; (f = ferry__frames_take(&t->held));)
        if (t->topic && exists)
            send_now(k, t, f);
        else
            ferry__kafka_refuse(k, f, FERRY__REFUSED, exists ? FERRY_NO_MEMORY : FERRY_NO_SERVICE);
}

void ferry__kafka_send_frames(ferry__kafka *k)
{
    for (ferry__frame *f; (f = ferry__frames_take(&k->passed.frames));) {
        ferry__kafka_target *t = (ferry__kafka_target *)(uintptr_t)f->tag[0];
        if (k->state != FERRY__UP)
            ferry__kafka_refuse(k, f, FERRY__REFUSED, FERRY_UNAVAILABLE);
        else if (t->topic)
            send_now(k, t, f);
        else {
            ferry__frames_add(&t->held, f);
            ferry__kafka_probe(k, t);
        }
    }
}

/* ---- answers ---- */

void ferry__kafka_send_replies(ferry__kafka *k)
{
    for (ferry__node *node; (node = ferry__list_shift(&k->passed.replies));) {
        ferry__kafka_note *n = FERRY__OF(node, ferry__kafka_note, node);
        ferry__frame *f = n->frame;
        n->spread = client_spread(f->id.client);
        if (n->part)
            ferry__ahead_handled(n->part->group);
        rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR__STATE;
        if (k->replies_topic)
            err = produce_packed(k, k->replies_topic->handle, f, f->id.client, sizeof f->id.client, n);
        n->frame = NULL;
        ferry__frame_unref(f);
        if (!err)
            continue;
        if (n->part)
            ferry__kafka_done(k, n->part, n->place);
        ferry__kafka_note_free(n);
    }
}

/* ---- copies: retries and dead letters ---- */

static void moved(ferry__kafka *k, ferry__kafka_note *n)
{
    ferry__kafka_done(k, n->part, n->place);
    ferry__kafka_note_free(n);
}

static rd_kafka_resp_err_t produce_moved(ferry__kafka *k, ferry__kafka_note *n)
{
    rd_kafka_t *posts = ferry__kafka_posts(k);
    const char *name = n->room[0] ? n->room : n->part->group->topics[FERRY__GROUP_RETRY];
    ferry__kafka_topic *t = ferry__kafka_topic_get(k, posts, name);
    if (!t)
        return RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE;
    n->spread = spread_of(n->frame);
    ferry__known_forget(k->known, &n->frame->id); /* the copy may be read before its delivery report */
    if (!n->room[0])
        return produce_open(posts, t->handle, n->frame, n->due_ms, n);
    char id[FERRY__ID_TEXT + 24];
    ferry__id_print(&n->frame->id,
                    id); /* and the time: the tombstone of one that was sent back must not fall on its next burial */
    snprintf(id + strlen(id), 24, "/%llx", (unsigned long long)n->due_ms);
    if (rd_kafka_produce(t->handle, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, n->room + strlen(n->room) + 1,
                         n->length, id, strlen(id), n) == 0)
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    return rd_kafka_last_error();
}

/* What cannot be produced now is tried again with the next turn: nothing is lost, it stays unsettled. */
void ferry__kafka_send_moved(ferry__kafka *k)
{
    ferry__list all;
    ferry__list_init(&all);
    ferry__list_join(&all, &k->passed.moved);
    for (ferry__node *node; (node = ferry__list_shift(&all));) {
        ferry__kafka_note *n = FERRY__OF(node, ferry__kafka_note, node);
        if (produce_moved(k, n) != RD_KAFKA_RESP_ERR_NO_ERROR)
            ferry__list_append(&k->passed.moved, node);
    }
}

/* ---- marks ---- */

void ferry__kafka_send_mark(ferry__kafka *k, ferry__kafka_part *p, int64_t offset)
{
    char text[24];
    rd_kafka_t *producer = p->topic == FERRY__GROUP_CALLS ? k->calls : ferry__kafka_posts(k);
    ferry__kafka_topic *t = ferry__kafka_topic_get(k, producer, p->group->topics[p->topic]);
    ferry__kafka_note *n = t ? ferry__zalloc(sizeof *n) : NULL;
    int length = snprintf(text, sizeof text, "%lld", (long long)offset);
    if (n)
        n->purpose = FERRY__KAFKA_MARKED;
    if (n && rd_kafka_produce(t->handle, p->partition, RD_KAFKA_MSG_F_COPY, text, (size_t)length, FERRY__WIRE_MARK,
                              strlen(FERRY__WIRE_MARK), n) == 0) {
        n->flies = producer == k->calls;
        k->flying += n->flies;
        return;
    }
    ferry__free(n);
    k->settled_now++;
}

/* ---- delivery reports ---- */

static void sent(ferry__kafka *k, const rd_kafka_message_t *m, ferry__kafka_note *n)
{
    ferry__frame *f = n->frame;
    n->frame = NULL;
    ferry_status status = ferry__kafka_status(m->err);
    bool never_left = m->err && rd_kafka_message_status(m) == RD_KAFKA_MSG_STATUS_NOT_PERSISTED;
    if (m->err && status == FERRY_NO_SERVICE && never_left && !k->closing) {
        look_again(k, n->target, f);
        reuse(k, n);
        return;
    }
    if (m->err && status == FERRY_UNAVAILABLE)
        ferry__kafka_lost(k, status, rd_kafka_err2str(m->err));
    ferry__kafka_refuse(k, f,
                        !m->err                                 ? FERRY__ACCEPTED
                        : never_left || status == FERRY_TOO_BIG ? FERRY__REFUSED
                                                                : FERRY__LOST,
                        status);
    reuse(k, n);
}

void ferry__kafka_delivered(ferry__kafka *k, const rd_kafka_message_t *m)
{
    ferry__kafka_note *n = m->_private;
    if (!n)
        return;
    k->flying -= n->flies;
    if (n->purpose == FERRY__KAFKA_SENT) {
        sent(k, m, n);
    } else if (n->purpose == FERRY__KAFKA_ANSWER) {
        if (n->part)
            ferry__kafka_done(k, n->part, n->place);
        ferry__kafka_note_free(n);
    } else if (n->purpose == FERRY__KAFKA_MOVED) {
        if (m->err)
            ferry__list_append(&k->passed.moved, &n->node);
        else
            moved(k, n);
    } else if (n->purpose == FERRY__KAFKA_MARKED) {
        k->settled_now++;
        ferry__kafka_note_free(n);
    } else {
        n->admin->status = m->err ? ferry__kafka_status(m->err) : FERRY_OK;
        n->admin->count = m->err ? 0 : 1;
        n->admin->next = k->answers;
        k->answers = n->admin;
        ferry__kafka_note_free(n);
    }
}
