#include "support/unit.h"

#include "os/clock.h"
#include "os/thread_pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

enum { TASKS_MAX = 5000, THREADS_MAX = 8 };

typedef struct tally {
    uint32_t thread_count;
    uint32_t runs[TASKS_MAX]; /* plain: the pool alone orders the writes of a task before the caller's read */
    _Atomic uint32_t per_thread[THREADS_MAX];
    _Atomic uint32_t thread_idx_is_bad;
} tally;

static void count_task(void *context, uint32_t task_idx, uint32_t thread_idx)
{
    tally *t = context;
    t->runs[task_idx]++;
    if (thread_idx >= t->thread_count)
        atomic_store(&t->thread_idx_is_bad, 1);
    else
        atomic_fetch_add(&t->per_thread[thread_idx], 1);
}

static thread_pool *open_pool(mem *ledger, uint32_t thread_count)
{
    leat_error error;
    thread_pool *pool = NULL;
    assert_ok(thread_pool_open(ledger, thread_count, &pool, &error), &error);
    assert_int_equal(thread_pool_thread_count(pool), thread_count);
    return pool;
}

static void every_task_runs_once(void **state)
{
    (void)state;
    mem *ledger = open_ledger(0);
    static tally t;
    for (uint32_t thread_count = 1; thread_count <= THREADS_MAX; thread_count++) {
        thread_pool *pool = open_pool(ledger, thread_count);
        memset(&t, 0, sizeof t);
        t.thread_count = thread_count;
        uint32_t expected = 0;
        for (uint32_t task_count = 0; task_count <= TASKS_MAX; task_count = task_count * 3 / 2 + 1) {
            thread_pool_run(pool, count_task, &t, task_count);
            expected++;
            for (uint32_t i = 0; i < task_count; i++) {
                assert_int_equal(t.runs[i], 1);
                t.runs[i] = 0;
            }
            if (task_count < TASKS_MAX) assert_int_equal(t.runs[task_count], 0);
        }
        assert_false(atomic_load(&t.thread_idx_is_bad));
        assert_true(expected > 10);
        thread_pool_close(&pool);
        assert_null(pool);
    }
    close_empty_ledger(ledger);
}

