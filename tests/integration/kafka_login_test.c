/* kafka_login_test.c - passwords, tokens and certificates against the listeners of a real Kafka that ask for them. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>

enum { SOON_MS = 15000 };

static const char *at(const char *variable)
{
    const char *value = getenv(variable);
    if (!value || !*value)
        SKIP("no %s: tools/with-brokers DIR kafka -- … starts one", variable);
    return value;
}

static const char *plain(const char *login, const char *query)
{
    return test_text("kafka://%s%s?ns=login&%s", login, at("FERRY_TEST_KAFKA_SASL"), query);
}

static const char *tls(const char *login, const char *query)
{
    return test_text("kafkas://%s%s?ns=login&ca=%s/ca.pem&%s", login, at("FERRY_TEST_KAFKA_SASL_TLS"),
                     at("FERRY_TEST_CERTS"), query);
}

static void lets_in(const char *url)
{
    ferry *f = ferry_open(url, NULL);
    CHECK_STATUS(ferry_wait_ready(f, test_ms(SOON_MS)), FERRY_OK);
    CHECK_STATUS(ferry_close(f), FERRY_OK);
}

/* It says why, and never with the password. */
static void keeps_out(const char *url, ferry_status status, const char *secret)
{
    char text[512] = "";
    ferry *f = ferry_open(url, NULL);
    ferry_reply *r = ferry_get(f, "login.echo", NULL, FERRY_CALL(.timeout_ms = 4000));
    CHECK_STATUS(ferry_reply_status(r), status);
    CHECK_OUTCOME(ferry_reply_outcome(r), FERRY_OUTCOME_NOT_SENT);
    ferry_problem(f, text, sizeof text);
    CHECK(!secret || (!strstr(ferry_error_at(r, 0)->message, secret) && !strstr(text, secret)));
    ferry_reply_free(r);
    ferry_close(f);
}

/* ---- Passwords ------------------------------------------------------------------------------------------------------ */

TEST_WITH(passwords_are_taken, .limit_ms = 60000)
{
    lets_in(plain("ferry:secret@", ""));
    lets_in(plain("ferry:secret@", "sasl=plain"));
    lets_in(tls("ferry:secret@", "sasl=plain"));
}

TEST_WITH(passwords_are_taken_by_scram, .limit_ms = 60000)
{
    if (test_sh("pkg-config --atleast-version=2.6.1 rdkafka").code != 0)
        SKIP("librdkafka before 2.6.1 repeats its nonce, which Kafka 4 refuses");
    lets_in(plain("ferry:secret@", "sasl=scram-256"));
    lets_in(plain("ferry:secret@", "sasl=scram-512"));
    lets_in(tls("ferry:secret@", "sasl=scram-512"));
}

TEST_WITH(wrong_passwords_are_denied_by_every_mechanism, .limit_ms = 90000)
{
    keeps_out(plain("ferry:wrong-one@", ""), FERRY_DENIED, "wrong-one");
    keeps_out(plain("ferry:wrong-one@", "sasl=scram-256"), FERRY_DENIED, "wrong-one");
    keeps_out(plain("nobody:wrong-one@", "sasl=scram-512"), FERRY_DENIED, "wrong-one");
    keeps_out(tls("ferry:wrong-one@", "sasl=scram-256"), FERRY_DENIED, "wrong-one");
}

/* ---- Tokens --------------------------------------------------------------------------------------------------------- */

/* Without a signature: the test broker asks for none. */
static const char *token_file(int seconds)
{
    const char *path = test_text("%s/token", test_dir());
    test_output o =
        test_sh("b64() { base64 -w 0 | tr '+/' '-_' | tr -d =; }; now=$(date +%%s); "
                "printf '%%s.%%s.' \"$(printf '{\"alg\":\"none\"}' | b64)\" "
                "\"$(printf '{\"sub\":\"ferry\",\"iat\":%%d,\"exp\":%%d}' $((now - 60)) $((now + %d)) | b64)\" > %s",
                seconds, path);
    CHECK_INT(o.code, 0);
    return path;
}

TEST_WITH(tokens_come_from_a_file, .limit_ms = 60000)
{
    lets_in(plain("", test_text("sasl=oauthbearer&token_file=%s", token_file(3600))));
    lets_in(tls("", test_text("sasl=oauthbearer&token_file=%s", token_file(3600))));
    keeps_out(plain("", test_text("sasl=oauthbearer&token_file=%s", token_file(-30))), FERRY_DENIED, "eyJ");
    CHECK_INT(test_sh("rm %s/token", test_dir()).code, 0);
    ferry *f = ferry_open(plain("", test_text("sasl=oauthbearer&token_file=%s/token", test_dir())), NULL);
    CHECK(ferry_wait_ready(f, 1500) != FERRY_OK);
    token_file(3600); /* it is looked for again */
    CHECK_STATUS(ferry_wait_ready(f, test_ms(30000)), FERRY_OK);
    CHECK_STATUS(ferry_close(f), FERRY_OK);
}

/* ---- Certificates ---------------------------------------------------------------------------------------------------- */

TEST_WITH(certificates_are_verified, .limit_ms = 60000)
{
    const char *where = at("FERRY_TEST_KAFKA_TLS"), *certs = at("FERRY_TEST_CERTS");
    lets_in(test_text("kafkas://%s?ns=login&ca=%s/ca.pem", where, certs));
    lets_in(test_text("kafkas://%s?ns=login&ca=%s/ca.pem&cert=%s/client.pem&key=%s/client.key", where, certs, certs,
                      certs));
    lets_in(test_text("kafkas://%s?ns=login&verify=no", where));
    /* The system knows no such authority. */
    ferry *distrustful = ferry_open(test_text("kafkas://%s?ns=login", where), NULL);
    CHECK(ferry_wait_ready(distrustful, 2000) != FERRY_OK);
    ferry_close(distrustful);
    ferry *without = ferry_open(test_text("kafka://%s?ns=login", where), NULL); /* plain text to a port of TLS */
    CHECK(ferry_wait_ready(without, 2000) != FERRY_OK);
    ferry_close(without);
}

/* ---- Settings -------------------------------------------------------------------------------------------------------- */

static const char *problem_of(const char *where)
{
    char text[512] = "";
    ferry *f = ferry_open(where, NULL);
    ferry_problem(f, text, sizeof text);
    ferry_close(f);
    return test_text("%s", text);
}

TEST(settings_of_the_library_with_a_guess)
{
    CHECK_HAS(problem_of("kafka://127.0.0.1:1?kafka.compresion.codec=lz4"), "did you mean 'kafka.compression.codec'");
    CHECK_HAS(problem_of("kafka://127.0.0.1:1?kafka.linger.ms=abc"), "kafka.linger.ms");
    CHECK_HAS(problem_of("kafka://127.0.0.1:1?kafka.group.id=x"), "ferry's own");
    CHECK_HAS(problem_of("kafka://127.0.0.1:1?sesion=5s"), "did you mean 'session'");
    CHECK_HAS(problem_of("kafka://127.0.0.1:1?sasl=scram-255"), "scram-256");
    CHECK_STR(problem_of("kafka://127.0.0.1:1?kafka.compression.type=lz4&kafka.linger.ms=3"), "");
}

TEST(secrets_stay_secret)
{
    const char *text =
        problem_of("kafka://u:geheim@127.0.0.1:1?kafka.sasl.password=geheim&kafka.ssl.key.password=geheim&kafka.no=1");
    CHECK(*text);
    CHECK(!strstr(text, "geheim"));
}
