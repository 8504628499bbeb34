/* conn.c - one connection:
 *
 *     stream open --hello--> Start --Start-Ok--> Tune --Tune-Ok, Open--> Open-Ok: live --bye--> Close-Ok
 *
 * Channels are opened without waiting: what is written behind Channel.Open is read behind it. Heartbeats leave by next_ms, so they beat
 * whatever handlers do; a broker that was silent for two of them is gone. */
#include "backends/amqp/event.h"

#include "base/clock.h"

#include <stdarg.h>
#include <string.h>

enum { REPLY_SUCCESS = 200, ACCESS_REFUSED = 403, NOT_ALLOWED = 530 };

/* ---- saying --------------------------------------------------------------------------------------------------------- */

void ferry__amqp_say(ferry__amqp_conn *c, amqp_channel_t channel, amqp_method_number_t method, void *decoded)
{
    c->noted = true;
    if (c->stream && !ferry__amqp_put(&c->codec, channel, method, decoded))
        ferry__amqp_fail(c->a, FERRY_NO_MEMORY, "no room for what is to be said to the broker");
}

void ferry__amqp_channel_open(ferry__amqp_conn *c, amqp_channel_t channel)
{
    amqp_channel_open_t m = {.out_of_band = amqp_empty_bytes};
    ferry__amqp_say(c, channel, AMQP_CHANNEL_OPEN_METHOD, &m);
}

void ferry__amqp_channel_close(ferry__amqp_conn *c, amqp_channel_t channel)
{
    amqp_channel_close_t m = {.reply_code = REPLY_SUCCESS, .reply_text = ferry__amqp_text("done")};
    ferry__amqp_say(c, channel, AMQP_CHANNEL_CLOSE_METHOD, &m);
}

void ferry__amqp_conn_bye(ferry__amqp_conn *c)
{
    amqp_connection_close_t m = {.reply_code = REPLY_SUCCESS, .reply_text = ferry__amqp_text("closed")};
    if (c->live)
        ferry__amqp_say(c, 0, AMQP_CONNECTION_CLOSE_METHOD, &m);
}

/* ---- handshake ------------------------------------------------------------------------------------------------------ */

static bool offers(amqp_bytes_t list, const char *word)
{
    size_t n = strlen(word);
    const char *at = list.bytes, *end = at + list.len;
    while (at < end) {
        const char *space = memchr(at, ' ', (size_t)(end - at)), *stop = space ? space : end;
        if ((size_t)(stop - at) == n && memcmp(at, word, n) == 0)
            return true;
        at = stop + 1;
    }
    return false;
}

static amqp_table_entry_t flag(const char *name)
{
    amqp_table_entry_t e = {.key = ferry__amqp_text(name),
                            .value = {.kind = AMQP_FIELD_KIND_BOOLEAN, .value = {.boolean = 1}}};
    return e;
}

static amqp_table_entry_t text(const char *name, const char *value)
{
    amqp_table_entry_t e = {.key = ferry__amqp_text(name), .value = {.kind = AMQP_FIELD_KIND_UTF8}};
    e.value.value.bytes = ferry__amqp_text(value);
    return e;
}

/* "\0user\0password", or nothing where the certificate says who we are. */
static amqp_bytes_t response(const ferry__amqp *a, char *room, size_t size)
{
    if (a->external)
        return amqp_empty_bytes;
    const char *user = a->url->user ? a->url->user : "guest", *password = a->url->password ? a->url->password
                                                                          : a->url->user   ? ""
                                                                                           : "guest";
    int n = snprintf(room, size, "%c%s%c%s", 0, user, 0, password);
    return ferry__amqp_bytes(room, n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1);
}

