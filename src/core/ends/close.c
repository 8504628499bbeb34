/* close.c - serving, stopping and closing: how a handle goes down.
 *
 *     SERVING --- ferry_stop, ferry_close ---> DRAINING: sources closed, what was not begun handed back
 *             --- quiet, or the grace is over ---> the rest ends CANCELLED, threads end
 *             --- transport closed ---> CLOSED: memory stays for futures, deferred requests, handlers that outstayed */
#include "base/clock.h"
#include "base/thread.h"
#include "ends/handle.h"
#include "ends/options.h"
#include "ends/request.h"
#include "ends/serve.h"
#include "data/route.h"

#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* ---- serving ---- */

static ferry_status note(ferry *f, ferry_status status, const char *why)
{
    ferry__link_lock(&f->link);
    ferry__handle_mistake(f, status, why);
    ferry__link_unlock(&f->link);
    return status;
}

ferry_status ferry_handle(ferry *f, const char *route, ferry_handler_fn *handler, void *arg,
                          const ferry_handle_options *options)
{
    char why[FERRY_WHY_SIZE] = "";
    ferry_handle_options o;
    if (!f)
        return FERRY_NO_MEMORY;
    ferry_status status = ferry__options_take(&o, sizeof o, options, why);
    if (status == FERRY_OK && !handler) {
        ferry__why(why, "'%.100s' has no handler", route ? route : "");
        status = FERRY_INVALID;
    }
    if (ferry__handle_refusal(f, NULL) != FERRY_OK)
        return ferry__handle_refusal(f, NULL);
    if (status != FERRY_OK)
        return note(f, status, why);
    ferry__link_lock(&f->link);
    status = ferry__handle_usable(f, why);
    if (status == FERRY_OK)
        status = ferry__router_add(&f->router, route, handler, arg, &o, why);
    if (status == FERRY_OK && o.verbs != FERRY_PUBLISH)
        status = ferry__serve_name(f, route, ferry__route_service(route));
    ferry__handle_mistake(f, status, why);
    ferry__link_unlock(&f->link);
    return status;
}

ferry_status ferry_guard(ferry *f, const char *route, ferry_guard_fn *guard, void *arg)
{
    char why[FERRY_WHY_SIZE] = "";
    if (ferry__handle_refusal(f, NULL) != FERRY_OK)
        return ferry__handle_refusal(f, NULL);
    ferry_status status = guard ? ferry__route_check_pattern(route, why) : FERRY_INVALID;
    ferry__link_lock(&f->link);
    if (status == FERRY_OK)
        status = ferry__handle_usable(f, why);
    if (status == FERRY_OK)
        status = ferry__router_guard(&f->router, route, guard, arg);
    ferry__handle_mistake(f, status, why);
    ferry__link_unlock(&f->link);
    return status;
}

/* Each worker holds the handle: one that outstays close ends with it. */
static bool start_workers(ferry *f)
{
    if (f->link.looped)
        return true;
    for (size_t i = 0; i < f->workers; i++)
        ferry__handle_ref(f);
    size_t runs = ferry__jobs_start(&f->link, f->workers);
    for (size_t i = runs; i < f->workers; i++)
        ferry__handle_unref(f);
    return runs > 0;
}

ferry_status ferry_serve(ferry *f)
{
    char why[FERRY_WHY_SIZE] = "";
    ferry_status status = ferry__handle_refusal(f, why);
    if (status != FERRY_OK)
        return status;
    ferry__link_lock(&f->link);
    status = ferry__handle_usable(f, why);
    bool first = status == FERRY_OK && !f->serving;
    if (status == FERRY_OK)
        status = ferry__serve_begin(f);
    if (status == FERRY_OK && first && !start_workers(f)) {
        status = FERRY_NO_MEMORY;
        ferry__serve_undo(f);
    }
    ferry__link_unlock(&f->link);
    return status;
}

/* A signal may reach a thread late, when ferry_run is over and the handle gone: its handler touches nothing but these. A semaphore,
 * since sem_post(3) is safe there and sem_wait(3) is seen by tools that defer signals to blocking calls. */
static sem_t stops;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static atomic_uint signals;
static atomic_uint runs;

static void make_stops(void)
{
    sem_init(&stops, 0, 0);
}

void ferry__stops_init(void)
{
    pthread_once(&once, make_stops);
}

static void on_signal(int number)
{
    (void)number;
    atomic_fetch_add(&signals, 1);
    sem_post(&stops);
}

/* Called in signal handlers as well: atomics and a futex, nothing else. */
void ferry_stop(ferry *f)
{
    if (!f)
        return;
    atomic_fetch_add(&f->stoppers, 1);
    atomic_store(&f->stopping, true);
    if (f->link.backend)
        f->link.backend->wake(f->link.self);
    sem_post(&stops);
    atomic_fetch_sub(&f->stoppers, 1);
}

