/*
 * reference.h - the forward pass of Gemma 4 and of plain decoders, written down from models.md 0.1, 1.3, 1.4 and 3.x in
 * double precision and without a thought for speed. Nothing of the engine is used.
 *
 * A twist changes one detail to what it is often mistaken for. A test shows that the engine agrees with the reference
 * as it is and with none of the twisted ones.
 */
#ifndef TESTS_REFERENCE_H
#define TESTS_REFERENCE_H

#include "known_model.h"

typedef enum twist {
    AS_WRITTEN,
    /* Gemma 4 */
    EMBEDDING_UNSCALED,
    EMBEDDING_FACTOR_ROUNDED_OTHERWISE, /* to BF16 where the table is F32, not at all where it is BF16 */
    GELU_WITH_ERF,
    SILU_FOR_GELU,
    SCORES_SCALED,
    ROPE_OF_FIRST_DIMS,   /* the rotated dims split in halves, instead of pairs over the whole head */
    ROPE_BASE_OF_ROTATED, /* exponents over the rotated dims, not over the head */
    ROPE_OF_WHOLE_HEAD,
    ROPE_INTERLEAVED,
    ROPE_OF_ONE_KIND, /* full layers turn like sliding ones */
    V_FROM_FINISHED_K,
    V_FROM_NORMED_K,
    V_WITHOUT_NORM,
    NORMS_ADD_ONE,
    HEAD_NORMS_LEFT_OUT,
    ROUTER_SEES_NORMED_INPUT,
    ROUTER_WITHOUT_NORM,
    ROUTER_WITHOUT_SCALE,
    ROUTER_WITHOUT_ROOT,
    EXPERT_SCALE_BEFORE_CHOICE,
    EXPERT_SCALE_BEFORE_SUM, /* so that the scaled weights are normalised (again) */
    EXPERT_SCALE_LEFT_OUT,
    CHOSEN_NOT_NORMALISED,
    POST_NORM_ON_DENSE_ONLY,
    EXPERTS_SEE_DENSE_INPUT,
    SOFTCAP_LEFT_OUT,
    LAYER_SCALAR_LEFT_OUT,
    LAYER_SCALAR_ON_BRANCH,
    PRECISION_TAKEN_FROM_CONFIG, /* 8-bit weights read as 4-bit ones */
    KV_NOT_SHARED,
    KV_OF_FIRST_DONOR,
    MLP_SINGLE_WIDE,
    WINDOW_LEFT_OUT,
    WINDOW_ONE_WIDER,
    WINDOW_ONE_NARROWER,
    INPUTS_LEFT_OUT,
    INPUTS_TABLE_UNSCALED,
    INPUTS_PROJECTION_UNSCALED,
    INPUTS_SUM_UNSCALED,
    INPUTS_FROM_UNSCALED_EMBEDDING,
    /* plain decoders */
    SCORES_UNSCALED,
    HEAD_NORMS_AFTER_ROPE,
    TOP_K_NORM_TURNED,
    ROPE_NOT_RESCALED,
    HEAD_TURNED, /* tied for untied and the other way round */
    BIASES_LEFT_OUT,
    TWIST_COUNT
} twist;

enum { REFERENCE_ROWS_MAX = 160, REFERENCE_LAYERS_MAX = 16, REFERENCE_HIDDEN_MAX = 128, REFERENCE_WIDTH_MAX = 512 };

typedef struct reference_shape {
    uint32_t hidden, vocab, layers, heads, kv_heads, head_dim, width;
    double eps, theta;
    /* Gemma 4 */
    uint32_t global_kv_heads, global_head_dim, window, full_period, shared, input_width;
    bool k_is_v, double_wide;
    double full_theta, softcap;
    known_form embedding_form;
    /* experts; 0: dense */
    uint32_t experts, used, moe_width;
    /* plain decoders */
    bool head_norms, top_k_norm, is_tied, has_biases, has_llama3_rope;
} reference_shape;

/* logits: (count, vocab) */
void reference_gemma4(const known_model *m, const reference_shape *g, twist t, const uint32_t *tokens, uint32_t count,
                      double *logits);
void reference_plain(const known_model *m, const reference_shape *g, twist t, const uint32_t *tokens, uint32_t count,
                     double *logits);

#endif