static void note_broker(ferry__amqp *a, const amqp_table_t *t)
{
    static const char *const names[] = {"product", "version"};
    size_t length = 0;
    a->broker[0] = '\0';
    for (size_t n = 0; n < sizeof names / sizeof *names; n++)
        for (int i = 0; i < t->num_entries; i++) {
            const amqp_table_entry_t *e = &t->entries[i];
            if (e->value.kind != AMQP_FIELD_KIND_UTF8 || e->key.len != strlen(names[n]) ||
                memcmp(e->key.bytes, names[n], e->key.len) != 0)
                continue;
            amqp_bytes_t text = e->value.value.bytes;
            int most = text.len < 64 ? (int)text.len : 64;
            length += (size_t)snprintf(a->broker + length, sizeof a->broker - length, "%s%.*s", n ? " " : "", most,
                                       (const char *)text.bytes);
        }
}

static void start(ferry__amqp_conn *c, const amqp_connection_start_t *s)
{
    ferry__amqp *a = c->a;
    const char *mechanism = a->external ? "EXTERNAL" : "PLAIN";
    char secret[2 * 1024 + 3];
    amqp_table_entry_t able[] = {flag("connection.blocked"), flag("consumer_cancel_notify"), flag("basic.nack"),
                                 flag("publisher_confirms"), flag("authentication_failure_close")};
    amqp_table_entry_t all[] = {text("product", "ferry"),
                                text("version", FERRY_VERSION),
                                text("connection_name", a->config->name ? a->config->name : "ferry"),
                                {.key = ferry__amqp_text("capabilities"), .value = {.kind = AMQP_FIELD_KIND_TABLE}}};
    note_broker(a, &s->server_properties);
    if (!offers(s->mechanisms, mechanism)) {
        ferry__amqp_fail(a, FERRY_DENIED, "the broker does not offer %s: see the setting auth", mechanism);
        return;
    }
    all[3].value.value.table = (amqp_table_t){sizeof able / sizeof *able, able};
    amqp_connection_start_ok_t m = {.client_properties = {sizeof all / sizeof *all, all},
                                    .mechanism = ferry__amqp_text(mechanism),
                                    .response = response(a, secret, sizeof secret),
                                    .locale = ferry__amqp_text("en_US")};
    ferry__amqp_say(c, 0, AMQP_CONNECTION_START_OK_METHOD, &m);
    explicit_bzero(secret, sizeof secret);
}

static void tune(ferry__amqp_conn *c, const amqp_connection_tune_t *t)
{
    ferry__amqp *a = c->a;
    uint32_t most = t->frame_max && t->frame_max < FERRY__AMQP_FRAME_MAX ? t->frame_max : FERRY__AMQP_FRAME_MAX;
    int seconds = (a->heartbeat_ms + 999) / 1000;
    int agreed = t->heartbeat && t->heartbeat < seconds ? t->heartbeat : seconds;
    if (most < 4096 || !ferry__amqp_codec_tune(&c->codec, most)) {
        ferry__amqp_fail(a, FERRY_UNAVAILABLE, "the broker's largest frame of %u bytes is too small", (unsigned)most);
        return;
    }
    /* the broker counts in seconds; what we send may be finer */
    c->heartbeat_ms = agreed * 1000 < a->heartbeat_ms ? agreed * 1000 : a->heartbeat_ms;
    c->silence_ms = agreed * 2000;
    amqp_connection_tune_ok_t m = {.channel_max = t->channel_max, .frame_max = most, .heartbeat = (uint16_t)agreed};
    amqp_connection_open_t o = {.virtual_host = ferry__amqp_text(a->vhost), .capabilities = amqp_empty_bytes};
    ferry__amqp_say(c, 0, AMQP_CONNECTION_TUNE_OK_METHOD, &m);
    ferry__amqp_say(c, 0, AMQP_CONNECTION_OPEN_METHOD, &o);
}

