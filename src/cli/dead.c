#include "dead.h"
#include "admin.h"

#include <time.h>

static const char *text_in(const ferry_value *map, const char *key)
{
    return ferry_as_string(ferry_find(map, key), "");
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
    cli_admin_column(text_in(record, "id"), 44);
    cli_admin_column(when, 19);
    cli_admin_column(text_in(record, "route"), 24);
    cli_admin_column(number, 5);
    if (error != NULL)
        cli_admin_column(text_in(error, "type"), 18);
    cli_admin_column(error != NULL ? text_in(error, "message") : text_in(record, "reason"), 60);
}

static void print_list(const cli_settings *s, const ferry_value *answer)
{
    char head[128];

    snprintf(head, sizeof head, "%-46s%-21s%-26s%-7s%s", "ID", "GIVEN UP", "ROUTE", "TRIES", "WHY");
    cli_admin_print_list(s, ferry_find(answer, "dead"), head, print_row);
    if (ferry_as_bool(ferry_find(answer, "more"), false) && !s->quiet)
        fputs("ferry: there are more; --limit N shows them\n", stderr);
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
    return cli_admin_ask(s, "dead.list", args, print_list);
}

int cli_dead_show(const cli_command *command, const cli_settings *s, int count, char **arguments)
{
    ferry_value *args;

    if (count != 2)
        return cli_usage(command, "wants SERVICE and ID, as 'ferry dead list' shows them");
    args = service_map(count, arguments);
    ferry_map_put(args, "id", ferry_text(arguments[1]));
    return cli_admin_ask(s, "dead.show", args, NULL);
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
    return cli_admin_ask(s, "dead.requeue", chosen(count, arguments), NULL);
}

int cli_dead_purge(const cli_command *command, const cli_settings *s, int count, char **arguments)
{
    char question[192];
    int code;

    if (count == 0)
        return cli_usage(command, "wants SERVICE, then ids, or none for all");
    if (s->all && count > 1)
        return cli_usage(command, "wants either ids or --all");
    if (count > 1)
        snprintf(question, sizeof question, "Purge %d dead letter(s) of %.128s for good?", count - 1, arguments[0]);
    else
        snprintf(question, sizeof question, "Purge ALL dead letters of %.128s for good?", arguments[0]);
    code = cli_admin_agree(command, s, question);
    if (code != CLI_DONE)
        return code;
    return cli_admin_ask(s, "dead.purge", chosen(count, arguments), NULL);
}
