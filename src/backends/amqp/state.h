/* state.h - the transport over RabbitMQ: its parts, and what they share.
 *
 *     pipe.c      the table; opening, closing, sending, waiting
 *     life.c      connecting, falling and connecting again
 *     conn.c      one connection: handshake, channels, heartbeats, whole messages
 *     send.c      calls and posts on their way out: confirms, returns, replies, controls
 *     consume.c   sources: consumers, deliveries held until there is credit; pinch.c: when there is none; leave.c: their end
 *     settle.c    acknowledgements, and copies that must be confirmed before one; done.c: ids that were handled
 *     topology.c  names and declarations
 *     probe.c     who is alive; admin.c: dead letters
 *     event.c     sources of events, each on a channel of its own; event_*.c: where they come from; topics.c: domains
 *     codec.c, fields.c   frames and properties
 *
 * Two connections, because a broker under an alarm stops reading those that publish: `out` publishes, `in` consumes, answers calls and
 * acknowledges. Both are made and lost together; `epoch` counts, so that a receipt of a connection that is gone is known as such.
 *
 * Invariants
 * 1. An answer is written before its call is acknowledged, on the same channel: what was acknowledged was answered.
 * 2. A copy (retry, dead letter, given back) is acknowledged at its old place only after the broker confirmed the new one.
 * 3. Every call, post and event sent gets one outcome: at a return, a confirm, a fence (send.c), or when the link falls.
 * 4. No upcall but from pump, and none while closing. */
#ifndef FERRY_AMQP_STATE_H
#define FERRY_AMQP_STATE_H

#include "backends/amqp/codec.h"
#include "backends/amqp/done.h"
#include "backends/amqp/fields.h"
#include "base/buf.h"
#include "base/list.h"
#include "link/backend.h"

#include <poll.h>
#include <stdatomic.h>

extern const ferry__setting   ferry__amqp_settings[];
extern const ferry__abilities ferry__amqp_more;

typedef struct ferry__amqp ferry__amqp;

enum {
    /* channels of `out` */
    FERRY__AMQP_CALLS = 1, /* mandatory, no confirms: fences */
    FERRY__AMQP_POSTS,     /* mandatory and confirmed; posts and copies */
    FERRY__AMQP_CONTROLS,  /* may be closed by the broker: nobody minds */
    FERRY__AMQP_PROBES,    /* is closed by the broker for each name that is not there */
    FERRY__AMQP_BROWSE,    /* opened with the first look at a box */
    FERRY__AMQP_DIRECT,    /* answers to direct reply addresses: a bad one costs this channel */
    FERRY__AMQP_TOPICS,    /* opened for one question about a domain */
    /* channels of `in` */
    FERRY__AMQP_MAIN = 1, /* replies, controls, signs of life */
    FERRY__AMQP_CALLS_IN,
    FERRY__AMQP_POSTS_IN,
    FERRY__AMQP_KEYED_IN, /* partitions: closed as a whole when draining, see consume.c */
    FERRY__AMQP_LEAVE,    /* deletes the queue of a service that nobody serves any more, see leave.c */
    FERRY__AMQP_EVENTS = 8, /* the first of those for events: one for each source */
    FERRY__AMQP_CHANNELS = 256 /* a receipt has 8 bits for one */
};

typedef enum ferry__amqp_what {
    FERRY__AMQP_NOTHING,
    FERRY__AMQP_DELIVERED,
    FERRY__AMQP_RETURNED,
    FERRY__AMQP_GOT
} ferry__amqp_what;

/* A message that is coming in on a channel: method, then properties, then body. */
typedef struct ferry__amqp_inbound {
    ferry__amqp_what what;
    bool             redelivered, bad, headed;
    char             tag_kind; /* first letter of the consumer's tag */
    unsigned         intake, partition, queue; /* queue: of an event, which of its source's */
    uint64_t         tag, left;
    size_t           at;
    uint64_t         offset; /* in a stream */
    ferry__frame    *frame; /* of a delivery; of a dead letter as well, its body the record */
    ferry__id        id;    /* of what was returned */
    uint16_t         code;  /* why it was returned */
    bool             has_id;
} ferry__amqp_inbound;

