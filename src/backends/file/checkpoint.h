/* checkpoint.h - moving the write-ahead log into the database, off the hot path.
 *
 * The bug of SQLite that store.c tells of needs a checkpoint that starts when all of the log is in the database already, and a commit
 * that resets the log while it runs. So one process checkpoints at a time (a lock in the page), and it starts without the writer lock
 * only if something was committed since the log was last complete: then the log cannot be reset before this very checkpoint ends. That
 * something was, is known for certain, for commits are counted, and completeness noted, under the writer lock. In all other cases the
 * checkpoint runs with the writer lock. */
#ifndef FERRY_FILE_CHECKPOINT_H
#define FERRY_FILE_CHECKPOINT_H

#include "backends/file/pipe.h"

void ferry__checkpoint_maybe(ferry__file *f);
void ferry__checkpoint_last(ferry__file *f); /* at close, with the writer lock and nobody else there */

#endif
