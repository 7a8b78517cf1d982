/*
 * gemma4.c - Gemma 4 text models: 26B-A4B (dense branch beside routed experts), 31B, 12B, E2B and E4B (per-layer
 * inputs, shared keys and values). Source: transformers' modeling_gemma4, restated in docs/models.md; the twelve
 * details that are easy to get wrong are tests in tests/unit/model and in the golden results.
 */
#include "model/arch/arch.h"
#include "model/blocks/blocks.h"

#include "quant/quant.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { HEADS_MAX = 4096, WIDTH_MAX = 1 << 24, ROPE_SLIDING = 0, ROPE_FULL = 1 };

static const char *const model_types[] = {"gemma4", "gemma4_text", "gemma4_unified", "gemma4_unified_text", NULL};

/* What the configuration says once for the whole model. */
typedef struct gemma4_config {
    uint32_t head_count, kv_head_count, head_dim;
    uint32_t global_kv_head_count, global_head_dim;
    uint32_t window, intermediate_size, first_shared_layer;
    bool k_is_v, has_experts, double_wide;
    bool has_layer_types;
    uint32_t layer_type_count, full_period;
} gemma4_config;

/* ---- configuration ---- */

static leat_status read_config(model_builder *b, gemma4_config *g, leat_error *error)
{
    const hf_config *config = b->source.config;
    const uint32_t layer_count = b->model->layer_count;
    uint32_t shared_count;
    bool has_attention_bias;

    TRY(hf_config_u32(config, "num_attention_heads", 1, HEADS_MAX, &g->head_count, error));
    TRY(hf_config_u32_or(config, "num_key_value_heads", 1, HEADS_MAX, 4, &g->kv_head_count, error));
    TRY(hf_config_u32_or(config, "num_global_key_value_heads", 1, HEADS_MAX, g->kv_head_count, &g->global_kv_head_count,
                         error));
    TRY(hf_config_u32_or(config, "head_dim", 2, HEAD_DIM_MAX, 256, &g->head_dim, error));
    TRY(hf_config_u32_or(config, "global_head_dim", 2, HEAD_DIM_MAX, 512, &g->global_head_dim, error));
    TRY(hf_config_u32_or(config, "sliding_window", 1, UINT32_MAX, 512, &g->window, error));
    TRY(hf_config_u32(config, "intermediate_size", 1, WIDTH_MAX, &g->intermediate_size, error));
    TRY(hf_config_bool_or(config, "attention_k_eq_v", false, &g->k_is_v, error));
    TRY(hf_config_bool_or(config, "enable_moe_block", false, &g->has_experts, error));
    TRY(hf_config_bool_or(config, "use_double_wide_mlp", false, &g->double_wide, error));
    TRY(hf_config_bool_or(config, "attention_bias", false, &has_attention_bias, error));
    if (has_attention_bias)
        return FAIL(error, MODEL, "%s: attention_bias is true, which no Gemma 4 model has", hf_config_name(config));
    TRY(hf_config_u32_or(config, "num_kv_shared_layers", 0, LAYERS_MAX, 0, &shared_count, error));
    if (shared_count >= layer_count)
        return FAIL(error, MODEL, "%s: num_kv_shared_layers (%u) is not below num_hidden_layers (%u)",
                    hf_config_name(config), shared_count, layer_count);
    g->first_shared_layer = layer_count - shared_count;

    TRY(check_head_counts(b, g->head_count, g->kv_head_count, "num_key_value_heads", error));
    TRY(check_head_counts(b, g->head_count, g->global_kv_head_count, "num_global_key_value_heads", error));
    TRY(hf_config_u32_or(config, "sliding_window_pattern", 1, LAYERS_MAX, 6, &g->full_period, error));
    g->has_layer_types = hf_config_has(config, "layer_types");
    TRY(hf_config_array_count(config, "layer_types", &g->layer_type_count, error));
    if (g->has_layer_types && g->layer_type_count != layer_count)
        return FAIL(error, MODEL, "%s: layer_types has %u entries, num_hidden_layers is %u", hf_config_name(config),
                    g->layer_type_count, layer_count);
    return LEAT_OK;
}

