/* store.c - opening the database and running its statements; the tables are explained in store.h.
 *
 * Checkpoints. SQLite 3.7.0 to 3.51.2 can damage a database when one connection resets the write-ahead log in the same instant in which
 * another one checkpoints it (sqlite.org/wal.html, "WAL-reset bug"), and Debian 12 and 13 ship such versions. So no connection ever
 * checkpoints by itself, neither after a commit nor at its close; checkpoint.c does it, one process at a time, and what can lead to a
 * reset only under the writer lock. */
#include "backends/file/store.h"

#include "base/log.h"
#include "base/random.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SCHEMA = 2, FIRST_SCHEMA = 1, APPLICATION = 0x66657272 /* "ferr" */, OPEN_WAIT_MS = 30 };

#define TAKEN "9223372036854775807"

static const char schema[] = "CREATE TABLE message(id INTEGER PRIMARY KEY, body BLOB NOT NULL);"
                             "CREATE TABLE later(id INTEGER PRIMARY KEY, queue INTEGER NOT NULL, due INTEGER NOT NULL, "
                             "attempt INTEGER NOT NULL, "
                             "maybe INTEGER NOT NULL);"
                             "CREATE INDEX later_due ON later(queue, due);"
                             "CREATE TABLE service(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
                             "CREATE TABLE dead(seq INTEGER PRIMARY KEY AUTOINCREMENT, box TEXT NOT NULL, id TEXT NOT "
                             "NULL, record BLOB NOT NULL);"
                             "CREATE INDEX dead_id ON dead(id);"
                             "CREATE TABLE meta(name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;";

/* What version 2 added to version 1. */
static const char schema_of_events[] =
    "CREATE TABLE topic(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, parts INTEGER NOT NULL, "
    "keep_ms INTEGER NOT NULL, keep_bytes INTEGER NOT NULL, first INTEGER NOT NULL, purged INTEGER NOT NULL);"
    "CREATE TABLE event(id INTEGER PRIMARY KEY, time INTEGER NOT NULL, count INTEGER NOT NULL, "
    "offset INTEGER NOT NULL, body BLOB NOT NULL);"
    "CREATE TABLE reader(id INTEGER PRIMARY KEY, topic INTEGER NOT NULL, name TEXT NOT NULL, "
    "cursors BLOB NOT NULL, UNIQUE(topic, name));"
    "CREATE TABLE again(reader INTEGER NOT NULL, seq INTEGER NOT NULL, track INTEGER NOT NULL, "
    "attempt INTEGER NOT NULL, maybe INTEGER NOT NULL, done INTEGER NOT NULL, PRIMARY KEY(reader, seq)) "
    "WITHOUT ROWID;";

/* The lowest number that is free. */
#define FREE_ID(table)                                                                                        \
    "(SELECT min(t.id) + 1 FROM (SELECT 0 AS id UNION ALL SELECT id FROM " table ") t WHERE NOT EXISTS (SELECT 1 " \
    "FROM " table " u WHERE u.id = t.id + 1))"

