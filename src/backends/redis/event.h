/* event.h - events on Redis: what its files own.
 *
 *     event.c         listening and leaving, the start of a subscription, its connection      event_script.c   the Lua texts
 *     event_group.c   a member of a group: lanes of its service that are read with XREADGROUP and acknowledged in lots
 *     event_tail.c    a broadcast: cursors of our own, read with XREAD
 *     event_topic.c   publishing: the topic as its maker set it, XADD, retention             event_admin.c    topics and lag
 *
 * A domain is a topic, NS:{DOMAIN}:topic, and a stream a part, NS:{DOMAIN}:events, :events:1 … A group has one name on all of them.
 * Its members are the servers of NS:{DOMAIN/GROUP}, whose lease, parts, retry set and dead letters are theirs: part N of the events
 * belongs to the one who has part N of the posts.
 *
 * Trimming. Only our script trims. It notes the last entry that it cut in the topic (trimmed:PART), and ends, in the same step, each
 * group that had not been given that entry. So a position is broken exactly if it is below `trimmed`, and a group that retention has
 * overtaken cannot read on by mistake. */
#ifndef FERRY_REDIS_EVENT_H
#define FERRY_REDIS_EVENT_H

#include "backends/redis/redis.h"

enum { REDIS__AHEAD = 2048, REDIS__COMMIT_MS = 2, REDIS__COMMIT_LOT = 512 };

typedef struct redis__mark {
    uint64_t ms, seq;
} redis__mark;

static inline bool redis__mark_below(redis__mark a, redis__mark b)
{
    return a.ms < b.ms || (a.ms == b.ms && a.seq < b.seq);
}

/* Where a subscription starts, and what came of it.
 *
 *     fresh --JOIN--> there --the link goes down, NOGROUP--> JOIN again, as it was --> there
 *                 '-> broken --seek--> fresh */
typedef struct redis__start {
    int          from;
    int64_t      time_ms;
    char        *position;
    bool         fresh;  /* by the wish; else it goes on */
    bool         moves;  /* fresh by a seek: a group that is there is moved */
    bool         asking, there, broken, known, caught_up;
    uint64_t     number; /* of the wish: answers to an older one are of no use */
    unsigned     parts;
    char         born[40];
    redis__mark *marks, *ends; /* by part: where it begins; what was stored then */
} redis__start;

struct redis__group {
    redis__service *service;
    char           *domain, *name;
    redis__lane    *lanes; /* service->parts + 1 */
    redis__conn    *conn;
    redis__start    start;
    int             ahead;     /* events read before there is credit: what is handled in a short while */
    int64_t         window_ms;
    size_t          handled;   /* since then */
    size_t          lively;    /* streams that had something at the last read */
    unsigned        next;      /* lane to be served first */
    int64_t         commit_ms, stuck_ms, look_ms; /* INT64_MAX: not due */
    bool            looking;
};

typedef struct redis__tail_part {
    redis__mark  at, end;      /* read so far; what was stored at the start */
    redis__mark  from, first;  /* of a read that has yet to be compared with what was trimmed */
    bool         unsure;
    redis__mark *ring;         /* handed out and not finished before the first; ms 0: finished */
    size_t       room, count;
    uint64_t     base;         /* number of the ring's first */
    redis__mark  done;         /* all up to it is finished */
    char         key[REDIS__KEY];
} redis__tail_part;

struct redis__tail {
    redis__tail      *next;
    ferry__source    *source; /* NULL: unlistened, some of it is still up */
    char             *domain, *box;
    redis__conn      *conn;
    redis__start      start;
    redis__tail_part *parts; /* start.parts + 1 */
    int               credit;
    ferry__frames     backlog;
    size_t            held, lively;
    bool              behind;  /* there may be more: read without waiting, and look what was trimmed */
    struct burial    *burials;
};

struct redis__topic {
    redis__topic *next;
    char         *name;
    char          key[REDIS__KEY];
    unsigned      parts; /* 0: to be asked */
    struct redis__head {
        char   text[REDIS__KEY + 92];
        size_t length;
    } * heads; /* by part: what an XADD begins with */
    bool          asking, trimming, stale; /* stale: the link was down */
    ferry__frames waiting, again; /* again: they may be stored already */
    int64_t       trim_ms, every_ms, keep_ms, keep_bytes, bytes;
    size_t        sent; /* since the last trim, as `bytes` is */
};

const char *redis__event_text(redis__script s);

