/* admin.h - questions about the broker itself, as the tool asks them: dead letters, facts for a person. */
#ifndef FERRY_ENDS_ADMIN_H
#define FERRY_ENDS_ADMIN_H

#include "link/link.h"

void ferry__admin_answered(ferry__link *l, ferry__admin *admin); /* with the lock held */

#endif