static void opened(ferry__amqp_conn *c)
{
    ferry__amqp *a = c->a;
    amqp_confirm_select_t m = {0};
    c->live = true;
    for (amqp_channel_t channel = 1; channel <= 4; channel++)
        ferry__amqp_channel_open(c, channel);
    if (c->publishes) {
        ferry__amqp_say(c, FERRY__AMQP_POSTS, AMQP_CONFIRM_SELECT_METHOD, &m);
        a->probes_open = true;
    }
    if (a->out.live && a->in.live)
        ferry__amqp_begin_all(a);
}

/* ---- the connection's own methods ----------------------------------------------------------------------------------- */

static void closed_by_broker(ferry__amqp_conn *c, const amqp_connection_close_t *m)
{
    amqp_connection_close_ok_t ok = {0};
    bool denied = m->reply_code == ACCESS_REFUSED || m->reply_code == NOT_ALLOWED;
    ferry__amqp_say(c, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &ok);
    ferry__amqp_conn_flush(c, ferry__now_ms());
    ferry__amqp_fail(c->a, denied ? FERRY_DENIED : FERRY_UNAVAILABLE, "the broker closed the connection: %.*s",
                     (int)m->reply_text.len, (const char *)m->reply_text.bytes);
}

static void block(ferry__amqp_conn *c, bool blocked, amqp_bytes_t reason)
{
    ferry__amqp *a = c->a;
    char why[FERRY_WHY_SIZE];
    c->blocked = blocked;
    if (a->phase != FERRY__AMQP_UP || a->closing)
        return;
    bool any = a->in.blocked || a->out.blocked;
    ferry__why(why, "the broker takes nothing at present: %.*s", (int)reason.len, (const char *)reason.bytes);
    if (any != (a->told == FERRY__BLOCKED)) {
        a->told = any ? FERRY__BLOCKED : FERRY__UP;
        a->up->state(a->up, a->told, any ? FERRY_OVERLOADED : FERRY_OK, any ? why : NULL);
    }
}

static void own_method(ferry__amqp_conn *c, const amqp_method_t *m)
{
    switch (m->id) {
    case AMQP_CONNECTION_START_METHOD:
        start(c, m->decoded);
        break;
    case AMQP_CONNECTION_TUNE_METHOD:
        tune(c, m->decoded);
        break;
    case AMQP_CONNECTION_OPEN_OK_METHOD:
        opened(c);
        break;
    case AMQP_CONNECTION_CLOSE_METHOD:
        closed_by_broker(c, m->decoded);
        break;
    case AMQP_CONNECTION_CLOSE_OK_METHOD:
        c->bye = true;
        break;
    case AMQP_CONNECTION_BLOCKED_METHOD:
        block(c, true, ((const amqp_connection_blocked_t *)m->decoded)->reason);
        break;
    case AMQP_CONNECTION_UNBLOCKED_METHOD:
        block(c, false, amqp_empty_bytes);
        break;
    default:
        break; /* nothing else concerns us */
    }
}

/* ---- methods of channels -------------------------------------------------------------------------------------------- */

/* The broker closes a channel for a mistake on it. What that means depends on the channel. */
static void channel_closed(ferry__amqp_conn *c, amqp_channel_t channel, const amqp_channel_close_t *m)
{
    amqp_channel_close_ok_t ok = {0};
    char why[FERRY_WHY_SIZE];
    ferry__why(why, "%.*s", (int)m->reply_text.len, (const char *)m->reply_text.bytes);
    ferry__amqp_say(c, channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &ok);
    if (!c->publishes && channel == FERRY__AMQP_LEAVE)
        ferry__amqp_leave_closed(c->a);
    else if (!c->publishes && channel >= FERRY__AMQP_EVENTS)
        ferry__amqp_event_closed(c->a, channel, m->reply_code, why);
    else if (!c->publishes)
        ferry__amqp_fail(c->a, m->reply_code == ACCESS_REFUSED ? FERRY_DENIED : FERRY_UNAVAILABLE,
                         "the broker refused: %s", why);
    else if (channel == FERRY__AMQP_PROBES)
        ferry__amqp_probe_closed(c->a, m->reply_code);
    else if (channel == FERRY__AMQP_TOPICS)
        ferry__amqp_topics_closed(c->a, m->reply_code, why);
    else if (channel == FERRY__AMQP_BROWSE)
        ferry__amqp_browse_closed(c->a, m->reply_code, why);
    else
        ferry__amqp_channel_lost(c->a, channel, m->reply_code, why);
}

