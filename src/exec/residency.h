/*
 * residency.h - which weights of the trunk stay in memory. The rest is read anew for each step, in the order of its use
 * (weight_ring.h).
 *
 * A level is how many units stay: the head first, then layers. Level 0 streams all of them, level layer_count + 1 none.
 * Every unit is read once a step, so none is worth more than another by the byte, except the head, which is read
 * several times where a text is scored. Layers that stay are spread evenly, so that the disk has something to read at
 * any time of a step. Vectors and weights that belong to no layer always stay.
 *
 * A streamed layer is one record of the ring; a streamed head is cut into slices of rows, each at most as large as the
 * largest layer.
 */
#ifndef EXEC_RESIDENCY_H
#define EXEC_RESIDENCY_H

#include "io/storage.h"
#include "model/model_desc.h"

enum { RECORD_PARTS_MAX = LAYER_WEIGHTS_MAX * PART_COUNT };

static inline uint32_t residency_level_max(const model_desc *m) { return m->layer_count + 1; }
bool residency_keeps_layer(const model_desc *m, uint32_t level, uint32_t layer_idx);
/* Also true where the head cannot be cut: a global scale, no mapping of weights to layers. */
bool residency_keeps_head(const model_desc *m, uint32_t level);
/* Resident weights only; those that are read by rows never stay. */
bool residency_keeps_weight(const model_desc *m, uint32_t level, weight_id id);

/* One part of a record and where its window begins in the slot. */
typedef struct record_part {
    extent what;
    uint64_t place;
} record_part;

/* Fill RECORD_PARTS_MAX parts at most, PART_COUNT for each weight, bytes 0 where there is none; return the bytes of the
 * slot that they take. */
uint64_t residency_layer_record(const model_desc *m, const file_set *files, uint32_t layer_idx, record_part *out_parts,
                                uint32_t *out_count);
uint64_t residency_head_record(const model_desc *m, const file_set *files, uint64_t row_begin, uint64_t row_count,
                               record_part *out_parts);
/* A slot holds any record. */
uint64_t residency_slot_bytes(const model_desc *m, const file_set *files);
/* Rows of a slice of the head; the last one may have fewer. */
uint64_t residency_slice_rows(const model_desc *m, const file_set *files);

uint32_t residency_streamed_layers(const model_desc *m, uint32_t level);
/* Bytes as stored that a step with logits reads at this level. */
uint64_t residency_streamed_bytes(const model_desc *m, uint32_t level);

#endif
