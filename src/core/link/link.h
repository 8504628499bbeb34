/* link.h - one handle's transport, who drives it, and what is under way on it.
 *
 * Leader and followers. Nothing is relayed: whoever waits for something drives the transport himself.
 *
 *     await  --- nobody drives ---> DRIVER: flush, step, pump, wait, ...  --- done ---> leave: next waiter, else the background
 *            --- somebody does ---> FOLLOWER: sleeps on its own bell until poked or offered the role
 *
 * Invariants
 * 1. At most one driver. Only it calls step and wait.
 * 2. Whoever stops waiting calls ferry__link_leave: with nobody driving and work left, the next waiter is woken, else the background.
 * 3. The driver never sleeps on noted work (`dirty`), and whoever notes work while it sleeps wakes it.
 * 4. The background thread exists once something must go on while nobody is inside a call (`alone` messages, unflushed work, a
 *    handler that is long). It ticks for a while after its last work, so that busy programs never pay to wake it, then sleeps for good.
 * 5. No user code and no transport's blocking call runs under the lock. */
#ifndef FERRY_LINK_LINK_H
#define FERRY_LINK_LINK_H

#include "base/bell.h"
#include "base/list.h"
#include "link/backend.h"
#include "link/jobs.h"
#include "link/peer.h"
#include "link/pending.h"
#include "link/wheel.h"

#include <pthread.h>

/* clang-format off */
#define FERRY__COUNTERS(X) \
    X(calls_sent) X(calls_ok) X(calls_failed) X(posts_sent) X(posts_accepted) X(posts_failed) X(events_sent) X(events_accepted) X(events_failed) X(replies_late) \
    X(requests_received) X(requests_handled) X(requests_failed) X(requests_expired) X(requests_cancelled) X(requests_handed_back) \
    X(requests_maybe_executed) X(events_received) X(posts_retried) X(posts_dead) X(sent_again) X(connects) X(disconnects)

/* clang-format on */
typedef struct ferry__counters {
#define FERRY__COUNTER_(name) uint64_t name;
    FERRY__COUNTERS(FERRY__COUNTER_)
#undef FERRY__COUNTER_
} ferry__counters;

typedef struct ferry__waiter {
    ferry__node node;  /* among the followers */
    ferry__node place; /* among idle workers, or watchers */
    ferry__bell bell;
    bool        poked;
    bool        worker; /* takes ready jobs when it returns */
} ferry__waiter;

typedef struct ferry__link ferry__link;

/* What the ends do with news. With the lock held. */
typedef struct ferry__hooks {
    void (*arrived)(ferry__link *l, ferry__source *source, ferry__frame *frame); /* takes the frame */
    void (*answered)(ferry__link *l, ferry__admin *admin);
    void (*turned)(ferry__link *l); /* after each pump: credits and so on */
    void (*begins)(ferry__link *l, ferry__job *job);
    void (*left)(ferry__link *l); /* a worker ended; without the lock */
    void (*ready)(ferry__link *l, ferry__source *source);
    void (*caught_up)(ferry__link *l, ferry__source *source);
    void (*broken)(ferry__link *l, ferry__source *source, ferry_status status, const char *why);
} ferry__hooks;

typedef struct ferry__layer { /* a decorator, or the transport itself */
    const ferry__backend *backend;
    void                 *self;
    ferry__config         config;
} ferry__layer;

enum { FERRY__LAYERS = 4 };

struct ferry__link {
    ferry__up             up; /* first: what the transport calls */
    pthread_mutex_t       lock;
    const ferry__backend *backend; /* the outermost layer */
    void                 *self;
    ferry__layer          layers[FERRY__LAYERS]; /* innermost first */
    size_t                depth;
    unsigned              bits;
    const ferry__abilities *more; /* the outermost's, NULL where the innermost has none */
    const ferry__hooks   *hooks;
    ferry__log            log;

