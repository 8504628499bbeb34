/* ready.c - ferry_wait_ready says OK only when what is published from then on will come. */
#include "kit.h"

static void publish(ferry *f, int n)
{
    CHECK_STATUS(ferry_publish(f, "order.created", ferry_of(n), FERRY_EVENT(.key = "k", .confirm = FERRY_CONFIRMED)),
                 FERRY_OK);
}

/* However short the looks are that it is asked for. */
static void looks_often(const char *group)
{
    ferry *f = kit_open(NULL), *other = kit_open(NULL);
    ferry_subscription *s = NULL;
    publish(other, 1);
    CHECK_STATUS(ferry_subscribe(f, "order.*", NULL, NULL, FERRY_SUBSCRIBE(.group = group), &s), FERRY_OK);
    CHECK_SOON(ferry_wait_ready(f, 1) == FERRY_OK, KIT_SOON_MS);
    publish(other, 2);
    ferry_request *event = ferry_receive(s, KIT_SOON_MS);
    CHECK_INT(ferry_as_int(ferry_request_data(event), -1), 2);
    ferry_done(event);
    kit_close(f);
    kit_close(other);
}

CONFORMANCE_WITH(a_group_is_ready_when_it_receives, .needs = "events")
{
    looks_often("g");
}

CONFORMANCE_WITH(a_broadcast_is_ready_when_it_receives, .needs = "events")
{
    looks_often(NULL);
}
