/* oom_test.c - memory runs out, once, at every place in turn: whole scenarios, on each transport that needs no server.
 *
 * Each round opens everything anew with the n-th allocation failing. Nothing may crash, hang or leak, every call must end, and what
 * ends badly must say why: NO_MEMORY from the side that ran short, or what follows from that (a server that could not register is no
 * service). Never a silent timeout. */
#include "test.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MOST_MS = 5000 /* one round */ };

typedef struct setting {
    const char *url;
    atomic_int  callbacks, handled;
} setting;

/* ---- What may be answered ------------------------------------------------------------------------------------------- */

static bool follows_from_short_memory(ferry_status s)
{
    return s == FERRY_NO_MEMORY || s == FERRY_NO_SERVICE || s == FERRY_NOT_FOUND || s == FERRY_OVERLOADED;
}

static void check_status(const char *what, ferry_status s)
{
    if (s != FERRY_OK && !(test_alloc_failed() && follows_from_short_memory(s)))
        FAIL("%s ended with %s", what, ferry_status_name(s));
}

static void check_reply(const char *what, ferry_reply *r)
{
    ferry_status s = ferry_reply_status(r);
    CHECK((ferry_error_count(r) > 0) == (s != FERRY_OK));
    check_status(what, s);
    ferry_reply_free(r);
}

/* ---- The server ----------------------------------------------------------------------------------------------------- */

static void echo(ferry_request *req, void *arg)
{
    atomic_fetch_add(&((setting *)arg)->handled, 1);
    ferry_respond_header(req, "etag", "7");
    ferry_respond(req, ferry_value_copy(ferry_request_data(req)));
}

static void nested(ferry_request *req, void *arg)
{
    (void)arg;
    ferry_reply *r = ferry_get(ferry_request_handle(req), "oom.echo", ferry_map("x", 1), FERRY_CALL(.within = req));
    if (ferry_has_errors(r))
        ferry_fail_as(req, r);
    else
        ferry_respond(req, ferry_value_copy(ferry_data(r)));
    ferry_reply_free(r);
}

static void later(ferry_request *req, void *arg)
{
    (void)arg;
    ferry_request *d = ferry_defer(req);
    if (!d)
        return; /* nothing to defer with: answered when the handler returns */
    ferry_respond(d, ferry_text("later"));
    ferry_done(d);
}

static void fail(ferry_request *req, void *arg)
{
    int x;
    (void)arg;
    if (ferry_args(req, "x", &x))
        ferry_fail(req, "Odd", "%d", x);
}

static bool guard(ferry_request *req, void *arg)
{
    (void)req;
    (void)arg;
    return true;
}

static bool serve(setting *s, ferry **made)
{
    ferry *f = *made = ferry_open(s->url, FERRY_OPTIONS(.workers = 2, .name = "server", .close_ms = 3000));
    ferry_handle(f, "oom.echo", echo, s, NULL);
    ferry_handle(f, "oom.nested", nested, NULL, FERRY_HANDLE(.verbs = FERRY_GET | FERRY_POST));
    ferry_handle(f, "oom.later", later, NULL, NULL);
    ferry_handle(f, "oom.fail.*", fail, NULL, FERRY_HANDLE(.attempts = 1));
    ferry_guard(f, "oom.**", guard, NULL);
    ferry_status status = ferry_serve(f);
    check_status("serve", status);
    return status == FERRY_OK;
}

/* ---- The caller ----------------------------------------------------------------------------------------------------- */

static void called_back(ferry_reply *reply, void *arg)
{
    check_reply("callback", reply);
    atomic_fetch_add(&((setting *)arg)->callbacks, 1);
}

static ferry_value *some_data(void)
{
    ferry_value *v = ferry_map("text", "a text", "list", ferry_list(1, 2.5, FERRY_TRUE), "bytes", ferry_bytes("ab", 2));
    ferry_map_put(v, "raw", ferry_raw("\x93\x01\x02\x03", 4));
    return v;
}

