/* group.h - one service that we serve: a consumer in the service's group, the partitions it has, and what waits for handlers.
 *
 *   PREPARING -- topics exist, consumer made --> MEMBER -- both sources unlistened --> LEAVING -- posts settled, last commit --> CLOSING
 *       |                                          |  ^                                                                            |
 *       |  unlistened                   assign: committed offsets are read (job), then incremental_assign                consumer closed
 *       +------------------------------------------+--+--- revoke: posts settle (`move`), commit, incremental_unassign             |
 *                                                                                                                                GONE
 * A message on its way to a handler:
 *
 *   event --> ready[lane] -- credit --> UP --> claims_new --> claims_sent -- commit acknowledged --> arrived --> pump
 *                |                       |   (posts, and calls that may run only once)                ^
 *   retry: later, until due              +------------------------------------------------------------+ all others
 *
 * One commit at a time; what is to be committed meanwhile goes with the next. Urgent are claims, settled posts, and partitions that
 * leave; handled calls wait for company. What a leaving partition still has in handlers stays with us and is committed as GIVEN; posts
 * are waited for a while before, so that their order holds. */
#ifndef FERRY_KAFKA_GROUP_H
#define FERRY_KAFKA_GROUP_H

#include "backends/kafka/kafka.h"
#include "backends/kafka/part.h"

#include <pthread.h>

enum { FERRY__GROUP_CALLS, FERRY__GROUP_POSTS, FERRY__GROUP_RETRY, FERRY__GROUP_EVENTS, FERRY__GROUP_TOPICS };
enum { FERRY__GROUP_LANES = 3 /* calls, posts and retries, events */ };

typedef enum ferry__group_state {
    FERRY__GROUP_PREPARING,
    FERRY__GROUP_MEMBER,
    FERRY__GROUP_LEAVING,
    FERRY__GROUP_CLOSING,
    FERRY__GROUP_GONE
} ferry__group_state;

struct ferry__kafka_group {
    ferry__node          node;
    ferry__kafka        *k;
    ferry__group_state   state;
    ferry__kafka_intake *intakes[FERRY__GROUP_LANES]; /* NULL: not listened to */
    struct ferry__kafka_feed *feed; /* of a subscription: event.h; NULL: a service */
    bool                 box;           /* the group of a subscription: it takes no calls */
    char                 name[256];
    char                 topics[FERRY__GROUP_TOPICS][288]; /* "": it has none of that */
    rd_kafka_topic_t    *handles[FERRY__GROUP_TOPICS];
    rd_kafka_t          *rk;
    ferry__kafka_tap     tap; /* the consumer's own queue */
    ferry__list          parts;
    ferry__frames        ready[FERRY__GROUP_LANES];
    ferry__frames        later; /* by due time, which stands in deadline_ms */
    ferry__frames        claims_new, claims_sent;
    ferry__frames        given; /* given.c; owner: its server was missed once */
    char                 member[FERRY__PART_MEMBER]; /* our id in the group */
    bool                 asking; /* who is in the group */
    int64_t              watch_at_ms;
    size_t               posts_held;    /* UP, or settled and not committed */
    size_t               settled_new, settled_sent;
    bool                 committing, urgent;
    struct {
        pthread_mutex_t door; /* held while a commit is passed to librdkafka, and while one of the others changes */
        bool            busy, revoked;
        int64_t         heard_ms;
    } phase; /* phase.c */
    size_t               dones;         /* calls handled since the last commit */
    size_t               calls_up;      /* with handlers */
    size_t               streak;        /* calls handled since a handler was long */
    int64_t              moved_ms;      /* when one was handled, or the first handed up */
    int64_t              commit_at_ms;  /* INT64_MAX: nothing waits */
    int64_t              not_before_ms; /* after a commit that failed */
    bool                 preparing;     /* its job is under way */
    int64_t              prepare_at_ms;
    bool                 assigning;     /* its job is under way */
    rd_kafka_topic_partition_list_t *revoking;
    int64_t              revoke_by_ms;
    bool                 last_commit;   /* of what is revoked, or of all when leaving: it was sent */
    bool                 last_failed;   /* and not accepted */
    int64_t              last_by_ms;    /* until when it is tried again; 0: not tried yet */
    bool                 holds_posts;   /* leaving: it keeps partitions of posts for a while */
    bool                 assigned;      /* once at least, see serve_leave */
    int64_t              leave_by_ms;
    bool                 destroying;
    int64_t              trim_at_ms;
    bool                 remaking; /* topics; its job is under way */
};

