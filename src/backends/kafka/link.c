/* link.c - the connection: clients, the start, losing it and finding it again, and librdkafka's events.
 *
 * librdkafka connects and connects again by itself and never says that it is connected. So a job asks: it makes sure that the topic of
 * answers exists and reads the end of our partition of it; when that worked, the link is up. The end is read before the first call
 * leaves, so no answer can be missed. After a loss (all brokers down, or a message that could not be delivered) the job asks again. */
#include "backends/kafka/create.h"
#include "backends/kafka/group.h"
#include "backends/kafka/wire.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/random.h"

#include <string.h>

enum { EVENTS = 2000 /* in one turn */, WATERMARK_MS = 3000 };

/* ---- state ---- */

void ferry__kafka_set_state(ferry__kafka *k, ferry__state state, ferry_status status, const char *why)
{
    k->state = state;
    k->state_status = status;
    ferry__why(k->state_why, "%s", why ? why : "");
    k->state_news = true;
}

static int pause_ms(const ferry__kafka *k)
{
    int64_t ms = k->config->backoff_ms;
    for (int i = 0; i < k->tries && ms < k->config->backoff_max_ms; i++)
        ms *= 2;
    ms = ms > k->config->backoff_max_ms ? k->config->backoff_max_ms : ms;
    return (int)(ms / 2 + ferry__random_below((uint32_t)(ms / 2 + 1)));
}

void ferry__kafka_lost(ferry__kafka *k, ferry_status status, const char *why)
{
    if (k->state != FERRY__UP) {
        if (k->state_status != FERRY_DENIED || status == FERRY_DENIED)
            ferry__kafka_set_state(k, FERRY__DOWN, status, why);
        return;
    }
    ferry__kafka_set_state(k, FERRY__DOWN, status, why);
    rd_kafka_purge(k->calls, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_NON_BLOCKING);
    k->start_at_ms = k->now_ms + pause_ms(k);
}

/* ---- starting ---- */

typedef struct start {
    ferry__kafka_job job;
    int partitions;
    int64_t end;
    ferry_status status;
    char why[FERRY_WHY_SIZE];
} start;

static int32_t our_partition(const ferry__kafka *k, int count)
{
    return (int32_t)((uint32_t)ferry__hash_agreed(k->config->client, sizeof k->config->client) % (uint32_t)count);
}

static void run_start(ferry__kafka *k, ferry__kafka_job *job)
{
    start *s = (start *)(void *)job;
    int64_t low;
    s->status = ferry__kafka_create_replies(k, &s->partitions, s->why);
    if (s->status != FERRY_OK || k->reader_topic)
        return;
    rd_kafka_resp_err_t err = rd_kafka_query_watermark_offsets(
        k->reader, k->replies_name, our_partition(k, s->partitions), &low, &s->end, WATERMARK_MS);
    if (err) {
        s->status = ferry__kafka_status(err);
        ferry__why(s->why, "%s: %s", k->replies_name, rd_kafka_err2str(err));
    }
}

static bool begin_reading(ferry__kafka *k, const start *s)
{
    if (k->reader_topic)
        return true;
    k->reader_topic = rd_kafka_topic_new(k->reader, k->replies_name, NULL);
    k->reader_partition = our_partition(k, s->partitions);
    k->replies_topic = ferry__kafka_topic_get(k, k->calls, k->replies_name);
    return k->reader_topic && k->replies_topic &&
           rd_kafka_consume_start_queue(k->reader_topic, k->reader_partition, s->end, k->reader_tap.queue) == 0;
}

static void started(ferry__kafka *k, ferry__kafka_job *job, bool ran)
{
    start *s = (start *)(void *)job;
    k->starting = false;
    if (ran && s->status == FERRY_OK && begin_reading(k, s)) {
        k->tries = 0;
        k->ups++;
        ferry__kafka_set_state(k, FERRY__UP, FERRY_OK, NULL);
    } else {
        k->tries += k->tries < 30;
        k->start_at_ms = k->now_ms + pause_ms(k);
        if (ran && (!k->state_why[0] || k->state_status == FERRY_OK))
            ferry__kafka_set_state(k, FERRY__DOWN, s->status, s->why);
    }
    ferry__free(s);
}

void ferry__kafka_start(ferry__kafka *k)
{
    start *s = ferry__zalloc(sizeof *s);
    if (!s) {
        k->start_at_ms = k->now_ms + pause_ms(k);
        return;
    }
    s->job = (ferry__kafka_job){.run = run_start, .done = started};
    k->starting = true;
    k->start_at_ms = INT64_MAX;
    ferry__kafka_job_add(k, &s->job);
}

