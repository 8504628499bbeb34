#include "inner.h"

#include "backends/wrap.h"
#include "base/alloc.h"
#include "test.h"

#include <stdarg.h>

static void note(char *to, const char *format, ...) FERRY_PRINTF(2, 3);
static void note(char *to, const char *format, ...)
{
    size_t used = strlen(to);
    va_list args;
    used += (size_t)snprintf(to + used, RIG_TEXT - used, "%s", used ? ", " : "");
    va_start(args, format);
    vsnprintf(to + used, RIG_TEXT - used, format, args);
    va_end(args);
}

static const char *taken(char *text)
{
    const char *copy = test_text("%s", text);
    *text = '\0';
    return copy;
}

const char *rig_below(rig *r)
{
    return taken(r->below);
}

const char *rig_above(rig *r)
{
    return taken(r->above);
}

const char *rig_lines(rig *r)
{
    return taken(r->lines);
}

static unsigned first_byte(ferry__frame *f)
{
    return f->body.length ? *(unsigned char *)ferry__frame_body(f) : 0;
}

static int serial(const ferry__frame *f)
{
    return (int)f->id.serial;
}

/* ---- Below: the scripted transport ---------------------------------------------------------------------------------- */

#define BELOW(self, ...) note(((rig_inner *)(self))->rig->below, __VA_ARGS__)

static ferry_status in_open(void *self, ferry__up *up, const ferry__config *config, const ferry__url *url, char *why)
{
    rig_inner *in = self;
    in->up = up;
    CHECK_STR(config->ns, "ferry"); /* its own, not the decorator's */
    BELOW(self, "open %s", url->path);
    if (strcmp(url->path, "broken") != 0)
        return FERRY_OK;
    ferry__why(why, "it is broken");
    return FERRY_INVALID;
}

static void in_close(void *self)
{
    rig_inner *in = self;
    BELOW(self, "close");
    for (size_t i = 0; i < in->sent_count; i++)
        ferry__frame_unref(in->sent[i]);
    for (size_t i = 0; i < in->back_count; i++)
        ferry__frame_unref(in->back[i]);
    in->sent_count = in->back_count = 0;
}

static void in_abandon(void *self)
{
    in_close(self);
}

static ferry_status in_listen(void *self, ferry__source *source)
{
    BELOW(self, "listen %s", source->name);
    return FERRY_UNSUPPORTED;
}

static void in_unlisten(void *self, ferry__source *source)
{
    BELOW(self, "unlisten %s", source->name);
}

static void in_credit(void *self, ferry__source *source, int frames)
{
    BELOW(self, "credit %s %d", source->name, frames);
}

static void in_send(void *self, ferry__target *target, ferry__frame *frame)
{
    rig_inner *in = self;
    BELOW(self, "send%s %d body %02x", target ? "" : " reply", serial(frame), first_byte(frame));
    if (!target || frame->kind == FERRY__CONTROL || in->sent_count == RIG_FRAMES)
        ferry__frame_unref(frame);
    else
        in->sent[in->sent_count++] = frame;
}

static void in_flush(void *self)
{
    BELOW(self, "flush");
}

static void in_settle(void *self, ferry__frame *frame)
{
    BELOW(self, "settle %d", serial(frame));
    ((rig_inner *)self)->settled++;
    ferry__frame_unref(frame);
}

static void in_retry(void *self, ferry__frame *frame, int delay_ms)
{
    BELOW(self, "retry %d in %d", serial(frame), delay_ms);
    ferry__frame_unref(frame);
}

static void in_bury(void *self, ferry__frame *frame, const char *box, const void *record, size_t length)
{
    BELOW(self, "bury %d in %s %.*s", serial(frame), box, (int)length, (const char *)record);
    ferry__frame_unref(frame);
}

static void in_hand_back(void *self, ferry__frame *frame)
{
    rig_inner *in = self;
    BELOW(self, "hand_back %d", serial(frame));
    in->settled++;
    in->back[in->back_count++] = frame;
}

static void in_wait(void *self, int ms)
{
    BELOW(self, "wait %d", ms);
}

static void in_wake(void *self)
{
    BELOW(self, "wake");
}

static void in_step(void *self)
{
    BELOW(self, "step");
}

