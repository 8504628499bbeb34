#include "ends/topic.h"

#include "base/clock.h"
#include "data/route.h"
#include "data/value.h"
#include "ends/subscription.h"

#include <string.h>

/* Of args: "name", or what the tool calls it. */
static const char *domain_of(ferry__command *c, const char *key)
{
    const char *name = ferry__command_name(c, key);
    if (name && !strchr(name, '.') && ferry__route_check(name, NULL) == FERRY_OK)
        return name;
    ferry__why(c->why, "%s: expected a domain, the first segment of a route: 1 to %d of A-Z a-z 0-9 _ -", key,
               FERRY__ROUTE_MAX);
    c->status = FERRY_INVALID;
    return NULL;
}

static ferry_value *take_answer(ferry__question *q)
{
    ferry_value *answer = q && q->admin.status == FERRY_OK ? q->admin.answer : NULL;
    if (answer)
        q->admin.answer = NULL;
    return answer;
}

static void answer_with(ferry__command *c, const char *key, const ferry__admin *what)
{
    ferry__question *q = ferry__admin_ask(c, what);
    ferry_value *answer = take_answer(q);
    ferry__forget(q);
    if (!answer)
        return;
    if (!key) {
        c->result = answer;
        return;
    }
    c->result = ferry_new_map();
    ferry_map_put(c->result, key, answer);
}

static void count_with(ferry__command *c, const ferry__admin *what)
{
    ferry__question *q = ferry__admin_ask(c, what);
    if (q && q->admin.status == FERRY_OK) {
        c->result = ferry_new_map();
        ferry_map_put(c->result, "count", ferry_int(q->admin.count));
    }
    ferry__forget(q);
}

void ferry__topic_list(ferry__command *c)
{
    answer_with(c, "topics", &(ferry__admin){.ask = FERRY__TOPIC_LIST});
}

static bool positive(ferry__command *c, const char *key, int64_t most, int64_t *to)
{
    const ferry_value *v = ferry_find(c->args, key);
    *to = ferry_as_int(v, v ? -1 : 0);
    if (*to >= 0 && *to <= most)
        return true;
    ferry__why(c->why, "%s: expected a whole number up to %lld", key, (long long)most);
    c->status = FERRY_INVALID;
    return false;
}

void ferry__topic_create(ferry__command *c)
{
    int64_t partitions, keep_ms, keep_bytes;
    const char *name = domain_of(c, "name");
    if (name && positive(c, "partitions", 1024, &partitions) && positive(c, "keep_ms", INT64_MAX / 2, &keep_ms) &&
        positive(c, "keep_bytes", INT64_MAX / 2, &keep_bytes))
        count_with(c, &(ferry__admin){.ask = FERRY__TOPIC_CREATE,
                                      .name = name,
                                      .partitions = (unsigned)partitions,
                                      .keep_ms = keep_ms,
                                      .keep_bytes = keep_bytes});
}

void ferry__topic_describe(ferry__command *c)
{
    const char *name = domain_of(c, "name");
    if (name)
        answer_with(c, NULL, &(ferry__admin){.ask = FERRY__TOPIC_DESCRIBE, .name = name});
}

void ferry__topic_delete(ferry__command *c)
{
    const char *name = domain_of(c, "name");
    if (name)
        count_with(c, &(ferry__admin){.ask = FERRY__TOPIC_DELETE, .name = name});
}

void ferry__topic_purge(ferry__command *c)
{
    const char *name = domain_of(c, "name");
    if (name)
        count_with(c, &(ferry__admin){.ask = FERRY__TOPIC_PURGE, .name = name});
}

/* Without a domain: all that are known. */
static void lag_of_all(ferry__command *c)
{
    ferry_value *all = ferry_new_list();
    ferry__question *topics = ferry__admin_ask(c, &(ferry__admin){.ask = FERRY__TOPIC_LIST});
    for (size_t i = 0; topics && c->status == FERRY_OK && i < ferry_count(topics->admin.answer); i++) {
        const char *name = ferry_as_string(ferry_find(ferry_at(topics->admin.answer, i), "name"), "");
        ferry__question *q = ferry__admin_ask(c, &(ferry__admin){.ask = FERRY__LAG, .name = name});
        for (size_t k = 0; q && k < ferry_count(q->admin.answer); k++)
            ferry_list_put(all, ferry_value_copy(ferry_at(q->admin.answer, k)));
        ferry__forget(q);
    }
    ferry__forget(topics);
    c->result = ferry_new_map();
    ferry_map_put(c->result, "groups", all);
}

void ferry__topic_lag(ferry__command *c)
{
    if (!ferry_find(c->args, "domain")) {
        lag_of_all(c);
        return;
    }
    const char *domain = domain_of(c, "domain"), *group = ferry_as_string(ferry_find(c->args, "group"), NULL);
    if (domain)
        answer_with(c, "groups", &(ferry__admin){.ask = FERRY__LAG, .name = domain, .group = group});
}

/* ---- of a subscription ---- */

static ferry_value *ask_lag(const ferry_subscription *s)
{
    ferry__command c = {.f = s->f, .until_ms = ferry__now_ms() + s->f->timeout_ms};
    ferry__admin what = {.ask = FERRY__LAG,
                         .name = s->domain,
                         .group = s->wish.group,
                         .source = (ferry__source *)(uintptr_t)&s->service->sources[FERRY__FIRST]};
    ferry__question *q = s->service->listening ? ferry__admin_ask(&c, &what) : NULL;
    ferry_value *answer = take_answer(q);
    ferry__forget(q);
    return answer;
}

static ferry_value *ask_for(const ferry_subscription *s, const char *key)
{
    if (!s || ferry__handle_refusal(s->f, NULL) != FERRY_OK)
        return NULL;
    ferry_value *answer = ask_lag(s), *one = NULL;
    const ferry_value *found = ferry_find(ferry_at(answer, 0), key);
    if (found && ferry_value_type(found) != FERRY_TYPE_NIL)
        one = ferry_value_copy(found);
    ferry_value_free(answer);
    return one;
}

ferry_value *ferry_position(const ferry_subscription *s)
{
    return ask_for(s, "position");
}

int64_t ferry_lag(const ferry_subscription *s)
{
    ferry_value *lag = ask_for(s, "lag");
    int64_t n = ferry_as_int(lag, -1);
    ferry_value_free(lag);
    return n;
}
