/* admin.c - dead letters and the doctor. */
#include "backends/file/admin.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

enum { PAGE_BYTES = 4096, LOW_SPACE = 64 << 20, WALRESET_FIXED = 3051003 };

static void fail(ferry__file *f, ferry__admin *a, int error)
{
    a->status = ferry__store_status(&f->store, error, f->place, a->why);
}

/* ---- dead letters ---- */

static ferry_value *row_of(sqlite3_stmt *q)
{
    char cursor[24];
    snprintf(cursor, sizeof cursor, "%lld", (long long)sqlite3_column_int64(q, 0));
    ferry_value *row = ferry_new_list();
    ferry_list_put(row, ferry_text(cursor));
    ferry_list_put(row, ferry_text((const char *)sqlite3_column_text(q, 1)));
    ferry_list_put(row, ferry_bytes(sqlite3_column_blob(q, 2), (size_t)sqlite3_column_bytes(q, 2)));
    return row;
}

static void browse(ferry__file *f, ferry__admin *a)
{
    sqlite3_stmt *q = f->store.sql[FERRY__SQL_DEAD_LIST];
    int got;
    a->answer = ferry_new_list();
    if (a->name)
        sqlite3_bind_text(q, 1, a->name, -1, SQLITE_STATIC);
    else
        sqlite3_bind_null(q, 1);
    sqlite3_bind_int64(q, 2, a->after ? strtoll(a->after, NULL, 10) : 0);
    sqlite3_bind_int64(q, 3, (int64_t)a->limit);
    while ((got = sqlite3_step(q)) == SQLITE_ROW)
        ferry_list_put(a->answer, row_of(q));
    sqlite3_reset(q);
    a->status = FERRY_OK;
    if (got != SQLITE_DONE)
        fail(f, a, got);
}

int ferry__admin_write(ferry__file *f, ferry__admin *a)
{
    if (ferry__topics_ask((int)a->ask))
        return ferry__topics_answer(f, a);
    sqlite3_stmt *q = f->store.sql[FERRY__SQL_DEAD_REMOVE];
    if (a->name)
        sqlite3_bind_text(q, 1, a->name, -1, SQLITE_STATIC);
    else
        sqlite3_bind_null(q, 1);
    sqlite3_bind_text(q, 2, a->id ? a->id : "", -1, SQLITE_STATIC);
    int error = ferry__store_run(&f->store, FERRY__SQL_DEAD_REMOVE);
    a->count = error ? 0 : sqlite3_changes(f->store.db) > 0;
    a->status = FERRY_OK;
    return error;
}

/* ---- the doctor ---- */

static ferry_value *handles(const ferry__file *f)
{
    ferry_value *list = ferry_new_list();
    unsigned end = ferry__page_slots_end(&f->page);
    for (unsigned i = 0; i < end; i++) {
        ferry__page_slot *s = ferry__page_slot_of(&f->page, (int)i);
        if (!atomic_load(&s->taken) || !ferry__page_lives(&f->page, (int)i))
            continue;
        ferry_value *one = ferry_new_map();
        char name[sizeof s->name + 1] = "";
        memcpy(name, s->name, sizeof s->name);
        ferry_map_put(one, "name", ferry_text(name));
        ferry_map_put(one, "pid", ferry_int((int64_t)atomic_load(&s->pid)));
        if ((int)i == f->page.me)
            ferry_map_put(one, "this_one", ferry_bool(true));
        ferry_list_put(list, one);
    }
    return list;
}

static int64_t waiting_in(const ferry__page_queue *q)
{
    int64_t n = atomic_load(&q->tail) - atomic_load(&q->head);
    return n > 0 ? n : 0;
}

static ferry_value *queue_facts(const ferry__file *f, int service)
{
    ferry_value *one = ferry_new_map();
    int64_t posts = 0;
    bool there = ferry__page_has_service(&f->page, service);
    const ferry__page_service *v = ferry__page_service_of(&f->page, service);
    for (int lane = FERRY__STORE_POSTS; there && lane < FERRY__PAGE_QUEUES; lane++)
        posts += waiting_in(&v->queues[lane]);
    ferry_map_put(one, "calls", ferry_int(there ? waiting_in(&v->queues[FERRY__STORE_CALLS]) : 0));
    ferry_map_put(one, "posts", ferry_int(posts));
    ferry_map_put(one, "served", ferry_bool(there && ferry__page_served(&f->page, service, FERRY__PAGE_FOR_CALLS)));
    return one;
}

