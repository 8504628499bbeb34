/* page.h - what the processes of one database share in memory: "<database>-page", mapped by all of them.
 *
 * The database has the messages; the page says who may touch which. It is memory, so a claim costs no transaction, and it is a file, so
 * what a process noted there survives its kill -9. It does not survive the machine: after a boot it starts empty, as nobody lives.
 *
 *     header | slot 0 ... slot 255, one a handle | service 1 ... service 4095, one a name that was ever served | topics | groups
 *
 * Invariants
 * 1. Queues (head, tail, due, owner, held) and the claims of a journal change only under the writer lock (lock.h), so a transaction and
 *    what it says in the page change as one. Bells, bits and the states of journal entries are single atomic words.
 * 2. head: first sequence that was never claimed. tail: first that was never used, stored before the commit: a queue may look fuller
 *    than it is, for a moment or after a failure, never emptier.
 * 3. due: not later than the earliest row of the queue in `later`; 0 = there is none.
 * 4. A handle lives as long as the kernel keeps its lock (OFD, one byte a slot, beyond the end of the file); so a dead one is known at
 *    once and without heartbeats.
 * 5. Topics change only under the writer lock, save their bells. A track of a group is its owner's; free ones are taken with one
 *    compare-and-swap, and a dead member's are freed under the writer lock (event.h).
 * 6. Whatever is touched was allocated on disk before: a full disk is an error, never a SIGBUS. The file never shrinks while in use. */
#ifndef FERRY_FILE_PAGE_H
#define FERRY_FILE_PAGE_H

#include "base/bell.h"
#include "backends/file/store.h"

#include <stdint.h>

enum {
    FERRY__PAGE_SLOTS = 256,
    FERRY__PAGE_WORDS = FERRY__PAGE_SLOTS / 64, /* of a set of slots */
    FERRY__PAGE_SERVICES = 4096,
    FERRY__PAGE_QUEUES = 122, /* of a service: calls, posts, and the parts for posts with a key */
    FERRY__PAGE_PARTS = FERRY__PAGE_QUEUES - 2,
    FERRY__PAGE_JOURNAL = 4096, /* messages that one handle may have claimed */
    FERRY__PAGE_TOPICS = 1024,  /* domains of events */
    FERRY__PAGE_GROUPS = 1024,  /* of all of them */
    FERRY__PAGE_MEMBERS = 128,  /* of a group */
    FERRY__PAGE_SHARES = 64,    /* what the events without a key are divided into */
    FERRY__PAGE_TRACKS = FERRY__PAGE_SHARES + FERRY__PAGE_PARTS,
    FERRY__PAGE_NOBODY = -1
};

typedef _Atomic uint64_t ferry__page_set[FERRY__PAGE_WORDS];

typedef struct ferry__page_queue {
    _Atomic int64_t  head, tail, due;
    _Atomic uint32_t owner; /* parts: 1 + the slot that has unsettled messages of it, 0: free */
    _Atomic uint32_t held;  /* how many */
} ferry__page_queue;

enum { FERRY__PAGE_FOR_CALLS, FERRY__PAGE_FOR_POSTS, FERRY__PAGE_FOR_CONTROLS, FERRY__PAGE_ROLES };

typedef struct ferry__page_service {
    union {
        struct {
            _Atomic uint64_t parts;                         /* the highest part that was ever used */
            ferry__page_set  listeners[FERRY__PAGE_ROLES];
            ferry__page_set  hungry[FERRY__PAGE_FOR_CONTROLS];  /* those who found nothing and would take something */
        };
        char room[192];
    };
    ferry__page_queue queues[FERRY__PAGE_QUEUES];
} ferry__page_service;

enum ferry__page_mark {
    FERRY__MARK_FREE,
    FERRY__MARK_CLAIMED, /* no handler has seen it: fresh if we die */
    FERRY__MARK_BEGUN,   /* its handler runs: it may have happened */
    FERRY__MARK_DONE,    /* settled, perhaps not yet committed */
    FERRY__MARK_AGAIN    /* its handler ended and it shall come again, perhaps not yet committed */
};

typedef struct ferry__page_entry {
    _Atomic int64_t  id;
    _Atomic uint32_t attempt; /* as it was delivered */
    _Atomic uint16_t late;    /* it has a row in `later` */
    _Atomic uint16_t mark;
} ferry__page_entry;

