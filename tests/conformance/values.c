/* values.c - what goes in comes out: every value there and back, byte for byte. */
#include "kit.h"

#include <math.h>
#include <stdlib.h>

static ferry *server, *client;

static void begin(void)
{
    server = kit_serve("calc.echo", kit_echo, NULL);
    client = kit_open(NULL);
}

static void end(void)
{
    kit_close(client);
    kit_close(server);
}

/* Sends v and compares the msgpack of what came back. Takes v. */
static void there_and_back(ferry_value *v)
{
    size_t sent_length = 0, came_length = 0;
    ferry_reply *r = ferry_put(client, "calc.echo", ferry_value_copy(v), NULL);
    const void *sent = ferry_encoded(v, &sent_length), *came = ferry_encoded(ferry_data(r), &came_length);
    CHECK(sent_length > 0);
    CHECK_BYTES(came, came_length, sent, sent_length);
    CHECK_INT(ferry_value_type(ferry_data(r)), ferry_value_type(v));
    KIT_OK(r);
    ferry_value_free(v);
}

CONFORMANCE(scalars)
{
    begin();
    there_and_back(ferry_nil());
    there_and_back(ferry_bool(true));
    there_and_back(ferry_bool(false));
    const double doubles[] = {0.0, -0.0, 0.1, 1e308, 5e-324, (double)INFINITY, (double)-INFINITY, (double)NAN};
    for (size_t i = 0; i < sizeof doubles / sizeof doubles[0]; i++)
        there_and_back(ferry_double(doubles[i]));
    end();
}

CONFORMANCE(integers_of_64_bits)
{
    const int64_t signed_ones[] = {
        0, 1, -1, -32, -33, 127, 128, 255, 256, INT32_MIN, INT32_MAX, (1LL << 53) + 1, INT64_MIN, INT64_MAX};
    begin();
    for (size_t i = 0; i < sizeof signed_ones / sizeof signed_ones[0]; i++) {
        there_and_back(ferry_int(signed_ones[i]));
        KIT_INT(ferry_get(client, "calc.echo", ferry_int(signed_ones[i]), NULL), signed_ones[i]);
    }
    there_and_back(ferry_uint(UINT64_MAX));
    ferry_reply *r = ferry_get(client, "calc.echo", ferry_uint(UINT64_MAX), NULL);
    CHECK_INT(ferry_value_type(ferry_data(r)), FERRY_TYPE_UINT);
    CHECK_UINT(ferry_as_uint(ferry_data(r), 0), UINT64_MAX);
    CHECK_INT(ferry_as_int(ferry_data(r), -5), -5); /* out of range: what it was told to answer otherwise */
    KIT_OK(r);
    end();
}

CONFORMANCE(texts)
{
    static const char *const texts[] = {
        "", "a", "\xc3\xa4\xc3\xb6\xc3\xbc", "\xe6\xbc\xa2\xe5\xad\x97", "\xf0\x9f\x9b\xb6 ferry", "\"\\\n\t\x01"};
    begin();
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        there_and_back(ferry_text(texts[i]));
        ferry_reply *r = ferry_get(client, "calc.echo", ferry_text(texts[i]), NULL);
        CHECK_STR(ferry_as_string(ferry_data(r), NULL), texts[i]);
        KIT_OK(r);
    }
    there_and_back(ferry_string("with\0inside", 11));
    there_and_back(ferry_text(NULL));
    end();
}

CONFORMANCE(long_text_is_terminated)
{
    enum { LENGTH = 100000 };
    char *text = malloc(LENGTH + 1);
    memset(text, 'x', LENGTH);
    text[LENGTH] = '\0';
    begin();
    ferry_reply *r = ferry_get(client, "calc.echo", ferry_list(text, "next"), NULL);
    CHECK_STR(ferry_as_string(ferry_at(ferry_data(r), 0), NULL), text);
    CHECK_STR(ferry_as_string(ferry_at(ferry_data(r), 1), NULL), "next");
    KIT_OK(r);
    free(text);
    end();
}

