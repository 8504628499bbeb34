/* inbox.c - our own replies.
 *
 * By stream: a key of our own, made before the first call and kept alive by us while we live; servers write to it only if it is
 * there, so nothing is left behind for a client that died. Read by id, so what came while the link was down is read afterwards.
 * By pub/sub (?reply=pubsub): a channel of our own on S; what comes while the link is down is lost. */
#include "backends/redis/event.h"

#include <string.h>

enum { READ_MOST = 512, TRIM_EACH = 64 };

void redis__inbox_init(redis__pipe *p)
{
    static const char digits[] = "0123456789abcdef";
    char client[33];
    for (int i = 0; i < 16; i++) {
        client[2 * i] = digits[p->config->client[i] >> 4];
        client[2 * i + 1] = digits[p->config->client[i] & 15];
    }
    client[32] = '\0';
    snprintf(p->inbox, sizeof p->inbox, "%s:r:%s", p->config->ns, client);
}

/* ---- By stream ------------------------------------------------------------------------------------------------------ */

/* A key that was made anew may count from below where we were: then all in it is new. */
static void made(redis__pipe *p, redis__want *w, const redis__value *v)
{
    uint64_t ms, seq;
    (void)w;
    p->inbox_asked = false;
    if (!v || redis__forgotten(p, REDIS__INBOX, v)) {
        p->inbox_fresh_ms = 0;
        return;
    }
    if (v->type == REDIS__ERROR) {
        ferry__log_print(p->up->log, LOG_ERR, "no replies can be received: Redis says: %s", v->text);
        return;
    }
    redis__entry_id(redis__text(v), &ms, &seq);
    if (ms < p->inbox_ms || (ms == p->inbox_ms && seq < p->inbox_seq))
        p->inbox_ms = p->inbox_seq = 0;
    p->inbox_there = true;
    if (p->conns[REDIS__Q].state == REDIS__OFF && !redis__conn_open(&p->conns[REDIS__Q]))
        redis__link_fail(p, FERRY_NO_MEMORY, "out of memory");
}

/* Before each call: it is in the same write, so the key is there when a server answers. */
void redis__inbox_ensure(redis__pipe *p)
{
    bool fresh = p->inbox_fresh_ms && p->now_ms - p->inbox_fresh_ms < p->reply_ttl_ms / 3;
    if (p->pubsub || p->inbox_asked || fresh)
        return;
    ferry__buf *b = &p->conns[REDIS__W].out;
    redis__call(p, REDIS__INBOX, 1, 1);
    redis__word(b, p->inbox);
    redis__word_number(b, p->reply_ttl_ms);
    redis__ask(&p->conns[REDIS__W], made, NULL, 0);
    p->inbox_asked = p->inbox_used = true;
    p->inbox_fresh_ms = p->now_ms;
}

static void hand_up(redis__pipe *p, ferry__frame *f)
{
    if (f) {
        f->from = p->replies_to;
        p->up->frame(p->up, p->replies_to, f);
    } else
        ferry__log_print(p->up->log, LOG_WARNING, "a reply that cannot be read was dropped");
}

static void read_entries(redis__pipe *p, const redis__value *entries)
{
    for (size_t i = 0; entries && i < entries->count; i++) {
        const redis__value *e = redis__at(entries, i);
        ferry_status why;
        redis__entry_id(redis__text(redis__at(e, 0)), &p->inbox_ms, &p->inbox_seq);
        p->inbox_read++;
        hand_up(p, redis__wire_read_reply(redis__at(e, 1), p->config->client, &why));
    }
}

static void trim(redis__pipe *p)
{
    redis__conn *w = &p->conns[REDIS__W];
    if (p->inbox_read < TRIM_EACH || w->state != REDIS__READY)
        return;
    p->inbox_read = 0;
    redis__words(&w->out, 4);
    redis__word(&w->out, "XTRIM");
    redis__word(&w->out, p->inbox);
    redis__word(&w->out, "MINID");
    redis__word_entry(&w->out, p->inbox_ms, p->inbox_seq);
    redis__ask_lazily(w, redis__ignore, NULL, 0);
}

