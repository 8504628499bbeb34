/* topic.h - commands about domains of events: "topic.…", "lag". */
#ifndef FERRY_ENDS_TOPIC_H
#define FERRY_ENDS_TOPIC_H

#include "ends/admin.h"

void ferry__topic_list(ferry__command *c);
void ferry__topic_create(ferry__command *c);
void ferry__topic_describe(ferry__command *c);
void ferry__topic_delete(ferry__command *c);
void ferry__topic_purge(ferry__command *c);
void ferry__topic_lag(ferry__command *c);

#endif
