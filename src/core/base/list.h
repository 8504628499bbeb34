/* list.h - intrusive doubly linked lists. A node that is in no list points to itself: removing it twice is harmless. */
#ifndef FERRY_BASE_LIST_H
#define FERRY_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct ferry__node {
    struct ferry__node *next, *prev;
} ferry__node;
typedef ferry__node ferry__list; /* the head: first is head.next */

#define FERRY__OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static inline void ferry__list_init(ferry__node *n)
{
    n->next = n->prev = n;
}

static inline bool ferry__list_empty(const ferry__list *head)
{
    return head->next == head;
}

static inline bool ferry__node_linked(const ferry__node *n)
{
    return n->next != n;
}

static inline void ferry__list_remove(ferry__node *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    ferry__list_init(n);
}

static inline void ferry__list_append(ferry__list *head, ferry__node *n)
{
    n->next = head;
    n->prev = head->prev;
    head->prev->next = n;
    head->prev = n;
}

static inline void ferry__list_prepend(ferry__list *head, ferry__node *n)
{
    ferry__list_append(head->next, n);
}

static inline ferry__node *ferry__list_shift(ferry__list *head)
{
    ferry__node *n = head->next;
    if (n == head)
        return NULL;
    ferry__list_remove(n);
    return n;
}

/* Moves all of `from` behind the end of `to`. */
static inline void ferry__list_join(ferry__list *to, ferry__list *from)
{
    if (ferry__list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    ferry__list_init(from);
}

#endif
