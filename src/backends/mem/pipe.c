/* pipe.c - the pipe of mem: what every transport has to fill.
 *
 * Sends and settles are staged and go to the hub in one go at `flush`, so a batch costs one lock. Frames are cloned when they are
 * sent: sender and receiver each have their own fields over one storage, nothing is encoded twice and no body is copied. */
#include "backends/mem/known.h"
#include "backends/mem/mem.h"
#include "base/alloc.h"
#include "base/clock.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { STARVED_MS = 10 };

static size_t place(const unsigned char client[16])
{
    return client[0] % 64;
}

static void lock(mem__endpoint *e)
{
    pthread_mutex_lock(&e->hub->lock);
}

static void unlock(mem__endpoint *e)
{
    pthread_mutex_unlock(&e->hub->lock);
}

void mem__ring(mem__endpoint *e)
{
    uint64_t one = 1;
    ferry__bell_ring(&e->bell);
    if (e->event >= 0 && write(e->event, &one, sizeof one) < 0)
        return; /* the counter is full: readable all the same */
}

static ferry_status mem_open(void *self, ferry__up *up, const ferry__config *config, const ferry__url *url, char *why)
{
    mem__endpoint *e = self;
    e->up = up;
    e->config = config;
    e->event = -1;
    ferry__list_init(&e->staged);
    ferry__list_init(&e->intakes);
    ferry__list_init(&e->held);
    ferry__list_init(&e->withdrawals);
    ferry__frames *all[] = {&e->sent, &e->replies, &e->settled, &e->outcomes, &e->inbox};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ferry__frames_init(all[i]);
    char name[512];
    snprintf(name, sizeof name, "%s:%s", config->ns, url->path ? url->path : "");
    e->hub = mem__hub_open(name);
    if (!e->hub) {
        ferry__why(why, "out of memory");
        return FERRY_NO_MEMORY;
    }
    lock(e);
    e->next = e->hub->endpoints[place(config->client)];
    e->hub->endpoints[place(config->client)] = e;
    unlock(e);
    return FERRY_OK;
}

void mem__ring_listeners(mem__hub *h, const mem__queue *q, const mem__endpoint *but)
{
    for (size_t i = 0; i < 64; i++)
        for (mem__endpoint *e = h->endpoints[i]; e; e = e->next)
            for (ferry__node *n = e->intakes.next; n != &e->intakes && e != but; n = n->next)
                if (FERRY__OF(n, mem__intake, node)->queue == q)
                    mem__ring(e);
}

/* A handler that outstayed its handle may still read the frame: the next one gets its own. */
static void part_from(mem__parcel *p)
{
    ferry__frame *own = ferry__frame_clone(p->frame);
    if (!own)
        return; /* rather shared than lost */
    ferry__frame_unref(p->frame);
    p->frame = own;
}

/* What a handle leaves unsettled goes to another: as fresh if its handler never began. */
static void give_back(mem__endpoint *e)
{
    for (ferry__node *n; !ferry__list_empty(&e->held);) {
        n = e->held.prev; /* backwards, each to the front: the order stays */
        mem__parcel *p = FERRY__OF(n, mem__parcel, node);
        ferry__list_remove(n);
        part_from(p);
        p->frame->maybe = p->frame->maybe || p->begun;
        p->frame->attempt += p->begun;
        p->begun = false;
        mem__queue_settled(p->queue, p);
        mem__queue_push_front(p->queue, p);
        mem__ring_listeners(e->hub, p->queue, e);
    }
}

static void drop_lists(mem__endpoint *e)
{
    ferry__frames *all[] = {&e->sent, &e->replies, &e->settled, &e->outcomes, &e->inbox};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        ferry__frames_drop(all[i]);
    for (ferry__node *n; (n = ferry__list_shift(&e->staged));)
        mem__parcel_free(FERRY__OF(n, mem__parcel, node));
    for (ferry__node *n; (n = ferry__list_shift(&e->withdrawals));)
        mem__parcel_free(FERRY__OF(n, mem__parcel, node));
    for (ferry__node *n; (n = ferry__list_shift(&e->intakes));)
        ferry__free(FERRY__OF(n, mem__intake, node));
    if (e->event >= 0)
        close(e->event);
}

