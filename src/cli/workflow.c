/* What a step of a workflow says when it begins or ends, and what it leaves behind. */
#include "handle.h"
#include "json.h"
#include "publish.h"
#include "result.h"
#include "signals.h"
#include "text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    CLOSE_MS = 2000,
    READY_MS = 30000,
    FILE_MAX = (1 << 20) - 1024 /* a message is 1 MiB, with the name and its frame */
};

/* ---- notify ---- */

/* JSON, else the text itself: as the output of --exec is read. */
static ferry_value *payload_of(const char *text)
{
    cli_json_error error;
    ferry_value *v = cli_json_read(text, strlen(text), &error);

    if (v != NULL)
        return v;
    return cli_utf8_valid(text, strlen(text)) ? ferry_text(text) : ferry_bytes(text, strlen(text));
}

static const char *workflow_of(const cli_settings *s)
{
    const char *name = s->workflow != NULL ? s->workflow : getenv("FERRY_WORKFLOW");

    if (name == NULL || name[0] == '\0')
        name = getenv("CH_WORKFLOW_NAME");
    return name != NULL && name[0] != '\0' && cli_utf8_valid(name, strlen(name)) ? name : NULL;
}

int cli_notify_run(const cli_command *command, const cli_settings *settings, int count, char **arguments)
{
    const char *workflow = workflow_of(settings);
    ferry_value *data;

    if (count != 3)
        return cli_usage(command, "wants QUEUE, STATUS and PAYLOAD, such as: results Succeeded '{\"files\":3}'");
    if (!cli_utf8_valid(arguments[1], strlen(arguments[1])))
        return cli_usage(command, "STATUS is not UTF-8");
    data = ferry_map("status", (const char *)arguments[1], "payload", payload_of(arguments[2]));
    if (workflow != NULL)
        ferry_map_put(data, "workflow", ferry_text(workflow));
    return cli_call_publish(command, settings, arguments[0], data);
}

/* ---- send-files ---- */

typedef struct files {
    const cli_call *call;
    ferry          *f;
    const char     *directory;
    size_t          limit, sent;
    int             code;
} files;

static void complain(files *w, const char *name, const char *type, const char *why, int code)
{
    cli_text message = {0};

    cli_text_printf(&message, "%s: %s", name, why);
    cli_result_complain(0, type, message.failed ? why : message.at);
    cli_text_free(&message);
    w->code = cli_result_worse(w->code, code);
}

static void too_big(files *w, const char *name)
{
    char why[96];

    snprintf(why, sizeof why, "over %zu bytes (--limit); nothing of it was sent", w->limit);
    complain(w, name, "TOO_BIG", why, CLI_USAGE);
}

/* {name: content}; NULL: said why not, or it is no file. */
static ferry_value *read_file(files *w, const char *name)
{
    cli_text path = {0}, content = {.max = w->limit};
    char why[512] = "out of memory";
    struct stat st;
    ferry_value *data = NULL;
    bool stated;

    cli_text_printf(&path, "%s/%s", w->directory, name);
    stated = !path.failed && stat(path.at, &st) == 0;
    if (!stated) {
        complain(w, name, "INVALID", strerror(errno), CLI_USAGE);
    } else if (!S_ISREG(st.st_mode)) {
        ; /* directories, sockets: not ours */
    } else if (st.st_size > (off_t)w->limit) {
        too_big(w, name);
    } else if (!cli_text_load(&content, path.at, why, sizeof why)) {
        if (content.failed) /* it has grown meanwhile */
            too_big(w, name);
        else
            complain(w, name, "INVALID", why, CLI_USAGE);
    } else if (cli_utf8_valid(content.at, content.length)) {
        data = ferry_map(name, ferry_string(content.at, content.length));
    } else {
        data = ferry_map(name, ferry_bytes(content.at, content.length));
    }
    cli_text_free(&content);
    cli_text_free(&path);
    return data;
}

static void send_file(files *w, const char *name)
{
    char why[FERRY_WHY_SIZE] = "";
    ferry_value *data;
    ferry_status s;

    if (!cli_utf8_valid(name, strlen(name))) {
        complain(w, name, "INVALID", "the name is not UTF-8", CLI_USAGE);
        return;
    }
    data = read_file(w, name);
    if (data == NULL)
        return;
    s = cli_call_send(w->f, w->call, data, FERRY_CONFIRMED, why);
    if (s != FERRY_OK)
        complain(w, name, ferry_status_name(s), why[0] != '\0' ? why : ferry_status_text(s), cli_result_code_of(s));
    else
        w->sent++;
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* Connected first, as for one send: after that a timeout may mean sent, before it never does. */
static int send_all(files *w, struct dirent **names, int count)
{
    const cli_settings *s = w->call->settings;
    ferry_status ready = ferry_wait_ready(w->f, s->timeout_ms != 0 ? s->timeout_ms : READY_MS);
    char why[FERRY_WHY_SIZE] = "";

    if (ready != FERRY_OK) {
        ferry_problem(w->f, why, sizeof why);
        cli_result_print_status(s, ready, why, 0);
        return ready == FERRY_INVALID ? CLI_USAGE : CLI_NOT_DONE;
    }
    for (int i = 0; i < count && !cli_signals_came(); i++)
        send_file(w, names[i]->d_name);
    if (!s->quiet)
        fprintf(stderr, "ferry: %zu file(s) sent\n", w->sent);
    return w->code;
}

static int send_directory(const cli_call *call, const char *directory)
{
    files w = {.call = call, .directory = directory, .limit = FILE_MAX};
    struct dirent **names = NULL;
    int count, code;

    if (call->settings->size != 0)
        w.limit = (size_t)call->settings->size;
    count = scandir(directory, &names, is_visible, alphasort);
    if (count < 0)
        return cli_usage(call->command, "%s: %s", directory, strerror(errno));
    cli_signals_start(NULL, NULL, NULL);
    w.f = cli_open(call->settings, &(const cli_wishes){.close_ms = CLOSE_MS});
    code = send_all(&w, names, count);
    for (int i = 0; i < count; i++)
        free(names[i]);
    free(names);
    ferry_close(w.f);
    return cli_signals_came() ? CLI_SIGNAL : code;
}

int cli_send_files_run(const cli_command *command, const cli_settings *settings, int count, char **arguments)
{
    cli_call call = {.command = command, .settings = settings};
    int code;

    if (count != 2)
        return cli_usage(command, "wants DIR and TOPIC, such as: ./results workflow.results");
    call.route = arguments[1];
    code = cli_call_prepare(&call);
    if (code == CLI_DONE)
        code = send_directory(&call, arguments[0]);
    ferry_value_free(call.headers);
    return code;
}
