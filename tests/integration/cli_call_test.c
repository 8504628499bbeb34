/* cli_call_test.c - the tool as a caller: data, output, exit status, streams, signals. docs/cli.md is the contract. */
#include "cli.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

/* Answers with its data; "bad" in it fails, "slow" takes 200 ms. */
#define PICKY \
    "'in=$(cat); case $in in *bad*) echo \"no good: $in\" >&2; exit 3;; *slow*) sleep 0.2;; esac; echo \"$in\"'"

CLI_TEST(a_call_prints_the_answer_as_json)
{
    cli_serve("calc.echo --echo");
    cli_prints(0, "{\"x\":1}\n", "", "ferry get calc.echo x:=1");
    cli_prints(0, "null\n", "", "ferry put calc.echo");
    cli_prints(0, "{\"a\":\"b=c\",\"n\":-1.5,\"t\":true}\n", "", "ferry post calc.echo a=b=c n:=-1.5 t:=true");
    cli_prints(0, "[1,18446744073709551615,{\"$bytes\":\"AP8=\"}]\n", "",
               "ferry patch calc.echo -d '[1, 18446744073709551615, {\"$bytes\":\"AP8=\"}]'");
    cli_prints(0, "\"x\"\n", "", "ferry delete calc.echo -d '\"x\"'");
}

CLI_TEST(data_comes_from_files_and_stdin)
{
    cli_serve("calc.echo --echo");
    test_write("text", "two\nlines\n");
    test_write("doc.json", "{\"n\": [1,\n2]}\n");
    cli_prints(0, "{\"t\":\"two\\nlines\\n\",\"j\":{\"n\":[1,2]}}\n", "", "ferry get calc.echo t=@text j:=@doc.json");
    cli_prints(0, "{\"n\":[1,2]}\n", "", "ferry get calc.echo -d @doc.json");
    cli_prints(0, "{\"n\":[1,2]}\n", "", "ferry get calc.echo -d @- < doc.json");
    cli_prints(0, "{\"b\":{\"$bytes\":\"AP8=\"}}\n", "", "printf '\\000\\377' | ferry get calc.echo b=@-");
    cli_prints(0, "{\"-q\":\"1\",\"to\":\"@ada\"}\n", "", "ferry get calc.echo -- -q=1 'to:=\"@ada\"'");
}

CLI_TEST(output_options)
{
    cli_serve("calc.echo --echo");
    cli_prints(0, "ada\n", "", "ferry get calc.echo -r -d '\"ada\"'");
    cli_prints(0, "{\"a\":1}\n", "", "ferry get calc.echo -r a:=1");
    cli_prints(0, "", "", "ferry get calc.echo -q a:=1");
    test_output r = test_sh("ferry get calc.echo --full a:=1");
    CHECK_INT(r.code, 0);
    CHECK_HAS(r.out,
              "{\"data\":{\"a\":1},\"has_errors\":false,\"errors\":[],\"status\":\"OK\",\"outcome\":\"EXECUTED\"");
    r = test_sh("ferry get calc.nope --full");
    CHECK_INT(r.code, 1);
    CHECK_HAS(r.out, "{\"data\":null,\"has_errors\":true,\"errors\":[{\"code\":\"NOT_FOUND\"");
    CHECK_HAS(r.err, "NOT_FOUND: ");
}

CLI_TEST(nobody_there_is_3_and_soon)
{
    int64_t start = test_now_ms();

    cli_fails(3, "NO_SERVICE: ", "ferry get nobody.home");
    CHECK(test_now_ms() - start < test_ms(1500));
    cli_fails(3, "NO_SERVICE: ", "ferry post nobody.home --no-wait");
}

CLI_TEST(errors_of_a_server_are_1)
{
    cli_serve("calc.echo --echo --verbs get,put");
    cli_fails(1, "NOT_FOUND: ", "ferry get calc.nope");
    cli_fails(1, "VERB_NOT_ALLOWED: ", "ferry post calc.echo");
    cli_serve("picky.echo --exec " PICKY);
    cli_fails(1, "FAILED: no good: \"bad\"\n", "ferry get picky.echo -d '\"bad\"'");
}

CLI_TEST(what_is_wrong_here_is_2)
{
    cli_fails(2, "ferry get: no route", "ferry get");
    cli_fails(2, "neither key=text", "ferry get calc.add 7");
    cli_fails(2, "x is given twice", "ferry get calc.add x=1 x=2");
    cli_fails(2, "--no-wait is for post", "ferry get calc.add --no-wait");
    cli_fails(2, "leave out", "ferry get calc.add x=1 -d 1");
    cli_fails(2, "leave out", "ferry get calc.add x=1 -");
    cli_fails(2, "-H x is not key=value", "ferry get calc.add -H x");
    cli_fails(2, "is no time", "ferry get calc.add -t soon");
    cli_fails(2, "no-such-file", "ferry get calc.add x=@no-such-file");
    cli_fails(2, "INVALID: ", "ferry get 'calc..add'");
    cli_fails(2, "INVALID: ", "ferry get calc.add -u carrier-pigeon:");
    cli_fails(2, "FERRY_WITHIN", "FERRY_WITHIN=deadline=soon ferry get calc.add");
}

