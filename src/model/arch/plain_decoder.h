/*
 * plain_decoder.h - the pre-norm decoder that most families are a variation of:
 *     h += o(attention(norm(h)));  h += mlp(norm(h))
 * with the usual tensor names (docs/models.md). A family says in what it differs.
 */
#ifndef MODEL_ARCH_PLAIN_DECODER_H
#define MODEL_ARCH_PLAIN_DECODER_H

#include "model/model_build.h"

typedef struct plain_decoder {
    double norm_eps_default, theta_default;
    uint32_t head_dim_default; /* 0: hidden_size / num_attention_heads */
    bool has_head_norms;       /* RMS norm on every query and key head */
    bool may_have_biases;      /* attention_bias and mlp_bias are honoured */
    /* The second block of a layer; NULL: a dense feed-forward. */
    leat_status (*build_mlp)(model_builder *b, uint32_t layer_idx, block *out, leat_error *error);
} plain_decoder;

MUST_CHECK leat_status plain_decoder_build(model_builder *b, const plain_decoder *family, leat_error *error);
MUST_CHECK leat_status plain_decoder_build_ffn(model_builder *b, uint32_t layer_idx, bool biases, block *out,
                                               leat_error *error);

#endif
