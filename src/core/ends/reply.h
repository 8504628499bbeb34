/* reply.h - how one call ended: made on the thread that collects it, outside any lock. */
#ifndef FERRY_ENDS_REPLY_H
#define FERRY_ENDS_REPLY_H

#include "wire/frame.h"

struct ferry_reply {
    ferry_status  status;
    ferry_outcome outcome;
    ferry__frame *frame;  /* the answer, whose bytes data borrows; NULL: it ended here */
    ferry_value  *data, *headers;
    ferry_value  *list;   /* the decoded errors, which `errors` borrows */
    ferry_error  *errors; /* error_count of them; &one for a local one */
    size_t        error_count;
    ferry_error   one;
    char         *why;
};

/* From an answer (takes it). */
ferry_reply *ferry__reply_read(ferry__frame *answer);
/* One that ended here; copies why. NULL: no memory, which reads as NO_MEMORY. */
ferry_reply *ferry__reply_local(ferry_status status, ferry_outcome outcome, const char *why);
ferry_reply *ferry__reply_of(ferry_value *data); /* OK with data; takes it */

#endif
