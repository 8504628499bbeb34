/* job.h - one helper thread for what blocks in librdkafka: started with the first job, ended by close.
 *
 * `run` is called on the helper, `done` on the driver, in the order in which the jobs were added. Jobs that close finds waiting are
 * not run; `done` is called for them all the same, with `run` false, so that each frees itself in one place. */
#ifndef FERRY_KAFKA_JOB_H
#define FERRY_KAFKA_JOB_H

#include "base/bell.h"
#include "base/list.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct ferry__kafka;

typedef struct ferry__kafka_job {
    ferry__node node;
    void (*run)(struct ferry__kafka *k, struct ferry__kafka_job *job);
    void (*done)(struct ferry__kafka *k, struct ferry__kafka_job *job, bool ran);
    bool ran;
} ferry__kafka_job;

typedef struct ferry__kafka_jobs {
    pthread_mutex_t lock;
    pthread_t       thread;
    bool            runs;
    atomic_bool     quit; /* jobs that wait in steps look at it */
    ferry__bell     bell;
    ferry__list     todo, finished;
} ferry__kafka_jobs;

void ferry__kafka_jobs_init(ferry__kafka_jobs *j);
void ferry__kafka_job_add(struct ferry__kafka *k, ferry__kafka_job *job);
void ferry__kafka_jobs_finish(struct ferry__kafka *k); /* calls `done` for those that ended */
void ferry__kafka_jobs_stop(struct ferry__kafka *k);   /* ends the thread; then `done` for all that are left */

#endif
