/* checkpoint.c - explained in checkpoint.h. */
#include "backends/file/checkpoint.h"

#include "backends/file/lock.h"
#include "base/thread.h"

enum {
    PAGE_BYTES = 4096,
    LOCK_MS = 20,
    AGAIN_MS = 5, /* after one that could not finish, for somebody reads */
    LEAVE_BYTES = 1 << 20
};
enum { IDLE, ASKED, DONE, QUIT };

/* True: all of the log is in the database now. Pages: in the log, and moved. */
static bool run(sqlite3 *db, int mode, int *all, int *moved)
{
    *all = *moved = 0;
    int error = sqlite3_wal_checkpoint_v2(db, NULL, mode, all, moved);
    return !error && *all == *moved;
}

/* ---- the thread ---- */

static void *work_beside(void *arg)
{
    ferry__file *f = arg;
    for (;;) {
        unsigned seen = ferry__bell_seen(&f->beside.bell);
        int state = atomic_load(&f->beside.state), all, moved;
        if (state == QUIT)
            return NULL;
        if (state != ASKED) {
            ferry__bell_sleep(&f->beside.bell, seen, -1, false);
            continue;
        }
        atomic_store(&f->beside.complete, run(f->beside.db, SQLITE_CHECKPOINT_PASSIVE, &all, &moved));
        atomic_store(&f->beside.moved, moved);
        atomic_compare_exchange_strong(&f->beside.state, &state, DONE); /* unless it is to quit */
    }
}

static bool start(ferry__file *f)
{
    if (f->beside.runs)
        return true;
    if (!sqlite3_threadsafe() ||
        sqlite3_open_v2(f->place, &f->beside.db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        return false;
    sqlite3_db_config(f->beside.db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
    sqlite3_wal_autocheckpoint(f->beside.db, 0);
    sqlite3_exec(f->beside.db, f->options.full ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL", NULL,
                 NULL, NULL);
    f->beside.runs = ferry__thread_start(&f->beside.thread, "ferry-log", work_beside, f);
    return f->beside.runs;
}

static bool ask(ferry__file *f)
{
    if (!start(f))
        return false;
    atomic_store(&f->page.file->header.checkpointing, 1);
    atomic_store(&f->beside.state, ASKED);
    ferry__bell_ring(&f->beside.bell);
    return true;
}

void ferry__checkpoint_end(ferry__file *f)
{
    if (f->beside.runs) {
        atomic_store(&f->beside.state, QUIT);
        ferry__bell_ring(&f->beside.bell);
        pthread_join(f->beside.thread, NULL);
        f->beside.runs = false;
    }
    sqlite3_close(f->beside.db);
    f->beside.db = NULL;
    atomic_store(&f->beside.state, IDLE);
}

/* ---- the driver ---- */

static void note(ferry__file *f, bool complete, int moved)
{
    ferry__page_header *h = &f->page.file->header;
    if (complete) /* perhaps commits followed meanwhile: then they count as moved until the next one, which is on the safe side */
        atomic_store(&h->complete_at, atomic_load(&h->commits));
    atomic_store(&h->moved, (uint32_t)moved);
    atomic_store(&h->checkpointing, 0);
}

void ferry__checkpoint_note(ferry__file *f)
{
    if (atomic_load(&f->beside.state) != DONE)
        return;
    note(f, atomic_load(&f->beside.complete), atomic_load(&f->beside.moved));
    atomic_store(&f->beside.state, IDLE);
    ferry__page_unlock_checkpoint(&f->page);
}

static void run_locked(ferry__file *f, int mode)
{
    int all, moved;
    if (!ferry__file_lock(f, LOCK_MS))
        return;
    bool complete = run(f->store.db, mode, &all, &moved);
    note(f, complete, moved);
    ferry__lock_drop(&f->page);
    f->store.wal_pages = complete ? 0 : all;
    if (!complete)
        f->checkpoint_at_ms = f->now_ms + AGAIN_MS;
}

/* Pages in the log that are not in the database yet. */
static int64_t unmoved(const ferry__file *f)
{
    int64_t all = f->store.wal_pages, moved = atomic_load(&f->page.file->header.moved);
    return moved > all ? all : all - moved; /* more moved than there are: the log began anew */
}

static bool may_start_beside(const ferry__file *f)
{
    const ferry__page_header *h = &f->page.file->header;
    return !atomic_load(&h->checkpointing) && atomic_load(&h->commits) > atomic_load(&h->complete_at);
}

static void note_alone(ferry__file *f)
{
    if (!ferry__file_lock(f, LOCK_MS))
        return;
    ferry__checkpoint_note(f);
    ferry__lock_drop(&f->page);
}

void ferry__checkpoint_maybe(ferry__file *f)
{
    if (atomic_load(&f->beside.state) == DONE)
        note_alone(f);
    bool hard = (int64_t)f->store.wal_pages * PAGE_BYTES >= f->wal_hard;
    if ((!hard && unmoved(f) * PAGE_BYTES < f->wal_soft) || f->now_ms < f->checkpoint_at_ms)
        return;
    if (atomic_load(&f->beside.state) != IDLE || !ferry__page_lock_checkpoint(&f->page))
        return;
    if (!hard && may_start_beside(f) && ask(f))
        return; /* the lock goes when its end is noted */
    run_locked(f, hard ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_PASSIVE);
    ferry__page_unlock_checkpoint(&f->page);
}

void ferry__checkpoint_last(ferry__file *f)
{
    int all, moved;
    if ((int64_t)f->store.wal_pages * PAGE_BYTES < LEAVE_BYTES || atomic_load(&f->beside.state) != IDLE ||
        !ferry__page_lock_checkpoint(&f->page))
        return;
    note(f, run(f->store.db, SQLITE_CHECKPOINT_TRUNCATE, &all, &moved), 0);
    ferry__page_unlock_checkpoint(&f->page);
}
