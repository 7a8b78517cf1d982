/*
 * blocks.h - the blocks that layers are made of, as architecture files ask for them: which tensors they have, of which
 * shape.
 */
#ifndef MODEL_BLOCKS_BLOCKS_H
#define MODEL_BLOCKS_BLOCKS_H

#include "model/model_build.h"

/* Fills the weight ids of an attention block whose sizes, rope_idx and flags are set: `PATH.{q,k,v,o}_proj`, their
 * biases where they exist and `biases` is set, and q_norm / k_norm when `head_norms` is set. K and V are not looked for
 * in a block that reads another layer's. */
MUST_CHECK leat_status attention_build(model_builder *b, const char *path, bool biases, bool head_norms,
                                       attention_block *a, leat_error *error);

/* `PATH.{gate,up,down}_proj` of the block's width. */
MUST_CHECK leat_status ffn_build(model_builder *b, const char *path, bool biases, ffn_block *f, leat_error *error);

/* The three stacks. `stacked` is the module path of the MLX form ("layers.3.mlp.switch_mlp"), `fused` of the Hugging
 * Face form with gate and up in one tensor
 * ("layers.3.mlp.experts": gate_up_proj, down_proj) and of one tensor per expert ("layers.3.mlp.experts.7.gate_proj").
 */
MUST_CHECK leat_status moe_build_experts(model_builder *b, const char *stacked, const char *fused, moe_block *moe,
                                         leat_error *error);

#endif
