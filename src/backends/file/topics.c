/* topics.c - what operators ask about events: topics, and how far groups are. In a transaction, so that nothing moves meanwhile but
 * cursors. */
#include "backends/file/event.h"

#include "backends/file/pipe.h"
#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

enum {
    COUNT_MOST = 200000 /* events between the first and the last cursor of a group that are looked at one by one */
};

bool ferry__topics_ask(int ask)
{
    return ask >= FERRY__TOPIC_LIST && ask <= FERRY__LAG;
}

/* ---- names ---- */

static size_t prefix_of(const ferry__file *f)
{
    return strlen(f->config->ns) + 1;
}

static bool is_ours(const ferry__file *f, const char *name)
{
    size_t n = strlen(f->config->ns);
    return name && strncmp(name, f->config->ns, n) == 0 && name[n] == ':';
}

static char *full_name(const ferry__file *f, const char *name)
{
    size_t size = prefix_of(f) + strlen(name ? name : "") + 1;
    char *text = ferry__alloc(size);
    if (text)
        snprintf(text, size, "%s:%s", f->config->ns, name ? name : "");
    return text;
}

/* ---- lag ---- */

static ferry_value *position(int64_t done)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)done - 1);
    return ferry_text(text);
}

static uint32_t read32(const char *at)
{
    uint32_t x;
    memcpy(&x, at, sizeof x);
    return x;
}

/* Those of one row at or behind the cursors of their tracks. */
static int64_t count_row(const ferry__page_group *g, sqlite3_stmt *q, int64_t below)
{
    int64_t last = sqlite3_column_int64(q, 0) & FERRY__STORE_SEQUENCE_MASK, seq = last - sqlite3_column_int64(q, 1) + 1,
            n = 0;
    const char *at = sqlite3_column_blob(q, 2), *end = at + sqlite3_column_bytes(q, 2);
    for (; seq <= last && seq < below && end - at > 60; seq++) {
        uint32_t size = read32(at), part = read32(at + 4 + 52);
        uint64_t track =
            part ? FERRY__PAGE_SHARES + (part - 1) % FERRY__PAGE_PARTS : (uint64_t)seq % FERRY__PAGE_SHARES;
        n += seq >= atomic_load(&g->tracks[track].done);
        if (size > end - at - 4)
            break;
        at += 4 + (size_t)size;
    }
    return n;
}

static int64_t count_between(ferry__file *f, const ferry__page_group *g, int topic, int64_t low, int64_t high,
                             int *error)
{
    int64_t n = 0;
    int got;
    ferry__store_bind(&f->store, FERRY__SQL_EVENT_TAKE, 1, ferry__event_id(topic, low));
    ferry__store_bind(&f->store, FERRY__SQL_EVENT_TAKE, 2, ferry__event_id(topic, FERRY__STORE_SEQUENCE_MASK));
    ferry__store_bind(&f->store, FERRY__SQL_EVENT_TAKE, 3, COUNT_MOST);
    sqlite3_stmt *q = f->store.sql[FERRY__SQL_EVENT_TAKE];
    while ((got = ferry__store_step(&f->store, FERRY__SQL_EVENT_TAKE)) == SQLITE_ROW) {
        n += count_row(g, q, high);
        if ((sqlite3_column_int64(q, 0) & FERRY__STORE_SEQUENCE_MASK) + 1 >= high)
            break;
    }
    ferry__store_reset(&f->store, FERRY__SQL_EVENT_TAKE);
    *error = got == SQLITE_ROW || got == SQLITE_DONE ? SQLITE_OK : got;
    return n;
}