static void call(ferry *c)
{
    ferry_value *headers = ferry_map("lang", "fr");
    check_reply("get", ferry_get(c, "oom.echo", some_data(),
                                 FERRY_CALL(.headers = headers, .key = "k", .correlation = "corr")));
    ferry_value_free(headers);
    check_reply("post", ferry_post(c, "oom.echo", some_data(), FERRY_CALL(.idempotency_key = "once")));
    check_reply("nested", ferry_post(c, "oom.nested", NULL, NULL));
    check_reply("later", ferry_put(c, "oom.later", NULL, NULL));
    ferry_reply *r = ferry_delete(c, "oom.fail.now", ferry_map("x", "no number"), NULL);
    if (ferry_reply_status(r) != FERRY_BAD_DATA)
        check_reply("bad data", r);
    else
        ferry_reply_free(r);
}

static void call_async(ferry *c, setting *s)
{
    ferry_future *f[3] = {ferry_async(c, FERRY_GET, "oom.echo", ferry_int(1), NULL),
                          ferry_async(c, FERRY_PUT, "oom.echo", ferry_int(2), NULL),
                          ferry_async(c, FERRY_POST, "oom.echo", ferry_int(3), NULL)};
    int started = ferry_async_with(c, FERRY_GET, "oom.echo", ferry_int(4), NULL, called_back, s) != 0;
    ferry_cancel(f[2]);
    check_reply("async get", ferry_await(f[0]));
    check_reply("async put", ferry_await(f[1]));
    ferry_reply *r = ferry_await(f[2]);
    if (ferry_reply_status(r) != FERRY_CANCELLED)
        check_reply("cancelled", r);
    else
        ferry_reply_free(r);
    CHECK_SOON(atomic_load(&s->callbacks) == started, 10000); /* 0 as a ticket: the callback never runs; else exactly once */
}

static void post(ferry *c)
{
    check_status("confirmed", ferry_post_no_wait(c, "oom.echo", some_data(), FERRY_CALL(.confirm = FERRY_CONFIRMED)));
    check_status("queued", ferry_post_no_wait(c, "oom.echo", some_data(), NULL));
    check_status("queued", ferry_put_no_wait(c, "oom.fail.now", ferry_int(1), NULL)); /* a dead letter */
    check_status("flush", ferry_flush(c, 10000));
    ferry_reply *r = ferry_admin(c, "dead.list", NULL, NULL);
    check_reply("dead.list", r);
    r = ferry_admin(c, "dead.purge", ferry_map("all", FERRY_TRUE), NULL); /* so that no round has more to do than the one before */
    check_reply("dead.purge", r);
    ferry_value_free(ferry_stats(c));
}

static void whole_scenario(void *arg)
{
    setting *s = arg;
    int64_t before = test_now_ms();
    atomic_store(&s->callbacks, 0);
    ferry *server, *c;
    bool serves = serve(s, &server);
    c = ferry_open(s->url, FERRY_OPTIONS(.timeout_ms = 10000, .close_ms = 3000));
    if (serves) {
        call(c);
        call_async(c, s);
        post(c);
    }
    check_status("close", ferry_close(c));
    check_status("close", ferry_close(server));
    CHECK(test_now_ms() - before < test_ms(MOST_MS));
}

TEST_WITH(mem_every_allocation_fails_once, .limit_ms = 120000)
{
    setting s = {.url = "mem:oom"};
    test_every_alloc_fails(whole_scenario, &s);
}

TEST_WITH(file_every_allocation_fails_once, .limit_ms = 240000)
{
    setting s = {.url = test_text("file:%s/oom.db", test_dir())};
    test_every_alloc_fails(whole_scenario, &s);
}

/* ---- Values alone --------------------------------------------------------------------------------------------------- */

static void build_and_read(void *arg)
{
    int64_t x = 0;
    (void)arg;
    ferry_value *v = some_data(), *copy = ferry_value_copy(v);
    size_t length = 0;
    const void *encoded = ferry_encoded(v, &length);
    CHECK(test_alloc_failed() || (encoded && length > 0 && ferry_count(copy) == 4));
    ferry_read(v, "none?", &x);
    ferry_value_free(v);
    ferry_value_free(copy);
}

TEST(values_every_allocation_fails_once)
{
    test_every_alloc_fails(build_and_read, NULL);
}
