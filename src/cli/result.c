#include "result.h"
#include "json.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static atomic_int write_error; /* errno of the first write to stdout that failed */

static const char *const outcomes[] = {"NOT_SENT", "NOT_EXECUTED", "UNKNOWN", "EXECUTED"};

int cli_result_code(const ferry_reply *r)
{
    bool here = true;

    if (!ferry_has_errors(r))
        return CLI_DONE;
    for (size_t i = 0; i < ferry_error_count(r); i++) {
        const char *origin = ferry_error_at(r, i)->origin;
        here = here && (origin == NULL || origin[0] == '\0' || strcmp(origin, "here") == 0);
    }
    if (ferry_reply_status(r) == FERRY_INVALID && here)
        return CLI_USAGE;
    if (ferry_reply_outcome(r) == FERRY_OUTCOME_UNKNOWN)
        return CLI_UNKNOWN;
    return !here || ferry_reply_outcome(r) == FERRY_OUTCOME_EXECUTED ? CLI_ERRORS : CLI_NOT_DONE;
}

int cli_result_code_of(ferry_status s)
{
    switch (s) {
    case FERRY_OK:
        return CLI_DONE;
    case FERRY_INVALID:
        return CLI_USAGE;
    /* These may come after the message left; without an outcome nobody can tell. */
    case FERRY_TIMEOUT:
    case FERRY_CANCELLED:
    case FERRY_MAYBE_EXECUTED:
        return CLI_UNKNOWN;
    default:
        return CLI_NOT_DONE;
    }
}

int cli_result_worse(int a, int b)
{
    static const int rank[] = {
        [CLI_DONE] = 0, [CLI_ERRORS] = 1, [CLI_USAGE] = 2, [CLI_NOT_DONE] = 3, [CLI_UNKNOWN] = 4};

    return rank[a] >= rank[b] ? a : b;
}

/* What a peer wrote, made safe for a terminal: invalid UTF-8 becomes '?', control characters become blanks. */
static void add_safe(cli_text *to, const char *s)
{
    const unsigned char *in = (const unsigned char *)s;
    size_t n = strlen(s);

    while (n > 0 && in[n - 1] == '\n')
        n--;
    for (size_t i = 0; i < n;) {
        size_t length = cli_utf8_length(in + i, n - i);
        if (in[i] == '\n')
            cli_text_puts(to, "\n    ");
        else if (length == 0)
            cli_text_puts(to, "?");
        else if (in[i] < 0x20 || in[i] == 0x7f || (in[i] == 0xc2 && in[i + 1] < 0xa0))
            cli_text_puts(to, " ");
        else
            cli_text_add(to, in + i, length);
        i += length > 0 ? length : 1;
    }
}

void cli_result_complain(size_t line, const char *type, const char *message)
{
    cli_text t = {0};

    if (line > 0)
        cli_text_printf(&t, "line %zu: ", line);
    add_safe(&t, type);
    cli_text_puts(&t, ": ");
    add_safe(&t, message);
    cli_text_puts(&t, "\n");
    if (line > 0 && isatty(STDERR_FILENO)) /* the progress of a stream stands there */
        fputs("\r\033[K", stderr);
    fputs(t.failed ? "NO_MEMORY: out of memory\n" : t.at, stderr);
    cli_text_free(&t);
}

static void write_out(const cli_text *t)
{
    size_t done = t->failed || t->at == NULL ? 0 : fwrite(t->at, 1, t->length, stdout);
    int none = 0;

    if (t->failed || done < t->length)
        atomic_compare_exchange_strong(&write_error, &none, t->failed ? ENOMEM : errno);
}

static void add_value(cli_text *to, const cli_settings *settings, const ferry_value *v)
{
    ferry_type type = ferry_value_type(v);
    size_t n = 0;

    if (settings->raw && (type == FERRY_TYPE_STRING || type == FERRY_TYPE_BYTES)) {
        const void *bytes = ferry_as_bytes(v, &n);
        cli_text_add(to, bytes, bytes != NULL ? n : 0);
        if (type == FERRY_TYPE_BYTES)
            return;
    } else {
        cli_json_write(to, v);
    }
    cli_text_puts(to, "\n");
}

