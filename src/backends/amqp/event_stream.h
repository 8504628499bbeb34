/* event_stream.h - the domain's stream, for ?events=stream: a log of RabbitMQ with numbered events, which keeps them for a while.
 *
 * Every domain has one, "NS.DOMAIN.log", bound to its exchange for all keys. A feed reads it from an offset; what it acknowledges only
 * makes room for more. `next` is its position: all below is finished.
 *
 * Where a log ends, AMQP cannot tell. So whoever wants to know publishes a mark into it and reads until that comes: what is behind the
 * mark is new, what is in front of it was there. Readers skip the marks of others.
 *
 * A group's position is a message, the token, in a queue of its own, "NS.BOX.at", with x-single-active-consumer. Whoever has been given
 * the token, unacknowledged, reads for the group; the other members wait. To save a position he publishes a new token, and acknowledges
 * the old one when the new one has been given to him as well. If he dies both go back, and his successor takes the higher.
 *
 *     broadcast: declared -> attached, mark sent -> (the mark comes: where it ended is known)
 *     group:     declared -> no token yet: one is made -> tokens consumed -> token given: owner, attached, mark sent
 *
 * A token is a text, behind which may stand what is finished beyond N: " 7,9-12". It says
 * "GENERATION next N", "GENERATION clean N" (by one who left in order), "GENERATION first", "GENERATION time MS". The
 * generation counts seeks. */
#ifndef FERRY_AMQP_EVENT_STREAM_H
#define FERRY_AMQP_EVENT_STREAM_H

#include "backends/amqp/event.h"

typedef struct ferry__amqp_entry { /* what was read and stands at or behind `next` */
    uint64_t tag, offset;
    bool     done;
} ferry__amqp_entry;

typedef struct ferry__amqp_span {
    uint64_t first, last;
} ferry__amqp_span;

typedef struct ferry__amqp_stream {
    ferry__amqp_feed *feed;
    int               from; /* of ferry__wish, as far as `next` is not known */
    int64_t           time_ms;
    uint64_t          next;
    bool              made;      /* by somebody else, with other arguments */
    bool              attaching; /* until the sync behind it is answered */
    bool              say_ready, say_broken; /* to be told by the next pump */
    char              nonsense[32];          /* what was to be a position */
    bool              reading, fresh; /* fresh: nothing was read since it was attached */
    unsigned          readers;   /* number of the last consumer of the log */
    unsigned          mark, mark_tries; /* number of the last mark; how many were sent in vain */
    bool              marked;    /* it came */
    uint64_t          end;       /* where */
    bool              at_end;    /* no mark is needed: it is to start there */
    ferry__amqp_entry *ring;
    size_t            size;
    uint64_t          base, top;

    /* groups */
    uint32_t tokens;     /* there were, or owners of one, when the queue was declared */
    bool     founding;   /* there was none: one is being made */
    bool     founded;    /* it says where our mark was */
    bool     owner, committing;
    uint64_t generation, committed;
    uint64_t token, token_generation; /* receipt of the one that counts */
    ferry__amqp_span *over; /* behind `next`, finished before we had the token */
    size_t   overs;
    uint64_t doubtful;   /* below: somebody who died may have begun it */
    int64_t  commit_ms;  /* when its position is saved at the latest; 0: it is saved */
    bool     clean;      /* what was saved says that we have left */
} ferry__amqp_stream;

typedef struct ferry__amqp_token {
    uint64_t    generation, next;
    int64_t     time_ms;
    int         from;
    bool        clean;
    const char *over; /* in body; "" */
    char        body[16384];
} ferry__amqp_token;

ferry_status ferry__amqp_stream_new(ferry__amqp_feed *d, const ferry__wish *w);
void         ferry__amqp_stream_free(ferry__amqp_feed *d);
void         ferry__amqp_stream_name(const ferry__amqp *a, char to[FERRY__AMQP_NAME], const char *domain);
int ferry__amqp_stream_arguments(const ferry__amqp *a, const ferry__admin *q, char age[32],
                                 amqp_table_entry_t to[4]); /* q: whose limits; NULL: the config's */
void         ferry__amqp_stream_declare(ferry__amqp *a, ferry__amqp_feed *d);
void         ferry__amqp_stream_synced(ferry__amqp *a, ferry__amqp_feed *d);
void         ferry__amqp_stream_delivered(ferry__amqp *a, ferry__amqp_feed *d, ferry__amqp_inbound *in);
void         ferry__amqp_stream_token(ferry__amqp *a, ferry__amqp_feed *d, ferry__amqp_inbound *in);
void         ferry__amqp_stream_finished(ferry__amqp *a, ferry__amqp_feed *d, uint64_t tag);
void         ferry__amqp_stream_caught(ferry__amqp *a, ferry__amqp_feed *d);
void         ferry__amqp_stream_stored(ferry__amqp *a, const ferry__frame *f, bool accepted); /* a token */
bool         ferry__amqp_token_read(const ferry__frame *f, ferry__amqp_token *t);
bool         ferry__amqp_stream_saved(ferry__amqp *a, ferry__amqp_feed *d); /* it may leave: its position is safe */
void         ferry__amqp_stream_look(ferry__amqp *a, ferry__amqp_feed *d, int64_t now_ms);
void         ferry__amqp_stream_gone(ferry__amqp *a, ferry__amqp_feed *d); /* its log was deleted */
void         ferry__amqp_stream_down(ferry__amqp_feed *d);
void ferry__amqp_stream_attach(ferry__amqp *a, ferry__amqp_feed *d); /* a reader, from where it is to start */
void ferry__amqp_stream_detach(ferry__amqp *a, ferry__amqp_feed *d);
void ferry__amqp_stream_sync(ferry__amqp *a, ferry__amqp_feed *d, unsigned prefetch);
void ferry__amqp_stream_ready(ferry__amqp *a, ferry__amqp_feed *d);
bool ferry__amqp_stream_publish(ferry__amqp *a, const char *queue, ferry__frame *f, bool confirm);
ferry__amqp_entry *ferry__amqp_stream_entry(const ferry__amqp_stream *s, uint64_t n);
amqp_table_entry_t ferry__amqp_text_argument(const char *name, const char *value);
amqp_table_entry_t ferry__amqp_big_argument(const char *name, int64_t value);

/* event_token.c */
void ferry__amqp_token_declare(ferry__amqp *a, const ferry__amqp_feed *d);
void ferry__amqp_token_consume(ferry__amqp *a, ferry__amqp_feed *d);
void ferry__amqp_token_found(ferry__amqp *a, ferry__amqp_feed *d); /* the first of a group, or of where it was sought */
bool ferry__amqp_token_commit(ferry__amqp *a, ferry__amqp_feed *d, bool clean);

/* the rest of event_stream.c */
void         ferry__amqp_seek(void *self, ferry__source *source, const ferry__wish *to);

#endif
