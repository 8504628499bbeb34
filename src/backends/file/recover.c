/* recover.c - the claims of the dead; explained in recover.h. */
#include "backends/file/recover.h"

#include "backends/file/batch.h"

void ferry__recover_look(ferry__file *f)
{
    unsigned end = ferry__page_slots_end(&f->page);
    for (unsigned i = 0; i < end && !f->dead_seen; i++)
        f->dead_seen =
            atomic_load(&ferry__page_slot_of(&f->page, (int)i)->taken) && !ferry__page_lives(&f->page, (int)i);
}

bool ferry__recover_needed(const ferry__file *f)
{
    return f->dead_seen || atomic_load(&f->page.file->header.repair);
}

static int drop(ferry__file *f, int64_t id)
{
    int error = ferry__batch_drop(f, id);
    if (error)
        return error;
    ferry__store_bind(&f->store, FERRY__SQL_LATE_DROP, 1, id);
    return ferry__store_run(&f->store, FERRY__SQL_LATE_DROP);
}

static int again(ferry__file *f, int64_t id, uint32_t attempt, bool maybe)
{
    int64_t queue = ferry__store_queue(id);
    ferry__store_bind(&f->store, FERRY__SQL_LEFT, 1, id);
    ferry__store_bind(&f->store, FERRY__SQL_LEFT, 2, queue);
    ferry__store_bind(&f->store, FERRY__SQL_LEFT, 3, attempt);
    ferry__store_bind(&f->store, FERRY__SQL_LEFT, 4, maybe);
    ferry__page_lower_due(ferry__page_queue_of(&f->page, queue), FERRY__STORE_NOW);
    ferry__file_touch *t = ferry__batch_touch(f, queue);
    if (t)
        t->freed++;
    return ferry__store_run(&f->store, FERRY__SQL_LEFT);
}

static bool known(const ferry__file *f, int64_t id)
{
    int64_t queue = ferry__store_queue(id), service = queue >> FERRY__STORE_LANE_BITS;
    return id > 0 && service < FERRY__PAGE_SERVICES && (queue & FERRY__STORE_LANE_MASK) < FERRY__PAGE_QUEUES &&
           ferry__page_has_service(&f->page, (int)service);
}

static int recover_entry(ferry__file *f, ferry__page_entry *e)
{
    int64_t id = atomic_load(&e->id);
    unsigned mark = atomic_load(&e->mark);
    if (ferry__event_owns(id))
        return ferry__event_recover(f, e);
    if (mark == FERRY__MARK_FREE || !known(f, id))
        return SQLITE_OK;
    int64_t queue = ferry__store_queue(id);
    if (!atomic_load(&e->late) &&
        (id & FERRY__STORE_SEQUENCE_MASK) >= atomic_load(&ferry__page_queue_of(&f->page, queue)->head))
        return SQLITE_OK;
    bool call = (queue & FERRY__STORE_LANE_MASK) == FERRY__STORE_CALLS;
    if (mark == FERRY__MARK_DONE && !call)
        return drop(f, id);
    bool began = mark == FERRY__MARK_BEGUN || mark == FERRY__MARK_DONE;
    return again(f, id, atomic_load(&e->attempt) + (mark == FERRY__MARK_CLAIMED ? 0 : 1), began);
}

static int recover_slot(ferry__file *f, int slot)
{
    ferry__page_slot *s = ferry__page_slot_of(&f->page, slot);
    unsigned end = atomic_load(&s->journal_end);
    int error = SQLITE_OK;
    for (unsigned i = 0; i < end && i < FERRY__PAGE_JOURNAL && !error; i++)
        error = recover_entry(f, &s->journal[i]);
    if (error)
        return error;
    int64_t inbox = FERRY__STORE_INBOX + (int64_t)slot;
    ferry__store_bind(&f->store, FERRY__SQL_DROP, 1, ferry__store_id(inbox, 0));
    ferry__store_bind(&f->store, FERRY__SQL_DROP, 2, ferry__store_id(inbox, FERRY__STORE_SEQUENCE_MASK));
    return ferry__store_run(&f->store, FERRY__SQL_DROP);
}

int ferry__recover_all(ferry__file *f)
{
    unsigned end = ferry__page_slots_end(&f->page);
    int error = SQLITE_OK;
    if (atomic_load(&f->page.file->header.repair)) {
        error = ferry__topic_repair(f);
        if (!error)
            error = ferry__event_repair_move(f);
    }
    for (unsigned i = 0; i < end && !error; i++) {
        if (!ferry__page_seize(&f->page, (int)i))
            continue;
        f->seized[f->seizures++] = (int)i;
        error = recover_slot(f, (int)i);
    }
    return error;
}

int ferry__recover_self(ferry__file *f)
{
    f->seized[f->seizures++] = f->page.me;
    return recover_slot(f, f->page.me);
}

static void leave_service(ferry__file *f, int service, int slot)
{
    ferry__page_service *v = ferry__page_service_of(&f->page, service);
    for (int role = 0; role < FERRY__PAGE_ROLES; role++)
        ferry__page_set_remove(v->listeners[role], slot);
    for (int role = 0; role < FERRY__PAGE_FOR_CONTROLS; role++)
        ferry__page_set_remove(v->hungry[role], slot);
    for (int lane = FERRY__STORE_PARTS; lane < FERRY__PAGE_QUEUES; lane++) {
        ferry__page_queue *q = &v->queues[lane];
        if (atomic_load(&q->owner) != (uint32_t)slot + 1)
            continue;
        atomic_store(&q->held, 0);
        atomic_store(&q->owner, 0);
        ferry__file_touch *t = ferry__batch_touch(f, ((int64_t)service << FERRY__STORE_LANE_BITS) + lane);
        if (t)
            t->freed++;
    }
}

static void bury(ferry__file *f, int slot)
{
    ferry__page_slot *s = ferry__page_slot_of(&f->page, slot);
    for (int i = 0; i < FERRY__PAGE_SERVICES; i++)
        if (ferry__page_has_service(&f->page, i))
            leave_service(f, i, slot);
    ferry__event_bury(f, slot);
    unsigned end = atomic_load(&s->journal_end);
    for (unsigned i = 0; i < end && i < FERRY__PAGE_JOURNAL; i++)
        atomic_store(&s->journal[i].mark, FERRY__MARK_FREE);
    if (slot != f->page.me)
        ferry__page_free_slot(&f->page, slot);
}

void ferry__recover_committed(ferry__file *f)
{
    for (size_t i = 0; i < f->seizures; i++)
        bury(f, f->seized[i]);
    if (f->seizures)
        f->names_changed = true;
    if (atomic_load(&f->page.file->header.repair))
        atomic_store(&f->page.file->header.repair, 0); /* it was needed, so it was done */
    f->dead_seen = false;
    f->seizures = 0;
}

void ferry__recover_undo(ferry__file *f)
{
    for (size_t i = 0; i < f->seizures; i++)
        if (f->seized[i] != f->page.me)
            ferry__page_unseize(&f->page, f->seized[i]);
    f->seizures = 0;
}