typedef struct ferry__amqp_conn {
    ferry__amqp        *a;
    ferry__stream      *stream; /* NULL: none */
    ferry__amqp_codec   codec;
    bool                publishes, hello, live, blocked, bye; /* hello: the protocol header is written; live: Open-Ok came */
    bool                unread;  /* the last poll saw something, or nobody looked */
    bool                noted;   /* bytes were put since the last flush */
    int                 heartbeat_ms, silence_ms;
    int64_t             in_ms, out_ms;
    ferry__amqp_inbound in[FERRY__AMQP_CHANNELS];
    struct pollfd       watched; /* what epoll was told */
} ferry__amqp_conn;

/* Deliveries of one channel that are not acknowledged. Tags count from 1 without holes. */
typedef struct ferry__amqp_tags {
    uint64_t base, top; /* the lowest that is not acknowledged; behind the highest */
    uint8_t *state;     /* a ring */
    size_t   size, settled; /* settled: of those, to be acknowledged */
    size_t   known;         /* of those, settled by the core, which waits to hear of it */
} ferry__amqp_tags;

typedef enum ferry__amqp_kind {
    FERRY__AMQP_SENT,
    FERRY__AMQP_RETRY,
    FERRY__AMQP_BURIED,
    FERRY__AMQP_BACK,
    FERRY__AMQP_MOVED
} ferry__amqp_kind;

typedef struct ferry__amqp_sent {
    ferry__frame  *frame; /* NULL: its outcome is told */
    ferry__target *target;
    uint64_t      serial;
    uint8_t       kind;  /* SENT: the core's; else a received frame whose copy this is; MOVED: one the core never saw */
    bool          returned;
} ferry__amqp_sent;

typedef struct ferry__amqp_ring {
    ferry__amqp_sent *at;
    size_t            size;
    uint64_t          base, top; /* sequence numbers as the broker counts them, from 1 */
    bool              proven;    /* something was accepted since the channel was opened */
} ferry__amqp_ring;

typedef struct ferry__amqp_intake { /* a source */
    ferry__node    node;
    unsigned       number;
    ferry__source *source;
    int            credit;
    size_t         handed;     /* up, and unsettled */
    unsigned       prefetch;   /* of its consumers together; 0: there are none */
    unsigned       consumers, generation; /* how many; number of the last */
    int64_t        pinch_ms;   /* the next look at what is held, see pinch.c; 0: there is credit */
    int            pause_ms;   /* to the look after it */
    bool           asking;     /* who else consumes? */
    bool           declared;   /* on this connection */
    bool           keyed;      /* its partitions are consumed */
    bool           signs;      /* it is seen to be served */
    ferry__frames  hold;       /* beyond the credit */
} ferry__amqp_intake;

typedef struct ferry__amqp_feed   ferry__amqp_feed;   /* a source of events */
typedef struct ferry__amqp_direct ferry__amqp_direct; /* where a call's answer goes, if not to our reply exchange */

typedef enum ferry__amqp_phase { FERRY__AMQP_AWAY, FERRY__AMQP_CONNECTING, FERRY__AMQP_UP } ferry__amqp_phase;

struct ferry__amqp {
    ferry__up           *up;
    const ferry__config *config;
    const ferry__url    *url;
    bool                 tls, quorum, direct, external, verify, streams;
    unsigned             prefetch, window;
    int                  heartbeat_ms, connect_ms, tier_ms;
    char                 vhost[256], client[33], nonce[17];
    size_t               host; /* which of the URL's is tried */

    ferry__amqp_phase phase;
    ferry__state      told;
    uint32_t          epoch;
    int64_t           limit_ms; /* of connecting */
    int64_t           retry_ms; /* when it is tried again */
    int               backoff_ms;
    ferry_status      failed;          /* the link is to fall */
    char              why[FERRY_WHY_SIZE];
    bool              closing;         /* no upcalls */
    ferry__amqp_conn  out, in;
    bool              confirming, listening; /* Confirm.Select-Ok came; the reply consumer runs */
    size_t            declaring;       /* declarations without an answer */
    size_t            cancelling;      /* consumers that may still deliver */

    ferry__amqp_ring calls, posts;
    uint64_t         fence;            /* calls below are accepted once the fence is answered */
    bool             fencing;
    int64_t          fence_ms;         /* when the next is due at the latest; 0: nothing to fence */
    ferry__frames    waiting[2];       /* no room for them yet: calls, posts */
    ferry__frames    refused;          /* tag[1]: status */
    ferry__frames    replies;          /* no room for them yet */