typedef struct ferry__page_slot {
    union {
        struct {
            _Atomic uint32_t taken;
            _Atomic uint32_t pid;
            _Atomic uint64_t born;  /* the process's start time, in ticks since boot */
            _Atomic uint64_t realm; /* its PID namespace */
            unsigned char    client[16];
            char             name[64];
            ferry__bell      bell;       /* there is something for it */
            ferry__bell      turn;       /* the writer lock may be free, or is its */
            _Atomic int64_t  waits_us;   /* since when it waits for the writer lock; 0: it does not */
            _Atomic int64_t  inbox_tail; /* as a queue's tail */
            _Atomic uint32_t by_pipe;    /* it sleeps in a foreign loop: write a byte to its FIFO */
            _Atomic uint32_t journal_end; /* behind the highest entry that was used */
        };
        char room[4096];
    };
    ferry__page_entry journal[FERRY__PAGE_JOURNAL];
} ferry__page_slot;

typedef struct ferry__page_topic {
    union {
        struct {
            _Atomic uint64_t generation;           /* a number of its own since it was made; 0: it is not there */
            _Atomic int64_t  first, end;           /* the events that are kept: [first, end). end: after the commit */
            _Atomic int64_t  purged;               /* what is below was taken away on purpose: no position is broken by that */
            _Atomic int64_t  first_ms;             /* when the first one was stored */
            _Atomic int64_t  first_offset, last_offset, end_offset; /* bytes before the first row, before the last, in all */
            _Atomic int64_t  keep_ms, keep_bytes;
            _Atomic uint32_t parts;                /* for events with a key */
            ferry__page_set  hungry;               /* those who found nothing and would take something */
        };
        char room[256];
    };
} ferry__page_topic;

/* A run of a group's events that keeps its order: a part, or a share of those without a key. */
typedef struct ferry__page_track {
    _Atomic int64_t  done;  /* all before it is finished; the owner's */
    _Atomic uint32_t owner; /* 1 + the member, 0: free */
    _Atomic uint32_t again; /* there are rows of it in `again` */
} ferry__page_track;

enum { FERRY__PAGE_LEAVING = 1 << 30 };

typedef struct ferry__page_group {
    union {
        struct {
            _Atomic uint64_t generation; /* 0: it is not there */
            _Atomic uint32_t topic;
            _Atomic uint32_t epoch;      /* counted up when members or free tracks change */
            _Atomic uint32_t members[FERRY__PAGE_MEMBERS]; /* 1 + the slot, 0: nobody; LEAVING: takes nothing more */
        };
        char room[1024];
    };
    ferry__page_track tracks[FERRY__PAGE_TRACKS];
    char              rest[128];
} ferry__page_group;

typedef struct ferry__page_header {
    union {
        struct {
            char             magic[8];
            uint32_t         version, size;
            char             boot[40];
            unsigned char    identity[16]; /* the database's */
            _Atomic uint32_t writer;       /* 1 + the slot that has the writer lock */
            _Atomic uint32_t repair;       /* a writer died: put the dead one's claims in order before anything else */
            ferry__page_set  waiting;      /* for the writer lock */
            _Atomic uint32_t slots_end;    /* behind the highest slot that was used */
            _Atomic uint32_t changes;      /* counted up when a name gets or loses a server */
            _Atomic uint32_t checkpointing; /* one is under way without the writer lock, or its process died in it */
            _Atomic uint32_t moved;         /* pages of the log that the last one found or left in the database */
            _Atomic uint64_t commits, complete_at; /* so far; so many when the whole log was last known to be in the database */
            _Atomic uint64_t services[FERRY__PAGE_SERVICES / 64]; /* whose block is in use; the others must not be read */
            _Atomic uint64_t topics[FERRY__PAGE_TOPICS / 64], groups[FERRY__PAGE_GROUPS / 64]; /* the same */
            _Atomic uint64_t generations;  /* of topics and groups so far */
            _Atomic int64_t  moving_queue; /* whose head passes messages that the running transaction puts into `later`; 0: none */
            _Atomic int64_t  moving_head;  /* where it was */
        };
        char room[4096];
    };
} ferry__page_header;

