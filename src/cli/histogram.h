/* Durations counted in buckets 3 % wide, in a fixed amount of memory. */
#ifndef FERRY_CLI_HISTOGRAM_H
#define FERRY_CLI_HISTOGRAM_H

#include <stdint.h>

enum { CLI_HISTOGRAM_BUCKETS = 60 * 32 };

typedef struct cli_histogram {
    uint64_t count;
    uint64_t bucket[CLI_HISTOGRAM_BUCKETS];
} cli_histogram;

void   cli_histogram_add(cli_histogram *h, int64_t ns);
double cli_histogram_at(const cli_histogram *h, double part); /* in us: 0.5 = the median; 0 when empty */

#endif
