/* Long times and sizes, as people write them. */
#ifndef FERRY_CLI_UNITS_H
#define FERRY_CLI_UNITS_H

#include <stdint.h>

int64_t cli_span(const char *text);  /* "90s", "15m", "12h", "7d" in milliseconds; -1 = none of these, or not above 0 */
int64_t cli_bytes(const char *text); /* "1000000", "512K", "64M", "2G"; -1 as above */

#endif
