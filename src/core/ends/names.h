/* names.h - other names on the broker than in the program: "order" here may be "orders-eu" there, without a change to the program. */
#ifndef FERRY_ENDS_NAMES_H
#define FERRY_ENDS_NAMES_H

#include <ferry/ferry.h>

typedef struct ferry__name {
    struct ferry__name *next;
    const char *real;
    char logical[]; /* then the real one */
} ferry__name;

/* Reads "order:orders-eu,stock:stock-2", or "@FILE" with a pair a line. INVALID or NO_MEMORY, with the reason. */
ferry_status ferry__names_read(ferry__name **names, const char *text, char *why);
void ferry__names_done(ferry__name *names);
/* The name on the broker for the first `length` bytes of a route; *length becomes its own. */
const char *ferry__names_real(const ferry__name *names, const char *route, size_t *length);

#endif
