/* checkpoint.h - moving the write-ahead log into the database, beside the work.
 *
 * The bug of SQLite that store.c tells of needs a checkpoint that starts when all of the log is in the database already, and a commit
 * that resets the log while it runs. So one process checkpoints at a time (a lock in the page), and it starts without the writer lock
 * only if something was committed since the log was last complete: then the log cannot be reset before this very checkpoint ends. That
 * something was, is known for certain, for commits are counted, and completeness noted, under the writer lock. In all other cases the
 * checkpoint runs with the writer lock.
 *
 * Most of a checkpoint is waiting for the disk. A thread of its own, started when the log first passes wal_soft, does that while
 * writers go on; but as long as they do, the log is never complete and cannot begin anew. So at wal_hard the driver itself finishes
 * what little is left, with the writer lock.
 *
 *     IDLE  --- maybe: wal_soft pages are not moved --->  ASKED  --- the thread --->  DONE  --- note, with the writer lock --->  IDLE */
#ifndef FERRY_FILE_CHECKPOINT_H
#define FERRY_FILE_CHECKPOINT_H

#include "backends/file/pipe.h"

void ferry__checkpoint_maybe(ferry__file *f);
void ferry__checkpoint_note(ferry__file *f); /* with the writer lock */
void ferry__checkpoint_end(ferry__file *f);  /* ends the thread */
void ferry__checkpoint_last(ferry__file *f); /* at close, with the writer lock and nobody else there */

#endif
