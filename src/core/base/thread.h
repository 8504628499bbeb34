/* thread.h - threads that block every signal, so that the program's own handlers run on the program's own threads. */
#ifndef FERRY_BASE_THREAD_H
#define FERRY_BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>

bool ferry__thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *arg); /* name: 15 bytes at most */

/* How often this process is a forked copy: a handle that was opened under another number belongs to the parent. */
unsigned ferry__fork_count(void);

#endif
