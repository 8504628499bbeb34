#include "ends/subscription.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "data/route.h"
#include "ends/options.h"

#include <string.h>

enum { GROUP_MAX = 64, POSITION_MAX = 65536 };

/* ---- checks ---- */

static ferry_status mistake(char *why, const char *text)
{
    ferry__why(why, "%s", text);
    return FERRY_INVALID;
}

static bool is_word(const char *text, size_t most)
{
    size_t length = strnlen(text, most + 1);
    return length > 0 && length <= most && !strchr(text, '.') && ferry__route_check(text, NULL) == FERRY_OK;
}

static ferry_status check_start(const ferry_subscribe_options *o, char *why)
{
    if ((unsigned)o->from > FERRY_FROM_POSITION)
        return mistake(why, "from is none of FERRY_FROM_NEW, _EARLIEST, _TIME, _POSITION");
    if (o->from == FERRY_FROM_TIME && o->time_ms <= 0)
        return mistake(why, "FERRY_FROM_TIME wants time_ms, in milliseconds since 1970");
    if (o->from == FERRY_FROM_POSITION && (!o->position || !*o->position))
        return mistake(why, "FERRY_FROM_POSITION wants a position, as ferry_position told it");
    if (o->position && strnlen(o->position, POSITION_MAX) == POSITION_MAX)
        return mistake(why, "that is no position of ferry_position: it is too long");
    return FERRY_OK;
}

static ferry_status check(const char *pattern, const ferry_subscribe_options *o, char *why)
{
    ferry_status status = ferry__route_check_pattern(pattern, why);
    if (status == FERRY_OK)
        status = check_start(o, why);
    if (status != FERRY_OK)
        return status;
    if (o->group && !is_word(o->group, GROUP_MAX))
        return mistake(why, "a group's name is 1 to 64 of A-Z a-z 0-9 _ -");
    if (o->attempts < 0 || o->backoff_ms < 0)
        return mistake(why, "attempts and backoff_ms must not be negative");
    if (o->factor != 0 && !(o->factor >= 1 && o->factor <= 1000))
        return mistake(why, "factor is 1 to 1000, or 0 for the default");
    if (!(o->jitter <= 1))
        return mistake(why, "jitter is 0 to 1, or less than 0 for none");
    return FERRY_OK;
}

/* ---- making ---- */

static ferry__handler *make_handler(ferry_handler_fn *run, void *arg, const ferry_subscribe_options *o)
{
    ferry__handler *h = ferry__zalloc(sizeof *h + 1);
    if (!h)
        return NULL;
    h->run = run;
    h->arg = arg;
    h->attempts = o->attempts ? o->attempts : 5;
    h->backoff_ms = o->backoff_ms ? o->backoff_ms : 1000;
    h->factor = o->factor != 0 ? o->factor : FERRY__FACTOR;
    h->jitter = o->jitter == 0 ? FERRY__JITTER : o->jitter < 0 ? 0 : o->jitter;
    return h;
}

/* Our own name, as far as a box can have it. */
static void append_name(char *to, size_t size, const char *name)
{
    size_t n = strlen(to);
    for (; *name && n + 1 < size; name++)
        to[n++] = strchr("./@", *name) || (unsigned char)*name <= 0x20 || (unsigned char)*name >= 0x7f ? '_' : *name;
    to[n] = '\0';
}

static char *make_box(const ferry *f, const char *pattern, const char *group)
{
    char box[FERRY__ROUTE_MAX + GROUP_MAX + 4];
    size_t length = ferry__route_service(pattern);
    const char *domain = ferry__names_real(f->names, pattern, &length);
    snprintf(box, sizeof box, "%.*s/%s", (int)length, domain, group ? group : "@");
    if (!group)
        append_name(box, strlen(box) + GROUP_MAX, f->name);
    return ferry__strdup(box);
}

static char *copy(const char *text)
{
    return text ? ferry__strdup(text) : NULL;
}

static void free_wish(ferry__wish *w)
{
    const char *texts[] = {w->group, w->box, w->pattern, w->position};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        ferry__free((void *)(uintptr_t)texts[i]);
}

