/* groups.c - who gets an event: one of each group, and everybody without a group.
 *
 * Two instances of a program, here two handles. Each listens to parcel.* three times: in the group "billing", in the group
 * "mailer", and without one, to keep a cache of its own. */
#include <ferry/ferry.h>

#include <poll.h>
#include <stdatomic.h>

enum { PARCELS = 12, INSTANCES = 2 };

typedef struct instance {
    ferry     *f;
    atomic_int billed, mailed, cached;
} instance;

static void count(ferry_request *req, void *counter)
{
    (void)req;
    atomic_fetch_add((atomic_int *)counter, 1);
}

static void start(instance *i)
{
    i->f = ferry_open(NULL, FERRY_OPTIONS(.name = "parcels"));
    ferry_subscribe(i->f, "parcel.*", count, &i->billed, FERRY_SUBSCRIBE(.group = "billing"), NULL);
    ferry_subscribe(i->f, "parcel.*", count, &i->mailed, FERRY_SUBSCRIBE(.group = "mailer"), NULL);
    ferry_subscribe(i->f, "parcel.*", count, &i->cached, NULL, NULL);
    ferry_serve(i->f);
    if (ferry_wait_ready(i->f, 10000) != FERRY_OK) /* from here on it misses nothing */
        fputs("groups: not connected\n", stderr);
}

static int total(instance *all)
{
    int n = 0;
    for (int i = 0; i < INSTANCES; i++)
        n += atomic_load(&all[i].billed) + atomic_load(&all[i].mailed) + atomic_load(&all[i].cached);
    return n;
}

int main(void)
{
    static instance all[INSTANCES];
    for (int i = 0; i < INSTANCES; i++)
        start(&all[i]);
    for (int n = 0; n < PARCELS; n++)
        ferry_publish(all[0].f, n % 2 ? "parcel.sent" : "parcel.packed", ferry_map("parcel", n), NULL);
    for (int ms = 0; total(all) < PARCELS * (2 + INSTANCES) && ms < 10000; ms++)
        poll(NULL, 0, 1);
    int billed = 0, mailed = 0;
    for (int i = 0; i < INSTANCES; i++) {
        billed += atomic_load(&all[i].billed);
        mailed += atomic_load(&all[i].mailed);
    }
    printf("published: %d\nbilled by one of the two: %d\nmailed by one of the two: %d\n", PARCELS, billed, mailed);
    for (int i = 0; i < INSTANCES; i++) {
        printf("cached by instance %d: %d\n", i + 1, atomic_load(&all[i].cached));
        ferry_close(all[i].f);
    }
    return 0;
}
