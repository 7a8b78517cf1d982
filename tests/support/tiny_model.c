/* tiny_model.c - see the header. The header of the file is text that grows beside the data. */
#include "tiny_model.h"

#include "unit.h"

#include "base/prng.h"

typedef struct writer {
    const char *folder;
    tiny_shape shape;
    prng dice;
    char *header;
    size_t header_bytes, header_room;
    float *data;
    size_t count, room;
} writer;

static void put_header(writer *w, const char *text)
{
    const size_t bytes = strlen(text);
    if (w->header_bytes + bytes + 1 > w->header_room) {
        w->header_room = 2 * (w->header_room + bytes + 1);
        assert_non_null(w->header = realloc(w->header, w->header_room));
    }
    memcpy(w->header + w->header_bytes, text, bytes + 1);
    w->header_bytes += bytes;
}

static float *put_floats(writer *w, size_t count)
{
    if (w->count + count > w->room) {
        w->room = 2 * (w->room + count);
        assert_non_null(w->data = realloc(w->data, w->room * sizeof *w->data));
    }
    w->count += count;
    return w->data + w->count - count;
}

static float draw(writer *w, float base, float spread)
{
    return base + spread * ((float)prng_below(&w->dice, 1 << 20) / (float)(1 << 19) - 1);
}

/* Two bfloat16 in the place of one float; cut off, not rounded. */
static float draw_two_bf16(writer *w, float base, float spread)
{
    uint32_t both = 0, bits;
    float value;
    for (uint32_t i = 0; i < 2; i++) {
        value = draw(w, base, spread);
        memcpy(&bits, &value, sizeof bits);
        both |= (bits >> 16) << (16 * i);
    }
    memcpy(&value, &both, sizeof value);
    return value;
}

/* A tensor of `base + random * spread`; dims ends with 0. bfloat16: of an even number of values. */
static void put_tensor_as(writer *w, const char *name, const uint32_t *dims, float base, float spread, bool is_bf16)
{
    char text[512], shape[64] = "";
    const size_t begin = w->count * sizeof(float);
    size_t count = 1;

    for (uint32_t i = 0; dims[i]; i++) {
        snprintf(shape + strlen(shape), sizeof shape - strlen(shape), "%s%u", i ? "," : "", dims[i]);
        count *= dims[i];
    }
    if (is_bf16) assert_true(count % 2 == 0);
    const size_t float_count = is_bf16 ? count / 2 : count;
    float *out = put_floats(w, float_count);
    for (size_t i = 0; i < float_count; i++) out[i] = is_bf16 ? draw_two_bf16(w, base, spread) : draw(w, base, spread);
    snprintf(text, sizeof text, "%s\"model.%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
             w->header_bytes > 1 ? "," : "", name, is_bf16 ? "BF16" : "F32", shape, begin, w->count * sizeof(float));
    put_header(w, text);
}

static void put_tensor(writer *w, const char *name, const uint32_t *dims, float base, float spread)
{
    put_tensor_as(w, name, dims, base, spread, false);
}

#define DIMS(...) ((const uint32_t[]){__VA_ARGS__, 0})

static void put_in_layer(writer *w, uint32_t layer, const char *name, const uint32_t *dims, float base, float spread)
{
    char full[256];
    snprintf(full, sizeof full, "layers.%u.%s", layer, name);
    put_tensor(w, full, dims, base, spread);
}

static void put_norm(writer *w, uint32_t layer, const char *name, uint32_t count)
{
    put_in_layer(w, layer, name, DIMS(count), 1, 0.3f);
}

static void put_attention(writer *w, uint32_t layer)
{
    const tiny_shape *s = &w->shape;
    const uint32_t q = s->head_count * s->head_dim, kv = s->kv_head_count * s->head_dim;

    put_in_layer(w, layer, "self_attn.q_proj.weight", DIMS(q, s->hidden), 0, 0.4f);
    put_in_layer(w, layer, "self_attn.k_proj.weight", DIMS(kv, s->hidden), 0, 0.4f);
    put_in_layer(w, layer, "self_attn.v_proj.weight", DIMS(kv, s->hidden), 0, 0.4f);
    put_in_layer(w, layer, "self_attn.o_proj.weight", DIMS(s->hidden, q), 0, 0.4f);
    if (s->family == TINY_LLAMA) return;
    put_norm(w, layer, "self_attn.q_norm.weight", s->head_dim);
    put_norm(w, layer, "self_attn.k_norm.weight", s->head_dim);
}

