/*
 * block_world.h - an engine put together by hand for the tests of single blocks: weights are arrays of random floats,
 * experts lie in one file in memory behind the simulated storage, and nothing is planned. Beside it the same operations
 * in double precision, written as the formulas are, to compare with.
 *
 * Order: world_init, add weights and vectors, put blocks into `layers`, world_start, run blocks, world_close.
 */
#ifndef UNIT_EXEC_BLOCK_WORLD_H
#define UNIT_EXEC_BLOCK_WORLD_H

#include "base/bytes.h"
#include "base/prng.h"
#include "exec/session.h"
#include "storage_sim.h"

enum { WORLD_WEIGHTS_MAX = 16, WORLD_VECTORS_MAX = 16, WORLD_LAYERS_MAX = 2, WORLD_FILE_ALIGN = 512 };

typedef struct block_world {
    prng dice;
    mem *ledger;
    model_desc model;
    layer layers[WORLD_LAYERS_MAX];
    weight weights[WORLD_WEIGHTS_MAX];
    matrix matrices[WORLD_WEIGHTS_MAX];
    float *vectors[WORLD_VECTORS_MAX];
    uint64_t vector_counts[WORLD_VECTORS_MAX];
    const float *global_scales[3 * WORLD_LAYERS_MAX];
    trunk trunk;
    engine engine;
    step_row *rows;

    float *experts;         /* (layers, expert_count, gate + up + down), the content of the file */
    uint64_t expert_floats; /* of one expert */
    weight_part (*parts)[PART_COUNT];
    file file;
    const char *file_name;
    const uint8_t *contents[1];
} block_world;

void world_init(block_world *w, uint32_t hidden, uint64_t seed);
weight_id world_weight(block_world *w, uint64_t rows, uint64_t cols);
vector_id world_vector(block_world *w, uint64_t count);
/* Floats of a weight or vector, to be changed before world_start. */
float *world_weight_floats(block_world *w, weight_id id);
void world_random(block_world *w, float *out, uint64_t count, float scale);

/* Puts a block with experts into layer 0; router and flags are the caller's. */
moe_block *world_add_experts(block_world *w, uint32_t expert_count, uint32_t used_count, uint32_t width);
const float *world_expert(const block_world *w, uint32_t expert, uint32_t which);

/* slot_count 0: no expert cache. */
void world_start(block_world *w, uint32_t thread_count, uint32_t row_max, uint32_t ctx, uint32_t slot_count);
/* A step of `count` rows at positions from `begin`. */
step world_step(block_world *w, uint32_t begin, uint32_t count);
/* Only what world_start made; weights stay, so that it may be started again. */
void world_stop(block_world *w);
/* Asserts that the ledger is empty. */
void world_close(block_world *w);

/* ---- plain arithmetic ---- */

/* y (rows) = w (rows, cols) x. */
void plain_product(const float *w, uint64_t rows, uint64_t cols, const double *x, double *y);
/* In place; weights may be NULL. */
void plain_norm(double *x, uint64_t count, const float *weights, double eps);
double plain_silu(double x);
double plain_gelu_tanh(double x);
void plain_add(double *y, const float *bias, uint64_t count);
double *to_double(const float *x, uint64_t count); /* malloc */
/* Fails the test where the two differ by more than `tolerance` of the largest of `expected`. */
void assert_close(const float *got, const double *expected, uint64_t count, double tolerance, const char *what);
/* Fails the test at the first float whose bits differ. */
void assert_same_bits(const float *a, const float *b, uint64_t count, const char *what);

#endif
