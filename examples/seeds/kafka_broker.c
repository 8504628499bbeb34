/* kafka_broker.c - the examples of the Kafka Broker document: an event router, an answer awaited by its correlation id, a loop
 * over all that came.
 *
 *     EventRouter("module"), @test_router.bind_event("return")     ferry_handle of one dotted name, brought by ferry_by_route
 *     broker_manager.produce("SomeModule", event_object)           ferry_publish
 *     consumer_storage.consume(correlation_id)                     ferry_receive_for, with a time limit
 *     consumer_storage.receive(), poll(), consume_all()            ferry_receive: waiting, not waiting, until there is none
 *     EventObject.audit_log                                        ferry_hop, ferry_trail; in shell: ferry trail ID
 *
 * Answers go to every instance of the caller, so it works with more than one of them; the storage is bounded; and where one
 * only wants an answer, ferry_get is shorter. */
#include <ferry/ferry.h>

#include <string.h>
#include <unistd.h>

enum { WAIT_MS = 10000 };

/* ---- SomeModule ---- */

static void return_event(ferry_request *req, void *f)
{
    const char *text;
    if (!ferry_args(req, "text", &text))
        return;
    ferry_hop(req, "returned", ferry_map("length", strlen(text)));
    ferry_publish(f, "caller.test.respond", ferry_map("text", text, "length", strlen(text)),
                  FERRY_EVENT(.within = req, .confirm = FERRY_CONFIRMED)); /* the correlation id goes along, the trail too */
}

/* ---- the caller ---- */

static void send_and_wait(ferry *f, ferry_subscription *storage, const char *correlation)
{
    ferry_publish(f, "SomeModule.test.return", ferry_map("text", "hello"), FERRY_EVENT(.correlation = correlation));
    ferry_request *answer = ferry_receive_for(storage, correlation, WAIT_MS);
    if (!answer)
        fputs("no answer in time\n", stderr);
    else
        printf("answer: %lld bytes\n", (long long)ferry_as_int(ferry_find(ferry_request_data(answer), "length"), -1));
    ferry_done(answer);
}

static void show_trail(ferry *f, const char *correlation)
{
    char why[FERRY_WHY_SIZE] = "";
    ferry_value *hops = ferry_trail(f, correlation, WAIT_MS, why);
    for (size_t i = 0; i < ferry_count(hops); i++)
        printf("hop: %s\n", ferry_as_string(ferry_find(ferry_at(hops, i), "what"), "?"));
    if (!hops)
        printf("no trail: %s\n", why); /* where the broker keeps no history */
    ferry_value_free(hops);
}

static void run_on_all(ferry *f, ferry_subscription *storage)
{
    ferry_request *event;
    int n = 0;
    for (int i = 0; i < 3; i++)
        ferry_publish(f, "SomeModule.test.return", ferry_map("text", "abc"), FERRY_EVENT(.key = "one"));
    for (; n < 3 && (event = ferry_receive(storage, WAIT_MS)); n++) {
        printf("event %d: %s\n", n + 1, ferry_as_string(ferry_find(ferry_request_data(event), "text"), "?"));
        ferry_done(event);
    }
}

int main(void)
{
    ferry_subscription *storage = NULL;
    ferry *module = ferry_open(NULL, FERRY_OPTIONS(.name = "SomeModule")),
          *f = ferry_open(NULL, FERRY_OPTIONS(.name = "caller"));
    ferry_subscribe(module, "SomeModule.test.return", return_event, module, FERRY_SUBSCRIBE(.group = "SomeModule"),
                    NULL);
    ferry_serve(module);
    ferry_subscribe(f, "caller.**", NULL, NULL, NULL, &storage); /* no handler: it collects, in the background */
    if (ferry_wait_ready(module, WAIT_MS) != FERRY_OK || ferry_wait_ready(f, WAIT_MS) != FERRY_OK)
        return 1;
    char correlation[64]; /* a new one each time, as uuid4() there */
    snprintf(correlation, sizeof correlation, "request-%ld", (long)getpid());
    send_and_wait(f, storage, correlation);
    ferry_flush(module, WAIT_MS); /* the hop is on its way: now it is stored */
    show_trail(f, correlation);
    run_on_all(f, storage);
    ferry_unsubscribe(storage);
    ferry_close(f);
    return ferry_close(module) != FERRY_OK;
}