/* Thousands of tiny loops back to back, some after a pause in which the workers fall asleep: the hand-over itself. */
static void many_small_loops(void **state)
{
    (void)state;
    mem *ledger = open_ledger(0);
    static tally t;
    memset(&t, 0, sizeof t);
    t.thread_count = 4;
    thread_pool *pool = open_pool(ledger, 4);
    for (uint32_t loop = 1; loop <= 4000; loop++) {
        uint32_t task_count = 2 + loop % 7;
        thread_pool_run(pool, count_task, &t, task_count);
        for (uint32_t i = 0; i < task_count; i++) {
            assert_int_equal(t.runs[i], 1);
            t.runs[i] = 0;
        }
        if (loop % 40 == 0) nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
    thread_pool_close(&pool);
    close_empty_ledger(ledger);
}

static void sleep_in_task(void *context, uint32_t task_idx, uint32_t thread_idx)
{
    count_task(context, task_idx, thread_idx);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
}

/* The pool really runs tasks side by side, and the workers take their share, also after they have slept. */
static void tasks_run_side_by_side(void **state)
{
    (void)state;
    mem *ledger = open_ledger(0);
    static tally t;
    memset(&t, 0, sizeof t);
    t.thread_count = 4;
    thread_pool *pool = open_pool(ledger, 4);
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    uint64_t start = clock_now_ns();
    thread_pool_run(pool, sleep_in_task, &t, 16);
    uint64_t taken_ns = clock_now_ns() - start;
    assert_true(taken_ns < UINT64_C(16 * 20000000) * 3 / 4); /* 80 ms side by side, 320 ms one after the other */
    for (uint32_t i = 0; i < 4; i++) assert_true(atomic_load(&t.per_thread[i]) > 0);
    thread_pool_close(&pool);
    close_empty_ledger(ledger);
}

static void note_thread(void *context, uint32_t task_idx, uint32_t thread_idx)
{
    (void)task_idx;
    assert_int_equal(thread_idx, 0);
    *(pthread_t *)context = pthread_self();
}

static void a_single_task_runs_on_the_caller(void **state)
{
    (void)state;
    mem *ledger = open_ledger(0);
    thread_pool *pool = open_pool(ledger, 4);
    pthread_t where;
    memset(&where, 0, sizeof where);
    thread_pool_run(pool, note_thread, &where, 0);
    thread_pool_run(pool, note_thread, &where, 1);
    assert_true(pthread_equal(where, pthread_self()));
    thread_pool_close(&pool);
    close_empty_ledger(ledger);
}

static void check_signals(void *context, uint32_t task_idx, uint32_t thread_idx)
{
    (void)task_idx;
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    if (thread_idx != 0 && sigismember(&mask, SIGINT) != 1) atomic_store((_Atomic uint32_t *)context, 1);
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void workers_leave_signals_to_the_program(void **state)
{
    (void)state;
    mem *ledger = open_ledger(0);
    thread_pool *pool = open_pool(ledger, 4);
    _Atomic uint32_t is_bad = 0;
    thread_pool_run(pool, check_signals, (void *)&is_bad, 32);
    assert_false(atomic_load(&is_bad));
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    assert_int_equal(sigismember(&mask, SIGINT), 0); /* and the caller's own mask is as before */
    thread_pool_close(&pool);
    close_empty_ledger(ledger);
}

/* Uses most of a stack: it is as large as promised. */
static void fill_stack(void *context, uint32_t task_idx, uint32_t thread_idx)
{
    (void)context, (void)task_idx, (void)thread_idx;
    volatile char block[THREAD_STACK_BYTES / 2];
    for (size_t i = 0; i < sizeof block; i += 512) block[i] = 1;
    nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

static void stacks_are_counted_and_usable(void **state)
{
    (void)state;
    mem *ledger = open_ledger(0);
    thread_pool *pool = open_pool(ledger, 5);
    uint64_t taken = mem_pool_usage(ledger, MEM_META).current_bytes;
    assert_in_range(taken, 4 * THREAD_STACK_BYTES, 4 * (THREAD_STACK_BYTES + 16384));
    thread_pool_run(pool, fill_stack, NULL, 64);
    thread_pool_close(&pool);
    close_empty_ledger(ledger);
}

static void opening_fails_cleanly(void **state)
{
    (void)state;
    leat_error error;
    mem *ledger = open_ledger(0);
    thread_pool *pool = NULL;
    assert_fails(USAGE, thread_pool_open(ledger, 0, &pool, &error), &error);
    assert_fails(USAGE, thread_pool_open(ledger, THREAD_POOL_THREADS_MAX + 1, &pool, &error), &error);
    for (uint64_t nth = 1; nth <= 4; nth++) {
        mem_fail_nth(ledger, nth);
        assert_fails(NO_MEMORY, thread_pool_open(ledger, 4, &pool, &error), &error);
        assert_null(pool);
        assert_int_equal(mem_total_usage(ledger).current_bytes, 0);
    }
    mem_fail_nth(ledger, 5);
    assert_ok(thread_pool_open(ledger, 4, &pool, &error), &error);
    thread_pool_close(&pool);
    thread_pool_close(&pool);
    close_empty_ledger(ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_runs_once),
        cmocka_unit_test(many_small_loops),
        cmocka_unit_test(tasks_run_side_by_side),
        cmocka_unit_test(a_single_task_runs_on_the_caller),
        cmocka_unit_test(workers_leave_signals_to_the_program),
        cmocka_unit_test(stacks_are_counted_and_usable),
        cmocka_unit_test(opening_fails_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
