/* One line a finding, good ones plain, bad ones red where stdout is a terminal. */
#include "doctor.h"
#include "handle.h"
#include "json.h"
#include "result.h"
#include "within.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READY_MS = 5000, CLOSE_MS = 2000 };

static bool colour(void)
{
    const char *none = getenv("NO_COLOR");

    return isatty(STDOUT_FILENO) && (none == NULL || none[0] == '\0');
}

static bool bare; /* --full: only the JSON on stdout, what is bad on stderr */

static void print_line(const char *name, const char *value, bool bad)
{
    if (bare) {
        if (bad)
            cli_result_complain(0, name, value);
        return;
    }
    bool red = bad && colour();

    printf("%s%-14s %s%s\n", red ? "\033[31m" : "", name, value, red ? "\033[0m" : "");
}

/* Scheme, host and path: what is before '@' and after '?' may be secret. */
static void print_url(const cli_settings *s)
{
    const char *url = cli_url(s);
    cli_text t = {0};

    if (url == NULL) {
        print_line("url", "not set: the file in the user's state directory", false);
        return;
    }
    size_t scheme = strcspn(url, ":"), end = strcspn(url, "?#");
    const char *at = memrchr(url, '@', end);
    cli_text_add(&t, url, scheme);
    if (at != NULL)
        cli_text_printf(&t, "://...@%.*s", (int)(end - (size_t)(at + 1 - url)), at + 1);
    else
        cli_text_add(&t, url + scheme, end - scheme);
    if (url[end] != '\0')
        cli_text_puts(&t, "?...");
    print_line("url", t.failed ? "?" : t.at, false);
    cli_text_free(&t);
}

static bool check_connection(ferry *f, const cli_settings *s)
{
    int64_t start = cli_now_ms();
    ferry_status ready = ferry_wait_ready(f, s->timeout_ms != 0 ? s->timeout_ms : READY_MS);
    char why[FERRY_WHY_SIZE * 2] = "", took[64];

    ferry_problem(f, why, sizeof why);
    snprintf(took, sizeof took, "yes, after %lld ms", (long long)(cli_now_ms() - start));
    print_line("connected", ready == FERRY_OK ? took : ferry_status_name(ready), ready != FERRY_OK);
    if (why[0] != '\0')
        print_line("problem", why, true);
    return ready == FERRY_OK && why[0] == '\0';
}

/* A handle that was refused answers every call so; a broker that is away does not. */
static bool is_refused(ferry *f)
{
    ferry_reply *r = ferry_get(f, "ferry-doctor.nobody", NULL, FERRY_CALL(.timeout_ms = 1));
    bool refused = ferry_reply_status(r) == FERRY_INVALID;

    ferry_reply_free(r);
    return refused;
}

/* Nobody serves this: the broker must say so, and soon. */
static bool check_nobody(ferry *f)
{
    int64_t start = cli_now_ms();
    ferry_reply *r = ferry_get(f, "ferry-doctor.nobody", NULL, FERRY_CALL(.timeout_ms = READY_MS));
    bool good = ferry_reply_status(r) == FERRY_NO_SERVICE;
    char text[256];

    snprintf(text, sizeof text, "%s after %lld ms%s", ferry_status_name(ferry_reply_status(r)),
             (long long)(cli_now_ms() - start), good ? ", as it should be" : "; NO_SERVICE was expected");
    print_line("call nobody", text, !good);
    ferry_reply_free(r);
    return good;
}

static void print_finding(const char *prefix, const char *name, const ferry_value *v, bool bad)
{
    cli_text t = {0}, label = {0};
    size_t n = 0;
    const char *s = ferry_value_type(v) == FERRY_TYPE_STRING ? ferry_as_bytes(v, &n) : NULL;

    /* Bare text only without control characters: some of it is the broker's. */
    if (s != NULL && cli_json_write_string(&t, s, n) && t.length == n + 2)
        cli_text_printf(&label, "%.*s", (int)n, s);
    else {
        cli_text_clear(&t);
        cli_json_write(&t, v);
        cli_text_puts(&label, t.failed ? "?" : t.at);
    }
    cli_text_clear(&t);
    cli_text_printf(&t, "%s%s", prefix, name);
    if (!t.failed && !label.failed)
        print_line(t.at, label.at, bad);
    cli_text_free(&t);
    cli_text_free(&label);
}

/* A map of findings; "warnings" holds the bad ones, as a list or a map. */
static void print_findings(const ferry_value *map)
{
    for (size_t i = 0; i < ferry_count(map); i++) {
        const char *name = ferry_as_string(ferry_key_at(map, i), "?");
        const ferry_value *v = ferry_at(map, i);
        if (strcmp(name, "url") == 0 || strcmp(name, "version") == 0)
            continue; /* said already */
        if (strcmp(name, "warnings") != 0) {
            print_finding("", name, v, false);
            continue;
        }
        for (size_t j = 0; j < ferry_count(v); j++)
            print_finding("warning ", ferry_as_string(ferry_key_at(v, j), ""), ferry_at(v, j), true);
        if (ferry_value_type(v) == FERRY_TYPE_STRING)
            print_finding("warning", "", v, true);
    }
}

static bool check_transport(ferry *f, const cli_settings *s)
{
    ferry_reply *r = ferry_admin(f, "doctor", NULL, FERRY_CALL(.timeout_ms = READY_MS));
    bool good = !ferry_has_errors(r);

    if (good && s->full)
        cli_result_print_value(s, ferry_data(r));
    else if (good)
        print_findings(ferry_data(r));
    for (size_t i = 0; i < ferry_error_count(r); i++)
        print_line("transport", ferry_error_at(r, i)->message, true);
    ferry_reply_free(r);
    return good;
}

int cli_doctor_run(const cli_command *command, const cli_settings *s, int count, char **arguments)
{
    bool good;
    ferry *f;

    if (count > 0)
        return cli_usage(command, "takes no argument: leave out '%s'", arguments[0]);
    bare = s->full;
    f = cli_open(s, &(const cli_wishes){.close_ms = CLOSE_MS});
    print_line("ferry", ferry_version(), false);
    print_url(s);
    good = check_connection(f, s);
    if (!good && is_refused(f)) {
        ferry_close(f);
        return cli_result_finish(CLI_USAGE);
    }
    good = good && check_nobody(f);
    good = check_transport(f, s) && good;
    ferry_close(f);
    print_line("verdict", good ? "all well" : "not well: see above", !good);
    return cli_result_finish(good ? CLI_DONE : CLI_NOT_DONE);
}
