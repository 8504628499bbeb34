/* jobs.c - the queue of ready handlers, and the workers that run them.
 *
 * A worker without a job waits like everybody else: it drives the link, so the thread that reads a request also runs its handler.
 * While handlers run and nobody drives, the background looks every few milliseconds (STANDBY_MS) and takes over. */
#include "link/jobs.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/thread.h"
#include "link/link.h"

#include <string.h>

enum { STANDBY_MS = 5, EARLY_US = 200 };

void ferry__jobs_init(ferry__jobs *j)
{
    memset(j, 0, sizeof *j);
    ferry__list_init(&j->urgent);
    ferry__list_init(&j->other);
    ferry__list_init(&j->idle);
}

static ferry__job **holder(ferry__jobs *j, uint64_t key)
{
    ferry__job **at = &j->busy[key % 256];
    while (*at && (*at)->key != key)
        at = &(*at)->chain;
    return at;
}

static void make_ready(ferry__jobs *j, ferry__job *job)
{
    ferry__list_append(job->urgent ? &j->urgent : &j->other, &job->node);
    j->ready++;
}

void ferry__jobs_add(ferry__link *l, ferry__job *job)
{
    ferry__jobs *j = &l->jobs;
    ferry__list_init(&job->node);
    job->behind = job->chain = job->last = NULL;
    ferry__job **at = job->key ? holder(j, job->key) : NULL;
    if (at && *at) {
        ferry__job *first = *at, *last = first->last ? first->last : first;
        last->behind = job;
        first->last = job;
        j->blocked++;
        return;
    }
    if (at)
        *at = job;
    make_ready(j, job);
}

void ferry__jobs_again(ferry__jobs *j, ferry__job *job)
{
    make_ready(j, job);
}

ferry__job *ferry__jobs_take(ferry__jobs *j)
{
    ferry__node *n = ferry__list_shift(&j->urgent);
    if (!n)
        n = ferry__list_shift(&j->other);
    if (!n)
        return NULL;
    j->ready--;
    j->running++;
    return FERRY__OF(n, ferry__job, node);
}

void ferry__jobs_free_key(ferry__jobs *j, ferry__job *job)
{
    ferry__job **at = holder(j, job->key), *next = job->behind;
    if (!job->key || *at != job)
        return;
    *at = job->chain;
    job->behind = NULL;
    if (!next)
        return;
    next->last = job->last == next ? NULL : job->last;
    next->chain = *at;
    *at = next;
    j->blocked--;
    make_ready(j, next);
}

static bool remove_behind(ferry__jobs *j, ferry__job *first, ferry__job *job)
{
    for (ferry__job *at = first; at; at = at->behind)
        if (at->behind == job) {
            at->behind = job->behind;
            if (first->last == job)
                first->last = at == first ? NULL : at;
            job->behind = NULL;
            j->blocked--;
            return true;
        }
    return false;
}

bool ferry__jobs_remove(ferry__jobs *j, ferry__job *job)
{
    if (ferry__node_linked(&job->node)) {
        ferry__list_remove(&job->node);
        j->ready--;
        ferry__jobs_free_key(j, job);
        return true;
    }
    return job->key && *holder(j, job->key) != job && remove_behind(j, *holder(j, job->key), job);
}

void ferry__jobs_wake(ferry__link *l, size_t spare)
{
    size_t want = l->jobs.ready > spare ? l->jobs.ready - spare : 0;
    for (ferry__node *n = l->jobs.idle.next; n != &l->jobs.idle && want > 0; n = n->next) {
        ferry__waiter *w = FERRY__OF(n, ferry__waiter, place);
        if (w->poked)
            continue;
        ferry__waiter_poke(l, w);
        want--;
    }
}

static void run(ferry__link *l, ferry__job *job)
{
    if (!l->driver)
        ferry__link_background_by(l, l->now_ms + STANDBY_MS);
    if (l->jobs.ready > 0)
        ferry__jobs_wake(l, 0);
    l->jobs.begun++;
    l->hooks->begins(l, job);
    ferry__link_unlock(l);
    job->run(job); /* ends with the job done or deferred */
}

static void idle(ferry__link *l, ferry__waiter *w)
{
    ferry__list_append(&l->jobs.idle, &w->place);
    w->poked = false;
    while (!w->poked && l->jobs.ready == 0 && !l->jobs.stopping)
        ferry__link_wait(l, w, INT64_MAX);
    ferry__list_remove(&w->place);
}

/* Answers of short handlers leave together; those of long ones must not wait for the next handler. */
static void send_early(ferry__link *l, ferry__waiter *w, int64_t *since_us)
{
    int64_t now_us = ferry__now_us();
    l->now_ms = now_us / 1000;
    if (now_us - *since_us > EARLY_US && l->dirty) {
        ferry__link_turn(l, w);
        now_us = ferry__now_us();
    }
    if (!l->dirty)
        *since_us = now_us;
}

static void *work(void *arg)
{
    ferry__link *l = arg;
    ferry__waiter w;
    int64_t since_us = 0;
    ferry__waiter_init(&w);
    w.worker = true;
    ferry__link_lock(l);
    while (!l->jobs.stopping || l->jobs.ready > 0) {
        if (l->jobs.ready > 0)
            send_early(l, &w, &since_us);
        ferry__job *job = ferry__jobs_take(&l->jobs);
        if (job)
            run(l, job);
        else
            idle(l, &w);
    }
    ferry__link_leave(l);
    l->jobs.alive--;
    ferry__link_poke_watchers(l);
    ferry__link_unlock(l);
    l->hooks->left(l);
    return NULL;
}

size_t ferry__jobs_start(ferry__link *l, size_t workers)
{
    ferry__jobs *j = &l->jobs;
    if (!j->threads)
        j->threads = ferry__alloc(workers * sizeof *j->threads);
    while (j->threads && j->started < workers &&
           ferry__thread_start(&j->threads[j->started], "ferry-worker", work, l)) {
        j->started++;
        j->alive++;
    }
    return j->started;
}

static bool wait_for_workers(ferry__link *l, int64_t until_ms)
{
    ferry__waiter w;
    ferry__waiter_init(&w);
    ferry__link_watch(l, &w);
    while (l->jobs.alive > 0 && ferry__now_ms() < until_ms) {
        w.poked = false;
        ferry__link_wait(l, &w, until_ms);
    }
    ferry__list_remove(&w.place);
    return l->jobs.alive == 0;
}

bool ferry__jobs_stop(ferry__link *l, int64_t until_ms)
{
    ferry__jobs *j = &l->jobs;
    ferry__link_lock(l);
    j->stopping = true;
    for (ferry__node *n = j->idle.next; n != &j->idle; n = n->next)
        ferry__waiter_poke(l, FERRY__OF(n, ferry__waiter, place));
    bool all = wait_for_workers(l, until_ms);
    ferry__link_unlock(l);
    for (size_t i = 0; i < j->started; i++)
        if (all)
            pthread_join(j->threads[i], NULL);
        else
            pthread_detach(j->threads[i]);
    j->started = 0;
    ferry__free(j->threads);
    j->threads = NULL;
    return all;
}