void cli_result_print_value(const cli_settings *settings, const ferry_value *v)
{
    cli_text t = {0};

    if (settings->quiet)
        return;
    add_value(&t, settings, v);
    write_out(&t);
    cli_text_free(&t);
}

static void add_string(cli_text *to, const char *name, const char *s)
{
    cli_text safe = {0};

    if (s != NULL && !cli_utf8_valid(s, strlen(s))) {
        add_safe(&safe, s);
        s = safe.failed ? "" : safe.at;
    }
    cli_text_printf(to, ",\"%s\":", name);
    if (s == NULL)
        cli_text_puts(to, "null");
    else
        cli_json_write_string(to, s, strlen(s));
    cli_text_free(&safe);
}

static void add_error(cli_text *to, const ferry_error *e)
{
    cli_text_printf(to, "{\"code\":\"%s\"", ferry_status_name(e->code));
    add_string(to, "type", e->type);
    add_string(to, "message", e->message);
    cli_text_printf(to, ",\"retryable\":%s", e->retryable ? "true" : "false");
    add_string(to, "origin", e->origin);
    cli_text_puts(to, "}");
}

static void print_full(const ferry_reply *r)
{
    cli_text t = {0};

    cli_text_puts(&t, "{\"data\":");
    cli_json_write(&t, ferry_data(r));
    cli_text_printf(&t, ",\"has_errors\":%s,\"errors\":[", ferry_has_errors(r) ? "true" : "false");
    for (size_t i = 0; i < ferry_error_count(r); i++) {
        if (i > 0)
            cli_text_puts(&t, ",");
        add_error(&t, ferry_error_at(r, i));
    }
    cli_text_printf(&t, "],\"status\":\"%s\",\"outcome\":\"%s\",\"headers\":", ferry_status_name(ferry_reply_status(r)),
                    outcomes[ferry_reply_outcome(r)]);
    if (ferry_value_type(ferry_reply_headers(r)) == FERRY_TYPE_MAP)
        cli_json_write(&t, ferry_reply_headers(r));
    else
        cli_text_puts(&t, "{}");
    cli_text_puts(&t, "}\n");
    write_out(&t);
    cli_text_free(&t);
}

void cli_result_print(const cli_settings *settings, const ferry_reply *r, size_t line)
{
    if (settings->full && !settings->quiet)
        print_full(r);
    else if (!ferry_has_errors(r))
        cli_result_print_value(settings, ferry_data(r));
    for (size_t i = 0; i < ferry_error_count(r); i++) {
        const ferry_error *e = ferry_error_at(r, i);
        cli_result_complain(line, e->type != NULL ? e->type : ferry_status_name(e->code),
                            e->message != NULL ? e->message : "");
    }
}

void cli_result_print_status(const cli_settings *settings, ferry_status s, const char *why, size_t line)
{
    if (why[0] == '\0')
        why = ferry_status_text(s);
    if (settings->full && !settings->quiet) {
        ferry_error e = {s, ferry_status_retryable(s), ferry_status_name(s), why, "here"};
        cli_text t = {0};
        cli_text_printf(&t, "{\"data\":null,\"has_errors\":%s,\"errors\":[", s != FERRY_OK ? "true" : "false");
        if (s != FERRY_OK)
            add_error(&t, &e);
        cli_text_printf(&t, "],\"status\":\"%s\"}\n", ferry_status_name(s));
        write_out(&t);
        cli_text_free(&t);
    }
    if (s != FERRY_OK)
        cli_result_complain(line, ferry_status_name(s), why);
}

void cli_result_flush(void)
{
    int none = 0;

    if (fflush(stdout) != 0)
        atomic_compare_exchange_strong(&write_error, &none, errno);
}

bool cli_result_stdout_failed(void)
{
    return atomic_load(&write_error) != 0;
}

int cli_result_finish(int code)
{
    cli_result_flush();
    if (!cli_result_stdout_failed())
        return code;
    if (atomic_load(&write_error) != EPIPE)
        fprintf(stderr, "ferry: stdout: %s; the answer is lost\n", strerror(atomic_load(&write_error)));
    return CLI_UNKNOWN;
}
