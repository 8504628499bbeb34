/* sha.h - SHA-1 (RFC 3174), by which Redis names scripts. No secret depends on it. */
#ifndef FERRY_REDIS_SHA_H
#define FERRY_REDIS_SHA_H

void redis__sha(const char *text, char to[41]); /* in hex */

#endif
