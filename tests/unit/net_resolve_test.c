/* The names that end in ".test" are ours: this program's getaddrinfo knows them, and passes all others on. */
#include "test.h"

#include "net/resolve.h"
#include "net/stream.h"
#include "net_kit.h"
#include "base/clock.h"
#include <dlfcn.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- A name server on cue ------------------------------------------------------------------------------------------- */

static int        gate = -1; /* "slow.test" waits until it can be read */
static atomic_int asked;

typedef int look_up_fn(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **list);

static int look_up(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **list)
{
    look_up_fn *real;
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(host, port, hints, list);
}

static int two_addresses(const char *port, const struct addrinfo *hints, struct addrinfo **list)
{
    int code = look_up("127.0.0.2", port, hints, list);
    return code ? code : look_up("127.0.0.1", port, hints, &(*list)->ai_next);
}

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **list)
{
    size_t length = host ? strlen(host) : 0;
    if (length < 5 || strcmp(host + length - 5, ".test") != 0)
        return look_up(host, port, hints, list);
    if (hints->ai_flags & AI_NUMERICHOST)
        return EAI_NONAME;
    asked++;
    if (strcmp(host, "slow.test") == 0)
        poll(&(struct pollfd){gate, POLLIN, 0}, 1, -1);
    if (strcmp(host, "two.test") == 0)
        return two_addresses(port, hints, list);
    return strcmp(host, "none.test") == 0 ? EAI_NONAME : look_up("127.0.0.1", port, hints, list);
}

static void close_gate(void)
{
    gate = eventfd(0, EFD_CLOEXEC);
}

static void open_gate(void)
{
    uint64_t one = 1;
    CHECK_INT(write(gate, &one, sizeof one), sizeof one);
}

static void count_up(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
}

/* ---- Look-ups ------------------------------------------------------------------------------------------------------- */

TEST(numbers_need_no_thread)
{
    const char *why, *hosts[] = {"127.0.0.1", "::1"};
    ferry_status status;
    for (size_t i = 0; i < 2; i++) {
        ferry__resolve *r = ferry__resolve_start(hosts[i], "80", NULL, NULL);
        CHECK(ferry__resolve_done(r));
        CHECK_NOT_NULL(ferry__resolve_list(r, &status, &why));
        ferry__resolve_free(r);
    }
}

TEST(a_port_is_a_number)
{
    const char *why, *ports[] = {"0", "65536", "", "80x", "http", "-1"};
    ferry_status status;
    for (size_t i = 0; i < sizeof ports / sizeof ports[0]; i++) {
        ferry__resolve *r = ferry__resolve_start("127.0.0.1", ports[i], NULL, NULL);
        CHECK(ferry__resolve_done(r));
        CHECK_NULL(ferry__resolve_list(r, &status, &why));
        CHECK_STATUS(status, FERRY_INVALID);
        CHECK_HAS(why, "is not a port");
        ferry__resolve_free(r);
    }
}

TEST(the_owner_is_woken_once)
{
    atomic_int woken = 0;
    const char *why;
    ferry_status status;
    close_gate();
    ferry__resolve *r = ferry__resolve_start("slow.test", "80", count_up, &woken);
    CHECK_SOON(atomic_load(&asked) == 1, 5000);
    CHECK(!ferry__resolve_done(r));
    open_gate();
    CHECK_SOON(atomic_load(&woken) == 1, 5000);
    CHECK(ferry__resolve_done(r));
    CHECK_NOT_NULL(ferry__resolve_list(r, &status, &why));
    ferry__resolve_free(r);
    CHECK_INT(woken, 1);
    close(gate);
}

/* That nothing stays behind, neither the thread nor its memory, the harness sees. */
TEST(let_go_before_the_answer)
{
    atomic_int woken = 0;
    close_gate();
    ferry__resolve_free(ferry__resolve_start("slow.test", "80", count_up, &woken));
    CHECK_SOON(atomic_load(&asked) == 1, 5000);
    open_gate();
    ferry__resolve *r = ferry__resolve_start("one.test", "80", count_up, &woken);
    CHECK_SOON(ferry__resolve_done(r), 5000);
    ferry__resolve_free(r);
    CHECK(woken <= 1);
    close(gate);
}

TEST(name_servers_that_never_answer_gather_no_threads)
{
    int started = 0;
    close_gate();
    for (int i = 0; i < 100; i++) {
        ferry__resolve *r = ferry__resolve_start("slow.test", "80", NULL, NULL);
        started += r != NULL;
        ferry__resolve_free(r);
    }
    CHECK_INT(started, 32);
    open_gate();
    CHECK_SOON(atomic_load(&asked) == 32, 5000);
    close(gate);
}

