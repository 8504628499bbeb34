/* later.c - a handler that answers later, from another thread: ferry_defer, then ferry_done.
 *
 * The one worker is free again at once, so all parcels are on the scale together. */
#include <ferry/ferry.h>

#include <pthread.h>

enum { N = 5 };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t  more;
    ferry_request  *waiting[N];
    size_t          count;
} scale = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

static void weigh(ferry_request *req, void *arg)
{
    int parcel;
    (void)arg;
    if (!ferry_args(req, "parcel", &parcel))
        return; /* answered already, with what is wrong */
    pthread_mutex_lock(&scale.lock);
    if (scale.count < N)
        scale.waiting[scale.count++] = ferry_defer(req); /* ours until ferry_done, and no longer the handler's */
    else
        ferry_fail(req, "Full", "there is room for %d", N);
    pthread_cond_signal(&scale.more);
    pthread_mutex_unlock(&scale.lock);
}

/* What stands for a device, another library's callback, a job queue: it answers all when all are there. */
static void *device(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&scale.lock);
    while (scale.count < N)
        pthread_cond_wait(&scale.more, &scale.lock);
    pthread_mutex_unlock(&scale.lock);
    for (size_t i = N; i-- > 0;) {
        ferry_request *req = scale.waiting[i];
        int parcel = (int)ferry_as_int(ferry_find(ferry_request_data(req), "parcel"), 0);
        if (parcel == 4)
            ferry_fail(req, "TooHeavy", "parcel %d does not fit the scale", parcel);
        else
            ferry_respond(req, ferry_map("parcel", parcel, "grams", parcel * 250));
        ferry_done(req); /* sends, and takes req */
    }
    return NULL;
}

int main(void)
{
    pthread_t thread;
    ferry_future *futures[N];
    ferry *f = ferry_open(NULL, NULL);
    ferry_handle(f, "parcel.weigh", weigh, NULL, NULL);
    ferry_serve(f);
    if (pthread_create(&thread, NULL, device, NULL) != 0)
        return 1;
    for (int i = 0; i < N; i++)
        futures[i] =
            ferry_async(f, FERRY_GET, "parcel.weigh", ferry_map("parcel", i + 1), FERRY_CALL(.timeout_ms = 5000));
    for (int i = 0; i < N; i++) {
        ferry_reply *r = ferry_await(futures[i]);
        if (ferry_has_errors(r))
            ferry_print_errors(r, stdout);
        else
            printf("parcel %d: %lld g\n", i + 1, (long long)ferry_as_int(ferry_find(ferry_data(r), "grams"), 0));
        ferry_reply_free(r);
    }
    pthread_join(thread, NULL);
    return ferry_close(f) != FERRY_OK;
}
