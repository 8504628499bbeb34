/* amqp.h - the transport over RabbitMQ, as the table of transports sees it. Its parts are in state.h. */
#ifndef FERRY_AMQP_AMQP_H
#define FERRY_AMQP_AMQP_H

#include "link/backend.h"

extern const ferry__backend ferry__amqp_backend;
extern const ferry__backend ferry__amqps_backend;

#endif
