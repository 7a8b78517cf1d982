/*
 * model_build.c - from a configuration and a table of tensors to a model_desc. The per-family knowledge is in arch/;
 * here is what families share.
 */
#include "model/model_build.h"

#include "base/bytes.h"
#include "model/arch/arch.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { PATH_BYTES = 256, HIDDEN_MAX = 1 << 20, VOCAB_MAX = 1 << 21, CONTEXT_LIMIT = 1 << 27 };

static const architecture *const architectures[] = {&arch_gemma4, &arch_llama, &arch_qwen3, &arch_qwen3_moe};

/* ---- finding and adding weights ---- */

static leat_status grow(arena *memory, void **items, uint32_t count, uint32_t *capacity, size_t item_bytes,
                        leat_error *error)
{
    if (count < *capacity) return LEAT_OK;
    const uint32_t larger = *capacity ? *capacity * 2 : 64;
    void *copy;
    TRY(arena_alloc(memory, larger, item_bytes, 16, &copy, error));
    if (count) memcpy(copy, *items, count * item_bytes);
    *items = copy;
    *capacity = larger;
    return LEAT_OK;
}

leat_status build_weight(model_builder *b, weight_place place, uint64_t rows, uint64_t cols, weight_id *out_id,
                         leat_error *error, const char *path_format, ...)
{
    model_desc *m = b->model;
    char path[PATH_BYTES];
    va_list args;
    weight found;

    va_start(args, path_format);
    vsnprintf(path, sizeof path, path_format, args);
    va_end(args);
    TRY(weights_find(&b->source, path, rows, cols, &found, error));

    uint32_t place_capacity = m->weight_capacity;
    TRY(grow(b->source.memory, (void **)&m->places, m->weight_count, &place_capacity, sizeof *m->places, error));
    TRY(grow(b->source.memory, (void **)&m->weights, m->weight_count, &m->weight_capacity, sizeof *m->weights, error));
    m->weights[m->weight_count] = found;
    m->places[m->weight_count] = place;
    *out_id = m->weight_count++;
    return LEAT_OK;
}

static leat_status add_vector(model_builder *b, const char *path, uint64_t count, vector_id *out_id, leat_error *error)
{
    model_desc *m = b->model;
    vector found;

    TRY(weights_find_vector(&b->source, path, count, &found, error));
    TRY(grow(b->source.memory, (void **)&m->vectors, m->vector_count, &m->vector_capacity, sizeof *m->vectors, error));
    m->vectors[m->vector_count] = found;
    *out_id = m->vector_count++;
    return LEAT_OK;
}

leat_status build_vector(model_builder *b, uint64_t count, vector_id *out_id, leat_error *error,
                         const char *path_format, ...)
{
    char path[PATH_BYTES];
    va_list args;

    va_start(args, path_format);
    vsnprintf(path, sizeof path, path_format, args);
    va_end(args);
    return add_vector(b, path, count, out_id, error);
}

leat_status build_optional_vector(model_builder *b, uint64_t count, vector_id *out_id, leat_error *error,
                                  const char *path_format, ...)
{
    char path[PATH_BYTES];
    va_list args;

    va_start(args, path_format);
    vsnprintf(path, sizeof path, path_format, args);
    va_end(args);
    if (!weights_vector_exists(&b->source, path)) {
        *out_id = NO_ID;
        return LEAT_OK;
    }
    return add_vector(b, path, count, out_id, error);
}

/* ---- configuration that families share ---- */

leat_status build_common(model_builder *b, double norm_eps_default, leat_error *error)
{
    model_desc *m = b->model;
    const hf_config *config = b->source.config;
    double eps;

    TRY(hf_config_u32(config, "hidden_size", 1, HIDDEN_MAX, &m->hidden_size, error));
    TRY(hf_config_u32(config, "vocab_size", 1, VOCAB_MAX, &m->vocab_size, error));
    TRY(hf_config_u32(config, "num_hidden_layers", 1, LAYERS_MAX, &m->layer_count, error));
    TRY(hf_config_u32_or(config, "max_position_embeddings", 1, CONTEXT_LIMIT, 2048, &m->context_max, error));
    TRY(hf_config_f64_or(config, "rms_norm_eps", 0, 1, norm_eps_default, &eps, error));
    m->norm_eps = (float)eps;
    return ARENA_NEW(b->source.memory, m->layer_count, &m->layers, error);
}