rd_kafka_t *ferry__kafka_posts(ferry__kafka *k)
{
    char why[FERRY_WHY_SIZE];
    if (k->posts)
        return k->posts;
    rd_kafka_conf_t *conf = ferry__kafka_conf(&k->set, k->config, FERRY__KAFKA_POSTS, NULL, ferry__kafka_pick, why);
    if (!conf)
        return NULL;
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH);
    rd_kafka_conf_set_opaque(conf, k);
    k->posts = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!k->posts) {
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    ferry__kafka_tap_open(k, &k->posts_tap, rd_kafka_queue_get_main(k->posts), true);
    return k->posts;
}

/* ---- events ---- */

static void reply(ferry__kafka *k, const rd_kafka_message_t *m)
{
    if (m->key_len != sizeof k->config->client || memcmp(m->key, k->config->client, sizeof k->config->client) != 0)
        return; /* somebody else's: not even decoded */
    ferry__frame *f = ferry__wire_reply(m);
    if (f)
        ferry__frames_add(&k->arrived, f);
}

bool ferry__kafka_no_topic(rd_kafka_resp_err_t err)
{
    return err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
           err == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION || err == (rd_kafka_resp_err_t)100; /* its id is unknown */
}

static void fetched(ferry__kafka *k, rd_kafka_event_t *event)
{
    for (const rd_kafka_message_t *m; (m = rd_kafka_event_message_next(event));) {
        if (m->err)
            ferry__log_print(k->up->log, LOG_NOTICE, "kafka: %s", rd_kafka_message_errstr(m));
        else if (m->rkt == k->reader_topic)
            reply(k, m);
    }
}

void ferry__kafka_trouble(ferry__kafka *k, rd_kafka_event_t *event)
{
    rd_kafka_resp_err_t err = rd_kafka_event_error(event);
    const char *text = rd_kafka_event_error_string(event);
    if (ferry__kafka_no_topic(err)) {
        if (k->state == FERRY__UP) /* starting again makes it anew */
            ferry__kafka_lost(k, FERRY_UNAVAILABLE, "the topic of answers was deleted");
        return;
    }
    ferry__log_print(k->up->log, LOG_NOTICE, "kafka: %s", text);
    if (err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || err == RD_KAFKA_RESP_ERR__AUTHENTICATION ||
        err == RD_KAFKA_RESP_ERR__SSL)
        ferry__kafka_lost(k, ferry__kafka_status(err), text);
    else if (k->state != FERRY__UP && (err == RD_KAFKA_RESP_ERR__TRANSPORT || err == RD_KAFKA_RESP_ERR__RESOLVE))
        ferry__kafka_lost(k, FERRY_UNAVAILABLE, text);
}

void ferry__kafka_event(ferry__kafka *k, rd_kafka_event_t *event)
{
    switch (rd_kafka_event_type(event)) {
    case RD_KAFKA_EVENT_FETCH:
        fetched(k, event);
        break;
    case RD_KAFKA_EVENT_DR:
        for (const rd_kafka_message_t *m; (m = rd_kafka_event_message_next(event));)
            ferry__kafka_delivered(k, m);
        break;
    case RD_KAFKA_EVENT_DESCRIBECONSUMERGROUPS_RESULT:
    case RD_KAFKA_EVENT_DESCRIBECONFIGS_RESULT:
        ferry__kafka_probe_event(k, event);
        break;
    case RD_KAFKA_EVENT_OAUTHBEARER_TOKEN_REFRESH: /* of one of them */
        ferry__kafka_token(k, k->calls);
        ferry__kafka_token(k, k->reader);
        ferry__kafka_token(k, k->posts);
        break;
    case RD_KAFKA_EVENT_ERROR:
        ferry__kafka_trouble(k, event);
        break;
    default:
        break;
    }
    rd_kafka_event_destroy(event);
}

static bool poll_tap(ferry__kafka *k, ferry__kafka_tap *tap)
{
    for (int n = 0; n < EVENTS; n++) {
        rd_kafka_event_t *event = ferry__kafka_tap_next(tap);
        if (!event)
            return false;
        ferry__kafka_event(k, event);
    }
    return true;
}

bool ferry__kafka_poll(ferry__kafka *k)
{
    ferry__kafka_tap *taps[] = {&k->calls_tap, &k->reader_tap, &k->posts_tap, &k->admin_tap};
    bool more = false;
    for (size_t i = 0; i < sizeof taps / sizeof *taps; i++)
        more = poll_tap(k, taps[i]) || more;
    return more;
}
