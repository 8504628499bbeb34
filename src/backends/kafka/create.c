#include "backends/kafka/create.h"

#include "base/clock.h"

#include <string.h>

enum { CREATE_MS = 5000, TOPICS = 4, LOOK_MS = 1000 };
enum {
    SEGMENTS = 4 /* only whole segments are deleted */,
    SEGMENT_MIN = 1 << 20,
    SEGMENT_MAX = 1 << 30,
    ROLL_MIN_MS = 10000
};

typedef struct plan {
    char name[288];
    int partitions;
    int64_t keep_ms, keep_bytes; /* -1: for ever; bytes: of a partition; 0: the broker's */
    bool compact;
} plan;

static void set_number(rd_kafka_NewTopic_t *t, const char *name, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    rd_kafka_NewTopic_set_config(t, name, text);
}

static int64_t between(int64_t low, int64_t n, int64_t high)
{
    return n < low ? low : n > high ? high : n;
}

static rd_kafka_NewTopic_t *make(const ferry__kafka *k, const plan *p)
{
    char text[128];
    rd_kafka_NewTopic_t *t = rd_kafka_NewTopic_new(p->name, p->partitions, k->set.replication, text, sizeof text);
    if (!t)
        return NULL;
    set_number(t, "max.message.bytes", between(1048588, (int64_t)k->config->max_message + 65536, INT32_MAX));
    set_number(t, "retention.ms", p->keep_ms);
    if (p->keep_bytes)
        set_number(t, "retention.bytes", p->keep_bytes);
    if (p->keep_bytes > 0)
        set_number(t, "segment.bytes", between(SEGMENT_MIN, p->keep_bytes / SEGMENTS, SEGMENT_MAX));
    if (p->keep_bytes && p->keep_ms > 0)
        set_number(t, "segment.ms", between(ROLL_MIN_MS, p->keep_ms / SEGMENTS, 7 * 86400000LL));
    if (p->compact)
        rd_kafka_NewTopic_set_config(t, "cleanup.policy", "compact");
    return t;
}

static ferry_status judge(rd_kafka_event_t *event, size_t *made, char *why)
{
    size_t n = 0;
    rd_kafka_resp_err_t err = rd_kafka_event_error(event);
    const rd_kafka_CreateTopics_result_t *result = err ? NULL : rd_kafka_event_CreateTopics_result(event);
    const rd_kafka_topic_result_t **each = result ? rd_kafka_CreateTopics_result_topics(result, &n) : NULL;
    if (err) {
        ferry__why(why, "topics could not be created: %s", rd_kafka_event_error_string(event));
        return ferry__kafka_status(err);
    }
    for (size_t i = 0; i < n; i++) {
        rd_kafka_resp_err_t one = rd_kafka_topic_result_error(each[i]);
        if (one && one != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
            ferry__why(why, "topic %s could not be created: %s", rd_kafka_topic_result_name(each[i]),
                       rd_kafka_err2str(one));
            return ferry__kafka_status(one);
        }
        *made += !one;
    }
    return FERRY_OK;
}

static ferry_status create(ferry__kafka *k, const plan *plans, size_t count, size_t *made, char *why)
{
    rd_kafka_NewTopic_t *topics[TOPICS];
    size_t n = 0;
    for (; n < count && (topics[n] = make(k, &plans[n])) != NULL; n++)
        continue;
    rd_kafka_queue_t *answers = rd_kafka_queue_new(k->calls);
    rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(k->calls, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    rd_kafka_AdminOptions_set_request_timeout(options, CREATE_MS, NULL, 0);
    rd_kafka_AdminOptions_set_operation_timeout(options, CREATE_MS, NULL, 0);
    rd_kafka_CreateTopics(k->calls, topics, n, options, answers);
    rd_kafka_event_t *event = NULL;
    int64_t end = ferry__now_ms() + CREATE_MS + 500;
    while (!event && !atomic_load(&k->jobs.quit) && ferry__now_ms() < end)
        event = rd_kafka_queue_poll(answers, 100);
    ferry_status status = FERRY_UNAVAILABLE;
    if (event)
        status = judge(event, made, why);
    else
        ferry__why(why, "topics could not be created: no answer from the brokers");
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_queue_destroy(answers);
    rd_kafka_NewTopic_destroy_array(topics, n);
    return status;
}

/* Never on a client that fetches: its connection to a broker answers nothing else while a fetch waits for messages. */
int ferry__kafka_partitions(rd_kafka_t *rk, const char *topic, int ms)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_topic_t *t = rd_kafka_topic_new(rk, topic, NULL);
    int count = -1;
    if (t && rd_kafka_metadata(rk, 0, t, &metadata, ms) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        count = 0;
        for (int i = 0; i < metadata->topic_cnt; i++) {
            const struct rd_kafka_metadata_topic *at = &metadata->topics[i];
            if (strcmp(at->topic, topic) != 0 || at->err)
                continue;
            for (int p = 0; p < at->partition_cnt; p++)
                count += at->partitions[p].leader >= 0;
            count = count == at->partition_cnt ? count : -1; /* leaders are still being chosen */
        }
        rd_kafka_metadata_destroy(metadata);
    }
    if (t)
        rd_kafka_topic_destroy(t);
    return count;
}

