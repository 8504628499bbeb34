/* callbacks.h - the thread that runs the program's callbacks (answers, drops), so that no handler delays them and they delay no
 * handler. Started with the first callback. In a foreign loop ferry_process runs them instead. */
#ifndef FERRY_ENDS_CALLBACKS_H
#define FERRY_ENDS_CALLBACKS_H

#include "base/bell.h"
#include "base/list.h"

#include <ferry/ferry.h>
#include <pthread.h>

typedef struct ferry__callback {
    ferry__node node;
    void (*run)(struct ferry__callback *c); /* without the lock; frees itself */
} ferry__callback;

typedef struct ferry__callbacks {
    ferry__list queue;
    ferry__bell bell;
    pthread_t   thread;
    bool        runs, quit;
    size_t      running; /* taken and not ended */
} ferry__callbacks;

void ferry__callbacks_init(ferry__callbacks *c);
void ferry__callbacks_add(ferry *f, ferry__callback *c); /* with the lock held */
void ferry__callbacks_run(ferry *f);                     /* all that are queued; without the lock */
/* Ends the thread once the queue is empty, or leaves it behind after until_ms: false. Without the lock. */
bool ferry__callbacks_stop(ferry *f, int64_t until_ms);

#endif
