#include "net/tls.h"

#include "base/alloc.h"
#include "net/tls_context.h"
#include "net/tls_words.h"
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>

struct ferry__tls {
    const ferry__stream_options *o;
    const char                  *peer;
    SSL_CTX                     *ctx;
    SSL                         *ssl; /* NULL until start */
    int                          fd;
    int                          error; /* errno of the socket's last failure, or 0 */
    bool                         ended; /* the socket has no more to read */
    short                        events;
    ferry__tls_key               key;
    ferry_status                 status;
    char                         note[128]; /* of the certificate at fault */
    char                         name[256]; /* to be verified: no final dot, no zone */
    char                         why[FERRY_WHY_SIZE];
};

/* ---- The socket under OpenSSL: its own one would raise SIGPIPE ------------------------------------------------------ */

static int failed_with(BIO *bio, ferry__tls *t, int retry)
{
    if (errno == EAGAIN || errno == EINTR)
        BIO_set_flags(bio, retry | BIO_FLAGS_SHOULD_RETRY);
    else
        t->error = errno;
    return -1;
}

static int bio_write(BIO *bio, const char *from, int length)
{
    ferry__tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t n = send(t->fd, from, (size_t)length, MSG_NOSIGNAL);
    return n >= 0 ? (int)n : failed_with(bio, t, BIO_FLAGS_WRITE);
}

static int bio_read(BIO *bio, char *to, int room)
{
    ferry__tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t n = recv(t->fd, to, (size_t)room, 0);
    t->ended = n == 0;
    return n >= 0 ? (int)n : failed_with(bio, t, BIO_FLAGS_READ);
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)number, (void)pointer;
    ferry__tls *t = BIO_get_data(bio);
    if (command == BIO_CTRL_EOF)
        return t->ended;
    return command == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

static BIO_METHOD *make_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "ferry socket");
    if (m && BIO_meth_set_write(m, bio_write) && BIO_meth_set_read(m, bio_read) && BIO_meth_set_ctrl(m, bio_control) &&
        BIO_meth_set_create(m, bio_create))
        return m;
    BIO_meth_free(m);
    return NULL;
}

/* Made once; whoever comes second throws its own away. */
static BIO_METHOD *method(void)
{
    static _Atomic(BIO_METHOD *) made;
    BIO_METHOD *mine = atomic_load(&made), *other = NULL;
    if (mine)
        return mine;
    mine = make_method();
    if (!mine || atomic_compare_exchange_strong(&made, &other, mine))
        return mine;
    BIO_meth_free(mine);
    return other;
}

/* ---- Results -------------------------------------------------------------------------------------------------------- */

static ferry__tls_result by_socket(ferry__tls *t)
{
    t->status = FERRY_UNAVAILABLE;
    ferry__why(t->why, "%s broke the connection off: %s", t->peer, strerror(t->error));
    return FERRY__TLS_FAILED;
}

/* `natural` is what the caller polls for anyway. */
static ferry__tls_result result_of(ferry__tls *t, int returned, short natural)
{
    int code = SSL_get_error(t->ssl, returned);
    t->events = code == SSL_ERROR_WANT_READ ? POLLIN : code == SSL_ERROR_WANT_WRITE ? POLLOUT : 0;
    t->events = (short)(t->events & ~natural);
    if (code == SSL_ERROR_NONE)
        return FERRY__TLS_DONE;
    if (code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE)
        return FERRY__TLS_AGAIN;
    if (code == SSL_ERROR_ZERO_RETURN)
        return FERRY__TLS_ENDED;
    if (t->error)
        return by_socket(t);
    if (t->ended)
        return FERRY__TLS_ENDED; /* without close_notify: every message is framed, so a cut is seen above */
    t->status = ferry__tls_words(t->ssl, t->peer, t->name, t->note, t->why);
    return FERRY__TLS_FAILED;
}

static ferry__tls_result settled(ferry__tls *t, int returned, short natural)
{
    ferry__tls_result r = result_of(t, returned, natural);
    ERR_clear_error();
    return r;
}

static bool no_memory(ferry__tls *t)
{
    t->status = FERRY_NO_MEMORY;
    ferry__why(t->why, "out of memory for TLS with %s", t->peer);
    ERR_clear_error();
    return false;
}

/* ---- What OpenSSL calls --------------------------------------------------------------------------------------------- */

int ferry__tls_on_session(SSL *ssl, SSL_SESSION *session)
{
    ferry__tls *t = SSL_get_app_data(ssl);
    return ferry__tls_session_keep(&t->key, session);
}

int ferry__tls_on_verify(int good, X509_STORE_CTX *chain)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(chain, SSL_get_ex_data_X509_STORE_CTX_idx());
    ferry__tls *t = SSL_get_app_data(ssl);
    if (!good)
        ferry__tls_note_certificate(X509_STORE_CTX_get_current_cert(chain), X509_STORE_CTX_get_error(chain), t->note,
                                    sizeof t->note);
    return good;
}

