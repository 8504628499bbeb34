/* seeds_test.c - the examples of the five documents that ferry answers to, and those about events, do what they say: over each
 * transport that is here. */
#include "test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void prints(const char *words, const char *out)
{
    test_note("%s over %s", words, getenv("FERRY_URL"));
    test_output r = test_sh("'%s/examples/'%s", test_bin(), words);
    CHECK_STR(r.err, "");
    CHECK_STR(r.out, out);
    CHECK_INT(r.code, 0);
}

/* A place of its own on each broker, which outlives the case, and a history on the one that has none unasked. */
static const char *url(size_t n, const char *ns)
{
    const char *redis = getenv("FERRY_TEST_REDIS"), *amqp = getenv("FERRY_TEST_AMQP"),
               *kafka = getenv("FERRY_TEST_KAFKA");
    switch (n) {
    case 0:
        return "mem:examples";
    case 1:
        return test_text("file:%s/ferry.db", test_dir());
    case 2:
        return redis ? test_text("redis://%s/?ns=%s", redis, ns) : NULL;
    case 3:
        return amqp ? test_text("amqp://ferry:secret@%s/ferry?ns=%s&queue=classic&events=stream", amqp, ns) : NULL;
    case 4:
        return kafka ? test_text("kafka://%s?ns=%s", kafka, ns) : NULL;
    default:
        return NULL;
    }
}

enum { TRANSPORTS = 5 };

static bool is_built_in(size_t n)
{
#ifndef FERRY_WITH_REDIS
    if (n == 2)
        return false;
#endif
#ifndef FERRY_WITH_AMQP
    if (n == 3)
        return false;
#endif
#ifndef FERRY_WITH_KAFKA
    if (n == 4)
        return false;
#endif
    return n < TRANSPORTS;
}

static const char *choose(size_t n, const char *program)
{
    const char *to =
        is_built_in(n) ? url(n, test_text("x%ldx%lld%s", (long)getpid(), (long long)test_now_ms(), program)) : NULL;
    if (to) {
        test_note("%s over %s", program, to);
        setenv("FERRY_URL", to, 1);
    }
    return to;
}

static void everywhere(const char *folder, const char *program, const char *out)
{
    for (size_t n = 0; n < TRANSPORTS; n++)
        if (choose(n, program))
            prints(test_text("%s/%s", folder, program), out);
}

/* ---- the five documents ---- */

TEST_WITH(cloudharness, .limit_ms = 90000)
{
    everywhere("seeds", "cloudharness", "create of my_object obj-1 by ada: first\nmy-topic: a is b\n");
}

TEST_WITH(idmsvc, .limit_ms = 90000)
{
    everywhere("seeds", "idmsvc", "todo 1: write the handler (org-42, key 1)\nrejected: 'title': missing\n");
}

TEST_WITH(eventy, .limit_ms = 90000)
{
    everywhere("seeds", "eventy", "checkpoint reached: 1\npayment of ada: 250\ncontract: ContractSuspended\n");
}

TEST_WITH(kafka_broker, .limit_ms = 90000)
{
    everywhere("seeds", "kafka_broker", "answer: 5 bytes\nhop: returned\nevent 1: abc\nevent 2: abc\nevent 3: abc\n");
}

TEST_WITH(zc_events, .limit_ms = 90000)
{
    everywhere("seeds", "zc_events",
               "posted: 1\nanswer: 2\nerror: BAD_DATA: 'y': missing\n"
               "order name: Lunch for twelve\n"
               "updated event for object (Order:23131024) and user 7\n");
}

/* ---- events ---- */

TEST_WITH(groups, .limit_ms = 90000)
{
    everywhere("events", "groups",
               "published: 12\nbilled by one of the two: 12\nmailed by one of the two: 12\n"
               "cached by instance 1: 12\ncached by instance 2: 12\n");
}

TEST_WITH(pull, .limit_ms = 90000)
{
    everywhere("events", "pull",
               "look: nothing yet\none: meter.read 1\nfor check-42: meter.checked 3\n"
               "all: meter.read 2\nall: meter.read 4\n");
}

static bool says(const char *log, const char *text)
{
    return access(log, F_OK) == 0 && strstr(test_read(log), text) != NULL;
}

static void rebuild(size_t n)
{
    const char *log = test_text("projection-%zu.log", n);
    CHECK_INT(test_sh("for i in 1 2 3; do ferry publish order.created customer=ada cents:=100 --key ada; done").code,
              0);
    pid_t pid = test_start("'%s/examples/events/projection' 2> %s", test_bin(), log);
    CHECK_SOON(says(log, "projection: live\n") || !test_alive(pid), 20000);
    const char *rebuilt = "{\"orders\":3,\"cents\":300,\"live\":true}\n";
    CHECK_SOON(strcmp(test_sh("ferry get sales.of customer=ada").out, rebuilt) == 0, 20000); /* a broker may take a while to know the name */
    CHECK_INT(test_sh("ferry publish order.created customer=ada cents:=50").code, 0);
    CHECK_SOON(strstr(test_sh("ferry get sales.of customer=ada").out, "\"orders\":4,\"cents\":350,"), 10000);
    CHECK_INT(test_kill(pid, SIGTERM), 0);
}

TEST_WITH(projection, .limit_ms = 90000)
{
    for (size_t n = 1; n < TRANSPORTS; n++) /* mem: does not leave a process */
        if (choose(n, "projection"))
            rebuild(n);
}

static void relay_orders(void)
{
    CHECK_INT(
        test_sh("ferry publish order.created id=A-1 cents:=100; ferry publish order.created id=A-2 cents:=200").code,
        0);
    pid_t pid = test_start("'%s/examples/events/relay' 2> relay.log", test_bin());
    const char *due = "{\"order\":\"A-1\",\"cents\":100}\n{\"order\":\"A-2\",\"cents\":200}\n"; /* at least once */
    const char *listen = "timeout 20 ferry listen invoice.due -r --from earliest --drain 2>> listen.log | sort -u";
    CHECK_SOON(strcmp(test_sh("%s", listen).out, due) == 0, 20000);
    CHECK_INT(test_kill(pid, SIGTERM), 0);
}

TEST_WITH(relay, .limit_ms = 90000)
{
    for (size_t n = 1; n < TRANSPORTS; n++)
        if (choose(n, "relay"))
            relay_orders();
}
