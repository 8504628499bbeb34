/* relay.c - one event makes another, without an outbox.
 *
 *     order.created   id, cents     -->     invoice.due   order, cents, once or (after a crash) more than once
 *
 * The usual trouble: a program handles a message, then publishes what follows from it, and dies in between. An outbox table
 * is the usual cure. Here none is needed: the event that came is finished only after its handler returned, and the handler
 * returns only when the broker has the event that follows. A crash before that brings the first one again; so does a broker
 * that takes nothing for now. Who listens to invoice.due knows a repeated one by the order in it. */
#include <ferry/ferry.h>

static void created(ferry_request *req, void *f)
{
    const char *id;
    int cents;
    char why[FERRY_WHY_SIZE];
    if (!ferry_args(req, "id", &id, "cents", &cents))
        return;
    ferry_status s = ferry_publish(f, "invoice.due", ferry_map("order", id, "cents", cents),
                                   FERRY_EVENT(.key = id, .confirm = FERRY_CONFIRMED, .within = req, .why = why));
    if (s != FERRY_OK)
        ferry_fail(req, ferry_status_name(s), "invoice.due: %s", why); /* comes again, later */
}

int main(void)
{
    ferry *f = ferry_open(NULL, FERRY_OPTIONS(.name = "relay"));
    ferry_subscribe(
        f, "order.created", created, f,
        FERRY_SUBSCRIBE(.group = "invoices", .from = FERRY_FROM_EARLIEST, .attempts = 10, .backoff_ms = 200), NULL);
    return ferry_run(f);
}
