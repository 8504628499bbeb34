/* url.c - one pass from left to right. Each step takes its piece of the text, checks it and stores it decoded.
 *
 *     take_scheme -> check_characters -> check_at_signs -> take_authority -> path -> take_query -> show
 *
 * check_at_signs is what keeps secrets out of sight: "redis://u:a/b@host" has the host "u" and the port "a" for RFC 3986, and a
 * message about that port would publish a password. So an '@' stands raw at one place only, before the host. */
#include "data/url.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <string.h>

#define INVALID(...) (ferry__why(why, __VA_ARGS__), FERRY_INVALID)

#define DIGITS  "0123456789"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

enum { NAME_MAX_ = 48, HOST_MAX_ = 255 };

typedef struct piece {
    const char *at;
    size_t length;
} piece;

typedef struct parser {
    ferry__url *u;
    char *why;
    piece secrets[FERRY__URL_QUERIES + 1]; /* ascending; replaced in `shown` */
    size_t secret_count;
} parser;

static const char *const decorators[] = {"trace", "fault", NULL};
static const char *const without_host[] = {"file", "mem", NULL};

/* ---- Pieces --------------------------------------------------------------------------------------------------------- */

static bool listed(const char *const *list, const char *word)
{
    for (; *list; list++)
        if (strcmp(*list, word) == 0)
            return true;
    return false;
}

/* Up to the first of the stop bytes, or its end. */
static piece head(piece p, const char *stops)
{
    size_t n = 0;
    while (n < p.length && !strchr(stops, p.at[n]))
        n++;
    return (piece){p.at, n};
}

static piece behind(piece p, size_t skip)
{
    return skip < p.length ? (piece){p.at + skip, p.length - skip} : (piece){p.at + p.length, 0};
}

static bool made_of(piece p, const char *allowed)
{
    for (size_t i = 0; i < p.length; i++)
        if (!strchr(allowed, p.at[i]))
            return false;
    return true;
}

static ferry_status out_of_memory(char *why)
{
    ferry__why(why, "out of memory");
    return FERRY_NO_MEMORY;
}

static ferry_status store(char **to, piece p, char *why)
{
    *to = ferry__strndup(p.at, p.length);
    return *to ? FERRY_OK : out_of_memory(why);
}

static int hex(char c)
{
    const char *digits = "0123456789abcdef", *at = strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c);
    return c && at ? (int)(at - digits) : -1;
}

/* `what` names the piece in the error; its text is never shown, it may be a password. */
static ferry_status decode(char **to, piece p, const char *what, char *why)
{
    char *made = ferry__alloc(p.length + 1);
    size_t n = 0;
    *to = made;
    if (!made)
        return out_of_memory(why);
    for (size_t i = 0; i < p.length; i++, n++) {
        made[n] = p.at[i];
        if (p.at[i] != '%')
            continue;
        int high = i + 2 < p.length ? hex(p.at[i + 1]) : -1, low = high >= 0 ? hex(p.at[i + 2]) : -1;
        if (low < 0)
            return made[n] = '\0',
                   INVALID("%s in the URL: two hexadecimal digits must follow a '%%'; write a plain %% as %%25", what);
        made[n] = (char)(high * 16 + low);
        i += 2;
        if ((unsigned char)made[n] < 0x20 || made[n] == 0x7f)
            return made[n] = '\0', INVALID("%s in the URL: control characters are refused, also as %%XX", what);
    }
    made[n] = '\0';
    return ferry__text_utf8(made, n) ? FERRY_OK : INVALID("%s in the URL is not UTF-8", what);
}

static void keep_secret(parser *p, piece secret)
{
    p->secrets[p->secret_count++] = secret;
}

/* ---- Scheme --------------------------------------------------------------------------------------------------------- */

bool ferry__url_is_decorator(const char *word)
{
    return listed(decorators, word);
}

/* "fault+trace+redis+unix" -> 12, the length of what stands before the scheme, its '+' included. */
static size_t decorators_length(const char *s)
{
    size_t length = 0;
    for (;;) {
        char word[16];
        size_t n = strcspn(s + length, "+");
        if (s[length + n] != '+' || n >= sizeof word)
            return length;
        memcpy(word, s + length, n);
        word[n] = '\0';
        if (!ferry__url_is_decorator(word))
            return length;
        length += n + 1;
    }
}

