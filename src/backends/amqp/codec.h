/* codec.h - AMQP 0-9-1 frames in and out of a stream; rabbitmq-c builds and reads them and does nothing else.
 *
 * rabbitmq-c never sees a socket. Of its traps, these are kept out here: it is given whole frames only, whose length was held against
 * frame_max before (older versions allocate what the length field says); amqp_tune_connection comes after Connection.Start (else it
 * aborts); what it decoded lives in its pools until `release`, so callers copy. Nothing that is written is ever half a message: room
 * for all of its frames is taken at once. */
#ifndef FERRY_AMQP_CODEC_H
#define FERRY_AMQP_CODEC_H

#include "net/stream.h"

#include <ferry/ferry.h>
#if __has_include(<rabbitmq-c/amqp.h>)
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/framing.h>
#else
#include <amqp.h>
#include <amqp_framing.h>
#endif

enum { FERRY__AMQP_FRAME_MIN = 8192, FERRY__AMQP_FRAME_MAX = 131072 };

typedef struct ferry__amqp_codec {
    ferry__stream          *stream; /* not ours */
    amqp_connection_state_t state;
    size_t                  frame_max; /* of a whole frame */
} ferry__amqp_codec;

bool ferry__amqp_codec_open(ferry__amqp_codec *c, ferry__stream *stream); /* writes the protocol header; false: no memory */
void ferry__amqp_codec_done(ferry__amqp_codec *c);
bool ferry__amqp_codec_tune(ferry__amqp_codec *c, size_t frame_max); /* after Start was read */

/* 1: a frame, valid until release; 0: none whole yet; -1: what came is not AMQP 0-9-1, or there is no memory; why says it. */
int  ferry__amqp_codec_next(ferry__amqp_codec *c, amqp_frame_t *frame, char *why);
void ferry__amqp_codec_release(ferry__amqp_codec *c);

/* False: no room now, and nothing was written. */
bool ferry__amqp_put(ferry__amqp_codec *c, amqp_channel_t channel, amqp_method_number_t method, void *decoded);
bool ferry__amqp_put_beat(ferry__amqp_codec *c);
typedef struct ferry__amqp_letter {
    amqp_channel_t           channel;
    const char              *exchange, *key;
    bool                     mandatory;
    amqp_basic_properties_t *properties;
    const void              *body;
    size_t                   length;
} ferry__amqp_letter;
/* OK, OVERLOADED (no room now) or TOO_BIG (its properties do not fit into one frame). */
ferry_status ferry__amqp_put_letter(ferry__amqp_codec *c, const ferry__amqp_letter *l);

static inline amqp_bytes_t ferry__amqp_text(const char *text)
{
    return amqp_cstring_bytes(text);
}
static inline amqp_bytes_t ferry__amqp_bytes(const void *bytes, size_t length)
{
    return (amqp_bytes_t){length, (void *)(uintptr_t)bytes}; /* rabbitmq-c takes no const; it does not write */
}

#endif
