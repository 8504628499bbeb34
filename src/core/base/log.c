#include "base/log.h"

#include <stdarg.h>

void ferry__log_print(const ferry__log *log, int level, const char *format, ...)
{
    if (!log->line)
        return;
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log->line(level, text, log->arg);
}

void ferry__why(char *to, const char *format, ...)
{
    if (!to)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(to, FERRY_WHY_SIZE, format, args);
    va_end(args);
}
