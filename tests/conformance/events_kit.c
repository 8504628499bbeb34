#include "events_kit.h"

static int number_of(const ferry_request *event)
{
    const ferry_value *data = ferry_request_data(event);
    return (int)ferry_as_int(ferry_value_type(data) == FERRY_TYPE_LIST ? ferry_at(data, 0) : data, -1);
}

static bool fails_now(heard *h, int number)
{
    int left = atomic_load(&h->fail_times);
    if (number != atomic_load(&h->fail_number) || left == 0)
        return false;
    if (left > 0)
        atomic_fetch_sub(&h->fail_times, 1);
    return true;
}

void hear(ferry_request *event, void *arg)
{
    heard *h = arg;
    int number = number_of(event);
    CHECK(number >= 0 && number < HEARD_MAX);
    atomic_store(&h->last_attempt, ferry_request_attempt(event));
    if (fails_now(h, number)) {
        if (h->rejects)
            ferry_reject(event, "not this one");
        else
            ferry_fail(event, "Broken", "on purpose");
        return;
    }
    int at = atomic_fetch_add(&h->begun, 1);
    if (at < HEARD_MAX)
        atomic_store(&h->order[at], number);
    atomic_fetch_add(&h->times[number], 1);
    atomic_fetch_add(&h->total, 1); /* last: it says that the others are there */
}

void heard_caught_up(ferry_subscription *s, void *arg)
{
    heard *h = arg;
    CHECK(ferry_caught_up(s));
    atomic_store(&h->caught_up_at, atomic_load(&h->total));
    atomic_fetch_add(&h->caught_up, 1);
}

void heard_lost(ferry_subscription *s, void *arg)
{
    char why[FERRY_WHY_SIZE];
    CHECK_STATUS(ferry_subscription_status(s, why), FERRY_NOT_FOUND);
    CHECK(*why);
    atomic_fetch_add(&((heard *)arg)->lost, 1);
}

ferry *listen_with(const ferry_options *options, const char *pattern, heard *h, const ferry_subscribe_options *how,
                   ferry_subscription **made)
{
    ferry *f = kit_open(options);
    CHECK_STATUS(ferry_subscribe(f, pattern, hear, h, how, made), FERRY_OK);
    CHECK_STATUS(ferry_serve(f), FERRY_OK);
    CHECK_STATUS(ferry_wait_ready(f, test_ms(KIT_SOON_MS)), FERRY_OK);
    return f;
}

ferry *listen_to(const char *pattern, heard *h, const ferry_subscribe_options *how)
{
    return listen_with(NULL, pattern, h, how, NULL);
}

void publish(ferry *f, const char *route, int number, const char *key)
{
    char why[FERRY_WHY_SIZE] = "";
    ferry_status status =
        ferry_publish(f, route, ferry_int(number), FERRY_EVENT(.confirm = FERRY_CONFIRMED, .key = key, .why = why));
    if (status != FERRY_OK)
        FAIL("publish: %s: %s", ferry_status_name(status), why);
}

void publish_range(ferry *f, const char *route, int from, int to)
{
    for (int i = from; i < to; i++)
        CHECK_STATUS(ferry_publish(f, route, ferry_int(i), NULL), FERRY_OK);
    CHECK_STATUS(ferry_flush(f, test_ms(30000)), FERRY_OK);
}

void check_each_once(heard *h, int from, int to)
{
    for (int i = from; i < to; i++)
        if (atomic_load(&h->times[i]) != 1)
            FAIL("event %d was handled %d times", i, atomic_load(&h->times[i]));
}
