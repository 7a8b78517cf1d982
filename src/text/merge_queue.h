/*
 * merge_queue.h - the pairs that wait to be merged, lowest key first; a key is rank << 32 | position.
 *
 * A short word uses a heap. In a word of millions of characters nearly every step of a heap misses the cache; there the
 * keys lie in lists by the highest bit in which they differ from the last key taken (a radix heap: Ahuja, Mehlhorn,
 * Orlin, Tarjan 1990), which are only appended to and read through. The lowest list, once it is short or of one rank,
 * is sorted and becomes the keys that are ready; what they point at can be fetched ahead. Lists need keys that do not
 * fall below those that are ready; the few that do go to the heap.
 */
#ifndef TEXT_MERGE_QUEUE_H
#define TEXT_MERGE_QUEUE_H

#include "base/mem.h"

#include <stdbool.h>

enum {
    MERGE_QUEUE_KEY_BITS = 54, /* ranks below 2^22, positions below 2^32 */
    MERGE_QUEUE_LARGE_COUNT =
        16 * 1024, /* symbols from which lists are used: about where the symbols leave the second-level cache */
};

typedef struct merge_key_list {
    uint64_t *keys;
    uint64_t count, capacity;
} merge_key_list;

typedef struct merge_queue {
    mem *ledger;
    uint64_t large_count; /* symbols from which lists are used */
    bool is_large;
    const char *items; /* what positions count, to be fetched ahead */
    size_t item_bytes;
    uint64_t steps; /* keys written or compared, since merge_queue_init */
    uint64_t last;  /* no key in the lists is below it, none of the ready ones above */
    merge_key_list heap;
    merge_key_list ready; /* ascending */
    uint64_t ready_taken;
    merge_key_list lists[MERGE_QUEUE_KEY_BITS + 1]; /* [i]: keys whose highest difference from `last` is bit i - 1 */
} merge_queue;

void merge_queue_init(merge_queue *q, mem *ledger);
void merge_queue_reset(merge_queue *q);

/* Empties the queue for a word of `symbol_count` symbols of item_bytes each. */
void merge_queue_start(merge_queue *q, const void *symbols, uint64_t symbol_count, size_t item_bytes);
MUST_CHECK leat_status merge_queue_push(merge_queue *q, uint64_t key, leat_error *error);
/* *out_has is false when the queue is empty. */
MUST_CHECK leat_status merge_queue_pop(merge_queue *q, bool *out_has, uint64_t *out_key, leat_error *error);

#endif