/* The last layer is full whatever the list says, as in transformers. */
static leat_status layer_is_full(const model_builder *b, const gemma4_config *g, uint32_t idx, bool *out,
                                 leat_error *error)
{
    char type[64];

    if (!g->has_layer_types) {
        *out = (idx + 1) % g->full_period == 0 || idx + 1 == b->model->layer_count;
        return LEAT_OK;
    }
    TRY(hf_config_array_text(b->source.config, "layer_types", idx, type, sizeof type, error));
    if (!strcmp(type, "full_attention"))
        *out = true;
    else if (!strcmp(type, "sliding_attention"))
        *out = idx + 1 == b->model->layer_count;
    else
        return FAIL(error, MODEL, "%s: layer_types[%u] is \"%s\", expected sliding_attention or full_attention",
                    hf_config_name(b->source.config), idx, type);
    return LEAT_OK;
}

/* A newer form of global_head_dim and num_global_key_value_heads: an object keyed by the layer's number. */
static leat_status per_layer_or(const model_builder *b, uint32_t idx, const char *name, uint32_t low, uint32_t high,
                                uint32_t fallback, uint32_t *out, leat_error *error)
{
    char key[96];

    snprintf(key, sizeof key, "per_layer_config/%u/%s", idx, name);
    return hf_config_u32_or(b->source.config, key, low, high, fallback, out, error);
}

static const attention_block *attention_of(const model_desc *m, uint32_t idx)
{
    return &layer_block(&m->layers[idx], BLOCK_ATTENTION)->attention;
}

/* The first layer of a kind below `end`; NO_ID when there is none. */
static uint32_t first_of_kind(const model_desc *m, uint32_t rope_idx, uint32_t end)
{
    for (uint32_t i = 0; i < end; i++)
        if (attention_of(m, i)->rope_idx == rope_idx) return i;
    return NO_ID;
}

/* One rope for each kind of layer, as wide as its heads. The last layer is full, so that there is always one. */
static leat_status build_ropes(model_builder *b, const gemma4_config *g, leat_error *error)
{
    model_desc *m = b->model;
    const uint32_t sliding = first_of_kind(m, ROPE_SLIDING, m->layer_count);
    const uint32_t sliding_head_dim = sliding == NO_ID ? g->head_dim : attention_of(m, sliding)->head_dim;
    const uint32_t full_head_dim = attention_of(m, first_of_kind(m, ROPE_FULL, m->layer_count))->head_dim;

    TRY(build_rope(b, "rope_parameters/sliding_attention", 10000, sliding_head_dim, &m->ropes[ROPE_SLIDING], error));
    TRY(build_rope(b, "rope_parameters/full_attention", 1e6, full_head_dim, &m->ropes[ROPE_FULL], error));
    if (!hf_config_has(b->source.config, "rope_parameters/full_attention"))
        m->ropes[ROPE_FULL] = (rope_desc){.kind = ROPE_PROPORTIONAL,
                                          .head_dim = full_head_dim,
                                          .theta = 1e6,
                                          .factor = 1,
                                          .rotated_dims = full_head_dim / 4 & ~1u};
    m->rope_count = 2;
    return LEAT_OK;
}

/* transformers multiplies in the embedding's dtype, so the constant is rounded to it: visible in the logits. */
static float round_to_embedding_type(const model_desc *m, double value)
{
    const matrix_shape *shape = &m->weights[m->embedding].shape;

    if (shape->type == QUANT_F32) return (float)value;
    if (shape->type == QUANT_F16) return quant_f16_to_f32(quant_f32_to_f16((float)value));
    if (quant_traits_table[shape->type].scales == SCALES_FLOAT) {
        if (shape->scale_type == FLOAT_F32) return (float)value;
        if (shape->scale_type == FLOAT_F16) return quant_f16_to_f32(quant_f32_to_f16((float)value));
    }
    return quant_bf16_to_f32(quant_f32_to_bf16((float)value));
}

