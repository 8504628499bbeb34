/* settle.c - what becomes of the messages that an endpoint pulled. Noted under the link's lock, done with the next flush. */
#include "backends/mem/known.h"
#include "backends/mem/mem.h"
#include "base/alloc.h"
#include "base/clock.h"

#include <string.h>

static void note_settle(mem__endpoint *e, ferry__frame *f, unsigned how)
{
    f->tag[1] = how;
    ferry__frames_add(&e->settled, f);
}

void mem__settle(void *self, ferry__frame *f)
{
    note_settle(self, f, MEM__DONE);
}

void mem__retry(void *self, ferry__frame *f, int delay_ms)
{
    int64_t due_ms = ferry__now_ms() + delay_ms;
    if (f->from->lane == FERRY__EVENTS)
        ((mem__mark *)(uintptr_t)f->tag[0])->due_ms = due_ms;
    else
        ((mem__parcel *)(uintptr_t)f->tag[0])->due_ms = due_ms;
    note_settle(self, f, MEM__RETRY);
}

void mem__hand_back(void *self, ferry__frame *f)
{
    note_settle(self, f, MEM__BACK);
}

static mem__record *make_record(const char *box, const ferry__id *id, const void *bytes, size_t length)
{
    char text[FERRY__ID_TEXT];
    ferry__id_print(id, text);
    mem__record *r = ferry__zalloc(sizeof *r);
    if (!r)
        return NULL;
    r->box = ferry__strdup(box);
    r->id = ferry__strdup(text);
    r->bytes = ferry__alloc(length);
    r->length = length;
    if (r->box && r->id && r->bytes) {
        memcpy(r->bytes, bytes, length);
        return r;
    }
    ferry__free(r->box);
    ferry__free(r->id);
    ferry__free(r->bytes);
    ferry__free(r);
    return NULL;
}

void mem__bury(void *self, ferry__frame *f, const char *box, const void *bytes, size_t length)
{
    mem__endpoint *e = self;
    mem__record *r = make_record(box, &f->id, bytes, length);
    if (!r) {
        mem__retry(self, f, 1000); /* nothing is lost: it is tried again when there may be memory */
        return;
    }
    pthread_mutex_lock(&e->hub->lock);
    r->cursor = ++e->hub->cursor;
    *e->hub->dead_end = r;
    e->hub->dead_end = &r->next;
    pthread_mutex_unlock(&e->hub->lock);
    note_settle(e, f, MEM__BURIED);
}

/* The core may have counted an attempt on its own copy: the parcel carries it on. */
void mem__push_settled(mem__endpoint *e)
{
    for (ferry__frame *f; (f = ferry__frames_take(&e->settled));) {
        unsigned how = (unsigned)f->tag[1];
        if (f->from->lane == FERRY__EVENTS) {
            mem__events_settled(e, f, how);
            ferry__frame_unref(f);
            continue;
        }
        mem__parcel *p = (mem__parcel *)(uintptr_t)f->tag[0];
        ferry__list_remove(&p->node);
        mem__queue_settled(p->queue, p);
        p->frame->attempt = f->attempt;
        p->begun = false;
        if (how == MEM__BURIED && e->hub->known)
            mem__known_forget(e->hub->known, &f->id);
        if (how == MEM__RETRY)
            mem__queue_push_later(p->queue, p, p->due_ms);
        else if (how == MEM__BACK) {
            mem__parcel_unread(p);
            mem__queue_push_front(p->queue, p);
        }
        if (how == MEM__RETRY || how == MEM__BACK)
            mem__ring_listeners(e->hub, p->queue, how == MEM__BACK ? e : NULL);
        else if (p->frame->partition > 0)
            mem__ring_listeners(e->hub, p->queue, e); /* the part may be free for another */
        if (how == MEM__DONE || how == MEM__BURIED)
            mem__parcel_free(p);
        ferry__frame_unref(f);
    }
}
