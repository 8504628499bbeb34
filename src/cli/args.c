#include "args.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define MANY 64 /* options of one command */

int cli_usage(const cli_command *command, const char *format, ...)
{
    va_list list;

    fflush(stdout);
    fprintf(stderr, "ferry %s: ", command->name);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fprintf(stderr, "; see 'ferry %s --help'\n", command->name);
    return CLI_USAGE;
}

int cli_number(const char *text, int most)
{
    char *end;
    long n;

    if (text[0] < '0' || text[0] > '9')
        return 0;
    errno = 0;
    n = strtol(text, &end, 10);
    return *end != '\0' || errno != 0 || n > most ? 0 : (int)n;
}

int cli_time(const char *text)
{
    static const struct {
        const char *unit;
        long        ms;
    } units[] = {{"", 1}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
    char *end;
    long n;

    if (text[0] < '0' || text[0] > '9')
        return 0;
    errno = 0;
    n = strtol(text, &end, 10);
    for (size_t i = 0; errno == 0 && i < sizeof units / sizeof *units; i++) {
        if (strcmp(end, units[i].unit) == 0)
            return n <= INT_MAX / units[i].ms ? (int)(n * units[i].ms) : 0;
    }
    return 0;
}

/* Edits from a to b: insert, drop, change, swap two neighbours. Long words are no typing errors of short ones. */
static size_t distance(const char *a, const char *b)
{
    enum { LONGEST = 32 };
    size_t d[LONGEST + 1][LONGEST + 1], n = strlen(a), m = strlen(b);

    if (n > LONGEST || m > LONGEST)
        return LONGEST;
    for (size_t i = 0; i <= n; i++) {
        for (size_t j = 0; j <= m; j++) {
            if (i == 0 || j == 0) {
                d[i][j] = i + j;
                continue;
            }
            size_t best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (d[i - 1][j] + 1 < best)
                best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best)
                best = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    }
    return d[n][m];
}

const char *cli_suggest(const char *word, const char *const *names, size_t count)
{
    size_t best = strlen(word) > 4 ? 3 : strlen(word) > 2 ? 2 : 1; /* one more than is forgiven */
    const char *nearest = NULL;

    for (size_t i = 0; i < count; i++) {
        size_t d = distance(word, names[i]);
        bool begins = strlen(word) > 2 && strncmp(word, names[i], strlen(word)) == 0;
        if (d < best || (begins && nearest == NULL)) {
            best = d < best ? d : best;
            nearest = names[i];
        }
    }
    return nearest;
}

static const cli_option *find(const cli_command *command, char letter, const char *name, size_t length)
{
    for (size_t t = 0; t < CLI_TABLES && command->options[t] != NULL; t++) {
        for (const cli_option *o = command->options[t]; o->name != NULL; o++) {
            if (letter != '\0' ? o->letter == letter : strlen(o->name) == length && memcmp(o->name, name, length) == 0)
                return o;
        }
    }
    return NULL;
}

static int unknown(const cli_command *command, const char *name)
{
    const char *names[MANY], *near;
    size_t count = 0;

    for (size_t t = 0; t < CLI_TABLES && command->options[t] != NULL; t++) {
        for (const cli_option *o = command->options[t]; o->name != NULL && count < MANY; o++) {
            if (o->help != NULL)
                names[count++] = o->name;
        }
    }
    near = cli_suggest(name, names, count);
    if (near != NULL)
        return cli_usage(command, "unknown option --%s, did you mean --%s?", name, near);
    return cli_usage(command, "unknown option --%s", name);
}

static bool add(cli_list *list, const char *value)
{
    const char **more = realloc(list->items, (list->count + 1) * sizeof *more);

    if (more == NULL)
        return false;
    list->items = more;
    list->items[list->count++] = value;
    return true;
}

static bool set(const cli_command *command, cli_settings *settings, const cli_option *o, const char *value)
{
    void *to = (char *)settings + o->at;

    switch (o->kind) {
    case CLI_FLAG:
        *(bool *)to = true;
        return true;
    case CLI_TEXT:
        *(const char **)to = value;
        return true;
    case CLI_LIST:
        return add(to, value) || cli_usage(command, "out of memory") == CLI_DONE;
    case CLI_TIME:
        *(int *)to = cli_time(value);
        if (*(int *)to == 0)
            cli_usage(command, "--%s %s is no time: write 500 (ms), 2s, 1m or 1h", o->name, value);
        return *(int *)to != 0;
    case CLI_NUMBER:
        *(int *)to = cli_number(value, INT_MAX);
        if (*(int *)to == 0)
            cli_usage(command, "--%s %s is no number from 1 to %d", o->name, value, INT_MAX);
        return *(int *)to != 0;
    }
    return false;
}

typedef struct scan {
    const cli_command *command;
    cli_settings      *settings;
    int                argc, at;
    char             **argv;
} scan;

static bool take_long(scan *s)
{
    char *word = s->argv[s->at] + 2, *equals = strchr(word, '=');
    size_t length = equals != NULL ? (size_t)(equals - word) : strlen(word);
    const cli_option *o = find(s->command, '\0', word, length);
    const char *value = equals != NULL ? equals + 1 : NULL;

    if (o == NULL) {
        if (equals != NULL)
            *equals = '\0';
        unknown(s->command, word);
        return false;
    }
    if (o->kind == CLI_FLAG && value != NULL) {
        cli_usage(s->command, "--%s takes no value", o->name);
        return false;
    }
    if (o->kind != CLI_FLAG && value == NULL) {
        if (s->at + 1 >= s->argc) {
            cli_usage(s->command, "--%s wants a value: --%s %s", o->name, o->name, o->value);
            return false;
        }
        value = s->argv[++s->at];
    }
    return set(s->command, s->settings, o, value);
}

/* Letters may stand together; one that takes a value ends the word, and the value may follow at once: -qrt500. */
static bool take_letters(scan *s)
{
    for (const char *c = s->argv[s->at] + 1; *c != '\0'; c++) {
        const cli_option *o = find(s->command, *c, NULL, 0);
        if (o == NULL) {
            cli_usage(s->command, "unknown option -%c", *c);
            return false;
        }
        if (o->kind == CLI_FLAG) {
            set(s->command, s->settings, o, NULL);
            continue;
        }
        if (c[1] == '\0' && s->at + 1 >= s->argc) {
            cli_usage(s->command, "-%c wants a value: -%c %s", *c, *c, o->value);
            return false;
        }
        return set(s->command, s->settings, o, c[1] != '\0' ? c + 1 : s->argv[++s->at]);
    }
    return true;
}

int cli_args_parse(const cli_command *command, cli_settings *settings, int argc, char **argv)
{
    scan s = {command, settings, argc, 0, argv};
    int kept = 0;

    for (; s.at < argc; s.at++) {
        char *word = argv[s.at];
        if (strcmp(word, "--") == 0) {
            for (s.at++; s.at < argc; s.at++)
                argv[kept++] = argv[s.at];
            break;
        }
        if (word[0] != '-' || word[1] == '\0')
            argv[kept++] = word;
        else if (word[1] == '-' ? !take_long(&s) : !take_letters(&s))
            return -1;
    }
    return kept;
}

void cli_args_free(cli_settings *settings)
{
    free(settings->headers.items);
}
