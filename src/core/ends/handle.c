/* handle.c - opening, and what can be asked about a handle. Closing is in close.c. */
#include "ends/handle.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/random.h"
#include "base/thread.h"
#include "ends/options.h"
#include "ends/serve.h"
#include "ends/settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SERVED_LOOK_MS = 10 };

/* ---- opening ---- */

static ferry_status read_environment(ferry_options *o, char *why)
{
    long long timeout = o->timeout_ms, close = o->close_ms, workers = o->workers, pending = o->max_pending,
              message = (long long)o->max_message;
    const struct {
        const char *name, *variable;
        long long most, *value;
    } fields[] = {{"timeout_ms", "FERRY_TIMEOUT_MS", INT32_MAX, &timeout},
                  {"close_ms", "FERRY_CLOSE_MS", INT32_MAX, &close},
                  {"workers", "FERRY_WORKERS", 1024, &workers},
                  {"max_pending", "FERRY_MAX_PENDING", 10000000, &pending},
                  {"max_message", "FERRY_MAX_MESSAGE", 1 << 30, &message}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        ferry_status status =
            ferry__options_number(fields[i].name, fields[i].variable, fields[i].most, fields[i].value, why);
        if (status != FERRY_OK)
            return status;
    }
    o->timeout_ms = timeout ? (int)timeout : 30000;
    o->close_ms = close ? (int)close : 10000;
    o->workers = workers ? (int)workers : 1;
    o->max_pending = pending ? (int)pending : 65536;
    o->max_message = message ? (size_t)message : 1 << 20;
    return FERRY_OK;
}

static const char *own_name(const ferry_options *o)
{
    const char *name = o->name && *o->name ? o->name : getenv("FERRY_NAME");
    return name && *name ? name : program_invocation_short_name;
}

static ferry_status set_names(ferry *f, const ferry_options *o)
{
    char host[65] = "", source[256];
    if (gethostname(host, sizeof host - 1) != 0 || !*host)
        memcpy(host, "localhost", 10);
    snprintf(source, sizeof source, "%.128s@%s:%ld", own_name(o), host, (long)getpid());
    f->name = ferry__strndup(own_name(o), strnlen(own_name(o), 128));
    f->source = ferry__strdup(source);
    return f->name && f->source ? FERRY_OK : FERRY_NO_MEMORY;
}

static ferry_status take_options(ferry *f, const ferry_options *given, char *why)
{
    ferry_options o;
    ferry_status status = ferry__options_take(&o, sizeof o, given, why);
    if (status == FERRY_OK)
        status = read_environment(&o, why);
    if (status == FERRY_OK)
        status = set_names(f, &o);
    if (status != FERRY_OK)
        return status;
    f->timeout_ms = o.timeout_ms;
    f->close_ms = o.close_ms;
    f->workers = (size_t)o.workers;
    f->max_message = o.max_message;
    f->on_drop = o.on_drop;
    f->arg = o.arg;
    f->window = f->workers; /* until handlers have shown that they are short */
    f->link.max_pending = (size_t)o.max_pending;
    f->link.log = (ferry__log){o.on_log, o.arg};
    return FERRY_OK;
}

static ferry_status connect_link(ferry *f, const char *url, char *why)
{
    const char *variable = getenv("FERRY_URL"), *text = url ? url : variable && *variable ? variable : "file:";
    ferry__config config = {.name = f->name, .max_message = f->max_message, .max_queued = f->link.max_pending};
    ferry_status status = ferry__url_parse(&f->url, text, why);
    if (status != FERRY_OK)
        return status;
    if (!ferry__random_bytes(config.client, sizeof config.client)) {
        ferry__why(why, "no random numbers from the system");
        return FERRY_INTERNAL;
    }
    status = ferry__settings_read(&config, &f->names, &f->link, &f->url, why);
    if (status == FERRY_OK)
        status = ferry__link_open(&f->link, &f->url, &config, ferry__core_settings, why);
    if (status != FERRY_OK)
        return status;
    f->replies = (ferry__source){.lane = FERRY__REPLIES};
    return f->link.backend->listen(f->link.self, &f->replies);
}

