/* pipe.h - the state of one handle on a database, and how work flows through it.
 *
 *     send, settle, ...  (link's lock)   noted   ---+
 *     flush              (link's lock)   passed  <--+   through `door`, the only lock that both sides take
 *     step               (driver alone)  work -> one transaction -> arrived, outcomes, answers
 *     pump               (link's lock)   upcalls
 *
 * Frames carry their own place in the work, so that no message costs an allocation of ours:
 *     sent       tag[0] the target until it is written, then its id, for withdraw; tag[1] verb and, later, how it ended
 *     received   tag[0] id; tag[1] journal entry, verb, generation, delay of a retry
 *     events     tag[0] the hold (event.h); tag[1] as above, IS_EVENT until it is finished
 *
 * Everything below "the driver's" is touched by step alone, or by pump of the same turn. */
#ifndef FERRY_FILE_PIPE_H
#define FERRY_FILE_PIPE_H

#include "base/list.h"
#include "backends/file/event.h"
#include "backends/file/page.h"
#include "link/backend.h"

#include <pthread.h>

/* What the work list shall do with a frame; SENT and REFUSED need no work any more. */
enum ferry__file_verb {
    FERRY__DO_SEND,
    FERRY__DO_REPLY,
    FERRY__DO_SETTLE,
    FERRY__DO_RETRY,
    FERRY__DO_HAND_BACK,
    FERRY__SENT,
    FERRY__REFUSED_ALREADY,
    FERRY__IS_EVENT,       /* received, in somebody's hands */
    FERRY__DO_RETRY_EVENT
};

/* Why a frame was refused; the text is made when it is told. */
enum ferry__file_why {
    FERRY__WHY_NONE,
    FERRY__WHY_NEVER,
    FERRY__WHY_FULL,
    FERRY__WHY_LOG,
    FERRY__WHY_LOCKED,
    FERRY__WHY_LATE,
    FERRY__WHY_STORE,
    FERRY__WHY_MEMORY
};

/* tag[1] of a received frame: entry 16 bits, verb 4, generation 12, delay 32; of a sent one: verb in the same place, outcome above. */
#define FERRY__TAG(entry, verb, generation, high) \
    ((uint64_t)(entry) | (uint64_t)(verb) << 16 | (uint64_t)((generation)&0xfff) << 20 | (uint64_t)(high) << 32)
#define FERRY__TAG_ENTRY(f)      ((unsigned)((f)->tag[1] & 0xffff))
#define FERRY__TAG_VERB(f)       ((enum ferry__file_verb)((f)->tag[1] >> 16 & 0xf))
#define FERRY__TAG_GENERATION(f) ((unsigned)((f)->tag[1] >> 20 & 0xfff))
#define FERRY__TAG_HIGH(f)       ((uint32_t)((f)->tag[1] >> 32))

/* A name we send to. */
typedef struct ferry__file_target {
    ferry__node    node; /* of all targets */
    ferry__target *target;
    _Atomic int    service; /* 0: not known. Of events: the topic, */
    uint64_t       generation; /* as it was found */
    _Atomic unsigned looked; /* value of header.changes when it was not found, + 1 */
    int            told;    /* the presence that the core knows, -1: none yet */
    char           name[];  /* with the namespace */
} ferry__file_target;

/* A source we listen on. */
typedef struct ferry__file_listener {
    ferry__node    node; /* of the driver's listeners */
    ferry__source *source;
    ferry__lane    lane;
    _Atomic int    credit;
    atomic_bool    closed;  /* unlisten was called: source is gone */
    int            service;  /* 0: not entered yet */
    int            entering; /* by the running transaction */
    unsigned       turn;    /* which part is looked at first */
    char           name[];
} ferry__file_listener;

/* What is no frame, or needs more than a frame has room for. */
typedef struct ferry__file_op {
    enum ferry__file_op_kind {
        FERRY__OP_UNLISTEN,
        FERRY__OP_PROBE,
        FERRY__OP_WITHDRAW,
        FERRY__OP_BURY,
        FERRY__OP_DISCARD,
        FERRY__OP_SEEK,
        FERRY__OP_ADMIN
    } kind;
    ferry__node           node;
    ferry__file_listener *listener;
    ferry__event_listener *events; /* SEEK, */
    ferry__event_wish     wish;    /* to there */
    ferry__file_target   *target;
    ferry__frame         *frame;
    ferry__admin         *admin;
    int64_t               id;
    bool                  yes;
    ferry__presence       presence;
    const char           *box; /* BURY: in `room`, before the record */
    size_t                length;
    char                  room[];
} ferry__file_op;

typedef struct ferry__file_touch { /* a queue that the running transaction changes */
    int64_t            queue;
    ferry__page_queue *q;
    int64_t            tail, head, due; /* tail: to go back to; head, due: to be stored after the commit, -1: unchanged */
    int64_t            sent, claimed;   /* messages */
    int64_t            freed;           /* messages that came back, or that a part has left when nobody owns it any more */
} ferry__file_touch;

enum {
    FERRY__FILE_TOUCHES = 64,
    FERRY__FILE_BATCH = 2048,
    FERRY__FILE_ROW = 3900 /* bytes of an inbox row: one page */
};

