/* events.c - publish and subscribe: who gets what. */
#include "events_kit.h"

CONFORMANCE_WITH(nobody_listening_is_no_error, .needs = "events")
{
    ferry *f = kit_open(NULL);
    publish(f, "order.created", 1, NULL);
    CHECK_STATUS(ferry_publish(f, "order.created", ferry_int(2), NULL), FERRY_OK);
    CHECK_STATUS(ferry_flush(f, KIT_SOON_MS), FERRY_OK);
    kit_close(f);
}

CONFORMANCE_WITH(each_event_once_and_in_order, .needs = "events")
{
    enum { EVENTS = 500 };
    static heard h;
    ferry *s = listen_to("order.*", &h, NULL), *p = kit_open(NULL);
    for (int i = 0; i < EVENTS; i++)
        CHECK_STATUS(ferry_publish(p, "order.created", ferry_int(i), FERRY_EVENT(.key = "one")), FERRY_OK);
    CHECK_STATUS(ferry_flush(p, KIT_SOON_MS), FERRY_OK);
    CHECK_SOON(atomic_load(&h.total) >= EVENTS, KIT_SOON_MS);
    check_each_once(&h, 0, EVENTS);
    for (int i = 0; i < EVENTS; i++)
        CHECK_INT(h.order[i], i);
    kit_close(p);
    kit_close(s);
}

CONFORMANCE_WITH(new_means_from_ready_on, .needs = "events")
{
    static heard h, g;
    ferry *p = kit_open(NULL);
    publish(p, "order.created", 1, NULL);
    publish(p, "order.created", 2, "k");
    ferry *s = listen_to("order.*", &h, NULL);
    ferry *m = listen_to("order.*", &g, FERRY_SUBSCRIBE(.group = "late"));
    publish(p, "order.created", 3, NULL);
    publish(p, "order.created", 4, "k");
    CHECK_SOON(atomic_load(&h.total) == 2 && atomic_load(&g.total) == 2, KIT_SOON_MS);
    check_each_once(&h, 3, 5);
    check_each_once(&g, 3, 5);
    kit_close(p);
    kit_close(s);
    kit_close(m);
}

CONFORMANCE_WITH(a_group_shares_and_broadcasts_do_not, .needs = "events")
{
    enum { EVENTS = 200 };
    static heard a, b, one, two, other;
    ferry *p = kit_open(NULL);
    ferry *f[] = {listen_to("order.**", &a, FERRY_SUBSCRIBE(.group = "billing")),
                  listen_to("order.**", &b, FERRY_SUBSCRIBE(.group = "billing")),
                  listen_to("order.**", &other, FERRY_SUBSCRIBE(.group = "mailer")), listen_to("order.**", &one, NULL),
                  listen_to("order.**", &two, NULL)};
    for (int i = 0; i < EVENTS; i++)
        CHECK_STATUS(ferry_publish(p, "order.created", ferry_int(i),
                                   FERRY_EVENT(.key = i % 2 ? test_text("k%d", i % 16) : NULL)),
                     FERRY_OK);
    CHECK_STATUS(ferry_flush(p, KIT_SOON_MS), FERRY_OK);
    CHECK_SOON(atomic_load(&a.total) + atomic_load(&b.total) >= EVENTS, KIT_SOON_MS);
    CHECK_SOON(atomic_load(&one.total) >= EVENTS && atomic_load(&two.total) >= EVENTS, KIT_SOON_MS);
    CHECK_SOON(atomic_load(&other.total) >= EVENTS, KIT_SOON_MS);
    for (int i = 0; i < EVENTS; i++) {
        CHECK_INT(atomic_load(&a.times[i]) + atomic_load(&b.times[i]), 1);
        CHECK_INT(atomic_load(&one.times[i]), 1);
        CHECK_INT(atomic_load(&two.times[i]), 1);
        CHECK_INT(atomic_load(&other.times[i]), 1);
    }
    for (size_t i = 0; i < 5; i++)
        kit_close(f[i]);
    kit_close(p);
}