static bool make_wish(ferry *f, ferry__wish *w, const char *pattern, const ferry_subscribe_options *o)
{
    w->group = copy(o->group);
    w->pattern = copy(pattern);
    w->position = o->from == FERRY_FROM_POSITION ? copy(o->position) : NULL;
    w->box = make_box(f, pattern, o->group);
    w->from = o->from;
    w->time_ms = o->time_ms;
    return w->pattern && w->box && (!o->group || w->group) && (o->from != FERRY_FROM_POSITION || w->position);
}

void ferry__subscription_free(ferry_subscription *s)
{
    if (!s)
        return;
    free_wish(&s->wish);
    ferry__free(s->handler);
    ferry__free(s);
}

static ferry_subscription *make(ferry *f, const char *pattern, ferry_handler_fn *run, void *arg,
                                const ferry_subscribe_options *o)
{
    ferry_subscription *s = ferry__zalloc(sizeof *s);
    if (!s)
        return NULL;
    s->f = f;
    s->handler = make_handler(run, arg, o);
    s->block_key = o->block_key != 0;
    s->on_caught_up = o->on_caught_up;
    s->on_lost = o->on_lost;
    s->arg = arg;
    s->store_max = FERRY__STORE;
    ferry__list_init(&s->store);
    ferry__list_init(&s->receivers);
    ferry__list_init(&s->told_caught_up.node);
    ferry__list_init(&s->told_lost.node);
    if (make_wish(f, &s->wish, pattern, o) && s->handler)
        return s;
    ferry__subscription_free(s);
    return NULL;
}

/* With the lock held. The service owns it from then on; NULL: it is freed. */
static ferry__service *make_service(ferry *f, ferry_subscription *s)
{
    ferry__service *v = ferry__serve_new(f, s->wish.box, strlen(s->wish.box));
    if (!v) {
        ferry__subscription_free(s);
        return NULL;
    }
    size_t domain = strcspn(s->wish.box, "/");
    v->subscription = s;
    s->service = v;
    memcpy(s->domain, s->wish.box, domain);
    v->sources[FERRY__FIRST] = (ferry__source){.lane = FERRY__EVENTS, .name = s->domain, .wish = &s->wish, .owner = v};
    v->sources[FERRY__SECOND] = (ferry__source){.lane = FERRY__POSTS, .name = v->name, .owner = v};
    v->count = s->wish.group ? 2 : 1;
    return v;
}

/* ---- subscribing ---- */

static ferry_status same_group(const ferry *f, const ferry_subscription *s, char *why)
{
    for (const ferry__service *v = f->services; v; v = v->next)
        if (v->subscription && !v->subscription->ended && s->wish.group && strcmp(v->name, s->wish.box) == 0) {
            ferry__why(why,
                       "this handle is a member of group '%s' of '%s' already: one subscription with a wider pattern",
                       s->wish.group, s->domain);
            return FERRY_INVALID;
        }
    return FERRY_OK;
}

static ferry_status supported(const ferry *f, const ferry__wish *w, char *why)
{
    if (w->from == FERRY_FROM_NEW || f->link.bits & FERRY__REPLAYS)
        return FERRY_OK;
    ferry__why(why, "%s: keeps no history of events%s", f->url.scheme,
               strcmp(f->url.scheme, "amqp") == 0 || strcmp(f->url.scheme, "amqps") == 0
                   ? ": ?events=stream in the URL makes it"
                   : "");
    return FERRY_UNSUPPORTED;
}

static ferry_status begin(ferry *f, ferry_subscription *s, char *why)
{
    ferry_status status = supported(f, &s->wish, why);
    if (status == FERRY_OK)
        status = same_group(f, s, why);
    if (status != FERRY_OK) {
        ferry__subscription_free(s);
        return status;
    }
    ferry__service *v = make_service(f, s);
    if (!v)
        return FERRY_NO_MEMORY;
    if (f->draining || (!f->serving && s->handler->run))
        return FERRY_OK;
    status = ferry__serve_listen(f, v);
    if (status == FERRY_OK)
        return FERRY_OK;
    ferry__why(why, "%s", *why ? why : ferry_status_text(status));
    s->ended = true;
    f->ended++;
    return status;
}

