/*
 * qwen3.c - Qwen3, dense and with experts: a plain decoder with an RMS norm on every query and key head. Source:
 * transformers' Qwen3Model and Qwen3MoeModel; docs/models.md.
 */
#include "model/arch/arch.h"
#include "model/arch/plain_decoder.h"
#include "model/blocks/blocks.h"

#include <stdio.h>

static const char *const dense_types[] = {"qwen3", NULL};
static const char *const moe_types[] = {"qwen3_moe", NULL};

enum { WIDTH_MAX = 1 << 24 };

/* Dense where the configuration says so: mlp_only_layers, or not a multiple of decoder_sparse_step. */
static leat_status layer_is_sparse(const model_builder *b, uint32_t layer_idx, bool *out, leat_error *error)
{
    const hf_config *config = b->source.config;
    uint32_t step, listed_count, listed;

    TRY(hf_config_u32_or(config, "decoder_sparse_step", 1, LAYERS_MAX, 1, &step, error));
    TRY(hf_config_array_count(config, "mlp_only_layers", &listed_count, error));
    *out = (layer_idx + 1) % step == 0;
    for (uint32_t i = 0; i < listed_count; i++) {
        TRY(hf_config_array_u32(config, "mlp_only_layers", i, 0, LAYERS_MAX, &listed, error));
        if (listed == layer_idx) *out = false;
    }
    return LEAT_OK;
}

static leat_status build_mlp(model_builder *b, uint32_t layer_idx, block *out, leat_error *error)
{
    const hf_config *config = b->source.config;
    model_desc *m = b->model;
    moe_block *moe = &out->moe;
    bool is_sparse;
    char stacked[64], fused[64];

    TRY(layer_is_sparse(b, layer_idx, &is_sparse, error));
    if (!is_sparse) return plain_decoder_build_ffn(b, layer_idx, false, out, error);

    *out = (block){.kind = BLOCK_MOE};
    moe->moe_idx = m->moe_layer_count++;
    TRY(build_expert_counts(b, "num_experts_per_tok", &moe->expert_count, &moe->used_count, error));
    TRY(hf_config_u32(config, "moe_intermediate_size", 1, WIDTH_MAX, &moe->width, error));
    TRY(hf_config_bool_or(config, "norm_topk_prob", true, &moe->renormalise, error));
    TRY(build_activation(b, "hidden_act", ACTIVATION_SILU, &moe->act, error));
    moe->router_scale = moe->expert_scale = NO_ID;
    moe->router_factor = 1;
    TRY(build_weight(b, WEIGHT_RESIDENT, moe->expert_count, m->hidden_size, &moe->router, error, "layers.%u.mlp.gate",
                     layer_idx));
    snprintf(stacked, sizeof stacked, "layers.%u.mlp.switch_mlp", layer_idx);
    snprintf(fused, sizeof fused, "layers.%u.mlp.experts", layer_idx);
    m->expert_count = moe->expert_count;
    m->expert_used_count = moe->used_count;
    return moe_build_experts(b, stacked, fused, moe, error);
}

static leat_status build_dense(model_builder *b, leat_error *error)
{
    const plain_decoder family = {.norm_eps_default = 1e-6,
                                  .theta_default = 10000,
                                  .head_dim_default = 128,
                                  .has_head_norms = true,
                                  .may_have_biases = true};
    return plain_decoder_build(b, &family, error);
}

static leat_status build_moe(model_builder *b, leat_error *error)
{
    const plain_decoder family = {.norm_eps_default = 1e-6,
                                  .theta_default = 10000,
                                  .has_head_norms = true,
                                  .may_have_biases = true,
                                  .build_mlp = build_mlp};
    return plain_decoder_build(b, &family, error);
}

const architecture arch_qwen3 = {.name = "qwen3", .model_types = dense_types, .build = build_dense};
const architecture arch_qwen3_moe = {.name = "qwen3_moe", .model_types = moe_types, .build = build_moe};
