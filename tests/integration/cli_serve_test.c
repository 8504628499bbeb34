/* cli_serve_test.c - the tool as a server: --exec, deadlines, draining. docs/cli.md is the contract. */
#include "cli.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static bool is_alive(const char *pid_file)
{
    long pid = access(pid_file, F_OK) == 0 ? strtol(test_read(pid_file), NULL, 10) : 0;

    return pid > 1 && waitpid((pid_t)pid, NULL, WNOHANG) <= 0 && kill((pid_t)pid, 0) == 0; /* orphans become ours */
}

TEST(any_command_is_a_service)
{
    cli_serve("text.upper --raw --exec 'tr a-z A-Z'");
    cli_prints(0, "\"ADA\"\n", "", "ferry get text.upper -d '\"ada\"'");
    cli_prints(0, "ADA\n", "", "ferry get text.upper -r -d '\"ada\"'");
    cli_prints(0, "\"A\\n\"\n", "", "ferry get text.upper -d '\"a\\n\"'");
    cli_prints(0, "\"\"\n", "", "ferry get text.upper");
    cli_prints(0, "\"{\\\"A\\\":1}\\n\"\n", "", "ferry get text.upper a:=1");
}

TEST(output_is_json_or_else_a_string)
{
    cli_serve("some.json --exec 'echo \"{\\\"a\\\": [1, 2.0]}\"'");
    cli_serve("some.text --exec 'echo hello there'");
    cli_serve("some.nothing --exec true");
    cli_serve("some.bytes --exec \"printf '\\\\377\\\\000'\"");
    cli_prints(0, "{\"a\":[1,2.0]}\n", "", "ferry get some.json");
    cli_prints(0, "\"hello there\"\n", "", "ferry get some.text");
    cli_prints(0, "null\n", "", "ferry get some.nothing");
    cli_prints(0, "{\"$bytes\":\"/wA=\"}\n", "", "ferry get some.bytes");
}

TEST(a_failing_command_fails_the_call)
{
    cli_serve("some.failure --exec 'echo ignored; echo out of paper >&2; exit 1'");
    cli_serve("some.silence --exec 'exit 7'");
    cli_serve("some.crash --exec 'kill -9 $$'");
    cli_fails(1, "FAILED: out of paper\n", "ferry get some.failure");
    cli_fails(1, "FAILED: the command exited with 7\n", "ferry get some.silence");
    cli_fails(1, "FAILED: the command was ended by signal 9", "ferry get some.crash");
}

TEST(the_environment_tells_the_message)
{
    cli_serve("some.env --exec 'env | grep ^FERRY_MSG_ | sort'", "FERRY_MSG_KEY=stale");
    test_output r = test_sh("ferry put some.env -r --key k7 -H x-user=ada -H X-USER=eve -t 5s");
    CHECK_HAS(r.out, "FERRY_MSG_ROUTE=some.env\n");
    CHECK_HAS(r.out, "FERRY_MSG_VERB=put\n");
    CHECK_HAS(r.out, "FERRY_MSG_KEY=k7\n");
    CHECK_HAS(r.out, "FERRY_MSG_ATTEMPT=1\n");
    CHECK_HAS(r.out, "FERRY_MSG_HEADER_X_USER=ada\n");
    CHECK_HAS(r.out, "FERRY_MSG_REMAINING_MS=4");
    CHECK_HAS(r.out, "FERRY_MSG_ID=");
    CHECK_NULL(strstr(test_sh("ferry put some.env -r").out, "FERRY_MSG_KEY"));
}

TEST(a_message_never_becomes_shell_text)
{
    cli_serve("some.env --exec 'cat; echo \"$FERRY_MSG_KEY $FERRY_MSG_HEADER_X\" >&2'");
    cli_prints(
        0, "{\"a\":\"$(touch pwned); `touch pwned`\"}\n", "",
        "ferry get some.env 'a=$(touch pwned); `touch pwned`' --key '$(touch pwned)' -H 'x=() { :; }; touch pwned'");
    CHECK(access("pwned", F_OK) != 0);
}

/* More than any pipe holds, both ways at once; and a command that reads nothing. */
TEST(big_data_does_not_stall)
{
    cli_serve("some.cat --exec cat");
    cli_serve("some.deaf --exec 'echo 1'");
    cli_prints(0, "", "",
               "head -c 600000 /dev/zero | tr '\\0' x > big; ferry get some.cat -r a=@big > out; test $(wc -c < out) = "
               "600009");
    cli_prints(0, "1\n", "", "ferry get some.deaf a=@big");
}

TEST(endless_output_is_cut_off)
{
    cli_serve("some.yes --exec yes");
    cli_fails(1, "TOO_BIG: ", "ferry get some.yes -t 20s");
}

TEST(what_is_left_behind_delays_nothing)
{
    cli_serve("some.daemon --exec 'sleep 5 & echo 1'");
    int64_t start = test_now_ms();
    cli_prints(0, "1\n", "", "ferry get some.daemon");
    CHECK(test_now_ms() - start < test_ms(3000));
}

TEST(a_deadline_ends_the_whole_group)
{
    cli_serve("slow.work --exec 'sleep 60 & echo $! > pid; wait'");
    cli_fails(4, "TIMEOUT: ", "ferry get slow.work -t 300");
    CHECK_SOON(access("pid", F_OK) == 0 && !is_alive("pid"), 1500);
}

