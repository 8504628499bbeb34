/* event_log.c - domains: making them, adding to their logs, and taking away what is too old; explained in event.h. */
#include "backends/file/event.h"

#include "backends/file/batch.h"
#include "backends/file/name.h"
#include "backends/file/send.h"
#include "base/alloc.h"
#include "base/clock.h"

#include <string.h>

enum {
    HEAD = 4,          /* before each frame of a row: its length */
    TRIM_ROWS = 256,   /* at a time; */
    TRIM_ROUNDS = 256, /* at most, for one who starts at the beginning */
    TRIM_BUSY_MS = 4,  /* until the next time, when there is more to trim; */
    TRIM_IDLE_MS = 200 /* else */
};

/* ---- finding and making ---- */

bool ferry__topic_has(const ferry__page *p, int topic)
{
    return topic > 0 && topic < FERRY__PAGE_TOPICS &&
           atomic_load(&p->file->header.topics[topic / 64]) >> topic % 64 & 1;
}

int ferry__topic_find(ferry__file *f, const char *name, int *error)
{
    sqlite3_bind_text(f->store.sql[FERRY__SQL_TOPIC_FIND], 1, name, -1, SQLITE_STATIC);
    return (int)ferry__store_number(&f->store, FERRY__SQL_TOPIC_FIND, 0, error);
}

int ferry__topic_enter(ferry__file *f, const char *name, unsigned parts, int64_t keep_ms, int64_t keep_bytes,
                       bool *made, int *error)
{
    int topic = ferry__topic_find(f, name, error);
    *made = !topic && !*error;
    if (*made) {
        sqlite3_bind_text(f->store.sql[FERRY__SQL_TOPIC_ADD], 1, name, -1, SQLITE_STATIC);
        ferry__store_bind(&f->store, FERRY__SQL_TOPIC_ADD, 2, parts);
        ferry__store_bind(&f->store, FERRY__SQL_TOPIC_ADD, 3, keep_ms);
        ferry__store_bind(&f->store, FERRY__SQL_TOPIC_ADD, 4, keep_bytes);
        *error = ferry__store_run(&f->store, FERRY__SQL_TOPIC_ADD);
        topic = *error ? 0 : (int)sqlite3_last_insert_rowid(f->store.db);
    }
    if (!*error)
        *error = ferry__topic_need(f, topic);
    return *error ? 0 : topic;
}

static void bind_all_of(ferry__file *f, ferry__store_sql which, int topic)
{
    ferry__store_bind(&f->store, which, 1, ferry__event_id(topic, 0));
    ferry__store_bind(&f->store, which, 2, ferry__event_id(topic, FERRY__STORE_SEQUENCE_MASK));
}

static int recall_settings(ferry__file *f, ferry__page_topic *t, int topic)
{
    sqlite3_stmt *q = f->store.sql[FERRY__SQL_TOPIC_GET];
    ferry__store_bind(&f->store, FERRY__SQL_TOPIC_GET, 1, topic);
    int got = ferry__store_step(&f->store, FERRY__SQL_TOPIC_GET);
    if (got == SQLITE_ROW) {
        atomic_store(&t->parts, (uint32_t)sqlite3_column_int(q, 0));
        atomic_store(&t->keep_ms, sqlite3_column_int64(q, 1));
        atomic_store(&t->keep_bytes, sqlite3_column_int64(q, 2));
        atomic_store(&t->first, sqlite3_column_int64(q, 3));
        atomic_store(&t->purged, sqlite3_column_int64(q, 4));
    }
    ferry__store_reset(&f->store, FERRY__SQL_TOPIC_GET);
    return got == SQLITE_ROW ? SQLITE_OK : got == SQLITE_DONE ? SQLITE_CORRUPT : got;
}

