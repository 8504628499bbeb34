/* event_group.c - entering: where a source starts; keeping cursors; seeking. Explained in event.h. In the transaction. */
#include "backends/file/event.h"

#include "backends/file/pipe.h"
#include "base/alloc.h"
#include "base/clock.h"

#include <string.h>

enum { BESIDE_MS = 400 };

/* ---- where to start ---- */

/* The first event of a row that was stored at that time or later: a search by halves, as rows stand in the order of their commits. */
static int64_t at_time(ferry__file *f, int topic, const ferry__page_topic *p, int64_t time_ms, int *error)
{
    int64_t low = atomic_load(&p->first), high = atomic_load(&p->end);
    while (low < high && !*error) {
        int64_t middle = low + (high - low) / 2;
        ferry__store_bind(&f->store, FERRY__SQL_EVENT_ROWS, 1, ferry__event_id(topic, middle));
        ferry__store_bind(&f->store, FERRY__SQL_EVENT_ROWS, 2, ferry__event_id(topic, high - 1));
        ferry__store_bind(&f->store, FERRY__SQL_EVENT_ROWS, 3, 1);
        sqlite3_stmt *q = f->store.sql[FERRY__SQL_EVENT_ROWS];
        int got = ferry__store_step(&f->store, FERRY__SQL_EVENT_ROWS);
        int64_t last = sqlite3_column_int64(q, 0) & FERRY__STORE_SEQUENCE_MASK;
        int64_t first = last - sqlite3_column_int64(q, 1) + 1, time = sqlite3_column_int64(q, 2);
        ferry__store_reset(&f->store, FERRY__SQL_EVENT_ROWS);
        if (got == SQLITE_ROW && time < time_ms)
            low = last + 1;
        else if (got == SQLITE_ROW)
            high = first > low ? first : low;
        else if (got == SQLITE_DONE)
            high = middle;
        else
            *error = got;
    }
    return low;
}

/* The number of the first event that it wants; 0: broken. */
static int64_t start_of(ferry__file *f, ferry__event_listener *l, int topic, const ferry__event_wish *w, int *error)
{
    const ferry__page_topic *p = ferry__page_topic_of(&f->page, topic);
    *error = w->from == FERRY_FROM_NEW ? SQLITE_OK : ferry__event_trim_all(f, topic);
    int64_t first = atomic_load(&p->first), end = atomic_load(&p->end);
    switch (w->from) {
    case FERRY_FROM_EARLIEST:
        return first;
    case FERRY_FROM_TIME:
        return at_time(f, topic, p, w->time_ms, error);
    case FERRY_FROM_POSITION:
        break;
    default:
        return end;
    }
    if (w->position < 0 || w->position >= end) {
        ferry__event_break(l, FERRY_INVALID,
                           w->position < 0 ? "\"%s\" is no position of %s on file:"
                                           : "position %s: %s has not come to it",
                           w->text, l->topic_name);
        return 0;
    }
    if (w->position + 1 < first && first > atomic_load(&p->purged)) {
        ferry__event_break(l, FERRY_NOT_FOUND, "position %lld of %s was trimmed: the oldest event kept is %lld",
                           (long long)w->position, l->topic_name, (long long)first);
        return 0;
    }
    return w->position + 1 > first ? w->position + 1 : first;
}

/* ---- groups ---- */

bool ferry__group_has(const ferry__page *p, int group)
{
    return group > 0 && group < FERRY__PAGE_GROUPS &&
           atomic_load(&p->file->header.groups[group / 64]) >> group % 64 & 1;
}

unsigned ferry__event_tracks(const ferry__page *p, const ferry__page_group *g)
{
    uint32_t topic = atomic_load(&g->topic);
    uint32_t parts = topic < FERRY__PAGE_TOPICS ? atomic_load(&ferry__page_topic_of(p, (int)topic)->parts) : 0;
    return FERRY__PAGE_SHARES + (parts < FERRY__PAGE_PARTS ? parts : FERRY__PAGE_PARTS);
}

