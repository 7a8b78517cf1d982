#include "gemma4_headers.h"

const gemma4_variant gemma4_variants[GEMMA4_VARIANTS] = {
    {.label = "26B-A4B",
     .hidden = 2816,
     .layers = 30,
     .intermediate = 2112,
     .heads = 16,
     .kv_heads = 8,
     .global_kv_heads = 2,
     .head_dim = 256,
     .global_head_dim = 512,
     .window = 1024,
     .full_period = 6,
     .vocab = 262144,
     .experts = 128,
     .used = 8,
     .moe_width = 704,
     .k_is_v = true,
     .embedding_scale = 53.0f},
    {.label = "31B",
     .hidden = 5376,
     .layers = 60,
     .intermediate = 21504,
     .heads = 32,
     .kv_heads = 16,
     .global_kv_heads = 4,
     .head_dim = 256,
     .global_head_dim = 512,
     .window = 1024,
     .full_period = 6,
     .vocab = 262144,
     .k_is_v = true,
     .embedding_scale = 73.5f},
    {.label = "E2B",
     .hidden = 1536,
     .layers = 35,
     .intermediate = 6144,
     .heads = 8,
     .kv_heads = 1,
     .head_dim = 256,
     .global_head_dim = 512,
     .window = 512,
     .full_period = 5,
     .shared = 20,
     .input_width = 256,
     .vocab = 262144,
     .double_wide = true,
     .embedding_scale = 39.25f},
    {.label = "E4B",
     .hidden = 2560,
     .layers = 42,
     .intermediate = 10240,
     .heads = 8,
     .kv_heads = 2,
     .head_dim = 256,
     .global_head_dim = 512,
     .window = 512,
     .full_period = 6,
     .shared = 18,
     .input_width = 256,
     .vocab = 262144,
     .embedding_scale = 50.5f},
    {.label = "12B",
     .hidden = 3840,
     .layers = 48,
     .intermediate = 15360,
     .heads = 16,
     .kv_heads = 8,
     .global_kv_heads = 1,
     .head_dim = 256,
     .global_head_dim = 512,
     .window = 1024,
     .full_period = 6,
     .vocab = 262144,
     .k_is_v = true,
     .embedding_scale = 62.0f},
};

const gemma4_variant gemma4_small = {.label = "small",
                                     .hidden = 64,
                                     .layers = 6,
                                     .intermediate = 32,
                                     .heads = 4,
                                     .kv_heads = 2,
                                     .global_kv_heads = 1,
                                     .head_dim = 8,
                                     .global_head_dim = 16,
                                     .window = 4,
                                     .full_period = 2,
                                     .shared = 2,
                                     .input_width = 16,
                                     .vocab = 128,
                                     .experts = 6,
                                     .used = 2,
                                     .moe_width = 24,
                                     .k_is_v = true,
                                     .embedding_scale = 8.0f};

bool variant_is_full(const gemma4_variant *v, uint32_t idx) { return (idx + 1) % v->full_period == 0; }

/* ---- tensors: models.md 1.5 ---- */

static void add_attention(model_headers *h, const gemma4_variant *v, uint32_t i)
{
    const bool is_full = variant_is_full(v, i), k_is_v = v->k_is_v && is_full;
    const uint32_t dim = is_full ? v->global_head_dim : v->head_dim;
    const uint32_t kv_heads = k_is_v && v->global_kv_heads ? v->global_kv_heads : v->kv_heads;

    headers_add(h, v->heads * dim, v->hidden, 0, "layers.%u.self_attn.q_proj.weight", i);
    headers_add(h, v->hidden, v->heads * dim, 0, "layers.%u.self_attn.o_proj.weight", i);
    headers_add(h, dim, 0, 0, "layers.%u.self_attn.q_norm.weight", i);
    if (i >= v->layers - v->shared) return;
    headers_add(h, kv_heads * dim, v->hidden, 0, "layers.%u.self_attn.k_proj.weight", i);
    headers_add(h, dim, 0, 0, "layers.%u.self_attn.k_norm.weight", i);
    if (!k_is_v) headers_add(h, kv_heads * dim, v->hidden, 0, "layers.%u.self_attn.v_proj.weight", i);
}

static void add_experts(model_headers *h, const gemma4_variant *v, uint32_t i)
{
    headers_add(h, v->hidden, 0, 0, "layers.%u.post_feedforward_layernorm_1.weight", i);
    headers_add(h, v->hidden, 0, 0, "layers.%u.pre_feedforward_layernorm_2.weight", i);
    headers_add(h, v->hidden, 0, 0, "layers.%u.post_feedforward_layernorm_2.weight", i);
    headers_add(h, v->experts, v->hidden, 0, "layers.%u.router.proj.weight", i);
    headers_add(h, v->hidden, 0, 0, "layers.%u.router.scale", i);
    headers_add(h, v->experts, 0, 0, "layers.%u.router.per_expert_scale", i);
    headers_add(h, v->experts, 2 * v->moe_width, v->hidden, "layers.%u.experts.gate_up_proj", i);
    headers_add(h, v->experts, v->hidden, v->moe_width, "layers.%u.experts.down_proj", i);
}

