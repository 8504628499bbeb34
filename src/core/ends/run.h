/* run.h - one request on its worker. */
#ifndef FERRY_ENDS_RUN_H
#define FERRY_ENDS_RUN_H

#include "link/jobs.h"

#include <ferry/ferry.h>

bool ferry__run_ready(ferry_request *req); /* decodes; false: refused, to be finished */
void ferry__run_request(ferry__job *job); /* decode, guards, handler; then the end, unless it was deferred */

#endif
