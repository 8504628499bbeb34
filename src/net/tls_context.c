#include "net/tls_context.h"

#include "base/buf.h"
#include "base/thread.h"
#include "net/tls_words.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- What is kept --------------------------------------------------------------------------------------------------- */

enum { CONTEXTS = 8, SESSIONS = 32, LONGEST_KEY = 32 * 1024, READ_AHEAD = 64 * 1024 };

typedef struct slot {
    unsigned char digest[32];
    void         *item; /* NULL: empty */
    uint64_t      used;
} slot;

static struct {
    pthread_mutex_t lock;
    unsigned        forks; /* whose entries these are: a parent's may be in use by threads that the child has not */
    uint64_t        uses;
    slot            contexts[CONTEXTS], sessions[SESSIONS];
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool enter(void)
{
    if (pthread_mutex_trylock(&kept.lock))
        return false;
    unsigned forks = ferry__fork_count();
    if (kept.forks != forks) {
        for (size_t i = 0; i < CONTEXTS; i++)
            SSL_CTX_free(kept.contexts[i].item);
        for (size_t i = 0; i < SESSIONS; i++)
            SSL_SESSION_free(kept.sessions[i].item);
        memset(kept.contexts, 0, sizeof kept.contexts);
        memset(kept.sessions, 0, sizeof kept.sessions);
        kept.forks = forks;
    }
    return true;
}

static void leave(void)
{
    pthread_mutex_unlock(&kept.lock);
}

static slot *find(slot *slots, size_t count, const ferry__tls_key *key)
{
    for (size_t i = 0; i < count; i++)
        if (slots[i].item && memcmp(slots[i].digest, key->digest, sizeof key->digest) == 0) {
            slots[i].used = ++kept.uses;
            return &slots[i];
        }
    return NULL;
}

static slot *least_used(slot *slots, size_t count)
{
    slot *least = slots;
    for (size_t i = 0; i < count && least->item; i++)
        if (!slots[i].item || slots[i].used < least->used)
            least = &slots[i];
    return least;
}

/* Answers what had to make room. */
static void *put(slot *slots, size_t count, const ferry__tls_key *key, void *item)
{
    slot *to = find(slots, count, key);
    if (!to)
        to = least_used(slots, count);
    void *old = to->item;
    memcpy(to->digest, key->digest, sizeof key->digest);
    to->item = item;
    to->used = ++kept.uses;
    return old;
}

/* ---- Keys ----------------------------------------------------------------------------------------------------------- */

static void add_text(ferry__buf *b, const char *text)
{
    ferry__buf_format(b, "%zu:%s,", text ? strlen(text) : (size_t)0, text ? text : "");
}

static void add_file(ferry__buf *b, const char *path)
{
    struct stat st = {0};
    add_text(b, path);
    if (path && stat(path, &st) == 0)
        ferry__buf_format(b, "%llu %lld %lld.%ld,", (unsigned long long)st.st_ino, (long long)st.st_size,
                          (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

static ferry__tls_key make_key(const ferry__stream_options *o, const char *peer)
{
    ferry__tls_key key = {0};
    ferry__buf b = FERRY__BUF(LONGEST_KEY);
    add_file(&b, o->ca_file);
    add_file(&b, o->cert_file);
    add_file(&b, o->key_file);
    ferry__buf_text(&b, o->tls_unverified ? "unverified" : "verified");
    if (peer) {
        add_text(&b, peer);
        add_text(&b, o->host);
        add_text(&b, o->tls_name);
    }
    key.known = b.failed == FERRY_OK && EVP_Digest(b.data, b.length, key.digest, NULL, EVP_sha256(), NULL) == 1;
    ferry__buf_done(&b);
    return key;
}

ferry__tls_key ferry__tls_session_key(const ferry__stream_options *o, const char *peer)
{
    return make_key(o, peer);
}

/* ---- Contexts ------------------------------------------------------------------------------------------------------- */

/* Keys with a password: OpenSSL would ask on the terminal. */
static int no_password(char *to, int size, int writing, void *arg)
{
    (void)to, (void)size, (void)writing, (void)arg;
    return -1;
}

static bool readable(const char *what, const char *path, char *why)
{
    if (access(path, R_OK) == 0)
        return true;
    ferry__why(why, "the %s file %s: %s", what, path, strerror(errno));
    return false;
}

static bool use_authorities(SSL_CTX *ctx, const ferry__stream_options *o, char *why)
{
    struct stat st;
    if (o->tls_unverified)
        return true;
    if (!o->ca_file)
        return SSL_CTX_set_default_verify_paths(ctx) == 1 || ferry__tls_file_words("CA", "of the system", why);
    if (!readable("CA", o->ca_file, why))
        return false;
    bool folder = stat(o->ca_file, &st) == 0 && S_ISDIR(st.st_mode);
    if (SSL_CTX_load_verify_locations(ctx, folder ? NULL : o->ca_file, folder ? o->ca_file : NULL) != 1)
        return ferry__tls_file_words("CA", o->ca_file, why);
    /* What the user put there is trusted, be it a root or not. */
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN);
    return true;
}

/* One file may hold both the certificate and its key. */
static bool use_certificate(SSL_CTX *ctx, const ferry__stream_options *o, char *why)
{
    if (!o->cert_file && o->key_file)
        ferry__why(why, "there is a key file, %s, but no certificate file", o->key_file);
    if (!o->cert_file)
        return !o->key_file;
    const char *key = o->key_file ? o->key_file : o->cert_file;
    if (!readable("certificate", o->cert_file, why) || !readable("key", key, why))
        return false;
    if (SSL_CTX_use_certificate_chain_file(ctx, o->cert_file) != 1)
        return ferry__tls_file_words("certificate", o->cert_file, why);
    if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(ctx) != 1)
        return ferry__tls_file_words("key", key, why);
    return true;
}

static void set_up(SSL_CTX *ctx, const ferry__stream_options *o)
{
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(ctx, 1); /* several records a system call */
    SSL_CTX_set_default_read_buffer_len(ctx, READ_AHEAD);
    SSL_CTX_set_default_passwd_cb(ctx, no_password);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx, ferry__tls_on_session);
    SSL_CTX_set_verify(ctx, o->tls_unverified ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, ferry__tls_on_verify);
}

static SSL_CTX *make_context(const ferry__stream_options *o, ferry_status *status, char *why)
{
    OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, NULL); /* a thread of ours may still be in OpenSSL while the program exits */
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    *status = FERRY_NO_MEMORY;
    ferry__why(why, "out of memory for TLS");
    if (!ctx)
        return NULL;
    set_up(ctx, o);
    if (use_authorities(ctx, o, why) && use_certificate(ctx, o, why))
        return ctx;
    *status = ferry__tls_no_memory() ? FERRY_NO_MEMORY : FERRY_INVALID;
    SSL_CTX_free(ctx);
    return NULL;
}