static void add_layer(model_headers *h, const gemma4_variant *v, uint32_t i)
{
    static const char *const norms[] = {"input", "post_attention", "pre_feedforward", "post_feedforward"};
    const uint32_t width = v->intermediate * (v->double_wide && i >= v->layers - v->shared ? 2 : 1);

    for (int n = 0; n < 4; n++) headers_add(h, v->hidden, 0, 0, "layers.%u.%s_layernorm.weight", i, norms[n]);
    add_attention(h, v, i);
    headers_add(h, width, v->hidden, 0, "layers.%u.mlp.gate_proj.weight", i);
    headers_add(h, width, v->hidden, 0, "layers.%u.mlp.up_proj.weight", i);
    headers_add(h, v->hidden, width, 0, "layers.%u.mlp.down_proj.weight", i);
    headers_add(h, 1, 0, 0, "layers.%u.layer_scalar", i);
    if (v->experts) add_experts(h, v, i);
    if (!v->input_width) return;
    headers_add(h, v->input_width, v->hidden, 0, "layers.%u.per_layer_input_gate.weight", i);
    headers_add(h, v->hidden, v->input_width, 0, "layers.%u.per_layer_projection.weight", i);
    headers_add(h, v->hidden, 0, 0, "layers.%u.post_per_layer_input_norm.weight", i);
}

/* ---- config.json: models.md 1.1 ---- */

static void append(char config[CONFIG_BYTES], const char *format, ...) PRINTF_LIKE(2, 3);
static void append(char config[CONFIG_BYTES], const char *format, ...)
{
    const size_t used = strlen(config);
    va_list args;
    va_start(args, format);
    assert_in_range(vsnprintf(config + used, CONFIG_BYTES - used, format, args), 0, (int)(CONFIG_BYTES - used) - 1);
    va_end(args);
}

static void write_config(const gemma4_variant *v, char config[CONFIG_BYTES])
{
    char global_kv_heads[16] = "null";

    if (v->global_kv_heads) snprintf(global_kv_heads, sizeof global_kv_heads, "%u", v->global_kv_heads);
    config[0] = '\0';
    append(config, "{\"model_type\":\"gemma4\",\"tie_word_embeddings\":true,\"eos_token_id\":[1,106],");
    append(config, "\"text_config\":{\"model_type\":\"gemma4_text\",\"bos_token_id\":2,\"eos_token_id\":1,");
    append(config, "\"hidden_size\":%u,\"num_hidden_layers\":%u,\"intermediate_size\":%u,", v->hidden, v->layers,
           v->intermediate);
    append(config, "\"num_attention_heads\":%u,\"num_key_value_heads\":%u,\"num_global_key_value_heads\":%s,", v->heads,
           v->kv_heads, global_kv_heads);
    append(config, "\"head_dim\":%u,\"global_head_dim\":%u,\"sliding_window\":%u,", v->head_dim, v->global_head_dim,
           v->window);
    append(config, "\"attention_k_eq_v\":%s,\"num_kv_shared_layers\":%u,\"use_double_wide_mlp\":%s,",
           v->k_is_v ? "true" : "false", v->shared, v->double_wide ? "true" : "false");
    append(config, "\"hidden_size_per_layer_input\":%u,\"vocab_size\":%u,", v->input_width, v->vocab);
    append(config, "\"hidden_activation\":\"gelu_pytorch_tanh\",\"rms_norm_eps\":1e-06,");
    append(config, "\"final_logit_softcapping\":30.0,\"max_position_embeddings\":131072,\"enable_moe_block\":%s,",
           v->experts ? "true" : "false");
    if (v->experts)
        append(config, "\"num_experts\":%u,\"top_k_experts\":%u,\"moe_intermediate_size\":%u,", v->experts, v->used,
               v->moe_width);
    append(config, "\"rope_parameters\":{\"sliding_attention\":{\"rope_type\":\"default\",\"rope_theta\":10000.0},"
                   "\"full_attention\":{\"rope_type\":\"proportional\",\"rope_theta\":1000000.0,"
                   "\"partial_rotary_factor\":0.25}},\"layer_types\":[");
    for (uint32_t i = 0; i < v->layers; i++)
        append(config, "%s\"%s_attention\"", i ? "," : "", variant_is_full(v, i) ? "full" : "sliding");
    append(config, "]}}");
}

void add_gemma4(model_headers *h, const gemma4_variant *v)
{
    headers_add(h, v->vocab, v->hidden, 0, "embed_tokens.weight");
    headers_add(h, v->hidden, 0, 0, "norm.weight");
    if (v->input_width) {
        headers_add(h, v->vocab, v->layers * v->input_width, 0, "embed_tokens_per_layer.weight");
        headers_add(h, v->layers * v->input_width, v->hidden, 0, "per_layer_model_projection.weight");
        headers_add(h, v->input_width, 0, 0, "per_layer_projection_norm.weight");
    }
    for (uint32_t i = 0; i < v->layers; i++) add_layer(h, v, i);
    write_config(v, h->config);
}
