/* idmsvc.c - the example of the idmsvc event document: a topic that the service owns, with a schema and a handler.
 *
 *     schema my_topic_name.event.json                 the guard: before the handler, and what does not fit is kept, not dropped
 *     eventRouter.Add(TopicTodoCreated, handler)      ferry_subscribe: topic, handler, and the group idmsvc
 *     OnMessage(msg) error                            the handler; ferry_fail is its error
 *     Produce(producer, topic, key, value, headers)   ferry_publish, until the broker has it
 *     x-rh-identity, x-rh-insights-request-id         headers; .within carries identity and correlation on by itself
 *     bootstrap.servers, SASL, capath                 FERRY_URL
 *
 * Of the five things that the document has to do, four are done by that: a message is kept until it is handled; failed ones are
 * tried again and then found with `ferry dead list todo/idmsvc`; `ferry lag todo` and ferry_stats count. */
#include <ferry/ferry.h>

#include <poll.h>
#include <stdatomic.h>
#include <string.h>

static atomic_int created;

/* The schema, and the headers that each message must have. */
static bool valid(ferry_request *req)
{
    const char *title;
    long long id;
    if (!ferry_find(ferry_request_headers(req), "x-rh-identity")) {
        ferry_fail(req, "BAD_DATA", "the header x-rh-identity is missing");
        return false;
    }
    return ferry_args(req, "id", &id, "title", &title); /* BAD_DATA, one error for each field: a dead letter at once */
}

static void todo_created(ferry_request *req, void *db)
{
    (void)db;
    if (!valid(req))
        return;
    const ferry_value *headers = ferry_request_headers(req), *todo = ferry_request_data(req);
    printf("todo %lld: %s (%s, key %s)\n", (long long)ferry_as_int(ferry_find(todo, "id"), 0),
           ferry_as_string(ferry_find(todo, "title"), "?"), ferry_as_string(ferry_find(headers, "x-rh-identity"), "?"),
           ferry_request_key(req));
    atomic_fetch_add(&created, 1);
}

static ferry_status produce(ferry *f, ferry_value *todo, const char *key)
{
    ferry_value *headers = ferry_map("x-rh-identity", "org-42", "x-rh-insights-request-id", "r-1");
    char why[FERRY_WHY_SIZE] = "";
    ferry_status s = ferry_publish(f, "todo.created", todo,
                                   FERRY_EVENT(.key = key, .headers = headers, .confirm = FERRY_CONFIRMED, .why = why));
    if (s != FERRY_OK)
        fprintf(stderr, "todo.created: %s\n", why);
    ferry_value_free(headers);
    return s;
}

/* What did not fit the schema, with the reason. */
static void show_rejected(ferry *f)
{
    ferry_reply *r = NULL;
    for (int ms = 0; ms < 10000; ms += 10) {
        ferry_reply_free(r);
        r = ferry_admin(f, "dead.list", ferry_map("service", "todo/idmsvc"), NULL);
        if (ferry_has_errors(r) || ferry_count(ferry_find(ferry_data(r), "dead")) > 0)
            break;
        poll(NULL, 0, 10);
    }
    ferry_print_errors(r, stderr);
    const ferry_value *dead = ferry_at(ferry_find(ferry_data(r), "dead"), 0);
    printf("rejected: %s\n", ferry_as_string(ferry_find(ferry_find(dead, "error"), "message"), "?"));
    ferry_reply_free(r);
    ferry_reply_free(ferry_admin(f, "dead.purge", ferry_map("service", "todo/idmsvc", "all", FERRY_TRUE), NULL));
}

int main(void)
{
    ferry *f = ferry_open(NULL, FERRY_OPTIONS(.name = "idmsvc"));
    ferry_subscribe(f, "todo.created", todo_created, NULL, FERRY_SUBSCRIBE(.group = "idmsvc"), NULL);
    ferry_serve(f);
    if (ferry_wait_ready(f, 10000) != FERRY_OK)
        return 1;
    produce(f, ferry_map("id", 1, "title", "write the handler"), "1");
    produce(f, ferry_map("id", 2, "titel", "a typing error"), "2");
    for (int ms = 0; atomic_load(&created) == 0 && ms < 10000; ms++)
        poll(NULL, 0, 1);
    show_rejected(f);
    return ferry_close(f) != FERRY_OK;
}