/* Where its log begins and ends. */
static int recall_log(ferry__file *f, ferry__page_topic *t, int topic)
{
    sqlite3_stmt *q = f->store.sql[FERRY__SQL_EVENT_LAST];
    int64_t end = atomic_load(&t->first), last = 0, offset = 0;
    bind_all_of(f, FERRY__SQL_EVENT_LAST, topic);
    int got = ferry__store_step(&f->store, FERRY__SQL_EVENT_LAST);
    if (got == SQLITE_ROW) {
        end = (sqlite3_column_int64(q, 0) & FERRY__STORE_SEQUENCE_MASK) + 1;
        last = sqlite3_column_int64(q, 1);
        offset = last + sqlite3_column_int64(q, 2);
    }
    ferry__store_reset(&f->store, FERRY__SQL_EVENT_LAST);
    atomic_store(&t->end, end);
    atomic_store(&t->last_offset, last);
    atomic_store(&t->end_offset, offset);
    atomic_store(&t->first_offset, offset);
    if (got != SQLITE_ROW)
        return got == SQLITE_DONE ? SQLITE_OK : got;
    q = f->store.sql[FERRY__SQL_EVENT_ROWS];
    bind_all_of(f, FERRY__SQL_EVENT_ROWS, topic);
    ferry__store_bind(&f->store, FERRY__SQL_EVENT_ROWS, 3, 1);
    got = ferry__store_step(&f->store, FERRY__SQL_EVENT_ROWS);
    if (got == SQLITE_ROW) {
        atomic_store(&t->first_ms, sqlite3_column_int64(q, 2));
        atomic_store(&t->first_offset, sqlite3_column_int64(q, 3));
    }
    ferry__store_reset(&f->store, FERRY__SQL_EVENT_ROWS);
    return got == SQLITE_ROW || got == SQLITE_DONE ? SQLITE_OK : got;
}

int ferry__topic_need(ferry__file *f, int topic)
{
    char why[FERRY_WHY_SIZE];
    if (ferry__topic_has(&f->page, topic))
        return SQLITE_OK;
    if (topic <= 0 || topic >= FERRY__PAGE_TOPICS)
        return SQLITE_FULL;
    ferry__page_topic *t = ferry__page_topic_of(&f->page, topic);
    ferry_status status = ferry__page_allocate(&f->page, t, sizeof *t, why);
    if (status) {
        ferry__log_print(f->up->log, LOG_ERR, "file: %s", why);
        return status == FERRY_OVERLOADED ? SQLITE_FULL : SQLITE_IOERR;
    }
    memset((void *)t, 0, sizeof *t);
    int error = recall_settings(f, t, topic);
    if (!error)
        error = recall_log(f, t, topic);
    if (error)
        return error;
    ferry__page_header *h = &f->page.file->header;
    atomic_store(&t->generation, atomic_fetch_add(&h->generations, 1) + 1);
    atomic_fetch_or(&h->topics[topic / 64], (uint64_t)1 << topic % 64);
    return SQLITE_OK;
}

/* Somebody died with the writer lock: what he committed counts, also if he could not say so. */
int ferry__topic_repair(ferry__file *f)
{
    int error = SQLITE_OK;
    for (int i = 1; i < FERRY__PAGE_TOPICS && !error; i++) {
        if (!ferry__topic_has(&f->page, i))
            continue;
        ferry__page_topic *t = ferry__page_topic_of(&f->page, i);
        error = recall_settings(f, t, i);
        if (error == SQLITE_CORRUPT) { /* he was deleting it */
            atomic_store(&t->generation, 0);
            atomic_fetch_and(&f->page.file->header.topics[i / 64], ~((uint64_t)1 << i % 64));
            error = SQLITE_OK;
        } else if (!error)
            error = recall_log(f, t, i);
    }
    return error;
}

/* ---- adding ---- */

/* The topic of a target; made on its first event. What was found stays true as long as the block has its generation. */
static int topic_of(ferry__file *f, ferry__file_target *t, int *error)
{
    int topic = atomic_load(&t->service);
    if (ferry__topic_has(&f->page, topic) &&
        atomic_load(&ferry__page_topic_of(&f->page, topic)->generation) == t->generation)
        return topic;
    bool made;
    topic =
        ferry__topic_enter(f, t->name, f->config->partitions, f->config->keep_ms, f->config->keep_bytes, &made, error);
    if (!*error) {
        t->generation = atomic_load(&ferry__page_topic_of(&f->page, topic)->generation);
        atomic_store(&t->service, topic);
    }
    return topic;
}

static ferry__event_row *row_of(ferry__file *f, int topic)
{
    for (size_t i = f->events.used; i-- > 0;)
        if (f->events.rows[i].topic == topic)
            return &f->events.rows[i];
    if (f->events.used == FERRY__EVENT_ROWS)
        return NULL;
    ferry__event_row *r = &f->events.rows[f->events.used++];
    ferry__page_topic *p = ferry__page_topic_of(&f->page, topic);
    r->topic = topic;
    r->p = p;
    r->end = atomic_load(&p->end);
    r->offset = atomic_load(&p->end_offset);
    r->last = atomic_load(&p->last_offset);
    r->count = 0;
    r->length = 0;
    f->events.known[topic / 64] |= (uint64_t)1 << topic % 64;
    return r;
}

