/* status.c - the names, texts and advice of ferry_status, made from the one table in ferry.h. */
#include <ferry/ferry.h>

const char *ferry_status_name(ferry_status s)
{
    switch (s) {
#define NAME(name, code, retryable, text) \
    case FERRY_##name:                    \
        return #name;
        FERRY_STATUS_MAP(NAME)
#undef NAME
    }
    return "INTERNAL";
}

const char *ferry_status_text(ferry_status s)
{
    switch (s) {
#define TEXT(name, code, retryable, text) \
    case FERRY_##name:                    \
        return text;
        FERRY_STATUS_MAP(TEXT)
#undef TEXT
    }
    return "an unknown status";
}

bool ferry_status_retryable(ferry_status s)
{
    switch (s) {
#define ADVICE(name, code, retryable, text) \
    case FERRY_##name:                      \
        return retryable;
        FERRY_STATUS_MAP(ADVICE)
#undef ADVICE
    }
    return false;
}