/* ---- Start ---------------------------------------------------------------------------------------------------------- */

static bool set_name(ferry__tls *t, char *why)
{
    const char *name = t->o->tls_name ? t->o->tls_name : t->o->host;
    size_t length = name ? strcspn(name, "%") : 0; /* an IPv6 address may have a zone, which no certificate knows */
    if (length && name[length - 1] == '.')
        length--;
    if (length == 0 && !t->o->tls_unverified) {
        ferry__why(why, "TLS with %s: which name has its certificate to prove?", t->peer);
        return false;
    }
    if (length >= sizeof t->name) {
        ferry__why(why, "TLS with %s: a host name has at most 255 characters", t->peer);
        return false;
    }
    memcpy(t->name, name ? name : "", length);
    return true;
}

ferry__tls *ferry__tls_new(const ferry__stream_options *o, const char *peer, ferry_status *status, char *why)
{
    ferry__tls *t = ferry__zalloc(sizeof *t);
    if (!t) {
        *status = FERRY_NO_MEMORY;
        ferry__why(why, "out of memory for TLS with %s", peer);
        return NULL;
    }
    t->o = o;
    t->peer = peer;
    t->fd = -1;
    *status = FERRY_INVALID;
    if (set_name(t, why))
        t->ctx = ferry__tls_context(o, status, why);
    if (t->ctx)
        return t;
    ferry__free(t);
    return NULL;
}

static bool is_address(const char *name)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

/* Whom the certificate has to name; names are also said to the peer, which may have several certificates (SNI, RFC 6066). */
static bool ask_for(ferry__tls *t)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
    if (!t->name[0])
        return true;
    if (is_address(t->name))
        return X509_VERIFY_PARAM_set1_ip_asc(param, t->name) == 1;
    SSL_set_hostflags(t->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    return SSL_set_tlsext_host_name(t->ssl, t->name) == 1 && SSL_set1_host(t->ssl, t->name) == 1;
}

static void resume(ferry__tls *t)
{
    t->key = ferry__tls_session_key(t->o, t->peer);
    SSL_SESSION *session = ferry__tls_session_take(&t->key);
    if (session)
        SSL_set_session(t->ssl, session);
    SSL_SESSION_free(session);
}

bool ferry__tls_start(ferry__tls *t, int fd)
{
    t->fd = fd;
    t->ssl = SSL_new(t->ctx);
    BIO *bio = t->ssl && method() ? BIO_new(method()) : NULL;
    if (!bio)
        return no_memory(t);
    BIO_set_data(bio, t);
    SSL_set_bio(t->ssl, bio, bio);
    SSL_set_connect_state(t->ssl);
    if (!SSL_set_app_data(t->ssl, t) || !ask_for(t))
        return no_memory(t);
    resume(t);
    ERR_clear_error();
    return true;
}

/* ---- Moving on ------------------------------------------------------------------------------------------------------ */

static void prepare(ferry__tls *t)
{
    t->error = 0;
    ERR_clear_error(); /* what is in the queue decides what SSL_get_error says */
}

ferry__tls_result ferry__tls_handshake(ferry__tls *t)
{
    prepare(t);
    return settled(t, SSL_do_handshake(t->ssl), 0);
}

ferry__tls_result ferry__tls_read(ferry__tls *t, void *to, size_t room, size_t *done)
{
    prepare(t);
    int returned = SSL_read_ex(t->ssl, to, room, done);
    return settled(t, returned, POLLIN);
}

ferry__tls_result ferry__tls_write(ferry__tls *t, const void *from, size_t length, size_t *done)
{
    prepare(t);
    int returned = SSL_write_ex(t->ssl, from, length, done);
    return settled(t, returned, POLLOUT);
}

short ferry__tls_events(const ferry__tls *t)
{
    return t->events;
}

ferry_status ferry__tls_status(const ferry__tls *t, const char **why)
{
    *why = t->why;
    return t->status;
}

bool ferry__tls_resumed(const ferry__tls *t)
{
    return SSL_session_reused(t->ssl) == 1;
}

const char *ferry__tls_version(const ferry__tls *t)
{
    return SSL_get_version(t->ssl);
}

/* Without any goodbye OpenSSL would take the session for broken and never resume it: so a quiet one at least. */
void ferry__tls_free(ferry__tls *t, bool goodbye)
{
    if (!t)
        return;
    if (t->ssl) {
        SSL_set_quiet_shutdown(t->ssl, !goodbye);
        (void)SSL_shutdown(t->ssl);
        SSL_free(t->ssl);
    }
    SSL_CTX_free(t->ctx);
    ERR_clear_error();
    ferry__free(t);
}
