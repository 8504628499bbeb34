/* wire.h - frames as Kafka records; docs/wire.md has the layout.
 *
 * Calls and answers are private to ferry and bound by a deadline: one packed frame as the value. Posts and events are there for others
 * too: the body is the value, the fields are headers that a person can read. */
#ifndef FERRY_KAFKA_WIRE_H
#define FERRY_KAFKA_WIRE_H

#include "wire/frame.h"

#include <librdkafka/rdkafka.h>

#define FERRY__WIRE_MARK "ferry-mark" /* the key of a record that says which offset of its partition is done */
/* That offset; -1: it is none. */
int64_t ferry__wire_mark(const rd_kafka_message_t *m);

/* When a call was sent, by its own stamp; INT64_MAX: it is none. */
int64_t ferry__wire_time(const rd_kafka_message_t *m);

size_t ferry__wire_packed(const ferry__frame *f);
void   ferry__wire_pack(const ferry__frame *f, void *to); /* the deadline as the time from the message's own on */

/* NULL: nothing of ours, or NO_MEMORY in *why. due_ms: of one that is to be retried, wall clock. */
ferry__frame *ferry__wire_request(const rd_kafka_message_t *m, bool call, int64_t now_ms, int64_t *due_ms,
                                  ferry_status *why);
ferry__frame *ferry__wire_reply(const rd_kafka_message_t *m);

enum { FERRY__WIRE_HEAD = 512 /* of a stored event: id, type, part, source in one header */ };
enum { FERRY__WIRE_FIELDS = 20, FERRY__WIRE_PROGRAM = 64 /* headers of the program's own */ };

/* Headers as librdkafka takes them, and the texts they point to. It copies them: with a list of its own it would have to be known
 * who frees that after a failure, and before 2.12 both do. */
typedef struct ferry__wire_post {
    rd_kafka_vu_t fields[FERRY__WIRE_FIELDS + FERRY__WIRE_PROGRAM];
    size_t        count;
    ferry_value  *program; /* decoded: the fields point into it */
    char          id[FERRY__ID_TEXT], numbers[4][24], head[FERRY__WIRE_HEAD];
    size_t        used;
} ferry__wire_post;
/* due_ms: 0: not to be retried. stored: an event in the topic of its domain, whose record has its time. */
void ferry__wire_headers(ferry__wire_post *p, const ferry__frame *f, int64_t due_ms, bool stored);
void ferry__wire_headers_done(ferry__wire_post *p);

#endif