CONFORMANCE_WITH(patterns_choose, .needs = "events")
{
    static heard exact, star, deep, group;
    ferry *f[] = {listen_to("order.created", &exact, NULL), listen_to("order.*", &star, NULL),
                  listen_to("order.**", &deep, NULL),
                  listen_to("order.item.*", &group, FERRY_SUBSCRIBE(.group = "items"))},
          *p = kit_open(NULL);
    publish(p, "order.created", 1, NULL);
    publish(p, "order.paid", 2, "k");
    publish(p, "order.item.added", 3, NULL);
    publish(p, "order.item.gone", 4, "k");
    publish(p, "stock.created", 5, NULL);
    publish(p, "order.item", 6, NULL);
    CHECK_SOON(atomic_load(&exact.total) == 1 && atomic_load(&star.total) == 3, KIT_SOON_MS);
    CHECK_SOON(atomic_load(&deep.total) == 5 && atomic_load(&group.total) == 2, KIT_SOON_MS);
    check_each_once(&exact, 1, 2);
    check_each_once(&star, 1, 3);
    check_each_once(&star, 6, 7);
    check_each_once(&group, 3, 5);
    for (size_t i = 0; i < 4; i++)
        kit_close(f[i]);
    kit_close(p);
}

typedef struct seen {
    atomic_int times;
    char route[64], key[32], correlation[64], header[32], id[80], trace[80];
    int left, attempt, verb;
    ferry *handle;
} seen;

static void copy(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from ? from : "");
}

static void look(ferry_request *event, void *arg)
{
    seen *s = arg;
    copy(s->route, sizeof s->route, ferry_request_route(event));
    copy(s->key, sizeof s->key, ferry_request_key(event));
    copy(s->correlation, sizeof s->correlation, ferry_request_correlation(event));
    copy(s->id, sizeof s->id, ferry_request_id(event));
    copy(s->header, sizeof s->header, ferry_as_string(ferry_find(ferry_request_headers(event), "lang"), NULL));
    copy(s->trace, sizeof s->trace, ferry_as_string(ferry_find(ferry_request_headers(event), "traceparent"), NULL));
    s->left = ferry_request_remaining_ms(event);
    s->attempt = ferry_request_attempt(event);
    s->verb = (int)ferry_request_verb(event);
    s->handle = ferry_request_handle(event);
    atomic_fetch_add(&s->times, 1);
}

CONFORMANCE_WITH(events_carry_what_calls_carry, .needs = "events")
{
    seen s = {0};
    ferry *f = kit_open(NULL), *p = kit_open(NULL);
    CHECK_STATUS(ferry_subscribe(f, "order.*", look, &s, FERRY_SUBSCRIBE(.group = "g"), NULL), FERRY_OK);
    CHECK_STATUS(ferry_serve(f), FERRY_OK);
    CHECK_STATUS(ferry_wait_ready(f, KIT_SOON_MS), FERRY_OK);
    ferry_value *headers = ferry_map("lang", "fr", "traceparent", "00-1-2-01");
    CHECK_STATUS(ferry_publish(p, "order.created", ferry_map("id", 7),
                               FERRY_EVENT(.key = "k", .correlation = "corr", .headers = headers)),
                 FERRY_OK);
    ferry_value_free(headers);
    CHECK_SOON(atomic_load(&s.times) == 1, KIT_SOON_MS);
    CHECK_STR(s.route, "order.created");
    CHECK_STR(s.key, "k");
    CHECK_STR(s.correlation, "corr");
    CHECK_STR(s.header, "fr");
    CHECK_STR(s.trace, "00-1-2-01");
    CHECK(*s.id);
    CHECK_INT(s.left, -1);
    CHECK_INT(s.attempt, 1);
    CHECK_INT(s.verb, 0);
    CHECK(s.handle == f);
    kit_close(p);
    kit_close(f);
}

static void forward(ferry_request *event, void *arg)
{
    (void)arg;
    CHECK_STATUS(ferry_publish(ferry_request_handle(event), "second.step", ferry_int(2), FERRY_EVENT(.within = event)),
                 FERRY_OK);
}

