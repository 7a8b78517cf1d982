#include "model/model_desc.h"

const block *layer_block(const layer *l, block_kind kind)
{
    for (uint32_t r = 0; r < l->residual_count; r++)
        for (uint32_t i = 0; i < l->residuals[r].branch_count; i++)
            if (l->residuals[r].branches[i].block.kind == kind) return &l->residuals[r].branches[i].block;
    return NULL;
}

static uint32_t block_weights(const block *b, weight_id *out_ids)
{
    const weight_id attention[] = {b->attention.q, b->attention.k, b->attention.v, b->attention.o};
    const weight_id ffn[] = {b->ffn.gate, b->ffn.up, b->ffn.down};
    const weight_id input[] = {b->layer_input.gate, b->layer_input.projection};
    const weight_id *ids = attention;
    uint32_t count = 4, written = 0;

    switch (b->kind) {
    case BLOCK_ATTENTION: break;
    case BLOCK_FFN: ids = ffn, count = 3; break;
    case BLOCK_MOE: ids = &b->moe.router, count = 1; break;
    case BLOCK_LAYER_INPUT: ids = input, count = 2; break;
    }
    for (uint32_t i = 0; i < count; i++)
        if (ids[i] != NO_ID) out_ids[written++] = ids[i];
    return written;
}

uint32_t layer_weights(const layer *l, weight_id *out_ids)
{
    uint32_t count = 0;

    for (uint32_t r = 0; r < l->residual_count; r++)
        for (uint32_t i = 0; i < l->residuals[r].branch_count; i++)
            count += block_weights(&l->residuals[r].branches[i].block, out_ids + count);
    return count;
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