static void mem_close(void *self)
{
    mem__endpoint *e = self;
    if (!e->hub)
        return;
    lock(e);
    for (mem__endpoint **at = &e->hub->endpoints[place(e->config->client)]; *at; at = &(*at)->next)
        if (*at == e) {
            *at = e->next;
            break;
        }
    give_back(e);
    mem__events_give_back(e);
    for (ferry__node *n = e->intakes.next; n != &e->intakes; n = n->next) {
        mem__intake *in = FERRY__OF(n, mem__intake, node);
        if (in->queue)
            in->queue->listeners--;
        mem__events_unlisten(in);
    }
    unlock(e);
    drop_lists(e);
    mem__hub_close(e->hub);
    e->hub = NULL;
}

/* In a forked child: the hub may be half changed, so its share stays allocated; only our own lists go. */
static void mem_abandon(void *self)
{
    mem__endpoint *e = self;
    if (e->hub)
        drop_lists(e);
}

/* ---- sources ---- */

static ferry_status mem_listen(void *self, ferry__source *source)
{
    mem__endpoint *e = self;
    mem__intake *in = ferry__zalloc(sizeof *in);
    if (!in)
        return FERRY_NO_MEMORY;
    in->source = source;
    if (source->lane == FERRY__REPLIES)
        e->replies_to = source;
    ferry__list_init(&in->node);
    source->data = in;
    lock(e);
    if (source->lane == FERRY__CALLS || source->lane == FERRY__POSTS) {
        in->queue = mem__hub_queue(e->hub, source->lane, source->name,
                                   source->lane == FERRY__POSTS ? e->config->partitions + 1 : 1, true);
        if (in->queue) {
            in->queue->listeners++;
            in->queue->served = true;
        }
    }
    if (source->lane == FERRY__EVENTS)
        mem__events_listen(e, in);
    bool good = in->queue || in->group || source->lane == FERRY__REPLIES || source->lane == FERRY__CONTROLS;
    if (good)
        ferry__list_append(&e->intakes, &in->node);
    unlock(e);
    if (!good)
        ferry__free(in);
    return good ? FERRY_OK : FERRY_NO_MEMORY;
}

static void mem_unlisten(void *self, ferry__source *source)
{
    mem__endpoint *e = self;
    mem__intake *in = source->data;
    if (!in)
        return;
    lock(e);
    if (in->queue)
        in->queue->listeners--;
    mem__events_unlisten(in);
    ferry__list_remove(&in->node);
    unlock(e);
    ferry__free(in);
    source->data = NULL;
}

static void mem_credit(void *self, ferry__source *source, int frames)
{
    (void)self;
    mem__intake *in = source->data;
    in->credit += frames;
}

/* ---- sending ---- */

static void refuse(mem__endpoint *e, ferry__frame *f, ferry_status status)
{
    f->tag[1] = (uint64_t)status;
    ferry__frames_add(&e->outcomes, f);
}

static void mem_send(void *self, ferry__target *target, ferry__frame *f)
{
    mem__endpoint *e = self;
    if (f->kind == FERRY__REPLY) {
        ferry__frames_add(&e->replies, f);
        return;
    }
    mem__parcel *p = ferry__zalloc(sizeof *p);
    ferry__frame *copy = p ? ferry__frame_clone(f) : NULL;
    if (!copy) {
        ferry__free(p);
        refuse(e, f, FERRY_NO_MEMORY);
        return;
    }
    p->frame = copy;
    f->tag[0] = (uint64_t)(uintptr_t)target;
    ferry__list_init(&p->node);
    ferry__list_append(&e->staged, &p->node);
    ferry__frames_add(&e->sent, f);
}

