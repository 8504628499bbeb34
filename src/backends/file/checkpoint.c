/* checkpoint.c - explained in checkpoint.h. */
#include "backends/file/checkpoint.h"

#include "backends/file/lock.h"

enum {
    PAGE_BYTES = 4096,
    LOCK_MS = 20,
    AGAIN_MS = 50,     /* after one that could not finish, for somebody reads */
    HARD_AGAIN_MS = 5, /* the same, when the log is long already */
    LEAVE_BYTES = 1 << 20
};

/* True: all of the log is in the database now. */
static bool run(ferry__file *f, int mode)
{
    int all = 0, done = 0;
    int error = sqlite3_wal_checkpoint_v2(f->store.db, NULL, mode, &all, &done);
    if (error && error != SQLITE_BUSY)
        ferry__log_print(f->up->log, LOG_WARNING, "file: %s: checkpoint: %s", f->place, sqlite3_errmsg(f->store.db));
    if (!error || error == SQLITE_BUSY)
        f->store.wal_pages = all == done ? 0 : all;
    return !error && all == done;
}

static void run_locked(ferry__file *f, int mode)
{
    if (!ferry__file_lock(f, LOCK_MS))
        return;
    ferry__page_header *h = &f->page.file->header;
    if (run(f, mode))
        atomic_store(&h->complete_at, atomic_load(&h->commits));
    atomic_store(&h->checkpointing, 0);
    ferry__lock_drop(&f->page);
}

static void run_beside(ferry__file *f)
{
    ferry__page_header *h = &f->page.file->header;
    atomic_store(&h->checkpointing, 1);
    bool complete = run(f, SQLITE_CHECKPOINT_PASSIVE);
    if (!complete)
        atomic_store(&h->checkpointing, 0);
    else if (ferry__file_lock(f, LOCK_MS)) {
        atomic_store(&h->complete_at, atomic_load(&h->commits)); /* perhaps more than it was: on the safe side */
        atomic_store(&h->checkpointing, 0);
        ferry__lock_drop(&f->page);
    }
}

void ferry__checkpoint_maybe(ferry__file *f)
{
    int64_t bytes = (int64_t)f->store.wal_pages * PAGE_BYTES;
    if (bytes < f->wal_soft || f->now_ms < f->checkpoint_at_ms)
        return;
    if (!ferry__page_lock_checkpoint(&f->page))
        return;
    const ferry__page_header *h = &f->page.file->header;
    bool beside = !atomic_load(&h->checkpointing) && atomic_load(&h->commits) > atomic_load(&h->complete_at);
    if (bytes >= f->wal_hard)
        run_locked(f, SQLITE_CHECKPOINT_RESTART);
    else if (beside)
        run_beside(f);
    else
        run_locked(f, SQLITE_CHECKPOINT_PASSIVE);
    ferry__page_unlock_checkpoint(&f->page);
    if (f->store.wal_pages)
        f->checkpoint_at_ms = f->now_ms + (bytes >= f->wal_hard ? HARD_AGAIN_MS : AGAIN_MS);
}

void ferry__checkpoint_last(ferry__file *f)
{
    if ((int64_t)f->store.wal_pages * PAGE_BYTES >= LEAVE_BYTES && ferry__page_lock_checkpoint(&f->page)) {
        ferry__page_header *h = &f->page.file->header;
        if (run(f, SQLITE_CHECKPOINT_TRUNCATE))
            atomic_store(&h->complete_at, atomic_load(&h->commits));
        ferry__page_unlock_checkpoint(&f->page);
    }
}
