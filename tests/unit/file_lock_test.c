/* The writer lock: one at a time, nobody starves, a timeout leaves no trace. */
#include "file_kit.h"

#include "backends/file/lock.h"
#include "base/clock.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define DB test_text("%s/unit.db", test_dir())

typedef struct shared { /* in a file of the case: between processes */
    long        plain; /* only whole under the lock */
    atomic_int  inside, wrong;
    atomic_bool stop;
    _Atomic int64_t longest_us;
} shared;

static shared *map_shared(void)
{
    FILE *file = fopen(test_text("%s/shared", test_dir()), "a+");
    CHECK_NOT_NULL(file);
    CHECK_INT(ftruncate(fileno(file), sizeof(shared)), 0);
    shared *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);
    CHECK(s != MAP_FAILED);
    fclose(file);
    return s;
}

static void enter(shared *s, const ferry__page *p)
{
    if (atomic_fetch_add(&s->inside, 1))
        atomic_fetch_add(&s->wrong, 1);
    s->plain++;
    atomic_fetch_sub(&s->inside, 1);
    ferry__lock_drop(p);
}

static void note_longest(shared *s, int64_t us)
{
    int64_t longest = atomic_load(&s->longest_us);
    while (us > longest && !atomic_compare_exchange_weak(&s->longest_us, &longest, us))
        continue;
}

enum { TIMES = 3000 };

TEST_CHILD(file_locker)
{
    side *c = file_up(DB);
    shared *s = map_shared();
    int blocker;
    (void)arg;
    for (int i = 0; i < TIMES;) {
        int64_t before = ferry__now_us();
        if (ferry__lock_take(&c->file->page, i % 7 ? 100 : 0, &blocker)) { /* some give up at once */
            note_longest(s, ferry__now_us() - before);
            enter(s, &c->file->page);
            i++;
        }
    }
    munmap(s, sizeof *s);
    file_end(c);
}

TEST_WITH(one_at_a_time, .limit_ms = 30000)
{
    enum { PROCESSES = 4 };
    shared *s = map_shared();
    pid_t pids[PROCESSES];
    for (int i = 0; i < PROCESSES; i++)
        pids[i] = test_spawn(file_locker, "");
    for (int i = 0; i < PROCESSES; i++)
        CHECK_INT(test_wait(pids[i], 25000), 0);
    CHECK_INT(atomic_load(&s->wrong), 0);
    CHECK_INT(s->plain, PROCESSES * TIMES);
    munmap(s, sizeof *s);
}

TEST_CHILD(file_hog)
{
    side *c = file_up(DB);
    shared *s = map_shared();
    int blocker;
    (void)arg;
    test_ready();
    while (!atomic_load(&s->stop))
        if (ferry__lock_take(&c->file->page, 1000, &blocker)) {
            for (int64_t end = ferry__now_us() + 300; ferry__now_us() < end;)
                continue;
            ferry__lock_drop(&c->file->page);
        }
    munmap(s, sizeof *s);
    file_end(c);
}

/* One that takes the lock again right after dropping it must not keep the others out. */
TEST_WITH(nobody_starves, .limit_ms = 30000)
{
    shared *s = map_shared();
    side *c = file_up(DB);
    pid_t hogs[2] = {test_spawn(file_hog, ""), test_spawn(file_hog, "")};
    int64_t longest = 0;
    int blocker;
    test_wait_ready(hogs[0]);
    test_wait_ready(hogs[1]);
    for (int i = 0; i < 100; i++) {
        int64_t before = ferry__now_us();
        CHECK(ferry__lock_take(&c->file->page, 5000, &blocker));
        int64_t took = ferry__now_us() - before;
        longest = took > longest ? took : longest;
        ferry__lock_drop(&c->file->page);
    }
    test_note("longest wait %lld us", (long long)longest);
    CHECK(longest < (int64_t)test_ms(250) * 1000);
    atomic_store(&s->stop, true);
    CHECK_INT(test_wait(hogs[0], 5000), 0);
    CHECK_INT(test_wait(hogs[1], 5000), 0);
    file_end(c);
    munmap(s, sizeof *s);
}

TEST(timeout_names_the_holder_and_leaves_no_trace)
{
    side *a = file_up(DB), *b = file_up(DB);
    int blocker = -1;
    CHECK(ferry__lock_take(&a->file->page, 0, &blocker));
    int64_t before = ferry__now_ms();
    CHECK(!ferry__lock_take(&b->file->page, 50, &blocker));
    CHECK(ferry__now_ms() - before >= 49);
    CHECK_INT(blocker, a->file->page.me);
    ferry__lock_drop(&a->file->page);
    CHECK_INT(atomic_load(&a->file->page.file->header.writer), 0);
    CHECK(ferry__lock_take(&b->file->page, 0, &blocker));
    ferry__lock_drop(&b->file->page);
    file_end(a);
    file_end(b);
}

/* Someone stopped in the middle of a write: sends end by their deadline, as not executed, and the reason names him. */
TEST(stopped_holder_refuses_sends_by_their_deadline)
{
    side *s = file_server(DB, 5), *c = file_up(DB);
    CHECK(ferry__file_lock(s->file, 1000));
    ferry__frame *f = file_frame(c, FERRY__CALL, "x");
    int64_t before = ferry__now_ms();
    f->deadline_ms = before + 100;
    file_backend->send(c->file, &c->calls, f);
    file_post(c, "waits", 0);
    while (!c->refused && ferry__now_ms() < before + 3000) {
        file_turn(c);
        file_rest(c);
    }
    CHECK(ferry__now_ms() - before < 100 + test_ms(50));
    CHECK_STATUS(c->status, FERRY_TIMEOUT);
    CHECK_HAS(c->why, "locked until the deadline by unit, process");
    ferry__lock_drop(&s->file->page);
    FILE_UNTIL(c, s, c->accepted == 1); /* the post has no deadline */
    FILE_UNTIL(s, c, s->got.count == 1);
    file_end(c);
    file_end(s);
}