    ferry__list          intakes;
    unsigned             numbers;
    ferry__source       *replies_to;
    bool                 control_queue;
    ferry__amqp_tags     tags[FERRY__AMQP_CHANNELS];
    size_t               keyed_busy;   /* messages with a key that the core has */
    size_t               keyed_parked; /* given back by the core, returned when the channel is closed */
    bool                 keyed_open, keyed_closing;
    size_t               settled_now, lost_now;
    ferry__buf           scratch;
    ferry__amqp_done    *done;    /* made with the first post */
    ferry__amqp_done    *events_done; /* made with the first event */
    ferry__list          feeds, boxes, domains; /* see event.h */
    unsigned             era;     /* of the channel that publishes: what it declared is known to stand */
    ferry__list          leavers; /* services that are no longer served */
    bool                 deleting;
    ferry__amqp_direct **directs, *spent[64];
    unsigned             next_spent;

    ferry__target *probes, **probes_end;   /* asked, in order */
    size_t         probes_sent;            /* the first so many were written */
    bool           probes_open;
    ferry__admin  *admins, **admins_end;   /* the first is being answered */
    struct ferry__amqp_look *look; /* at a box */
    struct ferry__amqp_topic *topic; /* a question about a domain */
    ferry__admin  *answered;
    unsigned       look_tries;
    bool           browsing; /* its channel is open */

    int            tiers[32]; /* delays that were declared on this connection */
    unsigned       next_tier;
    ferry__frames  late;      /* could not be copied: back to the queue at deadline_ms, not at once, so that nothing spins */
    bool           direct_open;
    char           broker[160]; /* "RabbitMQ 3.10.8", for people */
    int            event; /* eventfd: wake */
    int            epoll; /* for a foreign loop; -1: none */
    atomic_bool    asleep, woken;
    struct pollfd  polled[3]; /* what wait looks at: made at the end of pump */
    bool           slept, wrote, skipped; /* see pipe.c */
    int64_t        looked_ms; /* at `out` */
};

/* pipe.c */
void ferry__amqp_wake(void *self); /* any thread, signal handlers too */

/* life.c */
void ferry__amqp_fail(ferry__amqp *a, ferry_status status, const char *format, ...) FERRY_PRINTF(3, 4);
void ferry__amqp_move(ferry__amqp *a, int64_t now_ms); /* connect, check times, fall */
void ferry__amqp_ready(ferry__amqp *a);                /* is it up now? */
int  ferry__amqp_life_next_ms(ferry__amqp *a, int64_t now_ms);
void ferry__amqp_drop(ferry__amqp *a, bool forked);    /* both connections and all that hangs on them, without upcalls */

/* conn.c */
bool ferry__amqp_conn_open(ferry__amqp_conn *c, const ferry__stream_options *o);
void ferry__amqp_conn_done(ferry__amqp_conn *c, bool forked);
void ferry__amqp_conn_pump(ferry__amqp_conn *c, int64_t now_ms);
void ferry__amqp_conn_flush(ferry__amqp_conn *c, int64_t now_ms);
void ferry__amqp_conn_beat(ferry__amqp_conn *c, int64_t now_ms);
int  ferry__amqp_conn_next_ms(const ferry__amqp_conn *c, int64_t now_ms);
void ferry__amqp_conn_bye(ferry__amqp_conn *c);
/* A method to be sent. Without room the link fails: these are few, and nothing works without them. */
void ferry__amqp_say(ferry__amqp_conn *c, amqp_channel_t channel, amqp_method_number_t method, void *decoded);
void ferry__amqp_channel_open(ferry__amqp_conn *c, amqp_channel_t channel);
void ferry__amqp_channel_close(ferry__amqp_conn *c, amqp_channel_t channel);

/* topology.c */
enum { FERRY__AMQP_NAME = 256 };
void ferry__amqp_queue_name(const ferry__amqp *a, char to[FERRY__AMQP_NAME], const char *service, size_t length,
                            const char *what, unsigned partition);
/* Where a call or post goes; `name` is the broker's, which need not be the first word of its route. */
void ferry__amqp_queue_of(const ferry__amqp *a, char to[FERRY__AMQP_NAME], const char *name, const ferry__frame *f);
int  ferry__amqp_durable_type(const ferry__amqp *a, amqp_table_entry_t *to); /* room for 2; how many */
amqp_table_entry_t ferry__amqp_yes(const char *name);
void ferry__amqp_declare_exchange(ferry__amqp_conn *c, amqp_channel_t channel, const char *name, const char *type);
void ferry__amqp_bind(ferry__amqp_conn *c, amqp_channel_t channel, const char *queue, const char *exchange,
                      const char *key);
