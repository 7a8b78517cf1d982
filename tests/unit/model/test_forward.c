/*
 * The whole forward pass against reference.c, on small checkpoints of random numbers. For every detail that is easy to
 * get wrong, the reference is twisted in it: the logits must then differ by far more than the tolerance, which shows
 * that the comparison sees the detail.
 */
#include "reference.h"

#include <math.h>

enum { VOCAB = 64, TOKENS = 13, LONG = 150 };

/* Float32 against double: measured 4e-6 to 2e-5 here. A twist must move some logit by ten times the tolerance. */
static const double tolerance = 1e-4, visible = 1e-3;

static const uint32_t tokens[TOKENS] = {2, 17, 33, 5, 60, 17, 9, 41, 63, 0, 28, 50, 11};

typedef void reference_fn(const known_model *m, const reference_shape *g, twist t, const uint32_t *ids, uint32_t count,
                          double *logits);

static double largest_difference(const float *found, const double *expected)
{
    double most = 0;
    for (uint32_t i = 0; i < TOKENS * VOCAB; i++) {
        assert_true(isfinite(found[i]) && isfinite(expected[i]));
        most = fmax(most, fabs(found[i] - expected[i]));
    }
    return most;
}

/* In one chunk and in several, with everything in memory and at the floor, with one thread and with more: the same. */
static void run_engine(const known_model *m, float *logits)
{
    static const known_run ways[] = {{5, 3, false}, {1, 1, true}, {4, 2, true}};
    float again[TOKENS * VOCAB];

    known_logits(m, (known_run){TOKENS, 1, false}, tokens, TOKENS, logits);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        known_logits(m, ways[i], tokens, TOKENS, again);
        assert_memory_equal(logits, again, sizeof again);
    }
}

static void compare(const known_model *m, const reference_shape *g, reference_fn *reference, const twist *twists,
                    size_t twist_count)
{
    float found[TOKENS * VOCAB];
    double expected[TOKENS * VOCAB];

    run_engine(m, found);
    reference(m, g, AS_WRITTEN, tokens, TOKENS, expected);
    const double difference = largest_difference(found, expected);
    if (difference > tolerance) fail_msg("logits differ from the reference by %g", difference);
    for (size_t i = 0; i < twist_count; i++) {
        reference(m, g, twists[i], tokens, TOKENS, expected);
        const double moved = largest_difference(found, expected);
        if (moved < visible) fail_msg("twist %d moves the logits by %g only", (int)twists[i], moved);
        if (getenv("LEAT_TEST_VERBOSE")) printf("twist %d: %g\n", (int)twists[i], moved);
    }
    if (getenv("LEAT_TEST_VERBOSE")) printf("largest difference %g\n", difference);
}

/* ---- Gemma 4 ---- */

static void add_gemma4_attention(known_model *m, const reference_shape *g, known_form form, uint32_t i)
{
    const bool is_full = (i + 1) % g->full_period == 0, k_is_v = is_full && g->k_is_v;
    const uint32_t dim = is_full ? g->global_head_dim : g->head_dim;
    const uint32_t kv_width = dim * (k_is_v ? g->global_kv_heads : g->kv_heads);

    /* Layers that read another's keys have their own in the file all the same: they must not be used. */
    known_matrix(m, form, 0, g->heads * dim, g->hidden, 2, "layers.%u.self_attn.q_proj", i);
    known_matrix(m, form, 0, kv_width, g->hidden, 2, "layers.%u.self_attn.k_proj", i);
    if (!k_is_v) known_matrix(m, form, 0, kv_width, g->hidden, 2, "layers.%u.self_attn.v_proj", i);
    known_matrix(m, form, 0, g->hidden, g->heads * dim, 2, "layers.%u.self_attn.o_proj", i);
    known_vector(m, dim, 0.8, 0.5, "layers.%u.self_attn.q_norm.weight", i);
    known_vector(m, dim, 0.8, 0.5, "layers.%u.self_attn.k_norm.weight", i);
}

