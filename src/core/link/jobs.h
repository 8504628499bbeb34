/* jobs.h - user code that is ready to run: handlers, one at a time for each key.
 *
 * Two queues, urgent first (calls before posts). A job with a key whose key is busy stands behind the one that has it. Guarded by
 * the link's lock, save `run`. */
#ifndef FERRY_LINK_JOBS_H
#define FERRY_LINK_JOBS_H

#include "base/list.h"

#include <pthread.h>
#include <stdint.h>

struct ferry__link;

typedef struct ferry__job {
    ferry__node node;
    void (*run)(struct ferry__job *job); /* called without the lock, returns with it held */
    uint64_t           key; /* its hash; 0: none. Two keys with one hash only wait for each other */
    bool               urgent;
    struct ferry__job *behind, *chain; /* waiting for the key; in the table of busy keys */
    struct ferry__job *last;           /* of those behind */
} ferry__job;

typedef struct ferry__jobs {
    ferry__list urgent, other;
    size_t      ready, blocked, running;
    uint64_t    begun; /* so far */
    ferry__job *busy[256]; /* jobs that hold their key, by hash */
    ferry__list idle;      /* workers asleep: ferry__waiter */
    pthread_t  *threads;
    size_t      started, alive;
    bool        stopping;
} ferry__jobs;

void        ferry__jobs_init(ferry__jobs *j);
void        ferry__jobs_add(struct ferry__link *l, ferry__job *job);
void        ferry__jobs_again(ferry__jobs *j, ferry__job *job); /* one that ran and kept its key */
ferry__job *ferry__jobs_take(ferry__jobs *j);
void        ferry__jobs_free_key(ferry__jobs *j, ferry__job *job); /* after the handler, or the deferred answer */
bool        ferry__jobs_remove(ferry__jobs *j, ferry__job *job);    /* not begun: take it out */
size_t      ferry__jobs_start(struct ferry__link *l, size_t workers); /* how many threads run; with the lock */
/* Ends the threads once their handlers have; false: some outstayed until_ms and were left behind. Without the lock. */
bool        ferry__jobs_stop(struct ferry__link *l, int64_t until_ms);
void        ferry__jobs_wake(struct ferry__link *l, size_t spare);     /* idle workers for ready jobs, save `spare` of them */

#endif
