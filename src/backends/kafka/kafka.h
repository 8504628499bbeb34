/* kafka.h - the state of one handle on a Kafka cluster, and who may touch what.
 *
 *     send, settle, credit, …  (link's lock)   noted  ---+
 *     flush                    (link's lock)   passed <--+    the driver's from here on
 *     step                     (driver alone)  produce, commit, events from librdkafka's one queue -> news
 *     pump                     (link's lock)   upcalls
 *
 * Invariants
 * 1. librdkafka is called by the driver (step, and what step calls) and by the helper thread (job.h), never under the link's lock.
 *    What blocks (metadata, watermarks, committed offsets, creating topics, destroying a client) is a job of the helper.
 * 2. What librdkafka has to say comes out of a queue for each client, and they are not forwarded to one: the events of a consumer do
 *    not say whose they are, one whose own queue nobody polls leaves its group (2.1 and later), and a delivery report that is taken from
 *    another producer's queue is booked on that one, until an assertion of librdkafka ends the process (2.0.2). The event callback of
 *    each queue rings the bell that `wait` sleeps on. So `wake` is a bell too, and safe in a signal handler; rd_kafka_queue_yield takes
 *    a mutex and is not. The queue of the producer of calls rings nothing: its delivery reports come just before the answers and are
 *    taken with them, or by a timer; else each call would wake us twice.
 * 3. A message for librdkafka carries one `ferry__kafka_note` as its opaque: it lives until the delivery report.
 * 4. "noted" fields are guarded by the link's lock, all others are the driver's. */
#ifndef FERRY_KAFKA_KAFKA_H
#define FERRY_KAFKA_KAFKA_H

#include "backends/kafka/job.h"
#include "backends/kafka/known.h"
#include "backends/kafka/settings.h"
#include "base/bell.h"
#include "base/list.h"
#include "link/backend.h"

typedef struct ferry__kafka       ferry__kafka;
typedef struct ferry__kafka_group ferry__kafka_group;
typedef struct ferry__kafka_part  ferry__kafka_part;
struct ferry__kafka_feed;

extern const ferry__backend   ferry__kafka_backend, ferry__kafkas_backend; /* the second by TLS */
extern const ferry__abilities ferry__kafka_more;

/* A queue of librdkafka's that we poll. Its callback rings our bell and sets `rung`, so that a turn asks only where there is something:
 * each question takes a lock. */
typedef struct ferry__kafka_tap {
    struct ferry__kafka *k;
    rd_kafka_queue_t    *queue;
    atomic_bool          rung;
} ferry__kafka_tap;

/* A topic that we produce to. One per name and producer, kept until close. */
typedef struct ferry__kafka_topic {
    ferry__node       node;
    rd_kafka_topic_t *handle;
    rd_kafka_t       *producer;
    char              name[];
} ferry__kafka_topic;

/* A name the core sends to. */
typedef struct ferry__kafka_target {
    ferry__node         node;
    ferry__target      *target;
    ferry__kafka_topic *topic; /* NULL until it is known to exist */
    bool                asked; /* a question about it is under way */
    int64_t             asked_ms;
    unsigned            open;   /* questions without an answer, those that were given up among them */
    bool                listed; /* in `questions` */
    struct ferry__kafka_target *next_asked;
    bool                probed; /* the core waits for an answer */
    ferry__frames       held;   /* until its topic is known to exist */
    char                topic_name[288];
    char                group_name[256];
} ferry__kafka_target;

/* What a produced message is for. */
typedef enum ferry__kafka_purpose {
    FERRY__KAFKA_SENT,   /* a call, post or event of ours: the core waits for its outcome */
    FERRY__KAFKA_ANSWER, /* a reply: its request is done once it is there */
    FERRY__KAFKA_MOVED,  /* a copy in a retry, dead or own topic: the original is done once it is there */
    FERRY__KAFKA_MARKED, /* "done", for the server that has the partition now */
    FERRY__KAFKA_REMOVED /* a tombstone for an administrator */
} ferry__kafka_purpose;

typedef struct ferry__kafka_note {
    ferry__node          node;    /* while it waits to be produced */
    ferry__kafka_purpose purpose;
    ferry__frame        *frame;   /* SENT: the core's; MOVED: the original */
    ferry__kafka_target *target;
    ferry__kafka_part   *part;    /* ANSWER, MOVED: where the original came from */
    uint64_t             place;   /* its offset and epoch there (part.h) */
    uint32_t             spread;  /* decides the partition */
    bool                 flies;   /* counted in `flying` */
    int64_t              due_ms;  /* MOVED to retry: when, wall clock; to the dead letters: now */
    ferry__admin        *admin;
    size_t               length;  /* MOVED to the dead letters: the record, in `room` behind the box's name */
    char                 room[];
} ferry__kafka_note;

/* A source the core listens on. */
typedef struct ferry__kafka_intake {
    ferry__node         node;
    ferry__source      *source; /* NULL: unlistened; the link's lock */
    int                 noted;  /* credit since the last flush; the link's lock */
    bool                taken_back; /* all credit before `noted`; the link's lock */
    ferry__kafka_group *group;
    ferry__lane         lane;
    int                 credit;
    int                 claimed; /* credit used for frames that wait for a claim */
    int                 beyond;  /* those for which it was taken back meanwhile */
    bool                closed;
    struct ferry__kafka_feed *feed; /* EVENTS: event.h; ours to free */
    char                service[];        /* EVENTS: the box */
} ferry__kafka_intake;

struct ferry__kafka {
    ferry__up                   *up;
    const ferry__config         *config;
    ferry__kafka_settings        set;
    char                         replies_name[128];
    int                          event; /* for foreign loops; -1: none */
    ferry__bell                  bell;
    unsigned                     seen;

