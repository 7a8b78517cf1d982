/*
 * thread_pool.c - a parallel loop over tasks that are handed out by one atomic counter.
 *
 * Each worker has a mailbox of its own:
 *
 *                    run                     worker takes it
 *     IDLE ----------------------> WORK --------------------------> IDLE, busy until it has counted `unfinished` down
 *      | after spinning             ^  | the caller takes it back: all tasks are gone, the worker has not begun
 *      v                            |  +--------------------------> IDLE
 *     ASLEEP (futex) ---------------+ run, with a wake-up
 *
 * Taking work back matters when a worker sleeps: waking takes longer than a small loop, and the caller need not wait
 * for someone who would find nothing to do.
 *
 * Invariants: (1) `unfinished` counts the workers whose mailbox was set and who have neither finished nor been passed
 * over; (2) fn, context and task_count change only while `unfinished` is 0; (3) a mailbox goes from WORK to IDLE
 * exactly once per loop, by a compare-and-exchange: whoever does it answers for counting down.
 *
 * Threads: one caller at a time; workers block every signal, so handlers run on the program's own threads.
 */
#include "os/thread_pool.h"

#include "base/bytes.h"
#include "os/clock.h"
#include "os/cpu_topology.h"

#include <assert.h>
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    CACHE_LINE_BYTES = 64,
    SPINS_PER_CLOCK_READ = 64,
};

/* Long enough to bridge the single-threaded steps between two loops of a layer, short enough not to be felt as load:
 * about what one sleep and wake-up costs. 5000..100000 is sane. */
static const uint64_t SPIN_NS = 20000;

enum { MAILBOX_IDLE, MAILBOX_WORK, MAILBOX_ASLEEP };

typedef struct worker {
    _Alignas(CACHE_LINE_BYTES) _Atomic uint32_t mailbox;
    uint32_t thread_idx;
    thread_pool *pool;
    pthread_t thread;
    void *stack;
} worker;

struct thread_pool {
    mem *ledger;
    uint32_t thread_count;
    uint32_t started_count; /* of workers[]; thread_count - 1 once open */
    bool may_spin;
    bool must_stop; /* written before the last WORK is posted */
    thread_pool_task *fn;
    void *context;
    uint32_t task_count;
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t next_task; /* 64 bits: each thread passes the end once */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint32_t unfinished;
    _Atomic bool caller_is_asleep;
    worker workers[]; /* (thread_count - 1) */
};

static void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

/* Returns at once when the word no longer holds `expected`; may also return for no reason. */
static void futex_wait(_Atomic uint32_t *word, uint32_t expected)
{
    syscall(SYS_futex, (uint32_t *)word, FUTEX_WAIT_PRIVATE, expected, NULL, NULL, 0);
}

