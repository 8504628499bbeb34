/* pinch.c - what a server holds of the queue that all share, while its handlers take none of it.
 *
 * When credit is taken back and none comes for PINCH_MS, the consumers of that queue are cancelled. What is held then stays in its place,
 * first in line when there is credit again, so that a long handler changes no order; unless another server consumes from that queue, and
 * may be free for it: the queue is declared once more behind the cancels, and the answer counts consumers. Then what is held goes back
 * to the queue, as fresh, at its end. Not before that answer: copies leave on the other connection, and would come to the consumers that
 * are being cancelled. What is on its way just then, or a server that comes later, is found by the next look.
 *
 *     credit --taken back--> waiting --PINCH_MS--> cancelled --declare--> asking --others consume--> given back
 *       ^_________________________given______________|_^____________________|  nobody else: again, later each time
 *
 * What has a key stays with the channel, see consume.c. */
#include "backends/amqp/state.h"

#include "base/clock.h"

#include <string.h>

enum { PINCH_MS = 20, LOOK_MOST_MS = 500 };

static bool live(const ferry__amqp *a)
{
    return a->in.live && a->out.live && !a->failed;
}

static bool keyed(const ferry__frame *f)
{
    return ferry__amqp_channel_of(f) == FERRY__AMQP_KEYED_IN;
}

/* What was held and is not ours to handle: back to the queue; with a key it stays with the channel until that is closed. */
void ferry__amqp_let_go(ferry__amqp *a, ferry__amqp_intake *in, bool all)
{
    ferry__frame *first = in->hold.first;
    ferry__frames_init(&in->hold);
    for (ferry__frame *f = first, *next; f; f = next) {
        next = f->next;
        f->next = NULL;
        if (!keyed(f))
            ferry__amqp_give_back(a, f, FERRY__AMQP_MOVED);
        else if (all)
            ferry__frame_unref(f);
        else
            ferry__frames_add(&in->hold, f);
    }
}

void ferry__amqp_pinch_note(ferry__amqp_intake *in, int frames)
{
    if (in->credit > 0)
        in->pinch_ms = 0;
    else if (frames < 0) {
        in->pause_ms = PINCH_MS;
        in->pinch_ms = ferry__now_ms() + PINCH_MS;
    }
}

static bool has_unkeyed(const ferry__amqp_intake *in)
{
    const ferry__frame *f = in->hold.first;
    while (f && keyed(f))
        f = f->next;
    return f != NULL;
}

static void pinch(ferry__amqp *a, ferry__amqp_intake *in, int64_t now_ms)
{
    in->pinch_ms = 0;
    if (!in->declared || !live(a))
        return;
    in->pinch_ms = now_ms + in->pause_ms;
    in->pause_ms = in->pause_ms * 2 < LOOK_MOST_MS ? in->pause_ms * 2 : LOOK_MOST_MS;
    ferry__amqp_stop_shared(a, in);
    if (in->asking || a->declaring || !has_unkeyed(in)) /* while others are declared, answers could be mistaken */
        return;
    in->asking = true;
    ferry__amqp_declare_shared(a, in->source);
}

void ferry__amqp_pinch(ferry__amqp *a, int64_t now_ms)
{
    for (ferry__node *n = a->intakes.next; n != &a->intakes; n = n->next) {
        ferry__amqp_intake *in = FERRY__OF(n, ferry__amqp_intake, node);
        if (in->pinch_ms && now_ms >= in->pinch_ms)
            pinch(a, in, now_ms);
    }
}

int ferry__amqp_pinch_next_ms(const ferry__amqp *a, int64_t now_ms)
{
    int64_t least = INT64_MAX;
    for (ferry__node *n = a->intakes.next; n != &a->intakes; n = n->next) {
        const ferry__amqp_intake *in = FERRY__OF(n, ferry__amqp_intake, node);
        if (in->pinch_ms && in->pinch_ms - now_ms < least)
            least = in->pinch_ms - now_ms;
    }
    return least == INT64_MAX ? -1 : least < 0 ? 0 : (int)least;
}

static bool is_of(const ferry__amqp *a, const ferry__amqp_intake *in, amqp_bytes_t queue)
{
    char name[FERRY__AMQP_NAME];
    ferry__amqp_shared_name(a, name, in->source);
    return queue.len == strlen(name) && memcmp(queue.bytes, name, queue.len) == 0;
}

void ferry__amqp_pinch_counted(ferry__amqp *a, amqp_channel_t channel, const amqp_queue_declare_ok_t *m)
{
    for (ferry__node *n = a->intakes.next; n != &a->intakes; n = n->next) {
        ferry__amqp_intake *in = FERRY__OF(n, ferry__amqp_intake, node);
        if (!in->asking || ferry__amqp_shared_channel(in) != channel || !is_of(a, in, m->queue))
            continue;
        in->asking = false;
        if (!in->consumers && in->credit <= 0 && m->consumer_count > 0)
            ferry__amqp_let_go(a, in, false);
        return;
    }
}