TEST(who_ignores_sigterm_is_killed_two_seconds_later)
{
    cli_serve("slow.work --exec 'trap \"\" TERM; echo $$ > pid; while :; do sleep 1; done'");
    cli_fails(4, "TIMEOUT: ", "ferry get slow.work -t 300");
    CHECK(is_alive("pid"));
    CHECK_SOON(!is_alive("pid"), 4000);
}

TEST(a_cancel_reaches_the_command)
{
    cli_serve("slow.work --exec 'echo $$ > pid; exec sleep 60'");
    pid_t tool = test_start("ferry get slow.work 2> err");
    CHECK_SOON(is_alive("pid"), 5000);
    CHECK_INT(test_kill(tool, SIGINT), 130);
    CHECK_SOON(!is_alive("pid"), 5000);
}

TEST(a_limit_of_the_operator_holds_for_posts)
{
    cli_serve("slow.work --attempts 1 -t 300 --exec 'echo $$ > pid; exec sleep 60'");
    cli_prints(0, "", "", "ferry post slow.work --no-wait");
    CHECK_SOON(access("pid", F_OK) == 0 && !is_alive("pid"), 5000);
}

TEST(workers_run_at_once)
{
    cli_serve("slow.work --workers 4 --exec 'sleep 1; echo 1'");
    int64_t start = test_now_ms();
    cli_prints(0, "1\n1\n1\n1\n", "", "printf '1\\n1\\n1\\n1\\n' | ferry get slow.work -");
    CHECK(test_now_ms() - start < test_ms(2500));
}

TEST(a_nested_call_inherits_the_deadline)
{
    cli_serve("slow.work --exec 'sleep 30'");
    cli_serve("outer.work --exec 'ferry get slow.work -t 30s 2> inner; echo $? >> inner'");
    cli_fails(4, "TIMEOUT: ", "ferry get outer.work -t 1s");
    CHECK_SOON(access("inner", F_OK) == 0 && strstr(test_read("inner"), "TIMEOUT: ") != NULL, 3000);
    cli_prints(3, "", "TIMEOUT: no time is left of the message being served (FERRY_WITHIN)\n",
               "FERRY_WITHIN=deadline=1 ferry get slow.work");
}

TEST(a_nested_call_inherits_the_correlation)
{
    cli_serve("inner.env --exec 'echo \"$FERRY_WITHIN $FERRY_MSG_HEADER_TRACEPARENT\"'");
    cli_serve("outer.work --exec 'ferry get inner.env'");
    test_output r = test_sh("ferry get outer.work --correlation 'order 7' -H traceparent=00-4bf9-00f0-01");
    CHECK_HAS(r.out, "correlation=order%207&");
    CHECK_HAS(r.out, " 00-4bf9-00f0-01");
}

/* ---- the end ----------------------------------------------------------------------------------------------------------- */

TEST(sigterm_lets_what_runs_finish)
{
    pid_t server = cli_serve("slow.work --exec 'touch started; sleep 1; echo 7'");
    pid_t tool = test_start("ferry get slow.work > out");
    CHECK_SOON(access("started", F_OK) == 0, 5000);
    CHECK_INT(test_kill(server, SIGTERM), 0);
    CHECK_INT(test_wait(tool, 5000), 0);
    CHECK_STR(test_read("out"), "7\n");
}

TEST(a_second_signal_kills)
{
    pid_t server = cli_serve("slow.work --exec 'echo $$ > pid; sleep 60'");
    test_start("ferry get slow.work 2> err");
    CHECK_SOON(is_alive("pid"), 5000);
    kill(server, SIGTERM);
    CHECK_SOON(strstr(test_read("serve-slow.work.log"), "a second signal") != NULL, 5000);
    CHECK_INT(test_kill(server, SIGTERM), 130);
    CHECK_SOON(!is_alive("pid"), 2000);
}

TEST(what_outlives_the_grace_is_killed)
{
    pid_t server = cli_serve("slow.work --grace 300 --exec 'echo $$ > pid; sleep 60'");
    test_start("ferry get slow.work 2> err");
    CHECK_SOON(is_alive("pid"), 5000);
    int64_t start = test_now_ms();
    CHECK_INT(test_kill(server, SIGTERM), 3);
    CHECK(test_now_ms() - start < test_ms(4000));
    CHECK_SOON(!is_alive("pid"), 2000);
}

TEST(idle_servers_end_at_once)
{
    pid_t server = cli_serve("calc.echo --echo");
    CHECK_INT(test_kill(server, SIGINT), 0);
    server = cli_serve("calc.echo --echo");
    CHECK_INT(test_kill(server, SIGTERM), 0);
}

TEST(until_eof_lives_as_long_as_its_input)
{
    pid_t server = test_start("sleep 0.5 | ferry serve calc.echo --echo --until-eof 2> log");
    CHECK_INT(test_wait(server, 5000), 0);
    CHECK_HAS(test_read("log"), "ferry: serving calc.echo\n");
}

TEST(wrong_use_of_serve_is_2)
{
    cli_fails(2, "no route", "ferry serve --echo");
    cli_fails(2, "say what answers", "ferry serve calc.echo");
    cli_fails(2, "say what answers", "ferry serve calc.echo --echo --exec cat");
    cli_fails(2, "--verbs got", "ferry serve calc.echo --echo --verbs got");
    cli_fails(2, "INVALID: ", "ferry serve 'calc..echo' --echo");
    cli_fails(2, "INVALID: ", "ferry serve calc.echo calc.echo --echo");
    cli_fails(2, "INVALID: ", "ferry serve calc.echo --echo -u carrier-pigeon:");
}
