#include "net/tls.h"

ferry__tls *ferry__tls_new(const ferry__stream_options *o, const char *peer, ferry_status *status, char *why)
{
    (void)o, (void)peer;
    *status = FERRY_UNSUPPORTED;
    ferry__why(why, "TLS is not built in yet");
    return NULL;
}

bool ferry__tls_start(ferry__tls *t, int fd)
{
    (void)t, (void)fd;
    return false;
}

ferry__tls_result ferry__tls_handshake(ferry__tls *t)
{
    (void)t;
    return FERRY__TLS_FAILED;
}

ferry__tls_result ferry__tls_read(ferry__tls *t, void *to, size_t room, size_t *done)
{
    (void)t, (void)to, (void)room, (void)done;
    return FERRY__TLS_FAILED;
}

ferry__tls_result ferry__tls_write(ferry__tls *t, const void *from, size_t length, size_t *done)
{
    (void)t, (void)from, (void)length, (void)done;
    return FERRY__TLS_FAILED;
}

short ferry__tls_events(const ferry__tls *t)
{
    (void)t;
    return 0;
}

ferry_status ferry__tls_status(const ferry__tls *t, const char **why)
{
    (void)t;
    *why = "";
    return FERRY_UNSUPPORTED;
}

bool ferry__tls_resumed(const ferry__tls *t)
{
    (void)t;
    return false;
}

const char *ferry__tls_version(const ferry__tls *t)
{
    (void)t;
    return "";
}

void ferry__tls_free(ferry__tls *t, bool goodbye)
{
    (void)t, (void)goodbye;
}
