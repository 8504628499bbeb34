/* send.c - calls, posts and controls on their way into the table. */
#include "backends/file/send.h"

#include "backends/file/batch.h"
#include "backends/file/inbox.h"
#include "backends/file/name.h"
#include "base/alloc.h"

#include <string.h>

enum { PAGE_BYTES = 4096, SERIALS = 1 << 20 /* posts that are remembered, by serial */ };

/* A repeated post or event begins with the random bits of the handle that sent it first, so only that handle can repeat it, and it remembers. */
static uint64_t *post_bit(ferry__file *f, const ferry__frame *frame, uint64_t *mask)
{
    if ((frame->kind != FERRY__POST && frame->kind != FERRY__EVENT) ||
        memcmp(frame->id.client, f->config->client, sizeof frame->id.client) != 0)
        return NULL;
    if (!f->sent_posts && !(f->sent_posts = ferry__zalloc(SERIALS / 8)))
        return NULL;
    uint64_t serial = frame->id.serial;
    if (serial + SERIALS <= f->sent_top)
        return NULL;
    if (serial >= f->sent_top + SERIALS)
        memset(f->sent_posts, 0, SERIALS / 8);
    else
        for (uint64_t i = f->sent_top + 1; i <= serial; i++)
            f->sent_posts[i % SERIALS / 64] &= ~((uint64_t)1 << i % 64);
    if (serial > f->sent_top)
        f->sent_top = serial;
    *mask = (uint64_t)1 << serial % 64;
    return &f->sent_posts[serial % SERIALS / 64];
}

/* A dead letter that is sent again keeps its id. */
static bool is_dead(ferry__file *f, const ferry__frame *frame, int *error)
{
    char id[FERRY__ID_TEXT];
    ferry__id_print(&frame->id, id);
    sqlite3_bind_text(f->store.sql[FERRY__SQL_DEAD_FIND], 1, id, -1, SQLITE_TRANSIENT);
    return ferry__store_number(&f->store, FERRY__SQL_DEAD_FIND, 0, error) != 0;
}

void ferry__send_forget(ferry__file *f, const ferry__frame *frame)
{
    uint64_t mask, *bit = post_bit(f, frame, &mask);
    if (bit)
        *bit &= ~mask;
}

static void end_send(ferry__file *f, ferry__frame *frame, ferry__fate fate, enum ferry__file_why why)
{
    frame->tag[1] = FERRY__TAG(0, fate == FERRY__ACCEPTED ? FERRY__SENT : FERRY__REFUSED_ALREADY, 0,
                               (unsigned)fate | (unsigned)why << 8);
    ferry__frames_add(&f->outcomes, frame);
}

void ferry__send_accept(ferry__file *f, ferry__frame *frame)
{
    end_send(f, frame, FERRY__ACCEPTED, FERRY__WHY_NONE);
}

void ferry__send_refuse(ferry__file *f, ferry__frame *frame, enum ferry__file_why why)
{
    if (frame->kind == FERRY__CONTROL)
        ferry__frame_unref(frame); /* best effort, nobody asks */
    else
        end_send(f, frame, FERRY__REFUSED, why);
}

static int64_t queue_for(const ferry__frame *frame, ferry__lane lane, int service)
{
    int64_t base = (int64_t)service << FERRY__STORE_LANE_BITS;
    if (lane == FERRY__CALLS)
        return base + FERRY__STORE_CALLS;
    return frame->partition ? base + FERRY__STORE_PARTS + (frame->partition - 1) % FERRY__PAGE_PARTS
                            : base + FERRY__STORE_POSTS;
}

int ferry__send_put(ferry__file *f, int64_t id, const ferry__frame *frame)
{
    size_t size = ferry__frame_packed(frame);
    char *room = ferry__inbox_scratch(f, size);
    if (!room)
        return SQLITE_NOMEM;
    ferry__frame_pack(frame, room);
    ferry__store_bind(&f->store, FERRY__SQL_PUT, 1, id);
    sqlite3_bind_blob64(f->store.sql[FERRY__SQL_PUT], 2, room, size, SQLITE_STATIC);
    return ferry__store_run(&f->store, FERRY__SQL_PUT);
}

