/* admin.c - dead letters, and facts about the broker.
 *
 * A box is a queue, and AMQP can only look at a queue by taking from it. So a look opens a channel, takes one message after the other
 * without acknowledging, and closes the channel: the broker puts all back, in order. One that is to be removed is acknowledged first.
 * Questions are answered one after the other. A cursor is the id of a record; one that was removed meanwhile means the beginning. */
#include "backends/amqp/event.h"

#include "base/alloc.h"

#include <string.h>

enum { NOT_FOUND = 404, ACCESS_REFUSED = 403, LOOK_MOST = 100000, TRIES = 3 };

typedef struct ferry__amqp_look {
    ferry__admin *admin;
    ferry_value  *rows;
    size_t        seen;
    bool          past;   /* behind the cursor */
    bool          rewound; /* the cursor was not there: once more from the beginning */
    bool          ending;
} look;

static void finish(ferry__amqp *a, ferry__admin *q)
{
    q->next = a->answered;
    a->answered = q;
}

static void refuse(ferry__amqp *a, ferry__admin *q, ferry_status status, const char *why)
{
    q->status = status;
    ferry__why(q->why, "%s", why);
    finish(a, q);
}

/* ---- facts ---------------------------------------------------------------------------------------------------------- */

static void doctor(ferry__amqp *a, ferry__admin *q)
{
    ferry_value *warnings = ferry_new_list();
    q->answer = ferry_new_map();
    ferry_map_put(q->answer, "transport", ferry_text(a->tls ? "amqps" : "amqp"));
    ferry_map_put(q->answer, "broker", ferry_text(a->broker));
    ferry_map_put(q->answer, "vhost", ferry_text(a->vhost));
    ferry_map_put(q->answer, "posts", ferry_text(a->quorum ? "quorum queues" : "classic queues"));
    ferry_map_put(q->answer, "replies", ferry_text(a->direct ? "direct" : "exclusive queue"));
    ferry_map_put(q->answer, "heartbeat_ms", ferry_int(a->in.heartbeat_ms));
    if (a->out.blocked || a->in.blocked)
        ferry_list_put(warnings, ferry_text("the broker is out of memory or disk and takes nothing"));
    if (a->tls && !a->verify)
        ferry_list_put(warnings, ferry_text("verify=no: anybody could pretend to be the broker"));
    if (!a->quorum)
        ferry_list_put(warnings, ferry_text("queue=classic: a confirmed post may be lost in a power failure"));
    ferry_map_put(q->answer, "warnings", warnings);
    q->status = FERRY_OK;
    finish(a, q);
}

/* ---- a look at a box ------------------------------------------------------------------------------------------------ */

static void get(ferry__amqp *a, const char *box)
{
    char queue[FERRY__AMQP_NAME];
    ferry__amqp_queue_name(a, queue, box, strlen(box), "dead", 0);
    amqp_basic_get_t m = {.queue = ferry__amqp_text(queue)};
    ferry__amqp_say(&a->out, FERRY__AMQP_BROWSE, AMQP_BASIC_GET_METHOD, &m);
}

static void begin_look(ferry__amqp *a, ferry__admin *q)
{
    look *l = ferry__zalloc(sizeof *l);
    if (!l) {
        refuse(a, q, FERRY_NO_MEMORY, "out of memory");
        return;
    }
    l->admin = q;
    l->rows = q->ask == FERRY__DEAD_BROWSE ? ferry_new_list() : NULL;
    l->past = !q->after;
    a->look = l;
    if (!a->browsing)
        ferry__amqp_channel_open(&a->out, FERRY__AMQP_BROWSE);
    a->browsing = true;
    get(a, q->name);
}

void ferry__amqp_admin_begin(ferry__amqp *a)
{
    while (!a->look && !a->topic && a->admins && a->phase == FERRY__AMQP_UP && !a->failed) {
        ferry__admin *q = a->admins;
        a->admins = q->next;
        if (!a->admins)
            a->admins_end = &a->admins;
        if (q->ask == FERRY__DOCTOR)
            doctor(a, q);
        else if (q->ask != FERRY__DEAD_BROWSE && q->ask != FERRY__DEAD_REMOVE)
            ferry__amqp_topics_ask(a, q);
        else if (!q->name)
            refuse(a, q, FERRY_UNSUPPORTED,
                   "AMQP cannot list its queues: name the service whose dead letters are meant");
        else
            begin_look(a, q);
    }
}

void ferry__amqp_admin(void *self, ferry__admin *q)
{
    ferry__amqp *a = self;
    q->next = NULL;
    *a->admins_end = q;
    a->admins_end = &q->next;
    ferry__amqp_admin_begin(a);
}

/* All go back, and what is answered behind that proves it. The next look takes the same channel: a quorum queue that gets back what a
 * closed channel had does so some time later, and the next look would find less. */