ferry_status ferry__subscribe(ferry *f, const char *pattern, ferry_handler_fn *handler, void *arg,
                              const ferry_subscribe_options *o, ferry_subscription **made, char *why)
{
    ferry_status status = check(pattern, o, why);
    if (status == FERRY_OK && !handler && !made)
        status = mistake(why, "without a handler events are pulled by ferry_receive: say where the subscription goes");
    ferry_subscription *s = status == FERRY_OK ? make(f, pattern, handler, arg, o) : NULL;
    if (status == FERRY_OK && !s)
        status = FERRY_NO_MEMORY;
    if (status != FERRY_OK)
        return status;
    ferry__link_lock(&f->link);
    status = ferry__handle_usable(f, why);
    if (status == FERRY_OK)
        status = begin(f, s, why);
    else
        ferry__subscription_free(s);
    ferry__link_unlock(&f->link);
    if (made && status == FERRY_OK)
        *made = s;
    return status;
}

ferry_status ferry_subscribe(ferry *f, const char *pattern, ferry_handler_fn *handler, void *arg,
                             const ferry_subscribe_options *options, ferry_subscription **made)
{
    char why[FERRY_WHY_SIZE] = "";
    ferry_subscribe_options o;
    if (made)
        *made = NULL;
    ferry_status status = ferry__handle_refusal(f, NULL);
    if (status != FERRY_OK)
        return status;
    status = ferry__options_take(&o, sizeof o, options, why);
    if (status == FERRY_OK)
        status = ferry__subscribe(f, pattern, handler, arg, &o, made, why);
    if (status == FERRY_OK)
        return FERRY_OK;
    ferry__link_lock(&f->link);
    ferry__handle_mistake(f, status, *why ? why : ferry_status_text(status));
    ferry__link_unlock(&f->link);
    return status;
}

/* ---- its end ---- */

static bool runs(const ferry_subscription *s)
{
    const ferry *f = s->f;
    for (const ferry__node *n = f->requests.next; n != &f->requests; n = n->next) {
        const ferry_request *req = FERRY__OF(n, ferry_request, active);
        if (req->service == s->service && req->state == FERRY__RUNNING && req != ferry__running)
            return true;
    }
    return false;
}

static void wake_receivers(ferry_subscription *s)
{
    for (ferry__node *n = s->receivers.next; n != &s->receivers; n = n->next)
        ferry__waiter_poke(&s->f->link, FERRY__OF(n, ferry__waiter, place));
}

ferry_status ferry_unsubscribe(ferry_subscription *s)
{
    ferry_status status = s ? ferry__handle_refusal(s->f, NULL) : FERRY_NO_MEMORY;
    if (status != FERRY_OK)
        return status;
    ferry *f = ferry__handle_ref(s->f);
    ferry__link *l = &f->link;
    ferry__waiter w;
    ferry__waiter_init(&w);
    ferry__link_lock(l);
    s->service->requests++; /* it stays while we look */
    ferry__serve_unlisten(f, s->service);
    s->ended = true;
    f->ended++;
    wake_receivers(s);
    ferry__link_watch(l, &w);
    while (runs(s) && !f->closed) {
        w.poked = false;
        ferry__link_wait(l, &w, ferry__now_ms() + 5); /* the end of a handler pokes nobody */
    }
    ferry__list_remove(&w.place);
    s->service->requests--;
    ferry__link_leave(l);
    ferry__link_unlock(l);
    ferry__handle_unref(f);
    return FERRY_OK;
}

/* ---- pausing and seeking ---- */

