/* event_bench.c - events on the file transport against a raw SQLite program: publishing, confirmed and pipelined, and a subscriber that
 * reads all that is stored. The rounds are interleaved, the figures medians, and only the ratios mean something: of rates by the clock,
 * and of rates by the time that the processors worked, which other programs on the machine disturb less. Prints a line of JSON a figure,
 * asserts nothing: `make bench`, or build/event_bench [DIRECTORY [EVENTS [ROUNDS]]].
 *
 * The raw program does what a person would write: a table, 512 inserts a commit; 1000 rows a SELECT, a commit of the cursor each. */
#include "base/bell.h"
#include "base/clock.h"

#include <ferry/ferry.h>
#include <sqlite3.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BODY = 128, WINDOW = 512, BATCH = 1000, ROUNDS = 9 };

typedef struct speed {
    double wall, work; /* a second */
} speed;

typedef struct figures {
    speed raw[ROUNDS], ours[ROUNDS];
} figures;

typedef struct watch {
    int64_t wall_us, work_us;
} watch;

static char body[BODY];

_Noreturn static void die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static watch start(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (watch){ferry__now_us(), (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000};
}

static double per_second(long count, int64_t us)
{
    return (double)count * 1e6 / (double)(us > 0 ? us : 1);
}

static speed rate(long count, watch since)
{
    watch now = start();
    return (speed){per_second(count, now.wall_us - since.wall_us), per_second(count, now.work_us - since.work_us)};
}

static void remove_all(const char *path)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-page"};
    char name[600];
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        unlink(name);
    }
}

/* ---- raw ---- */

static sqlite3 *open_raw(const char *path)
{
    sqlite3 *db;
    if (sqlite3_open(path, &db) != SQLITE_OK)
        die(path, sqlite3_errmsg(db));
    sqlite3_exec(db,
                 "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
                 "CREATE TABLE IF NOT EXISTS event(id INTEGER PRIMARY KEY, route TEXT, body BLOB);"
                 "CREATE TABLE IF NOT EXISTS reader(name TEXT PRIMARY KEY, at INTEGER);",
                 NULL, NULL, NULL);
    return db;
}

static sqlite3_stmt *sql(sqlite3 *db, const char *text)
{
    sqlite3_stmt *q;
    if (sqlite3_prepare_v3(db, text, -1, SQLITE_PREPARE_PERSISTENT, &q, NULL) != SQLITE_OK)
        die(text, sqlite3_errmsg(db));
    return q;
}

static void run(sqlite3_stmt *q)
{
    int got = sqlite3_step(q);
    sqlite3_reset(q);
    if (got != SQLITE_DONE && got != SQLITE_ROW)
        die("raw", sqlite3_errstr(got));
}

static speed raw_publish(const char *path, long count)
{
    sqlite3 *db = open_raw(path);
    sqlite3_stmt *begin = sql(db, "BEGIN IMMEDIATE"), *commit = sql(db, "COMMIT"),
                 *put = sql(db, "INSERT INTO event(route, body) VALUES('order.created', ?1)");
    watch since = start();
    for (long i = 0; i < count; i += WINDOW) {
        run(begin);
        for (long k = i; k < count && k < i + WINDOW; k++) {
            sqlite3_bind_blob(put, 1, body, BODY, SQLITE_STATIC);
            run(put);
        }
        run(commit);
    }
    speed r = rate(count, since);
    sqlite3_finalize(begin);
    sqlite3_finalize(commit);
    sqlite3_finalize(put);
    sqlite3_close(db);
    return r;
}

static speed raw_read(const char *path, long count)
{
    sqlite3 *db = open_raw(path);
    sqlite3_stmt *take = sql(db, "SELECT id, route, body FROM event WHERE id > ?1 ORDER BY id LIMIT ?2"),
                 *store = sql(db, "INSERT OR REPLACE INTO reader(name, at) VALUES('billing', ?1)");
    sqlite3_int64 at = 0;
    long seen = 0;
    watch since = start();
    for (long was = -1; was != seen;) {
        was = seen;
        sqlite3_bind_int64(take, 1, at);
        sqlite3_bind_int(take, 2, BATCH);
        while (sqlite3_step(take) == SQLITE_ROW) {
            at = sqlite3_column_int64(take, 0);
            memcpy(body, sqlite3_column_blob(take, 2), (size_t)sqlite3_column_bytes(take, 2));
            seen++;
        }
        sqlite3_reset(take);
        sqlite3_bind_int64(store, 1, at);
        run(store);
    }
    speed r = rate(seen, since);
    if (seen != count)
        die("raw", "rows are missing");
    sqlite3_finalize(take);
    sqlite3_finalize(store);
    sqlite3_close(db);
    return r;
}