/* The head stands beside the text root, not below it: "lm_head", "language_model.lm_head". NULL when there is none. */
static const char *find_head_prefix(const weight_source *source)
{
    const char *const prefixes[] = {"", "language_model.", "model.language_model.", source->prefix};
    weight_source outer = *source;

    for (size_t i = 0; i < ARRAY_COUNT(prefixes); i++) {
        outer.prefix = prefixes[i];
        if (weights_exist(&outer, "lm_head")) return prefixes[i];
    }
    return NULL;
}

leat_status build_embedding_and_head(model_builder *b, leat_error *error)
{
    model_desc *m = b->model;
    const char *text_root = b->source.prefix, *head_prefix = find_head_prefix(&b->source);
    bool is_tied;

    /* An explicit `true` wins over a stale lm_head; otherwise the tensors decide. */
    TRY(hf_config_bool_or(b->source.config, "tie_word_embeddings", !head_prefix, &is_tied, error));
    if (!head_prefix) is_tied = true;
    TRY(build_weight(b, is_tied ? WEIGHT_RESIDENT : WEIGHT_ROWS, m->vocab_size, m->hidden_size, &m->embedding, error,
                     "embed_tokens"));
    m->head = m->embedding;
    m->embedding_scale = 1;
    if (!is_tied) {
        b->source.prefix = head_prefix;
        TRY(build_weight(b, WEIGHT_RESIDENT, m->vocab_size, m->hidden_size, &m->head, error, "lm_head"));
        b->source.prefix = text_root;
    }
    return build_vector(b, m->hidden_size, &m->final_norm, error, "norm.weight");
}

leat_status check_head_counts(const model_builder *b, uint32_t head_count, uint32_t kv_head_count, const char *kv_key,
                              leat_error *error)
{
    if (head_count % kv_head_count == 0) return LEAT_OK;
    return FAIL(error, MODEL, "%s: num_attention_heads (%u) is not a multiple of %s (%u)",
                hf_config_name(b->source.config), head_count, kv_key, kv_head_count);
}

/* `usual` unless the configuration has it under another name only. */
static const char *present_key(const hf_config *config, const char *usual, const char *const *others)
{
    if (hf_config_has(config, usual)) return usual;
    for (; *others; others++)
        if (hf_config_has(config, *others)) return *others;
    return usual;
}

leat_status build_expert_counts(const model_builder *b, const char *used_key, uint32_t *out_count, uint32_t *out_used,
                                leat_error *error)
{
    static const char *const count_names[] = {"num_local_experts", "n_routed_experts", "moe_num_experts", NULL};
    static const char *const used_names[] = {
        "num_experts_per_tok", "top_k_experts", "moe_k", "moe_topk", "experts_per_token", NULL};
    const hf_config *config = b->source.config;
    const char *count_key = present_key(config, "num_experts", count_names);

    used_key = present_key(config, used_key, used_names);
    TRY(hf_config_u32(config, count_key, 1, EXPERTS_MAX, out_count, error));
    TRY(hf_config_u32(config, used_key, 1, EXPERTS_USED_MAX, out_used, error));
    if (*out_used <= *out_count) return LEAT_OK;
    return FAIL(error, MODEL, "%s: %s (%u) is more than %s (%u)", hf_config_name(config), used_key, *out_used,
                count_key, *out_count);
}

leat_status build_activation(const model_builder *b, const char *key, activation fallback, activation *out_act,
                             leat_error *error)
{
    char text[64];

    TRY(hf_config_text_or(b->source.config, key, NULL, text, sizeof text, error));
    if (!text[0])
        *out_act = fallback;
    else if (!strcmp(text, "silu") || !strcmp(text, "swish"))
        *out_act = ACTIVATION_SILU;
    else if (!strcmp(text, "gelu_pytorch_tanh") || !strcmp(text, "gelu_new"))
        *out_act = ACTIVATION_GELU_TANH;
    else
        return FAIL(error, MODEL, "%s: %s is \"%s\", expected silu or gelu_pytorch_tanh",
                    hf_config_name(b->source.config), key, text);
    return LEAT_OK;
}

/* ---- rope ---- */

/* A key of the scaling dictionary: in `parameters_key` (new files) or in rope_scaling (old ones). */
static const char *rope_key(const model_builder *b, const char *parameters_key, const char *name, char *buffer)
{
    snprintf(buffer, PATH_BYTES, "%s/%s", parameters_key, name);
    if (!hf_config_has(b->source.config, buffer)) snprintf(buffer, PATH_BYTES, "rope_scaling/%s", name);
    return buffer;
}

static leat_status rope_number(const model_builder *b, const char *parameters_key, const char *name, double low,
                               double high, double fallback, double *out, leat_error *error)
{
    char key[PATH_BYTES];
    return hf_config_f64_or(b->source.config, rope_key(b, parameters_key, name, key), low, high, fallback, out, error);
}

