/* backends.c - the table of transports: the only list of their names. */
#include "backends/file/file.h"
#include "backends/mem/mem.h"
#include "backends/wrap.h"
#include "link/backend.h"

#ifdef FERRY_WITH_REDIS
#include "backends/redis/redis.h"
#endif
#ifdef FERRY_WITH_AMQP
#include "backends/amqp/amqp.h"
#endif
#ifdef FERRY_WITH_KAFKA
#include "backends/kafka/kafka.h"
#endif

const ferry__backend *const ferry__backends[] = {
    &ferry__file_backend,  &ferry__mem_backend,
#ifdef FERRY_WITH_REDIS
    &ferry__redis_backend, &ferry__rediss_backend, &ferry__redis_unix_backend,
#endif
#ifdef FERRY_WITH_AMQP
    &ferry__amqp_backend,  &ferry__amqps_backend,
#endif
#ifdef FERRY_WITH_KAFKA
    &ferry__kafka_backend, &ferry__kafkas_backend,
#endif
    &ferry__trace_backend, &ferry__fault_backend,  NULL,
};

const char *const ferry__backends_absent[] = {
#ifndef FERRY_WITH_REDIS
    "redis", "rediss", "redis+unix",
#endif
#ifndef FERRY_WITH_AMQP
    "amqp", "amqps",
#endif
#ifndef FERRY_WITH_KAFKA
    "kafka", "kafkas",
#endif
    NULL,
};
