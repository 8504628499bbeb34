/* redis.h - the parts of the redis transport: what each file owns, and the state they share.
 *
 *     pipe.c     the table: slots that only note down         turn.c   one turn of the driver: flush, pump, wait
 *     link.c     the set of connections: from DOWN to UP and back, hosts in turn, what a lost link does to what was under way
 *     conn.c     one connection: stream, greeting, commands that want an answer, in order
 *     lot.c      many commands as one transaction
 *     resp.c     RESP2                      script.c   the Lua texts, EVALSHA and EVAL
 *     wire.c     a frame as fields of a stream entry (docs/wire.md)
 *     send.c     targets: XADD, outcome, withdraw, probe, cancel           inbox.c   our own replies
 *     service.c  a name we serve: lease, groups, partitions, take-over     intake.c  reading its streams
 *     settle.c   the end of a received frame                               admin.c   dead letters, doctor
 *     event.h    events: their own files, and what of the above they share
 *
 * Connections, each opened when it is first needed: W writes and never blocks; C and P block in XREADGROUP for calls and posts; Q
 * blocks in XREAD for our replies; S is subscribed; each subscription has one of its own (E). When one is lost all are closed and made anew: what was written to W and not
 * answered is of unknown fate, what is in no socket yet certainly did not run. Replies and settlements are kept until Redis has
 * answered them and written again on the next connection; each may be repeated without harm.
 *
 * Ownership of a received message is its entry in the group's pending list: every settlement checks it in the same script that acts.
 * A server is alive while its lease is; whoever takes over what a dead one had ends that lease for good, so that a server which was
 * frozen past it learns at its next renewal that it has been buried, and goes on under a new name (`era`).
 *
 * Everything here belongs to the driver, or is guarded by the link's lock (pipe.c says which). */
#ifndef FERRY_REDIS_REDIS_H
#define FERRY_REDIS_REDIS_H

#include "backends/redis/resp.h"
#include "base/list.h"
#include "link/backend.h"
#include "net/stream.h"

#include <poll.h>

#define REDIS__GROUP "ferry"
#define REDIS__BACK  "back" /* the consumer that holds what was handed back */

extern const ferry__backend   ferry__redis_backend, ferry__rediss_backend, ferry__redis_unix_backend;
extern const ferry__setting   redis__settings[];
extern const ferry__abilities redis__more;

enum { REDIS__LAZY_MS = 2, REDIS__LAZY_LOT = 256 }; /* answers nobody waits for are read after so long, or so many */
enum { REDIS__BLOCK_MS = 5000 /* a blocked read returns by itself, which shows that Redis is there */ };
enum { REDIS__NO_ROOM_MS = 100 /* before a reply or settlement is tried again that Redis had no memory for */ };
enum { REDIS__READERS = 64 /* subscriptions of a handle */ };
enum { REDIS__HOSTS = 16, REDIS__KEY = 320, REDIS__ME = 96 };

typedef struct redis__pipe    redis__pipe;
typedef struct redis__conn    redis__conn;
typedef struct redis__service redis__service;
typedef struct redis__lane    redis__lane;
typedef struct redis__receipt redis__receipt;
typedef struct redis__group   redis__group;
typedef struct redis__tail    redis__tail;
typedef struct redis__topic   redis__topic;

/* ---- A command under way -------------------------------------------------------------------------------------------- */

typedef struct redis__want redis__want;
/* v NULL: the connection went down before the answer; w->left says whether the command may have reached Redis. */
typedef void redis__answer_fn(redis__pipe *p, redis__want *w, const redis__value *v);
struct redis__want {
    redis__answer_fn *answer;
    void             *what;
    uint64_t          number; /* the answerer's own */
    uint64_t          end;    /* where its bytes end in the whole of what this connection wrote */
    size_t            lot;        /* it begins a transaction of so many; 0: it does not */
    bool              left, lazy; /* lazy: nobody waits for the answer */
};

