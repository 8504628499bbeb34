/* name.c - names, their numbers and their servers. */
#include "backends/file/name.h"

#include "base/alloc.h"

#include <string.h>

/* ---- records ---- */

static size_t full_length(const ferry__file *f, const char *name)
{
    return strlen(f->config->ns) + 1 + (name ? strlen(name) : 0) + 1;
}

static void write_full(const ferry__file *f, const char *name, char *to, size_t size)
{
    snprintf(to, size, "%s:%s", f->config->ns, name ? name : "");
}

ferry__file_target *ferry__name_target(ferry__file *f, ferry__target *target)
{
    if (target->data)
        return target->data;
    size_t length = full_length(f, target->name);
    ferry__file_target *t = ferry__zalloc(sizeof *t + length);
    if (!t)
        return NULL;
    write_full(f, target->name, t->name, length);
    t->target = target;
    t->told = -1;
    ferry__list_append(&f->targets, &t->node);
    target->data = t;
    return t;
}

ferry__file_listener *ferry__name_listener(ferry__file *f, ferry__source *source)
{
    size_t length = full_length(f, source->name);
    ferry__file_listener *l = ferry__zalloc(sizeof *l + length);
    if (!l)
        return NULL;
    write_full(f, source->name, l->name, length);
    l->source = source;
    l->lane = source->lane;
    return l;
}

void ferry__name_forget(ferry__file *f)
{
    for (ferry__node *n = f->targets.next; n != &f->targets; n = n->next) {
        ferry__file_target *t = FERRY__OF(n, ferry__file_target, node);
        atomic_store(&t->service, 0);
        atomic_store(&t->looked, 0);
    }
    for (ferry__node *n = f->listeners.next; n != &f->listeners; n = n->next)
        FERRY__OF(n, ferry__file_listener, node)->service = 0;
}

/* ---- numbers ---- */

static int find(ferry__file *f, const char *name, int *error)
{
    sqlite3_bind_text(f->store.sql[FERRY__SQL_SERVICE_FIND], 1, name, -1, SQLITE_STATIC);
    return (int)ferry__store_number(&f->store, FERRY__SQL_SERVICE_FIND, 0, error);
}

/* What was not found is looked for again only after some name was entered. */
static int look_up(ferry__file *f, ferry__file_target *t, int *error)
{
    int service = atomic_load(&t->service);
    unsigned stamp = atomic_load(&f->page.file->header.changes) + 1;
    if (service || atomic_load(&t->looked) == stamp)
        return service;
    service = find(f, t->name, error);
    if (service)
        atomic_store(&t->service, service);
    else if (!*error)
        atomic_store(&t->looked, stamp);
    return service;
}

static int need_block(ferry__file *f, int service)
{
    char why[FERRY_WHY_SIZE];
    ferry_status status = ferry__page_need_service(&f->page, &f->store, service, why);
    if (!status)
        return SQLITE_OK;
    ferry__log_print(f->up->log, LOG_ERR, "file: %s", why);
    return status == FERRY_OVERLOADED ? SQLITE_FULL : SQLITE_IOERR;
}

int ferry__name_resolve(ferry__file *f, ferry__file_target *t, int *error)
{
    int service = look_up(f, t, error);
    if (service && !*error)
        *error = need_block(f, service);
    return service;
}

/* ---- listeners ---- */

static int role_of(ferry__lane lane)
{
    return lane == FERRY__CALLS   ? FERRY__PAGE_FOR_CALLS
           : lane == FERRY__POSTS ? FERRY__PAGE_FOR_POSTS
                                  : FERRY__PAGE_FOR_CONTROLS;
}

static bool enters(const ferry__file_listener *l)
{
    return l->lane != FERRY__REPLIES && !l->service && !atomic_load(&l->closed);
}

bool ferry__name_to_enter(const ferry__file *f)
{
    for (ferry__node *n = f->listeners.next; n != &f->listeners; n = n->next)
        if (enters(FERRY__OF(n, ferry__file_listener, node)))
            return true;
    return false;
}

int ferry__name_make(ferry__file *f, const char *name, int *error)
{
    int service = find(f, name, error);
    if (!service && !*error) {
        sqlite3_bind_text(f->store.sql[FERRY__SQL_SERVICE_ADD], 1, name, -1, SQLITE_STATIC);
        *error = ferry__store_run(&f->store, FERRY__SQL_SERVICE_ADD);
        service = (int)sqlite3_last_insert_rowid(f->store.db);
        f->names_changed = true;
    }
    if (!*error)
        *error = need_block(f, service);
    return *error ? 0 : service;
}

static int enter_one(ferry__file *f, ferry__file_listener *l)
{
    int error = SQLITE_OK;
    l->entering = ferry__name_make(f, l->name, &error);
    return error;
}