static int write_row(ferry__file *f, ferry__event_row *r)
{
    if (!r->count)
        return SQLITE_OK;
    sqlite3_stmt *put = f->store.sql[FERRY__SQL_EVENT_PUT];
    ferry__store_bind(&f->store, FERRY__SQL_EVENT_PUT, 1, ferry__event_id(r->topic, r->end - 1));
    ferry__store_bind(&f->store, FERRY__SQL_EVENT_PUT, 2, ferry__wall_ms());
    ferry__store_bind(&f->store, FERRY__SQL_EVENT_PUT, 3, r->count);
    ferry__store_bind(&f->store, FERRY__SQL_EVENT_PUT, 4, r->offset);
    sqlite3_bind_blob64(put, 5, r->data, r->length, SQLITE_STATIC);
    r->last = r->offset;
    r->offset += (int64_t)r->length;
    r->length = 0;
    r->count = 0;
    return ferry__store_run(&f->store, FERRY__SQL_EVENT_PUT);
}

int ferry__event_flush_rows(ferry__file *f)
{
    int error = SQLITE_OK;
    for (size_t i = 0; i < f->events.used && !error; i++)
        error = write_row(f, &f->events.rows[i]);
    return error;
}

static bool make_room(ferry__event_row *r, size_t size)
{
    if (r->room - r->length >= size)
        return true;
    size_t room = r->length + size + FERRY__FILE_ROW;
    char *data = ferry__realloc(r->data, room);
    if (!data)
        return false;
    r->data = data;
    r->room = room;
    return true;
}

static int append(ferry__file *f, ferry__event_row *r, const ferry__frame *frame)
{
    uint32_t size = (uint32_t)ferry__frame_packed(frame);
    int error = SQLITE_OK;
    if (r->length && r->length + HEAD + size > FERRY__FILE_ROW)
        error = write_row(f, r);
    if (error)
        return error;
    if (!make_room(r, HEAD + (size_t)size))
        return SQLITE_NOMEM;
    memcpy(r->data + r->length, &size, HEAD);
    ferry__frame_pack(frame, r->data + r->length + HEAD);
    r->length += HEAD + (size_t)size;
    r->count++;
    r->end++;
    return SQLITE_OK;
}

/* The first event of a part that nobody counted on: groups begin there, for nothing of it came before. */
static int use_part(ferry__file *f, ferry__event_row *r, uint32_t part)
{
    uint32_t parts = atomic_load(&r->p->parts), wanted = part < FERRY__PAGE_PARTS ? part : FERRY__PAGE_PARTS;
    if (wanted <= parts)
        return SQLITE_OK;
    for (int i = 1; i < FERRY__PAGE_GROUPS; i++) {
        ferry__page_group *g = ferry__page_group_of(&f->page, i);
        if (!ferry__group_has(&f->page, i) || (int)atomic_load(&g->topic) != r->topic)
            continue;
        for (uint32_t k = FERRY__PAGE_SHARES + parts; k < FERRY__PAGE_SHARES + wanted; k++)
            atomic_store(&g->tracks[k].done, atomic_load(&r->p->end));
        atomic_fetch_add(&g->epoch, 1);
    }
    atomic_store(&r->p->parts, wanted);
    ferry__store_bind(&f->store, FERRY__SQL_TOPIC_PARTS, 1, r->topic);
    ferry__store_bind(&f->store, FERRY__SQL_TOPIC_PARTS, 2, wanted);
    return ferry__store_run(&f->store, FERRY__SQL_TOPIC_PARTS);
}

bool ferry__event_send(ferry__file *f, ferry__frame *frame, ferry__file_target *target, int *error)
{
    if (ferry__send_known(f, frame, error)) {
        ferry__send_accept(f, frame);
        return true;
    }
    enum ferry__file_why why = ferry__send_obstacle(f, frame);
    if (why) {
        ferry__send_refuse(f, frame, why);
        return true;
    }
    int topic = *error ? 0 : topic_of(f, target, error);
    ferry__event_row *r = *error ? NULL : row_of(f, topic);
    if (!*error && !r)
        return false;
    ferry__frames_add(&f->doing, frame);
    if (!*error)
        *error = use_part(f, r, frame->partition);
    if (!*error)
        *error = append(f, r, frame);
    if (!*error)
        ferry__send_remember(f, frame);
    return true;
}

