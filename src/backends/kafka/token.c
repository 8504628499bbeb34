/* token.c - OAUTHBEARER: the token is what a file holds whenever a client asks for a new one. Whoever issues tokens renews the file. */
#include "backends/kafka/kafka.h"
#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { TOKEN_MAX = 16384, LIFE_MS = 300000 /* then it is read again, whatever it says of itself */ };

static bool read_token(const char *path, char *to, const char **why)
{
    FILE *in = fopen(path, "re");
    *why = in ? "it is empty" : strerror(errno);
    size_t length = in ? fread(to, 1, TOKEN_MAX - 1, in) : 0;
    if (in)
        fclose(in);
    while (length > 0 && (unsigned char)to[length - 1] <= ' ')
        length--;
    to[length] = '\0';
    return length > 0;
}

void ferry__kafka_token(ferry__kafka *k, rd_kafka_t *rk)
{
    char token[TOKEN_MAX], text[256];
    const char *why;
    if (!k->set.token_file || !rk)
        return;
    bool good = read_token(k->set.token_file, token, &why);
    if (good &&
        rd_kafka_oauthbearer_set_token(rk, token, ferry__wall_ms() + LIFE_MS, "ferry", NULL, 0, text, sizeof text)) {
        good = false;
        why = "it holds no token";
    }
    if (!good)
        rd_kafka_oauthbearer_set_token_failure(rk, "no token");
    if (!good)
        ferry__log_print(k->up->log, LOG_WARNING, "kafka: token_file: %s", why);
    explicit_bzero(token, sizeof token);
}
