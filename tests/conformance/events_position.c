/* events_position.c - starting somewhere, moving, catching up, pulling; and what can be asked. */
#include "events_kit.h"

#include <stdlib.h>
#include <time.h>

static int64_t wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void publish_keyed(ferry *p, int from, int to)
{
    for (int i = from; i < to; i++)
        CHECK_STATUS(
            ferry_publish(p, "order.created", ferry_int(i), FERRY_EVENT(.key = i % 3 ? test_text("k%d", i % 5) : NULL)),
            FERRY_OK);
    CHECK_STATUS(ferry_flush(p, test_ms(30000)), FERRY_OK);
}

/* ---- Starting ------------------------------------------------------------------------------------------------------- */

CONFORMANCE_WITH(from_earliest_all_that_is_kept, .needs = "replays")
{
    static heard h, g;
    ferry *p = kit_open(NULL);
    publish_keyed(p, 0, 300);
    ferry *s = listen_to("order.*", &h, FERRY_SUBSCRIBE(.from = FERRY_FROM_EARLIEST, .on_caught_up = heard_caught_up)),
          *m = listen_to("order.*", &g,
                         FERRY_SUBSCRIBE(.group = "g", .from = FERRY_FROM_EARLIEST, .on_caught_up = heard_caught_up));
    CHECK_SOON(atomic_load(&h.caught_up) == 1 && atomic_load(&g.caught_up) == 1, KIT_SOON_MS);
    CHECK(atomic_load(&h.caught_up_at) >= 300);
    CHECK(atomic_load(&g.caught_up_at) >= 300);
    publish_keyed(p, 300, 310);
    CHECK_SOON(atomic_load(&h.total) == 310 && atomic_load(&g.total) == 310, KIT_SOON_MS);
    check_each_once(&h, 0, 310);
    check_each_once(&g, 0, 310);
    CHECK_INT(atomic_load(&h.caught_up), 1);
    CHECK_INT(atomic_load(&g.caught_up), 1);
    kit_close(p);
    kit_close(s);
    kit_close(m);
}

CONFORMANCE_WITH(nothing_stored_is_caught_up_at_once, .needs = "events")
{
    static heard h, g;
    ferry *s = listen_to("order.*", &h, FERRY_SUBSCRIBE(.on_caught_up = heard_caught_up)),
          *m = listen_to("order.*", &g, FERRY_SUBSCRIBE(.group = "g", .on_caught_up = heard_caught_up));
    CHECK_SOON(atomic_load(&h.caught_up) == 1 && atomic_load(&g.caught_up) == 1, KIT_SOON_MS);
    kit_close(s);
    kit_close(m);
}

CONFORMANCE_WITH(from_a_time, .needs = "replays")
{
    static heard h;
    ferry *p = kit_open(NULL);
    publish_keyed(p, 0, 20);
    for (int64_t end = test_now_ms() + 50; test_pause(end);)
        continue;
    int64_t since = wall_ms() - 20;
    publish_keyed(p, 20, 40);
    ferry *s = listen_to("order.*", &h, FERRY_SUBSCRIBE(.from = FERRY_FROM_TIME, .time_ms = since));
    CHECK_SOON(atomic_load(&h.total) == 20, KIT_SOON_MS);
    check_each_once(&h, 20, 40);
    kit_close(p);
    kit_close(s);
}

CONFORMANCE_WITH(from_a_saved_position, .needs = "replays")
{
    static heard h, again;
    ferry_subscription *sub;
    ferry *p = kit_open(NULL);
    ferry *s = listen_with(NULL, "order.*", &h, NULL, &sub);
    publish_keyed(p, 0, 50);
    CHECK_SOON(atomic_load(&h.total) == 50, KIT_SOON_MS);
    CHECK_SOON(ferry_lag(sub) == 0, KIT_SOON_MS);
    ferry_value *position = ferry_position(sub);
    CHECK_NOT_NULL(ferry_as_string(position, NULL));
    kit_close(s);
    publish_keyed(p, 50, 80);
    s = listen_to("order.*", &again,
                  FERRY_SUBSCRIBE(.from = FERRY_FROM_POSITION, .position = ferry_as_string(position, "")));
    CHECK_SOON(atomic_load(&again.total) == 30, KIT_SOON_MS);
    check_each_once(&again, 50, 80);
    ferry_value_free(position);
    kit_close(p);
    kit_close(s);
}

