/* value.h - the core's side of ferry_value: to and from msgpack. */
#ifndef FERRY_DATA_VALUE_H
#define FERRY_DATA_VALUE_H

#include <ferry/ferry.h>

/* How many bytes v takes as msgpack (NULL: nil). NO_MEMORY: it is broken; TOO_BIG: over max. */
ferry_status ferry__value_measure(const ferry_value *v, size_t max, size_t *length);
/* Writes exactly that many. */
void ferry__value_write(const ferry_value *v, void *to);

/* Limits of one encoded value, looked at in one linear pass before anything is allocated for it. */
enum { FERRY__DEPTH_MAX = 32, FERRY__OBJECTS_MAX = 1 << 20 };
/* OK, BAD_DATA (broken, too deep, too many) or TOO_BIG, with a reason. Exactly one value, no byte left over. */
ferry_status ferry__value_scan(const void *msgpack, size_t length, char *why);

/* Scans and decodes. Strings are copied, bytes are borrowed: msgpack must outlive the value. The root belongs to the caller. */
ferry_status ferry__value_decode(const void *msgpack, size_t length, ferry_value **made, char *why);

/* Out of memory somewhere inside. */
bool ferry__value_broken(const ferry_value *v);

#endif
