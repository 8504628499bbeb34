/* lot.c - many commands as one transaction (MULTI … EXEC), so that whoever is blocked in a read gets all of it in one answer.
 *
 * Redis serves a blocked reader right after the command that wakes it. So of sixty entries that are added one by one the reader gets
 * one, and the others by its next read: twice as many answers, wake-ups and system calls at both ends. In a transaction it is served
 * behind the last one.
 *
 *     written:    MULTI  a  b  c  EXEC
 *     answered:   OK  QUEUED  QUEUED  QUEUED  [answer to a, to b, to c]
 *
 * Only what is lazy is bound together: calls, replies and acknowledgements, each of which may end like its neighbours. If one is
 * refused as it is queued, Redis runs none of them, and each is told that refusal; if it was not for want of memory or the like, the
 * next ones go one by one again. Where MULTI itself is refused, the commands behind it run singly, and so are they answered. */
#include "backends/redis/redis.h"

#include <string.h>

/* Not all of many hundreds at once: both ends would wait for each other in turn. */
enum { LEAST = 8, MOST = 64 };

static const char multi[] = "*1\r\n$5\r\nMULTI\r\n", exec[] = "*1\r\n$4\r\nEXEC\r\n";

void redis__lot_note(redis__conn *c, bool lazy)
{
    c->lot.noted++;
    c->lot.mixed = c->lot.mixed || !lazy;
}

static redis__want *want_at(redis__conn *c, size_t i)
{
    return &c->wants[(c->first + i) & (c->room - 1)];
}

static bool worth_it(const redis__conn *c)
{
    const redis__lot *l = &c->lot;
    return l->noted >= LEAST && !l->mixed && !l->never && l->noted <= c->count && c->role == REDIS__W;
}

/* Those from want `at` on, `n` of them, whose bytes begin at `from` and end at `to`, both counted in what was noted. */
static bool write_one(redis__conn *c, size_t at, size_t n, size_t from, size_t to)
{
    bool good = ferry__stream_add(c->stream, multi, sizeof multi - 1) &&
                ferry__stream_add(c->stream, c->out.data + from, to - from) &&
                ferry__stream_add(c->stream, exec, sizeof exec - 1);
    c->written += to - from + sizeof multi - 1 + sizeof exec - 1;
    for (size_t i = at; i < at + n; i++)
        want_at(c, i)->end = c->written; /* what lacks its EXEC did not run */
    want_at(c, at)->lot = n;
    return good;
}

/* Hands all that was noted to the stream. */
bool redis__lot_write(redis__conn *c)
{
    redis__lot *l = &c->lot;
    size_t noted = l->noted, from = 0;
    uint64_t base = c->written;
    bool bind = worth_it(c), good = true;
    l->noted = 0;
    l->mixed = false;
    if (!bind) {
        c->written += c->out.length;
        return ferry__stream_add(c->stream, c->out.data, c->out.length);
    }
    for (size_t at = c->count - noted; at < c->count && good;) {
        size_t left = c->count - at, n = left < MOST + LEAST ? left : MOST;
        size_t to = (size_t)(want_at(c, at + n - 1)->end - base);
        good = write_one(c, at, n, from, to);
        from = to;
        at += n;
    }
    return good;
}

void redis__lot_reset(redis__conn *c)
{
    bool never = c->lot.never;
    c->lot = (redis__lot){.never = never};
}

/* ---- Answers -------------------------------------------------------------------------------------------------------- */

static void begin(redis__conn *c, size_t n, const redis__value *v)
{
    redis__lot *l = &c->lot;
    l->open = l->left = n;
    l->single = v->type == REDIS__ERROR;
    l->never = l->never || l->single;
    l->refusal[0] = '\0';
}

static void queued(redis__lot *l, const redis__value *v)
{
    l->left--;
    if (v->type == REDIS__ERROR && !l->refusal[0])
        snprintf(l->refusal, sizeof l->refusal, "%s", v->text);
}

static bool is_passing(const redis__value *v)
{
    bool again;
    return redis__error_status(v, &again) == FERRY_OVERLOADED || again;
}

static void end(redis__conn *c, const redis__value *v)
{
    redis__lot *l = &c->lot;
    size_t n = l->open;
    redis__value refusal = {.type = REDIS__ERROR, .text = l->refusal[0] ? l->refusal : redis__text(v)};
    refusal.count = strlen(refusal.text);
    bool ran = v->type == REDIS__LIST && v->count == n;
    l->open = 0;
    if (!ran && v->type != REDIS__ERROR) {
        redis__link_fail(c->pipe, FERRY_PROTOCOL, "Redis answered %zu commands of %zu", v->count, n);
        return;
    }
    l->never = l->never || (!ran && !is_passing(&refusal));
    for (size_t i = 0; i < n; i++)
        redis__conn_answer(c, ran ? redis__at(v, i) : &refusal);
}

/* Answers whether that was about a transaction; else it is the answer to the next command. */
bool redis__lot_answer(redis__conn *c, const redis__value *v)
{
    redis__lot *l = &c->lot;
    size_t n = c->count ? c->wants[c->first].lot : 0;
    if (l->open == 0 && n == 0)
        return false;
    if (l->open == 0)
        begin(c, n, v);
    else if (l->left > 0 && l->single) {
        l->left--;
        return false;
    } else if (l->left > 0)
        queued(l, v);
    else if (l->single)
        l->open = 0;
    else
        end(c, v);
    return true;
}
