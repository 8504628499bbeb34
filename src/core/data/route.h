/* route.h - dotted names: "calc.add", and patterns over them: "calc.*" (one more segment), "calc.**" (any). */
#ifndef FERRY_DATA_ROUTE_H
#define FERRY_DATA_ROUTE_H

#include <ferry/ferry.h>

enum { FERRY__ROUTE_MAX = 128 };

/* INVALID with the reason unless `route` is a name: segments of [A-Za-z0-9_-], 1 to 128 bytes in all. */
ferry_status ferry__route_check(const char *route, char *why);
/* The same for a pattern: a literal first segment, `*` for whole segments, `**` only as the last. */
ferry_status ferry__route_check_pattern(const char *pattern, char *why);
size_t       ferry__route_service(const char *route); /* length of the first segment */
bool         ferry__route_match(const char *pattern, const char *route);

#endif
