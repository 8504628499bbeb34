/* options.h - the structs that programs hand in: any size, known fields copied, an unknown field that is set refused. */
#ifndef FERRY_ENDS_OPTIONS_H
#define FERRY_ENDS_OPTIONS_H

#include <ferry/ferry.h>

/* Copies *given (its first member is its size; NULL: all defaults) into to, `known` bytes. */
ferry_status ferry__options_take(void *to, size_t known, const void *given, char *why);

/* OK, or INVALID with the reason. */
ferry_status ferry__options_confirm(ferry_confirm confirm, char *why);

/* A field that is 0 takes its value from the environment; 1 to most, or 0 = unset, else INVALID with the reason. */
ferry_status ferry__options_number(const char *field, const char *variable, long long most, long long *value,
                                   char *why);

#endif