static void add_gemma4_experts(known_model *m, const reference_shape *g, known_form form, uint32_t i)
{
    known_vector(m, g->hidden, 1, 0.4, "layers.%u.post_feedforward_layernorm_1.weight", i);
    known_vector(m, g->hidden, 1, 0.4, "layers.%u.pre_feedforward_layernorm_2.weight", i);
    known_vector(m, g->hidden, 1, 0.4, "layers.%u.post_feedforward_layernorm_2.weight", i);
    known_matrix(m, form == KNOWN_AFFINE4 ? KNOWN_AFFINE8 : form, 0, g->experts, g->hidden, 18, "layers.%u.router.proj",
                 i);
    known_vector(m, g->hidden, 1, 0.5, "layers.%u.router.scale", i);
    known_vector(m, g->experts, 1, 0.6, "layers.%u.router.per_expert_scale", i);
    if (form != KNOWN_AFFINE4) {
        known_matrix(m, form, g->experts, 2 * g->moe_width, g->hidden, 2, "layers.%u.experts.gate_up_proj!", i);
        known_matrix(m, form, g->experts, g->hidden, g->moe_width, 2, "layers.%u.experts.down_proj!", i);
        return;
    }
    known_matrix(m, form, g->experts, g->moe_width, g->hidden, 2, "layers.%u.experts.switch_glu.gate_proj", i);
    known_matrix(m, form, g->experts, g->moe_width, g->hidden, 2, "layers.%u.experts.switch_glu.up_proj", i);
    known_matrix(m, KNOWN_AFFINE8, g->experts, g->hidden, g->moe_width, 2, "layers.%u.experts.switch_glu.down_proj", i);
}

static void add_gemma4_layer(known_model *m, const reference_shape *g, known_form form, uint32_t i)
{
    static const char *const norms[] = {"input", "post_attention", "pre_feedforward", "post_feedforward"};
    const uint32_t width = g->width * (g->double_wide && i >= g->layers - g->shared ? 2 : 1);

    for (int n = 0; n < 4; n++) known_vector(m, g->hidden, 1, 0.4, "layers.%u.%s_layernorm.weight", i, norms[n]);
    add_gemma4_attention(m, g, form, i);
    known_matrix(m, form, 0, width, g->hidden, 3, "layers.%u.mlp.gate_proj", i);
    known_matrix(m, form, 0, width, g->hidden, 3, "layers.%u.mlp.up_proj", i);
    known_matrix(m, form == KNOWN_AFFINE4 ? KNOWN_AFFINE8 : form, 0, g->hidden, width, 3, "layers.%u.mlp.down_proj", i);
    known_vector(m, 1, 0.8, 0.3, "layers.%u.layer_scalar", i);
    if (g->experts) add_gemma4_experts(m, g, form, i);
    if (!g->input_width) return;
    known_matrix(m, form, 0, g->input_width, g->hidden, 2, "layers.%u.per_layer_input_gate", i);
    known_matrix(m, form, 0, g->hidden, g->input_width, 2, "layers.%u.per_layer_projection", i);
    known_vector(m, g->hidden, 1, 0.4, "layers.%u.post_per_layer_input_norm.weight", i);
}

static void add_gemma4(known_model *m, const reference_shape *g, known_form form)
{
    known_matrix(m, g->embedding_form, 0, g->vocab, g->hidden, 5, "embed_tokens");
    known_vector(m, g->hidden, 1, 0.4, "norm.weight");
    if (g->input_width) {
        known_matrix(m, form, 0, g->vocab, g->layers * g->input_width, 5, "embed_tokens_per_layer");
        known_matrix(m, form, 0, g->layers * g->input_width, g->hidden, 2, "per_layer_model_projection");
        known_vector(m, g->input_width, 1, 0.4, "per_layer_projection_norm.weight");
    }
    for (uint32_t i = 0; i < g->layers; i++) add_gemma4_layer(m, g, form, i);
}

