/* inbox.h - replies and controls: a queue for each handle, read by it alone.
 *
 * So there is nothing to claim, and a row may hold as many frames as fit in a page: one row, not sixty-four, for a batch of answers.
 *
 *     row: { length 4, service 4 (controls; else 0), packed frame } ...
 *
 * The reader keeps its place in memory and reads without the writer lock; what it has read is deleted by a later transaction of its own. */
#ifndef FERRY_FILE_INBOX_H
#define FERRY_FILE_INBOX_H

#include "backends/file/pipe.h"

/* Writing, inside a transaction. */
int   ferry__inbox_reply(ferry__file *f, const ferry__frame *reply); /* a client that is gone gets nothing */
int   ferry__inbox_put(ferry__file *f, int slot, uint32_t service, const ferry__frame *frame);
int   ferry__inbox_flush(ferry__file *f);
char *ferry__inbox_scratch(ferry__file *f, size_t size); /* room behind what is collected; NULL: no memory */
void  ferry__inbox_committed(ferry__file *f);
void  ferry__inbox_undo(ferry__file *f);
void  ferry__inbox_ring(ferry__file *f);

/* Reading. */
void ferry__inbox_open(ferry__file *f);
bool ferry__inbox_full(const ferry__file *f); /* something came */
void ferry__inbox_read(ferry__file *f);
bool ferry__inbox_to_clean(const ferry__file *f);
int  ferry__inbox_clean(ferry__file *f); /* in a transaction */
void ferry__inbox_done(ferry__file *f);  /* frees memory */

#endif
