/* kit.h - what the conformance cases share: handlers, checks of a reply, and a clock that knows a late machine from a late ferry.
 *
 * Cases use the public header only, never ask which transport they run on, and wait for conditions, not for times. Where a
 * transport has an ability that others lack, the case names it in .needs (transports.c has the words). */
#ifndef FERRY_CONFORMANCE_KIT_H
#define FERRY_CONFORMANCE_KIT_H

#include "test.h"

#include <stdatomic.h>

/* ---- Handles ---- */

ferry *kit_open(const ferry_options *options); /* of the case's transport */
/* Opens, handles one route, serves, and waits until the service is seen by others. */
ferry *kit_serve(const char *route, ferry_handler_fn *handler, void *arg);
ferry *kit_serve_with(const ferry_options *options, const char *route, ferry_handler_fn *handler, void *arg,
                      const ferry_handle_options *how);
void   kit_start(ferry *f, const char *service); /* ferry_serve, then waits as above */
void   kit_await_service(const char *service);   /* until a stranger's call to it is answered, if only with NOT_FOUND */
void   kit_await_gone(const char *service);      /* until a stranger's call to it is NO_SERVICE */
void   kit_close(ferry *f);                      /* must answer OK */
const char *kit_url(const char *decorators, const char *query); /* "fault+" and "drop=1", added to the case's URL */

/* ---- Handlers ---- */

void kit_echo(ferry_request *req, void *arg);      /* answers what came */
void kit_count(ferry_request *req, void *counter); /* counts in an atomic_int, answers the count */
void kit_fail(ferry_request *req, void *counter);  /* counts (NULL: does not), fails with "Broken: on purpose" */

/* A handler that stands still until it is told to go on. */
typedef struct kit_gate {
    atomic_int  entered, left;
    atomic_bool open;
} kit_gate;
void kit_gated(ferry_request *req, void *gate); /* then echoes */

/* ---- Replies: each check takes the reply ---- */

#define KIT_ENDS(reply, status, outcome) kit_ends(__FILE__, __LINE__, #reply, (reply), (status), (outcome))
#define KIT_UNDONE(reply, status)        kit_undone(__FILE__, __LINE__, #reply, (reply), (status)) /* NOT_SENT or NOT_EXECUTED */
#define KIT_INT(reply, want)             kit_int(__FILE__, __LINE__, #reply, (reply), (want))
#define KIT_OK(reply)                    KIT_ENDS(reply, FERRY_OK, FERRY_OUTCOME_EXECUTED)
void kit_ends(const char *file, int line, const char *what, ferry_reply *r, ferry_status status, ferry_outcome outcome);
void kit_undone(const char *file, int line, const char *what, ferry_reply *r, ferry_status status);
void kit_int(const char *file, int line, const char *what, ferry_reply *r, int64_t want);

int64_t kit_stat(const ferry *f, const char *name); /* fails the case if there is no such number */

/* Dead letters of a service: how many; and all of them, a list the caller frees. */
size_t       kit_dead_count(ferry *f, const char *service);
ferry_value *kit_dead(ferry *f, const char *service);

/* ---- Time ---- */

/* run(arg) must take so long. When it took longer although the machine was late by as much, it counts; else two more tries. */
void kit_takes(int least_ms, int most_ms, void (*run)(void *arg), void *arg);
enum {
    KIT_LATE_MS = 50 /* a call ends by its deadline and so much */,
    KIT_SOON_MS = 8000 /* the limit of a wait that must succeed */
};

/* ---- A log that several processes append to, one line a write ---- */

void kit_log(const char *name, const char *format, ...) FERRY_PRINTF(2, 3);
int  kit_log_lines(const char *name, const char *start); /* how many lines begin so */

#endif
