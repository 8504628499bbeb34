/* send.c - calls and posts on their way out.
 *
 * Posts and copies are confirmed one by one. Calls are not: a confirm each is work for the broker that nobody reads. What proves that a
 * call was routed is its answer. For those that are not answered soon a fence, a harmless method that is answered behind them, proves
 * at once for all before it that they were routed, or returned: Basic.Return comes first. One FENCE_MS after the oldest, or for
 * every FENCE_MOST; as long as answers come quickly there is none. */
#include "backends/amqp/event.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/random.h"

#include <string.h>

enum { FENCE_MOST = 4096, FENCE_MS = 50, ACCESS_REFUSED = 403 };

/* ---- the ring of what is under way ---------------------------------------------------------------------------------- */

static ferry__amqp_sent *sent_at(const ferry__amqp_ring *r, uint64_t number)
{
    return &r->at[number & (r->size - 1)];
}

static bool ring_grow(ferry__amqp_ring *r)
{
    ferry__amqp_ring wide = *r;
    wide.size = r->size ? r->size * 2 : 64;
    wide.at = ferry__zalloc(wide.size * sizeof *wide.at);
    if (!wide.at)
        return false;
    for (uint64_t n = r->base; n < r->top; n++)
        *sent_at(&wide, n) = *sent_at(r, n);
    ferry__free(r->at);
    *r = wide;
    return true;
}

bool ferry__amqp_ring_room(ferry__amqp_ring *r)
{
    return r->top - r->base < r->size || ring_grow(r);
}

/* f NULL: nobody waits for its outcome. */
void ferry__amqp_ring_add(ferry__amqp_ring *r, ferry__frame *f, ferry__target *target, ferry__amqp_kind kind)
{
    *sent_at(r, r->top++) =
        (ferry__amqp_sent){.frame = f, .target = target, .serial = f ? f->id.serial : 0, .kind = (uint8_t)kind};
}

static void ring_advance(ferry__amqp_ring *r)
{
    while (r->base < r->top && !sent_at(r, r->base)->frame)
        r->base++;
}

/* ---- outcomes ------------------------------------------------------------------------------------------------------- */

static void tell(ferry__amqp *a, ferry__frame *f, ferry__fate fate, ferry_status status, const char *why)
{
    if (!a->closing)
        a->up->outcome(a->up, f, fate, status, why);
    ferry__frame_unref(f);
}

static void refuse(ferry__amqp *a, ferry__frame *f, ferry_status status)
{
    f->tag[1] = (uint64_t)status;
    ferry__frames_add(&a->refused, f);
}

static const char *reason(const ferry__amqp *a, const ferry__frame *f, ferry_status status, char why[FERRY_WHY_SIZE])
{
    const char *route = ferry__frame_text(f, f->route);
    if (status == FERRY_NO_SERVICE)
        ferry__why(why, "nobody ever served '%.*s' here: start a server for it, or check the name and FERRY_URL",
                   (int)strcspn(route, "."), route);
    else if (status == FERRY_OVERLOADED)
        ferry__why(why, "more than %zu messages wait for the broker", a->config->max_queued);
    else if (status == FERRY_UNAVAILABLE)
        ferry__why(why, "%s", *a->why ? a->why : "not connected to the broker yet");
    else if (status == FERRY_TOO_BIG)
        ferry__why(why, "its headers do not fit into one frame of the broker");
    else
        ferry__why(why, "%s", ferry_status_text(status));
    return why;
}

void ferry__amqp_report_refused(ferry__amqp *a)
{
    char why[FERRY_WHY_SIZE];
    for (ferry__frame *f; (f = ferry__frames_take(&a->refused));) {
        ferry_status status = (ferry_status)f->tag[1];
        tell(a, f, FERRY__REFUSED, status, reason(a, f, status, why));
    }
}

static void finish(ferry__amqp *a, ferry__amqp_sent *s, bool accepted)
{
    ferry__amqp_sent one = *s;
    s->frame = NULL;
    if (!one.frame)
        return;
    if (one.kind != FERRY__AMQP_SENT)
        ferry__amqp_copied(a, &one, accepted && !one.returned);
    else if (accepted)
        tell(a, one.frame, FERRY__ACCEPTED, FERRY_OK, NULL);
    else /* a quorum queue is full; a classic one that crashes answers the same, and may have kept the message */
        tell(a, one.frame, a->quorum ? FERRY__REFUSED : FERRY__LOST, FERRY_OVERLOADED,
             "the broker did not take the message: its queue is full");
}

void ferry__amqp_confirmed(ferry__amqp *a, uint64_t tag, bool multiple, bool accepted)
{
    ferry__amqp_ring *r = &a->posts;
    if (tag == 0)
        tag = r->top - 1; /* all */
    if (tag < r->base || tag >= r->top)
        return;
    r->proven = r->proven || accepted;
    for (uint64_t n = multiple ? r->base : tag; n <= tag; n++)
        finish(a, sent_at(r, n), accepted);
    ring_advance(r);
}

