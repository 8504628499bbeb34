/* mock.c - testing code that calls services, without services: mem: plus ferry_handle is the mock, ferry_stats the
 * expectation. */
#include <ferry/ferry.h>

#include <string.h>

/* ---- the code under test: it only knows a handle ---- */

static const char *ship(ferry *f, const char *order)
{
    const char *result = "not shipped";
    ferry_reply *stock = ferry_put(f, "stock.reserve", ferry_map("order", order), FERRY_CALL(.timeout_ms = 1000));
    if (!ferry_has_errors(stock) && ferry_post_no_wait(f, "mail.send", ferry_map("order", order), NULL) == FERRY_OK)
        result = "shipped";
    ferry_reply_free(stock);
    return result;
}

/* ---- the mocks ---- */

static void reserve(ferry_request *req, void *arg)
{
    const char *order;
    (void)arg;
    if (ferry_args(req, "order", &order) && strcmp(order, "sold-out") == 0)
        ferry_fail(req, "OutOfStock", "none left");
}

static void swallow(ferry_request *req, void *arg)
{
    (void)req;
    (void)arg; /* no answer is an answer: nil */
}

/* ---- the test ---- */

static int failures;

static void expect(const char *what, long long found, long long wanted)
{
    printf("%s: %lld%s\n", what, found, found == wanted ? "" : ", which is WRONG");
    failures += found != wanted;
}

static void expect_stat(const ferry_value *stats, const char *name, long long wanted)
{
    expect(name, ferry_as_int(ferry_find(stats, name), -1), wanted);
}

int main(void)
{
    ferry *mock = ferry_open("mem:test", NULL), *f = ferry_open("mem:test", NULL);
    ferry_handle(mock, "stock.reserve", reserve, NULL, NULL);
    ferry_handle(mock, "mail.send", swallow, NULL, NULL);
    ferry_serve(mock);

    expect("ships what is there", strcmp(ship(f, "A-1"), "shipped"), 0);
    expect("does not ship what is not", strcmp(ship(f, "sold-out"), "not shipped"), 0);

    ferry_flush(f, 1000);
    ferry_value *stats = ferry_stats(f);
    expect_stat(stats, "calls_sent", 2);     /* one reservation each */
    expect_stat(stats, "calls_failed", 1);   /* of what is sold out */
    expect_stat(stats, "posts_accepted", 1); /* one mail, not two */
    ferry_value_free(stats);
    ferry_close(f);
    ferry_close(mock);
    return failures > 0;
}
