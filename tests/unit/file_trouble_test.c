/* The file transport in trouble: full disks, files that are replaced under it, a machine that booted, damage. */
#include "file_kit.h"

#include "base/clock.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define B file_backend
#define DB test_text("%s/unit.db", test_dir())

/* ---- a full disk ---- */

static const char *small_disk(const char *size)
{
    const char *dir = test_text("%s/disk", test_dir());
    CHECK_INT(mkdir(dir, 0700), 0);
    if (mount("none", dir, "tmpfs", 0, test_text("size=%s", size)) != 0)
        SKIP("only root can mount a small disk");
    return dir;
}

TEST(full_disk_refuses_and_recovers)
{
    const char *disk = small_disk("2M"), *path = test_text("%s/x.db", disk);
    side *s = file_server(path, 0), *c = file_up(path);
    char big[20000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    int sent = 0;
    for (; !c->refused && sent < 500; sent++) {
        file_post(c, big, 0);
        file_turn(c);
    }
    FILE_UNTIL(c, NOBODY, c->accepted + c->refused == (size_t)sent);
    size_t kept = c->accepted;
    CHECK(c->refused > 0 && kept > 0);
    CHECK_STATUS(c->status, FERRY_OVERLOADED);
    CHECK_HAS(c->why, "disk full");
    CHECK(c->up_now);
    CHECK_INT(umount2(disk, MNT_DETACH), 0);
    file_end(c);
    file_end(s);
}

TEST(nothing_accepted_is_lost_when_the_disk_was_full)
{
    const char *disk = small_disk("2M"), *path = test_text("%s/x.db", disk), *filler = test_text("%s/filler", disk);
    side *s = file_server(path, 0), *c = file_up(path);
    file_post(c, "first", 0);
    FILE_UNTIL(c, NOBODY, c->accepted == 1);
    test_sh("head -c 4000000 /dev/zero > %s 2>/dev/null", filler);
    B->credit(s->file, &s->from_posts, 10);
    FILE_UNTIL(s, NOBODY, s->got.count == 1); /* claiming needs no disk */
    int sent = 1;
    for (; !c->refused && sent < 50000; sent++) {
        file_post(c, "more", 0);
        file_turn(c);
    }
    CHECK(c->refused > 0);
    B->settle(s->file, ferry__frames_take(&s->got)); /* may not fit now: it is kept */
    for (int i = 0; i < 5; i++)
        file_turn(s);
    CHECK_INT(unlink(filler), 0);
    FILE_UNTIL(s, NOBODY, s->settled >= 1);
    size_t expected = c->accepted;
    while (s->settled < expected) {
        B->credit(s->file, &s->from_posts, 100);
        FILE_UNTIL(s, NOBODY, s->got.count > 0);
        for (ferry__frame *f; (f = ferry__frames_take(&s->got));)
            B->settle(s->file, f);
        file_turn(s);
        FILE_UNTIL(s, NOBODY, s->settled + s->got.count >= expected || s->settled % 100 <= 1);
    }
    file_post(c, "after", 0);
    FILE_UNTIL(c, NOBODY, c->accepted == expected + 1);
    CHECK_INT(umount2(disk, MNT_DETACH), 0);
    file_end(c);
    file_end(s);
}

/* ---- other files under the same name ---- */

TEST(removed_database_is_made_again)
{
    file_query = "?look=20ms";
    side *s = file_server(DB, 5), *c = file_up(DB);
    file_post(c, "held", 0);
    FILE_UNTIL(c, s, s->got.count == 1);
    test_sh("rm -f %s*", DB);
    FILE_UNTIL(c, s, c->state == FERRY__DOWN || c->file->generation == 1);
    FILE_UNTIL(c, s, c->up_now && s->up_now && c->file->generation == 1 && s->file->generation == 1);
    B->more->begin(s->file, s->got.first);
    B->settle(s->file, ferry__frames_take(&s->got)); /* of the former one: it cannot be settled any more */
    FILE_UNTIL(s, c, s->unsettled == 1);
    FILE_UNTIL(c, s, file_presence(c, &c->calls) == FERRY__ALIVE);
    file_post(c, "new", 0);
    FILE_UNTIL(c, s, s->got.count == 1);
    CHECK_STR(file_body(s->got.first), "new");
    file_end(c);
    file_end(s);
}

TEST(removed_page_is_made_again)
{
    file_query = "?look=20ms";
    side *s = file_server(DB, 0), *c = file_up(DB);
    file_post(c, "kept", 0);
    FILE_UNTIL(c, NOBODY, c->accepted == 1);
    CHECK_INT(unlink(test_text("%s-page", DB)), 0);
    FILE_UNTIL(c, s, c->file->generation == 1 && s->file->generation == 1 && c->up_now && s->up_now);
    B->credit(s->file, &s->from_posts, 5);
    FILE_UNTIL(s, c, s->got.count == 1);
    CHECK_STR(file_body(s->got.first), "kept");
    file_end(c);
    file_end(s);
}

static void spoil(const char *path, long at)
{
    char noise[512];
    memset(noise, 0xa5, sizeof noise);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_INT(pwrite(fd, noise, sizeof noise, at), sizeof noise);
    close(fd);
}

TEST(garbage_in_the_page_between_uses)
{
    side *s = file_server(DB, 0), *c = file_up(DB);
    file_post(c, "kept", 0);
    FILE_UNTIL(c, NOBODY, c->accepted == 1);
    file_end(c);
    file_end(s);
    spoil(test_text("%s-page", DB), 0);
    s = file_server(DB, 5);
    FILE_UNTIL(s, NOBODY, s->got.count == 1);
    CHECK_STR(file_body(s->got.first), "kept");
    file_end(s);
}

TEST(page_cut_short_between_uses)
{
    side *s = file_server(DB, 0), *c = file_up(DB);
    file_post(c, "kept", 0);
    FILE_UNTIL(c, NOBODY, c->accepted == 1);
    file_end(c);
    file_end(s);
    CHECK_INT(truncate(test_text("%s-page", DB), 100), 0);
    s = file_server(DB, 5);
    FILE_UNTIL(s, NOBODY, s->got.count == 1);
    file_end(s);
}

/* The tables of a damaged database cannot be read: down with the reason, and up again with another file. */
TEST(damaged_database)
{
    file_query = "?look=20ms";
    side *c = file_server(DB, 0);
    for (int i = 0; i < 200; i++)
        file_post(c, "a message of some length, so that there are several pages of them in the table", 0);
    FILE_UNTIL(c, NOBODY, c->accepted == 200);
    file_end(c);
    file_sql(DB, "PRAGMA wal_checkpoint(TRUNCATE)");
    struct stat st;
    CHECK_INT(stat(DB, &st), 0);
    for (long at = 4096; at < st.st_size; at += 4096)
        spoil(DB, at);
    c = file_side(DB);
    FILE_UNTIL(c, NOBODY, c->why[0]);
    CHECK(!c->up_now);
    CHECK_HAS(c->why, "is damaged");
    test_sh("rm -f %s*", DB);
    FILE_UNTIL(c, NOBODY, c->up_now);
    file_end(c);
}

/* ---- a boot ---- */

static void pretend_boot(void)
{
    int fd = open(test_text("%s-page", DB), O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_INT(pwrite(fd, "another", 7, offsetof(ferry__page_header, boot)), 7);
    close(fd);
}

TEST(boot_ends_calls_and_keeps_posts)
{
    side *s = file_server(DB, 0), *c = file_up(DB);
    ferry__frame_unref(file_call(c, "nobody waits any more"));
    for (int i = 1; i <= 6; i++)
        file_post(c, test_text("%d", i), i > 4 ? 2 : 0);
    FILE_UNTIL(c, NOBODY, c->accepted == 7);
    B->credit(s->file, &s->from_posts, 3);
    FILE_UNTIL(s, NOBODY, s->got.count == 3);
    B->settle(s->file, ferry__frames_take(&s->got));
    ferry__frame *retried = ferry__frames_take(&s->got);
    retried->attempt = 2;
    B->retry(s->file, retried, 3600000);
    FILE_UNTIL(s, NOBODY, s->settled == 2);
    file_sql(DB, "PRAGMA wal_checkpoint(PASSIVE)");
    test_sh("mkdir %s/boot && cp %s* %s/boot/", test_dir(), DB, test_dir()); /* as a power cut leaves it */
    file_end(c);
    file_end(s);
    test_sh("rm %s*; mv %s/boot/* %s", DB, test_dir(), test_dir());
    pretend_boot();
    s = file_server(DB, 10);
    FILE_UNTIL(s, NOBODY, s->got.count == 5);
    const char *order[] = {"2", "3", "4", "5", "6"};
    bool seen[5] = {false};
    for (ferry__frame *f; (f = ferry__frames_take(&s->got));) {
        CHECK_INT(f->kind, FERRY__POST);
        for (int i = 0; i < 5; i++)
            if (strcmp(file_body(f), order[i]) == 0) {
                CHECK(!seen[i]);
                seen[i] = true;
                CHECK_INT(f->attempt, i == 0 ? 2 : 0);
            }
        B->settle(s->file, f);
    }
    FILE_UNTIL(s, NOBODY, s->settled == 5);
    CHECK_INT(file_sql(DB, "SELECT (SELECT count(*) FROM message) + (SELECT count(*) FROM later)"), 0);
    file_end(s);
}

/* ---- the log ---- */

TEST_WITH(log_stays_small, .limit_ms = 30000)
{
    file_query = "?wal=256k&wal_hard=1M&wal_max=8M";
    enum { MANY = 20000 };
    side *s = file_server(DB, 100), *c = file_up(DB);
    c->config.max_queued = 100000;
    size_t sent = 0, done = 0;
    off_t most = 0;
    while (done + (size_t)c->refused < MANY) { /* a disk that cannot follow is OVERLOADED, and the log bounded all the same */
        for (int i = 0; i < 100 && sent < MANY; i++, sent++)
            file_post(c, "a message of some length, so that there are several pages of them in the table",
                      (uint32_t)(i % 5));
        file_turn(c);
        file_turn(s);
        for (ferry__frame *f; (f = ferry__frames_take(&s->got)); done++) {
            B->settle(s->file, f);
            B->credit(s->file, &s->from_posts, 1);
        }
        struct stat st;
        if (stat(test_text("%s-wal", DB), &st) == 0 && st.st_size > most)
            most = st.st_size;
    }
    CHECK(done > MANY / 2);
    test_note("the log grew to %lld bytes", (long long)most);
    CHECK(most < 12 << 20); /* the last transaction before the limit may be a long one */
    FILE_UNTIL(s, c, (size_t)s->settled == done);
    file_end(c);
    file_end(s);
    CHECK_INT(file_sql(DB, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"), 0);
}

/* Somebody reads for very long: the log cannot be reset and grows to its limit; then sends are refused, and taken again after it. */
TEST_WITH(log_over_its_limit_refuses, .limit_ms = 30000)
{
    file_query = "?wal=256k&wal_hard=512k&wal_max=1M";
    side *s = file_server(DB, 0), *c = file_up(DB);
    c->config.max_queued = 1000000;
    sqlite3 *reader;
    CHECK_INT(sqlite3_open(DB, &reader), SQLITE_OK);
    sqlite3_db_config(reader, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
    CHECK_INT(sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM message", NULL, NULL, NULL), SQLITE_OK);
    for (int i = 0; i < 3000 && !c->refused; i++) {
        file_post(c, "a message of some length, so that there are several pages of them in the table", 0);
        file_turn(c);
    }
    CHECK(c->refused > 0);
    CHECK_STATUS(c->status, FERRY_OVERLOADED);
    CHECK_HAS(c->why, "write-ahead log");
    sqlite3_close(reader);
    int64_t end = ferry__now_ms() + 5000;
    for (size_t before = c->accepted; c->accepted == before && ferry__now_ms() < end;) {
        file_post(c, "again", 0);
        file_turn(c);
        file_rest(c);
    }
    CHECK(ferry__now_ms() < end);
    file_end(c);
    file_end(s);
}

/* A shell of SQLite that holds the database: sends wait for it, and end by their deadline. */
TEST(foreign_writer)
{
    side *s = file_server(DB, 5), *c = file_up(DB);
    sqlite3 *shell;
    CHECK_INT(sqlite3_open(DB, &shell), SQLITE_OK);
    sqlite3_db_config(shell, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
    CHECK_INT(sqlite3_exec(shell, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    ferry__frame *f = file_frame(c, FERRY__CALL, "x");
    int64_t before = ferry__now_ms();
    f->deadline_ms = before + 100;
    B->send(c->file, &c->calls, f);
    file_post(c, "waits", 0);
    while (!c->refused && ferry__now_ms() < before + 3000) {
        file_turn(c);
        file_rest(c);
    }
    CHECK(ferry__now_ms() - before < 100 + test_ms(50));
    CHECK_STATUS(c->status, FERRY_TIMEOUT);
    CHECK_HAS(c->why, "locked");
    CHECK_INT(sqlite3_exec(shell, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    FILE_UNTIL(c, s, s->got.count == 1);
    sqlite3_close(shell);
    file_end(c);
    file_end(s);
}