static leat_status rope_kind_of(const model_builder *b, const char *parameters_key, rope_kind *out, leat_error *error)
{
    static const struct {
        const char *name;
        rope_kind kind;
    } known[] = {
        {"default", ROPE_DEFAULT},           {"linear", ROPE_LINEAR}, {"llama3", ROPE_LLAMA3}, {"yarn", ROPE_YARN},
        {"proportional", ROPE_PROPORTIONAL},
    };
    char key[PATH_BYTES], text[64];

    TRY(hf_config_text_or(b->source.config, rope_key(b, parameters_key, "rope_type", key), NULL, text, sizeof text,
                          error));
    if (!text[0])
        TRY(hf_config_text_or(b->source.config, rope_key(b, parameters_key, "type", key), "default", text, sizeof text,
                              error));
    for (size_t i = 0; i < ARRAY_COUNT(known); i++)
        if (!strcmp(text, known[i].name)) {
            *out = known[i].kind;
            return LEAT_OK;
        }
    return FAIL(error, MODEL, "%s: %s is \"%s\", expected default, linear, llama3, yarn or proportional",
                hf_config_name(b->source.config), key, text);
}

/* The context that the frequencies were trained for: in the dictionary, else at the top level, else the model's
 * maximum. */
static leat_status rope_original_context(const model_builder *b, const char *parameters_key, double fallback,
                                         double *out, leat_error *error)
{
    double outer;
    TRY(hf_config_f64_or(b->source.config, "original_max_position_embeddings", 1, CONTEXT_LIMIT, fallback, &outer,
                         error));
    return rope_number(b, parameters_key, "original_max_position_embeddings", 1, CONTEXT_LIMIT, outer, out, error);
}

static leat_status build_yarn(const model_builder *b, const char *key, rope_desc *rope, leat_error *error)
{
    double mscale, mscale_all_dim;
    char truncate_key[PATH_BYTES];

    TRY(rope_original_context(b, key, 4096, &rope->original_context, error));
    if (rope->factor == 0) rope->factor = b->model->context_max / rope->original_context;
    TRY(rope_number(b, key, "beta_fast", 0, 1e6, 32, &rope->beta_fast, error));
    TRY(rope_number(b, key, "beta_slow", 0, 1e6, 1, &rope->beta_slow, error));
    TRY(rope_number(b, key, "mscale", 0, 1e6, 0, &mscale, error));
    TRY(rope_number(b, key, "mscale_all_dim", 0, 1e6, 0, &mscale_all_dim, error));
    TRY(rope_number(b, key, "attention_factor", 0, 1e6, 0, &rope->attention_factor, error));
    TRY(hf_config_bool_or(b->source.config, rope_key(b, key, "truncate", truncate_key), true, &rope->truncate, error));
    if (rope->attention_factor > 0) return LEAT_OK;

    /* The quotient is taken only when both are given (docs/models.md); the logarithm is exec/rope_table.c's. */
    const bool has_both = mscale > 0 && mscale_all_dim > 0;
    rope->mscale = has_both ? mscale : 1;
    rope->mscale_all_dim = has_both ? mscale_all_dim : 0;
    return LEAT_OK;
}

leat_status build_rope(model_builder *b, const char *key, double theta_default, uint32_t head_dim, rope_desc *out_rope,
                       leat_error *error)
{
    const hf_config *config = b->source.config;
    rope_desc rope = {.head_dim = head_dim, .truncate = true};
    double outer_theta, partial;

    TRY(rope_kind_of(b, key, &rope.kind, error));
    TRY(hf_config_f64_or(config, "rope_theta", 1, 1e12, theta_default, &outer_theta, error));
    TRY(rope_number(b, key, "rope_theta", 1, 1e12, outer_theta, &rope.theta, error));
    TRY(rope_number(b, key, "factor", 0, 1e9, rope.kind == ROPE_YARN ? 0 : 1, &rope.factor, error));
    if (rope.kind != ROPE_YARN && rope.factor <= 0)
        return FAIL(error, MODEL, "%s: the rope factor is %g, expected more than 0", hf_config_name(config),
                    rope.factor);

    TRY(hf_config_f64_or(config, "partial_rotary_factor", 0, 1e9, rope.kind == ROPE_PROPORTIONAL ? 0.25 : 1, &partial,
                         error));
    TRY(rope_number(b, key, "partial_rotary_factor", 0, 1e9, partial, &partial, error));
    if (partial > 1)
        return FAIL(error, MODEL, "%s: partial_rotary_factor is %g: more than the head's %u dimensions would rotate",
                    hf_config_name(config), partial, head_dim);
    rope.rotated_dims = (uint32_t)(partial * head_dim) & ~1u;

    if (rope.kind == ROPE_LLAMA3) {
        TRY(rope_number(b, key, "low_freq_factor", 1e-6, 1e6, 1, &rope.low_freq_factor, error));
        TRY(rope_number(b, key, "high_freq_factor", 1e-6, 1e6, 4, &rope.high_freq_factor, error));
        TRY(rope_original_context(b, key, 8192, &rope.original_context, error));
        if (rope.high_freq_factor <= rope.low_freq_factor)
            return FAIL(error, MODEL, "%s: high_freq_factor (%g) is not above low_freq_factor (%g)",
                        hf_config_name(config), rope.high_freq_factor, rope.low_freq_factor);
    }
    if (rope.kind == ROPE_YARN) TRY(build_yarn(b, key, &rope, error));
    *out_rope = rope;
    return LEAT_OK;
}

