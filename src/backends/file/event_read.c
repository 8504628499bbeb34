/* event_read.c - handing events up, and what is finished of them; explained in event.h. By the driver alone, without the writer lock. */
#include "backends/file/event.h"

#include "backends/file/claim.h"
#include "backends/file/pipe.h"
#include "base/alloc.h"
#include "base/clock.h"

#include <string.h>

enum {
    READ_ROWS = 256,  /* in one turn */
    SPARE_ENTRIES = 512, /* of the journal, left to calls and posts */
    HEAD = 4,
    PARTITION_AT = 52, /* in a packed frame (docs/wire.md) */
    STORE_MS = 500
};

/* ---- what is finished ---- */

void ferry__event_free_hold(ferry__file *f, ferry__event_hold *h)
{
    if (h->entry != FERRY__EVENT_NO_ENTRY)
        ferry__claim_close(f, h->entry);
    ferry__list_remove(&h->node);
    ferry__free(h);
}

/* Moves `done` over what is finished. */
void ferry__event_advance(ferry__file *f, ferry__event_track *t)
{
    ferry__event_listener *l = t->listener;
    while (!ferry__list_empty(&t->holds)) {
        ferry__event_hold *h = FERRY__OF(t->holds.next, ferry__event_hold, node);
        if (h->state != FERRY__HOLD_DONE)
            break;
        ferry__event_free_hold(f, h);
    }
    if (!l->reader || !t->owned)
        return;
    int64_t done = ferry__list_empty(&t->holds) ? t->head : FERRY__OF(t->holds.next, ferry__event_hold, node)->seq;
    ferry__page_track *p = &ferry__page_group_of(&f->page, l->reader)->tracks[t->index];
    if (atomic_load_explicit(&p->done, memory_order_relaxed) == done)
        return;
    atomic_store_explicit(&p->done, done, memory_order_release);
    if (!l->dirty)
        l->store_at_ms = f->now_ms + STORE_MS;
    l->dirty = true;
}

void ferry__event_finish_one(ferry__file *f, ferry__frame *frame, bool stale, bool back)
{
    ferry__event_hold *h = (ferry__event_hold *)(uintptr_t)frame->tag[0];
    ferry__event_track *t = h->track;
    h->listener->up--;
    ferry__frame_unref(frame);
    if (!t) {
        if (stale)
            h->entry = FERRY__EVENT_NO_ENTRY;
        ferry__event_free_hold(f, h);
        return;
    }
    h->state = back ? FERRY__HOLD_BACK : FERRY__HOLD_DONE;
    t->up--;
    t->back += back;
    if (!back && !stale && h->entry != FERRY__EVENT_NO_ENTRY) /* also of those that come again by the box */
        ferry__claim_done(f, h->entry);
    if (t->holds.next == &h->node)
        ferry__event_advance(f, t);
}

void ferry__event_finish(ferry__file *f)
{
    for (ferry__frame *frame; (frame = ferry__frames_take(&f->events.work));) {
        bool stale = FERRY__TAG_GENERATION(frame) != (f->generation & 0xfff);
        *(stale ? &f->unsettled : &f->settled) += 1;
        ferry__event_finish_one(f, frame, stale, FERRY__TAG_VERB(frame) != FERRY__DO_SETTLE);
    }
    ferry__event_flag_leavers(f);
}

/* Neighbours that are done become one, without an entry. */
static void forget_done(ferry__file *f, ferry__event_track *t)
{
    for (ferry__node *n = t->holds.next, *next; n != &t->holds; n = next) {
        ferry__event_hold *h = FERRY__OF(n, ferry__event_hold, node);
        next = n->next;
        if (h->state != FERRY__HOLD_DONE)
            continue;
        if (h->entry != FERRY__EVENT_NO_ENTRY)
            ferry__claim_close(f, h->entry);
        h->entry = FERRY__EVENT_NO_ENTRY;
        if (next != &t->holds && FERRY__OF(next, ferry__event_hold, node)->state == FERRY__HOLD_DONE)
            ferry__event_free_hold(f, h);
    }
}

static bool has_entries(ferry__file *f, ferry__event_listener *l)
{
    if (!l->reader || f->spares > SPARE_ENTRIES)
        return true;
    for (size_t i = 0; i < l->count; i++)
        forget_done(f, &l->tracks[i]);
    return f->spares > SPARE_ENTRIES;
}

/* ---- handing up ---- */

static bool takes(const ferry__event_listener *l)
{
    return l->topic && !l->broken && !atomic_load(&l->closed) && atomic_load(&l->credit) > 0;
}

