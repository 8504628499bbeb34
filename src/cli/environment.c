#include "environment.h"
#include "within.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct list {
    char **items; /* NULL-terminated */
    size_t count, room;
    bool   failed;
} list;

static void add(list *l, char *item)
{
    if (l->count + 1 >= l->room && item != NULL) {
        size_t room = l->room != 0 ? l->room * 2 : 64;
        char **more = realloc(l->items, room * sizeof *more);
        if (more == NULL) {
            free(item);
            item = NULL;
        } else {
            l->items = more;
            l->room = room;
        }
    }
    if (item == NULL) {
        l->failed = true;
        return;
    }
    l->items[l->count++] = item;
    l->items[l->count] = NULL;
}

static void set(list *l, const char *name, const char *format, ...) FERRY_PRINTF(3, 4);
static void set(list *l, const char *name, const char *format, ...)
{
    char *value = NULL, *item = NULL;
    va_list args;
    int n;

    va_start(args, format);
    n = vasprintf(&value, format, args);
    va_end(args);
    if (n < 0)
        value = NULL;
    if (value != NULL && asprintf(&item, "%s=%s", name, value) < 0)
        item = NULL;
    free(value);
    add(l, item);
}

static bool begins(const char *item, const char *name)
{
    return strncmp(item, name, strlen(name)) == 0;
}

static void add_ours(list *l, bool but_url)
{
    for (char **at = environ; *at != NULL; at++) {
        if (begins(*at, "FERRY_MSG_") || begins(*at, CLI_WITHIN "=") || (but_url && begins(*at, "FERRY_URL=")))
            continue;
        add(l, strdup(*at));
    }
}

/* Letters in upper case, digits; anything else becomes '_'. Two headers of one such name: the first stands. */
static void add_header(list *l, const char *name, const char *value)
{
    char variable[160];
    int n = snprintf(variable, sizeof variable, "FERRY_MSG_HEADER_%s", name);

    if (n < 0 || (size_t)n >= sizeof variable)
        return;
    for (char *c = variable; *c != '\0'; c++)
        *c = (char)(isalnum((unsigned char)*c) && (unsigned char)*c < 0x80 ? toupper((unsigned char)*c) : '_');
    for (size_t i = 0; i < l->count; i++) {
        if (begins(l->items[i], variable) && l->items[i][n] == '=')
            return;
    }
    set(l, variable, "%s", value);
}

static const char *verb_name(ferry_verb verb)
{
    switch (verb) {
    case FERRY_GET:
        return "get";
    case FERRY_PUT:
        return "put";
    case FERRY_PATCH:
        return "patch";
    case FERRY_POST:
        return "post";
    case FERRY_DELETE:
        return "delete";
    }
    return "";
}

static void add_message(list *l, const ferry_request *req)
{
    const ferry_value *headers = ferry_request_headers(req);
    const char *id = ferry_request_id(req), *key = ferry_request_key(req);
    int left = ferry_request_remaining_ms(req);
    cli_text within = {0};

    set(l, "FERRY_MSG_ROUTE", "%s", ferry_request_route(req));
    if (ferry_request_verb(req) != 0)
        set(l, "FERRY_MSG_VERB", "%s", verb_name(ferry_request_verb(req)));
    set(l, "FERRY_MSG_ID", "%s", id != NULL ? id : "");
    if (key != NULL && key[0] != '\0')
        set(l, "FERRY_MSG_KEY", "%s", key);
    set(l, "FERRY_MSG_ATTEMPT", "%d", ferry_request_attempt(req));
    if (left >= 0)
        set(l, "FERRY_MSG_REMAINING_MS", "%d", left);
    for (size_t i = 0; i < ferry_count(headers); i++) {
        const char *name = ferry_as_string(ferry_key_at(headers, i), NULL);
        const char *value = ferry_as_string(ferry_at(headers, i), NULL);
        if (name != NULL && value != NULL)
            add_header(l, name, value);
    }
    if (cli_within_write(&within, req))
        set(l, CLI_WITHIN, "%s", within.at);
    l->failed = l->failed || within.failed;
    cli_text_free(&within);
}

char **cli_environment(const ferry_request *req, const char *url)
{
    list l = {0};

    add_ours(&l, url != NULL);
    if (url != NULL)
        set(&l, "FERRY_URL", "%s", url);
    add_message(&l, req);
    if (l.failed) {
        cli_environment_free(l.items);
        return NULL;
    }
    return l.items;
}

void cli_environment_free(char **environment)
{
    for (char **at = environment; at != NULL && *at != NULL; at++)
        free(*at);
    free(environment);
}
