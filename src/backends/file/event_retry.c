/* event_retry.c - events that failed, and those of the dead; explained in event.h. */
#include "backends/file/event.h"

#include "backends/file/batch.h"
#include "backends/file/name.h"
#include "backends/file/pipe.h"
#include "backends/file/send.h"

/* ---- retries: copies in the box's posts ---- */

/* A copy waits in `later` and is never fresh, so the head has to pass it, in the page and before the commit. Should we die before that,
 * the next writer puts the head back (repair_move). One queue a transaction. */
static bool start_move(ferry__file *f, int64_t queue, ferry__page_queue *q)
{
    ferry__page_header *h = &f->page.file->header;
    if (f->events.moving)
        return atomic_load(&h->moving_queue) == queue;
    atomic_store(&h->moving_head, atomic_load(&q->head));
    atomic_store(&h->moving_queue, queue);
    f->events.moving = true;
    return true;
}

/* Those that wait as fresh, dead letters sent again, are passed too: they become late ones that are due. */
static int pass_fresh(ferry__file *f, int64_t queue, ferry__page_queue *q)
{
    int64_t head = atomic_load(&q->head), tail = atomic_load(&q->tail);
    if (head >= tail)
        return SQLITE_OK;
    ferry__store_bind(&f->store, FERRY__SQL_LEFT_BEHIND, 1, queue);
    ferry__store_bind(&f->store, FERRY__SQL_LEFT_BEHIND, 2, ferry__store_id(queue, head));
    ferry__store_bind(&f->store, FERRY__SQL_LEFT_BEHIND, 3, ferry__store_id(queue, tail - 1));
    ferry__page_lower_due(q, FERRY__STORE_NOW);
    return ferry__store_run(&f->store, FERRY__SQL_LEFT_BEHIND);
}

static int put_copy(ferry__file *f, const ferry__frame *frame, int64_t queue, ferry__page_queue *q, int64_t due)
{
    int error = pass_fresh(f, queue, q);
    int64_t sequence = atomic_load(&q->tail), id = ferry__store_id(queue, sequence);
    if (error)
        return error;
    atomic_store(&q->tail, sequence + 1);
    atomic_store(&q->head, sequence + 1);
    error = ferry__send_put(f, id, frame);
    if (error)
        return error;
    ferry__store_bind(&f->store, FERRY__SQL_LATE_PUT, 1, id);
    ferry__store_bind(&f->store, FERRY__SQL_LATE_PUT, 2, queue);
    ferry__store_bind(&f->store, FERRY__SQL_LATE_PUT, 3, due);
    ferry__store_bind(&f->store, FERRY__SQL_LATE_PUT, 4, frame->attempt);
    ferry__store_bind(&f->store, FERRY__SQL_LATE_PUT, 5, 0);
    ferry__page_lower_due(q, due);
    return ferry__store_run(&f->store, FERRY__SQL_LATE_PUT);
}

bool ferry__event_copy(ferry__file *f, ferry__frame *frame, int64_t due, int *error)
{
    const ferry__event_hold *h = (const ferry__event_hold *)(uintptr_t)frame->tag[0];
    int service = ferry__name_make(f, h->listener->box, error);
    int64_t queue = ((int64_t)service << FERRY__STORE_LANE_BITS) + FERRY__STORE_POSTS;
    if (!*error) {
        ferry__page_queue *q = ferry__page_queue_of(&f->page, queue);
        ferry__file_touch *t = ferry__batch_touch(f, queue);
        if (!t || !start_move(f, queue, q))
            return false;
        *error = put_copy(f, frame, queue, q, due);
        t->freed++;
    }
    ferry__frames_add(&f->doing, frame);
    return true;
}

/* Did what he was about to commit come about? Then the first that the head passed has its row in `later`. */
int ferry__event_repair_move(ferry__file *f)
{
    ferry__page_header *h = &f->page.file->header;
    int64_t queue = atomic_load(&h->moving_queue), head = atomic_load(&h->moving_head);
    int64_t service = queue >> FERRY__STORE_LANE_BITS;
    int error = SQLITE_OK;
    if (!queue)
        return error;
    ferry__store_bind(&f->store, FERRY__SQL_LATE_FIND, 1, ferry__store_id(queue, head));
    int64_t found = ferry__store_number(&f->store, FERRY__SQL_LATE_FIND, 0, &error);
    if (error)
        return error;
    if (!found && service < FERRY__PAGE_SERVICES && ferry__page_has_service(&f->page, (int)service))
        atomic_store(&ferry__page_queue_of(&f->page, queue)->head, head);
    atomic_store(&h->moving_queue, 0);
    return SQLITE_OK;
}

/* ---- the dead ---- */

bool ferry__event_owns(int64_t id)
{
    int64_t queue = ferry__store_queue(id);
    return queue > FERRY__STORE_GROUPS && queue < FERRY__STORE_GROUPS + FERRY__PAGE_GROUPS;
}

int ferry__event_recover(ferry__file *f, ferry__page_entry *e)
{
    int64_t id = atomic_load(&e->id), seq = id & FERRY__STORE_SEQUENCE_MASK;
    int group = (int)(ferry__store_queue(id) - FERRY__STORE_GROUPS);
    unsigned mark = atomic_load(&e->mark), track = atomic_load(&e->late);
    uint32_t attempt = atomic_load(&e->attempt);
    if (mark == FERRY__MARK_FREE || mark == FERRY__MARK_CLAIMED || !ferry__group_has(&f->page, group) ||
        track >= FERRY__PAGE_TRACKS)
        return SQLITE_OK;
    ferry__page_group *g = ferry__page_group_of(&f->page, group);
    if ((atomic_load(&g->generation) & 0xffff) != attempt >> 16 || seq < atomic_load(&g->tracks[track].done))
        return SQLITE_OK;
    ferry__store_sql put = FERRY__SQL_AGAIN_PUT;
    ferry__store_bind(&f->store, put, 1, group);
    ferry__store_bind(&f->store, put, 2, seq);
    ferry__store_bind(&f->store, put, 3, track);
    ferry__store_bind(&f->store, put, 4, (attempt & 0xffff) + 1);
    ferry__store_bind(&f->store, put, 5, mark == FERRY__MARK_BEGUN);
    ferry__store_bind(&f->store, put, 6, mark == FERRY__MARK_DONE);
    atomic_store(&g->tracks[track].again, 1);
    return ferry__store_run(&f->store, put);
}

static void leave_group(ferry__page_group *g, int slot)
{
    bool news = false;
    for (int m = 0; m < FERRY__PAGE_MEMBERS; m++) {
        if ((atomic_load(&g->members[m]) & ~(uint32_t)FERRY__PAGE_LEAVING) != (uint32_t)slot + 1)
            continue;
        for (int i = 0; i < FERRY__PAGE_TRACKS; i++)
            if (atomic_load(&g->tracks[i].owner) == (uint32_t)m + 1)
                atomic_store(&g->tracks[i].owner, 0);
        atomic_store(&g->members[m], 0);
        news = true;
    }
    if (news)
        atomic_fetch_add(&g->epoch, 1);
}

void ferry__event_bury(ferry__file *f, int slot)
{
    for (int i = 1; i < FERRY__PAGE_GROUPS; i++)
        if (ferry__group_has(&f->page, i))
            leave_group(ferry__page_group_of(&f->page, i), slot);
    for (int i = 1; i < FERRY__PAGE_TOPICS; i++)
        if (ferry__topic_has(&f->page, i))
            ferry__page_set_remove(ferry__page_topic_of(&f->page, i)->hungry, slot);
}
