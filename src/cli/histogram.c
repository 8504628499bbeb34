#include "histogram.h"

/* 32 buckets for each power of two: the first 32 values have one each, then bucket (e + 1) * 32 + m holds the values from
 * (32 + m) << e on. */
void cli_histogram_add(cli_histogram *h, int64_t ns)
{
    uint64_t value = ns > 0 ? (uint64_t)ns : 0;
    unsigned index = (unsigned)(value & 31);

    if (value >= 32) {
        unsigned e = 58U - (unsigned)__builtin_clzll(value);
        index = (e + 1) * 32 + (unsigned)(value >> e & 31);
    }
    h->bucket[index]++;
    h->count++;
}

double cli_histogram_at(const cli_histogram *h, double part)
{
    double passed = 0, wanted = part * (double)h->count;

    for (unsigned i = 0; i < CLI_HISTOGRAM_BUCKETS && h->count > 0; i++) {
        passed += (double)h->bucket[i];
        if (passed < wanted || h->bucket[i] == 0)
            continue;
        if (i < 32)
            return (double)i / 1000;
        unsigned e = i / 32 - 1;
        return ((double)(32 + i % 32) + 0.5) * (double)((uint64_t)1 << e) / 1000;
    }
    return 0;
}
