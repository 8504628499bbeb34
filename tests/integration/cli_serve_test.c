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

CLI_TEST(any_command_is_a_service)
{
    cli_serve("text.upper --raw --exec 'tr a-z A-Z'");
    cli_prints(0, "\"ADA\"\n", "", "ferry get text.upper -d '\"ada\"'");
    cli_prints(0, "ADA\n", "", "ferry get text.upper -r -d '\"ada\"'");
    cli_prints(0, "\"A\\n\"\n", "", "ferry get text.upper -d '\"a\\n\"'");
    cli_prints(0, "\"\"\n", "", "ferry get text.upper");
    cli_prints(0, "\"{\\\"A\\\":1}\\n\"\n", "", "ferry get text.upper a:=1");
}

CLI_TEST(output_is_json_or_else_a_string)
{
    cli_serve("json.some --exec 'echo \"{\\\"a\\\": [1, 2.0]}\"'");
    cli_serve("text.some --exec 'echo hello there'");
    cli_serve("nothing.some --exec true");
    cli_serve("bytes.some --exec \"printf '\\\\377\\\\000'\"");
    cli_prints(0, "{\"a\":[1,2.0]}\n", "", "ferry get json.some");
    cli_prints(0, "\"hello there\"\n", "", "ferry get text.some");
    cli_prints(0, "null\n", "", "ferry get nothing.some");
    cli_prints(0, "{\"$bytes\":\"/wA=\"}\n", "", "ferry get bytes.some");
}

CLI_TEST(a_failing_command_fails_the_call)
{
    cli_serve("failure.some --exec 'echo ignored; echo out of paper >&2; exit 1'");
    cli_serve("silence.some --exec 'exit 7'");
    cli_serve("crash.some --exec 'kill -9 $$'");
    cli_fails(1, "FAILED: out of paper\n", "ferry get failure.some");
    cli_fails(1, "FAILED: the command exited with 7\n", "ferry get silence.some");
    cli_fails(1, "FAILED: the command was ended by signal 9", "ferry get crash.some");
}

CLI_TEST(the_environment_tells_the_message)
{
    cli_serve("some.env --exec 'env | grep ^FERRY_MSG_ | sort'", "FERRY_MSG_KEY=stale");
    test_output r = test_sh("ferry put some.env -r --key k7 -H x-user=ada -H X-USER=eve -t 4900");
    CHECK_HAS(r.out, "FERRY_MSG_ROUTE=some.env\n");
    CHECK_HAS(r.out, "FERRY_MSG_VERB=put\n");
    CHECK_HAS(r.out, "FERRY_MSG_KEY=k7\n");
    CHECK_HAS(r.out, "FERRY_MSG_ATTEMPT=1\n");
    CHECK_HAS(r.out, "FERRY_MSG_HEADER_X_USER=ada\n");
    CHECK_HAS(r.out, "FERRY_MSG_REMAINING_MS=4");
    CHECK_HAS(r.out, "FERRY_MSG_ID=");
    CHECK_NULL(strstr(test_sh("ferry put some.env -r").out, "FERRY_MSG_KEY"));
}

CLI_TEST(a_message_never_becomes_shell_text)
{
    cli_serve("some.env --exec 'cat; echo \"$FERRY_MSG_KEY $FERRY_MSG_HEADER_X\" >&2'");
    cli_prints(
        0, "{\"a\":\"$(touch pwned); `touch pwned`\"}\n", "",
        "ferry get some.env 'a=$(touch pwned); `touch pwned`' --key '$(touch pwned)' -H 'x=() { :; }; touch pwned'");
    CHECK(access("pwned", F_OK) != 0);
}

/* More than any pipe holds, both ways at once; and a command that reads nothing. */
CLI_TEST(big_data_does_not_stall)
{
    cli_serve("cat.some --exec cat");
    cli_serve("deaf.some --exec 'echo 1'");
    cli_prints(0, "", "",
               "head -c 600000 /dev/zero | tr '\\0' x > big; ferry get cat.some -r a=@big > out; test $(wc -c < out) = "
               "600009");
    cli_prints(0, "1\n", "", "ferry get deaf.some a=@big");
}

CLI_TEST(endless_output_is_cut_off)
{
    cli_serve("yes.some --exec yes");
    cli_fails(1, "TOO_BIG: ", "ferry get yes.some -t 20s");
}

CLI_TEST(what_is_left_behind_delays_nothing)
{
    cli_serve("daemon.some --exec 'sleep 60 & echo $! > pid; echo 1'");
    int64_t start = test_now_ms();
    cli_prints(0, "1\n", "", "ferry get daemon.some");
    CHECK(test_now_ms() - start < test_ms(3000));
    CHECK_INT(kill((pid_t)strtol(test_read("pid"), NULL, 10), SIGKILL), 0);
    CHECK_SOON(!is_alive("pid"), 2000);
}

CLI_TEST(a_deadline_ends_the_whole_group)
{
    cli_serve("slow.work --exec 'sleep 60 & echo $! > pid; wait'");
    cli_fails(4, "TIMEOUT: ", "ferry get slow.work -t 300");
    CHECK_SOON(access("pid", F_OK) == 0 && !is_alive("pid"), 1500);
}

CLI_TEST(who_ignores_sigterm_is_killed_two_seconds_later)
{
    cli_serve("slow.work --exec 'trap \"\" TERM; echo $$ > pid; while :; do sleep 1; done'");
    cli_fails(4, "TIMEOUT: ", "ferry get slow.work -t 300");
    CHECK(is_alive("pid"));
    CHECK_SOON(!is_alive("pid"), 4000);
}

