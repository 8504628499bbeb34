/* recover.h - what a dead process had, put in order by whoever notices.
 *
 *     its journal says   the message
 *     CLAIMED            goes back as fresh: no handler has seen it
 *     BEGUN              comes again, marked "maybe": it may have happened
 *     DONE, a post       is deleted: it was handled, only the commit was missing. So a crash makes no duplicate of it
 *     DONE, a call       as BEGUN, if it is still there: then its answer was not committed either
 *     AGAIN              comes again at once
 *
 * A claim counts only once the queue's head has passed it, so what was noted in the instant of a death, but not claimed, is skipped. All
 * of it can be done twice: should the one who tidies up die too, the next one starts over before anybody claims (`repair`). */
#ifndef FERRY_FILE_RECOVER_H
#define FERRY_FILE_RECOVER_H

#include "backends/file/pipe.h"

void ferry__recover_look(ferry__file *f); /* is anybody dead? */
bool ferry__recover_needed(const ferry__file *f);
int  ferry__recover_all(ferry__file *f);  /* in the transaction */
void ferry__recover_committed(ferry__file *f);
void ferry__recover_undo(ferry__file *f);
int  ferry__recover_self(ferry__file *f); /* at close: the same with our own slot, in the transaction */

#endif
