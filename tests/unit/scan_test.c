/* scan_test.c - hostile msgpack: refused in one pass, before anything is allocated for it. */
#include "data/scan.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "data/value.h"
#include "test.h"

#define REFUSED(literal, reason) refused("" literal "", sizeof literal - 1, (reason))
#define ACCEPTED(literal)        CHECK_STATUS(ferry__value_scan("" literal "", sizeof literal - 1, NULL), FERRY_OK)

/* By the scan and by the decoder, which must not have allocated. */
static void refused(const void *msgpack, size_t length, const char *reason)
{
    char why[FERRY_WHY_SIZE] = "";
    ferry_value *v = (ferry_value *)why;
    CHECK_STATUS(ferry__value_scan(msgpack, length, why), FERRY_BAD_DATA);
    CHECK_HAS(why, reason);
    ferry__alloc_fail_from(0); /* counts from here */
    CHECK_STATUS(ferry__value_decode(msgpack, length, &v, why), FERRY_BAD_DATA);
    CHECK_UINT(ferry__alloc_count(), 0);
    CHECK_NULL(v);
    CHECK_HAS(why, reason);
}

TEST(tally_is_exact)
{
    static const char input[] = "\x82\xa1x\x93\x01\xa2yz\x80\xc4\x01!\xd4\x05?";
    ferry__tally t;
    CHECK_STATUS(ferry__scan(input, sizeof input - 1, &t, NULL), FERRY_OK);
    CHECK_INT(t.objects, 8);
    CHECK_INT(t.text, 2 + 3);
    CHECK_INT(t.depth, 3);
    CHECK_STATUS(ferry__scan("\x07", 1, &t, NULL), FERRY_OK);
    CHECK_INT(t.objects, 1);
    CHECK_INT(t.depth, 0);
}

TEST(nothing_is_no_value)
{
    REFUSED("", "no msgpack value");
    refused(NULL, 0, "no msgpack value");
    refused(NULL, 5, "no msgpack value");
}

TEST(one_value_and_no_more)
{
    REFUSED("\x01\x02", "left over");
    REFUSED("\x80\xc0", "left over");
    REFUSED("\x91\x01\x01", "left over");
    REFUSED("\xc1", "0xc1");
    REFUSED("\x92\x01\xc1", "0xc1");
}

TEST(claims_of_2_to_32_entries)
{
    REFUSED("\xdf\xff\xff\xff\xff", "claims more entries");
    REFUSED("\xdd\xff\xff\xff\xff", "claims more entries");
    REFUSED("\xdf\x80\x00\x00\x00\x01\x01", "claims more entries"); /* twice that is 2^32 */
    REFUSED("\xde\xff\xff\x01", "claims more entries");
    REFUSED("\xdb\xff\xff\xff\xff", "breaks off");
    REFUSED("\xc6\xff\xff\xff\xff", "breaks off");
    REFUSED("\xc9\xff\xff\xff\xff\x01", "breaks off"); /* with the type it is 2^32 */
    REFUSED("\xc9\xff\xff\xff\xfe\x01", "breaks off");
}

/* Each list claims all the bytes there are: what counts is that nothing is allocated by claim. */
TEST(nested_claims)
{
    unsigned char bomb[4096];
    for (size_t i = 0; i + 5 <= sizeof bomb; i += 5)
        memcpy(bomb + i, "\xdd\x00\x00\x0f\x00", 5);
    refused(bomb, 4095, "too deep");
    refused(bomb, 160, "claims more entries");
    for (size_t i = 0; i + 3 <= sizeof bomb; i += 3)
        memcpy(bomb + i, "\xdc\x00\x08", 3);
    refused(bomb, 4095, "too deep");
}

TEST(depth_32_and_not_33)
{
    char deep[40];
    memset(deep, '\x91', sizeof deep);
    deep[32] = '\x01';
    CHECK_STATUS(ferry__value_scan(deep, 33, NULL), FERRY_OK);
    deep[31] = '\x90';
    CHECK_STATUS(ferry__value_scan(deep, 32, NULL), FERRY_OK);
    deep[31] = '\x91', deep[32] = '\x90';
    refused(deep, 33, "too deep");
    memset(deep, '\x81', sizeof deep); /* maps as keys */
    refused(deep, sizeof deep, "too deep");
}

