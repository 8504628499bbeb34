/* admin.c - questions of administrators: dead letters and facts. Asked on the helper thread, answered in pump. */
#include "backends/kafka/dead.h"
#include "backends/kafka/topics.h"
#include "base/alloc.h"

#include <string.h>

enum { LOOK_MS = 3000 };

typedef struct question {
    ferry__kafka_job job;
    ferry__admin *admin;
    char *key;                 /* of the record to remove */
    ferry__lag_source *source; /* that is asked for */
} question;

static void doctor(ferry__kafka *k, ferry__admin *a)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t err =
        rd_kafka_metadata(k->calls, 0, k->replies_topic ? k->replies_topic->handle : NULL, &metadata, LOOK_MS);
    if (err) {
        a->status = ferry__kafka_status(err);
        ferry__why(a->why, "%s", rd_kafka_err2str(err));
        return;
    }
    ferry_value *warnings = ferry_new_list();
    int copies = metadata->topic_cnt > 0 && metadata->topics[0].partition_cnt > 0
                     ? metadata->topics[0].partitions[0].replica_cnt
                     : 0;
    if (copies == 1)
        ferry_list_put(
            warnings,
            ferry_text("one copy of each message: what is accepted does not survive the loss of a broker's disk"));
    if (k->set.posts_ahead > 1)
        ferry_list_put(warnings, ferry_text("posts in handlers are committed in lots: a killed server's last ones are "
                                            "handled again (posts_ahead)"));
    a->answer = ferry_new_map();
    ferry_map_put(a->answer, "transport", ferry_text("kafka"));
    ferry_map_put(a->answer, "library", ferry_text(rd_kafka_version_str()));
    ferry_map_put(a->answer, "broker", ferry_text(metadata->orig_broker_name));
    ferry_map_put(a->answer, "brokers", ferry_int(metadata->broker_cnt));
    ferry_map_put(a->answer, "copies", ferry_int(copies));
    ferry_map_put(a->answer, "namespace", ferry_text(k->config->ns));
    ferry_map_put(a->answer, "warnings", warnings);
    a->status = FERRY_OK;
    rd_kafka_metadata_destroy(metadata);
}

static void run(ferry__kafka *k, ferry__kafka_job *job)
{
    question *q = (question *)(void *)job;
    ferry__admin *a = q->admin;
    if (a->ask == FERRY__DEAD_BROWSE)
        ferry__dead_browse(k, a);
    else if (a->ask == FERRY__DEAD_REMOVE)
        ferry__dead_find(k, a, &q->key);
    else if (a->ask == FERRY__DOCTOR)
        doctor(k, a);
    else
        ferry__domains_ask(k, a, q->source);
}

static void answer(ferry__kafka *k, ferry__admin *a)
{
    a->next = k->answers;
    k->answers = a;
}

/* False: not sent, `a` says why. */
static bool send_tombstone(ferry__kafka *k, ferry__admin *a, const char *key)
{
    char topic[256];
    ferry__kafka_name(k, a->name, "dead", topic, sizeof topic);
    ferry__kafka_topic *t = ferry__kafka_topic_get(k, ferry__kafka_posts(k), topic);
    ferry__kafka_note *n = t ? ferry__zalloc(sizeof *n) : NULL;
    if (!n) {
        a->status = FERRY_NO_MEMORY;
        return false;
    }
    n->purpose = FERRY__KAFKA_REMOVED;
    n->admin = a;
    if (rd_kafka_produce(t->handle, RD_KAFKA_PARTITION_UA, RD_KAFKA_MSG_F_COPY, NULL, 0, key, strlen(key), n) == 0)
        return true;
    a->status = ferry__kafka_status(rd_kafka_last_error());
    ferry__free(n);
    return false;
}

static void done(ferry__kafka *k, ferry__kafka_job *job, bool ran)
{
    question *q = (question *)(void *)job;
    ferry__admin *a = q->admin;
    if (!ran)
        a->status = FERRY_UNAVAILABLE;
    if (!q->key || !send_tombstone(k, a, q->key))
        answer(k, a);
    ferry__free(q->key);
    ferry__free(q->source);
    ferry__free(q);
}

void ferry__kafka_admins(ferry__kafka *k)
{
    for (ferry__admin *a; (a = k->passed.admins);) {
        k->passed.admins = a->next;
        question *q = ferry__zalloc(sizeof *q);
        if (!q) {
            a->status = FERRY_NO_MEMORY;
            answer(k, a);
            continue;
        }
        *q = (question){.job = {.run = run, .done = done}, .admin = a};
        q->source = ferry__domains_source(k, a);
        ferry__kafka_job_add(k, &q->job);
    }
}
