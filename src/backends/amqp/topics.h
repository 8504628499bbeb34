/* topics.h - a question about a domain, as steps; inside topics*.c only. */
#ifndef FERRY_AMQP_TOPICS_H
#define FERRY_AMQP_TOPICS_H

#include "backends/amqp/event_stream.h"

typedef enum ferry__amqp_op {
    FERRY__AMQP_LOOK_EXCHANGE,
    FERRY__AMQP_MAKE_EXCHANGE,
    FERRY__AMQP_MAKE_LOG,
    FERRY__AMQP_BIND_LOG,
    FERRY__AMQP_DROP_EXCHANGE,
    FERRY__AMQP_COUNT,
    FERRY__AMQP_PURGE,
    FERRY__AMQP_DROP_QUEUE,
    FERRY__AMQP_READ_END,
    FERRY__AMQP_READ_FIRST,
    FERRY__AMQP_LOOK_MEMBERS,
    FERRY__AMQP_LOOK_TOKEN,
    FERRY__AMQP_READ_TOKEN
} ferry__amqp_op;

typedef struct ferry__amqp_step {
    struct ferry__amqp_step *next;
    ferry__amqp_op           op;
    unsigned     row, part;
    char         name[FERRY__AMQP_NAME];
} ferry__amqp_step;

typedef struct ferry__amqp_row { /* a group, or a broadcast */
    struct ferry__amqp_row *next;
    unsigned    number, feed; /* feed: whose it is, if ours */
    char       *group;        /* NULL: a broadcast */
    int64_t     lag, open; /* open: what the broker had given us when it counted */
    unsigned    members;
    bool        read; /* its token was: */
    uint64_t    at;
} ferry__amqp_row;

typedef struct ferry__amqp_topic ferry__amqp_topic;
struct ferry__amqp_topic {
    ferry__admin  *q;      /* NULL: a domain is made, to publish to it */
    ferry__target *target; /* that one */
    ferry__amqp_step         *steps, **steps_end; /* the first is being answered */
    ferry__amqp_row          *rows, **rows_end;
    unsigned      number;
    bool          failed, ending;
    int64_t       quiet_ms; /* when what is read has come to its end */
    uint64_t      first, end; /* of the log */
};

/* topics_plan.c */
bool ferry__amqp_topic_plan(ferry__amqp *a, ferry__amqp_topic *j); /* false: it means no group that is known */
void ferry__amqp_topic_add_domain(const ferry__amqp *a, ferry__amqp_topic *j);

/* topics_log.c */
void ferry__amqp_topic_say_log(ferry__amqp *a, const ferry__amqp_step *s);

#endif
