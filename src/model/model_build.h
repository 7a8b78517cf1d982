/*
 * model_build.h - what an architecture file needs to fill a model_desc: typed questions to the configuration and
 * weights by name.
 */
#ifndef MODEL_MODEL_BUILD_H
#define MODEL_MODEL_BUILD_H

#include "model/model_desc.h"

typedef struct model_builder {
    weight_source source;
    model_desc *model;
} model_builder;

typedef struct architecture {
    const char *name;
    const char *const *model_types; /* NULL-terminated: config.json's model_type, nested or not */
    /* Fills everything but stop_ids and bos_id. */
    leat_status (*build)(model_builder *b, leat_error *error);
} architecture;

/* Finds the architecture for the configuration and builds. Results live in `memory`. LEAT_MODEL: unknown model_type,
 * missing or ill-shaped tensors, values that contradict each other. */
MUST_CHECK leat_status model_build(const tensor_index *index, const hf_config *config, const hf_config *generation,
                                   arena *memory, model_desc *out_model, leat_error *error);

/* ---- for architecture files and blocks ---- */

/* Finds a weight and adds it to the model. The path is a printf format. */
MUST_CHECK leat_status build_weight(model_builder *b, weight_place place, uint64_t rows, uint64_t cols,
                                    weight_id *out_id, leat_error *error, const char *path_format, ...)
    PRINTF_LIKE(7, 8);
MUST_CHECK leat_status build_vector(model_builder *b, uint64_t count, vector_id *out_id, leat_error *error,
                                    const char *path_format, ...) PRINTF_LIKE(5, 6);
/* NO_ID when the tensor does not exist. */
MUST_CHECK leat_status build_optional_vector(model_builder *b, uint64_t count, vector_id *out_id, leat_error *error,
                                             const char *path_format, ...) PRINTF_LIKE(5, 6);

/* Rope parameters from the object `parameters_key` ("rope_parameters", "rope_parameters/full_attention"), or from
 * rope_theta and rope_scaling. */
MUST_CHECK leat_status build_rope(model_builder *b, const char *parameters_key, double theta_default, uint32_t head_dim,
                                  rope_desc *out_rope, leat_error *error);

/* Keys that nearly every decoder has: hidden_size, vocab_size, num_hidden_layers, max_position_embeddings,
 * rms_norm_eps; allocates the layers. */
MUST_CHECK leat_status build_common(model_builder *b, double norm_eps_default, leat_error *error);
/* embed_tokens, norm and the head (tied or not), as `tie_default` says when the configuration does not. */
MUST_CHECK leat_status build_embedding_and_head(model_builder *b, leat_error *error);

/* LEAT_MODEL unless num_attention_heads is a multiple of the kv heads; `kv_key` is named in the message. */
MUST_CHECK leat_status check_head_counts(const model_builder *b, uint32_t head_count, uint32_t kv_head_count,
                                         const char *kv_key, leat_error *error);
/* Number of experts, in [1, EXPERTS_MAX], and of those one token uses, in [1, EXPERTS_USED_MAX], under any of the names
 * that files give them; `used_key` is the family's own. LEAT_MODEL when more are used than there are. */
MUST_CHECK leat_status build_expert_counts(const model_builder *b, const char *used_key, uint32_t *out_count,
                                           uint32_t *out_used, leat_error *error);
/* "silu" / "gelu_pytorch_tanh" ...; LEAT_MODEL for others. */
MUST_CHECK leat_status build_activation(const model_builder *b, const char *key, activation fallback,
                                        activation *out_act, leat_error *error);

#endif
