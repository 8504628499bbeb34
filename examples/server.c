/* server.c - one service, until SIGINT or SIGTERM. */
#include <ferry/ferry.h>

static void add(ferry_request *req, void *arg)
{
    int x, y;
    (void)arg;
    if (ferry_args(req, "x", &x, "y", &y))
        ferry_respond(req, ferry_of(x + y));
}

int main(void)
{
    ferry *f = ferry_open(NULL, NULL);
    ferry_handle(f, "calc.add", add, NULL, NULL);
    return ferry_run(f);
}
