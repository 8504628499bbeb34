/* client.c - orders things: all at once, by futures; then asks what there is. Answers on stdout, errors on stderr. */
#include <ferry/ferry.h>

static const struct {
    const char *id, *customer, *sku;
    int         quantity;
} wanted[] = {
    {"C-1", "ada", "lamp-01", 2},   {"C-2", "grace", "mug-04", 12},   {"C-3", "ada", "paper-06", 10},
    {"C-4", "alan", "desk-03", 99}, {"C-5", "edsger", "piano-99", 1}, {"C-6", "grace", "screen-08", 1},
};
enum { N = sizeof wanted / sizeof *wanted };

/* Orders of one customer have one key, so they are handled in this order. The idempotency key lets ferry send one again
 * if it does not know whether the first attempt arrived: orders.c knows an id it has seen. */
static ferry_future *order(ferry *f, size_t i)
{
    ferry_value *line = ferry_map("sku", wanted[i].sku, "quantity", wanted[i].quantity);
    ferry_value *data = ferry_map("id", wanted[i].id, "customer", wanted[i].customer, "lines", ferry_list(line));
    return ferry_async(f, FERRY_POST, "orders.create", data,
                       FERRY_CALL(.timeout_ms = 5000, .key = wanted[i].customer, .idempotency_key = wanted[i].id));
}

static int show(const char *id, ferry_reply *r)
{
    int failed = ferry_has_errors(r);
    const ferry_error *e = ferry_error_at(r, 0); /* without an error: an empty one */
    if (!failed)
        printf("%s: accepted, %.2f\n", id, (double)ferry_as_int(ferry_find(ferry_data(r), "cents"), 0) / 100);
    else
        fprintf(stderr, "%s: %s: %s (says %s%s)\n", id, e->type, e->message, e->origin,
                e->retryable ? "; try again" : "");
    ferry_reply_free(r);
    return failed;
}

int main(void)
{
    ferry *f = ferry_open(NULL, NULL);
    ferry_future *futures[N];
    int failed = 0;
    for (size_t i = 0; i < N; i++)
        futures[i] = order(f, i);
    for (size_t i = 0; i < N; i++)
        failed += show(wanted[i].id, ferry_await(futures[i]));

    ferry_reply *list = ferry_get(f, "orders.list", ferry_map("customer", "ada"), NULL);
    for (size_t i = 0; i < ferry_count(ferry_data(list)); i++)
        printf("ada has %s\n", ferry_as_string(ferry_find(ferry_at(ferry_data(list), i), "id"), "?"));
    ferry_print_errors(list, stderr);
    ferry_reply_free(list);
    ferry_close(f);
    return failed > 0;
}
