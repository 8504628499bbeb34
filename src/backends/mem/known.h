/* known.h - the ids of posts that were accepted lately, so that one sent twice is handled once. A ring with a hash over it: the
 * oldest falls out when it is full or past its time. */
#ifndef FERRY_MEM_KNOWN_H
#define FERRY_MEM_KNOWN_H

#include "backends/mem/hub.h"

mem__known *mem__known_new(size_t count, int64_t keep_ms);
void        mem__known_free(mem__known *k);
bool        mem__known_add(mem__known *k, const ferry__id *id, int64_t now_ms); /* false: it was known */
void        mem__known_forget(mem__known *k, const ferry__id *id);

#endif
