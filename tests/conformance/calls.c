/* calls.c - a call and its answer: verbs, fields, errors, and what is said when there is nobody to answer. */
#include "kit.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- The way there and back ----------------------------------------------------------------------------------------- */

static void answer_verb(ferry_request *req, void *arg)
{
    (void)arg;
    ferry_respond(req, ferry_int(ferry_request_verb(req)));
}

CONFORMANCE(five_verbs)
{
    ferry *s = kit_serve("calc.verb", answer_verb, NULL), *c = kit_open(NULL);
    KIT_INT(ferry_get(c, "calc.verb", NULL, NULL), FERRY_GET);
    KIT_INT(ferry_put(c, "calc.verb", NULL, NULL), FERRY_PUT);
    KIT_INT(ferry_patch(c, "calc.verb", NULL, NULL), FERRY_PATCH);
    KIT_INT(ferry_post(c, "calc.verb", NULL, NULL), FERRY_POST);
    KIT_INT(ferry_delete(c, "calc.verb", NULL, NULL), FERRY_DELETE);
    kit_close(c);
    kit_close(s);
}

static void add(ferry_request *req, void *arg)
{
    (void)arg;
    int x, y;
    if (ferry_args(req, "x", &x, "y", &y))
        ferry_respond(req, ferry_of(x + y));
}

