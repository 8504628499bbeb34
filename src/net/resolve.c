#include "net/resolve.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/thread.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Name servers that never answer must not gather a thread for each attempt to connect. */
enum { MOST_THREADS = 32 };
static atomic_int threads;

struct ferry__resolve {
    pthread_mutex_t lock;
    int             holders; /* under the lock, as all of the rest; what is done no longer changes */
    bool            done;
    void (*wake)(void *arg); /* NULL once the owner let go */
    void            *arg;
    struct addrinfo *list;
    ferry_status     status;
    char             why[FERRY_WHY_SIZE];
    char             port[32];
    char             host[]; /* both only read */
};

static const struct addrinfo stream_sockets = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
static const struct addrinfo in_numbers = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};

static void fail(ferry__resolve *r, int code, int error)
{
    switch (code) {
    case EAI_MEMORY:
        r->status = FERRY_NO_MEMORY;
        ferry__why(r->why, "out of memory while looking up '%s'", r->host);
        return;
    case EAI_SYSTEM:
        ferry__why(r->why, "cannot look up the host '%s': %s", r->host, strerror(error));
        break;
    default:
        ferry__why(r->why, "cannot look up the host '%s': %s", r->host, gai_strerror(code));
    }
    r->status = FERRY_UNAVAILABLE;
}

static void free_all(ferry__resolve *r)
{
    if (r->list)
        freeaddrinfo(r->list);
    pthread_mutex_destroy(&r->lock);
    ferry__free(r);
}

/* Under the lock, which it gives back. */
static void let_go(ferry__resolve *r)
{
    bool last = --r->holders == 0;
    pthread_mutex_unlock(&r->lock);
    if (last)
        free_all(r);
}

static void *look_up(void *arg)
{
    ferry__resolve *r = arg;
    struct addrinfo *list = NULL;
    int code = getaddrinfo(r->host, r->port, &stream_sockets, &list), error = errno;
    pthread_mutex_lock(&r->lock);
    r->list = code == 0 ? list : NULL;
    if (code)
        fail(r, code, error);
    r->done = true;
    if (r->wake)
        r->wake(r->arg);
    atomic_fetch_sub(&threads, 1);
    let_go(r);
    return NULL;
}

static bool start_thread(ferry__resolve *r)
{
    pthread_t thread;
    if (atomic_fetch_add(&threads, 1) < MOST_THREADS && ferry__thread_start(&thread, "ferry-resolve", look_up, r)) {
        pthread_detach(thread);
        return true;
    }
    atomic_fetch_sub(&threads, 1);
    return false;
}

static ferry__resolve *make(const char *host, const char *port, void (*wake)(void *arg), void *arg)
{
    ferry__resolve *r = ferry__zalloc(sizeof *r + strlen(host) + 1);
    if (!r)
        return NULL;
    memcpy(r->host, host, strlen(host) + 1);
    strncpy(r->port, port, sizeof r->port - 1);
    r->holders = 1;
    r->wake = wake;
    r->arg = arg;
    pthread_mutex_init(&r->lock, NULL);
    return r;
}

/* Without asking anybody: a port that is none, a host in numbers. */
static bool at_once(ferry__resolve *r)
{
    char *end;
    unsigned long port = strtoul(r->port, &end, 10);
    if (*end || end == r->port || port < 1 || port > 65535) {
        r->status = FERRY_INVALID;
        ferry__why(r->why, "'%s' is not a port", r->port);
        return true;
    }
    int code = getaddrinfo(r->host, r->port, &in_numbers, &r->list), error = errno;
    if (code == EAI_NONAME)
        return r->list = NULL, false;
    if (code)
        fail(r, code, error);
    return true;
}

ferry__resolve *ferry__resolve_start(const char *host, const char *port, void (*wake)(void *arg), void *arg)
{
    ferry__resolve *r = make(host, port, wake, arg);
    if (!r)
        return NULL;
    r->done = at_once(r);
    if (r->done)
        return r;
    r->holders = 2;
    if (start_thread(r))
        return r;
    free_all(r);
    return NULL;
}

bool ferry__resolve_done(ferry__resolve *r)
{
    pthread_mutex_lock(&r->lock);
    bool done = r->done;
    pthread_mutex_unlock(&r->lock);
    return done;
}

const struct addrinfo *ferry__resolve_list(const ferry__resolve *r, ferry_status *status, const char **why)
{
    *status = r->status;
    *why = r->why;
    return r->list;
}

void ferry__resolve_free(ferry__resolve *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->wake = NULL;
    let_go(r);
}

void ferry__resolve_abandon(ferry__resolve *r)
{
    if (!r)
        return;
    if (r->list)
        freeaddrinfo(r->list);
    ferry__free(r);
}
