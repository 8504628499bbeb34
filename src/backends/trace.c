/* trace.c - "trace+mem:name": one line for every frame that passes, in either direction, to the log callback at LOG_DEBUG.
 *
 *     trace: send call calc.add get 1a2b3c4d-7, 64 bytes, 29998 ms left
 *     trace: outcome call calc.add get 1a2b3c4d-7, 64 bytes, 29997 ms left: ACCEPTED
 *     trace: frame reply 1a2b3c4d-7 OK, 12 bytes
 *
 * Routes, verbs, ids and sizes; never a body, a header or a key. Lines are made only while somebody listens. */
#include "backends/wrap.h"

#include "base/clock.h"

#include <inttypes.h>
#include <string.h>

#define SAY(wrap, ...) ferry__log_print((wrap)->outer->log, LOG_DEBUG, "trace: " __VA_ARGS__)

enum { LINE = 400 };

static bool heard(const ferry__wrap *w)
{
    return w->outer->log->line != NULL;
}

/* ---- Words ---------------------------------------------------------------------------------------------------------- */

#define WORD(list, at) ((size_t)(at) < sizeof(list) / sizeof(list)[0] && (list)[at] ? (list)[at] : "?")

static const char *const kinds[] = {
    [FERRY__CALL] = "call",       [FERRY__REPLY] = "reply", [FERRY__POST] = "post", [FERRY__EVENT] = "event",
    [FERRY__CONTROL] = "control", [FERRY__CHUNK] = "chunk", [FERRY__END] = "end"};
static const char *const lanes[] = {"calls", "posts", "replies", "controls", "events"};
static const char *const fates[] = {"ACCEPTED", "REFUSED", "LOST"};
static const char *const presences[] = {"NEVER", "GONE", "ALIVE"};
static const char *const states[] = {"DOWN", "UP", "BLOCKED"};
static const char *const asks[] = {"dead.list",    "dead.remove", "topic.list", "topic.create", "topic.describe",
                                   "topic.delete", "topic.purge", "lag",        "doctor"};

static const char *verb_name(unsigned verb)
{
    static const char *const names[] = {" get", " put", " patch", " post", " delete"};
    for (unsigned i = 0; i < 5; i++)
        if (verb == 1u << i)
            return names[i];
    return "";
}

/* The first bytes of the client tell handles apart well enough. */
static void describe(const ferry__frame *f, char to[LINE])
{
    char left[40] = "", number[32] = "";
    const unsigned char *c = f->id.client;
    bool reply = f->kind == FERRY__REPLY;
    if (f->deadline_ms)
        snprintf(left, sizeof left, ", %" PRId64 " ms left", f->deadline_ms - ferry__now_ms());
    if (f->attempt)
        snprintf(number, sizeof number, ", attempt %" PRIu32, f->attempt + 1);
    snprintf(to, LINE, "%s%s%s%s %02x%02x%02x%02x-%" PRIx64 "%s%s, %" PRIu32 " bytes%s%s%s", WORD(kinds, f->kind),
             f->route.at ? " " : "", ferry__frame_text(f, f->route), verb_name(f->verb), c[0], c[1], c[2], c[3],
             f->id.serial, reply ? " " : "", reply ? ferry_status_name((ferry_status)f->status) : "", f->body.length,
             left, number, f->maybe ? ", may have been started before" : "");
}

static void say_frame(const ferry__wrap *w, const char *what, const ferry__frame *f, const char *rest)
{
    char text[LINE];
    if (!heard(w))
        return;
    describe(f, text);
    SAY(w, "%s %s%s", what, text, rest);
}

static void say_source(const ferry__wrap *w, const char *what, const ferry__source *s, const char *rest)
{
    SAY(w, "%s %s%s%s%s", what, WORD(lanes, s->lane), s->name ? " of " : "", s->name ? s->name : "", rest);
}

/* ": UNAVAILABLE (why)", or nothing when all is well. */
static const char *reason(ferry_status status, const char *why, char to[LINE])
{
    snprintf(to, LINE, "%s%s%s%s%s", status ? " " : "", status ? ferry_status_name(status) : "",
             why && *why ? " (" : "", why ? why : "", why && *why ? ")" : "");
    return to;
}

