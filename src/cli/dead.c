#include "dead.h"
#include "handle.h"
#include "json.h"
#include "result.h"
#include "text.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

enum { CLOSE_MS = 2000 };

static const char *text_in(const ferry_value *map, const char *key)
{
    return ferry_as_string(ferry_find(map, key), "");
}

/* Cut to a width in characters, control characters as blanks. */
static void print_column(const char *text, int width)
{
    const unsigned char *in = (const unsigned char *)text;
    size_t n = strlen(text);
    int used = 0;

    for (size_t i = 0; i < n && used < width; used++) {
        size_t length = cli_utf8_length(in + i, n - i);
        bool control = in[i] < 0x20 || in[i] == 0x7f || (in[i] == 0xc2 && length == 2 && in[i + 1] < 0xa0);
        if (length == 0 || control)
            fputc(' ', stdout);
        else
            fwrite(in + i, 1, length, stdout);
        i += length > 0 ? length : 1;
    }
    printf("%*s", width - used + 2, "");
}

static void print_row(const ferry_value *record)
{
    const ferry_value *error = ferry_find(record, "error");
    time_t at = (time_t)(ferry_as_int(ferry_find(record, "dead_ms"), 0) / 1000);
    struct tm local;
    char when[32] = "", number[16];

    if (localtime_r(&at, &local) != NULL)
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &local);
    snprintf(number, sizeof number, "%lld", (long long)ferry_as_int(ferry_find(record, "attempts"), 0));
    print_column(text_in(record, "id"), 44);
    print_column(when, 19);
    print_column(text_in(record, "route"), 24);
    print_column(number, 5);
    if (error != NULL)
        printf("%s: ", text_in(error, "type"));
    print_column(error != NULL ? text_in(error, "message") : text_in(record, "reason"), 60);
    fputc('\n', stdout);
}

/* A table on a terminal; else, or with --full, a line of JSON each. */
static void print_list(const cli_settings *s, const ferry_value *answer)
{
    const ferry_value *list = ferry_find(answer, "dead");
    bool table = isatty(STDOUT_FILENO) && !s->full;

    if (table && ferry_count(list) > 0 && !s->quiet)
        printf("%-46s%-21s%-26s%-7s%s\n", "ID", "GIVEN UP", "ROUTE", "TRIES", "WHY");
    for (size_t i = 0; i < ferry_count(list); i++) {
        if (table && !s->quiet)
            print_row(ferry_at(list, i));
        else
            cli_result_print_value(s, ferry_at(list, i));
    }
    if (ferry_as_bool(ferry_find(answer, "more"), false) && !s->quiet)
        fputs("ferry: there are more; --limit N shows them\n", stderr);
}

/* Takes args. */
static int ask(const cli_settings *s, const char *what, ferry_value *args, bool list)
{
    ferry *f = cli_open(s, &(const cli_wishes){.close_ms = CLOSE_MS});
    ferry_reply *r = ferry_admin(f, what, args, FERRY_CALL(.timeout_ms = s->timeout_ms));
    int code = cli_result_code(r);

    if (list && code == CLI_DONE)
        print_list(s, ferry_data(r));
    else
        cli_result_print(s, r, 0);
    ferry_reply_free(r);
    ferry_close(f);
    return cli_result_finish(code);
}

static ferry_value *service_map(int count, char **arguments)
{
    ferry_value *args = ferry_new_map();

    if (count > 0)
        ferry_map_put(args, "service", ferry_text(arguments[0]));
    return args;
}

int cli_dead_list(const cli_command *command, const cli_settings *s, int count, char **arguments)
{
    ferry_value *args;

    if (count > 1)
        return cli_usage(command, "one service at a time: leave out '%s'", arguments[1]);
    args = service_map(count, arguments);
    if (s->limit != 0)
        ferry_map_put(args, "limit", ferry_int(s->limit));
    return ask(s, "dead.list", args, true);
}

int cli_dead_show(const cli_command *command, const cli_settings *s, int count, char **arguments)
{
    ferry_value *args;

    if (count != 2)
        return cli_usage(command, "wants SERVICE and ID, as 'ferry dead list' shows them");
    args = service_map(count, arguments);
    ferry_map_put(args, "id", ferry_text(arguments[1]));
    return ask(s, "dead.show", args, false);
}

static ferry_value *chosen(int count, char **arguments)
{
    ferry_value *args = service_map(count, arguments), *ids = ferry_new_list();

    for (int i = 1; i < count; i++)
        ferry_list_put(ids, ferry_text(arguments[i]));
    if (count > 1) {
        ferry_map_put(args, "ids", ids);
    } else {
        ferry_value_free(ids);
        ferry_map_put(args, "all", ferry_bool(true));
    }
    return args;
}

int cli_dead_requeue(const cli_command *command, const cli_settings *s, int count, char **arguments)
{
    if (count == 0)
        return cli_usage(command, "wants SERVICE, then ids or --all");
    if ((count > 1) == s->all)
        return cli_usage(command, "wants either ids, as 'ferry dead list %s' shows them, or --all", arguments[0]);
    return ask(s, "dead.requeue", chosen(count, arguments), false);
}

/* On a terminal, from a person. */
static bool agreed(int count, char **arguments)
{
    char line[16] = "";

    if (count > 1)
        fprintf(stderr, "Purge %d dead letter(s) of %s for good? [y/N] ", count - 1, arguments[0]);
    else
        fprintf(stderr, "Purge ALL dead letters of %s for good? [y/N] ", arguments[0]);
    fflush(stderr);
    return fgets(line, sizeof line, stdin) != NULL && (line[0] == 'y' || line[0] == 'Y');
}

int cli_dead_purge(const cli_command *command, const cli_settings *s, int count, char **arguments)
{
    if (count == 0)
        return cli_usage(command, "wants SERVICE, then ids, or none for all");
    if (s->all && count > 1)
        return cli_usage(command, "wants either ids or --all");
    if (!s->yes && !isatty(STDIN_FILENO))
        return cli_usage(command, "nobody is there to ask: add --yes");
    if (!s->yes && !agreed(count, arguments)) {
        fputs("ferry: nothing purged\n", stderr);
        return CLI_NOT_DONE;
    }
    return ask(s, "dead.purge", chosen(count, arguments), false);
}
