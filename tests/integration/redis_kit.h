/* redis_kit.h - a Redis of the case's own, on a unix socket in its directory, with an append-only file that is synced at each write. */
#ifndef FERRY_INTEGRATION_REDIS_KIT_H
#define FERRY_INTEGRATION_REDIS_KIT_H

#include "test.h"

enum { SOON_MS = 8000 };

const char *redis_socket(void);
test_output redis(const char *command); /* redis-cli: the command and its arguments, as a shell wants them */
void        redis_begin(const char *more); /* skips the case where there is no Redis; starts one with these options, too */
void        redis_start(const char *more); /* again, with what it had; returns when it answers */
pid_t       redis_pid(void);
void        redis_stop(int signal);
int         redis_port(void); /* one that nobody listens on, for this case alone */

ferry       *redis_handle(const char *query, const ferry_options *options); /* with short times, and what query adds */
ferry       *redis_ready(const char *query);
ferry       *redis_serve(const char *route, ferry_handler_fn *handler, void *arg);
ferry_status redis_get(ferry *c, const char *route, int ms);
void         redis_shut(ferry *s, ferry *c); /* closes both and ends the Redis */

void redis_count(ferry_request *req, void *counter); /* counts in an atomic_int, answers the count */

#endif
