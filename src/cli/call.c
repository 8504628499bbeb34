/* One call. It is a future, so that a signal can cancel it: the watching thread (signals.h) does so under `lock`, and
 * only while `current` stands; the waiting thread takes `current` away before it awaits, which frees the future. */
#include "call.h"
#include "handle.h"
#include "payload.h"
#include "publish.h"
#include "result.h"
#include "signals.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CLOSE_MS = 2000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static ferry_future *current;

int cli_call_timeout(const cli_call *call)
{
    int own = call->settings->timeout_ms;
    int64_t left;

    if (call->within.deadline_ms == 0)
        return own;
    left = call->within.deadline_ms - cli_now_ms();
    if (left <= 0)
        return -1;
    return own != 0 && own < left ? own : left < INT_MAX ? (int)left : INT_MAX;
}

ferry_call_options cli_call_options(const cli_call *call, int timeout_ms, char *why)
{
    const cli_settings *s = call->settings;
    const char *inherited = call->within.correlation[0] != '\0' ? call->within.correlation : NULL;

    return *FERRY_CALL(.timeout_ms = timeout_ms, .key = s->key, .idempotency_key = s->idempotency_key,
                       .correlation = s->correlation != NULL ? s->correlation : inherited, .headers = call->headers,
                       .why = why);
}

ferry_status cli_call_send(ferry *f, const cli_call *call, ferry_value *data, ferry_confirm confirm, char *why)
{
    int timeout_ms = cli_call_timeout(call);
    ferry_call_options options = cli_call_options(call, timeout_ms, why);

    why[0] = '\0';
    options.confirm = confirm;
    if (timeout_ms < 0) {
        ferry_value_free(data);
        snprintf(why, FERRY_WHY_SIZE, "no time is left of the message being served (" CLI_WITHIN ")");
        return FERRY_TIMEOUT;
    }
    if (call->command->verb == CLI_PUBLISH)
        return cli_publish_send(f, call, data, confirm, timeout_ms, why);
    switch ((ferry_verb)call->command->verb) {
    case FERRY_PUT:
        return ferry_put_no_wait(f, call->route, data, &options);
    case FERRY_PATCH:
        return ferry_patch_no_wait(f, call->route, data, &options);
    case FERRY_DELETE:
        return ferry_delete_no_wait(f, call->route, data, &options);
    case FERRY_POST:
        return ferry_post_no_wait(f, call->route, data, &options);
    case FERRY_GET:
        break;
    }
    ferry_value_free(data);
    return FERRY_INVALID;
}

int cli_call_check(ferry *f, const cli_settings *settings)
{
    char why[FERRY_WHY_SIZE * 2];

    if (ferry_wait_ready(f, 0) != FERRY_INVALID)
        return CLI_DONE;
    ferry_problem(f, why, sizeof why);
    cli_result_print_status(settings, FERRY_INVALID, why, 0);
    return CLI_USAGE;
}

static void cancel_current(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&lock);
    if (current != NULL)
        ferry_cancel(current);
    pthread_mutex_unlock(&lock);
}

static ferry_reply *await_or_signal(ferry_future *future)
{
    if (future == NULL)
        return NULL;
    pthread_mutex_lock(&lock);
    current = future;
    if (cli_signals_came())
        ferry_cancel(future);
    pthread_mutex_unlock(&lock);
    while (ferry_await_any(&future, 1, INT_MAX) != 0)
        ;
    pthread_mutex_lock(&lock);
    current = NULL;
    pthread_mutex_unlock(&lock);
    return ferry_await(future);
}

static int call_once(const cli_call *call, ferry_value *data)
{
    int timeout_ms = cli_call_timeout(call), code;
    ferry_call_options options = cli_call_options(call, timeout_ms, NULL);
    ferry *f;

    if (timeout_ms < 0) {
        ferry_value_free(data);
        cli_result_print_status(call->settings, FERRY_TIMEOUT,
                                "no time is left of the message being served (" CLI_WITHIN ")", 0);
        return CLI_NOT_DONE;
    }
    cli_signals_start(cancel_current, NULL, NULL);
    f = cli_open(call->settings, &(const cli_wishes){.close_ms = CLOSE_MS});
    ferry_reply *r = await_or_signal(ferry_async(f, (ferry_verb)call->command->verb, call->route, data, &options));
    cli_result_print(call->settings, r, 0);
    code = cli_signals_came() && ferry_has_errors(r) ? CLI_SIGNAL : cli_result_code(r);
    ferry_reply_free(r);
    ferry_close(f);
    return cli_result_finish(code);
}

