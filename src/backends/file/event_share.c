/* event_share.c - which member has which track; explained in event.h.
 *
 * Members do not negotiate: each counts the members and takes its quota of tracks, shares and parts apart. Who has too many lets some go
 * once nothing of them is up, and counts up `epoch`, at which the others look again. */
#include "backends/file/event.h"

#include "backends/file/claim.h"
#include "backends/file/pipe.h"
#include "base/alloc.h"

#include <string.h>

void ferry__event_ring_group(ferry__file *f, ferry__page_group *g)
{
    for (int i = 0; i < FERRY__PAGE_MEMBERS; i++) {
        uint32_t member = atomic_load(&g->members[i]) & ~(uint32_t)FERRY__PAGE_LEAVING;
        if (member && member <= FERRY__PAGE_SLOTS && (int)member - 1 != f->page.me)
            ferry__page_ring(&f->page, (int)member - 1);
    }
}

static void changed(ferry__file *f, ferry__page_group *g)
{
    atomic_fetch_add(&g->epoch, 1);
    ferry__event_ring_group(f, g);
}

/* ---- taking ---- */

/* False: no memory, or the table cannot be read now. */
static bool load_again(ferry__file *f, ferry__event_track *t)
{
    size_t room = 0;
    int got;
    ferry__free(t->again);
    t->again = NULL;
    t->agains = t->again_at = 0;
    ferry__store_bind(&f->store, FERRY__SQL_AGAIN_TAKE, 1, t->listener->reader);
    ferry__store_bind(&f->store, FERRY__SQL_AGAIN_TAKE, 2, t->index);
    ferry__store_bind(&f->store, FERRY__SQL_AGAIN_TAKE, 3, t->head);
    sqlite3_stmt *q = f->store.sql[FERRY__SQL_AGAIN_TAKE];
    while ((got = ferry__store_step(&f->store, FERRY__SQL_AGAIN_TAKE)) == SQLITE_ROW) {
        if (t->agains == room) {
            room = room ? 2 * room : 16;
            ferry__event_again *more = ferry__realloc(t->again, room * sizeof *more);
            if (!more)
                break;
            t->again = more;
        }
        t->again[t->agains++] = (ferry__event_again){.seq = sqlite3_column_int64(q, 0),
                                                     .attempt = (uint32_t)sqlite3_column_int(q, 1),
                                                     .maybe = sqlite3_column_int(q, 2) != 0,
                                                     .done = sqlite3_column_int(q, 3) != 0};
    }
    ferry__store_reset(&f->store, FERRY__SQL_AGAIN_TAKE);
    t->again_last = t->agains ? t->again[t->agains - 1].seq : t->head;
    return got == SQLITE_DONE;
}

static bool take(ferry__file *f, ferry__event_listener *l, ferry__page_group *g, unsigned i)
{
    ferry__event_track *t = &l->tracks[i];
    uint32_t nobody = 0;
    if (!atomic_compare_exchange_strong(&g->tracks[i].owner, &nobody, (uint32_t)l->member + 1))
        return false;
    t->head = atomic_load(&g->tracks[i].done);
    t->again_last = 0;
    if (atomic_load(&g->tracks[i].again) && !load_again(f, t)) {
        atomic_store(&g->tracks[i].owner, 0);
        f->starved = true;
        l->epoch--; /* soon again */
        return false;
    }
    t->owned = true;
    t->leaving = false;
    return true;
}

/* ---- quotas ---- */

static unsigned count_members(const ferry__page_group *g, int me, unsigned *rank)
{
    unsigned n = 0;
    for (int i = 0; i < FERRY__PAGE_MEMBERS; i++) {
        uint32_t member = atomic_load(&g->members[i]);
        if (i == me)
            *rank = n;
        n += member && !(member & FERRY__PAGE_LEAVING);
    }
    return n ? n : 1;
}

static void balance(ferry__file *f, ferry__event_listener *l, ferry__page_group *g, unsigned from, unsigned to,
                    unsigned quota)
{
    unsigned have = 0;
    for (unsigned i = from; i < to; i++)
        have += l->tracks[i].owned && !l->tracks[i].leaving;
    for (unsigned i = to; i-- > from && have > quota;)
        if (l->tracks[i].owned && !l->tracks[i].leaving) {
            l->tracks[i].leaving = true;
            have--;
        }
    for (unsigned i = from; i < to && have < quota; i++)
        if (l->tracks[i].owned && l->tracks[i].leaving) {
            l->tracks[i].leaving = false;
            have++;
        }
    for (unsigned i = from; i < to && have < quota; i++)
        have += !l->tracks[i].owned && take(f, l, g, i);
}

void ferry__event_balance(ferry__file *f, ferry__event_listener *l)
{
    ferry__page_group *g = ferry__page_group_of(&f->page, l->reader);
    unsigned epoch = atomic_load(&g->epoch), rank = 0;
    if (epoch == l->epoch || l->member < 0 || atomic_load(&l->closed))
        return;
    l->epoch = epoch;
    unsigned n = count_members(g, l->member, &rank), tracks = ferry__event_tracks(&f->page, g);
    unsigned parts = tracks - FERRY__PAGE_SHARES;
    balance(f, l, g, 0, FERRY__PAGE_SHARES, FERRY__PAGE_SHARES / n + (rank < FERRY__PAGE_SHARES % n));
    balance(f, l, g, FERRY__PAGE_SHARES, tracks, parts / n + (n - 1 - rank < parts % n));
}

/* ---- letting go ---- */

