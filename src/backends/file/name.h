/* name.h - names: which number a service has, who listens to it, and whether anybody is alive. */
#ifndef FERRY_FILE_NAME_H
#define FERRY_FILE_NAME_H

#include "backends/file/pipe.h"

/* Our own record of a target, made on first use; NULL: no memory. With the link's lock. */
ferry__file_target *ferry__name_target(ferry__file *f, ferry__target *target);
ferry__file_listener *ferry__name_listener(ferry__file *f, ferry__source *source);
void ferry__name_forget(ferry__file *f); /* another database: numbers mean nothing any more; with the link's lock */

int ferry__name_make(ferry__file *f, const char *name, int *error); /* in a transaction: the number, made if need be */
/* In a transaction: the number, with its block in the page; 0: never served. */
int ferry__name_resolve(ferry__file *f, ferry__file_target *t, int *error);

/* Listeners that are not in the page yet. */
bool ferry__name_to_enter(const ferry__file *f);
int  ferry__name_enter(ferry__file *f);
void ferry__name_leave(ferry__file *f, ferry__file_listener *l);
void ferry__name_committed(ferry__file *f);
void ferry__name_undo(ferry__file *f);

/* The driver answers the probes among the ops; reads only. */
void ferry__name_answer_probes(ferry__file *f);
ferry__presence ferry__name_presence(const ferry__file *f, const ferry__file_target *t);
void ferry__name_tell_changes(ferry__file *f); /* in pump */

#endif