CLI_TEST(near_misses_are_suggested)
{
    cli_fails(2, "did you mean 'get'?", "ferry gte calc.add");
    cli_fails(2, "did you mean 'dead list'?", "ferry dead lsit");
    cli_fails(2, "did you mean --timeout?; see 'ferry get --help'", "ferry get calc.add --timout 1s");
    cli_fails(2, "options come after the command", "ferry -u mem: get calc.add");
}

CLI_TEST(broken_json_has_a_place)
{
    cli_fails(2, "-d: line 3, column 7: ", "ferry get calc.add -d '{\n\"a\": 1,\n\"b\" : }'");
    cli_fails(2, "x: line 1, column ", "ferry get calc.add 'x:=[1,'");
    test_write("doc.json", "{\n]");
    cli_fails(2, "-d @doc.json: line 2, column 1: ", "ferry get calc.add -d @doc.json");
}

CLI_TEST(every_command_has_help_with_examples)
{
    static const char *const names[] = {"get",    "put",        "patch",     "post",         "delete",
                                        "serve",  "dead list",  "dead show", "dead requeue", "dead purge",
                                        "doctor", "bench call", "bench post"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        test_output r = test_sh("ferry %s --help", names[i]);
        test_note("%s", names[i]);
        CHECK_INT(r.code, 0);
        CHECK_HAS(r.out, test_text("Usage: ferry %s", names[i]));
        CHECK_HAS(r.out, "Examples:\n  ferry ");
        CHECK_HAS(r.out, "--url");
        CHECK_STR(test_sh("ferry help %s", names[i]).out, r.out);
        CHECK_HAS(test_sh("ferry help").out, names[i]);
    }
    CHECK_HAS(test_sh("ferry version").out, "ferry " FERRY_VERSION "\n");
    CHECK_INT(test_sh("ferry").code, 2);
    CHECK_HAS(test_sh("ferry dead --help").out, "dead requeue");
}

CLI_TEST(an_answer_that_cannot_be_written_is_4)
{
    cli_serve("calc.echo --echo");
    cli_fails(4, "stdout: ", "ferry get calc.echo x:=1 > /dev/full");
    cli_fails(4, "stdout: ", "echo 1 | ferry get calc.echo - > /dev/full");
}

CLI_TEST(a_trace_goes_to_stderr)
{
    cli_serve("calc.echo --echo");
    test_output r = test_sh("ferry get calc.echo -v x:=1");
    CHECK_STR(r.out, "{\"x\":1}\n");
    CHECK_HAS(r.err, "trace: ");
}

CLI_TEST(no_answer_in_time_is_4)
{
    cli_serve("slow.work --exec 'trap \"\" TERM; sleep 5; echo 1'"); /* else the server's word comes about as soon as ours */
    int64_t start = test_now_ms();
    cli_fails(4, "TIMEOUT: ", "ferry get slow.work -t 300");
    CHECK(test_now_ms() - start >= 300);
    CHECK(test_now_ms() - start < test_ms(1500));
}

/* ---- streams ----------------------------------------------------------------------------------------------------------- */

CLI_TEST(a_stream_answers_in_the_order_of_its_lines)
{
    cli_serve("picky.echo --workers 8 --exec " PICKY);
    test_write("in", "1\n\"slow\"\n{\"a\":2}\n\n  \n\"slow too\"\n[3]");
    cli_prints(0, "1\n\"slow\"\n{\"a\":2}\n\"slow too\"\n[3]\n", "", "ferry get picky.echo - < in");
    cli_prints(0, "1\n\"slow\"\n{\"a\":2}\n\"slow too\"\n[3]\n", "", "ferry get picky.echo - --in-flight 1 < in");
}

CLI_TEST(a_failing_line_stops_nothing)
{
    cli_serve("picky.echo --exec " PICKY);
    test_write("in", "1\n\"bad\"\n2\n");
    test_output r = test_sh("ferry get picky.echo - < in");
    CHECK_STR(r.out, "1\n2\n");
    CHECK_STR(r.err, "line 2: FAILED: no good: \"bad\"\n");
    CHECK_INT(r.code, 1);
    test_write("in", "1\n{broken\n2\n\"bad\"\n");
    r = test_sh("ferry get picky.echo - < in");
    CHECK_STR(r.out, "1\n2\n");
    CHECK_HAS(r.err, "line 2: INVALID: column ");
    CHECK_HAS(r.err, "line 4: FAILED: ");
    CHECK_INT(r.code, 2);
    r = test_sh("ferry get picky.echo - --full < in");
    CHECK_HAS(r.out, "}\n{\"data\":null,\"has_errors\":true,\"errors\":[{\"code\":\"INVALID\"");
    CHECK_INT(test_sh("ferry get nobody.home - < in").code, 3);
    CHECK_INT(test_sh("ferry get nobody.home - -u carrier-pigeon: < in").code, 2);
}

