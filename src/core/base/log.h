/* log.h - one line to the program's log callback. The library prints nothing by itself. */
#ifndef FERRY_BASE_LOG_H
#define FERRY_BASE_LOG_H

#include <ferry/ferry.h>
#include <syslog.h> /* the levels */

typedef struct ferry__log {
    ferry_log_fn *line; /* NULL: nobody listens */
    void         *arg;
} ferry__log;

void ferry__log_print(const ferry__log *log, int level, const char *format, ...) FERRY_PRINTF(3, 4);

/* The reason for a failure, with its fix, for a person: FERRY_WHY_SIZE bytes. `to` may be NULL. */
void ferry__why(char *to, const char *format, ...) FERRY_PRINTF(2, 3);

#endif
