/* Where the database lies, and what is no place for one. */
#include "file_kit.h"

#include "backends/file/place.h"
#include "base/alloc.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DB test_text("%s/unit.db", test_dir())

static unsigned mode_of(const char *path)
{
    struct stat s;
    return stat(path, &s) == 0 ? s.st_mode & 0777 : 0;
}

TEST(default_place_is_private)
{
    side *c = file_up("");
    CHECK_STR(c->file->place, test_text("%s/ferry/ferry.db", getenv("XDG_STATE_HOME")));
    const char *suffixes[] = {"", "-wal", "-page"};
    for (size_t i = 0; i < 3; i++)
        CHECK_INT(mode_of(test_text("%s%s", c->file->place, suffixes[i])), 0600);
    CHECK_INT(mode_of(test_text("%s/ferry", getenv("XDG_STATE_HOME"))), 0700);
    file_end(c);
}

static void resolves_to(const char *want)
{
    char why[FERRY_WHY_SIZE], *place = NULL;
    CHECK_STATUS(ferry__place_resolve("", &place, why), FERRY_OK);
    CHECK_STR(place, want);
    ferry__free(place);
}

TEST(default_place_without_xdg)
{
    unsetenv("XDG_STATE_HOME");
    resolves_to(test_text("%s/.local/state/ferry/ferry.db", getenv("HOME")));
    setenv("XDG_STATE_HOME", "relative/is/ignored", 1);
    resolves_to(test_text("%s/.local/state/ferry/ferry.db", getenv("HOME")));
}

TEST(relative_paths)
{
    side *c = file_up("here.db");
    CHECK(access("here.db-page", F_OK) == 0);
    file_end(c);
}

static void refuses(const char *path, ferry_status status, const char *part)
{
    side *c = file_side(path);
    FILE_UNTIL(c, NOBODY, c->why[0]);
    CHECK(!c->up_now);
    CHECK_STATUS(c->status, status);
    CHECK_HAS(c->why, part);
    file_end(c);
}

TEST(what_is_no_database)
{
    test_write(DB, "this is a text, and it is long enough to be looked at as the header of a database would be");
    refuses(DB, FERRY_INVALID, "is not a ferry database");
    CHECK_HAS(test_read(DB), "this is a text"); /* untouched */
}

TEST(database_of_another_program)
{
    side *c = file_up(DB);
    file_end(c);
    file_sql(DB, "PRAGMA application_id = 7");
    refuses(DB, FERRY_INVALID, "tables of another program");
}

TEST(another_version)
{
    side *c = file_up(DB);
    file_end(c);
    file_sql(DB, "PRAGMA user_version = 99");
    refuses(DB, FERRY_INVALID, "another version of ferry (99");
}

TEST(directories_and_missing_ones)
{
    refuses(test_dir(), FERRY_INVALID, "is a directory");
    refuses(test_text("%s/no/such/x.db", test_dir()), FERRY_INVALID, "cannot be used: No such file");
    test_write(test_text("%s/file", test_dir()), "x");
    refuses(test_text("%s/file/x.db", test_dir()), FERRY_INVALID, "Not a directory");
}

TEST(kinds_of_file_systems)
{
    CHECK_STR(ferry__place_shared(0x6969), "NFS");
    CHECK_STR(ferry__place_shared(0xff534d42), "CIFS");
    CHECK_STR(ferry__place_shared(0x65735546), "FUSE");
    CHECK_NULL(ferry__place_shared(0xef53));     /* ext4 */
    CHECK_NULL(ferry__place_shared(0x01021994)); /* tmpfs */
    CHECK_NULL(ferry__place_shared(0x9123683e)); /* btrfs */
}

TEST(comes_up_once_the_reason_is_gone)
{
    test_write(DB, "this is a text, and it is long enough to be looked at as the header of a database would be");
    side *c = file_side(DB);
    FILE_UNTIL(c, NOBODY, c->why[0]);
    CHECK_INT(unlink(DB), 0);
    FILE_UNTIL(c, NOBODY, c->up_now);
    file_end(c);
}

TEST(too_many_partitions)
{
    char why[FERRY_WHY_SIZE] = "";
    side *c = file_up(DB);
    ferry__config config = c->config;
    config.partitions = 1000;
    ferry__file *f = ferry__zalloc(file_backend->state_size);
    CHECK_STATUS(file_backend->open(f, &c->up, &config, &c->url, why), FERRY_INVALID);
    CHECK_HAS(why, "120");
    file_backend->close(f);
    ferry__free(f);
    file_end(c);
}