/* Tracks that the row does not tell of got no event before it was written: they begin where the last of the others is. */
static int recall_cursors(ferry__file *f, ferry__page_group *g, int group)
{
    int64_t cursors[FERRY__PAGE_TRACKS], low = INT64_MAX;
    sqlite3_stmt *q = f->store.sql[FERRY__SQL_READER_GET];
    ferry__store_bind(&f->store, FERRY__SQL_READER_GET, 1, group);
    int got = ferry__store_step(&f->store, FERRY__SQL_READER_GET);
    size_t bytes = got == SQLITE_ROW ? (size_t)sqlite3_column_bytes(q, 0) : 0, known;
    if (bytes > sizeof cursors)
        bytes = sizeof cursors;
    if (bytes)
        memcpy(cursors, sqlite3_column_blob(q, 0), bytes);
    ferry__store_reset(&f->store, FERRY__SQL_READER_GET);
    known = bytes / sizeof cursors[0];
    for (size_t i = 0; i < known; i++)
        low = cursors[i] < low ? cursors[i] : low;
    for (size_t i = 0; i < FERRY__PAGE_TRACKS; i++)
        atomic_store(&g->tracks[i].done, i < known ? cursors[i] : low);
    return got == SQLITE_ROW && known ? SQLITE_OK : got == SQLITE_ROW || got == SQLITE_DONE ? SQLITE_CORRUPT : got;
}

static int recall_again(ferry__file *f, ferry__page_group *g, int group)
{
    int got;
    ferry__store_bind(&f->store, FERRY__SQL_AGAIN_TRACKS, 1, group);
    while ((got = ferry__store_step(&f->store, FERRY__SQL_AGAIN_TRACKS)) == SQLITE_ROW) {
        int64_t track = sqlite3_column_int64(f->store.sql[FERRY__SQL_AGAIN_TRACKS], 0);
        if (track >= 0 && track < FERRY__PAGE_TRACKS)
            atomic_store(&g->tracks[track].again, 1);
    }
    ferry__store_reset(&f->store, FERRY__SQL_AGAIN_TRACKS);
    return got == SQLITE_DONE ? SQLITE_OK : got;
}

int ferry__group_need(ferry__file *f, int group, int topic)
{
    char why[FERRY_WHY_SIZE];
    if (ferry__group_has(&f->page, group))
        return SQLITE_OK;
    if (group <= 0 || group >= FERRY__PAGE_GROUPS)
        return SQLITE_FULL;
    ferry__page_group *g = ferry__page_group_of(&f->page, group);
    ferry_status status = ferry__page_allocate(&f->page, g, sizeof *g, why);
    if (status) {
        ferry__log_print(f->up->log, LOG_ERR, "file: %s", why);
        return status == FERRY_OVERLOADED ? SQLITE_FULL : SQLITE_IOERR;
    }
    memset((void *)g, 0, sizeof *g);
    atomic_store(&g->topic, (uint32_t)topic);
    int error = recall_cursors(f, g, group);
    if (!error)
        error = recall_again(f, g, group);
    if (error)
        return error;
    ferry__page_header *h = &f->page.file->header;
    atomic_store(&g->generation, atomic_fetch_add(&h->generations, 1) + 1);
    atomic_fetch_or(&h->groups[group / 64], (uint64_t)1 << group % 64);
    return SQLITE_OK;
}

/* ---- entering ---- */

static int find_reader(ferry__file *f, int topic, const char *group, int *error)
{
    ferry__store_bind(&f->store, FERRY__SQL_READER_FIND, 1, topic);
    sqlite3_bind_text(f->store.sql[FERRY__SQL_READER_FIND], 2, group, -1, SQLITE_STATIC);
    return (int)ferry__store_number(&f->store, FERRY__SQL_READER_FIND, 0, error);
}

