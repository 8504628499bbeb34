/* redis_events_kit.h - handles on the redis transport without the core, for events: a scripted core that notes what it is told. */
#ifndef FERRY_UNIT_REDIS_EVENTS_KIT_H
#define FERRY_UNIT_REDIS_EVENTS_KIT_H

#include "backends/redis/event.h"
#include "test.h"

typedef struct side {
    ferry__up     up; /* first */
    void         *self;
    ferry__config config;
    ferry__url    url;
    ferry__log    log;
    ferry__target topic;
    ferry__wish   wish;
    char          box[160];
    ferry__source events, posts;
    uint64_t      serial;
    ferry__frames got, retried; /* handed up, in order */
    size_t        accepted, refused, lost, settled, unsettled, answered;
    ferry_status  status; /* of the last refusal or broken */
    char          why[FERRY_WHY_SIZE];
    bool          up_now, holds; /* holds: what comes is kept, else settled at once */
    unsigned      ready, caught_up, broken;
    uint8_t      *seen;          /* by number: how often it came */
    uint32_t      seen_room, distinct, doubles;
    uint32_t      last[64];      /* by key: the last number, to see that order holds */
    unsigned      disorder;
} side;

void redis_start(const char *more); /* a server of the case's own, on a socket in its directory */
void redis_end(void);
void redis_kill(void); /* -9 */
const char *redis_says(const char *command);

side *redis_side(const char *query, void (*set)(ferry__config *c)); /* opened and up */
void  redis_close_side(side *s);
void  redis_drop(side *s);                        /* as if killed */
void  redis_group(side *s, const char *domain, const char *group, int from);
void  redis_broadcast(side *s, const char *domain, int from);
void  redis_unlisten(side *s);
void  redis_seek_to(side *s, int from, const char *position, int64_t time_ms);
void  redis_publish(side *s, uint32_t number, uint32_t key); /* key 0: none; else its part is key % 8 + 1 */
void  redis_publish_all(side *s, uint32_t from, uint32_t to, uint32_t keys); /* and wait for the outcomes */
void  redis_turn(side *s);
uint32_t redis_number(const ferry__frame *f);
ferry__frame *redis_take(side *s); /* the first of those that were kept */
ferry__admin  redis_ask(side *s, ferry__admin about);
const char   *redis_position(side *s, int64_t *lag);

/* Turns all (any may be NULL) until it is so; fails after 10 s. */
#define REDIS_UNTIL(a, b, c, cond)                                                  \
    do {                                                                            \
        side *sides_[] = {a, b, c};                                                 \
        for (int64_t end_ = test_now_ms() + test_ms(10000); !(cond);) {             \
            if (test_now_ms() > end_)                                               \
                FAIL("never so: %s", #cond);                                        \
            for (int i_ = 0; i_ < 3; i_++)                                          \
                if (sides_[i_])                                                     \
                    redis_turn(sides_[i_]);                                         \
        }                                                                           \
    } while (0)
#define NONE ((side *)NULL)

#endif