/* ---- event.c -------------------------------------------------------------------------------------------------------- */
ferry_status redis__events_listen(redis__pipe *p, ferry__source *source);
void redis__events_unlisten(redis__pipe *p, ferry__source *source);
void redis__events_credit(redis__pipe *p, ferry__source *source, int frames);
void redis__events_seek(redis__pipe *p, ferry__source *source, const ferry__wish *to);
void redis__events_turn(redis__pipe *p); /* in flush */
void redis__events_read(redis__pipe *p);
void redis__events_tidy(redis__pipe *p); /* in pump */
void redis__events_lost(redis__pipe *p);
void redis__events_free(redis__pipe *p);
int64_t redis__events_due(const redis__pipe *p);

bool redis__start_wish(redis__start *s, const ferry__wish *wish);
void redis__start_done(redis__start *s);
/* Asks; group NULL: a broadcast, which goes on from `at`. only: the parts that a seek moves, ended by 0. */
void redis__start_ask(redis__pipe *p, redis__start *s, const char *domain, const char *group, const char *only,
                      const char *at, redis__answer_fn *answer, void *what);
typedef enum redis__began { REDIS__BEGAN, REDIS__BEGINS_LATER, REDIS__BROKEN } redis__began;
redis__began redis__start_answer(redis__pipe *p, redis__start *s, redis__want *w, const redis__value *v, char *why,
                                 ferry_status *status);
redis__conn *redis__reader_take(redis__pipe *p);
bool         redis__reader_opened(redis__pipe *p, redis__conn *c);
void         redis__reader_nudge(redis__pipe *p, redis__conn *c);
void         redis__topic_key(const redis__pipe *p, char to[REDIS__KEY], const char *domain, const char *end);
void         redis__topic_words(redis__pipe *p, const char *domain); /* the keys and first arguments of ABOUT and its like */
size_t       redis__read_count(const redis__pipe *p, size_t wanted, size_t lively);

/* ---- event_group.c -------------------------------------------------------------------------------------------------- */
redis__group *redis__group_get(redis__service *s, const char *domain, const char *name, const char *ns);
void redis__group_free(redis__service *s);
static inline redis__lane *redis__group_lane(redis__group *g, unsigned part)
{
    return &g->lanes[part];
}
bool    redis__group_turn(redis__pipe *p, redis__group *g); /* may the lease be renewed: are the parts known? */
void    redis__group_deliver(redis__pipe *p, redis__group *g);
void    redis__group_operate(redis__pipe *p, redis__lane *l, redis__receipt *first);
bool    redis__group_commits(redis__pipe *p, redis__group *g);
void    redis__group_seek(redis__pipe *p, redis__group *g);
void    redis__group_read(redis__pipe *p, redis__group *g);
void    redis__group_lost(redis__pipe *p, redis__lane *l, const char *id); /* unfinished, and trimmed away */
void    redis__group_down(redis__group *g);
int64_t redis__group_due(const redis__group *g);

/* ---- event_tail.c --------------------------------------------------------------------------------------------------- */
static inline bool redis__tail_has(const ferry__frame *f)
{
    return f->tag[0] & 1;
}
void    redis__tail_end(redis__pipe *p, ferry__frame *f);
void    redis__tail_back(redis__pipe *p, ferry__frame *f);
void    redis__tail_bury(redis__pipe *p, ferry__frame *f, const char *box, const void *record, size_t length);
redis__tail *redis__tail_new(redis__pipe *p, ferry__source *source);
void    redis__tail_free(redis__tail *t);
void    redis__tail_turn(redis__pipe *p, redis__tail *t);
void    redis__tail_read(redis__pipe *p, redis__tail *t);
void    redis__tail_seek(redis__tail *t);
bool    redis__tail_over(redis__pipe *p, redis__tail *t); /* nothing of it is up any more; also tells what there is to tell */
void    redis__tail_down(redis__tail *t);
void    redis__tails_deliver(redis__pipe *p);
void    redis__tail_position(const redis__tail *t, ferry__buf *to, bool finished); /* else as read */

/* ---- event_topic.c, event_admin.c ----------------------------------------------------------------------------------- */
void    redis__topic_send(redis__pipe *p, ferry__target *t, ferry__frame *f);
void    redis__topic_turn(redis__pipe *p, redis__topic *t);
void    redis__topic_down(redis__topic *t);
void    redis__topic_free(redis__topic *t);
bool    redis__topic_ask(redis__pipe *p, ferry__admin *a); /* false: not about events */

#endif
