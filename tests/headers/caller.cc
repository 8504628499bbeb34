// caller.cc - a C++ program: values, options, reading. Compiles as C++11 and later; run by check.sh.
#include <ferry/ferry.h>

#include <cstdint>
#include <cstring>
#include <string>

static int wrong = 0;
#define CHECK(cond) \
    ((cond) ? (void)0 : (void)(wrong++, std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #cond)))

enum color { RED, GREEN };

static void every_type()
{
    char array[8] = "abc";
    const char *text = "text";
    const std::string string = "string";
    const ferry_value *none = nullptr;
    ferry_value *v =
        ferry_list(true, 'c', static_cast<signed char>(-1), static_cast<unsigned char>(2), static_cast<short>(-3),
                   static_cast<unsigned short>(4), -5, 6u, -7L, 8UL, -9LL, UINT64_MAX, 1.5f, 2.5, array, text,
                   "literal", string.c_str(), nullptr, none, ferry_list(1, 2), GREEN, size_t(10));
    CHECK(ferry_count(v) == 23);
    CHECK(ferry_value_type(ferry_at(v, 0)) == FERRY_TYPE_BOOL && ferry_as_bool(ferry_at(v, 0), false));
    CHECK(ferry_as_int(ferry_at(v, 1), 0) == 'c');
    CHECK(ferry_as_int(ferry_at(v, 2), 0) == -1);
    CHECK(ferry_as_int(ferry_at(v, 10), 0) == -9);
    CHECK(ferry_as_uint(ferry_at(v, 11), 0) == UINT64_MAX);
    CHECK(ferry_as_double(ferry_at(v, 13), 0) > 2.4);
    CHECK(std::strcmp(ferry_as_string(ferry_at(v, 14), ""), "abc") == 0);
    CHECK(std::strcmp(ferry_as_string(ferry_at(v, 17), ""), "string") == 0);
    CHECK(ferry_at(v, 18) && ferry_value_type(ferry_at(v, 18)) == FERRY_TYPE_NIL);
    CHECK(ferry_at(v, 19) && ferry_value_type(ferry_at(v, 19)) == FERRY_TYPE_NIL);
    CHECK(ferry_count(ferry_at(v, 20)) == 2);
    CHECK(ferry_as_int(ferry_at(v, 21), 0) == 1);
    ferry_value_free(v);
}

static void maps_and_reading()
{
    int x = 0;
    int64_t big = 0;
    uint16_t small = 7;
    bool yes = false;
    double d = 0;
    const char *name = nullptr;
    const ferry_value *tags = nullptr;
    ferry_value *empty = ferry_map(), *none = ferry_list();
    CHECK(ferry_value_type(empty) == FERRY_TYPE_MAP && ferry_count(empty) == 0);
    CHECK(ferry_value_type(none) == FERRY_TYPE_LIST && ferry_count(none) == 0);
    ferry_value *m = ferry_map("x", 1, "big", INT64_MAX, "yes", true, "d", 2.5, "name", "ada", "tags",
                               ferry_list("a", 1), "empty", empty);
    ferry_value_set(m, "none", none);
    ferry_value_set(m, "copy", ferry_find(m, "tags"));
    ferry_value_add(m, 1); // no list: this breaks m, which is told when it is sent; reading goes on
    CHECK(ferry_read(m, "x", &x, "big", &big, "small?", &small, "yes", &yes, "d", &d, "name", &name, "tags", &tags));
    CHECK(x == 1 && big == INT64_MAX && small == 7 && yes && d > 2.4 && std::strcmp(name, "ada") == 0 &&
          ferry_count(tags) == 2);
    CHECK(!ferry_read(m, "x", &name) && !ferry_read(m, "y", &x));
    CHECK(ferry_read(m));
    CHECK(ferry_count(ferry_find(m, "copy")) == 2);
    ferry_value_free(m);
}

static void options_and_calls()
{
    ferry_options options = ferry_defaults<ferry_options>();
    CHECK(options.size == sizeof(ferry_options) && options.name == nullptr && options.workers == 0);
    options.name = "caller";
    ferry *f = ferry_open("nonsense:", &options);
    ferry_call_options call = ferry_defaults<ferry_call_options>();
    char why[FERRY_WHY_SIZE] = "";
    call.timeout_ms = 500;
    call.why = why;
    ferry_reply *r = ferry_get(f, "calc.add", ferry_map("x", 1, "y", 2), &call);
    CHECK(ferry_has_errors(r));
    CHECK(ferry_reply_status(r) == FERRY_INVALID);
    ferry_reply_free(r);
    ferry_close(f);
}

int main()
{
    every_type();
    maps_and_reading();
    options_and_calls();
    return wrong != 0;
}
