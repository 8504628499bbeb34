/* alloc.c - size classes, a stack per thread, a depot for all.
 *
 * Invariants
 * 1. A block carries a 16-byte header with its class; class CLASSES means "straight from malloc".
 * 2. A magazine holds at most MAGAZINE blocks of one class; full ones are exchanged with the depot by half.
 * 3. `live` counts blocks in users' hands, whatever cache they came from: it is zero when nothing leaks. It is kept per thread and
 *    summed on demand, so that counting costs no shared cache line. A thread's count is folded into a global one when it ends.
 * 4. A thread that ends gives its magazines to the depot (pthread_key destructor). */
#include "base/alloc.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define RECYCLE 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RECYCLE 0
#endif
#endif
#ifndef RECYCLE
#define RECYCLE 1
#endif

enum { CLASSES = 13, SMALLEST = 64, MAGAZINE = 64, DEPOT = 16384 };

typedef struct block {
    size_t        class;
    struct block *next; /* while spare; the user's bytes start behind the header */
} block;
_Static_assert(sizeof(block) == 16, "the header keeps 16-byte alignment");

typedef struct magazine {
    block   *top;
    unsigned count;
} magazine;

typedef struct cache {
    magazine       spare[CLASSES];
    _Atomic int64_t live;
    struct cache  *next;
    bool           linked;
} cache;

static struct {
    pthread_mutex_t lock;
    magazine        spare[CLASSES];
    cache          *threads;
    int64_t         live_of_ended;
} depot = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local cache mine;
static pthread_key_t       ending;
static pthread_once_t      once = PTHREAD_ONCE_INIT;
static atomic_uint_fast64_t mallocs;
static atomic_uint_fast64_t counted, fail_first;
static atomic_int           failing; /* 0 off, 1 once, 2 from then on */

/* 64, 96, 128, 192, 256, 384 … 4096: a third is lost at most. */
static size_t class_size(size_t class)
{
    return (class & 1 ? (size_t)SMALLEST * 3 / 2 : (size_t)SMALLEST) << class / 2;
}

static size_t class_of(size_t size)
{
    if (size <= SMALLEST)
        return 0;
    size_t power = 63 - (size_t)__builtin_clzll((unsigned long long)(size - 1)), low = (size_t)1 << power;
    size_t class = 2 * (power - 6) + (size <= low + low / 2 ? 1 : 2);
    return class < CLASSES ? class : CLASSES;
}

static void give_all(cache *c)
{
    for (size_t k = 0; k < CLASSES; k++)
        while (c->spare[k].top) {
            block *b = c->spare[k].top;
            c->spare[k].top = b->next;
            b->next = depot.spare[k].top;
            depot.spare[k].top = b;
            depot.spare[k].count++;
        }
}

static void thread_ends(void *arg)
{
    cache *c = arg;
    pthread_mutex_lock(&depot.lock);
    give_all(c);
    memset(c->spare, 0, sizeof c->spare);
    for (cache **at = &depot.threads; *at; at = &(*at)->next)
        if (*at == c) {
            *at = c->next;
            break;
        }
    depot.live_of_ended += atomic_load_explicit(&c->live, memory_order_relaxed);
    atomic_store_explicit(&c->live, 0, memory_order_relaxed);
    c->linked = false;
    pthread_mutex_unlock(&depot.lock);
}

static void lock_depot(void)
{
    pthread_mutex_lock(&depot.lock);
}

static void unlock_depot(void)
{
    pthread_mutex_unlock(&depot.lock);
}

/* The depot is whole in a forked child, whoever was at it in the parent. */
static void start(void)
{
    pthread_key_create(&ending, thread_ends);
    pthread_atfork(lock_depot, unlock_depot, unlock_depot);
}

static cache *my_cache(void)
{
    cache *c = &mine;
    if (c->linked)
        return c;
    pthread_once(&once, start);
    pthread_setspecific(ending, c);
    pthread_mutex_lock(&depot.lock);
    c->next = depot.threads;
    depot.threads = c;
    c->linked = true;
    pthread_mutex_unlock(&depot.lock);
    return c;
}

static void count_live(cache *c, int by)
{
    int64_t now = atomic_load_explicit(&c->live, memory_order_relaxed);
    atomic_store_explicit(&c->live, now + by, memory_order_relaxed);
}

static bool must_fail(void)
{
    int how = atomic_load_explicit(&failing, memory_order_relaxed);
    if (how == 0)
        return false;
    uint64_t n = atomic_fetch_add(&counted, 1) + 1, first = atomic_load(&fail_first);
    return first && (how == 1 ? n == first : n >= first);
}

