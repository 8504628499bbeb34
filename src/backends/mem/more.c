/* more.c - what mem can beyond the pipe: take back, mark as begun, dead letters. */
#include "backends/mem/mem.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

static void mem_withdraw(void *self, ferry__target *target, ferry__frame *f)
{
    mem__endpoint *e = self;
    (void)target;
    mem__parcel *note = ferry__zalloc(sizeof *note);
    if (!note)
        return; /* unanswered: the core stops waiting for it by itself */
    note->frame = ferry__frame_ref(f);
    ferry__list_append(&e->withdrawals, &note->node);
}

static void mem_begin(void *self, ferry__frame *f)
{
    (void)self;
    if (f->from->lane == FERRY__EVENTS)
        ((mem__mark *)(uintptr_t)f->tag[0])->begun = true;
    else
        ((mem__parcel *)(uintptr_t)f->tag[0])->begun = true;
}

static bool add_row(ferry_value *rows, const mem__record *r)
{
    char cursor[24];
    snprintf(cursor, sizeof cursor, "%llu", (unsigned long long)r->cursor);
    ferry_value *row = ferry_new_list();
    ferry_list_put(row, ferry_text(cursor));
    ferry_list_put(row, ferry_text(r->box));
    ferry_list_put(row, ferry_bytes(r->bytes, r->length));
    ferry_list_put(rows, row);
    return true;
}

static void browse(mem__hub *h, ferry__admin *a)
{
    uint64_t after = a->after ? (uint64_t)strtoull(a->after, NULL, 10) : 0;
    size_t n = 0;
    a->answer = ferry_new_list();
    for (mem__record *r = h->dead; r && n < a->limit; r = r->next)
        if (r->cursor > after && (!a->name || strcmp(a->name, r->box) == 0))
            n += add_row(a->answer, r);
    a->status = FERRY_OK;
}

static void remove_record(mem__hub *h, ferry__admin *a)
{
    a->status = FERRY_OK;
    for (mem__record **at = &h->dead; *at; at = &(*at)->next) {
        mem__record *r = *at;
        if (strcmp(r->id, a->id) != 0 || (a->name && strcmp(r->box, a->name) != 0))
            continue;
        *at = r->next;
        if (!r->next)
            h->dead_end = at;
        ferry__free(r->box);
        ferry__free(r->id);
        ferry__free(r->bytes);
        ferry__free(r);
        a->count = 1;
        return;
    }
}

static void doctor(const mem__hub *h, ferry__admin *a)
{
    a->answer = ferry_new_map();
    ferry_map_put(a->answer, "transport", ferry_text("mem"));
    ferry_map_put(a->answer, "hub", ferry_text(h->name));
    ferry_map_put(a->answer, "handles", ferry_int((int64_t)h->refs));
    ferry_value *warnings = ferry_new_list();
    ferry_list_put(warnings, ferry_text("mem: reaches this process only, and nothing outlives it"));
    ferry_map_put(a->answer, "warnings", warnings);
    a->status = FERRY_OK;
}

static void mem_admin(void *self, ferry__admin *a)
{
    mem__endpoint *e = self;
    pthread_mutex_lock(&e->hub->lock);
    if (a->ask == FERRY__DEAD_BROWSE)
        browse(e->hub, a);
    else if (a->ask == FERRY__DEAD_REMOVE)
        remove_record(e->hub, a);
    else if (a->ask == FERRY__DOCTOR)
        doctor(e->hub, a);
    else
        mem__topics_admin(e, a);
    pthread_mutex_unlock(&e->hub->lock);
    a->next = e->admins;
    e->admins = a;
}

void mem__hand_answers(mem__endpoint *e)
{
    for (ferry__admin *a; (a = e->admins);) {
        e->admins = a->next;
        e->up->answered(e->up, a);
    }
}

static void mem_seek(void *self, ferry__source *source, const ferry__wish *to)
{
    mem__events_seek(self, source->data, to);
}

const ferry__abilities mem__more = {
    .seek = mem_seek,
    .withdraw = mem_withdraw,
    .begin = mem_begin,
    .admin = mem_admin,
};
