/* direct.c - calls whose client wants its answer at a direct reply address of RabbitMQ (?reply=direct).
 *
 * All other answers go to an exchange of ours by the client's id, so there is no address to forge. These have one; a malformed one
 * kills the channel that publishes to it (and in RabbitMQ 3.10 the connection), so what does not look exactly like one of the broker's
 * own making is not noted. */
#include "backends/amqp/state.h"

#include "base/alloc.h"
#include "base/random.h"

#include <string.h>

enum { BUCKETS = 256, LONGEST = 255 };
static const char PREFIX[] = "amq.rabbitmq.reply-to.";

struct ferry__amqp_direct {
    ferry__amqp_direct *next;
    ferry__id           id;
    unsigned            uses;  /* calls that are not settled: the same may come twice */
    unsigned            spots; /* in the ring of those that were */
    char                address[];
};

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Base64 with padding; 0: it is none. */
static size_t decode(const char *at, size_t length, unsigned char *to)
{
    size_t n = 0;
    while (length > 0 && at[length - 1] == '=')
        length--;
    unsigned bits = 0, held = 0;
    for (size_t i = 0; i < length; i++) {
        int d = digit(at[i]);
        if (d < 0)
            return 0;
        bits = bits << 6 | (unsigned)d;
        held += 6;
        if (held >= 8)
            to[n++] = (unsigned char)(bits >> (held -= 8));
    }
    return n;
}

/* Erlang's external form of a process id: 131, NEW_PID_EXT, an atom, and 12 bytes. */
static bool is_pid(const unsigned char *b, size_t n)
{
    enum { VERSION = 131, NEW_PID = 88, ATOM = 100, SMALL_ATOM_UTF8 = 119, ATOM_UTF8 = 118, NUMBERS = 12 };
    if (n < 4 || b[0] != VERSION || b[1] != NEW_PID)
        return false;
    if (b[2] == SMALL_ATOM_UTF8)
        return n == 4u + b[3] + NUMBERS;
    return (b[2] == ATOM || b[2] == ATOM_UTF8) && n >= 5 && n == 5u + ((unsigned)b[3] << 8 | b[4]) + NUMBERS;
}

static bool genuine(const char *address, size_t length)
{
    unsigned char bytes[LONGEST];
    size_t prefix = sizeof PREFIX - 1;
    if (length <= prefix || length > LONGEST || memcmp(address, PREFIX, prefix) != 0)
        return false;
    const char *rest = address + prefix, *dot = memchr(rest, '.', length - prefix);
    if (!dot || !is_pid(bytes, decode(rest, (size_t)(dot - rest), bytes)))
        return false;
    size_t key = length - (size_t)(dot + 1 - address);
    return key > 0 && !memchr(dot + 1, '.', key) && decode(dot + 1, key, bytes) > 0;
}

static ferry__amqp_direct **place(const ferry__amqp *a, const ferry__id *id)
{
    ferry__amqp_direct **at = &a->directs[(ferry__hash(id->client, sizeof id->client) + id->serial) % BUCKETS];
    while (*at && ((*at)->id.serial != id->serial || memcmp((*at)->id.client, id->client, sizeof id->client) != 0))
        at = &(*at)->next;
    return at;
}

void ferry__amqp_note_direct(ferry__amqp *a, const ferry__frame *f, const amqp_basic_properties_t *p)
{
    if (!(p->_flags & AMQP_BASIC_REPLY_TO_FLAG) || !genuine(p->reply_to.bytes, p->reply_to.len))
        return;
    if (!a->directs)
        a->directs = ferry__zalloc(BUCKETS * sizeof *a->directs);
    if (!a->directs)
        return; /* without memory the caller waits for nothing: its deadline ends that */
    if (*place(a, &f->id)) {
        (*place(a, &f->id))->uses++;
        return;
    }
    ferry__amqp_direct *d = ferry__zalloc(sizeof *d + p->reply_to.len + 1);
    if (!d)
        return;
    d->id = f->id;
    d->uses = 1;
    memcpy(d->address, p->reply_to.bytes, p->reply_to.len);
    *place(a, &f->id) = d;
}

const char *ferry__amqp_direct_of(const ferry__amqp *a, const ferry__id *id)
{
    ferry__amqp_direct *d = a->directs ? *place(a, id) : NULL;
    return d ? d->address : NULL;
}

static void forget(ferry__amqp *a, ferry__amqp_direct *d)
{
    if (!d || --d->spots > 0 || d->uses > 0)
        return;
    *place(a, &d->id) = d->next;
    ferry__free(d);
}

/* An answer may be late, behind the settlement: the last few addresses are kept. */
void ferry__amqp_drop_direct(ferry__amqp *a, const ferry__id *id)
{
    enum { MOST = sizeof a->spent / sizeof *a->spent };
    ferry__amqp_direct *d = a->directs ? *place(a, id) : NULL;
    if (!d || d->uses == 0 || --d->uses > 0)
        return;
    ferry__amqp_direct **spot = &a->spent[a->next_spent++ % MOST], *before = *spot;
    d->spots++;
    *spot = d;
    forget(a, before);
}

void ferry__amqp_drop_directs(ferry__amqp *a)
{
    for (size_t i = 0; a->directs && i < BUCKETS; i++)
        for (ferry__amqp_direct *d; (d = a->directs[i]);) {
            a->directs[i] = d->next;
            ferry__free(d);
        }
    ferry__free(a->directs);
    a->directs = NULL;
}
