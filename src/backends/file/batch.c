/* batch.c - one transaction; explained in batch.h. */
#include "backends/file/batch.h"

#include "backends/file/admin.h"
#include "backends/file/checkpoint.h"
#include "backends/file/claim.h"
#include "backends/file/inbox.h"
#include "backends/file/name.h"
#include "backends/file/recover.h"
#include "backends/file/send.h"
#include "base/alloc.h"
#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

enum { BATCH_BYTES = 4 << 20, STORE_PAUSE_MS = 100, BUSY_PAUSE_MS = 2, LEAVE_ROUNDS = 256, PAGE_BYTES = 4096 };

/* ---- bookkeeping of the running transaction ---- */

ferry__file_touch *ferry__batch_touch(ferry__file *f, int64_t queue)
{
    for (size_t i = f->touches; i-- > 0;)
        if (f->touched[i].queue == queue)
            return &f->touched[i];
    if (f->touches == FERRY__FILE_TOUCHES)
        return NULL;
    ferry__page_queue *q = ferry__page_queue_of(&f->page, queue);
    f->touched[f->touches] =
        (ferry__file_touch){.queue = queue, .q = q, .tail = atomic_load(&q->tail), .head = -1, .due = -1};
    return &f->touched[f->touches++];
}

bool ferry__batch_discard(ferry__file *f, int64_t id, const char *what)
{
    ferry__file_op *op = ferry__zalloc(sizeof *op);
    if (!op)
        return false;
    ferry__log_print(f->up->log, LOG_ERR, "file: %s: dropped %s", f->place, what);
    op->kind = FERRY__OP_DISCARD;
    op->id = id;
    ferry__list_append(&f->ops, &op->node);
    return true;
}

