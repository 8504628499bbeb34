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

/* What went wrong while v was built: OK, NO_MEMORY, INVALID (not UTF-8, too deep, put into a scalar …) or TOO_BIG; and in a sentence,
 * "" if nothing. ferry__value_measure answers the same. */
ferry_status ferry__value_status(const ferry_value *v);
const char  *ferry__value_flaw(const ferry_value *v);
bool         ferry__value_broken(const ferry_value *v); /* the status is not OK */

/* Keys into variables, all or nothing. `bad` (NULL is fine) is called once for each key that is missing or mistyped: "missing", "expected
 * an integer, got a string", "out of range for int"; the key without its '?'. Key "" with "expected a map, got a list": v itself. */
bool ferry__value_read(const ferry_value *v, size_t n, const ferry_slot *keys_and_slots,
                       void (*bad)(void *arg, const char *key, const char *message), void *arg);

#endif