/* Commands as one transaction, on their way out and back. */
typedef struct redis__lot {
    size_t noted; /* wants of what is not flushed yet */
    bool   mixed; /* not all of them are lazy */
    bool   never; /* this Redis will have none */
    bool   single; /* the one being answered was none after all */
    size_t open, left; /* of the one being answered: how many, and how many of them without a word yet */
    char   refusal[200]; /* of the first that was not queued */
} redis__lot;

typedef enum redis__role {
    REDIS__W,
    REDIS__C,
    REDIS__P,
    REDIS__Q,
    REDIS__S,
    REDIS__ROLES,
    REDIS__E = REDIS__ROLES
} redis__role;
enum { REDIS__CONNS = REDIS__ROLES + REDIS__READERS };
typedef enum redis__conn_state { REDIS__OFF, REDIS__OPENING, REDIS__GREETING, REDIS__READY } redis__conn_state;

struct redis__conn {
    redis__pipe      *pipe;
    redis__role       role;
    redis__conn_state state;
    ferry__stream    *stream;
    redis__reader    *reader;
    ferry__buf        out;     /* commands that are not with the stream yet */
    uint64_t          written; /* bytes given to the stream in all */
    redis__want      *wants;   /* a ring */
    size_t            first, count, room, eager;
    redis__lot        lot;
    int64_t           lazy_ms; /* since when only lazy answers are outstanding */
    int64_t           limit_ms; /* of the greeting, of a blocked read: then it counts as dead */
    int64_t           number;  /* CLIENT ID */
    bool              ready;   /* poll said so */
    bool              reading, nudged; /* C P Q E: a read is outstanding; it was told to return */
    bool              taken; /* E: by a subscription */
    int               epoll_fd;    /* as registered for a foreign loop */
    unsigned          epoll_events;
};

/* ---- Serving -------------------------------------------------------------------------------------------------------- */

/* One stream that we read as a member of its group. */
typedef enum redis__lane_state {
    REDIS__LANE_OFF,
    REDIS__LANE_CLAIMING,  /* a partition that is ours now: first what others left pending */
    REDIS__LANE_READING,
    REDIS__LANE_RELEASING  /* a partition that goes to another: nothing new, until all of it is settled */
} redis__lane_state;

struct redis__lane {
    redis__service   *service;
    ferry__lane       lane;
    unsigned          part; /* 0: the shared one */
    const char       *group; /* whose members share the stream */
    redis__lane_state state;
    uint64_t          token;   /* of the partition: the lease's fence */
    ferry__list       held;    /* receipts: all that are ours in the pending list, as far as we know */
    ferry__frames     backlog; /* of those: not handed up yet */
    redis__receipt   *ops, **ops_end; /* to be settled at the next flush */
    size_t            ops_count;
    bool              urgent; /* one of them wants to be written at once */
    size_t            held_count, flying; /* settlements without an answer */
    size_t            checking; /* posts whose ids are being looked up among the done ones */
    size_t            odd;      /* of the held: those that were delivered twice before; one at a time, it may be what kills servers */
    bool              held_up;  /* the rest waits for an odd one */
    bool              in_read; /* the outstanding read covers it */
    bool              taking;  /* a take-over is being answered */
    bool              hint;    /* somebody handed back: look */
    bool              gave;    /* of the calls: it was we. What is older than all new ones is taken again before they are read */
    bool              orphans; /* what the group thinks we have has to be compared with what we have */
    int64_t           look_ms; /* next look for what dead servers had */
    char              key[REDIS__KEY];
};

struct redis__service {
    redis__service *next;
    char           *name;
    ferry__source  *source[4]; /* calls, posts, controls, events; NULL: not listened for */
    int             credit[4];
    bool            joined;    /* the lease stands and the groups are there */
    bool            renewing, again, grouped, subscribed, listed;
    bool            seen; /* others see us as a server of it */
    int64_t         renew_ms;  /* next renewal */
    int64_t         sure_ms;   /* when the lease was last renewed */
    int64_t         move_ms;   /* next look at the retry set */
    bool            moving;
    unsigned        parts;
    redis__lane     calls, *posts; /* posts: parts + 1 of them */
    redis__group   *group;         /* "domain/group": it has lanes of events, whose parts go where those of posts go */
    ferry__id       cancels[16]; /* the last ones: a cancellation may overtake its call, which comes by another connection */
    size_t          cancels_count;
    redis__receipt *ids[256];  /* held posts by id, so that a double is seen */
    char            prefix[REDIS__KEY]; /* "ns:{name}:" */
};

