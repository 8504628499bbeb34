/* turn.c - step: what the driver does without the link's lock. Opening, looks, and one transaction.
 *
 *     CLOSED  --- open_now --->  OPEN  --- another file lies there, the database is damaged --->  CLOSED (in pump)
 *        ^--- failed: backoff ---'
 *
 * Every sleep is shorter than look_ms, and at each look a handle makes sure of what no bell tells: that the database is still the one
 * it opened, and that nobody died. */
#include "backends/file/admin.h"
#include "backends/file/batch.h"
#include "backends/file/checkpoint.h"
#include "backends/file/claim.h"
#include "backends/file/inbox.h"
#include "backends/file/lock.h"
#include "backends/file/name.h"
#include "backends/file/place.h"
#include "backends/file/recover.h"
#include "backends/file/send.h"
#include "base/clock.h"
#include "base/random.h"

#include <sys/stat.h>

enum {
    LOCK_MS = 20,     /* a turn waits so long for the writer lock at most: the driver has deadlines of its own */
    BUSY_OPEN_MS = 5, /* somebody else is opening too */
    STARVED_MS = 10,  /* there was no memory */
};

void ferry__file_take(ferry__file *f)
{
    pthread_mutex_lock(&f->door);
    ferry__frames_join(&f->work, &f->passed);
    ferry__list_join(&f->ops, &f->passed_ops);
    ferry__list_join(&f->listeners, &f->passed_listeners);
    ferry__event_take(f);
    pthread_mutex_unlock(&f->door);
}

/* ---- opening ---- */

static ferry_status open_parts(ferry__file *f, char *why)
{
    ferry_status status = ferry__place_check(f->place, f->path[0] == '\0', why);
    if (!status)
        status = ferry__store_open(&f->store, f->place, &f->options, why);
    if (!status) {
        status = ferry__page_open(&f->page, &f->store, f->place, f->config->client, f->config->name, why);
        if (status)
            ferry__store_close(&f->store);
    }
    return status;
}

static void opened(ferry__file *f)
{
    struct stat at;
    if (stat(f->place, &at) == 0) {
        f->device = at.st_dev;
        f->inode = at.st_ino;
    }
    ferry__claim_reset(f);
    ferry__inbox_open(f);
    ferry__bell *bell = &ferry__page_mine(&f->page)->bell;
    f->seen = ferry__bell_seen(bell);
    atomic_store(&f->bell, bell);
    f->changes = atomic_load(&f->page.file->header.changes);
    f->look_at_ms = f->now_ms;
    f->tries = 0;
    f->up_now = true;
    f->state = FERRY_OK;
    f->state_news = true;
    ferry__file_loop_open(f);
}

static void failed(ferry__file *f, ferry_status status, const char *why)
{
    int64_t pause = f->config->backoff_ms;
    if (status == FERRY_TIMEOUT && f->tries < 200) { /* locked by another one who opens it: no news */
        f->tries++;
        f->try_at_ms = f->now_ms + BUSY_OPEN_MS;
        return;
    }
    for (int i = 0; i < f->tries && pause < f->config->backoff_max_ms; i++)
        pause *= 2;
    pause = pause < f->config->backoff_max_ms ? pause : f->config->backoff_max_ms;
    f->tries += f->tries < 16;
    f->try_at_ms = f->now_ms + pause / 2 + (int64_t)ferry__random_below((uint32_t)(pause / 2 + 1));
    f->state = status;
    ferry__why(f->state_why, "%s", why);
    f->state_news = true;
}

static bool open_now(ferry__file *f)
{
    char why[FERRY_WHY_SIZE] = "";
    if (f->now_ms < f->try_at_ms)
        return false;
    ferry_status status = open_parts(f, why);
    if (status)
        failed(f, status, why);
    else
        opened(f);
    return !status;
}

/* The map stays: another thread may be ringing the bell in it. */
void ferry__file_shut(ferry__file *f)
{
    if (!f->page.file)
        return;
    ferry__event_shut(f);
    ferry__checkpoint_end(f);
    atomic_store(&f->bell, &f->alone);
    if (f->retirements < sizeof f->retired / sizeof f->retired[0])
        f->retired[f->retirements++] = f->page.file;
    f->page.file = NULL;
    ferry__page_close(&f->page);
    ferry__store_close(&f->store);
    f->up_now = false;
}

/* ---- looks ---- */

