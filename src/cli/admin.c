#include "admin.h"
#include "handle.h"
#include "result.h"
#include "text.h"

#include <string.h>
#include <unistd.h>

enum { CLOSE_MS = 2000 };

int cli_admin_ask(const cli_settings *settings, const char *what, ferry_value *args, cli_admin_print_fn *print)
{
    ferry *f = cli_open(settings, &(const cli_wishes){.close_ms = CLOSE_MS});
    ferry_reply *r = ferry_admin(f, what, args, FERRY_CALL(.timeout_ms = settings->timeout_ms));
    int code = cli_result_code(r);

    if (print != NULL && code == CLI_DONE)
        print(settings, ferry_data(r));
    else
        cli_result_print(settings, r, 0);
    ferry_reply_free(r);
    ferry_close(f);
    return cli_result_finish(code);
}

void cli_admin_column(const char *text, int width)
{
    const unsigned char *in = (const unsigned char *)text;
    size_t n = strlen(text);
    int used = 0;

    for (size_t i = 0; i < n && used < width; used++) {
        size_t length = cli_utf8_length(in + i, n - i);
        bool control = in[i] < 0x20 || in[i] == 0x7f || (in[i] == 0xc2 && length == 2 && in[i + 1] < 0xa0);
        if (length == 0 || control)
            fputc(' ', stdout);
        else
            fwrite(in + i, 1, length, stdout);
        i += length > 0 ? length : 1;
    }
    printf("%*s", width - used + 2, "");
}

void cli_admin_number(const ferry_value *number, int width)
{
    int64_t n = ferry_as_int(number, -1);
    char text[24] = "-";

    if (n >= 0)
        snprintf(text, sizeof text, "%lld", (long long)n);
    cli_admin_column(text, width);
}

void cli_admin_print_list(const cli_settings *settings, const ferry_value *list, const char *head,
                          void (*print_row)(const ferry_value *item))
{
    bool table = isatty(STDOUT_FILENO) && !settings->full && !settings->quiet;

    if (table && ferry_count(list) > 0)
        printf("%s\n", head);
    for (size_t i = 0; i < ferry_count(list); i++) {
        if (!table) {
            cli_result_print_value(settings, ferry_at(list, i));
            continue;
        }
        print_row(ferry_at(list, i));
        fputc('\n', stdout);
    }
}

int cli_admin_agree(const cli_command *command, const cli_settings *settings, const char *question)
{
    char line[16] = "";

    if (settings->yes)
        return CLI_DONE;
    if (!isatty(STDIN_FILENO))
        return cli_usage(command, "nobody is there to ask: add --yes");
    fprintf(stderr, "%s [y/N] ", question);
    fflush(stderr);
    if (fgets(line, sizeof line, stdin) != NULL && (line[0] == 'y' || line[0] == 'Y'))
        return CLI_DONE;
    fputs("ferry: left as it was\n", stderr);
    return CLI_NOT_DONE;
}