typedef struct ferry__file {
    ferry__up           *up;
    const ferry__config *config;
    char                *path;  /* as given; "" = the default place */
    char                *place; /* resolved */
    ferry__store_options options;
    int64_t              look_ms, wal_soft, wal_hard, wal_max;
    _Atomic(ferry__bell *) bell; /* where wait sleeps: our slot's, or `alone` while there is none */
    ferry__bell          alone;

    /* Under the link's lock. */
    ferry__frames noted;
    ferry__list   noted_ops, noted_listeners;
    ferry__list   targets;
    unsigned      generation; /* of the opened database; changes in pump only */

    pthread_mutex_t door;
    ferry__frames   passed;
    ferry__list     passed_ops, passed_listeners;

    /* The driver's. */
    ferry__store  store;
    ferry__page   page;
    ferry__page_file *retired[8]; /* maps of databases that were replaced: `wake` may be inside one. What comes after them stays mapped */
    size_t        retirements;
    bool          up_now, told_up, reopen;
    ferry_status  state; /* why it is not up */
    char          state_why[FERRY_WHY_SIZE];
    bool          state_news;
    int64_t       try_at_ms, look_at_ms, pause_until_ms, inbox_clean_at_ms, checkpoint_at_ms;
    int           tries;
    bool          more; /* work is left for the next turn */
    uint64_t      device, inode; /* of the opened database */
    unsigned      seen;          /* of our bell, before the last look */
    unsigned      changes;       /* of header.changes, when targets were last told */
    int64_t       now_ms;

    ferry__list   listeners;
    ferry__frames work;
    ferry__list   ops;
    ferry__frames doing;  /* in the running transaction */
    ferry__list   doing_ops;
    ferry__file_touch touched[FERRY__FILE_TOUCHES];
    size_t        touches;
    int64_t       dropped[FERRY__FILE_BATCH]; /* ids to delete at its end */
    size_t        drops;
    int           seized[FERRY__PAGE_SLOTS]; /* dead slots that it puts in order */
    size_t        seizures;
    bool          dead_seen;  /* there are such slots */
    bool          names_changed; /* ring everybody after it */
    int           busy_slot; /* who had the writer lock when we did not get it */

    int64_t       inbox_at, inbox_dropped; /* ids: next to read; next to delete */
    size_t        inbox_split;             /* bytes of the row at inbox_at that are frames already */
    struct {
        char   *data;
        size_t  length, room;
        int     slot; /* whose inbox the frames in it are for */
        int64_t tails[FERRY__PAGE_SLOTS]; /* before the transaction; -1: untouched */
        int     slots[FERRY__PAGE_SLOTS];
        size_t  count;
    } out;
    uint16_t      spare[FERRY__PAGE_JOURNAL]; /* free journal entries */
    size_t        spares;
    uint64_t     *sent_posts; /* bits by serial: posts that were accepted */
    uint64_t      sent_top;

    ferry__events events;

    ferry__frames claimed; /* by the running transaction */
    ferry__frames arrived, inbox;
    ferry__frames outcomes;
    ferry__list   answers;
    size_t        settled, unsettled; /* to be told */
    ferry__target *unprobed;          /* through next: there was no memory for the question */
    ferry__admin *unasked_admins;     /* through next: the same, to be answered so */
    bool          starved;            /* there was no memory for a reply or a claim */
    size_t        unasked;            /* of those to be settled: handed back by ourselves */
    char          store_why[FERRY_WHY_SIZE];
    ferry_status  store_status;
    struct {               /* the thread that checkpoints beside the work */
        pthread_t    thread;
        bool         runs;
        ferry__bell  bell;
        _Atomic int  state; /* enum in checkpoint.c */
        atomic_bool  complete;
        _Atomic int  moved;
        sqlite3     *db; /* its own connection */
    } beside;
    int           loop_epoll, loop_pipe; /* for foreign loops; -1: none */
    _Atomic int   loop_event;            /* the same; `wake` writes to it */
} ferry__file;

/* pipe.c. With the link's lock; NULL: no memory */
ferry__file_op *ferry__file_note(ferry__file *f, int kind, size_t room);
/* turn.c */
void ferry__file_step(void *self);
int  ferry__file_next_ms(void *self, int64_t now_ms);
void ferry__file_wake(void *self);
void ferry__file_take(ferry__file *f);     /* what was passed */
bool ferry__file_lock(ferry__file *f, int ms);
void ferry__file_shut(ferry__file *f);     /* with the link's lock or alone: the database is left as it is, its claims to the others */
/* loop.c: in a foreign event loop. */
int  ferry__file_fd(void *self);
void ferry__file_loop_open(ferry__file *f);  /* there is a slot now */
void ferry__file_loop_drain(ferry__file *f); /* before looking for work */
void ferry__file_loop_arm(ferry__file *f);   /* after it */
void ferry__file_loop_wake(ferry__file *f);
void ferry__file_loop_done(ferry__file *f);
/* more.c */
extern const ferry__abilities ferry__file_more;

#endif
