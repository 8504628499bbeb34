/* pipe.c - the table of the transport, noting and upcalls; the rest is where kafka.h says. */
#include "backends/kafka/event.h"
#include "backends/kafka/group.h"
#include "backends/kafka/wire.h"
#include "base/alloc.h"
#include "base/clock.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Called on librdkafka's threads. */
static void ring(rd_kafka_t *rk, void *arg)
{
    ferry__kafka_tap *tap = arg;
    (void)rk;
    atomic_store_explicit(&tap->rung, true, memory_order_release);
    ferry__kafka_backend.wake(tap->k);
}

void ferry__kafka_tap_open(ferry__kafka *k, ferry__kafka_tap *tap, rd_kafka_queue_t *queue, bool rings)
{
    tap->k = k;
    tap->queue = queue;
    atomic_store(&tap->rung, true);
    if (rings)
        rd_kafka_queue_cb_event_enable(queue, ring, tap);
}

void ferry__kafka_tap_close(ferry__kafka_tap *tap)
{
    if (!tap->queue)
        return;
    rd_kafka_queue_cb_event_enable(tap->queue, NULL, NULL);
    rd_kafka_queue_destroy(tap->queue);
    tap->queue = NULL;
}

/* It is taken as empty before it is looked at, so that what comes meanwhile is seen by the next turn. */
rd_kafka_event_t *ferry__kafka_tap_next(ferry__kafka_tap *tap)
{
    if (!tap->queue || !atomic_exchange_explicit(&tap->rung, false, memory_order_acq_rel))
        return NULL;
    rd_kafka_event_t *event = rd_kafka_queue_poll(tap->queue, 0);
    if (event)
        atomic_store_explicit(&tap->rung, true, memory_order_relaxed);
    return event;
}

static void init(ferry__kafka *k)
{
    ferry__frames *frames[] = {&k->noted.frames,   &k->noted.settled,   &k->noted.returned, &k->passed.frames,
                               &k->passed.settled, &k->passed.returned, &k->arrived,        &k->outcomes};
    ferry__list *lists[] = {&k->noted.replies, &k->noted.moved,    &k->noted.intakes, &k->passed.replies,
                            &k->passed.moved,  &k->passed.intakes, &k->targets,       &k->intakes,
                            &k->topics,        &k->groups,         &k->presences,     &k->spare};
    for (size_t i = 0; i < sizeof frames / sizeof *frames; i++)
        ferry__frames_init(frames[i]);
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        ferry__list_init(lists[i]);
    k->event = -1;
    k->now_ms = ferry__now_ms();
    k->start_at_ms = INT64_MAX;
    ferry__kafka_jobs_init(&k->jobs);
}

static rd_kafka_t *client(ferry__kafka *k, ferry__kafka_role role, char *why)
{
    rd_kafka_conf_t *conf = ferry__kafka_conf(&k->set, k->config, role, NULL, ferry__kafka_pick, why);
    if (!conf)
        return NULL;
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_FETCH |
                                       RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH);
    rd_kafka_conf_set_opaque(conf, k);
    rd_kafka_t *rk =
        rd_kafka_new(role == FERRY__KAFKA_READER ? RD_KAFKA_CONSUMER : RD_KAFKA_PRODUCER, conf, why, FERRY_WHY_SIZE);
    if (!rk)
        rd_kafka_conf_destroy(conf);
    return rk;
}

enum { REPORT_MS = 10 /* delivery reports of calls are looked for so often, when nothing else wakes us */ };

static ferry_status kafka_open(void *self, ferry__up *up, const ferry__config *config, const ferry__url *url, char *why)
{
    ferry__kafka *k = self;
    k->up = up;
    k->config = config;
    init(k);
    snprintf(k->replies_name, sizeof k->replies_name, "%s.replies", config->ns);
    ferry_status status = ferry__kafka_settings_read(&k->set, config, url, why);
    if (status != FERRY_OK)
        return status;
    k->calls = client(k, FERRY__KAFKA_CALLS, why);
    k->reader = k->calls ? client(k, FERRY__KAFKA_READER, why) : NULL;
    if (!k->reader)
        return FERRY_INVALID;
    rd_kafka_queue_t *reading = rd_kafka_queue_new(k->reader), *main = rd_kafka_queue_get_main(k->reader);
    rd_kafka_queue_forward(main, reading);
    rd_kafka_queue_destroy(main);
    ferry__kafka_tap_open(k, &k->reader_tap, reading, true);
    ferry__kafka_tap_open(k, &k->calls_tap, rd_kafka_queue_get_main(k->calls), false);
    ferry__kafka_tap_open(k, &k->admin_tap, rd_kafka_queue_new(k->calls), true);
    if (!k->set.verified)
        ferry__log_print(up->log, LOG_WARNING, "kafka: verify=no: whoever answers is trusted");
    ferry__kafka_start(k);
    return FERRY_OK;
}