static bool same_id(const ferry__id *a, const ferry__id *b)
{
    return a->serial == b->serial && memcmp(a->client, b->client, sizeof a->client) == 0;
}

/* There was no queue. For a call that is not the last word, as its last server may have deleted it: it was not sent, and whether
 * anybody is there, or ever was, a probe says. */
static void returned(ferry__amqp *a, ferry__frame *f, ferry__target *target)
{
    char why[FERRY_WHY_SIZE];
    if (f->kind != FERRY__CALL || a->closing) {
        tell(a, f, FERRY__REFUSED, FERRY_NO_SERVICE, reason(a, f, FERRY_NO_SERVICE, why));
        return;
    }
    tell(a, f, FERRY__REFUSED, FERRY_UNAVAILABLE, "it came back unread");
    if (!ferry__amqp_probing(a, target))
        ferry__amqp_probe(a, target);
}

void ferry__amqp_returned(ferry__amqp *a, amqp_channel_t channel, const ferry__id *id, unsigned code)
{
    ferry__amqp_ring *r = channel == FERRY__AMQP_CALLS ? &a->calls : &a->posts;
    (void)code; /* NO_ROUTE: the only one that is left of what AMQP once had */
    r->proven = true;
    for (uint64_t n = r->base; n < r->top; n++) {
        ferry__amqp_sent *s = sent_at(r, n);
        if (!s->frame || s->returned || !same_id(&s->frame->id, id))
            continue;
        s->returned = true;
        if (s->kind != FERRY__AMQP_SENT)
            return; /* its confirm follows */
        ferry__frame *f = s->frame;
        s->frame = NULL;
        returned(a, f, s->target);
        break;
    }
    if (r == &a->calls)
        ring_advance(r);
}

/* ---- proofs --------------------------------------------------------------------------------------------------------- */

/* The serials of calls rise, but for those that were sent again: those are not found, and wait for a fence. */
static ferry__amqp_sent *call_by(const ferry__amqp_ring *r, const ferry__id *id)
{
    uint64_t low = r->base, high = r->top;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (sent_at(r, middle)->serial < id->serial)
            low = middle + 1;
        else
            high = middle;
    }
    ferry__amqp_sent *s = low < r->top ? sent_at(r, low) : NULL;
    return s && s->frame && same_id(&s->frame->id, id) ? s : NULL;
}

void ferry__amqp_proven(ferry__amqp *a, const ferry__id *id)
{
    ferry__amqp_ring *r = &a->calls;
    ferry__amqp_sent *s = call_by(r, id);
    if (!s)
        return;
    finish(a, s, true);
    r->proven = true;
    ring_advance(r);
    if (r->base == r->top && !a->fencing)
        a->fence_ms = 0;
}

void ferry__amqp_send_fence(ferry__amqp *a, int64_t now_ms)
{
    if (a->fencing || a->phase != FERRY__AMQP_UP || a->calls.top == a->calls.base)
        return;
    if (a->calls.top - a->calls.base < FENCE_MOST && now_ms < a->fence_ms)
        return;
    amqp_basic_qos_t m = {0};
    a->fencing = true;
    a->fence = a->calls.top;
    ferry__amqp_say(&a->out, FERRY__AMQP_CALLS, AMQP_BASIC_QOS_METHOD, &m);
}

void ferry__amqp_fenced(ferry__amqp *a)
{
    a->fencing = false;
    a->calls.proven = true;
    for (; a->calls.base < a->fence && a->calls.base < a->calls.top; a->calls.base++)
        finish(a, sent_at(&a->calls, a->calls.base), true);
    a->fence_ms = a->calls.top > a->calls.base ? ferry__now_ms() + FENCE_MS : 0;
}

/* ---- sending -------------------------------------------------------------------------------------------------------- */

static ferry_status put_request(ferry__amqp *a, ferry__frame *f, int64_t now_ms)
{
    char queue[FERRY__AMQP_NAME], reply[FERRY__AMQP_NAME];
    ferry__amqp_fields fields;
    bool call = f->kind == FERRY__CALL;
    const ferry__target *target = (const ferry__target *)(uintptr_t)f->tag[0];
    if (target->lane == FERRY__EVENTS)
        return ferry__amqp_event_put(a, target, f);
    ferry__amqp_queue_of(a, queue, target->name, f);
    if (call && a->direct)
        snprintf(reply, sizeof reply, "amq.rabbitmq.reply-to");
    else if (call)
        ferry__amqp_reply_name(a, reply);
    ferry__amqp_fields_write(&fields, f, call ? reply : NULL, now_ms);
    ferry__amqp_letter l = {.channel = call ? FERRY__AMQP_CALLS : FERRY__AMQP_POSTS,
                            .exchange = "",
                            .key = queue,
                            .mandatory = true,
                            .properties = &fields.p,
                            .body = ferry__frame_body(f),
                            .length = f->body.length};
    return ferry__amqp_put_letter(&a->out.codec, &l);
}

