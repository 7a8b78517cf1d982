/*
 * thread_pool.h - one parallel loop at a time: fn(context, task_idx, thread_idx) for every task_idx below task_count.
 *
 * Which thread runs a task is not defined, so a task must not depend on it (thread_idx only picks scratch memory).
 * Workers spin briefly between loops and then sleep; the caller works too (it is thread 0).
 *
 * Threads: thread_pool_run from one thread at a time.
 */
#ifndef OS_THREAD_POOL_H
#define OS_THREAD_POOL_H

#include "base/mem.h"

typedef struct thread_pool thread_pool;
typedef void thread_pool_task(void *context, uint32_t task_idx, uint32_t thread_idx);

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1 /* the name that gcc uses */
#endif
#endif

#ifdef __SANITIZE_THREAD__
enum { THREAD_STACK_BYTES = 2048 * 1024 }; /* the sanitizer keeps its own state of a thread on that thread's stack */
#else
enum { THREAD_STACK_BYTES = 512 * 1024 };
#endif
enum { THREAD_POOL_THREADS_MAX = 256 };

/* `thread_count` >= 1 counts the caller. Stacks of THREAD_STACK_BYTES are taken from MEM_META. */
/* What open takes. */
uint64_t thread_pool_bytes(uint32_t thread_count);
MUST_CHECK leat_status thread_pool_open(mem *ledger, uint32_t thread_count, thread_pool **out_pool, leat_error *error);
void thread_pool_close(thread_pool **pool);
uint32_t thread_pool_thread_count(const thread_pool *pool);
/* Returns when every task is done; their writes are then visible to the caller. */
void thread_pool_run(thread_pool *pool, thread_pool_task *fn, void *context, uint32_t task_count);

#endif