static void futex_wake_one(_Atomic uint32_t *word)
{
    syscall(SYS_futex, (uint32_t *)word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static bool take_mail(worker *w)
{
    uint32_t expected = MAILBOX_WORK;
    return atomic_compare_exchange_strong(&w->mailbox, &expected, MAILBOX_IDLE);
}

static void wait_for_mail(worker *w)
{
    for (;;) {
        if (w->pool->may_spin) {
            uint64_t until = clock_now_ns() + SPIN_NS;
            do {
                for (int i = 0; i < SPINS_PER_CLOCK_READ; i++) {
                    if (atomic_load_explicit(&w->mailbox, memory_order_relaxed) == MAILBOX_WORK && take_mail(w)) return;
                    pause_cpu();
                }
            } while (clock_now_ns() < until);
        }
        uint32_t seen = MAILBOX_IDLE;
        if (atomic_compare_exchange_strong(&w->mailbox, &seen, MAILBOX_ASLEEP)) {
            while (atomic_load(&w->mailbox) == MAILBOX_ASLEEP) futex_wait(&w->mailbox, MAILBOX_ASLEEP);
        }
        if (take_mail(w)) return;
    }
}

static void post_work(worker *w)
{
    if (atomic_exchange(&w->mailbox, MAILBOX_WORK) == MAILBOX_ASLEEP) futex_wake_one(&w->mailbox);
}

static void run_tasks(thread_pool *pool, uint32_t thread_idx)
{
    for (;;) {
        uint64_t task_idx = atomic_fetch_add_explicit(&pool->next_task, 1, memory_order_relaxed);
        if (task_idx >= pool->task_count) return;
        pool->fn(pool->context, (uint32_t)task_idx, thread_idx);
    }
}

static void *run_worker(void *argument)
{
    worker *w = argument;
    thread_pool *pool = w->pool;
    for (;;) {
        wait_for_mail(w);
        if (pool->must_stop) return NULL;
        run_tasks(pool, w->thread_idx);
        /* The caller either sees the zero, or has said that it sleeps before we look. */
        if (atomic_fetch_sub(&pool->unfinished, 1) == 1 && atomic_load(&pool->caller_is_asleep))
            futex_wake_one(&pool->unfinished);
    }
}

static void pass_over_late_workers(thread_pool *pool, uint32_t posted_count)
{
    for (uint32_t i = 0; i < posted_count; i++) {
        if (take_mail(&pool->workers[i])) atomic_fetch_sub(&pool->unfinished, 1);
    }
}

static void wait_for_workers(thread_pool *pool)
{
    if (pool->may_spin && atomic_load(&pool->unfinished) != 0) {
        uint64_t until = clock_now_ns() + SPIN_NS;
        do {
            for (int i = 0; i < SPINS_PER_CLOCK_READ; i++) {
                if (atomic_load(&pool->unfinished) == 0) return;
                pause_cpu();
            }
        } while (clock_now_ns() < until);
    }
    if (atomic_load(&pool->unfinished) == 0) return;
    atomic_store(&pool->caller_is_asleep, true);
    for (uint32_t left; (left = atomic_load(&pool->unfinished)) != 0;) futex_wait(&pool->unfinished, left);
    atomic_store(&pool->caller_is_asleep, false);
}

void thread_pool_run(thread_pool *pool, thread_pool_task *fn, void *context, uint32_t task_count)
{
    if (task_count == 0) return;
    if (task_count == 1 || pool->thread_count == 1) {
        for (uint32_t i = 0; i < task_count; i++) fn(context, i, 0);
        return;
    }
    assert(atomic_load(&pool->unfinished) == 0); /* a second caller, or a task that calls run */
    uint32_t posted_count = (uint32_t)min_u64(task_count, pool->thread_count) - 1;
    pool->fn = fn;
    pool->context = context;
    pool->task_count = task_count;
    atomic_store(&pool->next_task, 0);
    atomic_store(&pool->unfinished, posted_count);
    for (uint32_t i = 0; i < posted_count; i++) post_work(&pool->workers[i]);
    run_tasks(pool, 0);
    pass_over_late_workers(pool, posted_count);
    wait_for_workers(pool);
}

/* The lowest page is the guard: a stack that grows into it faults instead of running over a neighbour. */
static leat_status take_stack(worker *w, leat_error *error)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    TRY(mem_alloc(w->pool->ledger, MEM_META, THREAD_STACK_BYTES, 1, page, "a thread's stack", &w->stack, error));
    if (mprotect(w->stack, page, PROT_NONE) == 0) return LEAT_OK;
    return FAIL_OS(error, NO_MEMORY, errno, "a thread's stack: mprotect of its guard page failed");
}

static leat_status start_worker(thread_pool *pool, uint32_t worker_idx, leat_error *error)
{
    worker *w = &pool->workers[worker_idx];
    w->pool = pool;
    w->thread_idx = worker_idx + 1;
    TRY(take_stack(w, error));

    pthread_attr_t attributes;
    int failed = pthread_attr_init(&attributes);
    if (failed == 0) {
        failed = pthread_attr_setstack(&attributes, w->stack, THREAD_STACK_BYTES);
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before); /* the new thread inherits it */
        if (failed == 0) failed = pthread_create(&w->thread, &attributes, run_worker, w);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
    }
    if (failed != 0)
        return FAIL_OS(error, NO_MEMORY, failed, "thread %u of %u could not be started", worker_idx + 2,
                       pool->thread_count);
    pool->started_count++;
    char name[16];
    snprintf(name, sizeof name, "leat-%u", w->thread_idx);
    (void)pthread_setname_np(w->thread, name);
    return LEAT_OK;
}

static uint64_t own_bytes(uint32_t thread_count) { return sizeof(thread_pool) + (thread_count - 1) * sizeof(worker); }

uint64_t thread_pool_bytes(uint32_t thread_count)
{
    return mem_block_bytes(own_bytes(thread_count), CACHE_LINE_BYTES) +
           (thread_count - 1) * mem_block_bytes(THREAD_STACK_BYTES, (size_t)sysconf(_SC_PAGESIZE));
}

leat_status thread_pool_open(mem *ledger, uint32_t thread_count, thread_pool **out_pool, leat_error *error)
{
    if (thread_count < 1 || thread_count > THREAD_POOL_THREADS_MAX)
        return FAIL(error, USAGE, "expected 1 to %d threads, found %u", THREAD_POOL_THREADS_MAX, thread_count);
    thread_pool *pool;
    TRY(mem_alloc(ledger, MEM_META, 1, own_bytes(thread_count), CACHE_LINE_BYTES, "a thread pool", (void **)&pool,
                  error));
    pool->ledger = ledger;
    pool->thread_count = thread_count;
    /* With fewer CPUs than threads a spinning thread keeps the one it waits for from running. */
    pool->may_spin = cpu_usable_count() >= thread_count;
    for (uint32_t i = 0; i + 1 < thread_count; i++) {
        leat_status status = start_worker(pool, i, error);
        if (status != LEAT_OK) {
            thread_pool_close(&pool);
            return status;
        }
    }
    *out_pool = pool;
    return LEAT_OK;
}

void thread_pool_close(thread_pool **pool)
{
    thread_pool *p = *pool;
    if (p == NULL) return;
    p->must_stop = true;
    for (uint32_t i = 0; i < p->started_count; i++) post_work(&p->workers[i]);
    for (uint32_t i = 0; i < p->started_count; i++) pthread_join(p->workers[i].thread, NULL);
    for (uint32_t i = 0; i + 1 < p->thread_count; i++) mem_free(p->ledger, p->workers[i].stack);
    mem_free(p->ledger, p);
    *pool = NULL;
}

uint32_t thread_pool_thread_count(const thread_pool *pool) { return pool->thread_count; }
