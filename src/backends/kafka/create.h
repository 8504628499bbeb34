/* create.h - topics, made explicitly and awaited. On the helper thread: all of it blocks. */
#ifndef FERRY_KAFKA_CREATE_H
#define FERRY_KAFKA_CREATE_H

#include "backends/kafka/kafka.h"

/* The topics of a service, "NS.SERVICE": calls (not those of a box), posts, retry, dead. Those that exist stay as they are. */
ferry_status ferry__kafka_create_service(ferry__kafka *k, const char *name, bool box, char *why);
ferry_status ferry__kafka_create_dead(ferry__kafka *k, const char *topic, char *why);

typedef struct ferry__kafka_keep {
    unsigned partitions; /* 0 in any: the config's */
    int64_t  ms, bytes;  /* of the domain */
} ferry__kafka_keep;
/* The topic of a domain's events. */
ferry_status ferry__kafka_create_domain(ferry__kafka *k, ferry__kafka_keep keep, const char *topic, bool *made,
                                        char *why);
/* The topic of answers; its number of partitions. */
ferry_status ferry__kafka_create_replies(ferry__kafka *k, int *partitions, char *why);
/* How many partitions a topic has; 0: there is none; -1: no answer. */
int ferry__kafka_partitions(rd_kafka_t *rk, const char *topic, int ms);

#endif
