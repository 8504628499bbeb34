/* event.h - a subscription: what a group (group.h) has in addition when it takes the events of a domain.
 *
 * With a group's name: a consumer of NS.DOMAIN.GROUP that is a member for the events of the domain and for the box's posts and retries
 * at once. Where no member ever committed, the start is chosen by the first one for all partitions and committed before it joins: so
 * "new" means new from then on, whoever has the partition when the event comes. Order per key and what is done are kept as for posts
 * (part.h), but nothing is claimed: a killed member's last events come again.
 *
 * Without: a consumer in no group, which reads every partition from an offset of its own choice. Nothing is committed.
 *
 *     prepare job: topics; ends, start, committed (plan) --> joins, or starts to read --> ready
 *     events' own queue --> ready[2] -- credit --> handlers          every partition past the end in the plan --> caught up
 *     seek: job (plan) --> partitions read from there, committed     --> ready, caught up
 *     offset gone: job (what is the first one now, was it purged) --> goes on behind the purge, or broken
 *
 * The events come by a queue of their own, from which no more is taken than there is room for above: librdkafka stops fetching when it
 * holds enough. Pausing would throw away what was fetched. */
#ifndef FERRY_KAFKA_EVENT_H
#define FERRY_KAFKA_EVENT_H

#include "backends/kafka/group.h"

typedef struct ferry__event_wish {
    int     from; /* as in ferry__wish */
    int64_t time_ms;
    char   *position;
} ferry__event_wish;

typedef struct ferry__kafka_feed {
    ferry__kafka_group *group;
    ferry__kafka_tap    tap; /* the events */
    ferry__kafka_part  *last;
    ferry__event_wish   wish;
    ferry__event_wish   noted, passed; /* seek; noted: the link's lock */
    bool                seek_noted, seek_passed;
    bool                broadcast;
    bool                started;  /* broadcast: it reads */
    bool                asking;   /* a job is under way */
    bool                broken, ready, caught_up; /* the core was told */
    bool                tell_ready, tell_caught_up, tell_broken;
    unsigned            ups;
    size_t              unacked, sent; /* events done that no commit says so yet; of them in the commit under way */
    int64_t             acked_ms;   /* when there were none, or the last commit was answered */
    int64_t             turn_at_ms; /* queues of partitions are turned to ours again; INT64_MAX: all are */
    int64_t             empty_ms; /* since when we have no partition; 0: we have */
    ferry_status        status;
    char                why[FERRY_WHY_SIZE];
    int                 count;    /* of partitions, when start and ends were looked at */
    int64_t            *start, *end;
    char                domain[132], topic[288];
} ferry__kafka_feed;

/* What a job finds out. */
typedef struct ferry__feed_plan {
    ferry__event_wish wish;
    bool              broadcast, seek;
    int               count;
    int64_t          *start, *end;
    ferry_status      status; /* of the wish: not OK: broken */
    char              why[FERRY_WHY_SIZE];
    char              topic[288], box[256];
} ferry__feed_plan;

/* A group without one: a broadcast, which is in no group. */
static inline bool ferry__feed_alone(const ferry__kafka_group *g)
{
    return g->feed && g->feed->broadcast;
}

/* event.c */
ferry__kafka_feed *ferry__feed_new(ferry__kafka *k, const ferry__source *source); /* NULL: no memory */
void ferry__feed_free(ferry__kafka_feed *s);
void ferry__feed_join(ferry__kafka_group *g, ferry__kafka_feed *s);
void ferry__feed_prepared(ferry__kafka_group *g, ferry__feed_plan *plan);
void ferry__feed_take_plan(ferry__kafka_feed *s, ferry__feed_plan *plan);
void ferry__feed_stop(ferry__kafka_group *g);
void ferry__feed_drop_queue(ferry__kafka_feed *s);
void ferry__feed_serve(ferry__kafka_group *g);
int64_t ferry__feed_next_ms(const ferry__kafka_group *g);
bool ferry__feed_poll(ferry__kafka_group *g);
bool ferry__feed_error(ferry__kafka_group *g, rd_kafka_event_t *event); /* true: it was about the place of a partition */
void ferry__feed_tell(ferry__kafka *k);                                 /* in pump */
ferry__kafka_part *ferry__feed_part(ferry__kafka_group *g, int32_t partition); /* an event came of it; NULL: not ours */
int64_t ferry__feed_start_of(const ferry__kafka_feed *s, int32_t partition);
void ferry__feed_turn(ferry__kafka_group *g, ferry__kafka_part *p); /* its events come by our queue */
bool ferry__feed_late(ferry__kafka_group *g); /* commits do not get through: no more is handed up, lest too much is handled twice */
bool ferry__feed_attached(const ferry__kafka_group *g); /* it has the partitions it gets for now */

/* event_move.c: seek, and offsets that are gone. */
void ferry__feed_note_seek(ferry__kafka_feed *s, const ferry__wish *to); /* link's lock */
void ferry__feed_pass_seek(ferry__kafka_feed *s);                        /* link's lock */
void ferry__feed_serve_seek(ferry__kafka_group *g);
void ferry__feed_restart(ferry__kafka_group *g, ferry__kafka_part *p, int64_t offset); /* it is read from there */
void ferry__feed_gone(ferry__kafka_group *g, ferry__kafka_part *p);                    /* the offset it would read next is gone */

/* event_start.c: jobs. Those with a plan run on the helper. */
ferry__feed_plan *ferry__feed_plan_new(const ferry__kafka_feed *s, const ferry__event_wish *wish, bool seek);
void ferry__feed_plan_free(ferry__feed_plan *plan);
ferry_status ferry__feed_create(ferry__kafka *k, const ferry__feed_plan *plan, const char *box, char *why);
ferry_status ferry__feed_resolve(ferry__kafka *k, rd_kafka_t *rk, ferry__feed_plan *plan, char *why);
rd_kafka_topic_t *ferry__feed_topic(rd_kafka_t *rk, const char *topic); /* with an error, not a skip, where an offset is gone */
void ferry__event_target(ferry__kafka *k, ferry__kafka_target *t); /* makes the topic of events that are sent */
bool ferry__event_wish_set(ferry__event_wish *to, int from, int64_t time_ms, const char *position); /* false: no memory */

#endif