/* Why it cannot be sent, seen before anything is written. */
enum ferry__file_why ferry__send_obstacle(const ferry__file *f, const ferry__frame *frame)
{
    if (frame->deadline_ms && frame->deadline_ms <= f->now_ms)
        return FERRY__WHY_LATE;
    if ((int64_t)f->store.wal_pages * PAGE_BYTES > f->wal_max)
        return FERRY__WHY_LOG;
    return FERRY__WHY_NONE;
}

static enum ferry__file_why obstacle(const ferry__file *f, const ferry__frame *frame, const ferry__file_touch *t)
{
    enum ferry__file_why why = ferry__send_obstacle(f, frame);
    if (why)
        return why;
    int64_t waiting = atomic_load(&t->q->tail) - atomic_load(&t->q->head);
    return waiting >= (int64_t)f->config->max_queued ? FERRY__WHY_FULL : FERRY__WHY_NONE;
}

static void use_part(ferry__file *f, int64_t queue)
{
    int64_t part = (queue & FERRY__STORE_LANE_MASK) - FERRY__STORE_PARTS + 1;
    _Atomic uint64_t *parts = &ferry__page_service_of(&f->page, (int)(queue >> FERRY__STORE_LANE_BITS))->parts;
    if (part > 0 && atomic_load(parts) < (uint64_t)part)
        atomic_store(parts, (uint64_t)part);
}

bool ferry__send_known(ferry__file *f, const ferry__frame *frame, int *error)
{
    uint64_t mask = 0, *bit = post_bit(f, frame, &mask);
    return bit && *bit & mask && !is_dead(f, frame, error);
}

void ferry__send_remember(ferry__file *f, const ferry__frame *frame)
{
    uint64_t mask = 0, *bit = post_bit(f, frame, &mask);
    if (bit)
        *bit |= mask;
}

static int put_message(ferry__file *f, ferry__frame *frame, ferry__file_touch *t)
{
    int error = SQLITE_OK;
    if (ferry__send_known(f, frame, &error)) {
        ferry__send_accept(f, frame);
        return SQLITE_OK;
    }
    enum ferry__file_why why = obstacle(f, frame, t);
    if (why) {
        ferry__send_refuse(f, frame, why);
        return SQLITE_OK;
    }
    int64_t sequence = atomic_load(&t->q->tail);
    atomic_store(&t->q->tail, sequence + 1);
    use_part(f, t->queue);
    ferry__frames_add(&f->doing, frame);
    if (!error)
        error = ferry__send_put(f, ferry__store_id(t->queue, sequence), frame);
    if (error)
        return error;
    frame->tag[0] = (uint64_t)ferry__store_id(t->queue, sequence);
    t->sent++;
    ferry__send_remember(f, frame);
    return SQLITE_OK;
}

static int send_control(ferry__file *f, ferry__frame *frame, int service)
{
    _Atomic uint64_t *members = ferry__page_service_of(&f->page, service)->listeners[FERRY__PAGE_FOR_CONTROLS];
    int error = SQLITE_OK;
    for (int slot = 0; slot < FERRY__PAGE_SLOTS && !error; slot++)
        if (ferry__page_set_has(members, slot))
            error = ferry__inbox_put(f, slot, (uint32_t)service, frame);
    ferry__frames_add(&f->doing, frame);
    return error;
}

bool ferry__send_do(ferry__file *f, ferry__frame *frame, int *error)
{
    ferry__file_target *target = (ferry__file_target *)(uintptr_t)frame->tag[0];
    if (!target) {
        ferry__send_refuse(f, frame, FERRY__WHY_MEMORY);
        return true;
    }
    if (target->target->lane == FERRY__EVENTS)
        return ferry__event_send(f, frame, target, error);
    int service = ferry__name_resolve(f, target, error);
    if (*error)
        ferry__frames_add(&f->doing, frame);
    else if (!service)
        ferry__send_refuse(f, frame, FERRY__WHY_NEVER);
    else if (target->target->lane == FERRY__CONTROLS)
        *error = send_control(f, frame, service);
    else {
        ferry__file_touch *t = ferry__batch_touch(f, queue_for(frame, target->target->lane, service));
        if (!t)
            return false;
        *error = put_message(f, frame, t);
    }
    return true;
}
