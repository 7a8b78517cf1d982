/*
 * rope_table.h - the angles of rotary position embedding. Frequencies are computed once in double precision with the
 * exact functions, so that they are the same bits on every machine. Sources: Su et al. 2021; for the scalings
 * transformers' modeling_rope_utils (docs/models.md).
 */
#ifndef EXEC_ROPE_TABLE_H
#define EXEC_ROPE_TABLE_H

#include "base/mem.h"
#include "model/model_desc.h"

typedef struct rope_table {
    mem *ledger;
    uint32_t pair_count; /* pairs that turn; 0: no rope */
    uint32_t half;       /* the partner of dimension i is i + half */
    float factor;        /* on cosine and sine */
    double *frequencies; /* (pair_count), radians per position */
} rope_table;

/* What open takes from MEM_META. */
uint64_t rope_table_bytes(const rope_desc *desc);
MUST_CHECK leat_status rope_table_open(mem *ledger, const rope_desc *desc, rope_table *out_table, leat_error *error);
void rope_table_close(rope_table *table);
/* cosines, sines: (pair_count). */
void rope_table_angles(const rope_table *table, uint32_t position, float *cosines, float *sines);

#endif
