/* drop.h - no-wait posts that ended: counted, and those given up told to the program. */
#ifndef FERRY_ENDS_DROP_H
#define FERRY_ENDS_DROP_H

#include "ends/future.h"

/* With the lock held; takes the future. */
void ferry__drop_ended(ferry_future *u);

#endif
