/* Help, from the same tables that parse. */
#include "args.h"

#include <string.h>

static void print_options(FILE *to, const cli_command *command)
{
    fputs("\nOptions:\n", to);
    for (size_t t = 0; t < CLI_TABLES && command->options[t] != NULL; t++) {
        for (const cli_option *o = command->options[t]; o->name != NULL; o++) {
            char left[64], letter[8] = "   ";
            if (o->help == NULL)
                continue;
            if (o->letter != '\0')
                snprintf(letter, sizeof letter, "-%c,", o->letter);
            snprintf(left, sizeof left, "%s --%s%s%s", letter, o->name, o->value != NULL ? " " : "",
                     o->value != NULL ? o->value : "");
            fprintf(to, "  %-28s %s\n", left, o->help);
        }
    }
}

void cli_help_command(FILE *to, const cli_command *command)
{
    fprintf(to, "Usage: ferry %s %s\n\n%s", command->name, command->arguments, command->text);
    print_options(to, command);
    fprintf(to, "\nExamples:\n%s", command->examples);
}

bool cli_help_group(FILE *to, const char *group)
{
    size_t length = strlen(group);
    bool any = false;

    for (const cli_command *c = cli_commands; c->name != NULL; c++) {
        if (strncmp(c->name, group, length) != 0 || c->name[length] != ' ')
            continue;
        if (!any)
            fprintf(to, "Usage: ferry %s COMMAND ...\n\n", group);
        fprintf(to, "  ferry %-14s %s\n", c->name, c->summary);
        any = true;
    }
    if (any)
        fprintf(to, "\n'ferry %s COMMAND --help' shows options and examples.\n", group);
    return any;
}

void cli_help_all(FILE *to)
{
    fputs("Usage: ferry COMMAND [ARGUMENT...]\n"
          "\n"
          "Call services, run any command as a service, and look after both, whatever broker is between.\n"
          "The broker is named by -u URL or FERRY_URL; with neither, it is a file in your state directory.\n"
          "\n",
          to);
    for (const cli_command *c = cli_commands; c->name != NULL; c++)
        fprintf(to, "  %-14s %s\n", c->name, c->summary);
    fputs("  version        of the tool and the library\n"
          "  help           this, or 'ferry help COMMAND': options and examples of one command\n"
          "\n"
          "Try it, in two terminals:\n"
          "  ferry serve calc.echo --echo\n"
          "  ferry get calc.echo x:=1 name=ada              prints {\"x\":1,\"name\":\"ada\"}\n"
          "\n"
          "Exit status: 0 done; 1 the server answered with errors; 2 wrong usage; 3 not done: no service,\n"
          "unreachable, refused; 4 nobody knows whether it was done; 130 ended by a signal.\n",
          to);
}