    ferry__state state;
    ferry_status state_status; /* why it is not up */
    unsigned     same_failures; /* how often in a row it was told why */
    char         state_why[FERRY_WHY_SIZE];

    ferry__waiter *driver;   /* NULL: nobody drives */
    bool           sleeping; /* the driver, in the transport's wait */
    bool           dirty;    /* something was noted since the last flush */
    bool           wants_role; /* the background shall give the role up */
    bool           quit, looped; /* looped: a foreign event loop drives */
    int64_t        now_ms;   /* read once a turn */
    int64_t        flushed_ms; /* when somebody flushed who does not drive */
    uint64_t       turns;
    ferry__list    followers, watchers;
    ferry__jobs    jobs;
    int            loop_epoll, loop_event;

    pthread_t     background;
    bool          background_runs;
    ferry__waiter behind;         /* the background's */
    int64_t       background_at;  /* when it shall look; INT64_MAX: never */
    int64_t       background_end; /* when its present sleep ends */
    int           idle_ticks;
    uint64_t      turns_seen, begun_seen; /* at the background's last look */

    ferry__table   table;
    ferry__peers   peers;
    ferry__wheel   wheel;
    uint64_t       serial;
    size_t         alone;       /* pending ones that nobody waits for */
    size_t         posting;     /* posts and events that are not accepted yet */
    size_t         uncollected; /* ended ones that a caller will come for */
    size_t         settling;    /* settles without an answer */
    size_t         probing;     /* probes without one */
    size_t         subscribing; /* subscriptions that are not ready */
    int64_t        leaving_ms;  /* until then a subscription that ended may be on its way out, which nobody waits for */
    size_t         max_pending;
    int            grace_ms, refresh_ms;
    ferry_status   first_failure; /* of a message sent alone, since the last flush */
    ferry__counters counts;
};

/* Opening and ending. open answers INVALID and the like with the reason; end is called all the same. */
ferry_status ferry__link_open(ferry__link *l, const ferry__url *url, const ferry__config *config,
                              const ferry__setting *own, char *why);
void         ferry__link_init(ferry__link *l, const ferry__hooks *hooks, const ferry__log *log);
void         ferry__link_stop_background(ferry__link *l); /* without the lock */
void         ferry__link_close(ferry__link *l);           /* closes the transport; without the lock, nobody drives */
void         ferry__link_end(ferry__link *l);             /* nobody is inside any more */
void         ferry__link_abandon(ferry__link *l);         /* in a forked child */

static inline void ferry__link_lock(ferry__link *l)
{
    pthread_mutex_lock(&l->lock);
}
static inline void ferry__link_unlock(ferry__link *l)
{
    pthread_mutex_unlock(&l->lock);
}

bool ferry__link_hopeless(const ferry__link *l); /* down for a reason that waiting does not mend */

/* Driving; all with the lock held, all may release it in between. */
void ferry__waiter_init(ferry__waiter *w);
void ferry__link_watch(ferry__link *l, ferry__waiter *w); /* poked at each ending, settlement and change of state */
void ferry__waiter_poke(ferry__link *l, ferry__waiter *w);
/* One step towards w's being poked: a turn as driver, or a sleep as follower; no longer than until_ms (INT64_MAX: no limit). */
void ferry__link_wait(ferry__link *l, ferry__waiter *w, int64_t until_ms);
void ferry__link_leave(ferry__link *l);
void ferry__link_turn(ferry__link *l, ferry__waiter *w); /* work without waiting; does nothing if somebody drives */
void ferry__link_poke_watchers(ferry__link *l);

/* Work was noted (a send, a settle, a credit). `stays`: the caller will wait now and drives it himself. */
void ferry__link_noted(ferry__link *l, bool stays);
void ferry__link_signal(ferry__link *l);                       /* a foreign loop shall come round */
void ferry__link_background_by(ferry__link *l, int64_t at_ms); /* the background looks by then */

#endif
