/* pipe.c - the table: what the core calls with its lock held only notes down, pump hands up. How work flows is in pipe.h. */
#include "backends/file/pipe.h"

#include "backends/file/batch.h"
#include "backends/file/checkpoint.h"
#include "backends/file/claim.h"
#include "backends/file/file.h"
#include "backends/file/inbox.h"
#include "backends/file/lock.h"
#include "backends/file/name.h"
#include "backends/file/place.h"
#include "backends/file/recover.h"
#include "base/alloc.h"
#include "base/clock.h"

#include <string.h>
#include <sys/mman.h>

enum { CLOSE_LOCK_MS = 500 };

static const ferry__setting settings[] = {
    {"sync", FERRY__CHOICE, "normal", 0, 0, "normal|full",
     "normal: what was accepted survives the end of any process; full: of the machine too, at the price of a disk "
     "flush a commit"},
    {"look", FERRY__MS, "250ms", 10, 10000, NULL,
     "how often to look for what no bell tells: a process that died, a database that was replaced"},
    {"wal", FERRY__BYTES, "4M", 64 << 10, 1 << 30, NULL,
     "size of the write-ahead log from which it is moved into the database beside the work"},
    {"wal_hard", FERRY__BYTES, "16M", 64 << 10, 1 << 30, NULL, "size from which writers wait for that"},
    {"wal_max", FERRY__BYTES, "256M", 1 << 20, (int64_t)1 << 34, NULL,
     "size from which sends are refused as OVERLOADED"},
    {NULL, FERRY__TEXT, NULL, 0, 0, NULL, NULL},
};

/* ---- beginning and end ---- */

static ferry_status file_open(void *self, ferry__up *up, const ferry__config *config, const ferry__url *url, char *why)
{
    ferry__file *f = self;
    f->up = up;
    f->config = config;
    f->page = (ferry__page){.fd = -1, .me = FERRY__PAGE_NOBODY};
    f->loop_epoll = f->loop_pipe = -1;
    atomic_store(&f->loop_event, -1);
    atomic_store(&f->bell, &f->alone);
    pthread_mutex_init(&f->door, NULL);
    ferry__frames *frames[] = {&f->noted,   &f->passed,  &f->work,  &f->doing,
                               &f->claimed, &f->arrived, &f->inbox, &f->outcomes};
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++)
        ferry__frames_init(frames[i]);
    ferry__events_init(&f->events);
    ferry__list *lists[] = {&f->noted_ops,  &f->noted_listeners,  &f->targets,
                            &f->passed_ops, &f->passed_listeners, &f->listeners,
                            &f->ops,        &f->doing_ops,        &f->answers};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        ferry__list_init(lists[i]);
    f->options.full = ferry__url_number(url, settings, "sync") == 1;
    f->look_ms = ferry__url_number(url, settings, "look");
    f->wal_soft = ferry__url_number(url, settings, "wal");
    f->wal_hard = ferry__url_number(url, settings, "wal_hard");
    f->wal_max = ferry__url_number(url, settings, "wal_max");
    f->path = ferry__strdup(url->path ? url->path : "");
    if (config->partitions > FERRY__PAGE_PARTS) {
        ferry__why(why, "partitions: file: has %d at most", FERRY__PAGE_PARTS);
        return FERRY_INVALID;
    }
    if (f->path)
        return ferry__place_resolve(f->path, &f->place, why);
    ferry__why(why, "out of memory");
    return FERRY_NO_MEMORY;
}

static void free_op(ferry__file_op *op)
{
    ferry__frame_unref(op->frame);
    if (op->kind == FERRY__OP_UNLISTEN)
        ferry__free(op->listener);
    if (op->kind == FERRY__OP_SEEK)
        atomic_fetch_sub(&op->events->ops, 1);
    ferry__free(op);
}

static void free_ops(ferry__list *ops)
{
    for (ferry__node *n; (n = ferry__list_shift(ops));)
        free_op(FERRY__OF(n, ferry__file_op, node));
}

