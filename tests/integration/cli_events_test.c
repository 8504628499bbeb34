/* cli_events_test.c - the tool publishes and listens. docs/cli.md is the contract. */
#include "cli.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A `ferry listen` with these words that is connected; its lines in OUT, its notes in OUT.log. */
static pid_t listen_to(const char *words, const char *out)
{
    const char *log = test_text("%s.log", out);
    pid_t pid = test_start("ferry listen %s > %s 2> %s", words, out, log);

    CHECK_SOON(!test_alive(pid) || (access(log, F_OK) == 0 && strstr(test_read(log), "ferry: listening ") != NULL),
               10000);
    if (!test_alive(pid))
        FAIL("ferry listen %s ended: %s", words, test_read(log));
    return pid;
}

static bool has_lines(const char *file, int n)
{
    return access(file, F_OK) == 0 && test_sh("test $(wc -l < %s) = %d", file, n).code == 0;
}

static void publish(const char *words)
{
    cli_prints(0, "", "", "ferry publish %s", words);
}

/* Puts a group at the end of what is there, so that all that comes is its own. */
static void make_group(const char *topics, const char *group)
{
    CHECK_INT(test_kill(listen_to(test_text("%s --group %s", topics, group), "made"), SIGTERM), 0);
}

/* ---- lines ---- */

CLI_TEST(an_event_becomes_a_line)
{
    pid_t listener = listen_to("'order.*'", "out");
    publish("order.created id:=7 name=ada --key k7 -H x-user=eve --correlation c9");
    CHECK_SOON(has_lines("out", 1), 10000);
    const char *line = test_read("out");
    CHECK_HAS(line, "{\"topic\":\"order.created\",\"id\":\"");
    CHECK_HAS(line, "\"key\":\"k7\",\"correlation\":\"c9\",\"attempt\":1,\"headers\":{");
    CHECK_HAS(line, "\"x-user\":\"eve\"");
    CHECK_HAS(line, ",\"data\":{\"id\":7,\"name\":\"ada\"}}\n");
    CHECK_INT(test_kill(listener, SIGTERM), 0);
    CHECK_HAS(test_read("out.log"), "ferry: listening order.*\n");
}

CLI_TEST(raw_is_the_data_alone)
{
    pid_t listener = listen_to("news -r", "out");
    publish("news -d '\"hello\"'");
    publish("news a:=1");
    publish("news");
    CHECK_SOON(has_lines("out", 3), 10000);
    CHECK_STR(test_read("out"), "hello\n{\"a\":1}\nnull\n");
    CHECK_INT(test_kill(listener, SIGINT), 0);
}

CLI_TEST(patterns_choose)
{
    pid_t one = listen_to("'order.*' -r", "one"), all = listen_to("'order.**' -r", "all");
    publish("order.line.added -d 1");
    publish("order.created -d 2");
    publish("other.created -d 3");
    CHECK_SOON(has_lines("all", 2) && has_lines("one", 1), 10000);
    CHECK_STR(test_read("one"), "2\n");
    CHECK_STR(test_read("all"), "1\n2\n");
    CHECK_INT(test_kill(one, SIGTERM), 0);
    CHECK_INT(test_kill(all, SIGTERM), 0);
}

CLI_TEST(nobody_listening_is_no_error)
{
    cli_prints(0, "", "", "ferry publish order.created");
    test_output r = test_sh("ferry publish order.created --full");
    CHECK_STR(r.out, "{\"data\":null,\"has_errors\":false,\"errors\":[],\"status\":\"OK\"}\n");
    CHECK_INT(r.code, 0);
}

CLI_TEST(wrong_use_is_2)
{
    cli_fails(2, "no topic", "ferry publish");
    cli_fails(2, "INVALID: ", "ferry publish order..created");
    cli_fails(2, "INVALID: ", "ferry publish order.created -u carrier-pigeon:");
    cli_fails(2, "no topics", "ferry listen");
    cli_fails(2, "INVALID: ", "ferry listen '*.created'");
    cli_fails(2, "one pattern at a time", "ferry listen a.b c.d");
    cli_fails(2, "--from now or never is none of", "ferry listen a.b --from 'now or never'");
    cli_fails(2, "are for --exec", "ferry listen a.b --workers 2");
    cli_fails(2, "INVALID: ", "ferry listen a.b --group 'a b'");
    cli_fails(2, "--count 0", "ferry listen a.b --count 0");
    cli_fails(2, "INVALID: ", "ferry listen a.b -u carrier-pigeon:");
}

/* ---- streams ---- */

CLI_TEST(a_stream_publishes_a_line_an_event)
{
    pid_t listener = listen_to("order.created", "out");
    cli_prints(0, "", "", "printf '{\"id\":\"a\"}\\n{\"id\":2}\\n' | ferry publish order.created - --key-field id");
    CHECK_SOON(has_lines("out", 2), 10000);
    CHECK_HAS(test_read("out"), "\"key\":\"a\",");
    CHECK_HAS(test_read("out"), "\"key\":\"2\",");
    cli_fails(2, "line 1: INVALID: the data has no text or whole number under 'id'",
              "echo 7 | ferry publish order.created - --key-field id");
    test_output r = test_sh("printf '{\"id\":3}\\nnonsense\\n{\"id\":4}\\n' | ferry publish order.created -");
    CHECK_INT(r.code, 2);
    CHECK_HAS(r.err, "line 2: INVALID: ");
    CHECK_SOON(has_lines("out", 4), 10000);
    CHECK_INT(test_kill(listener, SIGTERM), 0);
}