static void in_pump(void *self)
{
    rig_inner *in = self;
    BELOW(self, "pump");
    for (size_t i = 0; i < in->sent_count && !in->silent; i++) {
        in->up->outcome(in->up, in->sent[i], FERRY__ACCEPTED, FERRY_OK, NULL);
        ferry__frame_unref(in->sent[i]);
    }
    if (!in->silent)
        in->sent_count = 0;
    if (in->settled)
        in->up->settled(in->up, in->settled, FERRY_OK, NULL);
    in->settled = 0;
}

static void in_probe(void *self, ferry__target *target)
{
    BELOW(self, "probe %s", target->name);
}

static int in_next_ms(void *self, int64_t now_ms)
{
    (void)self, (void)now_ms;
    return 5000;
}

static int in_fd(void *self)
{
    BELOW(self, "fd");
    return 77;
}

static void in_withdraw(void *self, ferry__target *target, ferry__frame *frame)
{
    rig_inner *in = self;
    BELOW(self, "withdraw %d body %02x of %s", serial(frame), first_byte(frame), target->name);
    in->up->withdrawn(in->up, frame, true);
}

static void in_begin(void *self, ferry__frame *frame)
{
    BELOW(self, "begin %d", serial(frame));
}

static void in_touch(void *self, ferry__frame *frame)
{
    BELOW(self, "touch %d", serial(frame));
}

static void in_seek(void *self, ferry__source *source, const ferry__wish *to)
{
    BELOW(self, "seek %s %s", source->name, to->position);
}

static void in_admin(void *self, ferry__admin *admin)
{
    rig_inner *in = self;
    BELOW(self, "admin %d", (int)admin->ask);
    admin->count = 3;
    in->up->answered(in->up, admin);
}

static const ferry__abilities all = {in_withdraw, in_begin, in_touch, in_seek, in_admin};

#define PIPE                                                                                                     \
    .scheme = "mem", .state_size = sizeof(rig_inner), .open = in_open, .close = in_close, .abandon = in_abandon, \
    .listen = in_listen, .unlisten = in_unlisten, .credit = in_credit, .send = in_send, .flush = in_flush,       \
    .settle = in_settle, .retry = in_retry, .bury = in_bury, .hand_back = in_hand_back, .wait = in_wait,         \
    .wake = in_wake, .pump = in_pump, .probe = in_probe, .next_ms = in_next_ms, .fd = in_fd

static const ferry__backend able_one = {PIPE, .bits = FERRY__STEPS, .more = &all, .step = in_step};
static const ferry__backend bare_one = {PIPE};

/* ---- Above: a core that writes down --------------------------------------------------------------------------------- */

#define ABOVE(up, ...) note(((rig *)(void *)(up))->above, __VA_ARGS__)

static void on_frame(ferry__up *up, ferry__source *source, ferry__frame *frame)
{
    rig *r = (rig *)(void *)up;
    ABOVE(up, "frame %d from %s%s", serial(frame), source->name, frame->maybe ? " maybe" : "");
    r->received[r->received_count++] = frame;
}

static void on_outcome(ferry__up *up, ferry__frame *frame, ferry__fate fate, ferry_status status, const char *why)
{
    static const char *const fates[] = {"ACCEPTED", "REFUSED", "LOST"};
    CHECK(status == FERRY_OK || (why && *why));
    CHECK(frame->owner == up); /* the core's own frame, never a copy */
    ABOVE(up, "outcome %d %s %s", serial(frame), fates[fate], ferry_status_name(status));
}

static void on_settled(ferry__up *up, size_t how_many, ferry_status status, const char *why)
{
    (void)why;
    ABOVE(up, "settled %zu %s", how_many, ferry_status_name(status));
}

static void on_withdrawn(ferry__up *up, ferry__frame *frame, bool yes)
{
    CHECK(frame->owner == up);
    ABOVE(up, "withdrawn %d %s", serial(frame), yes ? "yes" : "no");
}

static void on_probed(ferry__up *up, ferry__target *target, ferry__presence presence)
{
    ABOVE(up, "probed %s %d", target->name, (int)presence);
}

static void on_state(ferry__up *up, ferry__state state, ferry_status why, const char *text)
{
    static const char *const states[] = {"DOWN", "UP", "BLOCKED"};
    ABOVE(up, "state %s %s [%s]", states[state], ferry_status_name(why), text ? text : "");
}

static void on_answered(ferry__up *up, ferry__admin *admin)
{
    ABOVE(up, "answered %s %d [%s]", ferry_status_name(admin->status), (int)admin->count, admin->why);
}