static void channel_close_ok(ferry__amqp_conn *c, amqp_channel_t channel)
{
    if (!c->publishes && channel == FERRY__AMQP_KEYED_IN)
        ferry__amqp_keyed_closed(c->a);
    if (!c->publishes && channel == FERRY__AMQP_LEAVE)
        ferry__amqp_leave_closed(c->a);
    if (c->publishes && channel == FERRY__AMQP_TOPICS)
        ferry__amqp_topics_closed(c->a, 0, NULL);
    if (!c->publishes && channel >= FERRY__AMQP_EVENTS)
        ferry__amqp_event_closed(c->a, channel, 0, NULL);
}

static void declared(ferry__amqp_conn *c, amqp_channel_t channel, const amqp_queue_declare_ok_t *m)
{
    if (c->publishes && channel == FERRY__AMQP_PROBES)
        ferry__amqp_probed(c->a, m->consumer_count);
    else if (c->publishes && channel == FERRY__AMQP_TOPICS)
        ferry__amqp_topics_answer(c->a, m->message_count, m->consumer_count);
    else if (!c->publishes && channel >= FERRY__AMQP_EVENTS)
        ferry__amqp_event_counted(c->a, channel, m);
    else if (!c->publishes && channel == FERRY__AMQP_LEAVE)
        ferry__amqp_leave_counted(c->a, m->consumer_count);
    else if (!c->publishes) {
        c->a->declaring -= c->a->declaring > 0;
        ferry__amqp_pinch_counted(c->a, channel, m);
    }
}

static void on_return(ferry__amqp_conn *c, amqp_channel_t channel, const amqp_basic_return_t *m)
{
    c->in[channel] = (ferry__amqp_inbound){.what = FERRY__AMQP_RETURNED, .code = m->reply_code};
}

static void on_got(ferry__amqp_conn *c, amqp_channel_t channel, const amqp_basic_get_ok_t *m)
{
    c->in[channel] = (ferry__amqp_inbound){.what = FERRY__AMQP_GOT, .tag = m->delivery_tag};
}

/* What the broker answers to our own requests. */
static void on_answer(ferry__amqp_conn *c, amqp_channel_t channel, const amqp_method_t *m)
{
    ferry__amqp *a = c->a;
    switch (m->id) {
    case AMQP_CHANNEL_CLOSE_OK_METHOD:
        channel_close_ok(c, channel);
        break;
    case AMQP_CONFIRM_SELECT_OK_METHOD:
        a->confirming = true;
        break;
    case AMQP_QUEUE_DECLARE_OK_METHOD:
        declared(c, channel, m->decoded);
        break;
    case AMQP_BASIC_CONSUME_OK_METHOD:
        a->listening = true; /* the reply consumer is the only one that asks for an answer */
        break;
    case AMQP_BASIC_CANCEL_OK_METHOD:
        if (!ferry__amqp_event_cancel_ok(a, channel))
            a->cancelling -= a->cancelling > 0;
        break;
    case AMQP_BASIC_QOS_OK_METHOD:
        if (c->publishes && channel == FERRY__AMQP_CALLS)
            ferry__amqp_fenced(a);
        else if (c->publishes)
            ferry__amqp_browsed(a);
        else
            ferry__amqp_event_synced(a, channel);
        break;
    case AMQP_QUEUE_DELETE_OK_METHOD:
        if (c->publishes)
            ferry__amqp_topics_answer(a, ((const amqp_queue_delete_ok_t *)m->decoded)->message_count, 0);
        else
            ferry__amqp_left(a);
        break;
    case AMQP_QUEUE_PURGE_OK_METHOD:
        ferry__amqp_topics_answer(a, ((const amqp_queue_purge_ok_t *)m->decoded)->message_count, 0);
        break;
    case AMQP_QUEUE_BIND_OK_METHOD:
    case AMQP_EXCHANGE_DECLARE_OK_METHOD:
    case AMQP_EXCHANGE_DELETE_OK_METHOD:
        ferry__amqp_topics_answer(a, 0, 0);
        break;
    case AMQP_BASIC_GET_EMPTY_METHOD:
        ferry__amqp_got_nothing(a);
        break;
    default:
        break; /* of a method that we do not use */
    }
}

