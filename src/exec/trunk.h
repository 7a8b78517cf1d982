/*
 * trunk.h - the weights that stay in memory: everything but routed experts and embedding tables that are read by rows.
 *
 * One block holds all of them. Parts of TRUNK_DIRECT_BYTES and more are read straight into their place, as aligned
 * windows, by a thread of their own in the order of their use (trunk_reader.h): open only starts that, and a step waits
 * for what it is about to use. Smaller parts pass through staging buffers, so that they cost no alignment, and are
 * there when open returns. So the staging is gone then: an engine opens its trunk before it takes its caches, and both
 * use the same part of the budget. Matrices keep their stored bytes; vectors (norms, biases, scalars, the experts'
 * global scales) are a few thousand numbers and are widened to float32.
 *
 * A head that is also the embedding is large and used last, but its rows are needed first. While it is being read, rows
 * come from a row_reader instead.
 *
 * Threads: the step's; progress is called by it.
 */
#ifndef EXEC_TRUNK_H
#define EXEC_TRUNK_H

#include "exec/residency.h"
#include "exec/trunk_reader.h"

enum { TRUNK_DIRECT_BYTES = 256 << 10 };

typedef struct trunk {
    mem *ledger;
    uint8_t *block;
    matrix *matrices;      /* (weight_count); data NULL for weights that do not stay */
    float **vectors;       /* (vector_count) */
    float **global_scales; /* (moe_layer_count * 3), gate, up, down of each; NULL where there are none */
    uint32_t layer_count;
    uint64_t block_bytes;
    uint64_t staged_bytes; /* of the small parts, which were copied to their places */
    trunk_part *parts;     /* (part_count): the large ones, in the order of their use */
    uint32_t part_count;
    trunk_reader *reader; /* NULL: there are none */
} trunk;

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
/* Waits for the reads under way. */
void trunk_close(trunk **t);

/* Large parts are read unit by unit: what is used before the layers, each layer (TRUNK_FIRST_LAYER + its index), and
 * what is used after them, the head among it. */
enum { TRUNK_INPUTS, TRUNK_FIRST_LAYER };
#define TRUNK_ALL UINT32_MAX

/* Until the unit's weights are there, and those of the units before it. LEAT_IO: a read failed; another try reads
 * again. LEAT_CANCELLED: the reads go on. */
MUST_CHECK leat_status trunk_wait(trunk *t, uint32_t unit, leat_error *error);
bool trunk_is_complete(const trunk *t);
/* How long the waits took. */
uint64_t trunk_wait_ns(const trunk *t);

/* Whether rows of the embedding are read one by one, always or until the trunk is complete. */
bool trunk_reads_embedding_rows(const model_desc *model, uint32_t level);

#endif
