/* cli_topic_test.c - the tool looks after topics and groups, and is a step of a workflow. */
#include "cli.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static void publish_some(int n)
{
    CHECK_INT(test_sh("seq 1 %d | ferry publish order.created -", n).code, 0);
}

/* ---- topics ---- */

CLI_TEST(topics_come_and_go)
{
    cli_prints(0, "{\"count\":1}\n", "", "ferry topic create order --partitions 2 --keep 30d --keep-bytes 64M");
    cli_prints(0, "{\"count\":0}\n", "", "ferry topic create order");
    test_output r = test_sh("ferry topic list");
    CHECK_INT(r.code, 0);
    CHECK_HAS(r.out, "\"name\":\"order\"");
    publish_some(3);
    r = test_sh("ferry topic describe order");
    CHECK_INT(r.code, 0);
    CHECK_HAS(r.out, "\"name\":\"order\"");
    CHECK_HAS(r.out, "\"events\":3");
    cli_fails(2, "add --yes", "ferry topic delete order");
    cli_prints(0, "{\"count\":1}\n", "", "ferry topic delete order --yes");
    CHECK_STR(test_sh("ferry topic list").out, "");
    cli_fails(3, "NOT_FOUND", "ferry topic describe order");
}

CLI_TEST(a_purge_keeps_groups)
{
    publish_some(3);
    cli_prints(0, "1\n", "", "ferry listen order.created -r --group g --from earliest --count 1 2> log");
    cli_fails(2, "add --yes", "ferry topic purge order");
    CHECK_INT(test_sh("ferry topic purge order -y").code, 0);
    publish_some(1);
    cli_prints(0, "1\n", "", "ferry listen order.created -r --group g --drain 2> log");
}

CLI_TEST(wrong_use_of_topic_is_2)
{
    cli_fails(2, "wants one NAME", "ferry topic create");
    cli_fails(2, "--keep 7 is no time", "ferry topic create order --keep 7");
    cli_fails(2, "--keep-bytes many is no size", "ferry topic create order --keep-bytes many");
    cli_fails(2, "INVALID: ", "ferry topic create order.created");
    cli_fails(2, "wants one NAME", "ferry topic describe a b");
    cli_fails(2, "lists all", "ferry topic list order");
    cli_fails(2, "or neither", "ferry lag a b c");
    cli_fails(2, "did you mean 'topic purge'", "ferry topic purg");
}

/* ---- lag ---- */

CLI_TEST(lag_counts_what_is_not_handled)
{
    publish_some(5);
    cli_prints(0, "1\n2\n", "", "ferry listen order.created -r --group g --from earliest --count 2 2> log");
    test_output r = test_sh("ferry lag order g");
    CHECK_INT(r.code, 0);
    CHECK_HAS(r.out, "\"domain\":\"order\"");
    CHECK_HAS(r.out, "\"group\":\"g\"");
    CHECK_HAS(r.out, "\"lag\":3");
    CHECK_HAS(test_sh("ferry lag order").out, "\"lag\":3");
    CHECK_HAS(test_sh("ferry lag").out, "\"group\":\"g\"");
    CHECK_INT(test_sh("ferry listen order.created --group g --drain > rest 2> log").code, 0);
    CHECK_HAS(test_sh("ferry lag order g").out, "\"lag\":0");
}

/* ---- the trail ---- */

CLI_TEST(a_trail_of_nothing_is_3)
{
    cli_fails(3, "NOT_FOUND: ", "ferry trail no-such-correlation");
    cli_fails(2, "one correlation id", "ferry trail");
}

/* ---- workflows ---- */

CLI_TEST(notify_tells_a_queue)
{
    cli_prints(0, "", "", "ferry notify results Succeeded '{\"files\":3}' --workflow nightly");
    cli_prints(0, "", "", "CH_WORKFLOW_NAME=weekly ferry notify results Failed 'no paper'");
    cli_prints(0, "", "", "ferry notify results Failed 7");
    cli_prints(0,
               "{\"status\":\"Succeeded\",\"payload\":{\"files\":3},\"workflow\":\"nightly\"}\n"
               "{\"status\":\"Failed\",\"payload\":\"no paper\",\"workflow\":\"weekly\"}\n"
               "{\"status\":\"Failed\",\"payload\":7}\n",
               "", "ferry listen results -r --from earliest --drain 2> log");
    cli_fails(2, "wants QUEUE, STATUS and PAYLOAD", "ferry notify results Failed");
    cli_fails(2, "INVALID: ", "ferry notify 'no queue' Failed x");
}

CLI_TEST(each_file_is_a_message)
{
    CHECK_INT(
        test_sh("mkdir -p d/sub; printf one > d/a.txt; printf '\\377' > d/b.bin; : > d/c; echo x > d/.hidden").code, 0);
    cli_prints(0, "", "ferry: 3 file(s) sent\n", "ferry send-files d workflow.results");
    cli_prints(0, "{\"a.txt\":\"one\"}\n{\"b.bin\":{\"$bytes\":\"/w==\"}}\n{\"c\":\"\"}\n", "",
               "ferry listen workflow.results -r --from earliest --drain 2> log");
    cli_fails(2, "nowhere: No such file", "ferry send-files nowhere workflow.results");
    cli_fails(2, "wants DIR and TOPIC", "ferry send-files d");
}

CLI_TEST(a_file_over_the_limit_is_refused_whole)
{
    CHECK_INT(test_sh("mkdir d; printf small > d/a; head -c 101 /dev/zero > d/b; printf small > d/c").code, 0);
    test_output r = test_sh("ferry send-files d workflow.results --limit 100");
    CHECK_INT(r.code, 2);
    CHECK_HAS(r.err, "TOO_BIG: b: over 100 bytes (--limit); nothing of it was sent\n");
    CHECK_HAS(r.err, "ferry: 2 file(s) sent\n");
    cli_prints(0, "{\"a\":\"small\"}\n{\"c\":\"small\"}\n", "",
               "ferry listen workflow.results -r --from earliest --drain 2> log");
    CHECK_INT(test_sh("head -c 1047552 /dev/zero | tr '\\0' x > d/b; head -c 1047553 /dev/zero > d/c; "
                      "ferry send-files d workflow.big 2> err")
                  .code,
              2);
    CHECK_HAS(test_read("err"), "TOO_BIG: c: over 1047552 bytes");
    CHECK_HAS(test_read("err"), "ferry: 2 file(s) sent\n");
}
