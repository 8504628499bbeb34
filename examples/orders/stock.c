/* stock.c - the warehouse of the order example, a process of its own: what there is, what it costs, what is reserved.
 *
 *     get stock.level   sku                 {"sku", "name", "cents", "pieces"}
 *     put stock.reserve order, lines        {"order", "cents"}; all lines or none
 *
 * One worker, the default, so handlers run one at a time and the tables need no lock. */
#include <ferry/ferry.h>

#include <string.h>

typedef struct article {
    const char *sku, *name;
    int         cents, pieces, held; /* held: for the order that is being looked at */
} article;

static article shelf[] = {
    {"lamp-01", "desk lamp", 3990, 60, 0},     {"chair-02", "office chair", 18900, 24, 0},
    {"desk-03", "standing desk", 44900, 9, 0}, {"mug-04", "coffee mug", 890, 400, 0},
    {"pen-05", "box of pens", 690, 250, 0},    {"paper-06", "A4 paper, 500 sheets", 540, 300, 0},
    {"cable-07", "USB-C cable", 1290, 90, 0},  {"screen-08", "27-inch screen", 27900, 15, 0},
};
enum { ARTICLES = sizeof shelf / sizeof *shelf, MOST_RESERVED = 10000 };

static struct {
    char order[64];
    int  cents;
} reserved[MOST_RESERVED];
static size_t reservations;

static article *find(const char *sku)
{
    for (size_t i = 0; i < ARTICLES; i++)
        if (strcmp(shelf[i].sku, sku) == 0)
            return &shelf[i];
    return NULL;
}

static void level(ferry_request *req, void *arg)
{
    const char *sku;
    (void)arg;
    if (!ferry_args(req, "sku", &sku))
        return;
    const article *a = find(sku);
    if (a)
        ferry_respond(req, ferry_map("sku", a->sku, "name", a->name, "cents", a->cents, "pieces", a->pieces));
    else
        ferry_fail(req, "UnknownArticle", "there is no article '%s'", sku);
}

/* Adds the line's price to sum. False: req has failed, with the reason. */
static bool hold(ferry_request *req, size_t number, const ferry_value *line, int *sum)
{
    const char *sku;
    unsigned char quantity;
    if (!ferry_read(line, "sku", &sku, "quantity", &quantity) || quantity == 0) {
        ferry_fail(req, "BadLine", "line %zu wants a sku and a quantity from 1 to 255", number);
        return false;
    }
    article *a = find(sku);
    if (!a)
        ferry_fail(req, "UnknownArticle", "there is no article '%s'", sku);
    else if (a->pieces - a->held < quantity)
        ferry_fail(req, "OutOfStock", "%d of '%s' wanted, %d left", quantity, sku, a->pieces - a->held);
    else {
        a->held += quantity;
        *sum += a->cents * quantity;
        return true;
    }
    return false;
}

/* All lines or none. Every line that cannot be had is an error of its own: the caller learns them all at once. */
static bool take(ferry_request *req, const ferry_value *lines, int *sum)
{
    bool good = ferry_count(lines) > 0;
    if (!good)
        ferry_fail(req, "EmptyOrder", "an order has at least one line");
    for (size_t i = 0; i < ferry_count(lines); i++)
        good = hold(req, i + 1, ferry_at(lines, i), sum) && good;
    for (size_t i = 0; i < ARTICLES; i++) {
        shelf[i].pieces -= good ? shelf[i].held : 0;
        shelf[i].held = 0;
    }
    return good;
}

/* A put may be run twice, when a server or a connection dies in between. So an order that was reserved is answered as
 * it was, and nothing is taken from the shelf again. */
static void reserve(ferry_request *req, void *arg)
{
    const char *order;
    const ferry_value *lines;
    size_t i = 0;
    int cents = 0;
    (void)arg;
    if (!ferry_args(req, "order", &order, "lines", &lines))
        return;
    while (i < reservations && strcmp(reserved[i].order, order) != 0)
        i++;
    if (i == MOST_RESERVED || strlen(order) >= sizeof reserved[i].order) {
        ferry_fail(req, "NoRoom", "this example keeps %d reservations with short names", MOST_RESERVED);
        return;
    }
    if (i == reservations) {
        if (!take(req, lines, &cents))
            return;
        snprintf(reserved[i].order, sizeof reserved[i].order, "%s", order);
        reserved[i].cents = cents;
        reservations++;
    }
    ferry_respond(req, ferry_map("order", order, "cents", reserved[i].cents));
}

int main(void)
{
    ferry *f = ferry_open(NULL, FERRY_OPTIONS(.name = "stock"));
    ferry_handle(f, "stock.level", level, NULL, FERRY_HANDLE(.verbs = FERRY_GET));
    ferry_handle(f, "stock.reserve", reserve, NULL, FERRY_HANDLE(.verbs = FERRY_PUT));
    return ferry_run(f);
}
