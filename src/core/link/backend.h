/* backend.h - what a transport is to the core: a table of functions that move frames.
 *
 * A transport never decodes a body, retries, times out, correlates or calls user code. The core owns deadlines, ids, retries,
 * overload limits, the order of handlers and the policy for dead letters.
 *
 * Locks. One lock a handle, the link's. Every slot is called with it held and none may block, except `step`, `wait` and `wake`,
 * which are called without it. `step` and `wait` are called by one thread at a time, the driver; `wake` by any thread, also in a
 * signal handler. A turn of the driver is
 *
 *     flush (lock)  ->  step (no lock)  ->  pump (lock)  ->  wait (no lock)  ->  …
 *
 * so: send, settle and the like only note down; flush makes the batch (a socket writes here); step does what blocks (SQL); pump
 * hands up what came. Upcalls are made from pump and from nowhere else, with the lock held.
 *
 * References. A slot or an upcall that takes a frame is given one reference, unless it says "borrows".
 *
 * A table is const and static. State of `state_size` bytes is allocated and zeroed by the core and handed to every slot as `self`. */
#ifndef FERRY_LINK_BACKEND_H
#define FERRY_LINK_BACKEND_H

#include "base/log.h"
#include "data/url.h"
#include "wire/frame.h"

typedef enum ferry__lane {
    FERRY__CALLS,       /* someone waits: transient, bound by a deadline, served first */
    FERRY__POSTS,       /* durable, retried, dead-lettered */
    FERRY__REPLIES,     /* to one handle */
    FERRY__CONTROLS,    /* to every handle that serves a name */
    FERRY__EVENTS
} ferry__lane;

/* Where frames go. Made once a name by the core and kept until close. A reply has none: it goes to its id's client. */
typedef struct ferry__target {
    ferry__lane lane; /* CALLS, POSTS, CONTROLS, EVENTS */
    const char *name; /* service or domain */
    void       *data; /* the transport's own; it frees it in close */
    struct ferry__target *next; /* the transport's while it probes */
} ferry__target;

/* What an event subscription wants. */
typedef struct ferry__wish {
    const char *group;    /* its members share the events; NULL: a broadcast, this source gets every one */
    const char *
        box; /* "order/billing", of a broadcast "order/@name": where its dead letters go; with a group also the name of the
                           * POSTS source that `retry` delivers to */
    const char *pattern;  /* "order.*": events of other routes may be left out, the core drops them */
    /* where it starts: a group only when it has no position yet, else it goes on where it was */
    ferry_from  from;
    int64_t     time_ms;  /* wall clock */
    const char *position; /* a text that FERRY__LAG answered */
} ferry__wish;

/* Where frames come from. Made by the core; alive from listen until unlisten returned.
 *
 * Events. A domain is made by the first send, listen or TOPIC_CREATE; nobody listening is no error. A keyed event goes to the part that
 * frame->partition says, and the events of a part reach one member of a group at a time, in order, so that the order of a key holds;
 * part 0 is shared by all members. `ready` is called once what is sent from then on will reach the source. What is handed up is finished
 * by one of
 *     settle     handled: the position may pass it. What was settled before a clean unlisten or close does not come again
 *     retry      (group only; a broadcast is tried again by the core) it comes again by the POSTS source `wish->box` after the delay,
 *                attempt as in the frame, kind still EVENT; then as settle
 *     bury       a dead letter in `box`; then as settle
 *     hand_back  it comes again as fresh, from a group to any member
 * What a dead member had comes again, marked `maybe`, with `attempt` one higher where the broker counts. A position only moves over what
 * is finished: nothing is lost by a death at any moment. A position that the broker has trimmed away is `broken`, never a skip. */
typedef struct ferry__source {
    ferry__lane        lane;
    const char        *name; /* service, domain; NULL for REPLIES: the handle's own address */
    const ferry__wish *wish; /* EVENTS only */
    void              *data; /* the transport's own; it frees it in unlisten and close */
    void              *owner; /* the core's */
} ferry__source;

typedef enum ferry__fate {
    FERRY__ACCEPTED, /* the broker has it */
    FERRY__REFUSED,  /* certainly not executed: returned, no such name, full, denied */
    FERRY__LOST      /* the link went down in between: unknown */
} ferry__fate;

typedef enum ferry__presence {
    FERRY__NEVER, /* nobody ever served that name */
    FERRY__GONE,  /* served once, nobody alive now */
    FERRY__ALIVE
} ferry__presence;

