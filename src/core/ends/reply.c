#include "ends/reply.h"

#include "base/alloc.h"
#include "base/log.h"
#include "data/value.h"

#include <string.h>

static const ferry_error no_error = {FERRY_OK, false, "", "", ""};
static const ferry_error no_memory = {FERRY_NO_MEMORY, true, "NO_MEMORY", "out of memory", "here"};

static void one_error(ferry_reply *r, ferry_status status, const char *message, const char *origin)
{
    r->one = (ferry_error){status, ferry_status_retryable(status), ferry_status_name(status), message, origin};
    r->errors = &r->one;
    r->error_count = 1;
}

ferry_reply *ferry__reply_local(ferry_status status, ferry_outcome outcome, const char *why)
{
    ferry_reply *r = ferry__zalloc(sizeof *r);
    if (!r)
        return NULL;
    r->status = status;
    r->outcome = outcome;
    if (status == FERRY_OK)
        return r;
    r->why = why && *why ? ferry__strdup(why) : NULL;
    one_error(r, status, r->why ? r->why : ferry_status_text(status), "here");
    return r;
}

ferry_reply *ferry__reply_of(ferry_value *data)
{
    ferry_reply *r = ferry__value_broken(data) ? NULL : ferry__reply_local(FERRY_OK, FERRY_OUTCOME_EXECUTED, NULL);
    if (r)
        r->data = data;
    else
        ferry_value_free(data);
    return r;
}

static ferry_error read_error(const ferry_value *v, ferry_status otherwise)
{
    int64_t code = ferry_as_int(ferry_find(v, "code"), otherwise);
    ferry_error e;
    e.code = code > FERRY_OK && code <= FERRY_INTERNAL ? (ferry_status)code : otherwise;
    e.retryable = ferry_as_bool(ferry_find(v, "retryable"), ferry_status_retryable(e.code));
    e.type = ferry_as_string(ferry_find(v, "type"), ferry_status_name(e.code));
    e.message = ferry_as_string(ferry_find(v, "message"), "");
    e.origin = ferry_as_string(ferry_find(v, "origin"), "");
    return e;
}

static ferry_status read_errors(ferry_reply *r, char *why)
{
    ferry__frame *f = r->frame;
    ferry_status status = ferry__value_decode(ferry__frame_body(f), f->body.length, &r->list, why);
    size_t n = ferry_count(r->list);
    if (status == FERRY_OK && (ferry_value_type(r->list) != FERRY_TYPE_LIST || n == 0)) {
        ferry__why(why, "the answer has an error status without errors");
        status = FERRY_PROTOCOL;
    }
    if (status != FERRY_OK)
        return status;
    r->errors = ferry__alloc(n * sizeof *r->errors);
    if (!r->errors)
        return FERRY_NO_MEMORY;
    for (size_t i = 0; i < n; i++)
        r->errors[i] = read_error(ferry_at(r->list, i), (ferry_status)f->status);
    r->error_count = n;
    return FERRY_OK;
}

static ferry_status read_frame(ferry_reply *r, char *why)
{
    ferry__frame *f = r->frame;
    ferry_status status = FERRY_OK;
    if (f->headers.length)
        status = ferry__value_decode(ferry__frame_text(f, f->headers), f->headers.length, &r->headers, why);
    if (status != FERRY_OK)
        return status;
    return r->status == FERRY_OK ? ferry__value_decode(ferry__frame_body(f), f->body.length, &r->data, why)
                                 : read_errors(r, why);
}

/* An answer that cannot be read is an answer all the same: the handler did run. */
ferry_reply *ferry__reply_read(ferry__frame *answer)
{
    char why[FERRY_WHY_SIZE] = "";
    ferry_reply *r = ferry__zalloc(sizeof *r);
    if (!r) {
        ferry__frame_unref(answer);
        return NULL;
    }
    r->frame = answer;
    r->status = (ferry_status)answer->status;
    r->outcome = (ferry_outcome)answer->executed;
    ferry_status status = read_frame(r, why);
    if (status == FERRY_OK)
        return r;
    r->status = status == FERRY_NO_MEMORY ? FERRY_NO_MEMORY : FERRY_PROTOCOL;
    r->why = ferry__strdup(why);
    one_error(r, r->status, r->why ? r->why : ferry_status_text(r->status), "here");
    return r;
}

bool ferry_has_errors(const ferry_reply *r)
{
    return ferry_reply_status(r) != FERRY_OK;
}

const ferry_value *ferry_data(const ferry_reply *r)
{
    return r ? r->data : NULL;
}

size_t ferry_error_count(const ferry_reply *r)
{
    return r ? r->error_count : 1;
}

const ferry_error *ferry_error_at(const ferry_reply *r, size_t i)
{
    if (!r)
        return i == 0 ? &no_memory : &no_error;
    return i < r->error_count ? &r->errors[i] : &no_error;
}

ferry_status ferry_reply_status(const ferry_reply *r)
{
    return r ? r->status : FERRY_NO_MEMORY;
}

ferry_outcome ferry_reply_outcome(const ferry_reply *r)
{
    return r ? r->outcome : FERRY_OUTCOME_UNKNOWN; /* the call may have gone out before memory ended */
}

const ferry_value *ferry_reply_headers(const ferry_reply *r)
{
    return r ? r->headers : NULL;
}

void ferry_print_errors(const ferry_reply *r, FILE *to)
{
    for (size_t i = 0; i < ferry_error_count(r); i++) {
        const ferry_error *e = ferry_error_at(r, i);
        fprintf(to, "%s: %s\n", e->type, e->message);
    }
}

void ferry_reply_free(ferry_reply *r)
{
    if (!r)
        return;
    ferry_value_free(r->data);
    ferry_value_free(r->headers);
    ferry_value_free(r->list);
    if (r->errors != &r->one)
        ferry__free(r->errors);
    ferry__free(r->why);
    ferry__frame_unref(r->frame);
    ferry__free(r);
}
