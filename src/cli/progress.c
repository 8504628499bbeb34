#include "progress.h"
#include "within.h"

#include <unistd.h>

enum { EVERY_MS = 200 };

void cli_progress_start(cli_progress *p, const cli_settings *settings)
{
    int64_t now = cli_now_ms();

    *p = (cli_progress){.shown = isatty(STDERR_FILENO) && !settings->quiet, .start_ms = now, .last_ms = now};
}

static void print(const cli_progress *p, int64_t now, const char *end)
{
    double seconds = (double)(now - p->start_ms + 1) / 1000;

    fprintf(stderr, "\r%zu done, %zu failed, %.0f/s\033[K%s", p->done, p->failed,
            (double)(p->done + p->failed) / seconds, end);
}

void cli_progress_step(cli_progress *p, bool failed)
{
    int64_t now;

    p->failed += failed;
    p->done += !failed;
    if (!p->shown)
        return;
    now = cli_now_ms();
    if (now - p->last_ms < EVERY_MS)
        return;
    p->last_ms = now;
    print(p, now, "");
}

void cli_progress_end(cli_progress *p)
{
    if (p->shown)
        print(p, cli_now_ms(), "\n");
}
