#include "net/tls_words.h"

#include "base/log.h"
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>

/* ---- Files ---------------------------------------------------------------------------------------------------------- */

bool ferry__tls_no_memory(void)
{
    return ERR_GET_REASON(ERR_peek_last_error()) == ERR_R_MALLOC_FAILURE;
}

typedef enum fault { OTHER, EMPTY, LOCKED, MISMATCH } fault;

static fault fault_of(unsigned long error)
{
    int lib = ERR_GET_LIB(error), reason = ERR_GET_REASON(error);
    if (lib == ERR_LIB_X509 && reason == X509_R_KEY_VALUES_MISMATCH)
        return MISMATCH;
    if (lib == ERR_LIB_CRYPTO && reason == ERR_R_INTERRUPTED_OR_CANCELLED)
        return LOCKED;
    if (lib == ERR_LIB_PEM && (reason == PEM_R_BAD_PASSWORD_READ || reason == PEM_R_PROBLEMS_GETTING_PASSWORD))
        return LOCKED;
    if ((lib == ERR_LIB_PEM && reason == PEM_R_NO_START_LINE) ||
        (lib == ERR_LIB_X509 && reason == X509_R_NO_CERTIFICATE_OR_CRL_FOUND))
        return EMPTY;
    return OTHER;
}

/* The worst that any of the errors tells: OpenSSL reports one failure several times, on each floor in other words. */
static fault worst_fault(void)
{
    fault worst = OTHER;
    for (unsigned long error; (error = ERR_get_error()) != 0;)
        worst = fault_of(error) > worst ? fault_of(error) : worst;
    return worst;
}

bool ferry__tls_file_words(const char *what, const char *path, char *why)
{
    if (ferry__tls_no_memory()) {
        ferry__why(why, "out of memory for the %s file %s", what, path);
        return false;
    }
    bool key = strcmp(what, "key") == 0;
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    fault f = worst_fault();
    if (f == MISMATCH)
        ferry__why(why, "the %s file %s holds the key of another certificate", what, path);
    else if (f == LOCKED)
        ferry__why(why, "the %s file %s is locked by a password: store it without (openssl pkey -in %s)", what, path,
                   path);
    else if (f == EMPTY || !reason || key)
        ferry__why(why, "the %s file %s holds no %s in PEM", what, path, key ? "private key" : "certificate");
    else
        ferry__why(why, "the %s file %s cannot be used: %s", what, path, reason);
    return false;
}

/* ---- Certificates --------------------------------------------------------------------------------------------------- */

static void note_time(const ASN1_TIME *time, char *note, size_t size)
{
    struct tm t;
    if (ASN1_TIME_to_tm(time, &t))
        strftime(note, size, "%Y-%m-%d %H:%M UTC", &t);
}

static void append(char *note, size_t size, const char *text, int length)
{
    size_t at = strlen(note);
    snprintf(note + at, size - at, "%s%.*s", at ? ", " : "", length, text);
}

static void append_name(const GENERAL_NAME *name, char *note, size_t size)
{
    char text[INET6_ADDRSTRLEN];
    int kind;
    const ASN1_STRING *value = GENERAL_NAME_get0_value(name, &kind);
    if (kind == GEN_DNS) {
        append(note, size, (const char *)ASN1_STRING_get0_data(value), ASN1_STRING_length(value));
    } else if (kind == GEN_IPADD) {
        int family = ASN1_STRING_length(value) == 4 ? AF_INET : AF_INET6;
        if (inet_ntop(family, ASN1_STRING_get0_data(value), text, sizeof text))
            append(note, size, text, (int)strlen(text));
    }
}

static void note_names(X509 *cert, char *note, size_t size)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
        append_name(sk_GENERAL_NAME_value(names, i), note, size);
    GENERAL_NAMES_free(names);
}

void ferry__tls_note_certificate(X509 *cert, int verify_error, char *note, size_t size)
{
    note[0] = '\0';
    if (!cert)
        return;
    if (verify_error == X509_V_ERR_CERT_HAS_EXPIRED)
        note_time(X509_get0_notAfter(cert), note, size);
    else if (verify_error == X509_V_ERR_CERT_NOT_YET_VALID)
        note_time(X509_get0_notBefore(cert), note, size);
    else if (verify_error == X509_V_ERR_HOSTNAME_MISMATCH || verify_error == X509_V_ERR_IP_ADDRESS_MISMATCH)
        note_names(cert, note, size);
    for (char *c = note; *c; c++) /* names come from a stranger */
        if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
            *c = '?';
}

static void verify_words(long error, const char *peer, const char *name, const char *note, char *why)
{
    switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        ferry__why(why, "the certificate of %s has expired, on %s", peer, note);
        break;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        ferry__why(why, "the certificate of %s is valid only from %s: is this machine's clock right?", peer, note);
        break;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        ferry__why(why, "the certificate of %s is not for '%s' but for %s", peer, name,
                   *note ? note : "no host at all");
        break;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        ferry__why(why, "the certificate of %s is of an unknown authority (%s): name the right CA file", peer,
                   X509_verify_cert_error_string(error));
        break;
    default:
        ferry__why(why, "the certificate of %s is refused: %s", peer, X509_verify_cert_error_string(error));
    }
}

/* ---- Connections ---------------------------------------------------------------------------------------------------- */

/* Alerts that speak of our certificate, or of its absence. RFC 8446 6.2 */
static bool is_about_us(int reason)
{
    switch (reason) {
    case SSL_R_SSLV3_ALERT_NO_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
    case SSL_R_TLSV1_ALERT_DECRYPT_ERROR:
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
        return true;
    default:
        return false;
    }
}

static bool is_not_tls(int reason)
{
    return reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST ||
           reason == SSL_R_PACKET_LENGTH_TOO_LONG || reason == SSL_R_ENCRYPTED_LENGTH_TOO_LONG ||
           reason == SSL_R_BAD_RECORD_TYPE;
}

static bool is_too_old(int reason)
{
    return reason == SSL_R_UNSUPPORTED_PROTOCOL || reason == SSL_R_TLSV1_ALERT_PROTOCOL_VERSION ||
           reason == SSL_R_VERSION_TOO_LOW || reason == SSL_R_NO_PROTOCOLS_AVAILABLE;
}

/* The first one of TLS itself is the cause: before it stand details of other parts, after it what failed in consequence. */
static unsigned long first_error(void)
{
    unsigned long first = ERR_peek_error(), error;
    while ((error = ERR_get_error()) != 0)
        if (ERR_GET_LIB(error) == ERR_LIB_SSL)
            return error;
    return first;
}

ferry_status ferry__tls_words(const SSL *ssl, const char *peer, const char *name, const char *note, char *why)
{
    unsigned long error = first_error();
    int reason = ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0;
    const char *text = ERR_reason_error_string(error);
    if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        verify_words(SSL_get_verify_result(ssl), peer, name, note, why);
        return FERRY_DENIED;
    }
    if (is_about_us(reason)) {
        ferry__why(why, "%s refuses the client certificate, or the lack of one: %s", peer, text ? text : "");
        return FERRY_DENIED;
    }
    if (is_not_tls(reason))
        ferry__why(why, "%s does not answer in TLS: is that its TLS port?", peer);
    else if (is_too_old(reason))
        ferry__why(why, "%s does not offer TLS 1.2 or later", peer);
    else
        ferry__why(why, "TLS with %s failed: %s", peer, text ? text : "for no reason given");
    return FERRY_UNAVAILABLE;
}
