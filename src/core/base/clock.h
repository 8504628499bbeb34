/* clock.h - milliseconds. Deadlines use the monotonic clock, stamps that others read use the wall clock. */
#ifndef FERRY_BASE_CLOCK_H
#define FERRY_BASE_CLOCK_H

#include <stdint.h>

int64_t ferry__now_ms(void);  /* CLOCK_MONOTONIC: the same for every process of a machine, until it boots */
int64_t ferry__now_us(void);  /* the same clock, finer */
int64_t ferry__wall_ms(void); /* since 1970 */

#endif