/* ---- Upcalls -------------------------------------------------------------------------------------------------------- */

static ferry__wrap *of(ferry__up *up)
{
    return (ferry__wrap *)(void *)up;
}

static void on_frame(ferry__up *up, ferry__source *source, ferry__frame *frame)
{
    say_frame(of(up), "frame", frame, "");
    of(up)->outer->frame(of(up)->outer, source, frame);
}

static void on_outcome(ferry__up *up, ferry__frame *frame, ferry__fate fate, ferry_status status, const char *why)
{
    char text[LINE], rest[LINE + 16];
    if (heard(of(up))) {
        snprintf(rest, sizeof rest, ": %s%s", WORD(fates, fate), reason(status, why, text));
        say_frame(of(up), "outcome", frame, rest);
    }
    of(up)->outer->outcome(of(up)->outer, frame, fate, status, why);
}

static void on_settled(ferry__up *up, size_t how_many, ferry_status status, const char *why)
{
    char text[LINE];
    if (heard(of(up)))
        SAY(of(up), "settled %zu:%s", how_many, status || (why && *why) ? reason(status, why, text) : " OK");
    of(up)->outer->settled(of(up)->outer, how_many, status, why);
}

static void on_withdrawn(ferry__up *up, ferry__frame *frame, bool yes)
{
    say_frame(of(up), "withdrawn", frame, yes ? ": yes" : ": no");
    of(up)->outer->withdrawn(of(up)->outer, frame, yes);
}

static void on_probed(ferry__up *up, ferry__target *target, ferry__presence presence)
{
    SAY(of(up), "probed %s of %s: %s", WORD(lanes, target->lane), target->name, WORD(presences, presence));
    of(up)->outer->probed(of(up)->outer, target, presence);
}

static void on_state(ferry__up *up, ferry__state state, ferry_status why, const char *text)
{
    char rest[LINE];
    SAY(of(up), "state %s%s", WORD(states, state), reason(why, text, rest));
    of(up)->outer->state(of(up)->outer, state, why, text);
}

static void on_answered(ferry__up *up, ferry__admin *admin)
{
    SAY(of(up), "answered %s: %s, count %" PRId64, WORD(asks, admin->ask), ferry_status_name(admin->status),
        admin->count);
    of(up)->outer->answered(of(up)->outer, admin);
}

static void on_ready(ferry__up *up, ferry__source *source)
{
    SAY(of(up), "ready %s", source->name);
    of(up)->outer->ready(of(up)->outer, source);
}

static void on_caught_up(ferry__up *up, ferry__source *source)
{
    SAY(of(up), "caught up %s", source->name);
    of(up)->outer->caught_up(of(up)->outer, source);
}

static void on_broken(ferry__up *up, ferry__source *source, ferry_status status, const char *why)
{
    SAY(of(up), "broken %s: %s: %s", source->name, ferry_status_name(status), why);
    of(up)->outer->broken(of(up)->outer, source, status, why);
}

static const ferry__up upcalls = {.frame = on_frame,
                                  .outcome = on_outcome,
                                  .settled = on_settled,
                                  .withdrawn = on_withdrawn,
                                  .probed = on_probed,
                                  .state = on_state,
                                  .answered = on_answered,
                                  .ready = on_ready,
                                  .caught_up = on_caught_up,
                                  .broken = on_broken};

/* ---- Slots ---------------------------------------------------------------------------------------------------------- */

static ferry_status trace_open(void *self, ferry__up *up, const ferry__config *config, const ferry__url *url, char *why)
{
    char reasons[FERRY_WHY_SIZE] = "", text[LINE];
    ferry_status status = ferry__wrap_open(self, &upcalls, up, config, url, reasons);
    ferry__why(why, "%s", reasons);
    SAY((ferry__wrap *)self, "open %s:%s", url->shown, status ? reason(status, reasons, text) : " OK");
    return status;
}

static void trace_close(void *self)
{
    ferry__wrap *w = self;
    if (w->outer)
        SAY(w, "close");
    ferry__wrap_close(self);
}

