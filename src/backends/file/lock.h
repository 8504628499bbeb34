/* lock.h - the writer lock: one word in the shared page, so that writers stand in line instead of polling SQLite's own lock.
 *
 * A free lock is taken with one atomic word. Whoever finds it taken spins shortly, then notes since when it waits and sleeps. A release
 * normally frees the word and wakes the one who waits longest, who may be overtaken by a writer that is awake: no idle time in between.
 * Once somebody waited STARVED_US, the lock is handed to him instead.
 *
 *     FREE  --- take ---> HELD by a slot  --- drop ---> FREE, or HELD by the one who waited too long
 *     HELD by a dead slot  --- take ---> HELD, and `repair` set until the dead one's claims are in order */
#ifndef FERRY_FILE_LOCK_H
#define FERRY_FILE_LOCK_H

#include "backends/file/page.h"

/* Waits ms at most. False: not had; `blocker` is then the slot that has it. */
bool ferry__lock_take(const ferry__page *p, int ms, int *blocker);
void ferry__lock_drop(const ferry__page *p);
bool ferry__lock_mine(const ferry__page *p);

#endif
