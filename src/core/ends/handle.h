/* handle.h - what `ferry *` points to: a link and the ends that use it.
 *
 * Counted: by the program until ferry_close, by every future, request, worker and callback thread. ferry_close ends all calls, waits
 * up to its grace and closes the transport; the memory goes with the last holder. Guarded by the link's lock where nothing else is said. */
#ifndef FERRY_ENDS_HANDLE_H
#define FERRY_ENDS_HANDLE_H

#include "ends/callbacks.h"
#include "ends/names.h"
#include "ends/router.h"
#include "link/link.h"

#include <stdatomic.h>

enum { FERRY__CANCELS_KEPT = 32 };

struct ferry {
    ferry__link   link; /* first */
    atomic_size_t refs;
    unsigned      forks;  /* ferry__fork_count() at open */
    ferry_status  broken; /* INVALID or NO_MEMORY: nothing works, and problem says why */
    char          problem[FERRY_WHY_SIZE];
    ferry__url    url;
    char         *name, *source, *ns;
    ferry__name  *names; /* on the broker, where they differ */
    int           timeout_ms, close_ms;
    size_t        workers, max_message;
    ferry_drop_fn *on_drop;
    void          *arg;

    atomic_bool   stopping; /* ferry_stop: also from a signal handler */
    atomic_int    stoppers; /* threads inside ferry_stop */
    bool          draining, quiet, closed; /* quiet: drained, and said so */
    bool          serving;
    ferry__router router;
    struct ferry__service *services;
    size_t        ended;    /* subscriptions that wait to be freed */
    ferry__source replies;
    ferry__list   requests; /* received and not finished */
    size_t        deferred;
    ferry__id     cancels[FERRY__CANCELS_KEPT]; /* of calls that are not here (yet) */
    size_t        cancels_count;
    size_t        window;     /* frames we hold or may be handed, a source */
    bool          stuck;      /* all workers are in long handlers: nothing is asked for that would wait behind them */
    ferry__timer  long_look;  /* is a handler long while messages wait behind it? */
    uint64_t      handler_ns; /* moving average */
    ferry__callbacks callbacks;
};

static inline ferry *ferry__handle_of(ferry__link *l)
{
    return (ferry *)(void *)l;
}

static inline ferry *ferry__handle_ref(ferry *f)
{
    atomic_fetch_add_explicit(&f->refs, 1, memory_order_relaxed);
    return f;
}
void ferry__stops_init(void); /* once a process, before a handle can be stopped */
void ferry__handle_unref(ferry *f);
void ferry__handle_free_forked(ferry *f); /* in a forked child, where nobody else is inside */

/* Why nothing works with f, as far as can be told without its lock: NO_MEMORY (NULL), INVALID (broken, forked); OK. */
ferry_status ferry__handle_refusal(const ferry *f, char *why);
/* The same, or CLOSED: nothing new may begin. With the lock held. */
ferry_status ferry__handle_usable(ferry *f, char *why);
/* Notes the first mistake for ferry_problem; answers status. With the lock held. */
ferry_status ferry__handle_mistake(ferry *f, ferry_status status, const char *why);

/* User code is running on this thread for f (NULL: none). */
extern _Thread_local const ferry *ferry__inside;
extern _Thread_local const ferry_request *ferry__running; /* the request it runs for */

#endif