static void write_gemma4(known_model *m, const reference_shape *g)
{
    char text[4096], types[1024] = "";

    for (uint32_t i = 0; i < g->layers; i++) {
        const char *kind = (i + 1) % g->full_period ? "sliding_attention" : "full_attention";
        snprintf(types + strlen(types), sizeof types - strlen(types), "%s\"%s\"", i ? "," : "", kind);
    }
    snprintf(text, sizeof text,
             "{\"model_type\":\"gemma4_text\",\"hidden_size\":%u,\"vocab_size\":%u,\"num_hidden_layers\":%u,"
             "\"num_attention_heads\":%u,\"num_key_value_heads\":%u,\"num_global_key_value_heads\":%u,"
             "\"head_dim\":%u,\"global_head_dim\":%u,\"intermediate_size\":%u,\"sliding_window\":%u,"
             "\"num_kv_shared_layers\":%u,\"hidden_size_per_layer_input\":%u,\"use_double_wide_mlp\":%s,"
             "\"attention_k_eq_v\":%s,\"enable_moe_block\":%s,\"num_experts\":%u,\"top_k_experts\":%u,"
             "\"moe_intermediate_size\":%u,\"rms_norm_eps\":%g,\"final_logit_softcapping\":%g,"
             "\"max_position_embeddings\":192,\"layer_types\":[%s],"
             "\"quantization\":{\"group_size\":32,\"bits\":4},\"rope_parameters\":{"
             "\"sliding_attention\":{\"rope_type\":\"default\",\"rope_theta\":%g},\"full_attention\":"
             "{\"rope_type\":\"proportional\",\"rope_theta\":%g,\"partial_rotary_factor\":0.25}}}",
             g->hidden, g->vocab, g->layers, g->heads, g->kv_heads,
             g->global_kv_heads ? g->global_kv_heads : g->kv_heads, g->head_dim, g->global_head_dim, g->width,
             g->window, g->shared, g->input_width, g->double_wide ? "true" : "false", g->k_is_v ? "true" : "false",
             g->experts ? "true" : "false", g->experts, g->used, g->moe_width, g->eps, g->softcap, types, g->theta,
             g->full_theta);
    known_write(m, text);
}

/* The large eps lets factors show that a norm would otherwise take away again. */
static const reference_shape like_26b = {.hidden = 96,
                                         .vocab = VOCAB,
                                         .layers = 4,
                                         .heads = 4,
                                         .kv_heads = 2,
                                         .head_dim = 8,
                                         .width = 64,
                                         .eps = 0.01,
                                         .theta = 100,
                                         .global_kv_heads = 1,
                                         .global_head_dim = 32,
                                         .window = 4,
                                         .full_period = 2,
                                         .k_is_v = true,
                                         .full_theta = 1000,
                                         .softcap = 3,
                                         .embedding_form = KNOWN_BF16,
                                         .experts = 10,
                                         .used = 3,
                                         .moe_width = 32};

static const reference_shape like_e2b = {.hidden = 96,
                                         .vocab = VOCAB,
                                         .layers = 8,
                                         .heads = 4,
                                         .kv_heads = 1,
                                         .head_dim = 16,
                                         .width = 32,
                                         .eps = 0.01,
                                         .theta = 100,
                                         .global_head_dim = 32,
                                         .window = 4,
                                         .full_period = 2,
                                         .shared = 4,
                                         .input_width = 32,
                                         .double_wide = true,
                                         .full_theta = 1000,
                                         .softcap = 3,
                                         .embedding_form = KNOWN_F32};

static const twist everywhere[] = {EMBEDDING_UNSCALED,     EMBEDDING_FACTOR_ROUNDED_OTHERWISE,
                                   GELU_WITH_ERF,          SILU_FOR_GELU,
                                   SCORES_SCALED,          ROPE_OF_FIRST_DIMS,
                                   ROPE_BASE_OF_ROTATED,   ROPE_OF_WHOLE_HEAD,
                                   ROPE_INTERLEAVED,       ROPE_OF_ONE_KIND,
                                   V_WITHOUT_NORM,         NORMS_ADD_ONE,
                                   HEAD_NORMS_LEFT_OUT,    HEAD_NORMS_AFTER_ROPE,
                                   SOFTCAP_LEFT_OUT,       LAYER_SCALAR_LEFT_OUT,
                                   LAYER_SCALAR_ON_BRANCH, WINDOW_LEFT_OUT,
                                   WINDOW_ONE_WIDER,       WINDOW_ONE_NARROWER};

