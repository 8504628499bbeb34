/* more.c - the optional half: taking back, marking as begun, questions of operators. */
#include "backends/file/pipe.h"

#include "backends/file/claim.h"

/* Unanswered when there is no memory: the core stops waiting for it by itself. */
static void file_withdraw(void *self, ferry__target *target, ferry__frame *frame)
{
    (void)target;
    ferry__file_op *op = ferry__file_note(self, FERRY__OP_WITHDRAW, 0);
    if (op)
        op->frame = ferry__frame_ref(frame);
}

static void file_begin(void *self, ferry__frame *frame)
{
    ferry__file *f = self;
    if (frame->tag[0] && FERRY__TAG_GENERATION(frame) == (f->generation & 0xfff) && ferry__event_in_group(frame))
        ferry__claim_mark(f, frame, FERRY__MARK_BEGUN);
}

/* Without memory it stays where it is, and says so. */
static void file_seek(void *self, ferry__source *source, const ferry__wish *to)
{
    ferry__event_listener *l = source->data;
    ferry__file_op *op = l ? ferry__file_note(self, FERRY__OP_SEEK, 0) : NULL;
    if (op) {
        op->events = l;
        op->wish = ferry__event_wish_of(to);
        atomic_fetch_add(&l->ops, 1);
    } else if (l)
        atomic_store(&l->sought_in_vain, true);
}

static void file_admin(void *self, ferry__admin *admin)
{
    ferry__file *f = self;
    ferry__file_op *op = ferry__file_note(f, FERRY__OP_ADMIN, 0);
    if (op) {
        op->admin = admin;
        return;
    }
    admin->status = FERRY_NO_MEMORY;
    admin->next = f->unasked_admins;
    f->unasked_admins = admin;
}

const ferry__abilities ferry__file_more = {
    .withdraw = file_withdraw,
    .begin = file_begin,
    .seek = file_seek,
    .admin = file_admin,
};
