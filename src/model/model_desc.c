#include "model/model_desc.h"

const block *layer_block(const layer *l, block_kind kind)
{
    for (uint32_t r = 0; r < l->residual_count; r++)
        for (uint32_t i = 0; i < l->residuals[r].branch_count; i++)
            if (l->residuals[r].branches[i].block.kind == kind) return &l->residuals[r].branches[i].block;
    return NULL;
}

void model_each_weight(const model_desc *model, model_weight_fn *fn, void *user)
{
    for (uint32_t i = 0; i < model->weight_count; i++) fn(user, &model->weights[i], false, model->places[i]);
    for (uint32_t l = 0; l < model->layer_count; l++) {
        const block *moe = layer_block(&model->layers[l], BLOCK_MOE);
        if (!moe) continue;
        fn(user, &moe->moe.gate, true, WEIGHT_RESIDENT);
        fn(user, &moe->moe.up, true, WEIGHT_RESIDENT);
        fn(user, &moe->moe.down, true, WEIGHT_RESIDENT);
    }
}

uint64_t weight_bytes(const weight *w)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < w->stack_count; i++)
        for (int part = 0; part < PART_COUNT; part++) sum += w->parts[i][part].bytes;
    return sum;
}