static mem__queue *queue_of(mem__endpoint *e, ferry__target *target)
{
    if (!target->data)
        target->data = mem__hub_queue(e->hub, target->lane, target->name, 1, false);
    return target->data; /* queues live as long as the hub */
}

static mem__endpoint *endpoint_of(mem__hub *h, const unsigned char client[16])
{
    mem__endpoint *e = h->endpoints[place(client)];
    while (e && memcmp(e->config->client, client, 16) != 0)
        e = e->next;
    return e;
}

static void push_control(mem__endpoint *e, const char *service, mem__parcel *p)
{
    for (size_t i = 0; i < 64; i++)
        for (mem__endpoint *to = e->hub->endpoints[i]; to; to = to->next)
            for (ferry__node *n = to->intakes.next; n != &to->intakes; n = n->next) {
                mem__intake *in = FERRY__OF(n, mem__intake, node);
                if (in->source->lane != FERRY__CONTROLS || strcmp(in->source->name, service) != 0)
                    continue;
                ferry__frame *copy = ferry__frame_clone(p->frame);
                if (copy) {
                    copy->from = in->source;
                    ferry__frames_add(&to->inbox, copy);
                }
                mem__ring(to);
                break;
            }
    mem__parcel_free(p);
}

static ferry_status push(mem__endpoint *e, ferry__target *target, mem__parcel *p, int64_t now_ms)
{
    mem__queue *q = queue_of(e, target);
    ferry_status status = FERRY_OK;
    if (!q || !q->served)
        status = FERRY_NO_SERVICE;
    else if (q->count >= e->config->max_queued)
        status = FERRY_OVERLOADED;
    else if (q->lane == FERRY__POSTS && !e->hub->known)
        e->hub->known = mem__known_new(e->config->done_count, e->config->done_ms);
    bool repeated = status == FERRY_OK && q->lane == FERRY__POSTS && e->hub->known &&
                    !mem__known_add(e->hub->known, &p->frame->id, now_ms);
    if (status != FERRY_OK || repeated) {
        mem__parcel_free(p);
        return status;
    }
    mem__queue_push(q, p);
    return FERRY_OK;
}

/* The parcel has no use further on: a log holds frames. */
static mem__topic *push_event(mem__endpoint *e, ferry__target *target, mem__parcel *p, ferry__frame *f)
{
    mem__topic *t = mem__topic_get(e->hub, e->config, target->name, true);
    bool good = t && mem__topic_append(t, p->frame, ferry__wall_ms());
    if (good)
        p->frame = NULL;
    mem__parcel_free(p);
    f->tag[1] = (uint64_t)(good ? FERRY_OK : FERRY_NO_MEMORY);
    ferry__frames_add(&e->outcomes, f);
    return t;
}

static void push_staged(mem__endpoint *e)
{
    int64_t now_ms = ferry__now_ms();
    mem__queue *last = NULL;
    mem__topic *fed = NULL;
    for (ferry__node *n; (n = ferry__list_shift(&e->staged));) {
        mem__parcel *p = FERRY__OF(n, mem__parcel, node);
        ferry__frame *f = ferry__frames_take(&e->sent);
        ferry__target *target = (ferry__target *)(uintptr_t)f->tag[0];
        if (target->lane == FERRY__CONTROLS) {
            push_control(e, target->name, p);
            ferry__frame_unref(f);
            continue;
        }
        if (target->lane == FERRY__EVENTS) {
            mem__topic *t = push_event(e, target, p, f);
            if (fed && fed != t)
                mem__events_ring(e->hub, fed, e);
            fed = t;
            continue;
        }
        f->tag[1] = (uint64_t)push(e, target, p, now_ms);
        ferry__frames_add(&e->outcomes, f);
        mem__queue *q = queue_of(e, target);
        if (q && q != last)
            mem__ring_listeners(e->hub, q, e);
        last = q;
    }
    if (fed)
        mem__events_ring(e->hub, fed, e);
}

