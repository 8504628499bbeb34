#include "ends/settings.h"

#include "base/log.h"
#include "data/route.h"

#include <string.h>

const ferry__setting ferry__core_settings[] = {
    {"ns", FERRY__TEXT, "ferry", 0, 0, NULL,
     "prefix of every name on the broker, so that test and production can share one"},
    {"partitions", FERRY__NUMBER, "8", 1, 1024, NULL,
     "parts of a lane or domain for messages with a key; the same everywhere"},
    {"grace", FERRY__MS, "1s", 0, 3600000, NULL, "how long a call waits for a server of a name whose last one is gone"},
    {"refresh", FERRY__MS, "1s", 1, 3600000, NULL,
     "how old what is known about a name's servers may be while it is used"},
    {"backoff", FERRY__MS, "50ms", 1, 3600000, NULL, "before the second attempt to connect; doubles, with jitter"},
    {"backoff_max", FERRY__MS, "1s", 1, 3600000, NULL, "the longest wait between attempts to connect"},
    {"done_window", FERRY__MS, "10m", 1, 86400000, NULL,
     "how long the id of a handled post is remembered, to drop duplicates"},
    {"done_ids", FERRY__NUMBER, "100000", 16, 100000000, NULL, "how many ids of handled posts are remembered"},
    {"names", FERRY__TEXT, "", 0, 0, NULL,
     "services and domains that have another name on the broker: order:orders-eu,stock:stock-2, or @FILE with a pair a "
     "line"},
    {"keep", FERRY__MS, "7d", 1000, INT64_MAX / 2, NULL,
     "how long events are kept, of a domain that this program makes"},
    {"keep_bytes", FERRY__BYTES, "1g", 65536, INT64_MAX / 2, NULL, "how many bytes of events a domain keeps"},
    {"durable", FERRY__FLAG, "no", 0, 0, NULL,
     "refuse a transport or broker that would lose an accepted post when it is killed"},
    {NULL, FERRY__TEXT, NULL, 0, 0, NULL, NULL},
};

ferry_status ferry__settings_read(ferry__config *config, ferry__name **names, ferry__link *l, const ferry__url *url,
                                  char *why)
{
    const ferry__setting *t = ferry__core_settings;
    config->ns = ferry__url_text(url, t, "ns");
    if (strlen(config->ns) > 64 || strchr(config->ns, '.') || ferry__route_check(config->ns, NULL) != FERRY_OK) {
        ferry__why(why, "ns=%.40s: expected 1 to 64 of A-Z a-z 0-9 _ -", config->ns);
        return FERRY_INVALID;
    }
    config->partitions = (unsigned)ferry__url_number(url, t, "partitions");
    config->backoff_ms = (int)ferry__url_number(url, t, "backoff");
    config->backoff_max_ms = (int)ferry__url_number(url, t, "backoff_max");
    config->done_ms = ferry__url_number(url, t, "done_window");
    config->done_count = (size_t)ferry__url_number(url, t, "done_ids");
    config->keep_ms = ferry__url_number(url, t, "keep");
    config->keep_bytes = ferry__url_number(url, t, "keep_bytes");
    config->durable = ferry__url_number(url, t, "durable") != 0;
    l->grace_ms = (int)ferry__url_number(url, t, "grace");
    l->refresh_ms = (int)ferry__url_number(url, t, "refresh");
    return ferry__names_read(names, ferry__url_text(url, t, "names"), why);
}