static const twist with_experts[] = {V_FROM_FINISHED_K,          V_FROM_NORMED_K,         ROUTER_SEES_NORMED_INPUT,
                                     ROUTER_WITHOUT_NORM,        ROUTER_WITHOUT_SCALE,    ROUTER_WITHOUT_ROOT,
                                     EXPERT_SCALE_BEFORE_CHOICE, EXPERT_SCALE_BEFORE_SUM, EXPERT_SCALE_LEFT_OUT,
                                     CHOSEN_NOT_NORMALISED,      POST_NORM_ON_DENSE_ONLY, EXPERTS_SEE_DENSE_INPUT};

static const twist with_inputs[] = {
    KV_NOT_SHARED,         KV_OF_FIRST_DONOR,          MLP_SINGLE_WIDE,     INPUTS_LEFT_OUT,
    INPUTS_TABLE_UNSCALED, INPUTS_PROJECTION_UNSCALED, INPUTS_SUM_UNSCALED, INPUTS_FROM_UNSCALED_EMBEDDING};

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static void check_gemma4(const reference_shape *g, known_form form, const char *prefix, uint64_t seed,
                         const twist *twists, size_t twist_count)
{
    known_model m;
    known_open(&m, seed, prefix);
    add_gemma4(&m, g, form);
    write_gemma4(&m, g);
    compare(&m, g, reference_gemma4, everywhere, COUNT(everywhere));
    compare(&m, g, reference_gemma4, twists, twist_count);
    known_close(&m);
}

static void gemma4_with_experts(void **state)
{
    (void)state;
    check_gemma4(&like_26b, KNOWN_F32, "model.", 1, with_experts, COUNT(with_experts));
}

static void gemma4_with_layer_inputs_and_shared_keys(void **state)
{
    (void)state;
    check_gemma4(&like_e2b, KNOWN_F32, "model.language_model.", 2, with_inputs, COUNT(with_inputs));
}

static void gemma4_in_bf16(void **state)
{
    (void)state;
    reference_shape g = like_e2b;
    g.embedding_form = KNOWN_BF16;
    check_gemma4(&g, KNOWN_BF16, "", 3, with_inputs, COUNT(with_inputs));
}

/* The configuration says 4 bits; routers and down projections have 8. */
static void gemma4_with_mixed_precision(void **state)
{
    (void)state;
    static const twist precision[] = {PRECISION_TAKEN_FROM_CONFIG};
    reference_shape g = like_26b;
    g.embedding_form = KNOWN_AFFINE4;
    check_gemma4(&g, KNOWN_AFFINE4, "language_model.model.", 4, precision, 1);
}

/* Long enough that attention merges blocks of positions and rings wrap, in chunks that end anywhere. */
static void gemma4_over_several_blocks(void **state)
{
    (void)state;
    static const known_run ways[] = {{LONG, 2, false}, {64, 1, true}, {7, 3, true}, {1, 1, false}};
    static float found[LONG * VOCAB];
    static double expected[LONG * VOCAB];
    uint32_t ids[LONG];
    reference_shape g = like_e2b;
    known_model m;
    g.window = 70;
    known_open(&m, 9, "model.");
    add_gemma4(&m, &g, KNOWN_F32);
    write_gemma4(&m, &g);
    for (uint32_t i = 0; i < LONG; i++) ids[i] = (i * i * 7 + i * 3 + 2) % VOCAB;
    reference_gemma4(&m, &g, AS_WRITTEN, ids, LONG, expected);
    for (size_t w = 0; w < COUNT(ways); w++) {
        known_logits(&m, ways[w], ids, LONG, found);
        for (uint32_t i = 0; i < LONG * VOCAB; i++)
            if (fabs(found[i] - expected[i]) > tolerance)
                fail_msg("position %u: %g, expected %g", i / VOCAB, found[i], expected[i]);
    }
    known_close(&m);
}