static void end_look(ferry__amqp *a)
{
    amqp_basic_nack_t back = {.multiple = 1, .requeue = 1}; /* 0: all that the channel has */
    amqp_basic_qos_t fence = {0};
    a->look->ending = true;
    ferry__amqp_say(&a->out, FERRY__AMQP_BROWSE, AMQP_BASIC_NACK_METHOD, &back);
    ferry__amqp_say(&a->out, FERRY__AMQP_BROWSE, AMQP_BASIC_QOS_METHOD, &fence);
}

static void add_row(look *l, const char *id, const ferry__frame *f)
{
    ferry_value *row = ferry_new_list();
    ferry_list_put(row, ferry_text(id));
    ferry_list_put(row, ferry_text(l->admin->name));
    ferry_list_put(row, ferry_bytes(f->data + f->body.at, f->body.length));
    ferry_list_put(l->rows, row);
}

/* True: that was enough. */
static bool visit(ferry__amqp *a, look *l, const ferry__frame *f, uint64_t tag)
{
    char id[FERRY__ID_TEXT];
    ferry__id_print(&f->id, id);
    if (l->rows) {
        if (l->past)
            add_row(l, id, f);
        l->past = l->past || strcmp(id, l->admin->after) == 0;
        return ferry_count(l->rows) >= l->admin->limit;
    }
    if (strcmp(id, l->admin->id) != 0)
        return false;
    amqp_basic_ack_t m = {.delivery_tag = tag};
    ferry__amqp_say(&a->out, FERRY__AMQP_BROWSE, AMQP_BASIC_ACK_METHOD, &m);
    l->admin->count = 1;
    return true;
}

void ferry__amqp_got(ferry__amqp *a, ferry__amqp_inbound *in)
{
    look *l = a->look;
    bool enough = l && !l->ending && in->frame && visit(a, l, in->frame, in->tag);
    ferry__frame_unref(in->frame);
    if (!l || l->ending)
        return;
    if (enough || ++l->seen >= LOOK_MOST)
        end_look(a);
    else
        get(a, l->admin->name);
}

void ferry__amqp_got_nothing(ferry__amqp *a)
{
    look *l = a->look;
    if (!l || l->ending)
        return;
    l->rewound = !l->past; /* the record of the cursor is gone */
    end_look(a);
}

static void look_over(ferry__amqp *a, ferry_status status, const char *why)
{
    look *l = a->look;
    ferry__admin *q = l->admin;
    a->look = NULL;
    q->answer = l->rows;
    a->look_tries = 0;
    ferry__free(l);
    q->status = status;
    ferry__why(q->why, "%s", why ? why : "");
    finish(a, q);
}

/* All is back: done, or once more from the beginning. */
void ferry__amqp_browsed(ferry__amqp *a)
{
    look *l = a->look;
    if (!l)
        return;
    if (!l->rewound || !l->rows) {
        look_over(a, FERRY_OK, NULL);
        return;
    }
    l->rewound = l->ending = false;
    l->past = true;
    l->seen = 0;
    get(a, l->admin->name);
}

/* By the broker: there is no such box, which means that nothing died there; or it is not for us. */
void ferry__amqp_browse_closed(ferry__amqp *a, unsigned code, const char *text)
{
    a->browsing = false;
    if (!a->look)
        return;
    if (code == NOT_FOUND)
        look_over(a, FERRY_OK, NULL);
    else
        look_over(a, code == ACCESS_REFUSED ? FERRY_DENIED : FERRY_UNAVAILABLE, text);
}

/* Asked again when the link is up. It may have been the look itself: RabbitMQ 3.10 closes the connection for a look at a quorum queue
 * whose leader is not elected yet. So not for ever. */
void ferry__amqp_admin_down(ferry__amqp *a, ferry_status status, const char *why)
{
    look *l = a->look;
    if (!l)
        return;
    if (++a->look_tries >= TRIES) {
        a->look_tries = 0;
        look_over(a, status, why);
        return;
    }
    a->look = NULL;
    l->admin->next = a->admins;
    a->admins = l->admin;
    if (!l->admin->next)
        a->admins_end = &l->admin->next;
    ferry_value_free(l->rows);
    ferry__free(l);
}

void ferry__amqp_admin_report(ferry__amqp *a)
{
    ferry__amqp_admin_begin(a);
    for (ferry__admin *q; (q = a->answered) && !a->closing;) {
        a->answered = q->next;
        a->up->answered(a->up, q);
    }
}

/* The core waits for no answer any more, but what it asked is its own to free. */
void ferry__amqp_admin_done(ferry__amqp *a)
{
    ferry__amqp_topics_done(a);
    if (a->look) {
        ferry_value_free(a->look->rows);
        ferry__free(a->look);
    }
    a->look = NULL;
}
