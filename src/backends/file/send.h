/* send.h - calls, posts and controls on their way into the table. */
#ifndef FERRY_FILE_SEND_H
#define FERRY_FILE_SEND_H

#include "backends/file/pipe.h"

/* In a transaction. False: no room in this one, nothing was done, the frame is still the caller's. */
bool ferry__send_do(ferry__file *f, ferry__frame *frame, int *error);
void ferry__send_forget(ferry__file *f, const ferry__frame *frame); /* the transaction failed: it was not sent */
/* How it ended, told by pump. Both take the frame. */
void ferry__send_accept(ferry__file *f, ferry__frame *frame);
void ferry__send_refuse(ferry__file *f, ferry__frame *frame, enum ferry__file_why why);

/* For events: it was sent before; remember that it was; why it cannot be sent now; a row of `message`. */
bool ferry__send_known(ferry__file *f, const ferry__frame *frame, int *error);
void ferry__send_remember(ferry__file *f, const ferry__frame *frame);
enum ferry__file_why ferry__send_obstacle(const ferry__file *f, const ferry__frame *frame);
int  ferry__send_put(ferry__file *f, int64_t id, const ferry__frame *frame);

#endif
