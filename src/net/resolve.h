/* resolve.h - a name and a port become addresses, on a thread of their own: getaddrinfo blocks as long as the name servers please.
 *
 * The look-up is a mailbox with two holders, the thread and the owner; whoever lets go last frees it. The owner may let go at any
 * time: the thread then finds nobody and calls nobody. An address in numbers needs no thread and is there at once. getaddrinfo(3) */
#ifndef FERRY_NET_RESOLVE_H
#define FERRY_NET_RESOLVE_H

#include <ferry/ferry.h>
#include <netdb.h>
#include <stdbool.h>

typedef struct ferry__resolve ferry__resolve;

/* NULL: out of memory, or of threads. wake (may be NULL) is called from the thread, once, when the answer is there. */
ferry__resolve *ferry__resolve_start(const char *host, const char *port, void (*wake)(void *arg), void *arg);

bool ferry__resolve_done(ferry__resolve *r);
/* Of one that is done: the addresses, which live as long as r; or NULL with the status and the reason. */
const struct addrinfo *ferry__resolve_list(const ferry__resolve *r, ferry_status *status, const char **why);

void ferry__resolve_free(ferry__resolve *r);
void ferry__resolve_abandon(ferry__resolve *r); /* in a forked child, which has no such thread: memory only */

#endif