static void look_up_without_memory(void *arg)
{
    (void)arg;
    ferry__resolve *r = ferry__resolve_start("one.test", "80", NULL, NULL);
    if (r)
        CHECK_SOON(ferry__resolve_done(r), 5000);
    else
        CHECK(test_alloc_failed());
    ferry__resolve_free(r);
}

TEST(any_allocation_may_fail)
{
    test_every_alloc_fails(look_up_without_memory, NULL);
}

/* ---- Streams by name ------------------------------------------------------------------------------------------------ */

TEST(a_stream_by_name)
{
    kit_peer p;
    kit_listen(&p, kit_echo, NULL);
    ferry__stream_options o = kit_options(&p);
    o.host = "one.test";
    ferry__stream *s = kit_open(&p, &o);
    CHECK(ferry__stream_where(s) < FERRY__OPEN);
    kit_drive(s, kit_is, FERRY__OPEN);
    CHECK(ferry__stream_add(s, "hello", 5));
    kit_expect(s, "hello");
    kit_close(s);
    kit_join(&p);
}

TEST(a_name_that_nobody_has)
{
    ferry__stream_options o = {.host = "none.test", .port = "80", .connect_ms = 5000, .in_max = 100, .out_max = 100};
    ferry__stream *s = kit_open(NULL, &o);
    CHECK_HAS(kit_why(s, FERRY_UNAVAILABLE), "cannot look up the host 'none.test'");
    kit_close(s);
}

TEST(a_stream_freed_while_its_name_is_looked_up)
{
    ferry__stream_options o = {.host = "slow.test", .port = "80", .connect_ms = 5000, .in_max = 100, .out_max = 100};
    close_gate();
    ferry__stream *s = kit_open(NULL, &o);
    CHECK_SOON(atomic_load(&asked) == 1, 5000);
    CHECK_INT(ferry__stream_fd(s), -1);
    CHECK_INT(ferry__stream_events(s), 0);
    CHECK_INT(ferry__stream_pump(s, ferry__now_ms()), FERRY__RESOLVING);
    kit_close(s);
    open_gate();
    close(gate);
}

TEST(name_servers_count_against_the_time_to_connect)
{
    ferry__stream_options o = {.host = "slow.test", .port = "80", .connect_ms = 100, .in_max = 100, .out_max = 100};
    close_gate();
    int64_t start = test_now_ms();
    ferry__stream *s = kit_open(NULL, &o);
    CHECK_HAS(kit_why(s, FERRY_UNAVAILABLE), "no name server has answered for the host 'slow.test' within 100 ms");
    CHECK(test_now_ms() - start >= 100);
    CHECK(test_now_ms() - start < test_ms(1000));
    kit_close(s);
    open_gate();
    close(gate);
}

TEST(the_next_address_when_one_refuses)
{
    kit_peer p;
    kit_listen(&p, kit_echo, NULL);
    ferry__stream_options o = kit_options(&p);
    o.host = "two.test"; /* 127.0.0.2, where nobody listens, and 127.0.0.1 */
    ferry__stream *s = kit_open(&p, &o);
    kit_drive(s, kit_is, FERRY__OPEN);
    kit_close(s);
    kit_join(&p);
}

TEST(all_addresses_refuse)
{
    const char *port = test_text("%d", kit_unused_port());
    ferry__stream_options o = {.host = "two.test", .port = port, .connect_ms = 5000, .in_max = 100, .out_max = 100};
    ferry__stream *s = kit_open(NULL, &o);
    CHECK_STR(
        kit_why(s, FERRY_UNAVAILABLE),
        test_text("cannot connect to two.test:%s at any of its addresses; the last one: Connection refused", port));
    kit_close(s);
}

/* The first address swallows what is sent to it: it has half of the time. */
TEST(the_next_address_when_one_is_a_black_hole)
{
    kit_peer p, hole = {0};
    int fds[8];
    kit_listen(&p, kit_echo, NULL);
    kit_bind(&hole, "127.0.0.2", p.port);
    kit_fill_backlog(&hole, fds, 8);
    ferry__stream_options o = kit_options(&p);
    o.host = "two.test";
    o.connect_ms = 600;
    int64_t start = test_now_ms();
    ferry__stream *s = kit_open(&p, &o);
    kit_drive(s, kit_is, FERRY__OPEN);
    CHECK(test_now_ms() - start >= 250);
    kit_close(s);
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    kit_join(&hole);
    kit_join(&p);
}