CONFORMANCE_WITH(a_group_goes_on_where_it_was, .needs = "events")
{
    static heard h, g;
    ferry *p = kit_open(NULL), *s = listen_to("order.*", &h, FERRY_SUBSCRIBE(.group = "g"));
    publish_keyed(p, 0, 30);
    CHECK_SOON(atomic_load(&h.total) == 30, KIT_SOON_MS);
    kit_close(s);
    publish_keyed(p, 30, 60);
    s = listen_to("order.*", &g, FERRY_SUBSCRIBE(.group = "g")); /* NEW is for a group without a position */
    CHECK_SOON(atomic_load(&g.total) == 30, KIT_SOON_MS);
    check_each_once(&g, 30, 60);
    kit_close(p);
    kit_close(s);
}

CONFORMANCE_WITH(a_nonsense_position_is_told, .needs = "replays")
{
    static heard h;
    ferry_subscription *sub;
    char why[FERRY_WHY_SIZE];
    ferry *s =
        listen_with(NULL, "order.*", &h, FERRY_SUBSCRIBE(.from = FERRY_FROM_POSITION, .position = "nonsense!"), &sub);
    CHECK_SOON(ferry_subscription_status(sub, why) == FERRY_INVALID, KIT_SOON_MS);
    CHECK_HAS(why, "nonsense!");
    kit_close(s);
}

/* ---- Moving --------------------------------------------------------------------------------------------------------- */

CONFORMANCE_WITH(a_broadcast_seeks, .needs = "replays")
{
    static heard h;
    ferry_subscription *sub;
    ferry *p = kit_open(NULL), *s = listen_with(NULL, "order.*", &h, NULL, &sub);
    publish_keyed(p, 0, 40);
    CHECK_SOON(atomic_load(&h.total) == 40, KIT_SOON_MS);
    CHECK_STATUS(ferry_seek(sub, FERRY_FROM_EARLIEST, 0, NULL), FERRY_OK);
    CHECK_SOON(atomic_load(&h.total) == 80, KIT_SOON_MS);
    for (int i = 0; i < 40; i++)
        CHECK_INT(atomic_load(&h.times[i]), 2);
    kit_close(p);
    kit_close(s);
}

CONFORMANCE_WITH(a_group_seeks, .needs = "replays")
{
    static heard h;
    ferry_subscription *sub;
    ferry *p = kit_open(NULL), *s = listen_with(NULL, "order.*", &h, FERRY_SUBSCRIBE(.group = "g"), &sub);
    publish_keyed(p, 0, 40);
    CHECK_SOON(atomic_load(&h.total) == 40, KIT_SOON_MS);
    CHECK_SOON(ferry_lag(sub) == 0, KIT_SOON_MS);
    CHECK_STATUS(ferry_seek(sub, FERRY_FROM_EARLIEST, 0, NULL), FERRY_OK);
    CHECK_SOON(atomic_load(&h.total) == 80, KIT_SOON_MS);
    CHECK_STATUS(ferry_wait_ready(s, KIT_SOON_MS), FERRY_OK);
    publish_keyed(p, 40, 41);
    CHECK_SOON(atomic_load(&h.total) == 81, KIT_SOON_MS);
    kit_close(p);
    kit_close(s);
}

CONFORMANCE_WITH(without_history_it_is_said, .needs = "events")
{
    static heard h;
    ferry *f = kit_open(NULL);
    ferry_status status = ferry_subscribe(f, "order.*", hear, &h, FERRY_SUBSCRIBE(.from = FERRY_FROM_EARLIEST), NULL);
    CHECK_STATUS(status, test_can("replays") ? FERRY_OK : FERRY_UNSUPPORTED);
    kit_close(f);
}

