/* url_test.c - the grammar, the texts of refusals, and that no secret gets into either a text or what is shown. */
#include "test.h"

#include "base/alloc.h"
#include "data/url.h"

/* ---- Parts ---------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *text, *decorators, *scheme, *user, *password, *hosts, *path, *shown;
} good[] = {
    {"file:", "", "file", NULL, NULL, "", "", "file:"},
    {"file:/a/b.db", "", "file", NULL, NULL, "", "/a/b.db", "file:/a/b.db"},
    {"file:rel.db", "", "file", NULL, NULL, "", "rel.db", "file:rel.db"},
    {"file:///a/b.db", "", "file", NULL, NULL, "", "/a/b.db", "file:///a/b.db"},
    {"file:/home/me@work/%20x", "", "file", NULL, NULL, "", "/home/me@work/ x", "file:/home/me@work/%20x"},
    {"file:/J\xc3\xbcrgen", "", "file", NULL, NULL, "", "/J\xc3\xbcrgen", "file:/J\xc3\xbcrgen"},
    {"mem:name", "", "mem", NULL, NULL, "", "name", "mem:name"},
    {"MEM:Name", "", "mem", NULL, NULL, "", "Name", "MEM:Name"},
    {"redis://u:p%40ss@h1:1,h2:2/0", "", "redis", "u", "p@ss", "h1:1,h2:2", "/0", "redis://u:***@h1:1,h2:2/0"},
    {"redis://:pw@h", "", "redis", "", "pw", "h", "", "redis://:***@h"},
    {"redis://u@h", "", "redis", "u", NULL, "h", "", "redis://u@h"},
    {"redis://u:@h", "", "redis", "u", "", "h", "", "redis://u:***@h"},
    {"redis://u:a:b@h", "", "redis", "u", "a:b", "h", "", "redis://u:***@h"},
    {"redis:///0", "", "redis", NULL, NULL, "", "/0", "redis:///0"},
    {"redis+unix:/run/redis.sock", "", "redis+unix", NULL, NULL, "", "/run/redis.sock", "redis+unix:/run/redis.sock"},
    {"amqp://u:p@h/v%2Fh", "", "amqp", "u", "p", "h", "/v/h", "amqp://u:***@h/v%2Fh"},
    {"amqp://[::1]:5672,[fe80::1%25eth0]", "", "amqp", NULL, NULL, "[::1]:5672,[fe80::1%eth0]", "",
     "amqp://[::1]:5672,[fe80::1%25eth0]"},
    {"fault+mem:x", "fault", "mem", NULL, NULL, "", "x", "fault+mem:x"},
    {"fault+trace+redis+unix:/x", "fault+trace", "redis+unix", NULL, NULL, "", "/x", "fault+trace+redis+unix:/x"},
    {"nope+mem:x", "", "nope+mem", NULL, NULL, "", "x", "nope+mem:x"},
    {"mem:x?a_password=s3cret&b=1&api%54oken=s3cret", "", "mem", NULL, NULL, "", "x",
     "mem:x?a_password=***&b=1&api%54oken=***"},
};

TEST(parts)
{
    char why[FERRY_WHY_SIZE] = "";
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        ferry__url u;
        test_note("%s", good[i].text);
        CHECK_STATUS(ferry__url_parse(&u, good[i].text, why), FERRY_OK);
        CHECK_STR(u.text, good[i].text);
        CHECK_STR(u.decorators, good[i].decorators);
        CHECK_STR(u.scheme, good[i].scheme);
        CHECK_STR(u.user, good[i].user);
        CHECK_STR(u.password, good[i].password);
        CHECK_STR(u.hosts, good[i].hosts);
        CHECK_STR(u.path, good[i].path);
        CHECK_STR(u.shown, good[i].shown);
        ferry__url_done(&u);
        ferry__url_done(&u);
    }
}

TEST(query)
{
    ferry__url u;
    CHECK_STATUS(ferry__url_parse(&u, "mem:x?a=1&&b.c=%26%3D%25&d-e=x=y&f=&", NULL), FERRY_OK);
    const char *want[][2] = {{"a", "1"}, {"b.c", "&=%"}, {"d-e", "x=y"}, {"f", ""}};
    CHECK_UINT(u.queries, 4);
    for (size_t i = 0; i < 4; i++) {
        CHECK_STR(u.query[i].name, want[i][0]);
        CHECK_STR(u.query[i].value, want[i][1]);
    }
    ferry__url_done(&u);
}

static const char *repeated(const char *before, const char *what, size_t n)
{
    const char *text = before;
    for (size_t i = 0; i < n; i++)
        text = test_text("%s%s", text, what);
    return text;
}

TEST(limits)
{
    ferry__url u;
    char why[FERRY_WHY_SIZE];
    const char *longest = repeated("mem:", "abcdefg", (FERRY__URL_MAX - 4) / 7);
    CHECK_UINT(strlen(longest), FERRY__URL_MAX);
    CHECK_STATUS(ferry__url_parse(&u, longest, why), FERRY_OK);
    ferry__url_done(&u);
    CHECK_STATUS(ferry__url_parse(&u, test_text("%sx", longest), why), FERRY_INVALID);
    CHECK_STR(why, "the URL is over 2048 bytes");
    ferry__url_done(&u);
    const char *most = "mem:?o=1";
    for (int i = 1; i < FERRY__URL_QUERIES; i++)
        most = test_text("%s&o%d=1", most, i);
    CHECK_STATUS(ferry__url_parse(&u, most, why), FERRY_OK);
    ferry__url_done(&u);
    CHECK_STATUS(ferry__url_parse(&u, test_text("%s&x=1", most), why), FERRY_INVALID);
    CHECK_STR(why, "the URL has over 32 options");
    ferry__url_done(&u);
}

/* ---- Refusals ------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *text, *why;
} bad[] = {
    {NULL, "the URL is empty"},
    {"", "the URL is empty"},
    {"redis", "no scheme"},
    {"/a/b", "no scheme"},
    {"//host", "no scheme"},
    {":x", "no scheme"},
    {"1x:y", "no scheme"},
    {"mem name:", "no scheme"},
    {"trace+:x", "a transport must follow 'trace+', e.g. trace+mem:"},
    {"trace+fault+trace+mem:", "'trace+' stands twice"},
    {"mem:a\nb", "byte 6 of the URL is a control character"},
    {"mem:a\x7f", "byte 6 of the URL is a control character"},
    {"mem:a b", "byte 6 of the URL must be written as %XX"},
    {"mem:a#b", "a '#' is written %23"},
    {"mem:\"", "byte 5"},
    {"mem:\xff", "the URL is not UTF-8"},
    {"mem:%ff", "the path in the URL is not UTF-8"},
    {"mem:%c0%80", "the path in the URL is not UTF-8"},
    {"mem:%", "two hexadecimal digits"},
    {"mem:%1", "two hexadecimal digits"},
    {"mem:%1g", "two hexadecimal digits"},
    {"mem:%00", "control characters"},
    {"mem:%0a", "control characters"},
    {"mem:%7F", "control characters"},
    {"mem:?a=%", "an option's value in the URL"},
    {"mem:?a=%00", "control characters"},
    {"mem:?%zz=1", "an option's name in the URL"},
    {"mem:?=1", "no proper name"},
    {"mem:?a%20b=1", "no proper name"},
    {"mem:?a", "option 'a' has no value: write a=..."},
    {"mem:?a=1&b=2&a=1", "option 'a' stands twice"},
    {"mem:?a=1&%61=1", "option 'a' stands twice"},
    {"mem://name", "mem: has no host: write mem:name"},
    {"file://a.db", "file: has no host"},
    {"redis:u:p@h", "'//' must stand before"},
    {"redis://:6379", "a host in the URL is empty"},
    {"redis://u@", "a host in the URL is empty"},
    {"redis://a,,b", "a host in the URL is empty"},
    {"redis://a,", "a host in the URL is empty"},
    {"redis://a:", "1 to 65535"},
    {"redis://a:0", "1 to 65535"},
    {"redis://a:65536", "1 to 65535"},
    {"redis://a:99999999999999999999", "1 to 65535"},
    {"redis://a:1x", "1 to 65535"},
    {"redis://a:-1", "1 to 65535"},
    {"redis://a b", "byte 10"},
    {"redis://a%20b", "no name or address"},
    {"redis://J\xc3\xbcrgen", "no name or address"},
    {"redis://[::1", "IPv6"},
    {"redis://[::1]x", "IPv6"},
    {"redis://[::g]", "IPv6"},
    {"redis://[]", "IPv6"},
    {"redis://[fe80::1%25]", "IPv6"},
    {"redis://[fe80::1%2]", "IPv6"},
    {"redis://[::1]:70000", "1 to 65535"},
    {"redis://u:%@h", "the password in the URL: two hexadecimal digits"},
    {"redis://%:p@h", "the user in the URL: two hexadecimal digits"},
};

static void refused(const char *text, const char *part)
{
    ferry__url u;
    char why[FERRY_WHY_SIZE] = "";
    test_note("%s", text ? text : "NULL");
    CHECK_STATUS(ferry__url_parse(&u, text, why), FERRY_INVALID);
    CHECK_HAS(why, part);
    CHECK_NULL(u.shown);
    ferry__url_done(&u);
    ferry__url_done(&u);
    CHECK_STATUS(ferry__url_parse(&u, text, NULL), FERRY_INVALID);
    ferry__url_done(&u);
}

TEST(refusals)
{
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refused(bad[i].text, bad[i].why);
    refused(repeated("mem:", "a", FERRY__URL_MAX), "over 2048 bytes");
    refused(test_text("%s:x", repeated("a", "b", 60)), "the scheme of the URL is over 48 bytes");
    refused(test_text("redis://%s", repeated("a", "b", 255)), "no name or address");
    refused(test_text("mem:?%s=1", repeated("a", "b", 60)), "no proper name");
}

/* ---- Settings of the query ------------------------------------------------------------------------------------------ */

