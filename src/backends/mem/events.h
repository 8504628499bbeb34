/* events.h - a domain's log inside the process, and who reads it.
 *
 *     topic: part 0 … n, each a ring of events with running offsets
 *     group: per part, the next offset to hand out, and marks: events that were handed out and are not finished (`out`), or that came
 *            back and go first (`again`), both by offset
 *
 * A broadcast is a group without a name that belongs to one source. Nothing before the lowest mark or `next` is unfinished: that is
 * the position. All guarded by the hub's lock. */
#ifndef FERRY_MEM_EVENTS_H
#define FERRY_MEM_EVENTS_H

#include "backends/mem/hub.h"

typedef struct mem__group mem__group;

typedef struct mem__event {
    ferry__frame *frame;
    int64_t       time_ms;
} mem__event;

typedef struct mem__track { /* one part of a topic */
    mem__event *ring;
    size_t      size; /* a power of two */
    uint64_t    first, end; /* offsets: kept, and one behind the last */
} mem__track;

typedef struct mem__topic {
    struct mem__topic *next;
    mem__group        *groups;
    int64_t            keep_ms, keep_bytes, bytes;
    size_t             parts;
    mem__track        *tracks;
    bool               hidden; /* deleted while it had readers */
    char               name[];
} mem__topic;

typedef struct mem__mark {
    ferry__node    node;
    mem__group    *group;
    uint32_t       part, attempt;
    uint64_t       offset;
    mem__endpoint *who; /* while it is out */
    bool           begun, maybe;
    int64_t        due_ms; /* of its next attempt */
} mem__mark;

typedef struct mem__place { /* of a group in a part */
    uint64_t       next;
    ferry__list    again, out;
    size_t         outs;
    mem__endpoint *owner;
} mem__place;

struct mem__group {
    mem__group *next;
    mem__topic *topic;
    char       *name; /* NULL: a broadcast */
    size_t      members;
    bool        lost;  /* trimmed away before it was read */
    uint64_t    lost_from, lost_to;
    mem__place *places;
};

mem__topic *mem__topic_get(mem__hub *h, const ferry__config *c, const char *name, bool make); /* NULL: none, or no memory */
bool        mem__topic_append(mem__topic *t, ferry__frame *f, int64_t now_ms);                /* false: no memory; takes f if true */
void        mem__topic_trim(mem__topic *t, int64_t now_ms);
int64_t     mem__topic_purge(mem__topic *t); /* how many */
void        mem__topics_free(mem__topic *t);

mem__group *mem__group_get(mem__topic *t, const char *name);
mem__group *mem__group_join(mem__topic *t, const ferry__wish *w, ferry_status *status, char *why);
ferry_status mem__group_place(mem__group *g, const ferry__wish *w, char *why);
void        mem__group_leave(mem__group *g); /* a broadcast's end with its last mark */
mem__mark  *mem__group_pull(mem__group *g, mem__endpoint *who); /* NULL: nothing for it now, or lost */
ferry__frame *mem__mark_frame(const mem__mark *m); /* a clone; NULL: no memory, or trimmed */
void        mem__mark_done(mem__mark *m);
void        mem__mark_back(mem__mark *m); /* it comes again, first */
void        mem__group_drop(mem__group *g, const mem__endpoint *who); /* he is gone: what he had comes again */
void        mem__group_remove(mem__group *g); /* unless it has members or something is out */
bool        mem__group_caught_up(const mem__group *g, const uint64_t *goals);
ferry_value *mem__group_describe(const mem__group *g);

#endif
