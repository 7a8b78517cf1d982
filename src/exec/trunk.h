/*
 * trunk.h - the weights that stay in memory: everything but routed experts and embedding tables that are read by rows.
 *
 * One block holds all of them. Parts of TRUNK_DIRECT_BYTES and more are read straight into their place, as aligned
 * windows; smaller ones pass through staging buffers, so that they cost no alignment. The staging is gone when open
 * returns: an engine opens its trunk before it takes its caches, so that both use the same part of the budget. Matrices
 * keep their stored bytes; vectors (norms, biases, scalars, the experts' global scales) are a few thousand numbers and
 * are widened to float32.
 */
#ifndef EXEC_TRUNK_H
#define EXEC_TRUNK_H

#include "exec/residency.h"

enum { TRUNK_DIRECT_BYTES = 256 << 10, TRUNK_PIECE_BYTES = 4 << 20, TRUNK_READS_MAX = 16 };

/* Tags of reads; the expert cache uses small ones. */
#define TRUNK_TAG_BEGIN (UINT64_C(1) << 40)
#define TRUNK_TAG_END   (TRUNK_TAG_BEGIN + TRUNK_READS_MAX)

typedef struct trunk {
    mem *ledger;
    uint8_t *block;
    matrix *matrices;      /* (weight_count); data NULL for weights that do not stay */
    float **vectors;       /* (vector_count) */
    float **global_scales; /* (moe_layer_count * 3), gate, up, down of each; NULL where there are none */
} trunk;

typedef void trunk_progress(void *user, const char *phase, uint64_t done, uint64_t total);
typedef struct trunk_load {
    const model_desc *model;
    const file_set *files;
    storage *reads;
    uint32_t level;             /* what stays (residency.h) */
    const volatile int *cancel; /* may be NULL */
    trunk_progress *progress;   /* may be NULL */
    void *progress_user;
} trunk_load;

/* What open takes from MEM_TRUNK, and what it takes from MEM_IO and gives back before it returns. */
uint64_t trunk_bytes(const model_desc *model, const file_set *files, uint32_t level);
uint64_t trunk_staging_bytes(const file_set *files);

MUST_CHECK leat_status trunk_open(mem *ledger, const trunk_load *load, trunk **out_trunk, leat_error *error);
void trunk_close(trunk **t);

#endif