typedef enum redis__op {
    REDIS__HELD,
    REDIS__SETTLE,
    REDIS__RETRY,
    REDIS__BURY,
    REDIS__HAND_BACK,
    REDIS__DROP
} redis__op;

struct redis__receipt {
    ferry__node     node;  /* in the lane's held */
    redis__lane    *lane;
    redis__receipt *next;  /* among ops */
    redis__receipt *chain; /* by id */
    uint64_t        ms, seq;
    ferry__id       id;
    uint32_t        count; /* deliveries before this one */
    unsigned        era;
    uint8_t         op;
    bool            told;  /* the core waits for its settlement */
    bool            hashed;
    int             delay_ms;
    uint32_t        attempt;
    char           *box;   /* bury */
    void           *record;
    size_t          record_length;
    ferry__frame   *frame; /* of an event that is tried again: its entry may be trimmed away */
};

/* ---- The state of a handle ------------------------------------------------------------------------------------------ */

typedef struct redis__host {
    char *host, *port;
} redis__host;

struct redis__pipe {
    ferry__up           *up;
    const ferry__config *config;
    const ferry__url    *url;
    redis__host          hosts[REDIS__HOSTS];
    size_t               hosts_count, host; /* the one in use, or to be tried next */
    bool                 tls, pubsub, is_unix;
    int                  db, lease_ms, look_ms, reply_ttl_ms, connect_ms, dead_ms;

    redis__conn  conns[REDIS__CONNS];
    size_t       conns_used;
    ferry__state state;
    bool         was_up, blocked;
    char         why[FERRY_WHY_SIZE];
    ferry_status status;
    int64_t      retry_ms; /* when to connect again */
    int          backoff_ms;
    int64_t      now_ms;
    int64_t      clock_ms; /* Redis' wall clock less our monotonic one */
    int64_t      take_ms;  /* no take-over of the dead before that */
    char         run_id[64], version[32], appendfsync[16], policy[32];
    bool         aof, slow_to_die, no_nudge;
    int64_t      uptime_s;
    unsigned     eras;
    char         me[REDIS__ME];
    unsigned     loaded; /* scripts that this Redis has, one bit each */
    unsigned     era;

    int           wake_fd, epoll_fd;
    struct pollfd polled[REDIS__CONNS + 1];
    redis__conn  *polled_conn[REDIS__CONNS + 1];
    size_t        polled_count;
    int64_t       looked_ms; /* when the sockets were last asked */
    bool          looked, woken;

    ferry__frames   staged, replies, refused;
    ferry__list     withdrawals;
    struct redis__names *names; /* of all targets */
    ferry__target  *probes;
    ferry__admin   *admins;
    size_t          sending; /* frames without an outcome */
    size_t          settled_now, unsettled_now;
    int64_t         ops_ms; /* no replies nor settlements before that: Redis had no memory for them */
    size_t          biggest; /* frame received */
    redis__service *services;
    redis__tail    *tails;
    redis__topic   *topics;
    bool            work; /* something noted needs a flush */

    unsigned char   listeners[64][16]; /* clients that want their answers published: the last ones */
    size_t          listeners_count;

    /* our replies */
    ferry__source *replies_to;
    char           inbox[REDIS__KEY];
    uint64_t       inbox_ms, inbox_seq; /* the last one read */
    int64_t        inbox_fresh_ms;      /* when it was last kept alive; 0: it does not exist */
    bool           inbox_asked, inbox_there, inbox_used;
    size_t         inbox_read;          /* since the last trim */
};

