/* cli_admin_test.c - the tool as an operator's: dead letters, doctor, bench. */
#include "cli.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

/* n dead letters of mail.send, from a server that is gone afterwards. */
static void make_dead(int n)
{
    pid_t server = cli_serve("mail.send --attempts 1 --exec 'echo no paper >&2; exit 1'");

    CHECK_INT(test_sh("seq 1 %d | ferry post mail.send - --no-wait", n).code, 0);
    CHECK_SOON(test_sh("test $(ferry dead list mail | wc -l) = %d", n).code == 0, 10000);
    CHECK_INT(test_kill(server, SIGTERM), 0);
}

static const char *first_id(void)
{
    const char *text = test_sh("ferry dead list mail --limit 1 2> more").out, *id = strstr(text, "\"id\":\"");

    CHECK_NOT_NULL(id);
    return test_text("%.*s", (int)strcspn(id + 6, "\""), id + 6);
}

CLI_TEST(dead_letters_are_listed_and_shown)
{
    make_dead(3);
    test_output r = test_sh("ferry dead list mail");
    CHECK_INT(r.code, 0);
    CHECK_HAS(r.out, "\"route\":\"mail.send\"");
    CHECK_HAS(r.out, "no paper");
    const char *id = first_id();
    CHECK_HAS(test_read("more"), "--limit");
    r = test_sh("ferry dead show mail '%s'", id);
    CHECK_INT(r.code, 0);
    CHECK_HAS(r.out, "\"data\":");
    CHECK_HAS(r.out, id);
    CHECK_INT(test_sh("ferry dead show mail no-such-id 2> err").code != 0, 1);
}

CLI_TEST(dead_letters_go_back)
{
    make_dead(3);
    cli_prints(0, "{\"count\":1}\n", "", "ferry dead requeue mail '%s'", first_id());
    cli_prints(0, "{\"count\":2}\n", "", "ferry dead requeue mail --all");
    CHECK_STR(test_sh("ferry dead list mail").out, "");
    cli_serve("mail.send --exec 'cat >> sent'");
    CHECK_SOON(test_sh("test $(sort -u sent | wc -l) = 3").code == 0, 10000);
    cli_fails(2, "either ids", "ferry dead requeue mail");
    cli_fails(2, "either ids", "ferry dead requeue mail --all x");
}

CLI_TEST(dead_letters_are_purged_only_for_sure)
{
    make_dead(3);
    cli_fails(2, "add --yes", "ferry dead purge mail");
    cli_prints(0, "{\"count\":1}\n", "", "ferry dead purge mail --yes '%s'", first_id());
    cli_prints(0, "{\"count\":2}\n", "", "ferry dead purge mail -y");
    CHECK_STR(test_sh("ferry dead list mail").out, "");
}

CLI_TEST(doctor_says_all_well)
{
    test_output r = test_sh("ferry doctor");
    CHECK_INT(r.code, 0);
    CHECK_STR(r.err, "");
    CHECK_HAS(r.out, "connected ");
    CHECK_HAS(r.out, "NO_SERVICE after ");
    CHECK_HAS(r.out, "all well\n");
    r = test_sh("ferry doctor --full");
    CHECK_INT(r.code, 0);
    CHECK_INT(r.out[0], '{');
    CHECK_HAS(r.out, "\"transport\":\"file\"");
    CHECK_INT(strchr(r.out, '\n') - r.out + 1, strlen(r.out));
}

CLI_TEST(doctor_says_what_is_wrong_and_no_secret)
{
    test_output r = test_sh("ferry doctor -u 'file:/proc/nowhere/ferry.db?no_such_option=geheim' -t 1s");
    CHECK_INT(r.code, 2);
    CHECK_NULL(strstr(r.out, "geheim"));
    r = test_sh("ferry doctor -u file:/proc/nowhere/ferry.db -t 1s"); /* waiting would not mend it: INVALID here */
    CHECK_INT(r.code, 2);
    CHECK_HAS(r.out, "problem ");
    r = test_sh("ferry doctor -u 'carrier-pigeon://ada:geheim@host'");
    CHECK_INT(r.code, 2);
    CHECK_NULL(strstr(r.out, "geheim"));
    CHECK_NULL(strstr(r.err, "geheim"));
}

CLI_TEST_WITH(bench_prints_a_line_of_json_a_figure, .limit_ms = 30000)
{
    test_output r = test_sh("ferry bench call --in-flight 1,16 --seconds 1 --size 200");
    CHECK_INT(r.code, 0);
    CHECK_STR(r.err, "");
    CHECK_HAS(r.out, "{\"transport\":\"file\",\"in_flight\":1,\"size\":200,\"calls\":");
    CHECK_HAS(r.out, "}\n{\"transport\":\"file\",\"in_flight\":16,\"size\":200,\"calls\":");
    CHECK_HAS(r.out, ",\"errors\":0,\"calls_per_s\":");
    CHECK_HAS(r.out, "\"p99_us\":");
    r = test_sh("ferry bench call -u mem:bench --in-flight 8 --seconds 1");
    CHECK_INT(r.code, 0);
    CHECK_HAS(r.out, "{\"transport\":\"mem\",\"in_flight\":8,\"size\":128,");
    CHECK_HAS(r.err, "second handle");
    r = test_sh("ferry bench post --seconds 1");
    CHECK_INT(r.code, 0);
    CHECK_HAS(r.out, "\"posts\":");
    CHECK_HAS(r.out, "\"handled\":");
    cli_fails(2, "is no list of numbers", "ferry bench call --in-flight 1,x --seconds 1");
    cli_fails(3, "NO_SERVICE: ", "ferry bench call --in-flight 1 --seconds 1 --route nobody.home");
}
