/* events_oom_test.c - memory runs out, once, at every place in turn, while events are published, handled, tried again, pulled and asked
 * for. Nothing may crash, hang or leak; what was accepted is handled in the end. */
#include "test.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct setting {
    const char *url;
    atomic_int  handled, caught_up;
} setting;

static bool short_of_memory(ferry_status s)
{
    return s == FERRY_NO_MEMORY || s == FERRY_OVERLOADED || s == FERRY_NOT_FOUND;
}

static bool went_well(const char *what, ferry_status s)
{
    if (s != FERRY_OK && !(test_alloc_failed() && short_of_memory(s)))
        FAIL("%s ended with %s", what, ferry_status_name(s));
    return s == FERRY_OK;
}

static void handle(ferry_request *event, void *arg)
{
    setting *s = arg;
    int number;
    if (!ferry_args(event, "n", &number))
        return;
    if (number == 1 && ferry_request_attempt(event) == 1)
        ferry_fail(event, "Broken", "on purpose");
    else
        atomic_fetch_add(&s->handled, 1);
}

static void caught_up(ferry_subscription *sub, void *arg)
{
    (void)sub;
    atomic_fetch_add(&((setting *)arg)->caught_up, 1);
}

static void pull(ferry *f, int accepted)
{
    ferry_subscription *s = NULL;
    if (!went_well("subscribe to pull",
                   ferry_subscribe(f, "order.*", NULL, NULL, FERRY_SUBSCRIBE(.from = FERRY_FROM_EARLIEST), &s)))
        return;
    for (int i = 0; i < accepted; i++) {
        ferry_request *event = ferry_receive(s, 3000);
        if (!event && !(test_alloc_failed() && ferry_subscription_status(s, NULL) != FERRY_OK))
            FAIL("event %d of %d was not received", i, accepted);
        ferry_done(event);
    }
    ferry_value_free(ferry_position(s));
    ferry_lag(s);
    ferry_unsubscribe(s);
}

static int publish(ferry *f)
{
    int accepted = 0;
    for (int i = 0; i < 4; i++)
        accepted += went_well("publish", ferry_publish(f, "order.created", ferry_map("n", i),
                                                       FERRY_EVENT(.confirm = FERRY_CONFIRMED,
                                                                   .key = i % 2 ? "a" : NULL, .timeout_ms = 3000)));
    return accepted;
}

static void ask(ferry *f)
{
    ferry_reply_free(ferry_admin(f, "topic.list", NULL, FERRY_CALL(.timeout_ms = 3000)));
    ferry_reply_free(ferry_admin(f, "lag", ferry_map("domain", "order"), FERRY_CALL(.timeout_ms = 3000)));
}

static void whole_scenario(void *arg)
{
    setting *s = arg;
    atomic_store(&s->handled, 0);
    ferry *f = ferry_open(s->url, NULL);
    if (!f)
        return;
    ferry_subscription *sub = NULL;
    bool subscribed = went_well(
        "subscribe", ferry_subscribe(f, "order.*", handle, s,
                                     FERRY_SUBSCRIBE(.group = "g", .backoff_ms = 1, .on_caught_up = caught_up), &sub));
    bool serving = subscribed && went_well("serve", ferry_serve(f)) && went_well("ready", ferry_wait_ready(f, 3000));
    int accepted = publish(f);
    if (serving && ferry_subscription_status(sub, NULL) == FERRY_OK)
        CHECK_SOON(atomic_load(&s->handled) >= accepted || test_alloc_failed(), 5000);
    pull(f, accepted);
    ask(f);
    ferry_close(f);
}

TEST_WITH(mem_events_every_allocation_fails_once, .limit_ms = 120000)
{
    setting s = {.url = "mem:oom"};
    test_every_alloc_fails(whole_scenario, &s);
}

TEST_WITH(file_events_every_allocation_fails_once, .limit_ms = 240000)
{
    setting s = {.url = test_text("file:%s/oom.db?keep_bytes=65536", test_dir())};
    test_every_alloc_fails(whole_scenario, &s);
}