CONFORMANCE(arguments_and_answer)
{
    ferry *s = kit_serve("calc.add", add, NULL), *c = kit_open(NULL);
    KIT_INT(ferry_get(c, "calc.add", ferry_map("x", 1, "y", 2), NULL), 3);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(one_handle_calls_itself)
{
    ferry *f = kit_serve("calc.echo", kit_echo, NULL);
    KIT_INT(ferry_get(f, "calc.echo", ferry_int(7), NULL), 7);
    kit_close(f);
}

CONFORMANCE(services_apart)
{
    enum { SERVICES = 20 };
    atomic_int counts[SERVICES] = {0};
    ferry *s = kit_open(NULL), *c = kit_open(NULL);
    for (int i = 0; i < SERVICES; i++)
        CHECK_STATUS(ferry_handle(s, test_text("svc%d.count", i), kit_count, &counts[i], NULL), FERRY_OK);
    kit_start(s, test_text("svc%d", SERVICES - 1));
    for (int i = 0; i < SERVICES; i++) {
        kit_await_service(test_text("svc%d", i));
        KIT_INT(ferry_get(c, test_text("svc%d.count", i), NULL, NULL), 1);
    }
    kit_close(c);
    kit_close(s);
}

static void tell_fields(ferry_request *req, void *arg)
{
    (void)arg;
    ferry_value *m = ferry_map("route", ferry_request_route(req), "id", ferry_request_id(req), "key",
                               ferry_request_key(req), "correlation", ferry_request_correlation(req));
    ferry_map_put(m, "once", ferry_text(ferry_request_idempotency_key(req)));
    ferry_map_put(m, "headers", ferry_value_copy(ferry_request_headers(req)));
    ferry_map_put(m, "attempt", ferry_int(ferry_request_attempt(req)));
    ferry_map_put(m, "left", ferry_int(ferry_request_remaining_ms(req)));
    ferry_respond(req, m);
}

static const char *field(const ferry_reply *r, const char *name)
{
    return ferry_as_string(ferry_find(ferry_data(r), name), NULL);
}

CONFORMANCE(fields_of_a_request)
{
    ferry *s = kit_serve("tell.all", tell_fields, NULL), *c = kit_open(NULL);
    ferry_reply *r =
        ferry_post(c, "tell.all", NULL,
                   FERRY_CALL(.key = "k", .correlation = "corr", .idempotency_key = "once", .timeout_ms = KIT_SOON_MS));
    CHECK_STR(field(r, "route"), "tell.all");
    CHECK_STR(field(r, "key"), "k");
    CHECK_STR(field(r, "correlation"), "corr");
    CHECK_STR(field(r, "once"), "once");
    CHECK_INT(ferry_as_int(ferry_find(ferry_data(r), "attempt"), 0), 1);
    int64_t left = ferry_as_int(ferry_find(ferry_data(r), "left"), 0);
    CHECK(left > 0 && left <= KIT_SOON_MS);
    KIT_OK(r);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(absent_fields)
{
    ferry *s = kit_serve("tell.all", tell_fields, NULL), *c = kit_open(NULL);
    ferry_reply *r = ferry_get(c, "tell.all", NULL, NULL);
    const char *key = field(r, "key"), *once = field(r, "once");
    CHECK(!key || !*key);
    CHECK(!once || !*once);
    CHECK_STR(field(r, "correlation"), field(r, "id"));
    int64_t left = ferry_as_int(ferry_find(ferry_data(r), "left"), 0);
    CHECK(left > 25000 && left <= 30000); /* the default deadline */
    KIT_OK(r);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(ids_are_random_and_never_equal)
{
    ferry *s = kit_serve("tell.all", tell_fields, NULL), *a = kit_open(NULL), *b = kit_open(NULL);
    ferry_reply *r[3] = {ferry_get(a, "tell.all", NULL, NULL), ferry_get(a, "tell.all", NULL, NULL),
                         ferry_get(b, "tell.all", NULL, NULL)};
    for (int i = 0; i < 3; i++) {
        CHECK(strlen(field(r[i], "id")) > 32); /* 128 bits and a counter */
        CHECK(strcmp(field(r[i], "id"), field(r[(i + 1) % 3], "id")) != 0);
    }
    CHECK(strncmp(field(r[0], "id"), field(r[2], "id"), 32) != 0);
    for (int i = 0; i < 3; i++)
        KIT_OK(r[i]);
    kit_close(b);
    kit_close(a);
    kit_close(s);
}

CONFORMANCE(headers_there)
{
    ferry *s = kit_serve("tell.all", tell_fields, NULL), *c = kit_open(NULL);
    ferry_value *headers = ferry_map("lang", "fr", "empty", "", "name", "J\xc3\xbcrgen");
    ferry_reply *r = ferry_get(c, "tell.all", NULL, FERRY_CALL(.headers = headers));
    ferry_value_free(headers); /* only borrowed until the call returned */
    const ferry_value *came = ferry_find(ferry_data(r), "headers");
    CHECK_STR(ferry_as_string(ferry_find(came, "lang"), NULL), "fr");
    CHECK_STR(ferry_as_string(ferry_find(came, "empty"), NULL), "");
    CHECK_STR(ferry_as_string(ferry_find(came, "name"), NULL), "J\xc3\xbcrgen");
    KIT_OK(r);
    kit_close(c);
    kit_close(s);
}

static void answer_headers(ferry_request *req, void *arg)
{
    (void)arg;
    CHECK_STATUS(ferry_respond_header(req, "etag", "\"7\""), FERRY_OK);
    CHECK_STATUS(ferry_respond_header(req, "age", "60"), FERRY_OK);
    ferry_respond(req, ferry_int(1));
}

CONFORMANCE(headers_back)
{
    ferry *s = kit_serve("tell.headers", answer_headers, NULL), *c = kit_open(NULL);
    ferry_reply *r = ferry_get(c, "tell.headers", NULL, NULL);
    CHECK_STR(ferry_as_string(ferry_find(ferry_reply_headers(r), "etag"), NULL), "\"7\"");
    CHECK_STR(ferry_as_string(ferry_find(ferry_reply_headers(r), "age"), NULL), "60");
    CHECK_INT(ferry_count(ferry_reply_headers(r)), 2);
    KIT_INT(r, 1);
    kit_close(c);
    kit_close(s);
}

/* ---- Errors --------------------------------------------------------------------------------------------------------- */

static void fail_twice(ferry_request *req, void *arg)
{
    (void)arg;
    ferry_respond(req, ferry_int(1));
    ferry_fail(req, "KeyError", "no key \"%s\"", "x");
    ferry_fail(req, "RangeError", "%d is too much", 9);
    ferry_respond(req, ferry_int(2));
}

CONFORMANCE(errors_add_up)
{
    ferry *s = kit_serve_with(FERRY_OPTIONS(.name = "calc"), "calc.fail", fail_twice, NULL, NULL), *c = kit_open(NULL);
    ferry_reply *r = ferry_post(c, "calc.fail", NULL, NULL);
    CHECK_INT(ferry_error_count(r), 2);
    const ferry_error *first = ferry_error_at(r, 0), *second = ferry_error_at(r, 1);
    CHECK_STR(first->type, "KeyError");
    CHECK_STR(first->message, "no key \"x\"");
    CHECK_STATUS(first->code, FERRY_FAILED);
    CHECK(!first->retryable);
    CHECK(strncmp(first->origin, "calc@", 5) == 0);
    CHECK_STR(second->type, "RangeError");
    CHECK_STR(second->message, "9 is too much");
    CHECK_STATUS(ferry_error_at(r, 2)->code, FERRY_OK);
    CHECK_INT(ferry_value_type(ferry_data(r)), FERRY_TYPE_NIL);
    KIT_ENDS(r, FERRY_FAILED, FERRY_OUTCOME_EXECUTED);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(errors_print)
{
    char *text = NULL;
    size_t length;
    ferry *s = kit_serve("calc.fail", fail_twice, NULL), *c = kit_open(NULL);
    ferry_reply *r = ferry_get(c, "calc.fail", NULL, NULL);
    FILE *to = open_memstream(&text, &length);
    ferry_print_errors(r, to);
    fclose(to);
    CHECK_STR(text, "KeyError: no key \"x\"\nRangeError: 9 is too much\n");
    free(text);
    ferry_reply_free(r);
    kit_close(c);
    kit_close(s);
}

static void pass_on(ferry_request *req, void *arg)
{
    ferry_reply *r = ferry_get(arg, "back.fail", NULL, FERRY_CALL(.within = req));
    CHECK(ferry_has_errors(r));
    ferry_fail_as(req, r);
    ferry_fail(req, "FrontError", "and so did I");
    ferry_reply_free(r);
}

CONFORMANCE(fail_as_keeps_origins)
{
    ferry *b = kit_serve_with(FERRY_OPTIONS(.name = "back"), "back.fail", fail_twice, NULL, NULL), *c = kit_open(NULL);
    ferry *f = kit_serve_with(FERRY_OPTIONS(.name = "front"), "front.fail", pass_on, c, NULL);
    ferry_reply *r = ferry_get(c, "front.fail", NULL, NULL);
    CHECK_INT(ferry_error_count(r), 3);
    CHECK_STR(ferry_error_at(r, 0)->type, "KeyError");
    CHECK(strncmp(ferry_error_at(r, 0)->origin, "back@", 5) == 0);
    CHECK(strncmp(ferry_error_at(r, 1)->origin, "back@", 5) == 0);
    CHECK(strncmp(ferry_error_at(r, 2)->origin, "front@", 6) == 0);
    KIT_ENDS(r, FERRY_FAILED, FERRY_OUTCOME_EXECUTED);
    kit_close(f);
    kit_close(c);
    kit_close(b);
}

CONFORMANCE(local_errors_say_here)
{
    char why[FERRY_WHY_SIZE] = "";
    ferry *c = kit_open(NULL);
    ferry_reply *r = ferry_get(c, "nobody.home", NULL, FERRY_CALL(.why = why));
    CHECK_STR(ferry_error_at(r, 0)->type, "NO_SERVICE");
    CHECK_STATUS(ferry_error_at(r, 0)->code, FERRY_NO_SERVICE);
    CHECK_STR(ferry_error_at(r, 0)->origin, "here");
    CHECK(ferry_error_at(r, 0)->retryable);
    CHECK_HAS(ferry_error_at(r, 0)->message, "nobody");
    CHECK_HAS(why, "nobody");
    ferry_reply_free(r);
    kit_close(c);
}

CONFORMANCE(why_is_empty_when_all_is_well)
{
    char why[FERRY_WHY_SIZE] = "something old";
    ferry *s = kit_serve("calc.echo", kit_echo, NULL), *c = kit_open(NULL);
    KIT_OK(ferry_get(c, "calc.echo", NULL, FERRY_CALL(.why = why)));
    CHECK_STR(why, "");
    kit_close(c);
    kit_close(s);
}

/* ---- Nobody there --------------------------------------------------------------------------------------------------- */

CONFORMANCE(unknown_route)
{
    ferry *s = kit_serve("calc.add", add, NULL), *c = kit_open(NULL);
    KIT_ENDS(ferry_get(c, "calc.nope", NULL, NULL), FERRY_NOT_FOUND, FERRY_OUTCOME_NOT_EXECUTED);
    KIT_ENDS(ferry_post(c, "calc.add.more", NULL, NULL), FERRY_NOT_FOUND, FERRY_OUTCOME_NOT_EXECUTED);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(other_verb)
{
    ferry *s = kit_serve_with(NULL, "calc.add", add, NULL, FERRY_HANDLE(.verbs = FERRY_GET | FERRY_PUT)),
          *c = kit_open(NULL);
    KIT_ENDS(ferry_post(c, "calc.add", NULL, NULL), FERRY_VERB_NOT_ALLOWED, FERRY_OUTCOME_NOT_EXECUTED);
    KIT_INT(ferry_put(c, "calc.add", ferry_map("x", 1, "y", 2), NULL), 3);
    kit_close(c);
    kit_close(s);
}

static void call_nobody(void *c)
{
    KIT_UNDONE(ferry_post(c, "nobody.home", NULL, FERRY_CALL(.timeout_ms = 30000)), FERRY_NO_SERVICE);
}

CONFORMANCE(never_there_is_said_at_once)
{
    ferry *c = kit_open(NULL);
    kit_takes(0, 500, call_nobody, c);
    kit_close(c);
}

static void call_gone(void *c)
{
    KIT_UNDONE(ferry_post(c, "calc.echo", NULL, FERRY_CALL(.timeout_ms = 30000)), FERRY_NO_SERVICE);
}

/* It was sent while its server was believed to live: proved undone only where it can be taken back. */
static void call_believed(void *c)
{
    ferry_reply *r = ferry_post(c, "calc.echo", NULL, FERRY_CALL(.timeout_ms = 30000));
    if (!test_can("withdraws") && ferry_reply_outcome(r) == FERRY_OUTCOME_UNKNOWN)
        KIT_ENDS(r, FERRY_NO_SERVICE, FERRY_OUTCOME_UNKNOWN);
    else
        KIT_UNDONE(r, FERRY_NO_SERVICE);
}

CONFORMANCE(gone_is_said_within_a_second)
{
    ferry *c = kit_open(NULL);
    kit_close(kit_serve("calc.echo", kit_echo, NULL));
    kit_takes(0, 1500, call_gone, c); /* a second of waiting for a new server, and the way to find out */
    kit_close(c);
}

CONFORMANCE(gone_after_it_has_answered)
{
    ferry *s = kit_serve("calc.echo", kit_echo, NULL), *c = kit_open(NULL);
    KIT_OK(ferry_post(c, "calc.echo", NULL, NULL)); /* c believes that it lives */
    kit_close(s);
    kit_takes(0, 2500, call_believed, c); /* belief may be a second old */
    kit_close(c);
}

CONFORMANCE(gone_and_back_in_time)
{
    ferry *c = kit_open(NULL);
    kit_close(kit_serve("calc.echo", kit_echo, NULL));
    kit_await_gone("calc");
    ferry_future *waiting = ferry_async(c, FERRY_POST, "calc.echo", ferry_int(5), NULL);
    ferry *s = kit_open(NULL);
    CHECK_STATUS(ferry_handle(s, "calc.echo", kit_echo, NULL, NULL), FERRY_OK);
    CHECK_STATUS(ferry_serve(s), FERRY_OK);
    KIT_INT(ferry_await(waiting), 5);
    kit_close(c);
    kit_close(s);
}

static void call_gone_with_short_deadline(void *c)
{
    ferry_reply *r = ferry_get(c, "calc.echo", NULL, FERRY_CALL(.timeout_ms = 300));
    KIT_UNDONE(r, ferry_reply_status(r) == FERRY_TIMEOUT ? FERRY_TIMEOUT : FERRY_NO_SERVICE);
}

CONFORMANCE(gone_never_outlasts_the_deadline)
{
    ferry *c = kit_open(NULL);
    kit_close(kit_serve("calc.echo", kit_echo, NULL));
    kit_takes(0, 300 + KIT_LATE_MS, call_gone_with_short_deadline, c);
    kit_close(c);
}

CONFORMANCE(not_received_before_serve)
{
    ferry *s = kit_open(NULL), *c = kit_open(NULL);
    CHECK_STATUS(ferry_handle(s, "calc.echo", kit_echo, NULL, NULL), FERRY_OK);
    KIT_UNDONE(ferry_get(c, "calc.echo", NULL, NULL), FERRY_NO_SERVICE);
    kit_start(s, "calc");
    KIT_OK(ferry_get(c, "calc.echo", NULL, NULL));
    kit_close(c);
    kit_close(s);
}

static void no_memory(ferry_reply *r)
{
    CHECK_STATUS(ferry_reply_status(r), FERRY_NO_MEMORY);
    CHECK(ferry_has_errors(r));
    CHECK_INT(ferry_error_count(r), 1);
    ferry_reply_free(r);
}

CONFORMANCE(null_means_out_of_memory)
{
    no_memory(NULL);
    no_memory(ferry_get(NULL, "calc.echo", ferry_map("x", 1), NULL));
    no_memory(ferry_await(NULL));
    no_memory(ferry_await(ferry_async(NULL, FERRY_POST, "a.b", ferry_int(1), NULL)));
    no_memory(ferry_admin(NULL, "dead.list", ferry_map("x", 1), NULL));
    CHECK_INT(ferry_async_with(NULL, FERRY_GET, "a.b", ferry_int(1), NULL, NULL, NULL), 0);
    CHECK_STATUS(ferry_post_no_wait(NULL, "a.b", ferry_int(1), NULL), FERRY_NO_MEMORY);
    CHECK_STATUS(ferry_handle(NULL, "a.b", kit_echo, NULL, NULL), FERRY_NO_MEMORY);
    CHECK_STATUS(ferry_serve(NULL), FERRY_NO_MEMORY);
    CHECK_STATUS(ferry_flush(NULL, 0), FERRY_NO_MEMORY);
    CHECK_STATUS(ferry_wait_ready(NULL, 0), FERRY_NO_MEMORY);
    CHECK_STATUS(ferry_respond(NULL, ferry_int(1)), FERRY_NO_MEMORY);
    CHECK_INT(ferry_value_type(ferry_data(NULL)), FERRY_TYPE_NIL);
    ferry_value *broken = ferry_list(ferry_value_copy(NULL), (ferry_value *)NULL);
    ferry_value_free(broken);
    ferry_cancel(NULL);
    ferry_done(NULL);
    ferry_stop(NULL);
    ferry_close(NULL);
}
