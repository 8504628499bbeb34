/* event_admin.c - questions about topics and positions: each is one script, whose answer ends it. */
#include "backends/redis/event.h"

#include "base/alloc.h"

#include <string.h>

/* ---- Answers -------------------------------------------------------------------------------------------------------- */

static ferry_value *known_int(int64_t n)
{
    return ferry_int(n < 0 ? -1 : n);
}

static void put_text(ferry_value *map, const char *name, const char *text)
{
    ferry_map_put(map, name, ferry_text(text));
}

static ferry_value *groups(const ferry__admin *a, const char *domain, const redis__value *v)
{
    ferry_value *list = ferry_new_list();
    for (size_t i = 5; i + 3 < v->count; i += 4) {
        ferry_value *of = ferry_new_map();
        put_text(of, "domain", domain);
        put_text(of, "group", redis__text(redis__at(v, i)));
        ferry_map_put(of, "lag", known_int(redis__number(redis__at(v, i + 1))));
        put_text(of, "position", redis__text(redis__at(v, i + 2)));
        ferry_map_put(of, "members", ferry_int(redis__number(redis__at(v, i + 3))));
        ferry_list_put(list, of);
    }
    (void)a;
    return list;
}

static ferry_value *broadcast(const redis__tail *t, const redis__value *v)
{
    ferry_value *list = ferry_new_list(), *of = ferry_new_map();
    ferry__buf at = FERRY__BUF(65536);
    int64_t behind = redis__number(redis__at(v, 4));
    redis__tail_position(t, &at, true);
    put_text(of, "domain", t->domain);
    ferry_map_put(of, "group", ferry_nil());
    ferry_map_put(of, "lag", known_int(behind));
    put_text(of, "position", ferry__buf_string(&at));
    ferry_list_put(list, of);
    ferry__buf_done(&at);
    return list;
}

static ferry_value *description(const ferry__admin *a, const redis__value *v)
{
    static const char *const names[] = {"partitions", "keep_ms", "keep_bytes", "events"};
    ferry_value *map = ferry_new_map();
    put_text(map, "name", a->name);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        ferry_map_put(map, names[i], ferry_int(redis__number(redis__at(v, i))));
    ferry_map_put(map, "groups", groups(a, a->name, v));
    return map;
}

static ferry_value *list(const redis__value *v)
{
    ferry_value *all = ferry_new_list();
    for (size_t i = 0; i + 1 < v->count; i += 2) {
        ferry_value *of = ferry_new_map();
        put_text(of, "name", redis__text(redis__at(v, i)));
        ferry_map_put(of, "partitions", ferry_int(redis__number(redis__at(v, i + 1))));
        ferry_list_put(all, of);
    }
    return all;
}

static redis__tail *tail_of(const ferry__admin *a)
{
    return a->source && !a->source->wish->group ? a->source->data : NULL;
}

static void not_found(ferry__admin *a, const char *domain)
{
    a->status = FERRY_NOT_FOUND;
    ferry__why(a->why, "there are no events of '%.100s'", domain ? domain : "");
}

static const char *domain_of(const ferry__admin *a)
{
    return a->source ? a->source->name : a->name;
}

static void read_answer(ferry__admin *a, const redis__value *v)
{
    bool of_topic = a->ask == FERRY__LAG || a->ask == FERRY__TOPIC_DESCRIBE;
    int64_t first = v->type == REDIS__NUMBER ? v->number : redis__number(redis__at(v, 0));
    if (a->ask == FERRY__TOPIC_LIST)
        a->answer = list(v);
    else if (first == -1)
        not_found(a, domain_of(a));
    else if (a->ask == FERRY__TOPIC_CREATE)
        a->count = redis__number(redis__at(v, 4));
    else if (!of_topic)
        a->count = first;
    else if (a->ask == FERRY__TOPIC_DESCRIBE)
        a->answer = description(a, v);
    else
        a->answer = tail_of(a) ? broadcast(tail_of(a), v) : groups(a, domain_of(a), v);
}