typedef enum ferry__state {
    FERRY__DOWN,   /* not connected; the transport goes on trying, paced by ferry__config.backoff */
    FERRY__UP,
    FERRY__BLOCKED /* connected, and the broker takes nothing: sends answer OVERLOADED at once */
} ferry__state;

/* One administrative question. Made by the core, which keeps it until `answered`. */
typedef enum ferry__ask {
    FERRY__DEAD_BROWSE, /* records of box `name` (NULL: of all boxes) behind cursor `after`, at most `limit` */
    FERRY__DEAD_REMOVE, /* the record `id` of box `name`; count = 1 or 0 */
    FERRY__TOPIC_LIST,     /* event domains: a list of maps with at least "name" and "partitions" */
    FERRY__TOPIC_CREATE,   /* `partitions`, `keep_ms`, `keep_bytes` (0: the config's); count = 1, or 0 if it was there */
    FERRY__TOPIC_DESCRIBE, /* a map: "name", "partitions", "events", "keep_ms", "keep_bytes", "groups" as LAG; what is unknown is absent */
    FERRY__TOPIC_DELETE,   /* with its events and groups; count = 1; NOT_FOUND */
    FERRY__TOPIC_PURGE,    /* its events only, groups stand behind them; count: events, -1 unknown */
    /* Of `source`; else of `group` in domain `name`; else of all groups of that domain: a list of maps "domain", "group" (nil: a broadcast),
     * "lag" (events not finished, -1 unknown), "position" (all up to it is finished; a text without blanks), "members" where known. */
    FERRY__LAG,
    FERRY__DOCTOR /* facts for a person, as a map in `answer`; "warnings" is a list of texts */
} ferry__ask;

typedef struct ferry__admin {
    ferry__ask          ask;
    const char         *name, *id, *after, *group;
    struct ferry__source *source;
    size_t              limit;
    unsigned            partitions;
    int64_t             keep_ms, keep_bytes;
    ferry_status        status; /* the answer: OK, NOT_FOUND, UNSUPPORTED, … */
    char                why[FERRY_WHY_SIZE];
    int64_t             count;
    ferry_value        *answer; /* DEAD_BROWSE: a list of [cursor, box, record as bytes]; owned by the core once answered */
    struct ferry__admin *next;  /* the transport's while it has it */
    void               *owner;
} ferry__admin;

/* What a transport tells the core. */
typedef struct ferry__up ferry__up;
struct ferry__up {
    void (*frame)(ferry__up *up, ferry__source *source, ferry__frame *frame);
    /* Once for each frame sent whose kind is CALL, POST or EVENT. Borrows the frame: the transport unrefs it afterwards. */
    void (*outcome)(ferry__up *up, ferry__frame *frame, ferry__fate fate, ferry_status status, const char *why);
    /* Once for each settle and hand_back. Not OK: the broker will deliver that frame again. */
    void (*settled)(ferry__up *up, size_t how_many, ferry_status status, const char *why);
    void (*withdrawn)(ferry__up *up, ferry__frame *frame, bool yes); /* borrows */
    void (*probed)(ferry__up *up, ferry__target *target, ferry__presence presence); /* also unasked, whenever it learns */
    void (*state)(ferry__up *up, ferry__state state, ferry_status why, const char *text);
    void (*answered)(ferry__up *up, ferry__admin *admin);
    /* EVENTS sources. */
    void (*ready)(ferry__up *up, ferry__source *source);     /* after listen and seek; again after a reconnect */
    void (*caught_up)(ferry__up *up,
                      ferry__source *source); /* once after listen or seek: all that was stored then (of the parts that
                                                              * are ours by now) is finished */
    void (*broken)(ferry__up *up, ferry__source *source, ferry_status status, const char *why); /* nothing more comes until seek */
    const ferry__log *log;
    unsigned          bits; /* the table's; open may clear those that its URL turns off */
};

/* What every transport is told at open. Lives as long as the state does. */
typedef struct ferry__config {
    const char   *ns;         /* prefix of every name on the broker */
    const char   *name;       /* who we are, for people */
    unsigned char client[16]; /* our address for replies */
    unsigned      partitions; /* parts of a lane or domain for messages with a key */
    size_t        max_message;
    bool          durable;    /* refuse a broker that would lose an accepted post when killed; bit DURABLE says who can promise at all */
    size_t        max_queued; /* frames: beyond, a send is REFUSED as OVERLOADED */
    int           backoff_ms, backoff_max_ms; /* between attempts to connect, doubled each time, with jitter */
    int64_t       done_ms;    /* how long, and */
    size_t        done_count; /* how many ids of handled posts are remembered */
    int64_t       keep_ms, keep_bytes; /* how long, and how much of, a domain's events are kept */

    /* Decorators only: what they wrap, opened and closed by them. */
    const struct ferry__backend *inner;
    void                        *inner_self;
    const struct ferry__config  *inner_config;
} ferry__config;

