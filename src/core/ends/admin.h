/* admin.h - questions about the broker itself, as the tool asks them: dead letters, domains of events, facts for a person. */
#ifndef FERRY_ENDS_ADMIN_H
#define FERRY_ENDS_ADMIN_H

#include "data/route.h"
#include "ends/handle.h"

/* One question under way. It stays with the transport until answered, so one whose asker gave up frees itself then. */
typedef struct ferry__question {
    ferry__admin   admin; /* first */
    ferry__waiter *waiter;
    bool           answered, forgotten;
    char           name[FERRY__ROUTE_MAX + 80], id[128], after[64], group[80]; /* what admin's texts point to */
} ferry__question;

/* One command. */
typedef struct ferry__command {
    ferry             *f;
    const ferry_value *args;
    int64_t            until_ms;
    ferry_status       status;
    char               why[FERRY_WHY_SIZE];
    ferry_value       *result;
    const char        *service;
    char               name[FERRY__ROUTE_MAX + 80];
} ferry__command;

/* What args[key] names, as the broker has it; NULL: absent. One at a time. */
const char *ferry__command_name(ferry__command *c, const char *key);

bool ferry__command_fail(ferry__command *c, ferry_status status, const char *why); /* answers false */
/* Asks and waits. The question is the caller's afterwards, to be ended by forget; NULL: failed, c says why. */
ferry__question *ferry__admin_ask(ferry__command *c, const ferry__admin *what);
void             ferry__forget(ferry__question *q);

void ferry__admin_answered(ferry__link *l, ferry__admin *admin); /* with the lock held */

#endif
