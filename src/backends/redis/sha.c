#include "backends/redis/sha.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static uint32_t turn(uint32_t x, int n)
{
    return x << n | x >> (32 - n);
}

static void spread(uint32_t w[80], const unsigned char block[64])
{
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 |
               block[4 * i + 3];
    for (int i = 16; i < 80; i++)
        w[i] = turn(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
}

static uint32_t mix(int i, uint32_t b, uint32_t c, uint32_t d)
{
    if (i < 20)
        return ((b & c) | (~b & d)) + 0x5a827999;
    if (i < 40)
        return (b ^ c ^ d) + 0x6ed9eba1;
    if (i < 60)
        return ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
    return (b ^ c ^ d) + 0xca62c1d6;
}

static void add_block(uint32_t h[5], const unsigned char block[64])
{
    uint32_t w[80], x[5];
    spread(w, block);
    memcpy(x, h, sizeof x);
    for (int i = 0; i < 80; i++) {
        uint32_t next = turn(x[0], 5) + mix(i, x[1], x[2], x[3]) + x[4] + w[i];
        x[4] = x[3];
        x[3] = x[2];
        x[2] = turn(x[1], 30);
        x[1] = x[0];
        x[0] = next;
    }
    for (int i = 0; i < 5; i++)
        h[i] += x[i];
}

void redis__sha(const char *text, char to[41])
{
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    unsigned char last[128] = {0};
    size_t length = strlen(text), done = 0;
    for (; length - done >= 64; done += 64)
        add_block(h, (const unsigned char *)text + done);
    size_t rest = length - done, size = rest < 56 ? 64 : 128;
    memcpy(last, text + done, rest);
    last[rest] = 0x80;
    for (size_t i = 0; i < 8; i++)
        last[size - 1 - i] = (unsigned char)((uint64_t)length * 8 >> (8 * i));
    for (size_t i = 0; i < size; i += 64)
        add_block(h, last + i);
    for (int i = 0; i < 5; i++)
        snprintf(to + 8 * i, 9, "%08x", h[i]);
}
