/* The file transport when a process is killed: what its journal says decides what becomes of its messages. */
#include "file_kit.h"

#include "backends/file/claim.h"
#include "backends/file/inbox.h"
#include "backends/file/lock.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define B file_backend
#define DB test_text("%s/unit.db", test_dir())

/* ---- processes that get into a state and stay there ---- */

_Noreturn static void linger(void)
{
    test_ready();
    for (;;)
        pause();
}

/* Takes four messages: the first is settled, the second is to come again, the third has begun, the fourth is unread. Nothing of that
 * is committed. */
TEST_CHILD(file_server_in_the_middle)
{
    side *s = file_server(DB, 4);
    (void)arg;
    FILE_UNTIL(s, NOBODY, s->got.count == 4);
    ferry__frame *f[4];
    for (int i = 0; i < 4; i++) {
        f[i] = ferry__frames_take(&s->got);
        if (i < 3)
            B->more->begin(s->file, f[i]);
    }
    B->settle(s->file, f[0]);
    B->retry(s->file, f[1], 60000);
    linger();
}

TEST_CHILD(file_server_with_the_lock)
{
    side *s = file_server(DB, 1);
    (void)arg;
    FILE_UNTIL(s, NOBODY, s->got.count == 1);
    B->more->begin(s->file, s->got.first);
    CHECK(ferry__file_lock(s->file, 1000));
    linger();
}

/* As if it died after it noted a claim and before the queue's head passed it. */
TEST_CHILD(file_server_about_to_claim)
{
    side *s = file_server(DB, 0);
    (void)arg;
    CHECK(ferry__file_lock(s->file, 1000));
    ferry__page_entry *e = ferry__page_mine(&s->file->page)->journal;
    ferry__page_queue *q =
        ferry__page_queue_of(&s->file->page, ((int64_t)1 << FERRY__STORE_LANE_BITS) + FERRY__STORE_POSTS);
    atomic_store(&e->id,
                 ferry__store_id(((int64_t)1 << FERRY__STORE_LANE_BITS) + FERRY__STORE_POSTS, atomic_load(&q->head)));
    atomic_store(&ferry__page_mine(&s->file->page)->journal_end, 1);
    atomic_store(&e->mark, FERRY__MARK_BEGUN);
    linger();
}

TEST_CHILD(file_server_with_a_part)
{
    side *s = file_server(DB, 1);
    (void)arg;
    FILE_UNTIL(s, NOBODY, s->got.count == 1);
    linger();
}

/* ---- cases ---- */

static void kill_now(pid_t pid)
{
    CHECK_INT(test_kill(pid, SIGKILL), 128 + SIGKILL);
}

static ferry__frame *find(side *s, const char *body)
{
    for (ferry__frame *f = s->got.first; f; f = f->next)
        if (strcmp(file_body(f), body) == 0)
            return f;
    return NULL;
}

static void check_one(side *s, const char *body, unsigned attempt, bool maybe)
{
    ferry__frame *f = find(s, body);
    if (!f)
        FAIL("'%s' did not come again", body);
    test_note("%s", body);
    CHECK_INT(f->attempt, attempt);
    CHECK(f->maybe == maybe);
}

TEST(posts_of_a_killed_server)
{
    side *own = file_server(DB, 0), *c = file_up(DB);
    pid_t pid = test_spawn(file_server_in_the_middle, "");
    const char *bodies[] = {"done", "again", "begun", "unread"};
    for (int i = 0; i < 4; i++)
        file_post(c, bodies[i], 0);
    FILE_UNTIL(c, NOBODY, c->accepted == 4);
    test_wait_ready(pid);
    kill_now(pid);
    B->credit(own->file, &own->from_posts, 10);
    FILE_UNTIL(own, NOBODY, own->got.count == 3);
    check_one(own, "again", 1, false);
    check_one(own, "begun", 1, true);
    check_one(own, "unread", 0, false);
    for (int i = 0; i < 20; i++)
        file_turn(own);
    CHECK_INT(own->got.count, 3);
    for (ferry__frame *f; (f = ferry__frames_take(&own->got));)
        B->settle(own->file, f);
    FILE_UNTIL(own, NOBODY, own->settled == 3);
    CHECK_INT(file_sql(DB, "SELECT (SELECT count(*) FROM message) + (SELECT count(*) FROM later)"), 0);
    file_end(c);
    file_end(own);
}

TEST(calls_of_a_killed_server)
{
    side *own = file_server(DB, 0), *c = file_up(DB);
    pid_t pid = test_spawn(file_server_in_the_middle, "");
    const char *bodies[] = {"answered", "again", "begun", "unread"};
    for (int i = 0; i < 4; i++)
        ferry__frame_unref(file_call(c, bodies[i]));
    FILE_UNTIL(c, NOBODY, c->accepted == 4);
    test_wait_ready(pid);
    kill_now(pid);
    B->credit(own->file, &own->from_calls, 10);
    FILE_UNTIL(own, NOBODY, own->got.count == 4);
    check_one(own, "answered", 1, true); /* settled, but its answer was never committed */
    check_one(own, "begun", 1, true);
    check_one(own, "unread", 0, false);
    file_end(c);
    file_end(own);
}

