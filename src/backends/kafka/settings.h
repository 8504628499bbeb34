/* settings.h - the URL's options, and how they become settings of librdkafka. */
#ifndef FERRY_KAFKA_SETTINGS_H
#define FERRY_KAFKA_SETTINGS_H

#include "link/backend.h"

#include <librdkafka/rdkafka.h>

extern const ferry__setting ferry__kafka_setting_table[];

enum { FERRY__KAFKA_PREFIX = 6 /* of "kafka.NAME" */, FERRY__KAFKA_PAIRS = 48 };

typedef struct ferry__kafka_settings {
    struct {
        char *name, *value;
    } pairs[FERRY__KAFKA_PAIRS]; /* for every client, in this order */
    size_t  count;
    int     session_ms, heartbeat_ms, move_ms;
    int     replies, replication; /* -1: what the broker says */
    size_t  posts_ahead, trim;
    char   *token_file;
    bool    verified; /* the broker's certificate, where there is one */
} ferry__kafka_settings;

/* INVALID with the reason, without secrets: also what librdkafka says against a name or a value. */
ferry_status ferry__kafka_settings_read(ferry__kafka_settings *s, const ferry__config *config, const ferry__url *url,
                                        char *why);
void         ferry__kafka_settings_done(ferry__kafka_settings *s);

/* What a client is for. */
typedef enum ferry__kafka_role {
    FERRY__KAFKA_CALLS,
    FERRY__KAFKA_POSTS,
    FERRY__KAFKA_READER,
    FERRY__KAFKA_MEMBER,
    FERRY__KAFKA_BROWSER,
    FERRY__KAFKA_SUBSCRIBER, /* a member of a group of subscribers */
    FERRY__KAFKA_LISTENER    /* of a broadcast: in no group */
} ferry__kafka_role;

typedef int32_t ferry__kafka_picker(const rd_kafka_topic_t *topic, const void *key, size_t length, int32_t count,
                                    void *opaque, void *note);

/* A configuration of that role; NULL with the reason. group: MEMBER only. pick: the partition of a message, producers only. */
rd_kafka_conf_t *ferry__kafka_conf(const ferry__kafka_settings *s, const ferry__config *config, ferry__kafka_role role,
                                   const char *group, ferry__kafka_picker *pick, char *why);

#endif
