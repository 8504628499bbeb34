#include "backends/kafka/create.h"

#include "base/clock.h"

#include <string.h>

enum { CREATE_MS = 5000, TOPICS = 4, LOOK_MS = 1000 };

typedef struct plan {
    char        name[192];
    int         partitions;
    const char *retention; /* ms */
    bool        compact;
} plan;

static rd_kafka_NewTopic_t *make(const ferry__kafka *k, const plan *p)
{
    char text[128], most[24];
    rd_kafka_NewTopic_t *t = rd_kafka_NewTopic_new(p->name, p->partitions, k->set.replication, text, sizeof text);
    if (!t)
        return NULL;
    snprintf(most, sizeof most, "%zu",
             k->config->max_message + 65536 < 1048588 ? (size_t)1048588 : k->config->max_message + 65536);
    rd_kafka_NewTopic_set_config(t, "max.message.bytes", most);
    rd_kafka_NewTopic_set_config(t, "retention.ms", p->retention);
    if (p->compact)
        rd_kafka_NewTopic_set_config(t, "cleanup.policy", "compact");
    return t;
}

static ferry_status judge(rd_kafka_event_t *event, char *why)
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
    }
    return FERRY_OK;
}

static ferry_status create(ferry__kafka *k, const plan *plans, size_t count, char *why)
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
        status = judge(event, why);
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

ferry_status ferry__kafka_create_service(ferry__kafka *k, const char *name, char *why)
{
    plan plans[TOPICS] = {{.partitions = (int)k->config->partitions, .retention = "3600000"},
                          {.partitions = (int)k->config->partitions, .retention = "-1"},
                          {.partitions = (int)k->config->partitions, .retention = "-1"},
                          {.partitions = 1, .retention = "-1", .compact = true}};
    static const char *const lanes[TOPICS] = {"calls", "posts", "retry", "dead"};
    int partitions;
    for (int i = 0; i < TOPICS; i++)
        snprintf(plans[i].name, sizeof plans[i].name, "%s.%s", name, lanes[i]);
    ferry_status status = create(k, plans, TOPICS, why);
    for (int i = 0; i < TOPICS && status == FERRY_OK; i++)
        status = await(k, k->calls, plans[i].name, &partitions, why);
    return status;
}

ferry_status ferry__kafka_create_replies(ferry__kafka *k, int *partitions, char *why)
{
    plan p = {.partitions = k->set.replies, .retention = "600000"};
    snprintf(p.name, sizeof p.name, "%s", k->replies_name);
    /* Before it reads, by the reader itself: it is connected then, and knows the leaders that it will ask next. */
    rd_kafka_t *rk = k->reader_topic ? k->calls : k->reader;
    *partitions = ferry__kafka_partitions(rk, p.name, LOOK_MS);
    if (*partitions > 0)
        return FERRY_OK;
    ferry_status status = *partitions < 0 ? FERRY_UNAVAILABLE : create(k, &p, 1, why);
    if (*partitions < 0)
        ferry__why(why, "no answer from the brokers");
    return status == FERRY_OK ? await(k, rk, p.name, partitions, why) : status;
}