void ferry__amqp_reply_name(const ferry__amqp *a, char to[FERRY__AMQP_NAME]);
void ferry__amqp_declare_queue(ferry__amqp *a, ferry__amqp_conn *c, amqp_channel_t channel, const char *name,
                               amqp_table_entry_t *arguments, int n);
void ferry__amqp_declare_own(ferry__amqp *a);                  /* the reply queue, and its exchange */
void ferry__amqp_declare_controls(ferry__amqp *a, const char *service, bool bind);
void ferry__amqp_declare_service(ferry__amqp *a, ferry__amqp_intake *in);
void ferry__amqp_shared_name(const ferry__amqp *a, char to[FERRY__AMQP_NAME], const ferry__source *source); /* without a key */
void ferry__amqp_declare_shared(ferry__amqp *a, const ferry__source *source);
void ferry__amqp_declare_tier(ferry__amqp *a, int ms, char to[FERRY__AMQP_NAME]); /* and its exchange, named alike */
int  ferry__amqp_tier(const ferry__amqp *a, int delay_ms);
void ferry__amqp_consume(ferry__amqp *a, ferry__amqp_conn *c, amqp_channel_t channel, const char *queue,
                         const char *tag, bool no_ack);

/* send.c */
void ferry__amqp_send(void *self, ferry__target *target, ferry__frame *f);
void ferry__amqp_send_waiting(ferry__amqp *a, int64_t now_ms);
void ferry__amqp_send_fence(ferry__amqp *a, int64_t now_ms);
void ferry__amqp_fenced(ferry__amqp *a);
void ferry__amqp_proven(ferry__amqp *a, const ferry__id *id); /* a call that is answered */
void ferry__amqp_confirmed(ferry__amqp *a, uint64_t tag, bool multiple, bool accepted);
void ferry__amqp_returned(ferry__amqp *a, amqp_channel_t channel, const ferry__id *id, unsigned code);
void ferry__amqp_report_refused(ferry__amqp *a);
void ferry__amqp_send_down(ferry__amqp *a);                         /* all that is under way is lost */
void ferry__amqp_channel_lost(ferry__amqp *a, amqp_channel_t channel, unsigned code, const char *text); /* of `out` */
bool ferry__amqp_send_quiet(const ferry__amqp *a);
bool ferry__amqp_ring_room(ferry__amqp_ring *r); /* for one more; false: no memory */
void ferry__amqp_ring_add(ferry__amqp_ring *r, ferry__frame *f, ferry__target *target, ferry__amqp_kind kind);
void ferry__amqp_send_replies(ferry__amqp *a);
void ferry__amqp_send_done(ferry__amqp *a);

/* direct.c */
void ferry__amqp_note_direct(ferry__amqp *a, const ferry__frame *f, const amqp_basic_properties_t *p);
void ferry__amqp_drop_direct(ferry__amqp *a, const ferry__id *id);
void ferry__amqp_drop_directs(ferry__amqp *a);
const char *ferry__amqp_direct_of(const ferry__amqp *a, const ferry__id *id); /* NULL: it has none */

/* consume.c */
ferry_status ferry__amqp_listen(void *self, ferry__source *source);
void         ferry__amqp_unlisten(void *self, ferry__source *source);
void         ferry__amqp_credit(void *self, ferry__source *source, int frames);
void         ferry__amqp_begin_all(ferry__amqp *a); /* a new connection: declare and consume */
void         ferry__amqp_deliver(ferry__amqp_conn *c, amqp_channel_t channel, const amqp_basic_deliver_t *d);
void         ferry__amqp_delivered(ferry__amqp *a, amqp_channel_t channel, ferry__amqp_inbound *in); /* a whole message */
void         ferry__amqp_show_signs(ferry__amqp *a);
void         ferry__amqp_hand_up(ferry__amqp *a);
void         ferry__amqp_cancelled(ferry__amqp *a, amqp_bytes_t tag); /* by the broker: its queue is gone */
void         ferry__amqp_keyed_closed(ferry__amqp *a);
void         ferry__amqp_keyed_look(ferry__amqp *a); /* may the channel be closed now? */
void         ferry__amqp_consume_down(ferry__amqp *a);
void         ferry__amqp_consume_done(ferry__amqp *a);
void ferry__amqp_cancel(ferry__amqp *a, amqp_channel_t channel, char kind, unsigned number, unsigned part); /* a consumer */
ferry__amqp_intake *ferry__amqp_intake_by(ferry__amqp *a, unsigned number);

