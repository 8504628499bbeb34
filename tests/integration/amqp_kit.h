/* amqp_kit.h - what the cases on a RabbitMQ of their own share: the broker, handles to it, a load, and its ledger. */
#ifndef FERRY_TEST_AMQP_KIT_H
#define FERRY_TEST_AMQP_KIT_H

#include "test.h"

#include <pthread.h>
#include <stdatomic.h>

enum { AMQP_SOON_MS = 20000, AMQP_LATE_MS = 50, AMQP_MOST = 1 << 23 };

/* ---- The broker ----------------------------------------------------------------------------------------------------- */

const char *amqp_start(void);       /* one of its own; "127.0.0.1:PORT". Skips the case where there is none */
const char *amqp_tls_address(void); /* "localhost:PORT" of the same one */
void amqp_stop(void);
void amqp_broker(const char *arguments);     /* of tools/brokers */
const char *amqp_ctl(const char *arguments); /* of rabbitmqctl; what it prints */

/* ---- Handles -------------------------------------------------------------------------------------------------------- */

ferry *amqp_open(const char *format, ...) FERRY_PRINTF(1, 2); /* a URL */
ferry *amqp_ready(const char *address); /* as ferry:secret, in the virtual host ferry, with the options of amqp_more */
extern const char *amqp_more;
ferry *amqp_serve(const char *address); /* calc.echo, calc.note (posts of a load), calc.count (its calls) */
ferry *amqp_serve_on(ferry *f);
ferry_status amqp_get(ferry *c, int timeout_ms); /* calc.echo */
int amqp_descriptors(void);                      /* that this process has open */

/* ---- A load: 64 calls in flight, half of them posts that must not run twice, and a stream of confirmed posts --------------- */

typedef struct amqp_load {
    ferry *c;
    pthread_t callers[8], poster, clock;
    atomic_bool over;
    atomic_int wrong, ok, failed, called, posted;
    atomic_int latest_ms,
        slip_ms; /* the latest end behind its deadline; how late this machine wakes a thread meanwhile */
    atomic_uchar ran[AMQP_MOST];   /* times that a call was handled */
    atomic_uchar noted[AMQP_MOST]; /* likewise a post */
    unsigned char confirmed[AMQP_MOST];
    atomic_uchar said[AMQP_MOST]; /* outcome of a call, 1 + */
    atomic_uchar idempotent[AMQP_MOST];
} amqp_load;

extern amqp_load amqp_the_load;
void amqp_begin_load(ferry *c);
void amqp_end_load(void); /* and every outcome was true, every call ended in time, every confirmed post was handled */

#endif
