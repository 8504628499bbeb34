/* eventy.c - the example of the eventy document: a payment service with commands and events.
 *
 *     class CreatePaymentCommand: name(), execute()       ferry_handle: a command is a no-wait post, to one service
 *     class PaymentCreatedEvent: name(), handle()         ferry_subscribe: an event is for whoever listens
 *     register_event_class(class, name or regex)          ferry_handle of a name or a pattern, brought by ferry_by_route
 *     GenericEvent, 'qotto.contract.*'                    the pattern: longer names are looked at first
 *     configure_consumer(.., event_group='payment')       the service itself shares the commands
 *     event_group=None, position='earliest'               no group, FERRY_FROM_EARLIEST: replay at every start
 *     set_checkpoint_callback                             on_caught_up
 *     emitter.send(event, 'payment-events')               ferry_publish within the command: correlation goes along
 *     app.set, app.get                                    arg
 *     MAX_RETRIES, RETRY_INTERVAL, RETRY_BACKOFF_COEFF    attempts, backoff_ms, factor
 *
 * A failing handler does not stop what comes behind it, and nobody is killed when it has failed ten times: the message is a
 * dead letter then. */
#include <ferry/ferry.h>

#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

typedef struct app {
    ferry     *f;
    atomic_int payments, contracts, replayed;
    char       correlation[128];
} app;

static void execute_create_payment(ferry_request *req, void *arg)
{
    app *a = arg;
    const char *payer;
    int amount;
    if (!ferry_args(req, "payer", &payer, "amount", &amount))
        return;
    if (ferry_publish(a->f, "qotto.payment.event.PaymentCreated", ferry_map("payer", payer, "amount", amount),
                      FERRY_EVENT(.within = req, .key = payer, .confirm = FERRY_CONFIRMED)) != FERRY_OK)
        ferry_fail(req, "NotEmitted", "the event is not with the broker"); /* the command comes again */
}

static void payment_created(ferry_request *req, void *arg)
{
    app *a = arg;
    if (strcmp(ferry_request_correlation(req), a->correlation) == 0) {
        printf("payment of %s: %lld\n", ferry_as_string(ferry_find(ferry_request_data(req), "payer"), "?"),
               (long long)ferry_as_int(ferry_find(ferry_request_data(req), "amount"), -1));
        atomic_fetch_add(&a->payments, 1);
    }
}

static void contract_changed(ferry_request *req, void *arg)
{
    printf("contract: %s\n", strrchr(ferry_request_route(req), '.') + 1);
    atomic_fetch_add(&((app *)arg)->contracts, 1);
}

static void checkpoint(ferry_subscription *s, void *arg)
{
    (void)s;
    atomic_store(&((app *)arg)->replayed, 1);
}

static void until(const atomic_int *counter, int n)
{
    for (int ms = 0; atomic_load(counter) < n && ms < 10000; ms++)
        poll(NULL, 0, 1);
}

int main(void)
{
    app a = {0};
    snprintf(a.correlation, sizeof a.correlation, "payment-%ld", (long)getpid());
    a.f = ferry_open(NULL, FERRY_OPTIONS(.name = "payment"));
    ferry_handle(a.f, "payment.command.CreatePayment", execute_create_payment, &a,
                 FERRY_HANDLE(.attempts = 10, .backoff_ms = 1000));
    ferry_handle(a.f, "qotto.payment.event.PaymentCreated", payment_created, &a, FERRY_HANDLE(.verbs = FERRY_PUBLISH));
    ferry_handle(a.f, "qotto.contract.*", contract_changed, &a, FERRY_HANDLE(.verbs = FERRY_PUBLISH));
    ferry_subscribe(
        a.f, "qotto.**", ferry_by_route, &a,
        FERRY_SUBSCRIBE(.from = FERRY_FROM_EARLIEST, .on_caught_up = checkpoint, .attempts = 10, .factor = 2), NULL);
    ferry_serve(a.f);
    if (ferry_wait_ready(a.f, 10000) != FERRY_OK)
        return 1;
    until(&a.replayed, 1);
    printf("checkpoint reached: %d\n", atomic_load(&a.replayed));

    ferry_post_no_wait(a.f, "payment.command.CreatePayment", ferry_map("payer", "ada", "amount", 250),
                       FERRY_CALL(.correlation = a.correlation));
    until(&a.payments, 1);
    ferry_publish(a.f, "qotto.contract.ContractSuspended", ferry_map("contract", 7), NULL);
    until(&a.contracts, 1);
    return ferry_close(a.f) != FERRY_OK;
}
