/* backends.c - the table of transports: the only list of their names. */
#include "backends/file/file.h"
#include "backends/mem/mem.h"
#include "backends/wrap.h"
#include "link/backend.h"

const ferry__backend *const ferry__backends[] = {
    &ferry__file_backend,
    &ferry__mem_backend,
    &ferry__trace_backend,
    &ferry__fault_backend,
    NULL,
};

const char *const ferry__backends_absent[] = {
    "redis", "rediss", "redis+unix", "amqp", "amqps", "kafka", NULL,
};
