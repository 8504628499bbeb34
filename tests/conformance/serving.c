/* serving.c - routes, guards, arguments and answers. */
#include "kit.h"

/* ---- Routes --------------------------------------------------------------------------------------------------------- */

static void answer_arg(ferry_request *req, void *arg)
{
    ferry_respond(req, ferry_text(arg));
}

static void answers(ferry *c, ferry_verb verb, const char *route, const char *want)
{
    ferry_reply *r = ferry_await(ferry_async(c, verb, route, NULL, NULL));
    test_note("%s", route);
    CHECK_STR(ferry_as_string(ferry_data(r), NULL), want);
    KIT_OK(r);
}

CONFORMANCE(longest_route_first)
{
    static char any[] = "any", one[] = "one", item[] = "item", exact[] = "exact", deep[] = "deep";
    ferry *s = kit_open(NULL), *c = kit_open(NULL);
    CHECK_STATUS(ferry_handle(s, "shop.**", answer_arg, any, NULL), FERRY_OK);
    CHECK_STATUS(ferry_handle(s, "shop.*", answer_arg, one, NULL), FERRY_OK);
    CHECK_STATUS(ferry_handle(s, "shop.item.*", answer_arg, item, NULL), FERRY_OK);
    CHECK_STATUS(ferry_handle(s, "shop.item.new", answer_arg, exact, NULL), FERRY_OK);
    CHECK_STATUS(ferry_handle(s, "shop.item.**", answer_arg, deep, NULL), FERRY_OK);
    kit_start(s, "shop");
    answers(c, FERRY_GET, "shop.item.new", "exact");
    answers(c, FERRY_GET, "shop.item.7", "item");
    answers(c, FERRY_GET, "shop.item.7.price", "deep");
    answers(c, FERRY_GET, "shop.item", "one");
    answers(c, FERRY_GET, "shop.cart", "one");
    answers(c, FERRY_GET, "shop.cart.7", "any");
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(star_is_one_segment)
{
    static char one[] = "one";
    ferry *s = kit_serve("shop.item.*", answer_arg, one), *c = kit_open(NULL);
    answers(c, FERRY_PUT, "shop.item.7", "one");
    KIT_ENDS(ferry_get(c, "shop.item.7.price", NULL, NULL), FERRY_NOT_FOUND, FERRY_OUTCOME_NOT_EXECUTED);
    KIT_ENDS(ferry_get(c, "shop.item", NULL, NULL), FERRY_NOT_FOUND, FERRY_OUTCOME_NOT_EXECUTED);
    KIT_ENDS(ferry_get(c, "shop.items.7", NULL, NULL), FERRY_NOT_FOUND, FERRY_OUTCOME_NOT_EXECUTED);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(verbs_each_with_its_handler)
{
    static char reads[] = "reads", writes[] = "writes", any[] = "any";
    ferry *s = kit_open(NULL), *c = kit_open(NULL);
    CHECK_STATUS(ferry_handle(s, "shop.item", answer_arg, reads, FERRY_HANDLE(.verbs = FERRY_GET)), FERRY_OK);
    CHECK_STATUS(ferry_handle(s, "shop.item", answer_arg, writes, FERRY_HANDLE(.verbs = FERRY_PUT | FERRY_PATCH)),
                 FERRY_OK);
    CHECK_STATUS(ferry_handle(s, "shop.*", answer_arg, any, NULL), FERRY_OK);
    kit_start(s, "shop");
    answers(c, FERRY_GET, "shop.item", "reads");
    answers(c, FERRY_PATCH, "shop.item", "writes");
    answers(c, FERRY_DELETE, "shop.cart", "any");
    /* the route is chosen first, then its verbs: shop.* does not step in */
    KIT_ENDS(ferry_delete(c, "shop.item", NULL, NULL), FERRY_VERB_NOT_ALLOWED, FERRY_OUTCOME_NOT_EXECUTED);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(same_route_and_verb_twice)
{
    char problem[512] = "";
    ferry *f = kit_open(NULL);
    CHECK_STATUS(ferry_handle(f, "shop.item", kit_echo, NULL, FERRY_HANDLE(.verbs = FERRY_GET | FERRY_PUT)), FERRY_OK);
    CHECK_STATUS(ferry_handle(f, "shop.item", kit_echo, NULL, FERRY_HANDLE(.verbs = FERRY_POST)), FERRY_OK);
    CHECK_STATUS(ferry_handle(f, "shop.item", kit_echo, NULL, FERRY_HANDLE(.verbs = FERRY_PUT | FERRY_DELETE)),
                 FERRY_INVALID);
    CHECK(ferry_problem(f, problem, sizeof problem) > 0);
    CHECK_HAS(problem, "shop.item");
    CHECK_STATUS(ferry_handle(f, "shop.item", kit_echo, NULL, NULL), FERRY_INVALID);
    kit_close(f);
}

CONFORMANCE(handled_while_serving)
{
    ferry *s = kit_serve("calc.echo", kit_echo, NULL), *c = kit_open(NULL);
    atomic_int count = 0;
    KIT_ENDS(ferry_get(c, "calc.count", NULL, NULL), FERRY_NOT_FOUND, FERRY_OUTCOME_NOT_EXECUTED);
    CHECK_STATUS(ferry_handle(s, "calc.count", kit_count, &count, NULL), FERRY_OK);
    KIT_INT(ferry_get(c, "calc.count", NULL, NULL), 1);
    CHECK_STATUS(ferry_handle(s, "other.count", kit_count, &count, NULL), FERRY_OK);
    kit_await_service("other");
    KIT_INT(ferry_get(c, "other.count", NULL, NULL), 2);
    kit_close(c);
    kit_close(s);
}

/* ---- Guards --------------------------------------------------------------------------------------------------------- */

typedef struct steps {
    atomic_int next, at[4]; /* when each of them ran, from 1; 0 = it did not */
} steps;

static void step(steps *s, int which)
{
    atomic_store(&s->at[which], atomic_fetch_add(&s->next, 1) + 1);
}

static bool first_guard(ferry_request *req, void *arg)
{
    (void)req;
    step(arg, 0);
    return true;
}

static bool second_guard(ferry_request *req, void *arg)
{
    step(arg, 1);
    if (ferry_as_bool(ferry_request_data(req), true))
        return true;
    ferry_fail(req, "Forbidden", "not for you");
    return false;
}

static bool third_guard(ferry_request *req, void *arg)
{
    (void)req;
    step(arg, 2);
    return true;
}

static void guarded(ferry_request *req, void *arg)
{
    step(arg, 3);
    ferry_respond(req, ferry_int(1));
}

static ferry *guarded_server(steps *run)
{
    ferry *s = kit_open(NULL);
    CHECK_STATUS(ferry_guard(s, "shop.**", first_guard, run), FERRY_OK);
    CHECK_STATUS(ferry_guard(s, "shop.item.*", second_guard, run), FERRY_OK);
    CHECK_STATUS(ferry_guard(s, "shop.item.new", third_guard, run), FERRY_OK);
    CHECK_STATUS(ferry_handle(s, "shop.item.new", guarded, run, NULL), FERRY_OK);
    CHECK_STATUS(ferry_handle(s, "shop.cart", guarded, run, NULL), FERRY_OK);
    CHECK_STATUS(ferry_handle(s, "free.cart", guarded, run, NULL), FERRY_OK);
    kit_start(s, "free");
    kit_await_service("shop");
    return s;
}

CONFORMANCE(guards_in_the_order_given)
{
    steps run = {0};
    ferry *s = guarded_server(&run), *c = kit_open(NULL);
    memset(&run, 0, sizeof run);
    KIT_INT(ferry_get(c, "shop.item.new", NULL, NULL), 1);
    for (int i = 0; i < 4; i++)
        CHECK_INT(atomic_load(&run.at[i]), i + 1);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(guard_refuses)
{
    steps run = {0};
    ferry *s = guarded_server(&run), *c = kit_open(NULL);
    memset(&run, 0, sizeof run);
    ferry_reply *r = ferry_post(c, "shop.item.new", ferry_bool(false), NULL);
    CHECK_STR(ferry_error_at(r, 0)->type, "Forbidden");
    KIT_ENDS(r, FERRY_FAILED, FERRY_OUTCOME_EXECUTED);
    CHECK_INT(atomic_load(&run.at[1]), 2);
    CHECK_INT(atomic_load(&run.at[2]), 0);
    CHECK_INT(atomic_load(&run.at[3]), 0);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(guards_only_under_their_route)
{
    steps run = {0};
    ferry *s = guarded_server(&run), *c = kit_open(NULL);
    memset(&run, 0, sizeof run);
    KIT_INT(ferry_get(c, "shop.cart", ferry_bool(false), NULL), 1);
    CHECK_INT(atomic_load(&run.at[0]), 1);
    CHECK_INT(atomic_load(&run.at[1]), 0);
    memset(&run, 0, sizeof run);
    KIT_INT(ferry_get(c, "free.cart", NULL, NULL), 1);
    CHECK_INT(atomic_load(&run.at[0]), 0);
    CHECK_INT(atomic_load(&run.at[3]), 1);
    kit_close(c);
    kit_close(s);
}

/* ---- Arguments ------------------------------------------------------------------------------------------------------ */

typedef struct taken {
    int                x, limit;
    double             price;
    const char        *name;
    bool               ok;
} taken;

static void take_arguments(ferry_request *req, void *arg)
{
    taken *t = arg;
    *t = (taken){.x = -1, .limit = 10, .price = -1, .name = "none"};
    t->ok = ferry_args(req, "x", &t->x, "name", &t->name, "price", &t->price, "limit?", &t->limit);
    if (t->ok)
        ferry_respond(req, ferry_int(t->x + t->limit));
}

CONFORMANCE(arguments_into_variables)
{
    taken t = {0};
    ferry *s = kit_serve("shop.take", take_arguments, &t), *c = kit_open(NULL);
    KIT_INT(ferry_get(c, "shop.take", ferry_map("x", 1, "name", "n", "price", 2), NULL), 11);
    CHECK(t.ok && t.price > 1.9 && t.price < 2.1); /* an integer is a fine double */
    KIT_INT(ferry_get(c, "shop.take", ferry_map("limit", 5, "x", 1, "name", "n", "price", 2.5), NULL), 6);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(bad_arguments_all_at_once)
{
    taken t = {0};
    ferry *s = kit_serve("shop.take", take_arguments, &t), *c = kit_open(NULL);
    ferry_reply *r = ferry_post(c, "shop.take", ferry_map("x", "one", "limit", ferry_new_list()), NULL);
    CHECK_INT(ferry_error_count(r), 4); /* x is no integer, name and price are missing, limit is no integer */
    static const char *const keys[] = {"x", "name", "price", "limit"};
    for (size_t i = 0; i < 4; i++) {
        CHECK_STATUS(ferry_error_at(r, i)->code, FERRY_BAD_DATA);
        CHECK_HAS(ferry_error_at(r, i)->message, keys[i]);
    }
    KIT_ENDS(r, FERRY_BAD_DATA, FERRY_OUTCOME_EXECUTED);
    CHECK(!t.ok);
    CHECK_INT(t.x, -1); /* all or nothing */
    CHECK_INT(t.limit, 10);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(bad_arguments_out_of_range_or_no_map)
{
    taken t = {0};
    ferry *s = kit_serve("shop.take", take_arguments, &t), *c = kit_open(NULL);
    ferry_reply *r = ferry_get(c, "shop.take", ferry_map("x", 1LL << 40, "name", "n", "price", 1), NULL);
    CHECK_INT(ferry_error_count(r), 1);
    KIT_ENDS(r, FERRY_BAD_DATA, FERRY_OUTCOME_EXECUTED);
    r = ferry_get(c, "shop.take", ferry_list(1, 2), NULL);
    KIT_ENDS(r, FERRY_BAD_DATA, FERRY_OUTCOME_EXECUTED);
    r = ferry_get(c, "shop.take", NULL, NULL);
    KIT_ENDS(r, FERRY_BAD_DATA, FERRY_OUTCOME_EXECUTED);
    kit_close(c);
    kit_close(s);
}

/* ---- Answers -------------------------------------------------------------------------------------------------------- */

static void respond_twice(ferry_request *req, void *arg)
{
    (void)arg;
    CHECK_STATUS(ferry_respond(req, ferry_int(1)), FERRY_OK);
    CHECK_STATUS(ferry_respond(req, ferry_int(2)), FERRY_INVALID);
}

CONFORMANCE(first_answer_counts)
{
    ferry *s = kit_serve("calc.twice", respond_twice, NULL), *c = kit_open(NULL);
    KIT_INT(ferry_get(c, "calc.twice", NULL, NULL), 1);
    kit_close(c);
    kit_close(s);
}

static void quiet(ferry_request *req, void *arg)
{
    (void)req;
    (void)arg;
}

CONFORMANCE(no_answer_is_nil)
{
    ferry *s = kit_serve("calc.quiet", quiet, NULL), *c = kit_open(NULL);
    ferry_reply *r = ferry_get(c, "calc.quiet", NULL, NULL);
    CHECK_INT(ferry_value_type(ferry_data(r)), FERRY_TYPE_NIL);
    KIT_OK(r);
    kit_close(c);
    kit_close(s);
}

static void meet(ferry_request *req, void *arg)
{
    *(ferry **)arg = ferry_request_handle(req);
}

CONFORMANCE(a_request_knows_its_handle)
{
    ferry *met = NULL;
    ferry *s = kit_serve("calc.meet", meet, &met), *c = kit_open(NULL);
    KIT_OK(ferry_get(c, "calc.meet", NULL, NULL));
    CHECK(met == s);
    kit_close(c);
    kit_close(s);
}
