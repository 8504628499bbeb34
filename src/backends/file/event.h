/* event.h - events: one log for each domain, which everybody reads with a cursor.
 *
 *     domain "order":   [ row: events 1-17 ][ row: 18-34 ][ row: 35 ] ...   numbered in the order of their commits
 *                         ^ first: what is older was trimmed           ^ end
 *
 * A row holds as many packed frames as fit in a page, so what a publisher sends at once is few rows, and reading a million events is
 * reading a few ten thousand rows. Its id has the number of its last event: "id >= wanted" finds the row that contains the wanted one.
 *
 * A broadcast has one cursor, in memory. A group's events run on tracks: a track for each part of events with a key, and 64 shares for
 * those without, by their number. A track belongs to one member, who alone reads it, hands its events up in order and moves `done`,
 * so the order of a key holds, and reading and finishing need neither the writer lock nor a transaction. `done` stands in the page,
 * which survives every process, and is copied to the table `reader` twice a second and at leave, for the day on which the machine ends.
 *
 *     free  --- a member has fewer than its quota: compare and swap --->  owned
 *     owned --- too many, or the member leaves: nothing more is handed up, what is up is waited for --->  free
 *     owned --- the member died: his journal goes into `again` (below), under the writer lock --->  free
 *
 * Of each event that is up there is a hold, in the order of its track, and for groups a journal entry (claim.h):
 *
 *     UP  --- settle: DONE ---.            the holds in front that are DONE go, and `done` moves to the first that is not
 *     UP  --- hand back: BACK -'           is read and handed up again, by us or by the next owner
 *     UP  --- seek ---> loose              on no track any more; only its end is waited for
 *
 * So what was finished behind an unfinished one is known after a death too: from the dead one's journal the finder writes rows into
 * `again`: begun, thus `maybe` and an attempt more; or done, thus to be skipped. The next owner of the track reads them. (Only when so
 * many are finished behind one that the journal is short of entries, the oldest are forgotten, and would come again after a kill.)
 *
 * A failed event becomes a copy in the box's posts, waiting in `later`, in the same commit that lets its cursor pass. */
#ifndef FERRY_FILE_EVENT_H
#define FERRY_FILE_EVENT_H

#include "link/backend.h"
#include "base/list.h"
#include "backends/file/page.h"

struct ferry__file;
struct ferry__file_op;
struct ferry__file_target;
typedef struct ferry__event_listener ferry__event_listener;

enum { FERRY__EVENT_NO_ENTRY = 0xffff, FERRY__EVENT_ROWS = 16 };

typedef struct ferry__event_again { /* of an event behind the cursor */
    int64_t  seq;
    uint32_t attempt;
    bool     maybe, done;
} ferry__event_again;

typedef struct ferry__event_track {
    ferry__list            holds; /* by number */
    ferry__event_listener *listener;
    int64_t                head;  /* the next to look at */
    size_t                 up, back;
    ferry__event_again    *again; /* what is known of those that come; allocated */
    size_t                 agains, again_at;
    int64_t                again_last; /* rows of the table up to here; 0: none */
    uint16_t               index;
    bool                   owned, leaving;
} ferry__event_track;

typedef struct ferry__event_hold {
    ferry__node            node; /* of its track, or of the loose ones */
    ferry__event_listener *listener;
    ferry__event_track    *track; /* NULL: loose */
    int64_t                seq;
    uint16_t               entry;
    enum { FERRY__HOLD_UP, FERRY__HOLD_DONE, FERRY__HOLD_BACK } state;
} ferry__event_hold;

typedef struct ferry__event_wish { /* a wish of our own */
    int     from;
    int64_t time_ms;
    int64_t position; /* the number in the text; -1: it is none */
    char    text[24]; /* the beginning of it */
} ferry__event_wish;

struct ferry__event_listener {
    ferry__node         node;
    ferry__source      *source;
    _Atomic int         credit;
    _Atomic int         ops;    /* notes that name it */
    atomic_bool         sought_in_vain; /* there was no memory to note a seek */
    atomic_bool         closed; /* unlisten was called: source is gone */
    char               *topic_name, *group, *box; /* with the namespace: the topic and, of a group, the box */
    ferry__event_wish   wish;