static void nap(void)
{
    ferry__bell bell = {0};
    ferry__bell_sleep(&bell, 0, 1, false);
}

/* With several ferry_run in one process a post may reach the wrong one: it passes it on. */
static void wait_for_stop(ferry *f, unsigned before)
{
    while (!atomic_load(&f->stopping) && atomic_load(&signals) == before) {
        sem_wait(&stops);
        if (atomic_load(&runs) > 1) {
            sem_post(&stops);
            nap();
        }
    }
}

int ferry_run(ferry *f)
{
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, old_int, old_term;
    unsigned before = atomic_load(&signals); /* a signal from here on counts, however early */
    bool stopped = f && atomic_load(&f->stopping);
    if (!f || (!stopped && ferry_serve(f) != FERRY_OK) || f->problem[0]) {
        ferry_close(f);
        return 2;
    }
    bool first = atomic_fetch_add(&runs, 1) == 0; /* one of several at a time installs the handlers, for all */
    if (first) {
        sigaction(SIGINT, &act, &old_int);
        sigaction(SIGTERM, &act, &old_term);
    }
    wait_for_stop(f, before);
    if (first) {
        sigaction(SIGINT, &old_int, NULL);
        sigaction(SIGTERM, &old_term, NULL);
    }
    atomic_fetch_sub(&runs, 1);
    return ferry_close(f) == FERRY_OK ? 0 : 1;
}

/* ---- closing ---- */

static bool quiet(const ferry *f)
{
    return ferry__serve_quiet(f) && f->link.posting == 0;
}

static void wait_quiet(ferry *f, int64_t until_ms)
{
    ferry__link *l = &f->link;
    ferry__waiter w;
    ferry__waiter_init(&w);
    ferry__link_watch(l, &w);
    if (!f->draining)
        ferry__serve_drain(f);
    while (!quiet(f) && ferry__now_ms() < until_ms) {
        w.poked = false;
        ferry__link_wait(l, &w, until_ms);
    }
    ferry__list_remove(&w.place);
}

static void cancel_all(ferry *f)
{
    ferry__link *l = &f->link;
    for (size_t i = 0; i < l->table.size && l->table.buckets; i++)
        while (l->table.buckets[i])
            ferry__pending_cancel(l, l->table.buckets[i], FERRY_CANCELLED, "the handle was closed");
}

/* The driver has to be out of the transport before it is closed; everyone who could drive has nothing left to wait for. */
static void wait_undriven(ferry *f)
{
    ferry__link *l = &f->link;
    for (; l->driver; ferry__link_lock(l)) {
        if (l->sleeping)
            l->backend->wake(l->self);
        ferry__link_unlock(l);
        nap();
    }
}

static void shut(ferry *f)
{
    ferry__link *l = &f->link;
    ferry__link_lock(l);
    wait_undriven(f);
    ferry__waiter w;
    ferry__waiter_init(&w);
    ferry__link_turn(l, &w); /* a cancel's last words */
    wait_undriven(f);
    f->closed = true;
    ferry__link_unlock(l);
    ferry__link_close(l);
}

static ferry_status forked(ferry *f)
{
    ferry__link_abandon(&f->link);
    atomic_store(&f->refs, 0);
    ferry__handle_free_forked(f);
    return FERRY_OK;
}

static ferry_status close_open(ferry *f)
{
    int64_t until_ms = ferry__now_ms() + f->close_ms;
    atomic_store(&f->stopping, true);
    ferry__link_lock(&f->link);
    wait_quiet(f, until_ms);
    bool good = quiet(f);
    cancel_all(f);
    ferry__link_unlock(&f->link);
    int64_t grace_ms = ferry__now_ms() + 20; /* what is idle ends at once; who outstayed has had his time */
    while (atomic_load(&f->stoppers) > 0)
        nap(); /* who stopped us may still be in there */
    good = ferry__jobs_stop(&f->link, grace_ms > until_ms ? grace_ms : until_ms) && good;
    ferry__link_stop_background(&f->link);
    shut(f);
    good = ferry__callbacks_stop(f, grace_ms > until_ms ? grace_ms : until_ms) && good;
    return good ? FERRY_OK : FERRY_TIMEOUT;
}

ferry_status ferry_close(ferry *f)
{
    if (!f)
        return FERRY_OK;
    if (f->forks != ferry__fork_count())
        return forked(f);
    if (ferry__inside == f)
        return FERRY_INVALID;
    ferry_status status = FERRY_OK;
    if (!f->broken)
        status = close_open(f);
    else
        ferry__callbacks_stop(f, ferry__now_ms() + f->close_ms);
    ferry__handle_unref(f);
    return status;
}
