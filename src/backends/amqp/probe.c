/* probe.c - who is alive behind a name: a passive declaration of its queue `up` tells how many consume from it, or that there is no such
 * queue. The latter closes the channel, so probes have one of their own, which is opened again with the rest of the questions. */
#include "backends/amqp/state.h"

#include <string.h>

enum { NOT_FOUND = 404 };

static void ask(ferry__amqp *a, const ferry__target *t)
{
    char queue[FERRY__AMQP_NAME];
    ferry__amqp_queue_name(a, queue, t->name, strlen(t->name), "up", 0);
    amqp_queue_declare_t m = {.queue = ferry__amqp_text(queue), .passive = 1};
    ferry__amqp_say(&a->out, FERRY__AMQP_PROBES, AMQP_QUEUE_DECLARE_METHOD, &m);
    a->probes_sent++;
}

/* All that were not asked yet. */
void ferry__amqp_probe_begin(ferry__amqp *a)
{
    size_t n = 0;
    if (a->phase != FERRY__AMQP_UP || a->failed)
        return;
    for (ferry__target *t = a->probes; t; t = t->next)
        if (n++ >= a->probes_sent)
            ask(a, t);
}

bool ferry__amqp_probing(const ferry__amqp *a, const ferry__target *target)
{
    const ferry__target *t = a->probes;
    while (t && t != target)
        t = t->next;
    return t != NULL;
}

void ferry__amqp_probe(void *self, ferry__target *target)
{
    ferry__amqp *a = self;
    if (ferry__amqp_probing(a, target)) /* unasked, see send.c: one answer serves both */
        return;
    target->next = NULL;
    *a->probes_end = target;
    a->probes_end = &target->next;
    ferry__amqp_probe_begin(a);
}

static void answer(ferry__amqp *a, ferry__presence presence)
{
    ferry__target *t = a->probes;
    if (!t || !a->probes_sent)
        return;
    a->probes = t->next;
    a->probes_sent--;
    if (!a->probes)
        a->probes_end = &a->probes;
    if (!a->closing)
        a->up->probed(a->up, t, presence);
}

void ferry__amqp_probed(ferry__amqp *a, unsigned consumers)
{
    answer(a, consumers ? FERRY__ALIVE : FERRY__GONE);
}

/* Refused for another reason than absence: nobody can say, so the call is sent and learns it. */
void ferry__amqp_probe_closed(ferry__amqp *a, unsigned code)
{
    answer(a, code == NOT_FOUND ? FERRY__NEVER : FERRY__ALIVE);
    a->probes_sent = 0; /* the others were not answered: they are asked again */
    ferry__amqp_channel_open(&a->out, FERRY__AMQP_PROBES);
    ferry__amqp_probe_begin(a);
}

void ferry__amqp_probe_down(ferry__amqp *a)
{
    a->probes_sent = 0; /* asked again when the link is up */
}
