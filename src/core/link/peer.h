/* peer.h - a name we send to, and whether anybody is alive behind it.
 *
 * A call is sent at once to a peer known to be alive; what is known is at most a second old while it is used, and any answer renews
 * it. Else the call is held until a probe answered: ALIVE sends it, NEVER ends it at once, GONE lets it wait for a server for the
 * grace. Calls that were sent when the last server went are withdrawn, or end unknown, after the same grace. Posts never wait here. */
#ifndef FERRY_LINK_PEER_H
#define FERRY_LINK_PEER_H

#include "link/backend.h"
#include "link/pending.h"

enum { FERRY__PRESENCE_UNKNOWN = -1 };

typedef struct ferry__peer {
    ferry__target       target; /* what the transport sees: first */
    struct ferry__link *link;
    struct ferry__peer *chain;
    ferry__timer        timer; /* the next look */
    ferry__list         held, flying;
    int                 presence; /* ferry__presence, or unknown */
    int64_t             checked_ms, gone_ms;
    int64_t             paced_ms; /* posts and events leave one after the other until then; 0: none does */
    bool                asking; /* a probe is under way */
    char                name[];
} ferry__peer;

typedef struct ferry__peers {
    ferry__peer *buckets[256];
    size_t       count;
} ferry__peers;

ferry__peer *ferry__peer_get(struct ferry__link *l, ferry__lane lane, const char *name, size_t length); /* NULL: no memory */
void         ferry__peers_done(ferry__peers *peers);
ferry__peer *ferry__peers_next(const ferry__peers *peers, const ferry__peer *after); /* NULL: the first, and behind the last */
/* May this call leave now? Otherwise it stays held and a probe is on its way. */
bool ferry__peer_ready(ferry__peer *peer, int64_t now_ms);
/* Is anybody known to serve it? Asks where that is not known. */
bool ferry__peer_served(ferry__peer *peer);
void ferry__peer_alive(ferry__peer *peer, int64_t now_ms); /* an answer came */
void ferry__peer_probed(ferry__peer *peer, ferry__presence presence);

#endif
