/* topics.h - questions about domains, and how far groups are. On the helper thread: all of it blocks. */
#ifndef FERRY_KAFKA_TOPICS_H
#define FERRY_KAFKA_TOPICS_H

#include "backends/kafka/kafka.h"

/* How far a source is, as its driver knew when the question came. */
typedef struct ferry__lag_source {
    char domain[132], group[256]; /* "": a broadcast */
    int  count;
    struct {
        int32_t partition;
        int64_t offset;
    } parts[];
} ferry__lag_source;

ferry__lag_source *ferry__domains_source(ferry__kafka *k, const ferry__admin *a); /* in flush; NULL: no source, or no memory */
void ferry__domains_ask(ferry__kafka *k, ferry__admin *a, const ferry__lag_source *source);

/* offsets.c. Of all partitions of a topic: timestamp -1 the end, -2 the first, else the first of that time or later, -1: none. */
rd_kafka_resp_err_t ferry__domains_offsets(rd_kafka_t *rk, const char *topic, int count, int64_t timestamp,
                                           int64_t *to);
/* What a group has committed, -1: nothing, without being its member. */
rd_kafka_resp_err_t ferry__domains_committed(ferry__kafka *k, const char *group, const char *topic, int count,
                                             int64_t *to);
/* The same for a group without members. */
rd_kafka_resp_err_t ferry__domains_commit(ferry__kafka *k, const char *group, const char *topic, int count,
                                          const int64_t *to);
/* Deletes all records below these. */
rd_kafka_resp_err_t ferry__domains_trim(ferry__kafka *k, const char *topic, int count, const int64_t *to);
/* The answer to an administrative request; NULL: none in time. */
rd_kafka_event_t *ferry__domains_await(ferry__kafka *k, rd_kafka_queue_t *queue);
rd_kafka_AdminOptions_t *ferry__domains_options(ferry__kafka *k, rd_kafka_admin_op_t op);
/* The group whose offsets say how far an administrator purged a domain. */
void ferry__domains_purged_name(const ferry__kafka *k, const char *domain, char *to, size_t size);

#endif