CONFORMANCE(bytes)
{
    unsigned char all[256];
    size_t length = 0;
    for (size_t i = 0; i < sizeof all; i++)
        all[i] = (unsigned char)i;
    begin();
    there_and_back(ferry_bytes("", 0));
    there_and_back(ferry_bytes(all, sizeof all));
    ferry_reply *r = ferry_get(client, "calc.echo", ferry_bytes(all, sizeof all), NULL);
    CHECK_INT(ferry_value_type(ferry_data(r)), FERRY_TYPE_BYTES);
    const void *came = ferry_as_bytes(ferry_data(r), &length);
    CHECK_BYTES(came, length, all, sizeof all);
    KIT_OK(r);
    end();
}

CONFORMANCE(lists_and_maps)
{
    begin();
    there_and_back(ferry_new_list());
    there_and_back(ferry_new_map());
    there_and_back(ferry_list(1, "two", 3.5, FERRY_TRUE, ferry_new_list(), ferry_map("k", "v")));
    there_and_back(ferry_map("", 0, "a", ferry_list(1, 2), "deep", ferry_map("er", ferry_map("still", 1))));
    end();
}

CONFORMANCE(big_map_keeps_its_order)
{
    enum { ENTRIES = 10000 };
    ferry_value *m = ferry_new_map();
    for (int i = 0; i < ENTRIES; i++)
        ferry_map_put(m, test_text("key%d", (i * 7919) % ENTRIES), ferry_int(i));
    begin();
    ferry_reply *r = ferry_get(client, "calc.echo", ferry_value_copy(m), FERRY_CALL(.timeout_ms = KIT_SOON_MS));
    CHECK_INT(ferry_count(ferry_data(r)), ENTRIES);
    CHECK_INT(ferry_as_int(ferry_find(ferry_data(r), "key7919"), -1), 1);
    for (size_t i = 0; i < ENTRIES; i++)
        CHECK_INT(ferry_as_int(ferry_at(ferry_data(r), i), -1), i);
    KIT_OK(r);
    there_and_back(m);
    end();
}

CONFORMANCE(as_deep_as_allowed)
{
    enum { DEPTH = 31 }; /* below the root: 32 in all */
    ferry_value *v = ferry_int(1);
    for (int i = 0; i < DEPTH; i++)
        v = ferry_list(v);
    begin();
    there_and_back(v);
    end();
}

CONFORMANCE(ready_msgpack_of_any_type)
{
    static const unsigned char ext[] = {0xd4, 0x05, 0xaa}, time32[] = {0xd6, 0xff, 0, 0, 0, 1};
    static const unsigned char odd_keys[] = {0x83, 0x01, 0x02, 0xc0, 0xc3, 0x91, 0x05, 0xa1, 'x'};
    begin();
    there_and_back(ferry_raw(ext, sizeof ext));
    there_and_back(ferry_raw(time32, sizeof time32));
    there_and_back(ferry_raw(odd_keys, sizeof odd_keys));
    there_and_back(ferry_map("inside", ferry_raw(ext, sizeof ext)));
    ferry_reply *r = ferry_get(client, "calc.echo", ferry_raw(ext, sizeof ext), NULL);
    CHECK_INT(ferry_value_type(ferry_data(r)), FERRY_TYPE_OTHER);
    KIT_OK(r);
    r = ferry_get(client, "calc.echo", ferry_raw(odd_keys, sizeof odd_keys), NULL);
    CHECK_INT(ferry_as_int(ferry_key_at(ferry_data(r), 0), 0), 1);
    CHECK_INT(ferry_value_type(ferry_key_at(ferry_data(r), 2)), FERRY_TYPE_LIST);
    CHECK_STR(ferry_as_string(ferry_at(ferry_data(r), 2), NULL), "x");
    KIT_OK(r);
    end();
}

static void say_nothing(ferry_request *req, void *arg)
{
    (void)arg;
    CHECK_INT(ferry_value_type(ferry_request_data(req)), FERRY_TYPE_NIL);
}

CONFORMANCE(nothing_is_nil)
{
    ferry *s = kit_serve("calc.quiet", say_nothing, NULL), *c = kit_open(NULL);
    ferry_reply *r = ferry_post(c, "calc.quiet", NULL, NULL);
    CHECK_INT(ferry_value_type(ferry_data(r)), FERRY_TYPE_NIL);
    KIT_OK(r);
    kit_close(c);
    kit_close(s);
}
