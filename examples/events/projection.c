/* projection.c - a table rebuilt from events: from the earliest at every start, then live.
 *
 *     order.created   customer, cents        get sales.of   customer        {"orders", "cents", "live"}
 *
 * No group, so every instance reads all of it and keeps its own table; nothing is stored anywhere but in the events. Until it
 * has caught up its answers are true but old: it says so. One worker, the default, so the table needs no lock. */
#include <ferry/ferry.h>

#include <stdatomic.h>
#include <string.h>

enum { CUSTOMERS = 1000 };

static struct {
    char      name[64];
    long long orders, cents;
} table[CUSTOMERS];
static size_t customers;
static atomic_bool live;

static size_t find(const char *name)
{
    size_t i = 0;
    while (i < customers && strcmp(table[i].name, name) != 0)
        i++;
    return i;
}

static void created(ferry_request *req, void *arg)
{
    const char *customer;
    int cents;
    (void)arg;
    if (!ferry_args(req, "customer", &customer, "cents", &cents)) /* BAD_DATA: a dead letter at once, never a loop */
        return;
    size_t i = find(customer);
    if (i == CUSTOMERS || strlen(customer) >= sizeof table[i].name) {
        ferry_reject(req, "this example has room for a thousand customers with short names");
        return;
    }
    if (i == customers)
        snprintf(table[customers++].name, sizeof table[i].name, "%s", customer);
    table[i].orders++;
    table[i].cents += cents;
}

static void of(ferry_request *req, void *arg)
{
    const char *customer;
    (void)arg;
    if (!ferry_args(req, "customer", &customer))
        return;
    size_t i = find(customer);
    bool known = i < customers;
    ferry_respond(req, ferry_map("orders", known ? table[i].orders : 0, "cents", known ? table[i].cents : 0, "live",
                                 (bool)atomic_load(&live)));
}

/* All that was stored when we began is handled. From now on the table is never further behind than the last event. */
static void caught_up(ferry_subscription *s, void *arg)
{
    (void)s;
    (void)arg;
    atomic_store(&live, true);
    fputs("projection: live\n", stderr);
}

/* What we wanted to read next is not kept any more: the table would have a hole. */
static void lost(ferry_subscription *s, void *arg)
{
    (void)s;
    fputs("projection: events are missing, starting over is no help: they are gone\n", stderr);
    ferry_stop(arg);
}

int main(void)
{
    ferry *f = ferry_open(NULL, FERRY_OPTIONS(.name = "projection"));
    ferry_handle(f, "sales.of", of, NULL, FERRY_HANDLE(.verbs = FERRY_GET));
    ferry_subscribe(f, "order.created", created, f,
                    FERRY_SUBSCRIBE(.from = FERRY_FROM_EARLIEST, .on_caught_up = caught_up, .on_lost = lost), NULL);
    return ferry_run(f);
}
