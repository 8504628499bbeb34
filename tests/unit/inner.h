/* inner.h - a scripted transport behind a decorator, and a core in front of it that writes down what it hears.
 *
 *     rig r;
 *     rig_open(&r, "fault+mem:?drop=2", true);
 *     rig_send(&r, FERRY__CALL, 7);
 *     rig_turn(&r);                                 // flush, step, pump
 *     CHECK_STR(rig_below(&r), "send 7 body c0, flush, step, pump");
 *     CHECK_STR(rig_above(&r), "outcome 7 ACCEPTED OK");
 *     rig_close(&r);
 *
 * Frames are told apart by their serial. */
#ifndef FERRY_UNIT_INNER_H
#define FERRY_UNIT_INNER_H

#include "link/backend.h"

enum { RIG_TEXT = 8192, RIG_FRAMES = 64 };

typedef struct rig_inner {
    ferry__up *up;
    struct rig *rig;
    ferry__frame *sent[RIG_FRAMES], *back[RIG_FRAMES]; /* without an outcome; handed back */
    size_t sent_count, back_count, settled;
    bool silent; /* no outcomes */
} rig_inner;

typedef struct rig {
    ferry__up up; /* first: the core's side */
    ferry__log log;
    ferry__url url;
    ferry__config base, wrapped, config; /* the scripted one's, the second decorator's if any, the outermost's */
    rig_inner inner;
    const ferry__backend *outer;
    void *self, *middle;
    ferry__target target;
    ferry__source source;
    char below[RIG_TEXT], above[RIG_TEXT], lines[RIG_TEXT];
    ferry__frame *received[RIG_FRAMES];
    size_t received_count;
} rig;

/* Opens the decorator (or two) that the URL names. `able`: the scripted one has step and every ability. */
ferry_status rig_open(rig *r, const char *url, bool able);
void rig_close(rig *r);

ferry__frame *rig_frame(ferry__kind kind, uint64_t serial);
bool rig_send(rig *r, ferry__kind kind, uint64_t serial); /* a reply without a target; false: no memory for the frame */
void rig_arrive(rig *r, ferry__frame *frame);             /* from below, as if in pump; takes */
void rig_turn(rig *r);

/* What was heard since the last question, joined by ", ". */
const char *rig_below(rig *r);
const char *rig_above(rig *r);
const char *rig_lines(rig *r); /* the log, each line with its end */

#endif