int ferry__name_enter(ferry__file *f)
{
    int error = SQLITE_OK;
    for (ferry__node *n = f->listeners.next; n != &f->listeners && !error; n = n->next) {
        ferry__file_listener *l = FERRY__OF(n, ferry__file_listener, node);
        if (enters(l))
            error = enter_one(f, l);
    }
    return error;
}

void ferry__name_committed(ferry__file *f)
{
    for (ferry__node *n = f->listeners.next; n != &f->listeners; n = n->next) {
        ferry__file_listener *l = FERRY__OF(n, ferry__file_listener, node);
        if (!l->entering)
            continue;
        l->service = l->entering;
        l->entering = 0;
        ferry__page_set_add(ferry__page_service_of(&f->page, l->service)->listeners[role_of(l->lane)], f->page.me);
        f->names_changed = true;
    }
    if (f->names_changed)
        atomic_fetch_add(&f->page.file->header.changes, 1);
}

void ferry__name_undo(ferry__file *f)
{
    for (ferry__node *n = f->listeners.next; n != &f->listeners; n = n->next)
        FERRY__OF(n, ferry__file_listener, node)->entering = 0;
    f->names_changed = false;
}

void ferry__name_leave(ferry__file *f, ferry__file_listener *l)
{
    ferry__list_remove(&l->node);
    if (!l->service)
        return;
    int role = role_of(l->lane);
    ferry__page_service *v = ferry__page_service_of(&f->page, l->service);
    ferry__page_set_remove(v->listeners[role], f->page.me);
    if (role != FERRY__PAGE_FOR_CONTROLS)
        ferry__page_set_remove(v->hungry[role], f->page.me);
    f->names_changed = true;
}

/* ---- who is alive ---- */

static bool in_hand(ferry__page_entry *e, int service, bool calls)
{
    int64_t queue = ferry__store_queue(atomic_load(&e->id));
    unsigned mark = atomic_load(&e->mark);
    return (mark == FERRY__MARK_CLAIMED || mark == FERRY__MARK_BEGUN) && queue >> FERRY__STORE_LANE_BITS == service &&
           ((queue & FERRY__STORE_LANE_MASK) == FERRY__STORE_CALLS) == calls;
}

static bool slot_holds(ferry__page_slot *s, int service, bool calls)
{
    unsigned end = atomic_load(&s->journal_end);
    for (unsigned i = 0; i < end && i < FERRY__PAGE_JOURNAL; i++)
        if (in_hand(&s->journal[i], service, calls))
            return true;
    return false;
}

/* A server that drains listens no more, and its callers still get their answers: it counts as long as it has some in hand. */
static bool in_somebodys_hand(const ferry__file *f, int service, bool calls)
{
    unsigned end = ferry__page_slots_end(&f->page);
    for (unsigned i = 0; i < end; i++) {
        ferry__page_slot *s = ferry__page_slot_of(&f->page, (int)i);
        if (atomic_load(&s->taken) && slot_holds(s, service, calls) && ferry__page_lives(&f->page, (int)i))
            return true;
    }
    return false;
}

ferry__presence ferry__name_presence(const ferry__file *f, const ferry__file_target *t)
{
    int service = atomic_load(&t->service), role = role_of(t->target->lane);
    if (!service)
        return FERRY__NEVER;
    if (!ferry__page_has_service(&f->page, service))
        return FERRY__GONE;
    bool alive =
        ferry__page_served(&f->page, service, role) || in_somebodys_hand(f, service, role == FERRY__PAGE_FOR_CALLS);
    return alive ? FERRY__ALIVE : FERRY__GONE;
}

void ferry__name_answer_probes(ferry__file *f)
{
    for (ferry__node *n = f->ops.next, *next; n != &f->ops; n = next) {
        next = n->next;
        ferry__file_op *op = FERRY__OF(n, ferry__file_op, node);
        if (op->kind != FERRY__OP_PROBE)
            continue;
        int error = SQLITE_OK;
        bool events = op->target->target->lane == FERRY__EVENTS; /* which need nobody */
        if (!events)
            look_up(f, op->target, &error);
        if (error)
            return; /* the next turn asks again */
        op->presence = events ? FERRY__ALIVE : ferry__name_presence(f, op->target);
        ferry__list_remove(n);
        ferry__list_append(&f->answers, n);
    }
}

void ferry__name_tell_changes(ferry__file *f)
{
    unsigned changes = atomic_load(&f->page.file->header.changes);
    if (changes == f->changes)
        return;
    f->changes = changes;
    for (ferry__node *n = f->targets.next; n != &f->targets; n = n->next) {
        ferry__file_target *t = FERRY__OF(n, ferry__file_target, node);
        if (t->target->lane == FERRY__EVENTS || t->told < 0 || !atomic_load(&t->service))
            continue;
        ferry__presence presence = ferry__name_presence(f, t);
        if (t->told == (int)presence)
            continue;
        t->told = (int)presence;
        f->up->probed(f->up, t->target, presence);
    }
}
