/* gemma4_headers.h - the released Gemma 4 text models as configuration and tensor headers, and a small one to spoil. */
#ifndef TESTS_GEMMA4_HEADERS_H
#define TESTS_GEMMA4_HEADERS_H

#include "model_headers.h"

typedef struct gemma4_variant {
    const char *label;
    uint32_t hidden, layers, intermediate, heads, kv_heads, global_kv_heads; /* global_kv_heads 0: null */
    uint32_t head_dim, global_head_dim, window, full_period, shared, input_width, vocab;
    uint32_t experts, used, moe_width; /* experts 0: dense */
    bool k_is_v, double_wide;
    float embedding_scale; /* with the constant rounded to BF16 */
} gemma4_variant;

enum { GEMMA4_VARIANTS = 5 };
extern const gemma4_variant gemma4_variants[GEMMA4_VARIANTS];
/* All of it in a few numbers: experts, per-layer inputs, shared keys and values, k as v. */
extern const gemma4_variant gemma4_small;

bool variant_is_full(const gemma4_variant *v, uint32_t idx);
void add_gemma4(model_headers *h, const gemma4_variant *v);

#endif
