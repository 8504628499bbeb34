#include "base/bell.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void ferry__bell_sleep(ferry__bell *b, unsigned seen, int ms, bool shared)
{
    struct timespec limit = {ms / 1000, (long)(ms % 1000) * 1000000L};
    atomic_fetch_add(&b->asleep, 1);
    if (atomic_load(&b->word) == seen)
        syscall(SYS_futex, &b->word, shared ? FUTEX_WAIT : FUTEX_WAIT_PRIVATE, seen, ms < 0 ? NULL : &limit, NULL, 0);
    atomic_fetch_sub(&b->asleep, 1);
}

void ferry__bell_wake(ferry__bell *b, bool shared)
{
    int saved = errno; /* a signal handler may have called */
    syscall(SYS_futex, &b->word, shared ? FUTEX_WAKE : FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
    errno = saved;
}