static void put_mlp(writer *w, uint32_t layer)
{
    const tiny_shape *s = &w->shape;

    put_in_layer(w, layer, "mlp.gate_proj.weight", DIMS(s->width, s->hidden), 0, 0.3f);
    put_in_layer(w, layer, "mlp.up_proj.weight", DIMS(s->width, s->hidden), 0, 0.3f);
    put_in_layer(w, layer, "mlp.down_proj.weight", DIMS(s->hidden, s->width), 0, 0.3f);
}

static void put_experts(writer *w, uint32_t layer, const char *stack)
{
    static const char *const names[] = {"gate_proj", "up_proj", "down_proj"};
    const tiny_shape *s = &w->shape;
    char name[256];

    for (uint32_t i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "layers.%u.%s.%s.weight", layer, stack, names[i]);
        put_tensor_as(w, name,
                      i < 2 ? DIMS(s->expert_count, s->expert_width, s->hidden)
                            : DIMS(s->expert_count, s->hidden, s->expert_width),
                      0, 0.3f, s->bf16_layers >> layer & 1);
    }
}

static void put_gemma4_layer(writer *w, uint32_t i)
{
    const tiny_shape *s = &w->shape;

    put_norm(w, i, "input_layernorm.weight", s->hidden);
    put_norm(w, i, "post_attention_layernorm.weight", s->hidden);
    put_norm(w, i, "pre_feedforward_layernorm.weight", s->hidden);
    put_norm(w, i, "post_feedforward_layernorm.weight", s->hidden);
    put_attention(w, i);
    put_mlp(w, i);
    if (s->input_width) {
        put_in_layer(w, i, "per_layer_input_gate.weight", DIMS(s->input_width, s->hidden), 0, 0.3f);
        put_in_layer(w, i, "per_layer_projection.weight", DIMS(s->hidden, s->input_width), 0, 0.3f);
        put_norm(w, i, "post_per_layer_input_norm.weight", s->hidden);
    }
    if (!s->expert_count) return;
    put_norm(w, i, "post_feedforward_layernorm_1.weight", s->hidden);
    put_norm(w, i, "pre_feedforward_layernorm_2.weight", s->hidden);
    put_norm(w, i, "post_feedforward_layernorm_2.weight", s->hidden);
    put_in_layer(w, i, "router.proj.weight", DIMS(s->expert_count, s->hidden), 0, 1);
    put_norm(w, i, "router.scale", s->hidden);
    put_norm(w, i, "router.per_expert_scale", s->expert_count);
    put_experts(w, i, "experts.switch_glu");
}

static void put_plain_layer(writer *w, uint32_t i)
{
    const tiny_shape *s = &w->shape;

    put_norm(w, i, "input_layernorm.weight", s->hidden);
    put_norm(w, i, "post_attention_layernorm.weight", s->hidden);
    put_attention(w, i);
    if (s->family == TINY_LLAMA) {
        put_mlp(w, i);
        return;
    }
    put_in_layer(w, i, "mlp.gate.weight", DIMS(s->expert_count, s->hidden), 0, 0.4f);
    put_experts(w, i, "mlp.switch_mlp");
}

static void put_config(const writer *w)
{
    static const char *const types[] = {"gemma4_text", "llama", "qwen3_moe"};
    const tiny_shape *s = &w->shape;
    char text[4096];
    int at = snprintf(text, sizeof text,
                      "{\"model_type\":\"%s\",\"hidden_size\":%u,\"vocab_size\":%u,\"num_hidden_layers\":%u,"
                      "\"max_position_embeddings\":%u,\"rms_norm_eps\":1e-6,\"num_attention_heads\":%u,"
                      "\"num_key_value_heads\":%u,\"head_dim\":%u,\"intermediate_size\":%u,\"tie_word_embeddings\":%s,"
                      "\"eos_token_id\":[1,3]",
                      types[s->family], s->hidden, s->vocab, s->layer_count, s->context, s->head_count,
                      s->kv_head_count, s->head_dim, s->width, s->has_own_head ? "false" : "true");

    if (s->family == TINY_GEMMA4)
        at += snprintf(text + at, sizeof text - (size_t)at,
                       ",\"global_head_dim\":%u,\"sliding_window\":%u,\"sliding_window_pattern\":%u,"
                       "\"hidden_activation\":\"gelu_pytorch_tanh\",\"final_logit_softcapping\":30.0,"
                       "\"hidden_size_per_layer_input\":%u,\"vocab_size_per_layer_input\":%u",
                       s->head_dim, s->window, s->layer_count, s->input_width, s->vocab);
    if (s->family == TINY_GEMMA4 && s->expert_count)
        at +=
            snprintf(text + at, sizeof text - (size_t)at,
                     ",\"enable_moe_block\":true,\"num_experts\":%u,\"top_k_experts\":%u,\"moe_intermediate_size\":%u",
                     s->expert_count, s->used_count, s->expert_width);
    if (s->family == TINY_QWEN3_MOE)
        at += snprintf(text + at, sizeof text - (size_t)at,
                       ",\"num_experts\":%u,\"num_experts_per_tok\":%u,\"moe_intermediate_size\":%u", s->expert_count,
                       s->used_count, s->expert_width);
    snprintf(text + at, sizeof text - (size_t)at, "}\n");
    write_file_text(w->folder, "config.json", text);
}

