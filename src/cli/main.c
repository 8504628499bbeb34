/* ferry - the command-line tool. Finds the command, parses its options, runs it. */
#include "args.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* Names have one word, or two: "dead list". Answers how many argv words it took; 0 = none fits. */
static int find(int count, char **words, const cli_command **found)
{
    for (const cli_command *c = cli_commands; c->name != NULL; c++) {
        size_t first = strcspn(c->name, " ");
        if (strlen(words[0]) != first || memcmp(c->name, words[0], first) != 0)
            continue;
        *found = c;
        if (c->name[first] == '\0')
            return 1;
        if (count > 1 && strcmp(words[1], c->name + first + 1) == 0)
            return 2;
    }
    return 0;
}

/* What may follow `before` ("" or "dead"), for suggestions: words are copied into `room`. */
static size_t words_after(const char *before, char room[][16], const char **names, size_t most)
{
    size_t n = 0, skip = before[0] != '\0' ? strlen(before) + 1 : 0;

    for (const cli_command *c = cli_commands; c->name != NULL && n < most; c++) {
        if (skip > 0 && (strncmp(c->name, before, skip - 1) != 0 || c->name[skip - 1] != ' '))
            continue;
        snprintf(room[n], sizeof room[n], "%.*s", (int)strcspn(c->name + skip, " "), c->name + skip);
        names[n] = room[n];
        n++;
    }
    return n;
}

static int unknown(const char *before, const char *word)
{
    enum { MOST = 32 };
    char room[MOST][16];
    const char *names[MOST];
    size_t n = words_after(before, room, names, MOST);
    const char *near = cli_suggest(word, names, n), *gap = before[0] != '\0' ? " " : "";

    fprintf(stderr, "ferry: unknown command '%s%s%s'", before, gap, word);
    if (near != NULL)
        fprintf(stderr, ", did you mean '%s%s%s'?", before, gap, near);
    if (word[0] == '-')
        fputs("; options come after the command: ferry get ROUTE -u URL", stderr);
    fprintf(stderr, "; see 'ferry %s%s--help'\n", before, gap);
    return CLI_USAGE;
}

static int help(int count, char **words)
{
    const cli_command *c = NULL;

    if (count == 0)
        cli_help_all(stdout);
    else if (find(count, words, &c) > 0)
        cli_help_command(stdout, c);
    else if (!cli_help_group(stdout, words[0]))
        return unknown("", words[0]);
    return CLI_DONE;
}

static int version(void)
{
    printf("ferry %s\n", ferry_version());
    return CLI_DONE;
}

static bool is_one_of(const char *word, const char *a, const char *b, const char *c)
{
    return strcmp(word, a) == 0 || strcmp(word, b) == 0 || strcmp(word, c) == 0;
}

static int run(const cli_command *command, int count, char **words)
{
    cli_settings settings = {0};
    int kept = cli_args_parse(command, &settings, count, words), code = CLI_USAGE;

    if (settings.help && kept >= 0) {
        cli_help_command(stdout, command);
        code = CLI_DONE;
    } else if (kept >= 0) {
        code = command->run(command, &settings, kept, words);
    }
    cli_args_free(&settings);
    return code;
}

static int dispatch(int count, char **words)
{
    const cli_command *command = NULL;
    int taken;

    if (is_one_of(words[0], "help", "--help", "-h"))
        return help(count - 1, words + 1);
    if (is_one_of(words[0], "version", "--version", "-V"))
        return version();
    taken = find(count, words, &command);
    if (taken > 0)
        return run(command, count - taken, words + taken);
    if (command == NULL)
        return unknown("", words[0]);
    if (count > 1 && !is_one_of(words[1], "help", "--help", "-h"))
        return unknown(words[0], words[1]);
    cli_help_group(count > 1 ? stdout : stderr, words[0]);
    return count > 1 ? CLI_DONE : CLI_USAGE;
}

int main(int argc, char **argv)
{
    int code;

    /* A reader that went away is an error of write, told where it can be handled. */
    sigaction(SIGPIPE, &(const struct sigaction){.sa_handler = SIG_IGN}, NULL);
    if (argc < 2) {
        cli_help_all(stderr);
        return CLI_USAGE;
    }
    code = dispatch(argc - 1, argv + 1);
    fflush(stdout);
    return code;
}