CONFORMANCE_WITH(within_passes_correlation_and_trace_on, .needs = "events")
{
    seen s = {0};
    ferry *f = kit_open(NULL), *p = kit_open(NULL);
    CHECK_STATUS(ferry_subscribe(f, "first.*", forward, NULL, FERRY_SUBSCRIBE(.group = "g"), NULL), FERRY_OK);
    CHECK_STATUS(ferry_subscribe(f, "second.*", look, &s, NULL, NULL), FERRY_OK);
    CHECK_STATUS(ferry_serve(f), FERRY_OK);
    CHECK_STATUS(ferry_wait_ready(f, KIT_SOON_MS), FERRY_OK);
    ferry_value *headers = ferry_map("lang", "fr", "traceparent", "00-1-2-01");
    CHECK_STATUS(ferry_publish(p, "first.step", NULL, FERRY_EVENT(.correlation = "corr", .headers = headers)),
                 FERRY_OK);
    ferry_value_free(headers);
    CHECK_SOON(atomic_load(&s.times) == 1, KIT_SOON_MS);
    CHECK_STR(s.correlation, "corr");
    CHECK_STR(s.trace, "00-1-2-01");
    CHECK_STR(s.header, ""); /* that one was not for others */
    kit_close(p);
    kit_close(f);
}

CONFORMANCE_WITH(workers_in_order_for_each_event_key, .needs = "events")
{
    enum { EVENTS = 400, KEYS = 8 };
    static heard h;
    int next[KEYS] = {0};
    ferry *s = listen_with(FERRY_OPTIONS(.workers = 4), "order.*", &h, FERRY_SUBSCRIBE(.group = "g"), NULL),
          *p = kit_open(NULL);
    for (int i = 0; i < EVENTS; i++)
        CHECK_STATUS(ferry_publish(p, "order.created", ferry_int(i), FERRY_EVENT(.key = test_text("key%d", i % KEYS))),
                     FERRY_OK);
    CHECK_STATUS(ferry_flush(p, KIT_SOON_MS), FERRY_OK);
    CHECK_SOON(atomic_load(&h.total) >= EVENTS, KIT_SOON_MS);
    check_each_once(&h, 0, EVENTS);
    for (int i = 0; i < EVENTS; i++) {
        int key = h.order[i] % KEYS;
        CHECK_INT(h.order[i] / KEYS, next[key]);
        next[key]++;
    }
    kit_close(p);
    kit_close(s);
}

CONFORMANCE_WITH(subscribing_while_serving_and_unsubscribing, .needs = "events")
{
    static heard h;
    ferry_subscription *sub;
    ferry *s = kit_serve("calc.echo", kit_echo, NULL), *p = kit_open(NULL);
    CHECK_STATUS(ferry_subscribe(s, "order.*", hear, &h, NULL, &sub), FERRY_OK);
    CHECK_STATUS(ferry_wait_ready(s, KIT_SOON_MS), FERRY_OK);
    publish(p, "order.created", 1, NULL);
    CHECK_SOON(atomic_load(&h.total) == 1, KIT_SOON_MS);
    CHECK_STATUS(ferry_unsubscribe(sub), FERRY_OK);
    publish(p, "order.created", 2, NULL);
    CHECK_STATUS(ferry_subscribe(s, "order.*", hear, &h, NULL, &sub), FERRY_OK);
    CHECK_STATUS(ferry_wait_ready(s, KIT_SOON_MS), FERRY_OK);
    publish(p, "order.created", 3, NULL);
    CHECK_SOON(atomic_load(&h.times[3]) == 1, KIT_SOON_MS);
    CHECK_INT(atomic_load(&h.times[2]), 0);
    KIT_INT(ferry_get(p, "calc.echo", ferry_int(5), NULL), 5);
    kit_close(p);
    kit_close(s);
}

static ferry_subscription *own;
static atomic_int unsubscribed;