static const ferry__setting transport[] = {
    {"prefetch", FERRY__NUMBER, "16", 1, 1000, NULL, "frames at once"},
    {"queue", FERRY__CHOICE, "quorum", 0, 0, "quorum|classic", "kind of queue"},
    {"api_token", FERRY__NUMBER, NULL, 0, 0, NULL, "secret"},
    {"ca", FERRY__TEXT, NULL, 0, 0, NULL, "file"},
    {.name = NULL},
};
static const ferry__setting core[] = {
    {"timeout", FERRY__MS, "30s", 1, 0, NULL, "of a call"},
    {"max_message", FERRY__BYTES, "1M", 0, 0, NULL, "limit"},
    {"durable", FERRY__FLAG, "no", 0, 0, NULL, "insist"},
    {"prefetch", FERRY__TEXT, NULL, 0, 0, NULL, "hidden by the transport's"},
    {.name = NULL},
};
static const ferry__setting *const tables[] = {transport, core};

static void checked(const char *query, const char *why_not)
{
    ferry__url u;
    char why[FERRY_WHY_SIZE] = "";
    test_note("%s", query);
    CHECK_STATUS(ferry__url_parse(&u, test_text("trace+amqp:?%s", query), why), FERRY_OK);
    CHECK_STATUS(ferry__url_check(&u, tables, 2, why), *why_not ? FERRY_INVALID : FERRY_OK);
    CHECK_STR(why, why_not);
    ferry__url_done(&u);
}

