/* text.h - small questions about strings. */
#ifndef FERRY_BASE_TEXT_H
#define FERRY_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* How many edits turn a into b, with neighbours swapped counted as one; gives up above 3. */
unsigned ferry__text_distance(const char *a, const char *b);

/* For "did you mean": the nearest of the names fed in, if near enough. Start with {.word = …}. */
typedef struct ferry__guess {
    const char *word, *best;
    unsigned    distance;
} ferry__guess;
void ferry__guess_try(ferry__guess *g, const char *name);

bool ferry__text_utf8(const char *s, size_t length); /* valid UTF-8, RFC 3629 */

#endif