/* ---- ferry ---- */

static ferry *open_ferry(const char *path)
{
    char url[600];
    snprintf(url, sizeof url, "file:%s", path);
    return ferry_open(url, NULL);
}

static speed ferry_publishes(const char *path, long count)
{
    ferry *f = open_ferry(path);
    char why[FERRY_WHY_SIZE] = "";
    watch since = start();
    for (long i = 0; i < count;) {
        ferry_status s = ferry_publish(f, "order.created", ferry_bytes(body, BODY), FERRY_EVENT(.why = why));
        if (s == FERRY_OVERLOADED)
            s = ferry_flush(f, 10000);
        else
            i++;
        if (s)
            die("ferry_publish", why);
        if (i % (8 * WINDOW) == 0 && ferry_flush(f, 10000)) /* what is under way is bounded */
            die("ferry_flush", "not in time");
    }
    if (ferry_flush(f, 60000))
        die("ferry_flush", "not in time");
    speed r = rate(count, since);
    ferry_close(f);
    return r;
}

typedef struct reader {
    atomic_long seen, caught_up;
    ferry__bell bell;
} reader;

static void one(ferry_request *event, void *arg)
{
    size_t length;
    const void *bytes = ferry_as_bytes(ferry_request_data(event), &length);
    if (bytes && length == BODY)
        memcpy(body, bytes, BODY);
    atomic_fetch_add(&((reader *)arg)->seen, 1);
}

static void caught_up(ferry_subscription *s, void *arg)
{
    (void)s;
    atomic_store(&((reader *)arg)->caught_up, 1);
    ferry__bell_ring(&((reader *)arg)->bell);
}

static speed ferry_reads(const char *path, long count, const char *group)
{
    static reader r;
    atomic_store(&r.seen, 0);
    atomic_store(&r.caught_up, 0);
    ferry *f = open_ferry(path);
    watch since = start();
    ferry_subscribe(f, "order.*", one, &r,
                    FERRY_SUBSCRIBE(.group = group, .from = FERRY_FROM_EARLIEST, .on_caught_up = caught_up), NULL);
    if (ferry_serve(f))
        die("ferry_serve", "failed");
    for (unsigned seen = 0; !atomic_load(&r.caught_up); seen = ferry__bell_seen(&r.bell))
        ferry__bell_sleep(&r.bell, seen, 100, false);
    speed got = rate(count, since);
    if (atomic_load(&r.seen) != count)
        fprintf(stderr, "%ld came, not %ld\n", atomic_load(&r.seen), count);
    ferry_close(f);
    return got;
}

/* ---- figures ---- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, by_size);
    return x[n / 2];
}

static void print(const char *what, const figures *x, int rounds)
{
    double raw[ROUNDS], ours[ROUNDS], wall[ROUNDS], work[ROUNDS];
    for (int i = 0; i < rounds; i++) {
        raw[i] = x->raw[i].wall;
        ours[i] = x->ours[i].wall;
        wall[i] = ours[i] / raw[i];
        work[i] = x->ours[i].work / x->raw[i].work;
    }
    printf("{\"figure\": \"%s\", \"raw_per_s\": %.0f, \"ferry_per_s\": %.0f, \"ratio\": %.2f, \"ratio_by_work\": "
           "%.2f}\n",
           what, median(raw, rounds), median(ours, rounds), median(wall, rounds), median(work, rounds));
}

int main(int argc, char **argv)
{
    static figures publishing, reading, broadcasting;
    char raw[512], ours[512];
    const char *dir = argc > 1 ? argv[1] : "/tmp";
    long count = argc > 2 ? strtol(argv[2], NULL, 10) : 100000;
    int rounds = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 3;
    rounds = rounds < 1 ? 1 : rounds > ROUNDS ? ROUNDS : rounds;
    for (int i = 0; i < rounds; i++) {
        snprintf(raw, sizeof raw, "%s/event-bench-%d-raw.db", dir, (int)getpid());
        snprintf(ours, sizeof ours, "%s/event-bench-%d.db", dir, (int)getpid());
        publishing.raw[i] = raw_publish(raw, count);
        publishing.ours[i] = ferry_publishes(ours, count);
        reading.raw[i] = broadcasting.raw[i] = raw_read(raw, count);
        reading.ours[i] = ferry_reads(ours, count, "billing");
        broadcasting.ours[i] = ferry_reads(ours, count, NULL);
        remove_all(raw);
        remove_all(ours);
    }
    print("events published, confirmed and pipelined", &publishing, rounds);
    print("stored events read by a group", &reading, rounds);
    print("stored events read by a broadcast", &broadcasting, rounds);
    return 0;
}
