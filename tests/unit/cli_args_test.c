/* cli_args_test.c - options, times, numbers and suggestions of the tool. */
#include "test.h"

#include "cli/args.h"

#include <stddef.h>
#include <unistd.h>

static const cli_option options[] = {
    {'q', "quiet", CLI_FLAG, offsetof(cli_settings, quiet), NULL, "x"},
    {'r', "raw", CLI_FLAG, offsetof(cli_settings, raw), NULL, "x"},
    {'t', "timeout", CLI_TIME, offsetof(cli_settings, timeout_ms), "TIME", "x"},
    {'w', "workers", CLI_NUMBER, offsetof(cli_settings, workers), "N", "x"},
    {'H', "header", CLI_LIST, offsetof(cli_settings, headers), "NAME=TEXT", "x"},
    {0, "key", CLI_TEXT, offsetof(cli_settings, key), "KEY", "x"},
    {0, NULL, CLI_FLAG, 0, NULL, NULL},
};
static const cli_command command = {.name = "try", .options = {options}};

static int parse(cli_settings *s, char **words)
{
    int n = 0;

    while (words[n] != NULL)
        n++;
    *s = (cli_settings){0};
    return cli_args_parse(&command, s, n, words);
}

#define WORDS(...) ((char *[]){__VA_ARGS__, NULL})

TEST(options_stand_anywhere)
{
    cli_settings s;
    char **words = WORDS("calc.add", "-q", "x=1", "--key", "k", "-t", "2s", "y=2");

    CHECK_INT(parse(&s, words), 3);
    CHECK_STR(words[0], "calc.add");
    CHECK_STR(words[1], "x=1");
    CHECK_STR(words[2], "y=2");
    CHECK(s.quiet && !s.raw);
    CHECK_STR(s.key, "k");
    CHECK_INT(s.timeout_ms, 2000);
}

TEST(letters_combine_and_values_follow_at_once)
{
    cli_settings s;

    CHECK_INT(parse(&s, WORDS("-qrt500", "-w3", "-Ha=1", "--header=b=2", "--header", "c=3")), 0);
    CHECK(s.quiet && s.raw);
    CHECK_INT(s.timeout_ms, 500);
    CHECK_INT(s.workers, 3);
    CHECK_UINT(s.headers.count, 3);
    CHECK_STR(s.headers.items[1], "b=2");
    cli_args_free(&s);
}

TEST(nothing_is_an_option_after_two_dashes)
{
    cli_settings s;
    char **words = WORDS("-q", "--", "-r", "--", "x=1", "-");

    CHECK_INT(parse(&s, words), 4);
    CHECK_STR(words[0], "-r");
    CHECK_STR(words[1], "--");
    CHECK(!s.raw);
    CHECK_INT(parse(&s, WORDS("-")), 1);
}

TEST(wrong_options_are_refused)
{
    static char *const wrong[] = {"--nope",    "-x",  "-qx",  "--timeout=soon", "-t", "--key",
                                  "--quiet=1", "-w0", "-w-1", "-w1x",           "-t0"};

    CHECK(freopen("/dev/null", "w", stderr) != NULL);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cli_settings s;
        test_note("%s", wrong[i]);
        CHECK_INT(parse(&s, WORDS(wrong[i])), -1);
    }
}

TEST(times_have_units)
{
    static const struct {
        const char *text;
        int         ms;
    } some[] = {
        {"500", 500}, {"500ms", 500}, {"2s", 2000}, {"1m", 60000},     {"1h", 3600000}, {"2147483647", 2147483647},
        {"0", 0},     {"-1", 0},      {"+1", 0},    {" 1", 0},         {"", 0},         {"s", 0},
        {"1d", 0},    {"1s ", 0},     {"1.5s", 0},  {"2147483648", 0}, {"2147484s", 0}, {"99999999999999999999", 0}};

    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        test_note("'%s'", some[i].text);
        CHECK_INT(cli_time(some[i].text), some[i].ms);
    }
}

TEST(a_near_word_is_suggested_a_far_one_not)
{
    static const char *const names[] = {"get", "put", "patch", "post", "delete", "serve", "doctor"};
    const size_t n = sizeof names / sizeof *names;

    CHECK_STR(cli_suggest("sevre", names, n), "serve");
    CHECK_STR(cli_suggest("dotcor", names, n), "doctor");
    CHECK_STR(cli_suggest("gt", names, n) != NULL ? "some" : "none", "none");
    CHECK_STR(cli_suggest("posst", names, n), "post");
    CHECK_STR(cli_suggest("del", names, n), "delete");
    CHECK_NULL(cli_suggest("kubernetes", names, n));
    CHECK_NULL(cli_suggest("", names, n));
}
