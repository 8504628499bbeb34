/* known.h - the ids of posts that came to this handle lately, each with the place it came from: one that stands in the topic twice,
 * because its sender could not know whether the first was taken, is handled once. The same place again is no repetition: it is a
 * message that is read again. One that is moved, to be retried or as a dead letter, is forgotten: its copy is to be handled.
 *
 * A ring with a hash over it: the oldest falls out when it is full, and counts for nothing when its time is past. */
#ifndef FERRY_KAFKA_KNOWN_H
#define FERRY_KAFKA_KNOWN_H

#include "wire/frame.h"

typedef struct ferry__kafka_known ferry__kafka_known;

ferry__kafka_known *ferry__known_new(size_t count, int64_t keep_ms); /* NULL: no memory */
void                ferry__known_free(ferry__kafka_known *k);
bool                ferry__known_take(ferry__kafka_known *k, const ferry__id *id, uint64_t place, int64_t now_ms); /* false: a repetition */
void                ferry__known_forget(ferry__kafka_known *k, const ferry__id *id);

#endif