    /* The driver's. */
    int                 topic, reader, member; /* topic 0: not entered; reader 0: a broadcast */
    uint64_t            topic_generation, reader_generation;
    int                 entering, entering_reader; /* by the running transaction */
    int64_t             start;
    unsigned            epoch;
    ferry__event_track *tracks; /* of a broadcast one, which has everything */
    size_t              count;
    ferry__list         loose;
    size_t              up;     /* frames that are not finished */
    int64_t             goal;   /* caught up when all before it is done; 0: told */
    bool                dirty, flagged, left, broken, leaving; /* dirty: cursors are to be stored; flagged: rows of `again`; left: they are */
    int64_t             store_at_ms;
    unsigned            news;   /* to be told by pump */
    ferry_status        status;
    char                why[FERRY_WHY_SIZE];
    unsigned char       identity[16]; /* of the database that a broadcast's cursor is of */
};

enum { FERRY__NEWS_READY = 1, FERRY__NEWS_CAUGHT_UP = 2, FERRY__NEWS_BROKEN = 4 };

/* A domain that the running transaction adds to: its row under way. */
typedef struct ferry__event_row {
    int                topic;
    ferry__page_topic *p;
    int64_t            end, offset, last; /* behind what is collected; bytes that are written; before the last row */
    uint32_t           count;
    char              *data;
    size_t             length, room;
} ferry__event_row;

typedef struct ferry__events {
    /* With the link's lock; then through the door. */
    ferry__frames noted, passed;
    ferry__list   noted_listeners, passed_listeners;

    /* The driver's. */
    ferry__list      listeners;
    ferry__frames    work;    /* finished frames */
    ferry__frames    arrived;
    ferry__event_row rows[FERRY__EVENT_ROWS];
    size_t           used; /* rows of the running transaction */
    bool             closing; /* the handle leaves */
    int              deleted[1]; /* a topic, by the running transaction */
    size_t           deletions;
    bool             moving;  /* header.moving_queue is ours */
    int64_t          trim_at_ms;
    struct { /* by the running transaction */
        ferry__page_topic *p; /* NULL: nothing */
        int64_t            first, first_ms, first_offset, purged;
    } trim;
    uint64_t known[FERRY__PAGE_TOPICS / 64]; /* topics that we look after */
    int      ring[FERRY__EVENT_ROWS];        /* topics with news, after the commit */
    size_t   rings;
} ferry__events;

void ferry__events_init(ferry__events *e);

/* event_source.c. With the link's lock. */
ferry_status ferry__event_listen(struct ferry__file *f, ferry__source *source);
void         ferry__event_unlisten(ferry__source *source);
void         ferry__event_flush(struct ferry__file *f);                /* with the door's lock too */
void         ferry__event_end(struct ferry__file *f, ferry__frame *frame, int verb); /* settle and hand_back */
void         ferry__event_pump(struct ferry__file *f);
bool         ferry__event_is(const ferry__frame *frame);               /* a received one from an EVENTS source */
bool         ferry__event_in_group(const ferry__frame *frame);
void         ferry__event_shut(struct ferry__file *f);                 /* another database; with the link's lock */
void         ferry__event_done(struct ferry__file *f);                 /* frees everything */
/* event_source.c, the driver's. */
void ferry__event_take(struct ferry__file *f);                         /* with the door's lock */
void ferry__event_free_listener(ferry__event_listener *l);
void ferry__event_tell(ferry__event_listener *l, unsigned news);
void ferry__event_break(ferry__event_listener *l, ferry_status status, const char *format, ...) FERRY_PRINTF(3, 4);
ferry__event_wish ferry__event_wish_of(const ferry__wish *wish);

/* event_log.c: topics and what is added to them. In a transaction. */
int  ferry__topic_find(struct ferry__file *f, const char *name, int *error);         /* 0: there is none */
int ferry__topic_enter(struct ferry__file *f, const char *name, unsigned parts, int64_t keep_ms, int64_t keep_bytes,
                       bool *made, int *error);