/* group.c */
ferry__kafka_group *ferry__group_new(ferry__kafka *k, const char *service); /* NULL: no memory */
ferry__kafka_part  *ferry__group_part(ferry__kafka_group *g, int topic, int32_t partition, bool make);
void ferry__group_join(ferry__kafka_group *g, ferry__kafka_intake *in);
bool ferry__group_poll(ferry__kafka_group *g); /* true: events are left */
void ferry__group_event(ferry__kafka_group *g, rd_kafka_event_t *event); /* takes it */
void ferry__group_drop_queue(ferry__kafka_group *g);
void ferry__group_serve(ferry__kafka_group *g);           /* all that is due */
int64_t ferry__group_next_ms(ferry__kafka_group *g); /* INT64_MAX: nothing */
void ferry__group_free(ferry__kafka_group *g);
void ferry__group_drop(ferry__kafka_group *g, const ferry__kafka_part *p); /* its frames that wait */
void ferry__group_put_back(ferry__kafka_group *g, ferry__frame *f);        /* not begun after all */

bool ferry__group_must_wait(const ferry__frame *f); /* for a commit that claims it */
void ferry__group_ready(ferry__kafka_group *g, ferry__frame *f); /* one that waits no longer */

/* given.c: messages that stayed with the last owner of a partition. */
void ferry__given_serve(ferry__kafka_group *g);
void ferry__given_members(ferry__kafka_group *g, rd_kafka_event_t *event);
void ferry__given_mark(ferry__kafka_group *g, ferry__kafka_part *p, int64_t offset);

/* settle.c: the end of received frames. */
void ferry__kafka_settle_all(ferry__kafka *k);
void ferry__kafka_done(ferry__kafka *k, ferry__kafka_part *p, uint64_t place);

/* member.c: preparing, joining, partitions that come and go, leaving. */
void ferry__member_prepare(ferry__kafka_group *g);
void ferry__member_serve(ferry__kafka_group *g);
void ferry__member_rebalance(ferry__kafka_group *g, rd_kafka_event_t *event);
void ferry__member_destroy(ferry__kafka_group *g);
void ferry__member_topic_gone(ferry__kafka_group *g); /* somebody deleted it: it is made anew */

/* trim.c: posts that are done with leave the log. */
void ferry__trim_serve(ferry__kafka_group *g);

/* ahead.c: claims ahead, while handlers are short. */
void ferry__ahead_handed(ferry__kafka_group *g);
void ferry__ahead_handled(ferry__kafka_group *g);
void ferry__ahead_serve(ferry__kafka_group *g);
void ferry__ahead_withdraw(ferry__kafka_group *g);
int64_t ferry__ahead_next_ms(const ferry__kafka_group *g);

/* phase.c: is the member between two joins? */
void ferry__phase_watch(ferry__kafka_group *g, rd_kafka_conf_t *conf); /* before the consumer is made */
void ferry__phase_serve(ferry__kafka_group *g);
bool ferry__phase_quiet(ferry__kafka_group *g); /* now it may commit, and close */
#define FERRY__PHASE_NOT_NOW RD_KAFKA_RESP_ERR__STATE /* no time to commit: try again soon */
rd_kafka_resp_err_t ferry__phase_commit(ferry__kafka_group *g, const rd_kafka_topic_partition_list_t *list);
void ferry__phase_revoked(ferry__kafka_group *g); /* before partitions are given away */
int64_t ferry__phase_next_ms(ferry__kafka_group *g); /* when to ask again */

/* commit.c */
bool ferry__commit_may(ferry__kafka_group *g); /* none is under way, and no join is */
void ferry__commit_serve(ferry__kafka_group *g);
void ferry__commit_event(ferry__kafka_group *g, rd_kafka_resp_err_t err);
void ferry__commit_give_up(ferry__kafka_group *g); /* what could not be committed comes again */
bool ferry__commit_last(ferry__kafka_group *g); /* of partitions that leave; true: an answer will come */

static inline bool ferry__group_posts(int topic)
{
    return topic == FERRY__GROUP_POSTS || topic == FERRY__GROUP_RETRY;
}

static inline int ferry__group_lane(int topic)
{
    return topic == FERRY__GROUP_CALLS ? 0 : topic == FERRY__GROUP_EVENTS ? 2 : 1;
}

static inline int ferry__lane_at(ferry__lane lane)
{
    return lane == FERRY__CALLS ? 0 : lane == FERRY__EVENTS ? 2 : 1;
}

#endif