static ferry_value *services(ferry__file *f)
{
    ferry_value *map = ferry_new_map();
    sqlite3_stmt *q = f->store.sql[FERRY__SQL_SERVICE_LIST];
    while (sqlite3_step(q) == SQLITE_ROW) {
        int service = sqlite3_column_int(q, 0);
        if (service > 0 && service < FERRY__PAGE_SERVICES)
            ferry_map_put(map, (const char *)sqlite3_column_text(q, 1), queue_facts(f, service));
    }
    sqlite3_reset(q);
    return map;
}

static int64_t size_of(const ferry__file *f, const char *suffix)
{
    char path[4096];
    struct stat s;
    snprintf(path, sizeof path, "%s%s", f->place, suffix);
    return stat(path, &s) == 0 ? (int64_t)s.st_size : 0;
}

static ferry_value *warnings(ferry__file *f, int64_t log, int64_t dead)
{
    ferry_value *list = ferry_new_list();
    struct statvfs v;
    char text[FERRY_WHY_SIZE];
    if (sqlite3_libversion_number() < WALRESET_FIXED) {
        ferry__why(text,
                   "SQLite %s has the WAL-reset bug: harmless here, as ferry never checkpoints and resets at once, but "
                   "open %s with no other program while it is in use",
                   sqlite3_libversion(), f->place);
        ferry_list_put(list, ferry_text(text));
    }
    if (log > 4 * f->wal_hard)
        ferry_list_put(list, ferry_text("the write-ahead log is large: some program reads the database for very long"));
    if (statvfs(f->place, &v) == 0 && (int64_t)v.f_bavail * (int64_t)v.f_frsize < LOW_SPACE)
        ferry_list_put(list, ferry_text("less than 64 MiB of disk are free"));
    if (dead > 0) {
        ferry__why(text, "%lld dead letters: see them with: ferry dead list", (long long)dead);
        ferry_list_put(list, ferry_text(text));
    }
    return list;
}

static void doctor(ferry__file *f, ferry__admin *a)
{
    int error = SQLITE_OK;
    int64_t log = size_of(f, "-wal"), dead = ferry__store_number(&f->store, FERRY__SQL_DEAD_COUNT, 0, &error);
    ferry_value *m = ferry_new_map();
    ferry_map_put(m, "transport", ferry_text("file"));
    ferry_map_put(m, "path", ferry_text(f->place));
    ferry_map_put(m, "sqlite", ferry_text(sqlite3_libversion()));
    ferry_map_put(m, "sync", ferry_text(f->options.full ? "full" : "normal"));
    ferry_map_put(m, "survives",
                  ferry_text(f->options.full
                                 ? "the end of any process, and of the machine"
                                 : "the end of any process; the last moments before a power cut may be lost"));
    ferry_map_put(m, "bytes", ferry_int(size_of(f, "")));
    ferry_map_put(m, "log_bytes", ferry_int(log));
    ferry_map_put(m, "dead_letters", ferry_int(dead));
    ferry_map_put(m, "handles", handles(f));
    ferry_map_put(m, "services", services(f));
    ferry_map_put(m, "warnings", warnings(f, log, dead));
    a->answer = m;
    a->status = FERRY_OK;
    if (error)
        fail(f, a, error);
}

/* ---- which is when ---- */

static bool answer_now(ferry__file *f, ferry__admin *a)
{
    switch (a->ask) {
    case FERRY__DEAD_REMOVE:
        return false;
    case FERRY__DEAD_BROWSE:
        browse(f, a);
        return true;
    case FERRY__DOCTOR:
        doctor(f, a);
        return true;
    default:
        return false;
    }
}

void ferry__admin_answer(ferry__file *f)
{
    for (ferry__node *n = f->ops.next, *next; n != &f->ops; n = next) {
        next = n->next;
        ferry__file_op *op = FERRY__OF(n, ferry__file_op, node);
        if (op->kind != FERRY__OP_ADMIN || !answer_now(f, op->admin))
            continue;
        ferry__list_remove(n);
        ferry__list_append(&f->answers, n);
    }
}
