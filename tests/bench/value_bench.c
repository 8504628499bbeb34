/* value_bench.c - nanoseconds per operation on values, beside what msgpack-c alone takes. Prints, asserts nothing: `make bench`. */
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "data/value.h"

enum { ROUNDS = 5, LEAST_NS = 100 * 1000 * 1000 };

typedef struct subject {
    const char *name;
    ferry_value *(*build)(void);
    ferry_value *value;
    char        *bytes;
    size_t       length;
} subject;

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void build(subject *s)
{
    ferry_value_free(s->build());
}

static void encode(subject *s)
{
    size_t length;
    if (ferry__value_measure(s->value, s->length, &length) == FERRY_OK)
        ferry__value_write(s->value, s->bytes);
}

static void scan(subject *s)
{
    if (ferry__value_scan(s->bytes, s->length, NULL) != FERRY_OK)
        abort();
}

static void decode(subject *s)
{
    ferry_value *v;
    if (ferry__value_decode(s->bytes, s->length, &v, NULL) != FERRY_OK)
        abort();
    ferry_value_free(v);
}

static void copy(subject *s)
{
    ferry_value_free(ferry_value_copy(s->value));
}

static void pack_alone(subject *s)
{
    msgpack_sbuffer to;
    msgpack_packer packer;
    msgpack_unpacked from;
    msgpack_unpacked_init(&from);
    if (msgpack_unpack_next(&from, s->bytes, s->length, NULL) != MSGPACK_UNPACK_SUCCESS)
        abort();
    msgpack_sbuffer_init(&to);
    msgpack_packer_init(&packer, &to, msgpack_sbuffer_write);
    msgpack_pack_object(&packer, from.data);
    msgpack_sbuffer_destroy(&to);
    msgpack_unpacked_destroy(&from);
}

static void unpack_alone(subject *s)
{
    msgpack_unpacked from;
    msgpack_unpacked_init(&from);
    if (msgpack_unpack_next(&from, s->bytes, s->length, NULL) != MSGPACK_UNPACK_SUCCESS)
        abort();
    msgpack_unpacked_destroy(&from);
}

/* The best of a few rounds, each long enough to be measured. */
static double cost(void (*run)(subject *s), subject *s)
{
    double best = 1e18;
    for (int round = 0; round < ROUNDS; round++) {
        size_t times = 0;
        double start = now_ns(), spent;
        do {
            for (int i = 0; i < 16; i++)
                run(s);
            times += 16;
        } while ((spent = now_ns() - start) < LEAST_NS);
        if (spent / (double)times < best)
            best = spent / (double)times;
    }
    return best;
}

static ferry_value *two_numbers(void)
{
    return ferry_map("x", 1, "y", 2);
}

static ferry_value *order(void)
{
    return ferry_map("id", 4711, "to", "ada@example.org", "amount", 129.5, "tags", ferry_list("new", "express"),
                     "lines", ferry_list(ferry_map("sku", "A-17", "count", 2), ferry_map("sku", "B-4", "count", 1)));
}

static ferry_value *thousand(void)
{
    ferry_value *list = ferry_new_list();
    for (int i = 0; i < 1000; i++)
        ferry_value_add(list, i);
    return list;
}

static ferry_value *text(void)
{
    static char long_text[10001];
    for (size_t i = 0; i < sizeof long_text - 1; i++)
        long_text[i] = 'x';
    return ferry_text(long_text);
}

static void measure(subject *s)
{
    s->value = s->build();
    if (ferry__value_measure(s->value, SIZE_MAX, &s->length) != FERRY_OK || !(s->bytes = malloc(s->length)))
        abort();
    ferry__value_write(s->value, s->bytes);
    printf("%-22s %7zu %9.0f %9.0f %9.0f %9.0f %9.0f %9.0f %9.0f\n", s->name, s->length, cost(build, s),
           cost(encode, s), cost(scan, s), cost(decode, s), cost(copy, s), cost(pack_alone, s) - cost(unpack_alone, s),
           cost(unpack_alone, s));
    ferry_value_free(s->value);
    free(s->bytes);
}

int main(void)
{
    subject all[] = {{.name = "{x: 1, y: 2}", .build = two_numbers},
                     {.name = "an order, 13 values", .build = order},
                     {.name = "1000 integers", .build = thousand},
                     {.name = "10 kB of text", .build = text}};
    printf("%-22s %7s %9s %9s %9s %9s %9s %9s %9s\n", "ns", "bytes", "build", "encode", "scan", "decode", "copy",
           "(pack)", "(unpack)");
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        measure(&all[i]);
    return 0;
}
