/* events_failure.c - an event whose handler fails: it comes again, holds nobody up, and is kept at last. */
#include "events_kit.h"

#include <stdlib.h>

#define QUICK .backoff_ms = 20, .jitter = -1, .factor = 1

static void failing_once(heard *h, const char *group)
{
    ferry *p = kit_open(NULL);
    atomic_store(&h->fail_number, 1);
    atomic_store(&h->fail_times, 1);
    ferry *s = listen_to("order.*", h, FERRY_SUBSCRIBE(.group = group, QUICK));
    publish_range(p, "order.created", 0, 20);
    CHECK_SOON(atomic_load(&h->total) == 20, KIT_SOON_MS);
    check_each_once(h, 0, 20);
    CHECK_INT(kit_dead_count(p, test_text("order/%s", group ? group : "@test-conformance")), 0);
    kit_close(p);
    kit_close(s);
}

CONFORMANCE_WITH(a_failed_event_comes_again, .needs = "events")
{
    static heard h;
    failing_once(&h, "g");
    CHECK(h.order[19] == 1 || atomic_load(&h.last_attempt) >= 1);
}

CONFORMANCE_WITH(a_failed_broadcast_comes_again, .needs = "events")
{
    static heard h;
    failing_once(&h, NULL);
}

static void failing_for_ever(heard *h, const char *group, const char *box, bool rejects)
{
    ferry *p = kit_open(NULL);
    atomic_store(&h->fail_number, 2);
    atomic_store(&h->fail_times, -1);
    h->rejects = rejects;
    ferry *s = listen_with(FERRY_OPTIONS(.name = "tester"), "order.*", h,
                           FERRY_SUBSCRIBE(.group = group, .attempts = 3, QUICK), NULL);
    publish_range(p, "order.created", 0, 5);
    CHECK_SOON(atomic_load(&h->total) == 4, KIT_SOON_MS);
    CHECK_SOON(kit_dead_count(p, box) == 1, KIT_SOON_MS);
    ferry_value *dead = kit_dead(p, box);
    const ferry_value *d = ferry_at(dead, 0);
    CHECK_STR(ferry_as_string(ferry_find(d, "route"), ""), "order.created");
    CHECK_STR(ferry_as_string(ferry_find(d, "service"), ""), box);
    CHECK_INT(ferry_as_int(ferry_find(d, "attempts"), 0), rejects ? 1 : 3);
    CHECK_STR(ferry_as_string(ferry_find(d, "reason"), ""), rejects ? "rejected" : "failed");
    ferry_value_free(dead);
    kit_close(p);
    kit_close(s);
}

CONFORMANCE_WITH(a_hopeless_event_is_a_dead_letter_of_its_group, .needs = "events")
{
    static heard h;
    failing_for_ever(&h, "g", "order/g", false);
}

CONFORMANCE_WITH(a_rejected_event_is_a_dead_letter_at_once, .needs = "events")
{
    static heard h;
    failing_for_ever(&h, "g", "order/g", true);
}

CONFORMANCE_WITH(a_hopeless_broadcast_is_a_dead_letter_of_its_name, .needs = "events")
{
    static heard h;
    failing_for_ever(&h, NULL, "order/@tester", false);
}

CONFORMANCE_WITH(a_rejected_broadcast_is_a_dead_letter_at_once, .needs = "events")
{
    static heard h;
    failing_for_ever(&h, NULL, "order/@tester", true);
}

static void admin_ok(ferry *f, const char *command, ferry_value *args, int64_t count)
{
    ferry_reply *r = ferry_admin(f, command, args, NULL);
    if (ferry_has_errors(r))
        FAIL("%s: %s", command, ferry_error_at(r, 0)->message);
    CHECK_INT(ferry_as_int(ferry_find(ferry_data(r), "count"), -1), count);
    ferry_reply_free(r);
}

CONFORMANCE_WITH(a_dead_event_goes_back_to_its_group_alone, .needs = "events")
{
    static heard h, other;
    ferry *p = kit_open(NULL);
    atomic_store(&h.fail_number, 1);
    atomic_store(&h.fail_times, 2);
    ferry *s = listen_to("order.*", &h, FERRY_SUBSCRIBE(.group = "g", .attempts = 2, QUICK)),
          *o = listen_to("order.*", &other, FERRY_SUBSCRIBE(.group = "other"));
    publish(p, "order.created", 1, "k");
    CHECK_SOON(kit_dead_count(p, "order/g") == 1, KIT_SOON_MS);
    CHECK_INT(atomic_load(&h.total), 0);
    admin_ok(p, "dead.requeue", ferry_map("service", "order/g", "all", FERRY_TRUE), 1);
    CHECK_SOON(atomic_load(&h.total) == 1, KIT_SOON_MS);
    CHECK_INT(kit_dead_count(p, "order/g"), 0);
    CHECK_INT(atomic_load(&other.total), 1);
    kit_close(p);
    kit_close(s);
    kit_close(o);
}

/* ---- Waiting for the failed one ------------------------------------------------------------------------------------- */

