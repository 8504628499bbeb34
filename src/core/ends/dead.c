#include "ends/dead.h"

#include "base/clock.h"
#include "data/value.h"
#include "ends/serve.h"

#include <string.h>

#define EVENT "event"

static const char *verb_name(unsigned verb)
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
    default:
        return "";
    }
}

/* False: none of ours. An event has none: 0. */
static bool known_verb(const char *name, unsigned *verb)
{
    *verb = 0;
    if (strcmp(name, EVENT) == 0)
        return true;
    for (unsigned one = FERRY_GET; one <= FERRY_DELETE; one <<= 1)
        if (strcmp(verb_name(one), name) == 0)
            *verb = one;
    return *verb != 0;
}

static void put_text(ferry_value *map, const char *name, const char *text)
{
    if (text && *text)
        ferry_map_put(map, name, ferry_text(text));
}

/* The body goes in as it came: as bytes, so that one which cannot be decoded is kept as well. */
static ferry_value *describe(ferry_request *req)
{
    ferry__frame *f = req->frame;
    ferry_value *r = ferry_new_map();
    ferry_map_put(r, "version", ferry_int(1));
    put_text(r, "id", ferry_request_id(req));
    put_text(r, "service", req->service->name);
    put_text(r, "route", ferry_request_route(req));
    put_text(r, "verb", req->service->subscription ? EVENT : verb_name(f->verb));
    put_text(r, "key", ferry_request_key(req));
    put_text(r, "correlation", ferry_request_correlation(req));
    put_text(r, "idempotency_key", ferry_request_idempotency_key(req));
    put_text(r, "source", ferry__frame_text(f, f->source));
    put_text(r, "content_type", ferry__frame_text(f, f->content_type));
    if (f->headers.length)
        ferry_map_put(r, "headers", ferry_bytes(ferry__frame_text(f, f->headers), f->headers.length));
    ferry_map_put(r, "body", ferry_bytes(ferry__frame_body(f), f->body.length));
    ferry_map_put(r, "attempts", ferry_int((int64_t)f->attempt + 1));
    ferry_map_put(r, "first_ms", ferry_int(f->time_ms));
    ferry_map_put(r, "dead_ms", ferry_int(ferry__wall_ms()));
    return r;
}

static const char *reason(const ferry_request *req)
{
    return req->rejected                            ? "rejected"
           : req->verdict == FERRY_NOT_FOUND        ? "no route"
           : req->verdict == FERRY_VERB_NOT_ALLOWED ? "no verb"
           : req->verdict == FERRY_BAD_DATA         ? "bad data"
           : req->retry_ms >= 0                     ? "put off too often"
                                                    : "failed";
}

bool ferry__dead_record(ferry_request *req, ferry__buf *to)
{
    size_t length;
    ferry_value *r = describe(req);
    put_text(r, "reason", reason(req));
    put_text(r, "why", req->why);
    if (req->errors)
        ferry_map_put(r, "errors", ferry_value_copy(req->errors));
    bool good = ferry__value_measure(r, to->max, &length) == FERRY_OK && ferry__buf_reserve(to, length);
    if (good) {
        ferry__value_write(r, to->data);
        to->length = length;
    }
    ferry_value_free(r);
    return good;
}

static const char *text_of(const ferry_value *record, const char *name)
{
    return ferry_as_string(ferry_find(record, name), NULL);
}

ferry__frame *ferry__dead_revive(const ferry_value *record)
{
    ferry__parts p = {.route = text_of(record, "route"),
                      .key = text_of(record, "key"),
                      .correlation = text_of(record, "correlation"),
                      .idempotency_key = text_of(record, "idempotency_key"),
                      .source = text_of(record, "source"),
                      .content_type = text_of(record, "content_type")};
    const char *id = text_of(record, "id"), *verb = text_of(record, "verb");
    p.headers = ferry_as_bytes(ferry_find(record, "headers"), &p.headers_length);
    p.body = ferry_as_bytes(ferry_find(record, "body"), &p.body_length);
    unsigned bits;
    if (!p.route || !p.body || !id || !verb || !known_verb(verb, &bits))
        return NULL;
    ferry__frame *f = ferry__frame_new(bits ? FERRY__POST : FERRY__EVENT, &p);
    if (!f)
        return NULL;
    if (!ferry__id_parse(id, &f->id)) {
        ferry__frame_unref(f);
        return NULL;
    }
    f->verb = (uint8_t)bits;
    f->time_ms = ferry_as_int(ferry_find(record, "first_ms"), ferry__wall_ms());
    return f;
}
