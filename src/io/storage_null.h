/*
 * storage_null.h - a storage that reads nothing: every read is done at once, and the buffer is left as it is. For the
 * replay of recorded routing, where only the cache's decisions count.
 *
 * Threads: one thread.
 */
#ifndef IO_STORAGE_NULL_H
#define IO_STORAGE_NULL_H

#include "io/storage.h"

/* Results come back in the order of submission. MEM_IO. */
MUST_CHECK leat_status storage_null_open(mem *ledger, uint32_t queue_depth, storage **out_storage, leat_error *error);

#endif