/* False: it has to wait. */
static bool try_to_send(ferry__amqp *a, ferry__frame *f, int64_t now_ms)
{
    bool call = f->kind == FERRY__CALL;
    ferry__amqp_ring *r = call ? &a->calls : &a->posts;
    ferry__target *target = (ferry__target *)(uintptr_t)f->tag[0];
    if (!call && r->top - r->base >= a->window)
        return false;
    if (target->lane == FERRY__EVENTS && !ferry__amqp_event_domain(a, target))
        return false;
    ferry_status status = ferry__amqp_ring_room(r) ? put_request(a, f, now_ms) : FERRY_NO_MEMORY;
    if (status == FERRY_OVERLOADED)
        return false;
    if (status != FERRY_OK) {
        refuse(a, f, status);
        return true;
    }
    ferry__amqp_ring_add(r, f, target, FERRY__AMQP_SENT);
    a->out.noted = true;
    if (call && !a->fence_ms)
        a->fence_ms = now_ms + FENCE_MS;
    return true;
}

static void send_control(ferry__amqp *a, const ferry__target *target, ferry__frame *f)
{
    char exchange[FERRY__AMQP_NAME];
    ferry__amqp_fields fields;
    if (a->phase != FERRY__AMQP_UP)
        return;
    ferry__amqp_queue_name(a, exchange, target->name, strlen(target->name), "ctl", 0);
    ferry__amqp_fields_write(&fields, f, NULL, 0);
    ferry__amqp_letter l = {.channel = FERRY__AMQP_CONTROLS, .exchange = exchange, .key = "", .properties = &fields.p};
    a->out.noted = true;
    ferry__amqp_put_letter(&a->out.codec, &l); /* best effort */
}

static void send_request(ferry__amqp *a, ferry__target *target, ferry__frame *f)
{
    f->tag[0] = (uint64_t)(uintptr_t)target;
    ferry__frames *waiting = &a->waiting[f->kind != FERRY__CALL];
    if (f->kind != FERRY__CALL && f->kind != FERRY__POST && f->kind != FERRY__EVENT)
        refuse(a, f, FERRY_UNSUPPORTED);
    else if (a->phase != FERRY__AMQP_UP || a->failed)
        refuse(a, f, FERRY_UNAVAILABLE);
    else if (waiting->count >= a->config->max_queued)
        refuse(a, f, FERRY_OVERLOADED);
    else if (waiting->count || !try_to_send(a, f, ferry__now_ms()))
        ferry__frames_add(waiting, f);
}

void ferry__amqp_send_waiting(ferry__amqp *a, int64_t now_ms)
{
    for (size_t i = 0; i < 2 && a->phase == FERRY__AMQP_UP; i++) {
        ferry__frames *waiting = &a->waiting[i];
        while (waiting->first) {
            ferry__frame *f = waiting->first, *next = f->next;
            if (!try_to_send(a, f, now_ms))
                break;
            waiting->first = next; /* it is in another list by now, if in any */
            waiting->count--;
            if (!next)
                waiting->last = &waiting->first;
        }
    }
}

/* ---- answers -------------------------------------------------------------------------------------------------------- */

static ferry_status put_reply(ferry__amqp *a, const ferry__frame *f)
{
    char exchange[FERRY__AMQP_NAME], client[FERRY__ID_TEXT];
    ferry__amqp_fields fields;
    const char *direct = ferry__amqp_direct_of(a, &f->id);
    ferry__amqp_fields_write(&fields, f, NULL, 0);
    ferry__id_print(&f->id, client);
    client[32] = '\0'; /* the first part of an id is its client: the key of its reply queue */
    snprintf(exchange, sizeof exchange, "%s.replies", a->config->ns);
    ferry__amqp_letter l = {.channel = direct ? FERRY__AMQP_DIRECT : FERRY__AMQP_CALLS_IN,
                            .exchange = direct ? "" : exchange,
                            .key = direct ? direct : client,
                            .properties = &fields.p,
                            .body = f->data + f->body.at,
                            .length = f->body.length};
    ferry__amqp_conn *c = direct ? &a->out : &a->in;
    if (direct && !a->direct_open)
        ferry__amqp_channel_open(c, FERRY__AMQP_DIRECT);
    a->direct_open = a->direct_open || direct;
    c->noted = true;
    return ferry__amqp_put_letter(&c->codec, &l);
}