static void unsubscribe_self(ferry_request *event, void *arg)
{
    (void)event;
    (void)arg;
    CHECK_STATUS(ferry_unsubscribe(own), FERRY_OK);
    atomic_store(&unsubscribed, 1);
}

CONFORMANCE_WITH(a_handler_may_unsubscribe, .needs = "events")
{
    ferry *s = kit_open(NULL), *p = kit_open(NULL);
    CHECK_STATUS(ferry_subscribe(s, "order.*", unsubscribe_self, NULL, NULL, &own), FERRY_OK);
    CHECK_STATUS(ferry_serve(s), FERRY_OK);
    CHECK_STATUS(ferry_wait_ready(s, KIT_SOON_MS), FERRY_OK);
    publish(p, "order.created", 1, NULL);
    CHECK_SOON(atomic_load(&unsubscribed), KIT_SOON_MS);
    kit_close(p);
    kit_close(s);
}

CONFORMANCE_WITH(paused_and_resumed, .needs = "events")
{
    static heard h;
    ferry_subscription *sub;
    ferry *s = listen_with(NULL, "order.*", &h, FERRY_SUBSCRIBE(.group = "g"), &sub), *p = kit_open(NULL);
    publish(p, "order.created", 1, NULL);
    CHECK_SOON(atomic_load(&h.total) == 1, KIT_SOON_MS);
    CHECK_STATUS(ferry_pause(sub, true), FERRY_OK);
    CHECK_STATUS(ferry_wait_ready(s, KIT_SOON_MS), FERRY_OK);
    publish(p, "order.created", 2, NULL); /* one may be on its way already: then it counts as here */
    publish_range(p, "order.created", 3, 50);
    CHECK(ferry_lag(sub) >= 40);
    CHECK(atomic_load(&h.total) <= 9);
    CHECK_STATUS(ferry_pause(sub, false), FERRY_OK);
    CHECK_SOON(atomic_load(&h.total) == 49, KIT_SOON_MS);
    check_each_once(&h, 1, 50);
    kit_close(p);
    kit_close(s);
}

CONFORMANCE_WITH(mistakes_are_told, .needs = "events")
{
    ferry *f = kit_open(NULL);
    char why[FERRY_WHY_SIZE] = "", problem[512];
    ferry_subscription *s;
    CHECK_STATUS(ferry_publish(f, "order..x", NULL, FERRY_EVENT(.why = why)), FERRY_INVALID);
    CHECK(*why);
    CHECK_STATUS(ferry_publish(f, "order.*", NULL, FERRY_EVENT(.why = why)), FERRY_INVALID);
    CHECK_STATUS(ferry_subscribe(f, "*", hear, NULL, NULL, NULL), FERRY_INVALID);
    ferry_problem(f, problem, sizeof problem);
    CHECK(*problem);
    CHECK_STATUS(ferry_subscribe(f, "a.*", hear, NULL, FERRY_SUBSCRIBE(.group = "a.b"), NULL), FERRY_INVALID);
    CHECK_STATUS(ferry_subscribe(f, "a.*", hear, NULL, FERRY_SUBSCRIBE(.attempts = -1), NULL), FERRY_INVALID);
    CHECK_STATUS(ferry_subscribe(f, "a.*", NULL, NULL, NULL, NULL), FERRY_INVALID);
    CHECK_STATUS(ferry_subscribe(f, "a.*", hear, NULL, FERRY_SUBSCRIBE(.group = "g"), &s), FERRY_OK);
    CHECK_STATUS(ferry_subscribe(f, "a.**", hear, NULL, FERRY_SUBSCRIBE(.group = "g"), &s), FERRY_INVALID);
    CHECK_NULL(s);
    kit_close(f);
}

