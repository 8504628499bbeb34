/* claim.h - taking messages from queues, and the journal that says in the shared page who has which.
 *
 *     row in `message`, sequence >= head                  nobody had it
 *       --- claim: entry CLAIMED, then head passes it     ours
 *       --- begin: BEGUN          its handler runs
 *       --- settle: DONE          row deleted, then the entry is freed
 *       --- retry: AGAIN          row in `later` with its due time, then the entry is freed
 *       --- hand back: CLAIMED    row in `later`, due now, then the entry is freed
 *     row in `later`, due passed                          nobody has it; a claim sets due = TAKEN
 *
 * An entry is written before the head moves and freed after the commit, so whatever instant a process dies in, its journal and the
 * table together say what had become of each message (recover.h). */
#ifndef FERRY_FILE_CLAIM_H
#define FERRY_FILE_CLAIM_H

#include "backends/file/pipe.h"

typedef enum ferry__claim_need { FERRY__CLAIM_NOTHING, FERRY__CLAIM_READS, FERRY__CLAIM_WRITES } ferry__claim_need;

/* Is there something for us? Looks at the page only. */
ferry__claim_need ferry__claim_need_of(ferry__file *f);
/* With the writer lock, in a transaction when it needs to write. An SQLite error or 0. */
int  ferry__claim_all(ferry__file *f);
void ferry__claim_committed(ferry__file *f, ferry__file_touch *t); /* heads, dues and owners, as the transaction has them */
void ferry__claim_arrived(ferry__file *f);                         /* what was claimed goes up */
void ferry__claim_undo(ferry__file *f);
/* Nothing was found: be rung for the next message. True: one came meanwhile. */
bool ferry__claim_rest(ferry__file *f);
/* Milliseconds until the next late message of ours is due; -1: none. */
int  ferry__claim_next_ms(ferry__file *f, int64_t now_ms);

/* Entries. `mark` may be called by any thread with the link's lock. */
void ferry__claim_reset(ferry__file *f); /* a new slot: all entries are free */
void ferry__claim_mark(ferry__file *f, const ferry__frame *frame, enum ferry__page_mark mark);
void ferry__claim_free(ferry__file *f, const ferry__frame *frame);
unsigned ferry__claim_open(ferry__file *f, int64_t id, uint32_t attempt, unsigned late); /* there is a spare one */
void     ferry__claim_done(ferry__file *f, unsigned entry);
void     ferry__claim_close(ferry__file *f, unsigned entry);
bool ferry__claim_late(ferry__file *f, const ferry__frame *frame); /* it has a row in `later` */

/* When the earliest late message of a queue comes; 0: none. */
int64_t ferry__claim_due(ferry__file *f, int64_t queue, int *error);

#endif
