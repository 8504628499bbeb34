/* topics_known.c - AMQP cannot list exchanges, so "all domains" are those that this handle published to, listened to or made. */
#include "backends/amqp/event.h"

#include "base/alloc.h"

typedef struct domain {
    ferry__node node;
    char        name[];
} domain;

static domain *at(const ferry__amqp *a, ferry__node *n)
{
    return n == &a->domains ? NULL : FERRY__OF(n, domain, node);
}

/* Without memory the list is shorter. */
void ferry__amqp_domain_note(ferry__amqp *a, const char *name)
{
    for (domain *d = at(a, a->domains.next); d; d = at(a, d->node.next))
        if (strcmp(d->name, name) == 0)
            return;
    domain *d = ferry__zalloc(sizeof *d + strlen(name) + 1);
    if (!d)
        return;
    memcpy(d->name, name, strlen(name));
    ferry__list_init(&d->node);
    ferry__list_append(&a->domains, &d->node);
}

void ferry__amqp_domain_forget(ferry__amqp *a, const char *name)
{
    for (domain *d = at(a, a->domains.next), *next; d; d = next) {
        next = at(a, d->node.next);
        if (name && strcmp(d->name, name) != 0)
            continue;
        ferry__list_remove(&d->node);
        ferry__free(d);
    }
}

ferry_value *ferry__amqp_domains(const ferry__amqp *a)
{
    if (ferry__list_empty(&a->domains))
        return NULL;
    ferry_value *list = ferry_new_list();
    for (domain *d = at(a, a->domains.next); d; d = at(a, d->node.next)) {
        ferry_value *m = ferry_new_map();
        ferry_map_put(m, "name", ferry_text(d->name));
        ferry_map_put(m, "partitions", ferry_int(a->config->partitions));
        ferry_list_put(list, m);
    }
    return list;
}
