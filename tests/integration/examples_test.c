/* examples_test.c - the examples do what they say, the demo too, and the README's programs compile and run. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>

/* Runs build/examples/WORDS. */
static test_output example(const char *words)
{
    test_note("%s", words);
    return test_sh("'%s/examples/'%s", test_bin(), words);
}

static void prints(const char *words, const char *out)
{
    test_output r = example(words);
    CHECK_STR(r.err, "");
    CHECK_STR(r.out, out);
    CHECK_INT(r.code, 0);
}

static bool answers(const char *route)
{
    const char *err = test_sh("ferry get %s -t 1s", route).err;
    return !strstr(err, "NO_SERVICE") && !strstr(err, "TIMEOUT");
}

/* Starts a program that serves, and waits until it does. */
static pid_t serve(const char *program, const char *route)
{
    pid_t pid = test_start("'%s/examples/'%s 2>> serving.log", test_bin(), program);
    CHECK_SOON(answers(route) || !test_alive(pid), 10000);
    CHECK(test_alive(pid));
    return pid;
}

/* ---- programs that serve what they call: over each transport ---- */

static void everywhere(const char *program, const char *out)
{
    setenv("FERRY_URL", "mem:examples", 1);
    prints(program, out);
    setenv("FERRY_URL", test_text("file:%s/ferry.db", test_dir()), 1);
    prints(program, out);
}

TEST_WITH(async, .limit_ms = 30000)
{
    everywhere("async", "in order: 100\nin order: 200\nin order: 300\nfirst come: 500\nfirst come: 400\n"
                        "cancelled: CANCELLED\ncallback: 700\n");
}

TEST_WITH(later, .limit_ms = 30000)
{
    everywhere("later", "parcel 1: 250 g\nparcel 2: 500 g\nparcel 3: 750 g\n"
                        "TooHeavy: parcel 4 does not fit the scale\nparcel 5: 1250 g\n");
}

TEST_WITH(loop, .limit_ms = 30000)
{
    everywhere("loop", "tick 1\ntick 2\ntick 3\ntick 4\ntick 5\n");
}

TEST(mock)
{
    prints("mock", "ships what is there: 0\ndoes not ship what is not: 0\n"
                   "calls_sent: 2\ncalls_failed: 1\nposts_accepted: 1\n");
}

/* ---- client and server, over the default: a file in the state directory ---- */

TEST(client_without_a_server)
{
    test_output r = example("client");
    CHECK_HAS(r.err, "NO_SERVICE: ");
    CHECK_STR(r.out, "");
    CHECK_INT(r.code, 1);
}

TEST_WITH(client_and_server, .limit_ms = 30000)
{
    pid_t server = serve("server", "calc.add");
    prints("client", "3\n");
    CHECK_INT(test_kill(server, 15), 0);
}

/* ---- the order service ---- */

static void open_shop(pid_t pids[2])
{
    pids[0] = serve("orders/stock", "stock.level");
    pids[1] = serve("orders/orders", "orders.list");
}

static void close_shop(const pid_t pids[2])
{
    CHECK_INT(test_kill(pids[1], 15), 0);
    CHECK_INT(test_kill(pids[0], 15), 0);
}

TEST_WITH(orders_from_c, .limit_ms = 30000)
{
    pid_t shop[2];
    open_shop(shop);
    test_output r = example("orders/client");
    CHECK_STR(r.out, "C-1: accepted, 79.80\nC-2: accepted, 106.80\nC-3: accepted, 54.00\nC-6: accepted, 279.00\n"
                     "ada has C-3\nada has C-1\n");
    CHECK_HAS(r.err, "C-4: OutOfStock: 99 of 'desk-03' wanted, 9 left (says stock@");
    CHECK_HAS(r.err, "C-5: UnknownArticle: there is no article 'piano-99' (says stock@");
    CHECK_INT(r.code, 1);
    CHECK_HAS(test_read("serving.log"), "orders: orders.create, key grace\n");
    r = example("orders/client"); /* the same ids: nothing is ordered or reserved twice */
    CHECK_HAS(r.out, "C-6: accepted, 279.00\nada has C-3\nada has C-1\n");
    r = test_sh("ferry get stock.level sku=screen-08");
    CHECK_HAS(r.out, "\"pieces\":14");
    close_shop(shop);
}