static void free_listeners(ferry__list *listeners)
{
    for (ferry__node *n; (n = ferry__list_shift(listeners));) {
        ferry__file_listener *l = FERRY__OF(n, ferry__file_listener, node);
        if (!atomic_load(&l->closed))
            l->source->data = NULL;
        ferry__free(l);
    }
}

static void free_all(ferry__file *f)
{
    ferry__frames *frames[] = {&f->noted,   &f->passed,  &f->work,  &f->doing,
                               &f->claimed, &f->arrived, &f->inbox, &f->outcomes};
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++)
        if (frames[i]->last)
            ferry__frames_drop(frames[i]);
    ferry__list *ops[] = {&f->noted_ops, &f->passed_ops, &f->ops, &f->doing_ops, &f->answers};
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        free_ops(ops[i]);
    ferry__list *listeners[] = {&f->noted_listeners, &f->passed_listeners, &f->listeners};
    for (size_t i = 0; i < sizeof listeners / sizeof listeners[0]; i++)
        free_listeners(listeners[i]);
    for (ferry__node *n; (n = ferry__list_shift(&f->targets));) {
        ferry__file_target *t = FERRY__OF(n, ferry__file_target, node);
        t->target->data = NULL;
        ferry__free(t);
    }
    ferry__event_done(f);
    for (size_t i = 0; i < f->retirements; i++)
        munmap(f->retired[i], sizeof *f->retired[i]);
    f->retirements = 0;
    ferry__inbox_done(f);
    ferry__free(f->sent_posts);
    ferry__free(f->path);
    ferry__free(f->place);
    f->sent_posts = NULL;
    f->path = f->place = NULL;
    pthread_mutex_destroy(&f->door);
}

static void file_probe(void *self, ferry__target *target)
{
    ferry__file *f = self;
    ferry__file_target *t = ferry__name_target(f, target);
    ferry__file_op *op = t ? ferry__file_note(f, FERRY__OP_PROBE, 0) : NULL;
    if (op) {
        op->target = t;
        return;
    }
    target->next = f->unprobed; /* no memory: soon again, since a probe must be answered */
    f->unprobed = target;
}

static void probe_again(ferry__file *f)
{
    ferry__target *again = f->unprobed;
    f->unprobed = NULL;
    for (ferry__target *next; again; again = next) {
        next = again->next;
        file_probe(f, again);
    }
}

static void file_flush(void *self)
{
    ferry__file *f = self;
    probe_again(f);
    pthread_mutex_lock(&f->door);
    ferry__frames_join(&f->passed, &f->noted);
    ferry__list_join(&f->passed_ops, &f->noted_ops);
    ferry__list_join(&f->passed_listeners, &f->noted_listeners);
    ferry__event_flush(f);
    pthread_mutex_unlock(&f->door);
}

/* What was noted is written, what we have goes back. If that cannot be now, the next one does it, as for one who died. */
static void leave(ferry__file *f)
{
    f->now_ms = ferry__now_ms();
    file_flush(f);
    ferry__file_take(f);
    ferry__event_finish(f);
    f->events.closing = true;
    if (f->reopen || !ferry__file_lock(f, CLOSE_LOCK_MS))
        return;
    bool left = ferry__batch_leave(f);
    if (left && ferry__page_alone(&f->page))
        ferry__checkpoint_last(f);
    ferry__lock_drop(&f->page);
    ferry__batch_ring(f);
    if (left) {
        ferry__page_free_slot(&f->page, f->page.me);
        atomic_fetch_add(&f->page.file->header.changes, 1);
        ferry__page_ring_all(&f->page);
    }
}

static void file_close(void *self)
{
    ferry__file *f = self;
    if (!f->up)
        return;
    if (f->up_now)
        leave(f);
    ferry__checkpoint_end(f);
    ferry__file_loop_done(f);
    atomic_store(&f->bell, &f->alone);
    ferry__page_close(&f->page);
    ferry__store_close(&f->store);
    free_all(f);
}

/* In a forked child. The page's descriptor is closed, so that the parent alone keeps its slot alive. SQLite's connection is leaked:
 * closing it here would touch the parent's locks and log. Its descriptors end with the next exec. */
