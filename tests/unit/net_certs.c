#include "net_certs.h"

#include "test.h"
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

enum { HOUR = 3600 };

const char *cert_file(const char *name)
{
    return test_text("%s/%s.pem", test_dir(), name);
}

static void load(const char *name, X509 **x, EVP_PKEY **key)
{
    FILE *f = fopen(cert_file(name), "r");
    CHECK_NOT_NULL(f);
    *x = PEM_read_X509(f, NULL, NULL, NULL);
    *key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
    fclose(f);
    CHECK(*x && *key);
}

static void save(const char *name, X509 *x, EVP_PKEY *key, const char *password)
{
    FILE *f = fopen(cert_file(name), "w");
    CHECK_NOT_NULL(f);
    CHECK(PEM_write_X509(f, x));
    CHECK(PEM_write_PrivateKey(f, key, password ? EVP_aes_128_cbc() : NULL, NULL, 0, NULL, (void *)password));
    CHECK_INT(fclose(f), 0);
}

static void add_extension(X509 *x, X509 *issuer, int kind, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &context, kind, value);
    CHECK(e && X509_add_ext(x, e, -1));
    X509_EXTENSION_free(e);
}

static void fill(X509 *x, const cert *c, EVP_PKEY *key)
{
    static int serial;
    X509_NAME *subject = X509_get_subject_name(x);
    bool usual = c->from == 0 && c->to == 0;
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(x), usual ? -HOUR : c->from);
    X509_gmtime_adj(X509_getm_notAfter(x), usual ? HOUR : c->to);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)c->name, -1, -1, 0);
}

void cert_make(const cert *c)
{
    X509 *x = X509_new(), *issuer = NULL;
    EVP_PKEY *key = EVP_EC_gen("P-256"), *signer = NULL;
    CHECK(x && key);
    fill(x, c, key);
    if (c->issuer)
        load(c->issuer, &issuer, &signer);
    X509_set_issuer_name(x, X509_get_subject_name(issuer ? issuer : x));
    add_extension(x, issuer ? issuer : x, NID_basic_constraints, c->authority ? "critical,CA:TRUE" : "CA:FALSE");
    if (c->hosts)
        add_extension(x, issuer ? issuer : x, NID_subject_alt_name, c->hosts);
    CHECK(X509_sign(x, signer ? signer : key, EVP_sha256()) > 0);
    save(c->name, x, key, NULL);
    X509_free(x);
    X509_free(issuer);
    EVP_PKEY_free(key);
    EVP_PKEY_free(signer);
}

void cert_lock_key(const char *name, const char *as)
{
    X509 *x;
    EVP_PKEY *key;
    load(name, &x, &key);
    save(as, x, key, "secret");
    X509_free(x);
    EVP_PKEY_free(key);
}
