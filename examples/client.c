/* client.c - one call, from start to end. Run server.c first. */
#include <ferry/ferry.h>

int main(void)
{
    ferry *f = ferry_open(NULL, NULL);
    ferry_reply *sum = ferry_get(f, "calc.add", ferry_map("x", 1, "y", 2), NULL);
    int failed = ferry_has_errors(sum);
    if (failed)
        ferry_print_errors(sum, stderr);
    else
        printf("%lld\n", (long long)ferry_as_int(ferry_data(sum), 0));
    ferry_reply_free(sum);
    ferry_close(f);
    return failed;
}
