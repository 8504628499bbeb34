/* options.c - option structs, the environment, and handles that were broken from the start. */
#include "kit.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- Structs: a later library's fields may follow, but only as zeros ------------------------------------------------ */

typedef struct longer_call {
    ferry_call_options known;
    unsigned char      tail[24];
} longer_call;

CONFORMANCE(call_options_of_another_size)
{
    ferry *s = kit_serve("calc.echo", kit_echo, NULL), *c = kit_open(NULL);
    longer_call o = {.known = {.size = sizeof o, .timeout_ms = KIT_SOON_MS}};
    KIT_OK(ferry_get(c, "calc.echo", NULL, &o.known));
    CHECK_STATUS(ferry_post_no_wait(c, "calc.echo", NULL, &o.known), FERRY_OK);
    o.tail[23] = 1;
    KIT_ENDS(ferry_get(c, "calc.echo", NULL, &o.known), FERRY_INVALID, FERRY_OUTCOME_NOT_SENT);
    CHECK_STATUS(ferry_post_no_wait(c, "calc.echo", NULL, &o.known), FERRY_INVALID);
    KIT_ENDS(ferry_await(ferry_async(c, FERRY_GET, "calc.echo", NULL, &o.known)), FERRY_INVALID,
             FERRY_OUTCOME_NOT_SENT);
    o = (longer_call){.known = {.size = 0, .timeout_ms = 5}};
    KIT_ENDS(ferry_get(c, "calc.echo", NULL, &o.known), FERRY_INVALID, FERRY_OUTCOME_NOT_SENT);
    /* an older program's: why is beyond its end */
    const size_t shorter = offsetof(ferry_call_options, confirm);
    o.known = (ferry_call_options){.size = shorter, .timeout_ms = KIT_SOON_MS, .why = (char *)1};
    KIT_OK(ferry_get(c, "calc.echo", NULL, &o.known));
    kit_close(c);
    kit_close(s);
}

typedef struct longer_handle {
    ferry_handle_options known;
    unsigned char        tail[16];
} longer_handle;

CONFORMANCE(handle_options_of_another_size)
{
    ferry *f = kit_open(NULL);
    longer_handle o = {.known = {.size = sizeof o}};
    CHECK_STATUS(ferry_handle(f, "calc.a", kit_echo, NULL, &o.known), FERRY_OK);
    o.tail[0] = 1;
    CHECK_STATUS(ferry_handle(f, "calc.b", kit_echo, NULL, &o.known), FERRY_INVALID);
    CHECK_STATUS(ferry_handle(f, "calc.c", kit_echo, NULL, FERRY_HANDLE(.reserved = 1)), FERRY_INVALID);
    CHECK_STATUS(ferry_handle(f, "calc.d", kit_echo, NULL, FERRY_HANDLE(.verbs = 64)), FERRY_INVALID);
    CHECK_STATUS(ferry_handle(f, "calc.e", kit_echo, NULL, FERRY_HANDLE(.attempts = -1)), FERRY_INVALID);
    kit_close(f);
}

typedef struct longer_options {
    ferry_options known;
    unsigned char tail[8];
} longer_options;

static void is_broken(ferry *f, const char *said)
{
    char problem[512] = "";
    CHECK_NOT_NULL(f);
    CHECK(ferry_problem(f, problem, sizeof problem) > 0);
    CHECK_HAS(problem, said);
    CHECK_STATUS(ferry_wait_ready(f, KIT_SOON_MS), FERRY_INVALID);
    kit_close(f);
}

CONFORMANCE(handle_of_impossible_options)
{
    longer_options o = {.known = {.size = sizeof o}};
    ferry *f = ferry_open(test_url(), &o.known);
    CHECK_STATUS(ferry_wait_ready(f, KIT_SOON_MS), FERRY_OK);
    kit_close(f);
    o.tail[0] = 1;
    is_broken(ferry_open(test_url(), &o.known), "option");
    is_broken(ferry_open(test_url(), FERRY_OPTIONS(.workers = -1)), "workers");
    is_broken(ferry_open(test_url(), FERRY_OPTIONS(.timeout_ms = -1)), "timeout_ms");
    is_broken(ferry_open(test_url(), FERRY_OPTIONS(.max_pending = -5)), "max_pending");
}

/* ---- A bad URL ------------------------------------------------------------------------------------------------------ */