/* ---- noting ---- */

static ferry_status kafka_listen(void *self, ferry__source *source)
{
    ferry__kafka *k = self;
    if (source->lane == FERRY__REPLIES) {
        k->replies_to = source;
        return FERRY_OK;
    }
    if (source->lane == FERRY__CONTROLS)
        return FERRY_UNSUPPORTED;
    const char *name = source->lane == FERRY__EVENTS ? source->wish->box : source->name;
    ferry__kafka_intake *in = ferry__zalloc(sizeof *in + strlen(name) + 1);
    if (in && source->lane == FERRY__EVENTS && !(in->feed = ferry__feed_new(k, source))) {
        ferry__free(in);
        in = NULL;
    }
    if (!in)
        return FERRY_NO_MEMORY;
    memcpy(in->service, name, strlen(name));
    in->source = source;
    in->lane = source->lane;
    source->data = in;
    ferry__list_append(&k->noted.intakes, &in->node);
    return FERRY_OK;
}

static void kafka_unlisten(void *self, ferry__source *source)
{
    ferry__kafka_intake *in = source->data;
    (void)self;
    if (in)
        in->source = NULL;
    source->data = NULL;
}

static void kafka_credit(void *self, ferry__source *source, int frames)
{
    ferry__kafka_intake *in = source->data;
    (void)self;
    if (!in)
        return;
    if (frames < 0) { /* all that was given; what we hold claims for comes on top */
        in->taken_back = true;
        in->noted = 0;
    } else
        in->noted += frames;
}

static void note_reply(ferry__kafka *k, ferry__frame *f)
{
    ferry__kafka_note *n = ferry__alloc(sizeof *n);
    if (!n) {
        ferry__frame_unref(f);
        return;
    }
    memset(n, 0, sizeof *n);
    n->purpose = FERRY__KAFKA_ANSWER;
    n->frame = f;
    ferry__list_append(&k->noted.replies, &n->node);
}

static void kafka_send(void *self, ferry__target *target, ferry__frame *f)
{
    ferry__kafka *k = self;
    if (!target) {
        note_reply(k, f);
        return;
    }
    ferry__kafka_target *t = ferry__kafka_target_of(k, target);
    f->tag[0] = (uint64_t)(uintptr_t)t;
    if (t)
        ferry__frames_add(&k->noted.frames, f);
    else
        ferry__frame_unref(f); /* without an outcome: its deadline ends it */
}

/* An answer was noted just before its request is settled: the request is then done when the brokers have the answer. */
static ferry__kafka_note *answer_of(const ferry__kafka *k, const ferry__frame *f)
{
    if (f->kind != FERRY__CALL || ferry__list_empty(&k->noted.replies))
        return NULL;
    ferry__kafka_note *n = FERRY__OF(k->noted.replies.prev, ferry__kafka_note, node);
    bool same = !n->part && n->frame->id.serial == f->id.serial && memcmp(n->frame->id.client, f->id.client, 16) == 0;
    return same ? n : NULL;
}

static void kafka_settle(void *self, ferry__frame *f)
{
    ferry__kafka *k = self;
    ferry__kafka_note *answer = answer_of(k, f);
    if (!answer) {
        ferry__frames_add(&k->noted.settled, f);
        return;
    }
    answer->part = (ferry__kafka_part *)(uintptr_t)f->tag[0];
    answer->place = f->tag[1];
    ferry__frame_unref(f);
}

static void kafka_hand_back(void *self, ferry__frame *f)
{
    ferry__kafka *k = self;
    ferry__frames_add(&k->noted.returned, f);
}