amqp_channel_t ferry__amqp_shared_channel(const ferry__amqp_intake *in);
void ferry__amqp_stop_shared(ferry__amqp *a, ferry__amqp_intake *in); /* its consumers */

/* pinch.c */
void ferry__amqp_pinch_note(ferry__amqp_intake *in, int frames); /* so much was added to its credit */
void ferry__amqp_pinch(ferry__amqp *a, int64_t now_ms);
int  ferry__amqp_pinch_next_ms(const ferry__amqp *a, int64_t now_ms);
void ferry__amqp_pinch_counted(ferry__amqp *a, amqp_channel_t channel, const amqp_queue_declare_ok_t *m);
void ferry__amqp_let_go(ferry__amqp *a, ferry__amqp_intake *in, bool all);

/* leave.c */
void ferry__amqp_leave(ferry__amqp *a, const ferry__amqp_intake *in);
void ferry__amqp_leave_settled(ferry__amqp *a, unsigned number);
void ferry__amqp_leave_look(ferry__amqp *a);
void ferry__amqp_leave_counted(ferry__amqp *a, unsigned servers);
void ferry__amqp_left(ferry__amqp *a);
void ferry__amqp_leave_closed(ferry__amqp *a);
void ferry__amqp_leave_down(ferry__amqp *a);

/* settle.c */
void ferry__amqp_settle(void *self, ferry__frame *f);
void ferry__amqp_retry(void *self, ferry__frame *f, int delay_ms);
void ferry__amqp_bury(void *self, ferry__frame *f, const char *box, const void *record, size_t length);
void ferry__amqp_hand_back(void *self, ferry__frame *f);
void ferry__amqp_give_back(ferry__amqp *a, ferry__frame *f, ferry__amqp_kind kind); /* publish again as fresh; takes */
bool ferry__amqp_tag_add(ferry__amqp *a, amqp_channel_t channel, uint64_t tag);
void ferry__amqp_tag_settle(ferry__amqp *a, amqp_channel_t channel, uint64_t tag);
void ferry__amqp_reject(ferry__amqp *a, amqp_channel_t channel, uint64_t tag, bool requeue);
void ferry__amqp_copied(ferry__amqp *a, ferry__amqp_sent *s, bool accepted);
void ferry__amqp_acknowledge(ferry__amqp *a);
void ferry__amqp_acknowledge_on(ferry__amqp *a, amqp_channel_t channel);
void ferry__amqp_tags_forget(ferry__amqp *a, amqp_channel_t channel); /* its channel is gone */
void ferry__amqp_late(ferry__amqp *a, int64_t now_ms); /* back to the queue with those whose copy failed */
void ferry__amqp_tags_reset(ferry__amqp *a);
bool ferry__amqp_current(const ferry__amqp *a, const ferry__frame *f); /* is its receipt of this connection? */
static inline amqp_channel_t ferry__amqp_channel_of(const ferry__frame *f)
{
    return (amqp_channel_t)(f->tag[1] >> 24 & 0xff);
}

/* probe.c, admin.c */
void ferry__amqp_probe(void *self, ferry__target *target);
bool ferry__amqp_probing(const ferry__amqp *a, const ferry__target *target);
void ferry__amqp_probe_begin(ferry__amqp *a);
void ferry__amqp_probe_down(ferry__amqp *a);
void ferry__amqp_probed(ferry__amqp *a, unsigned consumers);
void ferry__amqp_probe_closed(ferry__amqp *a, unsigned code); /* the broker closed the channel */
void ferry__amqp_admin(void *self, ferry__admin *admin);
void ferry__amqp_admin_begin(ferry__amqp *a);
void ferry__amqp_admin_down(ferry__amqp *a, ferry_status status, const char *why);
void ferry__amqp_got(ferry__amqp *a, ferry__amqp_inbound *in);
void ferry__amqp_got_nothing(ferry__amqp *a);
void ferry__amqp_browsed(ferry__amqp *a);
void ferry__amqp_browse_closed(ferry__amqp *a, unsigned code, const char *text);
void ferry__amqp_admin_report(ferry__amqp *a);
void ferry__amqp_admin_done(ferry__amqp *a);

#endif