/* False: it is finished already. */
static bool apply_again(ferry__event_track *t, int64_t seq, ferry__frame *frame)
{
    while (t->again_at < t->agains && t->again[t->again_at].seq < seq)
        t->again_at++;
    if (t->again_at == t->agains || t->again[t->again_at].seq != seq)
        return true;
    const ferry__event_again *a = &t->again[t->again_at];
    frame->attempt = a->attempt > frame->attempt ? a->attempt : frame->attempt;
    frame->maybe = a->maybe;
    return !a->done;
}

static ferry__event_hold *hold(ferry__file *f, ferry__event_track *t, int64_t seq, const ferry__frame *frame)
{
    ferry__event_listener *l = t->listener;
    ferry__event_hold *h = ferry__alloc(sizeof *h);
    if (!h)
        return NULL;
    *h = (ferry__event_hold){.listener = l, .track = t, .seq = seq, .entry = FERRY__EVENT_NO_ENTRY};
    if (l->reader)
        h->entry = (uint16_t)ferry__claim_open(
            f, ferry__store_id(FERRY__STORE_GROUPS + (int64_t)l->reader, seq),
            (frame->attempt & 0xffff) | (uint32_t)(l->reader_generation & 0xffff) << 16, t->index);
    return h;
}

static ferry__frame *unpack(ferry__file *f, const char *bytes, size_t size, int64_t seq, bool *memory)
{
    ferry_status status = FERRY_OK;
    ferry__frame *frame = ferry__frame_unpack(bytes, size, &status);
    *memory = status != FERRY_NO_MEMORY;
    if (frame)
        frame->deadline_ms = 0; /* it was the publisher's */
    else if (*memory)
        ferry__log_print(f->up->log, LOG_ERR, "file: %s: skipped event %lld, which cannot be read", f->place,
                         (long long)seq);
    return frame;
}

static void send_up(ferry__file *f, ferry__event_hold *h, ferry__frame *frame)
{
    ferry__event_listener *l = h->listener;
    h->state = FERRY__HOLD_UP;
    h->track->up++;
    l->up++;
    frame->tag[0] = (uint64_t)(uintptr_t)h;
    frame->tag[1] = FERRY__TAG(h->entry, FERRY__IS_EVENT, f->generation, 0);
    frame->owner = l;
    atomic_fetch_sub(&l->credit, 1);
    ferry__frames_add(&f->events.arrived, frame);
}

/* One event. False: no memory. */
static bool give(ferry__file *f, ferry__event_track *t, int64_t seq, const char *bytes, size_t size)
{
    bool memory;
    ferry__frame *frame = unpack(f, bytes, size, seq, &memory);
    if (!frame)
        return memory;
    if (!apply_again(t, seq, frame)) {
        ferry__frame_unref(frame);
        return true;
    }
    ferry__event_hold *h = hold(f, t, seq, frame);
    if (!h) {
        ferry__frame_unref(frame);
        return false;
    }
    ferry__list_append(&t->holds, &h->node);
    send_up(f, h, frame);
    return true;
}

static uint32_t read32(const char *at)
{
    uint32_t x;
    memcpy(&x, at, sizeof x); /* a database does not leave its machine */
    return x;
}

static ferry__event_track *track_of(ferry__event_listener *l, int64_t seq, const char *bytes, uint32_t size)
{
    if (!l->reader)
        return &l->tracks[0];
    uint32_t part = size >= PARTITION_AT + 4 ? read32(bytes + PARTITION_AT) : 0;
    return &l->tracks[part ? FERRY__PAGE_SHARES + (part - 1) % FERRY__PAGE_PARTS : (uint64_t)seq % FERRY__PAGE_SHARES];
}

/* Walks through a row. Answers the number of the event that it stopped before. */
static int64_t give_row(ferry__file *f, ferry__event_listener *l, sqlite3_stmt *q)
{
    int64_t last = sqlite3_column_int64(q, 0) & FERRY__STORE_SEQUENCE_MASK, seq = last - sqlite3_column_int64(q, 1) + 1;
    const char *at = sqlite3_column_blob(q, 2), *end = at + sqlite3_column_bytes(q, 2);
    for (; seq <= last && end - at > HEAD; seq++) {
        uint32_t size = read32(at);
        at += HEAD;
        if (size > end - at)
            break;
        ferry__event_track *t = track_of(l, seq, at, size);
        if (t->owned && !t->leaving && seq >= t->head) {
            if (atomic_load_explicit(&l->credit, memory_order_relaxed) <= 0 || !has_entries(f, l))
                return seq;
            if (!give(f, t, seq, at, size)) {
                f->starved = true;
                return seq;
            }
        }
        at += size;
    }
    return last + 1;
}