static void give_up(void *unused)
{
    (void)unused;
    cli_result_complain(0, "CANCELLED", "ended by a signal; whether the broker has the message is not known");
    _exit(CLI_SIGNAL);
}

/* A send has a status and no outcome. Waiting for the connection first makes "unreachable" certain: nothing was sent. */
static int send_once(const cli_call *call, ferry_value *data)
{
    char why[FERRY_WHY_SIZE] = "";
    int timeout_ms = cli_call_timeout(call), code = CLI_NOT_DONE;
    ferry *f;
    ferry_status s;

    cli_signals_start(give_up, NULL, NULL);
    f = cli_open(call->settings, &(const cli_wishes){.close_ms = CLOSE_MS});
    s = timeout_ms < 0 ? FERRY_OK : ferry_wait_ready(f, timeout_ms != 0 ? timeout_ms : 30000);
    if (s != FERRY_OK) {
        ferry_problem(f, why, sizeof why);
        ferry_value_free(data);
        code = s == FERRY_INVALID ? CLI_USAGE : CLI_NOT_DONE;
    } else {
        s = cli_call_send(f, call, data, FERRY_CONFIRMED, why);
        code = timeout_ms < 0 ? CLI_NOT_DONE : cli_result_code_of(s);
    }
    cli_result_print_status(call->settings, s, why, 0);
    ferry_close(f);
    return cli_result_finish(code);
}

int cli_call_prepare(cli_call *call)
{
    const cli_settings *s = call->settings;

    if (call->command->verb == FERRY_GET && s->no_wait)
        return cli_usage(call->command,
                         "a get is its answer, so it waits; --no-wait is for post, put, patch and delete");
    if (!cli_within_parse(&call->within, getenv(CLI_WITHIN)))
        return cli_usage(call->command, CLI_WITHIN " is damaged; unset it, unless serve --exec started this");
    call->headers = cli_payload_headers(call->command, &s->headers);
    if (call->headers == NULL)
        return CLI_USAGE;
    if (call->within.traceparent[0] != '\0' && ferry_find(call->headers, "traceparent") == NULL)
        ferry_map_put(call->headers, "traceparent", ferry_text(call->within.traceparent));
    if (ferry_count(call->headers) == 0) {
        ferry_value_free(call->headers);
        call->headers = NULL;
    }
    return CLI_DONE;
}

static int run(const cli_call *call, int count, char **arguments)
{
    bool no_wait = call->settings->no_wait || call->command->verb == CLI_PUBLISH;
    ferry_value *data;

    for (int i = 0; i < count; i++) {
        if (strcmp(arguments[i], "-") != 0)
            continue;
        if (count > 1 || call->settings->data != NULL)
            return cli_usage(call->command, "- reads all data from stdin: leave out the other data");
        return no_wait ? cli_call_posts(call) : cli_call_stream(call);
    }
    data = cli_payload(call->command, call->settings, count, arguments);
    if (data == NULL)
        return CLI_USAGE;
    return no_wait ? send_once(call, data) : call_once(call, data);
}

int cli_call_run(const cli_command *command, const cli_settings *settings, int count, char **arguments)
{
    cli_call call = {.command = command, .settings = settings};
    int code;

    if (count == 0 && command->verb == CLI_PUBLISH)
        return cli_usage(command, "no topic; it is the domain and what happened in it, such as order.created");
    if (count == 0)
        return cli_usage(command, "no route; it is the service and a name in it, such as calc.add");
    call.route = arguments[0];
    code = cli_call_prepare(&call);
    if (code == CLI_DONE)
        code = run(&call, count - 1, arguments + 1);
    ferry_value_free(call.headers);
    return code;
}

int cli_call_publish(const cli_command *command, const cli_settings *settings, const char *topic, ferry_value *data)
{
    cli_call call = {.command = command, .settings = settings, .route = topic};
    int code = cli_call_prepare(&call);

    if (code == CLI_DONE)
        code = send_once(&call, data);
    else
        ferry_value_free(data);
    ferry_value_free(call.headers);
    return code;
}
