/* scan.h - one linear pass over foreign msgpack that bounds it before anything is allocated for it.
 *
 * Five bytes can claim a map of 2^32 entries, and 10^5 bytes can nest as many lists. The scan refuses both, and counts what a decoder
 * will need, so that decoding is one allocation of the exact size. */
#ifndef FERRY_DATA_SCAN_H
#define FERRY_DATA_SCAN_H

#include <ferry/ferry.h>

typedef struct ferry__tally {
    size_t objects; /* values, keys among them, the outermost included */
    size_t text;    /* bytes in strings, a NUL added for each */
    size_t depth;   /* containers nested, 0 for a scalar */
} ferry__tally;

/* OK, or BAD_DATA with a reason in why (NULL is fine): broken off, bytes left over, the byte 0xc1, deeper than
 * FERRY__DEPTH_MAX, more objects than FERRY__OBJECTS_MAX. */
ferry_status ferry__scan(const void *msgpack, size_t length, ferry__tally *tally, char *why);

#endif
