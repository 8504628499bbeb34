/* open.c - a link's beginning and end, its layers, and what the transport tells it. */
#include "base/alloc.h"
#include "base/clock.h"
#include "link/link.h"

#include <string.h>
#include <unistd.h>

/* ---- upcalls ---- */

static ferry__link *link_of(ferry__up *up)
{
    return FERRY__OF(up, ferry__link, up);
}

static void up_frame(ferry__up *up, ferry__source *source, ferry__frame *frame)
{
    ferry__link *l = link_of(up);
    if (frame->kind == FERRY__REPLY)
        ferry__pending_reply(l, frame);
    else
        l->hooks->arrived(l, source, frame);
}

static void up_outcome(ferry__up *up, ferry__frame *frame, ferry__fate fate, ferry_status status, const char *why)
{
    ferry__pending_outcome(link_of(up), frame, fate, status, why);
}

static void up_settled(ferry__up *up, size_t how_many, ferry_status status, const char *why)
{
    ferry__link *l = link_of(up);
    l->settling -= how_many < l->settling ? how_many : l->settling;
    if (status != FERRY_OK)
        ferry__log_print(&l->log, LOG_WARNING, "%zu acknowledgements were lost (%s: %s): those messages come again",
                         how_many, ferry_status_name(status), why ? why : "");
    if (l->settling == 0)
        ferry__link_poke_watchers(l);
}

static void up_withdrawn(ferry__up *up, ferry__frame *frame, bool yes)
{
    ferry__pending_withdrawn(link_of(up), frame, yes);
}

static void up_probed(ferry__up *up, ferry__target *target, ferry__presence presence)
{
    (void)up;
    ferry__peer_probed((ferry__peer *)(void *)target, presence);
}

static void up_state(ferry__up *up, ferry__state state, ferry_status why, const char *text)
{
    ferry__link *l = link_of(up);
    ferry__state before = l->state;
    ferry_status status_before = l->state_status;
    l->same_failures = state != FERRY__DOWN ? 0 : why == status_before ? l->same_failures + 1 : 1;
    l->state = state;
    l->state_status = why;
    ferry__why(l->state_why, "%s", text ? text : "");
    if (state == before && !ferry__link_hopeless(l))
        return;
    static const char *const names[] = {"down", "up", "blocked"};
    ferry__log_print(&l->log, state == FERRY__UP ? LOG_INFO : LOG_WARNING, "link %s%s%s", names[state],
                     text ? ": " : "", text ? text : "");
    l->counts.connects += state == FERRY__UP;
    l->counts.disconnects += state == FERRY__DOWN && before != FERRY__DOWN;
    if (state == FERRY__DOWN)
        ferry__pending_link_down(l);
    if (state == FERRY__UP || ferry__link_hopeless(l))
        ferry__pending_try_held(l);
    ferry__link_poke_watchers(l);
}

static void up_answered(ferry__up *up, ferry__admin *admin)
{
    ferry__link *l = link_of(up);
    l->hooks->answered(l, admin);
}

static void up_ready(ferry__up *up, ferry__source *source)
{
    ferry__link *l = link_of(up);
    l->hooks->ready(l, source);
}

static void up_caught_up(ferry__up *up, ferry__source *source)
{
    ferry__link *l = link_of(up);
    l->hooks->caught_up(l, source);
}

static void up_broken(ferry__up *up, ferry__source *source, ferry_status status, const char *why)
{
    ferry__link *l = link_of(up);
    l->hooks->broken(l, source, status, why);
}

/* ---- layers ---- */

static const ferry__backend *find(const char *scheme, size_t length)
{
    for (size_t i = 0; ferry__backends[i]; i++)
        if (strlen(ferry__backends[i]->scheme) == length && memcmp(ferry__backends[i]->scheme, scheme, length) == 0)
            return ferry__backends[i];
    return NULL;
}

static ferry_status unknown(const char *scheme, char *why)
{
    const char *known[32];
    size_t n = 0;
    for (size_t i = 0; ferry__backends[i] && n < 31; i++)
        known[n++] = ferry__backends[i]->scheme;
    known[n] = NULL;
    ferry__url_unknown_scheme(scheme, known, ferry__backends_absent, why);
    return FERRY_INVALID;
}