static int64_t lowest_head(const ferry__event_listener *l)
{
    int64_t low = INT64_MAX;
    for (size_t i = 0; i < l->count; i++)
        if (l->tracks[i].owned && !l->tracks[i].leaving && l->tracks[i].head < low)
            low = l->tracks[i].head;
    return low;
}

static void raise_heads(ferry__file *f, ferry__event_listener *l, int64_t to)
{
    for (size_t i = 0; i < l->count; i++) {
        ferry__event_track *t = &l->tracks[i];
        if (!t->owned || t->leaving)
            continue;
        if (t->head < to)
            t->head = to;
        ferry__event_advance(f, t);
    }
}

/* There is nothing where we are. Taken away on purpose: go on behind it. Trimmed: say so. */
static void gap(ferry__file *f, ferry__event_listener *l, int64_t at)
{
    ferry__page_topic *p = ferry__page_topic_of(&f->page, l->topic);
    int64_t first = atomic_load(&p->first), purged = atomic_load(&p->purged);
    if (at >= first)
        return;
    if (at < purged)
        raise_heads(f, l, purged);
    if (at < first && first > purged)
        ferry__event_break(l, FERRY_NOT_FOUND, "position %lld of %s was trimmed: the oldest event kept is %lld",
                           (long long)at - 1, l->topic_name, (long long)first);
}

static void read_fresh(ferry__file *f, ferry__event_listener *l, int64_t from, int64_t end)
{
    int64_t reached = from;
    int rows = 0, got;
    ferry__store_bind(&f->store, FERRY__SQL_EVENT_TAKE, 1, ferry__event_id(l->topic, from));
    ferry__store_bind(&f->store, FERRY__SQL_EVENT_TAKE, 2, ferry__event_id(l->topic, FERRY__STORE_SEQUENCE_MASK));
    ferry__store_bind(&f->store, FERRY__SQL_EVENT_TAKE, 3, READ_ROWS);
    sqlite3_stmt *q = f->store.sql[FERRY__SQL_EVENT_TAKE];
    while ((got = ferry__store_step(&f->store, FERRY__SQL_EVENT_TAKE)) == SQLITE_ROW) {
        int64_t last = sqlite3_column_int64(q, 0) & FERRY__STORE_SEQUENCE_MASK;
        if (rows++ == 0 && last - sqlite3_column_int64(q, 1) + 1 > from)
            gap(f, l, from);
        if (l->broken)
            break;
        reached = give_row(f, l, q);
        if (reached <= last)
            break;
    }
    ferry__store_reset(&f->store, FERRY__SQL_EVENT_TAKE);
    if (got != SQLITE_ROW && got != SQLITE_DONE) {
        f->starved = true; /* soon again */
        if (ferry__store_fatal(got)) {
            f->store_status = ferry__store_status(&f->store, got, f->place, f->store_why);
            f->reopen = true;
        }
        return;
    }
    if (!rows)
        gap(f, l, from);
    if (l->broken)
        return;
    if (got == SQLITE_DONE && rows < READ_ROWS && reached < end)
        reached = end;
    raise_heads(f, l, reached);
}

/* ---- what was handed back ---- */

static bool give_back(ferry__file *f, ferry__event_track *t, ferry__event_hold *h)
{
    sqlite3_stmt *q = f->store.sql[FERRY__SQL_EVENT_TAKE];
    ferry__frame *frame = NULL;
    bool memory = true, there = false;
    ferry__store_bind(&f->store, FERRY__SQL_EVENT_TAKE, 1, ferry__event_id(t->listener->topic, h->seq));
    ferry__store_bind(&f->store, FERRY__SQL_EVENT_TAKE, 2,
                      ferry__event_id(t->listener->topic, FERRY__STORE_SEQUENCE_MASK));
    ferry__store_bind(&f->store, FERRY__SQL_EVENT_TAKE, 3, 1);
    if (ferry__store_step(&f->store, FERRY__SQL_EVENT_TAKE) == SQLITE_ROW) {
        int64_t seq = (sqlite3_column_int64(q, 0) & FERRY__STORE_SEQUENCE_MASK) - sqlite3_column_int64(q, 1) + 1;
        const char *at = sqlite3_column_blob(q, 2), *end = at + sqlite3_column_bytes(q, 2);
        for (; seq < h->seq && end - at > HEAD && read32(at) <= end - at - HEAD; seq++)
            at += HEAD + read32(at);
        there = seq == h->seq && end - at > HEAD && read32(at) <= end - at - HEAD;
        if (there)
            frame = unpack(f, at + HEAD, read32(at), seq, &memory);
    }
    ferry__store_reset(&f->store, FERRY__SQL_EVENT_TAKE);
    if (!memory)
        return false;
    t->back--;
    h->state = FERRY__HOLD_DONE;
    if (frame)
        send_up(f, h, frame);
    else
        ferry__log_print(f->up->log, LOG_ERR, "file: %s: event %lld was trimmed while it was handed back", f->place,
                         (long long)h->seq);
    return true;
}

