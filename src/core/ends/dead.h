/* dead.h - the one record format of dead letters (docs/wire.md): the whole message, why it died, how often it was tried, and when. */
#ifndef FERRY_ENDS_DEAD_H
#define FERRY_ENDS_DEAD_H

#include "base/buf.h"
#include "ends/request.h"

bool ferry__dead_record(ferry_request *req, ferry__buf *to); /* false: no memory */
/* A post as it was, fresh again; NULL: the record is not one, or no memory. */
ferry__frame *ferry__dead_revive(const ferry_value *record);

#endif