/* ---- layers ---- */

/* The last layer before the shared ones that is of the same kind. */
static uint32_t find_donor(const model_desc *m, const gemma4_config *g, bool is_full)
{
    for (uint32_t j = g->first_shared_layer; j-- > 0;)
        if ((attention_of(m, j)->window == 0) == is_full) return j;
    return NO_ID;
}

/* per_layer_config can give every layer a shape of its own, but layers of a kind share a rope, and some share keys and
 * values. */
static leat_status check_attention_shape(const model_builder *b, uint32_t idx, const attention_block *a,
                                         leat_error *error)
{
    const model_desc *m = b->model;
    const char *name = hf_config_name(b->source.config);
    const uint32_t first = first_of_kind(m, a->rope_idx, idx);

    if (a->head_dim % 2)
        return FAIL(error, MODEL, "%s: the head_dim of layer %u is %u, expected an even number", name, idx,
                    a->head_dim);
    if (first != NO_ID && attention_of(m, first)->head_dim != a->head_dim)
        return FAIL(error, MODEL, "%s: layer %u has head_dim %u, but layer %u of the same kind has %u", name, idx,
                    a->head_dim, first, attention_of(m, first)->head_dim);
    if (!a->owns_kv && attention_of(m, a->kv_layer)->kv_head_count != a->kv_head_count)
        return FAIL(error, MODEL,
                    "%s: layer %u has %u key-value heads, but layer %u, whose keys and values it reads, has %u", name,
                    idx, a->kv_head_count, a->kv_layer, attention_of(m, a->kv_layer)->kv_head_count);
    return LEAT_OK;
}

static leat_status build_attention(model_builder *b, const gemma4_config *g, uint32_t idx, bool is_full, block *out,
                                   leat_error *error)
{
    attention_block *a = &out->attention;
    const bool k_is_v = g->k_is_v && is_full;
    char path[64];

    *out = (block){.kind = BLOCK_ATTENTION};
    a->head_count = g->head_count;
    TRY(per_layer_or(b, idx, "head_dim", 2, HEAD_DIM_MAX,
                     is_full && !hf_config_has(b->source.config, "per_layer_config") ? g->global_head_dim : g->head_dim,
                     &a->head_dim, error));
    TRY(per_layer_or(b, idx, "num_key_value_heads", 1, HEADS_MAX, k_is_v ? g->global_kv_head_count : g->kv_head_count,
                     &a->kv_head_count, error));
    TRY(check_head_counts(b, a->head_count, a->kv_head_count, "per_layer_config: num_key_value_heads", error));
    a->window = is_full ? 0 : g->window;
    a->rope_idx = is_full ? ROPE_FULL : ROPE_SLIDING;
    a->score_scale = 1; /* the learned q and k norms absorb the usual factor */
    a->v_is_raw_k = k_is_v;
    a->v_has_norm = true;
    a->owns_kv = idx < g->first_shared_layer;
    a->kv_layer = a->owns_kv ? idx : find_donor(b->model, g, is_full);
    if (a->kv_layer == NO_ID)
        return FAIL(error, MODEL,
                    "%s: layer %u shares keys and values, but no earlier layer is of its kind (layer_types, "
                    "num_kv_shared_layers)",
                    hf_config_name(b->source.config), idx);
    TRY(check_attention_shape(b, idx, a, error));
    snprintf(path, sizeof path, "layers.%u.self_attn", idx);
    return attention_build(b, path, false, true, a, error);
}

static leat_status build_dense(model_builder *b, const gemma4_config *g, uint32_t idx, block *out, leat_error *error)
{
    const bool is_wide = g->double_wide && idx >= g->first_shared_layer;
    char path[64];

    *out = (block){.kind = BLOCK_FFN};
    out->ffn.width = g->intermediate_size * (is_wide ? 2 : 1);
    TRY(build_activation(b, "hidden_activation", ACTIVATION_GELU_TANH, &out->ffn.act, error));
    snprintf(path, sizeof path, "layers.%u.mlp", idx);
    return ffn_build(b, path, false, &out->ffn, error);
}