static const char *const texts[FERRY__SQL_COUNT] = {
    [FERRY__SQL_BEGIN] = "BEGIN IMMEDIATE",
    [FERRY__SQL_COMMIT] = "COMMIT",
    [FERRY__SQL_ROLLBACK] = "ROLLBACK",
    [FERRY__SQL_PUT] = "INSERT INTO message(id, body) VALUES(?1, ?2)",
    [FERRY__SQL_TAKE] = "SELECT id, body FROM message WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3",
    [FERRY__SQL_DROP] = "DELETE FROM message WHERE id BETWEEN ?1 AND ?2",
    [FERRY__SQL_FIRST] = "SELECT min(id) FROM message WHERE id BETWEEN ?1 AND ?2",
    [FERRY__SQL_LAST] = "SELECT max(id) FROM message WHERE id BETWEEN ?1 AND ?2",
    [FERRY__SQL_LATE_TAKE] =
        "SELECT l.id, m.body, l.attempt, l.maybe FROM later l INDEXED BY later_due CROSS JOIN message m ON m.id = l.id "
        "WHERE l.queue = ?1 AND l.due <= ?2 ORDER BY l.due, l.id LIMIT ?3",
    [FERRY__SQL_LATE_MARK] = "UPDATE later SET due = " TAKEN " WHERE id = ?1",
    [FERRY__SQL_LATE_PUT] = "INSERT OR REPLACE INTO later(id, queue, due, attempt, maybe) VALUES(?1, ?2, ?3, ?4, ?5)",
    [FERRY__SQL_LATE_DROP] = "DELETE FROM later WHERE id = ?1",
    [FERRY__SQL_LATE_WITHDRAW] = "DELETE FROM later WHERE id = ?1 AND due < " TAKEN " AND attempt = 0 AND maybe = 0",
    [FERRY__SQL_LATE_NEXT] = "SELECT min(due) FROM later WHERE queue = ?1",
    [FERRY__SQL_LATE_LAST] = "SELECT max(id) FROM later WHERE queue = ?1",
    [FERRY__SQL_LEFT] =
        "INSERT INTO later(id, queue, due, attempt, maybe) SELECT ?1, ?2, 1, ?3, ?4 FROM message WHERE id = ?1 "
        "ON CONFLICT(id) DO UPDATE SET due = 1, attempt = ?3, maybe = max(maybe, ?4) WHERE due = " TAKEN,
    [FERRY__SQL_LEFT_BEHIND] = "INSERT OR IGNORE INTO later(id, queue, due, attempt, maybe) "
                               "SELECT id, ?1, 1, 0, 0 FROM message WHERE id BETWEEN ?2 AND ?3",
    [FERRY__SQL_PURGE_CALLS] = "DELETE FROM message WHERE id IN (SELECT m.id FROM service s CROSS JOIN message m "
                               "ON m.id BETWEEN s.id << 47 AND s.id << 47 | ?1)",
    [FERRY__SQL_PURGE_INBOXES] = "DELETE FROM message WHERE id >= ?1",
    [FERRY__SQL_PURGE_TAKEN] = "UPDATE later SET due = 1",
    [FERRY__SQL_SERVICE_FIND] = "SELECT id FROM service WHERE name = ?1",
    [FERRY__SQL_SERVICE_ADD] = "INSERT INTO service(name) VALUES(?1)",
    [FERRY__SQL_SERVICE_LIST] = "SELECT id, name FROM service ORDER BY name",
    [FERRY__SQL_DEAD_ADD] = "INSERT INTO dead(box, id, record) VALUES(?1, ?2, ?3)",
    [FERRY__SQL_DEAD_LIST] =
        "SELECT seq, box, record FROM dead WHERE seq > ?2 AND (?1 IS NULL OR box = ?1) ORDER BY seq LIMIT ?3",
    [FERRY__SQL_DEAD_REMOVE] =
        "DELETE FROM dead WHERE seq = (SELECT min(seq) FROM dead WHERE id = ?2 AND (?1 IS NULL OR box = ?1))",
    [FERRY__SQL_DEAD_FIND] = "SELECT seq FROM dead WHERE id = ?1 LIMIT 1",
    [FERRY__SQL_DEAD_COUNT] = "SELECT count(*) FROM dead",
    [FERRY__SQL_LATE_FIND] = "SELECT id FROM later WHERE id = ?1",
    [FERRY__SQL_LATE_ORPHANS] =
        "DELETE FROM later WHERE queue = ?1 AND NOT EXISTS (SELECT 1 FROM message m WHERE m.id = later.id)",
    [FERRY__SQL_EVENT_PUT] = "INSERT INTO event(id, time, count, offset, body) VALUES(?1, ?2, ?3, ?4, ?5)",
    [FERRY__SQL_EVENT_TAKE] = "SELECT id, count, body FROM event WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3",
    [FERRY__SQL_EVENT_ROWS] =
        "SELECT id, count, time, offset FROM event WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3",
    [FERRY__SQL_EVENT_LAST] =
        "SELECT id, offset, length(body) FROM event WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC LIMIT 1",
    [FERRY__SQL_EVENT_DROP] = "DELETE FROM event WHERE id BETWEEN ?1 AND ?2",
    [FERRY__SQL_TOPIC_FIND] = "SELECT id FROM topic WHERE name = ?1",
    [FERRY__SQL_TOPIC_GET] = "SELECT parts, keep_ms, keep_bytes, first, purged FROM topic WHERE id = ?1",
    [FERRY__SQL_TOPIC_ADD] = "INSERT INTO topic(id, name, parts, keep_ms, keep_bytes, first, purged) "
                             "SELECT " FREE_ID("topic") ", ?1, ?2, ?3, ?4, 1, 1",
    [FERRY__SQL_TOPIC_FIRST] = "UPDATE topic SET first = ?2, purged = ?3 WHERE id = ?1",
    [FERRY__SQL_TOPIC_PARTS] = "UPDATE topic SET parts = ?2 WHERE id = ?1",
    [FERRY__SQL_TOPIC_DROP] = "DELETE FROM topic WHERE id = ?1",
    [FERRY__SQL_TOPIC_LIST] = "SELECT id, name FROM topic ORDER BY name",
    [FERRY__SQL_READER_FIND] = "SELECT id FROM reader WHERE topic = ?1 AND name = ?2",
    [FERRY__SQL_READER_GET] = "SELECT cursors FROM reader WHERE id = ?1",
    [FERRY__SQL_READER_ADD] = "INSERT INTO reader(id, topic, name, cursors) SELECT " FREE_ID("reader") ", ?1, ?2, ?3",
    [FERRY__SQL_READER_STORE] = "UPDATE reader SET cursors = ?2 WHERE id = ?1",
    [FERRY__SQL_READER_LIST] = "SELECT id, name FROM reader WHERE topic = ?1 ORDER BY name",
    [FERRY__SQL_READER_DROP] = "DELETE FROM reader WHERE topic = ?1",
    [FERRY__SQL_AGAIN_PUT] =
        "INSERT INTO again(reader, seq, track, attempt, maybe, done) VALUES(?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT "
        "DO UPDATE SET attempt = max(attempt, ?4), maybe = max(maybe, ?5), done = max(done, ?6)",
    [FERRY__SQL_AGAIN_TAKE] = "SELECT seq, attempt, maybe, done FROM again WHERE reader = ?1 AND track = ?2 AND "
                              "seq >= ?3 ORDER BY seq",
    [FERRY__SQL_AGAIN_DROP] = "DELETE FROM again WHERE reader = ?1 AND track = ?2 AND seq < ?3",
    [FERRY__SQL_AGAIN_TRACKS] = "SELECT DISTINCT track FROM again WHERE reader = ?1",
    [FERRY__SQL_AGAIN_CLEAR] = "DELETE FROM again WHERE reader IN (SELECT id FROM reader WHERE topic = ?1)",
};