static void on_line(int level, const char *line, void *arg)
{
    rig *r = arg;
    size_t used = strlen(r->lines);
    CHECK_INT(level, LOG_DEBUG);
    snprintf(r->lines + used, RIG_TEXT - used, "%s\n", line);
}

/* ---- The rig -------------------------------------------------------------------------------------------------------- */

static const ferry__backend *named(const char *word, size_t length)
{
    CHECK((length == 5 && memcmp(word, "trace", 5) == 0) || memcmp(word, "fault", 5) == 0);
    return *word == 't' ? &ferry__trace_backend : &ferry__fault_backend;
}

ferry_status rig_open(rig *r, const char *url, bool able)
{
    static const ferry__up up = {.frame = on_frame,
                                 .outcome = on_outcome,
                                 .settled = on_settled,
                                 .withdrawn = on_withdrawn,
                                 .probed = on_probed,
                                 .state = on_state,
                                 .answered = on_answered};
    char why[FERRY_WHY_SIZE] = "";
    memset(r, 0, sizeof *r);
    if (ferry__url_parse(&r->url, url, why) == FERRY_NO_MEMORY)
        return FERRY_NO_MEMORY;
    r->up = up;
    r->log = (ferry__log){on_line, r};
    r->up.log = &r->log;
    r->target = (ferry__target){.lane = FERRY__CALLS, .name = "calc"};
    r->source = (ferry__source){.lane = FERRY__POSTS, .name = "mail"};
    r->inner.rig = r;
    r->base = (ferry__config){.ns = "ferry"};
    r->config =
        (ferry__config){.inner = able ? &able_one : &bare_one, .inner_self = &r->inner, .inner_config = &r->base};
    const char *plus = strchr(r->url.decorators, '+');
    if (plus) { /* the second one of two is the inner one */
        const ferry__backend *second = named(plus + 1, strlen(plus + 1));
        r->wrapped = r->config;
        r->middle = ferry__zalloc(second->state_size);
        r->config = (ferry__config){.inner = second, .inner_self = r->middle, .inner_config = &r->wrapped};
        CHECK(second != named(r->url.decorators, (size_t)(plus - r->url.decorators)));
    }
    r->outer = named(r->url.decorators, strcspn(r->url.decorators, "+"));
    const ferry__setting *tables[] = {ferry__fault_backend.settings};
    CHECK_STATUS(ferry__url_check(&r->url, tables, 1, why), FERRY_OK);
    r->self = ferry__zalloc(r->outer->state_size);
    if (!r->self)
        return FERRY_NO_MEMORY;
    ferry_status status = r->outer->open(r->self, &r->up, &r->config, &r->url, why);
    CHECK((status != FERRY_OK) == (*why != '\0'));
    return status;
}

void rig_close(rig *r)
{
    if (r->self)
        r->outer->close(r->self);
    for (size_t i = 0; i < r->received_count; i++)
        ferry__frame_unref(r->received[i]);
    ferry__free(r->self);
    ferry__free(r->middle);
    ferry__url_done(&r->url);
}

ferry__frame *rig_frame(ferry__kind kind, uint64_t number)
{
    ferry__frame *f = ferry__frame_new(kind, &(ferry__parts){.route = kind == FERRY__REPLY ? NULL : "calc.add",
                                                             .key = "k-secret",
                                                             .body = "\xc0 a body",
                                                             .body_length = 8});
    if (!f)
        return NULL;
    f->verb = kind == FERRY__CALL ? FERRY_GET : kind == FERRY__POST ? FERRY_POST : 0;
    memset(f->id.client, 0xab, sizeof f->id.client);
    f->id.serial = number;
    return f;
}

bool rig_send(rig *r, ferry__kind kind, uint64_t number)
{
    ferry__frame *f = rig_frame(kind, number);
    if (!f)
        return false;
    f->owner = r;
    r->outer->send(r->self, kind == FERRY__REPLY ? NULL : &r->target, f);
    return true;
}

void rig_arrive(rig *r, ferry__frame *frame)
{
    frame->from = &r->source;
    r->inner.up->frame(r->inner.up, &r->source, frame);
}

void rig_turn(rig *r)
{
    r->outer->flush(r->self);
    r->outer->step(r->self);
    r->outer->pump(r->self);
}
