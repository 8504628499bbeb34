#include "backends/kafka/topics.h"

#include "backends/kafka/create.h"
#include "backends/kafka/dead.h"
#include "backends/kafka/event.h"
#include "base/alloc.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { LOOK_MS = 3000, GROUPS = 200, POSITION = 32 /* characters for a partition */ };

static void fail(ferry__admin *a, const char *what, rd_kafka_resp_err_t err)
{
    a->status = ferry__kafka_status(err);
    ferry__why(a->why, "%s: %s", what, rd_kafka_err2str(err));
}

/* ---- how far a source is ---- */

static ferry__lag_source *snapshot(const ferry__kafka_intake *in)
{
    const ferry__kafka_group *g = in->group;
    size_t count = 0;
    for (const ferry__node *n = g ? g->parts.next : NULL; g && n != &g->parts; n = n->next)
        count++;
    ferry__lag_source *s = ferry__zalloc(sizeof *s + count * sizeof *s->parts);
    if (!s)
        return NULL;
    const char *group = strchr(in->service, '/');
    snprintf(s->domain, sizeof s->domain, "%s", in->feed->domain);
    snprintf(s->group, sizeof s->group, "%s", in->feed->broadcast || !group ? "" : group + 1);
    for (ferry__node *n = g ? g->parts.next : NULL; g && n != &g->parts; n = n->next) {
        const ferry__kafka_part *p = FERRY__OF(n, ferry__kafka_part, node);
        if (p->topic != FERRY__GROUP_EVENTS || !p->owned)
            continue;
        s->parts[s->count].partition = p->partition;
        s->parts[s->count++].offset = p->base;
    }
    return s;
}

ferry__lag_source *ferry__domains_source(ferry__kafka *k, const ferry__admin *a)
{
    if (a->ask != FERRY__LAG || !a->source)
        return NULL;
    for (ferry__node *n = k->intakes.next; n != &k->intakes; n = n->next) {
        const ferry__kafka_intake *in = FERRY__OF(n, ferry__kafka_intake, node);
        if (in->source == a->source && in->feed)
            return snapshot(in);
    }
    return NULL;
}

/* ---- domains ---- */

typedef struct domain {
    const char *name;
    char topic[288];
    int count;
    int64_t *low, *high, *at; /* at: for one group at a time */
} domain;

static void close_domain(domain *d)
{
    ferry__free(d->low);
    d->low = NULL;
}

static bool open_domain(ferry__kafka *k, ferry__admin *a, domain *d, const char *name)
{
    rd_kafka_t *rk = ferry__dead_client(k, a->why);
    memset(d, 0, sizeof *d);
    d->name = name;
    ferry__kafka_name(k, name, "events", d->topic, sizeof d->topic);
    d->count = rk ? ferry__kafka_partitions(k->calls, d->topic, LOOK_MS) : -1;
    if (d->count <= 0) {
        a->status = d->count < 0 ? FERRY_UNAVAILABLE : FERRY_NOT_FOUND;
        ferry__why(a->why, d->count < 0 ? "no answer from the brokers" : "there is no domain '%s' of events", name);
        return false;
    }
    size_t count = (size_t)d->count;
    d->low = ferry__alloc(3 * count * sizeof *d->low);
    if (!d->low) {
        a->status = FERRY_NO_MEMORY;
        return false;
    }
    d->high = d->low + count;
    d->at = d->high + count;
    rd_kafka_resp_err_t err = ferry__domains_offsets(rk, d->topic, d->count, -2, d->low);
    err = err ? err : ferry__domains_offsets(rk, d->topic, d->count, -1, d->high);
    if (!err)
        return true;
    fail(a, d->topic, err);
    close_domain(d);
    return false;
}

/* ---- groups ---- */

typedef struct names {
    char group[GROUPS][256]; /* as the brokers know them */
    size_t count;
} names;