static void on_confirm(ferry__amqp_conn *c, amqp_channel_t channel, const amqp_method_t *m)
{
    if (!c->publishes || channel != FERRY__AMQP_POSTS)
        return;
    const amqp_basic_ack_t *ack = m->decoded;
    const amqp_basic_nack_t *nack = m->decoded;
    if (m->id == AMQP_BASIC_ACK_METHOD)
        ferry__amqp_confirmed(c->a, ack->delivery_tag, ack->multiple, true);
    else
        ferry__amqp_confirmed(c->a, nack->delivery_tag, nack->multiple, false);
}

static void on_method(ferry__amqp_conn *c, amqp_channel_t channel, const amqp_method_t *m)
{
    switch (m->id) {
    case AMQP_BASIC_DELIVER_METHOD:
        ferry__amqp_deliver(c, channel, m->decoded);
        break;
    case AMQP_BASIC_ACK_METHOD:
    case AMQP_BASIC_NACK_METHOD:
        on_confirm(c, channel, m);
        break;
    case AMQP_BASIC_RETURN_METHOD:
        on_return(c, channel, m->decoded);
        break;
    case AMQP_BASIC_GET_OK_METHOD:
        on_got(c, channel, m->decoded);
        break;
    case AMQP_BASIC_CANCEL_METHOD:
        ferry__amqp_cancelled(c->a, ((const amqp_basic_cancel_t *)m->decoded)->consumer_tag);
        break;
    case AMQP_CHANNEL_CLOSE_METHOD:
        channel_closed(c, channel, m->decoded);
        break;
    default:
        on_answer(c, channel, m);
    }
}

/* ---- whole messages ------------------------------------------------------------------------------------------------- */

static ferry__kind kind_of(const ferry__amqp_conn *c, amqp_channel_t channel, const ferry__amqp_inbound *in)
{
    if (in->what == FERRY__AMQP_GOT)
        return FERRY__POST;
    if (in->tag_kind == 'r' || in->tag_kind == 'x')
        return in->tag_kind == 'r' ? FERRY__REPLY : FERRY__CONTROL;
    if (in->tag_kind == 'e' || in->tag_kind == 't' || in->tag_kind == 'f')
        return FERRY__EVENT;
    return !c->publishes && channel == FERRY__AMQP_CALLS_IN ? FERRY__CALL : FERRY__POST;
}

static void whole(ferry__amqp_conn *c, amqp_channel_t channel)
{
    ferry__amqp_inbound in = c->in[channel];
    c->in[channel] = (ferry__amqp_inbound){.what = FERRY__AMQP_NOTHING};
    if (in.what == FERRY__AMQP_RETURNED && in.has_id)
        ferry__amqp_returned(c->a, channel, &in.id, in.code);
    else if (in.what == FERRY__AMQP_DELIVERED)
        ferry__amqp_delivered(c->a, channel, &in);
    else if (in.what == FERRY__AMQP_GOT)
        ferry__amqp_got(c->a, &in);
}