static void refill(magazine *m, size_t class)
{
    pthread_mutex_lock(&depot.lock);
    magazine *d = &depot.spare[class];
    while (d->top && m->count < MAGAZINE / 2) {
        block *b = d->top;
        d->top = b->next;
        d->count--;
        b->next = m->top;
        m->top = b;
        m->count++;
    }
    pthread_mutex_unlock(&depot.lock);
}

static block *fresh(size_t class, size_t size)
{
    atomic_fetch_add_explicit(&mallocs, 1, memory_order_relaxed);
    block *b = malloc(sizeof *b + (class < CLASSES ? class_size(class) : size));
    if (b)
        b->class = class;
    if (b && class == CLASSES)
        b->next = (block *)size; /* how much it holds */
    return b;
}

static block *take(cache *c, size_t class, size_t size)
{
    if (!RECYCLE || class == CLASSES)
        return fresh(CLASSES, size);
    magazine *m = &c->spare[class];
    if (!m->top)
        refill(m, class);
    if (!m->top)
        return fresh(class, size);
    block *b = m->top;
    m->top = b->next;
    m->count--;
    return b;
}

void *ferry__alloc(size_t size)
{
    if (must_fail() || size > SIZE_MAX / 2)
        return NULL;
    cache *c = my_cache();
    block *b = take(c, class_of(size), size);
    if (!b)
        return NULL;
    count_live(c, 1);
    return b + 1;
}

void *ferry__zalloc(size_t size)
{
    void *p = ferry__alloc(size);
    return p ? memset(p, 0, size) : NULL;
}

static void spill(magazine *m, size_t class)
{
    pthread_mutex_lock(&depot.lock);
    magazine *d = &depot.spare[class];
    while (m->count > MAGAZINE / 2) {
        block *b = m->top;
        m->top = b->next;
        m->count--;
        if (d->count >= DEPOT) {
            free(b);
            continue;
        }
        b->next = d->top;
        d->top = b;
        d->count++;
    }
    pthread_mutex_unlock(&depot.lock);
}

void ferry__free(void *p)
{
    if (!p)
        return;
    block *b = (block *)p - 1;
    cache *c = my_cache();
    count_live(c, -1);
    if (b->class == CLASSES) {
        free(b);
        return;
    }
    magazine *m = &c->spare[b->class];
    size_t class = b->class;
    b->next = m->top;
    m->top = b;
    if (++m->count >= MAGAZINE)
        spill(m, class);
}

size_t ferry__alloc_room(const void *p)
{
    const block *b = (const block *)p - 1;
    return b->class < CLASSES ? class_size(b->class) : (size_t)b->next;
}

void *ferry__realloc(void *p, size_t size)
{
    if (!p)
        return ferry__alloc(size);
    size_t room = ferry__alloc_room(p);
    if (size <= room)
        return p;
    void *grown = ferry__alloc(size);
    if (!grown)
        return NULL;
    memcpy(grown, p, room);
    ferry__free(p);
    return grown;
}

char *ferry__strndup(const char *s, size_t length)
{
    char *copy = s ? ferry__alloc(length + 1) : NULL;
    if (copy) {
        memcpy(copy, s, length);
        copy[length] = '\0';
    }
    return copy;
}

char *ferry__strdup(const char *s)
{
    return s ? ferry__strndup(s, strlen(s)) : NULL;
}

size_t ferry__alloc_live(void)
{
    pthread_mutex_lock(&depot.lock);
    int64_t sum = depot.live_of_ended;
    for (cache *c = depot.threads; c; c = c->next)
        sum += atomic_load_explicit(&c->live, memory_order_relaxed);
    pthread_mutex_unlock(&depot.lock);
    return sum > 0 ? (size_t)sum : 0;
}

uint64_t ferry__alloc_mallocs(void)
{
    return atomic_load(&mallocs);
}

uint64_t ferry__alloc_count(void)
{
    return atomic_load(&counted);
}

static void arm(uint64_t n, int how)
{
    atomic_store(&failing, 0);
    atomic_store(&counted, 0);
    atomic_store(&fail_first, n);
    atomic_store(&failing, how);
}

void ferry__alloc_fail_at(uint64_t n)
{
    arm(n, 1);
}

void ferry__alloc_fail_from(uint64_t n)
{
    arm(n, 2);
}

void ferry__pool_trim(void)
{
    cache *c = my_cache();
    pthread_mutex_lock(&depot.lock);
    give_all(c);
    memset(c->spare, 0, sizeof c->spare);
    for (size_t k = 0; k < CLASSES; k++) {
        while (depot.spare[k].top) {
            block *b = depot.spare[k].top;
            depot.spare[k].top = b->next;
            free(b);
        }
        depot.spare[k].count = 0;
    }
    pthread_mutex_unlock(&depot.lock);
}
