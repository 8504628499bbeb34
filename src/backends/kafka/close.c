/* close.c - letting go: leave the groups, let answers and posts out, end the clients, free.
 *
 * librdkafka's destroy waits for every queue, event, topic and message of ours, so the order matters: what a client's events and topics
 * hold goes before the client. */
#include "backends/kafka/dead.h"
#include "backends/kafka/event.h"
#include "backends/kafka/group.h"
#include "base/alloc.h"
#include "base/clock.h"

#include <string.h>
#include <unistd.h>

enum { CLOSE_MS = 3000, FLUSH_MS = 1000 };

static void drop_notes(ferry__list *list)
{
    for (ferry__node *n; (n = ferry__list_shift(list));)
        ferry__kafka_note_free(FERRY__OF(n, ferry__kafka_note, node));
}

static void drop_memory(ferry__kafka *k)
{
    ferry__frames *frames[] = {&k->noted.frames,   &k->noted.settled,   &k->noted.returned, &k->passed.frames,
                               &k->passed.settled, &k->passed.returned, &k->arrived,        &k->outcomes};
    for (size_t i = 0; i < sizeof frames / sizeof *frames; i++)
        ferry__frames_drop(frames[i]);
    ferry__list *notes[] = {&k->noted.replies, &k->noted.moved, &k->passed.replies, &k->passed.moved};
    for (size_t i = 0; i < sizeof notes / sizeof *notes; i++)
        drop_notes(notes[i]);
    for (ferry__node *n; (n = ferry__list_shift(&k->groups));)
        ferry__group_free(FERRY__OF(n, ferry__kafka_group, node));
    ferry__list_join(&k->intakes, &k->noted.intakes);
    ferry__list_join(&k->intakes, &k->passed.intakes);
    for (ferry__node *n; (n = ferry__list_shift(&k->intakes));) {
        ferry__feed_free(FERRY__OF(n, ferry__kafka_intake, node)->feed);
        ferry__free(FERRY__OF(n, ferry__kafka_intake, node));
    }
    for (ferry__node *n; (n = ferry__list_shift(&k->topics));)
        ferry__free(FERRY__OF(n, ferry__kafka_topic, node));
    for (ferry__node *n; (n = ferry__list_shift(&k->targets));) {
        ferry__kafka_target *t = FERRY__OF(n, ferry__kafka_target, node);
        ferry__frames_drop(&t->held);
        ferry__free(t);
    }
    ferry__kafka_drop_spare(k);
    ferry__kafka_tell_presences(k);
    ferry__free(k->scratch);
    ferry__known_free(k->known);
    ferry__kafka_settings_done(&k->set);
    if (k->event >= 0)
        close(k->event);
}

static bool groups_left(const ferry__kafka *k)
{
    for (ferry__node *n = k->groups.next; n != &k->groups; n = n->next)
        if (FERRY__OF(n, ferry__kafka_group, node)->state != FERRY__GROUP_GONE)
            return true;
    return false;
}

static void leave_groups(ferry__kafka *k)
{
    int64_t end = ferry__now_ms() + CLOSE_MS;
    for (ferry__node *n = k->intakes.next; n != &k->intakes; n = n->next)
        FERRY__OF(n, ferry__kafka_intake, node)->source = NULL;
    while (groups_left(k) && ferry__now_ms() < end) {
        unsigned seen = ferry__bell_seen(&k->bell);
        k->now_ms = ferry__now_ms();
        ferry__kafka_backend.flush(k);
        ferry__kafka_backend.step(k);
        if (groups_left(k))
            ferry__bell_sleep(&k->bell, seen, 20, false);
    }
}

static void drain(rd_kafka_queue_t *queue)
{
    for (rd_kafka_event_t *event; queue && (event = rd_kafka_queue_poll(queue, 0)) != NULL;) {
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_DR)
            for (const rd_kafka_message_t *m; (m = rd_kafka_event_message_next(event)) != NULL;)
                if (m->_private)
                    ferry__kafka_note_free(m->_private); /* `flying` counts no more */
        rd_kafka_event_destroy(event);
    }
}

static void await_empty(ferry__kafka *k, rd_kafka_t *rk, rd_kafka_queue_t *queue, int ms)
{
    int64_t end = ferry__now_ms() + ms;
    while (rd_kafka_outq_len(rk) > 0 && ferry__now_ms() < end) {
        unsigned seen = ferry__bell_seen(&k->bell);
        drain(queue);
        if (rd_kafka_outq_len(rk) > 0)
            ferry__bell_sleep(&k->bell, seen, 10, false);
    }
}

static void stop_producer(ferry__kafka *k, rd_kafka_t *rk, rd_kafka_queue_t *queue)
{
    if (!rk || !queue)
        return;
    await_empty(k, rk, queue, k->state == FERRY__UP ? FLUSH_MS : 0);
    rd_kafka_purge(rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    await_empty(k, rk, queue, FLUSH_MS);
}

static void destroy_clients(ferry__kafka *k)
{
    for (ferry__node *n = k->groups.next; n != &k->groups; n = n->next) {
        ferry__kafka_group *g = FERRY__OF(n, ferry__kafka_group, node);
        for (int t = 0; t < FERRY__GROUP_TOPICS; t++)
            if (g->handles[t])
                rd_kafka_topic_destroy(g->handles[t]);
        memset(g->handles, 0, sizeof g->handles);
        ferry__group_drop_queue(g);
        if (g->rk)
            rd_kafka_destroy_flags(g->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
        g->rk = NULL;
    }
    if (k->reader_topic) {
        rd_kafka_consume_stop(k->reader_topic, k->reader_partition);
        rd_kafka_topic_destroy(k->reader_topic);
    }
    drain(k->reader_tap.queue);
    ferry__kafka_tap_close(&k->reader_tap);
    if (k->reader)
        rd_kafka_destroy_flags(k->reader, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    for (ferry__node *n = k->topics.next; n != &k->topics; n = n->next)
        rd_kafka_topic_destroy(FERRY__OF(n, ferry__kafka_topic, node)->handle);
    ferry__kafka_tap *taps[] = {&k->posts_tap, &k->calls_tap, &k->admin_tap};
    for (size_t i = 0; i < sizeof taps / sizeof *taps; i++) {
        drain(taps[i]->queue);
        ferry__kafka_tap_close(taps[i]);
    }
    if (k->posts)
        rd_kafka_destroy(k->posts);
    if (k->calls)
        rd_kafka_destroy(k->calls);
}

void ferry__kafka_close(void *self)
{
    ferry__kafka *k = self;
    if (!k->config)
        return;
    k->closing = true;
    if (k->calls_tap.queue)
        leave_groups(k);
    ferry__kafka_jobs_stop(k);
    ferry__dead_done(k);
    stop_producer(k, k->posts, k->posts_tap.queue);
    stop_producer(k, k->calls, k->calls_tap.queue);
    destroy_clients(k);
    drop_memory(k);
    k->config = NULL;
}

/* In a forked child: librdkafka's threads are not here, so its clients are left alone; only memory of ours goes. */
void ferry__kafka_abandon(void *self)
{
    ferry__kafka *k = self;
    if (!k->config)
        return;
    k->closing = true;
    drop_memory(k);
}