static void make_frame(ferry__amqp_conn *c, amqp_channel_t channel, ferry__amqp_inbound *in,
                       const amqp_basic_properties_t *p)
{
    ferry__amqp *a = c->a;
    size_t most = (a->config->max_message + 65536) * (in->what == FERRY__AMQP_GOT ? 3 : 1);
    ferry_status why;
    ferry__kind kind = kind_of(c, channel, in);
    in->offset = kind == FERRY__EVENT ? ferry__amqp_fields_offset(p) : 0;
    if (in->left <= most)
        in->frame = ferry__amqp_fields_read(p, kind, (size_t)in->left, ferry__now_ms(), &a->scratch, &why);
    in->bad = !in->frame;
    if (in->bad)
        return;
    if (kind == FERRY__POST && in->what == FERRY__AMQP_DELIVERED && ferry__amqp_fields_event(p)) {
        in->frame->kind = FERRY__EVENT; /* one that is tried again */
        in->frame->verb = 0;
    }
    int64_t deliveries = ferry__amqp_fields_deliveries(p);
    in->frame->partition = in->partition;
    in->frame->maybe = in->frame->maybe || in->redelivered;
    if ((kind == FERRY__POST || kind == FERRY__EVENT) && deliveries > 0)
        in->frame->attempt += (uint32_t)(deliveries < 100000 ? deliveries : 100000);
    in->frame->tag[0] = kind == FERRY__POST && in->redelivered && deliveries < 0; /* nobody counted that delivery: see delivered */
    if (kind == FERRY__CALL)
        ferry__amqp_note_direct(a, in->frame, p);
}

static void on_header(ferry__amqp_conn *c, amqp_channel_t channel, uint64_t size, const amqp_basic_properties_t *p)
{
    ferry__amqp_inbound *in = &c->in[channel];
    if (in->what == FERRY__AMQP_NOTHING || in->headed) {
        ferry__amqp_fail(c->a, FERRY_UNAVAILABLE, "the broker sent a message without its beginning");
        return;
    }
    in->headed = true;
    in->left = size;
    if (in->what == FERRY__AMQP_RETURNED) /* a post has its id in both places */
        in->has_id = ferry__amqp_fields_id(p, FERRY__POST, &in->id) || ferry__amqp_fields_id(p, FERRY__CALL, &in->id);
    else
        make_frame(c, channel, in, p);
    if (size == 0)
        whole(c, channel);
}

static void on_body(ferry__amqp_conn *c, amqp_channel_t channel, amqp_bytes_t part)
{
    ferry__amqp_inbound *in = &c->in[channel];
    if (!in->headed || part.len > in->left) {
        ferry__amqp_fail(c->a, FERRY_UNAVAILABLE, "the broker sent more of a message than it had announced");
        return;
    }
    if (in->frame)
        memcpy((char *)ferry__frame_body(in->frame) + in->at, part.bytes, part.len);
    in->at += part.len;
    in->left -= part.len;
    if (in->left == 0)
        whole(c, channel);
}

static void on_frame(ferry__amqp_conn *c, amqp_frame_t *f)
{
    if (f->frame_type == AMQP_FRAME_HEARTBEAT)
        return;
    if (f->channel >= FERRY__AMQP_CHANNELS || (f->channel == 0 && f->frame_type != AMQP_FRAME_METHOD)) {
        ferry__amqp_fail(c->a, FERRY_UNAVAILABLE, "the broker sent a frame for a channel that is not open");
        return;
    }
    if (f->frame_type == AMQP_FRAME_HEADER)
        on_header(c, f->channel, f->payload.properties.body_size, f->payload.properties.decoded);
    else if (f->frame_type == AMQP_FRAME_BODY)
        on_body(c, f->channel, f->payload.body_fragment);
    else if (f->channel == 0)
        own_method(c, &f->payload.method);
    else if (c->live)
        on_method(c, f->channel, &f->payload.method);
}

/* ---- pump, flush, time ---------------------------------------------------------------------------------------------- */

