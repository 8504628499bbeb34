/* loop.c - a handle inside somebody else's event loop: one descriptor, one function, no threads of ours.
 *
 * The descriptor is an epoll set of two: the transport's own descriptor, and an eventfd that is written when the program notes work
 * (a call, an answer), so that its loop comes round to ferry_process. */
#include "base/clock.h"
#include "base/thread.h"
#include "ends/handle.h"
#include "ends/request.h"
#include "ends/serve.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { ROUNDS = 64 }; /* of work in one ferry_process: the loop has others to serve */

static bool add(int epoll, int fd)
{
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    return fd >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) == 0;
}

static bool make_descriptors(ferry__link *l)
{
    int of_transport = l->backend->fd(l->self);
    l->loop_epoll = epoll_create1(EPOLL_CLOEXEC);
    l->loop_event = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->loop_epoll >= 0 && add(l->loop_epoll, l->loop_event) && add(l->loop_epoll, of_transport))
        return true;
    if (l->loop_epoll >= 0)
        close(l->loop_epoll);
    if (l->loop_event >= 0)
        close(l->loop_event);
    l->loop_epoll = l->loop_event = -1;
    return false;
}

static void end_threads(ferry *f)
{
    ferry__jobs_stop(&f->link, INT64_MAX);
    f->link.jobs.stopping = false;
    ferry__link_stop_background(&f->link);
    f->link.quit = false;
}

int ferry_fd(ferry *f)
{
    if (ferry__handle_refusal(f, NULL) != FERRY_OK)
        return -1;
    ferry__link *l = &f->link;
    ferry__link_lock(l);
    bool first = !l->looped && !f->closed;
    bool good = !first || make_descriptors(l);
    if (good)
        l->looped = true;
    int fd = l->loop_epoll;
    ferry__link_unlock(l);
    if (first && good)
        end_threads(f);
    return fd;
}

int ferry_next_ms(const ferry *given)
{
    ferry *f = (ferry *)(uintptr_t)given;
    if (ferry__handle_refusal(f, NULL) != FERRY_OK)
        return -1;
    ferry__link *l = &f->link;
    ferry__link_lock(l);
    int64_t now_ms = ferry__now_ms();
    int timer = ferry__wheel_next(&l->wheel, now_ms), own = f->closed ? -1 : l->backend->next_ms(l->self, now_ms);
    bool work = l->dirty || l->jobs.ready > 0 || !ferry__list_empty(&f->callbacks.queue);
    ferry__link_unlock(l);
    if (work)
        return 0;
    return timer < 0 ? own : own < 0 ? timer : timer < own ? timer : own;
}

static void clear_event(ferry__link *l)
{
    uint64_t count;
    if (read(l->loop_event, &count, sizeof count) < 0)
        return; /* it was empty */
}

static ferry__job *round_of_work(ferry *f)
{
    ferry__link *l = &f->link;
    ferry__waiter w;
    ferry__waiter_init(&w);
    ferry__link_lock(l);
    ferry__link_turn(l, &w);
    ferry__job *job = ferry__inside ? NULL : ferry__jobs_take(&l->jobs);
    if (job)
        l->hooks->begins(l, job);
    ferry__link_unlock(l);
    return job;
}

static ferry_status state_of(ferry *f)
{
    ferry__link_lock(&f->link);
    bool ended = f->draining && ferry__serve_quiet(f) && f->link.posting == 0;
    ferry__link_unlock(&f->link);
    return ended ? FERRY_CLOSED : FERRY_OK;
}

ferry_status ferry_process(ferry *f)
{
    ferry_status status = ferry__handle_refusal(f, NULL);
    if (status != FERRY_OK)
        return status;
    if (!f->link.looped && ferry_fd(f) < 0)
        return FERRY_UNSUPPORTED;
    ferry__link_lock(&f->link);
    status = f->serving || f->draining ? FERRY_OK : ferry__serve_begin(f);
    ferry__link_unlock(&f->link);
    clear_event(&f->link);
    for (int i = 0; i < ROUNDS; i++) {
        ferry__job *job = round_of_work(f);
        if (job) {
            job->run(job);
            ferry__link_unlock(&f->link);
        }
        if (!ferry__inside)
            ferry__callbacks_run(f);
        if (!job && !f->link.dirty)
            break;
    }
    if (status != FERRY_OK)
        return status;
    status = state_of(f);
    if (status == FERRY_OK && ferry_next_ms(f) == 0)
        ferry__link_signal(&f->link);
    return status;
}
