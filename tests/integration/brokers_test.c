/* brokers_test.c - tools/brokers, with Redis, which starts in no time. */
#include "test.h"

#include <signal.h>
#include <stdlib.h>

static test_output brokers(const char *arguments)
{
    return test_sh("%s/tools/brokers --dir '%s/set' %s", test_root(), test_dir(), arguments);
}

static const char *url(const char *arguments)
{
    test_output o = brokers(arguments);
    CHECK_INT(o.code, 0);
    CHECK_HAS(o.out, "FERRY_URL=redis://127.0.0.1:");
    return o.out;
}

static void need_redis(void)
{
    if (test_sh("command -v redis-server && command -v redis-cli && command -v openssl").code != 0)
        SKIP("no redis-server here");
}

static pid_t redis_pid(void)
{
    return (pid_t)strtol(test_read(test_text("%s/set/redis/pid", test_dir())), NULL, 10);
}

TEST_WITH(a_broker_comes_back_where_it_was_with_what_it_had, .limit_ms = 60000)
{
    need_redis();
    const char *first = url("start redis --safe");
    CHECK_STR(url("start redis"), first); /* it runs already */
    CHECK_INT(brokers("status redis").code, 0);
    CHECK_STR(brokers("ctl redis set key value").out, "OK\n");
    CHECK_INT(brokers("kill redis").code, 0);
    CHECK(!test_alive(redis_pid()));
    test_output o = brokers("status redis");
    CHECK_INT(o.code, 1);
    CHECK_STR(o.out, "redis does not run\n");
    CHECK_STR(brokers("urls redis").out, "");
    CHECK_STR(url("start redis --safe"), first);
    CHECK_STR(brokers("ctl redis get key").out, "value\n");
    CHECK_INT(brokers("stop redis").code, 0);
    CHECK_STR(url("start redis --fresh"), first);
    CHECK_STR(brokers("ctl redis get key").out, "\n");
    CHECK_INT(brokers("stop").code, 0);
}

TEST_WITH(a_frozen_broker_stops_too, .limit_ms = 60000)
{
    need_redis();
    url("start redis");
    pid_t pid = redis_pid();
    CHECK_INT(brokers("freeze redis").code, 0);
    CHECK_INT(test_sh("timeout 0.2 %s/tools/brokers --dir '%s/set' ctl redis ping", test_root(), test_dir()).code, 124);
    CHECK_INT(brokers("stop redis").code, 0);
    CHECK(!test_alive(pid));
}

/* A pid file that outlived its process, and whose number another process has by now, stops nobody. */
TEST_WITH(only_its_own_process_is_ended, .limit_ms = 60000)
{
    need_redis();
    url("start redis");
    CHECK_INT(brokers("kill redis").code, 0);
    pid_t other = test_start("tail -f /dev/null");
    test_write(test_text("%s/set/redis/pid", test_dir()), test_text("%d\n", (int)other));
    CHECK_INT(brokers("status redis").code, 1);
    CHECK_INT(brokers("stop redis").code, 0);
    CHECK(test_alive(other));
    test_kill(other, SIGKILL);
}

TEST_WITH(every_way_into_redis, .limit_ms = 60000)
{
    need_redis();
    url("start redis");
    const char *all = brokers("urls redis --all").out;
    CHECK_HAS(all, "FERRY_URL=redis://ferry:secret@127.0.0.1:");
    CHECK_HAS(all, "FERRY_URL=rediss://localhost:");
    CHECK_HAS(all, "/tls/ca.pem");
    CHECK_STR(brokers("ctl redis --user ferry --pass secret --no-auth-warning ping").out, "PONG\n");
    CHECK_HAS(brokers("ctl redis --user nobody --pass secret --no-auth-warning get key").out, "NOPERM");
    CHECK_STR(
        test_sh(
            "eval \"$(%s/tools/brokers --dir '%s/set' env)\"; redis-cli -h localhost -p \"${FERRY_TEST_REDIS_TLS#*:}\" "
            "--tls --cacert \"$FERRY_TEST_CERTS/ca.pem\" ping",
            test_root(), test_dir())
            .out,
        "PONG\n");
    CHECK_INT(brokers("stop redis").code, 0);
}

TEST(says_what_is_wrong)
{
    test_output o = brokers("start rabbit");
    CHECK_INT(o.code, 2);
    CHECK_HAS(o.err, "no broker is called 'rabbit'; there are: redis amqp kafka");
    CHECK_HAS(brokers("begin").err, "no command 'begin'");
    CHECK_HAS(brokers("kill").err, "kill which?");
    CHECK_HAS(brokers("ctl redis ping").err, "redis does not run");
    CHECK_INT(brokers("ctl redis ping").code, 1);
    CHECK_HAS(brokers("start --quickly").err, "no option '--quickly'");
}

/* A PATH with what the script itself needs, and no broker in it. */
TEST(names_the_packages_that_are_missing)
{
    test_output o = test_sh("mkdir bin && for tool in bash dirname sed cut cat tr head tail mkdir ls flock; do "
                            "ln -s \"$(command -v $tool)\" bin/; done && HOME=$PWD PATH=$PWD/bin FERRY_TEST_CACHE= "
                            "%s/tools/brokers --dir set "
                            "start redis kafka",
                            test_root());
    CHECK_INT(o.code, 2);
    CHECK_HAS(o.err, "sudo apt-get install --no-install-recommends openssl redis-server default-jre-headless maven\n");
}