/* ---- conn.c --------------------------------------------------------------------------------------------------------- */
bool redis__conn_open(redis__conn *c);
void redis__conn_close(redis__conn *c, bool abandon); /* every want is told */
void redis__conn_done(redis__conn *c, bool abandon);
/* The command that was just written to c->out will be answered to `answer`. */
redis__want *redis__ask(redis__conn *c, redis__answer_fn *answer, void *what, uint64_t number);
redis__want *redis__ask_lazily(redis__conn *c, redis__answer_fn *answer, void *what, uint64_t number);
void redis__ignore(redis__pipe *p, redis__want *w, const redis__value *v); /* an answer nobody looks at */
void redis__conn_flush(redis__conn *c);
void redis__conn_pump(redis__conn *c);
void redis__conn_answer(redis__conn *c, const redis__value *v); /* to whoever asked next */

/* ---- lot.c ---------------------------------------------------------------------------------------------------------- */
void redis__lot_note(redis__conn *c, bool lazy);
bool redis__lot_write(redis__conn *c);
void redis__lot_reset(redis__conn *c);
bool redis__lot_answer(redis__conn *c, const redis__value *v);

/* ---- turn.c --------------------------------------------------------------------------------------------------------- */
void redis__flush(void *self);
void redis__pump(void *self);
void redis__wait(void *self, int ms);
void redis__wake(void *self);
int  redis__next_ms(void *self, int64_t now_ms);
int  redis__fd(void *self);
void redis__deliver(redis__pipe *p);
/* Moves bytes until no read (reads), or no answer on W, is outstanding, or the time is over, or the link. */
void redis__await_quiet(redis__pipe *p, bool reads, int64_t until_ms);

/* ---- link.c --------------------------------------------------------------------------------------------------------- */
void redis__link_start(redis__pipe *p);
void redis__link_fail(redis__pipe *p, ferry_status status, const char *format, ...) FERRY_PRINTF(3, 4);
void redis__link_greeted(redis__conn *c);
void redis__link_turn(redis__pipe *p); /* what is due */
int  redis__link_next_ms(const redis__pipe *p, int64_t now_ms);
void redis__link_new_era(redis__pipe *p);

/* ---- script.c ------------------------------------------------------------------------------------------------------- */
typedef enum redis__script {
    REDIS__RENEW,
    REDIS__RELEASE,
    REDIS__TAKE,
    REDIS__MINE,
    REDIS__OPS,
    REDIS__MOVE,
    REDIS__WITHDRAW,
    REDIS__ALIVE,
    REDIS__UNBURY,
    REDIS__INBOX,
    REDIS__EVENT_TEXTS, /* from here on: event_script.c */
    REDIS__ABOUT = REDIS__EVENT_TEXTS,
    REDIS__JOIN,
    REDIS__EVENT_OPS,
    REDIS__TRIM,
    REDIS__CAUGHT_UP,
    REDIS__LAG,
    REDIS__TOPICS,
    REDIS__TOPIC_END,
    REDIS__AGAIN,
    REDIS__SCRIPTS
} redis__script;
/* Writes the head of the call to W: the words that follow are `keys` keys and `args` arguments. */
void redis__call(redis__pipe *p, redis__script s, size_t keys, size_t args);
/* Was the answer "no such script"? Then it goes as text the next time. */
bool redis__forgotten(redis__pipe *p, redis__script s, const redis__value *v);

/* ---- wire.c --------------------------------------------------------------------------------------------------------- */
size_t redis__wire_start(char *to, size_t size, const char *key);
void redis__wire_request(ferry__buf *b, const char *start, size_t start_length, const ferry__frame *f, bool pubsub,
                         int64_t now_ms);