static int add_reader(ferry__file *f, int topic, const char *group, int64_t start, int *error)
{
    sqlite3_stmt *add = f->store.sql[FERRY__SQL_READER_ADD];
    ferry__store_bind(&f->store, FERRY__SQL_READER_ADD, 1, topic);
    sqlite3_bind_text(add, 2, group, -1, SQLITE_STATIC);
    sqlite3_bind_blob(add, 3, &start, sizeof start, SQLITE_STATIC);
    *error = ferry__store_run(&f->store, FERRY__SQL_READER_ADD);
    return *error ? 0 : (int)sqlite3_last_insert_rowid(f->store.db);
}

static int enter_group(ferry__file *f, ferry__event_listener *l, int topic)
{
    int error = SQLITE_OK, group = find_reader(f, topic, l->group, &error);
    if (!group && !error) {
        int64_t start = start_of(f, l, topic, &l->wish, &error);
        if (error || !start)
            return error;
        group = add_reader(f, topic, l->group, start, &error);
    }
    if (!error)
        error = ferry__group_need(f, group, topic);
    l->entering_reader = error ? 0 : group;
    return error;
}

/* A cursor of its own stays when the database was only opened again. */
static int enter_broadcast(ferry__file *f, ferry__event_listener *l, int topic)
{
    int error = SQLITE_OK;
    static const unsigned char nowhere[16];
    if (memcmp(l->identity, f->store.identity, sizeof l->identity) == 0)
        l->start = l->tracks[0].head;
    else if (memcmp(l->identity, nowhere, sizeof nowhere) == 0)
        l->start = start_of(f, l, topic, &l->wish, &error);
    else
        l->start = atomic_load(&ferry__page_topic_of(&f->page, topic)->first);
    return error;
}

static int enter_one(ferry__file *f, ferry__event_listener *l)
{
    bool made;
    int error = SQLITE_OK;
    int topic = ferry__topic_enter(f, l->topic_name, f->config->partitions, f->config->keep_ms, f->config->keep_bytes,
                                   &made, &error);
    if (!error)
        error = l->group ? enter_group(f, l, topic) : enter_broadcast(f, l, topic);
    l->entering = error ? 0 : topic;
    return error;
}

static int take_membership(ferry__file *f, ferry__event_listener *l)
{
    ferry__page_group *g = ferry__page_group_of(&f->page, l->reader);
    for (int i = 0; i < FERRY__PAGE_MEMBERS; i++)
        if (!atomic_load(&g->members[i])) {
            atomic_store(&g->members[i], (uint32_t)f->page.me + 1);
            atomic_fetch_add(&g->epoch, 1);
            f->names_changed = true;
            return i;
        }
    ferry__event_break(l, FERRY_OVERLOADED, "group %s has %d members already", l->group, FERRY__PAGE_MEMBERS);
    return -1;
}

static void entered(ferry__file *f, ferry__event_listener *l)
{
    const ferry__page_topic *p = ferry__page_topic_of(&f->page, l->entering);
    bool nowhere = l->group && !l->entering_reader; /* its group could not begin */
    l->topic = nowhere ? 0 : l->entering;
    l->topic_generation = atomic_load(&p->generation);
    l->entering = 0;
    if (nowhere)
        return;
    f->events.known[l->topic / 64] |= (uint64_t)1 << l->topic % 64;
    if (l->group) {
        l->reader = l->entering_reader;
        l->entering_reader = 0;
        l->reader_generation = atomic_load(&ferry__page_group_of(&f->page, l->reader)->generation);
        l->epoch = atomic_load(&ferry__page_group_of(&f->page, l->reader)->epoch) - 1;
        l->member = take_membership(f, l);
    } else if (!l->group) {
        l->tracks[0].owned = true;
        l->tracks[0].head = l->start;
        memcpy(l->identity, f->store.identity, sizeof l->identity);
    }
    if (l->broken)
        return;
    l->goal = atomic_load(&p->end);
    ferry__event_tell(l, FERRY__NEWS_READY);
}

/* ---- cursors ---- */