CLI_TEST_WITH(many_events_keep_their_order, .limit_ms = 60000)
{
    pid_t listener = listen_to("n.o -r", "out");
    CHECK_INT(test_sh("seq 1 5000 | ferry publish n.o - --key one").code, 0);
    CHECK_SOON(has_lines("out", 5000), 30000);
    CHECK_INT(test_sh("seq 1 5000 | cmp - out").code, 0);
    CHECK_INT(test_kill(listener, SIGTERM), 0);
}

/* ---- where it starts and ends ---- */

CLI_TEST(what_is_stored_comes_from_earliest)
{
    CHECK_INT(test_sh("seq 1 5 | ferry publish n.o -").code, 0);
    cli_prints(0, "1\n2\n3\n", "", "ferry listen n.o -r --from earliest --count 3 2> log");
    cli_prints(0, "1\n2\n3\n4\n5\n", "", "ferry listen 'n.*' -r --from earliest --drain 2> log");
    cli_prints(0, "1\n2\n3\n4\n5\n", "", "ferry listen 'n.*' -r --from 1h --drain 2> log");
    cli_prints(0, "", "", "ferry listen 'n.*' -r --from 2199-01-01 --drain 2> log");
    cli_prints(0, "", "", "ferry listen 'n.*' -r --drain 2> log");
    cli_prints(0, "", "", "ferry listen 'nothing.*' -r --from earliest --drain 2> log");
}

CLI_TEST(a_position_goes_on)
{
    CHECK_INT(test_sh("seq 1 3 | ferry publish n.o - --key k").code, 0);
    cli_prints(0, "1\n2\n", "", "ferry listen n.o -r --from earliest --count 2 2> log");
    test_output r = test_sh("sed -n \"s/^ferry: to go on from here: --from '\\(.*\\)'$/\\1/p\" log | tr -d '\\n'");
    CHECK(r.out[0] != '\0');
    cli_prints(0, "3\n", "", "ferry listen n.o -r --from '%s' --drain 2> log2", r.out);
}

CLI_TEST(a_group_goes_on_where_it_was)
{
    CHECK_INT(test_sh("seq 1 4 | ferry publish n.o - --key k").code, 0);
    cli_prints(0, "1\n2\n", "", "ferry listen n.o -r --group g --from earliest --count 2 2> log");
    CHECK_NULL(strstr(test_read("log"), "to go on")); /* the broker knows */
    test_output r = test_sh("ferry listen n.o --group g --count 2 2> log");
    CHECK_HAS(r.out, "\"attempt\":1,\"data\":3}"); /* never taken, so nobody's attempt */
    CHECK_HAS(r.out, "\"attempt\":1,\"data\":4}");
    cli_prints(0, "", "", "ferry listen n.o -r --group g --from earliest --drain 2> log");
}

CLI_TEST(members_share_and_broadcasts_do_not)
{
    pid_t a = listen_to("n.o -r --group g", "a"), b = listen_to("n.o -r --group g", "b"), c = listen_to("n.o -r", "c"),
          d = listen_to("n.o -r", "d");
    CHECK_INT(test_sh("seq 1 100 | ferry publish n.o -").code, 0);
    CHECK_SOON(has_lines("c", 100) && has_lines("d", 100), 10000);
    CHECK_SOON(test_sh("test $(cat a b | wc -l) = 100").code == 0, 10000);
    CHECK_INT(test_sh("test $(cat a b | sort -nu | wc -l) = 100").code, 0);
    CHECK_INT(test_kill(a, SIGTERM), 0);
    CHECK_INT(test_kill(b, SIGTERM), 0);
    CHECK_INT(test_kill(c, SIGTERM), 0);
    CHECK_INT(test_kill(d, SIGTERM), 0);
}

/* ---- nothing is lost on the way out ---- */

CLI_TEST(a_reader_that_leaves_takes_nothing_along)
{
    make_group("n.o", "g");
    CHECK_INT(test_sh("seq 1 5 | ferry publish n.o - --key k").code, 0);
    cli_prints(0, "1\n", "", "ferry listen n.o -r --group g 2> log | head -1");
    cli_prints(0, "2\n3\n", "", "ferry listen n.o -r --group g 2> log | head -2");
    test_output r = test_sh("ferry listen n.o --group g --drain 2> log");
    CHECK_HAS(r.out, "\"attempt\":1,\"data\":4}");
    CHECK_HAS(r.out, "\"attempt\":1,\"data\":5}");
    CHECK_NULL(strstr(r.out, "\"data\":3}"));
}

CLI_TEST(a_reader_that_left_is_noticed_without_an_event)
{
    pid_t listener = test_start("ferry listen n.o 2> log | true");
    CHECK_INT(test_wait(listener, 10000), 0);
}