static void look(ferry__file *f)
{
    struct stat at;
    f->look_at_ms = f->now_ms + f->look_ms;
    if (stat(f->place, &at) != 0 || at.st_ino != f->inode || at.st_dev != f->device || ferry__page_replaced(&f->page)) {
        f->reopen = true;
        f->store_status = FERRY_UNAVAILABLE;
        ferry__why(f->store_why, "%s was removed or replaced by another file while it was in use; opening it again",
                   f->place);
        return;
    }
    ferry__recover_look(f);
}

/* Sends whose time is over, while the database cannot be written. */
static void expire(ferry__file *f, enum ferry__file_why why)
{
    ferry__frames kept;
    ferry__frames_init(&kept);
    for (ferry__frame *frame; (frame = ferry__frames_take(&f->work));) {
        if (FERRY__TAG_VERB(frame) == FERRY__DO_SEND && frame->deadline_ms && frame->deadline_ms <= f->now_ms)
            ferry__send_refuse(f, frame, why);
        else
            ferry__frames_add(&kept, frame);
    }
    ferry__frames_join(&f->work, &kept);
}

bool ferry__file_lock(ferry__file *f, int ms)
{
    return ferry__lock_take(&f->page, ms, &f->busy_slot);
}

/* ---- the turn ---- */

static void transact(ferry__file *f)
{
    if (f->now_ms < f->pause_until_ms) {
        expire(f, FERRY__WHY_LOCKED);
        return;
    }
    if (!ferry__batch_needed(f))
        return;
    if (!ferry__file_lock(f, LOCK_MS)) {
        f->now_ms = ferry__now_ms();
        expire(f, FERRY__WHY_LOCKED);
        f->more = true;
        return;
    }
    f->busy_slot = FERRY__PAGE_NOBODY;
    ferry__batch_run(f);
    ferry__lock_drop(&f->page);
    ferry__batch_ring(f);
    if (f->now_ms < f->pause_until_ms)
        expire(f, FERRY__WHY_LOCKED); /* another program has the database itself */
}

void ferry__file_step(void *self)
{
    ferry__file *f = self;
    f->now_ms = ferry__now_ms();
    f->more = f->starved = false;
    ferry__file_loop_drain(f);
    f->seen = ferry__bell_seen(atomic_load(&f->bell));
    ferry__file_take(f);
    ferry__event_finish(f);
    if (f->reopen || (!f->up_now && !open_now(f))) {
        expire(f, FERRY__WHY_LATE);
        ferry__file_loop_arm(f);
        return;
    }
    if (f->now_ms >= f->look_at_ms)
        look(f);
    if (!f->reopen) {
        ferry__name_answer_probes(f);
        ferry__admin_answer(f);
        transact(f);
        ferry__event_read(f);
        if (ferry__inbox_full(f))
            ferry__inbox_read(f);
        ferry__checkpoint_maybe(f);
        f->more = f->more || (f->now_ms >= f->pause_until_ms && (f->work.first || ferry__claim_rest(f)));
        if (ferry__event_rest(f))
            f->more = true;
    }
    ferry__file_loop_arm(f);
}

static int sooner(int a, int64_t at_ms, int64_t now_ms)
{
    int64_t left = at_ms > now_ms ? at_ms - now_ms : 0;
    return a < 0 || left < a ? (int)(left < 60000 ? left : 60000) : a;
}

/* By the driver, between pump and wait, with the link's lock. */
int ferry__file_next_ms(void *self, int64_t now_ms)
{
    ferry__file *f = self;
    if (f->reopen)
        return 0;
    if (!f->up_now)
        return sooner(-1, f->try_at_ms, now_ms);
    int ms = sooner(-1, f->look_at_ms, now_ms);
    if (f->unprobed || f->starved)
        ms = sooner(ms, now_ms + STARVED_MS, now_ms);
    if (f->more || f->work.first || !ferry__list_empty(&f->ops))
        ms = sooner(ms, f->pause_until_ms, now_ms);
    if (f->inbox_at > f->inbox_dropped)
        ms = sooner(ms, f->inbox_clean_at_ms, now_ms);
    int64_t own = ferry__event_next_at(f);
    if (own)
        ms = sooner(ms, own > f->pause_until_ms ? own : f->pause_until_ms, now_ms);
    int due = ferry__claim_next_ms(f, now_ms);
    return due >= 0 && due < ms ? due : ms;
}

/* Any thread, also in a signal handler. */
void ferry__file_wake(void *self)
{
    ferry__file *f = self;
    ferry__bell_ring_shared(atomic_load(&f->bell));
    ferry__file_loop_wake(f);
}
