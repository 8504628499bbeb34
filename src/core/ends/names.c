#include "ends/names.h"

#include "base/alloc.h"
#include "base/log.h"
#include "data/route.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool is_word(const char *text, size_t length)
{
    char word[FERRY__ROUTE_MAX + 1];
    if (length == 0 || length >= sizeof word || memchr(text, '.', length))
        return false;
    memcpy(word, text, length);
    word[length] = '\0';
    return ferry__route_check(word, NULL) == FERRY_OK;
}

static ferry_status add(ferry__name **names, const char *pair, size_t length, char *why)
{
    const char *colon = memchr(pair, ':', length);
    size_t left = colon ? (size_t)(colon - pair) : 0, right = colon ? length - left - 1 : 0;
    if (!colon || !is_word(pair, left) || !is_word(colon + 1, right)) {
        ferry__why(why, "names: '%.*s': expected NAME:NAME_ON_THE_BROKER, both of A-Z a-z 0-9 _ -", (int)length, pair);
        return FERRY_INVALID;
    }
    ferry__name *n = ferry__zalloc(sizeof *n + length + 1);
    if (!n)
        return FERRY_NO_MEMORY;
    memcpy(n->logical, pair, length);
    n->logical[left] = '\0';
    n->real = n->logical + left + 1;
    n->next = *names;
    *names = n;
    return FERRY_OK;
}

static ferry_status read_text(ferry__name **names, const char *text, const char *between, char *why)
{
    ferry_status status = FERRY_OK;
    while (*text && status == FERRY_OK) {
        size_t length = strcspn(text, between);
        if (length > 0 && *text != '#')
            status = add(names, text, length, why);
        text += length;
        text += *text != '\0';
    }
    return status;
}

static ferry_status read_file(ferry__name **names, const char *path, char *why)
{
    char text[65536];
    FILE *from = fopen(path, "re");
    if (!from) {
        ferry__why(why, "names: %.160s: %s", path, strerror(errno));
        return FERRY_INVALID;
    }
    size_t length = fread(text, 1, sizeof text - 1, from);
    fclose(from);
    if (length == sizeof text - 1) {
        ferry__why(why, "names: %.160s is over %zu bytes", path, length);
        return FERRY_INVALID;
    }
    text[length] = '\0';
    return read_text(names, text, "\r\n", why);
}

ferry_status ferry__names_read(ferry__name **names, const char *text, char *why)
{
    return *text == '@' ? read_file(names, text + 1, why) : read_text(names, text, ",", why);
}

void ferry__names_done(ferry__name *names)
{
    for (ferry__name *next; names; names = next) {
        next = names->next;
        ferry__free(names);
    }
}

const char *ferry__names_real(const ferry__name *names, const char *route, size_t *length)
{
    for (; names; names = names->next)
        if (strncmp(names->logical, route, *length) == 0 && names->logical[*length] == '\0') {
            *length = strlen(names->real);
            return names->real;
        }
    return route;
}
