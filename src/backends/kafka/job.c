#include "backends/kafka/job.h"

#include "backends/kafka/kafka.h"
#include "base/thread.h"

void ferry__kafka_jobs_init(ferry__kafka_jobs *j)
{
    pthread_mutex_init(&j->lock, NULL);
    ferry__list_init(&j->todo);
    ferry__list_init(&j->finished);
}

static ferry__kafka_job *take(ferry__kafka_jobs *j, ferry__list *list)
{
    pthread_mutex_lock(&j->lock);
    ferry__node *n = ferry__list_shift(list);
    pthread_mutex_unlock(&j->lock);
    return n ? FERRY__OF(n, ferry__kafka_job, node) : NULL;
}

static void put(ferry__kafka_jobs *j, ferry__list *list, ferry__kafka_job *job)
{
    pthread_mutex_lock(&j->lock);
    ferry__list_append(list, &job->node);
    pthread_mutex_unlock(&j->lock);
}

static void *work(void *arg)
{
    ferry__kafka *k = arg;
    ferry__kafka_jobs *j = &k->jobs;
    while (!atomic_load(&j->quit)) {
        unsigned seen = ferry__bell_seen(&j->bell);
        ferry__kafka_job *job = take(j, &j->todo);
        if (!job) {
            if (!atomic_load(&j->quit))
                ferry__bell_sleep(&j->bell, seen, -1, false);
            continue;
        }
        job->run(k, job);
        job->ran = true;
        put(j, &j->finished, job);
        ferry__kafka_backend.wake(k);
    }
    return NULL;
}

void ferry__kafka_job_add(ferry__kafka *k, ferry__kafka_job *job)
{
    ferry__kafka_jobs *j = &k->jobs;
    ferry__list_init(&job->node);
    job->ran = false;
    if (!j->runs)
        j->runs = ferry__thread_start(&j->thread, "ferry-kafka", work, k);
    put(j, j->runs ? &j->todo : &j->finished, job); /* without a thread it ends as one that did not run */
    ferry__bell_ring(&j->bell);
}

void ferry__kafka_jobs_finish(ferry__kafka *k)
{
    for (ferry__kafka_job *job; (job = take(&k->jobs, &k->jobs.finished));)
        job->done(k, job, job->ran);
}

void ferry__kafka_jobs_stop(ferry__kafka *k)
{
    ferry__kafka_jobs *j = &k->jobs;
    atomic_store(&j->quit, true);
    ferry__bell_ring(&j->bell);
    if (j->runs)
        pthread_join(j->thread, NULL);
    j->runs = false;
    ferry__kafka_jobs_finish(k);
    for (ferry__kafka_job *job; (job = take(j, &j->todo));)
        job->done(k, job, false);
    pthread_mutex_destroy(&j->lock);
}
