/* file_kit.h - one handle on the file transport without the core: a scripted core that notes what it is told. */
#ifndef FERRY_UNIT_FILE_KIT_H
#define FERRY_UNIT_FILE_KIT_H

#include "backends/file/pipe.h"
#include "test.h"

typedef struct side {
    ferry__up     up; /* first */
    ferry__file  *file;
    ferry__config config;
    ferry__url    url;
    ferry__log    log;
    ferry__target calls, posts, controls, events;
    ferry__source from_calls, from_posts, from_controls, from_replies;
    uint64_t      serial;
    ferry__frames got, replies, cancels; /* handed up, in order */
    size_t        accepted, refused, settled, unsettled, answered;
    size_t        ready, caught_up, broken; /* of subscriptions */
    ferry_status  status; /* of the last refusal, or of what is not up */
    char          why[FERRY_WHY_SIZE];
    int           withdrawn; /* -1: no answer yet */
    int           presence;  /* -1: not known */
    bool          up_now;
    ferry__state  state;
    char          logged[FERRY_WHY_SIZE];
} side;

extern const ferry__backend *const file_backend;
extern const char *file_query; /* appended to the URL of what is opened next */

side *file_side(const char *path);               /* opened, not yet up; listens for replies */
side *file_up(const char *path);                 /* and up */
side *file_server(const char *path, int credit); /* and serves calls, posts and controls of "calc" with that credit each */
void  file_end(side *s);                         /* closes */
void  file_turn(side *s);                        /* flush, step, pump */
void  file_turns(side *a, side *b);              /* b may be NULL */
void  file_rest(side *s);                        /* waits as the core would */

ferry__frame *file_frame(side *s, ferry__kind kind, const char *body); /* with the next serial, 10 s to go */
ferry__frame *file_call(side *s, const char *body);                    /* sent; the answer is borrowed from the transport: one own reference */
void          file_post(side *s, const char *body, uint32_t part);
void          file_answer(side *s, ferry__frame *call, const char *body); /* and settled */
const char   *file_body(ferry__frame *f);
ferry__presence file_presence(side *s, ferry__target *t);
bool          file_withdraws(side *s, ferry__frame *sent);
int64_t       file_sql(const char *path, const char *question); /* one number, through a connection of its own */

/* Turns both (b may be NULL) until it is so; fails after 5 s. */
#define FILE_UNTIL(a, b, cond)                                            \
    do {                                                                  \
        for (int64_t end_ = test_now_ms() + test_ms(5000); !(cond);) {    \
            if (!test_pause(end_))                                        \
                FAIL("never so: %s", #cond);                              \
            file_turns(a, b);                                             \
        }                                                                 \
    } while (0)
#define NOBODY ((side *)NULL)

#endif
