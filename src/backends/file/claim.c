/* claim.c - claims and the journal; explained in claim.h. */
#include "backends/file/claim.h"

#include "backends/file/batch.h"
#include "base/clock.h"

/* ---- entries ---- */

static ferry__page_entry *entry_of(ferry__file *f, unsigned entry)
{
    return &ferry__page_mine(&f->page)->journal[entry];
}

void ferry__claim_reset(ferry__file *f)
{
    f->spares = 0;
    for (unsigned i = FERRY__PAGE_JOURNAL; i-- > 0;)
        f->spare[f->spares++] = (uint16_t)i;
}

unsigned ferry__claim_open(ferry__file *f, int64_t id, uint32_t attempt, unsigned late)
{
    unsigned i = f->spare[--f->spares];
    ferry__page_entry *e = entry_of(f, i);
    atomic_store_explicit(&e->id, id, memory_order_relaxed);
    atomic_store_explicit(&e->attempt, attempt, memory_order_relaxed);
    atomic_store_explicit(&e->late, (uint16_t)late, memory_order_relaxed);
    ferry__page_slot *me = ferry__page_mine(&f->page);
    if (atomic_load_explicit(&me->journal_end, memory_order_relaxed) <= i)
        atomic_store(&me->journal_end, i + 1);
    atomic_store_explicit(&e->mark, FERRY__MARK_CLAIMED, memory_order_release);
    return i;
}

void ferry__claim_mark(ferry__file *f, const ferry__frame *frame, enum ferry__page_mark mark)
{
    atomic_store_explicit(&entry_of(f, FERRY__TAG_ENTRY(frame))->mark, (uint16_t)mark, memory_order_release);
}

void ferry__claim_done(ferry__file *f, unsigned entry)
{
    atomic_store_explicit(&entry_of(f, entry)->mark, FERRY__MARK_DONE, memory_order_release);
}

void ferry__claim_close(ferry__file *f, unsigned entry)
{
    atomic_store_explicit(&entry_of(f, entry)->mark, FERRY__MARK_FREE, memory_order_release);
    f->spare[f->spares++] = (uint16_t)entry;
}

void ferry__claim_free(ferry__file *f, const ferry__frame *frame)
{
    ferry__claim_close(f, FERRY__TAG_ENTRY(frame));
}

bool ferry__claim_late(ferry__file *f, const ferry__frame *frame)
{
    return atomic_load_explicit(&entry_of(f, FERRY__TAG_ENTRY(frame))->late, memory_order_relaxed);
}

/* ---- what there is ---- */

static bool may_own(const ferry__file *f, ferry__page_queue *q)
{
    uint32_t owner = atomic_load_explicit(&q->owner, memory_order_relaxed);
    return owner == 0 || owner == (uint32_t)f->page.me + 1;
}

static ferry__claim_need need_of_queue(const ferry__file *f, ferry__page_queue *q)
{
    int64_t due = atomic_load_explicit(&q->due, memory_order_relaxed);
    bool late = due && due <= f->now_ms;
    if (!late && atomic_load(&q->head) >= atomic_load(&q->tail))
        return FERRY__CLAIM_NOTHING;
    return !may_own(f, q) ? FERRY__CLAIM_NOTHING : late ? FERRY__CLAIM_WRITES : FERRY__CLAIM_READS;
}

/* The lanes that a listener takes from: one for calls; for posts the shared one and all parts. */
static unsigned lanes_of(const ferry__file *f, const ferry__file_listener *l)
{
    if (l->lane == FERRY__CALLS)
        return 1;
    uint64_t parts = atomic_load_explicit(&ferry__page_service_of(&f->page, l->service)->parts, memory_order_acquire);
    return 1 + (unsigned)(parts < FERRY__PAGE_PARTS ? parts : FERRY__PAGE_PARTS);
}

static int64_t queue_at(const ferry__file_listener *l, unsigned lane)
{
    return ((int64_t)l->service << FERRY__STORE_LANE_BITS) +
           (l->lane == FERRY__CALLS ? FERRY__STORE_CALLS : FERRY__STORE_POSTS + lane);
}

static bool takes(const ferry__file *f, const ferry__file_listener *l)
{
    return l->service && (l->lane == FERRY__CALLS || l->lane == FERRY__POSTS) && !atomic_load(&l->closed) &&
           atomic_load(&l->credit) > 0 && f->spares > 0;
}

static ferry__claim_need need_of_listener(const ferry__file *f, const ferry__file_listener *l)
{
    ferry__claim_need need = FERRY__CLAIM_NOTHING;
    for (unsigned lane = 0, lanes = lanes_of(f, l); lane < lanes && need < FERRY__CLAIM_WRITES; lane++) {
        ferry__claim_need one = need_of_queue(f, ferry__page_queue_of(&f->page, queue_at(l, lane)));
        need = one > need ? one : need;
    }
    return need;
}