enum { /* ability bits */
    FERRY__STEPS = 1,       /* work waits for the driver's `step`; else flush has done it all */
    FERRY__WITHDRAWS = 2,
    FERRY__REMEMBERS = 4,   /* drops posts whose id is done, for all servers; else the core does it for its own */
    FERRY__REDELIVERS = 8,  /* an accepted call outlives its server and our link: never sent twice by the core */
    FERRY__DURABLE = 16,    /* an accepted post survives kill -9 of the broker */
    FERRY__CANCELS = 32,    /* has CONTROLS */
    FERRY__REPLAYS = 64,    /* keeps events: EARLIEST, TIME, POSITION, seek */
    FERRY__BEATS = 128      /* its next_ms has to be kept while nobody is inside a call: heartbeats */
};

/* The optional half: an absent slot is an ability that the transport does not have. */
typedef struct ferry__abilities {
    void (*withdraw)(void *self, ferry__target *target, ferry__frame *frame); /* borrows a sent frame; answered by `withdrawn` */
    void (*begin)(void *self, ferry__frame *frame); /* borrows: its handler starts now. What never began is fresh if we die */
    void (*touch)(void *self, ferry__frame *frame); /* borrows: keep it, its handler is long */
    /* Moves an EVENTS source, or its group as far as this member owns it; copies `to`. What is up may still be finished; `ready` and
     * `caught_up` come again. */
    void (*seek)(void *self, ferry__source *source, const ferry__wish *to);
    void (*admin)(void *self, ferry__admin *admin);
} ferry__abilities;

typedef struct ferry__backend {
    const char             *scheme; /* "file" */
    const char             *about;  /* one line for people */
    size_t                  state_size;
    unsigned                bits;
    const ferry__setting   *settings;
    const ferry__abilities *more; /* NULL: none */

    /* Start connecting. INVALID and the like with a reason: the handle is then a broken one, close is called all the same. */
    ferry_status (*open)(void *self, ferry__up *up, const ferry__config *config, const ferry__url *url, char *why);
    /* Let go: nothing is called afterwards. Sends without an outcome get none. Called without the lock, by one thread. May block shortly. */
    void (*close)(void *self);
    void (*abandon)(void *self); /* after a fork, in the child: free memory; touch no socket, no lock, no file */

    ferry_status (*listen)(void *self, ferry__source *source);
    /* Nothing more from it. What was handed up stays ours, and while some of it is unsettled the name counts as served, where the
     * transport can tell: its callers still get their answers. */
    void (*unlisten)(void *self, ferry__source *source);
    /* So many more may be handed up; starts at 0. Negative: so many fewer, as far as the transport can; what comes in spite of it is
     * taken. */
    void (*credit)(void *self, ferry__source *source, int frames);

    void (*send)(void *self, ferry__target *target, ferry__frame *frame); /* target NULL: a reply. Takes a reference */
    void (*flush)(void *self);
    void (*settle)(void *self, ferry__frame *frame);                       /* handled, after the replies sent before; takes */
    void (*retry)(void *self, ferry__frame *frame, int delay_ms);          /* again later, with frame->attempt as it is now; takes */
    void (*bury)(void *self, ferry__frame *frame, const char *box, const void *record, size_t length); /* to the dead letters; takes; copies the record */
    void (*hand_back)(void *self, ferry__frame *frame);                    /* as fresh: it was not started; takes */

    void (*wait)(void *self, int ms); /* until something may have come, wake was called, or ms passed (-1: for ever) */
    void (*wake)(void *self);
    void (*step)(void *self); /* NULL unless STEPS */
    void (*pump)(void *self);
    void (*probe)(void *self, ferry__target *target);
    int  (*next_ms)(void *self, int64_t now_ms); /* own timers: `wait` at most so long; -1: none */
    int  (*fd)(void *self); /* readable when there is something to do; made on the first call; -1: cannot */
} ferry__backend;

/* The transports that were built in; ends with NULL. src/backends/backends.c is the only list of names. */
extern const ferry__backend *const ferry__backends[];
/* The known names that were left out of this build, for the message; ends with NULL. */
extern const char *const ferry__backends_absent[];

#endif
