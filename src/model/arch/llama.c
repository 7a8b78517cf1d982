/*
 * llama.c - Llama 2 and 3: pre-norm decoder, grouped-query attention, SwiGLU. Source: transformers' LlamaModel;
 * docs/models.md.
 */
#include "model/arch/arch.h"
#include "model/arch/plain_decoder.h"

static const char *const model_types[] = {"llama", NULL};

static leat_status build(model_builder *b, leat_error *error)
{
    const plain_decoder family = {.norm_eps_default = 1e-6, .theta_default = 10000, .may_have_biases = true};
    return plain_decoder_build(b, &family, error);
}

const architecture arch_llama = {.name = "llama", .model_types = model_types, .build = build};