static ferry__kafka_note *note_move(ferry__kafka *k, ferry__frame *f, size_t room)
{
    ferry__kafka_note *n = ferry__zalloc(sizeof *n + room + 1);
    if (!n) {
        ferry__frames_add(&k->noted.returned, f); /* it comes again */
        return NULL;
    }
    n->purpose = FERRY__KAFKA_MOVED;
    n->frame = f;
    n->part = (ferry__kafka_part *)(uintptr_t)f->tag[0];
    n->place = f->tag[1];
    ferry__list_append(&k->noted.moved, &n->node);
    return n;
}

static void kafka_retry(void *self, ferry__frame *f, int delay_ms)
{
    ferry__kafka_note *n = f->kind == FERRY__CALL ? NULL : note_move(self, f, 0);
    if (n)
        n->due_ms = ferry__wall_ms() + delay_ms;
    else if (f->kind == FERRY__CALL)
        kafka_hand_back(self, f);
}

static void kafka_bury(void *self, ferry__frame *f, const char *box, const void *record, size_t length)
{
    ferry__kafka *k = self;
    size_t name = strlen(k->config->ns) + strlen(box) + 16;
    ferry__kafka_note *n = note_move(k, f, name + length);
    if (!n)
        return;
    ferry__kafka_name(k, box, "dead", n->room, name);
    n->due_ms = ferry__wall_ms();
    n->length = length;
    memcpy(n->room + strlen(n->room) + 1, record, length);
}

static void kafka_seek(void *self, ferry__source *source, const ferry__wish *to)
{
    ferry__kafka_intake *in = source->data;
    (void)self;
    if (in && in->feed)
        ferry__feed_note_seek(in->feed, to);
}

static void kafka_probe(void *self, ferry__target *target)
{
    ferry__kafka *k = self;
    target->next = k->noted.probes;
    k->noted.probes = target;
}

static void kafka_admin(void *self, ferry__admin *admin)
{
    ferry__kafka *k = self;
    admin->next = k->noted.admins;
    k->noted.admins = admin;
}

static void flush_intakes(ferry__kafka *k)
{
    for (ferry__node *n = k->noted.intakes.next; n != &k->noted.intakes; n = n->next)
        FERRY__OF(n, ferry__kafka_intake, node)->closed = !FERRY__OF(n, ferry__kafka_intake, node)->source;
    ferry__list_join(&k->passed.intakes, &k->noted.intakes);
    for (ferry__node *n = k->intakes.next, *next; n != &k->intakes; n = next) {
        ferry__kafka_intake *in = FERRY__OF(n, ferry__kafka_intake, node);
        next = n->next;
        if (in->taken_back) {
            in->beyond += in->claimed;
            in->credit = in->claimed = 0;
        }
        in->credit += in->noted;
        in->taken_back = false;
        in->noted = 0;
        if (in->feed)
            ferry__feed_pass_seek(in->feed);
        if (in->source)
            continue;
        in->credit = 0;
        in->closed = true;
        if (in->group && in->group->intakes[ferry__lane_at(in->lane)] == in)
            in->group->intakes[ferry__lane_at(in->lane)] = NULL;
    }
}

static void flush_probes(ferry__kafka *k)
{
    for (ferry__target *t; (t = k->noted.probes);) {
        k->noted.probes = t->next;
        ferry__kafka_target *own = ferry__kafka_target_of(k, t);
        if (own)
            own->probed = true;
        t->next = k->passed.probes;
        k->passed.probes = t;
    }
}

static void kafka_flush(void *self)
{
    ferry__kafka *k = self;
    ferry__frames_join(&k->passed.frames, &k->noted.frames);
    ferry__frames_join(&k->passed.settled, &k->noted.settled);
    ferry__frames_join(&k->passed.returned, &k->noted.returned);
    ferry__list_join(&k->passed.replies, &k->noted.replies);
    ferry__list_join(&k->passed.moved, &k->noted.moved);
    flush_intakes(k);
    flush_probes(k);
    for (ferry__admin *a; (a = k->noted.admins);) {
        k->noted.admins = a->next;
        a->next = k->passed.admins;
        k->passed.admins = a;
    }
    ferry__kafka_admins(k);
}

