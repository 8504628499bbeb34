#include "message.h"
#include "json.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void add_field(cli_text *to, const char *name, const char *value)
{
    if (value == NULL || value[0] == '\0')
        return;
    cli_text_printf(to, ",\"%s\":", name);
    if (cli_utf8_valid(value, strlen(value)))
        cli_json_write_string(to, value, strlen(value));
    else
        cli_text_puts(to, "null");
}

static void write_whole(cli_text *to, const ferry_request *req)
{
    const char *id = ferry_request_id(req), *correlation = ferry_request_correlation(req);
    const ferry_value *headers = ferry_request_headers(req);

    cli_text_printf(to, "{\"topic\":\"%s\"", ferry_request_route(req)); /* routes have no characters to escape */
    add_field(to, "id", id);
    add_field(to, "key", ferry_request_key(req));
    if (correlation != NULL && id != NULL && strcmp(correlation, id) != 0)
        add_field(to, "correlation", correlation);
    cli_text_printf(to, ",\"attempt\":%d", ferry_request_attempt(req));
    if (ferry_count(headers) > 0) {
        cli_text_puts(to, ",\"headers\":");
        cli_json_write(to, headers);
    }
    cli_text_puts(to, ",\"data\":");
    cli_json_write(to, ferry_request_data(req));
    cli_text_puts(to, "}\n");
}

void cli_message_write(cli_text *to, const cli_settings *settings, const ferry_request *req)
{
    const ferry_value *data = ferry_request_data(req);
    ferry_type type = ferry_value_type(data);
    size_t n = 0;

    if (!settings->raw) {
        write_whole(to, req);
        return;
    }
    if (type == FERRY_TYPE_STRING || type == FERRY_TYPE_BYTES) {
        const void *bytes = ferry_as_bytes(data, &n);
        cli_text_add(to, bytes, bytes != NULL ? n : 0);
    } else {
        cli_json_write(to, data);
    }
    if (type != FERRY_TYPE_BYTES)
        cli_text_puts(to, "\n");
}

int cli_message_put(const cli_text *t)
{
    size_t done = 0;

    while (done < t->length) {
        ssize_t n = write(STDOUT_FILENO, t->at + done, t->length - done);
        if (n >= 0)
            done += (size_t)n;
        else if (errno == EAGAIN) /* somebody else's descriptor, too, that does not wait */
            poll(&(struct pollfd){.fd = STDOUT_FILENO, .events = POLLOUT}, 1, -1);
        else if (errno != EINTR)
            return errno;
    }
    return 0;
}

/* A pipe tells nobody that it was emptied, so it is looked at: often at first, for readers are quick. */
bool cli_message_taken(bool (*is_over)(void *arg), void *arg)
{
    enum { FIRST_NS = 20000, MOST_NS = 2000000 };
    struct pollfd out = {.fd = STDOUT_FILENO, .events = 0};
    struct timespec pause = {.tv_nsec = FIRST_NS};
    struct stat st;
    int unread;
    bool left = false;

    if (fstat(STDOUT_FILENO, &st) != 0 || !S_ISFIFO(st.st_mode))
        return true;
    while (ioctl(STDOUT_FILENO, FIONREAD, &unread) == 0 && unread > 0) {
        if (left || is_over(arg)) /* looked at once more after it left: it may have taken all before */
            return false;
        left = ppoll(&out, 1, &pause, NULL) > 0 && (out.revents & POLLERR) != 0;
        if (pause.tv_nsec < MOST_NS)
            pause.tv_nsec += pause.tv_nsec / 2;
    }
    return true;
}
