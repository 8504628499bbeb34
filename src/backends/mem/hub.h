/* hub.h - the broker inside the process: named queues that endpoints push to and pull from.
 *
 * A hub is found by its name (`mem:NAME`), counted by its endpoints and gone with the last. Everything here is guarded by the hub's
 * lock, which is taken inside a link's lock, never the other way round; bells are rung without it. */
#ifndef FERRY_MEM_HUB_H
#define FERRY_MEM_HUB_H

#include "base/bell.h"
#include "base/list.h"
#include "link/backend.h"

#include <pthread.h>

typedef struct mem__queue    mem__queue;
typedef struct mem__endpoint mem__endpoint;

/* One message on its way: waiting in a queue, or with the endpoint that pulled it until it is settled. */
typedef struct mem__parcel {
    ferry__node   node;
    ferry__frame *frame; /* the hub's own */
    mem__queue   *queue;
    int64_t       due_ms; /* in `later` */
    bool          begun;
} mem__parcel;

/* One part of a lane. Parts for keys belong to one endpoint while it has unsettled messages of them, so that their order holds. */
typedef struct mem__part {
    ferry__list    waiting;
    mem__endpoint *owner;
    size_t         unsettled;
} mem__part;

struct mem__queue {
    mem__queue *next;
    ferry__lane lane;
    size_t      count;     /* waiting, in all parts and later */
    size_t      listeners;
    bool        served;    /* somebody listened, ever */
    ferry__list later;     /* by due time */
    size_t      parts;
    mem__part  *part;
    char        name[];
};

typedef struct mem__intake { /* a source of an endpoint */
    ferry__node    node;
    ferry__source *source;
    mem__queue    *queue; /* NULL: replies and controls, which come by the inbox, and events */
    int            credit;

    struct mem__group *group;   /* events only, see subscribe.c */
    uint64_t          *goals;   /* ends of the parts at its beginning */
    ferry_status       status;  /* why nothing comes */
    bool               news, caught_up, told_lost;
    char               why[FERRY_WHY_SIZE];
} mem__intake;

typedef struct mem__record { /* a dead letter */
    struct mem__record *next;
    uint64_t            cursor;
    char               *box, *id;
    size_t              length;
    void               *bytes;
} mem__record;

typedef struct mem__known mem__known; /* ids of posts, see known.h */

typedef struct mem__hub {
    struct mem__hub *next;
    pthread_mutex_t  lock;
    size_t           refs;
    mem__queue      *queues[64];
    mem__endpoint   *endpoints[64]; /* by client */
    mem__known      *known;
    struct mem__topic *topics;
    mem__record     *dead, **dead_end;
    uint64_t         cursor;
    char             name[];
} mem__hub;

mem__hub *mem__hub_open(const char *name); /* NULL: out of memory */
void      mem__hub_close(mem__hub *h);
mem__queue *mem__hub_queue(mem__hub *h, ferry__lane lane, const char *name, size_t parts, bool make);

void mem__queue_push(mem__queue *q, mem__parcel *p);
void mem__queue_push_front(mem__queue *q, mem__parcel *p);
void mem__queue_push_later(mem__queue *q, mem__parcel *p, int64_t due_ms);
/* The next message that `who` may have; NULL: none now. */
mem__parcel *mem__queue_pull(mem__queue *q, mem__endpoint *who, int64_t now_ms);
void         mem__queue_settled(mem__queue *q, const mem__parcel *p); /* one that was pulled is done with */
bool         mem__queue_held(const mem__queue *q); /* somebody has unsettled messages of it */
int          mem__queue_next_ms(const mem__queue *q, int64_t now_ms);
void         mem__parcel_free(mem__parcel *p);
void mem__parcel_unread(mem__parcel *p); /* handed back */

#endif