int ferry__group_store(ferry__file *f, int group)
{
    int64_t cursors[FERRY__PAGE_TRACKS];
    const ferry__page_group *g = ferry__page_group_of(&f->page, group);
    unsigned tracks = ferry__event_tracks(&f->page, g);
    for (unsigned i = 0; i < tracks; i++)
        cursors[i] = atomic_load(&g->tracks[i].done);
    ferry__store_bind(&f->store, FERRY__SQL_READER_STORE, 1, group);
    sqlite3_bind_blob(f->store.sql[FERRY__SQL_READER_STORE], 2, cursors, (int)(tracks * sizeof cursors[0]),
                      SQLITE_STATIC);
    return ferry__store_run(&f->store, FERRY__SQL_READER_STORE);
}

static int drop_again(ferry__file *f, int reader, unsigned track, int64_t below)
{
    ferry__store_bind(&f->store, FERRY__SQL_AGAIN_DROP, 1, reader);
    ferry__store_bind(&f->store, FERRY__SQL_AGAIN_DROP, 2, track);
    ferry__store_bind(&f->store, FERRY__SQL_AGAIN_DROP, 3, below);
    return ferry__store_run(&f->store, FERRY__SQL_AGAIN_DROP);
}

/* What was known of events that are finished now. */
static int forget_again(ferry__file *f, ferry__event_listener *l)
{
    ferry__page_group *g = ferry__page_group_of(&f->page, l->reader);
    int error = SQLITE_OK;
    for (size_t i = 0; i < l->count && !error; i++) {
        ferry__event_track *t = &l->tracks[i];
        if (!t->owned || !t->again_last || atomic_load(&g->tracks[i].done) <= t->again_last)
            continue;
        error = drop_again(f, l->reader, (unsigned)i, t->again_last + 1);
        if (!error) {
            atomic_store(&g->tracks[i].again, 0); /* undone, the rows would stay; they are below the cursor */
            t->again_last = 0;
        }
    }
    return error;
}

static int put_done(ferry__file *f, const ferry__event_track *t, const ferry__event_hold *h)
{
    ferry__store_sql put = FERRY__SQL_AGAIN_PUT;
    ferry__store_bind(&f->store, put, 1, t->listener->reader);
    ferry__store_bind(&f->store, put, 2, h->seq);
    ferry__store_bind(&f->store, put, 3, t->index);
    ferry__store_bind(&f->store, put, 4, 0);
    ferry__store_bind(&f->store, put, 5, 0);
    ferry__store_bind(&f->store, put, 6, 1);
    atomic_store(&ferry__page_group_of(&f->page, t->listener->reader)->tracks[t->index].again, 1);
    return ferry__store_run(&f->store, put);
}

/* What was finished behind something that goes back. */
static int leave_behind(ferry__file *f, ferry__event_listener *l)
{
    int error = SQLITE_OK;
    for (size_t i = 0; i < l->count; i++) {
        ferry__event_track *t = &l->tracks[i];
        for (ferry__node *n = t->holds.next; t->owned && n != &t->holds && !error; n = n->next) {
            const ferry__event_hold *h = FERRY__OF(n, ferry__event_hold, node);
            if (h->state == FERRY__HOLD_DONE)
                error = put_done(f, t, h);
        }
    }
    return error;
}

static int store(ferry__file *f, ferry__event_listener *l)
{
    int error = forget_again(f, l);
    if (!error && atomic_load(&l->closed))
        error = leave_behind(f, l);
    if (!error)
        error = ferry__group_store(f, l->reader);
    return error;
}

/* ---- the transaction ---- */

static bool enters(const ferry__file *f, const ferry__event_listener *l)
{
    return !l->topic && !l->broken && !atomic_load(&l->closed) && !f->events.closing;
}

/* Beside other work, from time to time; for its own sake later. */
static bool may_store(const ferry__file *f, const ferry__event_listener *l)
{
    return l->reader && l->topic && (l->dirty || l->flagged) &&
           (f->now_ms >= l->store_at_ms - BESIDE_MS || atomic_load(&l->closed) || f->events.closing);
}

