/* batch.h - one transaction: everything that was noted, then the claims that there is room for.
 *
 * So a server's answers, its acknowledgements and its next requests are one commit, and a client's sends are one, whatever their
 * number. All of it happens under the writer lock, which is taken and dropped by the caller (turn.c). */
#ifndef FERRY_FILE_BATCH_H
#define FERRY_FILE_BATCH_H

#include "backends/file/pipe.h"

bool ferry__batch_needed(ferry__file *f); /* something is to be written or claimed */
void ferry__batch_run(ferry__file *f);    /* with the writer lock */
bool ferry__batch_leave(ferry__file *f);  /* the last one: all that was noted, no claims, and ours go back. With the lock */
void ferry__batch_ring(ferry__file *f);   /* without it: wake whom the last one concerns */

/* For those who work inside. */
ferry__file_touch *ferry__batch_touch(ferry__file *f, int64_t queue);                  /* NULL: too many in this transaction */
bool               ferry__batch_discard(ferry__file *f, int64_t id, const char *what); /* delete a row in the next one; false: no memory */
int                ferry__batch_drop(ferry__file *f, int64_t id);                      /* delete a row in this one */
int ferry__batch_later(ferry__file *f, const ferry__frame *frame, int64_t due);        /* it comes again */
void ferry__batch_release(ferry__file *f, const ferry__frame *frame); /* after the commit: entry and part are free */

#endif