static void read_back(ferry__file *f, ferry__event_track *t)
{
    for (ferry__node *n = t->holds.next; n != &t->holds && t->back > 0; n = n->next) {
        ferry__event_hold *h = FERRY__OF(n, ferry__event_hold, node);
        if (h->state != FERRY__HOLD_BACK)
            continue;
        if (atomic_load(&t->listener->credit) <= 0)
            return;
        if (!give_back(f, t, h)) {
            f->starved = true;
            return;
        }
    }
    ferry__event_advance(f, t);
}

/* ---- the turn ---- */

/* All that was there at the start, of what is ours by now, is finished. */
static void look_whether_caught_up(ferry__event_listener *l)
{
    if (!l->goal || l->broken)
        return;
    for (size_t i = 0; i < l->count; i++) {
        const ferry__event_track *t = &l->tracks[i];
        if (!t->owned || t->leaving)
            continue;
        int64_t done = ferry__list_empty(&t->holds) ? t->head : FERRY__OF(t->holds.next, ferry__event_hold, node)->seq;
        if (done < l->goal)
            return;
    }
    l->goal = 0;
    ferry__event_tell(l, FERRY__NEWS_CAUGHT_UP);
}

static bool still_there(const ferry__file *f, const ferry__event_listener *l)
{
    return atomic_load(&ferry__page_topic_of(&f->page, l->topic)->generation) == l->topic_generation &&
           (!l->reader || atomic_load(&ferry__page_group_of(&f->page, l->reader)->generation) == l->reader_generation);
}

static void read_listener(ferry__file *f, ferry__event_listener *l)
{
    if (!still_there(f, l)) {
        ferry__event_gone(f, l);
        return;
    }
    if (l->reader)
        ferry__event_balance(f, l);
    for (size_t i = 0; i < l->count && takes(l); i++)
        if (l->tracks[i].back)
            read_back(f, &l->tracks[i]);
    int64_t from = takes(l) ? lowest_head(l) : INT64_MAX;
    int64_t end = atomic_load(&ferry__page_topic_of(&f->page, l->topic)->end);
    if (from < end)
        read_fresh(f, l, from, end);
    look_whether_caught_up(l);
}

void ferry__event_read(ferry__file *f)
{
    for (ferry__node *n = f->events.listeners.next, *next; n != &f->events.listeners && !f->reopen; n = next) {
        ferry__event_listener *l = FERRY__OF(n, ferry__event_listener, node);
        next = n->next;
        if (atomic_exchange(&l->sought_in_vain, false))
            ferry__event_break(l, FERRY_NO_MEMORY, "out of memory");
        if (l->topic)
            read_listener(f, l);
    }
    ferry__event_tidy(f);
}

static bool readable(const ferry__file *f, const ferry__event_listener *l)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->tracks[i].back)
            return true;
    return lowest_head(l) < atomic_load(&ferry__page_topic_of(&f->page, l->topic)->end) &&
           (!l->reader || f->spares > SPARE_ENTRIES);
}

/* As with calls and posts: the bit first, then another look. */
bool ferry__event_rest(ferry__file *f)
{
    bool more = false;
    for (ferry__node *n = f->events.listeners.next; n != &f->events.listeners; n = n->next) {
        const ferry__event_listener *l = FERRY__OF(n, ferry__event_listener, node);
        if (l->reader && l->member >= 0 && !atomic_load(&l->closed))
            more = more || atomic_load(&ferry__page_group_of(&f->page, l->reader)->epoch) != l->epoch;
        if (!takes(l))
            continue;
        _Atomic uint64_t *hungry = ferry__page_topic_of(&f->page, l->topic)->hungry;
        if (!ferry__page_set_has(hungry, f->page.me))
            ferry__page_set_add(hungry, f->page.me);
        more = more || readable(f, l);
    }
    return more;
}

int64_t ferry__event_next_at(const ferry__file *f)
{
    int64_t at = 0;
    for (const ferry__node *n = f->events.listeners.next; n != &f->events.listeners; n = n->next) {
        const ferry__event_listener *l = FERRY__OF(n, ferry__event_listener, node);
        if (l->dirty && (!at || l->store_at_ms < at))
            at = l->store_at_ms;
    }
    return at;
}