TEST(writer_lock_of_a_killed_process)
{
    side *c = file_up(DB), *own = file_server(DB, 0);
    file_post(c, "x", 0);
    file_turn(c);
    pid_t pid = test_spawn(file_server_with_the_lock, "");
    test_wait_ready(pid);
    CHECK(!ferry__file_lock(c->file, 10));
    kill_now(pid);
    CHECK(ferry__file_lock(c->file, 1000));
    CHECK(atomic_load(&c->file->page.file->header.repair));
    ferry__lock_drop(&c->file->page);
    B->credit(own->file, &own->from_posts, 10);
    FILE_UNTIL(own, NOBODY, own->got.count == 1);
    CHECK(own->got.first->maybe);
    CHECK(!atomic_load(&c->file->page.file->header.repair));
    file_end(own);
    file_end(c);
}

TEST(claim_that_was_noted_but_not_made)
{
    side *c = file_up(DB), *own = file_server(DB, 0);
    file_post(c, "x", 0);
    file_turn(c);
    pid_t pid = test_spawn(file_server_about_to_claim, "");
    test_wait_ready(pid);
    kill_now(pid);
    B->credit(own->file, &own->from_posts, 10);
    FILE_UNTIL(own, NOBODY, own->got.count == 1);
    CHECK(!own->got.first->maybe);
    for (int i = 0; i < 20; i++)
        file_turn(own);
    CHECK_INT(own->got.count, 1);
    file_end(own);
    file_end(c);
}

TEST(part_of_a_killed_server_keeps_its_order)
{
    side *c = file_up(DB), *own = file_server(DB, 0);
    pid_t pid = test_spawn(file_server_with_a_part, "");
    for (int i = 1; i <= 5; i++)
        file_post(c, test_text("%d", i), 7);
    FILE_UNTIL(c, NOBODY, c->accepted == 5);
    test_wait_ready(pid);
    B->credit(own->file, &own->from_posts, 10);
    for (int i = 0; i < 20; i++)
        file_turn(own);
    CHECK_INT(own->got.count, 0);
    kill_now(pid);
    FILE_UNTIL(own, NOBODY, own->got.count == 5);
    for (int i = 1; i <= 5; i++) {
        ferry__frame *f = ferry__frames_take(&own->got);
        CHECK_STR(file_body(f), test_text("%d", i));
        B->settle(own->file, f);
    }
    file_turn(own);
    file_end(own);
    file_end(c);
}

TEST(slots_of_the_dead_are_used_again)
{
    side *c = file_up(DB);
    for (int i = 0; i < 5; i++) {
        pid_t pid = test_spawn(file_server_with_a_part, "");
        file_post(c, "x", 1);
        FILE_UNTIL(c, NOBODY, c->accepted + c->refused >= (size_t)i + 1);
        if (c->refused) { /* it did not serve yet */
            c->refused = c->accepted = 0;
            FILE_UNTIL(c, NOBODY, file_presence(c, &c->posts) == FERRY__ALIVE);
            file_post(c, "x", 1);
            i--;
            test_kill(pid, SIGKILL);
            continue;
        }
        test_wait_ready(pid);
        kill_now(pid);
        FILE_UNTIL(c, NOBODY, c->presence == FERRY__GONE || file_presence(c, &c->posts) == FERRY__GONE);
    }
    FILE_UNTIL(c, NOBODY, !atomic_load(&ferry__page_slot_of(&c->file->page, 1)->taken));
    CHECK(atomic_load(&c->file->page.file->header.slots_end) <= 3);
    file_end(c);
}

/* ---- a fork without exec keeps the parent's lock: the process table decides ---- */

TEST_CHILD(file_server_that_forks)
{
    side *s = file_server(DB, 1);
    (void)arg;
    pid_t child = fork();
    if (child == 0)
        for (;;)
            pause();
    test_write(test_text("%s/child", test_dir()), test_text("%d", (int)child));
    (void)s;
    linger();
}

TEST(killed_parent_of_a_fork_is_dead)
{
    side *c = file_up(DB);
    pid_t pid = test_spawn(file_server_that_forks, "");
    test_wait_ready(pid);
    CHECK_INT(file_presence(c, &c->calls), FERRY__ALIVE);
    kill_now(pid);
    FILE_UNTIL(c, NOBODY, file_presence(c, &c->calls) == FERRY__GONE);
    kill((pid_t)strtol(test_read(test_text("%s/child", test_dir())), NULL, 10), SIGKILL);
    file_end(c);
}

TEST(forked_child_abandons)
{
    side *s = file_server(DB, 1), *c = file_up(DB);
    pid_t child = fork();
    if (child == 0) {
        B->abandon(s->file);
        B->abandon(c->file);
        _exit(0);
    }
    CHECK_INT(test_wait(child, 5000), 0);
    ferry__frame_unref(file_call(c, "still there"));
    FILE_UNTIL(c, s, s->got.count == 1);
    file_end(c);
    file_end(s);
}