bool ferry__amqp_conn_open(ferry__amqp_conn *c, const ferry__stream_options *o)
{
    int64_t now_ms = ferry__now_ms();
    c->in_ms = c->out_ms = now_ms;
    c->unread = true;
    c->stream = ferry__stream_open(o, c->a->up->log, ferry__amqp_wake, c->a);
    return c->stream != NULL;
}

void ferry__amqp_conn_done(ferry__amqp_conn *c, bool forked)
{
    for (size_t i = 0; i < FERRY__AMQP_CHANNELS; i++)
        ferry__frame_unref(c->in[i].frame);
    ferry__amqp_codec_done(&c->codec);
    if (forked)
        ferry__stream_abandon(c->stream);
    else
        ferry__stream_free(c->stream);
    *c = (ferry__amqp_conn){.a = c->a, .publishes = c->publishes, .watched = {.fd = -1}};
}

static void read_frames(ferry__amqp_conn *c)
{
    amqp_frame_t frame;
    char why[FERRY_WHY_SIZE];
    int got = 0;
    while (!c->a->failed && (got = ferry__amqp_codec_next(&c->codec, &frame, why)) > 0)
        on_frame(c, &frame);
    if (got < 0)
        ferry__amqp_fail(c->a, FERRY_UNAVAILABLE, "%s", why);
    ferry__amqp_codec_release(&c->codec);
}

void ferry__amqp_conn_pump(ferry__amqp_conn *c, int64_t now_ms)
{
    if (!c->stream || !c->unread)
        return;
    c->unread = false;
    size_t before, after;
    ferry__stream_in(c->stream, &before);
    ferry__stream_state state = ferry__stream_pump(c->stream, now_ms);
    if (state == FERRY__OPEN && !c->hello) {
        c->hello = c->noted = true;
        if (!ferry__amqp_codec_open(&c->codec, c->stream))
            ferry__amqp_fail(c->a, FERRY_NO_MEMORY, "out of memory");
    }
    ferry__stream_in(c->stream, &after);
    if (after != before)
        c->in_ms = now_ms;
    if (c->hello && after)
        read_frames(c);
    const char *why;
    if (state == FERRY__CLOSED && c->bye)
        return;
    if (state == FERRY__CLOSED) {
        ferry_status status = ferry__stream_status(c->stream, &why);
        ferry__amqp_fail(c->a, status ? status : FERRY_UNAVAILABLE, "%s", why);
    }
}

void ferry__amqp_conn_flush(ferry__amqp_conn *c, int64_t now_ms)
{
    if (!c->noted || !c->stream)
        return;
    c->noted = false;
    c->out_ms = now_ms;
    ferry__stream_flush(c->stream);
}

void ferry__amqp_conn_beat(ferry__amqp_conn *c, int64_t now_ms)
{
    if (!c->live || !c->heartbeat_ms)
        return;
    if (now_ms - c->in_ms > c->silence_ms) {
        ferry__amqp_fail(c->a, FERRY_UNAVAILABLE, "the broker was silent for %lld ms", (long long)(now_ms - c->in_ms));
        return;
    }
    if (now_ms - c->out_ms < c->heartbeat_ms / 2)
        return;
    c->noted = true;
    ferry__amqp_put_beat(&c->codec); /* no room: then there is enough to be written that tells of us */
}

int ferry__amqp_conn_next_ms(const ferry__amqp_conn *c, int64_t now_ms)
{
    if (!c->stream)
        return -1;
    int ms = ferry__stream_next_ms(c->stream, now_ms);
    if (!c->live || !c->heartbeat_ms)
        return ms;
    int64_t out = c->out_ms + c->heartbeat_ms / 2 - now_ms, in = c->in_ms + c->silence_ms + 1 - now_ms;
    int64_t least = out < in ? out : in;
    int own = least < 0 ? 0 : (int)least;
    return ms < 0 || own < ms ? own : ms;
}