static void push_replies(mem__endpoint *e)
{
    mem__endpoint *last = NULL;
    for (ferry__frame *f; (f = ferry__frames_take(&e->replies));) {
        mem__endpoint *to =
            last && memcmp(last->config->client, f->id.client, 16) == 0 ? last : endpoint_of(e->hub, f->id.client);
        if (!to) {
            ferry__frame_unref(f); /* the caller is gone */
            continue;
        }
        f->from = to->replies_to;
        ferry__frames_add(&to->inbox, f);
        if (last && last != to)
            mem__ring(last);
        last = to;
    }
    if (last)
        mem__ring(last);
}

static void mem_flush(void *self)
{
    mem__endpoint *e = self;
    size_t settled = e->settled.count;
    if (ferry__list_empty(&e->staged) && !e->replies.count && !settled)
        return;
    lock(e);
    push_replies(e);
    mem__push_settled(e);
    push_staged(e);
    unlock(e);
    e->settled_now += settled;
}

/* ---- receiving ---- */

static const char *reason(ferry_status status, ferry__target *target, char why[FERRY_WHY_SIZE])
{
    if (status == FERRY_NO_SERVICE)
        ferry__why(why, "nobody ever served '%s' here: start a server for it, or check the name and FERRY_URL",
                   target->name);
    else if (status == FERRY_OVERLOADED)
        ferry__why(why, "the queue of '%s' is full", target->name);
    else
        ferry__why(why, "%s", ferry_status_text(status));
    return why;
}

static void hand_outcomes(mem__endpoint *e)
{
    char why[FERRY_WHY_SIZE];
    for (ferry__frame *f; (f = ferry__frames_take(&e->outcomes));) {
        ferry_status status = (ferry_status)f->tag[1];
        if (status == FERRY_OK)
            e->up->outcome(e->up, f, FERRY__ACCEPTED, FERRY_OK, NULL);
        else
            e->up->outcome(e->up, f, FERRY__REFUSED, status,
                           reason(status, (ferry__target *)(uintptr_t)f->tag[0], why));
        ferry__frame_unref(f);
    }
}

/* The parcel's frame goes up as it is: the hub leaves it alone until it is settled. */
static void pull(mem__endpoint *e, mem__intake *in, ferry__frames *got, int64_t now_ms)
{
    while (in->credit > 0) {
        mem__parcel *p = mem__queue_pull(in->queue, e, now_ms);
        if (!p)
            return;
        ferry__frame *f = ferry__frame_ref(p->frame);
        f->tag[0] = (uint64_t)(uintptr_t)p;
        f->from = in->source;
        ferry__list_append(&e->held, &p->node);
        ferry__frames_add(got, f);
        in->credit--;
    }
}

static void hand_frames(mem__endpoint *e, ferry__frames *got)
{
    for (ferry__frame *f; (f = ferry__frames_take(got));)
        e->up->frame(e->up, f->from, f);
}

static void hand_probes(mem__endpoint *e)
{
    for (ferry__target *t; (t = e->probes);) {
        e->probes = t->next;
        lock(e);
        mem__queue *q = queue_of(e, t);
        ferry__presence is = !q || !q->served                     ? FERRY__NEVER
                             : q->listeners || mem__queue_held(q) ? FERRY__ALIVE
                                                                  : FERRY__GONE;
        unlock(e);
        e->up->probed(e->up, t, is);
    }
}

static void hand_withdrawn(mem__endpoint *e)
{
    for (ferry__node *n; (n = ferry__list_shift(&e->withdrawals));) {
        mem__parcel *note = FERRY__OF(n, mem__parcel, node);
        ferry__frame *storage = note->frame->shared ? note->frame->shared : note->frame;
        unsigned fresh = 0;
        bool yes = atomic_compare_exchange_strong(&storage->mark, &fresh, 2);
        e->up->withdrawn(e->up, note->frame, yes);
        mem__parcel_free(note);
    }
}