static leat_status build_experts(model_builder *b, uint32_t idx, block *out, leat_error *error)
{
    const hf_config *config = b->source.config;
    model_desc *m = b->model;
    moe_block *moe = &out->moe;
    char stacked[64], fused[64];

    *out = (block){.kind = BLOCK_MOE};
    TRY(build_expert_counts(b, "top_k_experts", &moe->expert_count, &moe->used_count, error));
    const bool has_other_name =
        hf_config_has(config, "expert_intermediate_size") && !hf_config_has(config, "moe_intermediate_size");
    TRY(hf_config_u32(config, has_other_name ? "expert_intermediate_size" : "moe_intermediate_size", 1, WIDTH_MAX,
                      &moe->width, error));
    TRY(build_activation(b, "hidden_activation", ACTIVATION_GELU_TANH, &moe->act, error));
    moe->moe_idx = m->moe_layer_count++;
    moe->renormalise = true;
    moe->router_reads_stream = true;
    moe->router_factor = 1.0f / sqrtf((float)m->hidden_size);
    TRY(build_weight(b, WEIGHT_RESIDENT, moe->expert_count, m->hidden_size, &moe->router, error,
                     "layers.%u.router.proj", idx));
    TRY(build_vector(b, m->hidden_size, &moe->router_scale, error, "layers.%u.router.scale", idx));
    TRY(build_vector(b, moe->expert_count, &moe->expert_scale, error, "layers.%u.router.per_expert_scale", idx));
    snprintf(stacked, sizeof stacked, "layers.%u.experts.switch_glu", idx);
    snprintf(fused, sizeof fused, "layers.%u.experts", idx);
    m->expert_count = moe->expert_count;
    m->expert_used_count = moe->used_count;
    return moe_build_experts(b, stacked, fused, moe, error);
}

/* The dense branch, and beside it the routed experts with norms of their own. */
static leat_status build_mlp(model_builder *b, const gemma4_config *g, uint32_t idx, residual *out, leat_error *error)
{
    const uint64_t hidden = b->model->hidden_size;
    branch *dense = &out->branches[0], *experts = &out->branches[1];

    out->branch_count = g->has_experts ? 2 : 1;
    TRY(build_vector(b, hidden, &dense->pre_norm, error, "layers.%u.pre_feedforward_layernorm.weight", idx));
    TRY(build_vector(b, hidden, &out->post_norm, error, "layers.%u.post_feedforward_layernorm.weight", idx));
    TRY(build_dense(b, g, idx, &dense->block, error));
    dense->post_norm = NO_ID;
    if (!g->has_experts) return LEAT_OK;

    TRY(build_vector(b, hidden, &dense->post_norm, error, "layers.%u.post_feedforward_layernorm_1.weight", idx));
    TRY(build_vector(b, hidden, &experts->pre_norm, error, "layers.%u.pre_feedforward_layernorm_2.weight", idx));
    TRY(build_vector(b, hidden, &experts->post_norm, error, "layers.%u.post_feedforward_layernorm_2.weight", idx));
    return build_experts(b, idx, &experts->block, error);
}

static leat_status build_layer_input(model_builder *b, uint32_t idx, residual *out, leat_error *error)
{
    const uint64_t hidden = b->model->hidden_size, width = b->model->inputs.width;
    branch *only = &out->branches[0];

    *out = (residual){.branch_count = 1};
    only->pre_norm = only->post_norm = NO_ID;
    only->block.kind = BLOCK_LAYER_INPUT;
    TRY(build_weight(b, WEIGHT_RESIDENT, width, hidden, &only->block.layer_input.gate, error,
                     "layers.%u.per_layer_input_gate", idx));
    TRY(build_weight(b, WEIGHT_RESIDENT, hidden, width, &only->block.layer_input.projection, error,
                     "layers.%u.per_layer_projection", idx));
    return build_vector(b, hidden, &out->post_norm, error, "layers.%u.post_per_layer_input_norm.weight", idx);
}

