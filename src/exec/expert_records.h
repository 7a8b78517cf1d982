/*
 * expert_records.h - the records of a model's experts: for every expert of every layer the extents of gate, up and
 * down, in this order.
 */
#ifndef EXEC_EXPERT_RECORDS_H
#define EXEC_EXPERT_RECORDS_H

#include "cache/expert_cache.h"
#include "model/model_desc.h"

enum { EXPERT_MATRICES = 3 };

typedef struct expert_records {
    mem *ledger;
    extent *extents;                               /* (layer_count * expert_count, EXPERT_MATRICES * PART_COUNT) */
    expert_record *records;                        /* (layer_count, expert_count) */
    uint32_t layer_count, expert_count, set_count; /* set_count: experts one token uses */
} expert_records;

/* What open takes from MEM_META. */
uint64_t expert_records_bytes(const model_desc *model);
/* Taken from MEM_META; all zero for a dense model. Every layer with experts has model->expert_count of them. */
MUST_CHECK leat_status expert_records_open(mem *ledger, const model_desc *model, expert_records *out_records,
                                           leat_error *error);
void expert_records_close(expert_records *r);

/* One of the three stacks: `which` is 0 gate, 1 up, 2 down. */
const weight *expert_stack(const moe_block *moe, uint32_t which);
/* The matrix `which` of a record that the cache handed out. */
matrix expert_matrix(const moe_block *moe, uint32_t which, const expert_ref *ref, const float *global_scales);

#endif