/* A topic that was just created is known to all brokers a little later. */
static ferry_status await(ferry__kafka *k, rd_kafka_t *rk, const char *topic, int *partitions, char *why)
{
    ferry__bell bell = {0};
    int64_t end = ferry__now_ms() + CREATE_MS;
    for (int pause = 1; !atomic_load(&k->jobs.quit) && ferry__now_ms() < end; pause = pause < 50 ? pause * 2 : 50) {
        *partitions = ferry__kafka_partitions(rk, topic, LOOK_MS);
        if (*partitions > 0)
            return FERRY_OK;
        ferry__bell_sleep(&bell, 0, pause, false);
    }
    ferry__why(why, "topic %s has no leader", topic);
    return FERRY_UNAVAILABLE;
}

ferry_status ferry__kafka_create_service(ferry__kafka *k, const char *name, bool box, char *why)
{
    plan plans[TOPICS] = {{.partitions = 1, .keep_ms = -1, .compact = true},
                          {.partitions = (int)k->config->partitions, .keep_ms = -1},
                          {.partitions = (int)k->config->partitions, .keep_ms = -1},
                          {.partitions = (int)k->config->partitions, .keep_ms = 3600000}};
    static const char *const lanes[TOPICS] = {"dead", "posts", "retry", "calls"};
    int partitions, count = box ? TOPICS - 1 : TOPICS;
    size_t made = 0;
    for (int i = 0; i < count; i++)
        snprintf(plans[i].name, sizeof plans[i].name, "%s.%s", name, lanes[i]);
    ferry_status status = create(k, plans, (size_t)count, &made, why);
    for (int i = 0; i < count && status == FERRY_OK; i++)
        status = await(k, k->calls, plans[i].name, &partitions, why);
    return status;
}

ferry_status ferry__kafka_create_dead(ferry__kafka *k, const char *topic, char *why)
{
    plan p = {.partitions = 1, .keep_ms = -1, .compact = true};
    size_t made = 0;
    int partitions;
    snprintf(p.name, sizeof p.name, "%s", topic);
    ferry_status status = create(k, &p, 1, &made, why);
    return status == FERRY_OK ? await(k, k->calls, topic, &partitions, why) : status;
}

ferry_status ferry__kafka_create_domain(ferry__kafka *k, ferry__kafka_keep keep, const char *topic, bool *made,
                                        char *why)
{
    int64_t count = keep.partitions ? keep.partitions : k->config->partitions;
    int64_t ms = keep.ms ? keep.ms : k->config->keep_ms, bytes = keep.bytes ? keep.bytes : k->config->keep_bytes;
    plan p = {.partitions = (int)count,
              .keep_ms = ms > 0 ? ms : -1,
              .keep_bytes = bytes > 0 ? (bytes + count - 1) / count : -1};
    size_t new = 0;
    int partitions;
    snprintf(p.name, sizeof p.name, "%s", topic);
    ferry_status status = create(k, &p, 1, &new, why);
    *made = new > 0;
    return status == FERRY_OK ? await(k, k->calls, topic, &partitions, why) : status;
}

ferry_status ferry__kafka_create_replies(ferry__kafka *k, int *partitions, char *why)
{
    plan p = {.partitions = k->set.replies, .keep_ms = 600000};
    size_t made = 0;
    snprintf(p.name, sizeof p.name, "%s", k->replies_name);
    /* Before it reads, by the reader itself: it is connected then, and knows the leaders that it will ask next. */
    rd_kafka_t *rk = k->reader_topic ? k->calls : k->reader;
    *partitions = ferry__kafka_partitions(rk, p.name, LOOK_MS);
    if (*partitions > 0)
        return FERRY_OK;
    ferry_status status = *partitions < 0 ? FERRY_UNAVAILABLE : create(k, &p, 1, &made, why);
    if (*partitions < 0)
        ferry__why(why, "no answer from the brokers");
    return status == FERRY_OK ? await(k, rk, p.name, partitions, why) : status;
}
