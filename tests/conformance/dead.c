/* dead.c - posts that were given up: what is kept of them, and the way back. */
#include "kit.h"

#include <time.h>

#define CONFIRMED FERRY_CALL(.confirm = FERRY_CONFIRMED, .timeout_ms = KIT_SOON_MS)

static const char *text_of(const ferry_value *record, const char *name)
{
    return ferry_as_string(ferry_find(record, name), NULL);
}

static int64_t number_of(const ferry_value *record, const char *name)
{
    return ferry_as_int(ferry_find(record, name), -1);
}

/* The whole record of the only dead letter of a service. */
static ferry_reply *show_only(ferry *f, const char *service)
{
    ferry_value *dead = kit_dead(f, service);
    CHECK_INT(ferry_count(dead), 1);
    ferry_reply *r =
        ferry_admin(f, "dead.show", ferry_map("service", service, "id", text_of(ferry_at(dead, 0), "id")), NULL);
    ferry_value_free(dead);
    return r;
}

CONFORMANCE(five_attempts_then_dead)
{
    atomic_int count = 0;
    ferry *s = kit_serve_with(NULL, "work.fail", kit_fail, &count, FERRY_HANDLE(.backoff_ms = 5)), *c = kit_open(NULL);
    CHECK_STATUS(ferry_post_no_wait(c, "work.fail", ferry_int(7), CONFIRMED), FERRY_OK);
    CHECK_SOON(kit_dead_count(c, "work") == 1, KIT_SOON_MS);
    CHECK_INT(atomic_load(&count), 5);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(attempts_as_the_route_says)
{
    atomic_int count = 0;
    ferry *s = kit_serve_with(NULL, "work.fail", kit_fail, &count, FERRY_HANDLE(.attempts = 2, .backoff_ms = 5)),
          *c = kit_open(NULL);
    CHECK_STATUS(ferry_post_no_wait(c, "work.fail", ferry_int(7), CONFIRMED), FERRY_OK);
    CHECK_SOON(kit_dead_count(c, "work") == 1, KIT_SOON_MS);
    CHECK_INT(atomic_load(&count), 2);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(dead_letter_keeps_the_whole_message)
{
    ferry *s = kit_serve_with(FERRY_OPTIONS(.name = "worker"), "work.fail", kit_fail, NULL,
                              FERRY_HANDLE(.attempts = 2, .backoff_ms = 5));
    ferry *c = kit_open(FERRY_OPTIONS(.name = "sender"));
    ferry_value *headers = ferry_map("lang", "fr");
    int64_t before = (int64_t)time(NULL) * 1000;
    CHECK_STATUS(ferry_patch_no_wait(
                     c, "work.fail", ferry_map("x", 7),
                     FERRY_CALL(.key = "k", .correlation = "corr", .headers = headers, .confirm = FERRY_CONFIRMED)),
                 FERRY_OK);
    ferry_value_free(headers);
    CHECK_SOON(kit_dead_count(c, "work") == 1, KIT_SOON_MS);
    ferry_reply *r = show_only(c, "work");
    const ferry_value *record = ferry_data(r), *error = ferry_at(ferry_find(record, "errors"), 0);
    CHECK_STR(text_of(record, "service"), "work");
    CHECK_STR(text_of(record, "route"), "work.fail");
    CHECK_STR(text_of(record, "verb"), "patch");
    CHECK_STR(text_of(record, "key"), "k");
    CHECK_STR(text_of(record, "correlation"), "corr");
    CHECK(strlen(text_of(record, "id")) > 32);
    CHECK(strncmp(text_of(record, "source"), "sender@", 7) == 0);
    CHECK_INT(number_of(ferry_find(record, "data"), "x"), 7);
    CHECK_STR(text_of(ferry_find(record, "headers"), "lang"), "fr");
    CHECK_INT(number_of(record, "attempts"), 2);
    CHECK_STR(text_of(record, "reason"), "failed");
    CHECK_STR(text_of(error, "type"), "Broken");
    CHECK_STR(text_of(error, "message"), "on purpose");
    CHECK(number_of(record, "first_ms") >= before);
    CHECK(number_of(record, "dead_ms") >= number_of(record, "first_ms"));
    KIT_OK(r);
    kit_close(c);
    kit_close(s);
}

typedef struct mending {
    atomic_int  count, good;
    atomic_bool mended;
    atomic_int  attempt;
} mending;

static void maybe_mended(ferry_request *req, void *arg)
{
    mending *m = arg;
    atomic_store(&m->attempt, ferry_request_attempt(req));
    if (!atomic_load(&m->mended))
        ferry_fail(req, "Broken", "still");
    else {
        CHECK_INT(ferry_as_int(ferry_request_data(req), 0), 7);
        CHECK_STR(ferry_request_correlation(req), "corr");
        atomic_fetch_add(&m->good, 1);
    }
    atomic_fetch_add(&m->count, 1);
}

static int64_t admin(ferry *c, const char *command, ferry_value *args)
{
    ferry_reply *r = ferry_admin(c, command, args, NULL);
    int64_t count = ferry_as_int(ferry_find(ferry_data(r), "count"), -1);
    KIT_OK(r);
    return count;
}

CONFORMANCE(requeue_brings_it_back)
{
    mending m = {0};
    ferry *s = kit_serve_with(NULL, "work.mend", maybe_mended, &m, FERRY_HANDLE(.attempts = 2, .backoff_ms = 5)),
          *c = kit_open(NULL);
    CHECK_STATUS(ferry_post_no_wait(c, "work.mend", ferry_int(7), FERRY_CALL(.correlation = "corr")), FERRY_OK);
    CHECK_SOON(kit_dead_count(c, "work") == 1, KIT_SOON_MS);
    atomic_store(&m.mended, true);
    CHECK_INT(admin(c, "dead.requeue", ferry_map("service", "work", "all", FERRY_TRUE)), 1);
    CHECK_SOON(atomic_load(&m.good) == 1, KIT_SOON_MS);
    CHECK_INT(atomic_load(&m.attempt), 1); /* it starts anew */
    CHECK_INT(atomic_load(&m.count), 3);
    CHECK_INT(kit_dead_count(c, "work"), 0);
    kit_close(c);
    kit_close(s);
}

static ferry_value *ids(ferry *c, size_t first)
{
    ferry_value *dead = kit_dead(c, "work"), *list = ferry_list(text_of(ferry_at(dead, first), "id"));
    ferry_value_free(dead);
    return list;
}

CONFORMANCE(requeue_and_purge_by_id)
{
    atomic_int count = 0;
    ferry *s = kit_serve_with(NULL, "work.fail", kit_fail, &count, FERRY_HANDLE(.attempts = 1)), *c = kit_open(NULL);
    for (int i = 0; i < 3; i++)
        CHECK_STATUS(ferry_post_no_wait(c, "work.fail", ferry_int(i), CONFIRMED), FERRY_OK);
    CHECK_SOON(kit_dead_count(c, "work") == 3, KIT_SOON_MS);
    CHECK_INT(admin(c, "dead.purge", ferry_map("service", "work", "ids", ids(c, 0))), 1);
    CHECK_INT(kit_dead_count(c, "work"), 2);
    CHECK_INT(admin(c, "dead.requeue", ferry_map("service", "work", "ids", ids(c, 0))), 1);
    CHECK_SOON(atomic_load(&count) == 4, KIT_SOON_MS);
    CHECK_SOON(kit_dead_count(c, "work") == 2, KIT_SOON_MS); /* failed again */
    CHECK_INT(admin(c, "dead.purge", ferry_map("service", "work", "all", FERRY_TRUE)), 2);
    CHECK_INT(kit_dead_count(c, "work"), 0);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(dead_letters_of_each_service_apart)
{
    ferry *s = kit_serve_with(NULL, "work.fail", kit_fail, NULL, FERRY_HANDLE(.attempts = 1)), *c = kit_open(NULL);
    ferry *other = kit_serve_with(NULL, "other.fail", kit_fail, NULL, FERRY_HANDLE(.attempts = 1));
    CHECK_STATUS(ferry_post_no_wait(c, "work.fail", NULL, CONFIRMED), FERRY_OK);
    CHECK_STATUS(ferry_post_no_wait(c, "other.fail", NULL, CONFIRMED), FERRY_OK);
    CHECK_SOON(kit_dead_count(c, "work") == 1, KIT_SOON_MS);
    CHECK_SOON(kit_dead_count(c, "other") == 1, KIT_SOON_MS);
    CHECK_INT(admin(c, "dead.purge", ferry_map("service", "other", "all", FERRY_TRUE)), 1);
    CHECK_INT(kit_dead_count(c, "work"), 1);
    kit_close(c);
    kit_close(other);
    kit_close(s);
}

static void reject(ferry_request *req, void *counter)
{
    atomic_fetch_add((atomic_int *)counter, 1);
    ferry_reject(req, "cannot ever work");
}

CONFORMANCE(rejected_is_dead_at_once)
{
    atomic_int count = 0;
    ferry *s = kit_serve("work.reject", reject, &count), *c = kit_open(NULL);
    CHECK_STATUS(ferry_post_no_wait(c, "work.reject", NULL, CONFIRMED), FERRY_OK);
    CHECK_SOON(kit_dead_count(c, "work") == 1, KIT_SOON_MS);
    ferry_value *dead = kit_dead(c, "work");
    CHECK_STR(text_of(ferry_at(dead, 0), "reason"), "rejected");
    CHECK_STR(text_of(ferry_at(dead, 0), "why"), "cannot ever work");
    ferry_value_free(dead);
    CHECK_INT(atomic_load(&count), 1);
    kit_close(c);
    kit_close(s);
}

static void want_a_number(ferry_request *req, void *counter)
{
    int x;
    atomic_fetch_add((atomic_int *)counter, 1);
    CHECK(!ferry_args(req, "x", &x));
}

CONFORMANCE(bad_data_is_dead_at_once)
{
    atomic_int count = 0;
    ferry *s = kit_serve("work.number", want_a_number, &count), *c = kit_open(NULL);
    CHECK_STATUS(ferry_post_no_wait(c, "work.number", ferry_map("x", "no number"), CONFIRMED), FERRY_OK);
    CHECK_SOON(kit_dead_count(c, "work") == 1, KIT_SOON_MS);
    CHECK_INT(atomic_load(&count), 1);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(post_to_an_unknown_route_is_dead_not_lost)
{
    ferry *s = kit_serve("work.echo", kit_echo, NULL), *c = kit_open(NULL);
    CHECK_STATUS(ferry_post_no_wait(c, "work.nope", ferry_int(1), CONFIRMED), FERRY_OK);
    CHECK_SOON(kit_dead_count(c, "work") == 1, KIT_SOON_MS);
    ferry_value *dead = kit_dead(c, "work");
    CHECK_STR(text_of(ferry_at(dead, 0), "route"), "work.nope");
    ferry_value_free(dead);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(dead_commands_that_make_no_sense)
{
    ferry *c = kit_open(NULL);
    KIT_ENDS(ferry_admin(c, "dead.lisst", NULL, NULL), FERRY_INVALID, FERRY_OUTCOME_NOT_SENT);
    ferry_reply *r = ferry_admin(c, "dead.requeue", ferry_map("service", "work"), NULL); /* neither ids nor all */
    CHECK(ferry_has_errors(r));
    ferry_reply_free(r);
    CHECK_INT(kit_dead_count(c, "never_was"), 0);
    kit_close(c);
}