/* ---- Pull ----------------------------------------------------------------------------------------------------------- */

static ferry_subscription *pull(ferry *f, const char *pattern, const ferry_subscribe_options *how)
{
    ferry_subscription *s = NULL;
    CHECK_STATUS(ferry_subscribe(f, pattern, NULL, NULL, how, &s), FERRY_OK);
    CHECK_STATUS(ferry_wait_ready(f, test_ms(KIT_SOON_MS)), FERRY_OK);
    return s;
}

static int receive_one(ferry_subscription *s, int ms)
{
    ferry_request *event = ferry_receive(s, ms);
    int number = event ? (int)ferry_as_int(ferry_request_data(event), -1) : -1;
    ferry_done(event);
    return number;
}

CONFORMANCE_WITH(pulled_one_by_one, .needs = "events")
{
    ferry *f = kit_open(NULL), *p = kit_open(NULL);
    ferry_subscription *s = pull(f, "order.*", FERRY_SUBSCRIBE(.group = "g"));
    CHECK_NULL(ferry_receive(s, 20));
    for (int i = 0; i < 150; i++)
        CHECK_STATUS(ferry_publish(p, "order.created", ferry_int(i), FERRY_EVENT(.key = "k")), FERRY_OK);
    CHECK_STATUS(ferry_flush(p, KIT_SOON_MS), FERRY_OK);
    for (int i = 0; i < 150; i++)
        CHECK_INT(receive_one(s, test_ms(KIT_SOON_MS)), i);
    CHECK_INT(receive_one(s, 20), -1);
    kit_close(p);
    kit_close(f);
}

CONFORMANCE_WITH(a_pulled_one_that_failed_comes_again, .needs = "events")
{
    ferry *f = kit_open(NULL), *p = kit_open(NULL);
    ferry_subscription *s = pull(f, "order.*", FERRY_SUBSCRIBE(.group = "g", .backoff_ms = 10));
    publish(p, "order.created", 7, NULL);
    ferry_request *event = ferry_receive(s, test_ms(KIT_SOON_MS));
    CHECK_NOT_NULL(event);
    ferry_fail(event, "Broken", "on purpose");
    ferry_done(event);
    event = ferry_receive(s, test_ms(KIT_SOON_MS));
    CHECK_NOT_NULL(event);
    CHECK_INT(ferry_request_attempt(event), 2);
    CHECK_INT(ferry_as_int(ferry_request_data(event), -1), 7);
    ferry_done(event);
    kit_close(p);
    kit_close(f);
}

CONFORMANCE_WITH(pulled_by_correlation, .needs = "events")
{
    ferry *f = kit_open(NULL), *p = kit_open(NULL);
    ferry_subscription *s = pull(f, "order.*", NULL);
    for (int i = 0; i < 200; i++)
        CHECK_STATUS(ferry_publish(p, "order.created", ferry_int(i),
                                   FERRY_EVENT(.key = "k", .correlation = test_text("c%d", i))),
                     FERRY_OK);
    CHECK_STATUS(ferry_flush(p, KIT_SOON_MS), FERRY_OK);
    ferry_request *event = ferry_receive_for(s, "c150", test_ms(KIT_SOON_MS));
    CHECK_NOT_NULL(event);
    CHECK_INT(ferry_as_int(ferry_request_data(event), -1), 150);
    ferry_done(event);
    CHECK_NULL(ferry_receive_for(s, "c150", 20));
    CHECK_INT(receive_one(s, test_ms(KIT_SOON_MS)), 0); /* the others are still there */
    CHECK_INT(receive_one(s, test_ms(KIT_SOON_MS)), 1);
    kit_close(p);
    kit_close(f);
}

