/* The command line: what commands there are, and what their options became. One table of options per command parses,
 * suggests and writes the help. */
#ifndef FERRY_CLI_ARGS_H
#define FERRY_CLI_ARGS_H

#include <ferry/ferry.h>

enum { CLI_DONE = 0, CLI_ERRORS = 1, CLI_USAGE = 2, CLI_NOT_DONE = 3, CLI_UNKNOWN = 4, CLI_SIGNAL = 130 };

typedef struct cli_list {
    const char **items;
    size_t       count;
} cli_list;

/* Everything any command can be told; zero = not given. */
typedef struct cli_settings {
    const char *url, *data, *key, *idempotency_key, *correlation;
    const char *exec, *verbs, *route, *in_flight, *count;
    const char *group, *from, *key_field, *keep, *keep_bytes, *workflow;
    cli_list    headers;
    int         timeout_ms, grace_ms, backoff_ms;
    int         workers, attempts, limit, seconds, size, partitions;
    bool        help, full, raw, quiet, verbose, no_wait, echo, until_eof, all, yes, drain, block_key;
} cli_settings;

typedef enum cli_kind { CLI_FLAG, CLI_TEXT, CLI_LIST, CLI_TIME, CLI_NUMBER } cli_kind;

typedef struct cli_option {
    char        letter; /* 0 = only the long name */
    const char *name;   /* NULL ends a table */
    cli_kind    kind;
    size_t      at;     /* offset in cli_settings */
    const char *value;  /* what help calls the value; NULL for a flag */
    const char *help;   /* NULL = works, but help is silent about it */
} cli_option;

#define CLI_TABLES 4

typedef struct cli_command cli_command;
struct cli_command {
    const char        *name;       /* "get", "dead list" */
    const char        *arguments;  /* for the line of use */
    const char        *summary;    /* one line */
    const char        *text;       /* what it does, for its own help */
    const char        *examples;
    const cli_option  *options[CLI_TABLES]; /* tables; NULL ends early */
    int              (*run)(const cli_command *command, const cli_settings *settings, int count, char **arguments);
    int                verb;       /* a ferry_verb, for calls */
};

extern const cli_command cli_commands[]; /* the last one has no name */

/* Options out of argv, everything else to the front of it in order: answers how many those are, or -1 after a line on
 * stderr. `settings` keeps pointers into argv. After "--" nothing is an option. */
int  cli_args_parse(const cli_command *command, cli_settings *settings, int argc, char **argv);
void cli_args_free(cli_settings *settings);

/* "ferry get: MESSAGE; see 'ferry get --help'" on stderr. Answers CLI_USAGE. */
int cli_usage(const cli_command *command, const char *format, ...) FERRY_PRINTF(2, 3);

/* "500" or "500ms", "2s", "1m", "1h" in milliseconds; 0 = not a time, or not from 1 ms to 24 days. */
int cli_time(const char *text);
/* A whole number from 1 to most; 0 = not one. */
int cli_number(const char *text, int most);

/* The nearest of names, NULL = none is near. */
const char *cli_suggest(const char *word, const char *const *names, size_t count);

void cli_help_all(FILE *to);
bool cli_help_group(FILE *to, const char *group); /* the commands that begin with this word; false = none */
void cli_help_command(FILE *to, const cli_command *command);

#endif
