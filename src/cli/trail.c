#include "trail.h"
#include "admin.h"
#include "handle.h"
#include "result.h"

#include <time.h>

enum { CLOSE_MS = 2000, WAIT_MS = 30000 };

static const char *text_in(const ferry_value *map, const char *key)
{
    return ferry_as_string(ferry_find(map, key), "-");
}

static void print_hop(const ferry_value *hop)
{
    int64_t ms = ferry_as_int(ferry_find(hop, "when_ms"), 0);
    time_t at = (time_t)(ms / 1000);
    struct tm local;
    char second[32] = "", when[48];

    if (localtime_r(&at, &local) != NULL)
        strftime(second, sizeof second, "%Y-%m-%d %H:%M:%S", &local);
    snprintf(when, sizeof when, "%s.%03d", second, (int)(ms % 1000));
    cli_admin_column(when, 23);
    cli_admin_column(text_in(hop, "who"), 32);
    cli_admin_column(text_in(hop, "route"), 24);
    cli_admin_column(text_in(hop, "what"), 48);
}

int cli_trail_run(const cli_command *command, const cli_settings *s, int count, char **arguments)
{
    int timeout_ms = s->timeout_ms != 0 ? s->timeout_ms : WAIT_MS;
    char why[FERRY_WHY_SIZE] = "", head[128];
    ferry_value *hops;
    ferry *f;
    int code = CLI_DONE;

    if (count != 1)
        return cli_usage(command, "wants one correlation id, as ferry_request_correlation or 'ferry listen' shows it");
    f = cli_open(s, &(const cli_wishes){.close_ms = CLOSE_MS});
    hops = ferry_trail(f, arguments[0], timeout_ms, why);
    if (hops == NULL || ferry_count(hops) == 0) {
        cli_result_complain(0, hops == NULL ? "UNAVAILABLE" : "NOT_FOUND",
                            hops == NULL ? why : "no hop has this correlation id, or none is kept any more");
        code = CLI_NOT_DONE;
    }
    snprintf(head, sizeof head, "%-25s%-34s%-26s%s", "WHEN", "WHO", "ROUTE", "WHAT");
    cli_admin_print_list(s, hops, head, print_hop);
    ferry_value_free(hops);
    ferry_close(f);
    return cli_result_finish(code);
}
