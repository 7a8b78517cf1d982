#include "model/blocks/blocks.h"

leat_status attention_build(model_builder *b, const char *path, bool biases, bool head_norms, attention_block *a,
                            leat_error *error)
{
    const uint64_t hidden = b->model->hidden_size;
    const uint64_t q_rows = (uint64_t)a->head_count * a->head_dim;
    const uint64_t kv_rows = (uint64_t)a->kv_head_count * a->head_dim;

    a->k = a->v = NO_ID;
    a->q_bias = a->k_bias = a->v_bias = a->o_bias = NO_ID;
    a->q_norm = a->k_norm = NO_ID;

    TRY(build_weight(b, WEIGHT_RESIDENT, q_rows, hidden, &a->q, error, "%s.q_proj", path));
    TRY(build_weight(b, WEIGHT_RESIDENT, hidden, q_rows, &a->o, error, "%s.o_proj", path));
    if (biases) {
        TRY(build_optional_vector(b, q_rows, &a->q_bias, error, "%s.q_proj.bias", path));
        TRY(build_optional_vector(b, hidden, &a->o_bias, error, "%s.o_proj.bias", path));
    }
    if (head_norms) TRY(build_vector(b, a->head_dim, &a->q_norm, error, "%s.q_norm.weight", path));
    if (!a->owns_kv) return LEAT_OK;

    TRY(build_weight(b, WEIGHT_RESIDENT, kv_rows, hidden, &a->k, error, "%s.k_proj", path));
    if (!a->v_is_raw_k) TRY(build_weight(b, WEIGHT_RESIDENT, kv_rows, hidden, &a->v, error, "%s.v_proj", path));
    if (biases) {
        TRY(build_optional_vector(b, kv_rows, &a->k_bias, error, "%s.k_proj.bias", path));
        if (!a->v_is_raw_k) TRY(build_optional_vector(b, kv_rows, &a->v_bias, error, "%s.v_proj.bias", path));
    }
    if (head_norms) TRY(build_vector(b, a->head_dim, &a->k_norm, error, "%s.k_norm.weight", path));
    return LEAT_OK;
}