static int64_t group_lag(ferry__file *f, const ferry__page_group *g, int topic, int64_t *low, int *error)
{
    const ferry__page_topic *p = ferry__page_topic_of(&f->page, topic);
    unsigned tracks = ferry__event_tracks(&f->page, g);
    int64_t end = atomic_load(&p->end), floor = atomic_load(&p->purged), high = 0;
    *low = INT64_MAX;
    for (unsigned i = 0; i < tracks; i++) {
        int64_t done = atomic_load(&g->tracks[i].done);
        *low = done < *low ? done : *low;
        high = done > high ? done : high;
    }
    *low = *low < floor ? floor : *low;
    high = high < *low ? *low : high;
    if (high - *low > COUNT_MOST)
        return end - high + (high - *low) / 2;
    int64_t behind = high > *low ? count_between(f, g, topic, *low, high, error) : 0;
    return end - high + behind;
}

static int64_t members_of(const ferry__page_group *g)
{
    int64_t n = 0;
    for (int i = 0; i < FERRY__PAGE_MEMBERS; i++)
        n += atomic_load(&g->members[i]) != 0;
    return n;
}

static int add_group(ferry__file *f, ferry_value *list, int topic, const char *domain, int group, const char *name)
{
    int64_t low;
    int error = ferry__group_need(f, group, topic);
    if (error)
        return error;
    const ferry__page_group *g = ferry__page_group_of(&f->page, group);
    int64_t lag = group_lag(f, g, topic, &low, &error);
    ferry_value *one = ferry_new_map();
    ferry_map_put(one, "domain", ferry_text(domain));
    ferry_map_put(one, "group", ferry_text(name));
    ferry_map_put(one, "lag", ferry_int(lag));
    ferry_map_put(one, "position", position(low));
    ferry_map_put(one, "members", ferry_int(members_of(g)));
    ferry_list_put(list, one);
    return error;
}

static int add_groups(ferry__file *f, ferry_value *list, int topic, const char *domain, const char *only)
{
    int got, error = SQLITE_OK;
    sqlite3_stmt *q = f->store.sql[FERRY__SQL_READER_LIST];
    ferry__store_bind(&f->store, FERRY__SQL_READER_LIST, 1, topic);
    while (!error && (got = ferry__store_step(&f->store, FERRY__SQL_READER_LIST)) != SQLITE_DONE) {
        const char *name = got == SQLITE_ROW ? (const char *)sqlite3_column_text(q, 1) : NULL;
        if (got != SQLITE_ROW)
            error = got;
        else if (name && (!only || strcmp(only, name) == 0))
            error = add_group(f, list, topic, domain, sqlite3_column_int(q, 0), name);
    }
    ferry__store_reset(&f->store, FERRY__SQL_READER_LIST);
    return error;
}

static void add_broadcast(ferry__file *f, ferry_value *list, ferry__event_listener *l)
{
    const ferry__event_track *t = &l->tracks[0];
    int64_t end = l->topic ? atomic_load(&ferry__page_topic_of(&f->page, l->topic)->end) : 0;
    int64_t done = ferry__list_empty(&t->holds) ? t->head : FERRY__OF(t->holds.next, ferry__event_hold, node)->seq;
    ferry_value *one = ferry_new_map();
    ferry_map_put(one, "domain", ferry_text(l->topic_name + prefix_of(f)));
    ferry_map_put(one, "group", ferry_nil());
    ferry_map_put(one, "lag", ferry_int(l->topic ? end - t->head + (int64_t)(t->up + t->back) : -1));
    if (l->topic)
        ferry_map_put(one, "position", position(done));
    ferry_map_put(one, "members", ferry_int(1));
    ferry_list_put(list, one);
}

static int lag(ferry__file *f, ferry__admin *a, int topic)
{
    ferry__event_listener *l = a->source ? a->source->data : NULL;
    a->answer = ferry_new_list();
    if (l && !l->group)
        add_broadcast(f, a->answer, l);
    else if (topic)
        return add_groups(f, a->answer, topic, l ? l->topic_name + prefix_of(f) : a->name, l ? l->group : a->group);
    return SQLITE_OK;
}

/* ---- topics ---- */

