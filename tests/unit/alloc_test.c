#include "test.h"

#include "base/alloc.h"
#include <pthread.h>

enum { ROUNDS = 2000, HELD = 300 };

TEST(blocks_are_apart_and_aligned)
{
    static const size_t sizes[] = {0, 1, 16, 63, 64, 65, 100, 128, 1000, 4096, 4097, 100000};
    enum { N = sizeof sizes / sizeof sizes[0] };
    unsigned char *blocks[N];
    for (size_t i = 0; i < N; i++) {
        blocks[i] = ferry__alloc(sizes[i]);
        CHECK_NOT_NULL(blocks[i]);
        CHECK_UINT((uintptr_t)blocks[i] % 16, 0);
        CHECK(ferry__alloc_room(blocks[i]) >= sizes[i]);
        memset(blocks[i], (int)i, ferry__alloc_room(blocks[i]));
    }
    for (size_t i = 0; i < N; i++) {
        for (size_t at = 0; at < ferry__alloc_room(blocks[i]); at++)
            CHECK_INT(blocks[i][at], i);
        ferry__free(blocks[i]);
    }
}

TEST(zalloc_clears_a_used_block)
{
    char *used = ferry__alloc(64);
    memset(used, 'x', 64);
    ferry__free(used);
    char *cleared = ferry__zalloc(64);
    for (size_t i = 0; i < 64; i++)
        CHECK_INT(cleared[i], 0);
    ferry__free(cleared);
}

TEST(realloc_keeps_what_was_there)
{
    char *text = ferry__strdup("kept");
    for (size_t size = 8; size < 100000; size *= 3) {
        text = ferry__realloc(text, size);
        CHECK_STR(text, "kept");
        CHECK(ferry__alloc_room(text) >= size);
    }
    text = ferry__realloc(text, 4);
    CHECK_BYTES(text, 4, "kept", 4);
    ferry__free(text);
    ferry__free(ferry__realloc(NULL, 10));
    ferry__free(NULL);
}

TEST(strings)
{
    CHECK_NULL(ferry__strdup(NULL));
    CHECK_NULL(ferry__strndup(NULL, 3));
    char *part = ferry__strndup("harbour", 3);
    CHECK_STR(part, "har");
    ferry__free(part);
}

TEST(impossible_sizes_fail)
{
    CHECK_NULL(ferry__alloc(SIZE_MAX));
    CHECK_NULL(ferry__alloc(SIZE_MAX - 8));
    CHECK_NULL(ferry__zalloc(SIZE_MAX / 2 + 1));
    char *kept = ferry__strdup("still here");
    CHECK_NULL(ferry__realloc(kept, SIZE_MAX));
    CHECK_STR(kept, "still here");
    ferry__free(kept);
}

TEST(live_counts_blocks_in_hands)
{
    size_t before = ferry__alloc_live();
    void *small = ferry__alloc(10), *large = ferry__alloc(1 << 20);
    CHECK_UINT(ferry__alloc_live(), before + 2);
    small = ferry__realloc(small, 5000);
    CHECK_UINT(ferry__alloc_live(), before + 2);
    ferry__free(small);
    CHECK_UINT(ferry__alloc_live(), before + 1);
    ferry__free(large);
    CHECK_UINT(ferry__alloc_live(), before);
}

static void *free_it(void *block)
{
    ferry__free(block);
    return NULL;
}

TEST(live_is_right_across_threads)
{
    size_t before = ferry__alloc_live();
    for (int i = 0; i < 20; i++) {
        pthread_t t;
        CHECK_INT(pthread_create(&t, NULL, free_it, ferry__alloc(100)), 0);
        CHECK_INT(pthread_join(t, NULL), 0);
    }
    CHECK_UINT(ferry__alloc_live(), before);
}

TEST(the_nth_fails_once)
{
    ferry__alloc_fail_at(2);
    void *first = ferry__alloc(1), *second = ferry__alloc(1), *third = ferry__alloc(1);
    CHECK_NOT_NULL(first);
    CHECK_NULL(second);
    CHECK_NOT_NULL(third);
    CHECK_UINT(ferry__alloc_count(), 3);
    ferry__alloc_fail_at(0);
    ferry__free(first);
    ferry__free(third);
}

TEST(all_from_the_nth_fail)
{
    ferry__alloc_fail_from(2);
    void *first = ferry__zalloc(1);
    CHECK_NOT_NULL(first);
    for (int i = 0; i < 5; i++)
        CHECK_NULL(ferry__zalloc(1));
    CHECK_NULL(ferry__strdup("no"));
    CHECK_NULL(ferry__realloc(first, 100000));
    ferry__alloc_fail_from(0);
    ferry__free(first);
}

/* Under ASan nothing is recycled, on purpose. */
TEST(the_steady_state_mallocs_nothing)
{
    void *held[HELD];
    uint64_t mallocs = 0;
    for (int round = 0; round < 10; round++) {
        for (size_t i = 0; i < HELD; i++)
            held[i] = ferry__alloc(i * 7);
        for (size_t i = 0; i < HELD; i++)
            ferry__free(held[i]);
        if (round == 1)
            mallocs = ferry__alloc_mallocs();
    }
    if (!test_is_asan())
        CHECK_UINT(ferry__alloc_mallocs(), mallocs);
}

TEST(trim_gives_everything_back)
{
    ferry__free(ferry__alloc(10));
    ferry__pool_trim();
    uint64_t mallocs = ferry__alloc_mallocs();
    ferry__free(ferry__alloc(10));
    CHECK_UINT(ferry__alloc_mallocs(), mallocs + 1);
}

/* One side allocates, the other frees, as messages do; every block is written by both. */
typedef struct channel {
    void *slots[64];
} channel;

static void *consume(void *arg)
{
    channel *c = arg;
    for (int taken = 0; taken < ROUNDS;)
        for (size_t i = 0; i < 64; i++) {
            char *block = __atomic_exchange_n(&c->slots[i], NULL, __ATOMIC_ACQ_REL);
            if (block) {
                CHECK_INT(block[0], 'm');
                memset(block, 0, ferry__alloc_room(block));
                ferry__free(block);
                taken++;
            }
        }
    return NULL;
}

static void *produce(void *arg)
{
    channel *c = arg;
    for (int made = 0; made < ROUNDS; made++) {
        char *block = ferry__alloc(10 + (size_t)made % 300);
        memset(block, 'm', ferry__alloc_room(block));
        for (size_t i = 0;; i = (i + 1) % 64) {
            void *empty = NULL;
            if (__atomic_compare_exchange_n(&c->slots[i], &empty, block, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
                break;
        }
    }
    return NULL;
}

TEST(blocks_travel_between_threads)
{
    size_t before = ferry__alloc_live();
    channel channels[2] = {{{NULL}}, {{NULL}}};
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, i % 2 ? consume : produce, &channels[i / 2]), 0);
    for (size_t i = 0; i < 4; i++)
        CHECK_INT(pthread_join(threads[i], NULL), 0);
    CHECK_UINT(ferry__alloc_live(), before);
}
