#include "ends/request.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "data/value.h"

#include <stdarg.h>
#include <string.h>

ferry_request *ferry__request_new(ferry *f, ferry__frame *frame)
{
    ferry_request *req = ferry__zalloc(sizeof *req);
    if (!req)
        return NULL;
    req->f = ferry__handle_ref(f);
    req->frame = ferry__frame_ref(frame);
    req->retry_ms = -1;
    req->outcome = FERRY_OUTCOME_EXECUTED;
    ferry__list_init(&req->job.node);
    ferry__list_init(&req->active);
    ferry__list_init(&req->nested);
    return req;
}

void ferry__request_reset(ferry_request *req)
{
    ferry_value_free(req->data);
    ferry_value_free(req->answer);
    ferry_value_free(req->answer_headers);
    ferry_value_free(req->errors);
    ferry__free(req->why);
    req->data = req->answer = req->answer_headers = req->errors = NULL;
    req->why = NULL;
    req->responded = req->rejected = false;
    req->verdict = FERRY_OK;
    req->outcome = FERRY_OUTCOME_EXECUTED;
    req->retry_ms = -1;
}

void ferry__request_free(ferry_request *req)
{
    ferry *f = req->f;
    ferry__request_reset(req);
    ferry_value_free(req->headers);
    ferry__frame_unref(req->frame);
    ferry__free(req);
    ferry__handle_unref(f);
}

void ferry__request_nest(const ferry_request *req, ferry_future *u)
{
    ferry_request *outer = (ferry_request *)(uintptr_t)req; /* const for the program; the list is ours */
    if (outer->f == u->f)
        ferry__list_append(&outer->nested, &u->nested);
}

/* ---- reading ---- */

ferry *ferry_request_handle(const ferry_request *req)
{
    return req ? req->f : NULL;
}

const ferry_value *ferry_request_data(const ferry_request *req)
{
    return req ? req->data : NULL;
}

const ferry_value *ferry_request_headers(const ferry_request *req)
{
    ferry_request *own = (ferry_request *)(uintptr_t)req; /* decoded when first asked for */
    if (!req)
        return NULL;
    ferry__frame *f = own->frame;
    if (!own->read_headers && f->headers.length)
        ferry__value_decode(ferry__frame_text(f, f->headers), f->headers.length, &own->headers, NULL);
    own->read_headers = true;
    return own->headers;
}

const char *ferry_request_route(const ferry_request *req)
{
    return req ? ferry__frame_text(req->frame, req->frame->route) : NULL;
}

const char *ferry_request_id(const ferry_request *req)
{
    ferry_request *own = (ferry_request *)(uintptr_t)req;
    if (own && !own->id[0])
        ferry__id_print(&own->frame->id, own->id);
    return own ? own->id : NULL;
}

static const char *text_or_null(const ferry_request *req, ferry__slice s)
{
    return s.at ? ferry__frame_text(req->frame, s) : NULL;
}

const char *ferry_request_key(const ferry_request *req)
{
    return req ? text_or_null(req, req->frame->key) : NULL;
}

const char *ferry_request_correlation(const ferry_request *req)
{
    const char *text = req ? text_or_null(req, req->frame->correlation) : NULL;
    return text ? text : ferry_request_id(req);
}

const char *ferry_request_idempotency_key(const ferry_request *req)
{
    return req ? text_or_null(req, req->frame->idempotency_key) : NULL;
}

ferry_verb ferry_request_verb(const ferry_request *req)
{
    return req ? (ferry_verb)req->frame->verb : (ferry_verb)0;
}

int ferry_request_attempt(const ferry_request *req)
{
    return req ? (int)req->frame->attempt + 1 : 0;
}

int ferry_request_remaining_ms(const ferry_request *req)
{
    if (!req || req->frame->kind != FERRY__CALL)
        return -1;
    int64_t left = req->frame->deadline_ms - ferry__now_ms();
    return left <= 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left;
}

bool ferry_request_cancelled(const ferry_request *req)
{
    return req &&
           (atomic_load(&req->cancelled) || (req->frame->kind == FERRY__CALL && ferry_request_remaining_ms(req) == 0));
}

/* ---- answering ---- */

ferry_status ferry_respond(ferry_request *req, ferry_value *data)
{
    size_t length;
    ferry_status status = !req ? FERRY_NO_MEMORY : req->responded ? FERRY_INVALID : FERRY_OK;
    if (status == FERRY_OK)
        status = ferry__value_measure(data, req->f->max_message, &length);
    if (req && status != FERRY_OK && !req->responded)
        ferry__request_error(req, status, ferry_status_name(status),
                             *ferry__value_flaw(data) ? ferry__value_flaw(data) : ferry_status_text(status));
    if (status != FERRY_OK) {
        ferry_value_free(data);
        return status;
    }
    req->responded = true;
    req->answer = data;
    return req->f->closed ? FERRY_CLOSED : FERRY_OK;
}

