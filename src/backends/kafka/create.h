/* create.h - topics, made explicitly and awaited. On the helper thread: all of it blocks. */
#ifndef FERRY_KAFKA_CREATE_H
#define FERRY_KAFKA_CREATE_H

#include "backends/kafka/kafka.h"

/* The topics of a service, "NS.SERVICE": calls, posts, retry, dead. Those that exist stay as they are. */
ferry_status ferry__kafka_create_service(ferry__kafka *k, const char *name, char *why);
/* The topic of answers; its number of partitions. */
ferry_status ferry__kafka_create_replies(ferry__kafka *k, int *partitions, char *why);
/* How many partitions a topic has; 0: there is none; -1: no answer. */
int ferry__kafka_partitions(rd_kafka_t *rk, const char *topic, int ms);

#endif