CLI_TEST(a_cancel_reaches_the_command)
{
    cli_serve("slow.work --exec 'echo $$ > pid; exec sleep 60'");
    pid_t tool = test_start("ferry get slow.work 2> err");
    CHECK_SOON(is_alive("pid"), 5000);
    CHECK_INT(test_kill(tool, SIGINT), 130);
    CHECK_SOON(!is_alive("pid"), 5000);
}

CLI_TEST(a_limit_of_the_operator_holds_for_posts)
{
    cli_serve("slow.work --attempts 1 -t 300 --exec 'echo $$ > pid; exec sleep 60'");
    cli_prints(0, "", "", "ferry post slow.work --no-wait");
    CHECK_SOON(access("pid", F_OK) == 0 && !is_alive("pid"), 5000);
}

CLI_TEST(workers_run_at_once)
{
    cli_serve("slow.work --workers 4 --exec 'sleep 1; echo 1'");
    int64_t start = test_now_ms();
    cli_prints(0, "1\n1\n1\n1\n", "", "printf '1\\n1\\n1\\n1\\n' | ferry get slow.work -");
    CHECK(test_now_ms() - start < test_ms(2500));
}

CLI_TEST(a_nested_call_inherits_the_deadline)
{
    cli_serve("slow.work --exec 'sleep 30'");
    cli_serve("outer.work --exec 'echo \"$FERRY_WITHIN\"'");
    int64_t start = test_now_ms();
    const char *within = test_sh("ferry get outer.work -r -t 7s").out;
    CHECK_HAS(within, "deadline=");
    long long deadline = strtoll(strstr(within, "deadline=") + 9, NULL, 10);
    CHECK(deadline > start + 6000 && deadline <= test_now_ms() + 7000);
    start = test_now_ms();
    cli_fails(4,
              "TIMEOUT: ", test_text("FERRY_WITHIN=deadline=%lld ferry get slow.work -t 20s", (long long)start + 400));
    CHECK(test_now_ms() - start < test_ms(2000));
    cli_prints(3, "", "TIMEOUT: no time is left of the message being served (FERRY_WITHIN)\n",
               "FERRY_WITHIN=deadline=1 ferry get slow.work");
}

CLI_TEST(a_nested_call_inherits_the_correlation)
{
    cli_serve("inner.env --exec 'echo \"$FERRY_WITHIN $FERRY_MSG_HEADER_TRACEPARENT\"'");
    cli_serve("outer.work --exec 'ferry get inner.env'");
    test_output r = test_sh("ferry get outer.work --correlation 'order 7' -H traceparent=00-4bf9-00f0-01");
    CHECK_HAS(r.out, "correlation=order%207&");
    CHECK_HAS(r.out, " 00-4bf9-00f0-01");
}

/* ---- the end ----------------------------------------------------------------------------------------------------------- */

CLI_TEST(sigterm_lets_what_runs_finish)
{
    pid_t server = cli_serve("slow.work --exec 'touch started; sleep 3; echo 7'");
    pid_t tool = test_start("ferry get slow.work > out");
    CHECK_SOON(access("started", F_OK) == 0, 5000);
    CHECK_INT(test_kill(server, SIGTERM), 0);
    CHECK_INT(test_wait(tool, 5000), 0);
    CHECK_STR(test_read("out"), "7\n");
}

CLI_TEST(a_second_signal_kills)
{
    pid_t server = cli_serve("slow.work --exec 'echo $$ > pid; sleep 60'");
    test_start("ferry get slow.work 2> err");
    CHECK_SOON(is_alive("pid"), 5000);
    kill(server, SIGTERM);
    CHECK_SOON(strstr(test_read("serve-slow.work.log"), "a second signal") != NULL, 5000);
    CHECK_INT(test_kill(server, SIGTERM), 130);
    CHECK_SOON(!is_alive("pid"), 2000);
}

CLI_TEST(what_outlives_the_grace_is_killed)
{
    pid_t server = cli_serve("slow.work --grace 300 --exec 'echo $$ > pid; sleep 60'");
    test_start("ferry get slow.work 2> err");
    CHECK_SOON(is_alive("pid"), 5000);
    int64_t start = test_now_ms();
    CHECK_INT(test_kill(server, SIGTERM), 3);
    CHECK(test_now_ms() - start < test_ms(4000));
    CHECK_SOON(!is_alive("pid"), 2000);
}

CLI_TEST(idle_servers_end_at_once)
{
    pid_t server = cli_serve("calc.echo --echo");
    CHECK_INT(test_kill(server, SIGINT), 0);
    server = cli_serve("calc.echo --echo");
    CHECK_INT(test_kill(server, SIGTERM), 0);
}

CLI_TEST(until_eof_lives_as_long_as_its_input)
{
    pid_t server = test_start("sleep 0.5 | ferry serve calc.echo --echo --until-eof 2> log");
    CHECK_INT(test_wait(server, 5000), 0);
    CHECK_HAS(test_read("log"), "ferry: serving calc.echo\n");
}

CLI_TEST(wrong_use_of_serve_is_2)
{
    cli_fails(2, "no route", "ferry serve --echo");
    cli_fails(2, "say what answers", "ferry serve calc.echo");
    cli_fails(2, "say what answers", "ferry serve calc.echo --echo --exec cat");
    cli_fails(2, "--verbs got", "ferry serve calc.echo --echo --verbs got");
    cli_fails(2, "INVALID: ", "ferry serve 'calc..echo' --echo");
    cli_fails(2, "INVALID: ", "ferry serve calc.echo calc.echo --echo");
    cli_fails(2, "INVALID: ", "ferry serve calc.echo --echo -u carrier-pigeon:");
}