ferry_status ferry_respond_header(ferry_request *req, const char *name, const char *value)
{
    if (!req)
        return FERRY_NO_MEMORY;
    if (!name || !*name || !value || strlen(name) > 255 || strlen(value) > 4096 ||
        ferry_count(req->answer_headers) >= 64)
        return FERRY_INVALID;
    if (!req->answer_headers)
        req->answer_headers = ferry_new_map();
    ferry_map_put(req->answer_headers, name, ferry_text(value));
    return ferry__value_status(req->answer_headers);
}

static ferry_status add_error(ferry_request *req, const ferry_error *e)
{
    if (req->verdict == FERRY_OK)
        req->verdict = e->code;
    if (!req->errors)
        req->errors = ferry_new_list();
    ferry_value *one = ferry_new_map();
    ferry_map_put(one, "type", ferry_text(e->type));
    ferry_map_put(one, "message", ferry_text(e->message));
    ferry_map_put(one, "code", ferry_int(e->code));
    ferry_map_put(one, "retryable", ferry_bool(e->retryable));
    ferry_map_put(one, "origin", ferry_text(e->origin));
    ferry_list_put(req->errors, one);
    return ferry__value_status(req->errors);
}

ferry_status ferry__request_error(ferry_request *req, ferry_status code, const char *type, const char *message)
{
    return add_error(req, &(ferry_error){code, ferry_status_retryable(code), type, message, req->f->source});
}

ferry_status ferry_fail(ferry_request *req, const char *type, const char *format, ...)
{
    char message[1024];
    va_list args;
    if (!req)
        return FERRY_NO_MEMORY;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return ferry__request_error(req, FERRY_FAILED, type && *type ? type : "FAILED", message);
}

ferry_status ferry_fail_as(ferry_request *req, const ferry_reply *cause)
{
    ferry_status status = req ? FERRY_OK : FERRY_NO_MEMORY;
    for (size_t i = 0; req && i < ferry_error_count(cause); i++) {
        ferry_error e = *ferry_error_at(cause, i);
        if (strcmp(e.origin, "here") == 0)
            e.origin = req->f->source;
        status = add_error(req, &e);
    }
    return status;
}

void ferry_retry_later(ferry_request *req, int delay_ms)
{
    if (req)
        req->retry_ms = delay_ms < 0 ? 0 : delay_ms;
}

void ferry_reject(ferry_request *req, const char *why)
{
    if (!req)
        return;
    req->rejected = true;
    ferry__free(req->why);
    req->why = ferry__strdup(why ? why : "");
}

static void bad_argument(void *arg, const char *key, const char *message)
{
    char text[256];
    if (*key)
        snprintf(text, sizeof text, "'%.80s': %.160s", key, message);
    else
        snprintf(text, sizeof text, "%.240s", message);
    ferry__request_error(arg, FERRY_BAD_DATA, "BAD_DATA", text);
}

bool ferry_args_into(ferry_request *req, size_t n, const ferry_slot *keys_and_slots)
{
    return req && ferry__value_read(req->data, n, keys_and_slots, bad_argument, req);
}

/* ---- the answer's frame ---- */

static ferry__frame *frame_of(ferry_request *req, const ferry_value *body, ferry_status status)
{
    size_t length = 0, headers_length = 0;
    ferry__parts parts = {.body = NULL};
    if (ferry__value_measure(body, SIZE_MAX / 4, &length) != FERRY_OK)
        return NULL;
    if (req->answer_headers && ferry__value_measure(req->answer_headers, SIZE_MAX / 4, &headers_length) != FERRY_OK)
        return NULL;
    void *headers = headers_length ? ferry__alloc(headers_length) : NULL;
    if (headers_length && !headers)
        return NULL;
    if (headers)
        ferry__value_write(req->answer_headers, headers);
    parts.headers = headers;
    parts.headers_length = headers_length;
    parts.body_length = length;
    ferry__frame *f = ferry__frame_new(FERRY__REPLY, &parts);
    ferry__free(headers);
    if (!f)
        return NULL;
    ferry__value_write(body, ferry__frame_body(f));
    f->status = (uint8_t)status;
    return f;
}

/* The smallest answer there is: an array of one map, made by hand so that it needs no values. */
static ferry__frame *bare_reply(ferry_status status)
{
    static const char body[] = "\x91\x81\xa7"
                               "message\xb9"
                               "the server ran out memory";
    ferry__frame *f = ferry__frame_new(FERRY__REPLY, &(ferry__parts){.body = body, .body_length = sizeof body - 1});
    if (f)
        f->status = (uint8_t)status;
    return f;
}

ferry__frame *ferry__request_reply(ferry_request *req)
{
    ferry__frame *f = frame_of(req, req->verdict == FERRY_OK ? req->answer : req->errors, req->verdict);
    if (!f)
        f = bare_reply(FERRY_NO_MEMORY);
    if (!f)
        return NULL;
    f->id = req->frame->id;
    f->executed = (uint8_t)req->outcome;
    return f;
}