ferry *ferry_open(const char *url, const ferry_options *options)
{
    ferry *f = ferry__zalloc(sizeof *f);
    if (!f)
        return NULL;
    atomic_init(&f->refs, 1);
    f->forks = ferry__fork_count();
    ferry__stops_init();
    ferry__link_init(&f->link, &ferry__serve_hooks, &(ferry__log){NULL, NULL});
    ferry__list_init(&f->requests);
    ferry__serve_init(f);
    ferry__callbacks_init(&f->callbacks);
    f->close_ms = 10000;
    f->timeout_ms = 30000;
    f->broken = take_options(f, options, f->problem);
    if (!f->broken)
        f->broken = connect_link(f, url, f->problem);
    if (f->broken && !f->problem[0])
        ferry__why(f->problem, "%s", ferry_status_text(f->broken));
    return f;
}

static void free_texts(ferry *f)
{
    ferry__url_done(&f->url);
    ferry__free(f->name);
    ferry__free(f->source);
    ferry__names_done(f->names);
    ferry__router_done(&f->router);
    ferry__serve_done(f);
}

void ferry__handle_unref(ferry *f)
{
    if (atomic_fetch_sub_explicit(&f->refs, 1, memory_order_acq_rel) != 1)
        return;
    ferry__link_end(&f->link);
    free_texts(f);
    ferry__free(f);
}

void ferry__handle_free_forked(ferry *f)
{
    free_texts(f);
    ferry__free(f);
}

/* ---- asking ---- */

ferry_status ferry__handle_refusal(const ferry *f, char *why)
{
    if (!f)
        return FERRY_NO_MEMORY;
    if (f->forks != ferry__fork_count()) {
        ferry__why(why, "the handle was opened before fork(): open one in the child");
        return FERRY_INVALID;
    }
    if (f->broken) {
        ferry__why(why, "%s", f->problem);
        return f->broken;
    }
    return FERRY_OK;
}

ferry_status ferry__handle_usable(ferry *f, char *why)
{
    ferry_status status = ferry__handle_refusal(f, why);
    if (status != FERRY_OK)
        return status;
    if (f->closed || (atomic_load_explicit(&f->stopping, memory_order_relaxed) && !ferry__inside)) {
        ferry__why(why, "the handle is closed");
        return FERRY_CLOSED;
    }
    return FERRY_OK;
}

ferry_status ferry__handle_mistake(ferry *f, ferry_status status, const char *why)
{
    if (status != FERRY_OK && !f->problem[0])
        ferry__why(f->problem, "%s", why);
    return status;
}

size_t ferry_problem(const ferry *given, char *to, size_t size)
{
    char text[FERRY_WHY_SIZE] = "out of memory";
    ferry *f = (ferry *)(uintptr_t)given; /* const for the program; the lock is ours */
    if (f && f->broken)
        ferry__why(text, "%s", f->problem);
    else if (f && f->forks != ferry__fork_count())
        ferry__handle_refusal(f, text);
    else if (f) {
        ferry__link_lock(&f->link);
        bool down = f->link.state != FERRY__UP && f->link.state_status != FERRY_OK;
        ferry__why(text, "%s", f->problem[0] ? f->problem : down ? f->link.state_why : "");
        ferry__link_unlock(&f->link);
    }
    if (to && size)
        snprintf(to, size, "%s", text);
    return strlen(text);
}

/* Connected is not all of ready: what was noted before, names to be served above all, shall be with the broker as well. */
static void finish_noted(ferry__link *l, ferry__waiter *w, int64_t until_ms)
{
    uint64_t whole = l->turns + 2; /* one may be half done */
    while (l->driver && l->turns < whole && ferry__now_ms() < until_ms) {
        w->poked = false;
        if (l->sleeping)
            l->backend->wake(l->self);
        ferry__link_wait(l, w, ferry__now_ms() + 1);
    }
    ferry__link_turn(l, w);
}

static bool all_served(ferry *f)
{
    bool all = f->link.subscribing == 0;
    for (ferry__service *s = f->services; s && !f->draining; s = s->next) {
        if (s->subscription)
            continue;
        ferry__peer *peer = s->listening ? ferry__peer_get(&f->link, FERRY__CALLS, s->name, strlen(s->name)) : NULL;
        all = (!peer || ferry__peer_served(peer)) && all;
    }
    return all;
}