static leat_status build_layer(model_builder *b, const gemma4_config *g, uint32_t idx, layer *out, leat_error *error)
{
    residual *attention = &out->residuals[0];
    bool is_full = false;

    *out = (layer){.residual_count = b->model->inputs.width ? 3 : 2};
    TRY(layer_is_full(b, g, idx, &is_full, error));
    attention->branch_count = 1;
    attention->branches[0].post_norm = NO_ID;
    TRY(build_vector(b, b->model->hidden_size, &attention->branches[0].pre_norm, error,
                     "layers.%u.input_layernorm.weight", idx));
    TRY(build_vector(b, b->model->hidden_size, &attention->post_norm, error,
                     "layers.%u.post_attention_layernorm.weight", idx));
    TRY(build_attention(b, g, idx, is_full, &attention->branches[0].block, error));
    TRY(build_mlp(b, g, idx, &out->residuals[1], error));
    if (b->model->inputs.width) TRY(build_layer_input(b, idx, &out->residuals[2], error));
    return build_optional_vector(b, 1, &out->output_scale, error, "layers.%u.layer_scalar", idx);
}

static leat_status build_inputs(model_builder *b, leat_error *error)
{
    model_desc *m = b->model;
    layer_inputs *in = &m->inputs;
    uint32_t rows;

    /* transformers' default is 256, but null means none: the tensors decide when there is no number. */
    const uint32_t fallback = weights_exist(&b->source, "embed_tokens_per_layer") ? 256 : 0;
    TRY(hf_config_u32_or(b->source.config, "hidden_size_per_layer_input", 0, WIDTH_MAX, fallback, &in->width, error));
    if (!in->width) return LEAT_OK;
    const uint64_t all = (uint64_t)m->layer_count * in->width;
    TRY(hf_config_u32_or(b->source.config, "vocab_size_per_layer_input", 1, 1 << 24, m->vocab_size, &rows, error));
    if (rows < m->vocab_size)
        return FAIL(error, MODEL, "%s: vocab_size_per_layer_input (%u) is less than vocab_size (%u)",
                    hf_config_name(b->source.config), rows, m->vocab_size);
    TRY(build_weight(b, WEIGHT_ROWS, rows, all, &in->table, error, "embed_tokens_per_layer"));
    TRY(build_weight(b, WEIGHT_RESIDENT, all, m->hidden_size, &in->projection, error, "per_layer_model_projection"));
    TRY(build_vector(b, in->width, &in->norm, error, "per_layer_projection_norm.weight"));
    in->table_scale = round_to_embedding_type(m, sqrt(in->width));
    in->projection_scale = 1.0f / sqrtf((float)m->hidden_size);
    in->sum_scale = 0.70710678118654752440f;
    return LEAT_OK;
}

static leat_status build(model_builder *b, leat_error *error)
{
    model_desc *m = b->model;
    gemma4_config g = {0};
    double softcap;

    TRY(build_common(b, 1e-6, error));
    TRY(read_config(b, &g, error));
    TRY(hf_config_f64_or(b->source.config, "final_logit_softcapping", 0, 1e6, 0, &softcap, error));
    m->logit_softcap = (float)softcap;
    TRY(build_embedding_and_head(b, error));
    m->embedding_scale = round_to_embedding_type(m, sqrt(m->hidden_size));
    TRY(build_inputs(b, error));

    m->head_count = g.head_count;
    m->kv_head_count = g.kv_head_count;
    m->head_dim = g.head_dim;
    m->window = g.window;
    for (uint32_t i = 0; i < m->layer_count; i++) TRY(build_layer(b, &g, i, &m->layers[i], error));
    return build_ropes(b, &g, error);
}

const architecture arch_gemma4 = {.name = "gemma4", .model_types = model_types, .build = build};