static void file_abandon(void *self)
{
    ferry__file *f = self;
    if (!f->up)
        return;
    f->page.me = FERRY__PAGE_NOBODY;
    ferry__file_loop_done(f);
    ferry__page_close(&f->page);
    free_all(f);
}

/* ---- notes ---- */

ferry__file_op *ferry__file_note(ferry__file *f, int kind, size_t room)
{
    ferry__file_op *op = ferry__zalloc(sizeof *op + room);
    if (!op)
        return NULL;
    op->kind = (enum ferry__file_op_kind)kind;
    ferry__list_append(&f->noted_ops, &op->node);
    return op;
}

static ferry_status file_listen(void *self, ferry__source *source)
{
    ferry__file *f = self;
    if (source->lane == FERRY__EVENTS)
        return ferry__event_listen(f, source);
    ferry__file_listener *l = ferry__name_listener(f, source);
    if (!l)
        return FERRY_NO_MEMORY;
    source->data = l;
    ferry__list_append(&f->noted_listeners, &l->node);
    return FERRY_OK;
}

static void file_unlisten(void *self, ferry__source *source)
{
    ferry__file *f = self;
    ferry__file_listener *l = source->data;
    if (source->lane == FERRY__EVENTS)
        ferry__event_unlisten(source);
    if (!l || source->lane == FERRY__EVENTS)
        return;
    atomic_store(&l->closed, true);
    source->data = NULL;
    ferry__file_op *op = ferry__file_note(f, FERRY__OP_UNLISTEN, 0);
    if (op)
        op->listener = l; /* without memory it stays in the list, closed, until the end */
}

static void file_credit(void *self, ferry__source *source, int frames)
{
    (void)self;
    if (!source->data)
        return;
    if (source->lane == FERRY__EVENTS)
        atomic_fetch_add(&((ferry__event_listener *)source->data)->credit, frames);
    else
        atomic_fetch_add(&((ferry__file_listener *)source->data)->credit, frames);
}

static void file_send(void *self, ferry__target *target, ferry__frame *frame)
{
    ferry__file *f = self;
    frame->tag[0] = target ? (uint64_t)(uintptr_t)ferry__name_target(f, target) : 0;
    frame->tag[1] = FERRY__TAG(0, target ? FERRY__DO_SEND : FERRY__DO_REPLY, 0, 0);
    ferry__frames_add(&f->noted, frame);
}

/* The journal says it at once, so that a crash before the commit knows. */
static void note_end(ferry__file *f, ferry__frame *frame, enum ferry__file_verb verb, enum ferry__page_mark mark,
                     uint32_t high)
{
    unsigned generation = FERRY__TAG_GENERATION(frame);
    if (frame->tag[0] && generation == (f->generation & 0xfff))
        ferry__claim_mark(f, frame, mark);
    frame->tag[1] = FERRY__TAG(FERRY__TAG_ENTRY(frame), verb, generation, high);
    ferry__frames_add(&f->noted, frame);
}

static void file_settle(void *self, ferry__frame *frame)
{
    if (ferry__event_is(frame))
        ferry__event_end(self, frame, FERRY__DO_SETTLE);
    else
        note_end(self, frame, FERRY__DO_SETTLE, FERRY__MARK_DONE, 0);
}

static void file_retry(void *self, ferry__frame *frame, int delay_ms)
{
    bool event = ferry__event_is(frame);
    if (event && !ferry__event_in_group(frame)) /* of a broadcast: it has no box to come from */
        ferry__event_end(self, frame, FERRY__DO_HAND_BACK);
    else
        note_end(self, frame, event ? FERRY__DO_RETRY_EVENT : FERRY__DO_RETRY, FERRY__MARK_AGAIN,
                 delay_ms > 0 ? (uint32_t)delay_ms : 0);
}

static void file_hand_back(void *self, ferry__frame *frame)
{
    if (ferry__event_is(frame))
        ferry__event_end(self, frame, FERRY__DO_HAND_BACK);
    else
        note_end(self, frame, FERRY__DO_HAND_BACK, FERRY__MARK_CLAIMED, 0);
}

