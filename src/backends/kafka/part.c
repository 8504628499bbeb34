#include "backends/kafka/part.h"

#include "base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATE = 7, ATTEMPT = 8, ATTEMPTS_MAX = 31, FIRST_SIZE = 256, GIVEN_MAX = 64 /* in one commit */ };

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static uint8_t *cell(const ferry__kafka_part *p, int64_t offset)
{
    return &p->ring[(uint64_t)offset & (p->size - 1)];
}

static bool known(const ferry__kafka_part *p, int64_t offset)
{
    return offset >= p->base && offset < p->top;
}

int ferry__part_state(const ferry__kafka_part *p, int64_t offset)
{
    return offset < p->base ? FERRY__PART_DONE : known(p, offset) ? *cell(p, offset) & STATE : FERRY__PART_NEW;
}

static bool grow(ferry__kafka_part *p, size_t span)
{
    size_t size = p->size ? p->size : FIRST_SIZE;
    while (size < span)
        size *= 2;
    if (size == p->size)
        return true;
    uint8_t *ring = ferry__zalloc(size);
    if (!ring)
        return false;
    for (int64_t o = p->base; o < p->top; o++)
        ring[(uint64_t)o & (size - 1)] = *cell(p, o);
    ferry__free(p->ring);
    p->ring = ring;
    p->size = size;
    return true;
}

static bool extend(ferry__kafka_part *p, int64_t top)
{
    if (top <= p->top)
        return true;
    if (!grow(p, (size_t)(top - p->base)))
        return false;
    for (; p->top < top; p->top++)
        *cell(p, p->top) = FERRY__PART_NEW;
    return true;
}

static void advance(ferry__kafka_part *p)
{
    while (p->base < p->top && (*cell(p, p->base) & STATE) == FERRY__PART_DONE)
        p->base++;
    if (p->read < p->base)
        p->read = p->base;
}

void ferry__part_set(ferry__kafka_part *p, int64_t offset, int state)
{
    if (!known(p, offset))
        return;
    uint8_t *at = cell(p, offset);
    if ((*at & STATE) == FERRY__PART_GIVEN)
        *at = 0; /* what stood above the state was the giver */
    if (state == FERRY__PART_NEW && *at / ATTEMPT > 0)
        state = FERRY__PART_MAYBE; /* not begun here, but elsewhere before */
    p->up += (size_t)(state == FERRY__PART_UP) - (size_t)((*at & STATE) == FERRY__PART_UP);
    *at = (uint8_t)((*at & ~STATE) | state);
    p->dirty = true;
    advance(p);
}

/* ---- the last owner's word ---- */

static const char *field(const char *metadata, char name)
{
    for (const char *at = metadata; at && *at; at = strchr(at, ';'), at += at != NULL)
        if (at[0] == name && at[1] == '=')
            return at + 2;
    return "";
}

