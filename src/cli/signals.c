#include "signals.h"
#include "args.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

static atomic_bool came, twice;
static int bell = -1;
static cli_signal_fn *on_first, *on_second;
static void *on_arg;
static sigset_t watched;

static void *watch(void *unused)
{
    int which;

    (void)unused;
    for (;;) {
        if (sigwait(&watched, &which) != 0)
            continue;
        if (atomic_exchange(&came, true)) {
            atomic_store(&twice, true);
            if (on_second != NULL)
                on_second(on_arg);
            _exit(CLI_SIGNAL);
        }
        eventfd_write(bell, 1);
        if (on_first != NULL)
            on_first(on_arg);
    }
    return NULL;
}

bool cli_signals_start(cli_signal_fn *first, cli_signal_fn *second, void *arg)
{
    pthread_attr_t detached;
    pthread_t thread;
    bool good;

    on_first = first;
    on_second = second;
    on_arg = arg;
    bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    sigemptyset(&watched);
    sigaddset(&watched, SIGINT);
    sigaddset(&watched, SIGTERM);
    if (bell < 0 || pthread_sigmask(SIG_BLOCK, &watched, NULL) != 0 || pthread_attr_init(&detached) != 0)
        return false;
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    good = pthread_create(&thread, &detached, watch, NULL) == 0;
    pthread_attr_destroy(&detached);
    return good;
}

bool cli_signals_came(void)
{
    return atomic_load(&came);
}

bool cli_signals_twice(void)
{
    return atomic_load(&twice);
}

int cli_signals_fd(void)
{
    return bell;
}
