/* leave.c - a name that is no longer served.
 *
 * Its sign of life stays until the last call that was handed up is answered: its callers still get their answers, so it is not gone.
 * Then the queue of its calls is deleted if no other server shows signs, nobody consumes from it and nothing is in it (a server whose
 * handlers are long does not consume, see pinch.c). So whoever calls it from now on has his
 * call returned, which proves that it did not run; without that it would lie in the queue, and nobody could say. A queue with calls in
 * it stays: the next server answers them. The broker closes the channel on which a deletion is refused, so they have one of their own,
 * and go one by one. */
#include "backends/amqp/state.h"

#include "base/alloc.h"

#include <string.h>

struct ferry__amqp_leaver {
    ferry__node node;
    unsigned number;
    size_t handed;
    bool silent; /* its sign of life was cancelled */
    char service[];
};
typedef struct ferry__amqp_leaver leaver;

static leaver *first(const ferry__amqp *a)
{
    return ferry__list_empty(&a->leavers) ? NULL : FERRY__OF(a->leavers.next, leaver, node);
}

static void fall_silent(ferry__amqp *a, leaver *l)
{
    if (l->handed || l->silent)
        return;
    l->silent = true;
    ferry__amqp_acknowledge(a);
    ferry__amqp_cancel(a, FERRY__AMQP_CALLS_IN, 'u', l->number, 0);
}

void ferry__amqp_leave(ferry__amqp *a, const ferry__amqp_intake *in)
{
    const char *name = in->source->name;
    leaver *l = ferry__zalloc(sizeof *l + strlen(name) + 1);
    if (!l) { /* then only its sign of life goes, now */
        ferry__amqp_cancel(a, FERRY__AMQP_CALLS_IN, 'u', in->number, 0);
        return;
    }
    memcpy(l->service, name, strlen(name));
    l->number = in->number;
    l->handed = in->handed;
    ferry__list_init(&l->node);
    ferry__list_append(&a->leavers, &l->node);
    fall_silent(a, l);
}

void ferry__amqp_leave_settled(ferry__amqp *a, unsigned number)
{
    for (ferry__node *n = a->leavers.next; n != &a->leavers; n = n->next) {
        leaver *l = FERRY__OF(n, leaver, node);
        if (l->number == number && l->handed)
            l->handed--;
    }
}

static void queue_of(const ferry__amqp *a, char to[FERRY__AMQP_NAME], const leaver *l, const char *what)
{
    ferry__amqp_queue_name(a, to, l->service, strlen(l->service), what, 0);
}

static void look_for_others(ferry__amqp *a, const leaver *l)
{
    char queue[FERRY__AMQP_NAME];
    queue_of(a, queue, l, "up");
    amqp_queue_declare_t m = {.queue = ferry__amqp_text(queue), .passive = 1};
    a->deleting = true;
    ferry__amqp_channel_open(&a->in, FERRY__AMQP_LEAVE);
    ferry__amqp_say(&a->in, FERRY__AMQP_LEAVE, AMQP_QUEUE_DECLARE_METHOD, &m);
}

void ferry__amqp_leave_counted(ferry__amqp *a, unsigned servers)
{
    char queue[FERRY__AMQP_NAME];
    const leaver *l = first(a);
    if (servers > 0 || !l) {
        ferry__amqp_left(a);
        return;
    }
    queue_of(a, queue, l, "calls");
    amqp_queue_delete_t m = {.queue = ferry__amqp_text(queue), .if_unused = 1, .if_empty = 1};
    ferry__amqp_say(&a->in, FERRY__AMQP_LEAVE, AMQP_QUEUE_DELETE_METHOD, &m);
}

/* Once the cancels are answered, what was acknowledged before them is with the queue. */
void ferry__amqp_leave_look(ferry__amqp *a)
{
    for (ferry__node *n = a->leavers.next; n != &a->leavers; n = n->next)
        fall_silent(a, FERRY__OF(n, leaver, node));
    leaver *l = first(a);
    if (l && l->silent && !a->deleting && !a->cancelling && a->phase == FERRY__AMQP_UP)
        look_for_others(a, l);
}

static void over(ferry__amqp *a)
{
    leaver *l = first(a);
    if (!l)
        return;
    ferry__list_remove(&l->node);
    ferry__free(l);
}

void ferry__amqp_left(ferry__amqp *a) /* deleted, or needed, and the channel is still open */
{
    ferry__amqp_channel_close(&a->in, FERRY__AMQP_LEAVE);
}

void ferry__amqp_leave_closed(ferry__amqp *a) /* by us, or by the broker: the queue is still needed */
{
    a->deleting = false;
    over(a);
}

void ferry__amqp_leave_down(ferry__amqp *a)
{
    a->deleting = false;
    while (first(a))
        over(a);
}