/* ---- statements ---- */

void ferry__store_bind(ferry__store *s, ferry__store_sql which, int at, int64_t value)
{
    sqlite3_bind_int64(s->sql[which], at, value);
}

int ferry__store_step(ferry__store *s, ferry__store_sql which)
{
    return sqlite3_step(s->sql[which]);
}

void ferry__store_reset(ferry__store *s, ferry__store_sql which)
{
    sqlite3_reset(s->sql[which]);
}

int ferry__store_run(ferry__store *s, ferry__store_sql which)
{
    int got = sqlite3_step(s->sql[which]);
    sqlite3_reset(s->sql[which]);
    return got == SQLITE_DONE || got == SQLITE_ROW ? SQLITE_OK : got;
}

int64_t ferry__store_number(ferry__store *s, ferry__store_sql which, int64_t otherwise, int *error)
{
    int got = sqlite3_step(s->sql[which]);
    if (got == SQLITE_ROW && sqlite3_column_type(s->sql[which], 0) != SQLITE_NULL)
        otherwise = sqlite3_column_int64(s->sql[which], 0);
    else if (got != SQLITE_ROW && got != SQLITE_DONE)
        *error = got;
    sqlite3_reset(s->sql[which]);
    return otherwise;
}

int ferry__store_begin(ferry__store *s)
{
    return ferry__store_run(s, FERRY__SQL_BEGIN);
}

int ferry__store_commit(ferry__store *s)
{
    return ferry__store_run(s, FERRY__SQL_COMMIT);
}

void ferry__store_rollback(ferry__store *s)
{
    if (!sqlite3_get_autocommit(s->db))
        ferry__store_run(s, FERRY__SQL_ROLLBACK);
}

/* ---- errors ---- */

static bool no_room(const ferry__store *s, int error)
{
    int cause = s->db ? sqlite3_system_errno(s->db) : 0;
    return (error & 0xff) == SQLITE_FULL ||
           ((error & 0xff) == SQLITE_IOERR && (cause == ENOSPC || cause == EDQUOT || cause == EFBIG));
}

