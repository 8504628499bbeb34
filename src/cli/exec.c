/* A message becomes the input and the environment of a shell command, its output the answer. The command line itself
 * is what the operator typed; nothing of a message ever becomes part of it. */
#include "exec.h"
#include "child.h"
#include "environment.h"
#include "json.h"
#include "within.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { OUTPUT_MAX = 1 << 20 }; /* the library's limit of one message */

/* --raw: a string or bytes as they are; nil is no input. Everything else is JSON with a newline. */
static void write_input(cli_text *to, const ferry_value *data, bool raw)
{
    ferry_type type = ferry_value_type(data);
    size_t n = 0;

    if (raw && (type == FERRY_TYPE_STRING || type == FERRY_TYPE_BYTES)) {
        const void *bytes = ferry_as_bytes(data, &n);
        cli_text_add(to, bytes, bytes != NULL ? n : 0);
    } else if (!raw || type != FERRY_TYPE_NIL) {
        cli_json_write(to, data);
        cli_text_puts(to, "\n");
    }
}

static ferry_value *text_of(const cli_text *t)
{
    if (t->at == NULL)
        return ferry_string("", 0);
    return cli_utf8_valid(t->at, t->length) ? ferry_string(t->at, t->length) : ferry_bytes(t->at, t->length);
}

/* Most commands end their output with a newline that belongs to the terminal and not to the answer; one whose input
 * ended with a newline is a filter that kept it. */
static ferry_value *read_answer(cli_text *output, const cli_text *input, bool raw)
{
    cli_json_error error;
    ferry_value *v = NULL;

    if (raw) {
        if (input->length == 0 || input->at[input->length - 1] != '\n')
            cli_text_cut_newline(output);
        return text_of(output);
    }
    if (output->length == 0)
        return ferry_nil();
    v = cli_json_read(output->at, output->length, &error);
    if (v != NULL)
        return v;
    cli_text_cut_newline(output);
    return text_of(output);
}

/* Its stderr as a message: the library wants UTF-8 without NUL. */
static void fail_with_complaint(ferry_request *req, const cli_child *c)
{
    cli_text safe = {0};
    const unsigned char *in = (const unsigned char *)c->complaint.at;

    for (size_t i = 0; i < c->complaint.length;) {
        size_t n = in[i] != '\0' ? cli_utf8_length(in + i, c->complaint.length - i) : 0;
        cli_text_add(&safe, n > 0 ? (const void *)(in + i) : "?", n > 0 ? n : 1);
        i += n > 0 ? n : 1;
    }
    while (cli_text_cut_newline(&safe))
        ;
    if (safe.length > 0 && !safe.failed)
        ferry_fail(req, "FAILED", "%s", safe.at);
    else if (WIFSIGNALED(c->status))
        ferry_fail(req, "FAILED", "the command was ended by signal %d (%s)", WTERMSIG(c->status),
                   strsignal(WTERMSIG(c->status)));
    else
        ferry_fail(req, "FAILED", "the command exited with %d", WEXITSTATUS(c->status));
    cli_text_free(&safe);
}

static bool succeeded(const cli_child *c)
{
    return c->end == CLI_CHILD_EXITED && WIFEXITED(c->status) && WEXITSTATUS(c->status) == 0;
}

static void answer(ferry_request *req, const cli_exec *exec, cli_child *c)
{
    switch (c->end) {
    case CLI_CHILD_EXITED:
        if (!succeeded(c))
            fail_with_complaint(req, c);
        else if (exec->print == NULL)
            ferry_respond(req, read_answer(&c->output, c->input, exec->raw));
        break;
    case CLI_CHILD_TOO_LONG:
        ferry_fail(req, "TIMEOUT", "the command was ended at the deadline");
        break;
    case CLI_CHILD_CANCELLED:
        ferry_fail(req, "CANCELLED", "the command was ended: the call was cancelled");
        break;
    case CLI_CHILD_TOO_BIG:
        ferry_fail(req, "TOO_BIG", "the command wrote more than %d bytes", (int)OUTPUT_MAX);
        break;
    }
}

static bool is_cancelled(void *req)
{
    return ferry_request_cancelled(req);
}

/* The caller's deadline, or the operator's limit, whichever is first. */
static int64_t deadline_of(const ferry_request *req, int limit_ms)
{
    int left = ferry_request_remaining_ms(req);

    if (left < 0 && limit_ms == 0)
        return 0;
    if (left < 0 || (limit_ms != 0 && limit_ms < left))
        left = limit_ms;
    return cli_now_ms() + left;
}

bool cli_exec_event(ferry_request *req, const cli_exec *exec)
{
    bool good = false;
    cli_text input = {0};
    cli_child c = {.input = &input, .output = {.max = OUTPUT_MAX}, .pass_on = !exec->quiet};
    char **environment = cli_environment(req, exec->url);
    int error;

    write_input(&input, ferry_request_data(req), exec->raw);
    c.deadline_ms = deadline_of(req, exec->limit_ms);
    if (environment == NULL || input.failed) {
        ferry_fail(req, "NO_MEMORY", "out of memory");
    } else if ((error = cli_child_start(&c, exec->command, environment)) != 0) {
        ferry_fail(req, "FAILED", "the command cannot be started: %s", strerror(error));
    } else {
        cli_child_run(&c, is_cancelled, req);
        answer(req, exec, &c);
        good = succeeded(&c);
        if (good && exec->print != NULL)
            exec->print(&c.output, exec->print_arg);
    }
    cli_child_done(&c);
    cli_environment_free(environment);
    cli_text_free(&input);
    return good;
}

void cli_exec_handle(ferry_request *req, void *exec)
{
    cli_exec_event(req, exec);
}

size_t cli_exec_running(void)
{
    return cli_child_count();
}

void cli_exec_kill_all(void)
{
    cli_child_kill_all();
}