TEST_WITH(orders_from_a_file, .limit_ms = 30000)
{
    pid_t shop[2];
    open_shop(shop);
    test_output r = test_sh("ferry post orders.create - < '%s/examples/orders.ndjson'", test_root());
    CHECK_HAS(r.err, "line 12: BAD_DATA: 'customer'");
    CHECK_HAS(r.err, "line 23: UnknownArticle: there is no article 'desk-30'\n");
    CHECK_HAS(r.err, "line 31: OutOfStock: 40 of 'screen-08' wanted");
    CHECK_INT(r.code, 1);
    test_write("answers", r.out);
    r = test_sh("sed 's/.*\"id\":\"\\([^\"]*\\)\".*/\\1/' answers | tr '\\n' ' '");
    CHECK_STR(r.out,
              "A-1001 A-1002 A-1003 A-1004 A-1005 A-1006 A-1007 A-1008 A-1009 A-1010 A-1011 A-1013 A-1014 A-1015 "
              "A-1016 A-1017 A-1018 A-1019 A-1020 A-1021 A-1022 A-1024 A-1025 A-1026 A-1027 A-1028 A-1029 A-1030 "
              "A-1032 A-1033 A-1034 A-1035 A-1036 A-1037 A-1038 A-1039 A-1040 ");
    close_shop(shop);
}

TEST_WITH(orders_without_stock, .limit_ms = 30000)
{
    pid_t orders = serve("orders/orders", "orders.list");
    test_output r = test_sh("ferry post orders.create id=X customer=ada 'lines:=[]' --full");
    CHECK_HAS(r.out, "\"type\":\"NO_SERVICE\"");
    CHECK_HAS(r.out, "'stock'");
    CHECK_HAS(r.out, "\"origin\":\"orders@");
    CHECK_INT(r.code, 1);
    CHECK_INT(test_kill(orders, 15), 0);
}

TEST_WITH(order_of_nonsense, .limit_ms = 30000)
{
    pid_t shop[2];
    open_shop(shop);
    test_output r = test_sh("ferry post orders.create id:=7");
    CHECK_HAS(r.err, "BAD_DATA: 'id'");
    CHECK_HAS(r.err, "BAD_DATA: 'customer'");
    CHECK_HAS(r.err, "BAD_DATA: 'lines'");
    r = test_sh("ferry post orders.create id=N customer=ada 'lines:=[]'");
    CHECK_HAS(r.err, "EmptyOrder: ");
    r = test_sh("ferry post orders.create id=N customer=ada 'lines:=[{\"sku\":\"mug-04\",\"quantity\":300},7]'");
    CHECK_HAS(r.err, "BadLine: line 1 ");
    CHECK_HAS(r.err, "BadLine: line 2 ");
    r = test_sh("ferry post orders.create id=N customer=ada 'lines:=[{\"sku\":\"desk-03\",\"quantity\":5},"
                "{\"sku\":\"desk-03\",\"quantity\":5}]'");
    CHECK_HAS(r.err, "OutOfStock: 5 of 'desk-03' wanted, 4 left"); /* both lines count */
    r = test_sh("ferry get stock.level sku=desk-03");
    CHECK_HAS(r.out, "\"pieces\":9");
    r = test_sh("ferry get orders.get id=N");
    CHECK_HAS(r.err, "UnknownOrder: ");
    r = test_sh("ferry get orders.create");
    CHECK_HAS(r.err, "VERB_NOT_ALLOWED");
    close_shop(shop);
}

/* ---- the demo ---- */

TEST_WITH(demo, .limit_ms = 90000)
{
    test_output r = test_sh("FERRY_BUILD='%s' '%s/examples/demo' file mem", test_bin(), test_root());
    CHECK_STR(r.err, "");
    CHECK(!strstr(r.out, "WRONG"));
    CHECK(!strchr(r.out, '\033')); /* colours only on a terminal */
    CHECK_HAS(r.out, "checked commands did what they say");
    CHECK_INT(r.code, 0);
}

TEST(demo_of_what_is_not_there)
{
    test_output r =
        test_sh("env -u FERRY_TEST_REDIS FERRY_BUILD='%s' '%s/examples/demo' redis", test_bin(), test_root());
    CHECK_HAS(r.err, "./run demo redis starts one");
    CHECK_INT(r.code, 2);
    r = test_sh("FERRY_BUILD='%s' '%s/examples/demo' rabbit", test_bin(), test_root());
    CHECK_HAS(r.err, "no transport is called 'rabbit'");
    CHECK_INT(r.code, 2);
}

/* ---- the programs in the documents ---- */

/* Writes the n-th ```c block of a page to a file; false: it has no such block. */
static bool extract(const char *page, int n, const char *to)
{
    const char *at = test_read(test_text("%s/%s", test_root(), page));
    for (; (at = strstr(at, "\n```c\n")); at++)
        if (n-- == 0) {
            at += strlen("\n```c\n");
            const char *end = strstr(at, "```");
            CHECK_NOT_NULL(end);
            test_write(to, test_text("%.*s", (int)(end - at), at));
            return true;
        }
    return false;
}

static void compile(const char *name)
{
    test_output r =
        test_sh("cc -std=c11 -Wall -Wextra -Wpedantic -Wconversion -Werror -I'%s/include' %s.c -o %s -L'%s' "
                "-Wl,-rpath,'%s' -lferry",
                test_root(), name, name, test_bin(), test_bin());
    CHECK_STR(r.err, "");
    CHECK_INT(r.code, 0);
}

