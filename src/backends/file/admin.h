/* admin.h - dead letters and the doctor. */
#ifndef FERRY_FILE_ADMIN_H
#define FERRY_FILE_ADMIN_H

#include "backends/file/pipe.h"

/* Answers those among the ops that only read; the others wait for the transaction. */
void ferry__admin_answer(ferry__file *f);
int  ferry__admin_write(ferry__file *f, ferry__admin *admin);

#endif