/* ---- the whole ---- */

/* The text root is whatever stands before "embed_tokens"; the names are tried in this order. */
static const char *find_prefix(const tensor_index *index)
{
    static const char *const prefixes[] = {"model.language_model.", "language_model.model.", "language_model.",
                                           "model.", ""};
    char name[PATH_BYTES];

    for (size_t i = 0; i < ARRAY_COUNT(prefixes); i++) {
        snprintf(name, sizeof name, "%sembed_tokens.weight", prefixes[i]);
        if (tensor_index_find(index, name)) return prefixes[i];
    }
    return NULL;
}

static const architecture *find_architecture(const char *model_type)
{
    for (size_t i = 0; i < ARRAY_COUNT(architectures); i++)
        for (const char *const *name = architectures[i]->model_types; *name; name++)
            if (!strcmp(*name, model_type)) return architectures[i];
    return NULL;
}

static leat_status read_token_ids(const hf_config *config, const hf_config *generation, model_desc *m,
                                  leat_error *error)
{
    uint32_t bos[STOP_IDS_MAX], bos_count = 0;

    TRY(hf_config_token_ids(config, "eos_token_id", m->vocab_size, m->stop_ids, STOP_IDS_MAX, &m->stop_id_count,
                            error));
    if (generation)
        TRY(hf_config_token_ids(generation, "eos_token_id", m->vocab_size, m->stop_ids, STOP_IDS_MAX, &m->stop_id_count,
                                error));
    TRY(hf_config_token_ids(config, "bos_token_id", m->vocab_size, bos, STOP_IDS_MAX, &bos_count, error));
    m->bos_id = bos_count ? bos[0] : NO_ID;
    return LEAT_OK;
}

static leat_status map_weights_to_layers(model_builder *b, leat_error *error)
{
    model_desc *m = b->model;
    weight_id ids[LAYER_WEIGHTS_MAX];

    TRY(ARENA_NEW(b->source.memory, m->weight_count, &m->layers_of, error));
    for (uint32_t i = 0; i < m->weight_count; i++) m->layers_of[i] = NO_ID;
    for (uint32_t l = 0; l < m->layer_count; l++)
        for (uint32_t i = layer_weights(&m->layers[l], ids); i-- > 0;) m->layers_of[ids[i]] = l;
    return LEAT_OK;
}

leat_status model_build(const tensor_index *index, const hf_config *config, const hf_config *generation, arena *memory,
                        model_desc *out_model, leat_error *error)
{
    model_desc model = {.bos_id = NO_ID};
    char model_type[64];

    TRY(hf_config_text_or(config, "model_type", NULL, model_type, sizeof model_type, error));
    const architecture *arch = find_architecture(model_type);
    if (!arch)
        return FAIL(error, MODEL,
                    "%s: model_type is \"%s\", expected gemma4, gemma4_text, gemma4_unified, llama, qwen3 or qwen3_moe",
                    hf_config_name(config), model_type);

    model_builder b = {.source = {.index = index, .config = config, .memory = memory}, .model = &model};
    b.source.prefix = find_prefix(index);
    if (!b.source.prefix)
        return FAIL(error, MODEL, "the checkpoint has no tensor embed_tokens.weight, under any known prefix");
    TRY(hf_config_quant(config, &b.source.hint, error));

    model.architecture = arch->name;
    TRY(arch->build(&b, error));
    TRY(read_token_ids(config, generation, &model, error));
    TRY(map_weights_to_layers(&b, error));
    *out_model = model;
    return LEAT_OK;
}
