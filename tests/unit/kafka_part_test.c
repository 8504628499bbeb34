/* What a partition's owner tells the next one, and what that one makes of it. */
#include "test.h"

#include "backends/kafka/part.h"

enum { FIRST = 0xa1, SECOND = 0xb2, LATE = INT32_MAX };

/* The n-th owner: takes what the last one committed. */
static void take(ferry__kafka_part *p, int64_t offset, const char *said, uint64_t who)
{
    bool kept = true;
    CHECK(ferry__part_take(p, offset, said, who, &kept));
    CHECK(!kept);
}

static bool see(ferry__kafka_part *p, int64_t offset, bool *maybe, unsigned *attempts)
{
    return ferry__part_see(p, offset, LATE, maybe, attempts);
}

static void see_fresh(ferry__kafka_part *p, int64_t offset)
{
    bool maybe = true;
    unsigned attempts = 9;
    CHECK(see(p, offset, &maybe, &attempts));
    CHECK(!maybe);
    CHECK_INT(attempts, 0);
}

static void see_maybe(ferry__kafka_part *p, int64_t offset, unsigned want)
{
    bool maybe = false;
    unsigned attempts = 9;
    CHECK(see(p, offset, &maybe, &attempts));
    CHECK(maybe);
    CHECK_INT(attempts, want);
}

static void see_nothing(ferry__kafka_part *p, int64_t offset)
{
    bool maybe;
    unsigned attempts;
    CHECK(!see(p, offset, &maybe, &attempts));
}

/* A topic that was made anew under the same name. */
TEST(another_log_is_read_from_its_beginning)
{
    ferry__kafka_part p = {0};
    take(&p, 100, "m=D;d=A;o=a1", FIRST);
    ferry__part_set(&p, 100, FERRY__PART_UP);
    uint64_t old = ferry__part_place(&p, 100);
    see_nothing(&p, 0);
    ferry__part_restart(&p, 0);
    see_fresh(&p, 0);
    CHECK(!ferry__part_current(&p, old));
    CHECK_INT(p.up, 0);
    ferry__part_set(&p, 0, FERRY__PART_DONE);
    CHECK_INT(p.base, 1);
    ferry__part_done(&p);
}

TEST(done_in_any_order_commits_the_prefix)
{
    ferry__kafka_part p = {0};
    take(&p, -1, NULL, FIRST);
    for (int64_t o = 0; o < 100; o++) {
        see_fresh(&p, o);
        ferry__part_set(&p, o, FERRY__PART_UP);
    }
    CHECK_INT(p.up, 100);
    for (int64_t o = 99; o > 0; o--)
        ferry__part_set(&p, o, FERRY__PART_DONE);
    CHECK_INT(p.base, 0);
    ferry__part_set(&p, 0, FERRY__PART_DONE);
    CHECK_INT(p.base, 100);
    CHECK_INT(p.up, 0);
    ferry__part_done(&p);
}

TEST(the_next_owner_knows_maybe_done_and_fresh)
{
    char said[FERRY__PART_META];
    ferry__kafka_part a = {0}, b = {0};
    take(&a, 40, NULL, FIRST);
    for (int64_t o = 40; o < 50; o++)
        see_fresh(&a, o);
    ferry__part_set(&a, 41, FERRY__PART_UP);
    ferry__part_set(&a, 42, FERRY__PART_DONE);
    ferry__part_set(&a, 48, FERRY__PART_UP);
    ferry__part_print(&a, NULL, said);
    take(&b, a.base, said, SECOND);
    see_fresh(&b, 40);
    see_maybe(&b, 41, 1);
    see_nothing(&b, 42);
    see_fresh(&b, 43);
    for (int64_t o = 44; o < 48; o++)
        see_fresh(&b, o);
    see_maybe(&b, 48, 1);
    see_fresh(&b, 49);
    see_fresh(&b, 50);
    ferry__part_done(&a);
    ferry__part_done(&b);
}

TEST(attempts_add_up_over_owners_that_die)
{
    char said[FERRY__PART_META] = "";
    const bool begins[] = {true, true, false, true}; /* one that died before a handler had it is no attempt more */
    const unsigned want[] = {0, 1, 2, 2};
    for (unsigned n = 0; n < 4; n++) {
        ferry__kafka_part p = {0};
        take(&p, 7, said, FIRST + n);
        if (want[n] == 0)
            see_fresh(&p, 7);
        else
            see_maybe(&p, 7, want[n]);
        if (begins[n])
            ferry__part_set(&p, 7, FERRY__PART_UP);
        ferry__part_print(&p, NULL, said);
        ferry__part_done(&p);
    }
}