typedef struct ferry__page_file {
    ferry__page_header  header;
    ferry__page_slot    slots[FERRY__PAGE_SLOTS];
    ferry__page_service services[FERRY__PAGE_SERVICES];
    ferry__page_topic   topics[FERRY__PAGE_TOPICS];
    ferry__page_group   groups[FERRY__PAGE_GROUPS];
} ferry__page_file;

typedef struct ferry__page {
    ferry__page_file *file; /* NULL: not mapped */
    int               fd;
    int               me; /* our slot, or NOBODY */
    uint64_t          realm;
    char             *path;
} ferry__page;

/* Maps the page beside the database, fits it to the store and takes a slot. Purges what no boot or page of the past can own. May block
 * shortly. UNAVAILABLE with the reason when it cannot be now. */
ferry_status ferry__page_open(ferry__page *p, ferry__store *store, const char *database, const unsigned char client[16],
                              const char *name, char *why);
void         ferry__page_close(ferry__page *p); /* a slot that was not freed is left to the others, as a dead one */

/* Slots. */
bool ferry__page_lives(const ferry__page *p, int slot);
bool ferry__page_seize(const ferry__page *p, int slot);   /* it is dead, and nobody else buries it */
/* Among all processes, one may checkpoint. */
bool ferry__page_lock_checkpoint(const ferry__page *p);
void ferry__page_unlock_checkpoint(const ferry__page *p);
bool ferry__page_alone(const ferry__page *p); /* no other handle lives */
bool ferry__page_replaced(const ferry__page *p);
void ferry__page_unseize(const ferry__page *p, int slot);
void ferry__page_free_slot(ferry__page *p, int slot);     /* our own, or a seized one; emptied before */
int  ferry__page_find_client(const ferry__page *p, const unsigned char client[16]); /* slot or NOBODY */
void ferry__page_ring(const ferry__page *p, int slot);
void ferry__page_ring_all(const ferry__page *p);
void ferry__page_pipe_name(const ferry__page *p, int slot, char *to, size_t size);

ferry_status ferry__page_allocate(const ferry__page *p, const void *part, size_t size, char *why); /* on disk */

/* Services. Under the writer lock, save `lives`. */
ferry_status ferry__page_need_service(ferry__page *p, ferry__store *store, int service, char *why); /* its block exists and fits the table */
bool         ferry__page_has_service(const ferry__page *p, int service);
bool         ferry__page_served(const ferry__page *p, int service, int role);
void         ferry__page_lower_due(ferry__page_queue *q, int64_t due);
/* As many hungry listeners as there are messages. */
void         ferry__page_ring_hungry(const ferry__page *p, int service, int role, int64_t messages);

/* What stands in the page is bounded before it is used as a place: the file may have been damaged. */
static inline unsigned ferry__page_slots_end(const ferry__page *p)
{
    unsigned end = atomic_load(&p->file->header.slots_end);
    return end < FERRY__PAGE_SLOTS ? end : FERRY__PAGE_SLOTS;
}

static inline ferry__page_slot *ferry__page_slot_of(const ferry__page *p, int slot)
{
    return &p->file->slots[slot];
}

static inline ferry__page_slot *ferry__page_mine(const ferry__page *p)
{
    return &p->file->slots[p->me];
}

static inline ferry__page_service *ferry__page_service_of(const ferry__page *p, int service)
{
    return &p->file->services[service];
}

static inline ferry__page_queue *ferry__page_queue_of(const ferry__page *p, int64_t queue)
{
    return &p->file->services[queue >> FERRY__STORE_LANE_BITS].queues[queue & FERRY__STORE_LANE_MASK];
}

static inline ferry__page_topic *ferry__page_topic_of(const ferry__page *p, int topic)
{
    return &p->file->topics[topic];
}

static inline ferry__page_group *ferry__page_group_of(const ferry__page *p, int group)
{
    return &p->file->groups[group];
}

static inline void ferry__page_set_add(ferry__page_set s, int slot)
{
    atomic_fetch_or(&s[slot / 64], (uint64_t)1 << slot % 64);
}

static inline bool ferry__page_set_has(ferry__page_set s, int slot)
{
    return atomic_load(&s[slot / 64]) >> slot % 64 & 1;
}

static inline bool ferry__page_set_remove(ferry__page_set s, int slot)
{
    uint64_t bit = (uint64_t)1 << slot % 64;
    return atomic_fetch_and(&s[slot / 64], ~bit) & bit;
}

#endif