static void default_to(uint32_t *value, uint32_t fallback)
{
    if (!*value) *value = fallback;
}

static void fill_defaults(tiny_shape *s)
{
    default_to(&s->layer_count, 3);
    default_to(&s->hidden, 32);
    default_to(&s->vocab, 61);
    default_to(&s->context, 512);
    default_to(&s->head_count, 4);
    default_to(&s->kv_head_count, 2);
    default_to(&s->head_dim, 8);
    default_to(&s->width, 24);
    default_to(&s->window, 5);
    if (s->family == TINY_QWEN3_MOE || s->expert_count) {
        default_to(&s->expert_count, 6);
        default_to(&s->used_count, 2);
        default_to(&s->expert_width, 12);
    }
}

static void write_shard(writer *w)
{
    char path[UNIT_PATH_BYTES];
    const uint64_t header_bytes = w->header_bytes;

    snprintf(path, sizeof path, "%s/model.safetensors", w->folder);
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(&header_bytes, sizeof header_bytes, 1, out), 1);
    assert_int_equal(fwrite(w->header, 1, w->header_bytes, out), w->header_bytes);
    assert_int_equal(fwrite(w->data, sizeof *w->data, w->count, out), w->count);
    assert_int_equal(fclose(out), 0);
}

void tiny_model_write(const char *folder, const tiny_shape *shape)
{
    writer w = {.folder = folder, .shape = *shape};
    const tiny_shape *s = &w.shape;

    fill_defaults(&w.shape);
    prng_init(&w.dice, shape->seed);
    put_header(&w, "{");
    put_tensor(&w, "embed_tokens.weight", DIMS(s->vocab, s->hidden), 0, 1);
    put_tensor(&w, "norm.weight", DIMS(s->hidden), 1, 0.3f);
    if (s->has_own_head) put_tensor(&w, "lm_head.weight", DIMS(s->vocab, s->hidden), 0, 1);
    if (s->input_width) {
        put_tensor(&w, "embed_tokens_per_layer.weight", DIMS(s->vocab, s->layer_count * s->input_width), 0, 1);
        put_tensor(&w, "per_layer_model_projection.weight", DIMS(s->layer_count * s->input_width, s->hidden), 0, 1);
        put_tensor(&w, "per_layer_projection_norm.weight", DIMS(s->input_width), 1, 0.3f);
    }
    for (uint32_t i = 0; i < s->layer_count; i++)
        if (s->family == TINY_GEMMA4)
            put_gemma4_layer(&w, i);
        else
            put_plain_layer(&w, i);
    put_header(&w, "}");
    put_config(&w);
    write_shard(&w);
    free(w.header);
    free(w.data);
}

void tiny_model_find(const char *folder, const char *tensor, uint64_t *out_offset, uint64_t *out_bytes)
{
    char path[UNIT_PATH_BYTES], key[256];
    uint64_t header_bytes;
    unsigned long long begin, end;

    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    assert_int_equal(fread(&header_bytes, sizeof header_bytes, 1, in), 1);
    char *header = calloc(1, header_bytes + 1);
    assert_non_null(header);
    assert_int_equal(fread(header, 1, header_bytes, in), header_bytes);
    fclose(in);
    snprintf(key, sizeof key, "\"%s\":{", tensor);
    const char *at = strstr(header, key);
    assert_non_null(at);
    at = strstr(at, "\"data_offsets\":[");
    assert_non_null(at);
    assert_int_equal(sscanf(at, "\"data_offsets\":[%llu,%llu]", &begin, &end), 2);
    *out_offset = sizeof header_bytes + header_bytes + begin;
    *out_bytes = end - begin;
    free(header);
}
