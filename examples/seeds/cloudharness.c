/* cloudharness.c - the examples of the CloudHarness events document: data change events, a generic event, a queue.
 *
 *     @send_event(message_type="my_object", operation="create")     a wrapper around the function: create_my_object
 *     EventClient("my_object").async_consume(handler, group_id)     ferry_subscribe, on_change
 *     EventClient("my-topic").async_consume(my_callback)            ferry_subscribe, my_callback
 *     notify_queue("my-topic", {"a": "b"})                          ferry_publish; in shell: ferry notify
 *     create_topic()                                                not needed: the first event makes it; ferry topic create
 *
 * What is better here: the broker has a change before its function returns; a handler that fails is tried again; two programs
 * that forget to name a group both get everything, instead of stealing from each other. */
#include <ferry/ferry.h>

#include <poll.h>
#include <stdatomic.h>

static atomic_int changes, messages;

/* ---- the service: every object that it makes is an event ---- */

static ferry_value *create_my_object(ferry *f, const char *name)
{
    ferry_value *object = ferry_map("id", "obj-1", "name", name); /* database logic */
    const ferry_change *change =
        FERRY_CHANGE(.type = "my_object", .operation = "create", .uid = "obj-1", .resource = ferry_value_copy(object),
                     .application = "workspaces", .user = "ada", .function = "create_my_object",
                     .arguments = ferry_map("name", name));
    if (ferry_publish_change(f, change, FERRY_EVENT(.confirm = FERRY_CONFIRMED)) != FERRY_OK)
        fputs("the change is not with the broker\n", stderr);
    return object;
}

/* ---- the notification application ---- */

static void on_change(ferry_request *req, void *arg)
{
    ferry_change change;
    (void)arg;
    if (!ferry_read_change(ferry_request_data(req), &change))
        return;
    printf("%s of %s %s by %s: %s\n", change.operation, change.type, change.uid, change.user,
           ferry_as_string(ferry_find(change.resource, "name"), "?"));
    atomic_fetch_add(&changes, 1);
}

static void my_callback(ferry_request *req, void *arg)
{
    (void)arg;
    printf("my-topic: a is %s\n", ferry_as_string(ferry_find(ferry_request_data(req), "a"), "?"));
    atomic_fetch_add(&messages, 1);
}

int main(void)
{
    ferry *f = ferry_open(NULL, FERRY_OPTIONS(.name = "cloudharness"));
    ferry_subscribe(f, "my_object.*", on_change, NULL, FERRY_SUBSCRIBE(.group = "ch-notifications"), NULL);
    ferry_subscribe(f, "my-topic", my_callback, NULL, FERRY_SUBSCRIBE(.group = "my-group"), NULL);
    ferry_serve(f);
    if (ferry_wait_ready(f, 10000) != FERRY_OK)
        return 1;
    ferry_value_free(create_my_object(f, "first"));
    for (int ms = 0; atomic_load(&changes) == 0 && ms < 10000; ms++)
        poll(NULL, 0, 1);
    ferry_publish(f, "my-topic", ferry_map("a", "b"), NULL);
    for (int ms = 0; atomic_load(&messages) == 0 && ms < 10000; ms++)
        poll(NULL, 0, 1);
    return ferry_close(f) != FERRY_OK;
}
