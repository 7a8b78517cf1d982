/*
 * fault_hooks.h - the world's failures, on order: the linker puts these functions between the library and the ledger,
 * the threads and the system's reads (--wrap), so that a test of the public interface can make any one of them fail.
 */
#ifndef UNIT_API_FAULT_HOOKS_H
#define UNIT_API_FAULT_HOOKS_H

#include <stdbool.h>
#include <stdint.h>

/* Nothing fails; counters start at 0. */
void hooks_reset(void);

/* The n-th allocation from now (1 = the next) in whatever ledger fails as if the system had no memory; 0: none. */
void hooks_fail_allocation(uint64_t nth);
uint64_t hooks_allocation_count(void);
/* The n-th thread from now is not started. */
void hooks_fail_thread(uint64_t nth);
uint64_t hooks_thread_count(void);

typedef enum read_fault {
    READ_FAULT_NONE,
    READ_FAULT_GONE,      /* the device is not there any more */
    READ_FAULT_EOF,       /* the file ends there */
    READ_FAULT_EIO,       /* the disk cannot read that */
    READ_FAULT_FLAKY,     /* the first two reads give EIO: not a failure */
    READ_FAULT_SHORT,     /* every read gives at most 512 bytes: not a failure */
    READ_FAULT_INTERRUPT, /* every other read gives EINTR: not a failure */
    READ_FAULT_SLOW,      /* every read takes two milliseconds: not a failure */
    READ_FAULT_HELD,      /* reads do not come back until another fault, or none, is set: not a failure */
} read_fault;
/* Concerns reads that touch [begin, end) of a file; the first `pass_count` of them are let through. */
void hooks_set_read_fault(read_fault fault, uint64_t begin, uint64_t end, uint64_t pass_count);
uint64_t hooks_read_count(void); /* that touched the range */

/* What the library holds: ledgers, open descriptors and threads of this process. */
typedef struct held {
    int64_t ledger_count;
    uint32_t descriptor_count, thread_count;
} held;
held hooks_held(void);
void hooks_assert_held(held expected);

#endif
