/*
 * own_thread.h - one thread whose stack is the ledger's, for work that goes on beside the caller's.
 *
 * Signals belong to the program's own threads: this one blocks all of them. The lowest page of its stack is a guard.
 *
 * Threads: start and join from one thread.
 */
#ifndef OS_OWN_THREAD_H
#define OS_OWN_THREAD_H

#include "base/mem.h"

#include <pthread.h>

typedef struct own_thread {
    mem *ledger;
    void *stack; /* NULL: not running */
    pthread_t id;
} own_thread;

typedef void own_thread_fn(void *context);

/* What start takes from its pool and join gives back. */
uint64_t own_thread_bytes(uint64_t stack_bytes);
/* `out_thread` is zeroed and stays where it is until join. LEAT_NO_MEMORY: no thread could be started. */
MUST_CHECK leat_status own_thread_start(mem *ledger, mem_pool pool, const char *name, uint64_t stack_bytes,
                                        own_thread_fn *fn, void *context, own_thread *out_thread, leat_error *error);
/* Waits until fn has returned. Nothing to do for a thread that was not started, or joined already. */
void own_thread_join(own_thread *t);

#endif
