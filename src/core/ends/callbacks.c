#include "ends/callbacks.h"

#include "base/clock.h"
#include "base/thread.h"
#include "ends/handle.h"

void ferry__callbacks_init(ferry__callbacks *c)
{
    ferry__list_init(&c->queue);
}

static void run_one(ferry *f, ferry__callback *c)
{
    const ferry *before = ferry__inside;
    ferry__inside = f;
    c->run(c);
    ferry__inside = before;
}

void ferry__callbacks_run(ferry *f)
{
    for (;;) {
        ferry__link_lock(&f->link);
        ferry__node *n = ferry__list_shift(&f->callbacks.queue);
        f->callbacks.running += n != NULL;
        ferry__link_unlock(&f->link);
        if (!n)
            return;
        run_one(f, FERRY__OF(n, ferry__callback, node));
        ferry__link_lock(&f->link);
        if (--f->callbacks.running == 0)
            ferry__link_poke_watchers(&f->link);
        ferry__link_unlock(&f->link);
    }
}

static void *callback_thread(void *arg)
{
    ferry *f = arg;
    for (bool quit = false; !quit;) {
        unsigned seen = ferry__bell_seen(&f->callbacks.bell);
        ferry__callbacks_run(f);
        ferry__link_lock(&f->link);
        bool empty = ferry__list_empty(&f->callbacks.queue);
        quit = empty && f->callbacks.quit;
        ferry__link_unlock(&f->link);
        if (empty && !quit)
            ferry__bell_sleep(&f->callbacks.bell, seen, -1, false);
    }
    ferry__handle_unref(f);
    return NULL;
}

void ferry__callbacks_add(ferry *f, ferry__callback *c)
{
    ferry__callbacks *all = &f->callbacks;
    ferry__list_append(&all->queue, &c->node);
    if (f->link.looped)
        return;
    if (!all->runs) {
        ferry__handle_ref(f);
        all->runs = ferry__thread_start(&all->thread, "ferry-callback", callback_thread, f);
        if (!all->runs)
            ferry__handle_unref(f); /* close runs what waits */
    }
    ferry__bell_ring(&all->bell);
}

bool ferry__callbacks_stop(ferry *f, int64_t until_ms)
{
    ferry__waiter w;
    ferry__waiter_init(&w);
    ferry__link_lock(&f->link);
    bool runs = f->callbacks.runs;
    f->callbacks.quit = true;
    f->callbacks.runs = false;
    ferry__bell_ring(&f->callbacks.bell);
    ferry__link_watch(&f->link, &w);
    while (runs && (f->callbacks.running || !ferry__list_empty(&f->callbacks.queue)) && ferry__now_ms() < until_ms) {
        w.poked = false;
        unsigned seen = ferry__bell_seen(&w.bell);
        ferry__link_unlock(&f->link);
        ferry__bell_sleep(&w.bell, seen, 10, false);
        ferry__link_lock(&f->link);
    }
    ferry__list_remove(&w.place);
    bool done = !f->callbacks.running;
    ferry__link_unlock(&f->link);
    if (runs && done)
        pthread_join(f->callbacks.thread, NULL);
    else if (runs)
        pthread_detach(f->callbacks.thread);
    else
        ferry__callbacks_run(f);
    return done;
}