ferry__claim_need ferry__claim_need_of(ferry__file *f)
{
    ferry__claim_need need = FERRY__CLAIM_NOTHING;
    for (ferry__node *n = f->listeners.next; n != &f->listeners; n = n->next) {
        const ferry__file_listener *l = FERRY__OF(n, ferry__file_listener, node);
        ferry__claim_need one = takes(f, l) ? need_of_listener(f, l) : FERRY__CLAIM_NOTHING;
        need = one > need ? one : need;
    }
    return need;
}

static int hungry_role(const ferry__file_listener *l)
{
    return l->lane == FERRY__CALLS ? FERRY__PAGE_FOR_CALLS : FERRY__PAGE_FOR_POSTS;
}

/* The bit is set first and the queue looked at again then, while a sender commits first and looks at the bits then: one sees the other. */
bool ferry__claim_rest(ferry__file *f)
{
    bool more = false;
    for (ferry__node *n = f->listeners.next; n != &f->listeners; n = n->next) {
        const ferry__file_listener *l = FERRY__OF(n, ferry__file_listener, node);
        if (!takes(f, l))
            continue;
        _Atomic uint64_t *hungry = ferry__page_service_of(&f->page, l->service)->hungry[hungry_role(l)];
        if (!ferry__page_set_has(hungry, f->page.me))
            ferry__page_set_add(hungry, f->page.me);
        more = more || need_of_listener(f, l) != FERRY__CLAIM_NOTHING;
    }
    return more;
}

static int64_t first_due(const ferry__file *f, const ferry__file_listener *l)
{
    int64_t first = 0;
    for (unsigned lane = 0, lanes = lanes_of(f, l); lane < lanes; lane++) {
        int64_t due =
            atomic_load_explicit(&ferry__page_queue_of(&f->page, queue_at(l, lane))->due, memory_order_relaxed);
        if (due && (!first || due < first))
            first = due;
    }
    return first;
}

int ferry__claim_next_ms(ferry__file *f, int64_t now_ms)
{
    int64_t first = 0;
    for (ferry__node *n = f->listeners.next; n != &f->listeners; n = n->next) {
        const ferry__file_listener *l = FERRY__OF(n, ferry__file_listener, node);
        int64_t due = takes(f, l) ? first_due(f, l) : 0;
        if (due && (!first || due < first))
            first = due;
    }
    if (!first)
        return -1;
    return first <= now_ms ? 0 : first - now_ms > 60000 ? 60000 : (int)(first - now_ms);
}

/* ---- claiming ---- */

/* One row: false = stop here, it stays where it is. What cannot be read is deleted, else it would stop the queue for ever. */
static bool accept(ferry__file *f, ferry__file_listener *l, ferry__store_sql from, bool late)
{
    sqlite3_stmt *row = f->store.sql[from];
    int64_t id = sqlite3_column_int64(row, 0);
    ferry_status status = FERRY_OK;
    ferry__frame *frame =
        ferry__frame_unpack(sqlite3_column_blob(row, 1), (size_t)sqlite3_column_bytes(row, 1), &status);
    f->starved = f->starved || (!frame && status == FERRY_NO_MEMORY);
    if (!frame)
        return status == FERRY_PROTOCOL && ferry__batch_discard(f, id, "a message that cannot be read");
    if (late) {
        frame->attempt = (uint32_t)sqlite3_column_int64(row, 2);
        frame->maybe = sqlite3_column_int(row, 3) != 0;
    }
    frame->tag[0] = (uint64_t)id;
    frame->tag[1] = FERRY__TAG(ferry__claim_open(f, id, frame->attempt, late), 0, f->generation, 0);
    frame->owner = l;
    atomic_fetch_sub(&l->credit, 1);
    ferry__frames_add(&f->claimed, frame);
    return true;
}

static int most_of(const ferry__file *f, const ferry__file_listener *l)
{
    int credit = atomic_load(&l->credit), most = (int)f->spares;
    return credit < most ? credit : most;
}

/* Under the writer lock nothing is under way, so fewer rows than asked for means that the rest of the sequence is empty. */
static int take_fresh(ferry__file *f, ferry__file_listener *l, ferry__file_touch *t)
{
    int64_t head = atomic_load(&t->q->head), tail = atomic_load(&t->q->tail);
    int most = most_of(f, l), rows = 0, got;
    if (head >= tail || most <= 0)
        return SQLITE_OK;
    ferry__store_bind(&f->store, FERRY__SQL_TAKE, 1, ferry__store_id(t->queue, head));
    ferry__store_bind(&f->store, FERRY__SQL_TAKE, 2, ferry__store_id(t->queue, tail - 1));
    ferry__store_bind(&f->store, FERRY__SQL_TAKE, 3, most);
    while ((got = ferry__store_step(&f->store, FERRY__SQL_TAKE)) == SQLITE_ROW) {
        if (!accept(f, l, FERRY__SQL_TAKE, false))
            break;
        head = (sqlite3_column_int64(f->store.sql[FERRY__SQL_TAKE], 0) & FERRY__STORE_SEQUENCE_MASK) + 1;
        rows++;
    }
    ferry__store_reset(&f->store, FERRY__SQL_TAKE);
    t->head = got == SQLITE_DONE && rows < most ? tail : head;
    t->claimed += rows;
    return got == SQLITE_ROW || got == SQLITE_DONE ? SQLITE_OK : got;
}