CONFORMANCE_WITH(what_is_not_handled_at_close_comes_again, .needs = "events")
{
    enum { EVENTS = 60 };
    static heard h, g;
    ferry *p = kit_open(NULL);
    ferry *s = listen_to("order.*", &h, FERRY_SUBSCRIBE(.group = "g"));
    publish_range(p, "order.created", 0, EVENTS / 2);
    kit_close(s);
    publish_range(p, "order.created", EVENTS / 2, EVENTS); /* the group stays, without a member */
    s = listen_to("order.*", &g, FERRY_SUBSCRIBE(.group = "g"));
    CHECK_SOON(atomic_load(&h.total) + atomic_load(&g.total) >= EVENTS, KIT_SOON_MS);
    for (int i = 0; i < EVENTS; i++)
        CHECK_INT(atomic_load(&h.times[i]) + atomic_load(&g.times[i]), 1);
    kit_close(p);
    kit_close(s);
}

static void count_one(ferry_request *event, void *arg)
{
    (void)event;
    atomic_fetch_add((atomic_int *)arg, 1);
}

CONFORMANCE_WITH(one_router_for_calls_and_events, .needs = "events")
{
    atomic_int created = 0, rest = 0;
    ferry *s = kit_open(NULL), *p = kit_open(NULL);
    CHECK_STATUS(ferry_handle(s, "order.created", count_one, &created, FERRY_HANDLE(.verbs = FERRY_PUBLISH)), FERRY_OK);
    CHECK_STATUS(ferry_handle(s, "order.item.**", count_one, &rest, FERRY_HANDLE(.verbs = FERRY_PUBLISH)), FERRY_OK);
    CHECK_STATUS(ferry_handle(s, "calc.echo", kit_echo, NULL, NULL), FERRY_OK);
    CHECK_STATUS(ferry_subscribe(s, "order.**", ferry_by_route, NULL, FERRY_SUBSCRIBE(.group = "g"), NULL), FERRY_OK);
    kit_start(s, "calc");
    CHECK_STATUS(ferry_wait_ready(s, KIT_SOON_MS), FERRY_OK);
    publish(p, "order.created", 1, NULL);
    publish(p, "order.unknown", 2, NULL); /* nobody wants it: done with */
    publish(p, "order.item.gone", 3, NULL);
    CHECK_SOON(atomic_load(&created) == 1 && atomic_load(&rest) == 1, KIT_SOON_MS);
    KIT_INT(ferry_get(p, "calc.echo", ferry_int(4), NULL), 4);
    KIT_ENDS(ferry_get(p, "order.created", NULL, NULL), FERRY_NO_SERVICE, FERRY_OUTCOME_NOT_SENT);
    CHECK_INT(kit_dead_count(p, "order/g"), 0);
    kit_close(p);
    kit_close(s);
}

CONFORMANCE_WITH(other_names_on_the_broker, .needs = "events")
{
    static heard h;
    const char *url = kit_url("", "names=order:order-eu,calc:calc-eu");
    ferry *s = ferry_open(url, NULL), *p = ferry_open(url, NULL), *other = kit_open(NULL);
    CHECK_STATUS(ferry_handle(s, "calc.echo", kit_echo, NULL, NULL), FERRY_OK);
    CHECK_STATUS(ferry_subscribe(s, "order.*", hear, &h, FERRY_SUBSCRIBE(.group = "g"), NULL), FERRY_OK);
    CHECK_STATUS(ferry_serve(s), FERRY_OK);
    CHECK_STATUS(ferry_wait_ready(s, KIT_SOON_MS), FERRY_OK);
    publish(p, "order.created", 1, NULL);
    KIT_INT(ferry_get(p, "calc.echo", ferry_int(5), NULL), 5);
    CHECK_SOON(atomic_load(&h.total) == 1, KIT_SOON_MS);
    KIT_ENDS(ferry_get(other, "calc.echo", ferry_int(5), NULL), FERRY_NO_SERVICE, FERRY_OUTCOME_NOT_SENT);
    KIT_ENDS(ferry_get(other, "calc-eu.echo", ferry_int(5), NULL), FERRY_NOT_FOUND, FERRY_OUTCOME_NOT_EXECUTED);
    CHECK_INT(kit_dead_count(p, "order/g"), 0);
    kit_close(other);
    kit_close(p);
    kit_close(s);
}