ferry_status ferry_pause(ferry_subscription *s, bool paused)
{
    ferry_status status = s ? ferry__handle_refusal(s->f, NULL) : FERRY_NO_MEMORY;
    if (status != FERRY_OK)
        return status;
    ferry__link_lock(&s->f->link);
    s->paused = paused;
    if (paused)
        ferry__serve_pause(s->f, s->service);
    ferry__link_noted(&s->f->link, false);
    ferry__link_unlock(&s->f->link);
    return FERRY_OK;
}

static ferry_status seek(ferry_subscription *s, const ferry__wish *to)
{
    ferry__link *l = &s->f->link;
    ferry_status status = ferry__handle_usable(s->f, NULL);
    if (status == FERRY_OK && !(l->more && l->more->seek && l->bits & FERRY__REPLAYS))
        status = FERRY_UNSUPPORTED;
    if (status == FERRY_OK && !s->service->listening)
        status = FERRY_INVALID;
    if (status != FERRY_OK)
        return status;
    ferry__serve_rewind(s->f, s->service);
    l->subscribing += s->ready;
    s->ready = s->caught_up = false;
    s->status = FERRY_OK;
    l->more->seek(l->self, &s->service->sources[FERRY__FIRST], to);
    ferry__link_noted(l, false);
    return FERRY_OK;
}

ferry_status ferry_seek(ferry_subscription *s, ferry_from from, int64_t time_ms, const char *position)
{
    ferry_subscribe_options o = {.from = from, .time_ms = time_ms, .position = position};
    ferry_status status = s ? ferry__handle_refusal(s->f, NULL) : FERRY_NO_MEMORY;
    if (status == FERRY_OK)
        status = check_start(&o, NULL);
    if (status != FERRY_OK)
        return status;
    ferry__wish to = s->wish;
    to.from = from;
    to.time_ms = time_ms;
    to.position = position;
    ferry__link_lock(&s->f->link);
    status = seek(s, &to);
    ferry__link_unlock(&s->f->link);
    return status;
}

/* ---- asking ---- */

bool ferry_caught_up(const ferry_subscription *s)
{
    if (!s || ferry__handle_refusal(s->f, NULL) != FERRY_OK)
        return false;
    ferry__link_lock(&s->f->link);
    bool yes = s->caught_up;
    ferry__link_unlock(&s->f->link);
    return yes;
}

ferry_status ferry_subscription_status(const ferry_subscription *s, char *why)
{
    ferry_status status = s ? ferry__handle_refusal(s->f, why) : FERRY_NO_MEMORY;
    if (status != FERRY_OK)
        return status;
    ferry__link_lock(&s->f->link);
    status = s->status;
    ferry__why(why, "%s", status == FERRY_OK ? "" : s->why);
    ferry__link_unlock(&s->f->link);
    return status;
}

void ferry_by_route(ferry_request *event, void *arg)
{
    ferry_status status;
    (void)arg;
    if (!event)
        return;
    ferry__link_lock(&event->f->link);
    const ferry__handler *h =
        ferry__router_find(&event->f->router, ferry_request_route(event), (ferry_verb)FERRY_PUBLISH, &status);
    ferry__link_unlock(&event->f->link);
    if (h)
        h->run(event, h->arg);
}

/* ---- arrival, with the lock held ---- */

bool ferry__subscription_wants(const ferry_subscription *s, const ferry__frame *frame)
{
    return ferry__route_match(s->wish.pattern, ferry__frame_text(frame, frame->route));
}

void ferry__subscription_store(ferry_subscription *s, ferry_request *req)
{
    ferry__list_append(&s->store, &req->job.node);
    s->stored++;
    wake_receivers(s);
}

void ferry__subscription_restore(ferry_subscription *s, ferry_request *req)
{
    ferry__list_prepend(&s->store, &req->job.node);
    s->stored++;
    wake_receivers(s);
}

bool ferry__subscription_unstore(ferry_subscription *s, ferry_request *req)
{
    if (s->handler->run || !ferry__node_linked(&req->job.node))
        return false;
    ferry__list_remove(&req->job.node);
    s->stored--;
    return true;
}

/* ---- tried again here ---- */