size_t redis__wire_words(const ferry__frame *f); /* how many redis__wire_put writes */
void redis__wire_put(ferry__buf *b, const ferry__frame *f, uint32_t attempt);
void redis__wire_reply(ferry__buf *b, const char *ns, const ferry__frame *f);
void redis__wire_publish(ferry__buf *b, const char *ns, const ferry__frame *f);
/* From the fields of an entry; NULL with OK: not for us (a newer kind). age_ms: how long it has been under way. */
ferry__frame *redis__wire_read(const redis__value *fields, int64_t now_ms, int64_t age_ms, ferry_status *why);
ferry__frame *redis__wire_read_reply(const redis__value *fields, const unsigned char client[16], ferry_status *why);
ferry__frame *redis__wire_read_published(const char *text, size_t length, const unsigned char client[16]);
bool          redis__wire_pubsub(const ferry__frame *f); /* how its reply goes: noted in tag[1] of a received call */
void          redis__entry_id(const char *text, uint64_t *ms, uint64_t *seq);
void          redis__word_entry(ferry__buf *b, uint64_t ms, uint64_t seq);
ferry_status  redis__error_status(const redis__value *v, bool *again);

/* ---- send.c, inbox.c ------------------------------------------------------------------------------------------------ */
void redis__send_all(redis__pipe *p);
void redis__send_news(redis__pipe *p); /* in pump */
void redis__send_refused(redis__pipe *p);
void redis__send_refuse(redis__pipe *p, ferry__frame *f, ferry_status status);
void redis__send_end(redis__pipe *p, ferry__frame *f, ferry__fate fate, ferry_status status, const char *why);
void redis__send_denied(redis__pipe *p, ferry__frame *f, const redis__value *v); /* its end, by an error of Redis */
redis__topic **redis__send_topic(redis__pipe *p, ferry__target *t);
bool redis__send_room(redis__pipe *p, const ferry__frame *f);
void redis__send_withdraw(redis__pipe *p, ferry__target *t, ferry__frame *f);
void redis__send_free(redis__pipe *p);
void redis__send_published(redis__pipe *p, const unsigned char client[16]); /* that one wants its answers published */
void redis__inbox_init(redis__pipe *p);
void redis__inbox_ensure(redis__pipe *p);
void redis__inbox_read(redis__pipe *p);
void redis__inbox_cancelled(redis__pipe *p, redis__service *s, const ferry__id *id); /* if it is: tells the core */
void redis__inbox_message(redis__pipe *p, const redis__value *v); /* on S */
void redis__subscribe(redis__pipe *p, const char *channel);

/* ---- service.c, intake.c, settle.c, admin.c ------------------------------------------------------------------------- */
redis__service *redis__service_get(redis__pipe *p, const char *name);
void redis__services_free(redis__pipe *p);
void redis__services_turn(redis__pipe *p);
void redis__services_lost(redis__pipe *p);
void redis__services_leave(redis__pipe *p);
int  redis__services_next_ms(const redis__pipe *p, int64_t now_ms);
void redis__service_renew(redis__pipe *p, redis__service *s); /* soon */
bool redis__service_sure(const redis__pipe *p, const redis__service *s);
bool redis__service_set_parts(redis__service *s, unsigned parts);
void redis__lane_init(redis__lane *l, redis__service *s, ferry__lane lane, unsigned part, const char *key,
                      const char *group);
void redis__lane_free(redis__lane *l);

void redis__intake_read(redis__pipe *p);
void redis__intake_turn(redis__pipe *p);
void redis__lane_deliver(redis__pipe *p, redis__lane *l);
ferry__source *redis__lane_source(const redis__lane *l);
ferry__frame *redis__lane_entry(redis__pipe *p, redis__lane *l, const char *id, const redis__value *fields,
                                uint32_t count);
void redis__lane_forget(redis__lane *l); /* all that was not handed up, without a word to Redis */

redis__receipt *redis__receipt_new(redis__pipe *p, redis__lane *l, ferry__frame *f);
void redis__receipt_free(redis__receipt *r);
void redis__settle_note(redis__pipe *p, ferry__frame *f, redis__op op);
void redis__settle_op(redis__pipe *p, redis__receipt *r, redis__op op);
void redis__settle_back(redis__pipe *p, redis__lane *l);
void redis__settle_all(redis__pipe *p);
void redis__settle_answer(redis__pipe *p, redis__want *w, const redis__value *v, redis__script s);

void redis__admin_ask(redis__pipe *p);

#endif