/* ---- a turn ---- */

static ferry__kafka_group *group_for(ferry__kafka *k, const char *service, ferry__lane lane)
{
    char name[256];
    ferry__kafka_name(k, service, NULL, name, sizeof name);
    for (ferry__node *n = k->groups.next; n != &k->groups; n = n->next) {
        ferry__kafka_group *g = FERRY__OF(n, ferry__kafka_group, node);
        if (strcmp(g->name, name) == 0 && g->state < FERRY__GROUP_LEAVING && !g->intakes[ferry__lane_at(lane)] &&
            !(g->feed && lane == FERRY__EVENTS))
            return g;
    }
    ferry__kafka_group *g = ferry__group_new(k, service);
    if (g)
        ferry__list_append(&k->groups, &g->node);
    return g;
}

static void take_intakes(ferry__kafka *k)
{
    for (ferry__node *n; (n = ferry__list_shift(&k->passed.intakes));) {
        ferry__kafka_intake *in = FERRY__OF(n, ferry__kafka_intake, node);
        ferry__kafka_group *g = in->closed ? NULL : group_for(k, in->service, in->lane);
        if (g)
            ferry__group_join(g, in);
        ferry__list_append(&k->intakes, n);
    }
}

static void take_probes(ferry__kafka *k)
{
    for (ferry__target *t; k->state == FERRY__UP && (t = k->passed.probes);) {
        k->passed.probes = t->next;
        if (t->data)
            ferry__kafka_probe(k, t->data);
    }
}

static void kafka_step(void *self)
{
    ferry__kafka *k = self;
    k->seen = ferry__bell_seen(&k->bell);
    k->now_ms = ferry__now_ms();
    ferry__kafka_jobs_finish(k);
    if (k->now_ms >= k->start_at_ms && !k->starting && !k->closing)
        ferry__kafka_start(k);
    take_intakes(k);
    ferry__kafka_send_frames(k);
    ferry__kafka_send_replies(k);
    ferry__kafka_settle_all(k);
    ferry__kafka_send_moved(k);
    take_probes(k);
    ferry__kafka_probe_again(k);
    if (k->flying)
        atomic_store_explicit(&k->calls_tap.rung, true, memory_order_relaxed);
    k->more = ferry__kafka_poll(k);
    for (ferry__node *n = k->groups.next; n != &k->groups; n = n->next) {
        ferry__kafka_group *g = FERRY__OF(n, ferry__kafka_group, node);
        k->more = ferry__group_poll(g) || k->more;
        ferry__group_serve(g);
    }
}

static const char *reason(ferry_status status, const ferry__kafka_target *t, char why[FERRY_WHY_SIZE])
{
    if (status == FERRY_NO_SERVICE)
        ferry__why(why, "nobody ever served '%s' here: start a server for it, or check the name and FERRY_URL",
                   t->target->name);
    else if (status == FERRY_TOO_BIG)
        ferry__why(why, "the broker refuses a message of this size (max.message.bytes of topic %s)", t->topic_name);
    else
        ferry__why(why, "%s", ferry_status_text(status));
    return why;
}

static void hand_outcomes(ferry__kafka *k)
{
    char why[FERRY_WHY_SIZE];
    for (ferry__frame *f; (f = ferry__frames_take(&k->outcomes));) {
        ferry_status status = (ferry_status)(f->tag[1] & 0xff);
        ferry__fate fate = (ferry__fate)(f->tag[1] >> 8);
        const ferry__kafka_target *t = (const ferry__kafka_target *)(uintptr_t)f->tag[0];
        k->up->outcome(k->up, f, fate, status, fate == FERRY__ACCEPTED ? NULL : reason(status, t, why));
        ferry__frame_unref(f);
    }
}

static void hand_frames(ferry__kafka *k)
{
    for (ferry__frame *f; (f = ferry__frames_take(&k->arrived));) {
        ferry__kafka_intake *in = f->owner;
        f->owner = NULL;
        if (f->kind == FERRY__REPLY) {
            f->from = k->replies_to;
            k->up->frame(k->up, k->replies_to, f);
        } else if (in && in->source) {
            f->from = in->source;
            k->up->frame(k->up, in->source, f);
        } else {
            ferry__frames_add(&k->noted.returned, f); /* unlistened meanwhile: fresh for the next server */
            k->unsettled_now++;
        }
    }
}

