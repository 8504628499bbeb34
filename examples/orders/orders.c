/* orders.c - a service that takes orders, and asks another one (stock.c) before it accepts them.
 *
 *     post orders.create id, customer, lines    {"id", "customer", "cents", "lines"}
 *     get  orders.get    id                     the same
 *     get  orders.list   customer?, limit?      [{"id", "customer", "cents"}, …], the newest first
 *
 * One worker, the default: handlers run one at a time, so the book needs no lock. */
#include <ferry/ferry.h>

#include <string.h>

enum { MOST = 10000 };

typedef struct book {
    ferry_value *orders[MOST];
    size_t       count;
} book;

static const char *text(const ferry_value *order, const char *name)
{
    return ferry_as_string(ferry_find(order, name), "");
}

static const ferry_value *find(const book *b, const char *id)
{
    for (size_t i = 0; i < b->count; i++)
        if (strcmp(text(b->orders[i], "id"), id) == 0)
            return b->orders[i];
    return NULL;
}

/* ---- orders.create ---- */

static void accept_order(ferry_request *req, book *b, const char *id, const char *customer, const ferry_value *lines,
                         long long cents)
{
    if (b->count == MOST) {
        ferry_fail(req, "BookFull", "this example keeps %d orders", MOST);
        return;
    }
    ferry_value *order = ferry_map("id", id, "customer", customer, "cents", cents, "lines", lines); /* lines are copied */
    b->orders[b->count++] = order;
    ferry_respond(req, ferry_value_copy(order));
}

/* A post is never run twice by itself. A caller that sets an idempotency key lets ferry repeat it, and then it is our
 * business that the second time changes nothing: the order's id tells. */
static void create(ferry_request *req, void *arg)
{
    book *b = arg;
    const char *id, *customer;
    const ferry_value *lines;
    if (!ferry_args(req, "id", &id, "customer", &customer, "lines", &lines))
        return; /* the caller has one BAD_DATA error for each key that is missing or mistyped */
    const ferry_value *known = find(b, id);
    if (known) {
        ferry_respond(req, ferry_value_copy(known));
        return;
    }
    ferry_reply *stock = ferry_put(ferry_request_handle(req), "stock.reserve", ferry_map("order", id, "lines", lines),
                                   FERRY_CALL(.within = req)); /* ends when our caller's patience does */
    if (ferry_has_errors(stock))
        ferry_fail_as(req, stock); /* the caller sees whose errors they are */
    else
        accept_order(req, b, id, customer, lines, ferry_as_int(ferry_find(ferry_data(stock), "cents"), 0));
    ferry_reply_free(stock);
}

/* ---- orders.get, orders.list ---- */

static void get(ferry_request *req, void *arg)
{
    const char *id;
    if (!ferry_args(req, "id", &id))
        return;
    const ferry_value *order = find(arg, id);
    if (order)
        ferry_respond(req, ferry_value_copy(order));
    else
        ferry_fail(req, "UnknownOrder", "there is no order '%s'", id);
}

static void list(ferry_request *req, void *arg)
{
    const book *b = arg;
    const char *customer = NULL;
    size_t limit = 10;
    if (!ferry_args(req, "customer?", &customer, "limit?", &limit))
        return;
    ferry_value *found = ferry_new_list();
    for (size_t i = b->count; i-- > 0 && ferry_count(found) < limit;)
        if (!customer || strcmp(text(b->orders[i], "customer"), customer) == 0)
            ferry_value_add(found, ferry_map("id", text(b->orders[i], "id"), "customer", text(b->orders[i], "customer"),
                                             "cents", ferry_as_int(ferry_find(b->orders[i], "cents"), 0)));
    ferry_respond(req, found);
}

/* ---- the program ---- */

/* A guard runs before each handler of its routes. This one keeps a log; others look at who asks. */
static bool note(ferry_request *req, void *arg)
{
    const char *key = ferry_request_key(req);
    (void)arg;
    fprintf(stderr, "orders: %s, key %s\n", ferry_request_route(req), key ? key : "none");
    return true;
}

int main(void)
{
    static book b;
    ferry *f = ferry_open(NULL, FERRY_OPTIONS(.name = "orders"));
    ferry_guard(f, "orders.**", note, NULL);
    ferry_handle(f, "orders.create", create, &b, FERRY_HANDLE(.verbs = FERRY_POST));
    ferry_handle(f, "orders.get", get, &b, FERRY_HANDLE(.verbs = FERRY_GET));
    ferry_handle(f, "orders.list", list, &b, FERRY_HANDLE(.verbs = FERRY_GET));
    int code = ferry_run(f);
    for (size_t i = 0; i < b.count; i++)
        ferry_value_free(b.orders[i]);
    return code;
}
