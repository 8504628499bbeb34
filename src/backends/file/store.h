/* store.h - the database: its tables, its statements, and what its errors mean.
 *
 *     message(id, body)                  id = queue << 40 | sequence, so each queue is one run of the only b-tree
 *     later(id, queue, due, ...)         messages that come again: retried, handed back, or left by a dead process
 *     service(id, name)                  every name that was ever served; queue = service << 7 | lane: 0 calls, 1 posts, 2... parts
 *     dead(seq, box, id, record)         dead letters
 *     meta(name, value)                  identity
 *
 *     topic(id, name, ...)               domains of events
 *     event(id, time, count, offset, body)   id = topic << 40 | number of the last of the events in it (event.h)
 *     reader(id, topic, name, cursors)   groups, and how far they are on each track
 *     again(reader, seq, ...)            what is known of events behind a cursor: begun by a dead member, or finished
 *
 * Queues from FERRY__STORE_INBOX up are the inboxes of handles: replies and controls, a row of several frames each.
 *
 * One connection, used by the driver alone. */
#ifndef FERRY_FILE_STORE_H
#define FERRY_FILE_STORE_H

#include <ferry/ferry.h>
#include <sqlite3.h>

enum {
    FERRY__STORE_SEQUENCE_BITS = 40,
    FERRY__STORE_LANE_BITS = 7,
    FERRY__STORE_LANE_MASK = (1 << FERRY__STORE_LANE_BITS) - 1,
    FERRY__STORE_CALLS = 0, /* lanes of a service */
    FERRY__STORE_POSTS = 1,
    FERRY__STORE_PARTS = 2,
    FERRY__STORE_GROUPS = 0x1000 << FERRY__STORE_LANE_BITS, /* queues of journal entries for events: + the group */
    FERRY__STORE_INBOX = 0xf000 << FERRY__STORE_LANE_BITS
};
#define FERRY__STORE_SEQUENCE_MASK (((int64_t)1 << FERRY__STORE_SEQUENCE_BITS) - 1)
#define FERRY__STORE_TAKEN INT64_MAX /* due of a row in `later` that somebody has claimed */
#define FERRY__STORE_NOW   1         /* due of one that comes before all fresh ones */

static inline int64_t ferry__store_id(int64_t queue, int64_t sequence)
{
    return queue << FERRY__STORE_SEQUENCE_BITS | sequence;
}

static inline int64_t ferry__store_queue(int64_t id)
{
    return id >> FERRY__STORE_SEQUENCE_BITS;
}