static void got(redis__pipe *p, redis__want *w, const redis__value *v)
{
    (void)w;
    p->conns[REDIS__Q].reading = false;
    if (!v)
        return;
    if (v->type == REDIS__ERROR) {
        redis__link_fail(p, FERRY_UNAVAILABLE, "Redis says: %.200s", v->text);
        return;
    }
    read_entries(p, redis__at(redis__at(v, 0), 1));
    trim(p);
}

void redis__inbox_read(redis__pipe *p)
{
    redis__conn *q = &p->conns[REDIS__Q];
    if (q->state != REDIS__READY || q->reading || !p->inbox_there)
        return;
    redis__words(&q->out, 8);
    redis__word(&q->out, "XREAD");
    redis__word(&q->out, "COUNT");
    redis__word_number(&q->out, READ_MOST);
    redis__word(&q->out, "BLOCK");
    redis__word_number(&q->out, REDIS__BLOCK_MS);
    redis__word(&q->out, "STREAMS");
    redis__word(&q->out, p->inbox);
    redis__word_entry(&q->out, p->inbox_ms, p->inbox_seq);
    q->reading = true;
    redis__ask(q, got, NULL, 0);
    q->limit_ms = p->now_ms + REDIS__BLOCK_MS + p->dead_ms;
}

/* ---- What is published ---------------------------------------------------------------------------------------------- */

void redis__subscribe(redis__pipe *p, const char *channel)
{
    redis__conn *s = &p->conns[REDIS__S];
    if (s->state == REDIS__READY)
        redis__command(&s->out, "SUBSCRIBE", channel, NULL);
}

static redis__service *service_of(redis__pipe *p, const char *channel)
{
    for (redis__service *s = p->services; s; s = s->next) {
        size_t length = strlen(s->prefix);
        if (strncmp(channel, s->prefix, length) == 0 && strcmp(channel + length, "ctl") == 0)
            return s;
    }
    return NULL;
}

enum { CANCELS = 16 };

static void hand_cancel(redis__pipe *p, redis__service *s, const ferry__id *id)
{
    ferry__source *source = s->source[2];
    ferry__frame *f = source ? ferry__frame_new(FERRY__CONTROL, &(ferry__parts){.route = s->name}) : NULL;
    if (!f)
        return; /* best effort */
    f->id = *id;
    f->from = source;
    p->up->frame(p->up, source, f);
}

static void cancelled(redis__pipe *p, redis__service *s, const char *text)
{
    ferry__id id;
    if (!ferry__id_parse(text, &id))
        return;
    s->cancels[s->cancels_count++ % CANCELS] = id;
    hand_cancel(p, s, &id);
}

void redis__inbox_cancelled(redis__pipe *p, redis__service *s, const ferry__id *id)
{
    size_t n = s->cancels_count < CANCELS ? s->cancels_count : CANCELS;
    for (size_t i = 0; i < n; i++)
        if (s->cancels[i].serial == id->serial && memcmp(s->cancels[i].client, id->client, 16) == 0) {
            hand_cancel(p, s, id);
            return;
        }
}

static void told(redis__pipe *p, redis__service *s, const char *text)
{
    if (strncmp(text, "cancel ", 7) == 0 && strlen(text) < FERRY__ID_TEXT + 7)
        cancelled(p, s, text + 7);
    else if (strcmp(text, "back") == 0) {
        s->calls.hint = true;
        s->posts[0].hint = true;
        if (s->group)
            redis__group_lane(s->group, 0)->hint = true;
    } else if (strcmp(text, "look") == 0)
        s->renew_ms = p->now_ms;
    p->work = true;
}

void redis__inbox_message(redis__pipe *p, const redis__value *v)
{
    const char *kind = redis__text(redis__at(v, 0)), *channel = redis__text(redis__at(v, 1));
    const redis__value *payload = redis__at(v, 2);
    if (v->type == REDIS__ERROR)
        ferry__log_print(p->up->log, LOG_ERR, "cancellations and news are not received: Redis says: %s", v->text);
    else if (strcmp(kind, "subscribe") == 0 && strcmp(channel, p->inbox) == 0)
        p->inbox_there = true;
    else if (strcmp(kind, "message") != 0 || !payload || payload->type != REDIS__TEXT)
        return;
    else if (strcmp(channel, p->inbox) == 0)
        hand_up(p, redis__wire_read_published(payload->text, payload->count, p->config->client));
    else {
        redis__service *s = service_of(p, channel);
        if (s)
            told(p, s, payload->text);
    }
}
