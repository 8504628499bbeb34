/* bytes.h - bytes that come in at the back and are eaten from the front, at most `max` of them.
 *
 *     data [  eaten  |head   held   tail|   room to write   ]room
 *
 * What is held moves only when room is asked for, so a run that was handed out stays where it is until then. A move to the front
 * never copies more than it frees, and a block doubles: so a byte is copied a constant number of times. A block that one big message
 * has made large is given back after a while of small ones. */
#ifndef FERRY_NET_BYTES_H
#define FERRY_NET_BYTES_H

#include <stdbool.h>
#include <stddef.h>

typedef struct ferry__bytes {
    char    *data; /* NULL until the first byte */
    size_t   head, tail, room, max;
    unsigned calm; /* how often in a row it ran empty without having used a quarter */
} ferry__bytes;

static inline size_t ferry__bytes_held(const ferry__bytes *b)
{
    return b->tail - b->head;
}

/* Place for `least` bytes or more behind the tail, until b->room; the caller adds to tail what it wrote. NULL: over max, or out of
 * memory; nothing has changed then. */
char *ferry__bytes_room(ferry__bytes *b, size_t least);
bool  ferry__bytes_add(ferry__bytes *b, const void *data, size_t length);
void  ferry__bytes_eat(ferry__bytes *b, size_t length);
void  ferry__bytes_done(ferry__bytes *b);

#endif
