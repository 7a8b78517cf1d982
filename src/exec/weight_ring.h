/*
 * weight_ring.h - the weights that do not stay in memory: read for each step in the order of their use, one record
 * ahead of the arithmetic.
 *
 *         acquire(r)                      reads done                     acquire(another), unless held
 *     EMPTY --------> LOADING (r, r + 1) ------------> READY, held by the step -------> EMPTY
 *
 * Two slots take turns: while a layer computes in one, the next is read into the other. The order of records never
 * changes (layers, then the slices of the head where logits follow, then the first layer again), so what is read ahead
 * is always what comes next. Reads go straight to where the kernels read. A record that is still there is not read
 * again.
 *
 * Threads: the step's; weight_ring_stats_get from any.
 */
#ifndef EXEC_WEIGHT_RING_H
#define EXEC_WEIGHT_RING_H

#include "exec/residency.h"
#include "exec/trunk.h"

#define RING_TAG_BEGIN (UINT64_C(1) << 42)
enum { RING_SLOTS = 2, RING_READS_MAX = 32 };

typedef struct weight_ring weight_ring;

typedef struct weight_ring_stats {
    uint64_t record_count; /* read, those ahead included */
    uint64_t wait_ns;      /* the step waited for them */
} weight_ring_stats;

/* What open takes from MEM_TRUNK. */
uint64_t weight_ring_bytes(const model_desc *model, const file_set *files, uint32_t level);
/* Everything is borrowed until close; the matrices of `t` point into the ring while their layer is held. */
MUST_CHECK leat_status weight_ring_open(mem *ledger, const model_desc *model, const file_set *files, storage *reads,
                                        trunk *t, uint32_t level, weight_ring **out_ring, leat_error *error);
/* Waits for its reads. NULL is accepted. */
void weight_ring_close(weight_ring **ring);

/* Whether the head follows the last layer of the steps to come: what is read ahead. */
void weight_ring_expect_head(weight_ring *ring, bool is_expected);
/* Until release the layer's matrices have their bytes. Nothing to do for a layer that stays. LEAT_IO: not held; another
 * try reads again. */
MUST_CHECK leat_status weight_ring_acquire_layer(weight_ring *ring, uint32_t layer_idx, leat_error *error);
/* The head's rows from `row` on, as many as a slice has: out_slice is a matrix of them. */
MUST_CHECK leat_status weight_ring_acquire_head(weight_ring *ring, uint64_t row, matrix *out_slice, leat_error *error);
/* What was acquired last. */
void weight_ring_release(weight_ring *ring);
/* For who computes with what is held: asks for more of the next record where what was asked for has come. No more than
 * RING_READS_MAX pieces are asked for at a time, which is less than a large layer. */
void weight_ring_pump(weight_ring *ring);
/* Waits until no read is under way, so that the queue is free for others. */
void weight_ring_settle(weight_ring *ring);
weight_ring_stats weight_ring_stats_get(const weight_ring *ring);

#endif
