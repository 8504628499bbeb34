/* put_back.c - what was received and not wanted after all is as if it had not been received. */
#include "kit.h"

#include <stdio.h>

static ferry_subscription *pull(ferry *f)
{
    ferry_subscription *s = NULL;
    CHECK_STATUS(ferry_subscribe(f, "order.*", NULL, NULL, FERRY_SUBSCRIBE(.group = "g"), &s), FERRY_OK);
    CHECK_STATUS(ferry_wait_ready(f, KIT_SOON_MS), FERRY_OK);
    return s;
}

static void publish(ferry *f, int from, int to)
{
    for (int n = from; n <= to; n++)
        CHECK_STATUS(
            ferry_publish(f, "order.created", ferry_of(n), FERRY_EVENT(.key = "k", .confirm = FERRY_CONFIRMED)),
            FERRY_OK);
}

/* The next one is n, for the first time; a queue that counts deliveries by itself counts also those that were put back. */
static ferry_request *expect(ferry_subscription *s, int n)
{
    ferry_request *event = ferry_receive(s, KIT_SOON_MS);
    CHECK_NOT_NULL(event);
    CHECK_INT(ferry_as_int(ferry_request_data(event), -1), n);
    if (test_can("replays"))
        CHECK_INT(ferry_request_attempt(event), 1);
    return event;
}

CONFORMANCE_WITH(comes_next_here, .needs = "events")
{
    ferry *f = kit_open(NULL);
    ferry_subscription *s = pull(f);
    publish(f, 1, 3);
    for (int i = 0; i < 3; i++)
        ferry_put_back(expect(s, 1));
    ferry_done(expect(s, 1));
    ferry_done(expect(s, 2));
    ferry_done(expect(s, 3));
    CHECK_NULL(ferry_receive(s, 50));
    kit_close(f);
}

CONFORMANCE_WITH(goes_to_another_member_in_order, .needs = "events")
{
    ferry *f = kit_open(NULL), *other = kit_open(NULL);
    ferry_subscription *s = pull(f);
    publish(f, 1, 4);
    ferry_done(expect(s, 1));
    ferry_put_back(expect(s, 2));
    CHECK_STATUS(ferry_unsubscribe(s), FERRY_OK);
    ferry_subscription *heir = pull(other);
    for (int n = 2; n <= 4; n++)
        ferry_done(expect(heir, n));
    kit_close(f);
    kit_close(other);
}

CONFORMANCE_WITH(may_be_late, .needs = "events")
{
    ferry *f = kit_open(NULL), *other = kit_open(NULL);
    ferry_subscription *s = pull(f);
    publish(f, 1, 1);
    ferry_request *event = expect(s, 1);
    CHECK_STATUS(ferry_unsubscribe(s), FERRY_OK);
    ferry_put_back(event);
    ferry_subscription *heir = pull(other);
    ferry_done(expect(heir, 1));
    kit_close(f);
    kit_close(other);
}

static void put_back(ferry_request *event, void *seen)
{
    ferry_put_back(event); /* it was not received: nothing happens */
    atomic_fetch_add((atomic_int *)seen, 1);
}

CONFORMANCE_WITH(is_not_for_handlers, .needs = "events")
{
    atomic_int seen = 0;
    ferry *f = kit_open(NULL);
    CHECK_STATUS(ferry_subscribe(f, "order.*", put_back, &seen, NULL, NULL), FERRY_OK);
    ferry_serve(f);
    CHECK_STATUS(ferry_wait_ready(f, KIT_SOON_MS), FERRY_OK);
    publish(f, 1, 2);
    CHECK_SOON(atomic_load(&seen) == 2, KIT_SOON_MS);
    ferry_put_back(NULL);
    kit_close(f);
}