CONFORMANCE_WITH(a_blocked_key_waits_and_others_do_not, .needs = "events")
{
    static heard h;
    ferry *p = kit_open(NULL);
    atomic_store(&h.fail_number, 1);
    atomic_store(&h.fail_times, 3);
    ferry *s = listen_to("order.*", &h, FERRY_SUBSCRIBE(.group = "g", .block_key = 1, .backoff_ms = 60, .factor = 1));
    publish(p, "order.created", 1, "a");
    publish(p, "order.created", 2, "a");
    publish(p, "order.created", 3, "b");
    publish(p, "order.created", 4, "a");
    CHECK_SOON(atomic_load(&h.total) == 4, KIT_SOON_MS);
    CHECK_INT(h.order[0], 3);
    CHECK_INT(h.order[1], 1);
    CHECK_INT(h.order[2], 2);
    CHECK_INT(h.order[3], 4);
    kit_close(p);
    kit_close(s);
}

CONFORMANCE_WITH(a_blocked_key_goes_on_behind_a_dead_letter, .needs = "events")
{
    static heard h;
    ferry *p = kit_open(NULL);
    atomic_store(&h.fail_number, 1);
    atomic_store(&h.fail_times, -1);
    ferry *s = listen_to("order.*", &h, FERRY_SUBSCRIBE(.group = "g", .block_key = 1, .attempts = 3, QUICK));
    publish(p, "order.created", 1, "a");
    publish(p, "order.created", 2, "a");
    CHECK_SOON(atomic_load(&h.total) == 1, KIT_SOON_MS);
    CHECK_INT(h.order[0], 2);
    CHECK_SOON(kit_dead_count(p, "order/g") == 1, KIT_SOON_MS);
    kit_close(p);
    kit_close(s);
}

CONFORMANCE_WITH(what_rests_at_close_is_not_lost, .needs = "events")
{
    static heard h, g;
    ferry *p = kit_open(NULL);
    atomic_store(&h.fail_number, 1);
    atomic_store(&h.fail_times, 1);
    ferry *s = listen_to("order.*", &h, FERRY_SUBSCRIBE(.group = "g", .block_key = 1, .backoff_ms = 60000));
    publish(p, "order.created", 1, "a");
    publish(p, "order.created", 2, "a");
    publish(p, "order.created", 3, "b");
    CHECK_SOON(atomic_load(&h.times[3]) == 1 && atomic_load(&h.fail_times) == 0, KIT_SOON_MS);
    kit_close(s);
    CHECK_INT(atomic_load(&h.total), 1);
    s = listen_to("order.*", &g, FERRY_SUBSCRIBE(.group = "g", .block_key = 1));
    CHECK_SOON(atomic_load(&g.total) == 2, KIT_SOON_MS);
    CHECK_INT(g.order[0], 1);
    CHECK_INT(g.order[1], 2);
    kit_close(p);
    kit_close(s);
}

static void retry_it(ferry_request *event, void *arg)
{
    if (atomic_fetch_add((atomic_int *)arg, 1) == 0)
        ferry_retry_later(event, 10);
}

CONFORMANCE_WITH(retry_later_and_deferred, .needs = "events")
{
    atomic_int times = 0;
    ferry *s = kit_open(NULL), *p = kit_open(NULL);
    CHECK_STATUS(ferry_subscribe(s, "order.*", retry_it, &times, FERRY_SUBSCRIBE(.group = "g"), NULL), FERRY_OK);
    CHECK_STATUS(ferry_serve(s), FERRY_OK);
    CHECK_STATUS(ferry_wait_ready(s, KIT_SOON_MS), FERRY_OK);
    publish(p, "order.created", 1, NULL);
    CHECK_SOON(atomic_load(&times) == 2, KIT_SOON_MS);
    kit_close(p);
    kit_close(s);
}

static _Atomic(ferry_request *) kept;

static void keep(ferry_request *event, void *arg)
{
    (void)arg;
    atomic_store(&kept, ferry_defer(event));
}

CONFORMANCE_WITH(a_deferred_event_is_done_later, .needs = "events")
{
    static heard h;
    ferry *s = kit_open(NULL), *p = kit_open(NULL);
    atomic_store(&kept, NULL);
    CHECK_STATUS(ferry_subscribe(s, "order.*", keep, NULL, FERRY_SUBSCRIBE(.group = "g"), NULL), FERRY_OK);
    CHECK_STATUS(ferry_serve(s), FERRY_OK);
    CHECK_STATUS(ferry_wait_ready(s, KIT_SOON_MS), FERRY_OK);
    publish(p, "order.created", 1, NULL);
    CHECK_SOON(atomic_load(&kept) != NULL, KIT_SOON_MS);
    ferry_done(atomic_load(&kept));
    kit_close(s);
    s = listen_to("order.*", &h, FERRY_SUBSCRIBE(.group = "g"));
    publish(p, "order.created", 2, NULL);
    CHECK_SOON(atomic_load(&h.times[2]) == 1, KIT_SOON_MS);
    CHECK_INT(atomic_load(&h.times[1]), 0); /* it was done */
    kit_close(p);
    kit_close(s);
}
