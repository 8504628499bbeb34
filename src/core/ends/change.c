/* change.c - change data capture: events of one fixed shape, written and read by any program. */
#include "data/route.h"
#include "data/value.h"
#include "ends/handle.h"
#include "ends/options.h"

#include <string.h>

static const char *const operations[] = {"create", "update", "delete", "other"};

static bool known_operation(const char *text)
{
    for (size_t i = 0; text && i < sizeof operations / sizeof *operations; i++)
        if (strcmp(operations[i], text) == 0)
            return true;
    return false;
}

static ferry_status check(const ferry_change *c, char *why)
{
    const char *fault = NULL;
    if (!c->type || strchr(c->type, '.') || ferry__route_check(c->type, NULL) != FERRY_OK || strlen(c->type) > 64)
        fault = "type: expected 1 to 64 of A-Z a-z 0-9 _ -";
    else if (!known_operation(c->operation))
        fault = "operation: one of create, update, delete, other";
    else if (!c->uid || !*c->uid || strlen(c->uid) > 180)
        fault = "uid: 1 to 180 bytes that say which one changed";
    ferry__why(why, "%s", fault ? fault : "");
    return fault ? FERRY_INVALID : FERRY_OK;
}

static void put(ferry_value *map, const char *key, const char *text)
{
    if (text)
        ferry_map_put(map, key, ferry_text(text));
}

static ferry_value *body(const ferry *f, const ferry_change *c)
{
    char said[FERRY_WHY_SIZE];
    snprintf(said, sizeof said, "%s - %s", c->type, c->uid);
    ferry_value *meta = ferry_new_map(), *v = ferry_new_map();
    put(meta, "app_name", c->application ? c->application : f->name);
    put(meta, "user", c->user);
    put(meta, "func", c->function);
    if (c->arguments)
        ferry_map_put(meta, "args", c->arguments);
    put(meta, "description", c->description ? c->description : said);
    put(v, "message_type", c->type);
    put(v, "operation", c->operation);
    put(v, "uid", c->uid);
    ferry_map_put(v, "resource", c->resource ? c->resource : ferry_nil());
    ferry_map_put(v, "meta", meta);
    return v;
}

static ferry_status publish(ferry *f, const ferry_change *c, const ferry_event_options *given)
{
    char route[FERRY__ROUTE_MAX], key[FERRY_WHY_SIZE];
    ferry_event_options o;
    ferry_status status = ferry__options_take(&o, sizeof o, given, NULL);
    snprintf(route, sizeof route, "%s.%s", c->type, c->operation);
    snprintf(key, sizeof key, "%s/%s", c->type, c->uid);
    o.size = sizeof o;
    o.key = o.key ? o.key : key;
    ferry_value *v = body(f, c);
    if (status == FERRY_OK)
        return ferry_publish(f, route, v, &o);
    ferry_value_free(v);
    return status;
}

ferry_status ferry_publish_change(ferry *f, const ferry_change *change, const ferry_event_options *options)
{
    char why[FERRY_WHY_SIZE] = "";
    ferry_change c;
    ferry_status status = !f ? FERRY_NO_MEMORY : ferry__options_take(&c, sizeof c, change, why);
    if (status == FERRY_OK)
        status = ferry__handle_refusal(f, why);
    if (status == FERRY_OK)
        status = check(&c, why);
    if (status == FERRY_OK)
        return publish(f, &c, options);
    if (change && change->size >= sizeof c) {
        ferry_value_free(change->resource);
        ferry_value_free(change->arguments);
    }
    if (options && options->size >= sizeof *options)
        ferry__why(options->why, "%s", *why ? why : ferry_status_text(status));
    return status;
}

static ferry_value *borrow(const ferry_value *map, const char *key)
{
    return (ferry_value *)(uintptr_t)ferry_find(map,
                                                key); /* the struct serves both ways; the header says it is borrowed */
}

bool ferry_read_change(const ferry_value *data, ferry_change *to)
{
    const ferry_value *meta = ferry_find(data, "meta");
    ferry_change c = {.size = sizeof c,
                      .type = ferry_as_string(ferry_find(data, "message_type"), NULL),
                      .operation = ferry_as_string(ferry_find(data, "operation"), NULL),
                      .uid = ferry_as_string(ferry_find(data, "uid"), NULL),
                      .resource = borrow(data, "resource"),
                      .application = ferry_as_string(ferry_find(meta, "app_name"), NULL),
                      .user = ferry_as_string(ferry_find(meta, "user"), NULL),
                      .function = ferry_as_string(ferry_find(meta, "func"), NULL),
                      .arguments = borrow(meta, "args"),
                      .description = ferry_as_string(ferry_find(meta, "description"), NULL)};
    if (!to || !c.type || !c.uid || !known_operation(c.operation))
        return false;
    *to = c;
    return true;
}
