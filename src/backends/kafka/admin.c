/* admin.c - dead letters and facts. */
#include "backends/kafka/kafka.h"

void ferry__kafka_admins(ferry__kafka *k)
{
    for (ferry__admin *a; (a = k->passed.admins);) {
        k->passed.admins = a->next;
        a->status = FERRY_UNSUPPORTED;
        a->next = k->answers;
        k->answers = a;
    }
}
