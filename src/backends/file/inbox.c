/* inbox.c - replies and controls; explained in inbox.h. */
#include "backends/file/inbox.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <string.h>

enum {
    HEAD = 8,
    READ_ROWS = 64,
    HELD = 4096,      /* frames that wait for credit: no more are read */
    CLEAN_ROWS = 64,  /* that were read: the next transaction deletes them */
    CLEAN_MS = 50     /* or so long after the last one */
};

/* ---- writing ---- */

char *ferry__inbox_scratch(ferry__file *f, size_t size)
{
    if (f->out.room - f->out.length < size) {
        size_t room = f->out.length + size + 4096;
        char *data = ferry__realloc(f->out.data, room);
        if (!data)
            return NULL;
        f->out.data = data;
        f->out.room = room;
    }
    return f->out.data + f->out.length;
}

static void note_slot(ferry__file *f, int slot, int64_t tail)
{
    for (size_t i = 0; i < f->out.count; i++)
        if (f->out.slots[i] == slot)
            return;
    f->out.slots[f->out.count] = slot;
    f->out.tails[f->out.count++] = tail;
}

int ferry__inbox_flush(ferry__file *f)
{
    if (!f->out.length)
        return SQLITE_OK;
    ferry__page_slot *s = ferry__page_slot_of(&f->page, f->out.slot);
    int64_t tail = atomic_load(&s->inbox_tail);
    note_slot(f, f->out.slot, tail);
    atomic_store(&s->inbox_tail, tail + 1);
    ferry__store_bind(&f->store, FERRY__SQL_PUT, 1, ferry__store_id(FERRY__STORE_INBOX + (int64_t)f->out.slot, tail));
    sqlite3_bind_blob64(f->store.sql[FERRY__SQL_PUT], 2, f->out.data, f->out.length, SQLITE_STATIC);
    f->out.length = 0;
    return ferry__store_run(&f->store, FERRY__SQL_PUT);
}

int ferry__inbox_put(ferry__file *f, int slot, uint32_t service, const ferry__frame *frame)
{
    uint32_t size = (uint32_t)ferry__frame_packed(frame);
    int error = SQLITE_OK;
    if (f->out.length && (f->out.slot != slot || f->out.length + HEAD + size > FERRY__FILE_ROW))
        error = ferry__inbox_flush(f);
    char *room = error ? NULL : ferry__inbox_scratch(f, HEAD + (size_t)size);
    if (!room)
        return error ? error : SQLITE_NOMEM;
    memcpy(room, &size, 4);
    memcpy(room + 4, &service, 4);
    ferry__frame_pack(frame, room + HEAD);
    f->out.slot = slot;
    f->out.length += HEAD + (size_t)size;
    return SQLITE_OK;
}

int ferry__inbox_reply(ferry__file *f, const ferry__frame *reply)
{
    int slot = f->out.length ? f->out.slot : 0;
    ferry__page_slot *s = ferry__page_slot_of(&f->page, slot);
    if (!f->out.length || memcmp(s->client, reply->id.client, sizeof s->client) != 0)
        slot = ferry__page_find_client(&f->page, reply->id.client);
    return slot == FERRY__PAGE_NOBODY ? SQLITE_OK : ferry__inbox_put(f, slot, 0, reply);
}

void ferry__inbox_committed(ferry__file *f)
{
    f->out.length = 0;
}

void ferry__inbox_undo(ferry__file *f)
{
    for (size_t i = 0; i < f->out.count; i++)
        atomic_store(&ferry__page_slot_of(&f->page, f->out.slots[i])->inbox_tail, f->out.tails[i]);
    f->out.length = f->out.count = 0;
}

void ferry__inbox_ring(ferry__file *f)
{
    for (size_t i = 0; i < f->out.count; i++)
        ferry__page_ring(&f->page, f->out.slots[i]);
    f->out.count = 0;
}

/* ---- reading ---- */

static int64_t tail_id(const ferry__file *f)
{
    return ferry__store_id(FERRY__STORE_INBOX + (int64_t)f->page.me,
                           atomic_load(&ferry__page_mine(&f->page)->inbox_tail));
}

void ferry__inbox_open(ferry__file *f)
{
    f->inbox_at = f->inbox_dropped = tail_id(f);
    f->inbox_split = 0;
    f->out.length = f->out.count = 0;
}

bool ferry__inbox_full(const ferry__file *f)
{
    return f->inbox_at < tail_id(f) && f->inbox.count < HELD;
}

/* Without memory for one it is taken again from there, soon. */
static bool split(ferry__file *f, const char *row, size_t length)
{
    while (length - f->inbox_split > HEAD) {
        const char *at = row + f->inbox_split;
        uint32_t size, service;
        memcpy(&size, at, 4);
        memcpy(&service, at + 4, 4);
        if (size > length - f->inbox_split - HEAD)
            break;
        ferry_status status;
        ferry__frame *frame = ferry__frame_unpack(at + HEAD, size, &status);
        if (!frame && status == FERRY_NO_MEMORY) {
            f->starved = true;
            return false;
        }
        if (frame) {
            frame->tag[1] = service;
            ferry__frames_add(&f->inbox, frame);
        } else
            ferry__log_print(f->up->log, LOG_ERR, "file: %s: lost a reply: %s", f->place, ferry_status_text(status));
        f->inbox_split += HEAD + (size_t)size;
    }
    f->inbox_split = 0;
    return true;
}

/* A row that is promised but not yet committed is not seen; its writer rings afterwards. */
void ferry__inbox_read(ferry__file *f)
{
    sqlite3_stmt *take = f->store.sql[FERRY__SQL_TAKE];
    int got;
    ferry__store_bind(&f->store, FERRY__SQL_TAKE, 1, f->inbox_at);
    ferry__store_bind(&f->store, FERRY__SQL_TAKE, 2, tail_id(f) - 1);
    ferry__store_bind(&f->store, FERRY__SQL_TAKE, 3, READ_ROWS);
    while ((got = ferry__store_step(&f->store, FERRY__SQL_TAKE)) == SQLITE_ROW) {
        if (!split(f, sqlite3_column_blob(take, 1), (size_t)sqlite3_column_bytes(take, 1)))
            break;
        f->inbox_at = sqlite3_column_int64(take, 0) + 1;
        f->inbox_clean_at_ms = f->now_ms + CLEAN_MS;
    }
    ferry__store_reset(&f->store, FERRY__SQL_TAKE);
    if (got == SQLITE_DONE || got == SQLITE_ROW)
        return;
    f->starved = true; /* soon again: the log may be locked for its recovery */
    if (ferry__store_fatal(got)) {
        f->store_status = ferry__store_status(&f->store, got, f->place, f->store_why);
        f->reopen = true;
    }
}

bool ferry__inbox_to_clean(const ferry__file *f)
{
    return f->inbox_at > f->inbox_dropped && f->now_ms >= f->inbox_clean_at_ms;
}

int ferry__inbox_clean(ferry__file *f)
{
    if (f->inbox_at - f->inbox_dropped < CLEAN_ROWS && !ferry__inbox_to_clean(f))
        return SQLITE_OK;
    ferry__store_bind(&f->store, FERRY__SQL_DROP, 1, f->inbox_dropped);
    ferry__store_bind(&f->store, FERRY__SQL_DROP, 2, f->inbox_at - 1);
    f->inbox_dropped = f->inbox_at; /* should it fail, the next boot purges them */
    return ferry__store_run(&f->store, FERRY__SQL_DROP);
}

void ferry__inbox_done(ferry__file *f)
{
    ferry__free(f->out.data);
    f->out.data = NULL;
    f->out.length = f->out.room = 0;
}