CLI_TEST(thousands_of_lines_come_back)
{
    cli_serve("calc.echo --echo");
    cli_prints(0, "", "", "seq 1 5000 > in; ferry post calc.echo - < in > out && cmp in out");
}

/* One line, its answer, then the next line: no reading ahead, no answer kept back. */
CLI_TEST(a_stream_is_a_conversation)
{
    char answer[16] = "";
    int to, from;

    cli_serve("calc.echo --echo");
    CHECK_INT(test_sh("mkfifo to from").code, 0);
    pid_t tool = test_start("ferry get calc.echo - < to > from");
    to = open("to", O_WRONLY | O_CLOEXEC);
    from = open("from", O_RDONLY | O_CLOEXEC);
    for (int i = 1; i < 4; i++) {
        CHECK_INT(dprintf(to, "%d\n", i), 2);
        CHECK_INT(read(from, answer, sizeof answer - 1), 2);
        CHECK_INT(answer[0], '0' + i);
    }
    close(to);
    CHECK_INT(read(from, answer, sizeof answer), 0);
    close(from);
    CHECK_INT(test_wait(tool, 5000), 0);
}

CLI_TEST(a_reader_that_leaves_ends_a_stream_quietly)
{
    cli_serve("calc.echo --echo");
    test_output r = test_sh("seq 1 100000 | ferry get calc.echo - | head -n 1");
    CHECK_STR(r.out, "1\n");
    CHECK_STR(r.err, "");
}

/* ---- signals ----------------------------------------------------------------------------------------------------------- */

CLI_TEST(a_signal_ends_a_call_with_130)
{
    cli_serve("slow.work --exec 'touch started; sleep 20; echo 1'");
    pid_t tool = test_start("ferry get slow.work 2> err");
    CHECK_SOON(access("started", F_OK) == 0, 5000);
    int64_t start = test_now_ms();
    CHECK_INT(test_kill(tool, SIGINT), 130);
    CHECK(test_now_ms() - start < test_ms(2000));
    CHECK_HAS(test_read("err"), "CANCELLED: ");
}

CLI_TEST(a_signal_ends_a_stream_with_130)
{
    cli_serve("slow.work --exec 'touch started; sleep 20; echo 1'");
    CHECK_INT(test_sh("mkfifo to").code, 0);
    pid_t tool = test_start("ferry get slow.work - < to 2> err");
    int to = open("to", O_WRONLY | O_CLOEXEC);
    CHECK_INT(dprintf(to, "1\n2\n"), 4);
    CHECK_SOON(access("started", F_OK) == 0, 5000);
    CHECK_INT(test_kill(tool, SIGTERM), 130);
    close(to);
    CHECK_HAS(test_read("err"), "line 1: CANCELLED: ");
    CHECK_HAS(test_read("err"), "line 2: CANCELLED: ");
}

/* ---- no-wait ----------------------------------------------------------------------------------------------------------- */

CLI_TEST(a_post_that_does_not_wait_is_done_later)
{
    cli_serve("mail.send --exec 'cat >> sent'");
    cli_prints(0, "", "", "ferry post mail.send to=ada --no-wait");
    CHECK_SOON(access("sent", F_OK) == 0 && strcmp(test_read("sent"), "{\"to\":\"ada\"}\n") == 0, 5000);
    test_output r = test_sh("ferry post mail.send to=bob --no-wait --full");
    CHECK_STR(r.out, "{\"data\":null,\"has_errors\":false,\"errors\":[],\"status\":\"OK\"}\n");
}

CLI_TEST(a_stream_that_does_not_wait_keeps_its_order_by_key)
{
    cli_serve("mail.send --exec 'cat >> sent'");
    cli_prints(0, "", "", "seq 1 200 > in; ferry post mail.send - --no-wait --key k --in-flight 50 < in");
    CHECK_SOON(test_sh("cmp in sent").code == 0, 20000);
    test_write("in", "1\nbroken\n2\n");
    test_output r = test_sh("ferry post mail.send - --no-wait < in");
    CHECK_INT(r.code, 2);
    CHECK_HAS(r.err, "line 2: INVALID: column ");
    test_write("in", "1\n2\n");
    r = test_sh("ferry post nobody.home - --no-wait < in");
    CHECK_INT(r.code, 3);
    CHECK_HAS(r.err, "line 1: NO_SERVICE: ");
    CHECK_HAS(r.err, "line 2: NO_SERVICE: ");
}