CONFORMANCE_WITH(drained_by_pulling, .needs = "replays")
{
    ferry *f = kit_open(NULL), *p = kit_open(NULL);
    publish_keyed(p, 0, 100);
    ferry_subscription *s = pull(f, "order.*", FERRY_SUBSCRIBE(.from = FERRY_FROM_EARLIEST));
    int got = 0;
    for (bool there = false; !there;) {
        there = ferry_caught_up(s);
        while (receive_one(s, there ? 0 : 20) >= 0)
            got++;
    }
    CHECK_INT(got, 100);
    kit_close(p);
    kit_close(f);
}

CONFORMANCE_WITH(unreceived_ones_go_back_to_the_group, .needs = "events")
{
    ferry *f = kit_open(NULL), *p = kit_open(NULL);
    ferry_subscription *s = pull(f, "order.*", FERRY_SUBSCRIBE(.group = "g"));
    for (int i = 0; i < 20; i++)
        CHECK_STATUS(ferry_publish(p, "order.created", ferry_int(i), FERRY_EVENT(.key = "k")), FERRY_OK);
    CHECK_STATUS(ferry_flush(p, KIT_SOON_MS), FERRY_OK);
    CHECK_INT(receive_one(s, test_ms(KIT_SOON_MS)), 0);
    CHECK_STATUS(ferry_unsubscribe(s), FERRY_OK);
    s = pull(f, "order.*", FERRY_SUBSCRIBE(.group = "g"));
    for (int i = 1; i < 20; i++)
        CHECK_INT(receive_one(s, test_ms(KIT_SOON_MS)), i);
    kit_close(p);
    kit_close(f);
}

/* ---- Asking --------------------------------------------------------------------------------------------------------- */

static ferry_reply *ask(ferry *f, const char *command, ferry_value *args)
{
    return ferry_admin(f, command, args, FERRY_CALL(.timeout_ms = test_ms(KIT_SOON_MS)));
}

static const ferry_value *named(const ferry_value *list, const char *key, const char *name)
{
    for (size_t i = 0; i < ferry_count(list); i++)
        if (strcmp(ferry_as_string(ferry_find(ferry_at(list, i), key), ""), name) == 0)
            return ferry_at(list, i);
    return NULL;
}

static int64_t lag_of(ferry *f, const char *domain, const char *group)
{
    ferry_reply *r = ask(f, "lag", ferry_map("domain", domain, "group", group));
    int64_t lag = ferry_as_int(ferry_find(named(ferry_find(ferry_data(r), "groups"), "group", group), "lag"), -1);
    ferry_reply_free(r);
    return lag;
}

CONFORMANCE_WITH(lag_of_a_group_without_members, .needs = "events")
{
    static heard h;
    ferry *p = kit_open(NULL);
    kit_close(listen_to("order.*", &h, FERRY_SUBSCRIBE(.group = "g")));
    publish_keyed(p, 0, 25);
    CHECK_SOON(lag_of(p, "order", "g") == 25, KIT_SOON_MS);
    ferry *s = listen_to("order.*", &h, FERRY_SUBSCRIBE(.group = "g"));
    CHECK_SOON(atomic_load(&h.total) == 25, KIT_SOON_MS);
    CHECK_SOON(lag_of(p, "order", "g") == 0, KIT_SOON_MS);
    kit_close(p);
    kit_close(s);
}

