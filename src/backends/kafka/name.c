/* name.c - names of ferry's as names of topics and groups, which know only letters, digits, '.', '_' and '-'.
 *
 *     mail              NS.mail               a service, a domain
 *     order/billing     NS.order.billing      the box of a group of subscribers: services, domains and groups have no dots, so it is
 *                                             nobody else's
 *     order/@shop       NS.order..shop        the box of a broadcast
 *
 * Any other sign becomes '_'. */
#include "backends/kafka/kafka.h"

#include <stdio.h>
#include <string.h>

static bool legal(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
}

void ferry__kafka_name(const ferry__kafka *k, const char *name, const char *suffix, char *to, size_t size)
{
    size_t at = (size_t)snprintf(to, size, "%s.", k->config->ns);
    for (; *name && at + 1 < size; name++)
        to[at++] = legal(*name) ? *name : *name == '/' || *name == '@' ? '.' : '_';
    if (at < size)
        snprintf(to + at, size - at, "%s%s", suffix ? "." : "", suffix ? suffix : "");
}

void ferry__kafka_name_back(const char *name, size_t length, char *to, size_t size)
{
    const char *dot = memchr(name, '.', length);
    size_t first = dot ? (size_t)(dot - name) : length;
    if (!dot) {
        snprintf(to, size, "%.*s", (int)length, name);
        return;
    }
    bool broadcast = first + 1 < length && dot[1] == '.';
    size_t rest = first + 1 + broadcast;
    snprintf(to, size, "%.*s/%s%.*s", (int)first, name, broadcast ? "@" : "", (int)(length - rest), name + rest);
}
