/* event_token.c - the position of a group that reads a stream, as a message that its reader holds: see event_stream.h. */
#include "backends/amqp/event_stream.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- sending -------------------------------------------------------------------------------------------------------- */

static void token_queue(const ferry__amqp *a, char to[FERRY__AMQP_NAME], const ferry__amqp_feed *d)
{
    ferry__amqp_queue_name(a, to, d->box, strlen(d->box), "at", 0);
}

static bool send_token(ferry__amqp *a, ferry__amqp_feed *d, const char *body)
{
    char queue[FERRY__AMQP_NAME];
    token_queue(a, queue, d);
    ferry__frame *f =
        ferry__frame_new(FERRY__EVENT, &(ferry__parts){.route = "~at", .body = body, .body_length = strlen(body)});
    if (!f)
        return false;
    memcpy(f->id.client, a->config->client, sizeof f->id.client);
    f->tag[1] = (uint64_t)a->epoch << 32 | (uint64_t)d->channel << 24 | d->number;
    bool sent = ferry__amqp_stream_publish(a, queue, f, true);
    ferry__amqp_queue_name(a, queue, d->box, strlen(d->box), "position", 0);
    if (sent)
        ferry__amqp_stream_publish(a, queue, f, false); /* for those who ask: the token itself can be read by one only */
    ferry__frame_unref(f);
    return sent;
}

/* What is finished behind `next`: " 7,9-12". What does not fit comes again. */
static void print_over(const ferry__amqp_stream *s, char *to, size_t size)
{
    char one[48];
    size_t length = 0;
    for (uint64_t n = s->base, last; n < s->top; n = last + 1) {
        last = n;
        if (!ferry__amqp_stream_entry(s, n)->done)
            continue;
        while (last + 1 < s->top && ferry__amqp_stream_entry(s, last + 1)->done)
            last++;
        size_t more =
            (size_t)snprintf(one, sizeof one, "%c%" PRIu64 "-%" PRIu64, length ? ',' : ' ',
                             ferry__amqp_stream_entry(s, n)->offset, ferry__amqp_stream_entry(s, last)->offset);
        if (length + more + 1 > size)
            return;
        memcpy(to + length, one, more + 1);
        length += more;
    }
}

bool ferry__amqp_token_commit(ferry__amqp *a, ferry__amqp_feed *d, bool clean)
{
    ferry__amqp_stream *s = d->stream;
    char body[sizeof((ferry__amqp_token *)0)->body];
    if (s->from != FERRY_FROM_POSITION)
        return false;
    int n = snprintf(body, sizeof body, "%" PRIu64 " %s %" PRIu64, s->generation, clean ? "clean" : "next", s->next);
    print_over(s, body + n, sizeof body - (size_t)n);
    if (!send_token(a, d, body))
        return false;
    s->committing = true;
    s->committed = s->next;
    s->commit_ms = 0;
    s->clean = clean;
    return true;
}

/* The first token of a group; a NEW one needs to know where the log ends, so that comes first. */
void ferry__amqp_token_found(ferry__amqp *a, ferry__amqp_feed *d)
{
    char body[64];
    ferry__amqp_stream *s = d->stream;
    if (s->from == FERRY_FROM_EARLIEST)
        snprintf(body, sizeof body, "%" PRIu64 " first", s->generation);
    else if (s->from == FERRY_FROM_TIME)
        snprintf(body, sizeof body, "%" PRIu64 " time %" PRId64, s->generation, s->time_ms);
    else
        snprintf(body, sizeof body, "%" PRIu64 " next %" PRIu64, s->generation, s->next);
    if (!send_token(a, d, body))
        ferry__amqp_fail(a, FERRY_NO_MEMORY, "no room for the position of a group");
}

/* ---- their queues --------------------------------------------------------------------------------------------------- */

static void declare_position(ferry__amqp *a, const ferry__amqp_feed *d)
{
    char queue[FERRY__AMQP_NAME];
    amqp_table_entry_t arguments[] = {ferry__amqp_text_argument("x-queue-type", "classic"),
                                      ferry__amqp_big_argument("x-max-length", 1)};
    ferry__amqp_queue_name(a, queue, d->box, strlen(d->box), "position", 0);
    amqp_queue_declare_t m = {.queue = ferry__amqp_text(queue), .durable = 1, .nowait = 1, .arguments = {2, arguments}};
    ferry__amqp_say(&a->in, d->channel, AMQP_QUEUE_DECLARE_METHOD, &m);
}

void ferry__amqp_token_declare(ferry__amqp *a, const ferry__amqp_feed *d)
{
    char tokens[FERRY__AMQP_NAME];
    amqp_table_entry_t durable[3];
    int n = ferry__amqp_durable_type(a, durable);
    durable[n] = ferry__amqp_yes("x-single-active-consumer");
    token_queue(a, tokens, d);
    amqp_queue_declare_t m = {.queue = ferry__amqp_text(tokens), .durable = 1, .arguments = {n + 1, durable}};
    ferry__amqp_say(&a->in, d->channel, AMQP_QUEUE_DECLARE_METHOD, &m);
    declare_position(a, d);
}

