#include "ends/drop.h"

#include "data/value.h"
#include "ends/request.h"

static void run_drop(ferry__callback *c)
{
    ferry_future *u = FERRY__OF(c, ferry_future, callback);
    ferry *f = u->f;
    ferry_request *message = u->pending.frame ? ferry__request_new(f, u->pending.frame) : NULL;
    if (message) {
        ferry__value_decode(ferry__frame_body(message->frame), message->frame->body.length, &message->data, NULL);
        f->on_drop(message, (ferry_status)u->pending.status, f->arg);
        ferry__request_free(message);
    }
    ferry__future_free(u);
}

static void run_free(ferry__callback *c)
{
    ferry__future_free(FERRY__OF(c, ferry_future, callback));
}

/* The program still holds the handle, so this cannot be its last reference: freed at once. One that failed is told on the callback
 * thread, since no user code runs under the lock. */
void ferry__drop_ended(ferry_future *u)
{
    ferry *f = u->f;
    ferry__link *l = &f->link;
    ferry_status status = (ferry_status)u->pending.status;
    if (status == FERRY_OK) {
        if (!f->closed)
            ferry__future_free(u);
        else {
            u->callback.run = run_free;
            ferry__callbacks_add(f, &u->callback);
        }
        return;
    }
    if (l->first_failure == FERRY_OK)
        l->first_failure = status;
    ferry__log_print(&l->log, LOG_ERR, "a message was given up: %s: %s", ferry_status_name(status),
                     u->pending.why ? u->pending.why : "");
    u->callback.run = f->on_drop ? run_drop : run_free;
    ferry__callbacks_add(f, &u->callback);
}
