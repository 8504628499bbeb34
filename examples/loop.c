/* loop.c - ferry inside an event loop of your own: watch one descriptor, call one function. No thread of ferry's runs
 * your code then, so handlers and callbacks need no locks.
 *
 * It serves clock.tick and calls it every 20 ms from a timer of the same loop, five times. */
#include <ferry/ferry.h>

#include <poll.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { TICKS = 5 };

static int ticks, answers;

static void tick(ferry_request *req, void *arg)
{
    (void)arg;
    ferry_respond(req, ferry_of(++ticks));
}

static void on_answer(ferry_reply *r, void *arg)
{
    ferry *f = arg;
    if (ferry_has_errors(r))
        ferry_print_errors(r, stderr);
    else
        printf("tick %lld\n", (long long)ferry_as_int(ferry_data(r), -1));
    ferry_reply_free(r);
    if (++answers == TICKS)
        ferry_stop(f); /* ferry_process answers CLOSED once everything is done */
}

static void on_timer(ferry *f, int timer, int *asked)
{
    uint64_t times;
    if (read(timer, &times, sizeof times) == (ssize_t)sizeof times && *asked < TICKS) {
        ++*asked;
        ferry_async_with(f, FERRY_GET, "clock.tick", NULL, FERRY_CALL(.timeout_ms = 5000), on_answer, f);
    }
}

int main(void)
{
    const struct itimerspec every = {.it_value.tv_nsec = 20000000, .it_interval.tv_nsec = 20000000};
    int asked = 0, timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    ferry *f = ferry_open(NULL, NULL);
    ferry_handle(f, "clock.tick", tick, NULL, NULL);
    int fd = ferry_fd(f);
    if (timer < 0 || fd < 0 || timerfd_settime(timer, 0, &every, NULL) != 0)
        return 1;
    while (ferry_process(f) != FERRY_CLOSED) {
        struct pollfd watched[] = {{.fd = fd, .events = POLLIN}, {.fd = timer, .events = POLLIN}};
        if (poll(watched, 2, ferry_next_ms(f)) > 0 && watched[1].revents)
            on_timer(f, timer, &asked);
    }
    close(timer);
    return ferry_close(f) != FERRY_OK;
}