ferry_status ferry__store_status(const ferry__store *s, int error, const char *path, char *why)
{
    const char *text = s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(error);
    if (no_room(s, error)) {
        ferry__why(why, "disk full: %s cannot grow; free some space", path);
        return FERRY_OVERLOADED;
    }
    switch (error & 0xff) {
    case SQLITE_NOMEM:
        ferry__why(why, "out of memory");
        return FERRY_NO_MEMORY;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        ferry__why(why, "the database %s is locked by another program, for instance a shell of SQLite", path);
        return FERRY_TIMEOUT;
    case SQLITE_NOTADB:
        ferry__why(why, "%s is not a ferry database: %s; give another path", path, text);
        return FERRY_INVALID;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_CANTOPEN:
        ferry__why(why, "%s cannot be written: %s; check owner and mode of the file and its directory", path, text);
        return FERRY_DENIED;
    case SQLITE_CORRUPT:
        ferry__why(why, "%s is damaged: %s; move it away or restore it", path, text);
        return FERRY_UNAVAILABLE;
    default:
        ferry__why(why, "%s: %s", path, text);
        return FERRY_UNAVAILABLE;
    }
}

bool ferry__store_fatal(int error)
{
    int kind = error & 0xff;
    return kind == SQLITE_CORRUPT || kind == SQLITE_NOTADB || kind == SQLITE_CANTOPEN || kind == SQLITE_READONLY ||
           kind == SQLITE_PERM || kind == SQLITE_MISUSE || kind == SQLITE_ERROR || kind == SQLITE_SCHEMA;
}

/* ---- opening ---- */

/* SQLite would make it with the umask's mode. Opening and closing an existing file would drop this process's own locks on it (POSIX
 * locks), so it is touched only when it is new. */
static ferry_status make_file(const char *path, char *why)
{
    struct stat at;
    if (stat(path, &at) == 0) {
        if (S_ISREG(at.st_mode))
            return FERRY_OK;
        ferry__why(why, "%s is %s; give the path of a file", path,
                   S_ISDIR(at.st_mode) ? "a directory" : "not a regular file");
        return FERRY_INVALID;
    }
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno != EEXIST) {
        int error = errno;
        ferry__why(why, "%s cannot be made: %s", path, strerror(error));
        return error == EACCES || error == EPERM || error == EROFS ? FERRY_DENIED
               : error == ENOTDIR || error == ENAMETOOLONG         ? FERRY_INVALID
                                                                   : FERRY_UNAVAILABLE;
    }
    if (fd >= 0)
        close(fd);
    return FERRY_OK;
}

static int read_number(sqlite3 *db, const char *text, int64_t *number)
{
    sqlite3_stmt *q = NULL;
    int error = sqlite3_prepare_v2(db, text, -1, &q, NULL);
    int got = error ? error : sqlite3_step(q);
    if (got == SQLITE_ROW)
        *number = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    return got == SQLITE_ROW || got == SQLITE_DONE ? SQLITE_OK : got;
}

/* From nothing, or from an older version. */
static int make_tables(ferry__store *s, bool anew)
{
    char text[80];
    int error = anew ? sqlite3_exec(s->db, schema, NULL, NULL, NULL) : SQLITE_OK;
    if (!error && anew)
        error =
            sqlite3_exec(s->db, "INSERT INTO meta(name, value) VALUES('identity', randomblob(16))", NULL, NULL, NULL);
    if (!error)
        error = sqlite3_exec(s->db, schema_of_events, NULL, NULL, NULL);
    snprintf(text, sizeof text, "PRAGMA application_id = %d; PRAGMA user_version = %d", APPLICATION, SCHEMA);
    return error ? error : sqlite3_exec(s->db, text, NULL, NULL, NULL);
}

typedef struct nature {
    int64_t application, version, tables;
} nature;

static int look(ferry__store *s, nature *n)
{
    int error = read_number(s->db, "PRAGMA application_id", &n->application);
    if (!error)
        error = read_number(s->db, "PRAGMA user_version", &n->version);
    return error ? error : read_number(s->db, "SELECT count(*) FROM sqlite_master", &n->tables);
}

static bool is_older(const nature *n)
{
    return n->application == APPLICATION && n->version >= FIRST_SCHEMA && n->version < SCHEMA;
}

