#include "lines.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

static bool find_newline(cli_lines *l)
{
    cli_text *b = &l->buffer;
    const char *at = b->length > l->seen ? memchr(b->at + l->seen, '\n', b->length - l->seen) : NULL;

    l->seen = at != NULL ? (size_t)(at - b->at) : b->length;
    return at != NULL;
}

/* What was given is forgotten before more is read. */
static cli_lines_got fill(cli_lines *l)
{
    char block[65536];
    struct pollfd fds[2] = {{.fd = l->fd, .events = POLLIN}, {.fd = l->stop_fd, .events = POLLIN}};
    ssize_t n;

    if (poll(fds, 2, -1) < 0)
        return errno == EINTR ? CLI_LINE : CLI_LINES_FAILED;
    if (fds[1].revents != 0)
        return CLI_LINES_STOPPED;
    n = read(l->fd, block, sizeof block);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN ? CLI_LINE : CLI_LINES_FAILED;
    if (l->from > 0) {
        l->buffer.length -= l->from;
        memmove(l->buffer.at, l->buffer.at + l->from, l->buffer.length);
        l->seen -= l->from;
        l->from = 0;
    }
    l->ended = n == 0;
    if (!cli_text_add(&l->buffer, block, (size_t)n)) {
        errno = EFBIG;
        return CLI_LINES_FAILED;
    }
    return CLI_LINE;
}

cli_lines_got cli_lines_next(cli_lines *l, const char **line, size_t *length)
{
    while (!find_newline(l) && !l->ended) {
        cli_lines_got got = fill(l);
        if (got != CLI_LINE)
            return got;
    }
    if (l->from == l->buffer.length)
        return CLI_LINES_END;
    *line = l->buffer.at + l->from;
    *length = l->seen - l->from;
    l->from = l->seen < l->buffer.length ? l->seen + 1 : l->seen;
    l->seen = l->from;
    l->number++;
    return CLI_LINE;
}

bool cli_lines_ready(cli_lines *l)
{
    struct pollfd fd = {.fd = l->fd, .events = POLLIN};

    return find_newline(l) || l->ended || poll(&fd, 1, 0) != 0;
}

void cli_lines_free(cli_lines *l)
{
    cli_text_free(&l->buffer);
}
