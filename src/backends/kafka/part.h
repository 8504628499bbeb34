/* part.h - one partition of a topic of requests: what became of each of its messages.
 *
 *              base (all below are done)          read (next to come from the broker)     top
 *     ---------|----------------------------------|---------------------------------------|--
 *              DONE UP NEW MAYBE DONE …            known only from the last owner's commit
 *
 * NEW    nobody had it          MAYBE  a server that is gone had it and may have started it
 * UP     we have it             DONE   handled, or there is no such message
 * GIVEN  the partition moved while a server that lives had it in a handler: that one answers it, and appends a mark to the partition
 *        when it is done. When that server is gone from the group without a mark, the message becomes MAYBE.
 *
 * What a commit says beside the offset `base` (its metadata, at most 4096 bytes), so that the next owner knows it all:
 *
 *     m=BITS;d=BITS;a=OFFSET:N,…;g=OFFSET:I,…;w=MEMBER,…;o=WHO
 *
 * g: GIVEN, I the place in w of the member that has it. m: UP and MAYBE; d: DONE; both from base on, six to a character. a: how many servers died with it, for m's that had any.
 * o: who wrote it. A message must be in m before a handler sees it: only so is "in neither" a proof that it is fresh.
 *
 *     ;c=OFFSET:TIME
 *
 * Handlers that are short would wait longer for the commit than for anything else. So while they are short, calls are claimed ahead:
 * what stands below OFFSET, is in neither and was sent up to TIME (a second ahead, by the stamp in the message itself, so that no two
 * clocks are compared) may have been started. As soon as a handler is long the claim is taken back: what waits behind it is fresh.
 *
 * A partition that comes back to us, with nobody's commit but ours in between, goes on as it was: what our handlers still have is not
 * handed out again. The epoch tells apart frames from before the partition was somebody else's. */
#ifndef FERRY_KAFKA_PART_H
#define FERRY_KAFKA_PART_H

#include "base/list.h"

#include <stdbool.h>
#include <stdint.h>

struct ferry__kafka_group;

enum { FERRY__PART_NEW, FERRY__PART_MAYBE, FERRY__PART_UP, FERRY__PART_DONE, FERRY__PART_GIVEN };
enum {
    FERRY__PART_SPAN = 8192 /* messages between base and top at most, and what a commit tells of */,
    FERRY__PART_EVENTS = 262144 /* the same for events, of which a commit tells only the first */,
    FERRY__PART_META = 4000,
    FERRY__PART_GIVERS = 4,
    FERRY__PART_MEMBER = 120
};

typedef struct ferry__kafka_part {
    ferry__node                node; /* in its group */
    struct ferry__kafka_group *group;
    int      topic;     /* which of the group's topics */
    int32_t  partition;
    bool     owned, leaving, paused;
    bool     dirty;     /* something is to be committed */
    bool     sending;   /* it is part of the commit under way */
    bool     turned;    /* of events: they come by the queue of their own */
    bool     looking;   /* why its offset is gone is asked */
    unsigned epoch;
    int64_t  base, read, top;
    int64_t  sent_base, safe, trimmed; /* base of the commit under way, of the last that was accepted; deleted up to here */
    size_t   up;        /* messages that are UP */
    size_t   waiting;   /* frames of it that wait in the group's lists */
    size_t   claims;    /* frames of it on their way to a handler that wait for a commit, or behind one that does */
    uint8_t *ring;      /* a state and, above it, attempts; at offset % size */
    size_t   size;
    uint64_t who;
    struct {
        int64_t to, time_ms; /* 0: none */
    } old, own, sent, known; /* claims ahead: the last owner's, ours, ours in the commit under way, ours that the broker has */
    bool     claiming; /* a call needed a claim since the last one ahead */
    char     givers[FERRY__PART_GIVERS][FERRY__PART_MEMBER]; /* members; "": none */
} ferry__kafka_part;

/* As the last owner's commit left it; offset < 0: nothing was ever committed. False: no memory. True in *kept: it goes on as it was. */
bool ferry__part_take(ferry__kafka_part *p, int64_t offset, const char *metadata, uint64_t who, bool *kept);
void ferry__part_done(ferry__kafka_part *p);

/* The log is another one: the topic was made anew, or lost its end. What was known of it is void. */
void ferry__part_restart(ferry__kafka_part *p, int64_t offset);

/* A message came. False: it is not to be handed out (done, or ours already). */
bool ferry__part_see(ferry__kafka_part *p, int64_t offset, int64_t time_ms, bool *maybe, unsigned *attempts);
/* May it start without a claim of its own? */
static inline bool ferry__part_claimed(const ferry__kafka_part *p, int64_t offset, int64_t time_ms)
{
    return offset < p->known.to && time_ms <= p->known.time_ms;
}
/* Anew from there: what is up belongs to the past. */
bool ferry__part_reset(ferry__kafka_part *p, int64_t offset);
/* Below that offset nothing more comes. */
void ferry__part_skip(ferry__kafka_part *p, int64_t offset);
bool ferry__part_full(const ferry__kafka_part *p); /* `top` must not move on */
void ferry__part_set(ferry__kafka_part *p, int64_t offset, int state);
int  ferry__part_state(const ferry__kafka_part *p, int64_t offset);

/* The metadata; `giver`: our member id, when another server takes the partition and what is UP stays with us; else NULL. */
void ferry__part_print(const ferry__kafka_part *p, const char *giver, char to[FERRY__PART_META]);

/* Who has a GIVEN one. */
const char *ferry__part_giver(const ferry__kafka_part *p, int64_t offset);

/* Receipts of frames. */
static inline uint64_t ferry__part_place(const ferry__kafka_part *p, int64_t offset)
{
    return (uint64_t)offset | (uint64_t)(p->epoch & 0xffff) << 48;
}
static inline int64_t ferry__part_offset(uint64_t place)
{
    return (int64_t)(place & 0xffffffffffff);
}
static inline bool ferry__part_current(const ferry__kafka_part *p, uint64_t place)
{
    return place >> 48 == (p->epoch & 0xffff);
}

#endif
