/* fields.h - a frame as the properties of an AMQP message, and back; docs/wire.md has the table. */
#ifndef FERRY_AMQP_FIELDS_H
#define FERRY_AMQP_FIELDS_H

#include "backends/amqp/codec.h"
#include "base/buf.h"
#include "wire/frame.h"

enum { FERRY__AMQP_OWN = 8, FERRY__AMQP_HEADERS = 64 };

/* Properties that point into a frame and into the scratch beside them: valid as long as both stand still. */
typedef struct ferry__amqp_fields {
    amqp_basic_properties_t p;
    amqp_table_entry_t      entries[FERRY__AMQP_OWN + FERRY__AMQP_HEADERS];
    char                    id[FERRY__ID_TEXT], expiration[24], until[40];
} ferry__amqp_fields;

void ferry__amqp_fields_write(ferry__amqp_fields *to, const ferry__frame *f, const char *reply_to, int64_t now_ms);

/* The frame of a message of that kind, room for its body left open. NULL: malformed (PROTOCOL) or NO_MEMORY. `scratch` is reused. */
ferry__frame *ferry__amqp_fields_read(const amqp_basic_properties_t *p, ferry__kind kind, size_t body, int64_t now_ms,
                                      ferry__buf *scratch, ferry_status *why);
/* How often the broker gave it to consumers before; -1: it does not say (classic queues). */
int64_t ferry__amqp_fields_deliveries(const amqp_basic_properties_t *p);
bool    ferry__amqp_fields_event(const amqp_basic_properties_t *p); /* an event, wherever it comes from? */
uint64_t ferry__amqp_fields_offset(const amqp_basic_properties_t *p); /* in a stream; 0 without */
bool    ferry__amqp_fields_id(const amqp_basic_properties_t *p, ferry__kind kind, ferry__id *id);

#endif