CONFORMANCE_WITH(topics_are_made_listed_and_deleted, .needs = "replays")
{
    static heard h;
    ferry *f = kit_open(NULL);
    ferry_reply *r = ask(f, "topic.create", ferry_map("name", "made", "partitions", 3));
    CHECK_INT(ferry_as_int(ferry_find(ferry_data(r), "count"), -1), 1);
    ferry_reply_free(r);
    r = ask(f, "topic.create", ferry_map("name", "made"));
    CHECK_INT(ferry_as_int(ferry_find(ferry_data(r), "count"), -1), 0);
    ferry_reply_free(r);
    publish(f, "order.created", 1, "k");
    r = ask(f, "topic.list", NULL);
    CHECK_NOT_NULL(named(ferry_find(ferry_data(r), "topics"), "name", "made"));
    CHECK_NOT_NULL(named(ferry_find(ferry_data(r), "topics"), "name", "order"));
    ferry_reply_free(r);
    r = ask(f, "topic.describe", ferry_map("name", "order"));
    CHECK_STR(ferry_as_string(ferry_find(ferry_data(r), "name"), ""), "order");
    CHECK_INT(ferry_as_int(ferry_find(ferry_data(r), "events"), -1), 1);
    ferry_reply_free(r);
    KIT_UNDONE(ask(f, "topic.describe", ferry_map("name", "nothing")), FERRY_NOT_FOUND);
    r = ask(f, "topic.delete", ferry_map("name", "made"));
    CHECK_STATUS(ferry_reply_status(r), FERRY_OK);
    ferry_reply_free(r);
    KIT_UNDONE(ask(f, "topic.delete", ferry_map("name", "nothing")), FERRY_NOT_FOUND);
    r = ask(f, "topic.purge", ferry_map("name", "order"));
    if (ferry_reply_status(r) == FERRY_UNSUPPORTED && strncmp(test_url(), "amqp:", 5) == 0) {
        ferry_reply_free(r); /* a stream of RabbitMQ cannot be emptied, and it says so */
        kit_close(f);
        return;
    }
    CHECK_STATUS(ferry_reply_status(r), FERRY_OK);
    ferry_reply_free(r);
    publish(f, "order.created", 2, "k");
    ferry *s = listen_to("order.*", &h, FERRY_SUBSCRIBE(.from = FERRY_FROM_EARLIEST));
    CHECK_SOON(atomic_load(&h.total) == 1, KIT_SOON_MS);
    CHECK_INT(h.order[0], 2);
    KIT_UNDONE(ask(f, "topic.create", ferry_map("name", "a.b")), FERRY_INVALID);
    kit_close(s);
    kit_close(f);
}

/* ---- Changes, and the trail ----------------------------------------------------------------------------------------- */

CONFORMANCE_WITH(changes_have_one_shape, .needs = "events")
{
    ferry *f = kit_open(FERRY_OPTIONS(.name = "crm")), *p = kit_open(FERRY_OPTIONS(.name = "crm"));
    ferry_subscription *s = pull(f, "customer.*", NULL);
    char why[FERRY_WHY_SIZE];
    CHECK_STATUS(ferry_publish_change(p,
                                      FERRY_CHANGE(.type = "customer", .operation = "update", .uid = "7",
                                                   .resource = ferry_map("name", "ada"), .user = "root"),
                                      FERRY_EVENT(.confirm = FERRY_CONFIRMED)),
                 FERRY_OK);
    CHECK_STATUS(ferry_publish_change(p, FERRY_CHANGE(.type = "customer", .operation = "upsert", .uid = "7"),
                                      FERRY_EVENT(.why = why)),
                 FERRY_INVALID);
    CHECK_HAS(why, "operation");
    ferry_request *event = ferry_receive(s, test_ms(KIT_SOON_MS));
    CHECK_NOT_NULL(event);
    ferry_change c;
    CHECK(ferry_read_change(ferry_request_data(event), &c));
    CHECK_STR(c.type, "customer");
    CHECK_STR(c.operation, "update");
    CHECK_STR(c.uid, "7");
    CHECK_STR(c.user, "root");
    CHECK_STR(c.application, "crm");
    CHECK_STR(c.description, "customer - 7");
    CHECK_STR(ferry_as_string(ferry_find(c.resource, "name"), ""), "ada");
    CHECK_STR(ferry_request_route(event), "customer.update");
    CHECK_STR(ferry_request_key(event), "customer/7");
    ferry_done(event);
    kit_close(p);
    kit_close(f);
}

static void hop(ferry_request *req, void *arg)
{
    CHECK_STATUS(ferry_hop(req, arg, ferry_map("paid", FERRY_TRUE)), FERRY_OK);
}

