#include "net/bytes.h"

#include "base/alloc.h"
#include <string.h>

enum { SMALL = 256 * 1024, CALM = 64 };

static char *move_to(ferry__bytes *b, char *block, size_t room)
{
    size_t held = ferry__bytes_held(b);
    if (b->data)
        memmove(block, b->data + b->head, held);
    if (block != b->data)
        ferry__free(b->data);
    b->data = block;
    b->room = room;
    b->head = 0;
    b->tail = held;
    return block + held;
}

static void give_back(ferry__bytes *b)
{
    ferry__free(b->data);
    *b = (ferry__bytes){.max = b->max};
}

char *ferry__bytes_room(ferry__bytes *b, size_t least)
{
    size_t held = ferry__bytes_held(b);
    if (held > b->max || least > b->max - held)
        return NULL;
    if (held == 0 && b->calm >= CALM && b->room > SMALL)
        give_back(b);
    if (b->data && b->room - b->tail >= least)
        return b->data + b->tail;
    if (b->data && b->room - held >= least && b->head >= held)
        return move_to(b, b->data, b->room);
    size_t want = held + least > b->room * 2 ? held + least : b->room * 2;
    char *block = ferry__alloc(want);
    return block ? move_to(b, block, ferry__alloc_room(block)) : NULL;
}

bool ferry__bytes_add(ferry__bytes *b, const void *data, size_t length)
{
    char *to = ferry__bytes_room(b, length);
    if (!to)
        return false;
    if (length)
        memcpy(to, data, length);
    b->tail += length;
    return true;
}

void ferry__bytes_eat(ferry__bytes *b, size_t length)
{
    b->head += length < ferry__bytes_held(b) ? length : ferry__bytes_held(b);
    if (b->head < b->tail)
        return;
    b->calm = b->tail <= b->room / 4 ? b->calm + 1 : 0;
    b->head = b->tail = 0;
}

void ferry__bytes_done(ferry__bytes *b)
{
    give_back(b);
}