TEST(options_are_checked)
{
    checked("", "");
    checked("prefetch=1&queue=classic&ca=&timeout=2s&durable=yes&max_message=64k&api_token=1", "");
    checked("prefech=1", "no option 'prefech' for amqp: did you mean 'prefetch'?");
    checked("durabel=1", "no option 'durabel' for amqp: did you mean 'durable'?");
    checked("colour=1", "no option 'colour' for amqp: docs/transports/ lists what there is");
    checked("timeout=abc", "timeout=abc: expected milliseconds, e.g. 500, 2s or 1m");
    checked("prefetch=0", "prefetch=0: expected 1 to 1000");
    checked("ca=1&prefetch=x", "prefetch=x: expected a number");
    checked("api_token=hunter2", "api_token=***: expected a number");
    checked("queue=fifo", "queue=fifo: expected one of quorum, classic");
}

TEST(options_are_read)
{
    ferry__url u;
    CHECK_STATUS(ferry__url_parse(&u, "amqp:?prefetch=7&timeout=2s&queue=classic&durable=TRUE&ca=a", NULL), FERRY_OK);
    CHECK_INT(ferry__url_number(&u, transport, "prefetch"), 7);
    CHECK_INT(ferry__url_number(&u, core, "timeout"), 2000);
    CHECK_INT(ferry__url_number(&u, transport, "queue"), 1);
    CHECK_INT(ferry__url_number(&u, core, "durable"), 1);
    CHECK_STR(ferry__url_text(&u, transport, "queue"), "classic");
    CHECK_STR(ferry__url_text(&u, transport, "ca"), "a");
    ferry__url_done(&u);
    CHECK_STATUS(ferry__url_parse(&u, "amqp:", NULL), FERRY_OK);
    CHECK_INT(ferry__url_number(&u, transport, "prefetch"), 16);
    CHECK_INT(ferry__url_number(&u, core, "timeout"), 30000);
    CHECK_INT(ferry__url_number(&u, core, "max_message"), 1 << 20);
    CHECK_INT(ferry__url_number(&u, core, "durable"), 0);
    CHECK_STR(ferry__url_text(&u, transport, "queue"), "quorum");
    CHECK_NULL(ferry__url_text(&u, transport, "ca"));
    CHECK_INT(ferry__url_number(&u, transport, "api_token"), 0);
    ferry__url_done(&u);
}

