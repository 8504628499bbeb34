/* async.c - many calls under way at once: futures, whichever comes first, callbacks, cancel.
 *
 * It serves what it calls, so it runs alone; over a broker the two sides are two programs and stay as they are here. */
#include <ferry/ferry.h>

#include <poll.h>
#include <stdatomic.h>

static void price(ferry_request *req, void *arg)
{
    int item, ms = 0;
    (void)arg;
    if (!ferry_args(req, "item", &item, "ms?", &ms))
        return;
    for (; ms > 0 && !ferry_request_cancelled(req); ms--)
        poll(NULL, 0, 1); /* stands for work */
    ferry_respond(req, ferry_of(item * 100));
}

static void on_price(ferry_reply *r, void *arg)
{
    printf("callback: %lld\n", (long long)ferry_as_int(ferry_data(r), -1));
    ferry_reply_free(r); /* a callback owns its reply */
    atomic_store((atomic_bool *)arg, true);
}

static ferry_future *ask(ferry *f, int item, int ms)
{
    return ferry_async(f, FERRY_GET, "price.of", ferry_map("item", item, "ms", ms), FERRY_CALL(.timeout_ms = 5000));
}

/* All at once, collected in the order asked: it takes as long as the slowest, not as long as all. */
static void in_order(ferry *f)
{
    ferry_future *futures[3] = {ask(f, 1, 30), ask(f, 2, 20), ask(f, 3, 10)};
    for (size_t i = 0; i < 3; i++) {
        ferry_reply *r = ferry_await(futures[i]); /* takes the future */
        printf("in order: %lld\n", (long long)ferry_as_int(ferry_data(r), -1));
        ferry_reply_free(r);
    }
}

static void first_come(ferry *f)
{
    ferry_future *futures[2] = {ask(f, 4, 300), ask(f, 5, 0)};
    for (size_t i; (i = ferry_await_any(futures, 2, 5000)) < 2;) {
        ferry_reply *r = ferry_await(futures[i]);
        futures[i] = NULL; /* is skipped from now on */
        printf("first come: %lld\n", (long long)ferry_as_int(ferry_data(r), -1));
        ferry_reply_free(r);
    }
}

static void cancelled(ferry *f)
{
    ferry_future *slow = ask(f, 6, 2000);
    ferry_cancel(slow); /* ready now; the server may be told */
    ferry_reply *r = ferry_await(slow);
    printf("cancelled: %s\n", ferry_status_name(ferry_reply_status(r)));
    ferry_reply_free(r);
}

int main(void)
{
    atomic_bool called = false;
    ferry *f = ferry_open(NULL, FERRY_OPTIONS(.workers = 3));
    ferry_handle(f, "price.of", price, NULL, NULL);
    ferry_serve(f); /* receives in the background */
    in_order(f);
    first_come(f);
    cancelled(f);
    ferry_async_with(f, FERRY_GET, "price.of", ferry_map("item", 7), FERRY_CALL(.timeout_ms = 5000), on_price, &called);
    while (!atomic_load(&called)) /* it runs once, whatever happens, by the deadline */
        poll(NULL, 0, 1);
    return ferry_close(f) != FERRY_OK;
}
