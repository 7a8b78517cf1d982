#include "model/arch/plain_decoder.h"

#include "model/blocks/blocks.h"

#include <math.h>
#include <stdio.h>

enum { HEADS_MAX = 4096, WIDTH_MAX = 1 << 24 };

leat_status plain_decoder_build_ffn(model_builder *b, uint32_t layer_idx, bool biases, block *out, leat_error *error)
{
    char path[64];

    *out = (block){.kind = BLOCK_FFN};
    TRY(hf_config_u32(b->source.config, "intermediate_size", 1, WIDTH_MAX, &out->ffn.width, error));
    TRY(build_activation(b, "hidden_act", ACTIVATION_SILU, &out->ffn.act, error));
    snprintf(path, sizeof path, "layers.%u.mlp", layer_idx);
    return ffn_build(b, path, biases, &out->ffn, error);
}

/* Sizes that all layers share. */
static leat_status read_heads(model_builder *b, const plain_decoder *family, attention_block *shared, leat_error *error)
{
    const hf_config *config = b->source.config;
    const uint32_t hidden = b->model->hidden_size;

    TRY(hf_config_u32(config, "num_attention_heads", 1, HEADS_MAX, &shared->head_count, error));
    TRY(hf_config_u32_or(config, "num_key_value_heads", 1, HEADS_MAX, shared->head_count, &shared->kv_head_count,
                         error));
    TRY(check_head_counts(b, shared->head_count, shared->kv_head_count, "num_key_value_heads", error));
    const uint32_t head_dim = family->head_dim_default ? family->head_dim_default : hidden / shared->head_count;
    TRY(hf_config_u32_or(config, "head_dim", 2, HEAD_DIM_MAX, head_dim, &shared->head_dim, error));
    if (shared->head_dim % 2)
        return FAIL(error, MODEL, "%s: head_dim is %u, expected an even number", hf_config_name(config),
                    shared->head_dim);
    shared->score_scale = 1.0f / sqrtf((float)shared->head_dim);
    shared->owns_kv = true;
    return LEAT_OK;
}

/* A window that the configuration asks for would change the text: none of these families' released models uses one. */
static leat_status refuse_window(const model_builder *b, leat_error *error)
{
    bool is_used;

    TRY(hf_config_bool_or(b->source.config, "use_sliding_window", false, &is_used, error));
    if (!is_used) return LEAT_OK;
    return FAIL(error, MODEL, "%s: use_sliding_window is true, which is not supported for this model_type",
                hf_config_name(b->source.config));
}

static leat_status build_layer(model_builder *b, const plain_decoder *family, const attention_block *shared,
                               uint32_t idx, layer *out, leat_error *error)
{
    const hf_config *config = b->source.config;
    const uint32_t hidden = b->model->hidden_size;
    residual *attention = &out->residuals[0], *mlp = &out->residuals[1];
    bool attention_bias = false, mlp_bias = false;
    char path[64];

    if (family->may_have_biases) {
        TRY(hf_config_bool_or(config, "attention_bias", false, &attention_bias, error));
        TRY(hf_config_bool_or(config, "mlp_bias", false, &mlp_bias, error));
    }
    *out = (layer){.residual_count = 2, .output_scale = NO_ID};
    *attention = (residual){.branch_count = 1, .post_norm = NO_ID};
    *mlp = (residual){.branch_count = 1, .post_norm = NO_ID};
    attention->branches[0].post_norm = mlp->branches[0].post_norm = NO_ID;

    attention->branches[0].block.kind = BLOCK_ATTENTION;
    attention->branches[0].block.attention = *shared;
    attention->branches[0].block.attention.kv_layer = idx;
    snprintf(path, sizeof path, "layers.%u.self_attn", idx);
    TRY(build_vector(b, hidden, &attention->branches[0].pre_norm, error, "layers.%u.input_layernorm.weight", idx));
    TRY(attention_build(b, path, attention_bias, family->has_head_norms, &attention->branches[0].block.attention,
                        error));

    TRY(build_vector(b, hidden, &mlp->branches[0].pre_norm, error, "layers.%u.post_attention_layernorm.weight", idx));
    if (family->build_mlp) return family->build_mlp(b, idx, &mlp->branches[0].block, error);
    return plain_decoder_build_ffn(b, idx, mlp_bias, &mlp->branches[0].block, error);
}

leat_status plain_decoder_build(model_builder *b, const plain_decoder *family, leat_error *error)
{
    model_desc *m = b->model;
    attention_block shared = {0};

    TRY(build_common(b, family->norm_eps_default, error));
    TRY(read_heads(b, family, &shared, error));
    TRY(refuse_window(b, error));
    TRY(build_rope(b, "rope_parameters", family->theta_default, shared.head_dim, &m->ropes[0], error));
    m->rope_count = 1;
    m->head_count = shared.head_count;
    m->kv_head_count = shared.kv_head_count;
    m->head_dim = shared.head_dim;
    for (uint32_t i = 0; i < m->layer_count; i++) TRY(build_layer(b, family, &shared, i, &m->layers[i], error));
    return build_embedding_and_head(b, error);
}