static int list_topics(ferry__file *f, ferry__admin *a)
{
    sqlite3_stmt *q = f->store.sql[FERRY__SQL_TOPIC_LIST];
    int got, error = SQLITE_OK;
    a->answer = ferry_new_list();
    while (!error && (got = ferry__store_step(&f->store, FERRY__SQL_TOPIC_LIST)) != SQLITE_DONE) {
        const char *name = got == SQLITE_ROW ? (const char *)sqlite3_column_text(q, 1) : NULL;
        error = got == SQLITE_ROW ? ferry__topic_need(f, sqlite3_column_int(q, 0)) : got;
        if (error || !is_ours(f, name))
            continue;
        const ferry__page_topic *p = ferry__page_topic_of(&f->page, sqlite3_column_int(q, 0));
        ferry_value *one = ferry_new_map();
        ferry_map_put(one, "name", ferry_text(name + prefix_of(f)));
        ferry_map_put(one, "partitions", ferry_int((int64_t)atomic_load(&p->parts)));
        ferry_map_put(one, "events", ferry_int(atomic_load(&p->end) - atomic_load(&p->first)));
        ferry_list_put(a->answer, one);
    }
    ferry__store_reset(&f->store, FERRY__SQL_TOPIC_LIST);
    return error;
}

static int create(ferry__file *f, ferry__admin *a, const char *name)
{
    bool made;
    int error = SQLITE_OK;
    unsigned parts = a->partitions ? a->partitions : f->config->partitions;
    if (parts > FERRY__PAGE_PARTS) {
        a->status = FERRY_INVALID;
        ferry__why(a->why, "partitions: file: has %d at most", FERRY__PAGE_PARTS);
        return SQLITE_OK;
    }
    ferry__topic_enter(f, name, parts, a->keep_ms ? a->keep_ms : f->config->keep_ms,
                       a->keep_bytes ? a->keep_bytes : f->config->keep_bytes, &made, &error);
    a->count = made;
    return error;
}

static int describe(ferry__file *f, ferry__admin *a, int topic)
{
    const ferry__page_topic *p = ferry__page_topic_of(&f->page, topic);
    ferry_value *groups = ferry_new_list(), *m = ferry_new_map();
    int error = add_groups(f, groups, topic, a->name, NULL);
    ferry_map_put(m, "name", ferry_text(a->name));
    ferry_map_put(m, "partitions", ferry_int((int64_t)atomic_load(&p->parts)));
    ferry_map_put(m, "events", ferry_int(atomic_load(&p->end) - atomic_load(&p->first)));
    ferry_map_put(m, "bytes", ferry_int(atomic_load(&p->end_offset) - atomic_load(&p->first_offset)));
    ferry_map_put(m, "keep_ms", ferry_int(atomic_load(&p->keep_ms)));
    ferry_map_put(m, "keep_bytes", ferry_int(atomic_load(&p->keep_bytes)));
    ferry_map_put(m, "groups", groups);
    a->answer = m;
    return error;
}

static int drop_events(ferry__file *f, int topic, int64_t below)
{
    ferry__store_bind(&f->store, FERRY__SQL_EVENT_DROP, 1, ferry__event_id(topic, 0));
    ferry__store_bind(&f->store, FERRY__SQL_EVENT_DROP, 2, ferry__event_id(topic, below - 1));
    return ferry__store_run(&f->store, FERRY__SQL_EVENT_DROP);
}

/* As with trimming, `first` and `purged` pass the events before they are gone. What the same transaction adds stays. */
static int purge(ferry__file *f, ferry__admin *a, int topic)
{
    ferry__page_topic *p = ferry__page_topic_of(&f->page, topic);
    int64_t end = atomic_load(&p->end);
    a->count = end - atomic_load(&p->first);
    ferry__event_note_first(f, p);
    atomic_store(&p->purged, end);
    atomic_store(&p->first, end);
    atomic_store(&p->first_offset, atomic_load(&p->end_offset));
    int error = drop_events(f, topic, end);
    ferry__store_bind(&f->store, FERRY__SQL_TOPIC_FIRST, 1, topic);
    ferry__store_bind(&f->store, FERRY__SQL_TOPIC_FIRST, 2, end);
    ferry__store_bind(&f->store, FERRY__SQL_TOPIC_FIRST, 3, end);
    return error ? error : ferry__store_run(&f->store, FERRY__SQL_TOPIC_FIRST);
}

