/*
 * step.h - one pass through the model for a batch of rows, and the blocks that it is made of.
 *
 * A step is a list of rows (position, token). One decoded token and a chunk of a prompt are the same call with
 * different rows; what a row computes does not depend on the rows beside it, on the threads, or on where weights came
 * from.
 *
 * Threads: one step at a time per engine.
 */
#ifndef EXEC_STEP_H
#define EXEC_STEP_H

#include "exec/engine.h"

typedef struct step_row {
    uint32_t position, token;
} step_row;

/* Receives the experts of every row of every layer with experts. */
typedef void step_route_sink(void *user, uint32_t moe_idx, size_t position, const uint32_t *experts,
                             const float *weights, uint32_t count);

/* What a layer with experts asked the expert cache for, in that order, and what was read ahead for it before. */
typedef struct step_asked {
    uint32_t moe_idx;
    size_t position; /* of the first row */
    uint32_t row_count;
    const uint32_t *experts, *expert_rows; /* (count) distinct ids; how many rows use each, NULL for one row */
    uint32_t count;
    const uint32_t *ahead; /* (ahead_count) while the layer before held its last records */
    uint32_t ahead_count;
} step_asked;
typedef void step_asked_sink(void *user, const step_asked *asked);

/* Called after each layer with how many are done. */
typedef void step_layer_sink(void *user, uint32_t layers_done);

typedef struct step {
    engine *engine;
    const step_row *rows; /* (row_count), consecutive positions that kv_cache_extend has made room for */
    uint32_t row_count;   /* <= scratch.row_max */
    step_route_sink *route_sink;
    void *route_user;
    step_asked_sink *asked_sink; /* may be NULL */
    void *asked_user;
    step_layer_sink *layer_sink; /* may be NULL */
    void *layer_user;
} step;

/* Leaves the rows' final residual stream in scratch.stream. LEAT_CANCELLED or LEAT_IO: the positions hold no valid
 * keys; rewind. */
MUST_CHECK leat_status step_forward(const step *s, leat_error *error);

/* Final norm, head and soft-cap of rows [row_begin, row_begin + count), count <= LOGIT_ROWS, into scratch.logits
 * (count, vocab). LEAT_IO where the head is read for it. */
MUST_CHECK leat_status step_logits(const step *s, uint32_t row_begin, uint32_t count, leat_error *error);

/* ---- the blocks: y (row_count, hidden) = block(x); x is normed already. Each in a file of its own. ---- */

void run_attention(const step *s, uint32_t layer_idx, const attention_block *a, const float *x, float *y);
void run_ffn(const step *s, const ffn_block *f, const float *x, float *y);
/* `stream`: the residual stream, which some routers read. */
MUST_CHECK leat_status run_moe(const step *s, const moe_block *moe, const float *stream, const float *x, float *y,
                               leat_error *error);
void run_layer_input(const step *s, uint32_t layer_idx, const layer_input_block *b, const float *x, float *y);
/* Fills scratch.layer_input for all layers from the embedded rows. */
MUST_CHECK leat_status prepare_layer_inputs(const step *s, const float *embedded, leat_error *error);

/* ---- shared by blocks ---- */

/* row_reader_read, with the time that it waited counted as such. */
MUST_CHECK leat_status step_read_rows(const step *s, row_reader *r, const uint32_t *rows, uint32_t count, float *out,
                                      leat_error *error);

typedef struct product {
    const matrix *w;
    const float *x; /* (token_count, cols), x_stride floats apart */
    size_t x_stride;
    uint32_t token_count;
    float *y; /* (token_count, rows), y_stride floats apart */
    size_t y_stride;
} product;

enum { PRODUCTS_MAX = 64, EXPERTS_AT_ONCE = PRODUCTS_MAX / 2 };

/* Computes all products side by side, each split by output rows. */
void run_products(const step *s, const product *products, uint32_t count);
/* One product with contiguous rows of x and y. */
void run_product(const step *s, const matrix *w, const float *x, float *y);
/* y = norm(x) with the vector's weights (NO_ID: none) for `count` rows of `width`. */
void run_norm(const step *s, vector_id norm, const float *x, float *y, uint32_t count, uint32_t width);
/* Adds a bias vector to every row; NO_ID: nothing. */
void run_bias(const step *s, vector_id bias, float *y, uint32_t count, uint32_t width);
/* gate = act(gate) * up for `count` numbers. */
void run_activation(const step *s, activation act, float *gate, const float *up, uint64_t count);

static inline const matrix *step_matrix(const step *s, weight_id id) { return &s->engine->trunk->matrices[id]; }
static inline const float *step_vector(const step *s, vector_id id)
{
    return id == NO_ID ? NULL : s->engine->trunk->vectors[id];
}

#endif