    /* Under the link's lock. */
    struct {
        ferry__frames frames;   /* sent: tag[0] the target */
        ferry__list   replies;  /* notes */
        ferry__frames settled, returned;
        ferry__list   moved;    /* notes: retries and burials */
        ferry__list   intakes;  /* new ones */
        ferry__target *probes;
        ferry__admin  *admins;
    } noted, passed;
    ferry__list  targets;
    ferry__list  intakes;     /* all that are listened to; also read by flush and pump */
    ferry__source *replies_to;

    /* The driver's. */
    ferry__kafka_tap   calls_tap, posts_tap, reader_tap, admin_tap;
    ferry__list        spare;         /* notes to be used again */
    size_t             spares;
    size_t             flying;        /* messages of `calls` without a delivery report */
    rd_kafka_t        *calls, *posts; /* producers */
    rd_kafka_t        *reader;        /* of replies */
    rd_kafka_t        *browser;       /* of dead letters; it and the boxes are the helper's */
    struct ferry__dead_box *boxes;
    rd_kafka_topic_t  *reader_topic;
    int32_t            reader_partition;
    ferry__kafka_jobs  jobs;
    ferry__list        topics, groups;
    ferry__kafka_topic *replies_topic;
    ferry__kafka_known *known;      /* made with the first post that comes */
    bool               more;        /* events are left for the next turn */
    bool               closing;
    bool               starting;    /* the job that connects is under way */
    ferry__state       state;
    ferry_status       state_status;
    char               state_why[FERRY_WHY_SIZE];
    bool               state_news;
    int                tries;
    unsigned           ups;         /* how often the link came up */
    int64_t            start_at_ms; /* INT64_MAX: not to be started */
    int64_t            now_ms;
    char              *scratch;
    size_t             scratch_room;
    ferry__kafka_target *questions;   /* targets that were asked about */
    size_t             asking;      /* admin questions that librdkafka has */

    /* News for pump. */
    ferry__frames arrived; /* owner: the intake, NULL for replies */
    ferry__frames outcomes;
    ferry__list   presences; /* probe.c */
    ferry__admin *answers;
    size_t        settled_now, unsettled_now, lost_now;
};

/* link.c: the connection. */
void ferry__kafka_start(ferry__kafka *k);                                   /* connects, or connects again */
void ferry__kafka_lost(ferry__kafka *k, ferry_status status, const char *why); /* the brokers are away */
void ferry__kafka_event(ferry__kafka *k, rd_kafka_event_t *event);
bool ferry__kafka_no_topic(rd_kafka_resp_err_t err); /* it is not there, or not any more */
void ferry__kafka_trouble(ferry__kafka *k, rd_kafka_event_t *event); /* an error that concerns no message */
void ferry__kafka_tap_open(ferry__kafka *k, ferry__kafka_tap *tap, rd_kafka_queue_t *queue, bool rings); /* takes the queue */
void ferry__kafka_tap_close(ferry__kafka_tap *tap);
rd_kafka_event_t *ferry__kafka_tap_next(ferry__kafka_tap *tap); /* NULL: nothing */
bool ferry__kafka_poll(ferry__kafka *k); /* some events; true: more are left */
rd_kafka_t *ferry__kafka_posts(ferry__kafka *k); /* the durable producer, made on first use */
void ferry__kafka_set_state(ferry__kafka *k, ferry__state state, ferry_status status, const char *why);
ferry_status ferry__kafka_status(rd_kafka_resp_err_t err);

/* send.c: producing and delivery reports. */
int32_t ferry__kafka_pick(const rd_kafka_topic_t *topic, const void *key, size_t length, int32_t count, void *opaque,
                          void *note);
ferry__kafka_topic *ferry__kafka_topic_get(ferry__kafka *k, rd_kafka_t *producer, const char *name);
void ferry__kafka_send_frames(ferry__kafka *k);
void ferry__kafka_send_replies(ferry__kafka *k);
void ferry__kafka_send_moved(ferry__kafka *k);
void ferry__kafka_send_mark(ferry__kafka *k, ferry__kafka_part *p, int64_t offset); /* counted as settled when it is there */
void ferry__kafka_target_found(ferry__kafka *k, ferry__kafka_target *t, bool exists);
void ferry__kafka_refuse(ferry__kafka *k, ferry__frame *frame, ferry__fate fate, ferry_status status);
void ferry__kafka_delivered(ferry__kafka *k, const rd_kafka_message_t *m);
void ferry__kafka_note_free(ferry__kafka_note *n);
void ferry__kafka_drop_spare(ferry__kafka *k);

/* probe.c: who is alive, and does a topic exist. */
void ferry__kafka_probe(ferry__kafka *k, ferry__kafka_target *t);
void ferry__kafka_probe_again(ferry__kafka *k); /* what is not answered in time */
int64_t ferry__kafka_probe_next_ms(const ferry__kafka *k);
void ferry__kafka_probe_event(ferry__kafka *k, rd_kafka_event_t *event);
void ferry__kafka_tell_presences(ferry__kafka *k); /* in pump */
ferry__kafka_target *ferry__kafka_target_of(ferry__kafka *k, ferry__target *target); /* link's lock; NULL: no memory */

/* name.c: topics and groups; suffix may be NULL. And back, without the namespace. */
void ferry__kafka_name(const ferry__kafka *k, const char *name, const char *suffix, char *to, size_t size);
void ferry__kafka_name_back(const char *name, size_t length, char *to, size_t size);

/* token.c; any thread */
void ferry__kafka_token(ferry__kafka *k, rd_kafka_t *rk);

/* close.c */
void ferry__kafka_close(void *self);
void ferry__kafka_abandon(void *self);

/* admin.c; in flush */
void ferry__kafka_admins(ferry__kafka *k);

#endif