static int drop_by_topic(ferry__file *f, ferry__store_sql which, int topic)
{
    ferry__store_bind(&f->store, which, 1, topic);
    return ferry__store_run(&f->store, which);
}

/* The page follows with the commit (deleted). */
static int delete (ferry__file *f, ferry__admin *a, int topic)
{
    int error = drop_events(f, topic, FERRY__STORE_SEQUENCE_MASK);
    if (!error)
        error = drop_by_topic(f, FERRY__SQL_AGAIN_CLEAR, topic);
    if (!error)
        error = drop_by_topic(f, FERRY__SQL_READER_DROP, topic);
    if (!error)
        error = drop_by_topic(f, FERRY__SQL_TOPIC_DROP, topic);
    f->events.deleted[f->events.deletions++] = topic;
    a->count = 1;
    return error;
}

static void forget(_Atomic uint64_t *used, int i, _Atomic uint64_t *generation)
{
    atomic_store(generation, 0);
    atomic_fetch_and(&used[i / 64], ~((uint64_t)1 << i % 64));
}

void ferry__topics_deleted(ferry__file *f)
{
    ferry__page_header *h = &f->page.file->header;
    for (size_t i = 0; i < f->events.deletions; i++) {
        int topic = f->events.deleted[i];
        for (int k = 1; k < FERRY__PAGE_GROUPS; k++) {
            ferry__page_group *g = ferry__page_group_of(&f->page, k);
            if (ferry__group_has(&f->page, k) && (int)atomic_load(&g->topic) == topic)
                forget(h->groups, k, &g->generation);
        }
        forget(h->topics, topic, &ferry__page_topic_of(&f->page, topic)->generation);
        f->names_changed = true; /* all look up and see it */
    }
    f->events.deletions = 0;
}

/* ---- which is which ---- */

static int answer(ferry__file *f, ferry__admin *a, const char *name, int topic)
{
    switch (a->ask) {
    case FERRY__TOPIC_LIST:
        return list_topics(f, a);
    case FERRY__TOPIC_CREATE:
        return create(f, a, name);
    case FERRY__LAG:
        return lag(f, a, topic);
    default:
        break;
    }
    if (!topic) {
        a->status = FERRY_NOT_FOUND;
        ferry__why(a->why, "there is no topic \"%s\" on %s", a->name, f->place);
        return SQLITE_OK;
    }
    return a->ask == FERRY__TOPIC_DESCRIBE ? describe(f, a, topic)
           : a->ask == FERRY__TOPIC_DELETE ? delete (f, a, topic)
                                           : purge(f, a, topic);
}

/* One of these a transaction. */
bool ferry__topics_must_wait(const ferry__file *f, const ferry__admin *a)
{
    return (a->ask == FERRY__TOPIC_DELETE || a->ask == FERRY__TOPIC_PURGE) &&
           (f->events.trim.p || f->events.deletions > 0);
}

int ferry__topics_answer(ferry__file *f, ferry__admin *a)
{
    int error = SQLITE_OK, topic = 0;
    const ferry__event_listener *l = a->source ? a->source->data : NULL;
    char *name = l ? NULL : full_name(f, a->name);
    if (!name && !l)
        return SQLITE_NOMEM;
    ferry_value_free(a->answer);
    a->answer = NULL;
    a->status = FERRY_OK;
    topic = ferry__topic_find(f, l ? l->topic_name : name, &error);
    if (topic && !error)
        error = ferry__topic_need(f, topic);
    if (!error)
        error = answer(f, a, name, topic);
    ferry__free(name);
    return error;
}