/* Without memory for the record it comes again a second later. */
static void file_bury(void *self, ferry__frame *frame, const char *box, const void *record, size_t length)
{
    ferry__file *f = self;
    size_t name = strlen(box) + 1;
    ferry__file_op *op = ferry__file_note(f, FERRY__OP_BURY, name + length);
    if (!op) {
        file_retry(self, frame, 1000);
        return;
    }
    if (frame->tag[0] && FERRY__TAG_GENERATION(frame) == (f->generation & 0xfff) && ferry__event_in_group(frame))
        ferry__claim_mark(f, frame, FERRY__MARK_AGAIN);
    op->frame = frame;
    op->box = op->room;
    op->length = length;
    memcpy(op->room, box, name);
    memcpy(op->room + name, record, length);
}

static void file_wait(void *self, int ms)
{
    ferry__file *f = self;
    ferry__bell_sleep(atomic_load(&f->bell), f->seen, ms, true);
}

/* ---- pump ---- */

static ferry__file_listener *listener_of(ferry__file *f, ferry__lane lane, int service)
{
    for (ferry__node *n = f->listeners.next; n != &f->listeners; n = n->next) {
        ferry__file_listener *l = FERRY__OF(n, ferry__file_listener, node);
        if (l->lane == lane && l->service == service && !atomic_load(&l->closed))
            return l;
    }
    return NULL;
}

static void hand_up(ferry__file *f, ferry__file_listener *l, ferry__frame *frame)
{
    frame->from = l->source;
    f->up->frame(f->up, l->source, frame);
}

static void hand_up_claimed(ferry__file *f)
{
    for (ferry__frame *frame; (frame = ferry__frames_take(&f->arrived));) {
        ferry__file_listener *l = frame->owner;
        frame->owner = NULL;
        if (!atomic_load(&l->closed))
            hand_up(f, l, frame);
        else {
            file_hand_back(f, frame);
            f->unasked++;
        }
    }
}

/* Replies and controls need no credit: they are bounded by our own calls. */
static void hand_up_inbox(ferry__file *f)
{
    for (ferry__frame *frame; (frame = ferry__frames_take(&f->inbox));) {
        int service = (int)frame->tag[1];
        bool control = frame->kind == FERRY__CONTROL;
        ferry__file_listener *l = listener_of(f, control ? FERRY__CONTROLS : FERRY__REPLIES, control ? service : 0);
        frame->tag[0] = frame->tag[1] = 0;
        if (l)
            hand_up(f, l, frame);
        else
            ferry__frame_unref(frame);
    }
}

static ferry_status reason(const ferry__file *f, enum ferry__file_why why, const ferry__frame *frame, char *text)
{
    const char *route = ferry__frame_text(frame, frame->route);
    switch (why) {
    case FERRY__WHY_NEVER:
        ferry__why(text, "nobody ever served \"%.*s\" on %s", (int)strcspn(route, "."), route, f->place);
        return FERRY_NO_SERVICE;
    case FERRY__WHY_FULL:
        ferry__why(text, "%zu messages wait for \"%.*s\" already", f->config->max_queued, (int)strcspn(route, "."),
                   route);
        return FERRY_OVERLOADED;
    case FERRY__WHY_LOG:
        ferry__why(
            text, "the write-ahead log of %s is over %lld bytes: something keeps it from being moved into the database",
            f->place, (long long)f->wal_max);
        return FERRY_OVERLOADED;
    case FERRY__WHY_LOCKED:
        if (f->up_now && f->busy_slot >= 0)
            ferry__why(text, "%s was locked until the deadline by %s, process %u", f->place,
                       ferry__page_slot_of(&f->page, f->busy_slot)->name,
                       (unsigned)atomic_load(&ferry__page_slot_of(&f->page, f->busy_slot)->pid));
        else
            ferry__why(text, "%s was locked until the deadline by another program", f->place);
        return FERRY_TIMEOUT;
    case FERRY__WHY_LATE:
        ferry__why(text, "the deadline passed before it could be written");
        return FERRY_TIMEOUT;
    case FERRY__WHY_STORE:
        ferry__why(text, "%s", f->store_why);
        return f->store_status;
    case FERRY__WHY_MEMORY:
        ferry__why(text, "out of memory");
        return FERRY_NO_MEMORY;
    case FERRY__WHY_NONE:
        break;
    }
    text[0] = '\0';
    return FERRY_OK;
}

