/* page.c - the shared page: mapping it, slots and who lives, services and who is to be woken. The rules are in page.h. */
#include "backends/file/page.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { VERSION = 2, INIT_TRIES = 20, OPENERS_BYTE = FERRY__PAGE_SLOTS, CHECKPOINT_BYTE };
static const char magic[8] = "ferrypg";

_Static_assert(sizeof(ferry__page_header) == 4096 && sizeof(ferry__page_service) == 4096 &&
                   sizeof(ferry__page_group) == 4096 && sizeof(ferry__page_topic) == 256,
               "blocks are pages");
_Static_assert(sizeof(ferry__page_slot) == 4096 + 16 * FERRY__PAGE_JOURNAL, "no holes");

/* ---- locks that the kernel drops with their owner: bytes beyond the end of the file, one a slot, one for openers ---- */

static off_t byte_of(int slot)
{
    return ((off_t)1 << 40) + slot;
}

static bool lock_byte(int fd, off_t at, short type)
{
    struct flock range = {.l_type = type, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
    return fcntl(fd, F_OFD_SETLK, &range) == 0;
}

static bool byte_locked(int fd, off_t at)
{
    struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
    return fcntl(fd, F_OFD_GETLK, &range) == 0 && range.l_type != F_UNLCK;
}

static uint64_t realm_of_pids(void)
{
    struct stat s;
    return stat("/proc/self/ns/pid", &s) == 0 ? (uint64_t)s.st_ino : 0;
}

/* When a process began, field 22 of its stat; 0: there is no such process. */
static uint64_t birth(unsigned pid)
{
    char path[40], text[512];
    snprintf(path, sizeof path, "/proc/%u/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    text[n < 0 ? 0 : n] = '\0';
    const char *at = strrchr(text, ')'); /* the name before may hold anything */
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    return at ? strtoull(at, NULL, 10) : 0;
}

/* A fork without exec shares the lock with its parent: then the process table has the last word, where it can be asked. */
bool ferry__page_lives(const ferry__page *p, int slot)
{
    if (slot == p->me)
        return true;
    if (slot < 0 || slot >= FERRY__PAGE_SLOTS)
        return false;
    ferry__page_slot *s = ferry__page_slot_of(p, slot);
    if (!atomic_load(&s->taken) || !byte_locked(p->fd, byte_of(slot)))
        return false;
    if (!p->realm || atomic_load(&s->realm) != p->realm)
        return true;
    unsigned pid = atomic_load(&s->pid);
    return kill((pid_t)pid, 0) == 0 || errno != ESRCH;
}

bool ferry__page_lock_checkpoint(const ferry__page *p)
{
    return lock_byte(p->fd, byte_of(CHECKPOINT_BYTE), F_WRLCK);
}

void ferry__page_unlock_checkpoint(const ferry__page *p)
{
    lock_byte(p->fd, byte_of(CHECKPOINT_BYTE), F_UNLCK);
}

bool ferry__page_alone(const ferry__page *p)
{
    unsigned end = ferry__page_slots_end(p);
    for (unsigned i = 0; i < end; i++)
        if ((int)i != p->me && ferry__page_lives(p, (int)i))
            return false;
    return true;
}

bool ferry__page_seize(const ferry__page *p, int slot)
{
    if (!atomic_load(&ferry__page_slot_of(p, slot)->taken) || ferry__page_lives(p, slot))
        return false;
    lock_byte(p->fd, byte_of(slot), F_WRLCK); /* a forked child may still share the lock of the dead */
    return true;
}

void ferry__page_unseize(const ferry__page *p, int slot)
{
    lock_byte(p->fd, byte_of(slot), F_UNLCK);
}

void ferry__page_free_slot(ferry__page *p, int slot)
{
    ferry__page_slot *s = ferry__page_slot_of(p, slot);
    ferry__page_set_remove(p->file->header.waiting, slot);
    atomic_store(&s->waits_us, 0);
    atomic_store(&s->taken, 0);
    lock_byte(p->fd, byte_of(slot), F_UNLCK);
    if (slot == p->me)
        p->me = FERRY__PAGE_NOBODY;
}

int ferry__page_find_client(const ferry__page *p, const unsigned char client[16])
{
    unsigned end = ferry__page_slots_end(p);
    for (unsigned i = 0; i < end; i++) {
        ferry__page_slot *s = ferry__page_slot_of(p, (int)i);
        if (atomic_load_explicit(&s->taken, memory_order_acquire) && memcmp(s->client, client, 16) == 0)
            return (int)i;
    }
    return FERRY__PAGE_NOBODY;
}

/* ---- waking ---- */

void ferry__page_pipe_name(const ferry__page *p, int slot, char *to, size_t size)
{
    size_t stem = strlen(p->path) - strlen("page");
    snprintf(to, size, "%.*sfd-%d", (int)stem, p->path, slot);
}

/* Nothing else than a FIFO: in a directory that others may write, its name could be a link to a file of ours. */
static void write_pipe(const ferry__page *p, int slot)
{
    char name[4096];
    struct stat s;
    ferry__page_pipe_name(p, slot, name, sizeof name);
    int fd = open(name, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return; /* it went */
    if (fstat(fd, &s) == 0 && S_ISFIFO(s.st_mode) && write(fd, "", 1) < 0 && errno != EAGAIN)
        atomic_store(&ferry__page_slot_of(p, slot)->by_pipe, 1); /* its 250 ms look remains */
    close(fd);
}

void ferry__page_ring(const ferry__page *p, int slot)
{
    ferry__page_slot *s = ferry__page_slot_of(p, slot);
    ferry__bell_ring_shared(&s->bell);
    if (atomic_load(&s->by_pipe) && atomic_exchange(&s->by_pipe, 0))
        write_pipe(p, slot);
}

void ferry__page_ring_all(const ferry__page *p)
{
    unsigned end = ferry__page_slots_end(p);
    for (unsigned i = 0; i < end; i++)
        if (atomic_load(&ferry__page_slot_of(p, (int)i)->taken))
            ferry__page_ring(p, (int)i);
}

void ferry__page_ring_hungry(const ferry__page *p, int service, int role, int64_t messages)
{
    _Atomic uint64_t *hungry = ferry__page_service_of(p, service)->hungry[role];
    for (int word = 0; word < FERRY__PAGE_WORDS && messages > 0; word++)
        for (uint64_t bits; messages > 0 && (bits = atomic_load(&hungry[word])) != 0; messages--) {
            int slot = word * 64 + __builtin_ctzll(bits);
            if (ferry__page_set_remove(hungry, slot))
                ferry__page_ring(p, slot);
        }
}

/* ---- services ---- */

bool ferry__page_served(const ferry__page *p, int service, int role)
{
    _Atomic uint64_t *listeners = ferry__page_service_of(p, service)->listeners[role];
    for (int word = 0; word < FERRY__PAGE_WORDS; word++)
        for (uint64_t bits = atomic_load(&listeners[word]); bits; bits &= bits - 1)
            if (ferry__page_lives(p, word * 64 + __builtin_ctzll(bits)))
                return true;
    return false;
}

void ferry__page_lower_due(ferry__page_queue *q, int64_t due)
{
    int64_t now = atomic_load(&q->due);
    if (!now || due < now)
        atomic_store(&q->due, due);
}

ferry_status ferry__page_allocate(const ferry__page *p, const void *part, size_t size, char *why)
{
    int error = posix_fallocate(p->fd, (const char *)part - (const char *)p->file, (off_t)size);
    if (!error)
        return FERRY_OK;
    ferry__why(why, "%s cannot grow: %s", p->path, strerror(error));
    return error == ENOSPC || error == EFBIG || error == EDQUOT ? FERRY_OVERLOADED : FERRY_UNAVAILABLE;
}

bool ferry__page_has_service(const ferry__page *p, int service)
{
    return service > 0 && service < FERRY__PAGE_SERVICES &&
           atomic_load(&p->file->header.services[service / 64]) >> service % 64 & 1;
}

/* What the table has of one queue. Nobody who claimed of it lives, else the page would know it: whatever lies before the last message
 * that is to come again was claimed too. */
static int recall_queue(ferry__store *s, ferry__page_queue *q, int64_t queue)
{
    int error = 0;
    int64_t low = ferry__store_id(queue, 0), high = ferry__store_id(queue, FERRY__STORE_SEQUENCE_MASK);
    ferry__store_bind(s, FERRY__SQL_LATE_LAST, 1, queue);
    int64_t late = ferry__store_number(s, FERRY__SQL_LATE_LAST, -1, &error);
    ferry__store_bind(s, FERRY__SQL_LAST, 1, low);
    ferry__store_bind(s, FERRY__SQL_LAST, 2, high);
    int64_t last = ferry__store_number(s, FERRY__SQL_LAST, -1, &error);
    ferry__store_bind(s, FERRY__SQL_FIRST, 1, low);
    ferry__store_bind(s, FERRY__SQL_FIRST, 2, high);
    int64_t first = ferry__store_number(s, FERRY__SQL_FIRST, -1, &error);
    if (last < 0 || error)
        return error;
    atomic_store(&q->tail, (last & FERRY__STORE_SEQUENCE_MASK) + 1);
    atomic_store(&q->head, late >= 0 ? (late & FERRY__STORE_SEQUENCE_MASK) + 1 : first & FERRY__STORE_SEQUENCE_MASK);
    if (late < 0)
        return SQLITE_OK;
    atomic_store(&q->due, FERRY__STORE_NOW);
    ferry__store_bind(s, FERRY__SQL_LEFT_BEHIND, 1, queue);
    ferry__store_bind(s, FERRY__SQL_LEFT_BEHIND, 2, low);
    ferry__store_bind(s, FERRY__SQL_LEFT_BEHIND, 3, late);
    return ferry__store_run(s, FERRY__SQL_LEFT_BEHIND);
}

static int recall_service(ferry__store *s, ferry__page_service *v, int service)
{
    int64_t base = (int64_t)service << FERRY__STORE_LANE_BITS;
    int error = 0;
    for (int64_t lane = 0; lane < FERRY__PAGE_QUEUES && !error; lane++) {
        ferry__store_bind(s, FERRY__SQL_FIRST, 1, ferry__store_id(base + lane, 0));
        ferry__store_bind(s, FERRY__SQL_FIRST, 2,
                          ferry__store_id(base + FERRY__STORE_LANE_MASK, FERRY__STORE_SEQUENCE_MASK));
        int64_t id = ferry__store_number(s, FERRY__SQL_FIRST, -1, &error);
        if (id < 0 || error)
            break;
        lane = ferry__store_queue(id) & FERRY__STORE_LANE_MASK;
        if (lane >= FERRY__PAGE_QUEUES)
            break;
        error = recall_queue(s, &v->queues[lane], base + lane);
        if (lane >= FERRY__STORE_PARTS)
            atomic_store(&v->parts, (uint32_t)(lane - FERRY__STORE_PARTS + 1));
    }
    return error;
}

ferry_status ferry__page_need_service(ferry__page *p, ferry__store *store, int service, char *why)
{
    if (service <= 0 || service >= FERRY__PAGE_SERVICES) {
        ferry__why(why, "more than %d names were ever served on this database", FERRY__PAGE_SERVICES - 1);
        return FERRY_OVERLOADED;
    }
    ferry__page_service *v = ferry__page_service_of(p, service);
    if (ferry__page_has_service(p, service))
        return FERRY_OK;
    ferry_status status = ferry__page_allocate(p, v, sizeof *v, why);
    if (status)
        return status;
    memset((void *)v, 0, sizeof *v);
    int error = recall_service(store, v, service);
    if (error)
        return ferry__store_status(store, error, p->path, why);
    atomic_fetch_or(&p->file->header.services[service / 64], (uint64_t)1 << service % 64);
    return FERRY_OK;
}

/* ---- opening ---- */

static void read_boot(char *to, size_t size)
{
    memset(to, 0, size);
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (read(fd, to, size - 1) < 0)
        to[0] = '\0';
    close(fd);
}

static ferry_status map_file(ferry__page *p, char *why)
{
    struct stat at;
    p->fd = open(p->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (p->fd < 0 || fstat(p->fd, &at) < 0) {
        ferry__why(why, "%s cannot be opened: %s", p->path, strerror(errno));
        return errno == EACCES || errno == EPERM || errno == EROFS ? FERRY_DENIED : FERRY_UNAVAILABLE;
    }
    if (at.st_size < (off_t)sizeof *p->file && ftruncate(p->fd, (off_t)sizeof *p->file) < 0) {
        ferry__why(why, "%s cannot grow: %s", p->path, strerror(errno));
        return FERRY_OVERLOADED;
    }
    void *at_memory = mmap(NULL, sizeof *p->file, PROT_READ | PROT_WRITE, MAP_SHARED, p->fd, 0);
    if (at_memory == MAP_FAILED) {
        ferry__why(why, "%s cannot be mapped: %s", p->path, strerror(errno));
        return FERRY_NO_MEMORY;
    }
    p->file = at_memory;
    return ferry__page_allocate(p, &p->file->header, sizeof p->file->header, why);
}

static bool anybody_lives(const ferry__page *p)
{
    for (int i = 0; i < FERRY__PAGE_SLOTS; i++)
        if (byte_locked(p->fd, byte_of(i)))
            return true;
    return false;
}

static bool header_fits(const ferry__page *p, const ferry__store *store)
{
    const ferry__page_header *h = &p->file->header;
    char boot[sizeof h->boot];
    read_boot(boot, sizeof boot);
    return memcmp(h->magic, magic, sizeof magic) == 0 && h->version == VERSION && h->size == sizeof *p->file &&
           memcmp(h->boot, boot, sizeof boot) == 0 && memcmp(h->identity, store->identity, sizeof h->identity) == 0;
}

/* Calls, replies and controls belong to handles that are gone. */
static int purge(ferry__store *s, bool claims_too)
{
    int error = ferry__store_begin(s);
    if (error)
        return error;
    ferry__store_bind(s, FERRY__SQL_PURGE_CALLS, 1, FERRY__STORE_SEQUENCE_MASK);
    ferry__store_bind(s, FERRY__SQL_PURGE_INBOXES, 1, ferry__store_id(FERRY__STORE_INBOX, 0));
    error = ferry__store_run(s, FERRY__SQL_PURGE_CALLS);
    if (!error)
        error = ferry__store_run(s, FERRY__SQL_PURGE_INBOXES);
    if (!error && claims_too)
        error = ferry__store_run(s, FERRY__SQL_PURGE_TAKEN);
    if (!error)
        error = ferry__store_commit(s);
    ferry__store_rollback(s);
    return error;
}

static ferry_status make_header(ferry__page *p, ferry__store *store, char *why)
{
    ferry__page_header *h = &p->file->header;
    if (ftruncate(p->fd, 0) < 0 || ftruncate(p->fd, (off_t)sizeof *p->file) < 0) {
        ferry__why(why, "%s cannot be emptied: %s", p->path, strerror(errno));
        return FERRY_UNAVAILABLE;
    }
    ferry_status status = ferry__page_allocate(p, h, sizeof *h, why);
    if (status)
        return status;
    h->version = VERSION;
    h->size = sizeof *p->file;
    read_boot(h->boot, sizeof h->boot);
    memcpy(h->identity, store->identity, sizeof h->identity);
    memcpy(h->magic, magic, sizeof magic); /* last: from here on it counts */
    return FERRY_OK;
}

/* With the openers' lock. */
static ferry_status fit(ferry__page *p, ferry__store *store, char *why)
{
    bool fits = header_fits(p, store);
    if (anybody_lives(p)) {
        if (fits)
            return FERRY_OK;
        ferry__why(why, "%s belongs to another database, which processes still use: end them", p->path);
        return FERRY_UNAVAILABLE;
    }
    int error = purge(store, !fits);
    if (error)
        return ferry__store_status(store, error, p->path, why);
    return fits ? FERRY_OK : make_header(p, store, why);
}

/* inbox_tail goes on from the last owner's, so that no old row has a number of ours. */
static void fill_slot(ferry__page *p, int slot, const unsigned char client[16], const char *name)
{
    ferry__page_slot *s = ferry__page_slot_of(p, slot);
    memset((void *)s->journal, 0, sizeof s->journal);
    memset((void *)&s->bell, 0, sizeof s->bell);
    memset((void *)&s->turn, 0, sizeof s->turn);
    atomic_store(&s->waits_us, 0);
    atomic_store(&s->by_pipe, 0);
    atomic_store(&s->journal_end, 0);
    atomic_store(&s->pid, (uint32_t)getpid());
    atomic_store(&s->born, birth((unsigned)getpid()));
    atomic_store(&s->realm, p->realm);
    memcpy(s->client, client, sizeof s->client);
    snprintf(s->name, sizeof s->name, "%s", name ? name : "");
    atomic_store(&s->taken, 1);
    p->me = slot;
    if (ferry__page_slots_end(p) <= (unsigned)slot)
        atomic_store(&p->file->header.slots_end, (uint32_t)slot + 1);
}

/* Dead slots are not taken before somebody has put their claims in order. */
static ferry_status take_slot(ferry__page *p, const unsigned char client[16], const char *name, char *why)
{
    for (int i = 0; i < FERRY__PAGE_SLOTS; i++) {
        ferry__page_slot *s = ferry__page_slot_of(p, i);
        if (i < (int)ferry__page_slots_end(p) && atomic_load(&s->taken))
            continue;
        ferry_status status = ferry__page_allocate(p, s, sizeof *s, why);
        if (status)
            return status;
        if (!lock_byte(p->fd, byte_of(i), F_WRLCK))
            continue;
        fill_slot(p, i, client, name);
        return FERRY_OK;
    }
    ferry__why(why, "all %d places for processes on %s are taken", FERRY__PAGE_SLOTS, p->path);
    return FERRY_OVERLOADED;
}

static bool lock_openers(const ferry__page *p)
{
    for (int i = 0; i < INIT_TRIES; i++) {
        if (lock_byte(p->fd, byte_of(OPENERS_BYTE), F_WRLCK))
            return true;
        struct timespec pause = {0, 1000000};
        nanosleep(&pause, NULL);
    }
    return false;
}

/* Another one lies under its name now. */
bool ferry__page_replaced(const ferry__page *p)
{
    struct stat mine, theirs;
    return fstat(p->fd, &mine) != 0 || stat(p->path, &theirs) != 0 || mine.st_ino != theirs.st_ino ||
           mine.st_dev != theirs.st_dev;
}

static ferry_status join(ferry__page *p, ferry__store *store, const unsigned char client[16], const char *name,
                         char *why)
{
    ferry_status status = map_file(p, why);
    if (status)
        return status;
    if (!lock_openers(p)) {
        ferry__why(why, "another process is opening %s", p->path);
        return FERRY_TIMEOUT;
    }
    if (ferry__page_replaced(p)) {
        ferry__why(why, "%s was replaced", p->path);
        return FERRY_TIMEOUT;
    }
    status = fit(p, store, why);
    if (!status)
        status = take_slot(p, client, name, why);
    lock_byte(p->fd, byte_of(OPENERS_BYTE), F_UNLCK);
    return status;
}

ferry_status ferry__page_open(ferry__page *p, ferry__store *store, const char *database, const unsigned char client[16],
                              const char *name, char *why)
{
    *p = (ferry__page){.fd = -1, .me = FERRY__PAGE_NOBODY, .realm = realm_of_pids()};
    ferry__buf path = FERRY__BUF(4000);
    ferry__buf_format(&path, "%s-page", database);
    p->path = path.failed ? NULL : ferry__strdup(ferry__buf_string(&path));
    ferry__buf_done(&path);
    if (!p->path) {
        ferry__why(why, "out of memory");
        return FERRY_NO_MEMORY;
    }
    ferry_status status = join(p, store, client, name, why);
    if (status)
        ferry__page_close(p);
    return status;
}

void ferry__page_close(ferry__page *p)
{
    if (p->file)
        munmap(p->file, sizeof *p->file);
    if (p->fd >= 0)
        close(p->fd); /* with it go our locks */
    ferry__free(p->path);
    *p = (ferry__page){.fd = -1, .me = FERRY__PAGE_NOBODY};
}