CONFORMANCE_WITH(a_trail_is_read_back_by_correlation, .needs = "replays")
{
    char why[FERRY_WHY_SIZE];
    ferry *s = kit_open(FERRY_OPTIONS(.name = "till")), *p = kit_open(NULL);
    CHECK_STATUS(ferry_handle(s, "order.pay", hop, "paid", NULL), FERRY_OK);
    CHECK_STATUS(ferry_handle(s, "order.ship", hop, "shipped", NULL), FERRY_OK);
    kit_start(s, "order");
    KIT_OK(ferry_post(p, "order.pay", NULL, FERRY_CALL(.correlation = "order-7")));
    KIT_OK(ferry_post(p, "order.ship", NULL, FERRY_CALL(.correlation = "order-7")));
    KIT_OK(ferry_post(p, "order.ship", NULL, FERRY_CALL(.correlation = "order-8")));
    CHECK_STATUS(ferry_flush(s, KIT_SOON_MS), FERRY_OK);
    ferry_value *trail = ferry_trail(p, "order-7", test_ms(KIT_SOON_MS), why);
    CHECK_INT(ferry_count(trail), 2);
    CHECK_STR(ferry_as_string(ferry_find(ferry_at(trail, 0), "what"), ""), "paid");
    CHECK_STR(ferry_as_string(ferry_find(ferry_at(trail, 1), "what"), ""), "shipped");
    CHECK_HAS(ferry_as_string(ferry_find(ferry_at(trail, 1), "who"), ""), "till@");
    CHECK(ferry_as_bool(ferry_find(ferry_find(ferry_at(trail, 0), "changes"), "paid"), false));
    ferry_value_free(trail);
    kit_close(p);
    kit_close(s);
}

static void count_all(ferry_request *event, void *arg)
{
    (void)event;
    atomic_fetch_add(&((heard *)arg)->total, 1);
}

/* A broker that trims in its own time is asked in a case of its own (tests/integration). */
CONFORMANCE_WITH(what_was_trimmed_away_is_an_error, .needs = "trims")
{
    static heard h;
    ferry_subscription *sub;
    enum { EVENTS = 400, SIZE = 2000 };
    char filler[SIZE + 1], why[FERRY_WHY_SIZE];
    memset(filler, 'x', SIZE);
    filler[SIZE] = '\0';
    const char *url = kit_url("", "keep_bytes=65536");
    ferry *p = ferry_open(url, NULL), *s = ferry_open(url, NULL);
    CHECK_STATUS(ferry_subscribe(s, "order.*", NULL, NULL, FERRY_SUBSCRIBE(.group = "g"), &sub), FERRY_OK);
    CHECK_STATUS(ferry_wait_ready(s, test_ms(KIT_SOON_MS)), FERRY_OK);
    kit_close(s); /* its position is at the beginning */
    for (int i = 0; i < EVENTS; i++)
        CHECK_STATUS(ferry_publish(p, "order.created", ferry_text(filler), NULL), FERRY_OK);
    CHECK_STATUS(ferry_flush(p, KIT_SOON_MS), FERRY_OK);
    s = ferry_open(url, NULL);
    CHECK_STATUS(
        ferry_subscribe(s, "order.*", count_all, &h, FERRY_SUBSCRIBE(.group = "g", .on_lost = heard_lost), &sub),
        FERRY_OK);
    CHECK_STATUS(ferry_serve(s), FERRY_OK);
    CHECK_SOON(atomic_load(&h.lost) == 1, KIT_SOON_MS);
    CHECK_STATUS(ferry_subscription_status(sub, why), FERRY_NOT_FOUND);
    CHECK_HAS(why, "trimmed");
    CHECK_INT(atomic_load(&h.total), 0);
    CHECK_STATUS(ferry_seek(sub, FERRY_FROM_EARLIEST, 0, NULL), FERRY_OK); /* knowingly */
    CHECK_SOON(atomic_load(&h.total) > 5, KIT_SOON_MS);
    CHECK(atomic_load(&h.total) < EVENTS);
    CHECK_STATUS(ferry_subscription_status(sub, why), FERRY_OK);
    kit_close(s);
    kit_close(p);
}