/* ---- plain decoders ---- */

static void add_plain_layer(known_model *m, const reference_shape *g, bool one_tensor_per_expert, uint32_t i)
{
    static const char *const parts[] = {"gate_proj", "up_proj", "down_proj"};
    const uint32_t q = g->heads * g->head_dim, kv = g->kv_heads * g->head_dim;

    known_vector(m, g->hidden, 1, 0.4, "layers.%u.input_layernorm.weight", i);
    known_vector(m, g->hidden, 1, 0.4, "layers.%u.post_attention_layernorm.weight", i);
    known_matrix(m, KNOWN_F32, 0, q, g->hidden, 3, "layers.%u.self_attn.q_proj", i);
    known_matrix(m, KNOWN_F32, 0, kv, g->hidden, 3, "layers.%u.self_attn.k_proj", i);
    known_matrix(m, KNOWN_F32, 0, kv, g->hidden, 3, "layers.%u.self_attn.v_proj", i);
    known_matrix(m, KNOWN_F32, 0, g->hidden, q, 3, "layers.%u.self_attn.o_proj", i);
    if (g->head_norms) {
        known_vector(m, g->head_dim, 1, 0.5, "layers.%u.self_attn.q_norm.weight", i);
        known_vector(m, g->head_dim, 1, 0.5, "layers.%u.self_attn.k_norm.weight", i);
    }
    if (g->has_biases) {
        known_vector(m, q, 0, 0.5, "layers.%u.self_attn.q_proj.bias", i);
        known_vector(m, kv, 0, 0.5, "layers.%u.self_attn.k_proj.bias", i);
        known_vector(m, kv, 0, 0.5, "layers.%u.self_attn.v_proj.bias", i);
        known_vector(m, g->hidden, 0, 0.5, "layers.%u.self_attn.o_proj.bias", i);
        for (int p = 0; p < 3; p++)
            known_vector(m, p < 2 ? g->width : g->hidden, 0, 0.5, "layers.%u.mlp.%s.bias", i, parts[p]);
    }
    const bool is_dense = g->experts == 0 || i == 1; /* qwen3_moe with mlp_only_layers [1] */
    const uint32_t width = is_dense ? g->width : g->moe_width;
    if (!is_dense) known_matrix(m, KNOWN_F32, 0, g->experts, g->hidden, 3, "layers.%u.mlp.gate", i);
    for (int p = 0; p < 3; p++) {
        const uint32_t rows = p < 2 ? width : g->hidden, cols = p < 2 ? g->hidden : width;
        if (is_dense)
            known_matrix(m, KNOWN_F32, 0, rows, cols, 3, "layers.%u.mlp.%s", i, parts[p]);
        else if (!one_tensor_per_expert)
            known_matrix(m, KNOWN_F32, g->experts, rows, cols, 3, "layers.%u.mlp.switch_mlp.%s", i, parts[p]);
        for (uint32_t e = 0; !is_dense && one_tensor_per_expert && e < g->experts; e++)
            known_matrix(m, KNOWN_F32, 0, rows, cols, 3, "layers.%u.mlp.experts.%u.%s", i, e, parts[p]);
    }
}

static void write_plain(known_model *m, const reference_shape *g, const char *model_type)
{
    char text[2048];
    snprintf(text, sizeof text,
             "{\"model_type\":\"%s\",\"hidden_size\":%u,\"vocab_size\":%u,\"num_hidden_layers\":%u,"
             "\"num_attention_heads\":%u,\"num_key_value_heads\":%u,\"head_dim\":%u,\"intermediate_size\":%u,"
             "\"rms_norm_eps\":%g,\"rope_theta\":%g,\"max_position_embeddings\":192,\"tie_word_embeddings\":%s,"
             "\"attention_bias\":%s,\"mlp_bias\":%s,\"num_experts\":%u,\"num_experts_per_tok\":%u,"
             "\"moe_intermediate_size\":%u,\"norm_topk_prob\":%s,\"mlp_only_layers\":[1],\"rope_scaling\":%s}",
             model_type, g->hidden, g->vocab, g->layers, g->heads, g->kv_heads, g->head_dim, g->width, g->eps, g->theta,
             g->is_tied ? "true" : "false", g->has_biases ? "true" : "false", g->has_biases ? "true" : "false",
             g->experts ? g->experts : 1, g->used ? g->used : 1, g->moe_width ? g->moe_width : 1,
             g->top_k_norm ? "true" : "false",
             g->has_llama3_rope ? "{\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,"
                                  "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":32}"
                                : "null");
    known_write(m, text);
}