int64_t ferry__claim_due(ferry__file *f, int64_t queue, int *error)
{
    ferry__store_bind(&f->store, FERRY__SQL_LATE_NEXT, 1, queue);
    int64_t due = ferry__store_number(&f->store, FERRY__SQL_LATE_NEXT, 0, error);
    return due == FERRY__STORE_TAKEN ? 0 : due;
}

static int mark_taken(ferry__file *f, const ferry__frame *frame)
{
    int error = SQLITE_OK;
    for (; frame && !error; frame = frame->next) {
        ferry__store_bind(&f->store, FERRY__SQL_LATE_MARK, 1, (int64_t)frame->tag[0]);
        error = ferry__store_run(&f->store, FERRY__SQL_LATE_MARK);
    }
    return error;
}

static int take_late(ferry__file *f, ferry__file_listener *l, ferry__file_touch *t)
{
    int64_t due = atomic_load(&t->q->due);
    int most = most_of(f, l), got, error = 0;
    if (!due || due > f->now_ms || most <= 0)
        return SQLITE_OK;
    ferry__frame **first = f->claimed.last;
    ferry__store_bind(&f->store, FERRY__SQL_LATE_TAKE, 1, t->queue);
    ferry__store_bind(&f->store, FERRY__SQL_LATE_TAKE, 2, f->now_ms);
    ferry__store_bind(&f->store, FERRY__SQL_LATE_TAKE, 3, most);
    while ((got = ferry__store_step(&f->store, FERRY__SQL_LATE_TAKE)) == SQLITE_ROW &&
           accept(f, l, FERRY__SQL_LATE_TAKE, true))
        t->claimed++;
    ferry__store_reset(&f->store, FERRY__SQL_LATE_TAKE);
    if (got != SQLITE_ROW && got != SQLITE_DONE)
        return got;
    if (!*first && got == SQLITE_DONE) { /* rows without a message would be due for ever */
        ferry__store_bind(&f->store, FERRY__SQL_LATE_ORPHANS, 1, t->queue);
        error = ferry__store_run(&f->store, FERRY__SQL_LATE_ORPHANS);
    }
    if (!error)
        error = mark_taken(f, *first);
    t->due = error ? -1 : ferry__claim_due(f, t->queue, &error);
    return error;
}

static int claim_queue(ferry__file *f, ferry__file_listener *l, int64_t queue)
{
    ferry__page_queue *q = ferry__page_queue_of(&f->page, queue);
    if (need_of_queue(f, q) == FERRY__CLAIM_NOTHING)
        return SQLITE_OK;
    ferry__file_touch *t = ferry__batch_touch(f, queue);
    if (!t)
        return SQLITE_OK; /* in the next transaction */
    int error = sqlite3_get_autocommit(f->store.db) ? SQLITE_OK : take_late(f, l, t);
    return error ? error : take_fresh(f, l, t);
}

static int claim_listener(ferry__file *f, ferry__file_listener *l)
{
    unsigned lanes = lanes_of(f, l);
    int error = SQLITE_OK;
    for (unsigned i = 0; i < lanes && !error && takes(f, l); i++)
        error = claim_queue(f, l, queue_at(l, (l->turn + i) % lanes));
    l->turn++;
    return error;
}

int ferry__claim_all(ferry__file *f)
{
    int error = SQLITE_OK;
    for (int calls = 1; calls >= 0; calls--) /* someone waits for them: they go first */
        for (ferry__node *n = f->listeners.next; n != &f->listeners && !error; n = n->next) {
            ferry__file_listener *l = FERRY__OF(n, ferry__file_listener, node);
            if ((l->lane == FERRY__CALLS) == calls && takes(f, l))
                error = claim_listener(f, l);
        }
    return error;
}

void ferry__claim_committed(ferry__file *f, ferry__file_touch *t)
{
    if (t->claimed && (t->queue & FERRY__STORE_LANE_MASK) >= FERRY__STORE_PARTS) {
        atomic_fetch_add(&t->q->held, (uint32_t)t->claimed);
        atomic_store(&t->q->owner, (uint32_t)f->page.me + 1);
    }
    if (t->head >= 0)
        atomic_store(&t->q->head, t->head);
    if (t->due >= 0)
        atomic_store(&t->q->due, t->due);
}

void ferry__claim_arrived(ferry__file *f)
{
    ferry__frames_join(&f->arrived, &f->claimed);
}

void ferry__claim_undo(ferry__file *f)
{
    for (ferry__frame *frame; (frame = ferry__frames_take(&f->claimed));) {
        ferry__file_listener *l = frame->owner;
        atomic_fetch_add(&l->credit, 1);
        ferry__claim_free(f, frame);
        ferry__frame_unref(frame);
    }
}