void ferry__amqp_token_consume(ferry__amqp *a, ferry__amqp_feed *d)
{
    char queue[FERRY__AMQP_NAME], tag[64];
    token_queue(a, queue, d);
    snprintf(tag, sizeof tag, "t%u.0", d->number);
    ferry__amqp_stream_sync(a, d, 64);
    ferry__amqp_consume(a, &a->in, d->channel, queue, tag, false);
}

void ferry__amqp_stream_stored(ferry__amqp *a, const ferry__frame *f, bool accepted)
{
    ferry__amqp_feed *d = ferry__amqp_feed_of(a, f);
    if (!d || !d->stream || (uint32_t)(f->tag[1] >> 32) != a->epoch || a->phase != FERRY__AMQP_UP)
        return;
    if (!accepted)
        ferry__amqp_fail(a, FERRY_UNAVAILABLE, "the broker did not take the position of a group");
    else if (d->stream->founding) {
        d->stream->founding = false;
        ferry__amqp_stream_ready(a, d);
    }
}

/* ---- reading --------------------------------------------------------------------------------------------------------- */

bool ferry__amqp_token_read(const ferry__frame *f, ferry__amqp_token *t)
{
    char word[8] = "";
    unsigned long long number = 0, generation = 0;
    int length = 0;
    size_t n = f->body.length < sizeof t->body - 1 ? f->body.length : sizeof t->body - 1;
    *t = (ferry__amqp_token){.from = FERRY_FROM_POSITION};
    memcpy(t->body, f->data + f->body.at, n);
    int read = sscanf(t->body, "%20llu %7s %20llu%n", &generation, word, &number, &length);
    t->over = t->body + length;
    t->generation = generation;
    t->next = number;
    t->time_ms = (int64_t)number;
    t->clean = strcmp(word, "clean") == 0;
    if (strcmp(word, "first") == 0)
        t->from = FERRY_FROM_EARLIEST;
    else if (strcmp(word, "time") == 0)
        t->from = FERRY_FROM_TIME;
    return read == 3 || (read == 2 && t->from == FERRY_FROM_EARLIEST);
}

/* Without memory for them they come again. */
static void take_over(ferry__amqp_stream *s, const char *text_)
{
    size_t most = 1;
    for (const char *c = text_; *c; c++)
        most += *c == ',';
    ferry__free(s->over);
    s->overs = 0;
    s->over = *text_ == ' ' ? ferry__alloc(most * sizeof *s->over) : NULL;
    for (const char *c = s->over ? text_ + 1 : ""; *c && s->overs < most; c += *c == ',') {
        char *end;
        uint64_t first = strtoull(c, &end, 10), last = *end == '-' ? strtoull(end + 1, &end, 10) : first;
        if (end == c)
            return;
        s->over[s->overs++] = (ferry__amqp_span){first, last};
        c = end;
    }
}

static bool ahead(const ferry__amqp_stream *s, const ferry__amqp_token *t)
{
    if (!s->owner || t->generation != s->generation)
        return !s->owner || t->generation > s->generation;
    return t->from == FERRY_FROM_POSITION && (s->from != FERRY_FROM_POSITION || t->next > s->next);
}

static void own(ferry__amqp *a, ferry__amqp_feed *d, const ferry__amqp_token *t)
{
    ferry__amqp_stream *s = d->stream;
    ferry__amqp_stream_detach(a, d);
    s->owner = true;
    s->founding = false;
    s->at_end = s->founded && t->next == s->next;
    s->end = s->at_end ? t->next - 1 : 0;
    s->generation = t->generation;
    s->from = t->from;
    s->time_ms = t->from == FERRY_FROM_TIME ? t->time_ms : 0;
    s->next = s->committed = t->next;
    take_over(s, t->over);
    s->doubtful = t->from == FERRY_FROM_POSITION && !t->clean && t->next ? t->next + a->prefetch : 0;
    ferry__amqp_stream_attach(a, d);
}

void ferry__amqp_stream_token(ferry__amqp *a, ferry__amqp_feed *d, ferry__amqp_inbound *in)
{
    ferry__amqp_stream *s = d->stream;
    ferry__amqp_token t;
    bool good = in->frame && ferry__amqp_token_read(in->frame, &t);
    ferry__frame_unref(in->frame);
    if (!good || !s) {
        ferry__amqp_tag_settle(a, d->channel, in->tag);
        return;
    }
    bool saved = (s->committing && t.generation == s->generation && t.next == s->committed) ||
                 (s->owner && t.generation == s->generation && t.generation > s->token_generation);
    bool better = !saved && d->source && ahead(s, &t);
    if (!saved && !better && s->token) {
        ferry__amqp_tag_settle(a, d->channel, in->tag);
        return;
    }
    if (s->token)
        ferry__amqp_tag_settle(a, d->channel, s->token);
    s->token = in->tag;
    s->token_generation = t.generation;
    s->committing = s->committing && !saved;
    if (better)
        own(a, d, &t);
}

bool ferry__amqp_stream_saved(ferry__amqp *a, ferry__amqp_feed *d)
{
    ferry__amqp_stream *s = d->stream;
    if (!s || !s->owner || d->broken || s->from != FERRY_FROM_POSITION)
        return true;
    if (!s->committing && (s->committed != s->next || !s->clean))
        ferry__amqp_token_commit(a, d, true);
    return !s->committing && s->committed == s->next && s->clean;
}
