#include "handle.h"
#include "text.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

/* The log function shares its argument with the drop function, so the level stands here; bench opens two handles. */
static atomic_int worst_silent;

static void print_log(int level, const char *line, void *arg)
{
    static const char *const names[] = {"emergency", "alert",  "critical", "error",
                                        "warning",   "notice", "info",     "trace"};

    (void)arg;
    if (level < atomic_load(&worst_silent))
        fprintf(stderr, "ferry: %s: %s\n", names[level < 0 ? 0 : level], line);
}

const char *cli_url(const cli_settings *settings)
{
    const char *url = settings->url != NULL ? settings->url : getenv("FERRY_URL");

    return url != NULL && url[0] != '\0' ? url : NULL;
}

ferry *cli_open(const cli_settings *settings, const cli_wishes *wishes)
{
    const char *url = cli_url(settings);
    cli_text traced = {0};
    ferry *f = NULL;

    atomic_store(&worst_silent, settings->verbose ? LOG_DEBUG + 1 : wishes->log_level != 0 ? wishes->log_level + 1 : 0);
    if (settings->verbose) {
        cli_text_printf(&traced, "trace+%s", url != NULL ? url : "file:");
        url = traced.at;
    }
    if (!traced.failed)
        f = ferry_open(url, FERRY_OPTIONS(.timeout_ms = 0, .close_ms = wishes->close_ms, .workers = wishes->workers,
                                          .max_pending = wishes->max_pending, .on_log = print_log,
                                          .on_drop = wishes->on_drop, .arg = wishes->arg));
    cli_text_free(&traced);
    if (f == NULL)
        fputs("NO_MEMORY: out of memory\n", stderr);
    return f;
}
