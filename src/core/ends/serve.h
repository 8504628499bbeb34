/* serve.h - receiving: from a frame that arrived to the settlement of its request. */
#ifndef FERRY_ENDS_SERVE_H
#define FERRY_ENDS_SERVE_H

#include "ends/handle.h"

/* One name we serve: three sources, and how many frames of each we hold. */
typedef struct ferry__service {
    struct ferry__service *next;
    ferry__source          calls, posts, controls;
    size_t                 asked[2]; /* credit given and not used, of calls and posts */
    size_t                 held[2];  /* received, neither finished nor deferred */
    bool                   listening;
    char                   name[];
} ferry__service;

extern const ferry__hooks ferry__serve_hooks;

void ferry__serve_init(ferry *f);

/* With the lock held. */
ferry_status ferry__serve_begin(ferry *f);                          /* listens for all that is handled */
void         ferry__serve_undo(ferry *f);                           /* serving could not begin */
ferry_status ferry__serve_name(ferry *f, const char *name, size_t length); /* one more service */
void         ferry__serve_drain(ferry *f);                          /* nothing new; hands back what was not begun */
bool         ferry__serves(const ferry *f, const char *name);
bool         ferry__serve_quiet(const ferry *f);                    /* nothing runs, is deferred or unsettled */
void         ferry__serve_done(ferry *f);                           /* frees */

/* A request's handler has ended, or it was deferred and is done: answer, settle, free. Without the lock. */
void ferry__serve_finish(ferry_request *req);

#endif