static int by_id(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int drop_range(ferry__file *f, int64_t from, int64_t to)
{
    ferry__store_bind(&f->store, FERRY__SQL_DROP, 1, from);
    ferry__store_bind(&f->store, FERRY__SQL_DROP, 2, to);
    return ferry__store_run(&f->store, FERRY__SQL_DROP);
}

/* Neighbours go in one statement. */
static int drop_all(ferry__file *f)
{
    int64_t *ids = f->dropped;
    size_t n = f->drops;
    bool sorted = true;
    for (size_t i = 1; i < n && sorted; i++)
        sorted = ids[i - 1] < ids[i];
    if (!sorted)
        qsort(ids, n, sizeof *ids, by_id);
    f->drops = 0;
    int error = SQLITE_OK;
    for (size_t i = 0, j; i < n && !error; i = j) {
        for (j = i + 1; j < n && ids[j] == ids[j - 1] + 1;)
            j++;
        error = drop_range(f, ids[i], ids[j - 1]);
    }
    return error;
}

int ferry__batch_drop(ferry__file *f, int64_t id)
{
    f->dropped[f->drops++] = id;
    return f->drops == FERRY__FILE_BATCH ? drop_all(f) : SQLITE_OK;
}

/* ---- what becomes of received frames ---- */

int ferry__batch_later(ferry__file *f, const ferry__frame *frame, int64_t due)
{
    int64_t id = (int64_t)frame->tag[0], queue = ferry__store_queue(id);
    ferry__store_bind(&f->store, FERRY__SQL_LATE_PUT, 1, id);
    ferry__store_bind(&f->store, FERRY__SQL_LATE_PUT, 2, queue);
    ferry__store_bind(&f->store, FERRY__SQL_LATE_PUT, 3, due);
    ferry__store_bind(&f->store, FERRY__SQL_LATE_PUT, 4, frame->attempt);
    ferry__store_bind(&f->store, FERRY__SQL_LATE_PUT, 5, frame->maybe);
    ferry__page_lower_due(ferry__page_queue_of(&f->page, queue), due);
    return ferry__store_run(&f->store, FERRY__SQL_LATE_PUT);
}

static int drop_message(ferry__file *f, const ferry__frame *frame)
{
    int error = ferry__batch_drop(f, (int64_t)frame->tag[0]);
    if (error || !ferry__claim_late(f, frame))
        return error;
    ferry__store_bind(&f->store, FERRY__SQL_LATE_DROP, 1, (int64_t)frame->tag[0]);
    return ferry__store_run(&f->store, FERRY__SQL_LATE_DROP);
}

static bool stale(const ferry__file *f, const ferry__frame *frame)
{
    return FERRY__TAG_GENERATION(frame) != (f->generation & 0xfff);
}

static bool do_received(ferry__file *f, ferry__frame *frame, int *error)
{
    if (!frame->tag[0] || stale(f, frame)) {
        *(frame->tag[0] ? &f->unsettled : &f->settled) += 1;
        ferry__frame_unref(frame);
        return true;
    }
    ferry__file_touch *t = ferry__batch_touch(f, ferry__store_queue((int64_t)frame->tag[0]));
    if (!t)
        return false;
    ferry__frames_add(&f->doing, frame);
    switch (FERRY__TAG_VERB(frame)) {
    case FERRY__DO_SETTLE:
        *error = drop_message(f, frame);
        break;
    case FERRY__DO_RETRY:
        *error = ferry__batch_later(f, frame, f->now_ms + (int64_t)FERRY__TAG_HIGH(frame));
        break;
    default:
        *error = ferry__batch_later(f, frame, FERRY__STORE_NOW);
        t->freed++;
    }
    return true;
}

/* The last message of a part that was ours: others may have it now. */
void ferry__batch_release(ferry__file *f, const ferry__frame *frame)
{
    ferry__claim_free(f, frame);
    int64_t queue = ferry__store_queue((int64_t)frame->tag[0]);
    if ((queue & FERRY__STORE_LANE_MASK) < FERRY__STORE_PARTS)
        return;
    ferry__page_queue *q = ferry__page_queue_of(&f->page, queue);
    if (atomic_fetch_sub(&q->held, 1) != 1)
        return;
    atomic_store(&q->owner, 0);
    ferry__file_touch *t = ferry__batch_touch(f, queue);
    int64_t left = atomic_load(&q->tail) - atomic_load(&q->head);
    if (t)
        t->freed += left > 0 ? left : atomic_load(&q->due) ? 1 : 0;
}

/* A copy for the box; the event itself is finished with the commit. */
static bool do_retry_event(ferry__file *f, ferry__frame *frame, int *error)
{
    if (!stale(f, frame))
        return ferry__event_copy(f, frame, f->now_ms + (int64_t)FERRY__TAG_HIGH(frame), error);
    f->unsettled++;
    ferry__event_finish_one(f, frame, true, true);
    return true;
}

/* ---- the whole ---- */

static bool put_back(ferry__file *f, ferry__frame *frame)
{
    frame->next = f->work.first;
    f->work.first = frame;
    if (!frame->next)
        f->work.last = &frame->next;
    f->work.count++;
    return false;
}

static int do_frame(ferry__file *f, ferry__frame *frame, bool *room)
{
    int error = SQLITE_OK;
    switch (FERRY__TAG_VERB(frame)) {
    case FERRY__DO_RETRY_EVENT:
        *room = do_retry_event(f, frame, &error) || put_back(f, frame);
        break;
    case FERRY__DO_SEND:
        *room = ferry__send_do(f, frame, &error) || put_back(f, frame);
        break;
    case FERRY__DO_REPLY:
        ferry__frames_add(&f->doing, frame);
        error = ferry__inbox_reply(f, frame);
        break;
    default:
        *room = do_received(f, frame, &error) || put_back(f, frame);
    }
    return error;
}

static int do_frames(ferry__file *f)
{
    size_t bytes = 0;
    int error = SQLITE_OK;
    bool room = true;
    while (!error && room && f->work.first && f->doing.count < FERRY__FILE_BATCH && bytes < BATCH_BYTES) {
        ferry__frame *frame = ferry__frames_take(&f->work);
        bytes += ferry__frame_size(frame);
        error = do_frame(f, frame, &room);
    }
    if (!error)
        error = ferry__event_flush_rows(f);
    return error ? error : ferry__inbox_flush(f);
}

static int do_withdraw(ferry__file *f, ferry__file_op *op)
{
    int64_t id = (int64_t)op->frame->tag[0], queue = ferry__store_queue(id);
    op->yes = FERRY__TAG_VERB(op->frame) == FERRY__REFUSED_ALREADY;
    if (op->yes || FERRY__TAG_VERB(op->frame) != FERRY__SENT)
        return SQLITE_OK;
    if ((id & FERRY__STORE_SEQUENCE_MASK) < atomic_load(&ferry__page_queue_of(&f->page, queue)->head)) {
        ferry__store_bind(&f->store, FERRY__SQL_LATE_WITHDRAW, 1, id);
        int error = ferry__store_run(&f->store, FERRY__SQL_LATE_WITHDRAW);
        if (error || sqlite3_changes(f->store.db) == 0)
            return error;
    }
    int error = drop_range(f, id, id);
    op->yes = !error && sqlite3_changes(f->store.db) == 1;
    return error;
}

static int do_bury(ferry__file *f, ferry__file_op *op)
{
    char id[FERRY__ID_TEXT];
    ferry__id_print(&op->frame->id, id);
    sqlite3_stmt *add = f->store.sql[FERRY__SQL_DEAD_ADD];
    sqlite3_bind_text(add, 1, op->box, -1, SQLITE_STATIC);
    sqlite3_bind_text(add, 2, id, -1, SQLITE_STATIC);
    sqlite3_bind_blob64(add, 3, op->box + strlen(op->box) + 1, op->length, SQLITE_STATIC);
    int error = ferry__store_run(&f->store, FERRY__SQL_DEAD_ADD);
    if (error || !op->frame->tag[0] || stale(f, op->frame) || ferry__event_is(op->frame))
        return error;
    return drop_message(f, op->frame);
}

/* A withdraw waits for its frame to be written. (One without a target never came here: a decorator lost it.) */
static bool op_ready(const ferry__file *f, const ferry__file_op *op)
{
    if (op->kind == FERRY__OP_SEEK)
        return ferry__event_seekable(op);
    if (op->kind == FERRY__OP_ADMIN)
        return !ferry__topics_must_wait(f, op->admin);
    return op->kind != FERRY__OP_WITHDRAW || FERRY__TAG_VERB(op->frame) >= FERRY__SENT || !op->frame->tag[0];
}

static int do_op(ferry__file *f, ferry__file_op *op)
{
    switch (op->kind) {
    case FERRY__OP_WITHDRAW:
        return do_withdraw(f, op);
    case FERRY__OP_BURY:
        return do_bury(f, op);
    case FERRY__OP_DISCARD:
        return ferry__batch_drop(f, op->id);
    case FERRY__OP_ADMIN:
        return ferry__admin_write(f, op->admin);
    case FERRY__OP_UNLISTEN:
        ferry__name_leave(f, op->listener);
        return SQLITE_OK;
    case FERRY__OP_SEEK:
        return ferry__event_seek(f, op);
    case FERRY__OP_PROBE:
        break;
    }
    return SQLITE_OK;
}

static int do_ops(ferry__file *f)
{
    int error = SQLITE_OK;
    ferry__list wait;
    ferry__list_init(&wait);
    for (ferry__node *n; !error && (n = ferry__list_shift(&f->ops));) {
        ferry__file_op *op = FERRY__OF(n, ferry__file_op, node);
        bool ready = op_ready(f, op);
        ferry__list_append(ready ? &f->doing_ops : &wait, n);
        if (ready)
            error = do_op(f, op);
    }
    ferry__list_join(&wait, &f->ops);
    ferry__list_join(&f->ops, &wait);
    return error;
}

static bool any_op_ready(const ferry__file *f)
{
    for (const ferry__node *n = f->ops.next; n != &f->ops; n = n->next)
        if (op_ready(f, FERRY__OF(n, ferry__file_op, node)))
            return true;
    return false;
}

static bool must_write(ferry__file *f)
{
    return f->work.first || any_op_ready(f) || ferry__recover_needed(f) || ferry__name_to_enter(f) ||
           ferry__event_must_write(f) || ferry__event_must_trim(f) || ferry__inbox_to_clean(f);
}

bool ferry__batch_needed(ferry__file *f)
{
    return must_write(f) || ferry__claim_need_of(f) != FERRY__CLAIM_NOTHING;
}

static int write_all(ferry__file *f)
{
    int error = ferry__recover_needed(f) ? ferry__recover_all(f) : SQLITE_OK;
    if (!error)
        error = ferry__name_enter(f);
    if (!error)
        error = ferry__event_write(f);
    if (!error)
        error = do_frames(f);
    if (!error)
        error = do_ops(f);
    if (!error)
        error = drop_all(f);
    if (!error)
        error = ferry__event_trim(f);
    return error ? error : ferry__inbox_clean(f);
}

static void finish_frame(ferry__file *f, ferry__frame *frame)
{
    switch (FERRY__TAG_VERB(frame)) {
    case FERRY__DO_SEND:
        if (frame->kind != FERRY__CONTROL) {
            ferry__send_accept(f, frame);
            return;
        }
        break;
    case FERRY__DO_SETTLE:
    case FERRY__DO_HAND_BACK:
    case FERRY__DO_RETRY:
        f->settled++;
        ferry__batch_release(f, frame);
        break;
    case FERRY__DO_RETRY_EVENT:
        f->settled++;
        ferry__event_finish_one(f, frame, false, false);
        return;
    default:
        break;
    }
    ferry__frame_unref(frame);
}

static void finish_op(ferry__file *f, ferry__file_op *op)
{
    if (op->kind == FERRY__OP_BURY) {
        f->settled++;
        if (ferry__event_is(op->frame)) {
            ferry__event_finish_one(f, ferry__frame_ref(op->frame), stale(f, op->frame), false);
        } else if (op->frame->tag[0] && !stale(f, op->frame))
            ferry__batch_release(f, op->frame);
    } else if (op->kind == FERRY__OP_SEEK)
        ferry__event_sought(f, op);
    ferry__list_append(&f->answers, &op->node);
}

static void finish(ferry__file *f)
{
    for (size_t i = 0; i < f->touches; i++)
        ferry__claim_committed(f, &f->touched[i]);
    for (ferry__frame *frame; (frame = ferry__frames_take(&f->doing));)
        finish_frame(f, frame);
    for (ferry__node *n; (n = ferry__list_shift(&f->doing_ops));)
        finish_op(f, FERRY__OF(n, ferry__file_op, node));
    ferry__recover_committed(f);
    ferry__name_committed(f);
    ferry__event_rows_committed(f);
    ferry__topics_deleted(f);
    ferry__event_committed(f);
    ferry__claim_arrived(f);
    ferry__inbox_committed(f);
}

static void undo_frame(ferry__file *f, ferry__frame *frame, ferry__frames *back)
{
    if (FERRY__TAG_VERB(frame) != FERRY__DO_SEND) {
        ferry__frames_add(back, frame);
        return;
    }
    ferry__send_forget(f, frame);
    ferry__send_refuse(f, frame, FERRY__WHY_STORE);
}

/* Nothing of it happened. What was to be sent is refused, the rest is tried again. (A database that is busy says so before the first
 * frame was touched: then all of them are tried again, until their deadlines.) */
static void undo(ferry__file *f, int error)
{
    bool busy = (error & 0xff) == SQLITE_BUSY;
    f->store_status = ferry__store_status(&f->store, error, f->place, f->store_why);
    ferry__store_rollback(&f->store);
    ferry__claim_undo(f);
    ferry__inbox_undo(f);
    ferry__recover_undo(f);
    ferry__name_undo(f);
    ferry__event_undo(f);
    ferry__event_rows_undo(f);
    f->drops = 0;
    for (size_t i = 0; i < f->touches; i++)
        atomic_store(&f->touched[i].q->tail, f->touched[i].tail);
    f->touches = 0;
    ferry__frames back;
    ferry__frames_init(&back);
    for (ferry__frame *frame; (frame = ferry__frames_take(&f->doing));)
        undo_frame(f, frame, &back);
    ferry__frames_join(&back, &f->work);
    ferry__frames_join(&f->work, &back);
    ferry__list_join(&f->doing_ops, &f->ops);
    ferry__list_join(&f->ops, &f->doing_ops);
    f->pause_until_ms = f->now_ms + (busy ? BUSY_PAUSE_MS : STORE_PAUSE_MS);
    if (ferry__store_fatal(error))
        f->reopen = true;
    if (!busy)
        ferry__log_print(f->up->log, LOG_ERR, "file: %s", f->store_why);
}

void ferry__batch_run(ferry__file *f)
{
    bool writes = must_write(f) || ferry__claim_need_of(f) == FERRY__CLAIM_WRITES;
    f->touches = 0;
    int error = writes ? ferry__store_begin(&f->store) : SQLITE_OK;
    if (!error && writes)
        error = write_all(f);
    if (!error)
        error = ferry__claim_all(f);
    if (!error && writes)
        error = ferry__store_commit(&f->store);
    if (!error && writes)
        atomic_fetch_add(&f->page.file->header.commits, 1);
    ferry__checkpoint_note(f);
    if (error)
        undo(f, error);
    else
        finish(f);
}

bool ferry__batch_leave(ferry__file *f)
{
    bool more = true;
    int error = SQLITE_OK;
    for (int i = 0; more && !error && i < LEAVE_ROUNDS; i++) {
        f->touches = 0;
        error = ferry__store_begin(&f->store);
        if (!error)
            error = write_all(f);
        more = f->work.first || !ferry__list_empty(&f->ops);
        if (!error && !more)
            error = ferry__recover_self(f);
        if (!error)
            error = drop_all(f);
        if (!error)
            error = ferry__store_commit(&f->store);
        if (error)
            undo(f, error);
        else
            finish(f);
    }
    return !error && !more;
}

static int role_of(int64_t queue)
{
    return (queue & FERRY__STORE_LANE_MASK) == FERRY__STORE_CALLS ? FERRY__PAGE_FOR_CALLS : FERRY__PAGE_FOR_POSTS;
}

void ferry__batch_ring(ferry__file *f)
{
    for (size_t i = 0; i < f->touches; i++) {
        const ferry__file_touch *t = &f->touched[i];
        if (t->sent + t->freed > 0)
            ferry__page_ring_hungry(&f->page, (int)(t->queue >> FERRY__STORE_LANE_BITS), role_of(t->queue),
                                    t->sent + t->freed);
    }
    f->touches = 0;
    ferry__inbox_ring(f);
    ferry__event_ring(f);
    if (f->names_changed)
        ferry__page_ring_all(&f->page);
    f->names_changed = false;
}
