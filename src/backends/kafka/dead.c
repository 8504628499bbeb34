#include "backends/kafka/dead.h"

#include "backends/kafka/create.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/random.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { LOOK_MS = 3000, READ_MS = 3000 };

/* ---- boxes ---- */

rd_kafka_t *ferry__dead_client(ferry__kafka *k, char *why)
{
    ferry__kafka_token(k, k->browser);
    if (k->browser)
        return k->browser;
    rd_kafka_conf_t *conf = ferry__kafka_conf(&k->set, k->config, FERRY__KAFKA_BROWSER, NULL, NULL, why);
    k->browser = conf ? rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, FERRY_WHY_SIZE) : NULL;
    if (!k->browser && conf)
        rd_kafka_conf_destroy(conf);
    ferry__kafka_token(k, k->browser);
    return k->browser;
}

static void free_box(ferry__dead_box *b)
{
    for (size_t i = 0; i < b->count; i++)
        ferry__free(b->letters[i].key);
    ferry__free(b->letters);
    if (b->topic)
        rd_kafka_topic_destroy(b->topic);
    ferry__free(b);
}

static ferry__dead_box *new_box(ferry__kafka *k, const char *name)
{
    char topic[256];
    size_t length = strlen(name);
    ferry__dead_box *b = ferry__zalloc(sizeof *b + length + 1);
    if (!b)
        return NULL;
    memcpy(b->name, name, length);
    ferry__kafka_name(k, name, "dead", topic, sizeof topic);
    b->hash = ferry__hash(name, length);
    b->read = -1;
    b->topic = rd_kafka_topic_new(k->browser, topic, NULL);
    if (b->topic)
        return b;
    free_box(b);
    return NULL;
}

/* In the order of hashes; NULL: no memory. */
static ferry__dead_box *box_of(ferry__kafka *k, const char *name)
{
    uint64_t hash = ferry__hash(name, strlen(name));
    ferry__dead_box **at = &k->boxes;
    while (*at && (*at)->hash < hash)
        at = &(*at)->next;
    for (ferry__dead_box *b = *at; b && b->hash == hash; b = b->next)
        if (strcmp(b->name, name) == 0)
            return b;
    ferry__dead_box *b = new_box(k, name);
    if (!b)
        return NULL;
    b->next = *at;
    *at = b;
    return b;
}

