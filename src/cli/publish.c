#include "publish.h"

#include <inttypes.h>
#include <stdio.h>

enum { KEY_NUMBER = 24 };

/* --key-field: the key out of the data. NULL: it is not there, or no text and no integer. */
static const char *key_in(const ferry_value *data, const char *field, char number[KEY_NUMBER])
{
    const ferry_value *v = ferry_find(data, field);
    ferry_type type = ferry_value_type(v);

    if (type == FERRY_TYPE_INT)
        snprintf(number, KEY_NUMBER, "%" PRId64, ferry_as_int(v, 0));
    else if (type == FERRY_TYPE_UINT)
        snprintf(number, KEY_NUMBER, "%" PRIu64, ferry_as_uint(v, 0));
    else
        return ferry_as_string(v, NULL);
    return number;
}

ferry_status cli_publish_send(ferry *f, const cli_call *call, ferry_value *data, ferry_confirm confirm, int timeout_ms,
                              char *why)
{
    ferry_call_options o = cli_call_options(call, timeout_ms, why);
    const char *field = call->settings->key_field;
    char number[KEY_NUMBER];

    if (field != NULL && (o.key = key_in(data, field, number)) == NULL) {
        ferry_value_free(data);
        snprintf(why, FERRY_WHY_SIZE, "the data has no text or whole number under '%.128s', for the key", field);
        return FERRY_INVALID;
    }
    return ferry_publish(f, call->route, data,
                         FERRY_EVENT(.timeout_ms = o.timeout_ms, .confirm = confirm, .key = o.key,
                                     .correlation = o.correlation, .headers = o.headers, .why = why));
}