static int make_tables_once(ferry__store *s, nature *n)
{
    int error = sqlite3_exec(s->db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (!error)
        error = look(s, n);
    if (!error && (n->tables == 0 || is_older(n)))
        error = make_tables(s, n->tables == 0);
    if (!error)
        error = sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL);
    return error ? error : look(s, n);
}

/* Ours: of this version, or made so. Nobody's: empty, and it becomes ours. */
static ferry_status check_tables(ferry__store *s, const char *path, char *why)
{
    nature n;
    int error = look(s, &n);
    if (!error && (n.tables == 0 || is_older(&n)))
        error = make_tables_once(s, &n);
    if (error)
        return ferry__store_status(s, error, path, why);
    if (n.application == APPLICATION && n.version == SCHEMA)
        return FERRY_OK;
    if (n.application == APPLICATION)
        ferry__why(
            why,
            "%s has the tables of another version of ferry (%d, this one has %d); use the same version everywhere, or "
            "another path",
            path, (int)n.version, SCHEMA);
    else
        ferry__why(why, "%s is not a ferry database: it has the tables of another program; give another path", path);
    return FERRY_INVALID;
}

static int on_commit(void *arg, sqlite3 *db, const char *name, int pages)
{
    (void)db;
    (void)name;
    ((ferry__store *)arg)->wal_pages = pages;
    return SQLITE_OK;
}

static int write_ahead(ferry__store *s)
{
    sqlite3_stmt *q = NULL;
    int error = sqlite3_prepare_v2(s->db, "PRAGMA journal_mode = WAL", -1, &q, NULL);
    int got = error ? error : sqlite3_step(q);
    const char *mode = got == SQLITE_ROW ? (const char *)sqlite3_column_text(q, 0) : NULL;
    bool done = mode && strcmp(mode, "wal") == 0;
    sqlite3_finalize(q);
    return done ? SQLITE_OK : got == SQLITE_ROW ? SQLITE_CANTOPEN : got;
}

static int configure(ferry__store *s, const ferry__store_options *options)
{
    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_busy_timeout(s->db, OPEN_WAIT_MS);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, (int *)NULL);
    int64_t ignored;
    int error = read_number(s->db, "SELECT count(*) FROM sqlite_master", &ignored); /* is it a database at all? */
    if (!error)
        error = write_ahead(s);
    if (!error)
        error = sqlite3_exec(
            s->db, "PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY; PRAGMA journal_size_limit = 67108864",
            NULL, NULL, NULL);
    if (!error)
        error = sqlite3_exec(s->db, options->full ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL", NULL,
                             NULL, NULL);
    sqlite3_wal_hook(s->db, on_commit, s);
    return error;
}

static int prepare(ferry__store *s)
{
    for (int i = 0; i < FERRY__SQL_COUNT; i++) {
        int error = sqlite3_prepare_v3(s->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &s->sql[i], NULL);
        if (error)
            return error;
    }
    sqlite3_stmt *q = NULL;
    int error = sqlite3_prepare_v2(s->db, "SELECT value FROM meta WHERE name = 'identity'", -1, &q, NULL);
    if (!error && sqlite3_step(q) == SQLITE_ROW && sqlite3_column_bytes(q, 0) == (int)sizeof s->identity)
        memcpy(s->identity, sqlite3_column_blob(q, 0), sizeof s->identity);
    sqlite3_finalize(q);
    return error;
}

static ferry_status set_up(ferry__store *s, const char *path, const ferry__store_options *options, char *why)
{
    int error = configure(s, options);
    if (error)
        return ferry__store_status(s, error, path, why);
    ferry_status status = check_tables(s, path, why);
    if (status)
        return status;
    error = prepare(s);
    sqlite3_busy_timeout(s->db, 0);
    return error ? ferry__store_status(s, error, path, why) : FERRY_OK;
}

ferry_status ferry__store_open(ferry__store *s, const char *path, const ferry__store_options *options, char *why)
{
    memset(s, 0, sizeof *s);
    ferry_status status = make_file(path, why);
    if (status)
        return status;
    int error = sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    status = error ? ferry__store_status(s, error, path, why) : set_up(s, path, options, why);
    if (status)
        ferry__store_close(s);
    return status;
}

void ferry__store_close(ferry__store *s)
{
    for (int i = 0; i < FERRY__SQL_COUNT; i++)
        sqlite3_finalize(s->sql[i]);
    sqlite3_close(s->db);
    memset(s, 0, sizeof *s);
}