int  ferry__topic_need(struct ferry__file *f, int topic);                            /* its block is there */
bool ferry__topic_has(const ferry__page *p, int topic);
bool ferry__group_has(const ferry__page *p, int group);
int  ferry__topic_repair(struct ferry__file *f);                                     /* a writer died */
bool ferry__event_send(struct ferry__file *f, ferry__frame *frame, struct ferry__file_target *target, int *error);
int  ferry__event_flush_rows(struct ferry__file *f);
void ferry__event_rows_committed(struct ferry__file *f);
void ferry__event_rows_undo(struct ferry__file *f);
bool ferry__event_must_trim(struct ferry__file *f);
int  ferry__event_trim(struct ferry__file *f);
int  ferry__event_trim_all(struct ferry__file *f, int topic);
void ferry__event_note_first(struct ferry__file *f, ferry__page_topic *p); /* to go back to, before it is moved */
void ferry__event_ring(struct ferry__file *f); /* after the transaction, without the lock */
static inline int64_t ferry__event_id(int topic, int64_t seq)
{
    return ferry__store_id(topic, seq);
}

/* event_read.c: the driver, without the writer lock. */
void    ferry__event_finish(struct ferry__file *f); /* what was settled and handed back */
void    ferry__event_finish_one(struct ferry__file *f, ferry__frame *frame, bool stale, bool back); /* takes */
void    ferry__event_read(struct ferry__file *f);
bool    ferry__event_rest(struct ferry__file *f);   /* be rung for the next one; true: there is work */
int64_t ferry__event_next_at(const struct ferry__file *f); /* own timers; 0: none */
void    ferry__event_advance(struct ferry__file *f, ferry__event_track *t);
void    ferry__event_free_hold(struct ferry__file *f, ferry__event_hold *h);

/* event_group.c: members and their tracks. */
bool     ferry__event_must_write(const struct ferry__file *f);
int      ferry__event_write(struct ferry__file *f); /* enter, store, leave */
void     ferry__event_committed(struct ferry__file *f);
void     ferry__event_undo(struct ferry__file *f);
bool     ferry__event_seekable(const struct ferry__file_op *op);
int      ferry__event_seek(struct ferry__file *f, struct ferry__file_op *op);
void     ferry__event_sought(struct ferry__file *f, struct ferry__file_op *op);
/* event_share.c: who has which track. */
void     ferry__event_balance(struct ferry__file *f, ferry__event_listener *l);
void ferry__event_flag_leavers(struct ferry__file *f); /* whose rows of `again` are to be written before they go */
void     ferry__event_tidy(struct ferry__file *f); /* free what can be freed: tracks, listeners */
void     ferry__event_free_track(struct ferry__file *f, ferry__event_track *t);
unsigned ferry__event_tracks(const ferry__page *p, const ferry__page_group *g); /* in use: the first so many */
void     ferry__event_ring_group(struct ferry__file *f, ferry__page_group *g);
void     ferry__event_gone(struct ferry__file *f, ferry__event_listener *l); /* its topic was deleted */
void     ferry__event_cut(struct ferry__file *f, ferry__event_listener *l);  /* the database is shut */
void     ferry__event_loosen(struct ferry__file *f, ferry__event_track *t, bool forget); /* what is up goes its own way; forget: nor does the journal tell of it */
int      ferry__group_need(struct ferry__file *f, int group, int topic);
int      ferry__group_store(struct ferry__file *f, int group);
/* event_retry.c: retries, and the dead. */
bool ferry__event_copy(struct ferry__file *f, ferry__frame *frame, int64_t due, int *error); /* false: no room in this transaction */
int  ferry__event_repair_move(struct ferry__file *f);
bool ferry__event_owns(int64_t id); /* of a journal entry */
int  ferry__event_recover(struct ferry__file *f, ferry__page_entry *e);
void ferry__event_bury(struct ferry__file *f, int slot);

/* topics.c: questions of operators; in a transaction. */
bool ferry__topics_ask(int ask);
bool ferry__topics_must_wait(const struct ferry__file *f, const ferry__admin *a); /* for the next transaction */
void ferry__topics_deleted(struct ferry__file *f);                               /* with the commit */
int  ferry__topics_answer(struct ferry__file *f, ferry__admin *a);
#endif
