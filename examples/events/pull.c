/* pull.c - events when the program wants them, not when they come.
 *
 * A subscription without a handler collects in the background, up to a bound; then it takes no more from the broker until
 * some were fetched. What was received is the program's until ferry_done: a crash before that brings it again. */
#include <ferry/ferry.h>

#include <inttypes.h>

enum { WAIT_MS = 5000 };

static void say(const char *how, ferry_request *req)
{
    printf("%s: %s %" PRId64 "\n", how, ferry_request_route(req),
           ferry_as_int(ferry_find(ferry_request_data(req), "n"), -1));
    ferry_done(req); /* handled; ferry_fail before it would bring it again, later */
}

static void publish(ferry *f, const char *topic, int n, const char *correlation)
{
    if (ferry_publish(f, topic, ferry_map("n", n), FERRY_EVENT(.key = "meter-7", .correlation = correlation)) !=
        FERRY_OK)
        fprintf(stderr, "pull: %s cannot be published\n", topic);
}

int main(void)
{
    ferry_subscription *s = NULL;
    ferry *f = ferry_open(NULL, FERRY_OPTIONS(.name = "reader"));
    ferry_subscribe(f, "meter.*", NULL, NULL, NULL, &s);
    if (ferry_wait_ready(f, WAIT_MS) != FERRY_OK)
        return 1;

    /* Look, and do not wait. */
    ferry_request *req = ferry_receive(s, 0);
    printf("look: %s\n", req ? "something" : "nothing yet");
    ferry_done(req);

    /* One, within a time. */
    publish(f, "meter.read", 1, NULL);
    say("one", ferry_receive(s, WAIT_MS));

    /* The one that belongs to what we asked for; the others stay where they are. */
    publish(f, "meter.read", 2, NULL);
    publish(f, "meter.checked", 3, "check-42");
    publish(f, "meter.read", 4, NULL);
    say("for check-42", ferry_receive_for(s, "check-42", WAIT_MS));

    /* All that is there: until nothing came for a moment. */
    ferry_flush(f, WAIT_MS);
    while ((req = ferry_receive(s, 300)))
        say("all", req);
    ferry_unsubscribe(s);
    return ferry_close(f) != FERRY_OK;
}