TEST(given_ones_are_neither_run_nor_forgotten)
{
    char said[FERRY__PART_META];
    ferry__kafka_part a = {0}, b = {0}, c = {0};
    take(&a, 0, NULL, FIRST);
    see_fresh(&a, 0);
    see_fresh(&a, 1);
    see_fresh(&a, 2);
    ferry__part_set(&a, 1, FERRY__PART_UP);
    ferry__part_print(&a, "member-a", said);
    take(&b, a.base, said, SECOND);
    see_fresh(&b, 0);
    see_nothing(&b, 1);
    CHECK_INT(ferry__part_state(&b, 1), FERRY__PART_GIVEN);
    CHECK_STR(ferry__part_giver(&b, 1), "member-a");
    see_fresh(&b, 2);
    ferry__part_set(&b, 2, FERRY__PART_UP);
    ferry__part_print(&b, "member-b", said);
    take(&c, b.base, said, FIRST + 7);
    see_fresh(&c, 0);
    see_nothing(&c, 1);
    see_nothing(&c, 2);
    CHECK_STR(ferry__part_giver(&c, 1), "member-a");
    CHECK_STR(ferry__part_giver(&c, 2), "member-b");
    ferry__part_set(&c, 1, FERRY__PART_MAYBE);
    ferry__part_set(&c, 2, FERRY__PART_DONE);
    CHECK_INT(ferry__part_state(&c, 1), FERRY__PART_MAYBE);
    ferry__part_done(&a);
    ferry__part_done(&b);
    ferry__part_done(&c);
}

TEST(claimed_ahead_may_have_been_started)
{
    char said[FERRY__PART_META];
    bool maybe;
    unsigned attempts;
    ferry__kafka_part a = {0}, b = {0};
    take(&a, 0, NULL, FIRST);
    a.own.to = a.known.to = 10;
    a.own.time_ms = a.known.time_ms = 5000;
    CHECK(ferry__part_claimed(&a, 9, 5000));
    CHECK(!ferry__part_claimed(&a, 10, 5000));
    CHECK(!ferry__part_claimed(&a, 9, 5001));
    ferry__part_print(&a, NULL, said);
    CHECK_HAS(said, "c=10:5000");
    take(&b, a.base, said, SECOND);
    CHECK(ferry__part_see(&b, 0, 4000, &maybe, &attempts) && maybe);
    CHECK(ferry__part_see(&b, 1, 5001, &maybe, &attempts) && !maybe); /* sent after the claim was over */
    CHECK(ferry__part_see(&b, 2, 4000, &maybe, &attempts) && maybe);
    ferry__part_print(&b, NULL, said);
    CHECK_HAS(said, "c=10:5000"); /* what was not read yet is still claimed for a third one */
    ferry__part_print(&a, "member-a", said);
    CHECK(strstr(said, "c=") == NULL); /* who leaves in order has begun nothing else */
    ferry__part_done(&a);
    ferry__part_done(&b);
}

TEST(back_with_nobodys_commit_in_between_it_goes_on)
{
    char said[FERRY__PART_META];
    bool kept = false;
    ferry__kafka_part p = {0};
    take(&p, 0, NULL, FIRST);
    see_fresh(&p, 0);
    see_fresh(&p, 1);
    ferry__part_set(&p, 0, FERRY__PART_UP);
    uint64_t place = ferry__part_place(&p, 0);
    ferry__part_print(&p, NULL, said);
    CHECK(ferry__part_take(&p, 0, said, FIRST, &kept));
    CHECK(kept);
    CHECK(ferry__part_current(&p, place));
    see_nothing(&p, 0); /* a handler of ours has it */
    see_fresh(&p, 1);
    ferry__part_print(&p, NULL, said);
    said[strlen(said) - 1] ^= 1; /* somebody else wrote it */
    CHECK(ferry__part_take(&p, 0, said, FIRST, &kept));
    CHECK(!kept);
    CHECK(!ferry__part_current(&p, place));
    see_maybe(&p, 0, 1);
    ferry__part_done(&p);
}

TEST(offsets_that_never_come_hold_nothing_up)
{
    ferry__kafka_part p = {0};
    take(&p, 5, NULL, FIRST);
    see_fresh(&p, 9); /* the beginning was deleted */
    see_fresh(&p, 12);
    ferry__part_set(&p, 9, FERRY__PART_DONE);
    CHECK_INT(p.base, 12);
    ferry__part_set(&p, 12, FERRY__PART_DONE);
    CHECK_INT(p.base, 13);
    see_nothing(&p, 11);
    ferry__part_done(&p);
}

TEST(what_is_said_fits_and_nonsense_harms_nobody)
{
    static const char *const nonsense[] = {"",
                                           ";;;",
                                           "m=",
                                           "m=????",
                                           "d=zzzzzzzz;m=",
                                           "a=9999999999999999999:1",
                                           "a=1:;g=",
                                           "g=1:99;w=a,b,c,d,e,f",
                                           "g=-5:0",
                                           "c=;o=",
                                           "c=9223372036854775807:9223372036854775807",
                                           "o=fffffffffffffffffffffff"};
    char said[FERRY__PART_META];
    ferry__kafka_part p = {0};
    take(&p, 0, NULL, FIRST);
    for (int64_t o = 0; o < FERRY__PART_SPAN + 1000; o++) {
        see_fresh(&p, o);
        if (o % 2)
            ferry__part_set(&p, o, o % 4 == 1 ? FERRY__PART_UP : FERRY__PART_DONE);
    }
    CHECK(ferry__part_full(&p));
    ferry__part_print(&p, "member-with-a-name-0123456789", said);
    CHECK(strlen(said) < FERRY__PART_META);
    ferry__part_print(&p, NULL, said);
    CHECK(strlen(said) < FERRY__PART_META);
    for (size_t i = 0; i < sizeof nonsense / sizeof *nonsense; i++)
        take(&p, 3, nonsense[i], SECOND + i);
    ferry__part_done(&p);
}