/* A broker may need some time to know a new name: it is ready when it says so itself. */
static void finish_serving(ferry *f, ferry__waiter *w, int64_t until_ms)
{
    finish_noted(&f->link, w, until_ms);
    while (!all_served(f) && !f->closed && ferry__now_ms() < until_ms) {
        int64_t soon_ms = ferry__now_ms() + SERVED_LOOK_MS;
        w->poked = false;
        ferry__link_wait(&f->link, w, soon_ms < until_ms ? soon_ms : until_ms);
    }
}

ferry_status ferry_wait_ready(ferry *f, int timeout_ms)
{
    ferry_status status = ferry__handle_refusal(f, NULL);
    if (status != FERRY_OK)
        return status;
    ferry__link *l = &f->link;
    int64_t until_ms = ferry__now_ms() + (timeout_ms > 0 ? timeout_ms : 0);
    ferry__waiter w;
    ferry__waiter_init(&w);
    ferry__link_lock(l);
    status = ferry__handle_usable(f, NULL);
    ferry__link_watch(l, &w);
    ferry__link_turn(l, &w); /* also where it is hopeless: what was wrong may have been mended */
    for (bool late = false; status == FERRY_OK && l->state == FERRY__DOWN && !ferry__link_hopeless(l) && !late;
         late = ferry__now_ms() >= until_ms) {
        w.poked = false;
        ferry__link_wait(l, &w, until_ms);
        status = f->closed ? FERRY_CLOSED : FERRY_OK;
    }
    if (status == FERRY_OK && l->state != FERRY__DOWN)
        finish_serving(f, &w, until_ms);
    if (status == FERRY_OK && l->state == FERRY__DOWN)
        status = l->state_status != FERRY_OK ? l->state_status : FERRY_TIMEOUT;
    if (status == FERRY_OK && l->subscribing > 0)
        status = f->closed ? FERRY_CLOSED : FERRY_TIMEOUT; /* connected, but what is published now might not come */
    ferry__list_remove(&w.place);
    ferry__link_leave(l);
    ferry__link_unlock(l);
    return status;
}

static ferry_status flushed(ferry *f)
{
    ferry_status status = f->link.first_failure;
    f->link.first_failure = FERRY_OK;
    return status;
}

ferry_status ferry_flush(ferry *f, int timeout_ms)
{
    ferry_status status = ferry__handle_refusal(f, NULL);
    if (status != FERRY_OK)
        return status;
    ferry__link *l = &f->link;
    int64_t until_ms = ferry__now_ms() + (timeout_ms > 0 ? timeout_ms : 0);
    ferry__waiter w;
    ferry__waiter_init(&w);
    ferry__link_lock(l);
    ferry__link_watch(l, &w);
    while (l->posting > 0 && ferry__now_ms() < until_ms && !f->closed) {
        w.poked = false;
        ferry__link_wait(l, &w, until_ms);
    }
    status = f->closed ? FERRY_CLOSED : l->posting > 0 ? FERRY_TIMEOUT : flushed(f);
    ferry__list_remove(&w.place);
    ferry__link_leave(l);
    ferry__link_unlock(l);
    return status;
}

ferry_value *ferry_stats(const ferry *given)
{
    ferry *f = (ferry *)(uintptr_t)given;
    ferry_value *stats = f ? ferry_new_map() : NULL;
    if (ferry__handle_refusal(f, NULL) != FERRY_OK)
        return stats;
    ferry__link *l = &f->link;
    ferry__link_lock(l);
    ferry__counters c = l->counts;
    size_t gauges[] = {l->table.count, l->posting,  l->jobs.ready + l->jobs.blocked, l->jobs.running,
                       f->deferred,    l->settling, l->state == FERRY__UP,           f->window};
    ferry__link_unlock(l);
#define PUT(name) ferry_map_put(stats, #name, ferry_uint(c.name));
    FERRY__COUNTERS(PUT)
#undef PUT
    static const char *const names[] = {"pending",  "pending_posts", "queued",    "running",
                                        "deferred", "settling",      "connected", "window"};
    for (size_t i = 0; i < sizeof gauges / sizeof *gauges; i++)
        ferry_map_put(stats, names[i], ferry_uint(gauges[i]));
    return stats;
}

const char *ferry_version(void)
{
    return FERRY_VERSION;
}