static int value_of(char c)
{
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

static bool read_bits(ferry__kafka_part *p, const char *bits, int state)
{
    int64_t offset = p->base;
    for (int value; (value = value_of(*bits)) >= 0 && offset - p->base < FERRY__PART_SPAN; bits++, offset += 6)
        for (int i = 0; i < 6; i++)
            if (value >> i & 1) {
                if (!extend(p, offset + i + 1))
                    return false;
                *cell(p, offset + i) = (uint8_t)state;
            }
    return true;
}

static void read_attempts(ferry__kafka_part *p, const char *list)
{
    while (*list >= '0' && *list <= '9') {
        char *end;
        int64_t offset = strtoll(list, &end, 10);
        long n = *end == ':' ? strtol(end + 1, &end, 10) : 0;
        if (known(p, offset) && n > 0 && n <= ATTEMPTS_MAX)
            *cell(p, offset) = (uint8_t)(ferry__part_state(p, offset) | (int)n * ATTEMPT);
        if (*end != ',')
            return;
        list = end + 1;
    }
}

static void read_ahead(ferry__kafka_part *p, const char *text)
{
    char *end = NULL;
    p->old.to = strtoll(text, &end, 10);
    p->old.time_ms = end && *end == ':' ? strtoll(end + 1, NULL, 10) : 0;
}

static void read_givers(ferry__kafka_part *p, const char *names)
{
    memset(p->givers, 0, sizeof p->givers);
    for (int i = 0; i < FERRY__PART_GIVERS && *names && *names != ';'; i++) {
        size_t length = strcspn(names, ",;");
        snprintf(p->givers[i], sizeof p->givers[i], "%.*s", (int)length, names);
        names += length + (names[length] == ',');
    }
}

static bool read_given(ferry__kafka_part *p, const char *list)
{
    while (*list >= '0' && *list <= '9') {
        char *end;
        int64_t offset = strtoll(list, &end, 10);
        long who = *end == ':' ? strtol(end + 1, &end, 10) : 0;
        if (offset >= p->base && offset - p->base < FERRY__PART_SPAN && who >= 0 && who < FERRY__PART_GIVERS) {
            if (!extend(p, offset + 1))
                return false;
            *cell(p, offset) = (uint8_t)(FERRY__PART_GIVEN | (int)who * ATTEMPT);
        }
        if (*end != ',')
            return true;
        list = end + 1;
    }
    return true;
}

const char *ferry__part_giver(const ferry__kafka_part *p, int64_t offset)
{
    return ferry__part_state(p, offset) == FERRY__PART_GIVEN
               ? p->givers[*cell(p, offset) / ATTEMPT % FERRY__PART_GIVERS]
               : "";
}

/* Each of m was in the hands of a server that is gone: one attempt more. */
static void count_attempts(ferry__kafka_part *p)
{
    for (int64_t o = p->base; o < p->top; o++)
        if (ferry__part_state(p, o) == FERRY__PART_MAYBE && *cell(p, o) / ATTEMPT < ATTEMPTS_MAX)
            *cell(p, o) = (uint8_t)(*cell(p, o) + ATTEMPT);
}

/* Nobody's commit but ours in between, or none at all. */
static bool same(const ferry__kafka_part *p, int64_t offset, const char *metadata, uint64_t who)
{
    const char *by = field(metadata, 'o');
    return p->size > 0 && p->who == who && (offset < 0 || (*by && strtoull(by, NULL, 16) == who && offset <= p->base));
}

/* Our own commit was the last: what we know is newer than what it says. */
static void go_on(ferry__kafka_part *p)
{
    p->read = p->base;
}

static void begin(ferry__kafka_part *p, int64_t offset)
{
    p->epoch++;
    p->up = 0;
    p->base = p->read = p->top = p->safe = p->trimmed = offset;
    memset(&p->own, 0, sizeof p->own);
    p->old = p->sent = p->known = p->own;
}

void ferry__part_restart(ferry__kafka_part *p, int64_t offset)
{
    begin(p, offset);
    p->dirty = true;
}

bool ferry__part_take(ferry__kafka_part *p, int64_t offset, const char *metadata, uint64_t who, bool *kept)
{
    const char *said = metadata ? metadata : "";
    *kept = same(p, offset, said, who);
    if (*kept) {
        go_on(p);
        return true;
    }
    begin(p, offset > 0 ? offset : 0);
    p->who = who;
    if (!grow(p, 1) || !read_bits(p, field(said, 'm'), FERRY__PART_MAYBE) ||
        !read_bits(p, field(said, 'd'), FERRY__PART_DONE))
        return false;
    read_ahead(p, field(said, 'c'));
    read_givers(p, field(said, 'w'));
    if (!read_given(p, field(said, 'g')))
        return false;
    read_attempts(p, field(said, 'a'));
    count_attempts(p);
    advance(p);
    return true;
}

void ferry__part_done(ferry__kafka_part *p)
{
    ferry__free(p->ring);
    p->ring = NULL;
    p->size = 0;
}

/* ---- messages ---- */

bool ferry__part_reset(ferry__kafka_part *p, int64_t offset)
{
    p->epoch++;
    p->up = 0;
    p->base = p->read = p->top = offset > 0 ? offset : 0;
    memset(&p->own, 0, sizeof p->own);
    p->old = p->sent = p->known = p->own;
    p->dirty = true;
    return grow(p, 1);
}

bool ferry__part_full(const ferry__kafka_part *p)
{
    return p->top - p->base >= FERRY__PART_SPAN;
}

/* Offsets that never come (control records, compacted ones) count as done. */
static void skip_gap(ferry__kafka_part *p, int64_t offset)
{
    /* The beginning of the log was deleted, or nothing was ever committed. */
    if (p->base == p->top && offset > p->top) {
        p->base = p->read = p->top = offset;
        return;
    }
    for (int64_t o = p->read; o < offset && o < p->top; o++)
        if (ferry__part_state(p, o) != FERRY__PART_UP)
            ferry__part_set(p, o, FERRY__PART_DONE);
}

void ferry__part_skip(ferry__kafka_part *p, int64_t offset)
{
    if (offset <= p->read)
        return;
    skip_gap(p, offset);
    int64_t top = p->top;
    if (!extend(p, offset))
        return;
    for (int64_t o = top; o < offset; o++)
        *cell(p, o) = FERRY__PART_DONE;
    p->read = offset;
    p->dirty = true;
    advance(p);
}

bool ferry__part_see(ferry__kafka_part *p, int64_t offset, int64_t time_ms, bool *maybe, unsigned *attempts)
{
    if (offset < p->base)
        return false;
    skip_gap(p, offset);
    int64_t top = p->top;
    if (!extend(p, offset + 1))
        return false;
    for (int64_t o = top; o < offset; o++)
        *cell(p, o) = FERRY__PART_DONE;
    p->read = offset + 1;
    advance(p);
    int state = ferry__part_state(p, offset);
    if (state == FERRY__PART_NEW && offset < p->old.to && time_ms <= p->old.time_ms) {
        state = FERRY__PART_MAYBE;
        *cell(p, offset) = FERRY__PART_MAYBE | ATTEMPT;
    }
    *maybe = state == FERRY__PART_MAYBE;
    *attempts = state == FERRY__PART_MAYBE ? (unsigned)(*cell(p, offset) / ATTEMPT) : 0;
    return state == FERRY__PART_NEW || state == FERRY__PART_MAYBE;
}

/* ---- our word for the next owner ---- */

static char *print_bits(const ferry__kafka_part *p, unsigned states, char *to)
{
    char *end = to;
    for (int64_t o = p->base; o < p->top && o - p->base < FERRY__PART_SPAN; o += 6) {
        int value = 0;
        for (int i = 0; i < 6; i++)
            if (o + i < p->top && states >> ferry__part_state(p, o + i) & 1)
                value |= 1 << i;
        *to++ = digits[value];
        if (value)
            end = to;
    }
    *end = '\0';
    return end;
}

static char *print_attempts(const ferry__kafka_part *p, char *to, const char *end)
{
    const char *mark = ";a=";
    for (int64_t o = p->base; o < p->top && o - p->base < FERRY__PART_SPAN && end - to > 160; o++) {
        int state = ferry__part_state(p, o), n = *cell(p, o) / ATTEMPT;
        if (n == 0 || (state != FERRY__PART_UP && state != FERRY__PART_MAYBE))
            continue;
        /* what is MAYBE was counted when we took it, and is counted again by the next one */
        n -= state == FERRY__PART_MAYBE;
        to += n > 0 ? snprintf(to, 64, "%s%lld:%d", mark, (long long)o, n) : 0;
        mark = n > 0 ? "," : mark;
    }
    return to;
}

static int giver_place(char names[FERRY__PART_GIVERS][FERRY__PART_MEMBER], const char *member)
{
    for (int i = 0; i < FERRY__PART_GIVERS; i++) {
        if (!names[i][0])
            snprintf(names[i], FERRY__PART_MEMBER, "%s", member);
        if (strcmp(names[i], member) == 0)
            return i;
    }
    return -1;
}

/* What finds no room is left out: then nobody looks after it if its server dies, and its caller hears UNKNOWN at the deadline. */
static char *print_given(const ferry__kafka_part *p, const char *us, char *to, const char *end)
{
    char names[FERRY__PART_GIVERS][FERRY__PART_MEMBER] = {{0}};
    const char *mark = ";g=";
    int count = 0;
    for (int64_t o = p->base; o < p->top && o - p->base < FERRY__PART_SPAN && count < GIVEN_MAX &&
                              end - to > FERRY__PART_GIVERS * FERRY__PART_MEMBER + 128;
         o++) {
        int state = ferry__part_state(p, o);
        const char *who = state == FERRY__PART_GIVEN      ? ferry__part_giver(p, o)
                          : state == FERRY__PART_UP && us ? us
                                                          : NULL;
        int place = who ? giver_place(names, who) : -1;
        if (place < 0)
            continue;
        to += snprintf(to, 64, "%s%lld:%d", mark, (long long)o, place);
        mark = ",";
        count++;
    }
    for (int i = 0; i < FERRY__PART_GIVERS && names[i][0]; i++)
        to += snprintf(to, FERRY__PART_MEMBER + 8, "%s%s", i == 0 ? ";w=" : ",", names[i]);
    return to;
}

static char *print_ahead(const ferry__kafka_part *p, bool ours, char *to, const char *end)
{
    bool old = p->old.to > p->base, own = ours && p->own.to > p->base;
    int64_t offset = old ? p->old.to : 0, time_ms = old ? p->old.time_ms : 0;
    if (own) {
        offset = p->own.to > offset ? p->own.to : offset;
        time_ms = p->own.time_ms > time_ms ? p->own.time_ms : time_ms;
    }
    if (!old && !own)
        return to;
    return to + snprintf(to, (size_t)(end - to), ";c=%lld:%lld", (long long)offset, (long long)time_ms);
}

static char *put(char *to, const char *text)
{
    size_t length = strlen(text);
    memcpy(to, text, length);
    return to + length;
}

void ferry__part_print(const ferry__kafka_part *p, const char *giver, char to[FERRY__PART_META])
{
    unsigned up = 1u << FERRY__PART_UP, done = 1u << FERRY__PART_DONE, maybe = 1u << FERRY__PART_MAYBE,
             given = 1u << FERRY__PART_GIVEN;
    char *at = put(to, "m=");
    at = print_bits(p, giver ? maybe : up | maybe, at);
    at = put(at, ";d=");
    at = print_bits(p, giver ? done | up | given : done | given, at); /* g is read last and counts */
    at = print_given(p, giver, at, to + FERRY__PART_META);
    at = print_attempts(p, at, to + FERRY__PART_META);
    at = print_ahead(p, giver == NULL, at, to + FERRY__PART_META);
    snprintf(at, (size_t)(to + FERRY__PART_META - at), ";o=%llx", (unsigned long long)p->who);
}
