/* storage_open.c - which implementer of the seam reads. */
#include "io/storage.h"

#include "base/log.h"

#ifndef HAVE_LIBURING
bool storage_uring_is_usable(uint32_t queue_depth)
{
    (void)queue_depth;
    return false;
}

uint64_t storage_uring_bytes(uint32_t queue_depth)
{
    (void)queue_depth;
    return 0;
}

leat_status storage_uring_open(mem *ledger, const file_set *files, uint32_t queue_depth, storage **out_storage,
                               leat_error *error)
{
    (void)ledger;
    (void)files;
    (void)queue_depth;
    (void)out_storage;
    return FAIL(error, IO, "io_uring: not built in");
}
#endif

/* Measured (docs/measurements/storage.md). */
static storage_kind chosen_kind(storage_kind wanted) { return wanted == STORAGE_AUTO ? STORAGE_URING : wanted; }

storage_kind storage_resolve(storage_kind wanted, uint32_t queue_depth)
{
    storage_kind kind = chosen_kind(wanted);
    return kind == STORAGE_URING && !storage_uring_is_usable(queue_depth) ? STORAGE_THREADS : kind;
}

uint64_t storage_bytes(storage_kind kind, uint32_t thread_count, uint32_t queue_depth)
{
    return storage_resolve(kind, queue_depth) == STORAGE_URING ? storage_uring_bytes(queue_depth)
                                                               : storage_threads_bytes(thread_count, queue_depth);
}

leat_status storage_open(storage_kind wanted, mem *ledger, const file_set *files, uint32_t thread_count,
                         uint32_t queue_depth, storage **out_storage, leat_error *error)
{
    if (chosen_kind(wanted) == STORAGE_URING) {
        leat_error refusal;
        leat_status status = storage_uring_open(ledger, files, queue_depth, out_storage, &refusal);
        if (status == LEAT_OK) return LEAT_OK;
        if (status != LEAT_IO) {
            *error = refusal;
            return status;
        }
        log_write(wanted == STORAGE_URING ? LOG_WARN : LOG_INFO, "%s: weights are read by threads", refusal.text);
    }
    return storage_threads_open(ledger, files, thread_count, queue_depth, out_storage, error);
}
