/* redis_tls_test.c - rediss: against a Redis that demands certificates, all of them by an authority of the case's own. */
#include "redis_kit.h"

#include <signal.h>
#include <stdatomic.h>

static int port;

static void begin_tls(const char *clients)
{
    if (test_sh("command -v openssl").code != 0)
        SKIP("there is no openssl here");
    if (test_sh("redis-server --tls-port 0 --port 0 --tls-cert-file none 2>&1 | grep -q 'Bad directive'").code == 0)
        SKIP("this redis-server was built without TLS");
    test_output o = test_sh(
        "authority() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=$1 "
        "-addext basicConstraints=critical,CA:TRUE -keyout $1.key -out $1.pem; }; "
        "sign() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=$1 -keyout $1.key -out "
        "$1.csr "
        "&& echo subjectAltName=DNS:$2 >$1.ext && openssl x509 -req -in $1.csr -CA $3.pem -CAkey $3.key "
        "-CAcreateserial "
        "-days 2 -extfile $1.ext -out $1.pem; }; "
        "authority ca && authority other && sign server localhost ca && sign client client ca && "
        "sign stranger stranger other");
    if (o.code != 0)
        FAIL("openssl: %s", o.err);
    port = redis_port();
    redis_begin(test_text("--tls-port %d --bind 127.0.0.1 --tls-cert-file server.pem --tls-key-file server.key "
                          "--tls-ca-cert-file ca.pem --tls-auth-clients %s",
                          port, clients));
}

static const char *file(const char *name)
{
    return test_text("%s/%s", test_dir(), name);
}

static ferry *open_tls(const char *host, const char *more)
{
    return ferry_open(
        test_text("rediss://%s:%d?lease=400ms&look=50ms&backoff=10ms&backoff_max=50ms%s", host, port, more),
        FERRY_OPTIONS(.close_ms = 2000));
}

static const char *certified(const char *who)
{
    return test_text("&ca=%s&cert=%s&key=%s", file("ca.pem"), file(test_text("%s.pem", who)),
                     file(test_text("%s.key", who)));
}

static void works(const char *host, const char *more)
{
    ferry *f = open_tls(host, more);
    CHECK_STATUS(ferry_wait_ready(f, SOON_MS), FERRY_OK);
    CHECK_STATUS(redis_get(f, "nobody.home", SOON_MS), FERRY_NO_SERVICE);
    CHECK_STATUS(ferry_close(f), FERRY_OK);
}

static void denied(const char *host, const char *more, const char *part)
{
    ferry *f = open_tls(host, more);
    char why[FERRY_WHY_SIZE] = "";
    CHECK_STATUS(ferry_wait_ready(f, SOON_MS), FERRY_DENIED);
    ferry_reply *r = ferry_get(f, "nobody.home", NULL, FERRY_CALL(.timeout_ms = 500, .why = why));
    CHECK_STATUS(ferry_reply_status(r), FERRY_DENIED);
    CHECK_OUTCOME(ferry_reply_outcome(r), FERRY_OUTCOME_NOT_SENT);
    CHECK_HAS(why, part);
    ferry_reply_free(r);
    ferry_close(f);
}

static ferry *serve_tls(atomic_int *calls)
{
    ferry *s = open_tls("localhost", certified("client"));
    CHECK_STATUS(ferry_handle(s, "calc.count", redis_count, calls, NULL), FERRY_OK);
    CHECK_STATUS(ferry_serve(s), FERRY_OK);
    return s;
}

TEST_WITH(calls_over_tls_outlive_a_kill, .limit_ms = 60000)
{
    atomic_int calls = 0;
    begin_tls("yes");
    ferry *s = serve_tls(&calls), *c = open_tls("localhost", certified("client"));
    CHECK_STATUS(ferry_wait_ready(c, SOON_MS), FERRY_OK);
    CHECK_SOON(redis_get(c, "calc.count", SOON_MS) == FERRY_OK, SOON_MS);
    CHECK_STATUS(ferry_post_no_wait(c, "calc.count", NULL, FERRY_CALL(.confirm = FERRY_CONFIRMED)), FERRY_OK);
    CHECK_SOON(atomic_load(&calls) == 2, SOON_MS);
    redis_stop(SIGKILL);
    redis_start(test_text("--tls-port %d --bind 127.0.0.1 --tls-cert-file server.pem --tls-key-file server.key "
                          "--tls-ca-cert-file ca.pem --tls-auth-clients yes",
                          port));
    CHECK_SOON(redis_get(c, "calc.count", SOON_MS) == FERRY_OK, SOON_MS);
    redis_shut(s, c);
}

TEST_WITH(who_is_trusted, .limit_ms = 60000)
{
    begin_tls("no");
    works("localhost", test_text("&ca=%s", file("ca.pem")));
    works("127.0.0.1", test_text("&tls_name=localhost&ca=%s", file("ca.pem")));
    works("127.0.0.1", "&verify=no");
    denied("127.0.0.1", test_text("&ca=%s", file("ca.pem")), "is not for '127.0.0.1'");
    denied("localhost", "", "unknown authority");
    denied("localhost", test_text("&ca=%s", file("other.pem")), "unknown authority");
    redis_stop(SIGTERM);
}

TEST_WITH(client_certificates, .limit_ms = 60000)
{
    begin_tls("yes");
    works("localhost", certified("client"));
    denied("localhost", test_text("&ca=%s", file("ca.pem")), "client certificate");
    denied("localhost", certified("stranger"), "certificate");
    redis_stop(SIGTERM);
}
