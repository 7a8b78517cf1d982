#include "model/blocks/blocks.h"

#include <assert.h>
#include <stdio.h>

enum { PATH_BYTES = 256 };

/* One of the three stacks: MLX's own tensor, or one tensor per expert. */
static leat_status find_stack(model_builder *b, const char *stacked, const char *fused, const char *projection,
                              const moe_block *moe, uint64_t rows, uint64_t cols, weight *out, leat_error *error)
{
    char path[PATH_BYTES], per_expert[PATH_BYTES];

    snprintf(path, sizeof path, "%s.%s", stacked, projection);
    snprintf(per_expert, sizeof per_expert, "%s.%%u.%s", fused, projection);
    return weights_find_stack(&b->source, path, per_expert, moe->expert_count, 0, rows, rows, cols, out, error);
}

leat_status moe_build_experts(model_builder *b, const char *stacked, const char *fused, moe_block *moe,
                              leat_error *error)
{
    const uint64_t hidden = b->model->hidden_size, width = moe->width;
    char path[PATH_BYTES];

    int length = snprintf(path, sizeof path, "%s%s", b->source.prefix, fused);
    assert(length > 0 && length < PATH_BYTES);
    TRY(arena_copy_text(b->source.memory, path, (size_t)length, &moe->experts_path, error));
    snprintf(path, sizeof path, "%s.gate_up_proj", fused);
    if (weights_exist(&b->source, path)) {
        TRY(weights_find_stack(&b->source, path, NULL, moe->expert_count, 0, width, 2 * width, hidden, &moe->gate,
                               error));
        TRY(weights_find_stack(&b->source, path, NULL, moe->expert_count, width, width, 2 * width, hidden, &moe->up,
                               error));
        snprintf(path, sizeof path, "%s.down_proj", fused);
        return weights_find_stack(&b->source, path, NULL, moe->expert_count, 0, hidden, hidden, width, &moe->down,
                                  error);
    }
    TRY(find_stack(b, stacked, fused, "gate_proj", moe, width, hidden, &moe->gate, error));
    TRY(find_stack(b, stacked, fused, "up_proj", moe, width, hidden, &moe->up, error));
    return find_stack(b, stacked, fused, "down_proj", moe, hidden, width, &moe->down, error);
}
