#include "backends/kafka/settings.h"

#include "base/alloc.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

const ferry__setting ferry__kafka_setting_table[] = {
    {"session", FERRY__MS, "6s", 100, 1800000, NULL,
     "a server that was not heard of for so long is dead; the broker has bounds of its own"},
    {"heartbeat", FERRY__MS, NULL, 10, 600000, NULL, "how often a server is heard of [a third of `session`]"},
    {"move", FERRY__MS, "1s", 0, 600000, NULL,
     "how long a partition that moves to another server waits for posts in handlers"},
    {"replies", FERRY__NUMBER, "16", 1, 1024, NULL, "partitions of the topic of answers, when it is created"},
    {"replication", FERRY__NUMBER, "0", 0, 32, NULL, "copies of each topic that is created; 0: what the broker says"},
    {"posts_ahead", FERRY__NUMBER, "64", 1, 4096, NULL,
     "posts a server holds whose handling is not committed yet: so many are handled twice when it is killed"},
    {"trim", FERRY__NUMBER, "1000", 0, 1000000000, NULL,
     "posts that are done with are deleted from a partition's log in lots of so many; 0: they stay"},
    {"ca", FERRY__TEXT, NULL, 0, 0, NULL, "file of the authorities that are trusted [the system's]"},
    {"cert", FERRY__TEXT, NULL, 0, 0, NULL, "file of our certificate, PEM"},
    {"key", FERRY__TEXT, NULL, 0, 0, NULL, "file of its key, PEM"},
    {"key_password", FERRY__TEXT, NULL, 0, 0, NULL, "of that file"},
    {"verify", FERRY__FLAG, "yes", 0, 0, NULL, "no: any certificate passes; for tests only, and it is logged"},
    {"sasl", FERRY__CHOICE, "none", 0, 0, "none|plain|scram-256|scram-512|oauthbearer",
     "how to log in; user and password are the URL's [plain if it has them]"},
    {"token_file", FERRY__TEXT, NULL, 0, 0, NULL,
     "for oauthbearer: a file with the token, read again whenever a new one is needed"},
    {"kafka.*", FERRY__TEXT, NULL, 0, 0, NULL, "any setting of librdkafka, e.g. kafka.compression.codec=lz4"},
    {NULL, FERRY__TEXT, NULL, 0, 0, NULL, NULL},
};

static bool add(ferry__kafka_settings *s, const char *name, const char *value)
{
    if (s->count == FERRY__KAFKA_PAIRS)
        return false;
    char *n = ferry__strdup(name), *v = ferry__strdup(value);
    if (!n || !v) {
        ferry__free(n);
        ferry__free(v);
        return false;
    }
    s->pairs[s->count].name = n;
    s->pairs[s->count++].value = v;
    return true;
}

static bool add_number(ferry__kafka_settings *s, const char *name, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return add(s, name, text);
}

static bool add_option(ferry__kafka_settings *s, const ferry__url *url, const char *option, const char *name)
{
    const char *value = ferry__url_text(url, ferry__kafka_setting_table, option);
    return !value || add(s, name, value);
}

/* ---- security ---- */

static ferry_status add_security(ferry__kafka_settings *s, const ferry__url *url, char *why)
{
    static const char *const mechanisms[] = {NULL, "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"};
    const ferry__setting *t = ferry__kafka_setting_table;
    bool tls = strcmp(url->scheme, "kafkas") == 0, good = true;
    const char *mechanism = mechanisms[ferry__url_number(url, t, "sasl")];
    if (!mechanism && url->user)
        mechanism = "PLAIN";
    good = add(s, "security.protocol", mechanism ? tls ? "sasl_ssl" : "sasl_plaintext" : tls ? "ssl" : "plaintext");
    if (mechanism)
        good = good && add(s, "sasl.mechanisms", mechanism);
    if (mechanism && strcmp(mechanism, "OAUTHBEARER") != 0)
        good = good && add(s, "sasl.username", url->user ? url->user : "") &&
               add(s, "sasl.password", url->password ? url->password : "");
    if (tls)
        good = good && add_option(s, url, "ca", "ssl.ca.location") &&
               add_option(s, url, "cert", "ssl.certificate.location") &&
               add_option(s, url, "key", "ssl.key.location") &&
               add_option(s, url, "key_password", "ssl.key.password") &&
               add(s, "enable.ssl.certificate.verification", ferry__url_number(url, t, "verify") ? "true" : "false") &&
               add(s, "ssl.endpoint.identification.algorithm", ferry__url_number(url, t, "verify") ? "https" : "none");
    s->verified = ferry__url_number(url, t, "verify") != 0 || !tls;
    const char *file = ferry__url_text(url, t, "token_file");
    if (file)
        good = good && (s->token_file = ferry__strdup(file)) != NULL;
    if (!good)
        ferry__why(why, "out of memory");
    return good ? FERRY_OK : FERRY_NO_MEMORY;
}