TEST(depth_of_100000)
{
    enum { DEPTH = 100000 };
    char *deep = malloc(DEPTH + 1);
    memset(deep, '\x91', DEPTH);
    deep[DEPTH] = '\x01';
    refused(deep, DEPTH + 1, "too deep");
    refused(deep, DEPTH, "too deep");
    free(deep);
}

TEST(a_million_values_and_no_more)
{
    size_t most = FERRY__OBJECTS_MAX - 1; /* the list counts, too */
    char *many = malloc(5 + most + 1);
    memset(many, '\xc0', 5 + most + 1);
    memcpy(many, "\xdd\x00\x0f\xff\xff", 5);
    CHECK_STATUS(ferry__value_scan(many, 5 + most, NULL), FERRY_OK);
    memcpy(many, "\xdd\x00\x10\x00\x00", 5);
    refused(many, 5 + most + 1, "too many values");
    free(many);
}

static const char document[] =
    "\xde\x00\x0c\xa3int\xcd\x01\x02\xa3neg\xd3\xff\xff\xff\xff\x7f\xff\xff\xff\xa1"
    "f\xca\x3f\xc0\0\0\xa1"
    "d"
    "\xcb\x3f\xf8\0\0\0\0\0\0\xa1s\xd9\x05hello\xa1"
    "b\xc5\0\x03\x01\x02\x03\xa1"
    "e\xc7\x03\x07"
    "abc"
    "\xa1t\xd7\xff\0\0\0\x04\x80\0\0\0\xa1l\xdc\0\x03\x01\x92\x02\x03\x90\xa1m\x82\x01\x02\xc0\xc3\xa1n\xc0"
    "\x93\x01\x02\x80\xdb\0\0\0\x02hi";

TEST(cut_at_every_byte)
{
    ACCEPTED("\xc0");
    CHECK_STATUS(ferry__value_scan(document, sizeof document - 1, NULL), FERRY_OK);
    for (size_t cut = 0; cut < sizeof document - 1; cut++) {
        char *exact = malloc(cut ? cut : 1); /* so that a sanitizer sees a read beyond */
        memcpy(exact, document, cut);
        CHECK_STATUS(ferry__value_scan(exact, cut, NULL), FERRY_BAD_DATA);
        free(exact);
    }
}

/* What the scan lets through, the decoder can take, and encoding and decoding it again gives the same bytes. */
static bool survives(const unsigned char *input, size_t length)
{
    static unsigned char once[65536], twice[65536];
    unsigned char *exact = malloc(length ? length : 1);
    ferry_value *v = NULL, *again = NULL;
    size_t first = 0, second = 0;
    memcpy(exact, input, length);
    ferry_status scanned = ferry__value_scan(exact, length, NULL),
                 decoded = ferry__value_decode(exact, length, &v, NULL);
    CHECK_STATUS(decoded, scanned);
    if (decoded == FERRY_OK) {
        CHECK_STATUS(ferry__value_measure(v, sizeof once, &first), FERRY_OK);
        CHECK(first <= length);
        ferry__value_write(v, once);
        CHECK_STATUS(ferry__value_decode(once, first, &again, NULL), FERRY_OK);
        CHECK_STATUS(ferry__value_measure(again, sizeof twice, &second), FERRY_OK);
        ferry__value_write(again, twice);
        CHECK_BYTES(twice, second, once, first);
    }
    ferry_value_free(again);
    ferry_value_free(v);
    free(exact);
    return decoded == FERRY_OK;
}

static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

TEST_WITH(random_bytes, .limit_ms = 60000)
{
    uint64_t seed = 88172645463325252u;
    size_t good = 0;
    for (int round = 0; round < 100000; round++) {
        unsigned char input[48];
        size_t length = next(&seed) % sizeof input + 1;
        for (size_t i = 0; i < length; i++)
            input[i] = (unsigned char)next(&seed);
        if (round % 2) /* more often a container in front, so that it goes on */
            input[0] = (unsigned char)(0x80 + (next(&seed) & 0x13));
        good += survives(input, length);
    }
    CHECK(good > 1000);
}

TEST_WITH(damaged_documents, .limit_ms = 60000)
{
    uint64_t seed = 1234567890123u;
    size_t good = 0;
    for (int round = 0; round < 50000; round++) {
        unsigned char input[sizeof document - 1];
        memcpy(input, document, sizeof input);
        for (size_t hits = next(&seed) % 3 + 1; hits; hits--)
            input[next(&seed) % sizeof input] = (unsigned char)next(&seed);
        good += survives(input, sizeof input);
    }
    CHECK(good > 1000);
}
