/* event.h - sources of events: feeds. Each has a channel of its own, so that closing it gives back at once, and in order, all that is
 * unacknowledged of this source and of no other.
 *
 * A group has a queue for events without a key, which its members share, and one for each part, with x-single-active-consumer. A
 * broadcast has one queue for all. With ?events=stream both read the domain's stream, see event_stream.c.
 *
 *     closed --begin: channel, declarations, bindings, sync--> opened --sync answered--> ready: consumers by credit
 *       ^------- link lost, begun again -----------------------------------|
 *     unlisten: nothing more is handed up; when the core has none of it any more, the channel is closed; then it is freed
 *     broken: the broker closed the channel for good; stays so until seek or unlisten
 *
 * Invariants
 * 1. A frame is `handed` while the core has it, `busy` while its copy is not confirmed. The channel is closed by us only when there is
 *    neither, so nothing that was settled comes again by an orderly end.
 * 2. A receipt holds the feed's number: one of a feed that is gone, or was sought elsewhere, settles nothing. */
#ifndef FERRY_AMQP_EVENT_H
#define FERRY_AMQP_EVENT_H

#include "backends/amqp/state.h"

#include <string.h>

typedef struct ferry__amqp_part { /* a queue of a feed */
    unsigned prefetch, consumers, generation; /* of its consumers together; how many; number of the last */
    unsigned open;   /* delivered and not finished */
    unsigned empty;  /* so many looks found nothing in it */
    uint64_t left;   /* not delivered before when listening began, and not finished yet */
    bool     seen;   /* something came from it: it is ours */
    bool     caught; /* all that was there at the beginning is finished */
} ferry__amqp_part;

struct ferry__amqp_feed {
    ferry__node      node;
    unsigned         number, born; /* now; at first: a seek changes it */
    amqp_channel_t   channel;
    ferry__source   *source; /* NULL: it leaves */
    char            *domain, *box, *pattern;
    bool             group;
    int              credit;
    size_t           handed, busy, parked; /* parked: given back by the core, returned when the channel is closed */
    int64_t          pinch_ms;             /* when what is held goes back to the queue; 0: it may stay */
    bool             opened, ready, broken, closing;
    bool             told;                 /* that it has caught up */
    uint32_t         boxed;                /* the era in which its dead letter box was declared */
    unsigned         syncs, synced, awaited; /* questions that only say how far the broker is: sent, answered, and which matters */
    unsigned         cancelling, answers, looks;
    int64_t          look_ms; /* when its queues are looked at again; 0: need not be */
    int              pause_ms;
    ferry__frames    hold;
    struct ferry__amqp_stream *stream; /* NULL: queues */
    unsigned         parts;
    ferry__amqp_part part[];
};

/* event.c */
ferry_status ferry__amqp_event_listen(ferry__amqp *a, ferry__source *source);
void         ferry__amqp_event_unlisten(ferry__amqp *a, ferry__source *source);
void         ferry__amqp_event_credit(ferry__amqp *a, ferry__source *source, int frames);
void         ferry__amqp_event_deliver(ferry__amqp_inbound *in, unsigned queue, amqp_bytes_t key);
void         ferry__amqp_event_delivered(ferry__amqp *a, amqp_channel_t channel, ferry__amqp_inbound *in);
void         ferry__amqp_event_cancelled(ferry__amqp *a, char kind, unsigned number);
bool         ferry__amqp_event_cancel_ok(ferry__amqp *a, amqp_channel_t channel);
void         ferry__amqp_event_closed(ferry__amqp *a, amqp_channel_t channel, unsigned code, const char *why);
void         ferry__amqp_events_begin(ferry__amqp *a);
void         ferry__amqp_events_hand_up(ferry__amqp *a);
void         ferry__amqp_events_acknowledge(ferry__amqp *a);
void         ferry__amqp_events_look(ferry__amqp *a, int64_t now_ms); /* what is due: looks, pinches, leaving */
int          ferry__amqp_events_next_ms(const ferry__amqp *a, int64_t now_ms);
void         ferry__amqp_events_down(ferry__amqp *a);
void         ferry__amqp_events_close(ferry__amqp *a); /* all leave, in order */
void         ferry__amqp_events_done(ferry__amqp *a);
void         ferry__amqp_feed_begin(ferry__amqp *a, ferry__amqp_feed *d);
ferry__amqp_feed *ferry__amqp_feed_on(ferry__amqp *a, amqp_channel_t channel);
void         ferry__amqp_feed_fit(ferry__amqp *a, ferry__amqp_feed *d); /* consumers, as large as the credit */