static ferry_status add_layer(ferry__link *l, const ferry__backend *b, const ferry__config *config, char *why)
{
    if (l->depth == FERRY__LAYERS) {
        ferry__why(why, "too many decorators before the scheme: %d at most", FERRY__LAYERS - 1);
        return FERRY_INVALID;
    }
    ferry__layer *layer = &l->layers[l->depth];
    layer->backend = b;
    layer->config = *config;
    layer->config.inner = l->backend;
    layer->config.inner_self = l->self;
    layer->config.inner_config = l->depth ? &l->layers[l->depth - 1].config : NULL;
    layer->self = ferry__zalloc(b->state_size);
    if (!layer->self) {
        ferry__why(why, "out of memory");
        return FERRY_NO_MEMORY;
    }
    l->depth++;
    l->backend = b;
    l->self = layer->self;
    return FERRY_OK;
}

/* "fault+trace" before "file": file is wrapped by trace, which is wrapped by fault. */
static ferry_status add_decorators(ferry__link *l, const char *names, const ferry__config *config, char *why)
{
    for (const char *end = names + strlen(names); end > names;) {
        const char *plus = memrchr(names, '+', (size_t)(end - names)), *start = plus ? plus + 1 : names;
        const ferry__backend *b = find(start, (size_t)(end - start));
        if (!b)
            return unknown(names, why);
        ferry_status status = add_layer(l, b, config, why);
        if (status != FERRY_OK)
            return status;
        end = plus ? plus : names;
    }
    return FERRY_OK;
}

static ferry_status check_settings(ferry__link *l, const ferry__url *url, const ferry__setting *own, char *why)
{
    const ferry__setting *tables[FERRY__LAYERS + 1] = {own};
    size_t n = 1;
    for (size_t i = 0; i < l->depth; i++)
        if (l->layers[i].backend->settings)
            tables[n++] = l->layers[i].backend->settings;
    return ferry__url_check(url, tables, n, why);
}

void ferry__link_init(ferry__link *l, const ferry__hooks *hooks, const ferry__log *log)
{
    pthread_mutex_init(&l->lock, NULL);
    l->up = (ferry__up){up_frame,    up_outcome, up_settled,   up_withdrawn, up_probed, up_state,
                        up_answered, up_ready,   up_caught_up, up_broken,    &l->log,   0};
    l->hooks = hooks;
    l->log = *log;
    l->now_ms = ferry__now_ms();
    l->background_at = INT64_MAX;
    l->loop_epoll = l->loop_event = -1;
    ferry__list_init(&l->followers);
    ferry__list_init(&l->watchers);
    ferry__waiter_init(&l->behind);
    ferry__jobs_init(&l->jobs);
    ferry__wheel_init(&l->wheel, l->now_ms);
    ferry__why(l->state_why, "not connected yet");
}

ferry_status ferry__link_open(ferry__link *l, const ferry__url *url, const ferry__config *config,
                              const ferry__setting *own, char *why)
{
    const ferry__backend *b = find(url->scheme, strlen(url->scheme));
    if (!b)
        return unknown(url->scheme, why);
    if (!ferry__table_init(&l->table)) {
        ferry__why(why, "out of memory");
        return FERRY_NO_MEMORY;
    }
    ferry_status status = add_layer(l, b, config, why);
    if (status == FERRY_OK)
        status = add_decorators(l, url->decorators, config, why);
    if (status == FERRY_OK)
        status = check_settings(l, url, own, why);
    if (status != FERRY_OK)
        return status;
    if (config->durable && !(b->bits & FERRY__DURABLE)) {
        ferry__why(why, "durable=yes: what %s: has accepted is lost with its broker", b->scheme);
        return FERRY_UNSUPPORTED;
    }
    l->bits = l->up.bits = b->bits;
    l->more = b->more ? l->backend->more : NULL;
    status = l->backend->open(l->self, &l->up, &l->layers[l->depth - 1].config, url, why);
    l->bits = l->up.bits;
    return status;
}

static void free_layers(ferry__link *l)
{
    for (size_t i = 0; i < l->depth; i++)
        ferry__free(l->layers[i].self);
    l->depth = 0;
    l->backend = NULL;
}

void ferry__link_close(ferry__link *l)
{
    if (l->backend)
        l->backend->close(l->self);
    free_layers(l);
}

void ferry__link_end(ferry__link *l)
{
    ferry__link_close(l);
    ferry__table_done(&l->table);
    ferry__peers_done(&l->peers);
    if (l->loop_epoll >= 0)
        close(l->loop_epoll);
    if (l->loop_event >= 0)
        close(l->loop_event);
    pthread_mutex_destroy(&l->lock);
}

void ferry__link_abandon(ferry__link *l)
{
    if (l->backend)
        l->backend->abandon(l->self);
    free_layers(l);
    ferry__table_done(&l->table);
    ferry__peers_done(&l->peers);
    ferry__free(l->jobs.threads);
}
