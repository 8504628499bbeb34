#include "payload.h"
#include "json.h"

#include <stdlib.h>
#include <string.h>

#define WHY 512

static ferry_value *parse(const cli_command *command, const char *from, const char *text, size_t n)
{
    cli_json_error error;
    ferry_value *v = cli_json_read(text, n, &error);

    if (v == NULL && error.column == 0)
        cli_usage(command, "%s: %s", from, error.why);
    else if (v == NULL)
        cli_usage(command, "%s: line %d, column %d: %s", from, error.line, error.column, error.why);
    return v;
}

/* The content of a file: JSON, or as it is: a string if it is UTF-8, else bytes. */
static ferry_value *from_file(const cli_command *command, const char *what, const char *path, bool json)
{
    cli_text content = {0};
    char why[WHY], from[WHY];
    ferry_value *v = NULL;

    snprintf(from, sizeof from, "%s @%s", what, path);
    if (path[0] == '\0')
        cli_usage(command, "%s: '@' wants a file name, or '-' for stdin", what);
    else if (!cli_text_load(&content, path, why, sizeof why))
        cli_usage(command, "%s: %s", what, why);
    else if (json)
        v = parse(command, from, content.at, content.length);
    else if (cli_utf8_valid(content.at, content.length))
        v = ferry_string(content.at, content.length);
    else
        v = ferry_bytes(content.at, content.length);
    cli_text_free(&content);
    return v;
}

static ferry_value *from_text(const cli_command *command, const char *what, const char *text, bool json)
{
    if (text[0] == '@')
        return from_file(command, what, text + 1, json);
    if (json)
        return parse(command, what, text, strlen(text));
    if (!cli_utf8_valid(text, strlen(text))) {
        cli_usage(command, "%s: not UTF-8; put bytes into a file: key=@file", what);
        return NULL;
    }
    return ferry_text(text);
}

/* One key=… or key:=… into the map. */
static bool put(const cli_command *command, ferry_value *map, const char *argument)
{
    const char *equals = strchr(argument, '=');
    bool json = equals != NULL && equals > argument && equals[-1] == ':';
    size_t length = equals != NULL ? (size_t)(equals - argument) - json : 0;
    char *key;
    bool good = false;

    if (length == 0) {
        cli_usage(command, "'%s' is neither key=text, key:=JSON, key=@file nor - (a stream from stdin)", argument);
        return false;
    }
    key = strndup(argument, length);
    if (key == NULL) {
        cli_usage(command, "out of memory");
    } else if (!cli_utf8_valid(key, length)) {
        cli_usage(command, "the key of '%s' is not UTF-8", argument);
    } else if (ferry_find(map, key) != NULL) {
        cli_usage(command, "%s is given twice", key);
    } else {
        ferry_value *v = from_text(command, key, equals + 1, json);
        good = v != NULL;
        if (good)
            ferry_map_put(map, key, v);
    }
    free(key);
    return good;
}

ferry_value *cli_payload(const cli_command *command, const cli_settings *settings, int count, char **arguments)
{
    ferry_value *map;

    if (settings->data != NULL && count > 0) {
        cli_usage(command, "-d is the whole data already: leave out '%s', or -d", arguments[0]);
        return NULL;
    }
    if (settings->data != NULL)
        return from_text(command, "-d", settings->data, true);
    if (count == 0)
        return ferry_nil();
    map = ferry_new_map();
    for (int i = 0; i < count; i++) {
        if (!put(command, map, arguments[i])) {
            ferry_value_free(map);
            return NULL;
        }
    }
    return map;
}

ferry_value *cli_payload_headers(const cli_command *command, const cli_list *headers)
{
    ferry_value *map = ferry_new_map();

    for (size_t i = 0; i < headers->count; i++) {
        const char *equals = strchr(headers->items[i], '=');
        if (equals == NULL || equals == headers->items[i]) {
            cli_usage(command, "-H %s is not key=value", headers->items[i]);
            ferry_value_free(map);
            return NULL;
        }
        char *name = strndup(headers->items[i], (size_t)(equals - headers->items[i]));
        ferry_map_put(map, name != NULL ? name : "", ferry_text(equals + 1));
        free(name);
    }
    return map;
}