static SSL_CTX *kept_context(const ferry__tls_key *key)
{
    if (!key->known || !enter())
        return NULL;
    slot *found = find(kept.contexts, CONTEXTS, key);
    SSL_CTX *ctx = found && SSL_CTX_up_ref(found->item) ? found->item : NULL;
    leave();
    return ctx;
}

SSL_CTX *ferry__tls_context(const ferry__stream_options *o, ferry_status *status, char *why)
{
    ferry__tls_key key = make_key(o, NULL);
    SSL_CTX *ctx = kept_context(&key);
    if (ctx)
        return ctx;
    ctx = make_context(o, status, why);
    ERR_clear_error();
    if (!ctx || !key.known || !SSL_CTX_up_ref(ctx))
        return ctx;
    SSL_CTX *old = ctx;
    if (enter()) {
        old = put(kept.contexts, CONTEXTS, &key, ctx);
        leave();
    }
    SSL_CTX_free(old);
    return ctx;
}

/* ---- Sessions ------------------------------------------------------------------------------------------------------- */

/* A ticket of TLS 1.3 is for one use, so that nobody can link two connections by it (RFC 8446 C.4). */
SSL_SESSION *ferry__tls_session_take(const ferry__tls_key *key)
{
    SSL_SESSION *session = NULL;
    if (!key->known || !enter())
        return NULL;
    slot *found = find(kept.sessions, SESSIONS, key);
    if (found) {
        session = found->item;
        if (SSL_SESSION_get_protocol_version(session) >= TLS1_3_VERSION)
            found->item = NULL;
        else if (!SSL_SESSION_up_ref(session))
            session = NULL;
    }
    leave();
    return session;
}

bool ferry__tls_session_keep(const ferry__tls_key *key, SSL_SESSION *session)
{
    if (!key->known || !SSL_SESSION_is_resumable(session) || !enter())
        return false;
    SSL_SESSION *old = put(kept.sessions, SESSIONS, key, session);
    leave();
    SSL_SESSION_free(old);
    return true;
}
