#include "topic.h"
#include "admin.h"
#include "units.h"

static const char *text_in(const ferry_value *map, const char *key)
{
    return ferry_as_string(ferry_find(map, key), "-");
}

static void print_topic(const ferry_value *topic)
{
    cli_admin_column(text_in(topic, "name"), 40);
    cli_admin_number(ferry_find(topic, "partitions"), 10);
    cli_admin_number(ferry_find(topic, "events"), 12);
}

static void print_topics(const cli_settings *s, const ferry_value *answer)
{
    char head[128];

    snprintf(head, sizeof head, "%-42s%-12s%s", "TOPIC", "PARTITIONS", "EVENTS");
    cli_admin_print_list(s, ferry_find(answer, "topics"), head, print_topic);
}

int cli_topic_list(const cli_command *command, const cli_settings *s, int count, char **arguments)
{
    if (count > 0)
        return cli_usage(command, "lists all: leave out '%s', or see 'ferry topic describe'", arguments[0]);
    return cli_admin_ask(s, "topic.list", NULL, print_topics);
}

static ferry_value *named(const char *name)
{
    return ferry_map("name", name);
}

int cli_topic_create(const cli_command *command, const cli_settings *s, int count, char **arguments)
{
    int64_t keep_ms = s->keep != NULL ? cli_span(s->keep) : 0;
    int64_t keep_bytes = s->keep_bytes != NULL ? cli_bytes(s->keep_bytes) : 0;
    ferry_value *args;

    if (count != 1)
        return cli_usage(command, "wants one NAME, the first segment of what is published: order");
    if (keep_ms < 0)
        return cli_usage(command, "--keep %s is no time: write 90s, 15m, 12h or 7d", s->keep);
    if (keep_bytes < 0)
        return cli_usage(command, "--keep-bytes %s is no size: write 1000000, 512K, 64M or 2G", s->keep_bytes);
    args = named(arguments[0]);
    if (s->partitions != 0)
        ferry_map_put(args, "partitions", ferry_int(s->partitions));
    if (keep_ms > 0)
        ferry_map_put(args, "keep_ms", ferry_int(keep_ms));
    if (keep_bytes > 0)
        ferry_map_put(args, "keep_bytes", ferry_int(keep_bytes));
    return cli_admin_ask(s, "topic.create", args, NULL);
}

int cli_topic_describe(const cli_command *command, const cli_settings *s, int count, char **arguments)
{
    if (count != 1)
        return cli_usage(command, "wants one NAME, as 'ferry topic list' shows them");
    return cli_admin_ask(s, "topic.describe", named(arguments[0]), NULL);
}

static int remove_after_asking(const cli_command *command, const cli_settings *s, bool all, int count, char **arguments)
{
    char question[192];
    int code;

    if (count != 1)
        return cli_usage(command, "wants one NAME, as 'ferry topic list' shows them");
    snprintf(question, sizeof question,
             all ? "Delete topic %.128s with ALL its events and groups?" : "Remove ALL events of topic %.128s?",
             arguments[0]);
    code = cli_admin_agree(command, s, question);
    if (code != CLI_DONE)
        return code;
    return cli_admin_ask(s, all ? "topic.delete" : "topic.purge", named(arguments[0]), NULL);
}

int cli_topic_delete(const cli_command *command, const cli_settings *s, int count, char **arguments)
{
    return remove_after_asking(command, s, true, count, arguments);
}

int cli_topic_purge(const cli_command *command, const cli_settings *s, int count, char **arguments)
{
    return remove_after_asking(command, s, false, count, arguments);
}

/* ---- lag ---- */

static void print_group(const ferry_value *group)
{
    cli_admin_column(text_in(group, "domain"), 24);
    cli_admin_column(text_in(group, "group"), 24);
    cli_admin_number(ferry_find(group, "lag"), 10);
    cli_admin_number(ferry_find(group, "members"), 7);
    cli_admin_column(text_in(group, "position"), 40);
}

static void print_groups(const cli_settings *s, const ferry_value *answer)
{
    char head[128];

    snprintf(head, sizeof head, "%-26s%-26s%-12s%-9s%s", "TOPIC", "GROUP", "LAG", "MEMBERS", "POSITION");
    cli_admin_print_list(s, ferry_find(answer, "groups"), head, print_group);
}

int cli_lag_run(const cli_command *command, const cli_settings *s, int count, char **arguments)
{
    ferry_value *args;

    if (count > 2)
        return cli_usage(command, "wants TOPIC, as 'ferry topic list' shows them, and GROUP, or neither");
    args = ferry_new_map();
    if (count > 0)
        ferry_map_put(args, "domain", ferry_text(arguments[0]));
    if (count > 1)
        ferry_map_put(args, "group", ferry_text(arguments[1]));
    return cli_admin_ask(s, "lag", args, print_groups);
}