static void check_plain(const reference_shape *g, const char *model_type, bool one_tensor_per_expert, uint64_t seed,
                        const twist *twists, size_t twist_count)
{
    static const twist common[] = {SCORES_UNSCALED, ROPE_INTERLEAVED, NORMS_ADD_ONE, HEAD_TURNED};
    known_model m;
    known_open(&m, seed, "model.");
    known_matrix(&m, KNOWN_F32, 0, g->vocab, g->hidden, 10, "embed_tokens");
    known_vector(&m, g->hidden, 1, 0.4, "norm.weight");
    m.prefix = "";
    known_matrix(&m, KNOWN_F32, 0, g->vocab, g->hidden, 3, "lm_head");
    m.prefix = "model.";
    for (uint32_t i = 0; i < g->layers; i++) add_plain_layer(&m, g, one_tensor_per_expert, i);
    write_plain(&m, g, model_type);
    compare(&m, g, reference_plain, common, COUNT(common));
    compare(&m, g, reference_plain, twists, twist_count);
    known_close(&m);
}

static const reference_shape like_llama = {.hidden = 48,
                                           .vocab = VOCAB,
                                           .layers = 3,
                                           .heads = 6,
                                           .kv_heads = 2,
                                           .head_dim = 8,
                                           .width = 72,
                                           .eps = 1e-5,
                                           .theta = 500,
                                           .has_biases = true,
                                           .has_llama3_rope = true};

static const reference_shape like_qwen3_moe = {.hidden = 48,
                                               .vocab = VOCAB,
                                               .layers = 3,
                                               .heads = 4,
                                               .kv_heads = 2,
                                               .head_dim = 16,
                                               .width = 40,
                                               .eps = 1e-6,
                                               .theta = 1000,
                                               .head_norms = true,
                                               .experts = 9,
                                               .used = 3,
                                               .moe_width = 24,
                                               .top_k_norm = true,
                                               .is_tied = true};

static void llama_with_rescaled_rope_and_biases(void **state)
{
    (void)state;
    static const twist twists[] = {ROPE_NOT_RESCALED, BIASES_LEFT_OUT};
    check_plain(&like_llama, "llama", false, 5, twists, COUNT(twists));
}

static void qwen3_dense(void **state)
{
    (void)state;
    static const twist twists[] = {HEAD_NORMS_LEFT_OUT, HEAD_NORMS_AFTER_ROPE};
    reference_shape g = like_qwen3_moe;
    g.experts = 0;
    check_plain(&g, "qwen3", false, 6, twists, COUNT(twists));
}

static void qwen3_with_experts(void **state)
{
    (void)state;
    static const twist twists[] = {HEAD_NORMS_LEFT_OUT, HEAD_NORMS_AFTER_ROPE, TOP_K_NORM_TURNED};
    check_plain(&like_qwen3_moe, "qwen3_moe", true, 7, twists, COUNT(twists));
    reference_shape g = like_qwen3_moe;
    g.top_k_norm = false;
    g.is_tied = false;
    check_plain(&g, "qwen3_moe", false, 8, twists, COUNT(twists));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemma4_with_experts),
        cmocka_unit_test(gemma4_with_layer_inputs_and_shared_keys),
        cmocka_unit_test(gemma4_in_bf16),
        cmocka_unit_test(gemma4_with_mixed_precision),
        cmocka_unit_test(gemma4_over_several_blocks),
        cmocka_unit_test(llama_with_rescaled_rope_and_biases),
        cmocka_unit_test(qwen3_dense),
        cmocka_unit_test(qwen3_with_experts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
