/* transports.c - one line a transport: it makes every conformance case run on it.
 *
 * Words in .can: "processes" = other processes on this machine reach it; "durable" = what was confirmed outlives every process;
 * "cancels" = a server can learn that its caller gave up; "withdraws" = an unread request can be taken back; "remembers" = the done
 * ids of posts are known to all servers, not only to the one that handled them; "exact" = an acknowledgement is there with the end of
 * the handler, so that a kill repeats nothing that had ended; "expires" = the broker itself drops calls that are too
 * late, and no server can count them; "events" = it carries events; "replays" = it keeps them; "trims" = what passes keep_bytes is gone
 * at once. */
#include "test.h"

TRANSPORT(mem, "mem:{name}", .can = "cancels withdraws remembers events replays trims")
TRANSPORT(file, "file:{dir}/ferry.db",
          .can = "processes durable cancels withdraws remembers exact events replays trims")

/* Those that need a server: tools/brokers starts it and tells where it is. */
#ifdef FERRY_WITH_REDIS
TRANSPORT(redis, "redis://{FERRY_TEST_REDIS}/?ns={name}&lease=500ms&look=100ms&backoff_max=500ms",
          .can = "processes durable cancels withdraws remembers events replays trims")
TRANSPORT(redispubsub, "redis://{FERRY_TEST_REDIS}/?ns={name}&lease=500ms&look=100ms&backoff_max=500ms&reply=pubsub",
          .can = "processes durable cancels withdraws remembers events replays trims")
#endif
#ifdef FERRY_WITH_AMQP
TRANSPORT(amqp, "amqp://ferry:secret@{FERRY_TEST_AMQP}/ferry?ns={name}&tier=2ms&partitions=3",
          .can = "processes durable cancels expires events")
TRANSPORT(amqpdirect,
          "amqp://ferry:secret@{FERRY_TEST_AMQP}/ferry?ns={name}&queue=classic&reply=direct&events=stream&tier=2ms&"
          "partitions=3",
          .can = "processes durable cancels expires events replays")
#endif
#ifdef FERRY_WITH_KAFKA
TRANSPORT(kafka, "kafka://{FERRY_TEST_KAFKA}?ns={name}&partitions=2&replies=2&session=1s&heartbeat=200ms&posts_ahead=1",
          .can = "processes durable spreads threads events replays")
#endif
