#include "fault_hooks.h"

#include "support/unit.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

static _Atomic uint64_t allocation_count, allocation_to_fail, thread_count, thread_to_fail, read_count;
static _Atomic int64_t ledger_count;
static struct {
    _Atomic int fault;
    _Atomic uint64_t begin, end, pass_count;
} reads;

void hooks_reset(void)
{
    allocation_count = allocation_to_fail = thread_count = thread_to_fail = read_count = 0;
    reads.fault = READ_FAULT_NONE;
}

void hooks_fail_allocation(uint64_t nth)
{
    allocation_count = 0;
    allocation_to_fail = nth;
}

void hooks_fail_thread(uint64_t nth)
{
    thread_count = 0;
    thread_to_fail = nth;
}

uint64_t hooks_allocation_count(void) { return allocation_count; }
uint64_t hooks_thread_count(void) { return thread_count; }
uint64_t hooks_read_count(void) { return read_count; }

void hooks_set_read_fault(read_fault fault, uint64_t begin, uint64_t end, uint64_t pass_count)
{
    reads.begin = begin;
    reads.end = end;
    reads.pass_count = pass_count;
    read_count = 0;
    reads.fault = (int)fault;
}

/* ---- the ledger ---- */

leat_status __real_mem_open(uint64_t budget_bytes, mem **out_mem, leat_error *error);
leat_status __wrap_mem_open(uint64_t budget_bytes, mem **out_mem, leat_error *error);
void __real_mem_close(mem **ledger);
void __wrap_mem_close(mem **ledger);
leat_status __real_mem_alloc(mem *ledger, mem_pool pool, uint64_t count, uint64_t each_bytes, size_t align,
                             const char *what, void **out_block, leat_error *error);
leat_status __wrap_mem_alloc(mem *ledger, mem_pool pool, uint64_t count, uint64_t each_bytes, size_t align,
                             const char *what, void **out_block, leat_error *error);
leat_status __real_mem_resize(mem *ledger, mem_pool pool, void **block, uint64_t count, uint64_t each_bytes,
                              const char *what, leat_error *error);
leat_status __wrap_mem_resize(mem *ledger, mem_pool pool, void **block, uint64_t count, uint64_t each_bytes,
                              const char *what, leat_error *error);

static leat_status refuse(const char *what, leat_error *error)
{
    return FAIL_OS(error, NO_MEMORY, ENOMEM, "%s: the test wants no memory here", what);
}

static bool allocation_fails(void) { return ++allocation_count == allocation_to_fail; }

leat_status __wrap_mem_open(uint64_t budget_bytes, mem **out_mem, leat_error *error)
{
    if (allocation_fails()) return refuse("the memory ledger", error);
    const leat_status status = __real_mem_open(budget_bytes, out_mem, error);
    if (status == LEAT_OK) ledger_count++;
    return status;
}

void __wrap_mem_close(mem **ledger)
{
    if (*ledger) {
        if (mem_total_usage(*ledger).current_bytes != 0) {
            fprintf(stderr, "a ledger is closed with %llu bytes in it\n",
                    (unsigned long long)mem_total_usage(*ledger).current_bytes);
            abort();
        }
        ledger_count--;
    }
    __real_mem_close(ledger);
}

leat_status __wrap_mem_alloc(mem *ledger, mem_pool pool, uint64_t count, uint64_t each_bytes, size_t align,
                             const char *what, void **out_block, leat_error *error)
{
    if (allocation_fails()) return refuse(what, error);
    return __real_mem_alloc(ledger, pool, count, each_bytes, align, what, out_block, error);
}

leat_status __wrap_mem_resize(mem *ledger, mem_pool pool, void **block, uint64_t count, uint64_t each_bytes,
                              const char *what, leat_error *error)
{
    if (allocation_fails()) return refuse(what, error);
    return __real_mem_resize(ledger, pool, block, count, each_bytes, what, error);
}

/* ---- the system ---- */

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*begin)(void *), void *context);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*begin)(void *), void *context);
ssize_t __real_pread64(int fd, void *buffer, size_t bytes, off_t offset);
ssize_t __wrap_pread64(int fd, void *buffer, size_t bytes, off_t offset);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*begin)(void *), void *context)
{
    if (++thread_count == thread_to_fail) return EAGAIN;
    return __real_pthread_create(thread, attributes, begin, context);
}

static void sleep_ms(long ms)
{
    const struct timespec pause = {.tv_nsec = ms * 1000000};
    nanosleep(&pause, NULL);
}

/* What the n-th read that is not let through is refused with; 0: nothing. */
static int refusal_of(int fault, uint64_t nth)
{
    if (fault == READ_FAULT_GONE) return ENODEV;
    if (fault == READ_FAULT_EIO || (fault == READ_FAULT_FLAKY && nth <= 2)) return EIO;
    return fault == READ_FAULT_INTERRUPT && nth % 2 ? EINTR : 0;
}

ssize_t __wrap_pread64(int fd, void *buffer, size_t bytes, off_t offset)
{
    const int fault = reads.fault;
    const uint64_t begin = (uint64_t)offset, end = begin + bytes;

    if (fault == READ_FAULT_NONE || end <= reads.begin || begin >= reads.end)
        return __real_pread64(fd, buffer, bytes, offset);
    const uint64_t number = ++read_count;
    if (number <= reads.pass_count) return __real_pread64(fd, buffer, bytes, offset);
    if (fault == READ_FAULT_EOF) return 0;
    const int refusal = refusal_of(fault, number - reads.pass_count);
    if (refusal) {
        errno = refusal;
        return -1;
    }
    if (fault == READ_FAULT_SLOW) sleep_ms(2);
    while (fault == READ_FAULT_HELD && reads.fault == READ_FAULT_HELD) sleep_ms(1);
    return __real_pread64(fd, buffer, fault == READ_FAULT_SHORT && bytes > 512 ? 512 : bytes, offset);
}

/* ---- what is held ---- */

static uint32_t count_entries(const char *path)
{
    uint32_t count = 0;
    DIR *folder = opendir(path);

    assert_non_null(folder);
    for (struct dirent *e = readdir(folder); e; e = readdir(folder)) count += e->d_name[0] != '.';
    closedir(folder);
    return count;
}

static void *do_nothing(void *user) { return user; }

/* A sanitizer's runtime starts a thread of its own beside the first of the program, and keeps it. */
static void begin_threads(void)
{
    pthread_t first;
    assert_int_equal(pthread_create(&first, NULL, do_nothing, NULL), 0);
    assert_int_equal(pthread_join(first, NULL), 0);
}

held hooks_held(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    assert_int_equal(pthread_once(&once, begin_threads), 0);
    return (held){.ledger_count = ledger_count,
                  .descriptor_count = count_entries("/proc/self/fd"),
                  .thread_count = count_entries("/proc/self/task")};
}

/* A thread that was joined, or a worker of the kernel's for a closed ring, may take a moment to leave the list: here,
 * or after `expected` was counted. */
void hooks_assert_held(held expected)
{
    held now = hooks_held();

    for (int i = 0; i < 1000 && now.thread_count > expected.thread_count; i++) {
        sleep_ms(1);
        now = hooks_held();
    }
    assert_int_equal(now.ledger_count, expected.ledger_count);
    assert_int_equal(now.descriptor_count, expected.descriptor_count);
    assert_in_range(now.thread_count, 1, expected.thread_count);
}