static bool stands_twice(const char *words, const char *word)
{
    const char *first = strstr(words, word);
    return first && strstr(first + 1, word);
}

static ferry_status split_decorators(ferry__url *u, const char *all, char *why)
{
    size_t n = decorators_length(all);
    if (store(&u->decorators, (piece){all, n ? n - 1 : 0}, why) ||
        store(&u->scheme, (piece){all + n, strlen(all + n)}, why))
        return FERRY_NO_MEMORY;
    for (const char *const *d = decorators; *d; d++)
        if (stands_twice(u->decorators, *d))
            return INVALID("'%s+' stands twice before '%s:'", *d, u->scheme);
    if (*u->scheme == '\0')
        return INVALID("a transport must follow '%s', e.g. %smem:", all, all);
    return FERRY_OK;
}

static ferry_status take_scheme(ferry__url *u, piece *rest, char *why)
{
    char lower[NAME_MAX_ + 1];
    piece scheme = head(*rest, ":/?#@");
    bool ends = scheme.length < rest->length && rest->at[scheme.length] == ':';
    if (!ends || scheme.length == 0 || !strchr(LETTERS, *scheme.at) || !made_of(scheme, LETTERS DIGITS "+-."))
        return INVALID("the URL has no scheme: it begins like file:/path, mem:name or redis://host");
    if (scheme.length > NAME_MAX_)
        return INVALID("the scheme of the URL is over %d bytes", NAME_MAX_);
    for (size_t i = 0; i <= scheme.length; i++) {
        char c = i < scheme.length ? scheme.at[i] : '\0';
        lower[i] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    *rest = behind(*rest, scheme.length + 1);
    return split_decorators(u, lower, why);
}

/* ---- Characters ----------------------------------------------------------------------------------------------------- */

static ferry_status check_characters(const char *text, char *why)
{
    static const char plain[] = LETTERS DIGITS "-._~:/?[]@!$&'()*+,;=%";
    for (const char *at = text; *at; at++) {
        int place = (int)(at - text) + 1;
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            return INVALID("byte %d of the URL is a control character", place);
        if (*at == '#')
            return INVALID("byte %d of the URL: a '#' is written %%23", place);
        if ((unsigned char)*at < 0x80 && !strchr(plain, *at))
            return INVALID("byte %d of the URL must be written as %%XX, e.g. a space as %%20", place);
    }
    return ferry__text_utf8(text, strlen(text)) ? FERRY_OK : INVALID("the URL is not UTF-8");
}

static ferry_status check_at_signs(const ferry__url *u, piece rest, char *why)
{
    bool has_hosts = rest.length >= 2 && memcmp(rest.at, "//", 2) == 0;
    piece authority = head(behind(rest, has_hosts ? 2 : 0), "/?");
    if (!has_hosts) {
        bool fine = listed(without_host, u->scheme) || !memchr(rest.at, '@', rest.length);
        return fine ? FERRY_OK : INVALID("'//' must stand before a user or host, as in redis://user:password@host");
    }
    const char *first = memchr(rest.at, '@', rest.length), *last = memrchr(rest.at, '@', rest.length);
    if (first == last && (!first || first < authority.at + authority.length))
        return FERRY_OK;
    return INVALID(
        "one '@' may stand in the URL, before the host: write others as %%40, and in a password / as %%2F, ? as %%3F");
}

/* ---- Hosts ---------------------------------------------------------------------------------------------------------- */

static ferry_status take_user(parser *p, piece *authority)
{
    const char *sign = memchr(authority->at, '@', authority->length);
    ferry_status s;
    if (!sign)
        return FERRY_OK;
    piece who = {authority->at, (size_t)(sign - authority->at)}, user = head(who, ":");
    if ((s = decode(&p->u->user, user, "the user", p->why)))
        return s;
    *authority = behind(*authority, who.length + 1);
    if (user.length == who.length)
        return FERRY_OK;
    piece password = behind(who, user.length + 1);
    keep_secret(p, password);
    return decode(&p->u->password, password, "the password", p->why);
}

static ferry_status check_port(piece port, char *why)
{
    unsigned n = 0;
    for (size_t i = 0; i < port.length && n <= 65535; i++)
        n = port.at[i] >= '0' && port.at[i] <= '9' ? n * 10 + (unsigned)(port.at[i] - '0') : 65536;
    /* Unquoted: "redis://u:secret" forgot its host. */
    return n >= 1 && n <= 65535 ? FERRY_OK : INVALID("a port in the URL is no number from 1 to 65535");
}

/* "[::1]", with a zone as in RFC 6874: "[fe80::1%25eth0]". Answers its length with the brackets; 0 = none. */
static size_t bracketed(piece host)
{
    char text[INET6_ADDRSTRLEN];
    uint8_t parsed[16];
    piece inside = head(behind(host, 1), "]"), address = head(inside, "%"), zone = behind(inside, address.length);
    bool closed = host.length > inside.length + 1 && host.at[inside.length + 1] == ']';
    if (!closed || address.length >= sizeof text)
        return 0;
    memcpy(text, address.at, address.length);
    text[address.length] = '\0';
    if (inet_pton(AF_INET6, text, parsed) != 1)
        return 0;
    bool zone_fine = zone.length == 0 || (zone.length > 3 && memcmp(zone.at, "%25", 3) == 0 &&
                                          made_of(behind(zone, 3), LETTERS DIGITS "._-"));
    return zone_fine ? inside.length + 2 : 0;
}

static ferry_status check_host(piece host, char *why)
{
    size_t n = head(host, ":").length;
    if (host.length > 0 && *host.at == '[') {
        n = bracketed(host);
        if (n == 0 || (n < host.length && host.at[n] != ':'))
            return INVALID("an IPv6 address in the URL is not one: expected e.g. [::1]:6379");
    } else if (n > HOST_MAX_ || !made_of((piece){host.at, n}, LETTERS DIGITS "._-")) {
        return INVALID(
            "a host in the URL is no name or address: letters, digits, '.', '_' and '-', an IPv6 address in [ ]");
    }
    if (n == 0)
        return INVALID("a host in the URL is empty: write e.g. localhost");
    return n < host.length ? check_port(behind(host, n + 1), why) : FERRY_OK;
}

static ferry_status take_hosts(ferry__url *u, piece hosts, bool has_user, char *why)
{
    ferry__buf made = FERRY__BUF(FERRY__URL_MAX);
    ferry_status s = FERRY_OK;
    if (hosts.length > 0 && listed(without_host, u->scheme))
        return INVALID("%s: has no host: write %s:name, or %s:///path", u->scheme, u->scheme, u->scheme);
    if (hosts.length == 0)
        return has_user ? check_host(hosts, why) : store(&u->hosts, hosts, why);
    for (piece left = hosts, host; !s; left = behind(left, host.length + 1)) {
        host = head(left, ",");
        if ((s = check_host(host, why)) || host.length == left.length)
            break;
    }
    for (size_t i = 0; i < hosts.length && !s; i++) { /* the only %XX that passed is the %25 before a zone */
        ferry__buf_add(&made, hosts.at + i, 1);
        i += hosts.at[i] == '%' ? 2 : 0;
    }
    if (!s)
        s = made.failed ? out_of_memory(why) : store(&u->hosts, (piece){made.data, made.length}, why);
    ferry__buf_done(&made);
    return s;
}

static ferry_status take_authority(parser *p, piece *rest)
{
    ferry_status s;
    if (rest->length < 2 || memcmp(rest->at, "//", 2) != 0)
        return store(&p->u->hosts, (piece){"", 0}, p->why);
    piece authority = head(behind(*rest, 2), "/?");
    *rest = behind(*rest, authority.length + 2);
    if ((s = take_user(p, &authority)))
        return s;
    return take_hosts(p->u, authority, p->u->user != NULL, p->why);
}

/* ---- Query ---------------------------------------------------------------------------------------------------------- */

static ferry_status check_name(const ferry__url *u, size_t i, char *why)
{
    const char *name = u->query[i].name;
    size_t length = strlen(name);
    if (length == 0 || length > NAME_MAX_ || strspn(name, LETTERS DIGITS "_-.") != length)
        return INVALID("an option in the URL has no proper name: expected ?name=value&name=value");
    for (size_t j = 0; j < i; j++)
        if (strcmp(u->query[j].name, name) == 0)
            return INVALID("option '%s' stands twice in the URL", name);
    return FERRY_OK;
}

static ferry_status take_option(parser *p, piece option)
{
    ferry__url *u = p->u;
    char *why = p->why;
    ferry_status s;
    piece name = head(option, "="), value = behind(option, name.length + 1);
    size_t i = u->queries;
    if (option.length == 0)
        return FERRY_OK;
    if (i == FERRY__URL_QUERIES)
        return INVALID("the URL has over %d options", FERRY__URL_QUERIES);
    u->queries++;
    if ((s = decode(&u->query[i].name, name, "an option's name", why)) || (s = check_name(u, i, why)))
        return s;
    if (name.length == option.length)
        return INVALID("option '%s' has no value: write %s=...", u->query[i].name, u->query[i].name);
    if (ferry__setting_secret(u->query[i].name))
        keep_secret(p, value);
    return decode(&u->query[i].value, value, "an option's value", why);
}

static ferry_status take_query(parser *p, piece query)
{
    ferry_status s = FERRY_OK;
    while (query.length > 0 && !s) {
        piece option = head(query, "&");
        s = take_option(p, option);
        query = behind(query, option.length + 1);
    }
    return s;
}

/* ---- All of it ------------------------------------------------------------------------------------------------------ */

static ferry_status show(parser *p)
{
    ferry__buf made = FERRY__BUF(2 * FERRY__URL_MAX);
    const char *at = p->u->text;
    for (size_t i = 0; i < p->secret_count; i++) {
        ferry__buf_add(&made, at, (size_t)(p->secrets[i].at - at));
        ferry__buf_text(&made, "***");
        at = p->secrets[i].at + p->secrets[i].length;
    }
    ferry__buf_text(&made, at);
    ferry__buf_string(&made);
    p->u->shown = made.failed ? NULL : made.data;
    if (!made.failed)
        return FERRY_OK;
    ferry__buf_done(&made);
    return out_of_memory(p->why);
}

static ferry_status parse(parser *p)
{
    ferry__url *u = p->u;
    piece rest = {u->text, strlen(u->text)};
    ferry_status s;
    if ((s = take_scheme(u, &rest, p->why)) || (s = check_characters(u->text, p->why)) ||
        (s = check_at_signs(u, rest, p->why)))
        return s;
    if ((s = take_authority(p, &rest)))
        return s;
    piece path = head(rest, "?");
    if ((s = decode(&u->path, path, "the path", p->why)) || (s = take_query(p, behind(rest, path.length + 1))))
        return s;
    return show(p);
}

ferry_status ferry__url_parse(ferry__url *u, const char *text, char *why)
{
    parser p = {.u = u, .why = why};
    *u = (ferry__url){0};
    if (!text || !*text)
        return INVALID("the URL is empty: write e.g. file: or mem:name");
    if (strnlen(text, FERRY__URL_MAX + 1) > FERRY__URL_MAX)
        return INVALID("the URL is over %d bytes", FERRY__URL_MAX);
    u->text = ferry__strdup(text);
    return u->text ? parse(&p) : out_of_memory(why);
}

/* Wiped first: it may be a secret, and the block goes to somebody else. */
static void forget(char **text)
{
    if (*text)
        explicit_bzero(*text, strlen(*text));
    ferry__free(*text);
    *text = NULL;
}

void ferry__url_done(ferry__url *u)
{
    char **all[] = {&u->text, &u->shown, &u->decorators, &u->scheme, &u->user, &u->password, &u->hosts, &u->path};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        forget(all[i]);
    for (size_t i = 0; i < u->queries; i++) {
        forget(&u->query[i].name);
        forget(&u->query[i].value);
    }
    u->queries = 0;
}

/* ---- Settings ------------------------------------------------------------------------------------------------------- */

static const ferry__setting *find(const ferry__setting *const *tables, size_t count, const char *name)
{
    const ferry__setting *found = NULL;
    for (size_t i = 0; i < count && !found; i++)
        found = ferry__setting_find(tables[i], name);
    return found;
}

static ferry_status unknown_option(const ferry__url *u, const ferry__setting *const *tables, size_t count,
                                   const char *name, char *why)
{
    ferry__guess guess = {.word = name};
    for (size_t i = 0; i < count; i++)
        for (const ferry__setting *s = tables[i]; s && s->name; s++)
            ferry__guess_try(&guess, s->name);
    if (guess.best)
        return INVALID("no option '%s' for %s: did you mean '%s'?", name, u->scheme, guess.best);
    return INVALID("no option '%s' for %s: docs/transports/ lists what there is", name, u->scheme);
}

ferry_status ferry__url_check(const ferry__url *u, const ferry__setting *const *tables, size_t count, char *why)
{
    for (size_t i = 0; i < u->queries; i++) {
        const char *name = u->query[i].name;
        const ferry__setting *setting = find(tables, count, name);
        ferry_status s = setting ? ferry__setting_read(setting, u->query[i].value, NULL, why)
                                 : unknown_option(u, tables, count, name, why);
        if (s)
            return s;
    }
    return FERRY_OK;
}

const char *ferry__url_text(const ferry__url *u, const ferry__setting *table, const char *name)
{
    const ferry__setting *setting = ferry__setting_find(table, name);
    for (size_t i = 0; i < u->queries; i++)
        if (strcmp(u->query[i].name, name) == 0)
            return u->query[i].value;
    return setting ? setting->otherwise : NULL;
}

int64_t ferry__url_number(const ferry__url *u, const ferry__setting *table, const char *name)
{
    const ferry__setting *setting = ferry__setting_find(table, name);
    const char *text = ferry__url_text(u, table, name);
    int64_t number = 0;
    if (setting && text)
        ferry__setting_read(setting, text, &number, NULL);
    return number;
}

/* ---- No such transport ---------------------------------------------------------------------------------------------- */

static const char *nearest(const char *word, const char *const *list)
{
    ferry__guess guess = {.word = word};
    for (; *list; list++)
        if (!ferry__url_is_decorator(*list))
            ferry__guess_try(&guess, *list);
    return guess.best;
}

/* "rediss" and "redis+unix" come and go with redis: the shortest name of the list that the scheme begins with. */
static const char *family(const char *scheme, const char *const *absent)
{
    const char *found = scheme;
    for (; *absent; absent++)
        if (strncmp(scheme, *absent, strlen(*absent)) == 0 && strlen(*absent) < strlen(found))
            found = *absent;
    return found;
}

static void left_out(const char *scheme, const char *const *absent, char *why)
{
    char variable[NAME_MAX_ + 1] = "";
    const char *name = family(scheme, absent);
    for (size_t i = 0; i < NAME_MAX_ && name[i]; i++)
        variable[i] = name[i] >= 'a' && name[i] <= 'z' ? (char)(name[i] - 'a' + 'A') : name[i];
    ferry__why(why, "%s was left out of this build (WITH_%s=0)", scheme, variable);
}

static void list_schemes(const char *scheme, const char *const *known, char *why)
{
    ferry__buf names = FERRY__BUF(FERRY_WHY_SIZE);
    for (; *known; known++)
        if (!ferry__url_is_decorator(*known))
            ferry__buf_format(&names, "%s%s", names.length ? ", " : "", *known);
    ferry__why(why, "no transport for '%s': there are %s", scheme, ferry__buf_string(&names));
    ferry__buf_done(&names);
}

void ferry__url_unknown_scheme(const char *scheme, const char *const *known, const char *const *absent, char *why)
{
    const char *plus = strchr(scheme, '+'), *guess = nearest(scheme, known);
    if (listed(absent, scheme))
        left_out(scheme, absent, why);
    else if (guess || (guess = nearest(scheme, absent)) != NULL)
        ferry__why(why, "no transport for '%s': did you mean '%s'?", scheme, guess);
    else if (plus && (listed(known, plus + 1) || listed(absent, plus + 1)))
        ferry__why(why, "no decorator '%.*s' before '%s': there are trace and fault", (int)(plus - scheme), scheme,
                   plus + 1);
    else
        list_schemes(scheme, known, why);
}
