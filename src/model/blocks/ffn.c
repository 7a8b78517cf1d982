#include "model/blocks/blocks.h"

leat_status ffn_build(model_builder *b, const char *path, bool biases, ffn_block *f, leat_error *error)
{
    const uint64_t hidden = b->model->hidden_size;

    f->gate_bias = f->up_bias = f->down_bias = NO_ID;
    TRY(build_weight(b, WEIGHT_RESIDENT, f->width, hidden, &f->gate, error, "%s.gate_proj", path));
    TRY(build_weight(b, WEIGHT_RESIDENT, f->width, hidden, &f->up, error, "%s.up_proj", path));
    TRY(build_weight(b, WEIGHT_RESIDENT, hidden, f->width, &f->down, error, "%s.down_proj", path));
    if (biases) {
        TRY(build_optional_vector(b, f->width, &f->gate_bias, error, "%s.gate_proj.bias", path));
        TRY(build_optional_vector(b, f->width, &f->up_bias, error, "%s.up_proj.bias", path));
        TRY(build_optional_vector(b, hidden, &f->down_bias, error, "%s.down_proj.bias", path));
    }
    return LEAT_OK;
}