static void ring_topic(ferry__file *f, int topic)
{
    _Atomic uint64_t *hungry = ferry__page_topic_of(&f->page, topic)->hungry;
    for (int word = 0; word < FERRY__PAGE_WORDS; word++)
        for (uint64_t bits = atomic_load(&hungry[word]); bits; bits &= bits - 1) {
            int slot = word * 64 + __builtin_ctzll(bits);
            if (ferry__page_set_remove(hungry, slot) && slot != f->page.me)
                ferry__page_ring(&f->page, slot);
        }
}

void ferry__event_ring(ferry__file *f)
{
    for (size_t i = 0; i < f->events.rings; i++)
        ring_topic(f, f->events.ring[i]);
    f->events.rings = 0;
}

void ferry__event_rows_committed(ferry__file *f)
{
    for (size_t i = 0; i < f->events.used; i++) {
        ferry__event_row *r = &f->events.rows[i];
        if (atomic_load(&r->p->first) == atomic_load(&r->p->end)) /* it was empty */
            atomic_store(&r->p->first_ms, ferry__wall_ms());
        atomic_store(&r->p->last_offset, r->last);
        atomic_store(&r->p->end_offset, r->offset);
        atomic_store(&r->p->end, r->end);
        if (f->events.rings == FERRY__EVENT_ROWS)
            ferry__event_ring(f);
        f->events.ring[f->events.rings++] = r->topic;
    }
    f->events.used = 0;
    f->events.trim.p = NULL;
    if (f->events.moving)
        atomic_store(&f->page.file->header.moving_queue, 0);
    f->events.moving = false;
}

void ferry__event_rows_undo(ferry__file *f)
{
    ferry__page_header *h = &f->page.file->header;
    if (f->events.moving) {
        atomic_store(&ferry__page_queue_of(&f->page, atomic_load(&h->moving_queue))->head,
                     atomic_load(&h->moving_head));
        atomic_store(&h->moving_queue, 0);
    }
    f->events.moving = false;
    f->events.used = 0;
    f->events.deletions = 0;
    if (!f->events.trim.p)
        return;
    ferry__page_topic *p = f->events.trim.p;
    atomic_store(&p->first_ms, f->events.trim.first_ms);
    atomic_store(&p->first_offset, f->events.trim.first_offset);
    atomic_store(&p->purged, f->events.trim.purged);
    atomic_store(&p->first, f->events.trim.first);
    f->events.trim.p = NULL;
}

/* ---- trimming ---- */

static bool over(const ferry__page_topic *p, int64_t wall_ms)
{
    int64_t ms = atomic_load(&p->keep_ms), bytes = atomic_load(&p->keep_bytes), from = atomic_load(&p->first_offset);
    if (atomic_load(&p->first) >= atomic_load(&p->end))
        return false;
    return (ms > 0 && atomic_load(&p->first_ms) + ms < wall_ms) ||
           (bytes > 0 && from < atomic_load(&p->last_offset) && atomic_load(&p->end_offset) - from > bytes);
}

static int next_over(ferry__file *f)
{
    int64_t wall_ms = ferry__wall_ms();
    for (int word = 0; word < FERRY__PAGE_TOPICS / 64; word++)
        for (uint64_t bits = f->events.known[word]; bits; bits &= bits - 1) {
            int topic = word * 64 + __builtin_ctzll(bits);
            if (ferry__topic_has(&f->page, topic) && over(ferry__page_topic_of(&f->page, topic), wall_ms))
                return topic;
        }
    return 0;
}

bool ferry__event_must_trim(ferry__file *f)
{
    if (f->now_ms < f->events.trim_at_ms)
        return false;
    if (next_over(f))
        return true;
    f->events.trim_at_ms = f->now_ms + TRIM_IDLE_MS;
    return false;
}

static void log_end(ferry__file *f, const ferry__page_topic *p, int64_t *end, int64_t *offset)
{
    *end = atomic_load(&p->end);
    *offset = atomic_load(&p->end_offset);
    for (size_t i = 0; i < f->events.used; i++)
        if (f->events.rows[i].p == p) {
            *end = f->events.rows[i].end;
            *offset = f->events.rows[i].offset;
        }
}