TEST(unknown_schemes)
{
    static const char *const known[] = {"mem", "file", "amqp", "trace", "fault", NULL};
    static const char *const absent[] = {"redis", "rediss", "redis+unix", "kafka", NULL};
    const char *want[][2] = {
        {"ampq", "no transport for 'ampq': did you mean 'amqp'?"},
        {"flie", "no transport for 'flie': did you mean 'file'?"},
        {"kafak", "no transport for 'kafak': did you mean 'kafka'?"},
        {"kafka", "kafka was left out of this build (WITH_KAFKA=0)"},
        {"rediss", "rediss was left out of this build (WITH_REDIS=0)"},
        {"redis+unix", "redis+unix was left out of this build (WITH_REDIS=0)"},
        {"fualt+mem", "no decorator 'fualt' before 'mem': there are trace and fault"},
        {"https", "no transport for 'https': there are mem, file, amqp"},
    };
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        char why[FERRY_WHY_SIZE];
        ferry__url_unknown_scheme(want[i][0], known, absent, why);
        CHECK_STR(why, want[i][1]);
    }
}

/* ---- Secrets -------------------------------------------------------------------------------------------------------- */

#define SECRET "hunter2"

/* What people do to passwords that should have been encoded, and to the rest. */
TEST(secrets_stay_out_of_texts)
{
    static const char *const wrong[] = {
        "redis://u:" SECRET "/x@h",  "redis://u:x/" SECRET "@h",      "redis://u:x?" SECRET "@h",
        "redis://u:x#" SECRET "@h",  "redis://u:x@" SECRET "@h",      "redis://u:" SECRET "@x@h",
        "redis:u:" SECRET "@h",      "redis:/u:" SECRET "@h",         "u:" SECRET "@h",
        "redis://u:" SECRET "@",     "redis://u:" SECRET "@h:0",      "redis://u:" SECRET "%@h",
        "redis://u:" SECRET "%00@h", "redis://u:" SECRET " @h",       "redis://u:" SECRET,
        "redis://u:" SECRET "@h?x",  "mem:?password=" SECRET "%",     "mem:?password=" SECRET "&password=" SECRET,
        "mem:?token=" SECRET "&x",   "mem:?my%53ecret=" SECRET "%zz", "redis://u:" SECRET "@[::1",
        "redis+" SECRET ":@h",       "mem://u:" SECRET "@h",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        ferry__url u;
        char why[FERRY_WHY_SIZE] = "";
        test_note("%s", wrong[i]);
        CHECK_STATUS(ferry__url_parse(&u, wrong[i], why), FERRY_INVALID);
        CHECK(*why);
        if (strstr(why, SECRET))
            FAIL("%s: %s", wrong[i], why);
        ferry__url_done(&u);
    }
}

/* ---- Whatever comes ------------------------------------------------------------------------------------------------- */

static uint64_t seed = 88172645463325252u;

static uint32_t any(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32) % below;
}

static void random_bytes(char *to, size_t room)
{
    size_t n = any((uint32_t)room);
    for (size_t i = 0; i < n; i++)
        to[i] = (char)(1 + any(255));
    to[n] = '\0';
}