static redis__script script_of(const ferry__admin *a)
{
    return a->ask == FERRY__TOPIC_LIST                               ? REDIS__TOPICS
           : a->ask == FERRY__TOPIC_CREATE                           ? REDIS__ABOUT
           : a->ask == FERRY__LAG || a->ask == FERRY__TOPIC_DESCRIBE ? REDIS__LAG
                                                                     : REDIS__TOPIC_END;
}

static void answered(redis__pipe *p, redis__want *w, const redis__value *v)
{
    ferry__admin *a = w->what;
    bool later;
    if (redis__forgotten(p, script_of(a), v)) {
        a->next = p->admins;
        p->admins = a;
        p->work = true;
        return;
    }
    a->status = v ? FERRY_OK : FERRY_UNAVAILABLE;
    if (!v)
        ferry__why(a->why, "the connection to Redis was lost");
    else if (v->type == REDIS__ERROR) {
        a->status = redis__error_status(v, &later);
        ferry__why(a->why, "%.200s", v->text);
    } else
        read_answer(a, v);
    p->up->answered(p->up, a);
}

/* ---- Questions ------------------------------------------------------------------------------------------------------ */

static void word_lag(redis__pipe *p, const ferry__admin *a)
{
    ferry__buf *b = &p->conns[REDIS__W].out, at = FERRY__BUF(65536);
    const char *group = a->source ? a->source->wish->group : a->group;
    redis__topic_words(p, domain_of(a));
    redis__word(b, p->config->ns);
    redis__word(b, group ? group : tail_of(a) ? "@" : "");
    if (tail_of(a))
        redis__tail_position(tail_of(a), &at, true);
    redis__word(b, ferry__buf_string(&at));
    ferry__buf_done(&at);
}

/* As redis__topic_words, with what the asker wants instead of the config's. */
static void word_create(redis__pipe *p, const ferry__admin *a)
{
    ferry__config with = *p->config;
    const ferry__config *own = p->config;
    if (a->partitions)
        with.partitions = a->partitions;
    if (a->keep_ms)
        with.keep_ms = a->keep_ms;
    if (a->keep_bytes)
        with.keep_bytes = a->keep_bytes;
    p->config = &with;
    redis__topic_words(p, a->name);
    p->config = own;
}

static void word_list(redis__pipe *p)
{
    char key[REDIS__KEY];
    snprintf(key, sizeof key, "%.64s:domains", p->config->ns);
    redis__word(&p->conns[REDIS__W].out, key);
    redis__word(&p->conns[REDIS__W].out, p->config->ns);
}

static void ask(redis__pipe *p, ferry__admin *a)
{
    redis__script s = script_of(a);
    redis__call(p, s, s == REDIS__TOPICS ? 1 : 3,
                s == REDIS__TOPICS  ? 1
                : s == REDIS__ABOUT ? 4
                : s == REDIS__LAG   ? 7
                                    : 5);
    if (s == REDIS__TOPICS)
        word_list(p);
    else if (s == REDIS__ABOUT)
        word_create(p, a);
    else if (s == REDIS__LAG)
        word_lag(p, a);
    else {
        redis__topic_words(p, a->name);
        redis__word(&p->conns[REDIS__W].out, a->ask == FERRY__TOPIC_DELETE ? "delete" : "purge");
    }
    redis__ask(&p->conns[REDIS__W], answered, a, 0);
}

bool redis__topic_ask(redis__pipe *p, ferry__admin *a)
{
    bool names = a->ask == FERRY__TOPIC_CREATE || a->ask == FERRY__TOPIC_DESCRIBE || a->ask == FERRY__TOPIC_DELETE ||
                 a->ask == FERRY__TOPIC_PURGE;
    if (!names && a->ask != FERRY__TOPIC_LIST && a->ask != FERRY__LAG)
        return false;
    if ((names && !a->name) || (a->ask == FERRY__LAG && !domain_of(a)) || a->partitions > 1024) {
        a->status = FERRY_INVALID;
        ferry__why(a->why, "%s", a->partitions > 1024 ? "1024 partitions at most" : "of what domain?");
        p->up->answered(p->up, a);
        return true;
    }
    ask(p, a);
    return true;
}