static bool send_reply(ferry__amqp *a, ferry__frame *f)
{
    ferry_status status = put_reply(a, f);
    if (status == FERRY_TOO_BIG) { /* an answer without its headers is better than none */
        f->headers = (ferry__slice){0, 0};
        status = put_reply(a, f);
    }
    return status != FERRY_OVERLOADED;
}

void ferry__amqp_send_replies(ferry__amqp *a)
{
    while (a->replies.first && a->phase == FERRY__AMQP_UP && send_reply(a, a->replies.first))
        ferry__frame_unref(ferry__frames_take(&a->replies));
}

static void take_reply(ferry__amqp *a, ferry__frame *f)
{
    if (a->phase == FERRY__AMQP_UP && (a->replies.count || !send_reply(a, f)))
        ferry__frames_add(&a->replies, f);
    else
        ferry__frame_unref(f); /* without the connection its call comes again elsewhere */
}

void ferry__amqp_send(void *self, ferry__target *target, ferry__frame *f)
{
    ferry__amqp *a = self;
    if (f->kind == FERRY__REPLY)
        take_reply(a, f);
    else if (f->kind == FERRY__CONTROL) {
        send_control(a, target, f);
        ferry__frame_unref(f);
    } else
        send_request(a, target, f);
}

/* ---- losses --------------------------------------------------------------------------------------------------------- */

static void lose(ferry__amqp *a, ferry__amqp_ring *r, ferry__fate fate, ferry_status status, const char *why)
{
    for (; r->base < r->top; r->base++) {
        ferry__amqp_sent s = *sent_at(r, r->base);
        if (s.frame && s.kind == FERRY__AMQP_SENT)
            tell(a, s.frame, fate, status, why);
        else if (s.frame)
            ferry__amqp_copied(a, &s, false);
    }
    r->base = r->top = 1;
    r->proven = false;
}

void ferry__amqp_send_down(ferry__amqp *a)
{
    lose(a, &a->calls, FERRY__LOST, FERRY_UNAVAILABLE, a->why);
    lose(a, &a->posts, FERRY__LOST, FERRY_UNAVAILABLE, a->why);
    for (size_t i = 0; i < 2; i++)
        for (ferry__frame *f; (f = ferry__frames_take(&a->waiting[i]));)
            refuse(a, f, FERRY_UNAVAILABLE);
    ferry__frames_drop(&a->replies);
    a->fence_ms = 0;
    a->direct_open = false;
}

/* A channel was closed for what was published on it. If nothing on it was ever taken, the broker refuses us as such; else nobody can
 * say which message it was, and how far the others came. */
void ferry__amqp_channel_lost(ferry__amqp *a, amqp_channel_t channel, unsigned code, const char *text)
{
    amqp_confirm_select_t select = {0};
    ferry__amqp_ring *r = channel == FERRY__AMQP_CALLS ? &a->calls : channel == FERRY__AMQP_POSTS ? &a->posts : NULL;
    ferry__log_print(a->up->log, r ? LOG_WARNING : LOG_INFO, "the broker closed a channel: %s", text);
    a->direct_open = a->direct_open && channel != FERRY__AMQP_DIRECT;
    if (!r && channel != FERRY__AMQP_CONTROLS)
        return;
    if (channel == FERRY__AMQP_CALLS && a->direct) {
        ferry__amqp_fail(a, FERRY_UNAVAILABLE, "the broker closed the channel of the replies: %s", text);
        return;
    }
    bool never = r && code == ACCESS_REFUSED && !r->proven;
    if (r)
        lose(a, r, never ? FERRY__REFUSED : FERRY__LOST, code == ACCESS_REFUSED ? FERRY_DENIED : FERRY_UNAVAILABLE,
             text);
    if (channel == FERRY__AMQP_CALLS) {
        a->fencing = false;
        a->fence_ms = 0;
    }
    ferry__amqp_channel_open(&a->out, channel);
    a->era++;
    if (channel == FERRY__AMQP_POSTS)
        ferry__amqp_say(&a->out, channel, AMQP_CONFIRM_SELECT_METHOD, &select);
}

bool ferry__amqp_send_quiet(const ferry__amqp *a)
{
    return a->posts.base == a->posts.top && !a->replies.count;
}

static void drop_ring(ferry__amqp_ring *r)
{
    for (; r->base < r->top; r->base++)
        ferry__frame_unref(sent_at(r, r->base)->frame);
    ferry__free(r->at);
    *r = (ferry__amqp_ring){0};
}

void ferry__amqp_send_done(ferry__amqp *a)
{
    drop_ring(&a->calls);
    drop_ring(&a->posts);
    ferry__frames_drop(&a->waiting[0]);
    ferry__frames_drop(&a->waiting[1]);
    ferry__frames_drop(&a->refused);
    ferry__frames_drop(&a->replies);
}