/* Pieces of URLs in any order. */
static void random_pieces(char *to, size_t room)
{
    static const char *const pieces[] = {"mem", "file", "redis", "fault+",   "trace+", ":",       "//",    "/",
                                         "@",   "?",    "&",     "=",        "%",      "%40",     "%00",   "[",
                                         "]",   "::1",  ",",     "a",        "name",   "b",       "65535", "#",
                                         "+",   " ",    ".",     "\xc3\xbc", "\xff",   "password"};
    *to = '\0';
    for (uint32_t n = any(16), used = 0; n > 0; n--) {
        const char *piece = pieces[any(sizeof pieces / sizeof pieces[0])];
        if (used + strlen(piece) + 1 > room)
            return;
        memcpy(to + used, piece, strlen(piece) + 1);
        used += (uint32_t)strlen(piece);
    }
}

/* A good URL with the secret and its '@' left whole, one to four other bytes changed, taken away or put in. */
static void damage(char *to, size_t room)
{
    static const char *const whole[] = {"redis://user:" SECRET "@h1:1,h2:2/path?a=1&b=2",
                                        "fault+amqp://u:" SECRET "@[::1]/v"};
    static const char bytes[] = ":/?#[]@!,;=%& +.ab1\n\xc3\xff";
    snprintf(to, room, "%s", whole[any(2)]);
    for (uint32_t n = 1 + any(4); n > 0; n--) {
        size_t length = strlen(to), at = any((uint32_t)length);
        char *kept = strstr(to, SECRET);
        if (to + at >= kept && to + at <= kept + sizeof SECRET - 1)
            continue;
        uint32_t how = any(3);
        if (how == 0)
            to[at] = bytes[any(sizeof bytes - 1)];
        else if (how == 1)
            memmove(to + at, to + at + 1, length - at);
        else if (length + 2 < room) {
            memmove(to + at + 1, to + at, length - at + 1);
            to[at] = bytes[any(sizeof bytes - 1)];
        }
    }
}

static void survives(const char *text, bool has_secret)
{
    ferry__url u;
    char why[FERRY_WHY_SIZE] = "";
    ferry_status status = ferry__url_parse(&u, text, why);
    if (status == FERRY_OK)
        status = ferry__url_check(&u, tables, 2, why);
    if (status != FERRY_OK && (status != FERRY_INVALID || !*why))
        FAIL("\"%s\" answers %s with \"%s\"", text, ferry_status_name(status), why);
    for (const char *c = why; *c; c++)
        CHECK((unsigned char)*c >= 0x20);
    if (has_secret && strstr(why, SECRET))
        FAIL("\"%s\" says %s", text, why);
    if (u.shown && u.password && strstr(u.password, SECRET) && strstr(u.shown, SECRET))
        FAIL("\"%s\" is shown as %s", text, u.shown);
    ferry__url_done(&u);
}

TEST_WITH(survives_anything, .limit_ms = 60000)
{
    char text[128];
    int parsed_well = 0;
    for (int i = 0; i < 100000; i++) {
        bool has_secret = i % 3 == 2;
        (i % 3 == 0 ? random_bytes : i % 3 == 1 ? random_pieces : damage)(text, sizeof text);
        survives(text, has_secret);
        ferry__url u;
        parsed_well += ferry__url_parse(&u, text, NULL) == FERRY_OK;
        ferry__url_done(&u);
    }
    CHECK(parsed_well > 1000 && parsed_well < 99000); /* the generators reach both sides */
}

/* ---- Memory --------------------------------------------------------------------------------------------------------- */

static void parse_all(void *arg)
{
    ferry__url u;
    char why[FERRY_WHY_SIZE] = "";
    ferry_status status = ferry__url_parse(&u, "fault+redis://u:p@[fe80::1%25eth0]:1/x?a=1&password=2", why);
    CHECK_STATUS(status, test_alloc_failed() ? FERRY_NO_MEMORY : FERRY_OK);
    CHECK_STR(why, status ? "out of memory" : "");
    CHECK((u.shown != NULL) == (status == FERRY_OK));
    ferry__url_done(&u);
    *(int *)arg += status != FERRY_OK;
}

TEST(every_allocation_may_fail)
{
    int failures = 0;
    test_every_alloc_fails(parse_all, &failures);
    CHECK(failures >= 10);
}
