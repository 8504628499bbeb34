/* loop.c - the descriptor for foreign event loops. A futex cannot be polled, so a handle whose program polls has a FIFO beside the
 * page; whoever rings its bell writes a byte there, if the slot says that the handle went back to its loop (by_pipe).
 *
 * The descriptor is an epoll set, for it exists before the database is open and outlives a change of the database. */
#include "backends/file/pipe.h"

#include "backends/file/claim.h"
#include "backends/file/inbox.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

static bool watch(ferry__file *f, int fd)
{
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(f->loop_epoll, EPOLL_CTL_ADD, fd, &e) == 0;
}

static void shut_pipe(ferry__file *f)
{
    if (f->loop_pipe >= 0)
        close(f->loop_pipe);
    f->loop_pipe = -1;
}

/* Without the FIFO the loop still comes round every look_ms. */
void ferry__file_loop_open(ferry__file *f)
{
    char name[4096];
    if (f->loop_epoll < 0 || !f->page.file)
        return;
    shut_pipe(f);
    ferry__page_pipe_name(&f->page, f->page.me, name, sizeof name);
    unlink(name); /* left by one who died: the slot is ours now */
    if (mkfifo(name, 0600) == 0)
        f->loop_pipe = open(name, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (f->loop_pipe < 0 || !watch(f, f->loop_pipe))
        ferry__log_print(f->up->log, LOG_WARNING, "file: no FIFO for the event loop: it answers a little later");
}

int ferry__file_fd(void *self)
{
    ferry__file *f = self;
    if (f->loop_epoll >= 0)
        return f->loop_epoll;
    f->loop_epoll = epoll_create1(EPOLL_CLOEXEC);
    f->loop_event = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    if (f->loop_epoll < 0 || f->loop_event < 0 || !watch(f, f->loop_event)) {
        ferry__file_loop_done(f);
        return -1;
    }
    ferry__file_loop_open(f);
    return f->loop_epoll;
}

static void empty(int fd)
{
    char room[256];
    while (fd >= 0 && read(fd, room, sizeof room) == (ssize_t)sizeof room)
        continue;
}

void ferry__file_loop_drain(ferry__file *f)
{
    if (f->loop_epoll < 0)
        return;
    empty(f->loop_event);
    empty(f->loop_pipe);
}

/* Any thread, also in a signal handler. */
void ferry__file_loop_wake(ferry__file *f)
{
    int event = atomic_load(&f->loop_event), kept = errno;
    uint64_t one = 1;
    if (event >= 0 && write(event, &one, sizeof one) < 0)
        errno = kept; /* full: it is readable already */
}

/* Armed first and looked again then, as with any bell. */
void ferry__file_loop_arm(ferry__file *f)
{
    if (f->loop_epoll < 0)
        return;
    if (f->page.file)
        atomic_store(&ferry__page_mine(&f->page)->by_pipe, 1);
    if (f->reopen || f->more || ferry__bell_seen(atomic_load(&f->bell)) != f->seen)
        ferry__file_loop_wake(f);
}

void ferry__file_loop_done(ferry__file *f)
{
    char name[4096];
    if (f->loop_pipe >= 0 && f->page.file && f->page.me >= 0) {
        ferry__page_pipe_name(&f->page, f->page.me, name, sizeof name);
        unlink(name);
    }
    shut_pipe(f);
    if (f->loop_event >= 0)
        close(f->loop_event);
    if (f->loop_epoll >= 0)
        close(f->loop_epoll);
    f->loop_epoll = -1;
    atomic_store(&f->loop_event, -1);
}