static void count_invalid(ferry_reply *reply, void *counter)
{
    KIT_ENDS(reply, FERRY_INVALID, FERRY_OUTCOME_NOT_SENT);
    atomic_fetch_add((atomic_int *)counter, 1);
}

static void answers_all_calls(ferry *f, const char *said)
{
    atomic_int called = 0;
    ferry_reply *r = ferry_get(f, "calc.echo", ferry_int(1), NULL);
    CHECK_HAS(ferry_error_at(r, 0)->message, said);
    KIT_ENDS(r, FERRY_INVALID, FERRY_OUTCOME_NOT_SENT);
    KIT_ENDS(ferry_await(ferry_async(f, FERRY_POST, "calc.echo", ferry_int(1), NULL)), FERRY_INVALID,
             FERRY_OUTCOME_NOT_SENT);
    CHECK(ferry_async_with(f, FERRY_GET, "calc.echo", NULL, NULL, count_invalid, &called) != 0);
    CHECK_SOON(atomic_load(&called) == 1, KIT_SOON_MS);
    CHECK_STATUS(ferry_post_no_wait(f, "calc.echo", ferry_int(1), NULL), FERRY_INVALID);
    CHECK_STATUS(ferry_serve(f), FERRY_INVALID);
    CHECK_STATUS(ferry_flush(f, 100), FERRY_INVALID);
    r = ferry_admin(f, "dead.list", NULL, NULL);
    KIT_ENDS(r, FERRY_INVALID, FERRY_OUTCOME_NOT_SENT);
}

static void bad_url(const char *url, const char *said)
{
    char problem[512] = "";
    test_note("%s", url);
    ferry *f = ferry_open(url, NULL);
    CHECK_NOT_NULL(f);
    CHECK(ferry_problem(f, problem, sizeof problem) > 0);
    CHECK_HAS(problem, said);
    answers_all_calls(f, said);
    kit_close(f);
    f = ferry_open(url, NULL);
    CHECK_INT(ferry_run(f), 2);
}

TEST(unknown_scheme_with_a_guess)
{
    bad_url("fiel:/tmp/x", "file");
    bad_url("memm:x", "mem");
    bad_url("http://localhost", "http");
    bad_url("", "");
    bad_url("no scheme at all", "");
}

CONFORMANCE(unknown_setting_with_a_guess)
{
    bad_url(kit_url("", "partitons=4"), "partitions");
    bad_url(kit_url("", "partitions=many"), "partitions");
    bad_url(kit_url("", "partitions=0"), "partitions");
    bad_url(kit_url("", "ns=a%20b"), "ns");
    bad_url(kit_url("folt+", ""), "fault");
}

/* ---- The environment ------------------------------------------------------------------------------------------------ */

static void time_out(void *f)
{
    KIT_ENDS(ferry_post(f, "slow.echo", NULL, NULL), FERRY_TIMEOUT, FERRY_OUTCOME_UNKNOWN);
}

CONFORMANCE(field_beats_environment_beats_default)
{
    kit_gate gate = {0};
    ferry *s = kit_serve_with(FERRY_OPTIONS(.workers = 4), "slow.echo", kit_gated, &gate, NULL);
    setenv("FERRY_TIMEOUT_MS", "150", 1);
    ferry *from_environment = kit_open(NULL), *from_field = kit_open(FERRY_OPTIONS(.timeout_ms = 400));
    unsetenv("FERRY_TIMEOUT_MS");
    kit_takes(150, 150 + KIT_LATE_MS, time_out, from_environment);
    kit_takes(400, 400 + KIT_LATE_MS, time_out, from_field);
    atomic_store(&gate.open, true);
    kit_close(from_field);
    kit_close(from_environment);
    kit_close(s);
}

CONFORMANCE(limits_from_the_environment)
{
    ferry *s = kit_serve("calc.echo", kit_echo, NULL);
    setenv("FERRY_MAX_MESSAGE", "1000", 1);
    ferry *c = kit_open(NULL);
    unsetenv("FERRY_MAX_MESSAGE");
    char *bytes = calloc(1, 2000);
    KIT_ENDS(ferry_get(c, "calc.echo", ferry_bytes(bytes, 2000), NULL), FERRY_TOO_BIG, FERRY_OUTCOME_NOT_SENT);
    free(bytes);
    kit_close(c);
    kit_close(s);
}