static void tell_outcomes(ferry__file *f)
{
    char text[FERRY_WHY_SIZE];
    for (ferry__frame *frame; (frame = ferry__frames_take(&f->outcomes));) {
        ferry__fate fate = (ferry__fate)(FERRY__TAG_HIGH(frame) & 0xff);
        ferry_status status = reason(f, (enum ferry__file_why)(FERRY__TAG_HIGH(frame) >> 8), frame, text);
        f->up->outcome(f->up, frame, fate, status, text);
        ferry__frame_unref(frame);
    }
}

static void tell_settled(ferry__file *f)
{
    size_t unasked = f->unasked < f->settled ? f->unasked : f->settled; /* handed back by ourselves */
    f->unasked -= unasked;
    if (f->settled > unasked)
        f->up->settled(f->up, f->settled - unasked, FERRY_OK, NULL);
    if (f->unsettled)
        f->up->settled(f->up, f->unsettled, FERRY_UNAVAILABLE, "the database was replaced or reopened");
    f->settled = f->unsettled = 0;
}

static void tell_op(ferry__file *f, ferry__file_op *op)
{
    switch (op->kind) {
    case FERRY__OP_PROBE:
        op->target->told = (int)op->presence;
        f->up->probed(f->up, op->target->target, op->presence);
        break;
    case FERRY__OP_WITHDRAW:
        f->up->withdrawn(f->up, op->frame, op->yes);
        break;
    case FERRY__OP_ADMIN:
        f->up->answered(f->up, op->admin);
        break;
    default:
        break;
    }
    free_op(op);
}

static void tell_state(ferry__file *f)
{
    if (!f->state_news)
        return;
    f->state_news = false;
    f->up->state(f->up, f->up_now ? FERRY__UP : FERRY__DOWN, f->state, f->up_now ? NULL : f->state_why);
}

/* In pump, since `begin` and `settle` of other threads look at the page with the link's lock. */
static void close_for_now(ferry__file *f)
{
    f->reopen = false;
    ferry__file_shut(f);
    f->generation++;
    ferry__name_forget(f);
    f->state = f->store_status;
    ferry__why(f->state_why, "%s", f->store_why);
    f->state_news = true;
    f->try_at_ms = f->now_ms;
    f->tries = 0;
}

static void file_pump(void *self)
{
    ferry__file *f = self;
    tell_state(f);
    tell_outcomes(f);
    ferry__event_pump(f);
    hand_up_claimed(f);
    hand_up_inbox(f);
    tell_settled(f);
    for (ferry__node *n; (n = ferry__list_shift(&f->answers));)
        tell_op(f, FERRY__OF(n, ferry__file_op, node));
    for (ferry__admin *a; (a = f->unasked_admins);) {
        f->unasked_admins = a->next;
        f->up->answered(f->up, a);
    }
    if (f->up_now && !f->reopen)
        ferry__name_tell_changes(f);
    if (f->reopen) {
        close_for_now(f);
        tell_state(f);
    }
}

const ferry__backend ferry__file_backend = {
    .scheme = "file",
    .about = "any number of processes of one machine, over one SQLite database; no server",
    .state_size = sizeof(ferry__file),
    .bits = FERRY__STEPS | FERRY__WITHDRAWS | FERRY__REMEMBERS | FERRY__REDELIVERS | FERRY__DURABLE | FERRY__CANCELS |
            FERRY__REPLAYS,
    .settings = settings,
    .more = &ferry__file_more,
    .open = file_open,
    .close = file_close,
    .abandon = file_abandon,
    .listen = file_listen,
    .unlisten = file_unlisten,
    .credit = file_credit,
    .send = file_send,
    .flush = file_flush,
    .settle = file_settle,
    .retry = file_retry,
    .bury = file_bury,
    .hand_back = file_hand_back,
    .wait = file_wait,
    .wake = ferry__file_wake,
    .step = ferry__file_step,
    .pump = file_pump,
    .probe = file_probe,
    .next_ms = ferry__file_next_ms,
    .fd = ferry__file_fd,
};
