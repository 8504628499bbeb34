/* transports.c - one line a transport: it makes every conformance case run on it.
 *
 * Words in .can: "processes" = other processes on this machine reach it; "durable" = what was confirmed outlives every process;
 * "cancels" = a server can learn that its caller gave up; "withdraws" = an unread request can be taken back; "remembers" = the done
 * ids of posts are known to all servers, not only to the one that handled them; "expires" = the broker itself drops calls that are too
 * late, and no server can count them. */
#include "test.h"

TRANSPORT(mem, "mem:{name}", .can = "cancels withdraws remembers")
TRANSPORT(file, "file:{dir}/ferry.db", .can = "processes durable cancels withdraws remembers")