CONFORMANCE(nonsense_in_the_environment)
{
    setenv("FERRY_TIMEOUT_MS", "soon", 1);
    is_broken(ferry_open(test_url(), NULL), "FERRY_TIMEOUT_MS");
    unsetenv("FERRY_TIMEOUT_MS");
    setenv("FERRY_WORKERS", "-3", 1);
    is_broken(ferry_open(test_url(), NULL), "FERRY_WORKERS");
    unsetenv("FERRY_WORKERS");
}

CONFORMANCE(url_from_the_environment)
{
    ferry *s = kit_serve("calc.echo", kit_echo, NULL);
    setenv("FERRY_URL", test_url(), 1);
    ferry *c = ferry_open(NULL, NULL);
    setenv("FERRY_URL", "nonsense:", 1);
    ferry *given = ferry_open(test_url(), NULL);
    unsetenv("FERRY_URL");
    KIT_INT(ferry_get(c, "calc.echo", ferry_int(1), NULL), 1);
    KIT_INT(ferry_get(given, "calc.echo", ferry_int(2), NULL), 2);
    kit_close(given);
    kit_close(c);
    kit_close(s);
}

/* The case's URL, with another namespace; some transports' have one of their own already. */
static const char *other_namespace(void)
{
    const char *own = strstr(test_url(), "ns=");
    if (!own)
        return kit_url("", "ns=other");
    return test_text("%.*sns=other-%s", (int)(own - test_url()), test_url(), own + 3);
}

CONFORMANCE(namespaces_apart)
{
    ferry *s = kit_serve("calc.echo", kit_echo, NULL);
    ferry *other = ferry_open(other_namespace(), NULL);
    ferry *same = ferry_open(strstr(test_url(), "ns=") ? test_url() : kit_url("", "ns=ferry"), NULL);
    KIT_UNDONE(ferry_get(other, "calc.echo", NULL, NULL), FERRY_NO_SERVICE);
    KIT_OK(ferry_get(same, "calc.echo", NULL, NULL));
    kit_close(same);
    kit_close(other);
    kit_close(s);
}

CONFORMANCE_WITH(durable_yes_is_content_here, .needs = "durable")
{
    ferry *f = ferry_open(kit_url("", "durable=yes"), NULL);
    CHECK_STATUS(ferry_wait_ready(f, KIT_SOON_MS), FERRY_OK);
    kit_close(f);
}

CONFORMANCE(durable_yes_is_never_ignored)
{
    ferry *f = ferry_open(kit_url("", "durable=yes"), FERRY_OPTIONS(.close_ms = 500));
    ferry_status s = ferry_wait_ready(f, KIT_SOON_MS);
    CHECK_INT(s == FERRY_OK, test_can("durable"));
    ferry_reply *r = ferry_get(f, "nobody.home", NULL, FERRY_CALL(.timeout_ms = 500));
    CHECK_STATUS(ferry_reply_status(r), test_can("durable") ? FERRY_NO_SERVICE : s);
    ferry_reply_free(r);
    ferry_close(f);
}

/* ---- The log -------------------------------------------------------------------------------------------------------- */

static void count_lines(int level, const char *line, void *counter)
{
    CHECK(level >= 0 && level <= 7);
    CHECK(*line && !strchr(line, '\n'));
    atomic_fetch_add((atomic_int *)counter, 1);
}

CONFORMANCE(log_only_where_asked)
{
    atomic_int lines = 0;
    ferry *f = kit_open(FERRY_OPTIONS(.on_log = count_lines, .arg = &lines));
    KIT_UNDONE(ferry_get(f, "nobody.home", NULL, NULL), FERRY_NO_SERVICE);
    kit_close(f);
    CHECK(atomic_load(&lines) > 0); /* at least that the link is up */
}

CONFORMANCE(secrets_are_not_shown)
{
    char problem[512] = "";
    ferry *f = ferry_open("fiel://ada:geheim@localhost/x", NULL);
    ferry_problem(f, problem, sizeof problem);
    CHECK(*problem && !strstr(problem, "geheim"));
    ferry_reply *r = ferry_get(f, "a.b", NULL, NULL);
    CHECK(!strstr(ferry_error_at(r, 0)->message, "geheim"));
    ferry_reply_free(r);
    kit_close(f);
}