/* Groups of the domain: NS.DOMAIN.GROUP. */
static bool list_groups(ferry__kafka *k, ferry__admin *a, const char *name, names *to)
{
    char prefix[288];
    size_t n = 0;
    rd_kafka_AdminOptions_t *options = ferry__domains_options(k, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(k->calls);
    rd_kafka_ListConsumerGroups(k->calls, options, queue);
    rd_kafka_event_t *event = ferry__domains_await(k, queue);
    rd_kafka_resp_err_t err = event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    const rd_kafka_ListConsumerGroups_result_t *r = err ? NULL : rd_kafka_event_ListConsumerGroups_result(event);
    const rd_kafka_ConsumerGroupListing_t **all = r ? rd_kafka_ListConsumerGroups_result_valid(r, &n) : NULL;
    ferry__kafka_name(k, name, "", prefix, sizeof prefix);
    size_t length = strlen(prefix);
    for (size_t i = 0; i < n && to->count < GROUPS; i++) {
        const char *id = rd_kafka_ConsumerGroupListing_group_id(all[i]);
        if (strncmp(id, prefix, length) == 0 && id[length] && id[length] != '@' && !strchr(id + length, '.'))
            snprintf(to->group[to->count++], sizeof to->group[0], "%s", id);
    }
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    if (err)
        fail(a, "groups", err);
    return !err;
}

/* -1: unknown. */
static int members_of(ferry__kafka *k, const char *group)
{
    size_t n = 0;
    const char *ids[] = {group};
    rd_kafka_AdminOptions_t *options = ferry__domains_options(k, RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(k->calls);
    rd_kafka_DescribeConsumerGroups(k->calls, ids, 1, options, queue);
    rd_kafka_event_t *event = ferry__domains_await(k, queue);
    const rd_kafka_DescribeConsumerGroups_result_t *r =
        event && !rd_kafka_event_error(event) ? rd_kafka_event_DescribeConsumerGroups_result(event) : NULL;
    const rd_kafka_ConsumerGroupDescription_t **all = r ? rd_kafka_DescribeConsumerGroups_result_groups(r, &n) : NULL;
    int count = -1;
    if (n == 1 && !rd_kafka_ConsumerGroupDescription_error(all[0]))
        count = (int)rd_kafka_ConsumerGroupDescription_member_count(all[0]);
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    return count;
}

/* ---- lag ---- */

static ferry_value *position_of(const domain *d)
{
    char *text = ferry__alloc((size_t)d->count * POSITION + 1);
    size_t at = 0;
    if (!text)
        return NULL;
    text[0] = '\0';
    for (int i = 0; i < d->count; i++)
        if (d->at[i] >= 0)
            at += (size_t)snprintf(text + at, POSITION, "%s%d:%" PRId64, at ? "," : "", i, d->at[i]);
    ferry_value *v = ferry_text(text);
    ferry__free(text);
    return v;
}

static int64_t lag_of(const domain *d)
{
    int64_t sum = 0;
    for (int i = 0; i < d->count; i++) {
        int64_t from = d->at[i] < d->low[i] ? d->low[i] : d->at[i];
        sum += d->high[i] > from ? d->high[i] - from : 0;
    }
    return sum;
}

static void add_lag(ferry_value *list, const domain *d, const char *group, int members)
{
    ferry_value *row = ferry_new_map();
    ferry_map_put(row, "domain", ferry_text(d->name));
    ferry_map_put(row, "group", group && *group ? ferry_text(group) : ferry_nil());
    ferry_map_put(row, "lag", ferry_int(lag_of(d)));
    ferry_map_put(row, "position", position_of(d));
    if (members >= 0)
        ferry_map_put(row, "members", ferry_int(members));
    ferry_list_put(list, row);
}

/* False: no answer, or, where `must`, there is no such group. */
static bool add_group(ferry__kafka *k, ferry__admin *a, const domain *d, const char *id, const char *group, bool must)
{
    rd_kafka_resp_err_t err = ferry__domains_committed(k, id, d->topic, d->count, d->at);
    bool any = false;
    for (int i = 0; i < d->count && !err; i++)
        any = any || d->at[i] >= 0;
    if (err)
        fail(a, id, err);
    else if (any)
        add_lag(a->answer, d, group, members_of(k, id));
    else if (must) {
        a->status = FERRY_NOT_FOUND;
        ferry__why(a->why, "no group '%s' took events of '%s'", group, d->name);
    }
    return a->status == FERRY_OK;
}

static bool add_groups(ferry__kafka *k, ferry__admin *a, const domain *d)
{
    char prefix[288];
    names *all = ferry__zalloc(sizeof *all);
    bool good = all && list_groups(k, a, d->name, all);
    ferry__kafka_name(k, d->name, "", prefix, sizeof prefix);
    for (size_t i = 0; good && i < all->count; i++)
        good = add_group(k, a, d, all->group[i], all->group[i] + strlen(prefix), false);
    if (!all)
        a->status = FERRY_NO_MEMORY;
    ferry__free(all);
    return good;
}

static bool add_source(ferry__kafka *k, ferry__admin *a, const domain *d, const ferry__lag_source *s)
{
    char id[256], box[400];
    rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;
    snprintf(box, sizeof box, "%s/%s", s->domain, s->group);
    ferry__kafka_name(k, box, NULL, id, sizeof id);
    for (int i = 0; i < d->count; i++)
        d->at[i] = -1;
    if (s->group[0])
        err = ferry__domains_committed(k, id, d->topic, d->count, d->at);
    if (err) {
        fail(a, id, err);
        return false;
    }
    for (int i = 0; i < s->count; i++)
        if (s->parts[i].partition < d->count)
            d->at[s->parts[i].partition] = s->parts[i].offset;
    add_lag(a->answer, d, s->group, -1);
    return true;
}

static void lag(ferry__kafka *k, ferry__admin *a, const ferry__lag_source *s)
{
    domain d;
    char id[256], box[400];
    a->answer = ferry_new_list();
    if (!open_domain(k, a, &d, s ? s->domain : a->name ? a->name : ""))
        return;
    if (s)
        add_source(k, a, &d, s);
    else if (a->group) {
        snprintf(box, sizeof box, "%s/%s", d.name, a->group);
        ferry__kafka_name(k, box, NULL, id, sizeof id);
        add_group(k, a, &d, id, a->group, true);
    } else
        add_groups(k, a, &d);
    close_domain(&d);
}

/* ---- topics ---- */

static void list(ferry__kafka *k, ferry__admin *a)
{
    const struct rd_kafka_metadata *metadata;
    size_t ns = strlen(k->config->ns), end = strlen(".events");
    rd_kafka_resp_err_t err = rd_kafka_metadata(k->calls, 1, NULL, &metadata, LOOK_MS);
    if (err) {
        fail(a, "topics", err);
        return;
    }
    a->answer = ferry_new_list();
    for (int i = 0; i < metadata->topic_cnt; i++) {
        const char *topic = metadata->topics[i].topic;
        size_t length = strlen(topic);
        if (strncmp(topic, k->config->ns, ns) != 0 || topic[ns] != '.' || length <= ns + 1 + end ||
            strcmp(topic + length - end, ".events") != 0 || memchr(topic + ns + 1, '.', length - end - ns - 1))
            continue;
        ferry_value *row = ferry_new_map();
        ferry_map_put(row, "name", ferry_string(topic + ns + 1, length - end - ns - 1));
        ferry_map_put(row, "partitions", ferry_int(metadata->topics[i].partition_cnt));
        ferry_list_put(a->answer, row);
    }
    rd_kafka_metadata_destroy(metadata);
}

static void make(ferry__kafka *k, ferry__admin *a)
{
    bool made = false;
    char topic[288];
    ferry__kafka_name(k, a->name, "events", topic, sizeof topic);
    ferry__kafka_keep keep = {a->partitions, a->keep_ms, a->keep_bytes};
    a->status = ferry__kafka_create_domain(k, keep, topic, &made, a->why);
    a->count = made;
}

static int64_t config_number(const rd_kafka_ConfigResource_t *c, const char *name)
{
    size_t n = 0;
    const rd_kafka_ConfigEntry_t **all = rd_kafka_ConfigResource_configs(c, &n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(rd_kafka_ConfigEntry_name(all[i]), name) == 0 && rd_kafka_ConfigEntry_value(all[i]))
            return strtoll(rd_kafka_ConfigEntry_value(all[i]), NULL, 10);
    return -1;
}

static void describe_keep(ferry__kafka *k, const domain *d, ferry_value *to)
{
    size_t n = 0;
    rd_kafka_ConfigResource_t *ask = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, d->topic);
    rd_kafka_AdminOptions_t *options = ferry__domains_options(k, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(k->calls);
    rd_kafka_DescribeConfigs(k->calls, &ask, 1, options, queue);
    rd_kafka_event_t *event = ferry__domains_await(k, queue);
    const rd_kafka_DescribeConfigs_result_t *r =
        event && !rd_kafka_event_error(event) ? rd_kafka_event_DescribeConfigs_result(event) : NULL;
    const rd_kafka_ConfigResource_t **all = r ? rd_kafka_DescribeConfigs_result_resources(r, &n) : NULL;
    if (n == 1 && !rd_kafka_ConfigResource_error(all[0])) {
        int64_t ms = config_number(all[0], "retention.ms"), bytes = config_number(all[0], "retention.bytes");
        if (ms >= 0)
            ferry_map_put(to, "keep_ms", ferry_int(ms));
        if (bytes >= 0)
            ferry_map_put(to, "keep_bytes", ferry_int(bytes * d->count));
    }
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_ConfigResource_destroy(ask);
}

static void describe(ferry__kafka *k, ferry__admin *a)
{
    domain d;
    if (!open_domain(k, a, &d, a->name))
        return;
    ferry_value *map = ferry_new_map();
    a->answer = ferry_new_list(); /* of groups, first */
    add_groups(k, a, &d);
    for (int i = 0; i < d.count; i++)
        d.at[i] = 0;
    ferry_map_put(map, "name", ferry_text(a->name));
    ferry_map_put(map, "partitions", ferry_int(d.count));
    ferry_map_put(map, "events", ferry_int(lag_of(&d)));
    describe_keep(k, &d, map);
    ferry_map_put(map, "groups", a->answer);
    a->answer = map;
    close_domain(&d);
}

static rd_kafka_resp_err_t delete_topics(ferry__kafka *k, char (*topics)[288], size_t count)
{
    size_t n = 0;
    rd_kafka_DeleteTopic_t *ask[3];
    for (; n < count; n++)
        ask[n] = rd_kafka_DeleteTopic_new(topics[n]);
    rd_kafka_AdminOptions_t *options = ferry__domains_options(k, RD_KAFKA_ADMIN_OP_DELETETOPICS);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(k->calls);
    rd_kafka_DeleteTopics(k->calls, ask, n, options, queue);
    rd_kafka_event_t *event = ferry__domains_await(k, queue);
    rd_kafka_resp_err_t err = event ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    const rd_kafka_DeleteTopics_result_t *r = err ? NULL : rd_kafka_event_DeleteTopics_result(event);
    size_t results = 0;
    const rd_kafka_topic_result_t **all = r ? rd_kafka_DeleteTopics_result_topics(r, &results) : NULL;
    if (results > 0)
        err = rd_kafka_topic_result_error(all[0]);
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_DeleteTopic_destroy_array(ask, n);
    return err;
}

/* One that has members stays: they go on when the domain is there again. */
static void delete_group(ferry__kafka *k, const char *group)
{
    rd_kafka_DeleteGroup_t *ask = rd_kafka_DeleteGroup_new(group);
    rd_kafka_AdminOptions_t *options = ferry__domains_options(k, RD_KAFKA_ADMIN_OP_DELETEGROUPS);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(k->calls);
    rd_kafka_DeleteGroups(k->calls, &ask, 1, options, queue);
    rd_kafka_event_t *event = ferry__domains_await(k, queue);
    if (event)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_DeleteGroup_destroy(ask);
}

static void delete_it(ferry__kafka *k, ferry__admin *a)
{
    char topics[2][288], purged[288];
    names *all = ferry__zalloc(sizeof *all);
    ferry__kafka_name(k, a->name, "events", topics[0], sizeof topics[0]);
    rd_kafka_resp_err_t err = all ? delete_topics(k, topics, 1) : RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE;
    if (err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
        a->status = FERRY_NOT_FOUND;
        ferry__why(a->why, "there is no domain '%s' of events", a->name);
    } else if (err)
        fail(a, topics[0], err);
    a->count = !err;
    ferry__domains_purged_name(k, a->name, purged, sizeof purged);
    if (!err)
        delete_group(k, purged);
    if (!err && list_groups(k, a, a->name, all))
        for (size_t i = 0; i < all->count; i++) {
            delete_group(k, all->group[i]);
            snprintf(topics[0], sizeof topics[0], "%s.posts", all->group[i]);
            snprintf(topics[1], sizeof topics[1], "%s.retry", all->group[i]);
            delete_topics(k, topics, 2);
        }
    ferry__free(all);
}

/* Its groups find their offsets gone; that an administrator did it is told them by the offsets of a group of that name. */
static void purge(ferry__kafka *k, ferry__admin *a)
{
    domain d;
    char purged[288];
    if (!open_domain(k, a, &d, a->name))
        return;
    ferry__domains_purged_name(k, a->name, purged, sizeof purged);
    rd_kafka_resp_err_t err = ferry__domains_commit(k, purged, d.topic, d.count, d.high);
    err = err ? err : ferry__domains_trim(k, d.topic, d.count, d.high);
    if (err)
        fail(a, d.topic, err);
    a->count = 0;
    for (int i = 0; i < d.count; i++)
        a->count += err ? 0 : d.high[i] - d.low[i];
    close_domain(&d);
}

void ferry__domains_ask(ferry__kafka *k, ferry__admin *a, const ferry__lag_source *source)
{
    a->status = FERRY_OK;
    if (a->ask == FERRY__TOPIC_LIST)
        list(k, a);
    else if (a->ask == FERRY__TOPIC_CREATE)
        make(k, a);
    else if (a->ask == FERRY__TOPIC_DESCRIBE)
        describe(k, a);
    else if (a->ask == FERRY__TOPIC_DELETE)
        delete_it(k, a);
    else if (a->ask == FERRY__TOPIC_PURGE)
        purge(k, a);
    else if (a->ask == FERRY__LAG)
        lag(k, a, source);
    else
        a->status = FERRY_UNSUPPORTED;
}
