/* amqp_tls_test.c - amqps on a real RabbitMQ: whom it believes, who it says it is; and URLs with several hosts. */
#include "amqp_kit.h"

static ferry_status tls(const char *host, const char *login, const char *more)
{
    const char *port = strchr(amqp_tls_address(), ':');
    ferry *f = amqp_open("amqps://%s%s%s/ferry?connect=10s&%s", login, host, port, more);
    ferry_status status = ferry_wait_ready(f, test_ms(AMQP_SOON_MS));
    ferry_close(f);
    return status;
}

static const char *with_ca(const char *more)
{
    return test_text("ca=%s/set/tls/ca.pem&%s", test_dir(), more);
}

static const char *with_certificate(const char *name)
{
    return with_ca(
        test_text("auth=external&cert=%s/set/tls/%s.pem&key=%s/set/tls/%s.key", test_dir(), name, test_dir(), name));
}

TEST_WITH(certificates, .limit_ms = 120000)
{
    amqp_start();
    const char *ferry_user = "ferry:secret@";
    CHECK_STATUS(tls("localhost", ferry_user, with_ca("")), FERRY_OK);
    CHECK_STATUS(tls("127.0.0.1", ferry_user, with_ca("")), FERRY_OK); /* an address in the certificate */
    CHECK_STATUS(tls("localhost", ferry_user, ""), FERRY_DENIED);      /* an authority that the system does not know */
    CHECK_STATUS(tls("localhost", ferry_user, with_ca("tls_name=other.example")), FERRY_DENIED);
    CHECK_STATUS(tls("127.0.0.1", ferry_user, with_ca("tls_name=localhost")), FERRY_OK);
    CHECK_STATUS(tls("localhost", ferry_user, "verify=no"), FERRY_OK);
    CHECK_STATUS(tls("localhost", "ferry:wrong@", with_ca("")), FERRY_DENIED);
    amqp_stop();
}

TEST_WITH(certificate_as_login, .limit_ms = 120000)
{
    amqp_start();
    CHECK_STATUS(tls("localhost", "", with_certificate("client")), FERRY_OK);
    CHECK_STATUS(tls("localhost", "", with_certificate("server")), FERRY_DENIED); /* no user has that name */
    CHECK_STATUS(tls("localhost", "", with_ca("auth=external")), FERRY_DENIED);   /* no certificate */
    const char *port = strchr(amqp_tls_address(), ':');
    ferry *s = amqp_serve_on(amqp_open("amqps://localhost%s/ferry?%s", port, with_certificate("client")));
    ferry *c = amqp_open("amqps://localhost%s/ferry?%s", port, with_certificate("client"));
    CHECK_SOON(amqp_get(c, 2000) == FERRY_OK, AMQP_SOON_MS);
    CHECK_HAS(amqp_ctl("list_connections user ssl"), "ferry\ttrue");
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    amqp_stop();
}

/* The first host of the URL is nobody, the second a broker that dies, the third one that lives. */
TEST_WITH(several_hosts, .limit_ms = 120000)
{
    const char *first = amqp_start(), *tool = test_text("%s/tools/brokers --dir '%s/two'", test_root(), test_dir());
    CHECK_INT(test_sh("%s start amqp", tool).code, 0);
    const char *at = strstr(test_sh("%s urls amqp", tool).out, "secret@");
    CHECK_NOT_NULL(at);
    at += strlen("secret@");
    const char *hosts = test_text("127.0.0.1:1,%s,%.*s", first, (int)strcspn(at, "/"), at);
    ferry *s = amqp_serve(hosts), *c = amqp_ready(hosts);
    CHECK_SOON(amqp_get(c, 2000) == FERRY_OK, AMQP_SOON_MS);
    amqp_broker("kill amqp");
    CHECK_SOON(amqp_get(c, 2000) == FERRY_OK, AMQP_SOON_MS);
    CHECK_STATUS(ferry_close(c), FERRY_OK);
    CHECK_STATUS(ferry_close(s), FERRY_OK);
    CHECK_INT(test_sh("%s stop amqp", tool).code, 0);
    amqp_stop();
}