/* event_settle.c */
bool ferry__amqp_event_current(const ferry__amqp *a, const ferry__frame *f);
bool ferry__amqp_event_release(ferry__amqp *a, ferry__frame *f, bool done);
void ferry__amqp_event_finished(ferry__amqp *a, const ferry__frame *f); /* of those below each takes any frame, and heeds events only */
void ferry__amqp_event_copying(ferry__amqp *a, const ferry__frame *f);
void ferry__amqp_event_copied(ferry__amqp *a, const ferry__frame *f);
void ferry__amqp_event_place(ferry__amqp *a, char to[FERRY__AMQP_NAME], const ferry__frame *f, bool back);
void ferry__amqp_event_box(ferry__amqp *a, const ferry__frame *f, const char *queue); /* declares it */
void ferry__amqp_event_hand_back(ferry__amqp *a, ferry__frame *f);
bool ferry__amqp_event_repeated(ferry__amqp *a, const ferry__amqp_feed *d, const ferry__frame *f);
bool ferry__amqp_event_shared(const ferry__amqp_feed *d, const ferry__frame *f); /* of the queue that members share? */
ferry__amqp_feed *ferry__amqp_feed_of(const ferry__amqp *a, const ferry__frame *f); /* NULL: it is gone */

/* Names with a '/' are boxes, "order/billing": sources of posts under such a name deliver events that are tried again. */
static inline bool ferry__amqp_is_box(const char *name)
{
    return strchr(name, '/') != NULL;
}
bool ferry__amqp_box_note(ferry__amqp *a, const char *name, unsigned number); /* of a source of any kind; false: no memory */
void ferry__amqp_box_left(ferry__amqp *a, unsigned number, size_t handed);
void ferry__amqp_box_settled(ferry__amqp *a, unsigned number);
void ferry__amqp_boxes_sweep(ferry__amqp *a, bool all);

/* event_queue.c */
void         ferry__amqp_event_exchange(const ferry__amqp *a, char to[FERRY__AMQP_NAME], const char *domain);
void ferry__amqp_event_queue(const ferry__amqp *a, char to[FERRY__AMQP_NAME], const ferry__amqp_feed *d, unsigned part);
void         ferry__amqp_event_declare(ferry__amqp *a, ferry__amqp_feed *d);
void         ferry__amqp_event_synced(ferry__amqp *a, amqp_channel_t channel);
void         ferry__amqp_event_counted(ferry__amqp *a, amqp_channel_t channel, const amqp_queue_declare_ok_t *m);
void         ferry__amqp_event_look(ferry__amqp *a, ferry__amqp_feed *d, int64_t now_ms);
void         ferry__amqp_event_caught(ferry__amqp *a, ferry__amqp_feed *d); /* tells, when it is so */
bool         ferry__amqp_event_domain(ferry__amqp *a, ferry__target *target); /* declared; false: wait */
ferry_status ferry__amqp_event_put(ferry__amqp *a, const ferry__target *target, ferry__frame *f);

/* topics_known.c: the domains that this handle had to do with */
void         ferry__amqp_domain_note(ferry__amqp *a, const char *name);
void         ferry__amqp_domain_forget(ferry__amqp *a, const char *name); /* NULL: all */
ferry_value *ferry__amqp_domains(const ferry__amqp *a);                   /* NULL: none */

/* topics.c */
void ferry__amqp_topics_ask(ferry__amqp *a, ferry__admin *q);
void ferry__amqp_topics_answer(ferry__amqp *a, uint32_t messages, uint32_t consumers);
void ferry__amqp_topics_closed(ferry__amqp *a, unsigned code, const char *why); /* code 0: by us */
void ferry__amqp_topics_look(ferry__amqp *a, int64_t now_ms);
int64_t ferry__amqp_topics_due_ms(const ferry__amqp *a); /* 0: nothing is */
void ferry__amqp_topics_down(ferry__amqp *a);
void ferry__amqp_topics_read(ferry__amqp *a, ferry__amqp_inbound *in); /* from the end of a log */
bool ferry__amqp_topics_make(ferry__amqp *a, ferry__target *target);    /* its log too; false: it is under way */
void ferry__amqp_topics_done(ferry__amqp *a);

#endif
