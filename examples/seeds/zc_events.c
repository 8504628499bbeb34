/* zc_events.c - the examples of the zc_events document: call without waiting, call and wait, get errors; events of a service.
 *
 *     def add(request): return {'answer': ...}            add
 *     zc_events.post_no_wait('add', data={...})           ferry_post_no_wait
 *     response = zc_events.get('add', data={...})         ferry_get; ferry_data, ferry_has_errors, ferry_error_at
 *     get_remote_resource('Order', '23131024')            ferry_get of order.get
 *     microservice_event(event_type, **kwargs)            ferry_subscribe 'order.*': the type is the topic's last word
 *     BROKER_URL, EVENTS_EXCHANGE, CELERY_QUEUES          FERRY_URL, ?ns=; queues make themselves
 *
 * A name that nobody serves is told at once, not after 30 seconds; what is posted without waiting is on disk when it is said
 * to be; each service reads only what is meant for it. */
#include <ferry/ferry.h>

#include <poll.h>
#include <stdatomic.h>
#include <string.h>

static atomic_int posted, happened;

/* ---- server side ---- */

static void add(ferry_request *req, void *arg)
{
    int x, y;
    (void)arg;
    if (!ferry_args(req, "x", &x, "y", &y))
        return;
    ferry_respond(req, ferry_map("answer", x + y));
    atomic_fetch_add(&posted, ferry_request_remaining_ms(req) < 0); /* nobody waits */
}

static void get_order(ferry_request *req, void *arg)
{
    const char *id;
    (void)arg;
    if (ferry_args(req, "id", &id))
        ferry_respond(req, ferry_map("id", id, "name", "Lunch for twelve"));
}

static void microservice_event(ferry_request *req, void *arg)
{
    const char *type = strrchr(ferry_request_route(req), '.') + 1;
    const ferry_value *data = ferry_request_data(req);
    (void)arg;
    printf("%s event for object (%s:%s) and user %s\n", type, ferry_as_string(ferry_find(data, "resource_type"), "?"),
           ferry_as_string(ferry_find(data, "resource_id"), "?"), ferry_as_string(ferry_find(data, "user_id"), "?"));
    atomic_fetch_add(&happened, 1);
}

/* ---- client side ---- */

static void print(ferry_reply *r)
{
    if (ferry_has_errors(r)) {
        const ferry_error *e = ferry_error_at(r, 0);
        printf("error: %s: %s\n", e->type, e->message);
    } else {
        printf("answer: %lld\n", (long long)ferry_as_int(ferry_find(ferry_data(r), "answer"), -1));
    }
    ferry_reply_free(r);
}

static void until(const atomic_int *counter, int n)
{
    for (int ms = 0; atomic_load(counter) < n && ms < 10000; ms++)
        poll(NULL, 0, 1);
}

int main(void)
{
    ferry *server = ferry_open(NULL, FERRY_OPTIONS(.name = "slots_and_orders")), *f = ferry_open(NULL, NULL);
    ferry_handle(server, "math.add", add, NULL, NULL);
    ferry_handle(server, "order.get", get_order, NULL, NULL);
    ferry_subscribe(server, "order.*", microservice_event, NULL, FERRY_SUBSCRIBE(.group = "slots_and_orders"), NULL);
    ferry_serve(server);
    if (ferry_wait_ready(server, 10000) != FERRY_OK)
        return 1;

    ferry_post_no_wait(f, "math.add", ferry_map("x", 1, "y", 1), NULL);
    until(&posted, 1);
    printf("posted: %d\n", atomic_load(&posted));
    print(ferry_get(f, "math.add", ferry_map("x", 1, "y", 1), NULL));
    print(ferry_get(f, "math.add", ferry_map("x", 1), NULL));

    ferry_reply *order = ferry_get(f, "order.get", ferry_map("id", "23131024"), NULL);
    printf("order name: %s\n", ferry_as_string(ferry_find(ferry_data(order), "name"), "?"));
    ferry_reply_free(order);

    ferry_publish(f, "order.updated", ferry_map("resource_type", "Order", "resource_id", "23131024", "user_id", "7"),
                  NULL);
    until(&happened, 1);
    ferry_close(f);
    return ferry_close(server) != FERRY_OK;
}