static void hand_news(mem__endpoint *e)
{
    for (ferry__node *n = e->intakes.next; n != &e->intakes; n = n->next) {
        mem__intake *in = FERRY__OF(n, mem__intake, node);
        if (in->group)
            mem__events_news(e, in);
    }
}

static void look(mem__endpoint *e, ferry__frames *got)
{
    int64_t now_ms = ferry__now_ms();
    e->starved = false;
    lock(e);
    for (ferry__node *n = e->intakes.next; n != &e->intakes; n = n->next) {
        mem__intake *in = FERRY__OF(n, mem__intake, node);
        if (in->queue)
            pull(e, in, got, now_ms);
        else if (in->group)
            mem__events_pull(e, in, got);
    }
    ferry__frames_join(got, &e->inbox); /* behind the calls: a cancel must not overtake its call */
    unlock(e);
}

static void clear_event(mem__endpoint *e)
{
    uint64_t count;
    if (e->event >= 0 && read(e->event, &count, sizeof count) < 0)
        return; /* nothing in it */
}

static void mem_pump(void *self)
{
    mem__endpoint *e = self;
    ferry__frames got;
    ferry__frames_init(&got);
    clear_event(e);
    e->seen = ferry__bell_seen(&e->bell);
    if (!e->told_up) {
        e->told_up = true;
        e->up->state(e->up, FERRY__UP, FERRY_OK, NULL);
    }
    look(e, &got);
    hand_outcomes(e);
    hand_frames(e, &got);
    hand_probes(e);
    hand_withdrawn(e);
    hand_news(e);
    mem__hand_answers(e);
    if (e->settled_now)
        e->up->settled(e->up, e->settled_now, FERRY_OK, NULL);
    e->settled_now = 0;
}

static void mem_wait(void *self, int ms)
{
    mem__endpoint *e = self;
    ferry__bell_sleep(&e->bell, e->seen, ms, false);
}

static void mem_wake(void *self)
{
    mem__ring(self);
}

static void mem_probe(void *self, ferry__target *target)
{
    mem__endpoint *e = self;
    target->next = e->probes;
    e->probes = target;
}

static int mem_next_ms(void *self, int64_t now_ms)
{
    mem__endpoint *e = self;
    int least = e->starved ? STARVED_MS : -1;
    lock(e);
    for (ferry__node *n = e->intakes.next; n != &e->intakes; n = n->next) {
        mem__intake *in = FERRY__OF(n, mem__intake, node);
        int ms = in->queue && in->credit > 0 ? mem__queue_next_ms(in->queue, now_ms) : -1;
        least = ms >= 0 && (least < 0 || ms < least) ? ms : least;
    }
    unlock(e);
    return least;
}

static int mem_fd(void *self)
{
    mem__endpoint *e = self;
    if (e->event < 0)
        e->event = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    return e->event;
}

const ferry__backend ferry__mem_backend = {
    .scheme = "mem",
    .about = "inside one process: reference and test double",
    .state_size = sizeof(mem__endpoint),
    .bits = FERRY__WITHDRAWS | FERRY__REMEMBERS | FERRY__REDELIVERS | FERRY__CANCELS | FERRY__REPLAYS,
    .more = &mem__more,
    .open = mem_open,
    .close = mem_close,
    .abandon = mem_abandon,
    .listen = mem_listen,
    .unlisten = mem_unlisten,
    .credit = mem_credit,
    .send = mem_send,
    .flush = mem_flush,
    .settle = mem__settle,
    .retry = mem__retry,
    .bury = mem__bury,
    .hand_back = mem__hand_back,
    .wait = mem_wait,
    .wake = mem_wake,
    .pump = mem_pump,
    .probe = mem_probe,
    .next_ms = mem_next_ms,
    .fd = mem_fd,
};
