/* build.c - from what the program said to a frame. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/random.h"
#include "data/route.h"
#include "data/value.h"
#include "ends/future.h"
#include "ends/request.h"

#include <string.h>

/* What a nested message takes over from the request it is part of: W3C Trace Context and Baggage, and who asks. */
static const char *const inherited[] = {"traceparent", "tracestate", "baggage", "identity"};

enum { HEADERS_MAX = 64, HEADER_MAX = 4096, TEXT_MAX = 255 };

static ferry_status check_headers(const ferry_value *headers, char *why)
{
    if (ferry__value_broken(headers)) {
        ferry__why(why, "headers: %s", ferry__value_flaw(headers));
        return ferry__value_status(headers);
    }
    if (ferry_value_type(headers) != FERRY_TYPE_MAP) {
        ferry__why(why, "headers must be a map of strings");
        return FERRY_INVALID;
    }
    if (ferry_count(headers) > HEADERS_MAX) {
        ferry__why(why, "%zu headers: %d at most", ferry_count(headers), HEADERS_MAX);
        return FERRY_TOO_BIG;
    }
    for (size_t i = 0; i < ferry_count(headers); i++) {
        const char *name = ferry_as_string(ferry_key_at(headers, i), NULL),
                   *text = ferry_as_string(ferry_at(headers, i), NULL);
        if (!name || !*name || !text) {
            ferry__why(why, "header '%.60s' must be a string, and so its name", name ? name : "?");
            return FERRY_INVALID;
        }
        if (strlen(name) > TEXT_MAX || strlen(text) > HEADER_MAX) {
            ferry__why(why, "header '%.60s' is too long: %d bytes at most", name, HEADER_MAX);
            return FERRY_TOO_BIG;
        }
    }
    return FERRY_OK;
}

/* Answers the program's own headers, or a copy with what is inherited; *mine says whether to free it. */
static const ferry_value *all_headers(const ferry__orders *o, ferry_value **mine)
{
    const ferry_value *outer = o->within ? ferry_request_headers(o->within) : NULL;
    for (size_t i = 0; outer && i < sizeof inherited / sizeof *inherited; i++) {
        const char *text = ferry_as_string(ferry_find(outer, inherited[i]), NULL);
        if (!text || ferry_find(o->headers, inherited[i]))
            continue;
        if (!*mine)
            *mine = o->headers ? ferry_value_copy(o->headers) : ferry_new_map();
        ferry_map_put(*mine, inherited[i], ferry_text(text));
    }
    return *mine ? *mine : o->headers;
}

static ferry_status encode_headers(const ferry__orders *o, ferry__parts *parts, void **made, char *why)
{
    ferry_value *mine = NULL;
    const ferry_value *headers = all_headers(o, &mine);
    ferry_status status = headers ? check_headers(headers, why) : FERRY_OK;
    size_t length = 0;
    if (status == FERRY_OK && headers)
        status = ferry__value_measure(headers, HEADERS_MAX * HEADER_MAX, &length);
    if (status == FERRY_OK && headers && !(*made = ferry__alloc(length)))
        status = FERRY_NO_MEMORY;
    if (status == FERRY_OK && headers) {
        ferry__value_write(headers, *made);
        parts->headers = *made;
        parts->headers_length = length;
    }
    ferry_value_free(mine);
    return status;
}

static ferry_status check_text(const char *text, const char *what, char *why)
{
    if (!text || strlen(text) <= TEXT_MAX)
        return FERRY_OK;
    ferry__why(why, "the %s is too long: %d bytes at most", what, TEXT_MAX);
    return FERRY_INVALID;
}

static ferry_status check(const ferry__orders *o, char *why)
{
    ferry_status status = ferry__route_check(o->route, why);
    if (status == FERRY_OK && o->timeout_ms < 0) {
        ferry__why(why, "timeout_ms is negative: leave it 0 for the default");
        status = FERRY_INVALID;
    }
    if (status == FERRY_OK)
        status = check_text(o->key, "key", why);
    if (status == FERRY_OK)
        status = check_text(o->idempotency_key, "idempotency key", why);
    return status == FERRY_OK ? check_text(o->correlation, "correlation", why) : status;
}

static int64_t deadline(const ferry *f, const ferry__orders *o, int64_t now_ms)
{
    int64_t own = now_ms + (o->timeout_ms ? o->timeout_ms : f->timeout_ms);
    int left = o->within && o->kind != FERRY__EVENT ? ferry_request_remaining_ms(o->within) : -1;
    if (left < 0)
        return own;
    int64_t outer = now_ms + left;
    return !o->timeout_ms || outer < own ? outer : own;
}

uint32_t ferry__part_for(const ferry *f, const char *key)
{
    return 1 + (uint32_t)(ferry__hash_agreed(key, strlen(key)) % f->link.layers[0].config.partitions);
}

static ferry_status body_length(const ferry *f, const ferry__orders *o, size_t *length, char *why)
{
    ferry_status status = ferry__value_measure(o->data, f->max_message, length);
    if (status == FERRY_TOO_BIG)
        ferry__why(why, "the message is larger than max_message (%zu bytes)", f->max_message);
    else if (status != FERRY_OK)
        ferry__why(why, "%s",
                   o->data && *ferry__value_flaw(o->data) ? ferry__value_flaw(o->data) : ferry_status_text(status));
    return status;
}

static ferry_status build(ferry *f, ferry__orders *o, ferry__parts *parts, ferry__frame **made, char *why)
{
    ferry__frame *frame = ferry__frame_new(o->kind, parts);
    if (!frame) {
        ferry__why(why, "out of memory");
        return FERRY_NO_MEMORY;
    }
    ferry__value_write(o->data, ferry__frame_body(frame));
    frame->verb = (uint8_t)o->verb;
    frame->time_ms = ferry__wall_ms();
    o->now_ms = ferry__now_ms();
    frame->deadline_ms = deadline(f, o, o->now_ms);
    frame->partition = o->key && o->kind != FERRY__CALL ? ferry__part_for(f, o->key) : 0;
    memcpy(frame->id.client, f->link.layers[0].config.client, sizeof frame->id.client);
    *made = frame;
    return FERRY_OK;
}

ferry_status ferry__frame_build(ferry *f, ferry__orders *o, ferry__frame **made, char *why)
{
    void *headers = NULL;
    ferry__parts parts = {.route = o->route, .key = o->key, .idempotency_key = o->idempotency_key, .source = f->source};
    parts.correlation = o->correlation ? o->correlation : o->within ? ferry_request_correlation(o->within) : NULL;
    ferry_status status = check(o, why);
    if (status == FERRY_OK)
        status = body_length(f, o, &parts.body_length, why);
    if (status == FERRY_OK && (o->headers || o->within))
        status = encode_headers(o, &parts, &headers, why);
    if (status == FERRY_OK)
        status = build(f, o, &parts, made, why);
    ferry__free(headers);
    ferry_value_free(o->data);
    o->data = NULL;
    return status;
}
