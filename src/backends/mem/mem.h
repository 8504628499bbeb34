/* mem.h - the transport inside one process: reference, test double, and the fastest. */
#ifndef FERRY_MEM_MEM_H
#define FERRY_MEM_MEM_H

#include "backends/mem/events.h"
#include "backends/mem/hub.h"

extern const ferry__backend   ferry__mem_backend;
extern const ferry__abilities mem__more;

/* A handle's side. The lists are guarded by its link's lock, `inbox` by the hub's. */
struct mem__endpoint {
    mem__endpoint       *next; /* in the hub, by client */
    ferry__up           *up;
    const ferry__config *config;
    mem__hub            *hub;
    ferry__bell          bell;
    unsigned             seen; /* the bell before the last look */
    int                  event; /* for a foreign loop; -1: none */
    bool                 told_up;
    bool                 starved; /* there was no memory to hand up a message */
    ferry__list          staged;   /* parcels to be pushed */
    ferry__frames        sent;     /* the core's frames of those, same order */
    ferry__frames        replies;
    ferry__frames        settled;  /* tag[1]: how */
    ferry__frames        outcomes; /* tag[1]: ferry_status */
    ferry__frames        inbox;
    ferry__list          intakes;
    ferry__source       *replies_to;
    ferry__list          held;     /* parcels pulled and not settled; the hub's lock */
    ferry__target       *probes;
    size_t               settled_now;
    ferry__list          withdrawals; /* parcels that only note the sent frame */
    ferry__admin        *admins;
};

enum { MEM__DONE, MEM__RETRY, MEM__BURIED, MEM__BACK };

void mem__ring(mem__endpoint *e);
void mem__hand_answers(mem__endpoint *e);
void mem__ring_listeners(mem__hub *h, const mem__queue *q, const mem__endpoint *but); /* the hub's lock held */

void mem__settle(void *self, ferry__frame *f);
void mem__retry(void *self, ferry__frame *f, int delay_ms);
void mem__bury(void *self, ferry__frame *f, const char *box, const void *bytes, size_t length);
void mem__hand_back(void *self, ferry__frame *f);
/* Sources of events; with the hub's lock held, save seek and news. */
ferry_status mem__events_listen(mem__endpoint *e, mem__intake *in);
void         mem__events_unlisten(mem__intake *in);
void         mem__events_seek(mem__endpoint *e, mem__intake *in, const ferry__wish *to);
void         mem__events_ring(mem__hub *h, const mem__topic *t, const mem__endpoint *but);
void         mem__events_pull(mem__endpoint *e, mem__intake *in, ferry__frames *got);
void         mem__events_settled(mem__endpoint *e, ferry__frame *f, unsigned how);
void         mem__events_give_back(mem__endpoint *e);
void         mem__events_news(mem__endpoint *e, mem__intake *in);
void         mem__topics_admin(mem__endpoint *e, ferry__admin *a);

void mem__push_settled(mem__endpoint *e); /* the hub's lock held */

#endif