/* ---- librdkafka's own names ---- */

static bool ours(const char *name)
{
    static const char *const names[] = {"bootstrap.servers",
                                        "metadata.broker.list",
                                        "group.id",
                                        "enable.auto.commit",
                                        "enable.auto.offset.store",
                                        "enable.idempotence",
                                        "transactional.id",
                                        "opaque",
                                        "client.id",
                                        "partition.assignment.strategy"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static void unknown_name(const char *name, char *why)
{
    size_t count = 0;
    ferry__guess guess = {.word = name};
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_topic_conf_t *topic = rd_kafka_topic_conf_new();
    const char **all = rd_kafka_conf_dump(conf, &count);
    for (size_t i = 0; i + 1 < count; i += 2)
        ferry__guess_try(&guess, all[i]);
    size_t topics = 0;
    const char **more = rd_kafka_topic_conf_dump(topic, &topics);
    for (size_t i = 0; i + 1 < topics; i += 2)
        ferry__guess_try(&guess, more[i]);
    if (guess.best)
        ferry__why(why, "no option 'kafka.%.60s': did you mean 'kafka.%s'?", name, guess.best);
    else
        ferry__why(why, "no option 'kafka.%.60s': librdkafka has no such setting", name);
    rd_kafka_conf_dump_free(all, count);
    rd_kafka_conf_dump_free(more, topics);
    rd_kafka_conf_destroy(conf);
    rd_kafka_topic_conf_destroy(topic);
}

static ferry_status add_foreign(ferry__kafka_settings *s, const ferry__url *url, char *why)
{
    for (size_t i = 0; i < url->queries; i++) {
        if (strncmp(url->query[i].name, "kafka.", FERRY__KAFKA_PREFIX) != 0)
            continue;
        const char *name = url->query[i].name + FERRY__KAFKA_PREFIX;
        if (ours(name)) {
            ferry__why(why, "kafka.%.60s is ferry's own to set", name);
            return FERRY_INVALID;
        }
        if (!add(s, name, url->query[i].value)) {
            ferry__why(why, "out of memory");
            return FERRY_NO_MEMORY;
        }
    }
    return FERRY_OK;
}

static ferry_status add_common(ferry__kafka_settings *s, const ferry__config *config, const ferry__url *url, char *why)
{
    bool good = add(s, "bootstrap.servers", *url->hosts ? url->hosts : "127.0.0.1:9092") &&
                add(s, "client.id", config->name ? config->name : "ferry") && add(s, "socket.nagle.disable", "true") &&
                add(s, "socket.keepalive.enable", "true") &&
                add_number(s, "reconnect.backoff.ms", config->backoff_ms) &&
                add_number(s, "reconnect.backoff.max.ms",
                           config->backoff_max_ms > config->backoff_ms ? config->backoff_max_ms : config->backoff_ms) &&
                add(s, "topic.metadata.propagation.max.ms", "3000") && add(s, "broker.address.family", "any");
    if (!good)
        ferry__why(why, "out of memory");
    return good ? FERRY_OK : FERRY_NO_MEMORY;
}

ferry_status ferry__kafka_settings_read(ferry__kafka_settings *s, const ferry__config *config, const ferry__url *url,
                                        char *why)
{
    const ferry__setting *t = ferry__kafka_setting_table;
    s->session_ms = (int)ferry__url_number(url, t, "session");
    s->heartbeat_ms = (int)ferry__url_number(url, t, "heartbeat");
    if (s->heartbeat_ms == 0)
        s->heartbeat_ms = s->session_ms / 3;
    s->move_ms = (int)ferry__url_number(url, t, "move");
    s->replies = (int)ferry__url_number(url, t, "replies");
    s->replication = (int)ferry__url_number(url, t, "replication");
    s->replication = s->replication ? s->replication : -1;
    s->trim = (size_t)ferry__url_number(url, t, "trim");
    s->posts_ahead = (size_t)ferry__url_number(url, t, "posts_ahead");
    if (url->path && *url->path && strcmp(url->path, "/") != 0) {
        ferry__why(why, "kafka: no path is expected behind the hosts; ?ns=NAME keeps programs apart");
        return FERRY_INVALID;
    }
    ferry_status status = add_common(s, config, url, why);
    if (status == FERRY_OK)
        status = add_security(s, url, why);
    if (status == FERRY_OK)
        status = add_foreign(s, url, why);
    if (status != FERRY_OK)
        return status;
    for (int role = FERRY__KAFKA_CALLS; role <= FERRY__KAFKA_LISTENER; role++) {
        rd_kafka_conf_t *conf = ferry__kafka_conf(s, config, (ferry__kafka_role)role, "check", NULL, why);
        if (!conf)
            return FERRY_INVALID;
        rd_kafka_conf_destroy(conf);
    }
    return FERRY_OK;
}

void ferry__kafka_settings_done(ferry__kafka_settings *s)
{
    for (size_t i = 0; i < s->count; i++) {
        explicit_bzero(s->pairs[i].value, strlen(s->pairs[i].value));
        ferry__free(s->pairs[i].name);
        ferry__free(s->pairs[i].value);
    }
    ferry__free(s->token_file);
    s->token_file = NULL;
    s->count = 0;
}

/* ---- configurations ---- */

typedef struct pair {
    const char *name, *value;
} pair;

/* Two requests under way at most: what is sent meanwhile goes in one batch with the next. It costs a lone call nothing, and lets 512 in
 * flight do what librdkafka's default, a million, does with half of the broker. */
static const pair calls[] = {{"linger.ms", "0"},
                             {"acks", "1"},
                             {"max.in.flight.requests.per.connection", "2"},
                             {"message.send.max.retries", "0"},
                             {"message.timeout.ms", "30000"},
                             {"queue.buffering.max.messages", "1000000"},
                             {NULL, NULL}};
static const pair posts[] = {{"linger.ms", "0"},
                             {"acks", "all"},
                             {"enable.idempotence", "true"},
                             {"max.in.flight.requests.per.connection", "2"},
                             {"message.timeout.ms", "60000"},
                             {"queue.buffering.max.messages", "1000000"},
                             {NULL, NULL}};
static const pair reader[] = {{"enable.auto.commit", "false"},
                              {"fetch.error.backoff.ms", "10"},
                              {"check.crcs", "false"},
                              {"fetch.wait.max.ms", "500"},
                              {"queued.min.messages", "10000"},
                              {"enable.partition.eof", "false"},
                              {"isolation.level", "read_uncommitted"},
                              {NULL, NULL}};
static const pair member[] = {{"enable.auto.commit", "false"},
                              {"enable.auto.offset.store", "false"},
                              {"auto.offset.reset", "earliest"},
                              {"fetch.error.backoff.ms", "10"},
                              {"queued.min.messages", "1000"},
                              {"fetch.wait.max.ms", "500"},
                              {"debug", "cgrp"},
                              {"log_level", "7"},
                              {"partition.assignment.strategy", "cooperative-sticky"},
                              {"max.poll.interval.ms", "86400000"},
                              {"isolation.level", "read_uncommitted"},
                              {"allow.auto.create.topics", "false"},
                              {NULL, NULL}};

static const pair browser[] = {{"enable.auto.commit", "false"},
                               {"fetch.wait.max.ms", "10"},
                               {"enable.partition.eof", "true"},
                               {"fetch.error.backoff.ms", "10"},
                               {NULL, NULL}};

static const pair subscriber[] = {{"queued.min.messages", "100000"},
                                  {"queued.max.messages.kbytes", "65536"},
                                  {"enable.partition.eof", "true"},
                                  {NULL, NULL}};
static const pair listener[] = {{"enable.auto.commit", "false"},       {"enable.auto.offset.store", "false"},
                                {"auto.offset.reset", "error"},        {"fetch.error.backoff.ms", "10"},
                                {"fetch.wait.max.ms", "500"},          {"isolation.level", "read_uncommitted"},
                                {"allow.auto.create.topics", "false"}, {NULL, NULL}};

/* librdkafka's texts quote values: not those of secrets. */
static bool set(rd_kafka_conf_t *conf, const char *name, const char *value, char *why)
{
    char text[200];
    rd_kafka_conf_res_t res = rd_kafka_conf_set(conf, name, value, text, sizeof text);
    if (res == RD_KAFKA_CONF_OK)
        return true;
    if (res == RD_KAFKA_CONF_UNKNOWN)
        unknown_name(name, why);
    else if (ferry__setting_secret(name) || strstr(name, "pem"))
        ferry__why(why, "kafka.%.60s: this value is not accepted", name);
    else
        ferry__why(why, "kafka.%.60s: %s", name, text);
    return false;
}

static bool set_pairs(rd_kafka_conf_t *conf, const pair *p, char *why)
{
    for (; p->name; p++)
        if (!set(conf, p->name, p->value, why))
            return false;
    return true;
}

static bool set_number(rd_kafka_conf_t *conf, const char *name, int64_t value, char *why)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return set(conf, name, text, why);
}

/* librdkafka sends heartbeats, and goes on with a join, when its main thread comes round: once a second if it has no timer that is
 * shorter. The one for statistics, which nobody takes, is such a timer. */
enum { TICK_MS = 200 };

static bool set_sizes(rd_kafka_conf_t *conf, const ferry__config *config, bool producer, char *why)
{
    int64_t most = (int64_t)config->max_message + 65536;
    most = most < 1000000 ? 1000000 : most > 1000000000 ? 1000000000 : most;
    if (producer)
        return set_number(conf, "message.max.bytes", most, why);
    return set_number(conf, "fetch.message.max.bytes", most, why);
}

static void set_partitioner(rd_kafka_conf_t *conf, ferry__kafka_picker *pick)
{
    rd_kafka_topic_conf_t *topic = rd_kafka_topic_conf_new();
    rd_kafka_topic_conf_set_partitioner_cb(topic, pick);
    rd_kafka_conf_set_default_topic_conf(conf, topic); /* before settings of topics, which would make it void */
}

rd_kafka_conf_t *ferry__kafka_conf(const ferry__kafka_settings *s, const ferry__config *config, ferry__kafka_role role,
                                   const char *group, ferry__kafka_picker *pick, char *why)
{
    static const pair *const roles[] = {calls, posts, reader, member, browser, member, listener};
    bool joins = role == FERRY__KAFKA_MEMBER || role == FERRY__KAFKA_SUBSCRIBER;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    bool producer = role == FERRY__KAFKA_CALLS || role == FERRY__KAFKA_POSTS;
    if (producer && pick)
        set_partitioner(conf, pick);
    bool good = set_pairs(conf, roles[role], why) && set_sizes(conf, config, producer, why);
    if (role == FERRY__KAFKA_SUBSCRIBER || role == FERRY__KAFKA_LISTENER)
        good = good && set_pairs(conf, subscriber, why);
    if (joins)
        good = good && set(conf, "group.id", group, why) &&
               set_number(conf, "session.timeout.ms", s->session_ms, why) &&
               set_number(conf, "heartbeat.interval.ms", s->heartbeat_ms, why) &&
               set_number(conf, "statistics.interval.ms", s->heartbeat_ms < TICK_MS ? s->heartbeat_ms : TICK_MS, why);
    for (size_t i = 0; good && i < s->count; i++)
        good = set(conf, s->pairs[i].name, s->pairs[i].value, why);
    rd_kafka_conf_set_log_cb(conf, NULL);
    if (good)
        return conf;
    rd_kafka_conf_destroy(conf);
    return NULL;
}