static ferry_status trace_listen(void *self, ferry__source *source)
{
    ferry_status status = ferry__wrap_listen(self, source);
    char text[40];
    snprintf(text, sizeof text, ": %s", ferry_status_name(status));
    say_source(self, "listen", source, text);
    return status;
}

static void trace_unlisten(void *self, ferry__source *source)
{
    say_source(self, "unlisten", source, "");
    ferry__wrap_unlisten(self, source);
}

static void trace_credit(void *self, ferry__source *source, int frames)
{
    char text[24];
    snprintf(text, sizeof text, ": %d", frames);
    say_source(self, "credit", source, text);
    ferry__wrap_credit(self, source, frames);
}

static void trace_send(void *self, ferry__target *target, ferry__frame *frame)
{
    say_frame(self, "send", frame, "");
    ferry__wrap_send(self, target, frame);
}

static void trace_settle(void *self, ferry__frame *frame)
{
    say_frame(self, "settle", frame, "");
    ferry__wrap_settle(self, frame);
}

static void trace_retry(void *self, ferry__frame *frame, int delay_ms)
{
    char text[40];
    snprintf(text, sizeof text, ": in %d ms", delay_ms);
    say_frame(self, "retry", frame, text);
    ferry__wrap_retry(self, frame, delay_ms);
}

static void trace_bury(void *self, ferry__frame *frame, const char *box, const void *record, size_t length)
{
    char text[LINE];
    snprintf(text, sizeof text, ": in %s, a record of %zu bytes", box, length);
    say_frame(self, "bury", frame, text);
    ferry__wrap_bury(self, frame, box, record, length);
}

static void trace_hand_back(void *self, ferry__frame *frame)
{
    say_frame(self, "hand back", frame, "");
    ferry__wrap_hand_back(self, frame);
}

static void trace_probe(void *self, ferry__target *target)
{
    SAY((ferry__wrap *)self, "probe %s of %s", WORD(lanes, target->lane), target->name);
    ferry__wrap_probe(self, target);
}

static void trace_withdraw(void *self, ferry__target *target, ferry__frame *frame)
{
    say_frame(self, "withdraw", frame, "");
    ferry__wrap_withdraw(self, target, frame);
}

static void trace_begin(void *self, ferry__frame *frame)
{
    say_frame(self, "begin", frame, "");
    ferry__wrap_begin(self, frame);
}

static void trace_touch(void *self, ferry__frame *frame)
{
    say_frame(self, "touch", frame, "");
    ferry__wrap_touch(self, frame);
}

static void trace_seek(void *self, ferry__source *source, const ferry__wish *to)
{
    say_source(self, "seek", source, "");
    ferry__wrap_seek(self, source, to);
}

static void trace_admin(void *self, ferry__admin *admin)
{
    SAY((ferry__wrap *)self, "admin %s %s", WORD(asks, admin->ask), admin->name ? admin->name : "");
    ferry__wrap_admin(self, admin);
}

static const ferry__abilities abilities = {
    .withdraw = trace_withdraw, .begin = trace_begin, .touch = trace_touch, .seek = trace_seek, .admin = trace_admin};

static const ferry__setting settings[] = {{.name = NULL}};

const ferry__backend ferry__trace_backend = {
    .scheme = "trace",
    .about = "logs every frame that passes to and from the transport behind it",
    .state_size = sizeof(ferry__wrap),
    .settings = settings,
    .more = &abilities,
    .open = trace_open,
    .close = trace_close,
    .abandon = ferry__wrap_abandon,
    .listen = trace_listen,
    .unlisten = trace_unlisten,
    .credit = trace_credit,
    .send = trace_send,
    .flush = ferry__wrap_flush,
    .settle = trace_settle,
    .retry = trace_retry,
    .bury = trace_bury,
    .hand_back = trace_hand_back,
    .wait = ferry__wrap_wait,
    .wake = ferry__wrap_wake,
    .step = ferry__wrap_step,
    .pump = ferry__wrap_pump,
    .probe = trace_probe,
    .next_ms = ferry__wrap_next_ms,
    .fd = ferry__wrap_fd,
};