/* Moves `first` over the rows that are too old, or too many; *upto: the id of the last one, 0: none. What the log ends with stays, unless
 * it is too old. */
static int choose(ferry__file *f, ferry__page_topic *p, int topic, int64_t *upto)
{
    sqlite3_stmt *q = f->store.sql[FERRY__SQL_EVENT_ROWS];
    int64_t wall_ms = ferry__wall_ms(), ms = atomic_load(&p->keep_ms), bytes = atomic_load(&p->keep_bytes);
    int64_t end, end_offset;
    int got;
    log_end(f, p, &end, &end_offset);
    bind_all_of(f, FERRY__SQL_EVENT_ROWS, topic);
    ferry__store_bind(&f->store, FERRY__SQL_EVENT_ROWS, 3, TRIM_ROWS);
    while ((got = ferry__store_step(&f->store, FERRY__SQL_EVENT_ROWS)) == SQLITE_ROW) {
        int64_t id = sqlite3_column_int64(q, 0), time = sqlite3_column_int64(q, 2), offset = sqlite3_column_int64(q, 3);
        atomic_store(&p->first_ms, time);
        atomic_store(&p->first_offset, offset);
        bool last = (id & FERRY__STORE_SEQUENCE_MASK) + 1 >= end;
        if (!(ms > 0 && time + ms < wall_ms) && (last || bytes <= 0 || end_offset - offset <= bytes))
            break;
        *upto = id;
        atomic_store(&p->first, (id & FERRY__STORE_SEQUENCE_MASK) + 1);
    }
    ferry__store_reset(&f->store, FERRY__SQL_EVENT_ROWS);
    if (atomic_load(&p->first) >= end)
        atomic_store(&p->first_offset, end_offset);
    return got == SQLITE_ROW || got == SQLITE_DONE ? SQLITE_OK : got;
}

void ferry__event_note_first(ferry__file *f, ferry__page_topic *p)
{
    if (f->events.trim.p == p)
        return;
    f->events.trim.first = atomic_load(&p->first);
    f->events.trim.first_ms = atomic_load(&p->first_ms);
    f->events.trim.first_offset = atomic_load(&p->first_offset);
    f->events.trim.purged = atomic_load(&p->purged);
    f->events.trim.p = p;
}

/* `first` passes them before they are gone: whoever misses a row finds out why. */
static int trim(ferry__file *f, int topic)
{
    ferry__page_topic *p = ferry__page_topic_of(&f->page, topic);
    ferry__event_note_first(f, p);
    int64_t upto = 0;
    int error = choose(f, p, topic, &upto);
    if (error || !upto)
        return error;
    ferry__store_bind(&f->store, FERRY__SQL_EVENT_DROP, 1, ferry__event_id(topic, 0));
    ferry__store_bind(&f->store, FERRY__SQL_EVENT_DROP, 2, upto);
    error = ferry__store_run(&f->store, FERRY__SQL_EVENT_DROP);
    if (error)
        return error;
    ferry__store_bind(&f->store, FERRY__SQL_TOPIC_FIRST, 1, topic);
    ferry__store_bind(&f->store, FERRY__SQL_TOPIC_FIRST, 2, atomic_load(&p->first));
    ferry__store_bind(&f->store, FERRY__SQL_TOPIC_FIRST, 3, atomic_load(&p->purged));
    return ferry__store_run(&f->store, FERRY__SQL_TOPIC_FIRST);
}

int ferry__event_trim(ferry__file *f)
{
    int topic = f->now_ms < f->events.trim_at_ms || f->events.trim.p ? 0 : next_over(f);
    if (!topic)
        return SQLITE_OK;
    f->events.trim_at_ms = f->now_ms + TRIM_BUSY_MS;
    return trim(f, topic);
}

/* Who starts at the beginning shall not start where the next look would trim. */
int ferry__event_trim_all(ferry__file *f, int topic)
{
    const ferry__page_topic *p = ferry__page_topic_of(&f->page, topic);
    int error = SQLITE_OK;
    if (f->events.trim.p && f->events.trim.p != p)
        return SQLITE_OK;
    for (int i = 0; i < TRIM_ROUNDS && !error && over(p, ferry__wall_ms()); i++)
        error = trim(f, topic);
    return error;
}
