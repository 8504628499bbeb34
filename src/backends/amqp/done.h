/* done.h - the ids of posts that this handle handles or has handled lately, so that one that came twice is handled once.
 *
 * BUSY from the moment it is handed up, DONE once its handler had ended and it was settled; one that is tried again, or given back, is
 * forgotten. A second message with the id of a busy one may be dropped at once: the first is with the broker until it is settled. That
 * holds for one connection only: what comes again behind a new one may be that first itself. */
#ifndef FERRY_AMQP_DONE_H
#define FERRY_AMQP_DONE_H

#include "wire/frame.h"

typedef struct ferry__amqp_done ferry__amqp_done;

ferry__amqp_done *ferry__amqp_done_new(size_t count, int64_t keep_ms); /* NULL: no memory */
void              ferry__amqp_done_free(ferry__amqp_done *d);
bool              ferry__amqp_done_take(ferry__amqp_done *d, const ferry__id *id, uint32_t epoch, int64_t now_ms); /* false: a repetition */
void              ferry__amqp_done_settled(ferry__amqp_done *d, const ferry__id *id, int64_t now_ms);
void              ferry__amqp_done_forget(ferry__amqp_done *d, const ferry__id *id);

#endif