static void kafka_pump(void *self)
{
    ferry__kafka *k = self;
    uint64_t count;
    if (k->event >= 0 && read(k->event, &count, sizeof count) < 0)
        count = 0; /* nothing in it */
    if (k->state_news) {
        k->state_news = false;
        k->up->state(k->up, k->state, k->state_status, k->state_why[0] ? k->state_why : NULL);
    }
    hand_outcomes(k);
    hand_frames(k);
    ferry__feed_tell(k);
    ferry__kafka_tell_presences(k);
    for (ferry__admin *a; (a = k->answers);) {
        k->answers = a->next;
        k->up->answered(k->up, a);
    }
    /* Those that we gave back by ourselves. */
    size_t own = k->unsettled_now < k->settled_now ? k->unsettled_now : k->settled_now;
    k->unsettled_now -= own;
    if (k->settled_now > own)
        k->up->settled(k->up, k->settled_now - own, FERRY_OK, NULL);
    k->settled_now = 0;
    if (k->lost_now)
        k->up->settled(k->up, k->lost_now, FERRY_UNAVAILABLE, "the partition went to another server before the commit");
    k->lost_now = 0;
}

static void kafka_wait(void *self, int ms)
{
    ferry__kafka *k = self;
    ferry__bell_sleep(&k->bell, k->seen, ms, false);
}

static void kafka_wake(void *self)
{
    ferry__kafka *k = self;
    uint64_t one = 1;
    ferry__bell_ring(&k->bell);
    if (k->event >= 0 && write(k->event, &one, sizeof one) < 0)
        return; /* full: it is readable all the same */
}

static int kafka_next_ms(void *self, int64_t now_ms)
{
    ferry__kafka *k = self;
    int64_t at = k->start_at_ms;
    bool noted = !ferry__list_empty(&k->passed.moved) || k->noted.returned.count;
    if (k->more || k->arrived.first || k->outcomes.first)
        return 0;
    for (ferry__node *n = k->groups.next; n != &k->groups; n = n->next) {
        int64_t one = ferry__group_next_ms(FERRY__OF(n, ferry__kafka_group, node));
        at = one < at ? one : at;
    }
    int64_t asked = ferry__kafka_probe_next_ms(k);
    at = asked < at ? asked : at;
    if (noted && at > now_ms + 20)
        at = now_ms + 20;
    if (k->flying && at > now_ms + REPORT_MS)
        at = now_ms + REPORT_MS;
    return at == INT64_MAX ? -1 : at <= now_ms ? 1 : at - now_ms > INT32_MAX ? INT32_MAX : (int)(at - now_ms);
}

static int kafka_fd(void *self)
{
    ferry__kafka *k = self;
    if (k->event < 0)
        k->event = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    return k->event;
}

const ferry__abilities ferry__kafka_more = {
    .seek = kafka_seek,
    .admin = kafka_admin,
};

#define TABLE(name, text)                                                                                     \
    {                                                                                                         \
        .scheme = name, .about = text, .state_size = sizeof(ferry__kafka),                                    \
        .bits = FERRY__STEPS | FERRY__REDELIVERS | FERRY__DURABLE | FERRY__REPLAYS,                           \
        .settings = ferry__kafka_setting_table, .more = &ferry__kafka_more, .open = kafka_open,               \
        .close = ferry__kafka_close, .abandon = ferry__kafka_abandon, .listen = kafka_listen,                 \
        .unlisten = kafka_unlisten, .credit = kafka_credit, .send = kafka_send, .flush = kafka_flush,         \
        .settle = kafka_settle, .retry = kafka_retry, .bury = kafka_bury, .hand_back = kafka_hand_back,       \
        .wait = kafka_wait, .wake = kafka_wake, .step = kafka_step, .pump = kafka_pump, .probe = kafka_probe, \
        .next_ms = kafka_next_ms, .fd = kafka_fd,                                                             \
    }

const ferry__backend ferry__kafka_backend = TABLE("kafka", "Apache Kafka, by librdkafka");
const ferry__backend ferry__kafkas_backend = TABLE("kafkas", "Apache Kafka by TLS");