void ferry__event_loosen(ferry__file *f, ferry__event_track *t, bool forget)
{
    for (ferry__node *n; (n = t->holds.next) != &t->holds;) {
        ferry__event_hold *h = FERRY__OF(n, ferry__event_hold, node);
        if (h->state != FERRY__HOLD_UP) {
            if (!forget)
                h->entry = FERRY__EVENT_NO_ENTRY;
            ferry__event_free_hold(f, h);
            continue;
        }
        if (forget && h->entry != FERRY__EVENT_NO_ENTRY)
            atomic_store(&ferry__page_mine(&f->page)->journal[h->entry].id, 0);
        h->track = NULL;
        ferry__list_remove(n);
        ferry__list_append(&t->listener->loose, n);
    }
    t->up = t->back = t->agains = t->again_at = 0;
    t->again_last = 0;
}

static int64_t done_of(const ferry__event_track *t)
{
    return ferry__list_empty(&t->holds) ? t->head : FERRY__OF(t->holds.next, ferry__event_hold, node)->seq;
}

void ferry__event_free_track(ferry__file *f, ferry__event_track *t)
{
    ferry__event_listener *l = t->listener;
    ferry__page_group *g = ferry__page_group_of(&f->page, l->reader);
    atomic_store(&g->tracks[t->index].done, done_of(t));
    ferry__event_loosen(f, t, true);
    ferry__free(t->again);
    t->again = NULL;
    t->owned = t->leaving = false;
    atomic_store(&g->tracks[t->index].owner, 0);
}

static void forget_place(ferry__event_listener *l)
{
    l->topic = l->reader = l->entering = l->entering_reader = 0;
    l->member = -1;
    l->dirty = l->flagged = l->left = l->leaving = false;
    l->goal = 0;
}

static void drop_tracks(ferry__file *f, ferry__event_listener *l, bool forget)
{
    for (size_t i = 0; i < l->count; i++) {
        l->tracks[i].head = done_of(&l->tracks[i]);
        ferry__event_loosen(f, &l->tracks[i], forget);
        l->tracks[i].owned = l->tracks[i].leaving = false;
    }
}

/* What comes is another topic of that name, of which we have had nothing. */
void ferry__event_gone(ferry__file *f, ferry__event_listener *l)
{
    drop_tracks(f, l, true);
    forget_place(l);
    memset(l->identity, 0xff, sizeof l->identity);
    l->wish.from = FERRY_FROM_EARLIEST;
    f->more = true;
}

void ferry__event_cut(ferry__file *f, ferry__event_listener *l)
{
    drop_tracks(f, l, false);
    forget_place(l);
}

/* ---- tidying ---- */

/* Before the transaction, so that one turn does it all: nobody may be there to drive a second one. */
void ferry__event_flag_leavers(ferry__file *f)
{
    for (ferry__node *n = f->events.listeners.next; n != &f->events.listeners; n = n->next) {
        ferry__event_listener *l = FERRY__OF(n, ferry__event_listener, node);
        for (size_t i = 0; l->reader && l->up == 0 && !l->left && atomic_load(&l->closed) && i < l->count; i++)
            l->flagged = l->flagged || (l->tracks[i].owned && !ferry__list_empty(&l->tracks[i].holds));
    }
}

static bool free_tracks(ferry__file *f, ferry__event_listener *l)
{
    bool freed = false, left = l->left && l->up == 0;
    for (size_t i = 0; i < l->count; i++) {
        ferry__event_track *t = &l->tracks[i];
        if (!t->owned || (!t->leaving && !atomic_load(&l->closed)))
            continue;
        if (ferry__list_empty(&t->holds) || left) {
            ferry__event_free_track(f, t);
            freed = true;
        } else if (atomic_load(&l->closed) && l->up == 0)
            l->flagged = true; /* `again` has to know first */
    }
    return freed;
}

static void start_leaving(ferry__event_listener *l, ferry__page_group *g)
{
    l->leaving = true;
    if (l->member >= 0)
        atomic_fetch_or(&g->members[l->member], FERRY__PAGE_LEAVING);
}

static bool owns(const ferry__event_listener *l)
{
    for (size_t i = 0; i < l->count; i++)
        if (l->tracks[i].owned)
            return true;
    return false;
}

static void tidy_member(ferry__file *f, ferry__event_listener *l)
{
    ferry__page_group *g = ferry__page_group_of(&f->page, l->reader);
    bool news = free_tracks(f, l), closed = atomic_load(&l->closed);
    if (closed && !l->leaving) {
        start_leaving(l, g);
        news = true;
    }
    if (closed && !owns(l) && !l->dirty && l->member >= 0) {
        atomic_store(&g->members[l->member], 0);
        l->member = -1;
    }
    if (news)
        changed(f, g);
}

void ferry__event_tidy(ferry__file *f)
{
    for (ferry__node *n = f->events.listeners.next, *next; n != &f->events.listeners; n = next) {
        ferry__event_listener *l = FERRY__OF(n, ferry__event_listener, node);
        next = n->next;
        if (l->reader)
            tidy_member(f, l);
        if (!atomic_load(&l->closed) || l->up || l->member >= 0 || l->dirty || l->flagged || atomic_load(&l->ops))
            continue;
        ferry__list_remove(n);
        while (!ferry__list_empty(&l->tracks[0].holds)) /* of a broadcast, which does not care */
            ferry__event_free_hold(f, FERRY__OF(l->tracks[0].holds.next, ferry__event_hold, node));
        ferry__event_free_listener(l);
    }
}