CLI_TEST(a_full_disk_gives_back)
{
    make_group("n.o", "g");
    publish("n.o -d 1");
    test_output r = test_sh("ferry listen n.o -r --group g > /dev/full");
    CHECK_INT(r.code, 3);
    CHECK_HAS(r.err, "No space left on device; the event was given back\n");
    r = test_sh("ferry listen n.o --group g --count 1 2> log");
    CHECK_HAS(r.out, "\"attempt\":1,\"data\":1}");
}

/* ---- commands ---- */

CLI_TEST(a_command_for_each)
{
    pid_t listener =
        listen_to("'order.*' --exec 'cat >> got; echo \"$FERRY_MSG_ROUTE $FERRY_MSG_KEY $FERRY_MSG_VERB.\"'", "out");
    publish("order.created id:=7 --key k7");
    CHECK_SOON(has_lines("out", 1), 10000);
    CHECK_STR(test_read("out"), "order.created k7 .\n");
    CHECK_STR(test_read("got"), "{\"id\":7}\n");
    CHECK_INT(test_kill(listener, SIGTERM), 0);
}

CLI_TEST(raw_commands_get_text)
{
    pid_t listener = listen_to("news -r --exec 'tr a-z A-Z'", "out");
    publish("news -d '\"hello\"'");
    CHECK_SOON(access("out", F_OK) == 0 && strcmp(test_read("out"), "HELLO") == 0, 10000);
    CHECK_INT(test_kill(listener, SIGTERM), 0);
}

CLI_TEST(a_failing_command_is_tried_again_and_then_kept)
{
    pid_t listener =
        listen_to("order.created --group mailer --attempts 3 --backoff 20ms "
                  "--exec 'echo $FERRY_MSG_ATTEMPT >> tries; test -f works || { echo no paper >&2; exit 1; }; "
                  "cat > sent'",
                  "out");
    publish("order.created id:=7");
    publish("order.created id:=8");
    CHECK_SOON(test_sh("test $(ferry dead list order/mailer | wc -l) = 2").code == 0, 10000);
    CHECK_STR(test_sh("sort tries | tr '\\n' ' '").out, "1 1 2 2 3 3 ");
    test_output r = test_sh("ferry dead list order/mailer");
    CHECK_HAS(r.out, "no paper");
    CHECK_HAS(r.out, "\"attempts\":3");
    CHECK_INT(test_sh("touch works; ferry dead requeue order/mailer --all").code, 0);
    CHECK_SOON(access("sent", F_OK) == 0, 10000);
    CHECK_SOON(test_sh("test $(ferry dead list order/mailer | wc -l) = 0").code == 0, 10000);
    CHECK_INT(test_kill(listener, SIGTERM), 0);
}

CLI_TEST(commands_run_at_once)
{
    pid_t listener =
        listen_to("n.o --workers 4 --exec 'echo $$ >> begun; while ! test -f go; do sleep 0.02; done'", "out");
    CHECK_INT(test_sh("seq 1 4 | ferry publish n.o -").code, 0);
    CHECK_SOON(has_lines("begun", 4), 10000);
    test_write("go", "");
    CHECK_INT(test_kill(listener, SIGTERM), 0);
}

CLI_TEST(what_runs_is_finished)
{
    pid_t listener =
        listen_to("n.o --group g --exec 'touch begun; while ! test -f go; do sleep 0.02; done; echo done'", "out");
    publish("n.o -d 1");
    CHECK_SOON(access("begun", F_OK) == 0, 10000);
    kill(listener, SIGTERM);
    CHECK_SOON(strstr(test_read("out.log"), "a second signal") != NULL, 5000);
    test_write("go", "");
    CHECK_INT(test_wait(listener, 10000), 0);
    CHECK_STR(test_read("out"), "done\n");
    cli_prints(0, "", "", "ferry listen n.o --group g --drain 2> log");
}

CLI_TEST(a_second_signal_kills_the_listener)
{
    pid_t listener = listen_to("n.o --group g --exec 'touch begun; sleep 60'", "out");
    publish("n.o -d 1");
    CHECK_SOON(access("begun", F_OK) == 0, 10000);
    kill(listener, SIGTERM);
    CHECK_SOON(strstr(test_read("out.log"), "a second signal") != NULL, 5000);
    CHECK_INT(test_kill(listener, SIGTERM), 130);
}

CLI_TEST(a_command_publishes_within)
{
    pid_t relay = listen_to("order.created --exec 'ferry publish invoice.due -d @-'", "relay");
    pid_t listener = listen_to("invoice.due", "out");
    publish("order.created id:=7 --correlation c9 -H traceparent=00-4bf9-00f0-01");
    CHECK_SOON(has_lines("out", 1), 10000);
    CHECK_HAS(test_read("out"), "\"correlation\":\"c9\"");
    CHECK_HAS(test_read("out"), "00-4bf9-00f0-01");
    CHECK_INT(test_kill(relay, SIGTERM), 0);
    CHECK_INT(test_kill(listener, SIGTERM), 0);
}