typedef enum ferry__store_sql {
    FERRY__SQL_BEGIN,
    FERRY__SQL_COMMIT,
    FERRY__SQL_ROLLBACK,
    FERRY__SQL_PUT,           /* id, body */
    FERRY__SQL_TAKE,          /* from, to, at most -> id, body */
    FERRY__SQL_DROP,          /* from, to */
    FERRY__SQL_FIRST,         /* from, to -> id */
    FERRY__SQL_LAST,          /* from, to -> id */
    FERRY__SQL_LATE_TAKE,     /* queue, now, at most -> id, body, attempt, maybe */
    FERRY__SQL_LATE_MARK,     /* id: taken */
    FERRY__SQL_LATE_PUT,      /* id, queue, due, attempt, maybe */
    FERRY__SQL_LATE_DROP,     /* id */
    FERRY__SQL_LATE_WITHDRAW, /* id: if nobody ever had it */
    FERRY__SQL_LATE_NEXT,     /* queue -> due */
    FERRY__SQL_LATE_LAST,     /* queue -> id */
    FERRY__SQL_LEFT,          /* id, queue, attempt, maybe: a dead process had it */
    FERRY__SQL_LEFT_BEHIND,   /* queue, from, to: claimed by processes of which nothing is known any more */
    FERRY__SQL_PURGE_CALLS,
    FERRY__SQL_PURGE_INBOXES,
    FERRY__SQL_PURGE_TAKEN,
    FERRY__SQL_SERVICE_FIND, /* name -> id */
    FERRY__SQL_SERVICE_ADD,  /* name */
    FERRY__SQL_SERVICE_LIST, /* -> id, name */
    FERRY__SQL_DEAD_ADD,     /* box, id, record */
    FERRY__SQL_DEAD_LIST,    /* box or NULL, after, at most -> seq, box, record */
    FERRY__SQL_DEAD_REMOVE,  /* box or NULL, id: the oldest of that id, for one sent again may be dead again already */
    FERRY__SQL_DEAD_FIND,    /* id -> seq */
    FERRY__SQL_DEAD_COUNT,
    FERRY__SQL_LATE_FIND,    /* id -> id */
    FERRY__SQL_LATE_ORPHANS, /* queue: rows whose message is gone */
    FERRY__SQL_EVENT_PUT,    /* id, time, count, offset, body */
    FERRY__SQL_EVENT_TAKE,   /* from, to, at most -> id, count, body */
    FERRY__SQL_EVENT_ROWS,   /* from, to, at most -> id, count, time, offset */
    FERRY__SQL_EVENT_LAST,   /* from, to -> id, offset, length */
    FERRY__SQL_EVENT_DROP,   /* from, to */
    FERRY__SQL_TOPIC_FIND,   /* name -> id */
    FERRY__SQL_TOPIC_GET,    /* id -> parts, keep_ms, keep_bytes, first, purged */
    FERRY__SQL_TOPIC_ADD,    /* name, parts, keep_ms, keep_bytes */
    FERRY__SQL_TOPIC_FIRST,  /* id, first, purged */
    FERRY__SQL_TOPIC_PARTS,  /* id, parts */
    FERRY__SQL_TOPIC_DROP,   /* id */
    FERRY__SQL_TOPIC_LIST,   /* -> id, name */
    FERRY__SQL_READER_FIND,  /* topic, name -> id */
    FERRY__SQL_READER_GET,   /* id -> cursors */
    FERRY__SQL_READER_ADD,   /* topic, name, cursors */
    FERRY__SQL_READER_STORE, /* id, cursors */
    FERRY__SQL_READER_LIST,  /* topic -> id, name */
    FERRY__SQL_READER_DROP,  /* topic */
    FERRY__SQL_AGAIN_PUT,    /* reader, seq, track, attempt, maybe, done */
    FERRY__SQL_AGAIN_TAKE,   /* reader, track, from -> seq, attempt, maybe, done */
    FERRY__SQL_AGAIN_DROP,   /* reader, track, below */
    FERRY__SQL_AGAIN_TRACKS, /* reader -> track */
    FERRY__SQL_AGAIN_CLEAR,  /* topic */
    FERRY__SQL_COUNT
} ferry__store_sql;

typedef struct ferry__store {
    sqlite3      *db; /* NULL: not open */
    sqlite3_stmt *sql[FERRY__SQL_COUNT];
    unsigned char identity[16];
    int           wal_pages; /* in the write-ahead log after our last commit */
} ferry__store;

typedef struct ferry__store_options {
    bool full; /* synchronous=FULL */
} ferry__store_options;

/* UNAVAILABLE and the like with the reason, naming the path. May block shortly. */
ferry_status ferry__store_open(ferry__store *s, const char *path, const ferry__store_options *options, char *why);
void         ferry__store_close(ferry__store *s);

/* Statements. Those that only change something; then a row at a time; SQLITE_ROW, SQLITE_DONE or an error. */
void ferry__store_bind(ferry__store *s, ferry__store_sql which, int at, int64_t value);
int  ferry__store_run(ferry__store *s, ferry__store_sql which); /* SQLITE_OK or an error; resets */
int  ferry__store_step(ferry__store *s, ferry__store_sql which);
void ferry__store_reset(ferry__store *s, ferry__store_sql which);
/* One number from one row; `otherwise` when there is none or it is NULL. Errors answer that too, and set *error. */
int64_t ferry__store_number(ferry__store *s, ferry__store_sql which, int64_t otherwise, int *error);

int  ferry__store_begin(ferry__store *s); /* for writing; SQLITE_BUSY: a foreign program holds it */
int  ferry__store_commit(ferry__store *s);
void ferry__store_rollback(ferry__store *s);

/* What an SQLite error means to a sender, with the reason. */
ferry_status ferry__store_status(const ferry__store *s, int error, const char *path, char *why);
bool         ferry__store_fatal(int error); /* the connection is of no use any more: reopen */

#endif