TEST_WITH(readme_programs, .limit_ms = 60000)
{
    if (strcmp(test_bin(), test_text("%s/build", test_root())) != 0)
        SKIP("a sanitizer wants its own flags");
    CHECK(extract("README.md", 0, "client.c"));
    CHECK(extract("README.md", 1, "server.c"));
    CHECK(extract("README.md", 2, "mailer.c"));
    compile("client");
    compile("server");
    compile("mailer");
    pid_t server = test_start("./server");
    CHECK_SOON(answers("calc.add") || !test_alive(server), 10000);
    test_output r = test_sh("./client");
    CHECK_STR(r.err, "");
    CHECK_STR(r.out, "3\n");
    CHECK_INT(r.code, 0);
    CHECK_INT(test_kill(server, 15), 0);
    pid_t mailer = test_start("./mailer > mails");
    CHECK_SOON(strstr(test_sh("ferry lag order mailer").out, "\"members\":1") != NULL, 10000);
    CHECK_INT(test_sh("ferry publish order.paid to=eve").code, 0);
    CHECK_SOON(strstr(test_sh("ferry lag order mailer").out, "\"lag\":0") != NULL, 10000);
    CHECK_INT(test_kill(mailer, 15), 0);
    CHECK_HAS(test_read("mails"), "mail to eve about order.paid\n");
}

static const char *const pages[] = {"README.md", "ARCHITECTURE.md", "docs/threads.md", "docs/errors.md",
                                    "docs/memory.md"};

/* Blocks behind the README's three programs are statements: each compiles inside a function that has a handle. */
TEST_WITH(snippets_compile, .limit_ms = 60000)
{
    if (strcmp(test_bin(), test_text("%s/build", test_root())) != 0)
        SKIP("the plain build compiles them");
    for (size_t p = 0; p < sizeof pages / sizeof *pages; p++)
        for (int n = p == 0 ? 3 : 0; extract(pages[p], n, "body.h"); n++) {
            test_note("%s, C block %d", pages[p], n);
            test_write("snippet.c", "#include <ferry/ferry.h>\n"
                                    "void snippet(ferry *f, ferry_request *req, const char *id);\n"
                                    "void snippet(ferry *f, ferry_request *req, const char *id)\n"
                                    "{\n    (void)f, (void)req, (void)id;\n    {\n#include \"body.h\"\n    }\n}\n");
            test_output r = test_sh("cc -std=c11 -Wall -Wextra -Werror -I'%s/include' -c snippet.c", test_root());
            CHECK_STR(r.err, "");
            CHECK_INT(r.code, 0);
        }
}

/* ---- what the documents list is what there is ---- */

TEST(every_counter_is_documented)
{
    ferry *f = ferry_open("mem:", NULL);
    ferry_value *stats = ferry_stats(f);
    const char *page = test_read(test_text("%s/docs/observability.md", test_root()));
    CHECK(ferry_count(stats) > 20);
    for (size_t i = 0; i < ferry_count(stats); i++)
        CHECK_HAS(page, test_text("`%s`", ferry_as_string(ferry_key_at(stats, i), "?")));
    ferry_value_free(stats);
    CHECK_STATUS(ferry_close(f), FERRY_OK);
}

TEST(every_status_is_documented)
{
    const char *page = test_read(test_text("%s/docs/errors.md", test_root()));
    for (int s = FERRY_OK; s <= FERRY_INTERNAL; s++)
        CHECK_HAS(page, test_text("\n| %s | ", ferry_status_name((ferry_status)s)));
}

TEST(doctor_answers_what_is_documented)
{
    const char *page = test_read(test_text("%s/docs/admin.md", test_root()));
    const char *const urls[] = {"mem:", test_text("file:%s/ferry.db", test_dir())};
    for (int u = 0; u < 2; u++) {
        ferry *f = ferry_open(urls[u], NULL);
        ferry_reply *r = ferry_admin(f, "doctor", NULL, NULL);
        CHECK_STATUS(ferry_reply_status(r), FERRY_OK);
        for (size_t i = 0; i < ferry_count(ferry_data(r)); i++)
            CHECK_HAS(page, test_text("`%s`", ferry_as_string(ferry_key_at(ferry_data(r), i), "?")));
        ferry_reply_free(r);
        CHECK_STATUS(ferry_close(f), FERRY_OK);
    }
}

TEST(links_lead_somewhere)
{
    test_output r =
        test_sh("cd '%s' && for page in *.md docs/*.md docs/*/*.md; do "
                "sed 's/`[^`]*`//g' \"$page\" | grep -o '](\\([^)#:]*\\)[)#]' | sed 's/^](//; s/[)#]$//' | "
                "while read -r to; do [ -e \"$(dirname \"$page\")/$to\" ] || echo \"$page: $to\"; done; done",
                test_root());
    CHECK_STR(r.err, "");
    CHECK_STR(r.out, "");
}