static bool stores(const ferry__file *f, const ferry__event_listener *l)
{
    return l->reader && l->topic && (l->dirty || l->flagged) &&
           (f->now_ms >= l->store_at_ms || atomic_load(&l->closed) || f->events.closing);
}

bool ferry__event_must_write(const ferry__file *f)
{
    for (const ferry__node *n = f->events.listeners.next; n != &f->events.listeners; n = n->next) {
        const ferry__event_listener *l = FERRY__OF(n, ferry__event_listener, node);
        if (enters(f, l) || stores(f, l))
            return true;
    }
    return false;
}

static bool group_lives(const ferry__file *f, const ferry__event_listener *l)
{
    return atomic_load(&ferry__page_group_of(&f->page, l->reader)->generation) == l->reader_generation;
}

int ferry__event_write(ferry__file *f)
{
    int error = SQLITE_OK;
    for (ferry__node *n = f->events.listeners.next; n != &f->events.listeners && !error; n = n->next) {
        ferry__event_listener *l = FERRY__OF(n, ferry__event_listener, node);
        if (enters(f, l))
            error = enter_one(f, l);
        else if (may_store(f, l) && group_lives(f, l)) {
            error = store(f, l);
            l->dirty = false;
            l->left = l->flagged;
        }
    }
    return error;
}

void ferry__event_committed(ferry__file *f)
{
    for (ferry__node *n = f->events.listeners.next; n != &f->events.listeners; n = n->next) {
        ferry__event_listener *l = FERRY__OF(n, ferry__event_listener, node);
        if (l->entering)
            entered(f, l);
        if (l->left)
            l->flagged = false;
    }
}

void ferry__event_undo(ferry__file *f)
{
    for (ferry__node *n = f->events.listeners.next; n != &f->events.listeners; n = n->next) {
        ferry__event_listener *l = FERRY__OF(n, ferry__event_listener, node);
        l->entering = l->entering_reader = 0;
        l->dirty = l->dirty || l->reader;
        l->left = false;
    }
}

/* ---- seeking ---- */

bool ferry__event_seekable(const ferry__file_op *op)
{
    const ferry__event_listener *l = op->events;
    return l->topic || l->broken || atomic_load(&l->closed);
}

static int move_track(ferry__file *f, ferry__event_track *t, int64_t start)
{
    ferry__event_listener *l = t->listener;
    ferry__event_loosen(f, t, true);
    t->head = start;
    if (!l->reader)
        return SQLITE_OK;
    ferry__page_track *p = &ferry__page_group_of(&f->page, l->reader)->tracks[t->index];
    atomic_store(&p->done, start);
    if (!atomic_load(&p->again))
        return SQLITE_OK;
    atomic_store(&p->again, 0);
    return drop_again(f, l->reader, t->index, FERRY__STORE_SEQUENCE_MASK);
}

int ferry__event_seek(ferry__file *f, ferry__file_op *op)
{
    ferry__event_listener *l = op->events;
    int error = SQLITE_OK;
    if (atomic_load(&l->closed))
        return SQLITE_OK;
    if (!l->topic) { /* it could not begin: it does so now */
        l->wish = op->wish;
        l->broken = false;
        return SQLITE_OK;
    }
    if (l->reader)
        ferry__event_balance(f, l);
    l->broken = false;
    int64_t start = start_of(f, l, l->topic, &op->wish, &error);
    if (error || !start)
        return error;
    for (size_t i = 0; i < l->count && !error; i++)
        if (l->tracks[i].owned)
            error = move_track(f, &l->tracks[i], start);
    if (!error && l->reader)
        error = ferry__group_store(f, l->reader);
    return error;
}

void ferry__event_sought(ferry__file *f, ferry__file_op *op)
{
    ferry__event_listener *l = op->events;
    if (!l->topic || l->broken || atomic_load(&l->closed))
        return;
    l->goal = atomic_load(&ferry__page_topic_of(&f->page, l->topic)->end);
    ferry__event_tell(l, FERRY__NEWS_READY);
}