bool ferry__subscription_rests(const ferry_request *req)
{
    const ferry_subscription *s = req->service->subscription;
    return s && req->lane == FERRY__FIRST && (!s->wish.group || s->block_key);
}

static bool holds_key(const ferry_request *req)
{
    return req->service->subscription->block_key && req->job.key;
}

static void on_rested(ferry__timer *t)
{
    ferry_request *req = FERRY__OF(t, ferry_request, rest);
    ferry *f = req->f;
    ferry_subscription *s = req->service->subscription;
    req->state = FERRY__QUEUED;
    f->deferred--;
    req->service->held[req->lane]++;
    if (!s->handler->run)
        ferry__subscription_store(s, req);
    else if (holds_key(req))
        ferry__jobs_again(&f->link.jobs, &req->job);
    else
        ferry__jobs_add(&f->link, &req->job);
}

void ferry__subscription_rest(ferry_request *req, int delay_ms)
{
    ferry__link *l = &req->f->link;
    int64_t due_ms = ferry__now_ms() + delay_ms;
    req->state = FERRY__RESTING;
    if (!holds_key(req))
        ferry__jobs_free_key(&l->jobs, &req->job);
    ferry__timer_init(&req->rest, on_rested);
    ferry__timer_set(&l->wheel, &req->rest, due_ms);
    if (l->driver && l->sleeping)
        l->backend->wake(l->self); /* it sleeps past the timer */
    else
        ferry__link_background_by(l, due_ms);
}

bool ferry__subscription_unrest(ferry_request *req)
{
    ferry__link *l = &req->f->link;
    ferry__timer_clear(&l->wheel, &req->rest);
    req->f->deferred--;
    if (holds_key(req))
        ferry__jobs_free_key(&l->jobs, &req->job);
    return true;
}

/* ---- what the transport tells ---- */

static ferry_subscription *of(const ferry__source *source)
{
    ferry__service *v = source->owner;
    return v->subscription;
}

void ferry__subscription_ready(ferry__link *l, ferry__source *source)
{
    ferry_subscription *s = of(source);
    l->subscribing -= !s->ready && l->subscribing > 0;
    s->ready = true;
    ferry__link_poke_watchers(l);
}

static void tell(ferry_subscription *s, ferry__callback *c, ferry_subscription_fn *fn, void (*run)(ferry__callback *))
{
    if (!fn || s->ended || ferry__node_linked(&c->node))
        return;
    c->run = run;
    s->service->requests++; /* it lives until the callback has run */
    ferry__callbacks_add(s->f, c);
}

static void told(ferry_subscription *s)
{
    ferry__link_lock(&s->f->link);
    s->service->requests--;
    ferry__link_unlock(&s->f->link);
}

static void run_caught_up(ferry__callback *c)
{
    ferry_subscription *s = FERRY__OF(c, ferry_subscription, told_caught_up);
    s->on_caught_up(s, s->arg);
    told(s);
}

static void run_lost(ferry__callback *c)
{
    ferry_subscription *s = FERRY__OF(c, ferry_subscription, told_lost);
    s->on_lost(s, s->arg);
    told(s);
}

void ferry__subscription_caught_up(ferry__link *l, ferry__source *source)
{
    ferry_subscription *s = of(source);
    if (s->caught_up)
        return;
    s->caught_up = true;
    tell(s, &s->told_caught_up, s->on_caught_up, run_caught_up);
    wake_receivers(s);
    ferry__link_poke_watchers(l);
}

void ferry__subscription_broken(ferry__link *l, ferry__source *source, ferry_status status, const char *why)
{
    ferry_subscription *s = of(source);
    s->status = status;
    ferry__why(s->why, "%s", why);
    ferry__log_print(&l->log, LOG_ERR, "subscription %s: %s: %s", s->service->name, ferry_status_name(status), why);
    l->subscribing -= !s->ready && l->subscribing > 0;
    s->ready = true; /* as far as it will be */
    tell(s, &s->told_lost, s->on_lost, run_lost);
    wake_receivers(s);
    ferry__link_poke_watchers(l);
}
