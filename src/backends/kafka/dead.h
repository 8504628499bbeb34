/* dead.h - dead letters: one compacted topic a service, NS.SERVICE.dead, key = message id "/" time of burial; a tombstone removes.
 * With the id alone as the key, the tombstone of one that was sent back could come behind its next burial and remove that.
 *
 * All of it runs on the helper thread, with a client of its own: a fetch that waits would hold up everything else on its connection.
 * What is alive in a box is kept as an index (key, offset) that each question brings up to date by reading on from where it stood. */
#ifndef FERRY_KAFKA_DEAD_H
#define FERRY_KAFKA_DEAD_H

#include "backends/kafka/kafka.h"

typedef struct ferry__dead_letter {
    int64_t offset;
    char   *key;
} ferry__dead_letter;

typedef struct ferry__dead_box {
    struct ferry__dead_box *next;
    rd_kafka_topic_t       *topic;
    int64_t                 read; /* next to be read; -1: nothing yet */
    ferry__dead_letter     *letters; /* by offset */
    size_t                  count, room;
    uint64_t                hash; /* of the name: the order of boxes, and the cursor's first half */
    char                    name[]; /* the service */
} ferry__dead_box;

rd_kafka_t *ferry__dead_client(ferry__kafka *k, char *why); /* the helper's own consumer; NULL: why */
void ferry__dead_browse(ferry__kafka *k, ferry__admin *a);
/* OK and count 1: the driver shall write a tombstone for `key`. */
void ferry__dead_find(ferry__kafka *k, ferry__admin *a, char **key);
void ferry__dead_done(ferry__kafka *k);

#endif
