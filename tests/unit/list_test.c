#include "test.h"

#include "base/list.h"

typedef struct thing {
    int         number;
    ferry__node node;
} thing;

static const char *numbers(const ferry__list *l)
{
    const char *text = "";
    for (const ferry__node *n = l->next; n != l; n = n->next) {
        CHECK(n->next->prev == n && n->prev->next == n);
        text = test_text("%s%d", text, FERRY__OF(n, thing, node)->number);
    }
    return text;
}

static void make(ferry__list *l, thing *things, int count)
{
    ferry__list_init(l);
    for (int i = 0; i < count; i++) {
        things[i].number = i;
        ferry__list_append(l, &things[i].node);
    }
}

TEST(starts_empty)
{
    ferry__list l;
    ferry__list_init(&l);
    CHECK(ferry__list_empty(&l));
    CHECK_NULL(ferry__list_shift(&l));
}

TEST(keeps_order)
{
    ferry__list l;
    thing things[3], first = {.number = 9};
    make(&l, things, 3);
    ferry__list_prepend(&l, &first.node);
    CHECK_STR(numbers(&l), "9012");
    CHECK(ferry__list_shift(&l) == &first.node);
    CHECK(!ferry__node_linked(&first.node));
    CHECK_STR(numbers(&l), "012");
}

TEST(removing_twice_is_harmless)
{
    ferry__list l;
    thing things[3];
    make(&l, things, 3);
    ferry__list_remove(&things[1].node);
    ferry__list_remove(&things[1].node);
    CHECK_STR(numbers(&l), "02");
    CHECK(!ferry__node_linked(&things[1].node));
    CHECK(ferry__node_linked(&things[2].node));
}

TEST(joins)
{
    ferry__list a, b;
    thing some[2], more[3];
    make(&a, some, 2);
    make(&b, more, 3);
    ferry__list_join(&a, &b);
    CHECK_STR(numbers(&a), "01012");
    CHECK(ferry__list_empty(&b));
    ferry__list_join(&a, &b);
    CHECK_STR(numbers(&a), "01012");
    ferry__list_join(&b, &a);
    CHECK_STR(numbers(&b), "01012");
    CHECK(ferry__list_empty(&a));
}