void ferry__dead_done(ferry__kafka *k)
{
    for (ferry__dead_box *b; (b = k->boxes);) {
        k->boxes = b->next;
        free_box(b);
    }
    if (k->browser)
        rd_kafka_destroy_flags(k->browser, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    k->browser = NULL;
}

/* ---- reading ---- */

typedef bool reader(ferry__dead_box *b, const rd_kafka_message_t *m, void *arg); /* false: enough */

static bool read_all(ferry__kafka *k, ferry__dead_box *b, int64_t from, int64_t to, reader *each, void *arg)
{
    int64_t end = ferry__now_ms() + READ_MS;
    bool good = from >= to || rd_kafka_consume_start(b->topic, 0, from) == 0, more = from < to;
    bool started = good && more;
    while (good && more) {
        rd_kafka_message_t *m = rd_kafka_consume(b->topic, 0, 100);
        good = ferry__now_ms() < end && !atomic_load(&k->jobs.quit);
        if (!m)
            continue;
        if (!m->err) {
            end = ferry__now_ms() + READ_MS;
            more = each(b, m, arg) && m->offset + 1 < to;
        } else if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
            more = m->offset < to;
        rd_kafka_message_destroy(m);
    }
    if (started)
        rd_kafka_consume_stop(b->topic, 0);
    return good;
}

static size_t find(const ferry__dead_box *b, const void *key, size_t length)
{
    for (size_t i = 0; i < b->count; i++)
        if (strlen(b->letters[i].key) == length && memcmp(b->letters[i].key, key, length) == 0)
            return i;
    return b->count;
}

static void forget(ferry__dead_box *b, size_t i)
{
    if (i == b->count)
        return;
    ferry__free(b->letters[i].key);
    memmove(&b->letters[i], &b->letters[i + 1], (--b->count - i) * sizeof *b->letters);
}

static bool remember(ferry__dead_box *b, const rd_kafka_message_t *m)
{
    if (b->count == b->room) {
        size_t room = b->room ? b->room * 2 : 64;
        ferry__dead_letter *more = ferry__realloc(b->letters, room * sizeof *more);
        if (!more)
            return false;
        b->letters = more;
        b->room = room;
    }
    char *key = ferry__strndup(m->key, m->key_len);
    if (!key)
        return false;
    b->letters[b->count++] = (ferry__dead_letter){m->offset, key};
    return true;
}

static bool index_it(ferry__dead_box *b, const rd_kafka_message_t *m, void *failed)
{
    if (m->key) {
        forget(b, find(b, m->key, m->key_len));
        if (m->payload && !remember(b, m)) {
            *(bool *)failed = true;
            return false;
        }
    }
    b->read = m->offset + 1;
    return true;
}

/* False: the broker did not answer, or no memory; `a` says so. */
static bool refresh(ferry__kafka *k, ferry__dead_box *b, ferry__admin *a)
{
    int64_t low = 0, high = 0;
    bool failed = false;
    rd_kafka_resp_err_t err =
        rd_kafka_query_watermark_offsets(k->browser, rd_kafka_topic_name(b->topic), 0, &low, &high, LOOK_MS);
    if (err) {
        a->status = ferry__kafka_status(err);
        ferry__why(a->why, "%s: %s", rd_kafka_topic_name(b->topic), rd_kafka_err2str(err));
        return false;
    }
    bool anew = b->read < 0 || b->read > high; /* greater: the topic was made anew */
    while (anew && b->count > 0)
        forget(b, b->count - 1);
    bool read = read_all(k, b, anew ? low : b->read, high, index_it, &failed);
    if (read && !failed) {
        b->read = high;
        return true;
    }
    a->status = failed ? FERRY_NO_MEMORY : FERRY_UNAVAILABLE;
    ferry__why(a->why, "%s could not be read", rd_kafka_topic_name(b->topic));
    return false;
}

/* ---- browsing ---- */

typedef struct page {
    ferry_value *rows;
    size_t limit, at; /* next letter of the box */
    bool all;
} page;

static bool add_row(ferry__dead_box *b, const rd_kafka_message_t *m, void *arg)
{
    page *p = arg;
    char cursor[48];
    while (p->at < b->count && b->letters[p->at].offset < m->offset)
        p->at++;
    if (p->at == b->count)
        return false;
    if (b->letters[p->at].offset != m->offset || !m->payload)
        return true;
    if (p->all)
        snprintf(cursor, sizeof cursor, "%016" PRIx64 ":%" PRId64, b->hash, m->offset);
    else
        snprintf(cursor, sizeof cursor, "%" PRId64, m->offset);
    ferry_value *row = ferry_new_list();
    ferry_list_put(row, ferry_text(cursor));
    ferry_list_put(row, ferry_text(b->name));
    ferry_list_put(row, ferry_bytes(m->payload, m->len));
    ferry_list_put(p->rows, row);
    return ++p->at < b->count && ferry_count(p->rows) < p->limit;
}

static bool browse_box(ferry__kafka *k, ferry__dead_box *b, ferry__admin *a, page *p, int64_t after)
{
    if (!refresh(k, b, a))
        return false;
    for (p->at = 0; p->at < b->count && b->letters[p->at].offset <= after; p->at++)
        continue;
    if (p->at == b->count)
        return true;
    if (read_all(k, b, b->letters[p->at].offset, b->letters[b->count - 1].offset + 1, add_row, p))
        return true;
    a->status = FERRY_UNAVAILABLE;
    return false;
}

/* Boxes that exist, from the names of topics. */
static bool find_boxes(ferry__kafka *k, ferry__admin *a)
{
    const struct rd_kafka_metadata *metadata;
    size_t ns = strlen(k->config->ns);
    rd_kafka_resp_err_t err = rd_kafka_metadata(k->calls, 1, NULL, &metadata, LOOK_MS);
    if (err) {
        a->status = ferry__kafka_status(err);
        ferry__why(a->why, "%s", rd_kafka_err2str(err));
        return false;
    }
    for (int i = 0; i < metadata->topic_cnt; i++) {
        char name[256];
        const char *topic = metadata->topics[i].topic, *dot = strrchr(topic, '.');
        if (strncmp(topic, k->config->ns, ns) != 0 || topic[ns] != '.' || !dot || strcmp(dot, ".dead") != 0 ||
            dot <= topic + ns)
            continue;
        ferry__kafka_name_back(topic + ns + 1, (size_t)(dot - topic) - ns - 1, name, sizeof name);
        box_of(k, name);
    }
    rd_kafka_metadata_destroy(metadata);
    return true;
}

static void browse_all(ferry__kafka *k, ferry__admin *a, page *p)
{
    char *end = NULL;
    uint64_t hash = a->after ? strtoull(a->after, &end, 16) : 0;
    int64_t after = end && *end == ':' ? strtoll(end + 1, NULL, 10) : -1;
    if (!find_boxes(k, a))
        return;
    for (ferry__dead_box *b = k->boxes; b && ferry_count(p->rows) < p->limit; b = b->next)
        if (b->hash >= hash && !browse_box(k, b, a, p, b->hash == hash ? after : -1))
            return;
}

/* -1: no answer, `a` says so; 0: there is no such box. */
static int exists(ferry__kafka *k, ferry__admin *a)
{
    char topic[256];
    ferry__kafka_name(k, a->name, "dead", topic, sizeof topic);
    int partitions = ferry__kafka_partitions(k->calls, topic, LOOK_MS);
    if (partitions < 0) {
        a->status = FERRY_UNAVAILABLE;
        ferry__why(a->why, "no answer from the brokers");
    }
    return partitions;
}

void ferry__dead_browse(ferry__kafka *k, ferry__admin *a)
{
    page p = {.rows = ferry_new_list(), .limit = a->limit, .all = !a->name};
    a->status = FERRY_OK;
    if (!ferry__dead_client(k, a->why))
        a->status = FERRY_NO_MEMORY;
    else if (!a->name)
        browse_all(k, a, &p);
    else if (exists(k, a) > 0) {
        ferry__dead_box *b = box_of(k, a->name);
        if (b)
            browse_box(k, b, a, &p, a->after ? strtoll(a->after, NULL, 10) : -1);
        else
            a->status = FERRY_NO_MEMORY;
    }
    a->answer = p.rows;
}

/* The oldest with that id. */
static const char *key_of(const ferry__dead_box *b, const char *id)
{
    size_t length = strlen(id);
    for (size_t i = 0; i < b->count; i++)
        if (strncmp(b->letters[i].key, id, length) == 0 && b->letters[i].key[length] == '/')
            return b->letters[i].key;
    return NULL;
}

void ferry__dead_find(ferry__kafka *k, ferry__admin *a, char **key)
{
    a->status = FERRY_OK;
    a->count = 0;
    if (!ferry__dead_client(k, a->why)) {
        a->status = FERRY_NO_MEMORY;
        return;
    }
    if (!a->name || exists(k, a) <= 0)
        return;
    ferry__dead_box *b = box_of(k, a->name);
    if (!b)
        a->status = FERRY_NO_MEMORY;
    if (!b || !refresh(k, b, a) || !key_of(b, a->id))
        return;
    *key = ferry__strdup(key_of(b, a->id));
    a->count = *key != NULL;
    a->status = *key ? FERRY_OK : FERRY_NO_MEMORY;
}
